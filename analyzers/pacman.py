"""Packages of Arch and its kin: what is installed, who asked for it, and which repository has it.

pyalpm on PyPI is a binding that needs libalpm of the running system; the database is plain text, read here.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from analyzers._mtree import parse_mtree
from analyzers._packages import (
    MAX_PACKAGES,
    MAX_PATHS,
    THE_ROOT,
    Complaints,
    Database,
    Names,
    Record,
    is_name,
    is_version,
    lines,
    real_paths,
    rooted,
    unpack,
)
from analyzers._reading import Reader, assignments, meaningful
from analyzers._shipped import Shipper
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place

_NAME = "pacman"
_DATABASE = "/var/lib/pacman"
_MAX_DESC = 1 << 20
_MAX_LINES = 10_000  # of one package's description
_MAX_FILES = 64 << 20
_MAX_SYNC = 64 << 20  # extra.db is 8 MB
_MAX_UNPACKED = 128 << 20
_MAX_ENTRIES = 500_000
_MD5 = re.compile(r"[0-9a-f]{32}")
_DEPENDENCY_END = re.compile(r"[<>=:\s]")

# The repositories of Arch itself (and those of Manjaro and Arch ARM, which bear the same names), and of Artix.
_OURS = re.compile(
    r"(?:core|extra|community|multilib|testing|staging|gnome-unstable|kde-unstable|alarm|aur|system|world|galaxy|lib32)"
    r"(?:-(?:testing|staging|unstable|debug))*"
)


class Desc(msgspec.Struct, frozen=True):
    """The fields of one `desc` or `files`: each name in `%NAME%` with its lines, and where the name stands."""

    fields: Mapping[str, tuple[str, ...]]
    line: int = 1

    def get(self, name: str) -> str:
        """Return the first line of a field, or nothing."""
        return self.all(name)[0] if self.all(name) else ""

    def all(self, name: str) -> tuple[str, ...]:
        """Return all lines of a field."""
        return self.fields.get(name, ())


def parse_desc(text: str, most: int = _MAX_LINES) -> Desc:
    """Return the fields of a database file, alpm-db-desc(5): `%NAME%`, its lines, an empty line.

    No more than `most` lines are kept.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    first = 1
    left = most
    for number, line in lines(text):
        if len(line) > 2 and line[0] == line[-1] == "%" and current is None:
            current = found.setdefault(line[1:-1], [])
            first = number if line == "%NAME%" else first
        elif not line.strip():
            current = None
        elif current is not None and left > 0:
            current.append(line)
            left -= 1
    return Desc({name: tuple(values) for name, values in found.items()}, first)


def parse_dependency(text: str) -> str:
    """Return the name in a dependency: without version, and without the reason of an optional one.

    >>> parse_dependency("libtree-sitter.so=1-64"), parse_dependency("glibc>=2.33")
    ('libtree-sitter.so', 'glibc')
    """
    return _DEPENDENCY_END.split(text, maxsplit=1)[0]


def parse_sync(data: bytes) -> set[str]:
    """Return the names of the packages in a repository's database: an archive of folders `NAME-VERSION-RELEASE`.

    Raises ValueError where it is none.
    """
    found: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack(data, _MAX_UNPACKED)), mode="r:") as archive:
            for count, member in enumerate(archive):
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                if count >= _MAX_ENTRIES:
                    raise ValueError(f"it has more than {_MAX_ENTRIES} entries")
                parts = member.name.split("/", 1)[0].rsplit("-", 2)
                if len(parts) == 3 and is_name(parts[0]):
                    found.add(parts[0])
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"it is no archive: {error}") from None
    return found


class Origins(msgspec.Struct, frozen=True):
    """Which repositories have which names, and whether all of them could be asked."""

    repositories: Mapping[str, frozenset[str]] = {}
    system: str = "arch"
    complete: bool = False

    def of(self, name: str, validation: str) -> str:
        """Return distribution, third-party, local (what pacman calls foreign), or nothing where it is not known.

        A package that was verified by nothing (`%VALIDATION% none`) was installed from a file.
        """
        holders = [repository for repository, names in self.repositories.items() if name in names]
        if any(_OURS.fullmatch(each) or each == self.system for each in holders):
            return "distribution"
        if holders:
            return "third-party"
        return "local" if self.complete or validation == "none" else ""


def _origins(reader: Reader, database: str, installed: Collection[str]) -> Origins:
    guest = reader.guest
    whole = False
    found: dict[str, frozenset[str]] = {}
    paths = guest.glob(f"{database}/sync/*.db")[:100]
    for path in paths:
        if (data := reader.data(path, _MAX_SYNC)) is None:
            continue
        try:
            names = parse_sync(data)
        except ValueError as error:
            reader.note(path, str(error))
            continue
        repository = path.rpartition("/")[2].removesuffix(".db")
        found[repository] = frozenset(names.intersection(installed))
        whole = whole or (bool(names) and _OURS.fullmatch(repository) is not None)
    system = assignments(reader.optional("/etc/os-release") or "").get("ID", ("arch", 0))[0]
    return Origins(found, system, complete=whole and len(found) == len(paths))


def _database(reader: Reader) -> str:
    """Return the database's folder: pacman.conf(5), DBPath."""
    for _, line in meaningful(reader.optional("/etc/pacman.conf") or ""):
        key, _, value = line.partition("=")
        if key.strip() == "DBPath" and (path := rooted(value.strip())):
            return path
    return _DATABASE


