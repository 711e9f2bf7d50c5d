"""A tar archive of a root directory, as a guest: plain, or compressed with gzip, bzip2, xz or zstd."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from migrate.errors import DiskError, GuestFileError
from migrate.guest import compression
from migrate.guest.archives.tarindex import TarIndex
from migrate.guest.digests import Answer, Job, hashed_in_order
from migrate.guest.mounting.root import check_root
from migrate.guest.progress import Progress, silent
from migrate.guest.protocol import Disk, Entry, FileSystem, Source
from migrate.guest.spool import PIECE, spool, spool_directory, start_of, write_sparse
from migrate.guest.tree import Tree, TreeGuest
from migrate.text import show


def is_tar(path: Path) -> bool:
    """Tell whether a file is a tar archive, or a compressed one. Raises DiskError where no tool can tell."""
    head = start_of(path, tarfile.BLOCKSIZE)
    packed = compression.compression(head)
    if packed is None or is_header(head):  # the name of its first member may be BZh…
        return is_header(head)
    pieces = decompressed(path, packed)
    try:
        return is_header(next(pieces, b"")[: tarfile.BLOCKSIZE])
    except compression.ERRORS:
        return False
    finally:
        pieces.close()


def is_header(block: bytes) -> bool:
    """Tell whether a block is a tar header, by its checksum: the magic is missing from old ones (tar(5))."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def decompressed(path: Path, packed: str) -> Generator[bytes, None, None]:
    """Yield a compressed file's content in pieces.

    Raises DiskError where the tool is missing, and otherwise `migrate.guest.compression.ERRORS`.
    """
    with path.open("rb") as file:
        yield from unpacked(file, packed)


def unpacked(file: BinaryIO, packed: str) -> Generator[bytes, None, None]:
    """Yield the content of what is compressed in an open file, from where it stands to its end; as `decompressed`."""
    try:
        yield from compression.decompressed(iter(lambda: file.read(PIECE), b""), packed)
    except DiskError as error:
        raise DiskError(
            f"open {show(str(file.name))}", f"it is compressed with {packed}, and {error.found}", error.do
        ) from error


def within_room(pieces: Iterable[bytes], copy: IO[bytes], attempted: str) -> Iterator[bytes]:
    """Pass on what is to be written to a temporary file, as long as it fits where that is.

    Zeros count too, though they take no room: a terabyte of them is packed in a gigabyte. Raises DiskError.
    """
    status = os.fstatvfs(copy.fileno())
    room = left = status.f_bavail * status.f_frsize
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            place = spool_directory() or tempfile.gettempdir()
            found = f"unpacked it is larger than the {room} bytes that are free in {place}"
            raise DiskError(attempted, found, "set TMPDIR to a directory with more room, if it is no attack")
        yield piece


class Archive:
    """A tar archive that was opened: `file` is it, or a decompressed copy of it, and `index` what it holds.

    Raises DiskError for what is no archive, or a damaged one.
    """

    def __init__(self, path: Path, progress: Progress = silent) -> None:
        self.file = _plain(path, progress)
        try:
            progress(f"indexing {path.name}")
            self.index = TarIndex(self.file, str(path))
        except BaseException:
            self.file.close()
            raise

    def names(self) -> set[str]:
        """Return the names at its top."""
        return {path.split("/", 2)[1] for path in self.index.entries}

    def close(self) -> None:
        """Close it; the temporary copy of a compressed one is gone with that."""
        self.file.close()


class TarGuest(TreeGuest):
    """A guest whose files are in a tar archive; a compressed one is unpacked to a temporary file first.

    `progress` is told what is being done. `archive` is the same one where it was opened before; it is closed with
    the guest, or where that cannot be made. Raises DiskError for what is no archive, or a damaged one, and
    NoSystemError where it holds no root.
    """

    def __init__(self, path: Path, progress: Progress = silent, archive: Archive | None = None) -> None:
        self._archive = archive or Archive(path, progress)
        try:
            index = self._archive.index
            entries, index.entries = index.entries, {}
            tree = Tree(entries.values())
            check_root(tree, f"the archive {path}")
            size = sum(entry.allocated for entry in entries.values())
            disk = Disk(path=str(path), format="tar", virtual_bytes=size)
            system = FileSystem(device=str(path), type="tar", mountpoint="/")
            super().__init__(tree, Source(disks=(disk,), filesystems=(system,), reader="tar"), index.problems)
        except BaseException:
            self._archive.close()
            raise

    def close(self) -> None:
        """Close the archive; the temporary copy of a compressed one is gone with that."""
        self._archive.close()
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        try:
            yield from self._archive.index.pieces(entry.path, length)
        except OSError as error:
            raise GuestFileError(f"read {show(entry.path)}", error.strerror or str(error)) from error

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash in threads, in the order of the archive."""
        index = self._archive.index
        return hashed_in_order(jobs, [index.start(job.entry.path) for job in jobs], self._digest)


def _plain(path: Path, progress: Progress) -> IO[bytes]:
    """Open the archive itself, or a decompressed copy of it. Raises DiskError."""
    try:
        head = start_of(path, tarfile.BLOCKSIZE)
        packed = compression.compression(head)
        if packed is None or is_header(head):
            return path.open("rb", buffering=0)
    except OSError as error:
        raise DiskError(f"open {path}", error.strerror or str(error)) from error
    copy = spool()
    try:
        progress(f"decompressing {path.name}")
        write_sparse(copy, within_room(decompressed(path, packed), copy, f"open {path}"))
    except compression.ERRORS as error:
        copy.close()
        found = f"it is compressed with {packed} and cannot be decompressed: {error}"
        do = "copy it again; if room ran out, set TMPDIR to a directory with more"
        raise DiskError(f"open {path}", show(found), do) from error
    except BaseException:
        copy.close()
        raise
    return copy
