"""report.html: what it says, that nothing from a guest becomes markup, and that it can be looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.drawing.model import Box, Link, Picture, Rect
from migrate.drawing.place import place
from migrate.plan.model import Plan
from migrate.report import render_report
from migrate.svg import draw_graph, size

PLAN: dict[str, Any] = {
    "schema": "vm2c.plan/1",
    "machine": "shop",
    "source": {"disks": ["shop.qcow2"], "os": "Debian GNU/Linux 12", "inventory": "sha256:9f", "architecture": "amd64"},
    "components": [
        {
            "id": "nginx",
            "kind": "service",
            "decision": "containerize",
            "confidence": 0.97,
            "because": [{"rule": "foreground", "says": "nginx stays in the foreground", "seen_in": "/etc/n:1"}],
            "pod": "shop",
            "workload": "deployment",
            "image": {
                "strategy": "packages",
                "base": "debian:12-slim",
                "packages": ["nginx=1.22"],
                "files": ["/etc/n"],
            },
            "command": ["/usr/sbin/nginx", "-g", "daemon off;"],
            "ports": [{"port": 80, "seen_in": "/etc/n:2"}, {"port": 53, "protocol": "udp"}],
            "needs": [{"component": "orders", "over": "unix:/run/o.sock", "seen_in": "/etc/n:3"}],
            "logs": ["/var/log/nginx/access.log"],
            "capabilities": ["NET_BIND_SERVICE"],
        },
        {
            "id": "orders",
            "kind": "service",
            "decision": "containerize",
            "confidence": 0.95,
            "because": [{"rule": "app", "says": "gunicorn stays in the foreground", "seen_in": "/etc/o.service:9"}],
            "blockers": [
                {"rule": "b", "says": "talks to loopback", "mitigation": "change it", "severity": "critical"},
                {"rule": "w", "says": "old", "mitigation": "m", "severity": "warning", "waived": "we know"},
            ],
            "pod": "shop",
            "workload": "deployment",
            "prepare": [["/bin/mkdir", "-p", "/run/o"]],
            "command": ["/srv/o/gunicorn"],
            "working_directory": "/srv/o",
            "user": {"name": "orders", "uid": 996, "gid": 33},
            "sockets": [{"path": "/run/o.sock", "seen_in": "/etc/o.socket:3"}],
            "needs": [
                {"component": "db", "over": "tcp:127.0.0.1:5432", "seen_in": "/etc/o/env:1"},
                {"external": "smtp.corp.example:25", "over": "tcp", "seen_in": "/etc/o/env:4"},
            ],
            "config": ["/etc/o/env"],
            "environment_files": [{"path": "/etc/o/env", "optional": True, "seen_in": "/etc/o.service:11"}],
            "data": [{"path": "/srv/o/reports", "bytes": 4096, "claim": "orders-reports", "seen_in": "/etc/o/env:3"}],
            "secrets": [{"id": "s1", "kind": "password-in-url", "seen_in": "/etc/o/env:1", "variable": "DATABASE_URL"}],
            "rewrites": [
                {"path": "/etc/o/env", "line": 1, "from": "@127.0.0.1:5432", "to": "@db:5432", "because": "x"}
            ],
            "resources": {"memory": "300Mi", "cpu": "500m"},
            "health": {"command": ["curl", "http://x"], "says": "h"},
        },
        {
            "id": "db",
            "kind": "service",
            "decision": "virtualize",
            "confidence": 0.5,
            "because": [{"rule": "r", "says": "bound to hardware", "seen_in": "/etc/d:1"}],
            "blockers": [{"rule": "b", "says": "has a dongle", "mitigation": "keep it", "severity": "critical"}],
            "ports": [{"port": 5432, "address": "127.0.0.1"}],
        },
        {
            "id": "report",
            "kind": "job",
            "decision": "undecided",
            "confidence": 0.2,
            "because": [],
            "schedule": "15 3 * * *",
            "timezone": "Europe/Berlin",
            "workload": "cronjob",
        },
        {
            "id": "ssh",
            "kind": "host",
            "decision": "retire",
            "confidence": 1.0,
            "because": [{"rule": "platform", "says": "kubectl exec takes its place", "seen_in": "/lib/ssh.service:1"}],
        },
    ],
}
GRAPH: dict[str, Any] = {
    "directed": True,
    "multigraph": True,
    "nodes": [
        {"id": "nginx", "type": "component", "label": "nginx"},
        {"id": "orders", "type": "component", "label": "orders"},
        {"id": "db", "type": "component", "label": "db"},
        {"id": "report", "type": "job", "label": "report"},
        {"id": "ssh", "type": "host", "label": "ssh"},
        {"id": "smtp.corp.example:25", "type": "external", "label": "smtp.corp.example:25"},
        {"id": "data:/srv/o/reports", "type": "data", "label": "/srv/o/reports", "bytes": 4096},
        {"id": "port:*:80/tcp", "type": "port", "label": "*:80"},
    ],
    "edges": [
        {"source": "nginx", "target": "orders", "kind": "unix-socket", "detail": "unix:/run/o", "seen_in": "/etc/n:3"},
        {"source": "orders", "target": "db", "kind": "tcp", "detail": "tcp:127.0.0.1:5432", "seen_in": "/etc/o/env:1"},
        {"source": "orders", "target": "db", "kind": "starts-after", "detail": "after", "seen_in": "/etc/o.service"},
        {"source": "orders", "target": "smtp.corp.example:25", "kind": "external", "detail": "x", "seen_in": "/e:4"},
        {"source": "orders", "target": "data:/srv/o/reports", "kind": "keeps", "detail": "c", "seen_in": "/e:3"},
        {"source": "report", "target": "orders", "kind": "runs", "detail": "/srv/o", "seen_in": "/etc/cron.d/o:3"},
        {"source": "ssh", "target": "orders", "kind": "starts-after", "detail": "after", "seen_in": "/lib/ssh"},
        {"source": "nginx", "target": "port:*:80/tcp", "kind": "listens", "detail": "tcp", "seen_in": "/etc/n:2"},
    ],
}
INVENTORY: dict[str, Any] = {
    "schema": "vm2c.inventory/1",
    "os": {
        "name": "Debian GNU/Linux 12 (bookworm)",
        "architecture": "x86_64",
        "init": "systemd",
        "end_of_life": "2028",
    },
    "packages": [
        {"name": "nginx", "version": "1.22", "origin": "distribution", "chosen": True},
        {"name": "libc6", "version": "2.36", "origin": "distribution", "chosen": False},
    ],
    "language_packages": [{"ecosystem": "pypi", "name": "gunicorn", "version": "1", "location": "/srv/o"}],
    "files": {
        "classes": {
            "package": {"files": 1200, "bytes": 1 << 30},
            "unknown": {"files": 2, "bytes": 3 << 20},
            "data": {"files": 0, "bytes": 0},
        },
        "paths": [
            {"path": "/etc/n", "class": "changed-config", "why": "differs from its package"},
            {"path": "/opt/agent", "class": "unknown", "why": "nobody's"},
        ],
        "unknown": [{"path": "/data/blob", "files": 1, "bytes": 3 << 20}, {"path": "/data/x/", "files": 1, "bytes": 0}],
        "largest": {"data": [{"path": "/var/lib/postgresql/", "files": 1270, "bytes": 40 << 30}]},
        "rules": [{"rule": "state", "class": "data", "says": "state of a program", "files": 1270, "bytes": 40 << 30}],
        "compared": {"files": 1199, "of": 1200, "done": True, "unread": [{"path": "/usr/bad", "why": "bad block"}]},
        "changes": [
            {
                "path": "/etc/n",
                "package": "nginx-common",
                "class": "changed-config",
                "differences": [{"aspect": "content", "shipped": "md5:aa", "found": "md5:bb"}],
                "seen_in": "/var/lib/dpkg/status:7",
                "diff": [
                    "--- shipped",
                    "+++ found",
                    "@@ -1,2 +1,2 @@",
                    " user www-data;",
                    "-workers 1;",
                    "+workers 4;",
                ],
                "diff_source": "/var/cache/apt/archives/nginx-common.deb",
            },
            {
                "path": "/usr/bin/gone",
                "package": "p",
                "class": "changed-package",
                "differences": [{"aspect": "missing", "shipped": "file", "found": ""}],
                "seen_in": "/var/lib/dpkg/info/p.md5sums:1",
                "diff": None,
                "diff_source": None,
                "no_diff": "it is no text",
            },
        ],
        "explained": [{"rule": "ghost", "says": "made at run time", "files": 5, "examples": ["/var/log/lastlog"]}],
        "leftovers": [{"path": "/etc/n.dpkg-dist", "of": "/etc/n", "package": "nginx-common", "says": "the package's"}],
    },
    "applications": [
        {
            "root": "/srv/o",
            "ecosystem": "pypi",
            "name": "orders",
            "version": "1.4",
            "runtime": ["python3"],
            "interpreter": "/usr/bin/python3",
            "libraries": [f"lib{n}.so" for n in range(8)],
            "seen_in": "/srv/o/pyproject.toml:3",
            "run_by": [{"id": "orders", "kind": "service", "seen_in": "/etc/o.service:9"}],
        },
        {"root": "/opt/tool", "seen_in": "/opt/tool"},
    ],
    "jobs": [
        {
            "id": "report",
            "schedule": "15 3 * * *",
            "original": "15 3 * * *",
            "command": ["cd /srv/o && ./report > out"],
            "shell": True,
            "user": "orders",
            "enabled": True,
            "seen_in": "/etc/cron.d/o:3",
        },
        {
            "id": "daily",
            "schedule": None,
            "original": "OnCalendar=*-*-* 6:00",
            "command": ["a", "b c"],
            "enabled": False,
        },
        {
            "id": "timer",
            "schedule": "0 6 * * *",
            "original": "OnCalendar=6:00; RandomizedDelaySec=60m",
            "command": ["x"],
            "user": "root",
        },
    ],
    "users": [
        {"name": "anna", "uid": 1000, "gid": 1000, "home": "/home/anna", "shell": "/bin/sh", "system": False},
        {"name": "root", "uid": 0, "gid": 0, "home": "/root", "shell": "/bin/sh", "system": True},
    ],
    "unread": [{"path": "/etc/vault.yml", "why": "it is encrypted", "analyzer": "yaml"}],
}
HOSTILE = (
    "</script></title></style>\"'><img src=x onerror=alert(1)>&lt;\x1b[31m\r\n\u202egnp\u2066\x00\udc80{{7*7}}{% raw %}"
)


def plan(given_plan: dict[str, Any] | None = None) -> Plan:
    return msgspec.convert(given_plan or PLAN, Plan)


class Page(HTMLParser):
    """The page as a browser's parser sees it: its elements in order, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        page = page.replace("<wbr>", "")  # where a line may break: no element that could do harm, and no space
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def sections(page: str) -> dict[str, str]:
    """Return the text of each section by its id."""
    parts = re.split(r'<section id="([a-z]+)">', page)
    return {name: Page(body).text for name, body in zip(parts[1::2], parts[2::2], strict=True)}


