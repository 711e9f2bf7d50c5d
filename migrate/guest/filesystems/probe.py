"""What is on a device, as blkid(8) tells it, and who reads it in this process.

A device is one thing or it is refused: two signatures on one device (a file system made over the remains of another)
are for libblkid to weigh, behind a mount. Offsets and magic numbers: util-linux, libblkid/src/superblocks/.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator

import msgspec

from migrate.errors import DiskError
from migrate.guest.filesystems import ext, extsuper, fat, fatboot, ntfs, ntfsboot, xfs, xfssuper
from migrate.guest.filesystems.inprocess import Found, InProcess, Read, is_plain
from migrate.guest.tree import decode
from migrate.guest.volumes import lvm
from migrate.text import show

_RAID = b"\xfc\x4e\x2b\xa9"
# Where each kind is told by: (offset, magic, blkid's word for it). What is read here is among them, so that it is
# noticed on a device that holds something else too.
_SIGNATURES = (
    (0, b"XFSB", "xfs"), (0, b"LUKS\xba\xbe", "crypto_LUKS"), (0x10040, b"_BHRfS_M", "btrfs"),
    (0x8001, b"CD001", "iso9660"), (3, b"NTFS    ", "ntfs"), (3, b"EXFAT   ", "exfat"), (3, b"-FVE-FS-", "BitLocker"),
    (54, b"FAT", "vfat"), (82, b"FAT32", "vfat"), (0, _RAID, "linux_raid_member"), (4096, _RAID, "linux_raid_member"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"), (0x1018, b"\xc6\x85\x73\xf6", "bcache"), (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"), (65588, b"ReIsEr", "reiserfs"), (65600, b"ReIsEr", "reiserfs"),
    (0x8000, b"JFS1", "jfs"), (0, b"Stratis", "stratis"), (4, b"!Stra0tis\x86\xff\x02^\x41rh", "stratis"),
    (1024, b"H+", "hfsplus"), (1024, b"HX", "hfsplus"), (0x200000, b"\x0d\xd0\x01\xc0", "VMFS"),
    (0x100000, b"\x0d\xd0\x01\xc0", "VMFS_volume_member"),
    *((number * 512, b"LABELONE", "LVM2_member") for number in range(4)),
)  # fmt: skip
_ZFS = tuple(struct.pack(order, 0x00BAB10C) for order in ("<Q", ">Q"))
_ZFS_LABELS = range(128 << 10, 256 << 10, 1024)  # the ring of uberblocks in the first of a pool member's labels
_SWAP = (b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")
_PAGE = 4096


class Kind(msgspec.Struct, frozen=True):
    """A kind of content that is read here. `open` is None where it holds no files itself."""

    types: tuple[str, ...]
    probe: Callable[[Read, int], Found | None]
    open: Callable[[Read, int, str, int], InProcess] | None


KINDS = (
    Kind(("ext2", "ext3", "ext4"), extsuper.probe, ext.Ext),
    Kind(("xfs",), xfssuper.probe, xfs.Xfs),
    Kind(("vfat",), fatboot.probe, fat.Fat),
    Kind(("ntfs",), ntfsboot.probe, ntfs.Ntfs),
    Kind(("LVM2_member",), lvm.probe, None),
)
"""Everything that is read in this process; a further kind is a line here and a module beside."""


def examine(read: Read, size: int, name: str, *, no_files: bool) -> Found | None:
    """Return what is on a device of `size` bytes, or None where there is nothing.

    `no_files` tells that the device's entry in the partition table says so (a boot loader's own space): then what is
    on it need not be known. Raises DiskError for what is not certain; `name` is the device's name in it.
    """
    found = [(kind, each) for kind in KINDS if (each := kind.probe(read, size)) is not None]
    words = {each.type for _, each in found}
    known = {word for kind, each in found for word in (*kind.types, each.type)}
    others = {word for offset, magic, word in _signatures(size) if _at(read, size, offset, len(magic)) == magic} - known
    if _is_zfs(read, size):
        others.add("zfs_member")
    swap = _at(read, size, _PAGE - 10, 10)
    if swap.startswith(_SWAP):
        words.add("swap")
    words |= others
    if len(words) > 1:
        raise _refused(f"{name} shows traces of {' and '.join(sorted(words))}, and which one counts is not certain")
    if others:
        raise _refused(f"of {name}: {_why(next(iter(others)))}")
    if words == {"swap"}:
        return _swap(read, size, name, swap)
    if not found:
        if no_files or _is_blank(read, size):
            return None
        raise _refused(f"{name} holds something that is not recognised")
    if found[0][1].why_not:
        raise _refused(f"of {name} ({found[0][1].type}): {found[0][1].why_not}")
    return found[0][1]


def open_found(found: Found, read: Read, size: int, name: str, number: int) -> InProcess:
    """Open the file system that `examine` found; `number` tells its inodes from other file systems'.

    Raises DiskError for one that cannot be read with certainty.
    """
    kind = next((kind for kind in KINDS if found.type in kind.types), None)
    if kind is None or kind.open is None:
        raise _refused(f"of {name}: a {show(found.type)} holds no files")
    return kind.open(read, size, name, number)


def _refused(found: str) -> DiskError:
    return DiskError("read the disks directly", found)


def _why(word: str) -> str:
    if word == "linux_raid_member":
        return "it is a member of a RAID (md), which the kernel puts together"
    if word == "crypto_LUKS":
        return "it is encrypted (LUKS)"
    return f"it holds {word}, which only a mount reads"


def _is_zfs(read: Read, size: int) -> bool:
    """Tell whether a pool's uberblocks are there (libblkid/src/superblocks/zfs.c asks for four of them)."""
    ring = _at(read, size, _ZFS_LABELS.start, len(_ZFS_LABELS) * 1024)
    return sum(ring[at : at + 8] in _ZFS for at in range(0, len(ring), 1024)) >= 4


def _is_blank(read: Read, size: int) -> bool:
    """Tell whether there are only zeros wherever blkid(8) looks for anything: the start and the end."""
    start, end = min(size, 2 << 20), max(0, size - (1 << 20))
    return not any(read(0, start)) and not any(read(end, size - end))


def _swap(read: Read, size: int, name: str, magic: bytes) -> Found:
    """Return what mkswap(8) wrote: version 1, sizes, UUID and label from byte 1024 on (linux, union swap_header)."""
    head = _at(read, size, 1024, 44)
    label = head[28:44].partition(b"\0")[0]
    plain = magic == _SWAP[0] and len(head) == 44 and is_plain(label.decode("latin-1"))
    if not plain or struct.unpack_from("<I", head)[0] != 1 or not struct.unpack_from("<I", head, 4)[0]:
        raise _refused(f"the swap on {name} is not as mkswap writes it")
    identity = head[12:28]
    return Found(type="swap", uuid=str(uuid.UUID(bytes=identity)) if any(identity) else "", label=decode(label))


def _at(read: Read, size: int, offset: int, length: int) -> bytes:
    return read(offset, length) if 0 <= offset <= size - length else b""


def _signatures(size: int) -> Iterator[tuple[int, bytes, str]]:
    """Yield the places of signatures; those of a RAID are at the end too (md(4))."""
    yield from _SIGNATURES
    yield (size & ~0xFFFF) - 0x10000, _RAID, "linux_raid_member"
    yield ((size // 512 - 16) & ~7) * 512, _RAID, "linux_raid_member"
