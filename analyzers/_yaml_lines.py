"""The plain part of YAML as keys with values and lines: what configuration files of servers are written in.

Maps in maps and lists of scalars become dotted keys (`a.b`, `a.b[0]`). Anchors are not followed, so that no document
can grow; texts of several lines, maps in flow style and what else is not plain have no value here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import numbered, unquote

_LONGEST = 4096
_DEEPEST = 40
_MAX_LINES = 50_000
_KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s"'#\[\]{},&*!|>%@`:][^:#]*?(?::[^\s:#][^:#]*?)*):(?:\s(.*)|)$""")


class Setting(msgspec.Struct, frozen=True):
    """A key with its value; `document` counts the `---` before it."""

    key: str
    value: str
    line: int
    document: int = 0


def _scalar(text: str) -> str:
    """Return a value without the comment behind it and its quotes."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def yaml_settings(text: str) -> Iterator[Setting]:
    r"""Yield the keys that have scalar values, in their order; items of lists have the list's key and a number.

    >>> [(s.key, s.value) for s in yaml_settings("a:\n  b-c: 'x' # y\n  d: [1, 2]\n  e:\n  - 3\n")]
    [('a.b-c', 'x'), ('a.d[0]', '1'), ('a.d[1]', '2'), ('a.e[0]', '3')]
    """
    lines = _Lines()
    for number, line in numbered(text):
        if number > _MAX_LINES or len(lines.above) > _DEEPEST:
            return
        bare = line.strip()
        indent = len(line) - len(line.lstrip(" "))
        if lines.block >= 0 and (indent > lines.block or not bare):
            continue
        lines.block = -1
        if line.startswith("---"):
            lines.above, lines.counts, lines.document = [], {}, lines.document + 1
        elif bare and not bare.startswith(("#", "%")) and len(line) <= _LONGEST:
            yield from lines.line(bare, indent, number)


class _Lines:
    """Where in a document one is: `above` are the keys of the lines around with their indents."""

    def __init__(self) -> None:
        self.above: list[tuple[int, str]] = []
        self.counts: dict[str, int] = {}
        self.document, self.block = 0, -1

    def line(self, bare: str, indent: int, number: int) -> Iterator[Setting]:
        bare, indent = self.items(bare, indent)
        match = _KEY.match(bare)
        if match is not None:
            name = unquote(match[1].strip())
            key = f"{self.above[-1][1]}.{name}" if self.above else name
            yield from self.pair(key[-_LONGEST:], (match[2] or "").strip(), indent, number)
        elif self.above and self.above[-1][1].endswith("]") and _scalar(bare):
            yield Setting(self.above[-1][1], _scalar(bare), number, self.document)

    def items(self, bare: str, indent: int) -> tuple[str, int]:
        """Step into the lists that a line begins an item of; return what is left of it and where that stands."""
        dash = bare.startswith("- ") or bare == "-"  # the items of a list may stand where its key does
        while self.above and (
            self.above[-1][0] > indent or (self.above[-1][0] == indent and not (dash and self.above[-1][1][-1:] != "]"))
        ):
            self.above.pop()
        while (bare.startswith("- ") or bare == "-") and len(self.above) <= _DEEPEST:
            parent = self.above[-1][1] if self.above else ""
            item = f"{parent}[{self.counts.get(parent, 0)}]"
            self.counts[parent] = self.counts.get(parent, 0) + 1
            rest = bare[1:].lstrip()
            self.above.append((indent, item[-_LONGEST:]))
            indent, bare = indent + len(bare) - len(rest), rest
        return bare, indent

    def pair(self, key: str, value: str, indent: int, number: int) -> Iterator[Setting]:
        if value[:1] in ("|", ">"):
            self.block = indent
        elif not value or value.startswith("#"):
            self.above.append((indent, key))
            self.counts.pop(key, None)
        elif value.startswith("[") and "]" in value:
            for at, item in enumerate(part for part in value[1 : value.rindex("]")].split(",") if part.strip()):
                yield Setting(f"{key}[{at}]", _scalar(item), number, self.document)
        elif value[0] not in "{&*!":
            yield Setting(key, _scalar(value), number, self.document)
