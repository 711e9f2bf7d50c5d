"""The formats that a graph is written in beside graph.json."""

from __future__ import annotations

from enum import StrEnum


class GraphFormat(StrEnum):
    """The format of a graph for another program."""

    graphml = "graphml"
    dot = "dot"
    mermaid = "mermaid"


NAMES = {GraphFormat.graphml: "graph.graphml", GraphFormat.dot: "graph.dot", GraphFormat.mermaid: "graph.mmd"}
"""How the files are called. Mermaid's own command line takes `.mmd` (mermaid-js/mermaid-cli)."""
