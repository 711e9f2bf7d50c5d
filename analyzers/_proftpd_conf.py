"""proftpd.conf: Apache-like sections and includes (proftpd.org/docs/howto/ConfigFile.html)."""

from __future__ import annotations

import re

import msgspec

from analyzers._reading import Reader, absolute, continued
from migrate.model import Place

_MAX_FILES = 100
_MAX_LINES = 20_000
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


class Line(msgspec.Struct, frozen=True):
    """One directive: its lower-case name and words, the sections around it, the line, and the place."""

    name: str
    words: tuple[str, ...]
    within: tuple[str, ...]
    text: str
    place: Place

    @property
    def word(self) -> str:
        return self.words[0] if self.words else ""


class Load(msgspec.Struct):
    """The directives in order, the files they are from, and the modules loaded so far."""

    lines: list[Line] = []
    files: list[str] = []
    modules: set[str] = set()


def load(reader: Reader, path: str) -> Load:
    """Return the directives of a file and of those it includes."""
    found = Load()
    _load(reader, path, found, [])
    return found


def _load(reader: Reader, path: str, found: Load, within: list[str]) -> None:
    found.files.append(path)
    outer = len(within)
    for number, text in continued(reader.text(path) or ""):
        place = Place(path, number)
        if len(found.lines) >= _MAX_LINES:
            reader.note(path, f"more than {_MAX_LINES} directives: those from here on were not read", number)
            break
        if text.startswith("</"):
            if len(within) > outer:
                within.pop()
            continue
        if text.startswith("<"):
            if len(within) > 20:
                reader.note(path, "sections in too many sections", number)
                break
            within.append(" ".join(text.strip("<> ").split()))
            found.lines.append(Line("", (), tuple(within), text, place))
            continue
        words = [match[1] if match[2] is None else match[2] for match in _WORD.finditer(text)]
        if not words or not all(_applies(section, found.modules) for section in within):
            continue
        name = words[0].lower()
        if name == "loadmodule" and len(words) > 1:
            found.modules.add(words[1].removesuffix(".c"))
        if name == "include" and len(words) > 1:
            _include(reader, words[1], place, found, within)
        else:
            found.lines.append(Line(name, tuple(words[1:]), tuple(within), text, place))
    del within[outer:]


def _applies(section: str, modules: set[str]) -> bool:
    """Tell whether an IfModule holds: of a module that is loaded, or built in (which only the program knows)."""
    kind, _, name = section.partition(" ")
    if kind.lower() != "ifmodule":
        return True
    bare = name.lstrip("!").removesuffix(".c")
    shared = {"mod_tls", "mod_sql", "mod_ldap", "mod_sftp", "mod_sql_mysql", "mod_sql_postgres", "mod_sql_sqlite"}
    there = bare in modules or bare not in shared
    return there is not name.startswith("!")


def _include(reader: Reader, value: str, place: Place, found: Load, within: list[str]) -> None:
    pattern = absolute(value, place.path.rpartition("/")[0])
    if reader.guest.is_dir(pattern):
        pattern = f"{pattern}/*"
    paths = reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]
    for path in paths:
        if path in found.files or len(found.files) >= _MAX_FILES:
            reader.note(place.path, f"{path} is included once too often", place.line)
        elif reader.guest.is_file(path) or path == pattern:
            _load(reader, path, found, within)
