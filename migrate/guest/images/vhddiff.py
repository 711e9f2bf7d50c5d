"""The tables of a differencing VHD.

Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006); the numbers are big-endian, a sector
has 512 bytes. Its "Data Space" of a parent locator is not needed, which is as well: Hyper-V writes it in bytes, and
the specification has it in sectors.
"""

from __future__ import annotations

import array
import struct
import uuid
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote

import msgspec

from migrate.guest.images.child import Child, Run, length_of, names, read_at, runs_of_ones, take

SECTOR = 512
FOOTER = 512
DIFFERENCING = 4
_VERSION = 0x0001_0000
_HEADER = 1024
_UNUSED = 0xFFFFFFFF
_LARGEST = 2040 << 30  # "maximum of 2040 GB"
# Virtual PC and Hyper-V write blocks of 512 KiB and 2 MiB.
_BLOCKS = tuple(1 << power for power in range(16, 29))
_PIECE = 1 << 16
_MAX_NAME = 1 << 16
_ENCODINGS = {b"W2ru": "utf-16-le", b"W2ku": "utf-16-le", b"MacX": "utf-8", b"Wi2r": "ascii", b"Wi2k": "ascii"}


class Footer(msgspec.Struct, frozen=True):
    """The end of every VHD. `header` is where the dynamic disk header is."""

    kind: int
    identity: str
    virtual_bytes: int
    header: int


def read_footer(file: IO[bytes]) -> Footer:
    """Read a VHD's footer, or its copy at the start where the footer is damaged. Raises ValueError, OSError."""
    size = length_of(file)
    if size < FOOTER:
        raise ValueError(f"it is {size} bytes long, which is too short for a VHD")
    found = [_parse_footer(take(file, offset, FOOTER, "its footer")) for offset in (size - FOOTER, 0)]
    valid = [footer for footer in found if footer is not None]
    if not valid:
        raise ValueError("it has no valid footer of a VHD: it is cut short, damaged or none")
    if valid[0] != valid[-1] and DIFFERENCING in {footer.kind for footer in valid}:
        raise ValueError("its footer and the copy of it at its start differ")
    return valid[0]


def _parse_footer(raw: bytes) -> Footer | None:
    cookie, version, header, size, kind, checksum, identity = struct.unpack_from(">8s4xIQ24xQ4xII16s", raw)
    if cookie != b"conectix" or version >> 16 != _VERSION >> 16 or _sum(raw, 64) != checksum:
        return None
    return Footer(kind, str(uuid.UUID(bytes=identity)), size, header)


def _sum(raw: bytes, place: int) -> int:
    """Return the ones' complement of the sum of all bytes, those of the checksum itself left out."""
    return ~(sum(raw) - sum(raw[place : place + 4])) & 0xFFFFFFFF


