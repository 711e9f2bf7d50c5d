"""The files that an OVF descriptor is among: those of a folder, or of a tar archive. Both are hostile.

Where a file is in an archive is what its disk is read from, so that an archive is refused where that is not certain.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from migrate.errors import DiskError
from migrate.guest.images.parts import Part
from migrate.text import show

AGAIN = "copy it again from where it came, or export the machine again"
# What tarfile raises for headers that no program writes, beside its own errors.
TAR_ERRORS = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)
_MAX_MEMBERS = 5000
_MAX_HEADERS = 16 << 20


class Files(Protocol):
    """The files that a descriptor is among, by name; `place` says in words where they are."""

    place: str

    def names(self) -> list[str]:
        """Return their names."""
        ...

    def find(self, name: str) -> Part | None:
        """Return where a file is; None where there is none. Raises DiskError for what is no file to be read."""
        ...


class Folder:
    """The files of a folder. What leads out of it is not followed."""

    place = "beside it"

    def __init__(self, folder: Path, attempted: str) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._attempted = attempted

    def names(self) -> list[str]:
        """Return their names."""
        return sorted(each.name for each in self._folder.iterdir())

    def find(self, name: str) -> Part | None:
        """Return where a file is. Raises DiskError where that is outside of the folder, or is no file."""
        real = Path(os.path.realpath(self._folder / name))
        if not real.is_relative_to(self._folder):
            raise DiskError(self._attempted, f"its {show(name)} is {show(str(real))}, outside of its own folder")
        try:
            status = real.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise DiskError(self._attempted, f"its {show(name)} is no file")
        return Part(real, 0, status.st_size)


class Archive:
    """The files of a tar archive. Raises DiskError for one that is cut short or damaged, or has a name twice."""

    place = "in it"

    def __init__(self, path: Path, attempted: str) -> None:
        self._attempted = attempted
        self._parts: dict[str, Part | None] = {}
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            try:
                for info in members(headers_of(file)):
                    self._add(info, path, size)
            except TAR_ERRORS as error:
                found = f"it is no whole archive: {show(str(error) or type(error).__name__)}"
                raise DiskError(attempted, found, AGAIN) from error

    def _add(self, info: tarfile.TarInfo, path: Path, size: int) -> None:
        name = info.name.removeprefix("./").rstrip("/")
        if info.isdir():
            return
        if name in self._parts:
            raise DiskError(self._attempted, f"it has {show(name)} twice, and which is meant is not said", AGAIN)
        plain = info.type in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE} and not info.issparse()
        end = info.offset_data + info.size
        if plain and end > size:
            found = f"it is cut short: it is {size} bytes long, and {show(name)} in it goes to byte {end}"
            raise DiskError(self._attempted, found, AGAIN)
        self._parts[name] = Part(path, info.offset_data, info.size) if plain else None

    def names(self) -> list[str]:
        """Return their names."""
        return list(self._parts)

    def find(self, name: str) -> Part | None:
        """Return where a file is. Raises DiskError where it is none whose bytes follow each other."""
        if name in self._parts and self._parts[name] is None:
            found = f"its {show(name)} is a link, a file with holes or no file at all, which no such archive has"
            raise DiskError(self._attempted, found, "unpack it with tar -xf, and give the .ovf")
        return self._parts.get(name)


# ------------------------------------------------------------------ headers of tar


def headers_of(file: IO[bytes]) -> Headers:
    """Return the headers of an archive that is a file, from where it stands."""

    def skip(count: int) -> bool:
        file.seek(count, os.SEEK_CUR)
        return True

    return Headers(file.read, skip)


class Stream:
    """Content that comes in pieces, read as a file is."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, count: int) -> bytes:
        """Return so many bytes, fewer where it ends."""
        found = []
        while count:
            self._left = self._left or next(self._pieces, b"")
            if not self._left:
                break
            found.append(self._left[:count])
            self._left = self._left[count:]
            count -= len(found[-1])
        return b"".join(found)

    def skip(self, count: int) -> bool:
        """Go on by so many bytes; False where it ends before."""
        while count > len(self._left):
            count -= len(self._left)
            self._left = next(self._pieces, b"")
            if not self._left:
                return False
        self._left = self._left[count:]
        return True


class Headers:
    """An archive as tarfile sees it. It goes forward only, and the headers together take no more than _MAX_HEADERS.

    tarfile reads an extended header into memory, whatever length the archive gives it. `last` is what was read last.
    """

    def __init__(self, read: Callable[[int], bytes], skip: Callable[[int], bool]) -> None:
        self._read = read
        self._skip = skip
        self._at = 0
        self._spent = 0
        self.last = b""

    def read(self, count: int = -1) -> bytes:
        """Return so many bytes. Raises tarfile.ReadError where that is too much."""
        self._spent += max(0, count)
        if count < 0 or self._spent > _MAX_HEADERS:
            raise tarfile.ReadError(f"the headers before byte {self._at} take more than {_MAX_HEADERS} bytes")
        self.last = self._read(count)
        self._at += len(self.last)
        return self.last

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on to an offset, as far as there is anything. Raises tarfile.ReadError for one before."""
        if whence != os.SEEK_SET or not self._at <= offset < 1 << 62:
            raise tarfile.ReadError(f"a header leads to byte {offset}")
        if self._skip(offset - self._at):
            self._at = offset
        return self._at

    def tell(self) -> int:
        """Return where it stands."""
        return self._at


def members(headers: Headers) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive. Raises what is in TAR_ERRORS for damaged ones."""
    archive = tarfile.open(  # noqa: SIM115 - it owns nothing; the file is the caller's
        fileobj=cast("IO[bytes]", headers), mode="r:", encoding="utf-8", errors="surrogateescape"
    )
    last = -1
    for _ in range(_MAX_MEMBERS):
        info = archive.next()
        if info is None:
            if any(headers.last):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"there is no valid header where it goes on, at byte {archive.offset}")
            break
        # A negative size would lead back to headers already read, for ever (CVE-2025-8194).
        if archive.offset <= last or info.size < 0 or info.offset_data < 0:
            raise tarfile.ReadError(f"the header at byte {info.offset} has an impossible size")
        last = archive.offset
        yield info
    else:
        raise tarfile.ReadError(f"it has more than {_MAX_MEMBERS} files")
