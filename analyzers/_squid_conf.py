"""squid.conf: lines of a directive and its words, with those of included files (squid-cache.org/Doc/config)."""

from __future__ import annotations

import re

import msgspec

from analyzers._addresses import is_every, port_number, split_host_port
from analyzers._reading import Reader, absolute, continued
from migrate.model import Place

_MAX_DEPTH = 16  # Squid's own limit (cache_cf.cc, parseManyConfigFiles)
_MAX_FILES = 200
_MAX_TOTAL = 8 << 20  # characters of all files together
_WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|\'[^\'\\]*(?:\\.[^\'\\]*)*\'?|[^\s"\']\S*')


class Line(msgspec.Struct, frozen=True):
    """One directive: its name, its words with the quotes they have, and the place."""

    name: str
    words: tuple[str, ...]
    place: Place


def split_words(text: str) -> list[str]:
    """Split a line into words; a word that begins with `#` ends it.

    >>> split_words('acl ads dstdomain "/etc/squid/ads.txt" # ours')
    ['acl', 'ads', 'dstdomain', '"/etc/squid/ads.txt"']
    """
    words = []
    for match in _WORD.finditer(text):
        if match[0].startswith("#"):
            break
        words.append(match[0])
    return words


def load(reader: Reader, path: str) -> list[Line]:
    """Return the directives of a file with those of the files it includes in their place."""
    found: list[Line] = []
    _load(reader, path, found, [0], 0)
    return found


def _load(reader: Reader, path: str, found: list[Line], sizes: list[int], depth: int) -> None:
    whole = reader.text(path) or ""
    sizes.append(len(whole))
    for number, text in continued(whole):
        words = split_words(text)
        if not words:
            continue
        line = Line(words[0], tuple(words[1:]), Place(path, number))
        if line.name == "if":
            says = "conditions are not evaluated: what they enclose is taken as in force"
            reader.note(path, says, number)
        elif line.name != "include":
            found.append(line)
            continue
        for word in line.words if line.name == "include" else ():
            pattern = absolute(word.strip("\"'"), "/")
            for inner in reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]:
                if depth >= _MAX_DEPTH or len(sizes) > _MAX_FILES or sum(sizes) > _MAX_TOTAL:
                    reader.note(path, f"include {word} is one too many: files include one another", number)
                    return
                _load(reader, inner, found, sizes, depth + 1)


def parse_port(text: str) -> tuple[str, int] | None:
    """Read the address of http_port and its like: `3128`, `HOST:3128`, `[::1]:3128`; None where it is none.

    >>> parse_port("127.0.0.1:3128")
    ('127.0.0.1', 3128)
    """
    if number := port_number(text):
        return "*", number
    parts = split_host_port(text)
    if parts is None or parts[1] is None:
        return None
    return "*" if is_every(parts[0]) else parts[0].strip("[]"), parts[1]
