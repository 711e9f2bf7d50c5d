"""The tables of a differencing VHDX: [MS-VHDX], Virtual Hard Disk v2 (VHDX) File Format. Numbers are little-endian."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from typing import IO

import msgspec

from migrate.guest.filesystems.crc32c import crc32c
from migrate.guest.images.child import ZEROS, Child, Run, length_of, names, read_at, runs_of_ones, take
from migrate.text import show

SIGNATURE = b"vhdxfile"
_MIB = 1 << 20
_HEADERS, _HEADER = (64 << 10, 128 << 10), 4096
_TABLES, _TABLE = (192 << 10, 256 << 10), 64 << 10
_MAX_ENTRIES = 2047
_LARGEST = 64 << 40  # section 2.6.2.2
_LONGEST = _LARGEST + (1 << 40)  # of a file: all blocks, 1 MiB of bitmap for each 4 GiB, and the tables
_BITS = 1 << 23  # one bitmap block, section 2.4
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_IDENTITY = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_LOCATOR_TYPE = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")
_KNOWN = {_PARAMETERS, _DISK_SIZE, _IDENTITY, _LOGICAL, _PHYSICAL, _LOCATOR}
# Section 2.5.1.1. A block that is undefined or unmapped may be read as zeros.
_NOT_PRESENT, _UNDEFINED, _ZERO, _UNMAPPED, _FULLY_PRESENT, _PARTIALLY_PRESENT = 0, 1, 2, 3, 6, 7
_BITMAP_PRESENT = 6


class Header(msgspec.Struct, frozen=True):
    """The header in use. `data_write` is the identity of the content, `log` (start, end) of the log."""

    sequence: int
    data_write: str
    log: tuple[int, int]
    is_closed: bool


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a VHDX says of its disk, `regions` the (start, end) of each region, `table` the one of them for blocks."""

    virtual_bytes: int
    block_bytes: int
    sector_bytes: int
    has_parent: bool
    locator: bytes
    table: tuple[int, int]
    regions: tuple[tuple[int, int], ...]


def current_header(file: IO[bytes]) -> Header:
    """Return the valid header with the higher sequence number (section 2.2.2). Raises ValueError, OSError."""
    raws = [take(file, offset, _HEADER, "its header") for offset in _HEADERS]
    valid = {raw for raw in raws if raw[:4] == b"head" and _is_intact(raw)}
    if not valid:
        raise ValueError("both of its headers are damaged")
    headers = sorted((_parse_header(raw) for raw in valid), key=lambda header: header.sequence)
    if len(headers) == 2 and headers[0].sequence == headers[1].sequence:
        raise ValueError("its two headers differ and have the same number: it is damaged")
    return headers[-1]


def _parse_header(raw: bytes) -> Header:
    sequence, written, log, log_version, version, length, offset = struct.unpack_from("<Q16x16s16sHHIQ", raw, 8)
    if version != 1 or log_version != 0:
        raise ValueError(f"it is a VHDX of version {version} with a log of version {log_version}: not known")
    return Header(sequence, str(uuid.UUID(bytes_le=written)), (offset, offset + length), not any(log))


def _is_intact(raw: bytes) -> bool:
    """Check the CRC-32C in bytes 4 to 8 of a structure, taken as zero while it is made."""
    checksum: int
    (checksum,) = struct.unpack_from("<I", raw, 4)
    return checksum == crc32c(raw[:4] + bytes(4) + raw[8:]) ^ 0xFFFFFFFF


def _regions(file: IO[bytes]) -> dict[uuid.UUID, tuple[int, int]]:
    """Return start and end of each region that the region table names (section 2.2.3)."""
    for offset in _TABLES:
        raw = take(file, offset, _TABLE, "its region table")
        (count,) = struct.unpack_from("<I", raw, 8)
        if raw[:4] == b"regi" and count <= _MAX_ENTRIES and _is_intact(raw):
            break
    else:
        raise ValueError("both of its region tables are damaged")
    found: dict[uuid.UUID, tuple[int, int]] = {}
    for number in range(count):
        kind, start, length, flags = struct.unpack_from("<16sQII", raw, 16 + 32 * number)
        region = uuid.UUID(bytes_le=kind)
        if region not in {_BAT, _METADATA}:
            if flags & 1:
                raise ValueError(f"it needs a region {region}, which is not known")
            continue
        if region in found or start < _MIB or (start | length) % _MIB or start + length > length_of(file):
            raise ValueError("its region table is damaged")
        found[region] = start, start + length
    if len(found) != 2:
        raise ValueError("its region table is damaged")
    return found


