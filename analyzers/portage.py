"""Packages of Gentoo: what is merged, who asked for it, which repository it is from, and its CONTENTS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._packages import (
    MAX_PACKAGES,
    MAX_PATHS,
    Complain,
    Complaints,
    Database,
    Names,
    Record,
    is_name,
    lines,
    real_paths,
    rooted,
)
from analyzers._reading import Reader, assignments, inside, meaningful
from analyzers._shipped import Shipper
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "portage"
_DATABASE = "/var/db/pkg"
_WORLD = "/var/lib/portage/world"
_WORLD_SETS = "/var/lib/portage/world_sets"
_SETS = "/etc/portage/sets"
_MAX_CONTENTS = 64 << 20
_MAX_FIELD = 1 << 20
_MAX_SETS = 100
_DEPENDS = ("RDEPEND", "PDEPEND")  # what it needs to run, and what is merged after it (ebuild(5))

# Package Manager Specification 3.1 and 3.2: a version is what follows the last `-` before a digit.
_VERSIONED = re.compile(
    r"(?P<name>[A-Za-z0-9+_][A-Za-z0-9+_-]*?)"
    r"-(?P<version>\d+(?:\.\d+)*[a-z]?(?:_(?:alpha|beta|pre|rc|p)\d*)*(?:-r\d+)?)"
)
_OPERATOR = re.compile(r"[<>=~!]+")
_OBJECT = re.compile(r"obj (.+) ([0-9a-f]{32}|-) (-?\d+)")
_LINK = re.compile(r"sym (.+?) -> (.+) (-?\d+)")
_OTHER = re.compile(r"(dir|fif|dev) (.+)")


def split_version(text: str) -> tuple[str, str] | None:
    """Return (name, version) of `NAME-VERSION`, or None where there is no version in it.

    >>> split_version("gtk+-2.24.33-r3"), split_version("font-adobe-100dpi")
    (('gtk+', '2.24.33-r3'), None)
    """
    match = _VERSIONED.fullmatch(text) if len(text) <= 255 else None
    return (match["name"], match["version"]) if match else None


def parse_atom(text: str) -> str | None:
    """Return CATEGORY/NAME of a dependency atom (ebuild(5)), or None where it is none or a blocker.

    >>> parse_atom(">=dev-lang/python-3.11.4:3.11[ssl?]"), parse_atom("!sys-apps/old")
    ('dev-lang/python', None)
    """
    if len(text) > 1024 or text.startswith("!"):
        return None
    operator = _OPERATOR.match(text)
    name = re.split(r"[:\[]", text[operator.end() if operator else 0 :], maxsplit=1)[0].removesuffix("*")
    category, slash, package = name.partition("/")
    if operator and (parts := split_version(package)):
        package = parts[0]
    return f"{category}/{package}" if category and slash and package and is_name(name) and "/" not in package else None


def parse_dependencies(text: str, use: frozenset[str]) -> list[str]:
    """Return the names that a *DEPEND field asks for where the flags `use` are set, alternatives in order.

    What stands in `flag? ( … )` counts where the flag is set, in `!flag? ( … )` where it is not.
    """
    found: dict[str, None] = {}
    stack: list[bool] = [True]
    wanted = True  # of the group that opens next
    for word in text.split():
        if word == "(":
            stack.append(stack[-1] and wanted)
            wanted = True
        elif word == ")":
            if len(stack) > 1:
                stack.pop()
        elif word.endswith("?"):
            flag = word[:-1]
            wanted = flag[1:] not in use if flag.startswith("!") else flag in use
        elif word in {"||", "^^", "??"}:
            wanted = True
        elif stack[-1] and (name := parse_atom(word)):
            found[name] = None
    return list(found)


def parse_contents(text: str, complain: Complain) -> Iterator[Record]:
    """Yield the records of a CONTENTS file: `obj PATH MD5 MTIME`, `sym PATH -> TARGET MTIME`, `dir PATH`.

    A path may hold spaces, and is not escaped; the words behind it are counted from the end of the line.
    """
    for number, line in lines(text):
        record = _record(line) if len(line) < 3 * 4096 else None
        if record is not None:
            yield record
        elif line and line != "dir /":
            complain("a line that portage does not write", number)


def _record(line: str) -> Record | None:
    if match := _OBJECT.fullmatch(line):
        path = rooted(match[1])
        digest = "" if match[2] == "-" else f"md5:{match[2]}"
        return Record(path=path, digest=digest, mtime=_time(match[3])) if path else None
    if match := _LINK.fullmatch(line):
        path = rooted(match[1])
        return Record(path=path, kind="symlink", target=match[2], mtime=_time(match[3])) if path else None
    if match := _OTHER.fullmatch(line):
        path = rooted(match[2])
        return Record(path=path, kind="directory" if match[1] == "dir" else "other") if path else None
    return None


def _time(text: str) -> int | None:
    return int(text) if len(text) < 16 else None


class Protect(msgspec.Struct, frozen=True):
    """The directories of CONFIG_PROTECT, without those of CONFIG_PROTECT_MASK (make.conf(5))."""

    kept: tuple[str, ...] = ("/etc",)
    masked: tuple[str, ...] = ()

    def __contains__(self, path: str) -> bool:
        return any(inside(path, top) for top in self.kept) and not any(inside(path, top) for top in self.masked)


def parse_protect(text: str) -> Protect:
    """Return what /etc/profile.env (env-update(1)) protects; /etc is always (make.globals)."""
    fields = assignments(text)

    def paths(name: str) -> list[str]:
        words = fields.get(name, ("", 0))[0].split()
        return [path for word in words[:1000] if (path := rooted(word))]

    return Protect(tuple(dict.fromkeys(["/etc", *paths("CONFIG_PROTECT")])), tuple(paths("CONFIG_PROTECT_MASK")))


class Merged(msgspec.Struct, frozen=True):
    """A folder of /var/db/pkg: CATEGORY/NAME, version, and the small files of it that were read."""

    folder: str
    name: str
    version: str
    fields: Mapping[str, str]

    @property
    def origin(self) -> str:
        """By the repository's name: Gentoo's own is `gentoo`; a machine's own overlay is called so by the handbook."""
        repository = self.fields.get("repository", "")
        if repository in {"gentoo", "gentoo_prefix"}:
            return "distribution"
        if repository in {"local", "localrepo", "__unknown__", "x-portage"}:
            return "local"
        return "third-party" if repository else ""


