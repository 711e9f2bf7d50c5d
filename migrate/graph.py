"""The graph of a machine, as networkx keeps it: the one module that speaks to networkx.

Nodes are typed: component, job, host, external, package, data, secret, port, socket. Each edge has `kind`,
`detail` and `seen_in`. Written in node-link form (networkx.node_link_data with `edges="edges"`), and as GraphML.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import networkx as nx

from migrate.exchange.model import Graph
from migrate.join import Joined
from migrate.plan.model import Component, Plan


def build_graph(plan: Plan, joined: Joined) -> nx.MultiDiGraph:
    """Return the graph of a machine's components and of what belongs to them."""
    graph = nx.MultiDiGraph(machine=plan.machine)
    known = {candidate.id: candidate for candidate in joined.candidates}
    for component in plan.components:
        kind = {"service": "component", "job": "job", "host": "host"}[component.kind]
        candidate = known.get(component.id)
        graph.add_node(
            component.id,
            type=kind,
            label=component.id,
            decision=component.decision,
            pod=component.pod or "",
            units=list(candidate.ids) if candidate is not None else [],
            unit=candidate.service.unit if candidate is not None and candidate.service is not None else "",
        )
    for component in plan.components:
        _belongings(graph, component)
    for tie in joined.ties:
        if tie.kind == "external":
            graph.add_node(tie.target, type="external", label=tie.target)
        if tie.target in graph:
            _edge(graph, tie.source, tie.target, tie.kind, tie.detail, str(tie.seen_in))
    return graph


def _belongings(graph: nx.MultiDiGraph, component: Component) -> None:
    for port in component.ports:
        node = f"port:{port.address}:{port.port}/{port.protocol}"
        address = f"[{port.address}]" if ":" in port.address else port.address  # RFC 5952, 6
        udp = "" if port.protocol == "tcp" else f"/{port.protocol}"
        graph.add_node(node, type="port", label=f"{address}:{port.port}{udp}")
        _edge(graph, component.id, node, "listens", port.protocol, port.seen_in)
    for socket in component.sockets:
        graph.add_node(f"socket:{socket.path}", type="socket", label=socket.path)
        _edge(graph, component.id, f"socket:{socket.path}", "listens", "unix", socket.seen_in)
    for data in component.data:
        graph.add_node(f"data:{data.path}", type="data", label=data.path, bytes=data.bytes)
        _edge(graph, component.id, f"data:{data.path}", "keeps", data.claim, data.seen_in)
    for secret in component.secrets:
        graph.add_node(f"secret:{secret.id}", type="secret", label=secret.id)
        _edge(graph, component.id, f"secret:{secret.id}", "reads", secret.kind, secret.seen_in)
    for package in component.image.packages if component.image is not None else []:
        name = package.partition("=")[0]
        graph.add_node(f"package:{name}", type="package", label=package)
        _edge(graph, component.id, f"package:{name}", "installs", package, "")


def _edge(graph: nx.MultiDiGraph, source: str, target: str, kind: str, detail: str, seen_in: str) -> None:
    graph.add_edge(source, target, key=f"{kind} {detail}", kind=kind, detail=detail, seen_in=seen_in)


def node_link(graph: nx.MultiDiGraph) -> dict[str, Any]:
    """Return the graph in node-link form, nodes and edges sorted, so that the same disk gives the same bytes."""
    data: dict[str, Any] = nx.node_link_data(graph, edges="edges")
    data["nodes"].sort(key=lambda n: n["id"])
    data["edges"].sort(key=lambda e: (e["source"], e["target"], e["kind"], e["detail"], e["seen_in"]))
    return data


# ---------------------------------------------------------------- GraphML

# Identifiers are NMTOKENs (graphml.graphdrawing.org/xmlns/1.1/graphml-structure.xsd): every other character is written
# `_xHHHH_`, as ISO/IEC 9075-14 maps names to XML; a text that looks so already has its underscore written so.
_NO_TOKEN = re.compile(r"[^A-Za-z0-9._:-]|_(?=x[0-9A-Fa-f]{4,6}_)")


def graphml(graph: Graph) -> str:
    """Return the graph as GraphML: all that graph.json says, identifiers and numbered edges valid by its schema.

    `name` of each node is its id in graph.json; the ids of components are the same here, since they are tokens.
    """
    made = nx.MultiDiGraph(machine=graph.graph.machine)
    for node in graph.nodes:
        values = {k: " ".join(v) if isinstance(v, tuple) else v for k, v in msgspec.structs.asdict(node).items()}
        values["name"] = values.pop("id")
        made.add_node(_token(node.id), **values)
    for number, edge in enumerate(graph.edges, 1):
        values = {key: getattr(edge, key) for key in ("kind", "detail", "seen_in")}
        made.add_edge(_token(edge.source), _token(edge.target), key=f"e{number}", **values)
    text = "\n".join(nx.generate_graphml(made))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _token(text: str) -> str:
    return _NO_TOKEN.sub(lambda match: f"_x{ord(match.group()):04X}_", text) or "_x0000_"
