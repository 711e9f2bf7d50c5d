"""Packages of Debian and its kin, and the paths they own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec
from debian.deb822 import Deb822

from analyzers._apt_lists import Origins, read_origins
from analyzers._reading import Reader, assignments, numbered
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "dpkg"
_STATUS = "/var/lib/dpkg/status"
_INFO = "/var/lib/dpkg/info"
_LISTS = "/var/lib/apt/lists"
_MAX_STATUS = 64 << 20
_MAX_LIST = 256 << 20  # Debian main's Packages is 45 MB; uncompressed lists only, apt reads those too

# Debian Policy 5.6.1; a name that is none never comes to be a package of ours.
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[0-9A-Za-z.+:~-]+")
_CONFFILE = re.compile(r"\s*(/.*) ([0-9a-f]{32})(?: obsolete| remove-on-upgrade)*\s*")


class Stanza(msgspec.Struct, frozen=True):
    """One installed package of a status file: its fields, and the line it begins on."""

    line: int
    fields: Mapping[str, str]

    def get(self, name: str) -> str:
        """Return a field's text, or nothing."""
        return self.fields.get(name, "")


def _paragraphs(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (first line, fields) of each paragraph; no fields where python-debian refuses it.

    Bytes that were not UTF-8 become U+FFFD: python-debian encodes what it is given, and stops at them.
    """
    lines = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split("\n")
    start = 0
    for end in range(len(lines) + 1):
        if end < len(lines) and lines[end].strip():
            continue
        if end > start:
            try:
                yield start + 1, dict(Deb822(lines[start:end]))
            except (ValueError, EOFError):
                yield start + 1, {}
        start = end + 1


def parse_status(text: str) -> Iterator[Stanza]:
    """Yield the stanzas of dpkg's status file, deb822(5), that say the package is installed.

    `Status: install ok installed`: the third word counts; the others are the wish and an error flag.
    A status file of a distroless image (status.d/NAME) has no Status and one stanza.
    """
    for line, fields in _paragraphs(text):
        if fields.get("Status", "installed").split()[-1:] == ["installed"]:
            yield Stanza(line, fields)


def parse_depends(text: str) -> list[str]:
    """Return the names in a relationship field (Debian Policy 7.1), each once, without version and architecture.

    >>> parse_depends("libc6 (>= 2.34), default-mta | mail-transport-agent, python3:any")
    ['libc6', 'default-mta', 'mail-transport-agent', 'python3']
    """
    parts = (re.split(r"[\s(\[<:]", part.strip(), maxsplit=1)[0] for part in re.split(r"[,|]", text))
    return list(dict.fromkeys(part for part in parts if part))


def parse_conffiles(text: str) -> list[tuple[str, str]]:
    """Return (path, md5) for the Conffiles field; entries that were never unpacked (`newconffile`) are left out."""
    found = []
    for _, line in numbered(text):
        if match := _CONFFILE.fullmatch(line):
            found.append((match[1], match[2]))
    return found


def parse_diversions(text: str) -> list[tuple[str, str, str]]:
    """Return (path, diverted to, package that diverts or `:`) for dpkg's diversions file: three lines each."""
    lines = [line for _, line in numbered(text)]
    return [(lines[i], lines[i + 1], lines[i + 2]) for i in range(0, len(lines) - 2, 3)]


def parse_extended_states(text: str) -> set[tuple[str, str]]:
    """Return (name, architecture) of what apt installed by itself (apt-mark(8) `showauto`)."""
    return {
        (fields.get("Package", ""), fields.get("Architecture", ""))
        for _, fields in _paragraphs(text)
        if fields.get("Auto-Installed", "").strip() == "1"
    }


def _is_automatic(automatic: set[tuple[str, str]], name: str, architecture: str) -> bool:
    """Tell whether apt pulled a package in; it writes one for all architectures down under the machine's own."""
    if architecture == "all":
        return any(name == other for other, _ in automatic)
    return (name, architecture) in automatic


def _owned(listed: Iterable[str], tree: Tree, moved: Mapping[str, tuple[str, str]], package: str) -> tuple[str, ...]:
    paths = set()
    for path in listed:
        if path in ("/.", "/", "") or not path.startswith("/"):
            continue
        path = tree.real(path)
        if path in moved and moved[path][1] != package:
            path = moved[path][0]
        paths.add(path)
    return tuple(sorted(paths))


def _status_files(reader: Reader) -> Iterator[tuple[str, str]]:
    guest = reader.guest
    for path in [_STATUS, *sorted(guest.glob("/var/lib/dpkg/status.d/*"))]:
        if not path.endswith(".md5sums") and (text := reader.optional(path, _MAX_STATUS)):
            yield path, text


def _stanzas(reader: Reader) -> Iterator[tuple[str, Stanza]]:
    for path, text in _status_files(reader):
        for stanza in parse_status(text):
            name, version = stanza.get("Package"), stanza.get("Version")
            if _PACKAGE_NAME.fullmatch(name) and _VERSION.fullmatch(version):
                yield path, stanza
            else:
                reader.note(path, "a package with no valid name and version (Debian Policy 5.6)", stanza.line)


def _origins(reader: Reader, installed: Collection[str]) -> Origins:
    guest = reader.guest
    release = reader.optional("/etc/os-release") or ""
    system = assignments(release).get("ID", ("debian", 0))[0]

    def read(name: str) -> bytes:
        return reader.data(f"{_LISTS}/{name}", _MAX_LIST) or b""

    names = [name for name in guest.listdir(_LISTS) if name.endswith(("_Packages", "Release"))]
    return read_origins(names, read, system, installed)


def _list_of(reader: Reader, name: str, architecture: str) -> str | None:
    """Return the path of the package's list: multi-arch `same` packages have the architecture in its name."""
    for stem in (f"{name}:{architecture}", name):
        if reader.guest.is_file(f"{_INFO}/{stem}.list"):
            return f"{_INFO}/{stem}.list"
    return None


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
    reader = Reader(guest, _NAME)
    stanzas = sorted(_stanzas(reader), key=lambda s: (s[1].get("Package"), s[1].get("Architecture"), s[0]))
    if not stanzas:
        yield from reader.unread
        return
    automatic = parse_extended_states(reader.optional("/var/lib/apt/extended_states", _MAX_STATUS) or "")
    installed = {stanza.get("Package") for _, stanza in stanzas}
    origins = _origins(reader, installed)
    tree = Tree(guest)
    diversions = parse_diversions(reader.optional("/var/lib/dpkg/diversions") or "")
    moved = {tree.real(path): (tree.real(to), by) for path, to, by in diversions if path.startswith("/")}
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
        if (listing := _list_of(reader, name, architecture)) and (text := reader.text(listing)) is not None:
            owned = _owned(text.split("\n"), tree, moved, name)
            conffiles = sorted((tree.real(path), md5) for path, md5 in parse_conffiles(stanza.get("Conffiles")))
            yield PackageFiles(seen_in=Place(listing), package=name, paths=owned, conffiles=tuple(conffiles))
        elif listing is None and path == _STATUS:
            reader.note(path, f"no list of the files of {name}", stanza.line)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Debian packages: versions, who asked for them, where they come from, the paths they own.",
    reads=(
        "/etc/os-release", _STATUS, "/var/lib/dpkg/status.d", "/var/lib/dpkg/diversions", f"{_INFO}/*.list",
        "/var/lib/apt/extended_states", f"{_LISTS}/*Release", f"{_LISTS}/*_Packages",
    ),
    analyze=analyze,
    source="deb822(5), dpkg-query(1), dpkg-divert(1), Debian Policy chapters 5 and 7",
)  # fmt: skip