def read_metadata(file: IO[bytes]) -> Metadata:
    """Read the region table and the metadata (section 2.6). Raises ValueError, OSError."""
    regions = _regions(file)
    items = _items(file, *regions[_METADATA])
    try:
        block, flags = struct.unpack("<II", items[_PARAMETERS])
        (size,) = struct.unpack("<Q", items[_DISK_SIZE])
        (sector,) = struct.unpack("<I", items[_LOGICAL])
    except (KeyError, struct.error) as error:
        raise ValueError("its metadata are incomplete") from error
    if sector not in {512, 4096} or block not in {_MIB << power for power in range(9)}:
        raise ValueError(f"it has blocks of {block} bytes and sectors of {sector}, which no VHDX can")
    if size % sector or not 0 < size <= _LARGEST:
        raise ValueError(f"it says that the disk has {size} bytes, which no VHDX can")
    return Metadata(
        virtual_bytes=size,
        block_bytes=block,
        sector_bytes=sector,
        has_parent=bool(flags & 2),
        locator=items.get(_LOCATOR, b""),
        table=regions[_BAT],
        regions=tuple(regions.values()),
    )


def _items(file: IO[bytes], start: int, end: int) -> dict[uuid.UUID, bytes]:
    """Return the metadata items that are known, by their identity (section 2.6.1)."""
    raw = take(file, start, _TABLE, "its metadata")
    signature, count = struct.unpack_from("<8s2xH", raw)
    if signature != b"metadata" or count > _MAX_ENTRIES:
        raise ValueError("its metadata are damaged")
    found: dict[uuid.UUID, bytes] = {}
    for number in range(count):
        kind, offset, length, flags = struct.unpack_from("<16sIII", raw, 32 + 32 * number)
        item = uuid.UUID(bytes_le=kind)
        if flags & 1 or item not in _KNOWN:
            if flags & 4:
                raise ValueError(f"it needs metadata {item}, which are not known")
            continue
        if item in found or length > _MIB or (length and offset < _TABLE) or start + offset + length > end:
            raise ValueError("its metadata are damaged")
        found[item] = take(file, start + offset, length, "its metadata")
    return found


def read_vhdx(file: IO[bytes]) -> Child:
    """Read the headers and metadata of a differencing VHDX. Raises ValueError, OSError."""
    header = current_header(file)
    if not header.is_closed:
        # Section 2.3.3: the log is to be replayed before anything else is read.
        do = "start and shut down its machine, or attach and detach it on Windows, then copy it again"
        raise ValueError(f"it was not closed cleanly; {do}")
    metadata = read_metadata(file)
    if not metadata.has_parent:
        raise ValueError("it is no differencing VHDX: it has no parent")
    if length_of(file) > _LONGEST:
        raise ValueError(f"it is {length_of(file)} bytes long, which no VHDX needs")
    start, end = metadata.table
    if 8 * _entries(metadata.virtual_bytes, metadata.block_bytes, metadata.sector_bytes) > end - start:
        raise ValueError("its block allocation table does not cover the disk: it is damaged")
    parents, identities = _parse_locator(metadata.locator)
    return Child(
        format="vhdx",
        virtual_bytes=metadata.virtual_bytes,
        parents=parents,
        parent_ids=identities,
        block_bytes=metadata.block_bytes,
        sector_bytes=metadata.sector_bytes,
        table=start,
        reserved=((0, _MIB), header.log, *metadata.regions),
    )


