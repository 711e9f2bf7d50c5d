r"""The textual difference of two versions of a file, as a person reads it: diff(1)'s unified format.

The shortest edit is found by Eugene Myers' O(ND) algorithm (Algorithmica 1, 1986), given up after `MAX_EDITS` lines:
the time is bounded by the lines times that, whatever they hold (20,000 lines against 20,000 others: 1 s). Looked at:
difflib alone is cubic: 800 lines `a` against as many with a number between each two took 22 s, 400 took 1.9 s, where
this takes 0.3 s; with its heuristic for popular lines it takes no time and shows both files whole. patiencediff is
under the GNU GPL, and falls back to the same where no line is unique. diff(1) is another program on another host
(GNU's, busybox's), and a timeout would make the output depend on the host's speed. difflib still makes the hunks.
"""

from __future__ import annotations

import difflib
from array import array
from collections.abc import Callable, Iterator, Sequence

import msgspec

from migrate.changes.archive import MAX_ORIGINAL
from migrate.text import show

MAX_TEXT = MAX_ORIGINAL
MAX_LINES = 20_000
MAX_EDITS = 1_000
"""Lines taken out and put in; what differs in more is shown as one block replaced by another."""

MAX_SHOWN = 500
"""Lines of one difference that are shown; how many follow is said."""

MAX_WIDTH = 400
"""Characters of a line that are shown; how many follow is said."""

_CONTEXT = 3


class Shown(msgspec.Struct, frozen=True):
    """The lines of one version of a file, as they are compared and as they may be shown.

    `raw` are the lines with their ends. `render` makes what is shown of the line at a place (from 0) of `raw`.
    """

    raw: Sequence[bytes]
    render: Callable[[int], str]


class Unified(msgspec.Struct, frozen=True):
    """A difference in unified format, or an empty text and why there is none."""

    text: str
    why: str = ""


def unshowable(data: bytes) -> str:
    """Return why a content is not compared as text, or nothing where it is.

    >>> unshowable(b"\\x7fELF\\0")
    'it is no text: it holds NUL'
    """
    if b"\0" in data:
        return "it is no text: it holds NUL"
    if len(data) > MAX_TEXT:
        return f"it is longer than the {MAX_TEXT} bytes that are compared as text"
    if data.count(b"\n") > MAX_LINES:
        return f"it has more than the {MAX_LINES} lines that are compared"
    return ""


def lines_of(data: bytes) -> list[bytes]:
    r"""Return the lines with their ends; only `\n` ends one."""
    lines = data.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def safe(text: str) -> str:
    r"""Return a line without its end, tabs kept, all that a terminal or the direction of text obeys as escapes, cut.

    >>> safe("a\\tb\\x1b[2J\\u202e\\n")
    'a\\tb\\\\x1b[2J\\\\u202e'
    """
    text = text.removesuffix("\n")
    more = len(text) - MAX_WIDTH
    kept = "\t".join(show(part) for part in text[:MAX_WIDTH].split("\t"))
    if not kept.isprintable():  # show() leaves what is invisible and obeyed by nothing that it knows of
        kept = "".join(char if char.isprintable() or char == "\t" else f"\\u{ord(char):04x}" for char in kept)
    return f"{kept} … {more} more characters" if more > 0 else kept


def unified(original: Shown, found: Shown, path: str, source: str = "") -> Unified:
    """Return how to make one version of a text out of the other, at most MAX_SHOWN lines of it.

    Where the two are the same as shown (a difference that may not be shown, or of what cannot be), the lines say so.
    """
    shown: list[str] = []
    hidden = 0
    for line in _hunks(original, found):
        if len(shown) < MAX_SHOWN:
            shown.append(line())
        else:
            hidden += 1
    if not shown:
        return Unified("", "its text is the same")
    if hidden:
        shown.append(f"… {hidden} more lines of the difference are not shown")
    head = [f"--- {safe(path)} ({safe(source)})" if source else f"--- {safe(path)}", f"+++ {safe(path)}"]
    return Unified("\n".join([*head, *shown]) + "\n")


