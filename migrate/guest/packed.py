"""A disk image that is compressed, or in several parts: unpacked to a temporary file that has no name.

Zeros are left out of that file. So what is written is what the disk holds, and a bomb, which must be of few
different bytes to be small, takes no room if they are zeros and is stopped by the limits if not.

gzip (RFC 1952), bzip2, xz, and zstd (RFC 8878) by its own program: Python has no zstd before 3.14.
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Protocol

from migrate.errors import DiskError
from migrate.guest.blockgraph import Window, look
from migrate.guest.progress import Progress
from migrate.guest.spool import PIECE, reopened, spool, spool_directory, write_all
from migrate.guest.tarball import compression
from migrate.text import show

LARGEST = 64 << 40
"""The largest disk of any format that is read, in bytes (VHDX, [MS-VHDX] 2.6.2.2)."""

RESERVE = 1 << 30
"""How many bytes of the room for temporary files are left to others, where there are ten times as many."""

_GRAIN = 64 << 10
_MAGIC = 6
_MOST_MEMORY = 512 << 20  # xz -9 needs 65 MiB (xz(1)), zstd limits itself to 128 MiB (zstd(1), --memory)
_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the methods of the two others."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        self._is_full = len(out) == max_length and not self._decoder.eof  # then it may keep more
        return out


def _decoder(packed: str) -> _Decoder:
    if packed == "gzip":
        return _Gzip()
    if packed == "bzip2":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY)


def decompressed(pieces: Iterable[bytes], packed: str) -> Generator[bytes, None, None]:
    """Yield what compressed bytes hold, a MiB at a time at most, by gzip, bzip2, xz or zstd.

    Several streams after each other are one; what follows them and is none is left out, as the programs do it.
    Raises DiskError where the program zstd is missing, and otherwise what the decompressors raise.
    """
    if packed == "zstd":
        yield from _unzstd(pieces)
        return
    decoder, is_open, after = _decoder(packed), True, b""
    for piece in pieces:
        data = piece
        while data or (is_open and not decoder.needs_input):
            if not is_open:
                after = (after + data).lstrip(b"\0")  # padding between streams, gzip(1) and xz(1)
                if len(after) < _MAGIC:
                    break
                if compression(after) != packed:
                    return
                data, after, is_open, decoder = after, b"", True, _decoder(packed)
            out = decoder.decompress(data, PIECE)
            data = b""
            if out:
                yield out
            if decoder.eof:
                data, is_open = decoder.unused_data, False
    if is_open:
        raise EOFError("it ends too early")


def _unzstd(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    program = shutil.which("zstd")
    if program is None:
        do = "install zstd (Debian: apt-get install zstd), or decompress it on another machine"
        raise DiskError("decompress it", "there is no zstd program here", do)
    with (
        spool() as words,
        subprocess.Popen(
            [program, "-dc", "--quiet", "--no-sparse"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - PIPE above
        assert process.stdout is not None  # noqa: S101
        failed: list[BaseException] = []
        feeder = threading.Thread(target=_feed, args=(process.stdin, pieces, failed), daemon=True)
        feeder.start()
        ended = False
        try:
            while piece := process.stdout.read(PIECE):
                yield piece
            ended = True
        finally:
            if not ended:
                process.kill()
            feeder.join()
        if failed:
            raise failed[0]
        if process.wait() != 0:
            said = os.pread(words.fileno(), 1000, 0).decode("utf-8", "replace").removeprefix("/*stdin*\\").strip(": \n")
            raise OSError(f"zstd says: {said or 'nothing'}")


def _feed(pipe: IO[bytes], pieces: Iterable[bytes], failed: list[BaseException]) -> None:
    try:
        with pipe:
            for piece in pieces:
                pipe.write(piece)
    except BrokenPipeError:
        pass  # the program ended: its exit status says why
    except BaseException as error:  # noqa: BLE001 - told by the thread that waits for this one
        failed.append(error)


class Unpacked:
    """What is told of an unpacking, and what it may take: `most` bytes in all, whatever they are."""

    def __init__(self, name: str, progress: Progress, most: int = LARGEST) -> None:
        self.name = name
        self.progress = progress
        self.most = min(most, LARGEST)


def unpack(windows: Sequence[Window], packed: str, how: Unpacked) -> IO[bytes]:
    """Return a temporary file with these runs of bytes joined and then decompressed (`packed` may be empty).

    Raises DiskError, in one sentence, where they cannot be read, or where that would take too much.
    """
    total = sum(window.size for window in windows)
    doing = f"decompressing {show(how.name)}" if packed else f"joining {show(how.name)}"
    attempted = f"unpack {show(how.name)}"
    pieces = _told(windows, total, doing, how.progress)
    file = spool()
    try:
        if packed:
            with closing(decompressed(pieces, packed)) as content:
                _write(file, content, attempted, how.most)
        else:
            _write(file, pieces, attempted, how.most)
    except _ERRORS as error:
        file.close()
        found = f"it is compressed with {packed} and cannot be decompressed" if packed else "it cannot be read"
        why = getattr(error, "strerror", None) or str(error)
        do = "copy it again; if room ran out, set TMPDIR to a directory with more"
        raise DiskError(attempted, f"{found}: {show(why)}", do) from error
    except BaseException:
        file.close()
        raise
    return file


def _told(windows: Sequence[Window], total: int, doing: str, progress: Progress) -> Iterator[bytes]:
    done = 0
    for window in windows:
        with window.file() as file:
            left = window.size
            while left:
                progress(doing, done, total)
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise EOFError("a part of it is cut short")
                yield piece
                left, done = left - len(piece), done + len(piece)


def _write(file: IO[bytes], pieces: Iterable[bytes], attempted: str, most: int) -> None:
    """Write pieces to an empty file, zeros as holes. Raises DiskError where they are too many, and OSError."""
    count, written, room = 0, 0, free_room(file)
    for piece in pieces:
        count += len(piece)
        if count > most:
            found = f"it holds more than the {most} bytes that it may have: it is damaged, or made to fill a disk"
            raise DiskError(attempted, found)
        for at in range(0, len(piece), _GRAIN):
            grain = piece[at : at + _GRAIN]
            if grain.count(0) == len(grain):
                file.seek(len(grain), os.SEEK_CUR)
                continue
            written += len(grain)
            if written > room:
                raise no_room(attempted, f"more than {written} bytes", room)
            write_all(file, grain)
    file.truncate()


def free_room(file: IO[bytes]) -> int:
    """Return how many bytes may be written where a file is: not all, so that others can work on."""
    status = os.fstatvfs(file.fileno())
    free = status.f_bavail * status.f_frsize
    return free - min(RESERVE, free // 10)


def no_room(attempted: str, needed: str, room: int) -> DiskError:
    """Return the error for too little room for temporary files; `room` is what `free_room` gave."""
    found = f"{needed} are needed, and {room} are free in {spool_directory() or tempfile.gettempdir()}"
    return DiskError(attempted, found, "set TMPDIR to a directory with more room")


def window_of(file: IO[bytes]) -> Window:
    """Return a temporary file as what it is to qemu; it must stay open as long as that is used."""
    return look(Path(reopened(file)))
