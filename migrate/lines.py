"""Text laid into lines of a width, for a terminal or for a file."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable

import msgspec

from migrate.console import is_terminal
from migrate.text import show

WIDTH = 100
"""Columns that a report in a terminal fits."""

_STYLES = {"title": "bold", "heading": "bold", "place": "dim", "text": ""}


class Line(msgspec.Struct, frozen=True):
    """One line of a report. `style` is title, heading, place or text."""

    text: str
    style: str = "text"


def columns(text: str) -> int:
    """Return the columns that a text takes (Unicode Standard Annex 11: wide and full-width characters take two)."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fold(text: str, width: int = WIDTH, indent: str = "", hang: str | None = None) -> list[str]:
    """Return a text in lines of at most `width` columns, broken between words, and within those that are too long.

    The first line begins with `indent`, the others with `hang` (where it is not given: `indent`). Hostile characters
    become escapes.

    >>> fold("one two three", 9, "- ", "  ")
    ['- one two', '  three']
    """
    rest = hang if hang is not None else indent
    lines: list[str] = []
    line, empty = indent, True
    for word in show(text).split(" "):
        for piece in _pieces(word, width - max(columns(indent), columns(rest))):
            if not empty and columns(line) + 1 + columns(piece) > width:
                lines.append(line.rstrip())
                line, empty = rest, True
            line, empty = (line if empty else f"{line} ") + piece, False
    return [*lines, line.rstrip()]


def _pieces(word: str, width: int) -> Iterable[str]:
    """Yield a word whole where it fits, and in pieces that do where it does not."""
    if columns(word) <= width:
        yield word
        return
    piece, taken = "", 0
    for character in word:
        size = columns(character)
        if piece and taken + size > width:
            yield piece
            piece, taken = "", 0
        piece, taken = piece + character, taken + size
    yield piece


def print_lines(lines: Iterable[Line]) -> None:
    """Write lines to standard output: with weight and shade on a terminal (not where NO_COLOR is set), else plain."""
    if not is_terminal(sys.stdout) or os.environ.get("NO_COLOR"):
        for line in lines:
            print(show(line.text))
        return
    from rich.console import Console as RichConsole
    from rich.text import Text

    out = RichConsole(file=sys.stdout, markup=False, emoji=False, highlight=False)
    for line in lines:
        out.print(Text(show(line.text), style=_STYLES.get(line.style, "")), soft_wrap=True)
