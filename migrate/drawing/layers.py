"""Ranks, the order within each, and the heights: which item goes where, without coordinates across."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from migrate.drawing.model import LABEL, SPACE, Chain, Item, Link, Unit, Via
from migrate.drawing.stack import by_need

_SWEEPS = 24
_SETTLES = 120


def make_chains(units: Sequence[Unit], unit_of: Mapping[str, Unit], links: Sequence[Link]) -> list[Chain]:
    """Return the links between units, turned where they would close a cycle."""
    between = [(i, link) for i, link in enumerate(links) if unit_of[link.source] is not unit_of[link.target]]
    pairs = [(unit_of[link.source].key, unit_of[link.target].key) for _, link in between]
    position = {key: n for n, key in enumerate(by_need([u.key for u in units], pairs))}
    chains = []
    for i, link in between:
        start, end = unit_of[link.source], unit_of[link.target]
        turned = position[start.key] > position[end.key]
        if turned:
            chains.append(Chain(i, end, start, link.target, link.source, turned=True))
        else:
            chains.append(Chain(i, start, end, link.source, link.target, turned=False))
    return chains


def set_ranks(units: Sequence[Unit], chains: Sequence[Chain]) -> None:
    """Set ranks: two steps along every line, so that labels have the odd ones; then pull sources to their targets."""
    for _ in units:
        moved = False
        for chain in chains:
            if chain.end.rank < chain.start.rank + 2:
                chain.end.rank = chain.start.rank + 2
                moved = True
        if not moved:
            break
    entered = {id(chain.end) for chain in chains}
    for unit in units:
        ends = [chain.end.rank for chain in chains if chain.start is unit]
        if ends and id(unit) not in entered:
            unit.rank = min(ends) - 2


def make_layers(units: Sequence[Unit], chains: Sequence[Chain], links: Sequence[Link]) -> list[list[Item]]:
    """Return the items of each rank; lines pass through every rank between their ends."""
    if not units:
        return []
    layers: list[list[Item]] = [[] for _ in range(max(unit.rank for unit in units) + 1)]
    for unit in units:
        layers[unit.rank].append(unit)
    for chain in chains:
        width = links[chain.link].label_width
        label_rank = chain.end.rank - 1
        for rank in range(chain.start.rank + 1, chain.end.rank):
            labelled = bool(width) and rank == label_rank
            chain.vias.append(Via(chain.link, rank, width if labelled else 0, LABEL if labelled else LABEL / 2))
            layers[rank].append(chain.vias[-1])
    return layers


def _neighbours(chains: Sequence[Chain]) -> tuple[dict[int, list[_Meeting]], dict[int, list[_Meeting]]]:
    """Return, for the identity of each item, what it meets in the rank before and in the rank after it."""
    before: dict[int, list[_Meeting]] = defaultdict(list)
    after: dict[int, list[_Meeting]] = defaultdict(list)
    for chain in chains:
        for a, at, b, bt in chain.steps():
            after[id(a)].append((b, bt, at))
            before[id(b)].append((a, at, bt))
    return before, after


_Meeting = tuple[Item, float, float]  # the other item, the line's height there, and here


def order(layers: list[list[Item]], chains: Sequence[Chain]) -> None:
    """Order the items of each rank so that few lines cross: barycentre sweeps, the best result kept."""
    before, after = _neighbours(chains)
    _pack(layers)
    best, best_layers = _crossings(layers, chains), [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            met = before if forward else after
            weights = {
                id(item): fmean([o.y + there - here for o, there, here in met[id(item)]]) if met[id(item)] else item.y
                for item in layer
            }
            layer.sort(key=lambda item: weights[id(item)])
            _pack([layer])
        for layer in layers:
            _swap(layer, before, after)
        found = _crossings(layers, chains)
        if found < best:
            best, best_layers = found, [list(layer) for layer in layers]
    layers[:] = best_layers
    _pack(layers)


def _swap(layer: list[Item], *sides: Mapping[int, Sequence[_Meeting]]) -> None:
    """Swap neighbours of a rank as long as that takes crossings away; barycentres alone leave such pairs."""

    def crossings(upper: Item, lower: Item) -> int:
        return sum(
            1
            for side in sides
            for a, at, _ in side.get(id(upper), ())
            for b, bt, _ in side.get(id(lower), ())
            if a.y + at > b.y + bt
        )

    for _ in layer:
        swapped = False
        for i in range(len(layer) - 1):
            upper, lower = layer[i], layer[i + 1]
            if crossings(lower, upper) < crossings(upper, lower):
                layer[i], layer[i + 1] = lower, upper
                swapped = True
        if not swapped:
            break
    _pack([layer])


def _pack(layers: Sequence[Sequence[Item]]) -> None:
    """Give the items of each rank heights one below the other, around zero."""
    for layer in layers:
        y = -sum(item.height + SPACE for item in layer) / 2
        for item in layer:
            item.y = y + item.height / 2
            y += item.height + SPACE


def _crossings(layers: Sequence[Sequence[Item]], chains: Sequence[Chain]) -> int:
    """Count the pairs of lines that cross, rank by rank."""
    steps: dict[int, list[tuple[float, float]]] = defaultdict(list)
    rank = {id(item): r for r, layer in enumerate(layers) for item in layer}
    for chain in chains:
        for a, at, b, bt in chain.steps():
            steps[rank[id(a)]].append((a.y + at, b.y + bt))
    count = 0
    for lines in steps.values():
        lines.sort()
        count += sum(1 for i, (_, b) in enumerate(lines) for _, other in lines[i + 1 :] if other < b)
    return count


def settle(layers: Sequence[Sequence[Item]], chains: Sequence[Chain]) -> None:
    """Move items towards what they are tied to, their order and distances kept."""
    before, after = _neighbours(chains)
    for turn in range(_SETTLES):
        for layer in layers if turn % 2 == 0 else reversed(layers):
            wanted, weight = [], []
            for item in layer:
                met = [*before[id(item)], *after[id(item)]]
                wanted.append(fmean([o.y + there - here for o, there, here in met]) if met else item.y)
                weight.append(4.0 if isinstance(item, Via) else 1.0)
            _spread(layer, wanted, weight)


def _spread(layer: Sequence[Item], wanted: Sequence[float], weight: Sequence[float]) -> None:
    """Set heights nearest to those wanted (least squares) that keep order and distance: pool adjacent violators."""
    offsets, offset = [], 0.0
    for i, item in enumerate(layer):
        offset += (layer[i - 1].height + item.height) / 2 + SPACE if i else 0
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for want, heavy, off in zip(wanted, weight, offsets, strict=True):
        mean, mass, size = want - off, heavy, 1
        while pools and pools[-1][0] > mean:
            last_mean, last_mass, last_size = pools.pop()
            mean = (mean * mass + last_mean * last_mass) / (mass + last_mass)
            mass, size = mass + last_mass, size + last_size
        pools.append((mean, mass, size))
    means = [mean for mean, _, size in pools for _ in range(size)]
    for item, mean, off in zip(layer, means, offsets, strict=True):
        item.y = mean + off
