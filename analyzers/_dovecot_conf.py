"""dovecot.conf with what it includes, as doc.dovecot.org describes the format (2.2 to 2.4)."""

from __future__ import annotations

import re

import msgspec

from analyzers._reading import Reader, absolute, continued, unquote
from migrate.model import Place

_MAX_DEPTH = 10
_MAX_FILES = 300
_MAX_VALUE = 16 << 10
_MAX_SETTINGS = 5000
_COMMENT = re.compile(r"\s#.*")
_SECTION = re.compile(r"([\w!]+)(?:\s+(\"[^\"]*\"|[^{\s][^{]*?))?\s*\{")


class Setting(msgspec.Struct, frozen=True):
    """A setting within its sections: `within` is outermost first, each `type name`; a section itself has no name."""

    within: tuple[str, ...]
    name: str
    value: str
    text: str
    place: Place


class Load(msgspec.Struct):
    """What was read so far: settings in order, the files, and the sections open at this point."""

    settings: list[Setting] = []
    files: list[str] = []
    values: dict[str, str] = {}


def load(reader: Reader, path: str) -> Load:
    """Return the settings of a file, with those of the files it includes in their place."""
    found = Load()
    _load(reader, path, found, [], 0)
    return found


def _load(reader: Reader, path: str, found: Load, within: list[str], depth: int) -> None:
    if depth > _MAX_DEPTH or len(found.files) >= _MAX_FILES:
        reader.note(path, "it is included one time too many: files include one another")
        return
    found.files.append(path)
    outer = len(within)
    for number, raw in continued(reader.text(path) or ""):
        if len(found.settings) >= _MAX_SETTINGS:
            reader.note(path, f"more than {_MAX_SETTINGS} settings: those from here on were not read", number)
            break
        line = raw if '"' in raw else _COMMENT.sub("", raw).strip()
        place = Place(path, number)
        if line.startswith(("!include_try ", "!include ")):
            _include(reader, line, place, found, within, depth)
        elif line == "}":
            if len(within) > outer:
                within.pop()
        elif (match := _SECTION.match(line)) and "=" not in line[: match.end()]:
            if len(within) > 20:
                reader.note(path, "sections in too many sections", number)
                break
            within.append(f"{match[1]} {unquote((match[2] or '').strip())}".strip())
            found.settings.append(Setting(tuple(within), "", "", line, place))
            if inner := line[match.end() :].strip():  # 2.4 takes `name { key = value }` on one line
                _assign(inner.removesuffix("}").strip(), line, place, found, within)
                if inner.endswith("}"):
                    within.pop()
        elif "=" in line:
            _assign(line, line, place, found, within)
        else:
            reader.note(path, "neither a setting nor a section", number)
    del within[outer:]


def _assign(line: str, text: str, place: Place, found: Load, within: list[str]) -> None:
    name, equals, value = line.partition("=")
    if not equals:
        return
    name, value = name.strip(), unquote(value.strip())
    # `$name` is the value so far, and nothing where none was given (Debian's protocols.d/*.protocol build on it).
    value = re.sub(r"\$(?:SET:)?(\w+)", lambda m: found.values.get(m[1], "")[:256], value)[:_MAX_VALUE]
    if not within:
        found.values[name] = value
    found.settings.append(Setting(tuple(within), name, value, text, place))


def _include(reader: Reader, line: str, place: Place, found: Load, within: list[str], depth: int) -> None:
    keyword, _, pattern = line.partition(" ")
    pattern = absolute(pattern.strip(), place.path.rpartition("/")[0])
    paths = reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]
    for path in paths:
        if keyword == "!include" or reader.guest.is_file(path):
            _load(reader, path, found, within, depth + 1)
