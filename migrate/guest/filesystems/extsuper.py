"""The superblock of ext2, ext3 and ext4, and whether reading it without the kernel gives what a mount gives. Pure.

Offsets and bits: linux, Documentation/filesystems/ext4/; what blkid(8) calls which: util-linux,
libblkid/src/superblocks/ext.c; the file system's size: linux, fs/ext4/super.c, ext4_calculate_overhead.
"""

from __future__ import annotations

import struct
import uuid

import msgspec

from migrate.guest.filesystems.crc32c import crc32c
from migrate.guest.filesystems.inprocess import Found, Read, is_plain, why_unknown

OFFSET = 1024
LENGTH = 1024

FILETYPE, RECOVER, EXTENTS, BITS64, FLEX_BG = 0x2, 0x4, 0x40, 0x80, 0x200
CSUM_SEED, LARGE_DIRECTORY, INLINE_DATA = 0x2000, 0x4000, 0x8000
_INCOMPAT = FILETYPE | EXTENTS | BITS64 | FLEX_BG | CSUM_SEED | LARGE_DIRECTORY | INLINE_DATA
_OTHER_INCOMPAT = {0x1: "compression", 0x8: "an external journal", 0x10: "meta block groups", 0x100: "multiple mount "
    "protection", 0x400: "attributes in inodes", 0x1000: "data in directories", 0x10000: "encryption", 0x20000:
    "case-insensitive names"}  # fmt: skip
HUGE_FILE, METADATA_CSUM = 0x8, 0x400
# sparse superblocks, large files, directory index, huge files, group checksums, many links, extra inode size,
# quota, metadata checksums, projects
_RO_COMPAT = 0x1 | 0x2 | 0x4 | HUGE_FILE | 0x10 | 0x20 | 0x40 | 0x100 | METADATA_CSUM | 0x2000
_HAS_JOURNAL, _SPARSE_SUPER2 = 0x4, 0x200


