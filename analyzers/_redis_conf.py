"""redis.conf: lines of a directive and its words (redis.io/docs/latest/operate/oss_and_stack/management/config)."""

from __future__ import annotations

import re

import msgspec

from analyzers._reading import Reader, absolute, meaningful
from migrate.model import Place

_MAX_DEPTH = 10
_MAX_FILES = 200
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s|$)|\'(?:[^\'\\]|\\\')*\'(?=\s|$)|[^\s"\']\S*')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b"}


class Line(msgspec.Struct, frozen=True):
    """One directive in force: its name in lower case, its words, the line as written, and the place."""

    name: str
    words: tuple[str, ...]
    text: str
    place: Place


def split_words(text: str) -> list[str] | None:
    r"""Split a line as sdssplitargs of redis does; None where its quotes do not close.

    >>> split_words('port 6379 "a b"')
    ['port', '6379', 'a b']
    """
    words = []
    rest = text.strip()
    while rest:
        match = _WORD.match(rest)
        if match is None:
            return None
        word, rest = match[0], rest[match.end() :].lstrip()
        if word[0] == '"':
            word = re.sub(r"\\x([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), word[1:-1])
            word = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), word)
        elif word[0] == "'":
            word = word[1:-1].replace("\\'", "'")
        words.append(word)
    return words


def load(reader: Reader, path: str) -> list[Line]:
    """Return the directives of a file with those of the files it includes in their place; later ones count."""
    found: list[Line] = []
    _load(reader, path, found, [path], 0)
    return found


def _load(reader: Reader, path: str, found: list[Line], opened: list[str], depth: int) -> None:
    for number, line in meaningful(reader.text(path) or ""):
        words = split_words(line)
        if not words:
            reader.note(path, "quotes do not close", number)
        elif words[0].lower() != "include" or len(words) < 2:
            found.append(Line(words[0].lower(), tuple(words[1:]), line, Place(path, number)))
        elif depth >= _MAX_DEPTH or len(opened) >= _MAX_FILES:
            reader.note(path, f"include {words[1]} is one too many: files include one another", number)
        else:
            pattern = absolute(words[1], path.rpartition("/")[0])
            for inner in reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]:
                opened.append(inner)
                _load(reader, inner, found, opened, depth + 1)
