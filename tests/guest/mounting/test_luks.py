"""What opening an encrypted volume costs, by headers that cryptsetup wrote, and by ones that lie."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.mounting.luks import BINARY, Cost, cost_of, metadata_size
from tests.guest.layouts import luks
from tests.guest.made import needs, unpacked


def header(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(BINARY)
        return head + file.read(metadata_size(head) - len(head))


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    needs("cryptsetup")
    place = tmp_path_factory.mktemp("luks")
    return {kind: header(luks(place / kind, "x", kind, 24)) for kind in ("luks1", "luks2")}


def test_what_cryptsetup_writes(headers: dict[str, bytes]) -> None:
    assert len(headers["luks1"]) == BINARY
    assert len(headers["luks2"]) == 16384
    assert cost_of(headers["luks1"]).iterations == 1000
    found = cost_of(headers["luks2"])
    assert (found.memory_passes, found.memory) == (4 * 32, 32)
    assert 0 < found.iterations < 10_000_000
    assert found.why_not == ""


def test_other_peoples(corpus: Path, tmp_path: Path) -> None:
    assert cost_of(header(unpacked(corpus, "luks1.raw", tmp_path))) == Cost(iterations=2545086)
    found = cost_of(header(unpacked(corpus, "luks2.raw", tmp_path)))
    assert found == Cost(iterations=159067, memory_passes=5 << 20, memory=1 << 20)
    assert found.why_not == ""


def test_a_header_that_asks_for_hours(headers: dict[str, bytes]) -> None:
    slow = bytearray(headers["luks1"])
    struct.pack_into(">I", slow, 208 + 4, 0xFFFFFFFF)
    assert "asks for 4294967295 iterations" in cost_of(bytes(slow)).why_not
    text = headers["luks2"].replace(b'"time":4', b'"time":4000000000', 1)
    assert "passes over 1 GiB" in cost_of(text).why_not


@pytest.mark.parametrize(
    "head",
    [b"", b"LUKS\xba\xbe\x00\x01", bytes(BINARY), b"LUKS\xba\xbe\x00\x03".ljust(BINARY, b"\0"),
     b"LUKS\xba\xbe\x00\x02".ljust(BINARY, b"\0") + b"[" * 100_000],
)  # fmt: skip
def test_what_is_none(head: bytes) -> None:
    assert metadata_size(head) == len(head) or len(head) > BINARY
    with pytest.raises(ValueError, match=r"damaged|not known"):
        cost_of(head)


@given(st.binary(max_size=700))
def test_any_bytes(tail: bytes) -> None:
    for version in (1, 2):
        head = b"LUKS\xba\xbe" + version.to_bytes(2, "big") + tail
        assert metadata_size(head.ljust(BINARY, b"\0")) <= 4 << 20
        try:
            found = cost_of(head)
        except ValueError:
            continue
        assert found.iterations >= 0


def test_damage_is_an_error_or_another_cost(headers: dict[str, bytes]) -> None:
    numbers = random.Random(20261123)
    for _ in range(400):
        head = bytearray(headers[numbers.choice(["luks1", "luks2"])])
        for _ in range(numbers.randint(1, 6)):
            head[numbers.randrange(min(len(head), 5000))] = numbers.randrange(256)
        try:
            assert cost_of(bytes(head)).memory >= 0
        except ValueError:
            assert bytes(head) not in headers.values()
