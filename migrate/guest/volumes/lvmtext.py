"""LVM's configuration syntax, in which a volume group describes itself. lvm2, libdm/libdm-config.c.

Less is taken than LVM itself takes: only what LVM writes (no floating point numbers, no strings in single quotes,
no key twice), and neither deeper nor longer than a volume group needs. Everything else is a ValueError. No library:
augeas, whose lens reads the syntax, is a C library that works on files below a root directory, not on bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = "int | str | list[int | str]"
Section: TypeAlias = "dict[str, Value | Section]"

MAX_LENGTH = 4 << 20
"""Bytes; a volume takes some 500, and LVM's own default for all of them is 1 MiB."""

_MAX_DEPTH = 6
_MAX_NODES = 400_000
_TOKEN = re.compile(
    r'[ \t\r\n]+|#[^\n]*|(?P<mark>[{}\[\],=])|"(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<word>[A-Za-z0-9_.+/-]+)',
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_Token: TypeAlias = tuple[str, str]
_END: _Token = ("end", "")


def parse_config(text: str) -> Section:
    r"""Return the keys and sections of a text. Raises ValueError.

    >>> parse_config('vg0 {\n id = "a"\n status = ["READ", "WRITE"] # all\n}\nversion = 1')
    {'vg0': {'id': 'a', 'status': ['READ', 'WRITE']}, 'version': 1}
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"its description is longer than {MAX_LENGTH} bytes")
    tokens = _tokens(text)
    top: Section = {}
    open_sections = [top]
    for nodes, (kind, key) in enumerate(tokens):
        if nodes > _MAX_NODES:
            raise ValueError("its description has too many parts")
        if (kind, key) == ("mark", "}") and len(open_sections) > 1:
            open_sections.pop()
        elif kind == "end" and len(open_sections) == 1:
            return top
        elif kind == "word":
            _add(key, tokens, open_sections)
        else:
            raise ValueError("its description is not in LVM's syntax")
    raise ValueError("its description ends too early")


def _add(key: str, tokens: Iterator[_Token], open_sections: list[Section]) -> None:
    here = open_sections[-1]
    if key in here:
        raise ValueError(f"its description has {key[:128]} twice")
    mark = next(tokens, _END)
    if mark == ("mark", "{"):
        if len(open_sections) > _MAX_DEPTH:
            raise ValueError("its description is nested too deeply")
        below: Section = {}
        here[key] = below
        open_sections.append(below)
    elif mark == ("mark", "="):
        token = next(tokens, _END)
        here[key] = _array(tokens) if token == ("mark", "[") else _scalar(token)
    else:
        raise ValueError("its description is not in LVM's syntax")


def _array(tokens: Iterator[_Token]) -> list[int | str]:
    found: list[int | str] = []
    token = next(tokens, _END)
    while token != ("mark", "]"):
        if len(found) >= _MAX_NODES:
            raise ValueError("its description has too many parts")
        found.append(_scalar(token))
        token = next(tokens, _END)
        if token == ("mark", ","):
            token = next(tokens, _END)
        elif token != ("mark", "]"):
            raise ValueError("its description is not in LVM's syntax")
    return found


def _scalar(token: _Token) -> int | str:
    kind, text = token
    if kind == "string":
        return _ESCAPED.sub(r"\1", text)
    if kind == "word" and _INTEGER.fullmatch(text):
        return int(text)
    raise ValueError("its description is not in LVM's syntax")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError("its description is not in LVM's syntax")
        at = match.end()
        if match.lastgroup is not None:
            yield match.lastgroup, match[match.lastgroup]
    yield _END
