"""slapd's configuration: the LDIF tree of cn=config (slapd-config(5)) and slapd.conf(5), as one list of settings."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, absolute, numbered
from migrate.model import Place

_MAX_FILES = 500
_MAX_INCLUDED = 50
_MAX_ENTRY = 256 << 10  # bytes of one entry of cn=config
_DATABASE = re.compile(r"olcDatabase=\{-?\d+\}(\w+)")


class Setting(msgspec.Struct, frozen=True):
    """A setting: its name as slapd.conf has it (lower case), the value, the database it belongs to, and its place."""

    name: str
    value: str
    database: str
    place: Place


def parse_ldif(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, attribute, value) of an entry; a line that begins with a space continues (RFC 2849)."""
    first, whole = 0, ""
    for number, line in [*numbered(text), (0, "")]:
        if line.startswith(" ") and first:
            whole += line[1:]
            continue
        name, colon, value = whole.partition(":")
        if first and colon and not name.startswith("#"):
            yield first, name.strip(), _decoded(value[1:]) if value.startswith(":") else value.strip()
        first, whole = (0, "") if line.startswith(" ") else (number, line)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""


def tree(reader: Reader, top: str) -> Iterator[Setting]:
    """Yield the settings of a slapd.d; `olcDbDirectory: {0}x` is `directory`, `x`."""
    real = reader.guest.resolve(top) or top
    files = [e.path for e in reader.guest.walk(real) if e.kind == "file" and e.path.endswith(".ldif")]
    files = [path for path in files if "/cn=schema" not in path]
    for path in files[:_MAX_FILES]:
        databases = _DATABASE.findall(path)
        for number, name, value in parse_ldif(reader.text(path, _MAX_ENTRY) or ""):
            if name.startswith("olc"):
                bare = re.sub(r"^db(?=directory|uri|config)", "", name[3:].lower())
                value = re.sub(r"^\{-?\d+\}", "", value)
                yield Setting(bare, value, databases[-1] if databases else "", Place(path, number))
    if len(files) > _MAX_FILES:
        reader.note(real, f"{len(files)} entries of configuration: the first {_MAX_FILES} were read")


def conf(reader: Reader, path: str, opened: list[str] | None = None) -> Iterator[Setting]:
    """Yield the settings of a slapd.conf and of what it includes; white space at its begin continues a line."""
    opened = [] if opened is None else opened
    opened.append(path)
    database = ""
    for number, line in _lines(reader.text(path) or ""):
        name, _, value = line.partition(" ")
        name, value = name.lower(), value.strip().strip('"')
        if name == "database":
            database = value
        yield Setting(name, value, database, Place(path, number))
        included = absolute(value, "/")
        if name == "include" and "/schema/" not in included:
            if included in opened or len(opened) >= _MAX_INCLUDED:
                reader.note(path, f"{included} is included once too often", number)
            else:
                yield from conf(reader, included, opened)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    first, parts = 0, list[str]()
    for number, line in [*numbered(text), (0, "end")]:
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace() and first:
            parts.append(line)
            continue
        if first:
            yield first, " ".join(" ".join(parts).split())
        first, parts = number, [line]
