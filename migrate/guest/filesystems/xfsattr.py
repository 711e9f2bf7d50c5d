"""Extended attributes as XFS keeps them, given as llistxattr(2) and lgetxattr(2) give them to root. Pure.

Linux, fs/xfs/libxfs/xfs_da_format.h; what is listed: fs/xfs/xfs_xattr.c, xfs_xattr_put_listent; access control
lists: xfs_acl.c, xfs_acl_from_disk, which are shown in two forms: as XFS keeps them and as acl(5) has them.
"""

from __future__ import annotations

import functools
import struct

import msgspec

from migrate.guest.filesystems.extattr import Raw, visible
from migrate.guest.tree import encode

LEAF_MAGIC = {4: 0xFBEE, 5: 0x3BEE}
NODE_MAGIC = {4: 0xFEBE, 5: 0x3EBE}
MAX_VALUE = 1 << 16
"""How long a value may be (XATTR_SIZE_MAX)."""

_MAX_LIST = 1 << 16  # XATTR_LIST_MAX: llistxattr fails where the names take more
_LOCAL, _PARENT, _INCOMPLETE = 0x1, 0x8, 0x80
_SPACES = {0x0: 1, 0x2: 4, 0x4: 6}  # user, trusted, security: their numbers in a Raw
_ACLS = {"trusted.SGI_ACL_FILE": "system.posix_acl_access", "trusted.SGI_ACL_DEFAULT": "system.posix_acl_default"}
_DAMAGED = "its extended attributes are damaged"

Shown = tuple[tuple[str, bytes], ...]


class Remote(msgspec.Struct, frozen=True):
    """An attribute whose value is in blocks of its own; `first` is where among the attributes' blocks."""

    key: tuple[int, bytes]
    first: int
    length: int


class Leaf(msgspec.Struct, frozen=True):
    """What a block of attributes holds, and the number of the block after it, or 0."""

    values: Raw
    remote: tuple[Remote, ...]
    next: int


@functools.lru_cache(maxsize=1024)
def short_attributes(data: bytes, kind: str) -> Shown:
    """Return the attributes that are in an inode; most files of a machine have the same. Raises ValueError."""
    total, count = struct.unpack_from(">HB", data) if len(data) >= 4 else (0, 0)
    if not 4 <= total <= len(data):
        raise ValueError(_DAMAGED)
    raw: Raw = {}
    at = 4
    for _ in range(count):
        if at + 3 > total:
            raise ValueError(_DAMAGED)
        name_length, length, flags = data[at : at + 3]
        at += 3
        name, value = data[at : at + name_length], data[at + name_length : at + name_length + length]
        at += name_length + length
        if at > total or flags & _INCOMPLETE:
            raise ValueError(_DAMAGED)
        key = _key(flags, name)
        if key is not None:
            _add(raw, key, value)
    if at != total:
        raise ValueError(_DAMAGED)
    return shown(raw, kind)


def parse_leaf(block: bytes, version: int) -> Leaf:
    """Return the attributes in a block of them, without those that were never written whole. Raises ValueError."""
    header, at_count = (80, 56) if version == 5 else (32, 12)
    (following,) = struct.unpack_from(">I", block)
    (count,) = struct.unpack_from(">H", block, at_count)
    if magic_of(block) != LEAF_MAGIC[version] or header + 8 * count > len(block):
        raise ValueError(_DAMAGED)
    raw: Raw = {}
    remote: list[Remote] = []
    for at in range(header, header + 8 * count, 8):
        where, flags = struct.unpack_from(">HB", block, at + 4)
        if where < header + 8 * count or where + 9 > len(block) + (6 if flags & _LOCAL else 0):
            raise ValueError(_DAMAGED)
        if flags & _INCOMPLETE:
            continue
        if flags & _LOCAL:
            length, name_length = struct.unpack_from(">HB", block, where)
            start = where + 3
        else:
            first, length, name_length = struct.unpack_from(">IIB", block, where)
            start = where + 9
        name, end = block[start : start + name_length], start + name_length
        key = _key(flags, name)
        if end > len(block) or length > MAX_VALUE:
            raise ValueError(_DAMAGED)
        if flags & _LOCAL:
            if end + length > len(block):
                raise ValueError(_DAMAGED)
            if key is not None:
                _add(raw, key, block[end : end + length])
        elif key is not None:
            remote.append(Remote(key, first, length))
    return Leaf(raw, tuple(remote), following)


def magic_of(block: bytes) -> int:
    """Return the number that says what kind of block of attributes it is."""
    return int.from_bytes(block[8:10], "big")


def parse_index(block: bytes, version: int) -> tuple[int, int]:
    """Return the level of a block of the index (1 above the attributes) and the first block below it."""
    header, at_count = (64, 56) if version == 5 else (16, 12)
    count, level = struct.unpack_from(">HH", block, at_count)
    if magic_of(block) != NODE_MAGIC[version] or not count or not 1 <= level <= 5 or header + 8 * count > len(block):
        raise ValueError(_DAMAGED)
    return level, struct.unpack_from(">I", block, header + 4)[0]


def parse_remote(block: bytes, version: int, offset: int, length: int) -> bytes:
    """Return what a block holds of a value of `length` bytes, from byte `offset` of it on. Raises ValueError."""
    if version != 5:
        return block[: length - offset]
    size = min(len(block) - 56, length - offset)
    if block[:4] != b"XARM" or struct.unpack_from(">II", block, 4) != (offset, size):
        raise ValueError(_DAMAGED)
    return block[56 : 56 + size]


def _key(flags: int, name: bytes) -> tuple[int, bytes] | None:
    """Return an attribute's place in a Raw; None for what is not listed: a file's parents."""
    space = flags & ~_LOCAL
    if space == _PARENT:
        return None
    if space not in _SPACES or not name or b"\0" in name:
        raise ValueError(_DAMAGED)
    return _SPACES[space], name


def _add(raw: Raw, key: tuple[int, bytes], value: bytes) -> None:
    if key in raw:
        raise ValueError("it has an extended attribute twice")
    raw[key] = value


def shown(raw: Raw, kind: str) -> Shown:
    """Return the attributes as a program sees them, sorted by name. Raises ValueError for what is not known.

    `kind` is an Entry's: attributes that such a file cannot have (xattr(7)) are damage.
    """
    found = list(visible(raw))
    for name, value in visible(raw):
        if name.startswith("user.") and kind not in {"file", "directory"}:
            raise ValueError("it has an extended attribute that it cannot have")
        if name in _ACLS:
            if kind == "symlink":
                raise ValueError("it has an access control list, which it cannot have")
            found.append((_ACLS[name], acl(value)))
    if sum(len(encode(name)) + 1 for name, _ in found) > _MAX_LIST:
        raise ValueError("it has more extended attributes than can be listed")
    return tuple(sorted(found))


def acl(value: bytes) -> bytes:
    """Return an access control list as acl(5) has it, of one as XFS keeps it. Raises ValueError."""
    if len(value) < 16 or len(value) != 4 + 12 * int.from_bytes(value[:4], "big"):
        raise ValueError("its access control list is damaged")
    entries = [struct.pack("<I", 2)]
    for tag, owner, rights, _ in struct.iter_unpack(">IIHH", value[4:]):
        if tag not in {0x01, 0x02, 0x04, 0x08, 0x10, 0x20}:
            raise ValueError("its access control list is damaged")
        entries.append(struct.pack("<HHI", tag, rights, owner if tag in {0x02, 0x08} else 0xFFFFFFFF))
    return b"".join(entries)
