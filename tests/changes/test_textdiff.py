from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.changes import textdiff
from migrate.changes.textdiff import MAX_EDITS, MAX_SHOWN, Shown, lines_of, matching_blocks, safe, unified, unshowable


def plain(data: bytes) -> Shown:
    raw = lines_of(data)
    return Shown(raw, lambda at: safe(raw[at].decode("utf-8", "surrogateescape")))


def difference(a: bytes, b: bytes) -> str:
    return unified(plain(a), plain(b), "/etc/x", "/var/cache/x.deb").text


def test_the_unified_format() -> None:
    before = "".join(f"{n}\n" for n in range(1, 31)).encode()
    after = before.replace(b"\n5\n", b"\nfive\nand more\n").replace(b"\n20\n", b"\n").replace(b"\n30\n", b"\n30")
    assert difference(before, after) == (
        "--- /etc/x (/var/cache/x.deb)\n+++ /etc/x\n"
        "@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+and more\n 6\n 7\n 8\n"
        "@@ -17,7 +18,6 @@\n 17\n 18\n 19\n-20\n 21\n 22\n 23\n"
        "@@ -27,4 +27,4 @@\n 27\n 28\n 29\n-30\n+30\n\\ No newline at end of file\n"
    )


def test_from_and_to_nothing() -> None:
    assert difference(b"", b"a\n").splitlines()[2:] == ["@@ -0,0 +1 @@", "+a"]
    assert difference(b"a\nb\n", b"").splitlines()[2:] == ["@@ -1,2 +0,0 @@", "-a", "-b"]
    assert unified(plain(b"a\n"), plain(b"a\n"), "/x") == textdiff.Unified("", "its text is the same")


TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d e", ""]), max_size=14).map(lambda lines: "\n".join(lines).encode())


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS)
def test_the_shortest_edit_is_found(first: bytes, second: bytes) -> None:
    a, b = lines_of(first), lines_of(second)
    blocks = matching_blocks(a, b)
    assert all(a[x : x + n] == b[y : y + n] and n > 0 for x, y, n in blocks)
    assert all(x + n <= x2 and y + n <= y2 for (x, y, n), (x2, y2, _) in itertools.pairwise(blocks))
    assert sum(n for _, _, n in blocks) == longest_common(a, b)


def longest_common(a: list[bytes], b: list[bytes]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        above, row = row, [0] * (len(b) + 1)
        for at, y in enumerate(b):
            row[at + 1] = above[at] + 1 if x == y else max(above[at + 1], row[at])
    return row[-1]


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch program")
def test_patch_makes_one_of_the_other(tmp_path: Path) -> None:
    generator = random.Random(3)
    for _ in range(25):
        before = b"".join(b"%d\n" % generator.randrange(9) for _ in range(generator.randrange(1, 60)))
        lines = lines_of(before)
        for _ in range(5):
            lines.insert(generator.randrange(len(lines) + 1), b"new %d\n" % generator.randrange(9))
            del lines[generator.randrange(len(lines))]
        after = b"".join(lines)
        file = tmp_path / "x"
        file.write_bytes(before)
        if text := difference(before, after):
            subprocess.run(["patch", "-s", str(file)], input=text.encode(), check=True, capture_output=True)
        assert file.read_bytes() == after


def test_more_edits_than_are_looked_for_are_one_block() -> None:
    a = [b"%d\n" % n for n in range(MAX_EDITS)]
    b = [line if n % 3 == 0 else b"x%d\n" % n for n, line in enumerate(a)]
    assert len(matching_blocks(a, b[:300] + a[300:])) > 90
    assert matching_blocks(a, b) == [(0, 0, 1), (MAX_EDITS - 1, MAX_EDITS - 1, 1)]


@pytest.mark.parametrize("kind", ["two letters", "all differ", "interleaved"])
def test_hostile_lines_take_no_more_time(kind: str) -> None:
    generator = random.Random(1)
    count = textdiff.MAX_LINES
    letters = [[generator.choice([b"a\n", b"b\n"]) for _ in range(count)] for _ in range(2)]
    numbers = [b"%d\n" % n for n in range(count)]
    a, b = {
        "two letters": letters,
        "all differ": [numbers, [b"x" + line for line in numbers]],
        "interleaved": [[b"a\n"] * count, [line for n in numbers[: count // 2] for line in (b"a\n", n)]],
    }[kind]
    start = time.process_time()
    matching_blocks(a, b)
    assert time.process_time() - start < 20  # 1 s of one core


def test_memory_is_bounded_by_the_edits() -> None:
    tracemalloc.start()
    matching_blocks([b"%d\n" % n for n in range(500)], [b"x%d\n" % n for n in range(500)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_long_differences_are_cut_and_that_is_said() -> None:
    text = difference(b"", b"".join(b"%d\n" % n for n in range(2000)))
    lines = text.splitlines()
    assert len(lines) == 2 + MAX_SHOWN + 1
    assert lines[-1] == f"… {2001 - MAX_SHOWN} more lines of the difference are not shown"


def test_long_lines_are_cut_and_that_is_said() -> None:
    assert difference(b"", b"x" * 1000 + b"\n").splitlines()[3] == "+" + "x" * 400 + " … 600 more characters"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"\x1b[2Jcleared", "\\x1b[2Jcleared"),
        ("a\u202eb\u2066c".encode(), "a\\u202eb\\u2066c"),
        ("a\u061cb\u200fc".encode(), "a\\u061cb\\u200fc"),
        ("tag\U000e0041".encode(), "tag\\ue0041"),
        (b"caf\xe9", "caf\\xe9"),
        ("café\tau lait".encode(), "café\tau lait"),
        (b"crlf\r", "crlf\\r"),
        (b"\x7f\x9b", "\\x7f\\x9b"),
        ("soft\u00adhyphen\u00a0".encode(), "soft\\u00adhyphen\\u00a0"),
        ("line\u2028separator\x85".encode(), "line\\u2028separator\\x85"),
    ],
)
def test_nothing_that_a_terminal_obeys(line: bytes, shown: str) -> None:
    assert difference(b"", line + b"\n").split("\n")[3] == "+" + shown


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_shown_safely(a: bytes, b: bytes) -> None:
    text = difference(a, b)
    assert all(char.isprintable() or char in "\n\t" for char in text)
    text.encode()


def test_a_path_does_not_break_its_line() -> None:
    text = unified(plain(b""), plain(b"a\n"), "/etc/\n+++ x\x1b", "/var/\nx").text
    assert text.splitlines()[:2] == ["--- /etc/\\n+++ x\\x1b (/var/\\nx)", "+++ /etc/\\n+++ x\\x1b"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x7fELF\x02\0", "it is no text: it holds NUL"),
        (b"a" * (textdiff.MAX_TEXT + 1), "longer than"),
        (b"\n" * (textdiff.MAX_LINES + 1), "lines"),
        (b"", ""),
        (b"caf\xe9\n" * 100, ""),
    ],
)
def test_what_is_no_text(data: bytes, says: str) -> None:
    assert (says in unshowable(data)) if says else unshowable(data) == ""
