from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.changes.capabilities import NAMES, Capabilities, decode, parse
from tests.guest.made import CAPABILITY

NET_RAW, SETUID, BPF = 1 << 13, 1 << 7, 1 << 39


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CAPABILITY, Capabilities(permitted=NET_RAW, effective=True)),
        (struct.pack("<3I", 0x01000001, NET_RAW, SETUID), Capabilities(NET_RAW, SETUID, True)),
        (struct.pack("<5I", 0x02000000, NET_RAW, 0, 1 << 7, 0), Capabilities(NET_RAW | BPF)),
        (struct.pack("<6I", 0x03000001, NET_RAW, 0, 0, 0, 1000), Capabilities(NET_RAW, 0, True, 1000)),
        (struct.pack("<5I", 0x03000001, NET_RAW, 0, 0, 0), None),
        (struct.pack("<5I", 0x04000001, NET_RAW, 0, 0, 0), None),
        (CAPABILITY[:-1], None),
        (b"", None),
    ],
)
def test_the_attribute_in_its_three_revisions(value: bytes, expected: Capabilities | None) -> None:
    assert decode(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cap_net_raw=ep", Capabilities(NET_RAW, 0, True)),
        ("= cap_net_raw+ep", Capabilities(NET_RAW, 0, True)),
        ("cap_net_raw+p", Capabilities(NET_RAW)),
        ("CAP_NET_RAW,cap_setuid=ip", Capabilities(NET_RAW | SETUID, NET_RAW | SETUID)),
        ("cap_setuid=ep cap_setuid-e", Capabilities(SETUID)),
        ("cap_setuid=p+e", Capabilities(SETUID, 0, True)),
        ("=", Capabilities()),
        ("", Capabilities()),
        ("39=p", Capabilities(BPF)),
        ("=p", Capabilities((1 << len(NAMES)) - 1)),
        ("cap_no_such=p", None),
        ("cap_net_raw", None),
        ("+p", None),
        ("cap_net_raw=x", None),
        ("64=p", None),
        ("cap_" * 5000, None),
    ],
)
def test_texts_of_rpm_and_getcap(text: str, expected: Capabilities | None) -> None:
    assert parse(text) == expected


SETS = st.integers(0, (1 << len(NAMES)) - 1)


@given(SETS, SETS, st.booleans())
def test_what_is_shown_means_the_same_when_it_is_read(permitted: int, inheritable: int, effective: bool) -> None:
    found = Capabilities(permitted, inheritable, effective and bool(permitted | inheritable))
    assert parse(str(found)) == found


@given(st.binary(max_size=32), st.text(max_size=60))
def test_nothing_breaks_them(value: bytes, text: str) -> None:
    if (found := decode(value)) is not None:
        assert str(found)
    parse(text)
