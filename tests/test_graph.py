from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.exchange import mermaid
from migrate.exchange.formats import NAMES, GraphFormat
from migrate.exchange.render import render
from migrate.graph import build_graph, node_link
from migrate.join import join
from migrate.model import Listen, Place
from migrate.plan.propose import Chosen, propose
from migrate.text import show
from tests.shop import facts

HOSTILE = (
    'a"b', "a\\", "\\", '\\"', "\\N \\G \\n", "a\nb", "\x00\x07\x1b[31m", "\ufffe\uffff", "\udcff", "\u202egnp",
    "<script>alert(1)</script>", "&amp; &#60; #quot; #35;", "]]>", "<b>x</b>", "%%{init: {}}%%", "end", "subgraph x",
    "a|b]c}d)e", "1. list", "- item", "`code`", "**b** _i_", "http://x.example", "me@x.example", "style x:y#35;z",
    "classDef a:b#c;", "$$x$$", "[a](b)", 'click n1 "javascript:alert(1)"', "}; digraph", "/* x */ // y", "# x",
    "_x002F_", "café 中 😀", " ", "", "x" * 5000,
)  # fmt: skip
XML = "{http://graphml.graphdrawing.org/xmlns}"


def shop() -> dict[str, Any]:
    found = facts()
    joined = join(found)
    return node_link(build_graph(propose(found, joined, Chosen(), ""), joined))


def made_of(names: list[str]) -> dict[str, Any]:
    """Return a graph in node-link form with a node of each name, each tied to the first by an edge that says it."""
    nodes = [{"id": f"{i}{name}", "type": "component", "label": name, "pod": name, "decision": "containerize"}
             for i, name in enumerate(names)]  # fmt: skip
    edges = [{"source": n["id"], "target": nodes[0]["id"], "kind": n["label"], "detail": n["label"],
              "seen_in": n["label"], "key": n["label"]} for n in nodes[1:]]  # fmt: skip
    return {"graph": {"machine": names[0]}, "nodes": nodes, "edges": edges, "directed": True, "multigraph": True}


def kept(name: str) -> str:
    """Return a name as the formats have it: as in graph.json, and without the two characters that XML refuses."""
    return show(name).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def written(data: dict[str, Any], wanted: GraphFormat) -> str:
    return render(data, wanted).decode()


# ---------------------------------------------------------------- graph.json


def test_the_graph_has_typed_nodes_and_edges_with_evidence() -> None:
    data = shop()
    types = {n["id"]: n["type"] for n in data["nodes"]}
    assert types["orders"] == "component"
    assert types["report"] == "job"
    assert types["ssh"] == "host"
    assert types["smtp.corp.example:25"] == "external"
    assert types["data:/srv/orders/reports"] == "data"
    edges = {(e["source"], e["target"], e["kind"]): e["seen_in"] for e in data["edges"]}
    assert edges["nginx", "orders", "unix-socket"] == "/etc/nginx/sites-enabled/shop:1"
    assert edges["orders", "postgresql", "tcp"] == "/etc/orders/env:1"
    assert edges["report", "data:/srv/orders/reports", "keeps"].startswith("/usr/local/bin/report")
    assert all(e["seen_in"] for e in data["edges"] if e["kind"] != "installs")
    assert json.dumps(data) == json.dumps(shop())


def test_a_component_names_the_units_it_stands_for() -> None:
    nodes = {n["id"]: n for n in shop()["nodes"]}
    assert nodes["orders"]["units"] == ["orders"]
    assert nodes["orders"]["unit"] == "/etc/systemd/system/orders.service"
    assert "units" not in nodes["smtp.corp.example:25"]


def test_a_ports_label_tells_addresses_and_protocols_apart() -> None:
    here = Place("/etc/orders/env", 1)
    found = facts(
        Listen(service="orders", port=53, address="::1", protocol="udp", seen_in=here),
        Listen(service="orders", port=53, address="::1", seen_in=here),
    )
    joined = join(found)
    data = node_link(build_graph(propose(found, joined, Chosen(), ""), joined))
    labels = {n["id"]: n["label"] for n in data["nodes"] if n["type"] == "port"}
    assert labels["port:::1:53/udp"] == "[::1]:53/udp"
    assert labels["port:::1:53/tcp"] == "[::1]:53"