# ---------------------------------------------------------------- what it says


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(INVENTORY, GRAPH, plan())


def test_top(page: str) -> None:
    text = Page(page.split('<section id="components">', maxsplit=1)[0]).text
    assert "shop" in text
    assert "System Debian GNU/Linux 12 (bookworm)" in text
    for words in ("2 to containers", "1 stay a VM", "0 retired", "1 undecided", "1 open blocker", "1 blind spot"):
        assert words in text
    assert "orders : talks to loopback: change it" in text
    assert "report : decide what becomes of it" in text
    assert "has a dongle" not in text  # what stays a machine is not stopped by its blockers


def test_component_details(page: str) -> None:
    text = sections(page)["details"]
    for words in (
        "gunicorn stays in the foreground · app /etc/o.service:9",
        "Critical: talks to loopback change it",
        "Waived: old m Waived because: we know",
        "/etc/o/env:1 · x @127.0.0.1:5432 @db:5432",
        "password-in-url s1 in DATABASE_URL /etc/o/env:1",
        "/srv/o/reports 4 KiB claim orders-reports, owner 0:0, mode 0755",
        "smtp.corp.example:25 outside this machine tcp /etc/o/env:4",
        "/usr/sbin/nginx -g 'daemon off;'",
        "orders (996:33)",
        "300Mi",
        "/etc/o/env variables, may be missing",
        "/run/o.sock /etc/o.socket:3",
        "nginx=1.22",
        "Before /bin/mkdir -p /run/o",
    ):
        assert words in text
    assert "ssh" not in text


