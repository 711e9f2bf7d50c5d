"""The values of a drawing: what is to be placed, what is placed as one, and the picture that comes out.

Units are pixels, from the upper left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

GAP = 32  # between ranks: where lines bend
SPACE = 18  # between two items of a rank
LANE = 12  # between two lines beside a stack
LABEL = 18  # height of a label
TITLE = 24  # height of a group's title
PAD = 12  # inside a group's border


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A thing to place; boxes with the same `group` stay together."""

    id: str
    width: float
    height: float
    group: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A line from one box to another; `label_width` is 0 where it has no label."""

    source: str
    target: str
    label_width: float = 0


class Rect(msgspec.Struct, frozen=True):
    """A placed box: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The way of a link: an SVG path, the place of its arrow's tip with its direction, and of its label's centre."""

    path: str
    tip: tuple[float, float]
    direction: tuple[int, int]
    label: tuple[float, float]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; `routes` are in the order of the links."""

    width: float
    height: float
    boxes: Mapping[str, Rect]
    groups: Mapping[str, Rect]
    routes: Sequence[Route]


@dataclass(eq=False)
class Unit:
    """What is placed as one: a box, or a group's stack of boxes. `y` is its middle."""

    key: str
    boxes: list[Box]
    group: str = ""
    inner: list[int] = field(default_factory=list)  # links that stay inside
    tops: dict[str, float] = field(default_factory=dict)  # of each box, from the unit's top
    gaps: dict[str, list[int]] = field(default_factory=dict)  # links whose label stands below a box
    width: float = 0
    height: float = 0
    rank: int = 0
    y: float = 0

    def port(self, box: str) -> float:
        """Return the middle of a box, from the unit's middle."""
        height = next(b.height for b in self.boxes if b.id == box)
        return self.tops[box] + height / 2 - self.height / 2


@dataclass(eq=False)
class Via:
    """A place that a line passes through between its ends; with a width, its label's place."""

    link: int
    rank: int
    width: float
    height: float
    y: float = 0


Item = Unit | Via


@dataclass(eq=False)
class Chain:
    """A link between two units, as the items it passes; `turned` where it is drawn against its direction."""

    link: int
    start: Unit
    end: Unit
    start_box: str
    end_box: str
    turned: bool
    vias: list[Via] = field(default_factory=list)

    def steps(self) -> list[tuple[Item, float, Item, float]]:
        """Return neighbouring items with the heights, from their middles, at which the line meets them."""
        items: list[tuple[Item, float]] = [
            (self.start, self.start.port(self.start_box)),
            *((via, 0.0) for via in self.vias),
            (self.end, self.end.port(self.end_box)),
        ]
        return [(a, at, b, bt) for (a, at), (b, bt) in pairwise(items)]
