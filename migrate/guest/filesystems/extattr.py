"""Extended attributes as ext4 keeps them, given as llistxattr(2) and lgetxattr(2) give them. Pure.

Linux, Documentation/filesystems/ext4/attributes.rst; access control lists: fs/ext4/acl.c and acl(5)'s
posix_acl_xattr.h; file capabilities: security/commoncap.c, cap_inode_getsecurity.
"""

from __future__ import annotations

import struct

_MAGIC = b"\x00\x00\x02\xea"
_PREFIXES = {1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security."}
_DATA = (7, b"data")

Raw = dict[tuple[int, bytes], bytes]
"""Attributes by the number of their prefix and the rest of their name."""


def parse_inline(area: bytes) -> Raw:
    """Return the attributes in an inode: `area` is what follows its fixed fields. Raises ValueError."""
    return _parse(area[4:], 0) if area[:4] == _MAGIC else {}


def parse_block(block: bytes) -> Raw:
    """Return the attributes of a block of its own. Raises ValueError."""
    if block[:4] != _MAGIC or struct.unpack_from("<I", block, 8) != (1,):
        raise ValueError("its block of extended attributes is damaged")
    return _parse(block, 32)


def _parse(data: bytes, at: int) -> Raw:
    found: Raw = {}
    while data[at : at + 4] not in {bytes(4), b""}:
        if at + 16 > len(data):
            raise ValueError("its extended attributes are damaged")
        length, prefix, offset, inode, size, _ = struct.unpack_from("<BBHIII", data, at)
        name = data[at + 16 : at + 16 + length]
        if inode or len(name) != length or (size and offset + size > len(data)) or (prefix, name) in found:
            raise ValueError("its extended attributes are damaged")
        found[prefix, name] = data[offset : offset + size] if size else b""
        at += (16 + length + 3) // 4 * 4
    return found


def inline_data(raw: Raw) -> bytes:
    """Return what of a file's content is kept among its attributes (`system.data`)."""
    return raw.get(_DATA, b"")


def visible(raw: Raw) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes as a program sees them, sorted by name. Raises ValueError for what is not known."""
    found = []
    for (prefix, rest), value in raw.items():
        if (prefix, rest) == _DATA:
            continue
        if prefix not in _PREFIXES or (prefix in {2, 3}) != (not rest):
            raise ValueError("it has an extended attribute of a kind that is not known")
        name = _PREFIXES[prefix] + rest.decode("utf-8", "surrogateescape")
        if "\udc80" <= max(name) <= "\udcff":
            raise ValueError("it has an extended attribute whose name is not UTF-8")
        if prefix in {2, 3}:
            value = _acl(value)
        elif name == "security.capability":
            value = _capability(value)
        found.append((name, value))
    return tuple(sorted(found))


def _acl(value: bytes) -> bytes:
    """Return an access control list as the kernel shows it: ext4 leaves the ids out where there is none."""
    if value[:4] != b"\x01\0\0\0":
        raise ValueError("its access control list is of a version that is not known")
    entries = [struct.pack("<I", 2)]
    at = 4
    while at < len(value):
        if at + 4 > len(value):
            raise ValueError("its access control list is damaged")
        tag, _ = struct.unpack_from("<HH", value, at)
        named = tag in {0x02, 0x08}
        if tag not in {0x01, 0x02, 0x04, 0x08, 0x10, 0x20} or (named and at + 8 > len(value)):
            raise ValueError("its access control list is damaged")
        entries.append(value[at : at + 8] if named else value[at : at + 4] + b"\xff\xff\xff\xff")
        at += 8 if named else 4
    return b"".join(entries)


def _capability(value: bytes) -> bytes:
    """Return a file's capabilities as the first user namespace sees them."""
    if len(value) == 20 and value[3] == 2:
        return value
    if len(value) == 24 and value[3] == 3:
        if value[20:] != bytes(4):
            return value
        return struct.pack("<I", 0x02000000 | (value[0] & 1)) + value[4:20]
    raise ValueError("its file capabilities are of a kind that is not known")