def test_other_sections(page: str) -> None:
    found = sections(page)
    assert "nginx service container 0.97 deployment 53/udp, 80" in found["components"]
    assert "orders service container blocked 0.95 deployment" in found["components"]
    assert "ssh retired kubectl exec takes its place /lib/ssh.service:1" in found["upkeep"]
    assert "report 15 3 * * * orders cd /srv/o && ./report > out /etc/cron.d/o:3" in found["jobs"]
    assert "daily OnCalendar=*-*-* 6:00 switched off a 'b c'" in found["jobs"]
    assert "timer 0 6 * * * OnCalendar=6:00; RandomizedDelaySec=60m root" in found["jobs"]
    assert "1,202 files, 1 GiB" in found["files"]
    assert "2 files (3 MiB) known to no rule" in found["files"]
    assert found["files"].index("unknown 2 places") < found["files"].index("configuration, changed or added 1 place")
    assert found["files"].index("/data/blob 1 3 MiB") < found["files"].index("/data/x/ 1 0 B")
    assert "1 package was asked for by a person; 1 other was pulled in, and 1 pypi came" in found["packages"]
    assert "libc6" not in found["packages"]
    assert "anna 1000:1000 /home/anna /bin/sh" in found["accounts"]
    assert "1 other belongs to the system" in found["accounts"]
    assert "/etc/vault.yml it is encrypted yaml" in found["unread"]
    assert "orders smtp.corp.example:25 external x /e:4" in found["graph"]


