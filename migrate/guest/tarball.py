"""A tar archive of a root directory, as a guest: plain, or compressed with gzip, bzip2, xz or zstd."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from migrate.errors import DiskError, GuestFileError
from migrate.guest.progress import Progress, silent
from migrate.guest.protocol import Disk, Entry, FileSystem, Source
from migrate.guest.root import check_root
from migrate.guest.spool import PIECE, spool, spool_directory, start_of, write_sparse
from migrate.guest.tarindex import TarIndex
from migrate.guest.tree import Tree, TreeGuest
from migrate.text import show

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_OPENERS: dict[str, Callable[[BinaryIO], io.BufferedIOBase]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bzip2": bz2.BZ2File,
}
UNPACK_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What `decompressed` and `unpacked` raise for a damaged file, a missing program aside."""

_XZ_MEMORY = 1 << 30
"""xz(1), --memlimit-decompress: what a file asks for, up to 4 GiB; `xz -9` needs 65 MiB, all it can write 1.6 GiB."""


def compression(head: bytes) -> str | None:
    """Return how a file is compressed (gzip, bzip2, xz or zstd), going by its first bytes; None if it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def is_tar(path: Path) -> bool:
    """Tell whether a file is a tar archive, or a compressed one. Raises DiskError where no tool can tell."""
    head = start_of(path, tarfile.BLOCKSIZE)
    packed = compression(head)
    if packed is None or is_header(head):  # the name of its first member may be BZh…
        return is_header(head)
    pieces = decompressed(path, packed, tarfile.BLOCKSIZE)
    try:
        return is_header(next(pieces, b"")[: tarfile.BLOCKSIZE])
    except UNPACK_ERRORS:
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


def decompressed(path: Path, packed: str, size: int = PIECE) -> Generator[bytes, None, None]:
    """Yield a compressed file's content, at most `size` bytes at a time.

    Raises DiskError where the tool is missing, and otherwise what the decompressors raise (`UNPACK_ERRORS`).
    """
    with path.open("rb") as file:
        yield from unpacked(file, packed, size)


def unpacked(file: BinaryIO, packed: str, size: int = PIECE) -> Generator[bytes, None, None]:
    """Yield the content of what is compressed in an open file, from where it stands to its end; as `decompressed`."""
    if packed == "zstd":
        yield from _unzstd(file, size)
    elif packed == "xz":
        yield from _unxz(file, size)
    else:
        with _OPENERS[packed](file) as content:
            while piece := content.read(size):
                yield piece


def _unxz(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield what `xz -dc` would: lzma.LZMAFile has no limit for the memory that a file asks for.

    Streams may follow one another, with zeros between them in fours (The .xz File Format, 1.2.1, 2.2).
    """
    data = file.read(size)
    while data:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not data and not (data := file.read(size)):
                raise EOFError("it ends before its end mark")
            if piece := decoder.decompress(data, size):
                yield piece
            data = b""
        data = (decoder.unused_data or file.read(size)).lstrip(b"\0")
        while not data and (data := file.read(size)):
            data = data.lstrip(b"\0")


def _unzstd(file: BinaryIO, size: int) -> Generator[bytes, None, None]:
    """Yield what `zstd -dc` makes of a file, which is given as its standard input, or fed to it."""
    program = shutil.which("zstd")
    if program is None:
        do = "install zstd (Debian: apt-get install zstd), or decompress it on another machine"
        raise DiskError(f"open {file.name}", "it is compressed with zstd, and there is no zstd program here", do)
    feed = None if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO) else file
    with subprocess.Popen(
        [program, "-dc", "--quiet"],
        stdin=file if feed is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - PIPE above
        assert process.stderr is not None  # noqa: S101
        feeder = threading.Thread(target=_feed, args=(feed, process.stdin), daemon=True)
        ended = False
        try:
            feeder.start()
            while piece := process.stdout.read(size):
                yield piece
            ended = True
        finally:
            if not ended:
                process.kill()
            feeder.join()
        words = process.stderr.read(1000).decode("utf-8", "replace").strip()
        if process.wait() != 0:
            raise OSError(f"zstd says: {words}")


def _feed(file: BinaryIO | None, into: IO[bytes] | None) -> None:
    """Write a file to a program that may end before it has read everything: what it says then counts."""
    if file is None or into is None:
        return
    with contextlib.suppress(OSError):  # the program is gone, or the file cannot be read and its rest is missing
        shutil.copyfileobj(file, into, PIECE)
    with contextlib.suppress(OSError):
        into.close()


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


def _plain(path: Path, progress: Progress) -> IO[bytes]:
    """Open the archive itself, or a decompressed copy of it. Raises DiskError."""
    try:
        head = start_of(path, tarfile.BLOCKSIZE)
        packed = compression(head)
        if packed is None or is_header(head):
            return path.open("rb", buffering=0)
    except OSError as error:
        raise DiskError(f"open {path}", error.strerror or str(error)) from error
    copy = spool()
    try:
        progress(f"decompressing {path.name}")
        write_sparse(copy, within_room(decompressed(path, packed), copy, f"open {path}"))
    except UNPACK_ERRORS as error:
        copy.close()
        found = f"it is compressed with {packed} and cannot be decompressed: {error}"
        do = "copy it again; if room ran out, set TMPDIR to a directory with more"
        raise DiskError(f"open {path}", show(found), do) from error
    except BaseException:
        copy.close()
        raise
    return copy
