"""What a person sees: on a terminal (a real pseudo-terminal), elsewhere, and when the guest is hostile."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.console import Console, plain_table
from migrate.container import BuildError
from migrate.errors import DiskError
from migrate.naming import image_tag, slug

HOSTILE = "\x1b[31m[bold]evil[/bold]\r\n\u202egnp.exe\x07"


class Terminal:
    """A pseudo-terminal in place of a standard stream; `text` is what reached its screen."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: the other side is closed (pty(7))
            while piece := os.read(self._master, 65536):
                self._seen += piece

    def text(self) -> str:
        self.stream.close()
        self._reader.join(5)
        os.close(self._master)
        return self._seen.decode()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Terminal]]:
    """Put a terminal in place of `stderr` or `stdout`; pytest sets these anew after fixtures, so a test calls it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made: list[Terminal] = []

    def place(stream: str) -> Terminal:
        made.append(Terminal())
        monkeypatch.setattr(sys, stream, made[-1].stream)
        return made[-1]

    yield place
    for terminal in made:
        if not terminal.stream.closed:
            terminal.text()


def without_control(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_plain_is_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=False, verbose=False)
    with console.stage("read packages") as stage:
        for i in range(100):
            stage.update(f"package {i}", i, 100)
        with console.stage("read dpkg"):
            pass
    console.say("done")
    console.detail("not shown")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "read packages\nread dpkg\ndone\n"


def test_quiet_keeps_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True, verbose=True)
    with console.stage("read") as stage:
        stage.update("x", 1, 2)
    console.say("said")
    console.detail("detail")
    console.warn("careful")
    console.error(DiskError("open a.qcow2", "it is text", "look at it with qemu-img info"))
    assert capsys.readouterr().err == (
        "warning: careful\nerror: cannot open a.qcow2: it is text; look at it with qemu-img info\n"
    )


def test_verbose_shows_detail(capsys: pytest.CaptureFixture[str]) -> None:
    Console(quiet=False, verbose=True).detail("seen in /etc/hosts:3")
    assert capsys.readouterr().err == "seen in /etc/hosts:3\n"


def test_error_shows_the_lines_it_carries(capsys: pytest.CaptureFixture[str]) -> None:
    Console().error(BuildError("build a", "it stopped", "do this", step="Step 1/2 : RUN x", lines=("one", HOSTILE)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "  | one"
    assert lines[2] == r"  | \x1b[31m[bold]evil[/bold]\r\n\u202egnp.exe\x07"
    assert lines[3] == "  to do: do this"


def test_terminal_moves_and_leaves_one_line(screen: Callable[[str], Terminal]) -> None:
    terminal = screen("stderr")
    console = Console()
    with console.stage("read packages") as stage:
        stage.update("dpkg", 3, 10)
        console.say("a message meanwhile")
        with console.stage("inner"):
            pass
    raw = terminal.text()
    text = without_control(raw)
    assert "\x1b[" in raw
    assert "a message meanwhile" in text
    assert re.search(r"✓ inner  \d+\.\d s", text)
    assert re.search(r"✓ read packages  \d+\.\d s", text)


def test_terminal_shows_a_failed_stage(screen: Callable[[str], Terminal]) -> None:
    terminal = screen("stderr")
    console = Console()
    with pytest.raises(KeyError), console.stage("read"):
        raise KeyError
    with console.stage("again"):  # the display was let go of
        pass
    text = without_control(terminal.text())
    assert "✗ read" in text
    assert "✓ again" in text


def test_no_color(screen: Callable[[str], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = screen("stderr")
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console()
    with console.stage("read") as stage:
        stage.update("x", 1, 2)
    console.warn("careful")
    colours = re.findall(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m", terminal.text())
    assert colours == []


def test_dumb_terminal_gets_plain_lines(screen: Callable[[str], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = screen("stderr")
    monkeypatch.setenv("TERM", "dumb")
    with Console().stage("read") as stage:
        stage.update("x", 1, 2)
    assert terminal.text() == "read\r\n"  # the line discipline adds the carriage return


def test_hostile_strings_on_a_terminal(screen: Callable[[str], Terminal]) -> None:
    terminal = screen("stderr")
    console = Console(verbose=True)
    console.say(HOSTILE)
    console.detail(HOSTILE)
    console.warn(HOSTILE)
    console.error(DiskError(HOSTILE, HOSTILE, HOSTILE))
    with console.stage(HOSTILE) as stage:
        stage.update(HOSTILE + "{task.description} {0}", 1, 2)
    raw = terminal.text()
    assert "\x07" not in raw
    assert "\u202e" not in raw
    assert "\x1b[31m[bold]evil" not in raw
    assert r"\x1b[31m[bold]evil[/bold]\r\n\u202egnp.exe\x07" in without_control(raw)


def test_table_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Console().print_table("Found", ["id", "what"], [["a", "one two"], ["日本", HOSTILE], ["[red]x[/red]", None]])
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "Found\n\n"
        "id            what\n"
        "------------  ----------------------------------------------\n"
        "a             one two\n"
        "日本          \\x1b[31m[bold]evil[/bold]\\r\\n\\u202egnp.exe\\x07\n"
        "[red]x[/red]  None\n"
    )


def test_table_on_a_terminal(screen: Callable[[str], Terminal]) -> None:
    terminal = screen("stdout")
    Console().print_table("Found", ["id"], [["[red]x[/red]"], [HOSTILE]])
    text = without_control(terminal.text())
    assert "[red]x[/red]" in text
    assert r"\u202egnp.exe" in text
    assert "\u202e" not in text


def test_table_without_rows() -> None:
    assert plain_table("", ["a", "bc"], []) == "a  bc\n-  --"


@given(st.text(max_size=40), st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), max_size=4))
def test_any_text_stays_on_its_line(title: str, rows: list[list[str]]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        Console().print_table(title, ["a", "b"], rows)
    assert len(out.getvalue().splitlines()) == len(rows) + (4 if title else 2)


def test_rich_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, migrate.console, migrate.engine, migrate.report; print([m for m in sys.modules if m in HEAVY])"
    heavy = "HEAVY = {'rich', 'docker', 'networkx', 'jinja2', 'guestfs'}; "
    done = subprocess.run([sys.executable, "-c", heavy + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web01", "web01"),
        ("Web01", "web01"),
        ("postgresql@15-main", "postgresql-15-main-3cebb1"),
        ("", "e3b0c4"),
        ("a" * 63, "a" * 63),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


@given(st.text(max_size=100), st.integers(8, 63))
def test_slug_is_always_a_label(text: str, limit: int) -> None:
    name = slug(text, limit)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= limit
    assert slug(name, limit) == name


def test_slug_keeps_different_texts_apart() -> None:
    assert len({slug(t) for t in ("a.b", "a_b", "a-b", "a b", "a..b", "\u212a", "k")}) == 7


def test_slug_needs_room() -> None:
    with pytest.raises(ValueError, match="no room"):
        slug("a", 7)


def test_image_tag() -> None:
    assert image_tag("Web01", "orders") == "vm2c/web01/orders:latest"
    assert image_tag("web01", "orders", "0123456789ab") == "vm2c/web01/orders:0123456789ab"
    # github.com/distribution/reference, regexp.go: what an image reference may look like
    name = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*:[\w][\w.-]{0,127}"
    assert re.fullmatch(name, image_tag("../Evil Host\n", "x y@z"))