def test_the_account_of_the_disk() -> None:
    text = Page(render_report(INVENTORY, GRAPH, plan())).text
    assert "99.83 % of 1,202 files, 99.7 % of bytes accounted for" in text
    found = sections(render_report(INVENTORY, GRAPH, plan()))
    files = found["files"]
    assert "1,199 files of 1,200 packaged files were compared" in files
    assert "2 paths were changed" in files
    assert "/etc/n configuration nginx-common /var/lib/dpkg/status:7 content md5:aa → md5:bb" in files
    assert "from /var/cache/apt/archives/nginx-common.deb" in files
    assert "user www-data; workers 1; workers 4;" in files
    assert (
        "/usr/bin/gone program or data p /var/lib/dpkg/info/p.md5sums:1 missing not shown line by line: it is no text"
        in files
    )
    assert "made at run time · ghost 5 /var/log/lastlog" in files
    assert "/etc/n.dpkg-dist /etc/n nginx-common the package's" in files
    assert "/usr/bad bad block" in files
    assert "data /var/lib/postgresql/ 1,270 40 GiB" in files
    assert "state data state of a program 1,270 40 GiB" in files
    applications = found["applications"]
    assert "2 applications that no package manager" in applications
    assert "orders /srv/o /srv/o/pyproject.toml:3 1.4 pypi python3 /usr/bin/python3 lib0.so" in applications
    assert "and 2 more libraries orders service /etc/o.service:9" in applications
    assert "/opt/tool nothing that was seen" in re.sub(r"(/opt/tool )+", "/opt/tool ", applications)


@pytest.mark.parametrize(
    ("compared", "says"),
    [
        ({"done": False}, "Not compared: whether packages' files"),
        ({"done": True, "files": 3, "of": 3}, "3 files of 3 packaged files were compared"),
        ({"done": True, "files": 3, "of": 3}, "None was changed."),
    ],
)
def test_what_was_not_compared_is_said(compared: dict[str, Any], says: str) -> None:
    files = {"classes": INVENTORY["files"]["classes"], "compared": compared}
    assert says in Page(render_report({"files": files}, {}, plan())).text