def _installed(reader: Reader, database: str) -> Iterator[tuple[str, Desc]]:
    guest = reader.guest
    folders = [name for name in guest.listdir(f"{database}/local") if guest.is_dir(f"{database}/local/{name}")]
    if len(folders) > MAX_PACKAGES:
        reader.note(f"{database}/local", f"only {MAX_PACKAGES} of {len(folders)} packages are read")
    for name in folders[:MAX_PACKAGES]:
        path = f"{database}/local/{name}/desc"
        if not guest.is_file(path):
            reader.note(f"{database}/local/{name}", "a package with no description")
        elif (text := reader.text(path, _MAX_DESC)) is not None:
            desc = parse_desc(text)
            if is_name(desc.get("NAME")) and is_version(desc.get("VERSION")):
                yield f"{database}/local/{name}", desc
            else:
                reader.note(path, "a package with no valid name and version")


class _Files:
    """Reads the files of packages, so many of all of them together."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._complaints = Complaints(reader)
        self._left = MAX_PATHS

    def of(self, folder: str) -> tuple[list[Record], list[tuple[str, str]]]:
        """Return a package's paths, and (path, md5) of those that are configuration (`%BACKUP%`)."""
        path = f"{folder}/files"
        text = self._reader.optional(path, _MAX_FILES)
        if text is None:
            return [], []
        desc = parse_desc(text, MAX_PATHS)
        complain = self._complaints.about(path)
        listed = []
        for line in desc.all("FILES")[: self._left]:
            if where := rooted(line):
                listed.append(Record(path=where, kind="directory" if line.endswith("/") else "unknown"))
            elif line not in THE_ROOT:
                complain("a path that is none", 0)
        self._left -= len(listed)
        if self._left <= 0:
            complain(f"only {MAX_PATHS} paths are read", 0)
        backup = (line.rpartition("\t") for line in desc.all("BACKUP"))
        found = [(where, md5) for name, _, md5 in backup if (where := rooted(name)) and _MD5.fullmatch(md5)]
        self._complaints.finish()
        return listed, found

    def mtree(self, folder: str) -> list[Record]:
        """Return what the package's mtree records, or nothing where it has none or it is damaged."""
        path = f"{folder}/mtree"
        if not self._reader.guest.is_file(path) or (data := self._reader.data(path, _MAX_FILES)) is None:
            return []
        try:
            text = unpack(data, _MAX_FILES).decode("utf-8", "surrogateescape")
        except ValueError as error:
            self._reader.note(path, str(error))
            return []
        found = []
        for record in parse_mtree(text, self._complaints.about(path)):
            found.append(record)
            self._left -= 1
            if self._left <= 0:
                self._reader.note(path, f"only {MAX_PATHS} paths are read")
                break
        self._complaints.finish()
        return found


def _depends(desc: Desc) -> Iterable[str]:
    return map(parse_dependency, desc.all("DEPENDS"))


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each installed package, by name."""
    reader = Database(guest, _NAME)
    database = _database(reader)
    installed = sorted(_installed(reader, database), key=lambda each: (each[1].get("NAME"), each[0]))
    names = Names()
    for _, desc in installed:
        names.add(desc.get("NAME"), map(parse_dependency, desc.all("PROVIDES")))
    origins = _origins(reader, database, names.installed) if installed else Origins()
    tree, files = Tree(guest), _Files(reader)
    shipper = Shipper(reader, tree)
    for folder, desc in installed:
        name = desc.get("NAME")
        yield Package(
            seen_in=Place(f"{folder}/desc", desc.line),
            name=name,
            version=desc.get("VERSION"),
            architecture=desc.get("ARCH"),
            manager=_NAME,
            chosen=desc.get("REASON") != "1",  # 0, or nothing: asked for; 1: pulled in (alpm-db-desc(5))
            origin=origins.of(name, desc.get("VALIDATION")),
            source=desc.get("BASE") or name,
            depends=names.resolve(_depends(desc), name),
        )
        listed, backup = files.of(folder)
        conffiles = tuple(sorted((tree.real(path), md5) for path, md5 in backup))
        where = Place(f"{folder}/files")
        yield PackageFiles(seen_in=where, package=name, paths=real_paths(listed, tree), conffiles=conffiles)
        kept = {path for path, _ in backup}
        found = [msgspec.structs.replace(r, configuration=r.path in kept) for r in files.mtree(folder)]
        if found:  # a finding of its own: %BACKUP% is in MD5, and the mtree since pacman 6.1 in SHA-256 alone
            algorithm = "sha256" if any(record.digest.startswith("sha256:") for record in found) else "md5"
            shipped = tuple(shipper.shipped(record, algorithm) for record in found)
            where = Place(f"{folder}/mtree")
            yield PackageFiles(seen_in=where, package=name, paths=(), algorithm=algorithm, shipped=shipped)
    yield from reader.unread


def records(guest: Guest) -> Iterator[tuple[str, Record]]:
    """Yield (package, record) for every path that a package's mtree describes, as the tree has it."""
    reader = Database(guest, _NAME)
    tree, files = Tree(guest), _Files(reader)
    for folder, desc in _installed(reader, _database(reader)):
        backup = {path for path, _ in files.of(folder)[1]}
        for record in files.mtree(folder):
            real = tree.real(record.path)
            yield desc.get("NAME"), msgspec.structs.replace(record, path=real, configuration=record.path in backup)


ANALYZER = Analyzer(
    name=_NAME,
    says="Arch packages: versions, who asked for them, which repository has them, the paths they own.",
    reads=(
        "/etc/os-release", "/etc/pacman.conf", f"{_DATABASE}/local/*/desc", f"{_DATABASE}/local/*/files",
        f"{_DATABASE}/local/*/mtree", f"{_DATABASE}/sync/*.db", "/etc/passwd", "/etc/group",
    ),
    analyze=analyze,
    source="alpm-db-desc(5), alpm-db-files(5), alpm-mtree(5), mtree(5), pacman.conf(5)",
)  # fmt: skip
