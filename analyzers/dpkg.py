"""Packages of Debian and its kin, and the paths they own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from analyzers._apt_lists import Origins, read_origins
from analyzers._dpkg_lists import DIVERSIONS, INFO, OVERRIDES, STATUS, FileLists
from analyzers._dpkg_status import UNPACKED, Stanza, parse_depends, parse_extended_states, parse_status
from analyzers._packages import Database
from analyzers._reading import Reader, assignments
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "dpkg"
_LISTS = "/var/lib/apt/lists"
_MAX_STATUS = 64 << 20
_MAX_LIST = 256 << 20  # Debian main's Packages is 45 MB; uncompressed lists only, apt reads those too

# Debian Policy 5.6.1; a name that is none never comes to be a package of ours.
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_NAMED = re.compile(r"^Package:[ \t]*(\S+)", re.MULTILINE)
_VERSION = re.compile(r"[0-9A-Za-z.+:~-]+")


def _is_automatic(automatic: set[tuple[str, str]], name: str, architecture: str) -> bool:
    """Tell whether apt pulled a package in; it writes one for all architectures down under the machine's own."""
    if architecture == "all":
        return any(name == other for other, _ in automatic)
    return (name, architecture) in automatic


def _status_files(reader: Reader) -> Iterator[tuple[str, str]]:
    guest = reader.guest
    for path in [STATUS, *sorted(guest.glob("/var/lib/dpkg/status.d/*"))]:
        if not path.endswith(".md5sums") and (text := reader.optional(path, _MAX_STATUS)):
            yield path, text


def _stanzas(reader: Reader) -> Iterator[tuple[str, Stanza]]:
    for path, text in _status_files(reader):
        if path == STATUS:
            _note_what_is_cut(reader, text)
        for stanza in parse_status(text, UNPACKED):
            name, version = stanza.get("Package"), stanza.get("Version")
            if _PACKAGE_NAME.fullmatch(name) and _VERSION.fullmatch(version):
                yield path, stanza
            else:
                reader.note(path, "a package with no valid name and version (Debian Policy 5.6)", stanza.line)


def _note_what_is_cut(reader: Reader, text: str) -> None:
    """Tell of a status file that broke off: dpkg ends each line, and keeps a list of no package that is not in it."""
    if not text.endswith("\n"):
        reader.note(STATUS, "it ends in the middle of a line")
    known = set(_NAMED.findall(text))
    lists = (
        name.removesuffix(".list").partition(":")[0] for name in reader.guest.listdir(INFO) if name.endswith(".list")
    )
    if lost := len({name for name in lists if name not in known}):
        reader.note(STATUS, f"{lost} packages have a list of files in {INFO} and are not in the status file")


def _origins(reader: Reader, installed: Collection[str]) -> Origins:
    guest = reader.guest
    release = reader.optional("/etc/os-release") or ""
    system = assignments(release).get("ID", ("debian", 0))[0]

    def read(name: str) -> bytes:
        return reader.data(f"{_LISTS}/{name}", _MAX_LIST) or b""

    names = [name for name in guest.listdir(_LISTS) if name.endswith(("_Packages", "Release"))]
    return read_origins(names, read, system, installed)


def _depends(stanza: Stanza, providers: Mapping[str, list[str]], installed: set[str]) -> tuple[str, ...]:
    """Names in order; behind one that is only virtual (awk), the installed packages that provide it."""
    names: list[str] = []
    for name in parse_depends(f"{stanza.get('Pre-Depends')},{stanza.get('Depends')}"):
        names.append(name)
        if name not in installed:
            names.extend(providers.get(name, ()))
    return tuple(dict.fromkeys(names))


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each installed package, by name and architecture."""
    reader, status = Reader(guest, _NAME), Database(guest, _NAME)
    stanzas = sorted(_stanzas(status), key=lambda s: (s[1].get("Package"), s[1].get("Architecture"), s[0]))
    if not stanzas:
        yield from status.unread
        return
    automatic = parse_extended_states(reader.optional("/var/lib/apt/extended_states", _MAX_STATUS) or "")
    installed = {stanza.get("Package") for _, stanza in stanzas}
    origins = _origins(reader, installed)
    files = FileLists(guest, _NAME)
    owner: dict[str, str] = {}
    providers: dict[str, list[str]] = {}
    for _, stanza in stanzas:
        for name in parse_depends(stanza.get("Provides")):
            providers.setdefault(name, []).append(stanza.get("Package"))
    for path, stanza in stanzas:
        name, version, architecture = (stanza.get(key) for key in ("Package", "Version", "Architecture"))
        yield Package(
            seen_in=Place(path, stanza.line),
            name=name,
            version=version,
            architecture=architecture,
            manager=_NAME,
            chosen=not _is_automatic(automatic, name, architecture),
            origin=origins.of(name, version),
            source=stanza.get("Source").partition(" ")[0] or name,
            section=stanza.get("Section"),
            priority=stanza.get("Priority"),
            depends=_depends(stanza, providers, installed),
        )
        if found := files.of(path, stanza):
            yield found
            for each in found.paths:
                owner.setdefault(each, name)
    for where, override in files.overrides():
        if package := owner.get(override.path):
            yield PackageFiles(seen_in=where, package=package, paths=(), shipped=(override,))
    yield from (*status.unread, *reader.unread, *files.reader.unread)


ANALYZER = Analyzer(
    name=_NAME,
    says="Debian packages: versions, who asked for them, where they come from, the paths they own.",
    reads=(
        "/etc/os-release", STATUS, "/var/lib/dpkg/status.d", DIVERSIONS, OVERRIDES, f"{INFO}/*.list",
        f"{INFO}/*.md5sums",
        "/var/lib/apt/extended_states", f"{_LISTS}/*Release", f"{_LISTS}/*_Packages",
    ),
    analyze=analyze,
    source="deb822(5), deb-md5sums(5), dpkg-query(1), dpkg-divert(1), dpkg-statoverride(1), Debian Policy 5 and 7",
)  # fmt: skip
