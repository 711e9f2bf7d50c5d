"""Expansions of a shell whose variables are known: `${x:-y}` and its kin, and where an unquoted one splits a word.

POSIX.1-2017, XCU 2.6.2 "Parameter Expansion" and 2.6.5 "Field Splitting", with the usual IFS.
"""

from __future__ import annotations

import re

from analyzers._script import Reading
from analyzers._script_words import MAX_DEPTH, UNKNOWN

# Stand in a word for where an unquoted expansion splits it, and for one that gave nothing: Unicode's noncharacters.
_SPLIT, _NOTHING = "\ufdd0", "\ufdd1"
# Set by the shell or by whoever started it, to what the disk does not say.
_OF_RUN = re.compile(
    r"PATH|HOME|PWD|OLDPWD|TERM|SHELL|USER|LOGNAME|HOSTNAME|UID|EUID|PPID|LANG|LC_\w+|IFS|OPTARG|OPTIND|RANDOM|LINENO|"
    r"RC_\w+|UPSTART_\w+|RUNLEVEL|PREVLEVEL|EINFO_\w+|BASH\w*|HOSTTYPE|OSTYPE|MACHTYPE|SECONDS|EPOCH\w+|NOTIFY_SOCKET"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_TRIMMED = 256
_MAX_COPIES = 1000  # of the variables: at functions and substitutions


class Expanding(Reading):
    """The reading of `_script` with a shell's rules for variables that nothing has set."""

    def __init__(self, text: str, variables: dict[str, str], line: int) -> None:
        super().__init__(text, variables, line)
        self.closed = True  # whether what nothing on the disk sets is not set
        self.unsure: set[str] = set()
        self.lines: dict[str, int] = {}
        self.copies = 0

    @property
    def runs(self) -> bool | None:
        """Whether what is read now is run: surely, surely not, or not known."""
        return True

    def count(self) -> None:
        """A text of nothing but functions, or of `%`, would take the square of its length."""
        self.copies += 1
        if self.copies > _MAX_COPIES:
            self.stop_here()

    def part(self, char: str, depth: int) -> str:
        """Mark where an unquoted expansion splits the word it stands in (2.6.5)."""
        text = super().part(char, depth)
        if char not in "$`":
            return text
        return re.sub(r"[ \t\n]", _SPLIT, text) or _NOTHING

    def variable(self, name: str) -> str:
        """Return a variable's value; empty where surely nothing has set it."""
        value = self.looked_up(name)
        self.references.add(name)
        self.budget -= len(value or "")
        return UNKNOWN if value is None or self.budget <= 0 else value

    def looked_up(self, name: str) -> str | None:
        """Return a variable's value, empty where it is not set, None where it is not known."""
        if name in self.variables:
            return self.variables[name]
        return "" if self.closed and name not in self.unsure and not _OF_RUN.fullmatch(name) else None

    def braces(self, depth: int) -> str:
        """Read `${NAME}` with `-`, `=` or `+` and a word, and `%`, `#` with a plain pattern (2.6.2)."""
        start = self.at
        match = _NAME.match(self.text, start + 1)
        operator = re.compile(r":?[-=+?]").match(self.text, match.end()) if match else None
        trim = re.compile(r"(%%?|##?)([\w./*-]*)\}").match(self.text, match.end()) if match else None
        if match is None or depth >= MAX_DEPTH or not (operator or trim):
            return super().braces(depth)
        name, value = match[0], self.looked_up(match[0])
        self.references.add(name)
        if trim is not None:
            self.take(trim.end() - self.at)
            self.count()
            return UNKNOWN if value is None else _trimmed(value, trim[1], trim[2])
        assert operator is not None  # noqa: S101  # for the type checker
        self.take(operator.end() - self.at)
        other = self.brace_word(depth)
        if value is None:
            return UNKNOWN
        isset = bool(value) if operator[0][0] == ":" else name in self.variables
        sign = operator[0][-1]
        if sign == "+":
            return other if isset else ""
        if sign == "=" and not isset:
            self.assign(name, other)
        result = value if isset else other
        self.budget -= len(result)
        return result if self.budget > 0 else UNKNOWN

    def brace_word(self, depth: int) -> str:
        """Read up to the closing brace."""
        parts: list[str] = []
        while self.at < len(self.text) and self.peek() != "}":
            char = self.peek()
            if char == "'":
                parts.append(self.single())
            elif char == '"':
                parts.append(self.double(depth + 1))
            elif char == "\\":
                parts.append(self.take(2)[1:])
            elif char == "$":
                parts.append(self.dollar(depth + 1))
            else:
                parts.append(self.take())
        self.take()
        return "".join(parts)

    def assign(self, name: str, value: str) -> None:
        """`${NAME:=value}`."""
        self.lines[name] = self.line
        if self.runs is False:
            return
        if UNKNOWN in value or not self.runs:
            self.variables.pop(name, None)
            self.unsure.add(name)
        else:
            self.variables[name] = value


def split(text: str) -> list[str]:
    """Return the fields of a word; one that consists of nothing but an empty expansion is none."""
    if _SPLIT not in text and _NOTHING not in text:
        return [text]
    return [part for part in text.replace(_NOTHING, "").split(_SPLIT) if part]


def joined(text: str) -> str:
    return text.replace(_SPLIT, " ").replace(_NOTHING, "")


def _trimmed(value: str, operator: str, pattern: str) -> str:
    """Return `${x%pattern}` and its kin for a pattern of plain text with at most one `*` (2.13)."""
    if len(value) > _MAX_TRIMMED or pattern.count("*") > 1:
        return UNKNOWN
    longest = len(operator) == 2
    if operator[0] == "#":
        match = re.match((".*" if longest else ".*?").join(map(re.escape, pattern.split("*"))), value, re.DOTALL)
        return value[match.end() :] if match else value
    body = re.compile(".*".join(map(re.escape, pattern.split("*"))) + r"\Z", re.DOTALL)
    places = range(len(value) + 1) if longest else range(len(value), -1, -1)
    at = next((at for at in places if body.match(value, at)), None)
    return value if at is None else value[:at]
