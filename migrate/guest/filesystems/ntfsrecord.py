"""The structures of NTFS: records of the master file table, their attributes and runs. Pure.

Every function raises ValueError, in half a sentence, for what libntfs-3g would not take, or not with certainty.
Layout: ntfs-3g, include/ntfs-3g/layout.h; the checks: libntfs-3g/mst.c, attrib.c, runlist.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from migrate.guest.filesystems.ntfsindex import parse_key

SECTOR = 512
"""What sequence numbers protect, whatever a disk's own sectors are (NTFS_BLOCK_SIZE)."""

STANDARD, ATTRIBUTE_LIST, FILE_NAME, VOLUME_NAME, VOLUME, DATA = 0x10, 0x20, 0x30, 0x60, 0x70, 0x80
INDEX_ROOT, INDEX_ALLOCATION, BITMAP_OF, REPARSE_POINT, EA_INFORMATION, EA = 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
IN_USE, DIRECTORY = 1, 2
_KNOWN = 0xF  # the other two are of the volume's own indexes
SPARSE = 0x8000
_END = 0xFFFFFFFF


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute. `value` holds a resident one's content; another's is in `runs` (`parse_runs`).

    `allocated` is what stat(2) tells of a file with it, in bytes.
    """

    type: int
    name: bytes
    flags: int
    size: int
    allocated: int
    initialized: int
    value: bytes | None
    clusters: int
    runs: bytes


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the master file table that is in use and holds a whole file's attributes."""

    sequence: int
    links: int
    is_directory: bool
    used: bytes
    attributes: tuple[Attribute, ...]

    def all(self, kind: int) -> list[Attribute]:
        """Return its attributes of a kind."""
        return [each for each in self.attributes if each.type == kind]

    def one(self, kind: int, name: bytes = b"") -> Attribute | None:
        """Return its attribute of a kind and name, or None. Raises ValueError where there are several."""
        found = [each for each in self.all(kind) if each.name == name]
        if len(found) > 1:
            raise ValueError("it has an attribute twice")
        return found[0] if found else None


def restored(data: bytes, magic: bytes) -> bytes:
    """Return a record as it was before the ends of its sectors were replaced."""
    offset, count = struct.unpack_from("<HH", data.ljust(8), 4)
    end = offset + 2 * count
    if data[:4] != magic or offset % 2 or count != len(data) // SECTOR + 1 or end > SECTOR - 2 or len(data) % SECTOR:
        raise ValueError(f"there is no {magic.decode()} record")
    pieces = []
    for number in range(1, count):
        last = number * SECTOR - 2
        if data[last : last + 2] != data[offset : offset + 2]:
            raise ValueError(f"a {magic.decode()} record was not written as a whole")
        pieces += [data[last + 2 - SECTOR : last], data[offset + 2 * number : offset + 2 * number + 2]]
    return b"".join(pieces)


def parse_record(data: bytes) -> Record:
    """Return what a record of the master file table holds. Those that other records continue are refused."""
    data = restored(data, b"FILE")
    sequence, links, first, flags, used, allocated, base = struct.unpack_from("<HHHHIIQ", data, 16)
    if not flags & IN_USE:
        raise ValueError("it is not in use")
    if flags & ~_KNOWN or base or allocated != len(data) or not first <= used <= len(data) or first % 8 or used % 8:
        raise ValueError("it is of a kind that is not read here")
    attributes = tuple(_attributes(data[:used], first))
    if any(each.type == ATTRIBUTE_LIST for each in attributes):
        raise ValueError("it is continued in other records")
    for each in attributes:
        if each.type == FILE_NAME and (each.name or not parse_key(0, each.value or b"").name):
            raise ValueError("its name is damaged")
        if each.type == STANDARD and (each.name or len(each.value or b"") < 48):
            raise ValueError("its times and flags are damaged")
    return Record(
        sequence=sequence,
        links=links,
        is_directory=bool(flags & DIRECTORY),
        used=data[:used],
        attributes=attributes,
    )


