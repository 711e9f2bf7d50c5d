"""The graph of a machine as inline SVG: components and jobs, what they need, what they keep, and their Pods.

Colours are classes that the page's style sheet knows. Text is measured as a monospaced font sets it, whose
characters are 0.6 em wide in every common one (Menlo, DejaVu Sans Mono 0.602; Consolas 0.55), so that boxes fit it
wherever the page is opened.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from migrate.drawing.model import TITLE, Box, Link, Picture, Rect, Route
from migrate.drawing.place import place
from migrate.plan.model import Component, Plan
from migrate.text import show

_DRAWN = ("component", "job", "external", "data")
_LONGEST = 28  # characters of a name; the whole one is in the box's tooltip
_CHARACTER = 0.602
_NAME, _SMALL = 13, 11  # font sizes
_MOST = 150  # boxes; above it a picture explains nothing
_MARGIN = 8
_HEIGHTS = {"component": 46.0, "job": 46.0, "external": 42.0, "data": 50.0}
DECISIONS = {
    "containerize": "container",
    "virtualize": "stays a VM",
    "retire": "retired",
    "external": "elsewhere",
    "undecided": "undecided",
}


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """An SVG element, or an empty text where there is nothing to draw or too much (`left_out` boxes)."""

    svg: str
    left_out: int = 0


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    name: str
    note: str
    decision: str = ""
    pod: str = ""


class _Edge(msgspec.Struct, frozen=True, kw_only=True):
    """All lines between two boxes in one direction; `soft` where they only say which starts first."""

    source: str
    target: str
    label: str
    title: str
    kind: str
    soft: bool


def draw_graph(graph: Mapping[str, Any], plan: Plan, anchors: Mapping[str, str]) -> Drawing:
    """Return the drawing of a graph in networkx's node-link form; `anchors` maps components to the page's ids.

    A group of components that share a Pod has a box of its own. Left out are the machine's own upkeep and what
    belongs to one component alone: ports, sockets, packages, secrets.
    """
    nodes = _nodes(graph, plan)
    if len(nodes) > _MOST:
        kept = [node for node in nodes if node.kind != "data"]
        return Drawing(svg="", left_out=len(nodes)) if len(kept) > _MOST else _drawn(kept, graph, anchors, len(nodes))
    return _drawn(nodes, graph, anchors, len(nodes))


def _drawn(nodes: Sequence[_Node], graph: Mapping[str, Any], anchors: Mapping[str, str], found: int) -> Drawing:
    if not nodes:
        return Drawing(svg="")
    edges = _edges(graph, {node.id for node in nodes})
    boxes = [Box(id=n.id, width=_box_width(n), height=_HEIGHTS[n.kind], group=n.pod) for n in nodes]
    links = [Link(source=e.source, target=e.target, label_width=_label_width(e.label)) for e in edges]
    picture = place(boxes, links)
    parts = [
        _frame(picture),
        *(_pod(name, rect) for name, rect in sorted(picture.groups.items())),
        *(_line(edge, route) for edge, route in zip(edges, picture.routes, strict=True)),
        *(_label(edge, route) for edge, route in zip(edges, picture.routes, strict=True) if edge.label),
        *(_box(node, picture.boxes[node.id], anchors.get(node.id, "")) for node in nodes),
        "</svg>",
    ]
    return Drawing(svg="\n".join(parts), left_out=found - len(nodes))


# ---------------------------------------------------------------- what is drawn


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _nodes(graph: Mapping[str, Any], plan: Plan) -> list[_Node]:
    """Return the boxes in the order of their names; components first, so that sources come before what they need."""
    components = {component.id: component for component in plan.components}
    nodes = []
    for given in graph.get("nodes") or []:
        kind, name = _text(given.get("type")), _text(given.get("id"))
        component = components.get(name)
        if kind not in _DRAWN or (component and component.kind == "host"):
            continue
        nodes.append(
            _Node(
                id=name,
                kind=kind,
                name=_text(given.get("label")) or name,
                note=_note(kind, given, component),
                decision=component.decision if component else "",
                pod=(component.pod or "") if component and component.decision == "containerize" else "",
            )
        )
    return sorted({node.id: node for node in nodes}.values(), key=lambda n: (_DRAWN.index(n.kind), n.id))


def _note(kind: str, given: Mapping[str, Any], component: Component | None) -> str:
    if kind == "data":
        count = given.get("bytes")
        return size(count) if isinstance(count, int) else ""
    if kind == "external":
        return "outside this machine"
    if component is None:
        return kind
    word = DECISIONS[component.decision]
    return f"{component.schedule} · {word}" if component.schedule else word


def size(count: int) -> str:
    """Return a number of bytes as a person reads it, in powers of 1024.

    >>> size(0), size(1023), size(1536), size(5 << 30)
    ('0 B', '1023 B', '1.5 KiB', '5 GiB')
    """
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    digits = f"{value:.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0")
    return f"{digits} {unit}"


def _edges(graph: Mapping[str, Any], drawn: set[str]) -> list[_Edge]:
    between: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for edge in graph.get("edges") or []:
        source, target = _text(edge.get("source")), _text(edge.get("target"))
        if source in drawn and target in drawn and source != target:
            between[source, target].append(edge)
    edges = []
    for (source, target), same in sorted(between.items()):
        hard = [edge for edge in same if edge.get("kind") != "starts-after"]
        labels = sorted({label for edge in hard if (label := _word(edge))})
        shown = " · ".join(labels[:2]) + (f" +{len(labels) - 2}" if len(labels) > 2 else "")
        titles = [f"{_text(e.get('kind'))} {_text(e.get('detail'))} ({_text(e.get('seen_in'))})" for e in hard or same]
        kind = re.sub(r"[^a-z-]", "", _text((hard or same)[0].get("kind")))
        edges.append(
            _Edge(
                source=source,
                target=target,
                label=_short(show(shown)),
                title=f"{source} → {target}: " + "; ".join(sorted(set(titles))),
                kind=kind,
                soft=not hard,
            )
        )
    return edges


def _word(edge: Mapping[str, Any]) -> str:
    kind, detail = _text(edge.get("kind")), _text(edge.get("detail"))
    port = re.search(r":(\d{1,5})$", detail)
    if kind in {"tcp", "udp"}:
        return f"{kind} {port[1]}" if port else kind
    return {"unix-socket": "socket", "shared-files": "files", "external": "", "keeps": ""}.get(kind, kind)


# ---------------------------------------------------------------- text


def _cells(text: str) -> int:
    """Count the columns a text takes in a monospaced font (Unicode Standard Annex 11)."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _short(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most `most` columns, its middle left out: ends tell names and paths apart."""
    if _cells(text) <= most:
        return text
    head, tail = "", ""
    while _cells(head + tail) < most - 2:
        if len(head) <= len(tail):
            head += text[len(head)]
        else:
            tail = text[-len(tail) - 1] + tail
    return f"{head}…{tail}"


