"""Words of shell scripts: quotes, expansions, substitutions (POSIX.1-2017, XCU 2.2 and 2.6). See `_script`."""

from __future__ import annotations

import re

import msgspec

UNKNOWN = "\ufffc"  # stands in a word for what only a run could tell
MAX_DEPTH = 25  # of substitutions in one another

_MAX_EXPANDED = 1 << 20  # characters that variables may add to one script
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[^\s;&|()<>'\"\\$`]+")
_QUOTED = re.compile(r'[^"\\$`]+')


class Word(msgspec.Struct, frozen=True):
    """A word after quote removal and expansion as far as it is known."""

    text: str

    @property
    def whole(self) -> bool:
        """Whether all of it is known."""
        return UNKNOWN not in self.text

    @property
    def prefix(self) -> str:
        """What is known of its beginning."""
        return self.text.partition(UNKNOWN)[0]


class Scanner:
    """Reads characters and words of one text; `at` only ever grows, so that the time is linear in its length."""

    def __init__(self, text: str, variables: dict[str, str], line: int) -> None:
        self.text, self.variables, self.line = text, variables, line
        self.at = 0
        self.references: set[str] = set()
        self.broken: int | None = None
        self.backquotes = 0
        self.budget = _MAX_EXPANDED

    def commands(self, stop: str, depth: int) -> None:
        """Read commands until `stop`; given by the class that knows commands."""
        raise NotImplementedError

    # ---------------------------------------------------------------- characters

    def peek(self, length: int = 1) -> str:
        """Return what comes next; less where the text ends."""
        return self.text[self.at : self.at + length]

    def take(self, length: int = 1) -> str:
        """Return what comes next and go behind it."""
        taken = self.text[self.at : self.at + length]
        self.at += len(taken)
        self.line += taken.count("\n")
        return taken

    def stop_here(self) -> None:
        """Give up: what is left is not read."""
        self.broken = self.broken or self.line
        self.at = len(self.text)

    def blanks(self) -> None:
        """Go over blanks, continued lines and a comment."""
        while True:
            if self.peek() in (" ", "\t", "\r"):
                self.take()
            elif self.peek(2) == "\\\n":
                self.take(2)
            elif self.peek() == "#":
                self.skip_line()
            else:
                return

    def blank_lines(self) -> None:
        """Go over blanks and ends of lines."""
        self.blanks()
        while self.peek() == "\n":
            self.take()
            self.blanks()

    def skip_line(self) -> None:
        """Go to the end of the line."""
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    # ---------------------------------------------------------------- words

    def word(self, depth: int) -> Word:
        """Read one word; an empty one, with nothing taken, where none begins here."""
        parts: list[str] = []
        while self.at < len(self.text):
            char = self.peek()
            if char in " \t\r\n;&|()" or (char in "<>" and self.peek(2)[1:] != "("):
                break
            if char == "`" and self.backquotes:  # it closes; inner ones are written \`
                break
            parts.append(self.part(char, depth))
        return Word("".join(parts))

    def part(self, char: str, depth: int) -> str:
        """Read one quoted, expanded or plain part of a word."""
        if char in "<>":
            self.take(2)
            return self.substitution(")", depth)
        if char == "'":
            return self.single()
        if char == '"':
            return self.double(depth)
        if char == "\\":
            return self.take(2)[1:].replace("\n", "")
        if char == "$":
            return self.dollar(depth)
        if char == "`":
            self.take()
            return self.substitution("`", depth)
        match = _PLAIN.match(self.text, self.at)
        return self.take(len(match[0]) if match else 1)

    def single(self) -> str:
        """Read '…'."""
        end = self.text.find("'", self.at + 1)
        if end < 0:
            self.stop_here()
            return UNKNOWN
        return self.take(end + 1 - self.at)[1:-1]

    def double(self, depth: int) -> str:
        """Read "…"."""
        self.take()
        parts: list[str] = []
        while self.at < len(self.text):
            char = self.peek()
            if char == '"':
                self.take()
                return "".join(parts)
            if char == "\\":
                pair = self.take(2)
                parts.append("" if pair == "\\\n" else pair[1:] if pair[1:] in '$`"\\' else pair)
            elif char == "$":
                parts.append(self.dollar(depth))
            elif char == "`":
                self.take()
                parts.append(self.substitution("`", depth))
            else:
                match = _QUOTED.match(self.text, self.at)
                parts.append(self.take(len(match[0]) if match else 1))
        self.stop_here()
        return UNKNOWN

    def substitution(self, stop: str, depth: int) -> str:
        """Read the commands of `$(…)` or a backquoted part; what they print is not known."""
        outer, self.backquotes = self.backquotes, int(stop == "`")
        self.commands(stop, depth + 1)
        self.backquotes = outer
        self.take()
        return UNKNOWN

    def dollar(self, depth: int) -> str:
        """Read what a dollar sign begins."""
        self.take()
        char = self.peek()
        if self.peek(2) == "((":
            end = self.text.find("))", self.at)
            self.take(len(self.text) if end < 0 else end + 2 - self.at)
            return UNKNOWN
        if char == "(":
            self.take()
            return self.substitution(")", depth)
        if char == "{":
            return self.braces(depth)
        if char in ("'", '"'):
            return self.single() if char == "'" else self.double(depth)
        if match := _NAME.match(self.text, self.at):
            return self.variable(self.take(len(match[0])))
        if char and char in "@*#?$!-0123456789":
            self.take()
            return UNKNOWN
        return "$"

    def variable(self, name: str) -> str:
        """Return a variable's value where it is known."""
        self.references.add(name)
        value = self.variables.get(name, UNKNOWN)
        self.budget -= len(value)  # `a=$a$a`, forty times over, would fill the memory
        return value if self.budget > 0 else UNKNOWN

    def braces(self, depth: int) -> str:
        """Read `${NAME}`, and `${NAME:-default}` where NAME is not known; all else is unknown."""
        self.take()
        match = _NAME.match(self.text, self.at)
        value = self.variable(self.take(len(match[0]))) if match else UNKNOWN
        operator = self.take(2) if self.peek(2) in (":-", ":=") else self.take() if self.peek() in ("-", "=") else ""
        plain = bool(operator) or self.peek() == "}"
        parts: list[str] = []
        while self.at < len(self.text) and self.peek() != "}":
            char = self.peek()
            if char == "'":
                parts.append(self.single())
            elif char == '"':
                parts.append(self.double(depth))
            elif char == "\\":
                parts.append(self.take(2)[1:])
            elif char == "$" and depth < MAX_DEPTH:
                parts.append(self.dollar(depth + 1))
            else:
                parts.append(self.take())
        self.take()
        if operator and value == UNKNOWN and match:
            return "".join(parts)
        return value if plain else UNKNOWN
