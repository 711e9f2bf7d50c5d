"""Packages of Alpine, and of the OpenWrt that took apk over: the database, the world, the repositories.

The database is text, one field a line; its only description is apk-tools' own reader (src/database.c,
`apk_db_fdb_read`, and src/package.c, `apk_pkgtmpl_add_info`), which this follows. PyPI has no reader of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._apk_files import (
    DIRECTORY,
    FILE,
    Acl,
    Protected,
    directory_record,
    file_record,
    parse_acl,
    parse_digest,
    read_rules,
)
from analyzers._apk_repositories import Asked, Origins, parse_dependencies, parse_index, parse_repositories, parse_world
from analyzers._packages import (
    MAX_DATABASE,
    MAX_LINE,
    MAX_PACKAGES,
    MAX_PATHS,
    Complain,
    Complaints,
    Database,
    Names,
    Record,
    is_name,
    is_version,
    lines,
    real_paths,
    rooted,
)
from analyzers._reading import Reader
from analyzers._shipped import Shipper
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "apk"
_DATABASES = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed", "/lib/apk/db-uvol/installed")
_WORLD = "/etc/apk/world"
_CACHES = ("/etc/apk/cache", "/var/cache/apk")
_LISTS = ("/etc/apk/repositories.d", "/usr/lib/apk/repositories.d", "/lib/apk/repositories.d")
_MAX_INDEX = 64 << 20
_MAX_FILES = 200  # of protected_paths.d and of repositories.d
_FIELDS = frozenset("CPVASITULomtcDpirqksfg")
_VIRTUAL = "virtual meta package"  # src/app_add.c


class Installed(msgspec.Struct, frozen=True):
    """One package of the database: its fields by their letters, the line it begins on, and its files."""

    line: int
    fields: Mapping[str, str]
    records: tuple[Record, ...]

    def get(self, letter: str) -> str:
        """Return a field's text, or nothing."""
        return self.fields.get(letter, "")

    @property
    def virtual(self) -> bool:
        """Whether it is a name that a person gave to other packages (`apk add --virtual .build-deps`)."""
        return not self.records and (self.get("T") == _VIRTUAL or self.get("P").startswith("."))


class _Block:
    """The package whose lines are being read, with the directory and the file that the last of them were about."""

    def __init__(self, line: int, protected: Protected, complain: Complain) -> None:
        self.line = line
        self.fields: dict[str, str] = {}
        self.records: list[Record] = []
        self._protected = protected
        self._complain = complain
        self._folder: str | None = None
        self._file: tuple[str, Acl, str] | None = None
        self._directory: tuple[str, Acl] | None = None

    def take(self, letter: str, value: str, line: int) -> None:
        """Take the field of one line."""
        if letter in _FIELDS:
            self.fields[letter] = value
        elif letter == "F":
            self.close()
            path = rooted(value)
            self._folder = path if value else ""
            self._directory = (path, DIRECTORY) if path else None
            if value and path is None:
                self._complain("a directory with no usable name", line)
        elif letter == "R":
            self.close()
            path = rooted(f"{self._folder}/{value}") if value and "/" not in value else None
            if path is None or self._folder is None:
                self._complain("a file with no usable name or in no directory", line)
            else:
                self._file = (path, FILE, "")
        else:
            self._detail(letter, value, line)

    def _detail(self, letter: str, value: str, line: int) -> None:
        acl = parse_acl(value) if letter in "Ma" else None
        if letter == "M" and acl and self._directory:
            self._directory = (self._directory[0], acl)
        elif letter == "a" and acl and self._file:
            self._file = (self._file[0], acl, self._file[2])
        elif letter == "Z" and self._file and (digest := parse_digest(value, "S" in self.fields.get("f", ""))):
            self._file = (*self._file[:2], digest)
        else:
            self._complain("a line that apk does not write, or not here", line)

    def close(self) -> None:
        """Put what is known of the directory and of the file into the records."""
        if self._directory:
            self.records.append(directory_record(*self._directory))
            self._directory = None
        if self._file:
            path, acl, digest = self._file
            self.records.append(file_record(path, acl, digest, self._protected))
            self._file = None

    def package(self) -> Installed | None:
        """Return the package, or None where it has no valid name and version."""
        self.close()
        if is_name(self.fields.get("P", "")) and is_version(self.fields.get("V", "")):
            return Installed(self.line, self.fields, tuple(self.records))
        self._complain("a package with no valid name and version", self.line)
        return None


def parse_installed(text: str, complain: Complain, protected: Protected | None = None) -> Iterator[Installed]:
    """Yield the packages of `lib/apk/db/installed`; an empty line ends each.

    At most MAX_PACKAGES and half of MAX_PATHS are read, and that is said.
    """
    block: _Block | None = None
    guard = protected or Protected()
    packages = paths = 0
    most = MAX_PATHS // 2  # they are all held at once
    for number, line in lines(text + "\n\n"):
        if len(line) < 2:
            if block and (package := block.package()):
                yield package
                packages += 1
                paths += len(package.records)
            block = None
        elif line[1] != ":" or len(line) > MAX_LINE:
            complain("a line that is no field", number)
        else:
            block = block or _Block(number, guard, complain)
            block.take(line[0], line[2:], number)
        if packages >= MAX_PACKAGES or paths + (len(block.records) if block else 0) >= most:
            complain(f"only {MAX_PACKAGES} packages and {most} paths are read", number)
            return


def _databases(reader: Reader, complaints: Complaints, protected: Protected) -> list[tuple[str, Installed]]:
    found: list[tuple[str, Installed]] = []
    seen: set[str] = set()
    for path in _DATABASES:
        real = reader.guest.resolve(path)
        if real is None or real in seen:  # of a merged /usr the first two are one
            continue
        seen.add(real)
        if (text := reader.optional(path, MAX_DATABASE)) is not None:
            found += [(path, each) for each in parse_installed(text, complaints.about(path), protected)]
    return found


