"""Boxes of one group become one tall box: its members one below the other, the lines between them inside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from migrate.drawing.model import LABEL, LANE, PAD, SPACE, TITLE, Box, Link, Unit


def make_units(boxes: Sequence[Box], links: Sequence[Link]) -> list[Unit]:
    """Return the units in the order of their first boxes; a group of one box is a box."""
    members: dict[str, list[Box]] = defaultdict(list)
    for box in boxes:
        members[box.group or f"\0{box.id}"].append(box)
    units = []
    for key, inside in members.items():
        grouped = len(inside) > 1
        unit = Unit(key, inside, group=key if grouped else "")
        ids = {box.id for box in inside}
        unit.inner = [i for i, link in enumerate(links) if {link.source, link.target} <= ids]
        _stack(unit, links)
        units.append(unit)
    return units


def _stack(unit: Unit, links: Sequence[Link]) -> None:
    """Order a unit's boxes, sources above targets, and measure it."""
    inner = [links[i] for i in unit.inner]
    order = by_need([box.id for box in unit.boxes], [(link.source, link.target) for link in inner])
    unit.boxes.sort(key=lambda box: order.index(box.id))
    place_of = {box.id: n for n, box in enumerate(unit.boxes)}
    unit.gaps = {box.id: [] for box in unit.boxes}
    for i in unit.inner:
        ends = sorted((place_of[links[i].source], place_of[links[i].target]))
        unit.gaps[unit.boxes[max(ends[1] - 1, 0)].id].append(i)
    far = [i for i in unit.inner if abs(place_of[links[i].source] - place_of[links[i].target]) != 1]
    side = (PAD if unit.group else 0) + LANE * len(far)
    top = float(TITLE if unit.group else 0)
    for box in unit.boxes:
        unit.tops[box.id] = top
        labels = sum(1 for i in unit.gaps[box.id] if links[i].label_width)
        tied = bool(unit.gaps[box.id])
        top += box.height + SPACE / 2 + (LABEL * labels + SPACE if tied else 0)
    last = unit.boxes[-1]
    foot = top if unit.gaps[last.id] else unit.tops[last.id] + last.height
    unit.height = foot + (PAD if unit.group else 0)
    widest = max([box.width for box in unit.boxes] + [link.label_width + 2 * LANE for link in inner])
    unit.width = widest + 2 * side


def by_need(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the names, sources before targets as far as cycles allow, otherwise in the order given."""
    sources: dict[str, set[str]] = defaultdict(set)
    for source, target in pairs:
        if source != target:
            sources[target].add(source)
    left = dict.fromkeys(names)
    done = []
    while left:
        free = next((name for name in left if not sources[name] & left.keys()), next(iter(left)))
        done.append(free)
        del left[free]
    return done
