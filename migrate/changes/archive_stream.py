"""Bytes that are read once, forwards, and within bounds: how a package's archive is seen. The archive is hostile."""

from __future__ import annotations

import contextlib
import lzma
from collections.abc import Generator, Iterator

from migrate.guest import compression

PIECE = 16 << 10
"""Compressed bytes are taken so many at a time: each stream that ends in a piece copies the rest of it."""

_SLACK = 8 << 20
_LZMA_ALONE = b"\x5d\x00\x00"  # properties of every known encoder, and a dictionary of whole 64 KiB (lzma-file-format)
_MOST_MEMORY = 1 << 30


class ArchiveError(ValueError):
    """An archive does not follow its format, or goes beyond the bounds; the text says which."""


class Budget:
    """How many unpacked bytes may still be read, of one archive or of many."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        """Take some of it. Raises ArchiveError where it is more than is left."""
        self.left -= count
        if self.left < 0:
            raise ArchiveError("it unpacks to more than is read of one archive")


class Stream:
    """Pieces of bytes as one file that only goes forwards. `at` is how many bytes were read or skipped.

    Reading raises ArchiveError where `budget` is spent, and what the pieces raise.
    """

    def __init__(self, pieces: Iterator[bytes], budget: Budget) -> None:
        self._pieces = pieces
        self._budget = budget
        self._held = memoryview(b"")
        self.at = 0

    def _more(self) -> bool:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._budget.take(len(piece))
            self._held = memoryview(piece)
        return True

    def some(self, most: int) -> bytes:
        """Return at least one byte and at most so many; none at the end."""
        if most <= 0 or not self._more():
            return b""
        data = bytes(self._held[:most])
        self._held = self._held[most:]
        self.at += len(data)
        return data

    def read(self, count: int) -> bytes:
        """Return so many bytes, fewer only at the end. What asks is to have bounded `count`."""
        parts = []
        while count > 0 and (data := self.some(count)):
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def exactly(self, count: int) -> bytes:
        """Return so many bytes. Raises ArchiveError where it ends before."""
        data = self.read(count)
        if len(data) < count:
            raise ArchiveError(f"it is cut short at byte {self.at}")
        return data

    def skip(self, count: int) -> None:
        """Go forwards. Raises ArchiveError where it ends before."""
        while count > 0:
            if not self._more():
                raise ArchiveError(f"it is cut short at byte {self.at}")
            step = min(count, len(self._held))
            self._held = self._held[step:]
            self.at += step
            count -= step

    def part(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in pieces. Raises ArchiveError where it ends before."""
        while size > 0:
            data = self.some(min(size, PIECE))
            if not data:
                raise ArchiveError(f"it is cut short at byte {self.at}")
            size -= len(data)
            yield data

    def rest(self) -> Iterator[bytes]:
        """Yield all that follows in pieces."""
        while data := self.some(PIECE):
            yield data


class _Fed:
    """What goes into a decompressor, with an eye on what comes out.

    No compressor makes its input much longer; only streams of nothing do (20 bytes each with gzip), and of those 1 MiB
    takes 0.3 s.
    """

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._first, self._rest = first, rest
        self._taken = 0  # zstd is fed by a thread: each of the two counts has one writer
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self._counted(self._first)
        for piece in self._rest:
            yield from self._counted(piece)

    def _counted(self, piece: bytes) -> Iterator[bytes]:
        self._taken += len(piece)
        if self._taken - self.given > _SLACK:
            raise ArchiveError("it takes up more compressed than it unpacks to")
        yield piece


def unpacked(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield what bytes hold that are compressed with gzip, bzip2, xz, zstd or lzma; others as they are.

    Raises `migrate.guest.compression.ERRORS`, DiskError where the program zstd is missing, ArchiveError.
    """
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= len(_LZMA_ALONE) + 10:
            break
    packed = compression.compression(first)
    if packed is None and first[:3] != _LZMA_ALONE:
        yield first
        yield from pieces
        return
    fed = _Fed(first, pieces)
    out = compression.decompressed(iter(fed), packed) if packed else _lzma_alone(iter(fed))
    with contextlib.closing(out):  # ends the program zstd where no more is wanted
        for data in out:
            fed.given += len(data)
            yield data


def _lzma_alone(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield what a file of LZMA Utils holds: payloads of rpm 4.6 to 4.8, and data.tar.lzma (deb(5))."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MOST_MEMORY)
    for piece in pieces:
        data = piece
        while not decoder.eof and (data or not decoder.needs_input):
            if out := decoder.decompress(data, 1 << 20):
                yield out
            data = b""
        if decoder.eof:
            return
    raise EOFError("it ends too early")
