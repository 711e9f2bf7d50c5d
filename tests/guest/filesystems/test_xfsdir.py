"""Directories of XFS: pieces of a disk that Fedora wrote, blocks made here, and what no kernel writes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.filesystems.xfsdir import parse_data, parse_short

# The top of the corpus' xfs.raw, as long as its inode says.
SHORT = bytes.fromhex(
    "030000002b400b0060615f6469726563746f72790200002b430d007870617373776f7264732e7478740100002b45060098615f6c696e6b0700002b47"
)


def block(*names: tuple[bytes, int], version: int = 5, types: bool = True, alone: bool = False) -> bytes:
    header = {4: 16, 5: 64}[version]
    magic = {(4, False): b"XD2D", (5, False): b"XDD3", (4, True): b"XD2B", (5, True): b"XDB3"}[version, alone]
    data = bytearray(magic.ljust(header, b"\0"))
    for name, inode in names:
        entry = struct.pack(">QB", inode, len(name)) + name + (b"\1" if types else b"")
        length = (len(entry) + 2 + 7) // 8 * 8
        data += entry.ljust(length - 2, b"\0") + struct.pack(">H", len(data))
    end = 1024 - (8 + 8 * len(names) if alone else 0)
    if len(data) < end:
        data += struct.pack(">HH", 0xFFFF, end - len(data)).ljust(end - len(data) - 2, b"\0") + struct.pack(
            ">H", len(data)
        )
    if alone:
        data += bytes(8 * len(names)) + struct.pack(">II", len(names), 0)
    return bytes(data)


def test_names_in_an_inode() -> None:
    assert parse_short(SHORT, True) == [(b"a_directory", 11075), (b"passwords.txt", 11077), (b"a_link", 11079)]
    without = b"\1\0\0\0\0\x40" + b"\2\0\x60ab\0\0\0\x80"
    assert parse_short(without, False) == [(b"ab", 128)]
    wide = b"\1\1" + struct.pack(">Q", 64) + b"\2\0\x60ab\1" + struct.pack(">Q", 1 << 40)
    assert parse_short(wide, True) == [(b"ab", 1 << 40)]
    assert parse_short(b"\0\1" + bytes(8), True) == []  # only the parent's number needs 8 bytes


@pytest.mark.parametrize(
    "data", [b"", SHORT[:-1], SHORT + b"\0", b"\xff" + SHORT[1:], b"\1\0\0\0\0\x40\0\0\0\1\0\0\0\1"]
)
def test_damaged_names_in_an_inode(data: bytes) -> None:
    with pytest.raises(ValueError, match="the directory is damaged"):
        parse_short(data, True)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_names_in_a_block(version: int, types: bool, alone: bool) -> None:
    names = [(b"a", 1), (b"b" * 255, 1 << 55), (b"\xff\xfe", 3), (b"12345", 4), (b"123456", 5)]
    data = block((b".", 9), (b"..", 8), *names, version=version, types=types, alone=alone)
    assert parse_data(data, version, types) == names


def test_damaged_blocks() -> None:
    good = block((b"name", 5), (b"other", 6))
    assert len(parse_data(good, 5, True)) == 2
    for at, value in ((64 + 8, 0), (64 + 8, 200), (64 + 15, 1), (64 + 24, 0xFF), (106, 0), (107, 1)):
        broken = bytearray(good)
        broken[at] = value
        with pytest.raises(ValueError, match="the directory is damaged"):
            parse_data(bytes(broken), 5, True)
    with pytest.raises(ValueError, match="the directory is damaged"):
        parse_data(b"XDB3" + bytes(1012) + b"\xff" * 8, 5, True)


@given(st.binary(max_size=200), st.booleans(), st.booleans(), st.sampled_from([b"XDB3", b"XDD3"]))
def test_hostile_directories_raise_only_value_error(data: bytes, types: bool, start: bool, magic: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_short(data, types)
    whole = magic.ljust(64, b"\0") + (data.ljust(448, b"\0") if start else data.rjust(448, b"\0"))
    try:
        found = parse_data(whole, 5, types)
    except ValueError:
        return
    assert all(0 < len(name) < 256 for name, _ in found)
