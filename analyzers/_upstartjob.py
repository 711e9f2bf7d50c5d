"""Job configuration of upstart as init(5) of 1.13 has it: the stanzas of a file, and when its events let it start."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator

import msgspec

from analyzers._reading import numbered

_SCRIPTED = ("script", "pre-start script", "post-start script", "pre-stop script", "post-stop script")
_MAX_TOKENS = 500
_MAX_DEPTH = 20
_MAX_LINES = 100  # of one stanza

# Events that every boot of a machine emits (upstart-events(7)); mountall's and the bridges' among them.
BOOT_EVENTS = frozenset(
    {
        "startup", "virtual-filesystems", "local-filesystems", "remote-filesystems", "all-swaps", "filesystem",
        "mounting", "mounted", "runlevel", "net-device-added", "net-device-up", "static-network-up", "not-container",
        "block-device-added", "tty-device-added", "graphics-device-added", "drm-device-added", "socket",
    }
)  # fmt: skip


class Stanza(msgspec.Struct, frozen=True):
    """One stanza: its first words as `name`, the rest as it stands (a script's text), its first line."""

    name: str
    value: str
    line: int


class Job(msgspec.Struct, frozen=True):
    """A job's stanzas with the file each is from: the .conf, then its .override."""

    name: str
    stanzas: tuple[tuple[str, Stanza], ...]

    def last(self, name: str) -> tuple[str, Stanza] | None:
        """Return the last stanza of that name, which is the one in force."""
        return next(((path, one) for path, one in reversed(self.stanzas) if one.name == name), None)

    def all(self, name: str) -> list[tuple[str, Stanza]]:
        """Return all stanzas of that name."""
        return [(path, one) for path, one in self.stanzas if one.name == name]

    def value(self, name: str) -> str:
        """Return the last stanza's value without quotes; empty where there is none."""
        found = self.last(name)
        if found is None:
            return ""
        value = found[1].value.strip()
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value

    @property
    def start_on(self) -> tuple[str, Stanza] | None:
        """The condition in force: `manual` takes back those before it."""
        found = None
        for path, one in self.stanzas:
            if one.name == "start on":
                found = path, one
            elif one.name == "manual":
                found = None
        return found


_TWO = re.compile(
    r"(start on|stop on|normal exit|kill signal|kill timeout|reload signal|oom score|respawn limit|"
    r"pre-start exec|post-start exec|pre-stop exec|post-stop exec|apparmor load|apparmor switch|limit \w+)\b\s*(.*)",
    re.DOTALL,
)


def parse(text: str) -> Iterator[Stanza]:
    """Yield the stanzas of a job; a line ends in the next one after a backslash, in quotes and in parentheses."""
    lines = list(numbered(text))
    at = 0
    while at < len(lines):
        first, line = lines[at]
        at += 1
        stripped = " ".join(line.split())
        if stripped in _SCRIPTED:
            body = []
            while at < len(lines) and " ".join(lines[at][1].split()) != "end script":
                body.append(lines[at][1])
                at += 1
            at += 1
            yield Stanza(stripped, "\n".join(body) + "\n", first)
            continue
        if not stripped or stripped.startswith("#"):
            continue
        parts = [_uncommented(line)]
        while at < len(lines) and len(parts) < _MAX_LINES and (parts[-1].endswith("\\") or _deep(" ".join(parts)) > 0):
            parts[-1] = parts[-1].removesuffix("\\")
            parts.append(_uncommented(lines[at][1]))
            at += 1
        whole = " ".join(part.strip() for part in parts).strip()
        match = _TWO.fullmatch(re.sub(r"^(\S+)\s+", r"\1 ", whole))
        name, value = (match[1], match[2]) if match else (whole.partition(" ")[0], whole.partition(" ")[2])
        yield Stanza(name, value.strip(), first)


def _uncommented(line: str) -> str:
    return re.sub(r"(?:^|\s)#.*$", "", line) if not re.match(r"\s*(exec|\S+ exec)\b", line) else line


def _deep(text: str) -> int:
    """Return how many parentheses of a `start on` are open."""
    return text.count("(") - text.count(")") if re.match(r"\s*(start|stop)\s+on\b", text) else 0


# ---------------------------------------------------------------- events


class Event(msgspec.Struct, frozen=True):
    """An event with its arguments, as `start on` names it: plain ones, and NAME=VALUE or NAME!=VALUE."""

    name: str
    plain: tuple[str, ...] = ()
    named: tuple[tuple[str, str, bool], ...] = ()

    def wants(self, name: str, at: int, value: str) -> bool:
        """Tell whether the argument called `name`, or the plain one at that place, matches a value; not given does."""
        told = [(v, equal) for n, v, equal in self.named if n == name]
        if not told and len(self.plain) > at:
            told = [(self.plain[at], True)]
        return all(_matches(value, pattern) == equal for pattern, equal in told)


def _matches(value: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(value, pattern)  # fnmatch(3): [!2345] as there


def holds(condition: str, happens: Callable[[Event], bool]) -> bool:
    """Tell whether events with `and`, `or` and parentheses come about; False where the text is none."""
    tokens = _tokens(condition)
    if not tokens:
        return False
    reading = _Condition(tokens, happens)
    try:
        result = reading.either(0)
    except IndexError:
        return False
    return result and reading.at == len(tokens)


def _tokens(condition: str) -> list[str]:
    return re.findall(r"[()]|(?:[^\s()\"']|\"[^\"]*\"|'[^']*')+", condition)[:_MAX_TOKENS]


class _Condition:
    """`and` binds no closer than `or` in upstart: both are read from the left."""

    def __init__(self, tokens: list[str], happens: Callable[[Event], bool]) -> None:
        self.tokens, self.happens, self.at = tokens, happens, 0

    def either(self, depth: int) -> bool:
        if depth > _MAX_DEPTH:
            raise IndexError
        result = self.one(depth)
        while self.at < len(self.tokens) and self.tokens[self.at] in ("and", "or"):
            word = self.tokens[self.at]
            self.at += 1
            other = self.one(depth)
            result = (result and other) if word == "and" else (result or other)
        return result

    def one(self, depth: int) -> bool:
        first = self.tokens[self.at]
        self.at += 1
        if first == "(":
            result = self.either(depth + 1)
            if self.tokens[self.at] != ")":
                raise IndexError
            self.at += 1
            return result
        if first in (")", "and", "or"):
            raise IndexError
        plain: list[str] = []
        named: list[tuple[str, str, bool]] = []
        while self.at < len(self.tokens) and self.tokens[self.at] not in ("(", ")", "and", "or"):
            word = self.tokens[self.at].replace('"', "").replace("'", "")
            self.at += 1
            if match := re.fullmatch(r"(\w+)(!?=)(.*)", word, re.DOTALL):
                named.append((match[1], match[3], match[2] == "="))
            else:
                plain.append(word)
        return self.happens(Event(first, tuple(plain), tuple(named)))
