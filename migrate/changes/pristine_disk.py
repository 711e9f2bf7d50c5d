"""Where on the disk a changed file's original may be: copies with the digest recorded, and the caches of packages.

Copies are looked for beside the file (`.dpkg-dist`, `.rpmnew`, `.pacnew`, `.apk-new`, a person's `.orig`), in ucf's
cache (ucf(1)), among the package's other files of that name (templates below /usr/share), and among all packaged files
of the same digest. Whatever it is called, a file with the digest that the package database recorded is the original.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from migrate.changes.archive import MAX_ORIGINAL, Wanted
from migrate.facts import Facts
from migrate.guest.protocol import Guest
from migrate.model import Package, PackageFiles

_CACHES = (
    "/var/cache/apt/archives/*.deb",
    "/var/cache/dnf/**/*.rpm",
    "/var/cache/libdnf5/**/*.rpm",
    "/var/cache/yum/**/*.rpm",
    "/var/cache/tdnf/**/*.rpm",
    "/var/cache/zypp/packages/**/*.rpm",
    "/var/cache/pacman/pkg/*.pkg.tar*",
    "/etc/apk/cache/*.apk",
    "/var/cache/apk/*.apk",
)
_DEB = re.compile(r"(?P<name>[^_/]+)_(?P<version>[^_/]+)_(?P<arch>[^_/]+)\.deb")
_RPM = re.compile(r"(?P<name>[^/]+)-(?P<version>[^-/]+-[^-/]+)\.(?P<arch>[^.-]+)\.rpm")
_APK = re.compile(r"(?P<name>[^/]+)-(?P<version>[0-9][^-/]*-r[0-9]+)(?:\.(?P<hash>[0-9a-f]{8}))?\.apk")
_PACMAN = re.compile(r"(?P<name>[^/]+)-(?P<version>[^-/]+-[^-/]+)-(?P<arch>[^-/]+)\.pkg\.tar(?:\.(?:zst|xz|gz|bz2))?")
_MAX_FILES = 100_000  # of all caches
_MAX_COPIES = 40  # that are looked at for one original
_OTHER_VERSIONS = 3  # of a package that are tried after its own


class Cached(msgspec.Struct, frozen=True, order=True):
    """An archive in a cache: the package's name and version by its file's name (without an epoch for rpm)."""

    name: str
    version: str
    path: str


def archive_of(path: str) -> Cached | None:
    """Return what an archive's name says of it, or None where it is none that a package manager gives.

    >>> archive_of("/var/cache/apt/archives/vim_2%3a9.0_amd64.deb")
    Cached(name='vim', version='2:9.0', path='/var/cache/apt/archives/vim_2%3a9.0_amd64.deb')
    """
    name = path.rpartition("/")[2]
    if len(name) > 255:  # limits.h, NAME_MAX
        return None
    match = next((m for form in (_DEB, _RPM, _APK, _PACMAN) if (m := form.fullmatch(name))), None)
    return Cached(unquote(match["name"]), unquote(match["version"]), path) if match else None


def version_in_name(package: Package) -> str:
    """Return a package's version as the names of its archives have it: rpm leaves out the epoch."""
    return package.version.partition(":")[2] or package.version if package.manager == "rpm" else package.version


def cached_archives(guest: Guest) -> dict[str, list[Cached]]:
    """Return the archives in the caches of the disk's package managers by the package's name."""
    found: dict[str, list[Cached]] = defaultdict(list)
    paths = (path for pattern in _CACHES for path in guest.glob(pattern))
    for path, _ in zip(paths, range(_MAX_FILES), strict=False):
        cached = archive_of(path)
        if cached is not None and guest.is_file(path):
            found[cached.name].append(cached)
    return found


def in_order(cached: Iterable[Cached], package: Package, *, others: bool) -> list[Cached]:
    """Return the archives to try: those of the package's version, then with `others` a few of other versions.

    Configuration often stays the same from one version to the next, and the digest says whether it did.
    """
    version = version_in_name(package)
    same = sorted(each for each in cached if each.version == version)
    rest = sorted((each for each in cached if each.version != version), reverse=True)
    return same + (rest[:_OTHER_VERSIONS] if others else [])


def copies(guest: Guest, facts: Facts, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Return for each wanted path whose original is on the disk as a file of its own where that is.

    All candidates are read at once (`Guest.digests`). Without a digest recorded nothing is an original.
    """
    known = [each for each in wanted if each.digest]
    twins = _twins(facts, {each.digest for each in known})
    owned = _owned(facts, {each.package for each in known})
    candidates: dict[str, list[str]] = {}
    asked: dict[str, dict[str, str]] = defaultdict(dict)
    for each in known:
        paths = dict.fromkeys((*_beside(guest, each.path), *twins.get(each.digest, ()), *_templates(each, owned)))
        paths.pop(each.path, None)
        fitting = [path for path in paths if _is_fit(guest, path)][:_MAX_COPIES]
        candidates[each.path] = fitting
        asked[each.algorithm].update(dict.fromkeys(fitting, each.algorithm))
    digests = {algorithm: _digests(guest, paths) for algorithm, paths in sorted(asked.items())}
    found: dict[str, str] = {}
    for each in known:
        same = (p for p in candidates[each.path] if digests[each.algorithm].get(p) == each.digest)
        if (first := next(same, None)) is not None:
            found[each.path] = first
    return found


def _digests(guest: Guest, wanted: Mapping[str, str]) -> dict[str, str]:
    try:
        return guest.digests(wanted)
    except ValueError:  # the database's algorithm is none of hashlib's
        return {}


def _is_fit(guest: Guest, path: str) -> bool:
    entry = guest.lstat(path)
    return entry is not None and entry.kind == "file" and entry.size <= MAX_ORIGINAL


def _beside(guest: Guest, path: str) -> Iterator[str]:
    folder, name = posixpath.split(path)
    for other in guest.listdir(folder):
        if other.startswith(name) and other[len(name) :][:1] in (".", "-", "~", "_"):
            yield f"{folder.rstrip('/')}/{other}"
    yield f"/var/lib/ucf/cache/{path.replace('/', ':')}"


def _twins(facts: Facts, digests: set[str]) -> dict[str, list[str]]:
    """Return the packaged paths whose recorded digest is one of these, by it."""
    found: dict[str, list[str]] = defaultdict(list)
    for files in facts.of(PackageFiles):
        for shipped in files.shipped:
            if shipped.digest in digests and len(found[shipped.digest]) < _MAX_COPIES:
                found[shipped.digest].append(shipped.path)
    return found


def _owned(facts: Facts, packages: set[str]) -> dict[tuple[str, str], list[str]]:
    """Return the paths below /usr of these packages by (package, name without what follows its first dot)."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for files in facts.of(PackageFiles):
        for path in files.paths if files.package in packages else ():
            if path.startswith("/usr/"):
                found[files.package, _stem(path)].append(path)
    return found


def _stem(path: str) -> str:
    return path.rpartition("/")[2].lstrip(".").partition(".")[0]


def _templates(wanted: Wanted, owned: Mapping[tuple[str, str], list[str]]) -> list[str]:
    return owned.get((wanted.package, _stem(wanted.path)), [])[:_MAX_COPIES]
