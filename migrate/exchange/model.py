"""graph.json as values: the shape that `migrate.graph.node_link` gives it, checked when it is read."""

from __future__ import annotations

from typing import Literal

import msgspec

NodeType = Literal["component", "job", "host", "external", "package", "data", "secret", "port", "socket"]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a machine. `units` are the services and jobs that a component stands for, `unit` its unit's file."""

    id: str
    type: NodeType
    label: str
    decision: str = ""
    pod: str = ""
    bytes: int = 0
    units: tuple[str, ...] = ()
    unit: str = ""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One tie between two nodes, and where on the disk it was seen."""

    source: str
    target: str
    kind: str
    detail: str
    seen_in: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the graph itself."""

    machine: str


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's graph."""

    graph: Machine
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def shared_pods(self) -> dict[str, list[Node]]:
        """Return the Pods that several containers share, each with its nodes, both in the order of their names."""
        pods: dict[str, list[Node]] = {}
        for node in sorted(self.nodes, key=lambda n: n.id):
            if node.pod and node.decision == "containerize":
                pods.setdefault(node.pod, []).append(node)
        return {name: pods[name] for name in sorted(pods) if len(pods[name]) > 1}
