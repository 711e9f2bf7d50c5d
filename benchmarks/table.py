"""From single runs to the table, and its JSON: pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.measure import Measured

WIDTH = 120
BASE = "virt-inspector"
"""The tool that the others are compared with."""

FLOOR = "floor: convert to raw, md5sum"
CONTENT = "floor: what is not empty, md5sum"
"""What reading and hashing a disk takes, once with its holes, once without."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One tool on one disk. Seconds of all rounds, bytes of memory (the largest of all rounds).

    `ratio` is the best time divided by virt-inspector's best on the same disk, None where that is missing; so are
    `of_floor` and `of_content`, by those of FLOOR and CONTENT.
    `failed` is why there are no times.
    """

    tool: str
    seconds: tuple[float, ...] = ()
    best: float | None = None
    median: float | None = None
    ratio: float | None = None
    of_floor: float | None = None
    of_content: float | None = None
    memory: int = 0
    appliance: int = 0
    failed: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One disk and its rows; `bytes` is the image's own size."""

    disk: str
    says: str
    bytes: int
    rows: tuple[Row, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one call measured, and under what conditions."""

    processors: int
    emulation: str
    rounds: int
    disks: tuple[Section, ...]


def rows(runs: dict[str, list[Measured]]) -> tuple[Row, ...]:
    """Return a row for each tool, in order. One run that failed is told, and the tool's times count for nothing."""
    best = {tool: min(each.seconds for each in some) for tool, some in runs.items() if some and not _failed(some)}

    def ratio(tool: str, other: str) -> float | None:
        return round(best[tool] / best[other], 4) if best.get(other) else None

    return tuple(
        Row(tool=tool, failed=_failed(some) or "not run")
        if tool not in best
        else Row(
            tool=tool,
            seconds=tuple(round(each.seconds, 3) for each in some),
            best=round(best[tool], 3),
            median=round(statistics.median(each.seconds for each in some), 3),
            ratio=ratio(tool, BASE),
            of_floor=ratio(tool, FLOOR),
            of_content=ratio(tool, CONTENT),
            memory=max(each.memory for each in some),
            appliance=max(each.appliance for each in some),
        )
        for tool, some in runs.items()
    )


def _failed(runs: Sequence[Measured]) -> str:
    return next((each.failed for each in runs if each.failed), "")


def text(outcome: Outcome) -> str:
    """Return the table, at most WIDTH columns wide."""
    lines = [
        f"{outcome.processors} processors. {outcome.emulation}",
        f"The tools in turn, rounds: {outcome.rounds}. Seconds, best and median; ratios are of the best.",
        "Memory: the peak of all processes together, the appliance's machine (qemu) for itself.",
    ]
    for section in outcome.disks:
        lines += ["", f"{section.disk}: {section.says}; {_mebibytes(section.bytes)}"]
        titles = ("", "best", "median", "of virt-inspector", "times as fast", "of floor", "of content", "memory",
                  "appliance")  # fmt: skip
        lines.append(_line(titles))
        lines += [_row(row) for row in section.rows]
    return "\n".join(line[:WIDTH].rstrip() for line in lines) + "\n"


def _row(row: Row) -> str:
    if row.best is None or row.median is None:
        return f"  {row.tool:<32}{row.failed}"
    share, speed = ("-", "-") if row.ratio is None else (f"{row.ratio:.3f}", f"{1 / row.ratio:.1f}")
    appliance = _mebibytes(row.appliance) if row.appliance else "-"
    floors = ("-" if each is None else f"{each:.2f}" for each in (row.of_floor, row.of_content))
    memory = _mebibytes(row.memory)
    return _line((row.tool, f"{row.best:.2f}", f"{row.median:.2f}", share, speed, *floors, memory, appliance))


def _line(cells: Sequence[str]) -> str:
    name, *numbers = cells
    widths = (8, 8, 17, 14, 9, 11, 9, 10)
    return f"  {name:<32}" + "".join(f"{cell:>{width}}" for cell, width in zip(numbers, widths, strict=True))


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
