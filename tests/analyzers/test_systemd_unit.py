"""Unit files: the grammar, names, escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._unit import Assignment, UnitError, UnitName, dropin_names, is_systemds_own, parse, parse_name, unescape

SAMPLE = r"""# A comment
; another
[Unit]
Description = Orders \


[Service]
ExecStart=/srv/orders/venv/bin/gunicorn \
    --workers 2 \
# a comment inside a continuation is skipped
    ; this one too
    --bind 127.0.0.1:8000
Environment="A=one two" \
  B=3
ExecStart=
TimeoutSec=90
ReadWriteDirectories=/var/lib/orders
"""


def test_sample() -> None:
    found, faults = parse(SAMPLE)
    assert faults == []
    assert found == [
        Assignment("Unit", "Description", "Orders", 4),
        Assignment(
            "Service",
            "ExecStart",
            "/srv/orders/venv/bin/gunicorn  --workers 2  --bind 127.0.0.1:8000",
            8,
        ),
        Assignment("Service", "Environment", '"A=one two"  B=3', 13),
        Assignment("Service", "ExecStart", "", 15),
        Assignment("Service", "TimeoutStartSec", "90", 16),
        Assignment("Service", "TimeoutStopSec", "90", 16),
        Assignment("Service", "ReadWritePaths", "/var/lib/orders", 17),
    ]


def test_an_escaped_backslash_ends_no_line() -> None:
    found, _ = parse("[Service]\nExecStart=/bin/echo \\\\\nUser=orders\n")
    assert [(a.key, a.value) for a in found] == [("ExecStart", "/bin/echo \\\\"), ("User", "orders")]


def test_a_file_may_end_in_a_continuation_and_have_carriage_returns_and_a_mark() -> None:
    found, _ = parse("\ufeff[Service]\r\nExecStart=/bin/a \\\r\n  -b\r\nUser=x \\")
    assert [(a.key, a.value) for a in found] == [("ExecStart", "/bin/a  -b"), ("User", "x")]


def test_what_systemd_passes_over_is_told_with_its_line() -> None:
    text = "User=a\n[Service]\nnonsense\n=x\nUser=b\nGroup=\udcff\n"
    found, faults = parse(text)
    assert [(a.key, a.value) for a in found] == [("User", "b")]
    assert [f.line for f in faults] == [1, 3, 4, 6]


def test_a_broken_header_spoils_the_file() -> None:
    with pytest.raises(UnitError) as caught:
        parse("[Unit]\nDescription=x\n[Service\nUser=x\n")
    assert caught.value.line == 3


@given(st.text(alphabet=st.sampled_from("[]=\\#; \n\r\tAb\udcff\u2028é"), max_size=60) | st.text(max_size=60))
def test_hostile_text(text: str) -> None:
    try:
        found, faults = parse(text)
    except UnitError:
        return
    lines = [*(a.line for a in found), *(f.line for f in faults)]
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)
    assert all(a.section and a.key and "\n" not in a.value for a in found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nginx.service", UnitName("nginx.service", "nginx", None, "service")),
        ("postgresql@15-main.service", UnitName("postgresql@15-main.service", "postgresql", "15-main", "service")),
        ("getty@.service", UnitName("getty@.service", "getty", "", "service")),
        ("a@b@c.service", UnitName("a@b@c.service", "a", "b@c", "service")),
        (r"srv-a\x2db.mount", UnitName(r"srv-a\x2db.mount", r"srv-a\x2db", None, "mount")),
        ("nginx", None),
        ("nginx.conf", None),
        ("a b.service", None),
        ("@x.service", None),
        ("ä.service", None),
        ("x" * 250 + ".service", None),
    ],
)
def test_names(name: str, expected: UnitName | None) -> None:
    assert parse_name(name) == expected


def test_parts_of_names() -> None:
    name = parse_name("postgresql@15-main.service")
    assert name is not None
    assert (name.id, name.stem, name.template, name.is_template) == (
        "postgresql@15-main",
        "postgresql@15-main",
        "postgresql@.service",
        False,
    )
    socket = parse_name("ssh.socket")
    assert socket is not None
    assert (socket.id, socket.template) == ("ssh.socket", None)


def test_dropin_names_as_systemd_orders_them() -> None:
    """Taken from unit_file_find_dropin_paths of systemd 252, by removing the winner until none was left."""
    name = parse_name("a-b-c@i-j.service")
    assert name is not None
    assert dropin_names(name) == [
        "a-b-c@i-j.service",
        "a-b-c@.service",
        "a-b-.service",
        "a-.service",
        "a-b-@i-j.service",
        "a-b-@.service",
        "a-@i-j.service",
        "a-@.service",
    ]


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("x--y-z", ["x--y-z", "x--y-", "x--", "x-"]),
        ("-x", ["-x"]),
        ("--x", ["--x", "--"]),
        ("x-", ["x-"]),
        ("a-b--", ["a-b--", "a-b-", "a-"]),
    ],
)
def test_dropin_names_with_doubled_dashes(name: str, stems: list[str]) -> None:
    parsed = parse_name(f"{name}.service")
    assert parsed is not None
    assert dropin_names(parsed) == [f"{stem}.service" for stem in stems]


def test_unescape() -> None:
    assert unescape(r"srv-web\x2d1") == "srv/web-1"
    assert unescape(r"\xc3\xa9") == "é"
    assert unescape(r"\xzz") == r"\xzz"


def test_systemds_own_header() -> None:
    header = "#  SPDX-License-Identifier: LGPL-2.1-or-later\n#\n#  This file is part of systemd.\n#\n[Unit]\n"
    assert is_systemds_own(header)
    assert not is_systemds_own("[Unit]\n# This file is part of systemd.\n")
    assert not is_systemds_own("# nginx\n[Unit]\n")
