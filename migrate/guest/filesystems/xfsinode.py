"""What an inode of XFS says, and how it maps content to blocks. Pure: all raise ValueError for what cannot be.

Linux, fs/xfs/libxfs/xfs_format.h; what the kernel takes for an inode: xfs_inode_buf.c, xfs_dinode_verify, and
xfs_inode_fork.c; times: xfs_inode_from_disk_ts; device numbers: fs/xfs/xfs_linux.h and linux/kdev_t.h.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator

import msgspec

from migrate.guest.directory import KINDS
from migrate.guest.filesystems.xfsblock import crc_matches
from migrate.guest.filesystems.xfssuper import BIGTIME, LARGE_COUNTS, Superblock

DEVICE, LOCAL, EXTENTS, TREE = 0, 1, 2, 3
MAX_LINK = 1024
_CORE = struct.Struct(">HHBBHIII4xQ8xQ8xQQ4xIHBb6xH8x")
_REALTIME, _BIGTIME_FLAG, _LARGE_COUNTS_FLAG = 0x1, 0x8, 0x10
_EPOCH = 1 << 31
_RECORD = struct.Struct(">QQ")
_SPECIAL = {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK}


class Fork(msgspec.Struct, frozen=True):
    """Where content or attributes are: `data` is the inode's own part of it, as `format` says; `extents` is a count."""

    format: int
    extents: int
    data: bytes


class Inode(msgspec.Struct, frozen=True, kw_only=True):
    """What an inode says. `blocks` is how many it takes in all; `attributes` is None where it has none."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    blocks: int
    content: Fork
    attributes: Fork | None


class Run(msgspec.Struct, frozen=True):
    """A run of blocks: the first within the file, where it is, how many; `unwritten` ones read as zeros."""

    first: int
    where: int
    count: int
    unwritten: bool


def parse_inode(raw: bytes, number: int, sb: Superblock) -> Inode:
    """Return what the bytes of an inode that is in use say."""
    (magic, mode, version, form, old_links, uid, gid, links, large, mtime, size, blocks, extents, attribute_extents,
     fork_offset, attribute_form, flags) = _CORE.unpack_from(raw)  # fmt: skip
    if magic != 0x494E or (version != 3 if sb.version == 5 else version not in {1, 2}):
        raise ValueError("it is damaged")
    core, flags2 = 100, 0
    if version == 3:
        core = 176
        flags2, own = struct.unpack_from(">Q24xQ", raw, 120)
        if not crc_matches(raw, 100):
            raise ValueError("it is damaged (its checksum is wrong)")
        if own != number or raw[160:176] != sb.identity:
            raise ValueError("it is damaged")
    if flags2 & _LARGE_COUNTS_FLAG:
        extents, attribute_extents = large, extents
    unknown = 0 if sb.incompat & BIGTIME else _BIGTIME_FLAG
    unknown |= 0 if sb.incompat & LARGE_COUNTS else _LARGE_COUNTS_FLAG
    if flags2 & unknown:
        raise ValueError("it is damaged")
    if stat.S_IFMT(mode) not in KINDS:
        raise ValueError("it is not in use, or damaged")
    if flags & _REALTIME and stat.S_ISREG(mode):
        raise ValueError("its content is on another device (realtime)")
    if size >= 1 << 63 or extents + attribute_extents > blocks or blocks > sb.blocks:
        raise ValueError("it is damaged")
    links = old_links if version == 1 else links
    if not links:
        raise ValueError("it has no name, and yet is named")
    split = core + fork_offset * 8
    if fork_offset and (split >= len(raw) or (stat.S_IFMT(mode) in _SPECIAL and fork_offset != 1)):
        raise ValueError("it is damaged")
    attributes = _attributes(attribute_form, attribute_extents, raw[split:] if fork_offset else None)
    content = Fork(form, extents, raw[core:split] if fork_offset else raw[core:])
    _check_content(content, mode, size)
    return Inode(
        number=number,
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime=mtime // 10**9 - _EPOCH if flags2 & _BIGTIME_FLAG else _signed(mtime >> 32),
        links=links,
        blocks=blocks,
        content=content,
        attributes=attributes,
    )


def _signed(seconds: int) -> int:
    return seconds - (1 << 32) if seconds & _EPOCH else seconds


def _attributes(form: int, extents: int, data: bytes | None) -> Fork | None:
    if data is None:
        if extents or form not in {0, EXTENTS}:
            raise ValueError("it is damaged")
        return None
    fork = Fork(form, extents, data)
    if form not in {LOCAL, EXTENTS, TREE} or (form == LOCAL and extents):
        raise ValueError("it is damaged")
    _check_extents(fork)
    return fork


def _check_content(fork: Fork, mode: int, size: int) -> None:
    kind = stat.S_IFMT(mode)
    if kind in _SPECIAL:
        fits = fork.format == DEVICE
    elif kind == stat.S_IFREG:
        fits = fork.format in {EXTENTS, TREE}
    else:
        fits = fork.format in {LOCAL, EXTENTS, TREE} and size > 0
        fits = fits and (kind != stat.S_IFLNK or size <= MAX_LINK)
        fits = fits and (fork.format != LOCAL or (size <= len(fork.data) and not fork.extents))
    if not fits:
        raise ValueError("it is damaged")
    _check_extents(fork)


def _check_extents(fork: Fork) -> None:
    """Check that as many extents as there are stand where they should (xfs_iformat_extents, xfs_iformat_btree)."""
    room = len(fork.data) // _RECORD.size
    if (fork.format == EXTENTS and fork.extents > room) or (fork.format == TREE and fork.extents <= room):
        raise ValueError("its extents are damaged")


def device_of(fork: Fork) -> tuple[int, int]:
    """Return a device's numbers: 14 bits and 18."""
    number = int.from_bytes(fork.data[:4], "big")
    return number >> 18, number & 0x3FFFF


def parse_runs(data: bytes) -> Iterator[Run]:
    """Yield the runs in extents one after the other (xfs_bmbt_disk_get_all)."""
    for high, low in _RECORD.iter_unpack(data):
        where = (high & 0x1FF) << 43 | low >> 21
        yield Run((high >> 9) & ((1 << 54) - 1), where, low & 0x1FFFFF, bool(high >> 63))


def parse_root(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the level of a tree of extents and the blocks below its root, which is in the inode (xfs_bmdr_block)."""
    level, count = struct.unpack_from(">HH", data)
    most = (len(data) - 4) // 16
    if not 1 <= level <= 9 or not 1 <= count <= most:
        raise ValueError("its extents are damaged")
    return level, struct.unpack_from(f">{count}Q", data, 4 + 8 * most)


def parse_node(block: bytes, header: int, magic: bytes, level: int) -> tuple[bytes, tuple[int, ...]]:
    """Return what a block of a tree of extents holds: the extents of a leaf (level 0), or the blocks below it."""
    own, count = struct.unpack_from(">HH", block, 4)
    most = (len(block) - header) // 16
    if block[:4] != magic or own != level or not 1 <= count <= most:
        raise ValueError("its extents are damaged")
    if not level:
        return block[header : header + 16 * count], ()
    return b"", struct.unpack_from(f">{count}Q", block, header + 8 * most)
