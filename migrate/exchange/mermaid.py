"""The graph as a Mermaid flowchart: a picture that Markdown pages show (mermaid.js.org/syntax/flowchart.html).

It shows what a person asks of a machine: components and jobs with their ports, what they need, what they keep, what is
outside, and the Pods. Left out are the machine's own upkeep, packages and secrets: graph.json has them. Mermaid draws
at most 500 edges and 50,000 characters (`maxEdges`, `maxTextSize` of its configuration); above that data goes, then
the order of starting, and then nothing is drawn but a line that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from migrate.exchange.model import Edge, Graph, Node

MAX_EDGES = 500
MAX_TEXT = 50_000
_SHAPES = {"component": ("[", "]"), "job": ("([", "])"), "external": ("{{", "}}"), "data": ("[(", ")]")}
_WORDS = {
    "containerize": "container", "virtualize": "stays a VM", "retire": "retired", "external": "elsewhere",
    "undecided": "undecided",
}  # fmt: skip
_CLASSES = (
    "classDef containerize fill:#dbeafe,stroke:#1d4ed8,color:#0f172a",
    "classDef virtualize fill:#ede9fe,stroke:#6d28d9,color:#0f172a",
    "classDef retire fill:#f1f5f9,stroke:#64748b,color:#0f172a",
    "classDef undecided fill:#fee2e2,stroke:#b91c1c,color:#0f172a",
    "classDef elsewhere fill:#fef9c3,stroke:#a16207,color:#0f172a",
    "classDef data fill:#ffffff,stroke:#475569,color:#0f172a",
)
# Entity codes (#NN;, in base 10) stand for what Mermaid, or the Markdown in its labels, would read: everything but
# letters, digits and a few signs; a list's bullet or number, emphasis, and links, which it refuses ("Unsupported
# markdown"). `style` and `classDef` before a code lose the line's last semicolon (mermaid's encodeEntities).
_CODED = re.compile(
    r"[^A-Za-z0-9 ._/:-]|^[^A-Za-z0-9/]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\.(?= |$)|(?<=www)\.|:(?=/)"
    r"|s(?=tyle)|c(?=lassDef)"
)

# After the codes are undone, a node's label has its `\n` made a line's end and `$$…$$` a formula: a word joiner,
# which has no width (U+2060), stands between the two characters.
_JOINED = re.compile(r"(?<=\\)(?=n)|(?<=\$)(?=\$)")


def escaped(text: str) -> str:
    """Return a text for a quoted label that shows it as it is.

    >>> escaped('a "b" #c;')
    'a #34;b#34; #35;c#59;'
    """
    shown = _JOINED.sub("\u2060", text) or "\xa0"  # an empty label is a syntax error
    return _CODED.sub(lambda match: f"#{ord(match.group())};", shown)


def write(graph: Graph) -> str:
    """Return the flowchart; where it would be more than Mermaid draws, less of it."""
    everything = tuple(_SHAPES)
    without_data = everything[:-1]
    for kinds, order in ((everything, True), (without_data, True), (without_data, False)):
        text, edges = _chart(graph, kinds, order)
        if edges <= MAX_EDGES and len(text) <= MAX_TEXT:
            return text
    drawn = sum(node.type in without_data for node in graph.nodes)
    return f'flowchart LR\n  n1["{escaped(f"{drawn} components and neighbours: see graph.json")}"]\n'


def _chart(graph: Graph, kinds: Sequence[str], order: bool) -> tuple[str, int]:
    nodes = sorted((n for n in graph.nodes if n.type in kinds), key=lambda n: (kinds.index(n.type), n.id))
    names = {node.id: f"n{number}" for number, node in enumerate(nodes, 1)}
    ports = _ports(graph)
    pods = graph.shared_pods()
    framed = {node.id for members in pods.values() for node in members}
    lines = ["flowchart LR"]
    for number, (name, members) in enumerate(pods.items(), 1):
        inner = [f"    {_node(node, names, ports)}" for node in members if node.id in names]
        lines += [f'  subgraph p{number}["{escaped(f"Pod {name}")}"]', *inner, "  end"]
    lines += [f"  {_node(node, names, ports)}" for node in nodes if node.id not in framed]
    edges = _edges(graph, names, order)
    lines += [f"  {edge}" for edge in edges]
    lines += [f"  {each}" for each in _CLASSES]
    return "\n".join([*lines, ""]), len(edges)


def _ports(graph: Graph) -> dict[str, str]:
    """Return, for each component, the ports that it listens on, as one text."""
    found: dict[str, set[tuple[int, str]]] = {}
    types = {node.id: node.type for node in graph.nodes}
    for edge in graph.edges:
        port = re.search(r":(\d{1,5})/\w+$", edge.target)
        if edge.kind == "listens" and types.get(edge.target) == "port" and port:
            found.setdefault(edge.source, set()).add((int(port[1]), edge.detail))
    return {
        source: ", ".join(f"{port}" if protocol == "tcp" else f"{port}/{protocol}" for port, protocol in sorted(those))
        for source, those in found.items()
    }


def _node(node: Node, names: dict[str, str], ports: dict[str, str]) -> str:
    opening, closing = _SHAPES[node.type]
    note = _WORDS.get(node.decision, node.decision)
    if node.id in ports:
        note = f"{note}, port {ports[node.id]}" if note else f"port {ports[node.id]}"
    lines = [node.label, note, "outside this machine" if node.type == "external" else ""]
    text = "<br>".join(escaped(line) for line in lines if line)
    style = "elsewhere" if node.type == "external" else "data" if node.type == "data" else _style(node.decision)
    return f'{names[node.id]}{opening}"{text}"{closing}:::{style}'


def _style(decision: str) -> str:
    if decision == "external":
        return "elsewhere"
    return decision if decision in _WORDS else "undecided"


def _edges(graph: Graph, names: dict[str, str], order: bool) -> list[str]:
    """Return one line for each pair of nodes; dotted where one only starts after the other."""
    between: dict[tuple[str, str], list[Edge]] = {}
    for edge in graph.edges:
        if edge.source in names and edge.target in names and edge.source != edge.target:
            between.setdefault((edge.source, edge.target), []).append(edge)
    lines = []
    for (source, target), edges in sorted(between.items()):
        hard = [edge for edge in edges if edge.kind != "starts-after"]
        if not hard and not order:
            continue
        words = _words(hard or edges)
        lines.append(f'{names[source]} {"-->" if hard else "-.->"}|"{words}"| {names[target]}')
    return lines


def _words(edges: Iterable[Edge]) -> str:
    words = set()
    for edge in edges:
        port = re.search(r":(\d{1,5})$", edge.detail)
        words.add(f"{edge.kind} {port[1]}" if edge.kind in {"tcp", "udp"} and port else edge.kind)
    return escaped(", ".join(sorted(words)))
