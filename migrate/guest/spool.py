"""Temporary files for what is too big for memory: private, and without a name that could be left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from migrate.errors import DiskError

PIECE = 1 << 20
"""How many bytes are moved at a time."""

_ZEROS = bytes(PIECE)


def spool_directory() -> str | None:
    """Return where temporary files go: $TMPDIR, else /var/tmp (/tmp may be memory, file-hierarchy(7)), else None."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)  # noqa: S108


def spool() -> IO[bytes]:
    """Open a new temporary file that is gone when it is closed, however the process ends.

    Raises DiskError where no directory can be written to.
    """
    directory = spool_directory()
    try:
        return tempfile.TemporaryFile(prefix="vm2c-", dir=directory, buffering=0)
    except OSError as error:
        raise _no_room(directory, error) from error


def private_directory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory for files that must have names; it is removed with what is in it. Raises DiskError."""
    directory = spool_directory()
    try:
        return tempfile.TemporaryDirectory(prefix="vm2c-", dir=directory)
    except OSError as error:
        raise _no_room(directory, error) from error


def _no_room(directory: str | None, error: OSError) -> DiskError:
    found = f"{error.strerror} in {directory or tempfile.gettempdir()}"
    return DiskError("make a temporary file", found, "set TMPDIR to a directory with room")


def reopened(file: IO[bytes]) -> str:
    """Return a path under which a library can open the same file again by name (proc(5), /proc/PID/fd)."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


def write_sparse(file: IO[bytes], pieces: Iterator[bytes]) -> int:
    """Write all pieces from where the file stands, zeros as holes; return how many bytes there were.

    An archive of nothing but zeros, which compresses a thousandfold, so takes no room.
    """
    count = 0
    for piece in pieces:
        if piece.count(0) == len(piece):
            file.seek(len(piece), os.SEEK_CUR)
        else:
            write_all(file, piece)
        count += len(piece)
    file.truncate()
    return count


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of it: a file without a buffer may take less at once. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def pread_pieces(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    """Yield `length` bytes from `start` on, fewer only where the file ends. Raises OSError."""
    while length > 0:
        piece = os.pread(file.fileno(), min(PIECE, length), start)
        if not piece:
            return
        yield piece
        start += len(piece)
        length -= len(piece)


def zeros(length: int) -> Iterator[bytes]:
    """Yield so many zeros, in pieces; none where `length` is negative."""
    while length > 0:
        yield _ZEROS[:length]
        length -= PIECE


def start_of(path: Path, count: int) -> bytes:
    """Return the first bytes of a file or block device. Raises OSError."""
    with path.open("rb") as file:
        return file.read(count)