def _parse_locator(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parent's names and identities (section 2.6.2.6)."""
    words: dict[str, str] = {}
    try:
        kind, count = struct.unpack_from("<16s2xH", raw)
        for number in range(count):
            entry = struct.unpack_from("<IIHH", raw, 20 + 12 * number)
            key, value = (_text(raw, entry[which], entry[which + 2]) for which in (0, 1))
            words[key] = value
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError("what it says of its parent is damaged") from error
    if uuid.UUID(bytes_le=kind) != _LOCATOR_TYPE:
        raise ValueError(f"it finds its parent in a way that is not known ({uuid.UUID(bytes_le=kind)})")
    relative = [words["relative_path"]] if "relative_path" in words else []
    absolute = [words[key] for key in ("volume_path", "absolute_win32_path") if key in words]
    linkage = [words[key] for key in ("parent_linkage", "parent_linkage2") if key in words]
    try:
        identities = tuple(dict.fromkeys(str(uuid.UUID(each)) for each in linkage))
    except ValueError as error:
        raise ValueError(f"it names its parent {show(repr(linkage))[:100]}, which is no identity") from error
    identities = tuple(each for each in identities if uuid.UUID(each).int)  # Hyper-V fills in the unused one with 0
    if not identities:
        raise ValueError("it does not say what its parent is")
    return names(relative, absolute), identities


def _text(raw: bytes, offset: int, length: int) -> str:
    if offset + length > len(raw):
        raise struct.error
    return raw[offset : offset + length].decode("utf-16-le").rstrip("\0")


def _ratio(block: int, sector: int) -> int:
    """Return how many blocks one block of bitmap is for (section 2.4)."""
    return _BITS * sector // block


def _entries(size: int, block: int, sector: int) -> int:
    """Return how many entries the table of a differencing disk has (section 2.5)."""
    ratio = _ratio(block, sector)
    blocks = -(-size // block)
    return -(-blocks // ratio) * (ratio + 1)


def vhdx_runs(file: IO[bytes], child: Child) -> Iterator[Run]:
    """Yield what a VHDX holds, run by run, up to the end of its last block. Raises ValueError, OSError."""
    ratio = _ratio(child.block_bytes, child.sector_bytes)
    blocks = -(-child.virtual_bytes // child.block_bytes)
    taken = _Taken(length_of(file), child.reserved)
    for chunk in range(-(-blocks // ratio)):
        raw = take(file, child.table + 8 * chunk * (ratio + 1), 8 * (ratio + 1), "its block allocation table")
        if raw.count(0) == len(raw):
            continue
        *payload, bitmap = (entry for (entry,) in struct.iter_unpack("<Q", raw))
        has_bitmap = bitmap & 7 == _BITMAP_PRESENT
        bits_at = bitmap >> 20 << 20
        if has_bitmap:
            taken.add(f"the bitmap of its chunk {chunk}", bits_at, _MIB)
        for index, entry in enumerate(payload[: blocks - chunk * ratio]):
            number, state, place = chunk * ratio + index, entry & 7, entry >> 20 << 20
            start = number * child.block_bytes
            if state in {_UNDEFINED, _ZERO, _UNMAPPED}:
                yield start, ZEROS, child.block_bytes
            elif state in {_FULLY_PRESENT, _PARTIALLY_PRESENT}:
                taken.add(f"its block {number}", place, min(child.block_bytes, child.virtual_bytes - start))
                if state == _FULLY_PRESENT:
                    yield start, place, child.block_bytes
                elif has_bitmap:
                    yield from _partial(file, child, start, place, bits_at + index * _BITS // 8 // ratio)
                else:
                    raise ValueError(f"its block {number} has no bitmap: its tables are damaged")
            elif state != _NOT_PRESENT:
                raise ValueError(f"its block {number} is in state {state}, which is not known")


def _partial(file: IO[bytes], child: Child, start: int, place: int, bitmap: int) -> Iterator[Run]:
    """Yield the sectors of a block that are in the file: bit 0 is the lowest of the first byte (section 2.4)."""
    sector, size = child.sector_bytes, child.block_bytes // child.sector_bytes
    bits = read_at(file, bitmap, size // 8, "the bitmap of a block")
    for first, last in runs_of_ones(bits, highest_first=False):
        yield start + first * sector, place + first * sector, (last - first) * sector


class _Taken:
    """What of the file is in use, in units of 1 MiB, which is what all in it is aligned to (section 2.1)."""

    def __init__(self, size: int, reserved: tuple[tuple[int, int], ...]) -> None:
        self._size = size
        self._used = bytearray(-(-size // _MIB))
        for start, end in reserved:
            units = slice(start // _MIB, -(-min(end, size) // _MIB))
            self._used[units] = b"\1" * len(self._used[units])

    def add(self, what: str, start: int, length: int) -> None:
        """Take it. Raises ValueError where it is in use, or beyond the end."""
        if start + length > self._size:
            raise ValueError(f"{what} lies beyond its end: it is cut short or damaged")
        units = slice(start // _MIB, -(-(start + length) // _MIB))
        if any(self._used[units]):
            raise ValueError(f"{what} lies where something else is: its tables are damaged")
        self._used[units] = b"\1" * len(self._used[units])
