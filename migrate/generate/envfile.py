"""Files of variables: read as systemd reads them, written as a compose file's `env_file` takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPACE = " \t\r\n"
_NEEDS_ESCAPE = '"\\`$'

# `NAME=value` that docker run --env-file, compose v1 and compose v2 all take as it is.
_PLAIN = re.compile(r"(?:[\w./:@%+,?&=~^*!;()\[\]{}<>|-](?: +(?=[^ ]))?)*", re.ASCII)


def is_name(text: str) -> bool:
    """Tell whether systemd takes `text` as a variable's name (environ(7))."""
    return _NAME.fullmatch(text) is not None


class _Parser:
    """The automaton of systemd's src/basic/env-file.c; systemd.exec(5), EnvironmentFile=, tells it in words."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.key = ""
        self.value = ""
        self.trim_to: int | None = None
        self.state = self.before_key

    def push(self) -> None:
        key = self.key.rstrip(_SPACE)
        if is_name(key):
            self.found[key] = self.value if self.trim_to is None else self.value[: self.trim_to]
        self.key, self.value, self.trim_to = "", "", None
        self.state = self.before_key

    def before_key(self, char: str) -> None:
        if char in "#;":
            self.state = self.comment
        elif char not in _SPACE:
            self.key, self.state = char, self.in_key

    def in_key(self, char: str) -> None:
        if char in "\r\n":
            self.key, self.state = "", self.before_key
        elif char == "=":
            self.state = self.before_value
        else:
            self.key += char

    def before_value(self, char: str) -> None:
        if char in "\r\n":
            self.push()
        elif char == "'":
            self.state = self.single
        elif char == '"':
            self.state = self.double
        elif char == "\\":
            self.state = self.escape
        elif char not in _SPACE:
            self.value += char
            self.state = self.in_value

    def in_value(self, char: str) -> None:
        if char in "\r\n":
            self.push()
        elif char == "\\":
            self.trim_to, self.state = None, self.escape
        else:
            if char not in _SPACE:
                self.trim_to = None
            elif self.trim_to is None:
                self.trim_to = len(self.value)
            self.value += char

    def escape(self, char: str) -> None:
        self.state = self.in_value
        if char not in "\r\n":
            self.value += char

    def single(self, char: str) -> None:
        if char == "'":
            self.state = self.before_value
        else:
            self.value += char

    def double(self, char: str) -> None:
        if char == '"':
            self.state = self.before_value
        elif char == "\\":
            self.state = self.double_escape
        else:
            self.value += char

    def double_escape(self, char: str) -> None:
        self.state = self.double
        if char in _NEEDS_ESCAPE:
            self.value += char
        elif char != "\n":
            self.value += "\\" + char

    def comment(self, char: str) -> None:
        if char == "\\":
            self.state = self.comment_escape
        elif char in "\r\n":
            self.state = self.before_key

    def comment_escape(self, char: str) -> None:
        self.state = self.before_key if char in "\r\n" else self.comment


def parse_environment_file(text: str) -> dict[str, str]:
    r"""Return the variables of an EnvironmentFile= (systemd.exec(5), as systemd 254 reads it); the last of a name wins.

    Lines without `=`, comments and names that are none are passed over. Never raises. Before 254 a comment
    that ends in a backslash took the next line with it (systemd#27975).

    >>> parse_environment_file("A=one two  \n# C=1\nD=\"a\\$b\\n\" \n")
    {'A': 'one two', 'D': 'a$b\\n'}
    """
    parser = _Parser()
    for char in text.partition("\0")[0]:
        parser.state(char)
    if parser.state not in {parser.before_key, parser.in_key, parser.comment, parser.comment_escape}:
        parser.push()
    return parser.found


def split_environment(text: str) -> dict[str, str]:
    r"""Return the variables of an `Environment=` value: words of systemd.syntax(7), "Quoting", each `NAME=value`.

    >>> split_environment('A=1 "B=two words" C="x y"')
    {'A': '1', 'B': 'two words', 'C': 'x y'}
    """
    words: list[str] = []
    current: str | None = None
    quote = ""
    chars = iter(text)
    for char in chars:
        if char == "\\":
            following = next(chars, "")
            current = (current or "") + {"n": "\n", "t": "\t", "s": " "}.get(following, following)
        elif quote:
            current, quote = (current, "") if char == quote else ((current or "") + char, quote)
        elif char in "\"'":
            current, quote = current or "", char
        elif char in _SPACE:
            if current is not None:
                words.append(current)
            current = None
        else:
            current = (current or "") + char
    if current is not None:
        words.append(current)
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals and is_name(name)}


def compose_env_file(variables: Mapping[str, str]) -> str:
    r"""Return a file that compose's `env_file` (docs.docker.com, "Environment file syntax") reads back to `variables`.

    Plain values stand bare, so that `docker run --env-file`, which knows no quotes, reads the same. Single
    quotes keep everything but themselves, and a backslash before the closing one; for the rest there are
    double quotes with escapes, as compose v2 reads them.
    """
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items()))


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if not set(value) & {"'", "\\", "\n", "\r"}:
        return f"'{value}'"
    escaped = re.sub(r'([\\"$])', r"\\\1", value)
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
