"""systemd's files of variables, and what compose and docker make of those we write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.engine import read_env_file
from migrate.generate.envfile import compose_env_file, is_name, parse_environment_file, split_environment

# What the automaton of systemd's src/basic/env-file.c gives.
CASES = [
    ("A=b\n", {"A": "b"}),
    ("A=b", {"A": "b"}),
    ("A = b \nexport B=c\n", {"A": "b"}),
    ("# A=1\n; B=2\nC=3\n", {"C": "3"}),
    ("# comment \\\nA=1\nB=2\n", {"A": "1", "B": "2"}),
    ("A=one two  \t\n", {"A": "one two"}),
    ("A=  x", {"A": "x"}),
    ("A=a\\\nb\n", {"A": "ab"}),
    ("A=a\\ \n", {"A": "a "}),
    ("A=\\$x\\n\n", {"A": "$xn"}),
    ("A='a\nb'\n", {"A": "a\nb"}),
    ("A='it'\\''s'\n", {"A": "it''s'"}),  # unlike a shell: quotes count at the start alone
    ('A="x\\$y\\n\\"z"\n', {"A": 'x$y\\n"z'}),
    ('A="a\\\nb"\n', {"A": "ab"}),
    ('A="a" "b"\n', {"A": "ab"}),
    ("A=a'b'c\n", {"A": "a'b'c"}),
    ("A=\n", {"A": ""}),
    ("A=1\nA=2\n", {"A": "2"}),
    ("1A=x\nA-B=y\nA.B=z\n", {}),
    ("A\n=x\nB=1\n", {"B": "1"}),
    ("A=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
    ("A='open", {"A": "open"}),
    ("A=url?x=1&y=2#frag\n", {"A": "url?x=1&y=2#frag"}),
    ("A=b\0C=d", {"A": "b"}),
]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_environment_files(text: str, wanted: dict[str, str]) -> None:
    assert parse_environment_file(text) == wanted


@given(st.text(alphabet=st.sampled_from("AB=_1 \t\r\n'\"\\$#;x\0é")))
def test_any_text_gives_variables(text: str) -> None:
    assert all(is_name(name) for name in parse_environment_file(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('A=1 "B=two words" C=\'x y\' "D=q\\"q"', {"A": "1", "B": "two words", "C": "x y", "D": 'q"q'}),
        ("A=b=c  novalue 9=x", {"A": "b=c"}),
        ("A=x\\ny", {"A": "x\ny"}),
        ('A="open', {"A": "open"}),
        ("", {}),
    ],
)
def test_environment_settings(text: str, wanted: dict[str, str]) -> None:
    assert split_environment(text) == wanted


@given(st.text(alphabet=st.sampled_from("AB= '\"\\nx")))
def test_any_setting_gives_variables(text: str) -> None:
    assert all(is_name(name) for name in split_environment(text))


def unquoted(line: str) -> str:
    """Read a value as compose v2 does (github.com/compose-spec/compose-go, dotenv/parser.go)."""
    value = line.partition("=")[2]
    if value.startswith("'"):
        return value[1:-1]
    if not value.startswith('"'):
        assert "$" not in value
        assert " #" not in value
        return value.strip()
    out, chars = "", iter(value[1:-1])
    for char in chars:
        assert char not in '"$'
        if char == "\\":
            following = next(chars)
            out += {"n": "\n", "r": "\r"}.get(following, following)
        else:
            out += char
    return out


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_what_we_write_reads_back(value: str) -> None:
    text = compose_env_file({"NAME": value})
    assert text.count("\n") == 1
    assert unquoted(text.removesuffix("\n")) == value


@pytest.mark.parametrize("value", ["postgresql://u:p@db:5432/x?a=b&c=d", "two words", "", "a,b;c", "x=y"])
def test_plain_values_are_the_same_for_docker_run(tmp_path: Path, value: str) -> None:
    file = tmp_path / "env"
    file.write_text(compose_env_file({"NAME": value}))
    assert read_env_file(file) == {"NAME": value}