def read_vhd(file: IO[bytes]) -> Child:
    """Read the headers of a differencing VHD. Raises ValueError, OSError."""
    footer = read_footer(file)
    if footer.kind != DIFFERENCING:
        raise ValueError("it is no differencing VHD: it has no parent")
    if footer.virtual_bytes % SECTOR or not 0 < footer.virtual_bytes <= _LARGEST:
        raise ValueError(f"it says that the disk has {footer.virtual_bytes} bytes, which no VHD can")
    raw = take(file, footer.header, _HEADER, "its dynamic disk header")
    cookie, table, version, entries, block, checksum = struct.unpack_from(">8s8xQIIII", raw)
    if cookie != b"cxsparse" or version >> 16 != _VERSION >> 16 or _sum(raw, 36) != checksum:
        raise ValueError("its dynamic disk header is damaged")
    if block not in _BLOCKS:
        raise ValueError(f"its blocks have {block} bytes, which no known program writes")
    needed = -(-footer.virtual_bytes // block)
    if entries < needed or table + 4 * needed > length_of(file):
        raise ValueError("its block allocation table does not cover the disk: it is cut short or damaged")
    identity, time = struct.unpack_from(">16sI", raw, 40)
    return Child(
        format="vpc",
        virtual_bytes=footer.virtual_bytes,
        parents=_parents(file, raw),
        parent_ids=(str(uuid.UUID(bytes=identity)),),
        parent_time=time,
        block_bytes=block,
        sector_bytes=SECTOR,
        table=table,
        reserved=((0, FOOTER), (footer.header, footer.header + _HEADER), (table, table + 4 * needed)),
    )


def _parents(file: IO[bytes], header: bytes) -> tuple[str, ...]:
    """Return the parent's names, from the parent locators and the header; what cannot be read is left out."""
    relative: list[str] = []
    absolute: list[str] = []
    for number in range(8):
        code, length, offset = struct.unpack_from(">4s4xI4xQ", header, 576 + 24 * number)
        if code not in _ENCODINGS or not 0 < length <= _MAX_NAME:
            continue
        raw = take(file, offset, length, "the name of its parent")
        name = _decoded(raw, _ENCODINGS[code])
        if code == b"MacX":
            name = unquote(name.removeprefix("file://"))
            relative += [name] if name.startswith("./") else []  # as XenServer writes it
        (relative if code in {b"W2ru", b"Wi2r"} else absolute).append(name)
    absolute.append(_decoded(header[64:576], "utf-16-be"))
    return names(relative, absolute)


def _decoded(raw: bytes, encoding: str) -> str:
    """Return a name up to its first NUL; empty where it is not in this encoding."""
    try:
        return raw.decode(encoding).partition("\0")[0]
    except UnicodeDecodeError:
        return ""


def vhd_runs(file: IO[bytes], child: Child) -> Iterator[Run]:
    """Yield the sectors that a VHD holds, run by run, up to the end of its last block. Raises ValueError, OSError."""
    sectors = child.block_bytes // SECTOR
    bitmap = -(-sectors // 8 // SECTOR) * SECTOR
    taken = _Taken(bitmap + child.block_bytes, length_of(file), child.reserved)
    for number, sector in _allocated(file, child):
        start, place = number * child.block_bytes, sector * SECTOR
        length = min(child.block_bytes, child.virtual_bytes - start)
        taken.add(number, place, bitmap + length)
        bits = read_at(file, place, sectors // 8, "the bitmap of a block")
        for first, last in runs_of_ones(bits, highest_first=True):
            if first * SECTOR < length:
                yield start + first * SECTOR, place + bitmap + first * SECTOR, (last - first) * SECTOR


def _allocated(file: IO[bytes], child: Child) -> Iterator[tuple[int, int]]:
    """Yield the blocks that are in the file: their numbers, and the sectors that their bitmaps start at."""
    size = 4 * -(-child.virtual_bytes // child.block_bytes)
    for at in range(0, size, _PIECE):
        raw = take(file, child.table + at, min(_PIECE, size - at), "its block allocation table")
        if raw.count(0xFF) == len(raw):
            continue
        for index, (sector,) in enumerate(struct.iter_unpack(">I", raw)):
            if sector != _UNUSED:
                yield at // 4 + index, sector


class _Taken:
    """What of the file is in use; blocks have the same length, so one can only meet the nearest ones."""

    def __init__(self, stride: int, size: int, reserved: tuple[tuple[int, int], ...]) -> None:
        self._stride = stride
        self._size = size
        self._reserved = reserved
        # A table entry has 32 bits; one more at each end, so that each has two neighbours.
        self._starts = array.array("I", bytes(4 * (min(size, SECTOR << 32) // stride + 3)))

    def add(self, number: int, start: int, length: int) -> None:
        """Take it. Raises ValueError where it is in use, or beyond the end."""
        if start + length > self._size:
            raise ValueError(f"its block {number} lies beyond its end: it is cut short or damaged")
        slot = start // self._stride + 1
        near = (each * SECTOR for each in self._starts[slot - 1 : slot + 2] if each)
        if any(abs(start - each) < self._stride for each in near) or any(
            start < last and first < start + length for first, last in self._reserved
        ):
            raise ValueError(f"its block {number} lies where something else is: its tables are damaged")
        self._starts[slot] = start // SECTOR
