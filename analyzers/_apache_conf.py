"""Apache httpd's configuration as one tree: continued lines, quotes, sections.

The syntax is that of httpd.apache.org/docs/2.4/configuring.html. `parse` is a pure function on the text of one file;
what its lines mean, with includes, variables and conditions, is for `analyzers._apache_tree`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import numbered

MAX_LINE = 8192  # MAX_STRING_LEN of httpd.h: the server itself reads no longer word
_MAX_NESTING = 40
_MAX_JOINED = 1 << 16


class Node(msgspec.Struct, frozen=True):
    """A directive or section as it stands in a file; `rest` is what follows its name, `last` its last line.

    `name` is in lower case. `section` tells `<Name …>` from a directive; `block` holds what the section encloses.
    """

    name: str
    rest: str
    line: int
    last: int
    section: bool = False
    block: tuple[Node, ...] = ()


class Broken(msgspec.Struct, frozen=True):
    """A syntax error that makes httpd refuse the file."""

    why: str
    line: int


def lines(text: str) -> Iterator[tuple[int, int, str]]:
    r"""Yield (first line, last line, text), lines that end in `\` joined with the next.

    The backslash goes and nothing takes its place; a comment is continued too (ap_cfg_getline joins before it looks).

    >>> list(lines("Listen \\\n  80\n# no \\\nListen 81\n"))
    [(1, 2, 'Listen   80')]
    """
    first, size, last, parts = 0, 0, 0, list[str]()
    for number, line in numbered(text):
        first, last = first or number, number
        going_on = line.endswith("\\")
        if size <= _MAX_JOINED:
            parts.append(line[:-1] if going_on else line)
            size += len(line)
        if not going_on:
            whole = "".join(parts).strip()
            if whole and not whole.startswith("#"):
                yield first, number, whole
            first, size, parts = 0, 0, []
    whole = "".join(parts).strip()
    if whole and not whole.startswith("#"):
        yield first, last, whole


def words(text: str) -> tuple[str, ...]:
    r"""Split a directive's arguments as ap_getword_conf does: white space, quotes, a backslash before a quote.

    >>> words('X-Name "say \\"yes\\"" on')
    ('X-Name', 'say "yes"', 'on')
    """
    found = []
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        if (quote := text[at]) in "\"'":
            stop = at + 1
            while stop < end and text[stop] != quote:
                stop += 2 if text[stop] == "\\" and text[stop + 1 : stop + 2] in ("\\", quote) else 1
            inner = text[at + 1 : stop]
            found.append(re.sub(rf"\\([\\{quote}])", r"\1", inner) if "\\" in inner else inner)
            at = stop + 1
        else:
            stop = at
            while stop < end and not text[stop].isspace():
                stop += 1
            found.append(text[at:stop])
            at = stop
    return tuple(found)


class _Open:
    """A section that is not closed yet."""

    def __init__(self, name: str, rest: str, line: int, last: int) -> None:
        self.name, self.rest, self.line, self.last = name, rest, line, last
        self.block: list[Node] = []

    def close(self) -> Node:
        return Node(self.name, self.rest, self.line, self.last, section=True, block=tuple(self.block))


def parse(text: str) -> tuple[tuple[Node, ...], list[Broken]]:
    """Return what stands in a file, and what in it httpd would refuse."""
    stack = [_Open("", "", 0, 0)]
    broken: list[Broken] = []
    for first, last, line in lines(text):
        if not line.startswith("<"):
            name, rest = _named(line)
            stack[-1].block.append(Node(name, rest, first, last))
        elif line.startswith("</"):
            _close(stack, line[2:].rstrip(">").strip().lower(), first, broken)
        elif len(stack) > _MAX_NESTING:
            return _all(stack), [*broken, Broken(f"sections are nested more than {_MAX_NESTING} deep", first)]
        else:
            if not line.endswith(">"):
                broken.append(Broken(f"{line[:60]} has no closing >", first))
            name, rest = _named(line[1:].removesuffix(">"))
            stack.append(_Open(name, rest, first, last))
    broken.extend(Broken(f"<{section.name}> is never closed", section.line) for section in stack[1:])
    return _all(stack), broken


def _named(line: str) -> tuple[str, str]:
    name, *rest = line.strip().split(None, 1) or [""]
    return name.lower(), rest[0] if rest else ""


def _close(stack: list[_Open], name: str, line: int, broken: list[Broken]) -> None:
    if len(stack) > 1 and any(section.name == name for section in stack[1:]):
        while stack[-1].name != name:
            broken.append(Broken(f"<{stack[-1].name}> is never closed", stack[-1].line))
            done = stack.pop()
            stack[-1].block.append(done.close())
        done = stack.pop()
        stack[-1].block.append(done.close())
    else:
        broken.append(Broken(f"</{name}> closes nothing", line))


def _all(stack: list[_Open]) -> tuple[Node, ...]:
    while len(stack) > 1:
        done = stack.pop()
        stack[-1].block.append(done.close())
    return tuple(stack[0].block)
