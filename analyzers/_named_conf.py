"""named.conf: statements with their blocks and places (BIND 9 Administrator Reference Manual, chapter 7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._reading import Reader, absolute
from migrate.model import Place

_MAX_FILES = 500
_MAX_TEXT = 512 << 10
_MAX_DEPTH = 20
_MAX_NESTING = 30  # of blocks; what is deeper is passed over
_TOKEN = re.compile(
    r'(?P<gap>\s+|//[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))|"(?P<quoted>(?:[^"\\]|\\.)*)(?:"|\Z)|(?P<word>[{};]|[^\s{};"]+|.)',
    re.DOTALL,
)


class Statement(msgspec.Struct):
    """Words, among them a block where braces stand; `text` is the line that the statement begins on."""

    words: list[str]
    place: Place
    text: str
    block: list[Statement] = []

    @property
    def name(self) -> str:
        """Its first word, in lower case; nothing for one that is only a block."""
        return self.words[0].lower() if self.words else ""

    def word(self, after: str, default: str = "") -> str:
        """Return the word that follows a key word (`port 953`), or the default."""
        at = next((i for i, word in enumerate(self.words[:-1]) if word.lower() == after), None)
        return self.words[at + 1] if at is not None else default


def parse(text: str, path: str) -> list[Statement]:
    """Return the statements of one file; what closes nothing is passed over, what is left open ends with the file."""
    lines = text.split("\n")
    top: list[Statement] = []
    stack = [top]
    open_ones: list[Statement | None] = [None]
    number = 1
    for match in _TOKEN.finditer(text):
        part = match["word"] if match["quoted"] is None else None
        if match["gap"] is not None:
            pass
        elif part == ";":
            open_ones[-1] = None
        elif part == "}":
            if len(stack) > 1:
                stack.pop()
                open_ones.pop()
        else:
            current = open_ones[-1]
            if current is None:
                current = Statement([], Place(path, number), lines[number - 1].strip())
                open_ones[-1] = current
                stack[-1].append(current)
            if part == "{":
                stack.append(current.block if len(stack) < _MAX_NESTING else [])
                open_ones.append(None)
            else:
                current.words.append(match["quoted"] if part is None else part)
        number += match[0].count("\n")
    return top


def load(reader: Reader, path: str, root: str) -> tuple[list[Statement], list[str]]:
    """Return the statements with those of included files in their place, and the files; `root` is what `-t` names."""
    files: list[str] = []
    return _load(reader, path, root, files, ()), files


def _load(reader: Reader, path: str, root: str, files: list[str], stack: tuple[str, ...]) -> list[Statement]:
    if path not in files:
        files.append(path)
    text = reader.text(path, _MAX_TEXT) or ""
    return list(_included(reader, parse(text, path), root, files, (*stack, path)))


def _included(
    reader: Reader, found: Sequence[Statement], root: str, files: list[str], stack: tuple[str, ...]
) -> Iterator[Statement]:
    for statement in found:
        if statement.name != "include" or len(statement.words) < 2:
            if statement.name in ("options", "view", "zone"):
                statement.block = list(_included(reader, statement.block, root, files, stack))
            yield statement
            continue
        pattern = root + absolute(statement.words[1], "/")
        for inner in reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]:
            if inner in stack or len(stack) > _MAX_DEPTH or len(files) >= _MAX_FILES:
                reader.note(statement.place.path, f"include {statement.words[1]} leads back or is one too many",
                            statement.place.line)  # fmt: skip
            else:
                yield from _load(reader, inner, root, files, stack)


def each(found: Sequence[Statement], *names: str) -> Iterator[Statement]:
    """Yield the statements of these names at the top, in `options` and in `view`s."""
    for statement in found:
        if statement.name in names:
            yield statement
        if statement.name in ("options", "view"):
            yield from (inner for inner in statement.block if inner.name in names)
