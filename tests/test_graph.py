from __future__ import annotations

import json

from migrate.graph import build_graph, node_link
from migrate.join import join
from migrate.plan.propose import Chosen, propose
from tests.shop import facts


def test_the_graph_has_typed_nodes_and_edges_with_evidence() -> None:
    found = facts()
    joined = join(found)
    data = node_link(build_graph(propose(found, joined, Chosen(), ""), joined))
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
    assert json.dumps(data) == json.dumps(node_link(build_graph(propose(found, joined, Chosen(), ""), joined)))
