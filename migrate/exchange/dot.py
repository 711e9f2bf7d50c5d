"""The graph in Graphviz's DOT language: every node and edge of graph.json, drawn by `dot -Tsvg graph.dot`.

Everything is quoted (graphviz.org/doc/info/lang.html). Of a quoted string the language itself undoes `\\"` alone, and
keeps two backslashes as two; labels are escStrings, where a backslash begins an escape and two are one, and `&` begins
a character reference of HTML (graphviz.org/docs/attr-types/escString, graphviz.org/doc/info/shapes.html). So names in
identifiers and in attributes that Graphviz does not know have each backslash twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.exchange.model import Edge, Graph, Node

_SHAPES = {
    "component": "box", "job": "box", "host": "box", "external": "hexagon", "package": "component",
    "data": "cylinder", "secret": "note", "port": "plain", "socket": "plain",
}  # fmt: skip
_FILLS = {
    "containerize": "#dbeafe", "virtualize": "#ede9fe", "retire": "#f1f5f9", "external": "#fef9c3",
    "undecided": "#fee2e2",
}  # fmt: skip
_WORDS = {
    "containerize": "container", "virtualize": "stays a VM", "retire": "retired", "external": "elsewhere",
    "undecided": "undecided",
}  # fmt: skip
_BELONGS = frozenset({"listens", "installs", "reads", "keeps"})  # what the other end's shape says already
_HEAD = (
    "  rankdir=LR;",
    '  graph [fontname="Helvetica", nodesep=0.2, ranksep=0.9];',
    '  node [fontname="Helvetica", fontsize=11, style="filled", fillcolor="#ffffff"];',
    '  edge [fontname="Helvetica", fontsize=9, color="#475569"];',
)


def quoted(text: str) -> str:
    """Return a text as a double-quoted ID of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def label(*lines: str) -> str:
    """Return lines of text as a quoted label that shows them as they are."""
    return '"' + "\\n".join(quoted(line.replace("&", "&amp;"))[1:-1] for line in lines if line) + '"'


def write(graph: Graph) -> str:
    """Return the graph in DOT. Containers that share a Pod, and the machine's own upkeep, have a frame each."""
    pods = graph.shared_pods()
    framed = {node.id for nodes in pods.values() for node in nodes}
    nodes = sorted(graph.nodes, key=lambda n: (n.type, n.id))
    upkeep = [node for node in nodes if node.type == "host"]
    lines = [f"digraph {quoted(graph.graph.machine)} {{", *_HEAD]
    for number, (name, members) in enumerate(pods.items()):
        lines += _frame(f"cluster_pod_{number}", f"Pod {name}", "rounded,filled", members)
    if upkeep:
        lines += _frame("cluster_upkeep", "the machine's own upkeep", "dashed", upkeep)
    lines += [f"  {_node(node)}" for node in nodes if node.id not in framed and node.type != "host"]
    lines += [f"  {_edge(edge)}" for edge in graph.edges]
    return "\n".join([*lines, "}", ""])


def _frame(name: str, title: str, style: str, nodes: Iterable[Node]) -> Iterator[str]:
    yield f"  subgraph {quoted(name)} {{"
    yield f'    label={label(title)}; style="{style}"; color="#94a3b8"; fillcolor="#f8fafc"; fontsize=11;'
    yield from (f"    {_node(node)}" for node in nodes)
    yield "  }"


def _node(node: Node) -> str:
    note = _WORDS.get(node.decision, node.decision)
    style = "filled,rounded" if node.type == "job" else "filled"
    attributes = {
        "label": label(node.label, f"{node.type}, {note}" if note and node.type != "component" else note),
        "shape": _SHAPES[node.type],
        "style": f'"{style}"',
        "fillcolor": f'"{_FILLS.get(node.decision, "#ffffff")}"',
        "tooltip": label(f"{node.type} {node.id}"),
        "type": quoted(node.type),
    }
    if node.decision:
        attributes["decision"] = quoted(node.decision)
    if node.type == "data":
        attributes["bytes"] = str(node.bytes)
    return f"{quoted(node.id)} [{_list(attributes)}];"


def _edge(edge: Edge) -> str:
    belongs = edge.kind in _BELONGS
    attributes = {
        "label": label("" if belongs else edge.kind),
        "tooltip": label(
            f"{edge.kind} {edge.detail} ({edge.seen_in})" if edge.seen_in else f"{edge.kind} {edge.detail}"
        ),
        "kind": quoted(edge.kind),
        "detail": quoted(edge.detail),
        "seen_in": quoted(edge.seen_in),
    }
    if edge.kind == "starts-after":
        attributes |= {"style": '"dashed"', "color": '"#cbd5e1"'}
    elif belongs:
        attributes |= {"color": '"#94a3b8"', "arrowhead": "none"}
    return f"{quoted(edge.source)} -> {quoted(edge.target)} [{_list(attributes)}];"


def _list(attributes: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in attributes.items())