@pytest.mark.parametrize("wanted", GraphFormat)
def test_every_format_is_the_same_for_the_same_graph(wanted: GraphFormat) -> None:
    assert render(shop(), wanted) == render(shop(), wanted)
    assert NAMES[wanted].startswith("graph.")


# ---------------------------------------------------------------- GraphML


def test_graphml_read_back_is_the_graph() -> None:
    data = shop()
    back = nx.parse_graphml(written(data, GraphFormat.graphml), force_multigraph=True)
    assert back.graph["machine"] == data["graph"]["machine"]
    names = {token: values["name"] for token, values in back.nodes(data=True)}
    assert sorted(names.values()) == sorted(n["id"] for n in data["nodes"])
    assert {n["id"] for n in data["nodes"] if n["type"] in {"component", "job", "host"}} <= set(names)
    found = sorted((names[s], names[t], v["kind"], v["detail"], v["seen_in"]) for s, t, v in back.edges(data=True))
    assert found == sorted(
        tuple(e[k] for k in ("source", "target", "kind", "detail", "seen_in")) for e in data["edges"]
    )
    types = {values["name"]: values["type"] for _, values in back.nodes(data=True)}
    assert types == {n["id"]: n["type"] for n in data["nodes"]}
    size = next(n["bytes"] for n in data["nodes"] if n["id"] == "data:/srv/orders/reports")
    assert next(v for _, v in back.nodes(data=True) if v["name"] == "data:/srv/orders/reports")["bytes"] == size > 0


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(HOSTILE)), min_size=1, max_size=6))
def test_any_name_is_valid_graphml(names: list[str]) -> None:
    text = written(made_of(names), GraphFormat.graphml)
    root = ET.fromstring(text)  # raises where a character is none of XML 1.0's
    ids = [element.get("id") or "" for element in root.iter() if element.tag in {f"{XML}node", f"{XML}edge"}]
    assert len(set(ids)) == len(ids) == 2 * len(names) - 1
    assert all(re.fullmatch(r"[A-Za-z0-9._:-]+", each) for each in ids)
    back = nx.parse_graphml(text, force_multigraph=True)
    assert len(back) == len(names)
    assert back.number_of_edges() == len(names) - 1


# ---------------------------------------------------------------- DOT

_TOKEN = re.compile(
    r'\s+|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][A-Za-z_0-9]*|-?(?:\.\d+|\d+(?:\.\d*)?))|(?P<sign>->|[{}\[\];=,])'
)


def dot_tokens(text: str) -> list[tuple[str, str]]:
    """Return the tokens of a DOT text by the grammar of graphviz.org/doc/info/lang.html; nothing may be left over."""
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, text[position : position + 60]
        position = match.end()
        if match.lastgroup is not None:
            tokens.append((match.lastgroup, match[0]))
    return tokens


def dot_statements(text: str) -> tuple[list[str], list[tuple[str, str]], dict[str, dict[str, str]]]:
    """Return a DOT text's nodes, its edges, and the attributes of each node."""
    tokens = dot_tokens(text)
    assert [v for _, v in tokens[0:1]] == ["digraph"]
    depth = 0
    nodes, edges, attributes = [], [], {}
    for index, (kind, value) in enumerate(tokens):
        depth += {"{": 1, "}": -1}.get(value, 0) if kind == "sign" else 0
        assert depth > 0 or index in {0, 1, len(tokens) - 1}
        before, after = tokens[index - 1][1], tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if kind == "string" and after == "[" and before in {";", "{", "}"}:
            nodes.append(unquoted(value))
            attributes[nodes[-1]] = dict(_attributes(tokens[index + 2 :]))
        elif kind == "string" and after == "->":
            edges.append((unquoted(value), unquoted(tokens[index + 2][1])))
    return nodes, edges, attributes


