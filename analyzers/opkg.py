"""Packages of OpenWrt, Entware and Yocto's opkg: dpkg's format of a status file, with flags of its own.

Newer OpenWrt has apk in its place (analyzers/apk.py).
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from analyzers._apt_lists import offered
from analyzers._dpkg_status import Stanza, parse_depends, parse_status
from analyzers._packages import (
    MAX_PACKAGES,
    MAX_PATHS,
    THE_ROOT,
    Complaints,
    Database,
    Kind,
    Names,
    Record,
    is_name,
    is_version,
    lines,
    real_paths,
    rooted,
    unpack,
)
from analyzers._reading import Reader, meaningful
from analyzers._shipped import Shipper
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "opkg"
# OpenWrt's writable layer goes over its read-only one: what it has is the newer.
_FOLDERS = ("/overlay/upper/usr/lib/opkg", "/usr/lib/opkg", "/rom/usr/lib/opkg")
_OTHERS = ("/var/lib/opkg", "/opt/lib/opkg")  # Yocto; Entware beside whatever the machine has
_LISTS = ("/var/opkg-lists", "/usr/lib/opkg/lists", "/var/lib/opkg/lists", "/opt/var/opkg-lists")
_MAX_STATUS = 16 << 20
_MAX_LIST = 16 << 20
_MAX_FEED = 64 << 20
_MAX_FILES = 100
_CONFFILE = re.compile(r"\s*(/.*?)\s+([0-9a-f]{32}|[0-9a-f]{64})\s*")
_OURS = re.compile(r"https?://(?:[\w.-]+\.)?openwrt\.org/.*|https?://bin\.entware\.net/.*")


def parse_conffiles(text: str) -> list[tuple[str, str]]:
    """Return (path, hex) of the Conffiles field; the digest is MD5, of OpenWrt since 2017 SHA-256."""
    found = (_CONFFILE.fullmatch(line) for _, line in lines(text))
    return [(path, match[2]) for match in found if match and (path := rooted(match[1]))]


def parse_list(text: str) -> Iterator[tuple[int, str, int | None, str]]:
    """Yield (line, path, mode or None, target) of `info/NAME.list`: a path, and of newer opkg mode and link target.

    The parts are separated by tabs; the mode is octal with the file's type, as in stat(2).
    """
    for number, line in lines(text):
        path, *more = line.split("\t")
        mode = int(more[0], 8) if more and re.fullmatch(r"0?[0-7]{5,6}", more[0]) else None
        if path:
            yield number, path, mode, more[1] if len(more) > 1 else ""


def _kind(mode: int | None, target: str) -> Kind:
    """Return the kind that a mode tells; Yocto's lists are of paths alone, and of directories too."""
    if mode is None:
        return "symlink" if target else "unknown"
    kinds: tuple[tuple[Callable[[int], bool], Kind], ...] = (
        (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "symlink"),
    )  # fmt: skip
    return next((kind for test, kind in kinds if test(mode)), "other")


class Feed(msgspec.Struct, frozen=True):
    """A line `src/gz NAME URL` of opkg.conf, and the file it stands in."""

    name: str
    url: str
    path: str

    @property
    def origin(self) -> str:
        """Of distfeeds.conf, or on the distribution's server: distribution; a folder: local; else third-party."""
        if self.path.endswith("/distfeeds.conf") or _OURS.fullmatch(self.url):
            return "distribution"
        return "local" if self.url.startswith(("file:", "/")) else "third-party"


def parse_feeds(text: str, path: str) -> list[Feed]:
    """Return the feeds of one configuration file."""
    found = []
    for _, line in meaningful(text):
        words = line.split()
        if len(words) >= 3 and words[0] in {"src", "src/gz", "dist", "dist/gz"} and "/" not in words[1]:
            found.append(Feed(words[1], words[2], path))
    return found


class Origins(msgspec.Struct, frozen=True):
    """The origin of each name in the feeds' lists; `complete` where every feed had one."""

    names: Mapping[str, str] = {}
    complete: bool = False

    def of(self, name: str) -> str:
        """Return distribution, third-party, local, or nothing where no list says it."""
        return self.names.get(name) or ("local" if self.complete else "")


