"""What a plan or a disk says never becomes an instruction or shell syntax."""

from __future__ import annotations

import json
import shlex

import pytest
from dockerfile_parse import DockerfileParser
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import PlanError
from migrate.generate import quoting


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("$(reboot)", "'$(reboot)'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\\", "'a\\'"),
        ("<<EOF", "'<<EOF'"),
        ("# no comment", "'# no comment'"),
    ],
)
def test_shell(text: str, wanted: str) -> None:
    assert quoting.shell(text) == wanted


@pytest.mark.parametrize("text", ["a\nFROM evil", "a\rb", "a\0b", "\x1b[2J", "caf\udce9"])
def test_what_no_quoting_makes_safe_is_refused(text: str) -> None:
    for place in (quoting.shell, quoting.word):
        with pytest.raises(PlanError, match="write a Dockerfile"):
            place(text, "the text")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/srv/app", "/srv/app"),
        ("$HOME", '"\\$HOME"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\", '"back\\\\"'),
        ("", '""'),
        ("a b", '"a b"'),
    ],
)
def test_word(text: str, wanted: str) -> None:
    assert quoting.word(text) == wanted


@given(st.text())
def test_a_word_of_the_shell_reads_back(text: str) -> None:
    try:
        quoted = quoting.shell(text)
    except PlanError:
        return
    assert shlex.split(quoted) == [text]
    assert "\n" not in quoted


@given(st.lists(st.text()))
def test_exec_form_is_one_line_of_json(argv: list[str]) -> None:
    try:
        line = quoting.exec_form(argv)
    except PlanError:
        assert any("\0" in a or a != a.encode("utf-8", "replace").decode() for a in argv)
        return
    assert json.loads(line) == argv
    assert line.isascii()
    assert line.splitlines() == [line]


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True), st.text(), min_size=1))
def test_env_adds_no_instruction(variables: dict[str, str]) -> None:
    try:
        line = "ENV " + " ".join(f"{k}={quoting.word(v)}" for k, v in variables.items())
    except PlanError:
        return
    parser = DockerfileParser(fileobj=_Memory(), build_args={})
    parser.content = f"FROM scratch\n{line}\nUSER 1:1\n"
    assert [i["instruction"] for i in parser.structure] == ["FROM", "ENV", "USER"]


class _Memory:
    """A file in memory, as dockerfile_parse takes it."""

    def __init__(self) -> None:
        self._data = b""

    def read(self) -> bytes:
        return self._data

    def readlines(self) -> list[bytes]:
        return self._data.splitlines(keepends=True)

    def write(self, data: bytes) -> None:
        self._data += data

    def writelines(self, lines: list[bytes]) -> None:
        self._data += b"".join(lines)

    def seek(self, position: int) -> None:
        pass

    def truncate(self, size: int = 0) -> None:
        self._data = b""


@pytest.mark.parametrize("name", ["nginx", "nginx=1.22.1-9+deb12u1", "libc6:amd64=2.36-9", "redis-server=5:7.0~rc1"])
def test_packages(name: str) -> None:
    assert quoting.package(name) == name


@pytest.mark.parametrize(
    "name", ["", "a", "-y", "nginx\nRUN id", "nginx; id", "Nginx", "nginx=", "nginx=$(id)", "nginx/bookworm", "./x.deb"]
)
def test_names_that_are_no_package_are_refused(name: str) -> None:
    with pytest.raises(PlanError, match="package"):
        quoting.package(name)


@pytest.mark.parametrize(
    "name", ["scratch", "debian:12-slim", "registry.example:5000/a/b_c:1.0", f"debian@sha256:{'0' * 64}"]
)
def test_bases(name: str) -> None:
    assert quoting.base_image(name) == name


@pytest.mark.parametrize(
    "name", ["", "debian 12", "debian:12\nRUN id", "$BASE", "--platform=x debian", "Debian:12", "a:b:c"]
)
def test_what_is_no_image_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="base"):
        quoting.base_image(name)


@pytest.mark.parametrize("path", ["etc", "", "/a/../b", "../x", "/a\0", "//host/x"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(PlanError):
        quoting.guest_path(path, "the path")
