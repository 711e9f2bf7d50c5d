"""pgbouncer.ini, its connection strings and its list of users (pgbouncer.ini(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, absolute, meaningful
from migrate.model import Place

_MAX_DEPTH = 10
_MAX_FILES = 200
_MAX_FILE = 1 << 20  # bytes
# One `key = value` of a connection string; in single quotes `''` is one quote.
_WORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*('(?:[^']|'')*'|[^\s']*)")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"')


class Entry(msgspec.Struct, frozen=True):
    """A line of a section: key and value, how it is written, and the place."""

    section: str
    key: str
    value: str
    text: str
    place: Place


def load(reader: Reader, path: str, directory: str) -> tuple[list[Entry], list[str]]:
    """Return the lines of a file, those of what it includes in their place, and the files read."""
    found: list[Entry] = []
    opened = [path]
    _load(reader, path, directory, found, opened, "", 0)
    return found, opened


def _load(
    reader: Reader, path: str, directory: str, found: list[Entry], opened: list[str], section: str, depth: int
) -> str:
    for number, line in meaningful(reader.text(path, _MAX_FILE) or "", "#;"):
        if line.startswith("%include"):
            inner = absolute(line.removeprefix("%include").strip(), directory)
            if depth >= _MAX_DEPTH or len(opened) >= _MAX_FILES:
                reader.note(path, f"%include {inner} is one too many: files include one another", number)
            else:
                opened.append(inner)
                section = _load(reader, inner, directory, found, opened, section, depth + 1)
        elif line.startswith("["):
            section = line[1:].partition("]")[0].strip()
        else:
            key, equals, value = line.partition("=")
            if not equals or not section:
                reader.note(path, "neither a section, a setting, nor an include", number)
                continue
            found.append(Entry(section, key.strip().strip('"'), value.strip(), line, Place(path, number)))
    return section


def connection(text: str) -> dict[str, str]:
    """Return the parts of a connection string.

    >>> connection("host=db1 port=5433 connect_query='select ''x'''")
    {'host': 'db1', 'port': '5433', 'connect_query': "select 'x'"}
    """
    found: dict[str, str] = {}
    at = 0
    while match := _WORD.match(text, at):
        value = match[2]
        found[match[1].lower()] = value[1:-1].replace("''", "'") if value.startswith("'") else value
        at = match.end()
    return found


def users(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, user, password or hash) of an auth_file: both in double quotes, `""` in them is one."""
    for number, line in meaningful(text, "#;"):
        if match := _QUOTED.match(line):
            yield number, match[1].replace('""', '"'), match[2].replace('""', '"')
