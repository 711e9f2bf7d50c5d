"""Differencing VHD and VHDX: Hyper-V's own, and small ones made here for what those do not have."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import struct
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.filesystems.crc32c import crc32c
from migrate.guest.images.child import ZEROS, Child, Run, coalesced, names
from migrate.guest.images.differencing import changes, check_parent, has_parent, read_child
from migrate.guest.images.vhdxdiff import current_header
from tests.guest.made import needs, run, unpacked

KIB, MIB = 1 << 10, 1 << 20
PARENT = uuid.UUID("5fa21a55-f394-aa4d-9958-1951a67d5540")
OTHER = uuid.UUID("0d0c0b0a-0908-4706-8504-030201000f0e")
Patch = Callable[[bytearray], None]


def patched(content: bytes, offset: int, value: bytes) -> bytes:
    return content[:offset] + value + content[offset + len(value) :]


# ------------------------------------------------------------------ what writes them


def summed(raw: bytes, place: int) -> bytes:
    return patched(raw, place, struct.pack(">I", ~sum(patched(raw, place, bytes(4))) & 0xFFFFFFFF))


def vhd_footer(size: int, kind: int, identity: uuid.UUID = OTHER, header: int = 512) -> bytes:
    start = struct.pack(
        ">8sIIQI4sI4sQQIII", b"conectix", 2, 1 << 16, header, 0, b"win ", 1, b"Wi2k", size, size, 0, kind, 0
    )
    return summed((start + identity.bytes).ljust(512, b"\0"), 64)


def make_vhd(
    size: int,
    blocks: Mapping[int, tuple[bytes, bytes]],
    *,
    block: int = 2 * MIB,
    locators: Mapping[bytes, bytes] | None = None,
    title: str = "",
) -> bytes:
    """Make a differencing VHD; each block has its bitmap and its data."""
    count = -(-size // block)
    places: list[bytes] = []
    texts, entries = b"", b""
    table = 2048 + 512 * len(locators or {})
    for number, (code, text) in enumerate((locators or {}).items()):
        entries += struct.pack(">4sIIIQ", code, 512, len(text), 0, 2048 + 512 * number)
        texts += text.ljust(512, b"\0")
    end = table + -(-4 * count // 512) * 512
    data = b""
    for number in range(count):
        if number not in blocks:
            places.append(b"\xff" * 4)
            continue
        bitmap, content = blocks[number]
        places.append(struct.pack(">I", (end + len(data)) // 512))
        data += bitmap.ljust(-(-block // 4096 // 512) * 512, b"\0") + content.ljust(block, b"\xee")
    start = struct.pack(
        ">8sQQIIII16sII", b"cxsparse", 0xFFFFFFFFFFFFFFFF, table, 1 << 16, count, block, 0, PARENT.bytes, 7, 0
    )
    header = summed((start + title.encode("utf-16-be").ljust(512, b"\0") + entries).ljust(1024, b"\0"), 36)
    footer = vhd_footer(size, 4)
    bat = b"".join(places).ljust(end - table, b"\xff")
    return footer + header.ljust(2048 - 512, b"\0") + texts + bat + data + footer


def crc(raw: bytes) -> bytes:
    return patched(raw, 4, struct.pack("<I", crc32c(patched(raw, 4, bytes(4))) ^ 0xFFFFFFFF))


def vhdx_header(sequence: int, written: uuid.UUID = OTHER, log: bytes = bytes(16), version: int = 1) -> bytes:
    parts = b"head", 0, sequence, OTHER.bytes_le, written.bytes_le, log, 0, version, MIB, MIB
    return crc(struct.pack("<4sIQ16s16s16sHHIQ", *parts).ljust(4096, b"\0"))


def vhdx_regions(bat: int, more: bytes = b"") -> bytes:
    known = [
        ("2dc27766-f623-4200-9d64-115e9bfd4a08", 3 * MIB, bat),
        ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 2 * MIB, MIB),
    ]
    rows = (
        b"".join(struct.pack("<16sQII", uuid.UUID(kind).bytes_le, start, size, 1) for kind, start, size in known) + more
    )
    return crc(struct.pack("<4sIII", b"regi", 0, len(rows) // 32, 0).ljust(16, b"\0") + rows.ljust(65536 - 16, b"\0"))


def vhdx_locator(words: Mapping[str, str]) -> bytes:
    at = 20 + 12 * len(words)
    rows, texts = b"", b""
    for key, value in words.items():
        raw = key.encode("utf-16-le"), value.encode("utf-16-le")
        rows += struct.pack("<IIHH", at + len(texts), at + len(texts) + len(raw[0]), len(raw[0]), len(raw[1]))
        texts += raw[0] + raw[1]
    kind = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le
    return struct.pack("<16sHH", kind, 0, len(words)) + rows + texts


def vhdx_metadata(size: int, block: int, sector: int, words: Mapping[str, str] | None) -> bytes:
    items = [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", block, 0 if words is None else 2), 4),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", size), 6),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", sector), 6),
    ]
    if words is not None:
        items.append(("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", vhdx_locator(words), 4))
    table, content = struct.pack("<8s2xH20x", b"metadata", len(items)), b""
    for kind, value, flags in items:
        table += struct.pack("<16sIIII", uuid.UUID(kind).bytes_le, 65536 + len(content), len(value), flags, 0)
        content += value
    return (table.ljust(65536, b"\0") + content).ljust(MIB, b"\0")


WORDS = {
    "parent_linkage": f"{{{PARENT}}}",
    "relative_path": ".\\base\\parent.vhdx",
    "absolute_win32_path": "C:\\vm\\old.vhdx",
}


def make_vhdx(
    size: int,
    states: Mapping[int, int],
    *,
    bitmap: bytes | None = None,
    block: int = MIB,
    sector: int = 512,
    words: Mapping[str, str] | None = WORDS,
    headers: tuple[bytes, bytes] = (vhdx_header(1), vhdx_header(2)),
    cut: int = 0,
) -> bytes:
    """Make a differencing VHDX of one chunk; blocks in the states 6 and 7 follow each other from 5 MiB on."""
    ratio = (sector << 23) // block
    bat, data = [0] * (ratio + 1), b""
    for number, state in states.items():
        bat[number] = state
        if state in {6, 7}:
            bat[number] |= 5 * MIB + len(data)
            data += bytes([number + 1]) * block
    if bitmap is not None:
        bat[ratio] = 4 * MIB | 6
    table = struct.pack(f"<{len(bat)}Q", *bat).ljust(MIB, b"\0")
    start = b"vhdxfile".ljust(65536, b"\0") + headers[0].ljust(65536, b"\0") + headers[1].ljust(65536, b"\0")
    start += vhdx_regions(MIB) * 2
    whole = start.ljust(2 * MIB, b"\0") + vhdx_metadata(size, block, sector, words) + table
    return (whole + (bitmap or b"").ljust(MIB, b"\0") + data)[: -cut or None]


def read(content: bytes) -> tuple[Child, list[Run]]:
    file = io.BytesIO(content)
    child = read_child(file)
    return child, list(changes(file, child))


def refusal(content: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is what the tests look at
        read(content)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------ Hyper-V's own


def merged(corpus: Path, tmp_path: Path, child_name: str, parent_name: str, parent_format: str) -> bytes:
    needs("qemu-img")
    parent = unpacked(corpus, parent_name, tmp_path)
    run("qemu-img", "convert", "-f", parent_format, "-O", "raw", parent, tmp_path / "whole")
    whole = bytearray((tmp_path / "whole").read_bytes())
    with unpacked(corpus, child_name, tmp_path).open("rb") as file, parent.open("rb") as parent_file:
        assert has_parent(file)
        assert not has_parent(parent_file)
        child = read_child(file)
        assert child.virtual_bytes == len(whole)
        assert child.parents[0] == parent_name
        assert check_parent(parent_file, child) == ""
        assert "it is another disk" in check_parent(file, child)
        for start, place, length in changes(file, child):
            file.seek(place)
            whole[start : start + length] = file.read(length) if place != ZEROS else bytes(length)
    return bytes(whole)


def test_a_vhd_of_hyper_v(corpus: Path, tmp_path: Path) -> None:
    needs("mtype")
    whole = merged(corpus, tmp_path, "fat-differential.vhd", "fat-parent.vhd", "vpc")
    assert hashlib.sha256(whole).hexdigest() == "f4b61a33ee2f7e8c19f737792a4107e46340026a9a829e4169b751901cc3ef02"
    (tmp_path / "merged").write_bytes(whole)
    volume = f"{tmp_path / 'merged'}@@65536"
    assert run("mtype", "-i", volume, "::/passwords.txt").startswith("place,user,password")
    # WPSettings.dat starts with its own length. It was not written to since; libvhdi gives zeros for it.
    assert whole[186 * 512 :][:4] == struct.pack("<I", 12)


def test_a_vhdx_of_hyper_v_is_as_libvhdi_reads_it(corpus: Path, tmp_path: Path) -> None:
    whole = merged(corpus, tmp_path, "ntfs-differential.vhdx", "ntfs-parent.vhdx", "vhdx")
    assert hashlib.sha256(whole).hexdigest() == "1ef1fb5360247aa7d36a38415bc7bf6e1e52f62af5e6bd1283815e82584c7efc"


@pytest.mark.parametrize("name", ["fat-differential.vhd", "ntfs-differential.vhdx"])
def test_no_damage_does_more_than_to_be_refused(corpus: Path, tmp_path: Path, name: str) -> None:
    whole = unpacked(corpus, name, tmp_path).read_bytes()
    tables = [*range(2048), *range(0x2000, 0x2010), *range(0x13E00, 0x13E20)]
    if name.endswith("x"):
        spans = [(0, 8), (65536, 80), (131072, 80), (196608, 80), (2 * MIB, 256), (2 * MIB + 65536, 700), (3 * MIB, 32)]
        tables = [start + at for start, length in spans for at in range(length)]
    chance = random.Random(20)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            content[chance.choice(tables)] = chance.choice((0, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            del content[chance.randrange(len(content)) :]
        try:
            child, runs = read(bytes(content))
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert_sound(runs, len(content), child.virtual_bytes)
    assert 50 < refused < 200


def assert_sound(runs: list[Run], size: int, virtual: int) -> None:
    end, used = 0, []
    for start, place, length in runs:
        assert start >= end
        assert length > 0
        end = start + length
        if place != ZEROS:
            assert 0 <= place <= place + length <= size
            used.append((place, place + length))
    assert end <= virtual
    used.sort()
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(used))


# ------------------------------------------------------------------ VHD


def test_vhd_sectors_are_told_by_the_highest_bit_first() -> None:
    content = make_vhd(6 * MIB, {1: (b"\x80\x01" + b"\xff" * 2, b""), 2: (b"", b"")})
    child, runs = read(content)
    assert (child.format, child.virtual_bytes, child.block_bytes) == ("vpc", 6 * MIB, 2 * MIB)
    start = 2048 + 512 + 512
    assert runs == [(2 * MIB, start, 512), (2 * MIB + 15 * 512, start + 15 * 512, 17 * 512)]


def test_vhd_last_block_ends_with_the_disk() -> None:
    content = make_vhd(2 * MIB + 1024, {0: (b"\xff" * 512, b""), 1: (b"\xff" * 512, b"")})
    _, runs = read(content)
    assert [(start, length) for start, _, length in runs] == [(0, 2 * MIB), (2 * MIB, 1024)]
    assert read(make_vhd(2 * MIB + 1024, {1: (b"\x3f" + b"\xff" * 511, b"")}))[1] == []


@pytest.mark.parametrize("block", [64 * KIB, 512 * KIB, 32 * MIB])
def test_vhd_with_other_blocks(block: int) -> None:
    bitmap = b"\0" * (block // 4096 - 1) + b"\x01"
    _, runs = read(make_vhd(block * 2, {1: (bitmap, b"")}, block=block))
    start = 2048 + 512 + max(512, block // 4096)
    assert runs == [(2 * block - 512, start + block - 512, 512)]


def test_vhd_names_of_the_parent() -> None:
    locators = {
        b"W2ku": "C:\\vms\\old.vhd".encode("utf-16-le"),
        b"W2ru": "..\\base\\par\u00e9nt.vhd".encode("utf-16-le"),
        b"MacX": b"file://localhost/vms/m%20x.vhd",
        b"Mac ": b"\0\1",
        b"Wi2k": b"C:\\\xff.vhd",
    }
    child = read_child(io.BytesIO(make_vhd(4 * MIB, {}, locators=locators, title="D:\\title.vhd")))
    assert child.parents == ("../base/par\u00e9nt.vhd", "par\u00e9nt.vhd", "old.vhd", "m x.vhd", "title.vhd")
    assert child.parent_ids == (str(PARENT),)
    assert child.parent_time == 7
    xen = read_child(io.BytesIO(make_vhd(4 * MIB, {}, locators={b"MacX": b"file://./a/b.vhd"})))
    assert xen.parents == ("a/b.vhd", "b.vhd")


def test_vhd_parent_is_known_by_its_identity() -> None:
    child = read_child(io.BytesIO(make_vhd(4 * MIB, {})))
    fixed = bytes(4 * MIB)
    assert check_parent(io.BytesIO(fixed + vhd_footer(4 * MIB, 2, PARENT)), child) == ""
    assert str(OTHER) in check_parent(io.BytesIO(fixed + vhd_footer(4 * MIB, 2)), child)
    assert "no valid footer" in check_parent(io.BytesIO(fixed), child)
    assert "too short" in check_parent(io.BytesIO(b""), child)


def test_vhd_with_one_footer_left() -> None:
    whole = make_vhd(4 * MIB, {1: (b"\xff" * 512, b"")})
    assert read(whole) == read(bytes(512) + whole[512:]) == read(whole[:-512] + bytes(512))
    assert refusal(bytes(512) + whole[512:-512] + bytes(512)).startswith("it has no valid footer")
    assert "differ" in refusal(vhd_footer(8 * MIB, 4) + whole[512:])


TWO_BLOCKS = make_vhd(6 * MIB, {0: (b"", b""), 1: (b"", b"")})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (make_vhd(4 * MIB, {})[:100], "too short"),
        (bytes(1024), "no valid footer"),
        (bytes(MIB) + vhd_footer(MIB, 2), "it has no parent"),
        (bytes(1024) + vhd_footer(1025, 4), "1025 bytes"),
        (bytes(1024) + vhd_footer(0, 4), "0 bytes"),
        (bytes(1024) + vhd_footer(1 << 62, 4), f"{1 << 62} bytes"),
        (bytes(1024) + vhd_footer(MIB, 4, header=1 << 63), "its dynamic disk header lies beyond its end"),
        (bytes(2048) + vhd_footer(MIB, 4), "its dynamic disk header is damaged"),
        (make_vhd(4 * MIB, {}, block=32 * KIB), "its blocks have 32768 bytes"),
        (make_vhd(4 * MIB, {0: (b"", b"")})[: MIB], "its block 0 lies beyond its end"),
        (patched(make_vhd(4 * MIB, {0: (b"", b"")}), 2048, bytes(4)), "its block 0 lies where something else is"),
        (patched(make_vhd(4 * MIB, {0: (b"", b"")}), 2052, b"\0\0\0\5"), "its block 1 lies where something else is"),
        (patched(TWO_BLOCKS, 2056, b"\0\0\x08\0"), "its block 2 lies where something else is"),
        (patched(make_vhd(4 * MIB, {0: (b"", b"")}), 2048, b"\0\0\0\4"), "its block 0 lies where something else is"),
        (patched(make_vhd(4 * MIB, {}), 2048, b"\xff\xff\xff\xfe"), "its block 0 lies beyond its end"),
    ],
)  # fmt: skip
def test_a_vhd_that_is_refused(content: bytes, why: str) -> None:
    assert why in refusal(content)


# ------------------------------------------------------------------ VHDX


def test_vhdx_states_of_blocks() -> None:
    bitmap = bytes(256 * 6) + b"\x01\x80" + bytes(254)
    content = make_vhdx(8 * MIB, {0: 6, 1: 6, 2: 1, 3: 2, 4: 3, 6: 7}, bitmap=bitmap)
    child, runs = read(content)
    assert (child.format, child.virtual_bytes, child.block_bytes, child.sector_bytes) == ("vhdx", 8 * MIB, MIB, 512)
    assert child.parents == ("base/parent.vhdx", "parent.vhdx", "old.vhdx")
    assert child.parent_ids == (str(PARENT),)
    assert runs == [
        (0, 5 * MIB, 2 * MIB),
        (2 * MIB, ZEROS, 3 * MIB),
        (6 * MIB, 7 * MIB, 512),
        (6 * MIB + 15 * 512, 7 * MIB + 15 * 512, 512),
    ]


def test_vhdx_last_block_ends_with_the_disk() -> None:
    assert read(make_vhdx(MIB + 512, {0: 2, 1: 6}))[1] == [(0, ZEROS, MIB), (MIB, 5 * MIB, 512)]
    assert read(make_vhdx(MIB + 512, {1: 2}))[1] == [(MIB, ZEROS, 512)]
    bitmap = bytes(256) + b"\x02"
    assert read(make_vhdx(MIB + 512, {1: 7}, bitmap=bitmap))[1] == []


def test_vhdx_with_other_blocks_and_sectors() -> None:
    # A block of 32 MiB has 8192 sectors of 4096 bytes, that is 1024 bytes of bitmap.
    bitmap = bytes(1024) + b"\x06" + bytes(1022) + b"\x80"
    _, runs = read(make_vhdx(64 * MIB, {1: 7}, bitmap=bitmap, block=32 * MIB, sector=4096))
    assert runs == [(32 * MIB + 4096, 5 * MIB + 4096, 8192), (64 * MIB - 4096, 37 * MIB - 4096, 4096)]


def test_vhdx_of_two_chunks() -> None:
    # With sectors of 512 bytes a chunk has 16 blocks of 256 MiB; the bitmap's entry of the first is the 17th.
    content = bytearray(make_vhdx(17 << 28, {}, block=256 * MIB))
    entries = {15: 2, 16: 4 * MIB | 6, 17: 2, 18: 2, 33: 5}
    for index, entry in entries.items():
        struct.pack_into("<Q", content, 3 * MIB + 8 * index, entry)
    assert read(bytes(content))[1] == [(15 << 28, ZEROS, 2 << 28)]


def test_vhdx_header_in_use_is_the_later_one() -> None:
    first, second, bad = vhdx_header(9, PARENT), vhdx_header(8), bytes(4096)
    for headers, written in [
        ((first, second), PARENT),
        ((second, first), PARENT),
        ((second, bad), OTHER),
        ((bad, first), PARENT),
        ((first, first), PARENT),
    ]:
        header = current_header(io.BytesIO(make_vhdx(MIB, {}, headers=headers)))
        assert header.data_write == str(written)


def test_vhdx_parent_must_be_unchanged() -> None:
    child = read_child(io.BytesIO(make_vhdx(MIB, {})))
    parent = make_vhdx(MIB, {}, words=None, headers=(vhdx_header(1, PARENT), vhdx_header(2, PARENT)))
    assert not has_parent(io.BytesIO(parent))
    assert check_parent(io.BytesIO(parent), child) == ""
    assert "written to since" in check_parent(io.BytesIO(make_vhdx(MIB, {}, words=None)), child)
    assert check_parent(io.BytesIO(bytes(MIB)), child) == "it is no VHDX"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (make_vhdx(MIB, {}, headers=(vhdx_header(1), vhdx_header(2, log=OTHER.bytes))), "it was not closed cleanly; "),
        (make_vhdx(MIB, {}, headers=(vhdx_header(2), vhdx_header(2, PARENT))), "its two headers differ"),
        (make_vhdx(MIB, {}, headers=(bytes(4096), bytes(4096))), "both of its headers are damaged"),
        (make_vhdx(MIB, {}, headers=(vhdx_header(1, version=2), bytes(4096))), "version 2"),
        (make_vhdx(MIB, {}, words=None), "it has no parent"),
        (make_vhdx(MIB, {}, words={"parent_linkage": "{}"}), "which is no identity"),
        (make_vhdx(MIB, {}, words={"parent_linkage": f"{{{uuid.UUID(int=0)}}}"}), "does not say what its parent is"),
        (make_vhdx(MIB, {}, words={"relative_path": "a.vhdx"}), "does not say what its parent is"),
        (make_vhdx(MIB, {}, sector=1024), "sectors of 1024"),
        (make_vhdx(MIB + 1, {}), f"{MIB + 1} bytes"),
        (make_vhdx(128 << 40, {}), f"{128 << 40} bytes"),
        (make_vhdx(16 << 40, {}), "does not cover the disk"),
        (make_vhdx(2 * MIB, {1: 4}), "its block 1 is in state 4"),
        (make_vhdx(2 * MIB, {1: 7}), "its block 1 has no bitmap"),
        (make_vhdx(2 * MIB, {1: 6}, cut=1), "its block 1 lies beyond its end"),
        (patched(make_vhdx(2 * MIB, {}), 3 * MIB, struct.pack("<Q", 3 * MIB | 6)), "lies where something else is"),
        (patched(make_vhdx(2 * MIB, {1: 6}), 3 * MIB, struct.pack("<Q", 5 * MIB | 6)), "lies where something else is"),
        (patched(make_vhdx(2 * MIB, {}), 3 * MIB, struct.pack("<Q", 6)), "lies where something else is"),
        (make_vhdx(MIB, {})[: 2 * MIB + 5], "its region table is damaged"),
        (patched(make_vhdx(MIB, {}), 2 * MIB, b"x"), "its metadata are damaged"),
        (patched(make_vhdx(MIB, {}), 2 * MIB + 32, b"x"), "which are not known"),
        (patched(make_vhdx(MIB, {}), 2 * MIB + 32 + 20, b"\7"), "incomplete"),
        (patched(make_vhdx(MIB, {}), 2 * MIB + 32 + 16, b"\7\0\0\0"), "its metadata are damaged"),
    ],
)  # fmt: skip
def test_a_vhdx_that_is_refused(content: bytes, why: str) -> None:
    assert why in refusal(content)


def test_vhdx_second_region_table_serves_where_the_first_is_damaged() -> None:
    whole = make_vhdx(MIB, {0: 6})
    hurt = patched(whole, 192 * KIB + 20, b"x")
    assert read(hurt) == read(whole)
    assert "both of its region tables" in refusal(patched(hurt, 256 * KIB + 20, b"x"))
    needed = vhdx_regions(MIB, struct.pack("<16sQII", OTHER.bytes, MIB, MIB, 1))
    assert "needs a region" in refusal(patched(whole, 192 * KIB, needed))
    optional = vhdx_regions(MIB, struct.pack("<16sQII", OTHER.bytes, MIB, MIB, 0))
    assert read(patched(whole, 192 * KIB, optional)) == read(whole)
    twice = vhdx_regions(MIB, vhdx_regions(MIB)[16:48])
    assert "region table is damaged" in refusal(patched(whole, 192 * KIB, twice))


# ------------------------------------------------------------------ the rest


def test_names_lead_to_files() -> None:
    assert names([".\\p.vhd"], []) == ("p.vhd",)
    assert names(["..", "", "a\0b", "/etc/passwd"], ["C:\\", "\\\\?\\d:\\x\\..", "plain"]) == (
        "etc/passwd",
        "passwd",
        "plain",
    )


def test_runs_that_follow_each_other_are_one() -> None:
    runs = [(0, 100, 10), (10, 110, 10), (20, 130, 10), (30, ZEROS, 5), (35, ZEROS, 5), (50, ZEROS, 5), (60, 0, 99)]
    joined = [(0, 100, 20), (20, 130, 10), (30, ZEROS, 10), (50, ZEROS, 5), (60, 0, 9)]
    assert list(coalesced(runs, 69)) == joined
    assert list(coalesced(runs, 60)) == joined[:-1]


BASES = (
    make_vhd(2 * MIB, {1: (b"\xf0", b"")}, block=64 * KIB, locators={b"W2ru": "p.vhd".encode("utf-16-le")}),
    make_vhdx(2 * MIB, {0: 7, 1: 2}, bitmap=b"\x0f"),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(BASES), st.lists(st.tuples(st.integers(0, 2200), st.integers(0, 255)), max_size=3), st.booleans()
)
def test_no_tables_raise_anything_else(base: bytes, damage: list[tuple[int, int]], mended: bool) -> None:
    content = bytearray(base)
    for at, value in damage:
        content[at if base is BASES[0] else 2 * MIB + (at if at < 256 else 65536 + at - 256)] = value
    if mended and base is BASES[0]:  # so that damage is not found by the checksums alone
        content[512:1536] = summed(bytes(content[512:1536]), 36)
        content[:512] = content[-512:] = summed(bytes(content[:512]), 64)
    try:
        child, runs = read(bytes(content))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert_sound(runs, len(content), child.virtual_bytes)


@given(st.binary(max_size=2000))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    for start in (b"", b"vhdxfile", b"conectix"):
        file = io.BytesIO(start + content)
        assert not has_parent(file)
        with pytest.raises(ValueError):  # noqa: PT011
            read_child(file)
