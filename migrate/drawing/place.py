"""Placing boxes and lines so that the picture can be read: a layered drawing from left to right.

The method is that of K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical
system structures" (1981): turn cycles, rank by the longest path, order each rank by barycentres, then settle the
heights. Two additions make sure that no text is ever crossed. Boxes of one group are one tall box, with its
members stacked. A line's label is an item of a rank of its own, between those of the boxes. Within a rank all lines
are level and have their place; they bend only in the gaps between ranks, where nothing is written.

Units are pixels. The same input gives the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from migrate.drawing.layers import make_chains, make_layers, order, set_ranks, settle
from migrate.drawing.model import GAP, LABEL, LANE, PAD, SPACE, Box, Chain, Item, Link, Picture, Rect, Route, Unit
from migrate.drawing.stack import make_units


def place(boxes: Sequence[Box], links: Sequence[Link], loose_width: float = 900) -> Picture:
    """Return where everything goes. Boxes without a link stand in rows below, `loose_width` wide at least."""
    units = make_units(boxes, links)
    unit_of = {box.id: unit for unit in units for box in unit.boxes}
    chains = make_chains(units, unit_of, links)
    tied = {id(unit) for chain in chains for unit in (chain.start, chain.end)}
    set_ranks(units, chains)
    layers = make_layers([unit for unit in units if id(unit) in tied], chains, links)
    order(layers, chains)
    settle(layers, chains)
    return _Drawing(layers, chains, links, [u for u in units if id(u) not in tied], loose_width).picture()


class _Drawing:
    """Turns ranks and heights into coordinates."""

    def __init__(
        self,
        layers: Sequence[Sequence[Item]],
        chains: Sequence[Chain],
        links: Sequence[Link],
        loose: Sequence[Unit],
        loose_width: float,
    ) -> None:
        self._chains = chains
        self._links = links
        self._boxes: dict[str, Rect] = {}
        self._groups: dict[str, Rect] = {}
        self._routes: dict[int, Route] = {}
        self._columns: list[tuple[float, float]] = []  # left and right of each rank
        x = 0.0
        for layer in layers:
            width = max(item.width for item in layer) if layer else 0
            self._columns.append((x, x + width))
            x += width + GAP
        top = min((item.y - item.height / 2 for layer in layers for item in layer), default=0.0)
        self._width = max(0.0, x - GAP)
        self._height = 0.0
        for layer in layers:
            for item in layer:
                item.y -= top
                self._height = max(self._height, item.y + item.height / 2)
                if isinstance(item, Unit):
                    left, right = self._columns[item.rank]
                    self._put(item, (left + right - item.width) / 2)
        self._put_loose(loose, max(self._width, loose_width))

    def picture(self) -> Picture:
        """Return the whole."""
        ends = self._ends()
        for chain in self._chains:
            self._routes[chain.link] = self._route(chain, ends)
        return Picture(
            width=self._width,
            height=self._height,
            boxes=self._boxes,
            groups=self._groups,
            routes=[self._routes[i] for i in range(len(self._links))],
        )

    def _put(self, unit: Unit, x: float) -> None:
        top = unit.y - unit.height / 2
        for box in unit.boxes:
            left = x + (unit.width - box.width) / 2
            self._boxes[box.id] = Rect(left, top + unit.tops[box.id], box.width, box.height)
        if unit.group:
            self._groups[unit.group] = Rect(x, top, unit.width, unit.height)
        self._inside(unit, x)

    def _put_loose(self, units: Sequence[Unit], width: float) -> None:
        x, row = 0.0, 0.0
        top = self._height + (2 * SPACE if self._height else 0)
        for unit in units:
            if x and x + unit.width > width:
                x, top, row = 0.0, top + row + SPACE, 0.0
            unit.y = top + unit.height / 2
            self._put(unit, x)
            row = max(row, unit.height)
            self._width = max(self._width, x + unit.width)
            self._height = max(self._height, top + unit.height)
            x += unit.width + SPACE

    # ------------------------------------------------------------ lines inside a stack

    def _inside(self, unit: Unit, x: float) -> None:
        place_of = {box.id: n for n, box in enumerate(unit.boxes)}
        lane = x + unit.width - (PAD if unit.group else 0)
        for upper in unit.boxes:
            ties = unit.gaps[upper.id]
            near = [i for i in ties if abs(place_of[self._links[i].source] - place_of[self._links[i].target]) == 1]
            rect = self._boxes[upper.id]
            label_y = rect.y + rect.height + SPACE / 2 + LABEL / 2
            for i in ties:
                link = self._links[i]
                if i in near:
                    across = rect.x + rect.width / 2 + (near.index(i) - (len(near) - 1) / 2) * 2 * LANE
                    self._routes[i] = self._straight(link, across, label_y)
                else:
                    lane -= LANE
                    self._routes[i] = self._beside(link, lane + LANE / 2, label_y)
                label_y += LABEL if link.label_width else 0

    def _straight(self, link: Link, x: float, label_y: float) -> Route:
        source, target = self._boxes[link.source], self._boxes[link.target]
        down = target.y > source.y
        start = source.y + source.height if down else source.y
        end = target.y if down else target.y + target.height
        path = f"M{_n(x)} {_n(start)}V{_n(end)}"
        return Route(path=path, tip=(x, end), direction=(0, 1 if down else -1), label=(x, label_y))

    def _beside(self, link: Link, lane: float, label_y: float) -> Route:
        source, target = self._boxes[link.source], self._boxes[link.target]
        start, end = source.y + source.height * 0.65, target.y + target.height * 0.35
        tip = target.x + target.width
        path = f"M{_n(source.x + source.width)} {_n(start)}H{_n(lane)}V{_n(end)}H{_n(tip)}"
        label = (lane - LANE / 2 - link.label_width / 2, label_y)
        return Route(path=path, tip=(tip, end), direction=(-1, 0), label=label)

    # ------------------------------------------------------------ lines between ranks

    def _ends(self) -> dict[tuple[int, bool], float]:
        """Return the height of each line's ends (link, is its start): spread along a side, in the order they leave."""
        sides: dict[tuple[str, bool], list[tuple[float, int]]] = defaultdict(list)
        for chain in self._chains:
            steps = chain.steps()
            sides[chain.start_box, True].append((steps[0][2].y + steps[0][3], chain.link))
            sides[chain.end_box, False].append((steps[-1][0].y + steps[-1][1], chain.link))
        heights = {}
        for (box, starts), lines in sides.items():
            rect = self._boxes[box]
            step = min(12.0, (rect.height - 16) / max(1, len(lines) - 1))
            for n, (_, link) in enumerate(sorted(lines)):
                heights[link, starts] = rect.y + rect.height / 2 + (n - (len(lines) - 1) / 2) * step
        return heights

    def _route(self, chain: Chain, ends: Mapping[tuple[int, bool], float]) -> Route:
        start, end = self._boxes[chain.start_box], self._boxes[chain.end_box]
        first, last = ends[chain.link, True], ends[chain.link, False]
        points = [(start.x + start.width, first), (self._columns[chain.start.rank][1], first)]
        label = points[-1]
        for via in chain.vias:
            left, right = self._columns[via.rank]
            points += [(left, via.y), (right, via.y)]
            if via.width:
                label = ((left + right) / 2, via.y)
        points += [(self._columns[chain.end.rank][0], last), (end.x, last)]
        if chain.turned:
            points.reverse()
        return Route(path=_bend(points), tip=points[-1], direction=(-1 if chain.turned else 1, 0), label=label)


def _bend(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that is level within ranks and bends between them; points come in pairs, one for each rank."""
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for i in range(1, len(points)):
        (ax, ay), (bx, by) = points[i - 1], points[i]
        if i % 2 or ay == by:
            path += f"H{_n(bx)}"
        else:
            middle = _n((ax + bx) / 2)
            path += f"C{middle} {_n(ay)} {middle} {_n(by)} {_n(bx)} {_n(by)}"
    return path


def _n(value: float) -> str:
    """Return a coordinate with one decimal at most: the last bits of a float must not show."""
    return f"{round(value, 1) + 0.0:g}"
