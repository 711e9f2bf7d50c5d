"""Partition tables, read as the kernel reads them: MBR with its logical partitions, and GPT.

What is not exactly as a partitioning program leaves it raises ValueError with the reason, rather than being read
in a way that the kernel might not. UEFI 2.10, section 5 (both tables); linux, block/partitions/core.c (the order in
which it tries them), msdos.c and efi.c (what counts as a table, and how partitions are numbered).

Linux does not use the backup of a GPT, though it reports it, unless `gpt` is on its command line (efi.c,
find_valid_gpt): such a disk has no partitions for it, and is refused here.
"""

from __future__ import annotations

import struct
import uuid
import zlib

import msgspec

from migrate.guest.filesystems.inprocess import Read

SECTOR = 512
_LARGE = 4096  # a disk with 4096-byte sectors ("4Kn") has its GPT at byte 4096
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
# Types in which the kernel looks for further tables: BSD, Minix, Solaris, UnixWare; and one of Windows' dynamic disks.
_NESTED = frozenset({0xA5, 0xA6, 0xA9, 0x81, 0xBF, 0x63, 0x42})
_PROTECTIVE = 0xEE
_SWAP_OR_SOLARIS = 0x82
_SOLARIS_SANE = b"\xee\xde\x0d\x60"
_MAX_LOGICAL = 128
_MAX_ENTRIES = 1024
_MAX_NUMBER = 255  # linux, DISK_MAX_PARTS


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition; `start` and `size` in bytes. `type` is as blkid(8) says it: `0x83`, or a GPT type's UUID."""

    number: int
    start: int
    size: int
    type: str
    uuid: str = ""
    label: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A disk's partitions by number; `sector` is the size in bytes that the disk's sectors had, 512 or 4096."""

    sector: int
    partitions: tuple[Partition, ...]


def find_partitions(read: Read, size: int) -> list[Partition] | None:
    """Return the partitions of a disk of `size` bytes as `find_table` does, or None where there is none."""
    table = find_table(read, size)
    return None if table is None else list(table.partitions)


def find_table(read: Read, size: int) -> Table | None:
    """Return the partition table of a disk of `size` bytes, or None where the kernel finds no partition.

    A disk whose GPT is where 4096-byte sectors put it is read with those: the machine's kernel did, and one that is
    given the image with sectors of 512 bytes finds nothing on it. Raises ValueError for a table that is damaged or
    of a kind that is not read here, DiskError as `read` does.
    """
    if size < 4 * SECTOR:
        return None
    first = read(0, SECTOR)
    if first.startswith(b"\x0b\xe5\xa9\x41"):
        raise ValueError("it has a partition table of another kind (SGI), which is not read here")
    slots = _slots(first)
    has_magic = first[510:] == b"\x55\xaa"
    sector = SECTOR
    if has_magic and any(kind == _PROTECTIVE and start == 1 for _, kind, start, _ in slots):
        sector = _gpt_sector(read, size)
        found = _gpt(read, size, sector)
    elif not has_magic and read(SECTOR, 8) == b"EFI PART":
        raise ValueError("it has a GPT without the protective MBR")
    elif not has_magic or any(status not in {0, 0x80} for status, *_ in slots):
        _refuse_others(read, first, size)
        return None
    else:
        found = _mbr(read, size, first, slots)
    for each in found:
        if each.start + each.size > size:
            raise ValueError(f"its partition {each.number} goes beyond the end of the disk")
    return Table(sector=sector, partitions=tuple(found)) if found else None


def _slots(sector: bytes) -> list[tuple[int, int, int, int]]:
    """Return the four entries of an MBR: status, type, first sector, count of sectors."""
    return [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * n) for n in range(4)]


def _refuse_others(read: Read, first: bytes, size: int) -> None:
    """Raise ValueError where one of the kernel's other parsers may find partitions, by what each looks for first."""
    start = first + read(SECTOR, min(size, 16384) - SECTOR)
    atari = [struct.unpack_from(">B3sII", first, at) for at in range(0x1C6, 0x1F6, 12)]
    others = {
        "AIX": first.startswith(b"\xc9\xc2\xd4\xc1"),
        "Acorn": sum(first[:508]) + 0x50617274 == int.from_bytes(first[508:], "little"),
        "OSF": first[64:68] == b"\x57\x45\x56\x82",
        "Sun": first[508:510] == b"\xda\xbe",
        "Amiga": any(start.startswith(b"RDSK", at) for at in range(0, 16 * SECTOR, SECTOR)),
        "Atari": any(f & 1 and name.isalnum() and at + count <= size // SECTOR for f, name, at, count in atari),
        "Apple": first.startswith(b"ER"),
        "Ultrix": start[16384 - 72 : 16384 - 68] == b"\x57\x29\x03\0",
        "Karma": first[510:] == b"\x56\xab",
    }
    for name, is_there in others.items():
        if is_there:
            raise ValueError(f"it may have a partition table of another kind ({name}), which is not read here")


def _mbr(read: Read, size: int, first: bytes, slots: list[tuple[int, int, int, int]]) -> list[Partition]:
    (disk,) = struct.unpack_from("<I", first, 440)
    found: list[Partition] = []
    extended: list[tuple[int, int]] = []
    if any(kind == _PROTECTIVE for _, kind, _, _ in slots):
        raise ValueError("its MBR is that of a GPT, and not as a GPT needs it")
    for number, (_, kind, start, count) in enumerate(slots, 1):
        if not count:
            continue
        if not kind or not start:
            raise ValueError(f"entry {number} of its partition table has no type or no place")
        if kind in _NESTED or (kind == _SWAP_OR_SOLARIS and _is_solaris(read, size, start)):
            raise ValueError(f"its partition {number} is of type {kind:#x}, which may hold a table of its own")
        length = count
        if kind in _EXTENDED:
            extended.append((start, count))
            length = min(count, 2)  # linux, msdos.c: room for a boot loader, and none for a file system
        found.append(_partition(number, kind, start, length, disk))
    if len(extended) > 1:
        raise ValueError("it has more than one extended partition")
    for start, count in extended:
        if (start + count) * SECTOR > size:
            raise ValueError("its extended partition goes beyond the end of the disk")
        found += _logical(read, start, count, disk)
    return found


def _is_solaris(read: Read, size: int, start: int) -> bool:
    """Tell whether there is a Solaris label in what is a Linux swap by its type (linux, parse_solaris_x86)."""
    place = (start + 1) * SECTOR
    return place + SECTOR <= size and read(place + 12, 4) == _SOLARIS_SANE


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
        odd = kind in _EXTENDED | _NESTED | {_PROTECTIVE}
        if any(entry[3] for entry in rest) or odd or (count and not kind):
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


def _gpt_sector(read: Read, size: int) -> int:
    """Return the size of sectors by which a GPT is where it is."""
    if read(SECTOR, 8) == b"EFI PART":
        return SECTOR
    if size >= 4 * _LARGE and read(_LARGE, 8) == b"EFI PART":
        return _LARGE
    for sector in (SECTOR, _LARGE):
        _why_no_header("its GPT is missing", read, size, sector)
    raise ValueError("its GPT is missing")


def _why_no_header(why: str, read: Read, size: int, sector: int) -> None:
    """Raise ValueError where there is a whole GPT at the end of the disk."""
    try:
        _header(read, size, sector, size // sector - 1)
    except ValueError:
        return
    raise ValueError(
        f"{why}; there is a whole backup at its end, which Linux does not use (gdisk restores it on a copy of the disk)"
    )


def _gpt(read: Read, size: int, sector: int) -> list[Partition]:
    try:
        first, last, entries = _header(read, size, sector, 1)
    except ValueError as error:
        _why_no_header(str(error), read, size, sector)
        raise
    found = []
    for number in range(len(entries) // 128):
        kind, name, start, end, label = struct.unpack_from("<16s16sQQ8x72s", entries, number * 128)
        if not any(kind):
            continue
        if not first <= start <= end <= last:
            raise ValueError(f"its partition {number + 1} is outside of the part for partitions")
        if number >= _MAX_NUMBER:
            raise ValueError(f"it has a partition {number + 1}, beyond what the kernel numbers")
        found.append(
            Partition(
                number=number + 1,
                start=start * sector,
                size=(end - start + 1) * sector,
                type=str(uuid.UUID(bytes_le=kind)),
                uuid=str(uuid.UUID(bytes_le=name)),
                label=label.decode("utf-16-le", "replace").partition("\0")[0],
            )
        )
    return found


def _header(read: Read, size: int, sector: int, place: int) -> tuple[int, int, bytes]:
    """Return the first and last sector for partitions, and the entries, of a GPT that linux (is_gpt_valid) takes."""
    if size < 4 * sector:
        raise ValueError("its GPT is missing")
    header = read(place * sector, sector)
    length, checksum = struct.unpack_from("<12xII", header)
    if not header.startswith(b"EFI PART"):
        raise ValueError("its GPT is missing")
    if not 92 <= length <= sector or zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
        raise ValueError("its GPT header is damaged (its checksum is wrong)")
    own, first, last, table, count, each, table_checksum = struct.unpack_from("<24xQ8xQQ16xQIII", header)
    if own != place or each != 128 or not 0 < count <= _MAX_ENTRIES or (table * sector + count * each) > size:
        raise ValueError("its GPT is laid out in a way that is not known")
    if not first <= last < size // sector:
        raise ValueError("its GPT is that of a larger disk, which has no partitions for Linux: the image is cut off")
    entries = read(table * sector, count * each)
    if zlib.crc32(entries) != table_checksum:
        raise ValueError("its GPT is damaged (the checksum of its entries is wrong)")
    return first, last, entries
