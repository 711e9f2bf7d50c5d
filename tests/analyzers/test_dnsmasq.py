from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import dnsmasq
from analyzers._argv import Word
from analyzers._dnsmasq_conf import arguments
from migrate.model import (
    Caution,
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

CONF = "/etc/dnsmasq.conf"
UNIT = "/usr/lib/systemd/system/dnsmasq.service"
HELPER = ("/usr/share/dnsmasq/systemd-helper", "exec")
CONFIG_DIR = "/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new"
# Debian 12's: everything in dnsmasq.conf is a comment.
DEBIAN: dict[str, Content] = {
    "/usr/sbin/dnsmasq": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    CONF: "# Configuration file for dnsmasq.\n#port=5353\n#listen-address=\n",
    "/etc/dnsmasq.d/README": "# All files in this directory will be read by dnsmasq\n",
    "/etc/default/dnsmasq": f'#DNSMASQ_OPTS="--conf-file=/etc/x"\nCONFIG_DIR={CONFIG_DIR}\n#DNSMASQ_EXCEPT="lo"\n',
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 forty\n::1 localhost ip6-localhost\nff02::1 ip6-allnodes\n",
    "/usr/share/dns/root.ds": ".\t172800\tIN\tDS\t20326 8 2 E06D44B8\n",
}
LAN = """\
port=5353 # not the usual
interface=eth0
listen-address=127.0.0.1,10.0.0.1
server=/corp.example/10.0.0.53#5300
server=192.0.2.1@eth0
rev-server=10.0.0.0/8,10.0.0.53
server=/local.example/
dhcp-range=set:lan,10.0.0.50,10.0.0.150,12h
dhcp-range=2001:db8::2,2001:db8::500
enable-tftp
tftp-root="/srv/tftp"
dhcp-hostsfile=/etc/dnsmasq.hosts
log-facility=/var/log/dnsmasq.log
user=lan
dnssec
"""


def joined(text: str = "", files: Mapping[str, Content] | None = None, *words: str) -> list[Finding]:
    guest = FakeGuest({**DEBIAN, **({"/etc/dnsmasq.d/lan": text} if text else {}), **(files or {})})
    service = Service(seen_in=Place(UNIT, 18), id="dnsmasq", manager="systemd", enabled=True, unit=UNIT,
                      command=words or HELPER)  # fmt: skip
    return list(dnsmasq.join(guest, [service]))


def test_debians_script_is_left_out() -> None:
    found = joined()
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        (
            "/usr/sbin/dnsmasq",
            "--keep-in-foreground",
            "--log-facility=-",
            "--pid-file=",
            "-u",
            "dnsmasq",
            "-7",
            CONFIG_DIR,
        )
    ]
    assert [(f.user, f.seen_in.path) for f in found if isinstance(f, RunsAs)] == [
        ("dnsmasq", "/usr/share/dnsmasq/init-system-common")
    ]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/53"]
    assert [(f.address, f.port, f.protocol, f.assumed) for f in found if isinstance(f, Listen)] == [
        ("*", 53, "tcp", True),
        ("*", 53, "udp", True),
    ]
    assert not any(isinstance(f, Unread) for f in found)


def test_a_network_of_its_own() -> None:
    found = joined(LAN, {"/etc/dnsmasq.hosts": ""})
    assert [(f.address, f.port, f.protocol, f.seen_in.line) for f in found if isinstance(f, Listen)] == [
        ("*", 5353, "tcp", 1),
        ("*", 5353, "udp", 1),
        ("127.0.0.1", 5353, "tcp", 1),
        ("127.0.0.1", 5353, "udp", 1),
        ("10.0.0.1", 5353, "tcp", 1),
        ("10.0.0.1", 5353, "udp", 1),
        ("*", 67, "udp", 8),
        ("*", 547, "udp", 8),
        ("*", 69, "udp", 10),
    ]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [
        ("udp:10.0.0.53:5300", 4),
        ("udp:192.0.2.1:53", 5),
        ("udp:10.0.0.53:53", 6),
    ]
    assert [(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses) and f.role != "config"] == [
        ("/srv/tftp", "data", 11),
        ("/var/log/dnsmasq.log", "log", 13),
        ("/var/lib/misc/dnsmasq.leases", "data", 8),
    ]
    assert {f.path for f in found if isinstance(f, Uses) and f.role == "config"} == {
        CONF, "/etc/dnsmasq.d/README", "/etc/dnsmasq.d/lan", "/etc/dnsmasq.hosts"}  # fmt: skip
    assert [f.user for f in found if isinstance(f, RunsAs)] == ["lan"]
    assert next(f for f in found if isinstance(f, Foreground)).command[-1] == "--trust-anchor=.,20326,8,2,E06D44B8"
    assert [f.seen_in.line for f in found if isinstance(f, Caution)] == [2, 8]


