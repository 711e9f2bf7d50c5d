"""A guest's file as a seekable one, without having all of a big one in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO

from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.guest.spool import spool, write_sparse

IN_MEMORY = 32 << 20
MAX_OPENED = 2 << 30


@contextlib.contextmanager
def opened(guest: Guest, path: str, limit: int = MAX_OPENED) -> Iterator[IO[bytes]]:
    """Open a regular file to read in any order: in memory up to 32 MiB, else as a temporary file with no name.

    What a zip's directory and an ELF file's sections say stands at their ends, and a `Guest` reads from the front.
    Raises GuestFileError where the file cannot be read or is longer than `limit`, DiskError where there is no room.
    """
    entry = guest.stat(path)
    size = entry.size if entry is not None else 0
    if size > limit:
        raise GuestFileError(f"read {path}", f"it is {size} bytes long, and at most {limit} are read")
    if size <= IN_MEMORY:
        yield io.BytesIO(guest.read(path, IN_MEMORY))
        return
    with spool() as file:
        write_sparse(file, guest.chunks(path))
        file.seek(0)
        yield file


def piece(file: IO[bytes], offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` on, fewer where the file ends.

    >>> piece(io.BytesIO(b"abcdef"), 4, 9)
    b'ef'
    """
    if not 0 <= offset < 1 << 62 or size <= 0:
        return b""
    file.seek(offset)
    return file.read(size)