def _attributes(tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    end = next(i for i, token in enumerate(tokens) if token == ("sign", "]"))
    return [(tokens[i - 1][1], unquoted(tokens[i + 1][1])) for i in range(end) if tokens[i] == ("sign", "=")]


def unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def test_dot_has_every_node_and_edge() -> None:
    data = shop()
    nodes, edges, attributes = dot_statements(written(data, GraphFormat.dot))
    assert sorted(nodes) == sorted(n["id"] for n in data["nodes"])
    assert sorted(edges) == sorted((e["source"], e["target"]) for e in data["edges"])
    assert attributes["orders"]["decision"] == "containerize"
    assert attributes["data:/srv/orders/reports"]["shape"] == "cylinder"
    assert 'label="Pod orders"' in written(data, GraphFormat.dot)


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(HOSTILE)), min_size=1, max_size=6))
def test_any_name_is_valid_dot(names: list[str]) -> None:
    nodes, edges, _ = dot_statements(written(made_of(names), GraphFormat.dot))
    assert sorted(nodes) == sorted(kept(f"{i}{name}") for i, name in enumerate(names))
    assert len(edges) == len(names) - 1


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed (Debian: graphviz)")
@pytest.mark.parametrize("case", ["shop", "hostile"])
def test_graphviz_draws_it(case: str) -> None:
    data = shop() if case == "shop" else made_of(list(HOSTILE))
    text = written(data, GraphFormat.dot)
    done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert b"yntax" not in done.stderr
    drawn = [e for e in ET.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}g") if e.get("class") == "node"]
    assert len(drawn) == len(data["nodes"])
    if case == "hostile":
        texts = {"".join(e.itertext()) for e in ET.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}text")}
        shown = {text.replace("\xa0", " ").strip() for text in texts}
        assert {'a"b', "a\\", "\\N \\G \\n", "a\\nb", "&amp; &#60; #quot; #35;", "<b>x</b>"} <= shown


# ---------------------------------------------------------------- Mermaid

_LABEL = r'"(?:[A-Za-z0-9 ._/:-]|#\d+;|<br>)+"'
_MERMAID = re.compile(
    rf"flowchart LR|  subgraph p\d+\[{_LABEL}\]|  end|  classDef \w+ [\w:#,]+"
    rf"|(?:  )?  n\d+(?:\[{_LABEL}\]|\(\[{_LABEL}\]\)|\{{\{{{_LABEL}\}}\}}|\[\({_LABEL}\)\]):::\w+"
    rf"|  n\d+ (?:-->|-\.->)\|{_LABEL}\| n\d+"
)


def mermaid_text(text: str) -> str:
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text)


def test_mermaid_shows_components_what_they_need_and_their_pods() -> None:
    text = written(shop(), GraphFormat.mermaid)
    lines = text.splitlines()
    assert all(_MERMAID.fullmatch(line) for line in lines)
    names = {m[2]: m[1] for m in re.finditer(r'(n\d+)\W+"([^"<]*)', text)}
    assert {"orders", "nginx", "postgresql", "report", "smtp.corp.example:25"} <= set(names)
    assert "ssh" not in names  # the machine's own upkeep
    assert f'  {names["orders"]} -->|"tcp 5432"| {names["postgresql"]}' in lines
    assert f'  {names["nginx"]} -->|"unix-socket"| {names["orders"]}' in lines
    frame = lines.index('  subgraph p1["Pod orders"]')
    assert any(names["nginx"] in line for line in lines[frame : lines.index("  end", frame)])


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(HOSTILE)), min_size=1, max_size=6))
def test_any_name_is_a_mermaid_label(names: list[str]) -> None:
    text = written(made_of(names), GraphFormat.mermaid)
    assert all(_MERMAID.fullmatch(line) for line in text.splitlines())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_mermaid_label_shows_the_name_itself(name: str) -> None:
    coded = mermaid.escaped(show(name))
    assert mermaid_text(coded).replace("\u2060", "") == (show(name) or "\xa0")
    assert not re.search(r"style|classDef|://|www\.|@|\$|`|^[-+*>]|^\d+[.)] ", coded)


def test_what_mermaid_would_not_draw_is_made_smaller() -> None:
    data = made_of([f"c{number}" for number in range(800)])
    for edge in data["edges"]:
        edge["kind"] = "starts-after"
    text = written(data, GraphFormat.mermaid)
    assert text.count("starts-after") == 0
    assert text.count(":::containerize") == 800
    data = made_of([f"component-with-a-long-name-{number:06d}" for number in range(2000)])
    text = written(data, GraphFormat.mermaid)
    assert "2000 components" in text
    assert len(text) < 200


def test_the_formats_do_not_depend_on_what_else_a_graph_says() -> None:
    data = shop()
    for each in (*data["nodes"], *data["edges"]):
        each["later"] = random.Random(1).random()
    for wanted in GraphFormat:
        assert render(data, wanted) == render(shop(), wanted)
