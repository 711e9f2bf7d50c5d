from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import ngircd
from migrate.model import Finding, Foreground, Health, Listen, Need, Place, Rebind, RunsAs, Service, Uses
from tests.analyzers.fake import Content, FakeGuest, File

CONF = "/etc/ngircd/ngircd.conf"
UNIT = "/usr/lib/systemd/system/ngircd.service"
# Debian 12's, with the lines that are comments left out.
TEXT = """\
# $Id$
[Global]
	Name = irc.example.net
	;Ports = 6667, 6668
	MotdFile = /etc/ngircd/ngircd.motd
	PidFile = /var/run/ngircd/ngircd.pid
	ServerGID = irc
	ServerUID = irc
[Limits]
	MaxConnections = 500
[Options]
	OperCanUseMode = yes
"""
MORE = """\
	IncludeDir = /etc/ngircd/conf.d
[SSL]
	Ports = 6697
	KeyFile = /etc/ssl/private/irc.key
[Server]
	Host = peer.example
	Port = 6669
	MyPassword = s3cret
[Server]
	Host = passive.example
	Port = 6669
	Passive = yes
"""


def joined(text: str = TEXT, *command: str, **files: Content) -> list[Finding]:
    guest = FakeGuest({
        "/usr/sbin/ngircd": File("ELF", mode=0o755), "/bin/bash": File("ELF", mode=0o755), CONF: text,
        "/etc/ngircd/ngircd.motd": "hello", "/etc/ssl/private/irc.key": "key", **files})  # fmt: skip
    service = Service(seen_in=Place(UNIT, 18), id="ngircd", manager="systemd", enabled=True, unit=UNIT,
                      type="forking", user="irc", command=command or ("/usr/sbin/ngircd",))  # fmt: skip
    return list(ngircd.join(guest, [service]))


def test_debians() -> None:
    found = joined()
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/ngircd", "--nodaemon")]
    assert [(f.user, f.group, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("irc", "irc", 8)]
    assert [(f.port, f.address, f.assumed) for f in found if isinstance(f, Listen)] == [(6667, "*", True)]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/6667"]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        (CONF, "config"),
        ("/etc/ngircd/ngircd.motd", "config"),
        ("/run/ngircd", "runtime"),
    ]


def test_links_tls_and_a_folder() -> None:
    part: dict[str, Content] = {"/etc/ngircd/conf.d/a.conf": "[GLOBAL]\nports=7000,7001\nListen = 127.0.0.1,::1\n"}
    found = joined(TEXT + MORE, **part)
    assert [(f.port, f.address, f.seen_in) for f in found if isinstance(f, Listen)][::2] == [
        (7000, "127.0.0.1", Place("/etc/ngircd/conf.d/a.conf", 2)),
        (7001, "127.0.0.1", Place("/etc/ngircd/conf.d/a.conf", 2)),
        (6697, "127.0.0.1", Place(CONF, 15)),
    ]
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("Listen = 127.0.0.1,::1", "# Listen = 127.0.0.1,::1", 3)
    ]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [("tcp:peer.example:6669", 18)]
    assert "/etc/ssl/private/irc.key" in {f.path for f in found if isinstance(f, Uses)}
    assert "s3cret" not in repr(found)


def test_a_file_of_its_own() -> None:
    found = joined(TEXT, "/usr/sbin/ngircd", "-f", "/etc/irc.conf", **{"/etc/irc.conf": "[Global]\nPorts = 1\n"})
    assert [f.port for f in found if isinstance(f, Listen)] == [1]
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/ngircd", "--nodaemon", "-f", "/etc/irc.conf")
    ]


SAMPLES = "[Server]|[|Host=x|Port=|Ports=,|Listen=|Listen=,|IncludeDir=/etc/ngircd|IncludeDir=|KeyFile=/|PidFile=x|="
LINES = st.sampled_from(SAMPLES.split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(text)
