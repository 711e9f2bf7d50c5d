"""supervisord.conf: sections, options with places, includes, expansions (supervisord.org, Configuration File)."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._reading import Reader, absolute, numbered
from migrate.model import Place

_MAX_FILES = 200
_MAX_TEXT = 512 << 10
_MAX_SECTIONS = 1000
_MAX_EXPANDED = 64 << 10
_SECTION = re.compile(r"\[([^\]]+)\]")
_COMMENT = re.compile(r"(?:^|(?<=\s))[;#].*")
_EXPANSION = re.compile(r"%(?:%|\((\w{1,200})\)(0?[0-9]{0,2})([sd]))")


class Option(msgspec.Struct, frozen=True):
    """An option's value as it stands, continuation lines joined by line breaks, and the lines that these are."""

    value: str
    place: Place
    lines: tuple[int, ...] = ()


class Section(msgspec.Struct):
    """One section: its options by name (in lower case), the place of its head, and what `%(here)s` is in it."""

    place: Place
    here: str
    options: dict[str, Option] = {}

    def get(self, name: str, default: str = "") -> str:
        """Return an option's text, or the default."""
        option = self.options.get(name)
        return option.value if option is not None else default

    def at(self, name: str) -> Place:
        """Return where an option stands, or the section's head."""
        option = self.options.get(name)
        return option.place if option is not None else self.place

    def line_with(self, name: str, variable: str) -> Place:
        """Return the line of an option on which `variable=` stands, or the option's first."""
        option, mark = self.options.get(name), re.compile(rf"(?:^|[\s,]){re.escape(variable)}\s*=")
        for line, part in zip(option.lines, option.value.split("\n"), strict=False) if option is not None else ():
            if mark.search(part):
                return Place(self.at(name).path, line)
        return self.at(name)


def parse(text: str) -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
    """Yield (section, option, value, lines), a section's head with an empty option.

    As Python's RawConfigParser with `;` and `#` as comments that may follow white space, which is what supervisor
    makes it do: `=` or `:` ends a name, and an indented line continues the value above.
    """
    section, name, parts, lines = "", "", list[str](), list[int]()
    for number, line in [*numbered(text), (0, "[end]")]:
        bare = _COMMENT.sub("", line).rstrip()
        if not bare.strip():
            continue
        if name and bare[0] in " \t":
            parts.append(bare.strip())
            lines.append(number)
            continue
        if name:
            yield section, name, "\n".join(parts), tuple(lines)
        name = ""
        head = _SECTION.match(bare.strip())
        if head is not None:
            section = head[1]
            if number:
                yield section, "", "", (number,)
        elif match := re.match(r"\s*([^=:]+)[=:]", bare):
            name, parts, lines = match[1].strip().lower(), [bare[match.end() :].strip()], [number]


def load(reader: Reader, path: str, variables: Mapping[str, str]) -> tuple[dict[str, Section], list[str]]:
    """Return the sections of a configuration with those of the files it includes, and the files that were read.

    Included files cannot include others (supervisord.org, `[include]`); of two that set one option the later counts.
    """
    sections: dict[str, Section] = {}
    files: list[str] = []
    _read(reader, path, sections, files)
    include = sections.get("include")
    here = posixpath.dirname(path)
    patterns = include.get("files") if include is not None else ""
    for pattern in expand(patterns, {**variables, "here": here}).split():
        found = reader.guest.glob(absolute(pattern, here))
        for inner in found:
            if len(files) > _MAX_FILES:
                reader.note(path, f"it includes {len(found)} files and more, of which {_MAX_FILES} are read")
                break
            if reader.guest.is_file(inner):
                _read(reader, inner, sections, files)
    return sections, files


def _read(reader: Reader, path: str, sections: dict[str, Section], files: list[str]) -> None:
    files.append(path)
    for name, option, value, lines in parse(reader.text(path, _MAX_TEXT) or ""):
        place = Place(path, lines[0])
        if name not in sections:
            if len(sections) >= _MAX_SECTIONS:
                reader.note(path, f"more than {_MAX_SECTIONS} sections: the rest is not read", lines[0])
                return
            sections[name] = Section(place, posixpath.dirname(path))
        if option:
            sections[name].options[option] = Option(value, place, lines)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `%(name)s`, `%(name)d` and `%%`; a name that has no value stays as it is written.

    >>> expand("/run/%(program_name)s-%(process_num)02d.sock", {"program_name": "api", "process_num": "3"})
    '/run/api-03.sock'
    """

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%"
        found = values.get(match[1])
        if found is None or (match[3] == "d" and not found.isdecimal()):
            return match[0]
        fill = "0" if match[2].startswith("0") and match[3] == "d" else " "
        return found.rjust(int(match[2] or "0"), fill)

    return _EXPANSION.sub(value, text)[:_MAX_EXPANDED]


def unexpanded(text: str) -> str:
    """Return the first expansion in an expanded text that had no value, or nothing."""
    match = re.search(r"%\(\w+\)[0-9]*[sd]", text)
    return match[0] if match else ""


def pairs(text: str) -> dict[str, str] | None:
    """Read `KEY="value",OTHER=value` as supervisor's dict_of_key_value_pairs does; None where it is none.

    >>> pairs('A="1,2",B=/srv')
    {'A': '1,2', 'B': '/srv'}
    """
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():"
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    found = {}
    for at in range(0, len(tokens), 4):
        part = tokens[at : at + 3]
        if len(part) != 3 or part[1] != "=":
            return None
        found[part[0]] = part[2].strip("'\"")
    return found


def words(text: str) -> tuple[str, ...] | None:
    """Split a command as supervisor does: by quotes and white space, with no shell; None where quotes do not close."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return None
