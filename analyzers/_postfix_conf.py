"""main.cf and master.cf as postconf(5) and master(5) say they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._reading import numbered

_MAX_VALUE = 64 << 10  # characters; `$a$a` of `$b$b` of … would double without end
_MAX_DEPTH = 20
_MAX_LINES = 500  # of one logical line are searched
_MACRO = re.compile(r"\$(?:\$|([A-Za-z0-9_]+)|\(([A-Za-z0-9_]+)\)|\{([A-Za-z0-9_]+)(?:([?:])([^{}]*))?\})")


class Logical(msgspec.Struct, frozen=True):
    """A logical line: its text on one line, and the numbered lines it is made of."""

    text: str
    lines: tuple[tuple[int, str], ...]

    def line_with(self, part: str) -> int:
        """Return the number of the line that holds `part`, or of the first."""
        return next((number for number, line in self.lines[:_MAX_LINES] if part and part in line), self.lines[0][0])


class Entry(msgspec.Struct, frozen=True):
    """One service of master.cf. `options` are its `-o name=value`, `words` the command and its other words."""

    name: str
    type: str
    private: bool
    chroot: bool
    words: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    logical: Logical

    @property
    def command(self) -> str:
        return self.words[0] if self.words else ""


def logical_lines(text: str) -> Iterator[Logical]:
    """Yield logical lines: one that begins with white space continues the one before; comments end none."""
    parts: list[tuple[int, str]] = []
    for number, line in numbered(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace() and parts:
            yield Logical(" ".join(part.strip() for _, part in parts), tuple(parts))
            parts = []
        if parts or not line[0].isspace():
            parts.append((number, line))
    if parts:
        yield Logical(" ".join(part.strip() for _, part in parts), tuple(parts))


def parse_main(text: str) -> dict[str, tuple[str, Logical]]:
    """Return main.cf's parameters with their logical lines; the last of a name counts (postconf(5)).

    >>> parse_main("relayhost =\\n  [smtp.example]:587\\n")["relayhost"][0]
    '[smtp.example]:587'
    """
    found = {}
    for logical in logical_lines(text):
        name, equals, value = logical.text.partition("=")
        if equals and re.fullmatch(r"[A-Za-z0-9_]+", name.strip()):
            found[name.strip()] = (value.strip(), logical)
    return found


def expand(value: str, values: Mapping[str, str]) -> str:
    """Put values for `$name`, `${name}`, `$(name)`, `${name?text}` and `${name:text}`; `$$` is a dollar."""

    room = _MAX_VALUE

    def replaced(match: re.Match[str]) -> str:
        nonlocal room
        name = match[1] or match[2] or match[3]
        if name is None:
            return "$$"
        known = values.get(name, "")
        if match[4] == "?":
            new = match[5] if known else ""
        elif match[4] == ":":
            new = known or match[5]
        else:
            new = known if name in values else match[0].replace("$", "$$", 1)
        room -= len(new)
        return new if room > 0 else ""

    for _depth in range(_MAX_DEPTH):
        after = _MACRO.sub(replaced, value)
        if after == value:
            break
        value = after
    return value.replace("$$", "$")


def parse_master(text: str) -> Iterator[Entry]:
    """Yield the services of master.cf: seven fields, then the command (master(5))."""
    for logical in logical_lines(text):
        fields = logical.text.split(None, 7)
        if len(fields) < 8 or fields[1] not in ("inet", "unix", "unix-dgram", "fifo", "pass"):
            continue
        words, options = _arguments(fields[7])
        # A dash for chroot is `n` since 3.0 and was `y` before (COMPATIBILITY_README); Debian writes it out.
        yield Entry(fields[0], fields[1], fields[2] != "n", fields[4] == "y", tuple(words), tuple(options), logical)


def _arguments(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    pieces = re.findall(r"\{[^{}]*\}|\S+", text)
    words: list[str] = []
    options: list[tuple[str, str]] = []
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        if piece == "-o" and at + 1 < len(pieces):
            at += 1
            name, _, value = pieces[at].strip("{}").partition("=")
            options.append((name.strip(), value.strip()))
        elif piece.startswith("-o") and "=" in piece:
            name, _, value = piece[2:].partition("=")
            options.append((name.strip(), value.strip()))
        else:
            words.append(piece)
        at += 1
    return words, options


def words_of(value: str) -> list[str]:
    """Split a list at commas and white space; what stands in braces stays together, without its braces."""
    return [word.strip("{} ") for word in re.findall(r"\{[^{}]*\}|[^\s,{}]+", value)]


def next_hop(text: str, default: int, ports: Mapping[str, int]) -> tuple[str, int] | None:
    """Read a destination: `host`, `[host]`, `host:port`, `[host]:port` (transport(5)); None where it is none.

    >>> next_hop("[smtp.example]:submission", 25, {"submission": 587})
    ('smtp.example', 587)
    """
    match = re.fullmatch(r"(?:\[(?:ipv6:|IPv6:)?([^\[\]\s]+)\]|([^\[\]:\s]+))(?::([A-Za-z0-9-]+))?", text)
    if match is None:
        return None
    port = match[3]
    number = default if port is None else ports.get(port, int(port) if port.isdecimal() and len(port) < 6 else 0)
    return (match[1] or match[2], number) if 0 < number < 65536 else None
