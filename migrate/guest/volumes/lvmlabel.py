"""What LVM writes on a physical volume: its label, and where on it the volume group describes itself.

lvm2, lib/label/label.h (label_header), lib/format_text/layout.h (pv_header, pv_header_extension, mda_header,
raw_locn).
"""

from __future__ import annotations

import re
import struct
import zlib
from itertools import pairwise
from typing import NamedTuple

from migrate.guest.filesystems.inprocess import Read
from migrate.guest.volumes.lvmtext import MAX_LENGTH

SECTOR = 512
MAGIC = b"LABELONE"
_TYPE = b"LVM2 001"
_SCANNED = 4  # sectors in which LVM looks for its label, and blkid(8) too
_AREA_MAGIC = b" LVM2 x[5A%r0N*>"
_AREA_HEADER = 512
_MAX_AREAS = 2  # lvm2, lib/format_text/text_label.c: one at the start, one at the end
_IGNORED = 1
_USED = 1
_SEED = 0xF597A6CF
_IDENTITY = re.compile(rb"[A-Za-z0-9!#]{32}")


class Label(NamedTuple):
    """A physical volume's label. `areas` are where its metadata areas are: (offset, size), in bytes.

    `used` tells that it was given to a volume group; older versions of LVM do not say it.
    """

    uuid: str
    areas: tuple[tuple[int, int], ...]
    used: bool


def lvm_crc(data: bytes) -> int:
    """Return LVM's checksum: CRC-32 from a start of its own, not inverted (lvm2, lib/misc/crc.c).

    >>> hex(lvm_crc(b""))
    '0xf597a6cf'
    """
    return zlib.crc32(data, _SEED ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def find_label(read: Read, size: int) -> Label | None:
    """Return the label of a device of `size` bytes, or None where it has none.

    Raises ValueError where what is there is not a label as LVM writes it, or is there twice; DiskError as `read`.
    """
    if size < _SCANNED * SECTOR:
        return None
    start = read(0, _SCANNED * SECTOR)
    places = [number for number in range(_SCANNED) if start.startswith(MAGIC, number * SECTOR)]
    if not places:
        return None
    if len(places) > 1:
        raise ValueError("it has more than one label of LVM")
    number = places[0]
    return _label(start[number * SECTOR : (number + 1) * SECTOR], number)


def _label(sector: bytes, number: int) -> Label:
    place, checksum, offset, kind = struct.unpack_from("<8xQII8s", sector)
    if place != number or kind != _TYPE or lvm_crc(sector[20:]) != checksum:
        raise ValueError("its LVM label is damaged")
    if not 32 <= offset <= SECTOR - 40 or _IDENTITY.fullmatch(sector, offset, offset + 32) is None:
        raise ValueError("its LVM label is damaged")
    uuid = dashed(sector[offset : offset + 32].decode())
    _, at = _places(sector, offset + 40)
    areas, at = _places(sector, at)
    used = False
    if at + 8 <= SECTOR:
        version, flags = struct.unpack_from("<II", sector, at)
        if version > 2:  # 1 added boot loader areas, 2 the flag that it is used
            raise ValueError(f"its LVM label is of version {version}, which is not known")
        used = version == 2 and bool(flags & _USED)
    if len(areas) > _MAX_AREAS:
        raise ValueError("its LVM label names more than two metadata areas")
    return Label(uuid, areas, used)


def _places(sector: bytes, at: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the areas of a list that ends with one at offset 0, and where the list ends."""
    found: list[tuple[int, int]] = []
    while at + 16 <= SECTOR:
        offset, size = struct.unpack_from("<QQ", sector, at)
        at += 16
        if not offset:
            return tuple(found), at
        found.append((offset, size))
    raise ValueError("its LVM label is damaged")


def dashed(identity: str) -> str:
    """Return an identity of 32 letters as LVM and blkid(8) write it.

    >>> dashed("V9N6H5MXloJmEETLHskyAokLv5JL0RY7")
    'V9N6H5-MXlo-JmEE-TLHs-kyAo-kLv5-JL0RY7'
    """
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(identity[start:end] for start, end in pairwise(ends))


def read_description(read: Read, size: int, area: tuple[int, int]) -> bytes | None:
    """Return the text in a metadata area; None where there is none, or LVM is told to ignore the area.

    A text may begin at the end of the area and go on after its header. Raises ValueError where the area is damaged,
    DiskError as `read`.
    """
    at, length = area
    if at % SECTOR or length < 2 * _AREA_HEADER or at + length > size:
        raise ValueError("its LVM label names a metadata area that is not on it")
    header = read(at, _AREA_HEADER)
    checksum, magic, version, start, room = struct.unpack_from("<I16sIQQ", header)
    if lvm_crc(header[4:]) != checksum or magic != _AREA_MAGIC or version != 1 or (start, room) != area:
        raise ValueError("its LVM metadata area is damaged")
    offset, count, text_checksum, flags = struct.unpack_from("<QQII", header, 40)
    if not offset or flags & _IGNORED:
        return None
    if not _AREA_HEADER <= offset < length or not 0 < count <= length - _AREA_HEADER:
        raise ValueError("its LVM metadata area is damaged")
    if count > MAX_LENGTH:
        raise ValueError(f"the description of its volume group is longer than {MAX_LENGTH} bytes")
    first = min(count, length - offset)
    text = read(at + offset, first)
    if first < count:
        text += read(at + _AREA_HEADER, count - first)
    if lvm_crc(text) != text_checksum:
        raise ValueError("the description of its volume group is damaged (its checksum is wrong)")
    return text
