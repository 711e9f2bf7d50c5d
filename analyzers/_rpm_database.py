"""Finds rpm's database on a guest and reads its packages, whichever of its three back ends keeps them."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from analyzers import _rpm_header as tags
from analyzers._reading import Reader
from analyzers._rpm_bdb import read_bdb
from analyzers._rpm_depends import Relation, provisions, recommendations, requirements
from analyzers._rpm_files import FileList, read_files
from analyzers._rpm_header import Budget, DamagedError, Header, parse_header
from analyzers._rpm_history import full_version
from analyzers._rpm_ndb import read_ndb
from analyzers._rpm_signature import signer
from analyzers._rpm_sqlite import read_sqlite
from migrate.errors import GuestFileError

# Fedora and SUSE moved it out of /var; rpm-ostree keeps it below /usr/share. Usually two of them are links.
DIRECTORIES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm")
_MAX_DATABASE = 1 << 30  # bytes; 2,500 packages of EL 8 are 200 MB
_MAX_PACKAGES = 200_000
_MAX_NOTES = 20  # of one file; one damaged page can spoil hundreds of headers

# build/parsePreamble.c, ALLOWED_CHARS_NAME and ALLOWED_CHARS_VERREL: a name that is none never comes to be a package.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~%{}-]*", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9._+%{}~^-]+", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_]*", re.ASCII)
_SOURCE = re.compile(r"(.+)-[^-]+-[^-]+\.(?:no)?src\.rpm")


class Installed(msgspec.Struct, frozen=True):
    """A package of the database; `version` is [EPOCH:]VERSION-RELEASE."""

    name: str
    version: str
    architecture: str
    vendor: str
    signer: str
    section: str
    source: str
    files: FileList
    provides: list[Relation]
    requires: list[Relation]
    recommends: list[Relation]


class Notes:
    """Tells the first damages of a file one by one, and of the rest how many there are."""

    def __init__(self, reader: Reader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._count = 0

    def __call__(self, why: str) -> None:
        """Tell one."""
        self._count += 1
        if self._count <= _MAX_NOTES:
            self._reader.note(self._path, why)

    def close(self) -> None:
        """Tell of the rest."""
        if self._count > _MAX_NOTES:
            self._reader.note(self._path, f"and {self._count - _MAX_NOTES} more places that are damaged")


def read_package(header: Header, budget: Budget, known: dict[str, str]) -> Installed | None:
    """Return the package of a header; None for rpm's keys, which are kept as packages too. Raises DamagedError."""
    name, architecture = header.text(tags.NAME), header.text(tags.ARCH)
    if name == "gpg-pubkey":
        return None
    epoch = next(iter(header.integers(tags.EPOCH)), None)
    version, release = header.text(tags.VERSION), header.text(tags.RELEASE)
    if (
        not _NAME.fullmatch(name)
        or not all(map(_VERSION.fullmatch, (version, release)))
        or not _WORD.fullmatch(architecture)
    ):
        raise DamagedError("a package with no valid name, version and architecture")
    source = header.text(tags.SOURCERPM)
    section = header.text(tags.GROUP)
    return Installed(
        name=name,
        version=full_version(epoch, version, release),
        architecture=architecture,
        vendor=header.text(tags.VENDOR),
        signer=signer(header),
        section="" if section == "Unspecified" else section,
        source=match[1] if (match := _SOURCE.fullmatch(source)) else name,
        files=read_files(header, budget, known),
        provides=provisions(header, budget),
        requires=requirements(header, budget),
        recommends=recommendations(header, budget),
    )


class Copies:
    """Makes private copies of a guest's databases in a folder: SQLite opens files, and 200 MB are not for memory."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self._count = 0

    def __call__(self, path: str) -> Path | None:
        """Return the copy of a database, its write-ahead log beside it; None, with a note, where it cannot be had."""
        self._count += 1
        copy = self._folder / f"{self._count}.db"
        guest = self._reader.guest
        if not self._fetch(path, copy):
            return None
        log = guest.stat(f"{path}-wal")
        if log is not None and log.size and not self._fetch(f"{path}-wal", copy.with_name(f"{copy.name}-wal")):
            return None
        journal = guest.stat(f"{path}-journal")
        if journal is not None and journal.size:
            # It is not copied: it can name a further file, which SQLite looks for and removes on the host.
            self._reader.note(f"{path}-journal", "a transaction was not finished, and it is not rolled back")
        return copy

    def _fetch(self, path: str, copy: Path) -> bool:
        entry = self._reader.guest.stat(path)
        if entry is not None and entry.size > _MAX_DATABASE:
            self._reader.note(path, f"it is {entry.size} bytes long, and at most {_MAX_DATABASE} are read")
            return False
        try:
            with copy.open("wb") as file:
                for piece in self._reader.guest.chunks(path):
                    file.write(piece)
        except GuestFileError as error:
            self._reader.note(path, error.found)
            return False
        except OSError as error:
            self._reader.note(path, f"no copy can be made of it: {error.strerror}")
            return False
        return True


@contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _headers(name: str, copy: Path, note: Callable[[str], None]) -> Iterator[tuple[int, bytes]]:
    if name == "rpmdb.sqlite":
        yield from read_sqlite(copy)
        return
    with _mapped(copy) as data:
        yield from (read_ndb if name == "Packages.db" else read_bdb)(data, note)


def read_database(name: str, copy: Path, note: Callable[[str], None]) -> list[Installed]:
    """Return the packages of a copied database, called `name` on the guest; what is damaged is told to `note`."""
    found: list[Installed] = []
    budget, known = Budget(), dict[str, str]()
    try:
        for number, blob in _headers(name, copy, note):
            try:
                package = read_package(parse_header(blob), budget, known)
            except DamagedError as error:
                note(f"package {number}: {error}")
                continue
            if package is not None:
                found.append(package)
            if len(found) >= _MAX_PACKAGES:
                raise DamagedError(f"more than {_MAX_PACKAGES} packages")
    except DamagedError as error:
        note(str(error))
    return found


def find_database(reader: Reader, copies: Copies) -> tuple[str, list[Installed]]:
    """Return the path of the machine's database and its packages; an empty path where there is none.

    Of several the first that has packages counts, newer places and back ends first; the others are told of.
    """
    guest = reader.guest
    folders = dict.fromkeys(guest.resolve(folder) for folder in DIRECTORIES if guest.is_dir(folder))
    taken, packages = "", list[Installed]()
    for folder in folders:
        for name in ("rpmdb.sqlite", "Packages.db", "Packages"):
            path = f"{folder}/{name}"
            if not guest.is_file(path):
                continue
            if packages:
                reader.note(path, f"it is not read: {taken} has the packages")
            elif copy := copies(path):
                note = Notes(reader, path)
                packages, taken = read_database(name, copy, note), path
                note.close()
                copy.unlink()
    return taken, packages