def _hunks(original: Shown, found: Shown) -> Iterator[Callable[[], str]]:
    """Yield what makes each line: to look for secrets in one takes longer than all else, and most may not be shown."""
    for group in _Matcher(original.raw, found.raw).get_grouped_opcodes(_CONTEXT):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@".__str__
        for tag, a_from, a_to, b_from, b_to in group:
            if tag == "equal":
                yield from _lines(" ", found, b_from, b_to)
            else:
                yield from _lines("-", original, a_from, a_to)
                yield from _lines("+", found, b_from, b_to)


def _lines(sign: str, side: Shown, start: int, end: int) -> Iterator[Callable[[], str]]:
    for number in range(start, end):
        yield lambda number=number: sign + side.render(number)  # type: ignore[misc]
        if not side.raw[number].endswith(b"\n"):
            yield "\\ No newline at end of file".__str__


def _range(start: int, end: int) -> str:
    """Return a range as POSIX has it (diff, "Diff -u Output Format"): from 1, an empty one from the line before it."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


class _Matcher(difflib.SequenceMatcher[bytes]):
    """difflib's grouping into hunks, of what `matching_blocks` found."""

    def __init__(self, a: Sequence[bytes], b: Sequence[bytes]) -> None:
        super().__init__(None, (), (), autojunk=False)  # else it indexes the lines, which is of no use here
        self.a, self.b = a, b

    def get_matching_blocks(self) -> list[difflib.Match]:
        blocks = [difflib.Match(*block) for block in matching_blocks(self.a, self.b)]
        return [*blocks, difflib.Match(len(self.a), len(self.b), 0)]


def matching_blocks(a: Sequence[bytes], b: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """Return (place in a, place in b, length) of the runs of equal lines, in order, of the shortest edit.

    Where that has more than MAX_EDITS lines, only the equal lines at the beginning and at the end.

    >>> matching_blocks([b"a", b"b", b"c"], [b"a", b"x", b"c"])
    [(0, 0, 1), (2, 2, 1)]
    """
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    numbers: dict[bytes, int] = {}
    left = [numbers.setdefault(line, len(numbers)) for line in a[start : len(a) - end]]
    right = [numbers.setdefault(line, len(numbers)) for line in b[start : len(b) - end]]
    pairs = [(x + start, y + start) for x, y in _common(left, right)]
    pairs = [*((i, i) for i in range(start)), *pairs, *((len(a) - i, len(b) - i) for i in range(end, 0, -1))]
    blocks: list[tuple[int, int, int]] = []
    for x, y in pairs:
        if blocks and (blocks[-1][0] + blocks[-1][2], blocks[-1][1] + blocks[-1][2]) == (x, y):
            blocks[-1] = (*blocks[-1][:2], blocks[-1][2] + 1)
        else:
            blocks.append((x, y, 1))
    return blocks


def _common(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of a longest common subsequence; none where the edit is longer than MAX_EDITS (Myers 1986).

    `furthest[zero + k]` is the furthest x on diagonal k = x - y; `steps` are its copies before each further edit, from
    diagonal -edits - 1 on.
    """
    most = min(MAX_EDITS, len(a) + len(b))
    zero = most + 1
    furthest = array("i", [0]) * (2 * zero + 1)
    steps: list[array[int]] = []
    for edits in range(most + 1):
        steps.append(furthest[zero - edits - 1 : zero + edits + 2])
        for k in range(-edits, edits + 1, 2):
            here = zero + k
            down = k == -edits or (k != edits and furthest[here - 1] < furthest[here + 1])
            x = furthest[here + 1] if down else furthest[here - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            furthest[here] = x
            if k == len(a) - len(b) and x >= len(a):
                return _traced(steps, len(a), len(b))
    return []


def _traced(steps: Sequence[array[int]], x: int, y: int) -> list[tuple[int, int]]:
    pairs = []
    for edits in range(len(steps) - 1, -1, -1):
        known, zero = steps[edits], edits + 1
        k = x - y
        down = k == -edits or (k != edits and known[zero + k - 1] < known[zero + k + 1])
        before = k + 1 if down else k - 1
        x_before = known[zero + before] if edits else 0
        y_before = x_before - before if edits else 0
        while x > x_before and y > y_before:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = x_before, y_before
    return pairs[::-1]
