from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import rabbitmq
from migrate.model import Finding, Foreground, Health, Listen, Need, Place, Rebind, Service, Trait, Unread, Uses
from tests.analyzers.fake import Content, Dir, FakeGuest, File

UNIT = "/usr/lib/systemd/system/rabbitmq-server.service"
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONF = "/etc/rabbitmq/rabbitmq.conf"
SERVICE = Service(
    seen_in=Place(UNIT, 17),
    id="rabbitmq-server",
    manager="systemd",
    enabled=True,
    type="notify",
    unit=UNIT,
    command=(SERVER,),
)


def found(files: Mapping[str, Content] | None = None) -> list[Finding]:
    guest = FakeGuest({
        SERVER: File("#!/bin/sh", mode=0o755),
        "/usr/sbin/rabbitmq-diagnostics": File("#!/bin/sh", mode=0o755),
        "/var/lib/rabbitmq": Dir(),
        "/var/log/rabbitmq": Dir(),
        **(files or {}),
    })  # fmt: skip
    return list(rabbitmq.join(guest, [SERVICE, Trait(seen_in=Place("/etc/hostname", 1), key="hostname", value="mq1")]))


def ports(findings: list[Finding]) -> list[tuple[int | None, str, int | None, bool]]:
    return [(f.port, f.address, f.seen_in.line, f.assumed) for f in findings if isinstance(f, Listen)]


def test_debians_own_has_no_configuration() -> None:
    got = found()
    assert ports(got) == [(5672, "*", 17, True), (25672, "*", 17, True)]
    assert [f.command for f in got if isinstance(f, Foreground)] == [("/usr/bin/env", "RABBITMQ_LOGS=-", SERVER)]
    assert [f.command for f in got if isinstance(f, Health)] == [("/usr/sbin/rabbitmq-diagnostics", "-q", "ping")]
    assert {(f.path, f.role) for f in got if isinstance(f, Uses)} == {
        ("/var/lib/rabbitmq", "data"), ("/var/log/rabbitmq", "log"),
    }  # fmt: skip


def test_one_that_a_person_configured() -> None:
    conf = """\
# listeners.tcp.default = 5670
listeners.tcp.local = 127.0.0.1:5672
listeners.tcp.2 = :::5673   # all
listeners.ssl.default = 5671
ssl_options.certfile = /etc/ssl/mq.pem
management.tcp.port = 15673
management.tcp.ip = 127.0.0.1
default_pass = geheim77
cluster_formation.classic_config.nodes.1 = rabbit@mq1
cluster_formation.classic_config.nodes.2 = rabbit@mq2.corp
auth_ldap.servers.1 = ldap.corp
vm_memory_high_watermark.absolute = 2GB
"""
    got = found({
        CONF: conf,
        "/etc/rabbitmq/enabled_plugins": "[rabbitmq_management,rabbitmq_mqtt].\n",
        "/etc/rabbitmq/advanced.config": "[{rabbit, [{tcp_listeners, [5680]}]}].",
    })  # fmt: skip
    assert ports(got) == [
        (5672, "127.0.0.1", 2, False), (5673, "*", 3, False), (5671, "*", 4, False), (15673, "127.0.0.1", 6, False),
        (1883, "*", None, True), (25672, "*", None, True),
    ]  # fmt: skip
    rebinds = [f for f in got if isinstance(f, Rebind)]
    assert [(f.before, f.after, f.seen_in.line) for f in rebinds] == [
        ("127.0.0.1", "0.0.0.0", 2), ("127.0.0.1", "0.0.0.0", 7),
    ]  # fmt: skip
    assert all(f.before in conf.split("\n")[(f.seen_in.line or 0) - 1] for f in rebinds)
    assert [(f.over, f.host_text, f.seen_in.line) for f in got if isinstance(f, Need)] == [
        ("tcp:mq2.corp:25672", "mq2.corp", 10), ("tcp:ldap.corp:389", "ldap.corp", 11),
    ]  # fmt: skip
    uses = [f for f in got if isinstance(f, Uses)]
    assert ("/etc/ssl/mq.pem", "config") in {(f.path, f.role) for f in uses}
    assert f"its configuration; vm_memory_high_watermark.absolute = 2GB ({CONF}:12)" in {f.says for f in uses}
    assert ["Erlang terms" in f.why for f in got if isinstance(f, Unread)] == [True]
    assert "geheim77" not in repr(got)


def test_the_environments_file() -> None:
    env = "NODE_PORT=5680\nRABBITMQ_NODE_IP_ADDRESS=127.0.0.1\nMNESIA_BASE=/data/mq\nLOG_BASE=/data/log\n"
    got = found({"/etc/rabbitmq/rabbitmq-env.conf": env})
    assert ports(got) == [(5680, "127.0.0.1", 1, False), (25680, "*", None, True)]
    assert [(f.before, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [("127.0.0.1", 2)]
    assert {(f.path, f.role, f.seen_in.line) for f in got if isinstance(f, Uses) and f.path.startswith("/data")} == {
        ("/data/mq", "data", 3), ("/data/log", "log", 4),
    }  # fmt: skip


def test_no_tcp_at_all_and_a_cluster_that_it_remembers() -> None:
    nodes = "{['rabbit@mq2','rabbit@mq1'],['rabbit@mq1']}.\n"
    path = "/var/lib/rabbitmq/mnesia/rabbit@mq1/cluster_nodes.config"
    got = found({CONF: "listeners.tcp = none\nlisteners.ssl.1 = 10.0.0.1:5671\n", path: nodes})
    assert ports(got)[0] == (5671, "10.0.0.1", 2, False)
    assert [(f.over, f.seen_in) for f in got if isinstance(f, Need)] == [("tcp:mq2:25672", Place(path, 1))]


def test_an_empty_advanced_configuration_is_none() -> None:
    assert not [f for f in found({"/etc/rabbitmq/advanced.config": "%% x\n[\n].\n"}) if isinstance(f, Unread)]


PIECES = st.sampled_from([
    "listeners.tcp", "listeners.ssl.1", ".default", " = ", "127.0.0.1", ":", "5672", "\n", "management.tcp.port",
    "none",
    "NODE_PORT=", "rabbit@", "[", "]", "'", "cluster_formation.classic_config.nodes.1 = ",
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=6), max_size=15).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    names = ("rabbitmq.conf", "rabbitmq-env.conf", "enabled_plugins", "advanced.config", "conf.d/a.conf")
    assert found({f"/etc/rabbitmq/{name}": text for name in names})