def _origins(reader: Reader, installed: Collection[str]) -> Origins:
    guest = reader.guest
    paths = ["/etc/opkg.conf", *guest.glob("/etc/opkg/*.conf")[:_MAX_FILES], "/opt/etc/opkg.conf"]
    feeds = [feed for path in paths for feed in parse_feeds(reader.optional(path) or "", path)]
    names: dict[str, str] = {}
    missing = not feeds
    for feed in feeds[:_MAX_FILES]:
        path = next((path for top in _LISTS if guest.is_file(path := f"{top}/{feed.name}")), None)
        data = reader.data(path, _MAX_FEED) if path else None
        if path is None or data is None:
            missing = True
            continue
        try:
            for name, _ in offered(unpack(data, _MAX_FEED)):
                if name in installed and names.get(name) != "distribution":
                    names[name] = feed.origin
        except ValueError as error:
            missing = True
            reader.note(path, str(error))
    return Origins(names, complete=not missing)


class Installed(msgspec.Struct, frozen=True):
    """A stanza, the file it is from, and the folder of that."""

    folder: str
    path: str
    stanza: Stanza

    @property
    def flags(self) -> set[str]:
        """The flags of `Status: install user,hold installed`: the second word."""
        return set("".join(self.stanza.get("Status").split()[1:2]).split(","))


def _control(reader: Reader, folder: str, name: str) -> Mapping[str, str]:
    text = reader.optional(f"{folder}/info/{name}.control") if name and "/" not in name else None
    return next((stanza.fields for stanza in parse_status(text or "")), {})


def _of_folder(reader: Reader, folder: str) -> Iterator[Installed]:
    path = f"{folder}/status"
    if reader.guest.is_file(path):
        for stanza in parse_status(reader.text(path, _MAX_STATUS) or ""):
            yield Installed(folder, path, stanza)
        return
    controls = reader.guest.glob(f"{folder}/info/*.control")
    if controls:
        reader.note(folder, "there is no status file: who asked for which package is not known")
    for control in controls[:MAX_PACKAGES]:
        for stanza in parse_status(reader.text(control) or ""):
            yield Installed(folder, control, stanza)


def _installed(reader: Reader, complaints: Complaints) -> list[Installed]:
    guest = reader.guest
    main = next((each for each in _FOLDERS if guest.is_file(f"{each}/status")), "/usr/lib/opkg")
    found: list[Installed] = []
    seen: set[str] = set()
    for folder in (main, *_OTHERS):
        real = guest.resolve(folder)
        if real is None or real in seen:
            continue
        seen.add(real)
        for each in _of_folder(reader, folder):
            name, version = each.stanza.get("Package"), each.stanza.get("Version")
            if is_name(name) and "/" not in name and is_version(version):
                found.append(each)
            else:
                complaints.about(each.path)("a package with no valid name and version", each.stanza.line)
    if len(found) > MAX_PACKAGES:
        reader.note(found[0].path, f"only {MAX_PACKAGES} of {len(found)} packages are read")
    return sorted(found[:MAX_PACKAGES], key=lambda each: (each.stanza.get("Package"), each.path))


class _Files:
    """Reads packages' lists: of the overlay, or of the layer below it where the package came with the image."""

    def __init__(self, reader: Reader, complaints: Complaints) -> None:
        self._reader = reader
        self._complaints = complaints
        self._left = MAX_PATHS

    def path(self, each: Installed) -> str | None:
        """Return the path of a package's list."""
        folders = _FOLDERS if each.folder in _FOLDERS else (each.folder,)
        paths = (f"{folder}/info/{each.stanza.get('Package')}.list" for folder in folders)
        return next((path for path in paths if self._reader.guest.is_file(path)), None)

    def records(self, path: str, conffiles: Mapping[str, str]) -> Iterator[Record]:
        """Yield the records of a list; digests are those of the configuration files."""
        complain = self._complaints.about(path)
        for number, name, mode, target in parse_list(self._reader.text(path, _MAX_LIST) or ""):
            if (where := rooted(name)) is None:
                if name not in THE_ROOT:
                    complain("a path that is none", number)
                continue
            if self._left <= 0:
                complain(f"only {MAX_PATHS} paths are read", number)
                return
            self._left -= 1
            digest = conffiles.get(where, "")
            yield Record(
                path=where,
                kind="file" if digest and mode is None else _kind(mode, target),
                digest=f"{'md5' if len(digest) == 32 else 'sha256'}:{digest}" if digest else "",
                mode=None if mode is None else mode & 0o7777,
                target=target,
                configuration=where in conffiles,
            )


