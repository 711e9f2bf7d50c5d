"""VHDX and VDI of which a part is missing, or the tables are wrong."""

from __future__ import annotations

import contextlib
import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.images.imagetables import check_tables
from tests.guest.images.test_differencing import MIB, OTHER, make_vhdx, vhdx_header


def check(content: bytes, form: str) -> None:
    check_tables(io.BytesIO(content), form)


def vdi(*numbers: int, count: int = 0, data: int = 1024, size: int = 4096) -> bytes:
    """Make a VDI with blocks of 512 bytes."""
    head = bytearray(512)
    struct.pack_into("<II", head, 0x154, 512, data)
    struct.pack_into("<III", head, 0x178, 512, 0, count or len(numbers))
    return (bytes(head) + struct.pack(f"<{len(numbers)}I", *numbers)).ljust(size, b"\0")


def test_a_vdi() -> None:
    for good in (vdi(0, 1, 0xFFFFFFFF, 5), vdi(0xFFFFFFFE), vdi(), vdi(5)):
        check(good, "vdi")
    with pytest.raises(ValueError, match="it is cut short: it is 4096 bytes long, and the block that is number 6 in"):
        check(vdi(0, 6), "vdi")
    with pytest.raises(ValueError, match="its table of blocks lies beyond that"):
        check(vdi(count=1 << 31), "vdi")
    with pytest.raises(ValueError, match="its header lies beyond its end"):
        check(b"x", "vdi")


def test_a_vhdx() -> None:
    whole = make_vhdx(8 * MIB, {0: 6, 3: 6, 5: 2}, words=None)
    check(whole, "vhdx")
    with pytest.raises(ValueError, match=f"it is cut short: it is {len(whole) - 1} bytes long, and its block 3 lies"):
        check(whole[:-1], "vhdx")
    check(make_vhdx(8 * MIB, {0: 6, 3: 2}, words=None), "vhdx")
    dirty = vhdx_header(1), vhdx_header(2, log=OTHER.bytes_le)
    with pytest.raises(ValueError, match="it was not closed cleanly; start and shut down its machine"):
        check(make_vhdx(8 * MIB, {}, words=None, headers=dirty), "vhdx")
    with pytest.raises(ValueError, match="does not cover the disk"):
        check(make_vhdx(1 << 45, {}, words=None), "vhdx")


def test_others_are_not_looked_at() -> None:
    check(b"", "qcow2")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=9)), max_size=6), st.sampled_from(["vdi", "vhdx"])
)
def test_no_damage_raises_anything_else(damage: list[tuple[int, bytes]], form: str) -> None:
    content = bytearray(vdi(0, 1) if form == "vdi" else make_vhdx(4 * MIB, {0: 6}, words=None))
    for at, noise in damage:
        place = {0: at, 1: 3 * MIB + at % 64, 2: 2 * MIB + at % 200, 3: 192 * 1024 + at % 99}[at % 4]
        start = place % len(content)
        content[start : start + len(noise)] = noise
    with contextlib.suppress(ValueError):
        check(bytes(content), form)
