"""What a shell script surely sets and runs, for scripts whose environment is known: OpenRC's, runit's, s6's, upstart's.

`_script` reads all commands in a row and takes both arms of an `if`. Here only what is run whatever happens counts:
tests of known words and of the disk's files are decided, and a variable that is set behind any other test, in a loop
or in a `case` is not known afterwards. Functions count where they are called, and words are split where a shell
splits them. A variable that nothing has set is empty (`closed`), because these inits give their scripts none of
their own environment. POSIX.1-2017, XCU 2.6.2, 2.6.5, 2.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from analyzers._reading import absolute
from analyzers._script import Building, CommandList, Simple
from analyzers._script_words import Word
from analyzers._shellexpand import Expanding, joined, split
from analyzers._shelltest import MAX_TEXT, Files, answer, yesno

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_SOURCED = 16
_MAX_INNER = 100  # functions and files that one script runs
_MAX_BRANCHES = 50
_MAX_LEVEL = 6  # of them in one another


class Ran(msgspec.Struct, frozen=True):
    """A simple command that may be run, and whether it is whatever happens. `path` is empty for the script itself."""

    command: Simple
    sure: bool
    path: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What a script does: values known at its end, the line it sets one on, and its commands in order.

    `unsure` are the variables that it may or may not have set. `exported` are among `variables`. `bodies` are the
    functions' texts with their first lines. `sourced` are the files read in. `broken` is the line on which reading
    stopped making sense, or None.
    """

    variables: Mapping[str, str]
    lines: Mapping[str, int]
    unsure: frozenset[str]
    exported: frozenset[str]
    bodies: Mapping[str, tuple[str, int]]
    commands: tuple[Ran, ...]
    sourced: tuple[str, ...]
    broken: int | None = None


def evaluate(
    text: str,
    variables: Mapping[str, str] | None = None,
    files: Files | None = None,
    closed: bool = True,
    before: Outcome | None = None,
    first_line: int = 1,
) -> Outcome:
    """Read a script whose variables at the start are given. Never raises: what is not understood is not known.

    `before` is a script that the same shell has run already.
    """
    reading = _Evaluation(text[:MAX_TEXT], dict(before.variables if before else {}), first_line)
    reading.variables.update(variables or {})
    reading.files, reading.closed = files or Files(), closed
    if before is not None:
        reading.unsure, reading.bodies = set(before.unsure), dict(before.bodies)
        reading.exported = set(before.exported)
    reading.commands("", 0)
    return Outcome(
        reading.variables,
        reading.lines,
        frozenset(reading.unsure),
        frozenset(reading.exported),
        reading.bodies,
        tuple(reading.ran),
        tuple(reading.sourced),
        reading.broken,
    )


def call(outcome: Outcome, name: str, files: Files | None = None, closed: bool = True) -> Outcome:
    """Return what a call of a function does once the script has been read; nothing where there is no such function."""
    text, line = outcome.bodies.get(name, ("", 1))
    return evaluate(text, None, files, closed, outcome, line)


def words(text: str, outcome: Outcome, closed: bool = True) -> tuple[Word, ...]:
    """Split and expand a value once more, as `eval` does with it."""
    found = evaluate(f": {' '.join(text.split())}", None, None, closed, outcome)
    return found.commands[0].command.words[1:] if found.commands else ()


class _Branch:
    """An `if`: whether an arm before was taken, and whether the part that is read now is run; None is not known."""

    def __init__(self) -> None:
        self.done: bool | None = False
        self.runs: bool | None = True

    def arm(self, status: bool | None) -> None:
        """Begin an arm: after `then` with what the condition said, after `else` with True."""
        if self.done is not False:
            self.runs = False if self.done or status is False else None
        else:
            self.runs = status
        self.done = True if self.runs else self.done if self.runs is False else None

    def condition(self) -> None:
        """Begin the condition of an `elif`, which is asked where no arm before was taken."""
        self.runs = None if self.done is None else not self.done


