"""What is compressed with gzip (RFC 1952), bzip2, xz or zstd (RFC 8878), decompressed within bounded memory.

zstd by its own program: Python has none before 3.14.
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import IO, Protocol

from migrate.errors import DiskError
from migrate.guest.spool import PIECE, spool

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST = 6
_FED = 32 << 10
_MOST_MEMORY = 1 << 30  # what an xz file may ask for: -9 needs 65 MiB (xz(1)), zstd limits itself to 128 MiB (zstd(1))
ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What `decompressed` raises for a damaged file, a missing program aside."""


def compression(head: bytes) -> str | None:
    """Return how a file is compressed (gzip, bzip2, xz or zstd), going by its first bytes; None if it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


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
    Raises DiskError where the program zstd is missing, and otherwise `ERRORS`.
    """
    if packed == "zstd":
        yield from _unzstd(pieces)
        return
    decoder, is_open, after = _decoder(packed), True, b""
    for data in _cut(pieces):
        while data or (is_open and not decoder.needs_input):
            if not is_open:
                after = (after + data).lstrip(b"\0")  # padding between streams, gzip(1) and xz(1)
                if len(after) < _LONGEST:
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


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut pieces small: each stream that ends copies the rest of its piece, and a MiB may hold 50,000 empty ones."""
    for piece in pieces:
        for start in range(0, len(piece), _FED):
            yield piece[start : start + _FED]


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
