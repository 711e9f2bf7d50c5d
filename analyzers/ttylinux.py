"""Packages of ttylinux, whose database is one list of files a package: /usr/share/ttylinux/pkg-NAME-VERSION-FILES."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from analyzers._packages import Database, lines, rooted
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "ttylinux"
_LISTS = "/usr/share/ttylinux/pkg-*-FILES"
_FILE = re.compile(r"pkg-([A-Za-z0-9][A-Za-z0-9+._-]*)-([0-9][A-Za-z0-9+.~_]*)-FILES")


def parse_files(text: str) -> list[str]:
    """Return the paths of a list: from the root without a slash before them, directories with one behind.

    >>> parse_files("bin/bash\\netc/ssh/\\n")
    ['/bin/bash', '/etc/ssh']
    """
    return [path for _, line in lines(text) if (path := rooted(line))]


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield each package and the paths it owns. Nothing says who asked for one: every image has all of them."""
    reader, tree = Database(guest, _NAME), Tree(guest)
    for path in guest.glob(_LISTS):
        match = _FILE.fullmatch(posixpath.basename(path))
        if match is None:
            reader.note(path, "its name tells no package's name and version")
            continue
        text = reader.text(path)
        if text is None:
            continue
        yield Package(
            seen_in=Place(path),
            name=match[1],
            version=match[2],
            architecture="",
            manager=_NAME,
            chosen=False,
            origin="distribution",
        )
        paths = sorted({tree.real(each) for each in parse_files(text)})
        yield PackageFiles(seen_in=Place(path), package=match[1], paths=tuple(paths))
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="ttylinux packages and the paths they own.",
    reads=(_LISTS,),
    analyze=analyze,
    source="ttylinux User Guide, pkg-utils (the lists as ttylinux 16.1 has them)",
)