def test_a_long_diff_is_cut_and_coverage_is_never_rounded_up() -> None:
    change = {"path": "/etc/n", "differences": [], "diff": ["+line"] * 1000}
    classes = {"package": {"files": 99_999, "bytes": 10}, "unknown": {"files": 1, "bytes": 0}}
    files = {"classes": classes, "compared": {"done": True}, "changes": [change]}
    text = Page(render_report({"files": files}, {}, plan())).text
    assert text.split().count("line") == 400
    assert "600 more lines are in inventory.json" in text
    assert "99.99 % of 100,000 files, 100 % of bytes accounted for" in text


def test_values_of_secrets_and_environment_are_not_asked_for() -> None:
    given_plan = msgspec.to_builtins(plan())
    given_plan["components"][1]["environment"] = {"TOKEN": "hunter2"}
    inventory = {**INVENTORY, "secrets": [{"id": "s", "value": "hunter2"}]}
    assert "hunter2" not in render_report(inventory, GRAPH, plan(given_plan))


def test_same_input_same_page() -> None:
    turned = {"nodes": GRAPH["nodes"][::-1], "edges": GRAPH["edges"]}
    assert render_report(INVENTORY, GRAPH, plan()) == render_report(INVENTORY, turned, plan())


@pytest.mark.parametrize(
    "inventory",
    [
        {},
        {"os": None, "files": None, "packages": None, "jobs": None, "users": None, "unread": None},
        {
            "files": {"classes": {"new-class": {"files": 1}}, "paths": []},
            "jobs": [{}],
            "packages": [{}],
            "unread": [{}],
        },
    ],
)
def test_what_is_missing_is_left_out(inventory: dict[str, Any]) -> None:
    empty = {**PLAN, "components": []}
    for given_plan, graph in ((PLAN, GRAPH), (empty, {}), (PLAN, {"nodes": [{}], "edges": [{}]})):
        text = Page(render_report(inventory, graph, plan(given_plan))).text
        assert "shop" in text
        assert "None: everything that was looked at" in text or "What could not be read" in text


def test_long_lists_are_counted() -> None:
    unread = [{"path": f"/x/{i}", "why": "w", "analyzer": "a"} for i in range(1500)]
    text = sections(render_report({"unread": unread}, {}, plan()))["unread"]
    assert "/x/399 " in text
    assert "/x/400 " not in text
    assert "1,100 more are in inventory.json" in text


# ---------------------------------------------------------------- hostile input

WORDS = {"kind", "decision", "workload", "strategy", "severity", "protocol", "schema", "type", "class"}


def poisoned(value: Any, key: str = "") -> Any:
    """Return the same structure with the hostile text in every string that a guest could have written."""
    if isinstance(value, str):
        return value if key in WORDS else f"{value}{HOSTILE}"
    if isinstance(value, dict):
        return {k: poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, key) for v in value]
    return value


def hostile_page() -> str:
    inventory = poisoned(INVENTORY)
    inventory["files"]["classes"][HOSTILE] = {"files": 1, "bytes": 1}
    inventory["files"]["paths"].append({"path": HOSTILE, "class": HOSTILE, "why": HOSTILE})
    inventory["language_packages"][0]["ecosystem"] = HOSTILE
    graph = poisoned(GRAPH)
    for edge in graph["edges"][:2]:
        edge["kind"] = HOSTILE
    return render_report(inventory, graph, plan(poisoned(PLAN)))


def test_hostile_strings_are_inert() -> None:
    page = hostile_page()
    parsed = Page(page)
    assert set(parsed.elements) <= {
        *("html", "head", "meta", "title", "link", "style", "body", "header", "main", "nav", "footer", "section"),
        *("h1", "h2", "h3", "p", "ul", "li", "a", "b", "code", "span", "div", "details", "summary", "dl", "dt", "dd"),
        *("table", "thead", "tbody", "tr", "th", "td", "svg", "g", "path", "rect", "polygon", "text"),
    }
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not [
        value for name, value in parsed.attributes if name in {"href", "src", "class", "style"} and "<" in value
    ]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", page)
    assert "<img src=x onerror=alert(1)>" in parsed.text
    assert r"\x1b[31m\r\n\u202egnp\u2066\x00\x80{{7*7}}{% raw %}" in parsed.text
    assert page.encode("utf-8")