def _attributes(data: bytes, at: int) -> Iterator[Attribute]:
    last = STANDARD
    while True:
        if at + 8 > len(data):
            raise ValueError("its attributes do not end")
        kind, length = struct.unpack_from("<II", data, at)
        if kind == _END:
            return
        if kind < last:
            raise ValueError("its attributes are not in order")
        last = kind
        if length < 24 or length % 8 or at + length > len(data):
            raise ValueError("its attributes are damaged")
        yield _attribute(data[at : at + length])
        at += length


def _attribute(raw: bytes) -> Attribute:
    kind, _, non_resident, name_length, name_at, flags, _ = struct.unpack_from("<IIBBHHH", raw)
    name = raw[name_at : name_at + 2 * name_length] if name_length else b""
    if len(name) != 2 * name_length or non_resident > 1 or (non_resident and len(raw) < 72):
        raise ValueError("its attributes are damaged")
    if not non_resident:
        size, start = struct.unpack_from("<IH", raw, 16)
        if start + size > len(raw) or (name and not 24 <= name_at <= start - len(name)):
            raise ValueError("its attributes are damaged")
        return Attribute(
            type=kind,
            name=name,
            flags=flags,
            size=size,
            allocated=(size + 7) & ~7,
            initialized=size,
            value=raw[start : start + size],
            clusters=0,
            runs=b"",
        )
    lowest, highest, start = struct.unpack_from("<qqH", raw, 16)
    allocated, size, initialized, packed = struct.unpack_from("<qqqq", raw, 40)
    if lowest or highest < -1 or not 64 + len(name) <= start <= len(raw) or not 0 <= initialized <= size <= allocated:
        raise ValueError("its attributes are damaged")
    if flags & SPARSE and not 0 <= packed <= allocated:
        raise ValueError("its attributes are damaged")
    return Attribute(
        type=kind,
        name=name,
        flags=flags,
        size=size,
        allocated=packed if flags & SPARSE else allocated,
        initialized=initialized,
        value=None,
        clusters=highest + 1,
        runs=raw[start:],
    )


def parse_runs(attribute: Attribute, cluster: int, end: int) -> list[tuple[int, int]]:
    """Return where an attribute's clusters lie: the first (-1 for a hole) and how many, of each run.

    `cluster` is their size in bytes; there are `end` in the file system.
    """
    data, at, place, total = attribute.runs, 0, 0, 0
    found: list[tuple[int, int]] = []
    while at < len(data) and data[at]:
        length_size, place_size = data[at] & 0xF, data[at] >> 4
        next_at = at + 1 + length_size + place_size
        if not 1 <= length_size <= 8 or place_size > 8 or next_at > len(data):
            raise ValueError("its runs are damaged")
        count = int.from_bytes(data[at + 1 : at + 1 + length_size], "little", signed=True)
        place += int.from_bytes(data[at + 1 + length_size : next_at], "little", signed=True)
        is_hole = not place_size
        if count <= 0 or (is_hole and not attribute.flags & SPARSE) or not (is_hole or 0 <= place <= end - count):
            raise ValueError("its runs are damaged")
        found.append((-1 if is_hole else place, count))
        at, total = next_at, total + count
    holes = attribute.flags & SPARSE
    if (
        at >= len(data)
        or total != attribute.clusters
        or (total * cluster < attribute.size)
        or (not holes and total * cluster != attribute.allocated)
    ):
        raise ValueError("its runs are damaged")
    return found


def unix_time(value: int) -> int:
    """Return a time in units of 100 ns since 1601 as seconds since the epoch, cut off as ntfs-3g cuts (ntfs2timespec).

    >>> unix_time(132117205790000000), unix_time(116444735985000000)
    (1567246979, -1)
    """
    if value < 0:
        raise ValueError("its time is none")
    since = value - 116_444_736_000_000_000
    return since // 10_000_000 if since >= 0 else -(-since // 10_000_000)
