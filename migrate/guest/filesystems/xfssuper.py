"""The superblock of XFS, and whether reading it without the kernel gives what a mount gives.

Offsets, bits and what is checked: linux, fs/xfs/libxfs/xfs_format.h and xfs_sb.c (xfs_validate_sb_common); what
blkid(8) says: util-linux, libblkid/src/superblocks/xfs.c; the file system's size: linux, fs/xfs/xfs_super.c,
xfs_fs_statfs.
"""

from __future__ import annotations

import struct
import uuid

import msgspec

from migrate.guest.filesystems.inprocess import Found, Read, Usage, is_plain, why_unknown
from migrate.guest.filesystems.xfsblock import NO_LSN, crc_matches
from migrate.guest.filesystems.xfslog import LogState, log_state

LENGTH = 4096
"""How many bytes from the start of a device `parse_superblock` wants: a sector, which is at most so long."""

_SHORTEST = 512
_NONE = (1 << 64) - 1
_LEAST_GROUP = 64  # blocks
FTYPE, SPARSE_INODES, META_UUID, BIGTIME, NEEDS_REPAIR, LARGE_COUNTS = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
EXCHANGE, PARENT = 0x40, 0x80
_INCOMPAT = FTYPE | SPARSE_INODES | META_UUID | BIGTIME | LARGE_COUNTS | EXCHANGE | PARENT
_OTHER_INCOMPAT = {0x100: "a directory of metadata", 0x200: "zones", 0x400: "zones"}
_RO_COMPAT = 0x1 | 0x2 | 0x4 | 0x8  # free inode tree, reverse map, shared extents, inode tree sizes
_LOG_INCOMPAT = 0x1  # attributes in the log
# sb_versionnum: attributes, many links, quota, inode and data alignment, log of version 2, sector sizes, unwritten
# extents, directories of version 2, more bits
_VERSION_BITS = 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 0x1000 | 0x2000 | 0x8000
_LOG_V2, _UNWRITTEN, _DIRECTORIES_V2, _SHARED, _ANY_CASE, _MORE = 0x400, 0x1000, 0x2000, 0x200, 0x4000, 0x8000
# sb_features2: lazy counters, attributes of version 2, 32-bit project numbers, checksums, file types in directories
_FEATURES2 = 0x2 | 0x8 | 0x80 | 0x100 | 0x200
_LAZY, _CRC, _FTYPE2 = 0x2, 0x100, 0x200


class Superblock(msgspec.Struct, frozen=True, kw_only=True):
    """What of a superblock is used. `uuid` and `label` are as blkid(8) writes them, `identity` what blocks carry.

    Sizes are in bytes where their names do not say blocks; `group_log` and `inodes_log` are powers of two: an inode's
    number is its group, the block there and its place in that, of so many bits. `version` is 4 or 5.
    """

    version: int
    uuid: str
    label: str
    identity: bytes
    block_size: int
    blocks: int
    free: int
    sector_size: int
    inode_size: int
    directory_size: int
    group_blocks: int
    groups: int
    group_log: int
    inodes_log: int
    root: int
    special: tuple[int, ...]
    log_start: int
    log_blocks: int
    log_version: int
    lsn: int
    incompat: int
    has_types: bool
    why_not: str

    def usage(self) -> Usage:
        """Return its size as statvfs(3) tells it, without the log; free is what the superblock says.

        The kernel takes from that what it keeps in reserve, which is another amount in each of its versions.
        """
        log = self.log_blocks if self.log_start else 0
        return Usage(block_size=self.block_size, blocks=max(0, self.blocks - log), free=self.free)

    def group_length(self, group: int) -> int:
        """Return how many blocks an allocation group has: the last one may have fewer."""
        return min(self.group_blocks, self.blocks - group * self.group_blocks)

    def place(self, block: int, count: int = 1) -> int:
        """Return the byte where a run of blocks starts, -1 where it is none that may hold data (xfs_verify_fsbext)."""
        group, within = block >> self.group_log, block & ((1 << self.group_log) - 1)
        if group >= self.groups or within * self.block_size < 4 * self.sector_size or count < 1:
            return -1
        if within + count > self.group_length(group):
            return -1
        return (group * self.group_blocks + within) * self.block_size

    def inode_place(self, number: int) -> int:
        """Return the byte where an inode is, -1 where there is none of this number or none of a file."""
        if number in self.special:
            return -1
        place = self.place(number >> self.inodes_log)
        within = number & ((1 << self.inodes_log) - 1)
        return place + within * self.inode_size if place >= 0 else -1


def probe(read: Read, size: int) -> Found | None:
    """Return what blkid(8) says of an XFS, or None where a device of `size` bytes holds none.

    Raises DiskError as `read` does.
    """
    found, log = inspect(read, size)
    if found is None:
        return None
    return Found(type="xfs", uuid=found.uuid, label=found.label, why_not=log.why_not)


def inspect(read: Read, size: int) -> tuple[Superblock | None, LogState]:
    """Return the superblock of a device, and the state of its log, whose `why_not` is for all of the file system."""
    found = parse_superblock(read(0, min(size, LENGTH))) if size >= _SHORTEST else None
    if found is None:
        return None, LogState(why_not="it holds no XFS")
    why = found.why_not
    if not why and found.blocks * found.block_size > size:
        why = f"the file system is {found.blocks * found.block_size} bytes long, and its device {size}"
    start = -1 if why else found.place(found.log_start, found.log_blocks)
    if not why and start < 0:
        why = "its superblock has sizes that are not usual"
    if why:
        return found, LogState(why_not=why)
    log = log_state(read, start, found.log_blocks * found.block_size, found.log_version)
    if not log.why_not and found.version == 5 and found.lsn != NO_LSN and found.lsn > log.lsn:
        return found, LogState(why_not="its superblock is newer than its log")
    return found, log


