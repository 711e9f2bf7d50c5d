"""Inodes of XFS: one that Fedora wrote, and what no kernel writes."""

from __future__ import annotations

import struct
from collections.abc import Callable

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.filesystems.xfsinode import Inode, Run, device_of, parse_inode, parse_node, parse_root, parse_runs
from migrate.guest.filesystems.xfssuper import Superblock

# /passwords.txt on the corpus' xfs.raw, without its attribute.
INODE = bytes.fromhex(
    "494e81b403020000000003e8000003e80000000100000000000000000000000060f97ba6306f89f960f97ba6307ecc3c60f97ba6307ecc3c"
    "00000000000000740000000000000001000000000000000100002301000000000000000002714332ffffffffbce8e2b10000000000000007"
    "000000010000000200000000000000000000000000000000000000000000000060f97ba6306f89f90000000000002b45eb47e3759d494775"
    "b7127e06b97fd210000000000000000000000000ac600001"
).ljust(176 + 0x23 * 8, b"\0") + bytes.fromhex(
    "0033010007250473656c696e7578756e636f6e66696e65645f753a6f626a6563745f723a756e6c6162656c65645f743a7330"
).ljust(56, b"\0")
NUMBER = 11077
IDENTITY = INODE[160:176]
SB = Superblock(
    version=5, uuid="", label="", identity=IDENTITY, block_size=4096, blocks=4096, free=0, sector_size=512,
    inode_size=512, directory_size=4096, group_blocks=4096, groups=1, group_log=12, inodes_log=3, root=11072,
    special=(), log_start=6, log_blocks=1368, log_version=2, lsn=0, incompat=0x2B, has_types=True, why_not="",
)  # fmt: skip


def changed(*changes: tuple[int, str, int]) -> bytes:
    raw = bytearray(INODE)
    for at, form, value in changes:
        struct.pack_into(form, raw, at, value)
    raw[100:104] = bytes(4)
    raw[100:104] = struct.pack("<I", google_crc32c.value(bytes(raw)))
    return bytes(raw)


def parsed(*changes: tuple[int, str, int]) -> Inode:
    return parse_inode(changed(*changes), NUMBER, SB)


def test_an_inode() -> None:
    found = parse_inode(INODE, NUMBER, SB)
    assert (found.mode, found.uid, found.gid, found.size, found.blocks) == (0o100664, 1000, 1000, 116, 1)
    assert (found.links, found.mtime) == (1, 1626962854)
    assert list(parse_runs(found.content.data[:16])) == [Run(0, 1379, 1, False)]
    assert found.attributes is not None
    assert found.attributes.data.startswith(b"\0\x33\1\0\7\x25\4selinux")


def test_times_and_counts_of_both_widths() -> None:
    assert parsed((40, ">i", -86400)).mtime == -86400
    assert parsed((120, ">Q", 8), (40, ">Q", 0)).mtime == -(1 << 31)
    assert parsed((120, ">Q", 8), (40, ">Q", ((1 << 31) + 8_000_000_000) * 10**9 + 999_999_999)).mtime == 8_000_000_000
    wide = parsed((120, ">Q", 16), (24, ">Q", 1), (76, ">I", 0), (80, ">H", 0))
    assert wide.content.extents == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([(0, ">H", 0)], "damaged"),
        ([(4, "B", 2)], "damaged"),
        ([(152, ">Q", 1)], "damaged"),
        ([(160, ">Q", 1)], "damaged"),
        ([(2, ">H", 0)], "not in use"),
        ([(16, ">I", 0)], "has no name"),
        ([(56, ">Q", 1 << 63)], "damaged"),
        ([(64, ">Q", 0)], "damaged"),
        ([(64, ">Q", 1 << 40)], "damaged"),
        ([(90, ">H", 1)], "realtime"),
        ([(5, "B", 1)], "damaged"),
        ([(5, "B", 3)], "extents are damaged"),
        ([(76, ">I", 30), (64, ">Q", 30)], "extents are damaged"),
        ([(2, ">H", 0o040755), (56, ">Q", 0)], "damaged"),
        ([(2, ">H", 0o120777), (56, ">Q", 1025)], "damaged"),
        ([(2, ">H", 0o120777), (5, "B", 1), (76, ">I", 0), (56, ">Q", 500)], "damaged"),
        ([(2, ">H", 0o020644)], "damaged"),
        ([(82, "B", 42)], "damaged"),
        ([(82, "B", 0)], "damaged"),
        ([(83, "B", 0)], "damaged"),
        ([(83, "B", 9)], "damaged"),
        ([(80, ">H", 1), (64, ">Q", 2)], "damaged"),
    ],
)
def test_what_no_kernel_writes(changes: list[tuple[int, str, int]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parsed(*changes)


def test_flags_of_features_that_it_does_not_have() -> None:
    for flag, feature in ((8, 0x8), (16, 0x20)):
        raw = changed((120, ">Q", flag))
        with pytest.raises(ValueError, match="damaged"):
            parse_inode(raw, NUMBER, _without(feature))


def _without(feature: int) -> Superblock:
    fields = {name: getattr(SB, name) for name in SB.__struct_fields__}
    return Superblock(**{**fields, "incompat": SB.incompat & ~feature})


def test_a_wrong_checksum() -> None:
    with pytest.raises(ValueError, match="its checksum is wrong"):
        parse_inode(INODE[:-1] + b"\1", NUMBER, SB)


def test_a_device() -> None:
    found = parsed((2, ">H", 0o020644), (5, "B", 0), (76, ">I", 0), (82, "B", 1), (176, ">I", 259 << 18 | 260000))
    assert device_of(found.content) == (259, 260000)


def test_extents_and_their_tree() -> None:
    record = struct.pack(">QQ", 1 << 63 | 5 << 9 | 1, 7 << 21 | 9)
    assert list(parse_runs(record)) == [Run(5, 1 << 43 | 7, 9, True)]
    root = struct.pack(">HH", 2, 1) + bytes(16) + struct.pack(">QQ", 77, 0)
    assert parse_root(root) == (2, (77,))
    leaf = (b"BMA3" + struct.pack(">HH", 0, 1)).ljust(72, b"\0") + record
    assert parse_node(leaf.ljust(1024, b"\0"), 72, b"BMA3", 0) == (record, ())
    node = (b"BMAP" + struct.pack(">HH", 1, 2)).ljust(24 + 8 * 62, b"\0") + struct.pack(">QQ", 3, 4)
    assert parse_node(node.ljust(1024, b"\0"), 24, b"BMAP", 1) == (b"", (3, 4))


def _root(data: bytes) -> object:
    return parse_root(data.ljust(4, b"\0"))


def _node(data: bytes) -> object:
    return parse_node((b"BMAP" + data).ljust(1024, b"\0"), 24, b"BMAP", data[0] & 1 if data else 0)


def _inode(data: bytes) -> object:
    return parsed(*((2 + at, "B", each) for at, each in enumerate(data[:98])))


@given(st.binary(max_size=150), st.sampled_from([_root, _node, _inode]))
def test_hostile_inodes_raise_only_value_error(data: bytes, call: Callable[[bytes], object]) -> None:
    try:
        call(data)
    except ValueError:
        return
