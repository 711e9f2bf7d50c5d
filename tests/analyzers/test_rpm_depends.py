from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._rpm_depends import (
    EQUAL,
    GREATER,
    LESS,
    Providers,
    Relation,
    boolean_names,
    compare_versions,
    meets,
)

# tests/rpmvercmp.at of rpm, where every rule has its line.
ORDER = """
1.0 1.0 0
1.0 2.0 -1
2.0.1 2.0.1 0
2.0 2.0.1 -1
2.0.1a 2.0.1 1
5.5p1 5.5p2 -1
5.5p10 5.5p1 1
10xyz 10.1xyz -1
xyz10 xyz10.1 -1
xyz.4 8 -1
xyz.4 2 -1
5.5p2 5.6p1 -1
6.0.rc1 6.0 1
10b2 10a1 1
7.4.052 7.4.52 0
1.0aa 1.0a 1
10.0001 10.1 0
10.0001 10.0039 -1
4.999.9 5.0 -1
20101121 20101122 -1
2_0 2.0 0
a a 0
a+ a_ 0
+ _ 0
1.0~rc1 1.0 -1
1.0~rc1 1.0~rc2 -1
1.0~rc1~git123 1.0~rc1 -1
1.0^ 1.0 1
1.0^git1 1.0 1
1.0^git1 1.0^git2 -1
1.0^git1 1.01 -1
1.0^20160101 1.0.1 -1
1.0^20160101^git1 1.0^20160102 -1
1.0~rc1^git1 1.0~rc1 1
1.0^git1~pre 1.0^git1 -1
"""


@pytest.mark.parametrize("line", ORDER.strip().split("\n"))
def test_versions_in_order(line: str) -> None:
    one, two, order = line.split()
    assert (compare_versions(one, two), compare_versions(two, one)) == (int(order), -int(order))


@pytest.mark.parametrize(
    ("has", "flags", "needs", "met"),
    [
        ("1.0-1", EQUAL, "1.0-1", True), ("1.0-1", EQUAL, "1.0", True), ("1.0-1", EQUAL, "1.0-2", False),
        ("1.0-1", GREATER | EQUAL, "0.9", True), ("1.0-1", GREATER, "1.0", False), ("1.0-1", LESS, "1.1", True),
        ("1:1.0-1", LESS, "2.0", False), ("1.0-1", GREATER, "1:0.1", False), ("0:1.0-1", EQUAL, "1.0-1", True),
        ("1.0-1", 0, "", True), ("1.0-1", EQUAL, "", True), ("", EQUAL, "3", True), ("2-rc-1", EQUAL, "2-rc-1", True),
    ],
)  # fmt: skip
def test_a_version_that_is_asked_for(has: str, flags: int, needs: str, met: bool) -> None:
    assert meets(Relation("x", EQUAL, has), Relation("x", flags, needs)) is met


def test_ranges_that_overlap() -> None:
    assert meets(Relation("x", LESS, "2"), Relation("x", GREATER, "1"))
    assert not meets(Relation("x", LESS, "1"), Relation("x", GREATER, "2"))
    assert meets(Relation("x", LESS, "1"), Relation("x", LESS | EQUAL, "1"))
    assert not meets(Relation("x", LESS, "1"), Relation("x", GREATER, "1"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(gcc >= 8 with gcc < 9)", ["gcc", "gcc"]),
        ("(annobin if gcc)", ["annobin"]),
        ("(a if b else c)", ["a", "c"]),
        ("((a if b) and c)", ["a", "c"]),
        ("(a if (b or c) else d)", ["a", "d"]),
        ("(a unless b)", ["a"]),
        ("(liba.so.1()(64bit) or libb.so(X) = 1:2-3)", ["liba.so.1()(64bit)", "libb.so(X)"]),
        ("(a without b)", ["a"]),
        ("((((", []),
        ("))) a", ["a"]),
    ],
)
def test_boolean_dependencies(text: str, names: list[str]) -> None:
    assert boolean_names(text) == names


def providers() -> Providers:
    packages = [
        ("bash", [Relation("bash", EQUAL, "5-1"), Relation("/bin/sh")], ["/usr/bin/bash", "/usr/bin/sh"]),
        ("glibc", [Relation("libc.so.6()(64bit)")], ["/usr/lib64/libc.so.6"]),
        ("python36", [Relation("python(abi)", EQUAL, "3.6")], ["/usr/bin/python3.6"]),
        ("python27", [Relation("python(abi)", EQUAL, "2.7")], ["/usr/bin/python2.7"]),
        ("gawk", [Relation("awk")], ["/usr/bin/gawk"]),
    ]
    return Providers(packages, lambda path: f"/usr{path}" if path.startswith("/bin/") else path)


def test_requirements_lead_to_installed_packages() -> None:
    needed = [
        Relation("/bin/sh", 256), Relation("libc.so.6()(64bit)"), Relation("rpmlib(CompressedFileNames)", 1 << 24, "3"),
        Relation("python(abi)", EQUAL, "2.7"), Relation("/bin/gawk"), Relation("nobody-has-it"), Relation("(awk if x)"),
        Relation("glibc-extra", 1 << 19), Relation("libc.so.6()(64bit)"),
    ]  # fmt: skip
    assert providers().depends("x", needed) == ("bash", "glibc", "python27", "gawk")
    assert providers().depends("bash", needed) == ("glibc", "python27", "gawk")


def test_a_hundred_thousand_that_need_what_a_hundred_thousand_provide_end() -> None:
    many = Providers([(f"p{n}", [Relation("x", EQUAL, str(n))], []) for n in range(20_000)], lambda path: path)
    start = time.monotonic()
    for number in range(60):
        many.depends("y", [Relation("x", LESS, str(number))])
    assert time.monotonic() - start < 30
    assert len(many.depends("y", [Relation("x")])) == 16


@given(st.text(max_size=30) | st.text("()<=> aif", max_size=40))
def test_no_boolean_dependency_breaks_it(text: str) -> None:
    assert all(boolean_names(text))


VERSIONS = st.text("0123456789.abz~^-:_", max_size=12) | st.text(max_size=6)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_a_total_order(one: str, two: str, three: str) -> None:
    assert compare_versions(one, two) == -compare_versions(two, one)
    if compare_versions(one, two) <= 0 and compare_versions(two, three) <= 0:
        assert compare_versions(one, three) <= 0
