"""What an inode of ext2, ext3 or ext4 says, and how its times and device numbers are written. Pure.

Linux, Documentation/filesystems/ext4/inodes.rst.
"""

from __future__ import annotations

import struct

import msgspec

from migrate.guest.filesystems.extattr import Raw


class Inode(msgspec.Struct, frozen=True, kw_only=True):
    """What an inode says; `block` is its 60 bytes of map, link target or content."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    sectors: int
    flags: int
    block: bytes
    attributes: Raw
    has_block: bool
    seed: int


def mtime_of(raw: bytes) -> int:
    """Return the time in seconds: 32 bits with a sign, and two bits more where the inode has room for them."""
    seconds = int(struct.unpack_from("<i", raw, 0x10)[0])
    if len(raw) <= 128:
        return seconds
    (extra,) = struct.unpack_from("<H", raw, 0x80)
    if 0 < extra < 0x8C - 128:
        return seconds
    return seconds + ((int(struct.unpack_from("<I", raw, 0x88)[0]) & 3) << 32)


def device_of(block: bytes) -> tuple[int, int]:
    """Return a device's numbers (linux, include/linux/kdev_t.h: old_decode_dev and new_decode_dev)."""
    old, new = struct.unpack_from("<II", block)
    if old:
        return (old >> 8) & 0xFF, old & 0xFF
    return (new >> 8) & 0xFFF, (new & 0xFF) | ((new >> 12) & 0xFFF00)