_FIELDS = ("repository", "CHOST", "KEYWORDS", "USE", *_DEPENDS)


def _merged(reader: Reader, complaints: Complaints) -> list[Merged]:
    guest = reader.guest
    found: list[Merged] = []
    for category in guest.listdir(_DATABASE):
        complain = complaints.about(f"{_DATABASE}/{category}")
        for package in guest.listdir(f"{_DATABASE}/{category}"):
            folder = f"{_DATABASE}/{category}/{package}"
            if package.startswith((".", "-MERGING-")) or not guest.is_dir(folder):  # the second: half merged
                continue
            parts = split_version(package)
            if parts is None or not is_name(f"{category}/{parts[0]}"):
                complain("a folder that is no name and version", 0)
                continue
            if len(found) >= MAX_PACKAGES:
                reader.note(_DATABASE, f"only {MAX_PACKAGES} packages are read")
                return found
            texts = ((field, reader.optional(f"{folder}/{field}", _MAX_FIELD)) for field in _FIELDS)
            fields = {field: text.strip() for field, text in texts if text}
            found.append(Merged(folder, f"{category}/{parts[0]}", parts[1], fields))
    return found


def _world(reader: Reader) -> set[str]:
    """Return the names a person asked for: the world file, and the sets of their own that it names."""
    texts = [reader.optional(_WORLD) or ""]
    for _, line in meaningful(reader.optional(_WORLD_SETS) or ""):
        name = line.removeprefix("@")
        if is_name(name) and "/" not in name and len(texts) < _MAX_SETS:
            texts.append(reader.optional(f"{_SETS}/{name}") or "")
    atoms = (line.split()[0] for text in texts for _, line in meaningful(text))
    return {found for atom in atoms if (found := parse_atom(atom.partition("::")[0]))}


