from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import unbound
from migrate.model import (
    Caution,
    EnvironmentFile,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    RunsAs,
    Service,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File

CONF = "/etc/unbound/unbound.conf"
PARTS = "/etc/unbound/unbound.conf.d"
LOCAL = f"{PARTS}/local.conf"
UNIT = "/usr/lib/systemd/system/unbound.service"
# Debian 12's.
DEBIAN: dict[str, Content] = {
    "/usr/sbin/unbound": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    CONF: '# Unbound configuration file for Debian.\ninclude-toplevel: "/etc/unbound/unbound.conf.d/*.conf"\n',
    f"{PARTS}/remote-control.conf": "remote-control:\n  control-enable: yes\n  control-interface: /run/unbound.ctl\n",
    f"{PARTS}/root-auto-trust-anchor-file.conf": "server:\n    # The following line\n"
    '    auto-trust-anchor-file: "/var/lib/unbound/root.key"\n',
}
CHANGED = """\
server:
    interface: 127.0.0.1   # the machine's own
    interface: ::1@5353
    interface: 10.0.0.5@853
    access-control: 10.0.0.0/8 allow
    username: "unbound"
    logfile: "/var/log/unbound.log"
    root-hints: "/usr/share/dns/root.hints"
    tls-service-pem: "tls.pem"
forward-zone:
    name: "."
    forward-tls-upstream: yes
    forward-addr: 192.0.2.1@853#dns.example
    forward-addr: 192.0.2.2
stub-zone: name: "corp.example"
    stub-addr: 10.0.0.53@5300
auth-zone:
    name: "own.example"
    zonefile: "/var/lib/unbound/own.zone"
    primary: 10.0.0.9
"""


def joined(text: str = "", files: Mapping[str, Content] | None = None, *words: str) -> list[Finding]:
    guest = FakeGuest({**DEBIAN, **({LOCAL: text} if text else {}), **(files or {})})
    service = Service(seen_in=Place(UNIT, 14), id="unbound", manager="systemd", enabled=True, unit=UNIT,
                      command=("/usr/sbin/unbound", "-d", "-p", *words),
                      environment_files=(EnvironmentFile("/etc/default/unbound", True, Place(UNIT, 11)),))  # fmt: skip
    return list(unbound.join(guest, [service]))


def test_debians() -> None:
    found = joined()
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/unbound", "-dd", "-p")]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/53"]
    assert [(f.address, f.port, f.protocol, f.path, f.assumed) for f in found if isinstance(f, Listen)] == [
        ("127.0.0.1", 53, "tcp", "", True),
        ("127.0.0.1", 53, "udp", "", True),
        ("::1", 53, "tcp", "", True),
        ("::1", 53, "udp", "", True),
        ("*", None, "tcp", "/run/unbound.ctl", False),
    ]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        (CONF, "config"),
        (f"{PARTS}/remote-control.conf", "config"),
        (f"{PARTS}/root-auto-trust-anchor-file.conf", "config"),
        ("/var/lib/unbound", "data"),
    }
    assert [f.says.partition(";")[0] for f in found if isinstance(f, Caution)] == [
        "no access-control lets anybody but the machine itself ask",
        "no interface is set, so it listens on loopback only",
    ]


def test_where_it_listens() -> None:
    found = joined(CHANGED)
    assert [(f.address, f.port, f.protocol, f.seen_in.line) for f in found if isinstance(f, Listen) and f.port] == [
        ("127.0.0.1", 53, "tcp", 2),
        ("127.0.0.1", 53, "udp", 2),
        ("::1", 5353, "tcp", 3),
        ("::1", 5353, "udp", 3),
        ("10.0.0.5", 853, "tcp", 4),
    ]
    assert [(f.before, f.after, f.seen_in) for f in found if isinstance(f, Rebind)] == [
        ("127.0.0.1", "0.0.0.0", Place(LOCAL, 2)),
        ("::1", "::0", Place(LOCAL, 3)),
    ]
    assert not any(isinstance(f, Unread) for f in found)
    assert {
        f.protocol for f in joined("server:\n do-tcp: no\n interface: 0.0.0.0\n") if isinstance(f, Listen) and f.port
    } == {"udp"}


def test_whom_it_asks() -> None:
    assert [(f.over, f.detail, f.seen_in.line) for f in joined(CHANGED) if isinstance(f, Need)] == [
        ("tcp:192.0.2.1:853", "it asks that for .", 13),
        ("tcp:192.0.2.2:853", "it asks that for .", 14),
        ("udp:10.0.0.53:5300", "it asks that for corp.example", 16),
        ("tcp:10.0.0.9:53", "it asks that for own.example", 20),
    ]


def test_its_files_and_user() -> None:
    found = joined(CHANGED)
    assert [(f.path, f.role) for f in found if isinstance(f, Uses) and f.seen_in.path == LOCAL] == [
        (LOCAL, "config"),
        ("/etc/unbound/tls.pem", "config"),
        ("/var/log/unbound.log", "log"),
        ("/var/lib/unbound/own.zone", "data"),
    ]
    assert [(f.user, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("unbound", 6)]


def test_its_options() -> None:
    # Red Hat's unit names the file and its options.
    files = {"/etc/sysconfig/unbound": "UNBOUND_OPTIONS=", "/etc/u.conf": "server:\n  port: 5300\n  interface: eth0\n"}
    found = joined("", files, "-c", "/etc/u.conf", "$UNBOUND_OPTIONS")
    assert {f.port for f in found if isinstance(f, Listen)} == {5300}
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/unbound", "-dd", "-p", "-c", "/etc/u.conf")
    ]
    assert any("the interface eth0" in f.says for f in found if isinstance(f, Caution))


def test_includes_that_lead_back_end() -> None:
    found = joined("include: *.conf\n")
    assert any("include one another" in f.why for f in found if isinstance(f, Unread))


SAMPLES = """server:|server: port: 5|port: x|port:|interface: |interface: @|include: *|include: ""|forward-zone:
|forward-addr: @#|forward-addr: 1.1.1.1|auto-trust-anchor-file: "|auto-trust-anchor-file: ..|remote-control:
|control-enable: yes|access-control: x|username:|logfile: "|zonefile: x|auth-zone:|interface-automatic: yes"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(text)
