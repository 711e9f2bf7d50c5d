"""The files by which languages' package managers name what they installed, found in one pass for four analyzers."""

from __future__ import annotations

import posixpath
import re
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from analyzers._reading import Reader
from analyzers._sweep import loose_files
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.model import Place

# Trees that hold other machines' file systems, or programs that a package manager of their own accounts for.
_FOREIGN = ("/var/lib/docker/", "/var/lib/containers/", "/var/lib/containerd/", "/var/lib/flatpak/", "/var/lib/snapd/",
            "/var/lib/kubelet/", "/var/lib/machines/", "/var/lib/lxc/", "/var/lib/lxd/", "/snap/", "/var/snap/",
            "/flatpak/")  # fmt: skip

_NAMES = frozenset({
    "package.json", ".pnp.cjs", ".pnp.data.json", "node_version.h",
    "Gemfile", "gems.rb", "Gemfile.lock", "gems.locked", "rbconfig.rb",
    "composer.json", "installed.json", "installed.php", "php_version.h",
    "version.php", "Drupal.php", "bootstrap.inc", "Defines.php", "Version.php", "Typo3Version.php", "iniset.php",
    "pyvenv.cfg", "METADATA", "PKG-INFO", "pipx_metadata.json", "patchlevel.h", "uv-receipt.toml",
})  # fmt: skip
# Names that no list can hold → what they are found under.
_KINDS = (
    (re.compile(r"/specifications/(?:default/)?[^/]+\.gemspec$"), "*.gemspec"),
    (re.compile(r"/conda-meta/[^/]+\.json$"), "conda-meta/*.json"),
    (re.compile(r"/conda-meta/history$"), "conda-meta/history"),
    (re.compile(r"\.egg-info$"), "*.egg-info"),
)
_SUFFIXES = (".gemspec", ".json", ".egg-info", "/history")
_BATCH = 2000
# Folders that hold many things, so none is an application's root; and those that are a person's, or an application's.
_SHARED = re.compile(r"/|/(srv|opt|home|var|usr|mnt|media)|/usr/local(/(lib|share|bin|src|etc))?|/var/(lib|opt|local)")
_HOME = re.compile(r"/root|/home/[^/]+|/var/www")

_FOUND: weakref.WeakKeyDictionary[Guest, Mapping[str, tuple[str, ...]]] = weakref.WeakKeyDictionary()

T = TypeVar("T")


def manifests(guest: Guest) -> Mapping[str, tuple[str, ...]]:
    """Return the paths of each name (or kind: `*.gemspec`, `conda-meta/*.json`), sorted, of the files that
    packages rarely own. Images and file systems of containers, snaps and flatpaks are passed over."""
    found = _FOUND.get(guest)
    if found is None:
        lists: dict[str, list[str]] = {}
        for entry in loose_files(guest):
            path = entry.path
            name = path[path.rfind("/") + 1 :]
            if name in _NAMES:
                lists.setdefault(name, []).append(path)
            elif path.endswith(_SUFFIXES):
                for pattern, kind in _KINDS:
                    if pattern.search(path):
                        lists.setdefault(kind, []).append(path)
                        break
        found = _FOUND[guest] = {
            name: tuple(path for path in paths if not path.startswith(_FOREIGN)) for name, paths in lists.items()
        }
    return found


def batched(guest: Guest, paths: Sequence[str], most: int) -> Iterator[str]:
    """Yield at most `most` of the paths, each batch of them fetched beforehand."""
    for start in range(0, min(len(paths), most), _BATCH):
        batch = paths[start : min(start + _BATCH, most)]
        guest.prefetch(batch)
        yield from batch


def decoded(reader: Reader, path: str, shape: type[T], limit: int = 1 << 20) -> tuple[T, bytes] | None:
    """Return a JSON file as `shape`, with its bytes; None, with a note, where it is none or is longer than `limit`."""
    data = reader.data(path, limit)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=shape), data
    except RecursionError:
        reader.note(path, "it is nested too deep for JSON that a package manager wrote")
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are
        reader.note(path, f"not the JSON of a package manager: {str(error)[:200]}")
    return None


def line_with(data: bytes, *texts: str) -> int | None:
    """Return the number of the first line that holds all of the texts, or None.

    >>> line_with(b'{\\n "name": "x",\\n "version": "1"}', '"version"', '"1"')
    3
    """
    first, *others = (text.encode("utf-8", "surrogateescape") for text in texts)
    start = data.find(first)
    while start >= 0:
        begin, end = data.rfind(b"\n", 0, start) + 1, data.find(b"\n", start)
        line = data[begin : end if end >= 0 else len(data)]
        if all(other in line for other in others):
            return data.count(b"\n", 0, begin) + 1
        start = data.find(first, max(end, start + 1)) if end >= 0 else -1
    return None


def seen(path: str, data: bytes, *texts: str) -> Place:
    """Return the place of the line that says so, or of the file."""
    return Place(path, line_with(data, *texts))


def may_be_root(folder: str, starts: bool) -> bool:
    """Tell whether a folder with a manifest may be an application's root.

    In a home a manifest alone is what is left where somebody once installed something: there `starts` has to be true,
    that the manifest is of something that can be started.
    """
    return not _SHARED.fullmatch(folder) and (starts or not _HOME.fullmatch(folder))


def in_folders(path: str, names: Iterable[str]) -> bool:
    """Tell whether one of the folders that a path lies in has one of these names."""
    return not set(path.split("/")[1:-1]).isdisjoint(names)


def around(path: str, folders: Container[str]) -> str | None:
    """Return the innermost of the folders that a path is or lies in, in time that does not grow with their number.

    >>> around("/srv/a/b/c", {"/srv", "/srv/a"})
    '/srv/a'
    """
    while path not in folders:
        if path in ("", "/"):
            return None
        path = path.rpartition("/")[0] or "/"
    return path


def optional_bytes(guest: Guest, path: str, limit: int = 1 << 16) -> bytes:
    """Return the first bytes of a file, or nothing where it cannot be read."""
    try:
        return guest.read(path, limit)
    except GuestFileError:
        return b""


def base(path: str) -> str:
    """Return the last part of a path, the name that its owner gave to what is there."""
    return posixpath.basename(path) or "/"