class Superblock(msgspec.Struct, frozen=True, kw_only=True):
    """What of a superblock is used. `type` is blkid's word; `uuid` and `label` are empty where there is none."""

    type: str
    uuid: str
    label: str
    block_size: int
    blocks: int
    first_block: int
    group_blocks: int
    group_inodes: int
    inodes: int
    inode_size: int
    first_inode: int
    descriptor_size: int
    reserved_gdt: int
    journal_inode: int
    compat: int
    incompat: int
    ro_compat: int
    state: int
    seed: int
    why_not: str

    @property
    def groups(self) -> int:
        """How many block groups there are."""
        return -(-(self.blocks - self.first_block) // self.group_blocks)

    def overhead(self, journal_bytes: int) -> int:
        """Return how many blocks statvfs(3) does not count: tables, copies of the superblock, the journal."""
        per_table = -(-self.groups * self.descriptor_size // self.block_size)
        tables = self.group_inodes * self.inode_size // self.block_size + 2
        copies = sum(self._has_copy(group) for group in range(self.groups))
        return (
            self.first_block
            + self.groups * tables
            + copies * (1 + per_table + self.reserved_gdt)
            + journal_bytes // self.block_size
        )

    def _has_copy(self, group: int) -> bool:
        if group <= 1 or not self.ro_compat & 1:
            return True
        if group % 2 == 0:
            return False
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def parse_superblock(data: bytes) -> Superblock | None:
    """Return the superblock that the LENGTH bytes from OFFSET on hold, or None where they hold none.

    `why_not` says in half a sentence why reading it here might not be the same as mounting it; empty where it is.
    """
    if len(data) < LENGTH or data[0x38:0x3A] != b"\x53\xef":
        return None
    inodes, blocks_low = struct.unpack_from("<II", data, 0)
    first_block, log_size, log_cluster, group_blocks, _, group_inodes = struct.unpack_from("<6I", data, 0x14)
    state, _, _ = struct.unpack_from("<HHH", data, 0x3A)
    creator, revision = struct.unpack_from("<II", data, 0x48)
    first_inode, inode_size = struct.unpack_from("<IH", data, 0x54)
    compat, incompat, ro_compat = struct.unpack_from("<III", data, 0x5C)
    (reserved_gdt,) = struct.unpack_from("<H", data, 0xCE)
    journal_inode, journal_device, orphan = struct.unpack_from("<III", data, 0xE0)
    (descriptor_size,) = struct.unpack_from("<H", data, 0xFE)
    (blocks_high,) = struct.unpack_from("<I", data, 0x150)
    (flags,) = struct.unpack_from("<I", data, 0x160)
    (seed,) = struct.unpack_from("<I", data, 0x270)
    identity, label = data[0x68:0x78], data[0x78:0x88].partition(b"\0")[0]
    is64 = bool(incompat & BITS64)
    block_size = 1024 << log_size if log_size <= 6 else 0
    why = _why_not_state(state, orphan, creator, revision, journal_device, flags, label)
    why = _why_not_features(compat, incompat, ro_compat) or why
    blocks = blocks_low | (blocks_high << 32 if is64 else 0)
    sizes = (
        block_size in {1024, 2048, 4096}
        and log_cluster == log_size
        and first_block == (block_size == 1024)
        and inode_size in {128, 256, 512, 1024}
        and 0 < group_blocks <= 8 * block_size
        and 0 < group_inodes <= 8 * block_size
        and group_inodes * inode_size % block_size == 0
        and (not is64 or descriptor_size in {32, 64})
        and blocks > first_block
        and 0 < inodes == group_inodes * -(-(blocks - first_block) // group_blocks)
    )
    if not sizes:
        why = why or "its superblock has sizes that are not usual"
    if not why and ro_compat & METADATA_CSUM and crc32c(data[:0x3FC]) != struct.unpack_from("<I", data, 0x3FC)[0]:
        why = "its superblock is damaged (its checksum is wrong)"
    return Superblock(
        type=_type(compat, incompat, ro_compat),
        uuid=str(uuid.UUID(bytes=identity)) if any(identity) else "",
        label=label.decode("utf-8", "surrogateescape"),
        block_size=block_size,
        blocks=blocks,
        first_block=first_block,
        group_blocks=group_blocks,
        group_inodes=group_inodes,
        inodes=inodes,
        inode_size=inode_size,
        first_inode=first_inode,
        descriptor_size=descriptor_size if is64 else 32,
        reserved_gdt=reserved_gdt,
        journal_inode=journal_inode if compat & _HAS_JOURNAL else 0,
        compat=compat,
        incompat=incompat,
        ro_compat=ro_compat,
        state=state,
        seed=seed if incompat & CSUM_SEED else crc32c(identity),
        why_not=why,
    )


def probe(read: Read, size: int) -> Found | None:
    """Return what of the three is on a device of `size` bytes, or None. Raises DiskError as `read` does."""
    found = parse_superblock(read(OFFSET, LENGTH)) if size >= OFFSET + LENGTH else None
    if found is None:
        return None
    return Found(type=found.type, uuid=found.uuid, label=found.label, why_not=found.why_not)


def _why_not_state(
    state: int, orphan: int, creator: int, revision: int, journal_device: int, flags: int, label: bytes
) -> str:
    if state & 2:
        return "it is marked as having errors"
    if not state & 1:
        return "it was not unmounted cleanly"
    if orphan:
        return "it holds files that were being deleted, which a mount cleans up"
    if creator or revision != 1 or journal_device or flags & 4:
        return "it was made in a way that is not usual (another system, an old revision or an external journal)"
    if not is_plain(label.decode("latin-1")):
        return "its label has characters that are not plain"
    return ""


def _why_not_features(compat: int, incompat: int, ro_compat: int) -> str:
    if incompat & RECOVER:
        return "its journal must be replayed"
    if ro_compat & 0x10000:
        return "it holds files that were being deleted, which a mount cleans up"
    if why := why_unknown((incompat, ro_compat), (_INCOMPAT, _RO_COMPAT), _OTHER_INCOMPAT):
        return why
    if compat & _SPARSE_SUPER2:
        return "it uses sparse superblocks of the second kind"
    return ""


def _type(compat: int, incompat: int, ro_compat: int) -> str:
    """Tell which of the three it is, as blkid does: by the features that the older ones do not have."""
    if incompat & 0x8:
        return "jbd"
    if ro_compat & ~0x7 or incompat & ~(FILETYPE | RECOVER | 0x10):
        return "ext4"
    return "ext3" if compat & _HAS_JOURNAL else "ext2"