def test_hostile_strings_change_no_element() -> None:
    benign = render_report({**INVENTORY, "files": {**INVENTORY["files"], "classes": {}, "paths": []}}, GRAPH, plan())
    hostile = render_report(
        {**poisoned(INVENTORY), "files": {**poisoned(INVENTORY["files"]), "classes": {}, "paths": []}},
        poisoned(GRAPH),
        plan(poisoned(PLAN)),
    )
    assert Page(hostile).elements == Page(benign).elements


def test_hostile_drawing_is_well_formed() -> None:
    drawing = draw_graph(poisoned(GRAPH), plan(poisoned(PLAN)), {})
    root = ET.fromstring(drawing.svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        *("svg", "g", "title", "rect", "path", "polygon", "text"),
    }


def test_page_needs_nothing_else(page: str) -> None:
    parsed = Page(page)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert ("content", policy) in parsed.attributes
    assert "script" not in parsed.elements
    targets = [value for name, value in parsed.attributes if name in {"href", "src"}]
    ids = {value for name, value in parsed.attributes if name == "id"}
    assert {t for t in targets if not t.startswith("#")} == {"data:,"}
    assert {t[1:] for t in targets if t.startswith("#")} <= ids
    assert "url(" not in page
    assert "@import" not in page


def test_ids_are_unique(page: str) -> None:
    ids = [value for name, value in Page(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


# ---------------------------------------------------------------- the drawing


def test_drawing() -> None:
    drawing = draw_graph(GRAPH, plan(), {"orders": "c2"})
    root = ET.fromstring(drawing.svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"nginx", "orders", "db", "report", "smtp.corp.example:25", "/srv/o/reports", "Pod shop"} <= set(texts)
    assert {"tcp 5432", "socket", "runs"} <= set(texts)
    assert "ssh" not in texts
    assert "*:80" not in texts
    assert '<a href="#c2">' in drawing.svg
    assert "orders → db: tcp tcp:127.0.0.1:5432 (/etc/o/env:1)" in drawing.svg


def test_drawing_of_nothing() -> None:
    assert draw_graph({}, plan(), {}).svg == ""


def test_drawing_that_would_be_too_large() -> None:
    nodes = [{"id": f"n{i}", "type": "component", "label": "n"} for i in range(100)]
    data = [{"id": f"d{i}", "type": "data", "label": "/d"} for i in range(100)]
    without_data = draw_graph({"nodes": nodes + data, "edges": []}, plan(), {})
    assert without_data.left_out == 100
    assert without_data.svg.count('<g class="box ') == 100
    many = [{"id": f"n{i}", "type": "component", "label": "n"} for i in range(5000)]
    nothing = draw_graph({"nodes": many, "edges": []}, plan(), {})
    assert (nothing.svg, nothing.left_out) == ("", 5000)
    text = Page(render_report({}, {"nodes": many}, plan())).text
    assert "5000 parts are too many for a drawing" in text


def test_names_are_shortened_in_the_middle() -> None:
    graph = {"nodes": [{"id": "x", "type": "external", "label": "a" * 40 + "日本" * 10 + "z" * 40}], "edges": []}
    root = ET.fromstring(draw_graph(graph, plan(), {}).svg)
    name = next(e.text or "" for e in root.iter() if e.get("class") == "name")
    assert re.fullmatch("a{13}…z{13}", name)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (51234, "50 KiB"), (5 << 30, "5 GiB"), (1 << 60, "1048576 TiB")],
)
def test_size(count: int, expected: str) -> None:
    assert size(count) == expected


def apart(a: Rect, b: Rect) -> bool:
    e = 0.01
    return (
        a.x + a.width <= b.x + e or b.x + b.width <= a.x + e or a.y + a.height <= b.y + e or b.y + b.height <= a.y + e
    )


