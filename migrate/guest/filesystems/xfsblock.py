"""What XFS of version 5 writes into each block of metadata so that damage is seen, and how it is checked. Pure.

The checksum is CRC-32C (google-crc32c, in C: 512 bytes in 0.2 µs, where a loop in Python takes 40 µs; a tree of
18,000 files has 9 MB of inodes to check).

Linux, fs/xfs/libxfs/: xfs_format.h, xfs_da_format.h; xfs_cksum.h; what a log's position may be: xfs_log_check_lsn.
"""

from __future__ import annotations

import struct

import msgspec

from migrate.guest.filesystems.crc32c import crc32c


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a kind of block holds its checksum, its own place, its position in the log, the UUID and its owner."""

    crc: int
    place: int
    lsn: int
    uuid: int
    owner: int


DIRECTORY = Layout(crc=4, place=8, lsn=16, uuid=24, owner=40)
TREE = Layout(crc=64, place=24, lsn=32, uuid=40, owner=56)
ATTRIBUTES = Layout(crc=12, place=16, lsn=24, uuid=32, owner=48)
REMOTE = Layout(crc=12, place=40, lsn=48, uuid=16, owner=32)
"""Of a symbolic link's text, and of an attribute's value."""

NO_LSN = (1 << 64) - 1


def crc_matches(data: bytes, at: int) -> bool:
    """Tell whether the 4 bytes at a place are the checksum of all of it with zeros there (xfs_verify_cksum)."""
    crc = crc32c(data[at + 4 :], crc32c(bytes(4), crc32c(data[:at]))) ^ 0xFFFFFFFF
    return data[at : at + 4] == struct.pack("<I", crc)


def damage(block: bytes, layout: Layout, sector: int, owner: int, identity: bytes, newest: int) -> str:
    """Return what is wrong with a block, or nothing.

    `sector` is where it is (in 512 bytes), `owner` the inode it belongs to, `identity` the UUID of the metadata and
    `newest` where the log ends.
    """
    if not crc_matches(block, layout.crc):
        return "its checksum is wrong"
    (place,) = struct.unpack_from(">Q", block, layout.place)
    (belongs,) = struct.unpack_from(">Q", block, layout.owner)
    (lsn,) = struct.unpack_from(">Q", block, layout.lsn)
    if place != sector or belongs != owner or block[layout.uuid : layout.uuid + 16] != identity:
        return "it belongs somewhere else"
    if lsn != NO_LSN and lsn > newest:
        return "it is newer than the log"
    return ""
