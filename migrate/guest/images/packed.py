"""A disk image that is compressed, or in several parts: unpacked to a temporary file that has no name.

Zeros are left out of that file. So what is written is what the disk holds, and a bomb, which must be of few
different bytes to be small, takes no room if they are zeros and is stopped by the limits if not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from migrate.errors import DiskError
from migrate.guest.compression import ERRORS, decompressed
from migrate.guest.images.blockgraph import Window, look
from migrate.guest.progress import Progress
from migrate.guest.spool import PIECE, reopened, spool, spool_directory, write_all
from migrate.text import show

LARGEST = 64 << 40
"""The largest disk of any format that is read, in bytes (VHDX, [MS-VHDX] 2.6.2.2)."""

RESERVE = 1 << 30
"""How many bytes of the room for temporary files are left to others, where there are ten times as many."""

_GRAIN = 64 << 10


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
    except ERRORS as error:
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