def parse_superblock(data: bytes) -> Superblock | None:
    """Return the superblock that the first LENGTH bytes of a device hold (512 are the least), or None.

    `why_not` says in half a sentence why reading it here might not be the same as mounting it, whatever its log
    holds; empty where it is.
    """
    if len(data) < _SHORTEST or data[:4] != b"XFSB":
        return None
    block_size, blocks, realtime = struct.unpack_from(">IQQ", data, 4)
    identity = data[32:48]
    log_start, root, bitmap, summary = struct.unpack_from(">4Q", data, 48)
    _, group_blocks, groups, _, log_blocks, bits, sector, inode_size, _ = struct.unpack_from(">5I4H", data, 80)
    label = data[108:120].partition(b"\0")[0]
    inodes_log, group_log = data[123], data[124]
    _, _, free = struct.unpack_from(">3Q", data, 128)
    users, owners = struct.unpack_from(">QQ", data, 160)
    directory_log = data[192]
    features2, bad_features2, _, ro_compat, incompat, log_incompat = struct.unpack_from(">6I", data, 200)
    projects, lsn = struct.unpack_from(">QQ", data, 232)
    version = bits & 0xF
    features2 = features2 | bad_features2 if bits & _MORE else 0
    if version != 5:
        ro_compat = incompat = log_incompat = 0
    why = _why_not_bits(version, bits, features2)
    why = why or _why_not_features(ro_compat, incompat, log_incompat)
    why = why or _why_not_state(realtime, log_start, data[126], label)
    if not why and not _is_usual(data):
        why = "its superblock has sizes that are not usual"
    if not why and version == 5 and not (len(data) >= sector and crc_matches(data[:sector], 224)):
        why = "its superblock is damaged (its checksum is wrong)"
    quota = (users, owners, projects) if version == 5 else (users, owners)
    return Superblock(
        version=version,
        uuid=str(uuid.UUID(bytes=identity)) if any(identity) else "",
        label=label.rstrip().decode("utf-8", "surrogateescape"),
        identity=data[248:264] if incompat & META_UUID else identity,
        block_size=block_size,
        blocks=blocks,
        free=free,
        sector_size=sector,
        inode_size=inode_size,
        directory_size=block_size << min(directory_log, 16),
        group_blocks=group_blocks,
        groups=groups,
        group_log=group_log,
        inodes_log=inodes_log,
        root=root,
        special=tuple(number for number in (bitmap, summary, *quota) if number not in {0, _NONE}),
        log_start=log_start,
        log_blocks=log_blocks,
        log_version=2 if bits & _LOG_V2 else 1,
        lsn=lsn,
        incompat=incompat,
        has_types=bool(incompat & FTYPE if version == 5 else features2 & _FTYPE2),
        why_not=why,
    )


def _is_usual(data: bytes) -> bool:
    """Tell whether its sizes fit each other, as xfs_validate_sb_common asks."""
    block_size, blocks = struct.unpack_from(">IQ", data, 4)
    group_blocks, groups, _, log_blocks, bits, sector, inode_size, per_block = struct.unpack_from(">4I4H", data, 84)
    block_log, sector_log, inode_log, inodes_log, group_log = struct.unpack_from(">5B", data, 120)
    log_start, root = struct.unpack_from(">QQ", data, 48)
    (free,) = struct.unpack_from(">Q", data, 144)
    shared, directory_log = data[179], data[192]
    return (
        9 <= block_log <= 16
        and block_size == 1 << block_log
        and (bits & 0xF == 4 or block_log >= 10)
        and block_log + directory_log <= 16
        and 9 <= sector_log <= 12
        and sector == 1 << sector_log
        and 8 <= inode_log <= 11
        and inode_size == 1 << inode_log
        and inodes_log == block_log - inode_log
        and per_block == 1 << inodes_log
        and 16 << 20 <= group_blocks * block_size <= 1 << 40
        and group_log == (group_blocks - 1).bit_length()
        and groups == -(-blocks // group_blocks)
        and blocks - (groups - 1) * group_blocks >= _LEAST_GROUP
        and blocks < 1 << 54
        and free <= blocks
        and shared == 0
        and 0 < log_blocks * block_size <= 1 << 31
        and log_start >> group_log < groups
        and 0 < root < 1 << 56
    )


def _why_not_bits(version: int, bits: int, features2: int) -> str:
    if version not in {4, 5}:
        return f"it is of version {version}"
    if bits & _ANY_CASE:
        return "it uses case-insensitive names"
    others = bits & ~0xF & ~_VERSION_BITS | features2 & ~_FEATURES2
    if others:
        return f"it uses a feature that is not known ({others:#x})"
    if not bits & _UNWRITTEN or not bits & _DIRECTORIES_V2 or (version == 5) != bool(features2 & _CRC):
        return "it was made in a way that is not usual (another system, or an old revision)"
    return ""


def _why_not_features(ro_compat: int, incompat: int, log_incompat: int) -> str:
    if incompat & NEEDS_REPAIR:
        return "it is marked as needing repair"
    if why := why_unknown((incompat, ro_compat), (_INCOMPAT, _RO_COMPAT), _OTHER_INCOMPAT):
        return why
    if log_incompat & ~_LOG_INCOMPAT:
        return f"it uses a feature that is not known (log {log_incompat & ~_LOG_INCOMPAT:#x})"
    return ""


def _why_not_state(realtime: int, log_start: int, in_progress: int, label: bytes) -> str:
    if in_progress:
        return "it was not made to its end"
    if not log_start:
        return "its log is on another device"
    if realtime:
        return "a part of it is on another device (realtime)"
    if not is_plain(label.rstrip().decode("latin-1")):
        return "its label has characters that are not plain"
    return ""
