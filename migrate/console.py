"""What a person sees while a command runs. Results go to standard output, all of this to standard error.

On a terminal, stages move (rich draws them); elsewhere each stage is one plain line. Whatever is shown
passes through `migrate.text.show` first and is never read as markup: strings from a guest are hostile.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from migrate.errors import Vm2cError
from migrate.text import show

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress, TaskID
    from rich.style import StyleType


def is_terminal(stream: TextIO) -> bool:
    """Tell whether `stream` is a terminal that can move its cursor (TERM=dumb cannot)."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


class Stage:
    """A stage that is under way. `update` may be called as often as wanted; it is shown when it can be."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self.title = title
        self.summary = ""

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Say what is being done now; `done` of `total` (any unit) moves the bar where there is one."""
        self.summary = text
        self._console._update(self, text, done, total)  # noqa: SLF001 - the two classes are one thing


class Console:
    """Messages and progress of one command.

    `quiet` leaves warnings and errors only. `verbose` shows `detail` too. Streams are looked up when
    they are written to, so that a test or a caller may replace `sys.stderr`.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self._rich: RichConsole | None = None
        self._progress: Progress | None = None
        self._tasks: dict[Stage, TaskID] = {}

    # ------------------------------------------------------------ messages

    def say(self, text: str) -> None:
        """Show a line, unless quiet."""
        if not self.quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """Show a line that only a curious person wants."""
        if self.verbose:
            self._line(text, "dim")

    def warn(self, text: str) -> None:
        """Show a warning, even when quiet."""
        self._line(text, prefix="warning: ", prefix_style="bold yellow")

    def error(self, error: Vm2cError) -> None:
        """Show on one line what was attempted, what was found and what to do; the error's own output comes between."""
        lines = getattr(error, "lines", ())
        if not lines:
            self._line(str(error), prefix="error: ", prefix_style="bold red")
            return
        self._line(f"cannot {error.attempted}: {error.found}", prefix="error: ", prefix_style="bold red")
        for line in lines:
            self._line(line, "dim", prefix="  | ", prefix_style="dim")
        if error.do:
            self._line(error.do, prefix="  to do: ", prefix_style="bold")

    def _line(self, text: str, style: StyleType = "", prefix: str = "", prefix_style: StyleType = "") -> None:
        if not is_terminal(sys.stderr):
            print(prefix + show(text), file=sys.stderr, flush=True)
            return
        from rich.text import Text

        line = Text.assemble((prefix, prefix_style), (show(text), style))
        self._terminal().print(line, soft_wrap=True)

    # ------------------------------------------------------------ progress

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Show that `title` is under way until the block ends; stages may be nested."""
        stage = Stage(self, title)
        if self.quiet:
            yield stage
        elif is_terminal(sys.stderr):
            with self._moving(stage):
                yield stage
        else:
            self._line(title)
            yield stage

    def _update(self, stage: Stage, text: str, done: float | None, total: float | None) -> None:
        task = self._tasks.get(stage)
        if self._progress is not None and task is not None:
            self._progress.update(task, completed=done, total=total, now=show(text))

    @contextlib.contextmanager
    def _moving(self, stage: Stage) -> Iterator[None]:
        progress = self._progress
        if progress is None:
            progress = self._progress = self._new_progress()
            progress.start()
        self._tasks[stage] = task = progress.add_task(show(stage.title), total=None, now="")
        began, mark = time.monotonic(), "failed"
        try:
            yield
            mark = "done"
        finally:
            del self._tasks[stage]
            progress.remove_task(task)
            if not self._tasks:
                progress.stop()
                self._progress = None
            self._finished(stage, mark, time.monotonic() - began)

    def _finished(self, stage: Stage, mark: str, seconds: float) -> None:
        from rich.text import Text

        sign, style = ("✓", "green") if mark == "done" else ("✗", "red")
        if self._terminal().options.ascii_only:
            sign = mark
        parts = [(f"{sign} ", style), (show(stage.title), ""), (f"  {seconds:.1f} s", "dim")]
        self._terminal().print(Text.assemble(*parts), soft_wrap=True)

    def _new_progress(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Task as RichTask
        from rich.table import Column
        from rich.text import Text

        class Known(MofNCompleteColumn):  # nothing rather than "0/?" where the end is not known
            def render(self, task: RichTask) -> Text:
                return Text("") if task.total is None else super().render(task)

        class Bar(BarColumn):
            def __call__(self, task: RichTask) -> Text:
                return Text("") if task.total is None else super().__call__(task)  # type: ignore[return-value]

        return Progress(
            SpinnerColumn("line" if self._terminal().options.ascii_only else "dots"),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            Bar(bar_width=24),
            Known(),
            TextColumn("{task.fields[now]}", style="dim", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            TimeElapsedColumn(),
            console=self._terminal(),
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _terminal(self) -> RichConsole:
        if self._rich is None or self._rich.file is not sys.stderr:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(
                file=sys.stderr, markup=False, highlight=False, emoji=False, no_color=bool(os.environ.get("NO_COLOR"))
            )
        return self._rich

    # ------------------------------------------------------------ results

    def print_table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write a table to standard output: fitted to a terminal, or plain aligned text that tools can cut."""
        cells = [[show(str(cell)) for cell in row] for row in rows]
        if not is_terminal(sys.stdout):
            print(plain_table(show(title), [show(c) for c in columns], cells))
            return
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(show(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(Text(show(column)), overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        out = RichConsole(file=sys.stdout, markup=False, emoji=False, no_color=bool(os.environ.get("NO_COLOR")))
        out.print(table)


def _width(text: str) -> int:
    """Columns a text takes on a terminal (Unicode Standard Annex 11: wide and full-width take two)."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, two spaces apart, without trailing spaces. Cells hold one line each."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    text = [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*([title, ""] if title else []), *text])