def _architecture(fields: Mapping[str, str]) -> str:
    """Return the machine of CHOST (`x86_64-pc-linux-gnu`), as far as it is one word."""
    machine = fields.get("CHOST", "").partition("-")[0]
    return machine if machine.replace("_", "").isalnum() else ""


class _Contents:
    """Reads the CONTENTS of packages, so many paths of all of them together."""

    def __init__(self, reader: Reader, complaints: Complaints) -> None:
        self._reader = reader
        self._complaints = complaints
        self._left = MAX_PATHS
        self.protect = parse_protect(reader.optional("/etc/profile.env") or "")

    def of(self, folder: str) -> list[Record]:
        """Return the records of one package."""
        path = f"{folder}/CONTENTS"
        found: list[Record] = []
        for record in parse_contents(self._reader.optional(path, _MAX_CONTENTS) or "", self._complaints.about(path)):
            if self._left <= 0:
                self._reader.note(path, f"only {MAX_PATHS} paths are read")
                break
            self._left -= 1
            found.append(record)
        self._complaints.finish()
        return found

    def configuration(self, records: Sequence[Record]) -> Iterator[Record]:
        """Yield the files among them that portage does not overwrite."""
        yield from (record for record in records if record.kind == "file" and record.path in self.protect)


def _marked(record: Record, configuration: set[str]) -> Record:
    return msgspec.structs.replace(record, configuration=True) if record.path in configuration else record


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each merged package, by category, name and version."""
    reader = Database(guest, _NAME)
    complaints = Complaints(reader)
    merged = _merged(reader, complaints)
    complaints.finish()
    names = Names()
    for each in merged:
        names.add(each.name, ())
    world = _world(reader) if merged else set()
    tree, contents = Tree(guest), _Contents(reader, complaints)
    shipper = Shipper(reader, tree)
    for each in merged:
        use = frozenset(each.fields.get("USE", "").split())
        asked = [name for field in _DEPENDS for name in parse_dependencies(each.fields.get(field, ""), use)]
        yield Package(
            seen_in=Place(each.folder),
            name=each.name,
            version=each.version,
            architecture=_architecture(each.fields),
            manager=_NAME,
            chosen=each.name in world,
            origin=each.origin,
            source=each.name,
            section=each.name.partition("/")[0],
            depends=names.resolve(asked, each.name),
        )
        found = contents.of(each.folder)
        protected = list(contents.configuration(found))
        digests = ((tree.real(r.path), r.digest.removeprefix("md5:")) for r in protected)
        kept = {r.path for r in protected}
        yield PackageFiles(
            seen_in=Place(f"{each.folder}/CONTENTS"),
            package=each.name,
            paths=real_paths(found, tree),
            conffiles=tuple(sorted((path, md5) for path, md5 in digests if md5)),
            shipped=tuple(shipper.shipped(_marked(record, kept), "md5") for record in found),
        )
    yield from reader.unread


def records(guest: Guest) -> Iterator[tuple[str, Record]]:
    """Yield (package, record) for every path of the CONTENTS files, as the tree has it. There are no modes."""
    reader = Database(guest, _NAME)
    complaints = Complaints(reader)
    tree, contents = Tree(guest), _Contents(reader, complaints)
    for each in _merged(reader, complaints):
        found = contents.of(each.folder)
        protected = {record.path for record in contents.configuration(found)}
        for record in found:
            real = tree.real(record.path)
            yield each.name, msgspec.structs.replace(record, path=real, configuration=record.path in protected)


ANALYZER = Analyzer(
    name=_NAME,
    says="Gentoo packages: versions, who asked for them, which repository they are from, the paths they own.",
    reads=(
        *(f"{_DATABASE}/*/*/{field}" for field in (*_FIELDS, "CONTENTS")), _WORLD, _WORLD_SETS, _SETS,
        "/etc/profile.env", "/etc/passwd", "/etc/group",
    ),
    analyze=analyze,
    source="portage(5), ebuild(5), make.conf(5), Package Manager Specification 3, 8 and 14",
)  # fmt: skip
