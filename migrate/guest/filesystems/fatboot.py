"""The boot sector of FAT12, FAT16 and FAT32: where everything is, and what blkid(8) says of it. Pure but for `probe`.

What a FAT is, its UUID and label: util-linux 2.38, libblkid/src/superblocks/vfat.c; what a mount makes of it: linux,
fs/fat/inode.c (fat_read_bpb, fat_fill_super). The volume's dirty flag changes nothing of what a mount reads.
"""

from __future__ import annotations

import struct

import msgspec

from migrate.guest.filesystems.inprocess import Found, Read, is_plain
from migrate.guest.tree import decode

LENGTH = 512
FAT12_MOST, FAT16_MOST, FAT32_MOST = 0xFF4, 0xFFF4, 0x0FFFFFF6
VOLUME, DIRECTORY, LONG_NAME = 0x08, 0x10, 0x0F
_NAMES = ((0x52, b"MSWIN"), (0x52, b"FAT32   "), (0x36, b"MSDOS"), (0x36, b"FAT16   "), (0x36, b"FAT12   "),
          (0x36, b"FAT     "))  # fmt: skip
_BITLOCKER_TO_GO = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")  # at 424, behind a FAT that shows a reader
_MOST_CHAINED = 99  # clusters of the root that libblkid looks for a label in


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a boot sector says; places are bytes from the start of the device.

    `bits` is 12, 16 or 32. Clusters are 2 to `end` - 1. `info` is where the file system
    information sector is, or 0. `root_cluster` is 0 where the root directory is not a chain of clusters, but the
    `root_size` bytes before `data`. `size` is where the file system ends. `why_not` says
    in half a sentence why the kernel would not mount it, or is empty.
    """

    bits: int
    sector: int
    cluster: int
    info: int
    fat: int
    root_cluster: int
    root_size: int
    data: int
    end: int
    size: int
    serial: str
    why_not: str


def parse_boot(data: bytes) -> Boot | None:
    """Return what the first LENGTH bytes of a device say, or None where they are no FAT's as libblkid sees it."""
    if len(data) < LENGTH or not _has_magic(data):
        return None
    (sector,) = struct.unpack_from("<H", data, 11)
    per_cluster, reserved, fats, root_entries, sectors, media, fat16 = struct.unpack_from("<BHBHHBH", data, 13)
    sectors_high, fat32 = struct.unpack_from("<II", data, 32)
    if not (reserved and fats and (media >= 0xF8 or media == 0xF0) and _is_power(per_cluster)):
        return None
    if not _is_power(sector) or not 512 <= sector <= 4096:
        return None
    sectors = sectors or sectors_high
    fat_sectors = fat16 or fat32
    root_sectors = -(-root_entries * 32 // sector)
    data_start = reserved + fats * fat_sectors + root_sectors
    # libblkid counts in 32 bits, without a sign
    clusters = ((sectors - data_start) & 0xFFFFFFFF) // per_cluster
    is_fat32 = not fat16 and fat32 > 0
    bits = 32 if is_fat32 else 16 if clusters > FAT12_MOST else 12
    if clusters > (FAT32_MOST if is_fat32 else FAT16_MOST):
        return None
    root_cluster, info = struct.unpack_from("<IH", data, 0x2C)
    entries = fat_sectors * sector * 8 // bits
    end = min(clusters, entries - 2) + 2
    return Boot(
        bits=bits,
        sector=sector,
        cluster=sector * per_cluster,
        info=info * sector if is_fat32 else 0,
        fat=reserved * sector,
        root_cluster=root_cluster if is_fat32 else 0,
        root_size=root_entries * 32,
        data=data_start * sector,
        end=end,
        size=(data_start + clusters * per_cluster) * sector,
        serial=_serial_at(data, 0x42 if is_fat32 else 0x26),
        why_not=_why_not(data_start <= sectors, fat_sectors, root_entries, sector, end, is_fat32=is_fat32),
    )


def _why_not(fits: bool, fat_sectors: int, root_entries: int, sector: int, end: int, *, is_fat32: bool) -> str:
    if not fits or not fat_sectors or end <= 2:
        return "its boot sector has sizes that cannot be"
    if root_entries * 32 % sector or (root_entries > 0) == is_fat32:
        return "its root directory has a size that is not usual"
    return ""


def _has_magic(data: bytes) -> bool:
    if any(data.startswith(magic, offset) for offset, magic in _NAMES):
        return True
    marked = data[510:512] == b"\x55\xaa"
    return marked and data[0x36:0x3E] not in {b"JFS     ", b"HPFS    "}


def _is_power(number: int) -> bool:
    return number > 0 and not number & (number - 1)


def _serial_at(data: bytes, at: int) -> str:
    """Return the serial number behind an extended boot signature, or nothing where that is none."""
    return _serial(data[at + 1 : at + 5]) if data[at] in {0x28, 0x29} else ""


def _serial(data: bytes) -> str:
    text = data[::-1].hex().upper()
    return f"{text[:4]}-{text[4:]}"


def probe(read: Read, size: int) -> Found | None:
    """Return what FAT is on a device of `size` bytes, or None. Raises DiskError as `read` does.

    An exFAT is told, and not read.
    """
    data = read(0, LENGTH) if size >= LENGTH else b""
    if data[3:11] == b"EXFAT   ":
        return Found(type="exfat", uuid=_serial(data[100:104]), why_not="it is exFAT, which only a mount reads")
    if data[3:11] == b"-FVE-FS-" or data[424:440] == _BITLOCKER_TO_GO:
        return None
    boot = parse_boot(data)
    if boot is None or not _has_information(read, size, boot):
        return None
    why = boot.why_not
    if not why and boot.size > size:
        why = f"the file system is {boot.size} bytes long, and its device {size}"
    label = b"" if why else find_label(read, boot)
    if not is_plain(label.decode("latin-1")):
        why = why or "its label has characters that are not plain"
    return Found(type="vfat", uuid=boot.serial, label=decode(label), why_not=why)


def _has_information(read: Read, size: int, boot: Boot) -> bool:
    """Tell whether the file system information is as libblkid wants it: its signatures, or zeros for them."""
    if not boot.info:
        return True
    if boot.info + LENGTH > size:
        return False
    data = read(boot.info, LENGTH)
    return data[:4] in {b"RRaA", b"RRdA", bytes(4)} and data[484:488] in {b"rrAa", bytes(4)}


def find_label(read: Read, boot: Boot) -> bytes:
    """Return the label that the root directory holds, as libblkid looks for it; empty where it has none.

    The boot sector's own is LABEL_FATBOOT since util-linux 2.33, and is no LABEL.
    """
    if not boot.root_cluster:
        return _label_in(read(boot.data - boot.root_size, boot.root_size)) or b""
    cluster = boot.root_cluster
    for _ in range(_MOST_CHAINED):
        if not 2 <= cluster < boot.end:
            break
        label = _label_in(read(boot.data + (cluster - 2) * boot.cluster, boot.cluster))
        if label is not None:
            return label
        cluster = struct.unpack("<I", read(boot.fat + cluster * 4, 4))[0] & 0x0FFFFFFF
    return b""


def _label_in(directory: bytes) -> bytes | None:
    for at in range(0, len(directory), 32):
        record = directory[at : at + 32]
        if not record[0]:
            break
        attributes = record[11] & 0x3F
        if record[0] == 0xE5 or any(record[20:22]) or any(record[26:28]) or attributes == LONG_NAME:
            continue
        if attributes & (VOLUME | DIRECTORY) == VOLUME:
            name = b"\xe5" + record[1:11] if record[0] == 0x05 else record[:11]
            return name.partition(b"\0")[0].rstrip()
    return None
