"""Partition tables as sfdisk writes them, and as nobody should."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.partitions import Partition, Read, find_partitions
from tests.guest.made import needs, run, sparse_file

MIB = 1 << 20


def reader(content: bytes) -> Read:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(content)
        return content[offset : offset + length]

    return read


def table(path: Path, script: str, mebibytes: int = 64) -> bytes:
    needs("sfdisk")
    run("sfdisk", "-q", sparse_file(path, mebibytes), stdin=script)
    return path.read_bytes()


@pytest.fixture(scope="module")
def mbr(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    script = (
        "label: dos\nlabel-id: 0xcafe0001\nstart=1MiB, size=8MiB, type=83\nstart=9MiB, size=8MiB, type=82\n"
        "start=20MiB, size=40MiB, type=5\nstart=21MiB, size=4MiB, type=83\nstart=30MiB, size=4MiB, type=8e\n"
    )
    return table(tmp_path_factory.mktemp("mbr") / "disk", script)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    script = (
        "label: gpt\nstart=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n"
        'start=2MiB, size=16MiB, type=linux, uuid=6A1E4A7C-23B0-4C11-9E0A-0D5C4F2F7E55, name="rööt"\n'
    )
    return table(tmp_path_factory.mktemp("gpt") / "disk", script)


def test_an_mbr_with_logical_partitions(mbr: bytes) -> None:
    found = find_partitions(reader(mbr), len(mbr))
    assert found is not None
    assert [(p.number, p.start // MIB, p.size // MIB, p.type, p.uuid) for p in found] == [
        (1, 1, 8, "0x83", "cafe0001-01"),
        (2, 9, 8, "0x82", "cafe0001-02"),
        (3, 20, 40, "0x5", "cafe0001-03"),
        (5, 21, 4, "0x83", "cafe0001-05"),
        (6, 30, 4, "0x8e", "cafe0001-06"),
    ]


def test_a_gpt(gpt: bytes) -> None:
    found = find_partitions(reader(gpt), len(gpt))
    assert found is not None
    assert found[1] == Partition(
        number=2,
        start=2 * MIB,
        size=16 * MIB,
        type="0fc63daf-8483-4772-8e79-3d69d8477de4",
        uuid="6a1e4a7c-23b0-4c11-9e0a-0d5c4f2f7e55",
        label="rööt",
    )
    assert found[0].type == "21686148-6449-6e6f-744e-656564454649"


def changed(content: bytes, offset: int, data: bytes) -> bytes:
    return content[:offset] + data + content[offset + len(data) :]


def test_no_table() -> None:
    assert find_partitions(reader(bytes(4096)), 4096) is None
    assert find_partitions(reader(bytes(100)), 100) is None


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (512 + 24, b"\x02", "its checksum is wrong"),
        (1024 + 130, b"\x07", "checksum of its entries"),
        (510, b"\0\0", "without the protective MBR"),
        (450, b"\x83", "without the protective MBR"),
        (512, b"NOT", "not at sector 1"),
    ],
)
def test_a_damaged_gpt(gpt: bytes, offset: int, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_partitions(reader(changed(gpt, offset, data)), len(gpt))


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (446, b"\x12", "boot loader"),
        (450, b"\xa5", "table of its own"),
        (446 + 12, b"\xff\xff\xff\x7f", "beyond the end"),
        (450, b"\x0f", "more than one extended"),
        (446, bytes(64), "is empty"),
        (20 * MIB + 510, b"\0\0", "chain of its logical partitions is broken"),
        (20 * MIB + 446 + 16 + 8, bytes(4), "chain of its logical partitions is broken"),
        (20 * MIB + 446 + 32 + 12, b"\1", "not as programs write it"),
    ],
)
def test_a_damaged_mbr(mbr: bytes, offset: int, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_partitions(reader(changed(mbr, offset, data)), len(mbr))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4095), st.binary(min_size=1, max_size=16)), max_size=8), st.booleans())
def test_hostile_tables_raise_only_value_error(
    mbr: bytes, gpt: bytes, edits: list[tuple[int, bytes]], which: bool
) -> None:
    content = mbr if which else gpt
    head = content[:4128]
    for offset, data in edits:
        head = changed(head, offset, data)

    def read(offset: int, length: int) -> bytes:
        found = head[offset : offset + length] if offset < 4096 else content[offset : offset + length]
        return (found + content[len(head) : offset + length] if offset < 4096 else found).ljust(length, b"\0")

    try:
        found = find_partitions(read, len(content))
    except ValueError:
        return
    assert all(0 < p.start <= p.start + p.size <= len(content) for p in found or ())
