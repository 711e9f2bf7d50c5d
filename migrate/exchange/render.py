"""A machine's graph in one of the formats, with nothing in it that graph.json does not hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from migrate.exchange import dot, mermaid
from migrate.exchange.formats import GraphFormat
from migrate.exchange.model import Graph
from migrate.graph import graphml
from migrate.inventory import encode

# Of the characters that XML 1.0 (2.2) has no place for, those that graph.json keeps; Graphviz' SVG is XML too.
_NO_XML = re.compile("[\ufffe\uffff]")


def render(data: Mapping[str, Any], wanted: GraphFormat) -> bytes:
    """Return the file. `data` is the graph in node-link form, without secrets; the same graph gives the same bytes."""
    text = encode(dict(data)).decode()  # as it stands in graph.json: hostile names escaped
    graph = msgspec.json.decode(_NO_XML.sub(lambda match: f"\\\\u{ord(match.group()):04x}", text), type=Graph)
    write = {GraphFormat.graphml: graphml, GraphFormat.dot: dot.write, GraphFormat.mermaid: mermaid.write}
    return write[wanted](graph).encode()
