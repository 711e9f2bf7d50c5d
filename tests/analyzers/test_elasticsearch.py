from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import elasticsearch
from migrate.model import (
    EnvironmentFile,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    Service,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, FakeGuest, File

UNIT = "/usr/lib/systemd/system/elasticsearch.service"
CONF = "/etc/elasticsearch/elasticsearch.yml"
# The package's own of 7.17, without most of its comments.
YML = """\
# ---------------------------------- Cluster -----------------------------------
#cluster.name: my-application
path.data: /var/lib/elasticsearch
path.logs: /var/log/elasticsearch
#bootstrap.memory_lock: true
network.host: 127.0.0.1
#http.port: 9200
#discovery.seed_hosts: ["host1", "host2"]
"""
HOME = "/usr/share/elasticsearch"
SERVICE = Service(
    seen_in=Place(UNIT, 20),
    id="elasticsearch",
    manager="systemd",
    enabled=True,
    type="notify",
    unit=UNIT,
    command=(f"{HOME}/bin/systemd-entrypoint", "-p", "/var/run/elasticsearch/elasticsearch.pid", "--quiet"),
    environment=(
        Variable("ES_HOME", HOME, Place(UNIT, 10)),
        Variable("ES_PATH_CONF", "/etc/elasticsearch", Place(UNIT, 11)),
    ),
    environment_files=(EnvironmentFile("/etc/default/elasticsearch", True, Place(UNIT, 14)),),
)
FILES: dict[str, Content] = {
    f"{HOME}/bin/elasticsearch": File("#!/bin/bash", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/etc/elasticsearch/jvm.options": "## -Xms4g\n8-13:-XX:+UseConcMarkSweepGC\n-Xmx1g\n",
    "/etc/elasticsearch/jvm.options.d/heap.options": "-Xms2g\n-Xmx2g\n",
    "/etc/default/elasticsearch": "#ES_JAVA_OPTS=\nES_NODE=db1\n",
}


def found(yml: str = YML, files: Mapping[str, Content] | None = None, service: Service = SERVICE) -> list[Finding]:
    return list(elasticsearch.join(FakeGuest({**FILES, CONF: yml, **(files or {})}), [service]))


def ports(findings: list[Finding]) -> list[tuple[int | None, str, bool]]:
    return [(f.port, f.address, f.assumed) for f in findings if isinstance(f, Listen)]


def test_the_packages_own() -> None:
    got = found()
    assert ports(got) == [(9200, "127.0.0.1", True), (9300, "127.0.0.1", True)]
    assert {(f.path, f.role, f.says) for f in got if isinstance(f, Uses)} == {
        ("/etc/elasticsearch", "config", "its configuration; -Xmx2g (/etc/elasticsearch/jvm.options.d/heap.options:2)"),
        ("/var/lib/elasticsearch", "data", "path.data: its indices"),
        ("/var/log/elasticsearch", "log", "path.logs"),
    }
    assert [f.command for f in got if isinstance(f, Foreground)] == [(f"{HOME}/bin/elasticsearch",)]
    assert [f.command[-1] for f in got if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/9200"]
    # HTTP alone is opened: with transport beyond loopback a node refuses to start where a bootstrap check fails.
    assert [(f.before, f.after, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [
        ("network.host: 127.0.0.1", "http.host: 0.0.0.0", 6)
    ]


def test_a_member_of_a_cluster() -> None:
    yml = """network:
  host: 10.0.0.5
http.port: 9201
transport.port: 9301-9305
path.data: [/data/a, /data/b]
discovery.seed_hosts:
  - es1.corp
  - es2.corp:9400
  - "${ES_NODE}"
cluster.remote.old.seeds: 10.9.9.9:9300
bootstrap.memory_lock: true
"""
    got = found(yml)
    assert ports(got) == [(9201, "10.0.0.5", False), (9301, "10.0.0.5", False)]
    assert [(f.over, f.seen_in.line) for f in got if isinstance(f, Need)] == [
        ("tcp:es1.corp:9300", 7), ("tcp:es2.corp:9400", 8), ("tcp:db1:9300", 9), ("tcp:10.9.9.9:9300", 10),
    ]  # fmt: skip
    assert [f.path for f in got if isinstance(f, Uses) and f.role == "data"] == ["/data/a", "/data/b"]
    assert [(f.before, f.after, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [("10.0.0.5", "0.0.0.0", 2)]
    assert ["memory_lock" in f.why for f in got if isinstance(f, Unread)] == [True]


def test_open_to_all_and_by_default_to_nobody() -> None:
    assert not [f for f in found("network.host: 0.0.0.0\n") if isinstance(f, Rebind | Unread)]
    assert ports(found("http.host: 0.0.0.0\n")) == [(9200, "*", True), (9300, "127.0.0.1", True)]
    assert ["http.host: 0.0.0.0" in f.why for f in found("") if isinstance(f, Unread)] == [True]


def test_opensearch_from_an_archive() -> None:
    service = Service(
        seen_in=Place("/etc/systemd/system/os.service", 5),
        id="os",
        manager="systemd",
        enabled=True,
        unit="/etc/systemd/system/os.service",
        command=("/opt/opensearch-2.11.0/bin/opensearch", "-Ehttp.port=9222", "-d"),
    )
    files: dict[str, Content] = {
        "/opt/opensearch-2.11.0/config/opensearch.yml": "network.host: _site_\nhttp.port: 9201\n",
        "/opt/opensearch-2.11.0/bin/opensearch": File("#!/bin/bash", mode=0o755),
    }
    got = found(files=files, service=service)
    assert ports(got) == [(9222, "_site_", False), (9300, "_site_", True)]
    assert ("/opt/opensearch-2.11.0/data", "data") in {(f.path, f.role) for f in got if isinstance(f, Uses)}
    assert [f.command for f in got if isinstance(f, Foreground)] == [
        ("/opt/opensearch-2.11.0/bin/opensearch", "-Ehttp.port=9222")
    ]


def test_a_service_that_is_none() -> None:
    other = Service(seen_in=Place("/x"), id="x", manager="systemd", enabled=True, unit="/x", command=("/bin/x",))
    assert found(service=other) == []


PIECES = st.sampled_from([
    "network.host", ": ", "\n", "- ", "[", "]", "127.0.0.1", "path.data", "${ES_HOME}", "discovery.seed_hosts", ",",
    ":",
    "http.port: 1", "  ", "-Xmx", "cluster.remote.x.seeds: ",
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=6), max_size=15).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    assert found(text, {"/etc/elasticsearch/jvm.options": text, "/etc/default/elasticsearch": text})
