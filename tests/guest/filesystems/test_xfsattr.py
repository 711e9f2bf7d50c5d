"""Extended attributes of XFS: pieces of a disk that Fedora wrote, and what no kernel writes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.filesystems.xfsattr import (
    Leaf,
    Remote,
    acl,
    parse_index,
    parse_leaf,
    parse_remote,
    short_attributes,
    shown,
)
from tests.guest.made import CAPABILITY

# The attributes of /a_directory/a_file on the corpus' xfs.raw, with the zeros after them.
SHORT = bytes.fromhex(
    "0052020007250473656c696e7578756e636f6e66696e65645f753a6f626a6563745f723a756e6c6162656c65645f743a7330000715006d79"
    "78617474724d7920657874656e64656420617474726962757465000000000000"
)
SGI = struct.pack(">I", 3) + b"".join(
    struct.pack(">IIHH", *each) for each in ((1, 0xFFFFFFFF, 6, 0), (2, 1000, 7, 0), (0x20, 0xFFFFFFFF, 4, 0))
)
POSIX = struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 7, 1000, 0x20, 4, 0xFFFFFFFF)


def short(*attributes: tuple[int, bytes, bytes]) -> bytes:
    body = b"".join(bytes([len(name), len(value), flags]) + name + value for flags, name, value in attributes)
    return struct.pack(">HBB", 4 + len(body), len(attributes), 0) + body


def leaf(*attributes: tuple[int, bytes, bytes | tuple[int, int]], version: int = 5, following: int = 0) -> bytes:
    """Return a block of attributes; a value that is two numbers is in blocks of its own."""
    header = 80 if version == 5 else 32
    entries, values, at = b"", b"", 1024
    for flags, name, value in attributes:
        if isinstance(value, bytes):
            values += (each := struct.pack(">HB", len(value), len(name)) + name + value)
        else:
            values += (each := struct.pack(">IIB", *value, len(name)) + name)
        entries += struct.pack(">IHBB", 0, at, flags, 0)
        at += len(each)
    head = struct.pack(">IIH", following, 0, 0x3BEE if version == 5 else 0xFBEE)
    head = head.ljust(56 if version == 5 else 12, b"\0") + struct.pack(">H", len(attributes))
    return (head.ljust(header, b"\0") + entries).ljust(1024, b"\0") + values


def test_attributes_in_an_inode() -> None:
    assert short_attributes(SHORT, "file") == (
        ("security.selinux", b"unconfined_u:object_r:unlabeled_t:s0\0"),
        ("user.myxattr", b"My extended attribute"),
    )


def test_an_acl_is_shown_in_both_forms() -> None:
    assert acl(SGI) == POSIX
    assert short_attributes(short((2, b"SGI_ACL_FILE", SGI)), "file") == (
        ("system.posix_acl_access", POSIX),
        ("trusted.SGI_ACL_FILE", SGI),
    )
    assert dict(short_attributes(short((2, b"SGI_ACL_DEFAULT", SGI)), "directory"))["system.posix_acl_default"] == POSIX
    assert short_attributes(short((0, b"SGI_ACL_FILE", SGI)), "file") == (("user.SGI_ACL_FILE", SGI),)


def test_capabilities_of_the_first_namespace() -> None:
    third = struct.pack("<IIIIII", 0x03000001, 0x2000, 0, 0, 0, 0)
    assert short_attributes(short((4, b"capability", third)), "file") == (("security.capability", CAPABILITY),)


def test_parents_and_the_half_written_are_not_shown() -> None:
    """Parent pointers are attributes that no program sees (mkfs.xfs -n parent=1, Linux 6.10)."""
    assert short_attributes(short((8, b"name", b"x" * 12), (0, b"a", b"1")), "file") == (("user.a", b"1"),)
    block = leaf(
        (9, b"name", b"x"), (0x81, b"half", b"x"), (0x80, b"remote", (9, 9)), (1, b"a", b"1"), (8, b"p", (7, 7))
    )
    assert parse_leaf(block, 5) == Leaf({(1, b"a"): b"1"}, (), 0)


@pytest.mark.parametrize("version", [4, 5])
def test_a_block_of_attributes(version: int) -> None:
    block = leaf((1, b"a", b"1"), (3, b"b", b""), (4, b"c", (17, 5000)), version=version, following=7)
    assert parse_leaf(block, version) == Leaf({(1, b"a"): b"1", (4, b"b"): b""}, (Remote((6, b"c"), 17, 5000),), 7)
    with pytest.raises(ValueError, match="damaged"):
        parse_leaf(block, 9 - version)


def test_an_index_of_blocks() -> None:
    head = struct.pack(">IIH", 0, 0, 0x3EBE).ljust(56, b"\0") + struct.pack(">HHI", 2, 1, 0)
    assert parse_index(head + struct.pack(">IIII", 5, 3, 9, 4), 5) == (1, 3)
    old = struct.pack(">IIHHHH", 0, 0, 0xFEBE, 0, 1, 2)
    assert parse_index(old + struct.pack(">II", 5, 3), 4) == (2, 3)
    with pytest.raises(ValueError, match="damaged"):
        parse_index(old, 4)


def test_values_in_blocks_of_their_own() -> None:
    block = b"XARM" + struct.pack(">II", 0, 968) + bytes(44) + b"v" * 968
    assert parse_remote(block, 5, 0, 3000) == b"v" * 968
    assert parse_remote(b"v" * 1024, 4, 1024, 1034) == b"v" * 10
    with pytest.raises(ValueError, match="damaged"):
        parse_remote(block, 5, 968, 3000)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (short((0x10, b"a", b"")), "file"),
        (short((6, b"a", b"")), "file"),
        (short((0x80, b"a", b"")), "file"),
        (short((0, b"", b"v")), "file"),
        (short((0, b"a\0b", b"v")), "file"),
        (short((0, b"\xff", b"v")), "file"),
        (short((0, b"a", b"1"), (0, b"a", b"2")), "file"),
        (short((0, b"a", b"1")), "symlink"),
        (short((0, b"a", b"1")), "char"),
        (short((2, b"SGI_ACL_FILE", SGI)), "symlink"),
        (short((2, b"SGI_ACL_FILE", SGI[:-1])), "file"),
        (short((2, b"SGI_ACL_FILE", bytes(4))), "file"),
        (short((2, b"SGI_ACL_FILE", b"\0\0\0\1" + bytes(12))), "file"),
        (short((4, b"capability", b"short")), "file"),
        (short((0, b"a", b"1"))[:-1], "file"),
        (short((0, b"a", b"1"))[:3], "file"),
    ],
)
def test_attributes_that_are_not_known(data: bytes, kind: str) -> None:
    with pytest.raises(ValueError, match=r"it|its"):
        short_attributes(data, kind)


def test_more_names_than_can_be_listed() -> None:
    """llistxattr(2) fails where the names together are longer than 64 KiB."""
    names = {(1, b"%0250d" % number): b"" for number in range(256)}
    assert len(shown(names, "file")) == 256
    names[1, b"one more"] = b""
    with pytest.raises(ValueError, match="more extended attributes than can be listed"):
        shown(names, "file")


@given(st.binary(max_size=300), st.integers(0, 20))
def test_hostile_attributes_raise_only_value_error(data: bytes, count: int) -> None:
    head = struct.pack(">IIH", 0, 0, 0x3BEE).ljust(56, b"\0") + struct.pack(">H", count)
    for call in (
        lambda: short_attributes(data, "file"),
        lambda: short_attributes(struct.pack(">HB", len(data) + 4, count) + b"\0" + data, "directory"),
        lambda: parse_leaf((head.ljust(80, b"\0") + data).ljust(512, b"\0"), 5),
        lambda: acl(data),
    ):
        try:
            call()
        except ValueError:
            continue