class _Evaluation(Expanding):
    """The reading of `_script`, with the places kept where a command is run for sure."""

    def __init__(self, text: str, variables: dict[str, str], line: int) -> None:
        super().__init__(text, variables, line)
        self.files = Files()
        self.nested = 0  # loops, case, subshells
        self.branches: list[_Branch] = []
        self.link: bool | None = True  # what `&&` or `||` says of the command that comes next
        self.status: bool | None = None  # of the last command
        self.open_: list[tuple[str, int, int, tuple[Any, ...]]] = []  # braces: function, where, line, state before
        self.pending = ""
        self.exported: set[str] = set()
        self.bodies: dict[str, tuple[str, int]] = {}
        self.ran: list[Ran] = []
        self.sourced: list[str] = []
        self.inner = _MAX_INNER
        self.level = 0

    @property
    def runs(self) -> bool | None:
        """Whether what is read now is run: surely, surely not, or not known."""
        told = [self.link, *(branch.runs for branch in self.branches)]
        if False in told:
            return False
        return None if self.nested or None in told else True

    # ---------------------------------------------------------------- structure

    def commands(self, stop: str, depth: int) -> None:
        """Read a list; what `$(…)` sets is gone after it."""
        if not depth:
            super().commands(stop, depth)
            return
        outer = self.nested, self.branches, self.link, self.status, self.open_, self.pending, self.inner
        kept = self.state()
        self.nested, self.branches, self.open_ = self.nested + 1, [*self.branches], []
        super().commands(stop, depth)
        ran = self.ran
        self.restore(kept)
        self.ran = ran
        self.nested, self.branches, self.link, self.status, self.open_, self.pending, self.inner = outer

    def state(self) -> tuple[Any, ...]:
        """Return a copy of what commands change."""
        self.count()
        return (dict(self.variables), set(self.unsure), set(self.exported), dict(self.lines), list(self.ran),
                list(self.sourced), self.closed, self.nested, [*self.branches])  # fmt: skip

    def restore(self, state: tuple[Any, ...]) -> None:
        """Go back to a copy."""
        (self.variables, self.unsure, self.exported, self.lines, self.ran, self.sourced, self.closed,
         self.nested, self.branches) = state  # fmt: skip

    def separator(self, list_: CommandList, char: str) -> None:
        """Keep what the end of a command says of the next one."""
        linked = self.peek(2) if self.peek(2) in ("&&", "||") else ""
        piped = char == "|" and not linked
        before = list_.parentheses
        self.nested += piped  # each part of a pipe is a subshell
        super().separator(list_, char)
        self.nested += list_.parentheses - before - piped
        if linked:
            self.link = self.status if linked == "&&" or self.status is None else not self.status
        elif piped:
            self.link = None
        elif char in "\n;&)":
            self.link = True

    def one_word(self, list_: CommandList, depth: int) -> None:
        """Count the `case`s that are open."""
        before = list_.cases
        super().one_word(list_, depth)
        self.nested += list_.cases - before

    def case_pattern(self, depth: int) -> tuple[bool, int]:
        """Count the `case`s that end."""
        again, ended = super().case_pattern(depth)
        self.nested -= ended
        return again, ended

    def open_parenthesis(self, command: Building) -> int:
        """Remember the name of a function whose body comes next."""
        name = command.words[0].text if len(command.words) == 1 else ""
        self.functions.discard(name)
        self.pending = ""
        opened = super().open_parenthesis(command)
        if name in self.functions:
            self.pending = name
        return opened

    def add(self, command: Building, word: Word, raw: str, depth: int) -> None:
        """Follow the reserved words, which the reading passes over."""
        if not command.words and not command.assignments:
            self.reserved(raw)
        elif raw == "{" and len(command.words) == 2 and command.words[0].text == "function":
            self.pending = command.words[1].text
            self.functions.add(self.pending)
            command.words = []
            self.open_brace()
            return
        super().add(command, word, raw, depth)
        if len(command.words) == 1 and raw in ("for", "select"):
            self.nested += 1

    def reserved(self, raw: str) -> None:
        """Follow `if`, loops and braces."""
        if raw == "if":
            self.branches.append(_Branch())
            if len(self.branches) > _MAX_BRANCHES:
                self.stop_here()
        elif raw in ("then", "else", "elif") and self.branches:
            branch = self.branches[-1]
            if raw == "elif":
                branch.condition()
            else:
                branch.arm(self.status if raw == "then" else True)
        elif raw == "fi" and self.branches:
            self.branches.pop()
        elif raw in ("while", "until"):
            self.nested += 1
        elif raw == "done":
            self.nested = max(0, self.nested - 1)
        elif raw == "{":
            self.open_brace()
        elif raw == "}" and self.open_:
            self.close_brace()

    def open_brace(self) -> None:
        """`{` begins a function's body, or a group."""
        self.open_.append((self.pending, self.at, self.line, self.state() if self.pending else ()))
        self.pending = ""

    def close_brace(self) -> None:
        """`}`: keep a function's text, and forget what reading it has changed."""
        name, at, line, state = self.open_.pop()
        if name:
            self.restore(state)
            self.link = True
            if self.runs is not False and len(self.bodies) < _MAX_INNER:
                self.bodies[name] = (self.text[at : self.at - 1], line)

    # ---------------------------------------------------------------- commands

    def end(self, command: Building) -> None:
        """Keep what a command sets, as far as it is sure that it does."""
        command.words = [Word(part) for word in command.words for part in split(word.text)]
        command.assignments = [(name, Word(joined(word.text))) for name, word in command.assignments]
        command.outputs = [Word(joined(word.text)) for word in command.outputs]
        command.inputs = [Word(joined(word.text)) for word in command.inputs]
        texts = [word.text for word in command.words]
        if texts[:1] == ["function"] and len(texts) > 1:
            self.pending = texts[1]  # its body begins on the next line
        count, runs = len(self.found), self.runs
        names = _assigned(texts, command.assignments)
        old = {name: self.variables[name] for name in names if name in self.variables} if runs is False else {}
        super().end(command)
        if runs is False:
            for name in names:
                self.variables.pop(name, None)
            self.variables.update(old)
        if runs is False or len(self.found) == count:
            return
        simple = self.found[-1]
        self.keep(simple, texts, runs is True)
        self.ran.append(Ran(simple, runs is True))
        self.status = self.decide(simple)
        if simple.name in (".", "source") and len(simple.words) > 1:
            self.read_in(simple.words[1])
        elif simple.name in self.bodies:
            self.status = None
            self.run(*self.bodies[simple.name], "", local=True)

    def keep(self, simple: Simple, texts: list[str], sure: bool) -> None:
        """Correct what the reading believes of the variables a command sets."""
        for name in _assigned(texts, simple.assignments):
            self.lines[name] = simple.line
            if not sure or name not in self.variables:
                self.variables.pop(name, None)
                self.unsure.add(name)
            else:
                self.unsure.discard(name)
        if simple.name == "unset":
            for name in texts[1:]:
                self.variables.pop(name, None)
                (self.unsure.discard if sure else self.unsure.add)(name)
        elif simple.name == "export" and sure:
            self.exported.update(text.partition("=")[0] for text in texts[1:])
        elif simple.name == "eval":
            self.closed = False

    def read_in(self, word: Word) -> None:
        """Read a sourced file at this place."""
        if not word.whole:
            self.closed = False  # whatever it may set
            return
        text = self.files.source(word.text)
        if text is not None and len(self.sourced) < _MAX_SOURCED:
            self.sourced.append(absolute(word.text, self.files.folder))
            self.run(text, 1, absolute(word.text, self.files.folder))
        elif self.files.test("-f", word.text) is not False:
            self.closed = False

    def run(self, text: str, line: int, path: str, local: bool = False) -> None:
        """Run a function or a sourced file at this place of the script."""
        if self.inner <= 0 or self.level >= _MAX_LEVEL:
            self.closed = False
            return
        inner = _Evaluation(text[:MAX_TEXT], dict(self.variables), line)
        inner.files, inner.closed, inner.unsure, inner.bodies = self.files, self.closed, set(self.unsure), self.bodies
        inner.sourced, inner.budget, inner.level = self.sourced, self.budget, self.level + 1
        inner.inner = self.inner - 1
        inner.commands("", 0)
        self.budget, self.inner, self.closed = inner.budget, inner.inner, inner.closed
        sure = self.runs is True
        own = {w.text.partition("=")[0] for r in inner.ran if r.command.name == "local" for w in r.command.words[1:]}
        for name in sorted({*inner.variables, *self.variables, *inner.unsure} - (own if local else set())):
            changed = inner.variables.get(name) != self.variables.get(name) or name in inner.unsure - self.unsure
            if changed and sure and name in inner.variables:
                self.variables[name] = inner.variables[name]
                self.unsure.discard(name)
            elif changed:
                self.variables.pop(name, None)
                self.unsure.add(name)
        if sure:
            self.exported |= inner.exported
        if not path:  # a line number is of the script itself, not of a file that is read in
            self.lines.update(inner.lines)
        self.ran += [Ran(r.command, r.sure and sure, r.path or path) for r in inner.ran]

    def decide(self, simple: Simple) -> bool | None:
        """Return a command's exit status where it can be known."""
        if self.runs is not True:
            return None
        if not simple.words or simple.name in ("true", ":", "export", "local", "unset", "return", "exit"):
            return True if not any(not word.whole for _, word in simple.assignments) else None
        if simple.name == "false":
            return False
        if simple.name in ("[", "test", "yesno") and all(word.whole for word in simple.words):
            texts = [word.text for word in simple.words[1:]]
            if simple.name == "yesno":
                return yesno(texts)
            return answer(texts[:-1] if simple.name == "[" and texts[-1:] == ["]"] else texts, self.files)
        return None


def _assigned(texts: list[str], assignments: Sequence[tuple[str, Word]]) -> list[str]:
    names = [] if texts else [name for name, _ in assignments]
    if texts and texts[0] in ("export", "readonly", "local", "declare", "typeset"):
        names += [text.partition("=")[0].rstrip("+") for text in texts[1:] if "=" in text or texts[0] == "local"]
    elif texts and texts[0] in ("read", "for", "select", "getopts", "mapfile"):
        names += texts[1:] if texts[0] == "read" else texts[1:2]
    return [name for name in names if _NAME.fullmatch(name)]
