"""The graph of a machine, as networkx keeps it: the one module that speaks to networkx.

Nodes are typed: component, job, host, external, package, data, secret, port, socket. Each edge has `kind`,
`detail` and `seen_in`. Written in node-link form (networkx.node_link_data with `edges="edges"`).
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from migrate.join import Joined
from migrate.plan.model import Component, Plan


def build_graph(plan: Plan, joined: Joined) -> nx.MultiDiGraph:
    """Return the graph of a machine's components and of what belongs to them."""
    graph = nx.MultiDiGraph(machine=plan.machine)
    for component in plan.components:
        kind = {"service": "component", "job": "job", "host": "host"}[component.kind]
        graph.add_node(
            component.id, type=kind, label=component.id, decision=component.decision, pod=component.pod or ""
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
        graph.add_node(node, type="port", label=f"{port.address}:{port.port}")
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
