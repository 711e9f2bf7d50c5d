"""The boot sector and the volume's own record of NTFS: where things are, and what blkid(8) says. Pure but for reads.

util-linux 2.38, libblkid/src/superblocks/ntfs.c; ntfs-3g, libntfs-3g/bootsect.c, volume.c, logfile.c.
"""

from __future__ import annotations

import struct

import msgspec

from migrate.guest.filesystems.inprocess import Found, Read, is_plain
from migrate.guest.filesystems.ntfsrecord import VOLUME, VOLUME_NAME, Attribute, Record, parse_record

LENGTH = 512
MFT, LOG, VOLUME_RECORD, TOP, BITMAP, UPCASE, FIRST_USER = 0, 2, 3, 5, 6, 10, 16
"""The numbers of the volume's own files, and the first that may be another's."""

_FLAGS = 0xC03F  # VOLUME_FLAGS_MASK, ntfs-3g, layout.h; Windows 10 leaves 0x80 set on a volume that it closed
_POWERS = frozenset(1 << number for number in range(17))


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a boot sector says, in bytes from the start of the device; `clusters` is how many there are."""

    cluster: int
    clusters: int
    record: int
    table: int
    mirror: int
    size: int
    serial: str


def parse_boot(data: bytes) -> Boot | None:
    """Return what the first LENGTH bytes of a device say, or None where libblkid sees no NTFS in them."""
    if len(data) < LENGTH or data[3:11] != b"NTFS    ":
        return None
    sector, per_cluster, reserved, fats, root, sectors, _, per_fat = struct.unpack_from("<HBHBHHBH", data, 11)
    (large,) = struct.unpack_from("<I", data, 32)
    count, table, mirror, record = struct.unpack_from("<QQQb", data, 40)
    if reserved or fats or root or sectors or per_fat or large:
        return None
    if sector not in _POWERS or not 256 <= sector <= 4096 or per_cluster not in _POWERS or not record:
        return None
    cluster = sector * per_cluster
    clusters = count // per_cluster
    length = cluster * record if record > 0 else 1 << -record
    if cluster > 65536 or length not in _POWERS or length < 512 or table > clusters or mirror > clusters:
        return None
    return Boot(
        cluster=cluster,
        clusters=clusters,
        record=length,
        table=table * cluster,
        mirror=mirror * cluster,
        size=count * sector,
        serial=data[0x48:0x50][::-1].hex().upper(),
    )


def probe(read: Read, size: int) -> Found | None:
    """Return what NTFS is on a device of `size` bytes, or None. Raises DiskError as `read` does."""
    boot = parse_boot(read(0, LENGTH)) if size >= LENGTH else None
    if boot is None:
        return None
    places = [boot.table + number * boot.record for number in (MFT, VOLUME_RECORD)]
    if max(places) + boot.record > size or any(read(place, 4) != b"FILE" for place in places):
        return None
    if boot.size > size:
        why = f"the file system is {boot.size} bytes long, and its device {size}"
        return Found(type="ntfs", uuid=boot.serial, why_not=why)
    try:
        label, why = parse_volume(parse_record(read(places[1], boot.record)))
    except ValueError as error:
        label, why = "", f"the volume's own record is damaged: {error}"
    return Found(type="ntfs", uuid=boot.serial, label=label, why_not=why)


def parse_volume(record: Record) -> tuple[str, str]:
    """Return the label that a volume's own record holds, and why the volume is not read here. Raises ValueError."""
    name, information = record.one(VOLUME_NAME), record.one(VOLUME)
    label = b"" if name is None else _resident(name)
    content = b"" if information is None else _resident(information)
    major, minor, flags = struct.unpack_from("<8xBBH", content.ljust(12, b"\0"))
    text = label.decode("utf-16-le", "replace").partition("\0")[0].rstrip(" \t\n\v\f\r")
    if (major, minor) not in {(3, 0), (3, 1)}:
        return text, f"it is of version {major}.{minor}"
    if flags & _FLAGS:
        return text, "it was not unmounted cleanly, or asks for something else at its next mount"
    if not is_plain(text):
        return text, "its label has characters that are not plain"
    return text, ""


def _resident(attribute: Attribute) -> bytes:
    if attribute.value is None:
        raise ValueError("an attribute is not where it should be")
    return attribute.value


def log_is_clean(start: bytes) -> bool:
    """Tell whether the log that begins so has nothing to be done again: it was emptied, or closed."""
    if start == b"\xff" * len(start):
        return True
    (area,) = struct.unpack_from("<H", start, 24)
    if start[:4] != b"RSTR" or area > len(start) - 20:
        return False
    clients, flags = struct.unpack_from("<12xHH", start, area)
    return clients == 0xFFFF or bool(flags & 2)
