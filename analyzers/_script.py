"""Reading shell scripts as far as they can be read without running them (POSIX.1-2017, XCU chapter 2; bash(1)).

`parse` gives the simple commands of a script in order, those in functions, substitutions and both arms of an
`if` included. Variables whose value stands in the script, or is given, are put in; every other expansion is
`UNKNOWN` in the word. Nothing is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from analyzers._script_words import MAX_DEPTH, UNKNOWN, Scanner, Word

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_REFERENCE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_PASSED_OVER = frozenset(
    {"if", "then", "else", "elif", "fi", "do", "done", "while", "until", "{", "}", "!", "time", "coproc"}
)
_DECLARING = frozenset({"export", "readonly", "local", "declare", "typeset"})


class Simple(msgspec.Struct, frozen=True):
    """A simple command: its words, the assignments before them, the files its output and input are redirected to."""

    line: int
    words: tuple[Word, ...] = ()
    assignments: tuple[tuple[str, Word], ...] = ()
    outputs: tuple[Word, ...] = ()
    inputs: tuple[Word, ...] = ()

    @property
    def name(self) -> str:
        """The first word where it is known, else nothing."""
        return self.words[0].text if self.words and self.words[0].whole else ""


class Script(msgspec.Struct, frozen=True):
    """What `parse` found: commands, the functions defined, the variables referred to, the values at the end.

    `broken` is the line on which reading stopped making sense, or None.
    """

    commands: tuple[Simple, ...]
    functions: frozenset[str]
    references: frozenset[str]
    variables: Mapping[str, str]
    broken: int | None = None


def parse(text: str, variables: Mapping[str, str] | None = None, first_line: int = 1) -> Script:
    """Read a script; `variables` are known before it starts. Never raises: what is not understood is passed over."""
    reading = Reading(text, dict(variables or {}), first_line)
    reading.commands("", 0)
    return Script(
        tuple(reading.found),
        frozenset(reading.functions),
        frozenset(reading.references),
        reading.variables,
        reading.broken,
    )


class Building:
    """A simple command while it is read."""

    def __init__(self) -> None:
        self.line = 0
        self.words: list[Word] = []
        self.assignments: list[tuple[str, Word]] = []
        self.outputs: list[Word] = []
        self.inputs: list[Word] = []


class CommandList:
    """A list of commands while it is read: how deep in `case` and `(`, and whether a pattern comes next."""

    def __init__(self) -> None:
        self.command = Building()
        self.cases = self.parentheses = 0
        self.pattern = False

    @property
    def in_test(self) -> bool:
        """Inside `[[ … ]]`, where operators separate nothing."""
        words = self.command.words
        return bool(words) and words[0].text == "[[" and words[-1].text != "]]"


class Reading(Scanner):
    """One pass over the text."""

    def __init__(self, text: str, variables: dict[str, str], line: int) -> None:
        super().__init__(text, variables, line)
        self.found: list[Simple] = []
        self.functions: set[str] = set()
        self.heredocs: list[tuple[str, bool, bool]] = []

    def commands(self, stop: str, depth: int) -> None:
        """Read commands until `stop`: `)`, a backquote, or the end of the text."""
        if depth > MAX_DEPTH:
            self.stop_here()
            return
        list_ = CommandList()
        while self.at < len(self.text):
            self.blanks()
            char = self.peek()
            if char == "" or (char == stop and not list_.pattern and not (char == ")" and list_.parentheses)):
                break
            if list_.pattern:
                list_.pattern, ended = self.case_pattern(depth)
                list_.cases -= ended
            elif char in "\n;&|()" and not list_.in_test and self.peek(2) != "&>":
                self.separator(list_, char)
            elif char in "<>&" and not list_.in_test:
                self.redirect(list_.command, depth)
            else:
                self.one_word(list_, depth)
        self.end(list_.command)

    def separator(self, list_: CommandList, char: str) -> None:
        """What ends a simple command."""
        command, list_.command = list_.command, Building()
        if char == "(":
            list_.parentheses += self.open_parenthesis(command)
            return
        self.end(command)
        if char == "\n":
            self.take()
            self.read_heredocs()
        elif char == ")":
            self.take()
            list_.parentheses = max(0, list_.parentheses - 1)
        else:
            list_.pattern = bool(list_.cases) and self.peek(2) in (";;", ";&")
            while self.peek() in (";", "&", "|") and self.peek(2) != "&>":
                self.take()

    def one_word(self, list_: CommandList, depth: int) -> None:
        """Read a word of a command, or `case` and `esac`."""
        command, before, quoted = list_.command, self.at, self.peek() in "'\"\\"
        word = self.word(depth)
        if self.at == before:  # a lone backquote, or an operator inside [[ ]]
            self.take()
        elif command.words or command.assignments or quoted or word.text not in ("case", "esac"):
            self.add(command, word, self.text[before : self.at], depth)
        elif word.text == "case":
            list_.pattern = self.case_head(depth)
            list_.cases += list_.pattern
        else:
            list_.cases = max(0, list_.cases - 1)

    def add(self, command: Building, word: Word, raw: str, depth: int) -> None:
        """Put a word where it belongs: a reserved word nowhere, an assignment before the first word."""
        if raw.isdigit() and self.peek() in ("<", ">"):
            return  # the number of what is redirected
        if not command.words:
            if raw in _PASSED_OVER and not command.assignments:
                return
            if match := _ASSIGNMENT.match(raw):
                if self.peek() == "(" and match.end() == len(raw):
                    self.array(depth)
                    word = Word(UNKNOWN)
                else:
                    word = Word(word.text[match.end() :])
                command.line = command.line or self.line
                command.assignments.append((match[1], Word(UNKNOWN) if match[2] else word))
                return
        command.line = command.line or self.line
        command.words.append(word)

    def end(self, command: Building) -> None:
        """Keep a finished command and remember what it assigns."""
        if not (command.words or command.assignments or command.outputs or command.inputs):
            return
        words = command.words
        name = words[0].text if words else ""
        if name == "function" and len(words) > 1:
            self.functions.add(words[1].text)
            return
        assigned = list(command.assignments) if not words else []
        if name in _DECLARING:
            for word in words[1:]:
                if match := _ASSIGNMENT.match(word.text):
                    assigned.append((match[1], Word(word.text[match.end() :])))
        elif name in ("read", "for", "select", "getopts", "mapfile"):
            assigned += [(word.text, Word(UNKNOWN)) for word in words[1:2] if _NAME.fullmatch(word.text)]
        for variable, value in assigned:
            if value.whole:
                self.variables[variable] = value.text
            else:
                self.variables.pop(variable, None)
        self.found.append(
            Simple(
                command.line or self.line,
                tuple(words),
                tuple(command.assignments),
                tuple(command.outputs),
                tuple(command.inputs),
            )
        )

    def open_parenthesis(self, command: Building) -> int:
        """`name()` defines a function, `((…))` is arithmetic, anything else is a subshell: then return 1."""
        if self.peek(2) == "((" and not command.words:
            end = self.text.find("))", self.at)
            self.take(len(self.text) if end < 0 else end + 2 - self.at)
            return 0
        self.take()
        self.blanks()
        if len(command.words) == 1 and self.peek() == ")":
            self.functions.add(command.words[0].text)
            self.take()
            return 0
        self.end(command)
        return 1

    def case_head(self, depth: int) -> bool:
        """Read `WORD in` after `case`; tell whether a list of patterns follows."""
        word = Word("")
        for _ in range(2):
            self.blank_lines()
            before = self.at
            word = self.word(depth)
            if self.at == before:
                return False
        return word.text == "in"

    def case_pattern(self, depth: int) -> tuple[bool, int]:
        """Read up to the `)` of one pattern, or `esac`; return (still a pattern, cases that ended)."""
        while self.peek() in ("\n", "(", "|", ";", "&", " ", "\t"):
            self.take()
        if self.peek() in (")", ""):
            self.take()
            return False, 0
        before = self.at
        word = self.word(depth)
        if self.at == before:
            self.take()
        return word.text != "esac", int(word.text == "esac")

    def array(self, depth: int) -> None:
        """Pass over the words of `name=(…)`."""
        self.take()
        while self.at < len(self.text):
            self.blank_lines()
            if self.peek() in (")", ""):
                self.take()
                return
            before = self.at
            self.word(depth)
            if self.at == before:
                self.take()

    # ---------------------------------------------------------------- redirections

    def redirect(self, command: Building, depth: int) -> None:
        """Read `>`, `<`, `<<` and their kin with the word behind them."""
        if self.peek(2) in ("<(", ">("):
            command.words.append(self.word(depth))
            return
        operator = ""
        while self.peek() in ("<", ">", "&", "|", "-") and len(operator) < 3:
            if self.peek() == "-" and operator != "<<":
                break
            operator += self.take()
        self.blanks()
        quoted = self.peek() in ("'", '"', "\\")
        word = self.word(depth)
        if operator in ("<<", "<<-"):
            self.heredocs.append((word.text, operator == "<<-", quoted))
        elif operator.endswith("&") and (word.text.isdigit() or word.text == "-"):
            return
        elif ">" in operator:
            command.line = command.line or self.line
            command.outputs.append(word)
        elif operator == "<":
            command.line = command.line or self.line
            command.inputs.append(word)

    def read_heredocs(self) -> None:
        """Go over the here-documents that begin on the line that ended."""
        for delimiter, tabs, quoted in self.heredocs:
            while self.at < len(self.text):
                start = self.at
                self.skip_line()
                line = self.text[start : self.at]
                self.take()
                if (line.lstrip("\t") if tabs else line).rstrip("\r") == delimiter:
                    break
                if not quoted:
                    self.references.update(_REFERENCE.findall(line))
        self.heredocs.clear()