def test_loopback_only() -> None:
    found = joined("listen-address=127.0.0.1\ninterface=lo\nbind-interfaces\n")
    assert {f.address for f in found if isinstance(f, Listen)} == {"127.0.0.1"}
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("listen-address=127.0.0.1", "# listen-address=127.0.0.1", 1),
        ("interface=lo", "# interface=lo", 2),
    ]
    assert not any(isinstance(f, Rebind) for f in joined("listen-address=127.0.0.1,10.0.0.1\n"))


def test_dns_may_be_off() -> None:
    found = joined("port=0\ndhcp-range=10.0.0.2,10.0.0.9\ndhcp-leasefile=/srv/leases\n")
    assert [f.port for f in found if isinstance(f, Listen)] == [67]
    assert [f.path for f in found if isinstance(f, Uses) and f.role == "data"] == ["/srv/leases"]
    assert not any(isinstance(f, Health) for f in found)


def test_red_hats_unit() -> None:
    files = {CONF: "user=dnsmasq\ngroup=dnsmasq\ninterface=lo\nconf-dir=/etc/dnsmasq.d,.rpmnew,*.conf\n",
             "/etc/dnsmasq.d/a.conf": "server=192.0.2.7\n", "/etc/dnsmasq.d/b.conf.rpmnew": "server=192.0.2.8\n",
             "/etc/dnsmasq.d/c": "server=192.0.2.9\n"}  # fmt: skip
    found = joined("", files, "/usr/sbin/dnsmasq", "-k")
    assert [f.over for f in found if isinstance(f, Need)] == ["udp:192.0.2.7:53"]
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/dnsmasq", "--keep-in-foreground", "--log-facility=-", "--pid-file=")
    ]
    assert [(f.user, f.group) for f in found if isinstance(f, RunsAs)] == [("dnsmasq", "dnsmasq")]


def test_names_of_the_machines_hosts_file_are_told() -> None:
    files = {"/etc/hosts": "127.0.0.1 localhost\n10.0.0.7 printer\n"}
    assert [f.seen_in for f in joined("", files) if isinstance(f, Caution)] == [Place("/etc/hosts", 2)]
    assert not any(isinstance(f, Caution) for f in joined("no-hosts\n", files))


def test_what_only_a_command_says_is_told() -> None:
    files = {"/etc/default/dnsmasq": "DOMAIN_SUFFIX=`dnsdomainname`\nDNSMASQ_OPTS='-p 54 --user=x'\n"}
    found = joined("", files)
    assert {f.port for f in found if isinstance(f, Listen)} == {54}
    assert [f.seen_in.line for f in found if isinstance(f, Unread)] == [1]


def test_words_of_a_command() -> None:
    command = "-kd -p53 -a ::1 --server=9.9.9.9 --port 7 -kC /x"
    words = [Word(text, Place("/u")) for text in command.split()]
    assert [(o.name, o.value) for o in arguments(words)] == [
        ("keep-in-foreground", ""),
        ("no-daemon", ""),
        ("port", "53"),
        ("listen-address", "::1"),
        ("server", "9.9.9.9"),
        ("port", "7"),
        ("keep-in-foreground", ""),
        ("conf-file", "/x"),
    ]


SAMPLES = """port=|port=0|listen-address|listen-address=,|interface=lo|server=/|server=#@|rev-server=,|dhcp-range=
|dhcp-range=::|conf-dir=/etc/dnsmasq.d|conf-dir=|conf-file=/etc/dnsmasq.conf|conf-file=|user|log-facility=/x|tftp-root="
|enable-tftp|=|dhcp-leasefile=|addn-hosts=/etc/hosts|dnssec"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(text, {"/etc/default/dnsmasq": text, "/etc/hosts": text})
