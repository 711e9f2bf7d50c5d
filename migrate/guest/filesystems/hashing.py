"""Hashing files of file systems that are read in process, in the order of their place on the device.

Small files that are near each other are read at once: of a system's 17,700 files 16,600 are shorter than 64 KiB, and
mostly lie one behind the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems.inprocess import InProcess, Read

SHORT = 1 << 20
"""Longer files are read in pieces, each by itself."""

GAP = 32 << 10
"""How many bytes between two files are read with them."""

WINDOW = 2 << 20
"""How many bytes are read at once, a file's own extent aside."""


class Task(NamedTuple):
    """A file to be hashed: the number of its file system, of its inode, its length and hashlib's name of how."""

    system: int
    inode: int
    length: int
    algorithm: str


class Opened(NamedTuple):
    """A file system, and what reads the device that it is on."""

    system: InProcess
    read: Read


class _Piece(NamedTuple):
    """Bytes that belong to a file: where on which device, how many, whose and where in that."""

    system: int
    place: int
    length: int
    task: int
    at: int


def hash_tasks(systems: Sequence[Opened], tasks: Sequence[Task]) -> list[bytes | None]:
    """Return the digests of files' first bytes; None for a file that could not be read so.

    The short ones are all in memory for a moment: that they are not too many at once is the caller's to see to.
    """
    found: list[bytes | None] = [None] * len(tasks)
    pieces: list[_Piece] = []
    scattered: dict[int, bytearray] = {}
    for number, task in enumerate(tasks):
        try:
            parts = _located(systems[task.system].system, task)
            if parts is None:
                found[number] = _streamed(systems[task.system].system, task)
            elif isinstance(parts, bytes):
                found[number] = _digest(task, parts)
            else:
                pieces += [_Piece(task.system, place, length, number, at) for at, length, place in parts]
                if len(parts) != 1 or parts[0][1] != task.length:
                    scattered[number] = bytearray(task.length)
        except (DiskError, GuestFileError):
            continue
    lost = set[int]()
    for piece, data in _read(systems, sorted(pieces)):
        if data is None:
            lost.add(piece.task)
        elif piece.task in scattered:
            scattered[piece.task][piece.at : piece.at + piece.length] = data
        else:
            found[piece.task] = _digest(tasks[piece.task], data)
    for number, content in scattered.items():
        if number not in lost:
            found[number] = _digest(tasks[number], content)
    return found


def _located(system: InProcess, task: Task) -> list[tuple[int, int, int]] | bytes | None:
    """Return where a short file is, or its bytes; None where it is to be read in pieces."""
    if task.length > SHORT:
        return None
    found = system.layout("", task.inode, task.length)
    # Extents that went beyond the file, or over each other, would be more than the caller reckons with.
    if isinstance(found, bytes):
        return found if len(found) == task.length else None
    if found is None or sum(length for _, length, _ in found) > task.length:
        return None
    return found


def _streamed(system: InProcess, task: Task) -> bytes | None:
    digest = hashlib.new(task.algorithm, usedforsecurity=False)
    length = 0
    for piece in system.read_file("", task.inode, task.length):
        digest.update(piece)
        length += len(piece)
    return digest.digest() if length == task.length else None


def _digest(task: Task, content: bytes | bytearray | memoryview) -> bytes:
    return hashlib.new(task.algorithm, content, usedforsecurity=False).digest()


def _read(systems: Sequence[Opened], pieces: Sequence[_Piece]) -> Iterator[tuple[_Piece, memoryview | None]]:
    """Yield the content of pieces that are in order; None for those that cannot be read, alone or with others."""
    start = 0
    while start < len(pieces):
        system, first, length, _, _ = pieces[start]
        last, end = start + 1, first + length
        while last < len(pieces):
            following = pieces[last]
            reaches = max(end, following.place + following.length)
            if following.system != system or following.place > end + GAP or reaches - first > WINDOW:
                break
            last, end = last + 1, reaches
        try:
            window = memoryview(systems[system].read(first, end - first))
        except DiskError:
            yield from ((piece, None) for piece in pieces[start:last])
        else:
            for piece in pieces[start:last]:
                yield piece, window[piece.place - first : piece.place - first + piece.length]
        start = last
