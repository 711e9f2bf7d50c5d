from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import mosquitto
from migrate.model import (
    Caution,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Secret,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

CONF = "/etc/mosquitto/mosquitto.conf"
# Debian 12's.
TEXT = """\
# Place your local configuration in /etc/mosquitto/conf.d/
#
pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/

log_dest file /var/log/mosquitto/mosquitto.log

include_dir /etc/mosquitto/conf.d
"""
LOCAL = "/etc/mosquitto/conf.d/local.conf"
# A plant's broker: its own listeners, and a bridge to the company's.
PLANT = """\
per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
listener 8883
cafile /etc/mosquitto/ca_certificates/ca.crt
keyfile /etc/mosquitto/certs/plant.key
password_file /etc/mosquitto/passwd
listener 0 /var/run/mosquitto/broker.sock
plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so
connection company
address mqtt.corp.example:8883 [fd00::1]:1884 10.0.0.7
topic plant/# out
remote_username plant
remote_password hunter2-horse
log_dest syslog
"""
PLACE = Place("/usr/lib/systemd/system/mosquitto.service", 3)


def analyzed(
    local: str = "", command: str = f"/usr/sbin/mosquitto -c {CONF}", version: str = "2.0.11"
) -> list[Finding]:
    files: dict[str, Content] = {CONF: TEXT, "/bin/bash": File("ELF", mode=0o755)}
    plugin = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
    if local:
        files |= {LOCAL: local, plugin: File("ELF"), "/etc/mosquitto/conf.d/README": "listener 9"}
    findings = (
        started("mosquitto", command),
        Package(seen_in=PLACE, name="mosquitto", version=version, architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=PLACE, package="mosquitto-plugins", paths=(plugin,)),
    )
    return list(mosquitto.join(FakeGuest(files), findings))


def test_debians_serves_the_machine_alone() -> None:
    found = analyzed()
    listen = Listen(seen_in=Place(CONF), service="mosquitto", port=1883, address="127.0.0.1", assumed=True)
    assert [f for f in found if isinstance(f, Listen)] == [listen]
    assert [f.address for f in analyzed(version="1.6.9") if isinstance(f, Listen)] == ["*"]
    assert {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)} == {
        (CONF, "config", None),
        ("/run/mosquitto", "runtime", 3),
        ("/var/log/mosquitto/mosquitto.log", "log", 8),
        ("/var/lib/mosquitto", "data", 6),
    }
    assert [f.user for f in found if isinstance(f, RunsAs)] == ["mosquitto"]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/mosquitto", "-c", CONF)]
    assert len([f for f in found if isinstance(f, Health)]) == 1
    assert [f.says for f in found if isinstance(f, Caution)] == [
        "with no listener it serves this machine alone; for other Pods add `listener 1883`"
    ]


def test_listeners_and_bridges() -> None:
    found = analyzed(PLANT)
    assert [(f.port, f.address, f.path, f.seen_in.line) for f in found if isinstance(f, Listen)] == [
        (1883, "127.0.0.1", "", 2),
        (8883, "*", "", 4),
        (None, "*", "/run/mosquitto/broker.sock", 8),
    ]
    assert [(f.before, f.after, f.seen_in) for f in found if isinstance(f, Rebind)] == [
        ("127.0.0.1", "0.0.0.0", Place(LOCAL, 2))
    ]
    assert [(f.over, f.host_text) for f in found if isinstance(f, Need)] == [
        ("tcp:mqtt.corp.example:8883", "mqtt.corp.example"),
        ("tcp:[fd00::1]:1884", "[fd00::1]"),
        ("tcp:10.0.0.7:1883", "10.0.0.7"),
    ]
    config = {f.path for f in found if isinstance(f, Uses) and f.role == "config"}
    assert {LOCAL, "/etc/mosquitto/passwd", "/etc/mosquitto/certs/plant.key"} <= config
    assert [f.package for f in found if isinstance(f, Requires)] == ["mosquitto-plugins"]
    assert [(f.name, f.seen_in) for f in found if isinstance(f, Secret)] == [("remote_password", Place(LOCAL, 14))]
    assert not any("hunter2" in repr(f) for f in found)
    assert any("no syslog" in f.says for f in found if isinstance(f, Caution))


def test_keys_that_are_shared_beforehand() -> None:
    guest = FakeGuest({CONF: "psk_file /etc/mosquitto/psk\n", "/etc/mosquitto/psk": "# id:key\npump:cafe0123\nbad\n"})
    found = list(mosquitto.join(guest, [started("mosquitto", f"/usr/sbin/mosquitto -c {CONF}")]))
    assert [(f.id, f.seen_in) for f in found if isinstance(f, Secret)] == [
        ("mosquitto-psk-pump", Place("/etc/mosquitto/psk", 2))
    ]


@pytest.mark.parametrize(
    ("local", "listens"),
    [
        ("port 1884\nbind_address 10.1.1.1\n", [(1884, "10.1.1.1", False)]),
        ("bind_address localhost\n", [(1883, "localhost", True)]),
        ("port 1884\nlistener 1885\n", [(1885, "*", False), (1884, "*", False)]),
        ("listener many\n", []),
    ],
)
def test_the_default_listener(local: str, listens: list[tuple[int, str, bool]]) -> None:
    assert [(f.port, f.address, f.assumed) for f in analyzed(local) if isinstance(f, Listen)] == listens


def test_a_daemon_without_configuration() -> None:
    found = analyzed(command="/usr/sbin/mosquitto -d -p 1999", version="1.4.2")
    assert [(f.port, f.address, f.assumed) for f in found if isinstance(f, Listen)] == [(1999, "*", False)]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/mosquitto", "-p", "1999")]


@given(st.lists(st.sampled_from([*PLANT.split(), "\n", "\n", "listener", "address", "\x00", "port", " "])))
@settings(max_examples=150, deadline=None)
def test_no_text_raises(words: list[str]) -> None:
    assert all(f.seen_in.path for f in analyzed(" ".join(words) or "#"))