def _chosen(installed: Iterable[Installed]) -> set[tuple[str, str]]:
    """Return (folder, name) of what a person asked for.

    OpenWrt's opkg says so with the flag `user`; the other opkg marks what it pulled in with Auto-Installed. Where
    both stand, it was pulled in: of 308 with `user` in an image of OpenWrt 23.05, 104 have both, and each of these
    is a dependency of another installed package.
    """
    by_folder: dict[str, list[Installed]] = {}
    for each in installed:
        by_folder.setdefault(each.folder, []).append(each)
    chosen = set()
    for folder, group in by_folder.items():
        flagged = any("user" in each.flags for each in group)
        for each in group:
            automatic = each.stanza.get("Auto-Installed").strip() == "yes" or not each.stanza.get("Status")
            if not automatic and (not flagged or "user" in each.flags):
                chosen.add((folder, each.stanza.get("Package")))
    return chosen


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each installed package, by name."""
    reader = Database(guest, _NAME)
    complaints = Complaints(reader)
    installed = _installed(reader, complaints)
    names = Names()
    for each in installed:
        names.add(each.stanza.get("Package"), parse_depends(each.stanza.get("Provides")))
    chosen = _chosen(installed)
    origins = _origins(reader, names.installed) if installed else Origins()
    tree, files = Tree(guest), _Files(reader, complaints)
    shipper = Shipper(reader, tree)
    for each in installed:
        stanza, name = each.stanza, each.stanza.get("Package")
        control = _control(reader, each.folder, name)
        depends = parse_depends(f"{stanza.get('Pre-Depends')},{stanza.get('Depends')}")
        yield Package(
            seen_in=Place(each.path, stanza.line),
            name=name,
            version=stanza.get("Version"),
            architecture=stanza.get("Architecture"),
            manager=_NAME,
            chosen=(each.folder, name) in chosen,
            origin=origins.of(name),
            source=control.get("SourceName", "") or name,
            section=stanza.get("Section") or control.get("Section", ""),
            depends=names.resolve(depends, name),
        )
        listing = files.path(each)
        if listing is None:
            complaints.about(each.path)(f"no list of the files of {name}", stanza.line)
            continue
        shipped = dict(parse_conffiles(stanza.get("Conffiles")))
        found = list(files.records(listing, shipped))
        algorithm = "md5" if any(len(digest) == 32 for digest in shipped.values()) else "sha256"
        length = 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
        conffiles = sorted((tree.real(path), digest) for path, digest in shipped.items() if len(digest) == length)
        yield PackageFiles(
            seen_in=Place(listing),
            package=name,
            paths=real_paths(found, tree),
            conffiles=tuple(conffiles),
            algorithm=algorithm,
            shipped=tuple(shipper.shipped(r, algorithm) for r in found if r.digest or r.mode is not None),
        )
    complaints.finish()
    yield from reader.unread


def records(guest: Guest) -> Iterator[tuple[str, Record]]:
    """Yield (package, record) for every path of the lists, as the tree has it."""
    reader = Database(guest, _NAME)
    complaints = Complaints(reader)
    tree, files = Tree(guest), _Files(reader, complaints)
    for each in _installed(reader, complaints):
        if listing := files.path(each):
            for record in files.records(listing, dict(parse_conffiles(each.stanza.get("Conffiles")))):
                yield each.stanza.get("Package"), msgspec.structs.replace(record, path=tree.real(record.path))


ANALYZER = Analyzer(
    name=_NAME,
    says="OpenWrt's and Yocto's packages: versions, who asked for them, which feed has them, the paths they own.",
    reads=(
        *(f"{folder}/status" for folder in (*_FOLDERS, *_OTHERS)),
        *(f"{folder}/info/*.{kind}" for folder in (*_FOLDERS, *_OTHERS) for kind in ("list", "control")),
        "/etc/opkg.conf", "/etc/opkg", "/opt/etc/opkg.conf", *_LISTS, "/etc/passwd", "/etc/group",
    ),
    analyze=analyze,
    source="opkg.conf(5) and opkg-lede's libopkg/pkg.c, pkg_parse.c; deb822(5)",
)  # fmt: skip
