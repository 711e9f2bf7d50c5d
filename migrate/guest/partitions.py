"""Partition tables, read as the kernel reads them: MBR with its logical partitions, and GPT. Sectors of 512 bytes.

What is not exactly as a partitioning program leaves it raises ValueError with the reason, rather than being read
in a way that the kernel might not. UEFI 2.10, section 5 (both tables); linux, block/partitions/msdos.c and efi.c
(how partitions are numbered).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable

import msgspec

SECTOR = 512
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
# Types in which the kernel looks for further tables: BSD, Minix, Solaris, UnixWare, and the protective one of GPT.
_NESTED = frozenset({0xA5, 0xA6, 0xA9, 0x81, 0xBF, 0x63, 0xEE})
_MAX_LOGICAL = 128
_MAX_ENTRIES = 1024

Read = Callable[[int, int], bytes]
"""Returns exactly so many bytes from an offset."""


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition; `start` and `size` in bytes. `type` is as blkid(8) says it: `0x83`, or a GPT type's UUID."""

    number: int
    start: int
    size: int
    type: str
    uuid: str = ""
    label: str = ""


def find_partitions(read: Read, size: int) -> list[Partition] | None:
    """Return the partitions of a disk of `size` bytes by number, or None where it has no table.

    Raises ValueError for a table that is damaged or of a kind that is not read here.
    """
    if size < 4 * SECTOR:
        return None
    first = read(0, SECTOR)
    is_gpt = read(SECTOR, 8) == b"EFI PART"
    if first[510:] != b"\x55\xaa":
        if is_gpt:
            raise ValueError("it has a GPT without the protective MBR")
        return None
    slots = _slots(first)
    if any(status not in {0, 0x80} for status, *_ in slots):
        raise ValueError("its first sector is that of a boot loader, and holds no partition table")
    if any(kind == 0xEE for _, kind, _, _ in slots):
        if not is_gpt:
            raise ValueError("its GPT is not at sector 1 of 512 bytes")
        found = _gpt(read, size)
    elif is_gpt:
        raise ValueError("it has a GPT without the protective MBR")
    else:
        found = _mbr(read, first, slots)
    for each in found:
        if each.start + each.size > size:
            raise ValueError(f"its partition {each.number} goes beyond the end of the disk")
    return found


def _slots(sector: bytes) -> list[tuple[int, int, int, int]]:
    """Return the four entries of an MBR: status, type, first sector, count of sectors."""
    return [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * n) for n in range(4)]


def _mbr(read: Read, first: bytes, slots: list[tuple[int, int, int, int]]) -> list[Partition]:
    (disk,) = struct.unpack_from("<I", first, 440)
    found: list[Partition] = []
    extended: list[tuple[int, int]] = []
    for number, (_, kind, start, count) in enumerate(slots, 1):
        if not count:
            continue
        if not kind or not start:
            raise ValueError(f"entry {number} of its partition table has no type or no place")
        if kind in _NESTED:
            raise ValueError(f"its partition {number} is of type {kind:#x}, which may hold a table of its own")
        if kind in _EXTENDED:
            extended.append((start, count))
        found.append(_partition(number, kind, start, count, disk))
    if len(extended) > 1:
        raise ValueError("it has more than one extended partition")
    for start, count in extended:
        found += _logical(read, start, count, disk)
    if not found:
        raise ValueError("its partition table is empty")
    return found


def _logical(read: Read, outer: int, length: int, disk: int) -> list[Partition]:
    found: list[Partition] = []
    at = outer
    seen: set[int] = set()
    while True:
        if at in seen or len(seen) >= _MAX_LOGICAL or not outer <= at < outer + length:
            raise ValueError("the chain of its logical partitions is broken")
        seen.add(at)
        sector = read(at * SECTOR, SECTOR)
        if sector[510:] != b"\x55\xaa":
            raise ValueError("the chain of its logical partitions is broken")
        (_, kind, start, count), (_, link, following, links), *rest = _slots(sector)
        if any(entry[3] for entry in rest) or kind in _EXTENDED | _NESTED or (count and not kind):
            raise ValueError("the chain of its logical partitions is not as programs write it")
        if count:
            found.append(_partition(5 + len(found), kind, at + start, count, disk))
        if not links:
            return found
        if link not in _EXTENDED:
            raise ValueError("the chain of its logical partitions is not as programs write it")
        at = outer + following


def _partition(number: int, kind: int, start: int, count: int, disk: int) -> Partition:
    name = f"{disk:08x}-{number:02x}" if disk else ""
    return Partition(number=number, start=start * SECTOR, size=count * SECTOR, type=f"{kind:#x}", uuid=name)


def _gpt(read: Read, size: int) -> list[Partition]:
    header = read(SECTOR, SECTOR)
    length, checksum = struct.unpack_from("<12xII", header)
    if not 92 <= length <= SECTOR or zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
        raise ValueError("its GPT header is damaged (its checksum is wrong)")
    own, first, last, table, count, each, table_checksum = struct.unpack_from("<24xQ8xQQ16xQIII", header)
    if own != 1 or each != 128 or count > _MAX_ENTRIES or (table * SECTOR + count * each) > size:
        raise ValueError("its GPT is laid out in a way that is not known")
    entries = read(table * SECTOR, count * each)
    if zlib.crc32(entries) != table_checksum:
        raise ValueError("its GPT is damaged (the checksum of its entries is wrong)")
    found = []
    for number in range(count):
        kind, name, start, end, label = struct.unpack_from("<16s16sQQ8x72s", entries, number * each)
        if not any(kind):
            continue
        if not first <= start <= end <= last:
            raise ValueError(f"its partition {number + 1} is outside of the part for partitions")
        found.append(
            Partition(
                number=number + 1,
                start=start * SECTOR,
                size=(end - start + 1) * SECTOR,
                type=str(uuid.UUID(bytes_le=kind)),
                uuid=str(uuid.UUID(bytes_le=name)),
                label=label.decode("utf-16-le", "replace").partition("\0")[0],
            )
        )
    return found