def _protected(reader: Reader) -> Protected:
    paths = reader.guest.glob("/etc/apk/protected_paths.d/*.list")[:_MAX_FILES]
    return Protected(read_rules(text for path in paths if (text := reader.optional(path))))


def _repository_files(guest: Guest) -> list[str]:
    """Return the paths of apk-repositories(5): of one name in several directories the first counts."""
    named: dict[str, str] = {}
    for folder in _LISTS:
        for path in guest.glob(f"{folder}/*.list")[:_MAX_FILES]:
            named.setdefault(path.rpartition("/")[2], path)
    return ["/etc/apk/repositories", *named.values()]


def _origins(reader: Reader, world: list[Asked], installed: list[tuple[str, Installed]]) -> Origins:
    architecture = (reader.optional("/etc/apk/arch") or "").strip()
    wanted = {(each.get("P"), each.get("C")) for _, each in installed}
    texts = [text for path in _repository_files(reader.guest) if (text := reader.optional(path))]
    repositories = parse_repositories(texts, architecture)[:_MAX_FILES]
    indexes: dict[str, frozenset[str]] = {}
    for repository in repositories:
        for path in (f"{cache}/{name}" for cache in _CACHES for name in sorted(repository.cached_as())):
            if not reader.guest.is_file(path) or (data := reader.data(path, _MAX_INDEX)) is None:
                continue
            try:
                listed = parse_index(data)
            except ValueError as error:
                reader.note(path, str(error))
                continue
            for name, identity in listed & wanted:
                key = f"{name} {identity}"
                indexes[key] = indexes.get(key, frozenset()) | {repository.origin}
    files = frozenset(asked.name for asked in world if asked.operator == "><")
    return Origins(tuple(repositories), indexes, files)


def _chosen(installed: list[tuple[str, Installed]], world: list[Asked], names: Names) -> set[str]:
    """Return the packages that the world asks for, and those that a person named together as a virtual one."""
    chosen = {package for asked in world for package in names.behind(asked.name)}
    for _, each in installed:
        if each.virtual and each.get("P") in chosen:
            chosen.update(names.resolve(parse_dependencies(each.get("D")), each.get("P")))
    return chosen


def _algorithm(records: Sequence[Record]) -> str:
    """Return by what the digests of a package are: one for all of its files."""
    names = {record.digest.partition(":")[0] for record in records if record.kind == "file" and record.digest}
    return "sha256" if "sha256" in names else "sha1"


def _conffiles(records: Sequence[Record], algorithm: str, tree: Tree) -> tuple[tuple[str, str], ...]:
    """Return (path, hex) of the regular files that apk protects.

    Packages of apk 3's own format have no digest to compare with: the database keeps 20 bytes of a SHA-256.
    """
    digests = (
        (tree.real(record.path), record.digest.removeprefix(f"{algorithm}:"))
        for record in records
        if record.configuration and record.kind == "file" and record.digest.startswith(f"{algorithm}:")
    )
    return tuple(sorted(digests))


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each installed package, by name."""
    reader = Database(guest, _NAME)
    complaints = Complaints(reader)
    installed = _databases(reader, complaints, _protected(reader))
    installed.sort(key=lambda each: (each[1].get("P"), each[0], each[1].line))
    world = parse_world(reader.optional(_WORLD) or "") if installed else []
    names = Names()
    for _, each in installed:
        names.add(each.get("P"), parse_dependencies(each.get("p")))
    chosen = _chosen(installed, world, names)
    origins = _origins(reader, world, installed) if installed else Origins((), {}, frozenset())
    tree = Tree(guest)
    shipper = Shipper(reader, tree)
    for path, each in installed:
        name = each.get("P")
        yield Package(
            seen_in=Place(path, each.line),
            name=name,
            version=each.get("V"),
            architecture=each.get("A"),
            manager=_NAME,
            chosen=name in chosen,
            origin="local" if each.virtual else origins.of(name, each.get("C"), each.get("s")),
            source=each.get("o") or name,
            section="virtual" if each.virtual else "",
            depends=names.resolve(parse_dependencies(each.get("D")), name),
        )
        yield PackageFiles(
            seen_in=Place(path, each.line),
            package=name,
            paths=real_paths(each.records, tree),
            conffiles=_conffiles(each.records, algorithm := _algorithm(each.records), tree),
            algorithm=algorithm,
            shipped=tuple(shipper.shipped(record, algorithm) for record in each.records),
        )
    complaints.finish()
    yield from reader.unread


def records(guest: Guest) -> Iterator[tuple[str, Record]]:
    """Yield (package, record) for every path of the database, as the tree has it: modes, owners and digests."""
    reader = Database(guest, _NAME)
    tree = Tree(guest)
    for _, each in _databases(reader, Complaints(reader), _protected(reader)):
        for record in each.records:
            yield each.get("P"), msgspec.structs.replace(record, path=tree.real(record.path))


ANALYZER = Analyzer(
    name=_NAME,
    says="Alpine packages: versions, who asked for them, where they come from, the paths they own.",
    reads=(
        *_DATABASES, _WORLD, "/etc/apk/arch", "/etc/apk/repositories", "/etc/apk/protected_paths.d",
        "/etc/passwd", "/etc/group",
        *(f"{folder}/*.list" for folder in _LISTS), *(f"{cache}/APKINDEX.*.tar.gz" for cache in _CACHES),
    ),
    analyze=analyze,
    source="apk-world(5), apk-repositories(5), apk-protected_paths(5), apk-tools 2.10 to 3.0 src/database.c",
)  # fmt: skip
