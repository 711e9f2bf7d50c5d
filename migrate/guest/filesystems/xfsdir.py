"""Names in the directories of XFS. Pure: all raise ValueError for what cannot be.

Only what holds names is read; the index by hash beside it is not. Linux, fs/xfs/libxfs/xfs_da_format.h; what the
kernel takes for a directory: xfs_dir2_sf.c, xfs_dir2_sf_verify, and xfs_dir2_data.c, __xfs_dir3_data_check.
"""

from __future__ import annotations

import struct

BLOCK_MAGIC = {4: b"XD2B", 5: b"XDB3"}
DATA_MAGIC = {4: b"XD2D", 5: b"XDD3"}
INDEX_START = 32 << 30
"""Where the index begins within a directory, in bytes (XFS_DIR2_LEAF_OFFSET)."""

_DAMAGED = "the directory is damaged"
_ENTRY = struct.Struct(">QB")

Names = list[tuple[bytes, int]]
"""Names with the inodes they lead to."""


def parse_short(data: bytes, has_types: bool) -> Names:
    """Return the names of a directory that is in its inode; `data` is as long as the directory."""
    if len(data) < 6:
        raise ValueError(_DAMAGED)
    count, wide = data[0], data[1]
    width = 8 if wide else 4
    if wide > count + 1:  # the parent is counted too
        raise ValueError(_DAMAGED)
    at, found = 2 + width, []
    for _ in range(count):
        length = data[at] if at < len(data) else 0
        name = data[at + 3 : at + 3 + length]
        at += 3 + length + has_types
        if not length or at + width > len(data):
            raise ValueError(_DAMAGED)
        found.append((name, int.from_bytes(data[at : at + width], "big")))
        at += width
    if at != len(data):
        raise ValueError(_DAMAGED)
    return found


def parse_data(block: bytes, version: int, has_types: bool) -> Names:
    """Return the names in a block of a directory, without `.` and `..`."""
    at, end = (64 if version == 5 else 16), len(block)
    if block[:4] == BLOCK_MAGIC[version]:
        (leaves,) = struct.unpack_from(">I", block, end - 8)
        end -= 8 + 8 * leaves
        if end < at:
            raise ValueError(_DAMAGED)
    found: Names = []
    unpack, extra = _ENTRY.unpack_from, 11 + has_types + 7
    while at < end:
        if at + 16 > end and block[at : at + 2] != b"\xff\xff":
            raise ValueError(_DAMAGED)
        if block[at : at + 2] == b"\xff\xff":
            length = int.from_bytes(block[at + 2 : at + 4], "big")
            tag = at + length - 2
            if length % 8 or not length or at + length > end:
                raise ValueError(_DAMAGED)
        else:
            number, size = unpack(block, at)
            length = (size + extra) & ~7
            tag = at + length - 2
            if not size or at + length > end:
                raise ValueError(_DAMAGED)
            name = block[at + 9 : at + 9 + size]
            if name != b"." and name != b"..":
                found.append((name, number))
        if block[tag] << 8 | block[tag + 1] != at:
            raise ValueError(_DAMAGED)
        at += length
    return found
