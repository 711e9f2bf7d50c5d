"""A differencing disk, and reading one's tables: what `vhddiff` and `vhdxdiff` have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import IO, Literal, TypeAlias

import msgspec

ZEROS = -1
"""Stands for a place in the file where a run reads as zeros."""

Run: TypeAlias = tuple[int, int, int]
"""Where a run of bytes starts on the guest's disk, where in the file (or ZEROS), and how many bytes it has."""

_RUN_OF_ONES = re.compile("1+")


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that holds only what changed since its parent.

    `parents` are names under which the parent may be found from the child's own directory, with `/` between
    their parts, the likeliest first. They are the image's words: they may lead anywhere, and the one who opens them
    has to see to it that they do not. `parent_ids` are the identities (lower-case GUIDs) of which the parent has
    one. `parent_time` is when the parent was last changed, by a VHD: seconds since 2000-01-01 UTC, often 0.

    The rest says where the tables are, in bytes: `table` is where the block allocation table starts, `reserved` are
    the (start, end) of what holds no content.
    """

    format: Literal["vpc", "vhdx"]
    virtual_bytes: int
    parents: tuple[str, ...]
    parent_ids: tuple[str, ...]
    parent_time: int | None = None
    block_bytes: int
    sector_bytes: int
    table: int
    reserved: tuple[tuple[int, int], ...]


def length_of(file: IO[bytes]) -> int:
    """Return how many bytes a file has. Raises OSError."""
    return file.seek(0, os.SEEK_END)


def take(file: IO[bytes], offset: int, length: int, what: str) -> bytes:
    """Return so many bytes from an offset. Raises ValueError where the file ends before that, and OSError."""
    if offset < 0 or offset + length > length_of(file):
        raise ValueError(f"{what} lies beyond its end: it is cut short or damaged")
    return read_at(file, offset, length, what)


def read_at(file: IO[bytes], offset: int, length: int, what: str) -> bytes:
    """Return so many bytes from an offset that is known to be in the file. Raises ValueError as `take`, and OSError."""
    file.seek(offset)
    pieces = []
    while length:
        piece = file.read(length)
        if not piece:
            raise ValueError(f"{what} lies beyond its end: it is cut short or damaged")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def runs_of_ones(bitmap: bytes, *, highest_first: bool) -> Iterator[tuple[int, int]]:
    """Yield first and one past the last of each run of set bits; a byte's highest or lowest bit is its first."""
    count = 8 * len(bitmap)
    if bitmap.count(0) == len(bitmap):
        return
    if bitmap.count(0xFF) == len(bitmap):
        yield 0, count
    elif highest_first:
        yield from (found.span() for found in _RUN_OF_ONES.finditer(f"{int.from_bytes(bitmap, 'big'):0{count}b}"))
    else:
        bits = f"{int.from_bytes(bitmap, 'little'):0{count}b}"[::-1]
        yield from (found.span() for found in _RUN_OF_ONES.finditer(bits))


def coalesced(runs: Iterable[Run], end: int) -> Iterator[Run]:
    """Yield runs that are in guest order, with those joined that follow each other, and nothing from `end` on."""
    at, place, length = 0, 0, 0
    for start, offset, count in runs:
        count = min(count, end - start)
        if count <= 0:
            break
        follows = offset == place == ZEROS or (place != ZEROS and offset == place + length)
        if length and start == at + length and follows:
            length += count
            continue
        if length:
            yield at, place, length
        at, place, length = start, offset, count
    if length:
        yield at, place, length


def names(relative: Iterable[str], absolute: Iterable[str]) -> tuple[str, ...]:
    r"""Return under which names a parent may be found, from the paths that Windows knows it by.

    >>> names(["..\\base\\parent.vhdx"], ["c:\\vm\\base\\parent.vhdx"])
    ('../base/parent.vhdx', 'parent.vhdx')
    """
    paths = [[part for part in re.split(r"[\\/]", path) if part not in {"", "."}] for path in relative]
    last = [re.split(r"[\\/]", path)[-1:] for path in (*relative, *absolute)]
    found = [parts for parts in (*paths, *last) if parts and parts[-1] not in {"", ".", ".."}]
    return tuple(dict.fromkeys("/".join(parts) for parts in found if not any("\0" in part for part in parts)))