def levels(path: str) -> Iterator[Rect]:
    """Yield the straight parts of a path as thin rectangles."""
    x = y = 0.0
    for command, numbers in re.findall(r"([MHVC])([-\d. ]+)", path):
        values = [float(n) for n in numbers.split()]
        before = (x, y)
        if command == "H":
            x = values[0]
        elif command == "V":
            y = values[0]
        else:
            x, y = values[-2:]
        if command in "HV":
            yield Rect(min(before[0], x), min(before[1], y), abs(x - before[0]), abs(y - before[1]))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Box], list[Link]]:
    count = draw(st.integers(1, 14))
    boxes = [
        Box(id=str(i), width=draw(st.integers(60, 220)), height=46, group=draw(st.sampled_from(["", "", "a", "b"])))
        for i in range(count)
    ]
    ends = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(ends, ends).filter(lambda p: p[0] != p[1]), unique=True, max_size=24))
    return boxes, [
        Link(source=str(a), target=str(b), label_width=draw(st.sampled_from([0, 60, 110]))) for a, b in pairs
    ]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_nothing_lies_on_anything(given_graph: tuple[list[Box], list[Link]]) -> None:
    boxes, links = given_graph
    picture = place(boxes, links)
    assert place(boxes, links) == picture
    labels = [
        Rect(r.label[0] - link.label_width / 2, r.label[1] - 8, link.label_width, 16)
        for link, r in zip(links, picture.routes, strict=True)
        if link.label_width
    ]
    whole = Rect(0, 0, picture.width, picture.height)
    inside = [*picture.boxes.values(), *picture.groups.values(), *labels]
    for rect in inside:
        assert rect.x >= -0.01
        assert rect.y >= -0.01
        assert rect.x + rect.width <= whole.width + 0.01
        assert rect.y + rect.height <= whole.height + 0.01
    texts = [*picture.boxes.values(), *labels]
    for i, a in enumerate(texts):
        assert all(apart(a, b) for b in texts[i + 1 :])
    groups_hold_their_own(boxes, picture)
    lines_keep_clear(links, picture)


def groups_hold_their_own(boxes: list[Box], picture: Picture) -> None:
    for name, rect in picture.groups.items():
        for box in boxes:
            place_of = picture.boxes[box.id]
            if box.group == name:
                assert rect.x <= place_of.x
                assert rect.y <= place_of.y
                assert place_of.x + place_of.width <= rect.x + rect.width
                assert place_of.y + place_of.height <= rect.y + rect.height
            else:
                assert apart(rect, place_of)


def lines_keep_clear(links: list[Link], picture: Picture) -> None:
    """No straight part of a line runs through a box that is not at one of its ends."""
    for link, route in zip(links, picture.routes, strict=True):
        for part in levels(route.path):
            for name, box in picture.boxes.items():
                if name not in {link.source, link.target}:
                    assert apart(Rect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1), part)


# ---------------------------------------------------------------- in a browser


def pixels(png: bytes) -> bytes:
    """Return the scan lines of a PNG file, filtered as they are (w3.org/TR/png, 10)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    data, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    return zlib.decompress(data)


def chromium(folder: Path, *options: str) -> bytes:
    """Run headless Chromium on a page with a profile of its own and return what it prints."""
    program = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium: sudo apt-get install chromium")
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={folder}", *options]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout


@pytest.mark.browser
def test_in_a_browser(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(hostile_page(), encoding="utf-8")
    dom = chromium(tmp_path / "profile", "--dump-dom", file.as_uri()).decode()
    assert Page(dom).elements.count("img") == 0
    assert Page(dom).elements.count("script") == 0
    assert "orders" in Page(dom).text
    shots = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        shot = tmp_path / f"{scheme}.png"
        chromium(
            tmp_path / scheme,
            f"--blink-settings=preferredColorScheme={number}",
            "--window-size=1200,1600",
            f"--screenshot={shot}",
            file.as_uri(),
        )
        shots[scheme] = pixels(shot.read_bytes())
    for shot_pixels in shots.values():
        assert len(set(shot_pixels)) > 100  # text and colours, not a blank page
    assert shots["dark"] != shots["light"]
