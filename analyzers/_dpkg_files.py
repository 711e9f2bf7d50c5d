"""What dpkg recorded of the files of its packages: digests, diversions, owners and modes that an administrator set."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from analyzers._packages import MAX_PATHS, lines, rooted
from analyzers._tree import Tree
from migrate.model import Shipped

_MD5SUM = re.compile(r"(\\?)([0-9a-f]{32}) [ *](.+)")
_CONFFILE = re.compile(r"\s*(/.*) ([0-9a-f]{32})((?: obsolete| remove-on-upgrade)*)\s*")
_OVERRIDE = re.compile(r"(\S+) (\S+) ([0-7]{1,5}) (/.*)")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "\\": "\\"}
_NOTHING_ELSE = ("size", "target", "user", "group", "mtime", "mode", "device", "capabilities")
_NO_DIGEST = ("digest", "size", "target", "mtime", "device", "capabilities")
_REGULAR = 0o100000

Place: TypeAlias = Callable[[str], str]
"""Returns where a listed path of one package is on the disk: merged directories and diversions followed."""


class Conffile(msgspec.Struct, frozen=True):
    """A line of the Conffiles field; `kept` is false where dpkg does not expect the file to be there any more."""

    path: str
    md5: str
    kept: bool = True


class Override(msgspec.Struct, frozen=True):
    """A line of dpkg-statoverride(1)'s list: owner, group and permission bits of a path."""

    line: int
    path: str
    user: str
    group: str
    mode: int


def parse_md5sums(text: str) -> Iterator[tuple[str, str]]:
    r"""Yield (path, md5) of `info/NAME.md5sums`, deb-md5sums(5): no slash before the path, one blank and a sign.

    A name with a newline or a backslash is escaped and has a backslash before the digest, as md5sum(1) writes it.

    >>> list(parse_md5sums("d41d8cd98f00b204e9800998ecf8427e  usr/bin/x\n"))
    [('/usr/bin/x', 'd41d8cd98f00b204e9800998ecf8427e')]
    """
    for _, line in lines(text):
        if match := _MD5SUM.fullmatch(line):
            name = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[0]), match[3]) if match[1] else match[3]
            if path := rooted(name):
                yield path, match[2]


def parse_conffiles(text: str) -> list[Conffile]:
    """Return the Conffiles field's entries; those that were never unpacked (`newconffile`) are left out.

    `obsolete`: newer versions no longer ship it; `remove-on-upgrade`: the next upgrade removes it (deb-conffiles(5)).
    """
    found = []
    for _, line in lines(text):
        match = _CONFFILE.fullmatch(line)
        if match and (path := rooted(match[1])):
            found.append(Conffile(path, match[2], not match[3]))
    return found


def parse_diversions(text: str) -> list[tuple[str, str, str]]:
    """Return (path, diverted to, package that diverts or `:`) for dpkg's diversions file: three lines each."""
    rows = [line for _, line in lines(text)]
    found = []
    for i in range(0, len(rows) - 2, 3):
        path, to = (rooted(row) if row.startswith("/") else None for row in rows[i : i + 2])
        if path and to:
            found.append((path, to, rows[i + 2]))
    return found


def parse_overrides(text: str) -> Iterator[Override]:
    """Yield the lines of /var/lib/dpkg/statoverride: `USER GROUP MODE PATH`; a number is written `#33`."""
    for number, line in lines(text):
        match = _OVERRIDE.fullmatch(line)
        if match and (path := rooted(match[4])):
            user, group = match[1].removeprefix("#"), match[2].removeprefix("#")
            yield Override(number, path, user, group, int(match[3], 8) & 0o7777)


def placer(tree: Tree, moved: Mapping[str, tuple[str, str]], package: str) -> Place:
    """Return the function that says where a path of `package` is, once another one's diversion moved it away."""

    def place(path: str) -> str:
        real = tree.real(path)
        to, by = moved.get(real, ("", package))
        return real if by == package else to

    return place


def owned(listed: Iterable[str], place: Place) -> tuple[str, ...]:
    """Return the paths of a package's list as the tree has them, sorted; at most MAX_PATHS."""
    paths: set[str] = set()
    for path in listed:
        if len(paths) >= MAX_PATHS:
            break
        if (found := rooted(path)) and path.startswith("/"):
            paths.add(place(found))
    return tuple(sorted(paths))


def shipped_files(
    md5sums: Iterable[tuple[str, str]], conffiles: Iterable[Conffile], place: Place, listed_paths: Collection[str]
) -> Iterator[Shipped]:
    """Yield what is known of a package's files: that they are regular files, and their MD5; of conffiles that alone.

    A conffile may be a link that an administrator made: dpkg follows it. Digests of what is not listed are passed
    over: where another package took a file over (Replaces), dpkg takes it off the list alone.
    """
    listed = {}
    for each in conffiles:
        path = place(each.path)
        flags = ("config",) if each.kept else ("config", "missingok")
        listed[path] = Shipped(path=path, digest=each.md5, flags=flags, unchecked=_NOTHING_ELSE)
    for name, md5 in md5sums:
        if len(listed) >= MAX_PATHS:
            break
        path = place(name)
        if path in listed_paths:
            listed.setdefault(path, Shipped(path=path, mode=_REGULAR, digest=md5, unchecked=_NOTHING_ELSE))
    yield from (listed[path] for path in sorted(listed))


def overridden(override: Override, path: str) -> Shipped:
    """Return what dpkg-statoverride(1) says of a path as that which is to be compared: owner, group and mode."""
    return Shipped(
        path=path, mode=override.mode, user=override.user, group=override.group, flags=("override",),
        unchecked=_NO_DIGEST,
    )  # fmt: skip