def _width(text: str, font: int) -> float:
    return _cells(text) * font * _CHARACTER


def _box_width(node: _Node) -> float:
    return max(96.0, _width(_short(show(node.name)), _NAME) + 30, _width(show(node.note), _SMALL) + 30)


def _label_width(label: str) -> float:
    return _width(label, _SMALL) + 14 if label else 0


# ---------------------------------------------------------------- markup


def _safe(text: str) -> str:
    return html.escape(show(text))


def _n(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"


def _frame(picture: Picture) -> str:
    width, height = _n(picture.width + 2 * _MARGIN), _n(picture.height + 2 * _MARGIN)
    view = f"{-_MARGIN} {-_MARGIN} {width} {height}"
    return (
        f'<svg class="graph" role="img" aria-label="Components and what they need" width="{width}" height="{height}"'
        f' viewBox="{view}" xmlns="http://www.w3.org/2000/svg">'
    )


def _pod(name: str, rect: Rect) -> str:
    return (
        f'<g class="pod"><rect x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" height="{_n(rect.height)}"'
        f' rx="10"/><text x="{_n(rect.x + 12)}" y="{_n(rect.y + TITLE - 8)}">Pod'
        f" {_safe(_short(show(name), int(rect.width / (_SMALL * _CHARACTER)) - 7))}</text></g>"
    )


def _line(edge: _Edge, route: Route) -> str:
    (x, y), (dx, dy) = route.tip, route.direction
    back, half = 8, 4
    points = [
        (x, y),
        (x - dx * back - dy * half, y - dy * back - dx * half),
        (x - dx * back + dy * half, y - dy * back + dx * half),
    ]
    arrow = " ".join(f"{_n(px)},{_n(py)}" for px, py in points)
    kind = "soft" if edge.soft else edge.kind
    return (
        f'<g class="tie tie-{kind}"><title>{_safe(edge.title)}</title>'
        f'<path d="{route.path}"/><polygon points="{arrow}"/></g>'
    )


def _label(edge: _Edge, route: Route) -> str:
    x, y = route.label
    width = _label_width(edge.label)
    return (
        f'<g class="word"><rect x="{_n(x - width / 2)}" y="{_n(y - 8)}" width="{_n(width)}" height="16" rx="8"/>'
        f'<text x="{_n(x)}" y="{_n(y + 4)}">{html.escape(edge.label)}</text></g>'
    )


def _box(node: _Node, rect: Rect, anchor: str) -> str:
    x, y = _n(rect.x), _n(rect.y)
    width, height = _n(rect.width), _n(rect.height)
    if node.kind == "data":
        round_, right = 5, _n(rect.x + rect.width)
        low = _n(rect.y + rect.height - round_)
        top = _n(rect.y + round_)
        half = _n(rect.width / 2)
        shape = (
            f'<path class="shape" d="M{x} {top}A{half} {round_} 0 0 1 {right} {top}V{low}'
            f'A{half} {round_} 0 0 1 {x} {low}Z"/>'
            f'<path class="shape rim" d="M{x} {top}A{half} {round_} 0 0 0 {right} {top}"/>'
        )
    else:
        shape = f'<rect class="shape" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>'
        if node.decision:
            bar_y, bar = _n(rect.y + 8), _n(rect.height - 16)
            shape += f'<rect class="bar" x="{_n(rect.x + 7)}" y="{bar_y}" width="4" height="{bar}" rx="2"/>'
    text_x, middle = _n(rect.x + 18), rect.y + rect.height / 2 + (5 if node.kind == "data" else 0)
    body = (
        f"<title>{_safe(node.name)}</title>{shape}"
        f'<text class="name" x="{text_x}" y="{_n(middle - 2)}">{html.escape(_short(show(node.name)))}</text>'
        f'<text class="note" x="{text_x}" y="{_n(middle + 13)}">{_safe(node.note)}</text>'
    )
    group = f'<g class="box box-{node.kind} {node.decision}">{body}</g>'
    return f'<a href="#{html.escape(anchor)}">{group}</a>' if anchor else group
