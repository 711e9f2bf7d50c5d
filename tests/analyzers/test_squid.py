from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import squid
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
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

CONF = "/etc/squid/squid.conf"
# Debian 12's without its comments, trimmed.
TEXT = """\
acl localnet src 10.0.0.0/8		# RFC 1918 local private network (LAN)
acl SSL_ports port 443
http_access deny !Safe_ports
include /etc/squid/conf.d/*.conf
http_access allow localhost
http_access deny all
http_port 3128
coredump_dir /var/spool/squid
refresh_pattern -i (/cgi-bin/|\\?) 0	0%	0
"""
OFFICE = """\
http_access allow localnet
http_port 127.0.0.1:3129 intercept
https_port [fd00::1]:3130 tls-cert=/etc/squid/proxy.pem
icp_port 3130
snmp_port 0
acl ads dstdomain "/etc/squid/ads.txt" # ours
cache_dir ufs /var/spool/squid 1000 16 256
access_log stdio:/var/log/squid/office.log squid
access_log tcp://logs.corp.example:5140 squid
cache_peer parent.corp.example parent 3128 3130 default \\
    login=proxy:hunter2-horse
cache_peer 127.0.0.1 parent 8080 0 no-query originserver
dns_nameservers 10.0.0.2 10.0.0.3
icap_service av respmod_precache icap://127.0.0.1:1344/avscan
auth_param basic program /usr/lib/squid/basic_ldap_auth -b dc=corp -W /etc/squid/ldap.secret
cache_effective_user squid
pid_filename /var/run/squid/squid.pid
cachemgr_passwd manager-horse shutdown
"""
UNIT = Place("/usr/lib/systemd/system/squid.service", 3)
LOCAL = "/etc/squid/conf.d/office.conf"
COMMAND = "/usr/sbin/squid --foreground -sYC"


def analyzed(office: str = OFFICE, command: str = COMMAND, text: str = TEXT, version: str = "5.7-2") -> list[Finding]:
    files: dict[str, Content] = {
        CONF: text,
        "/etc/squid/conf.d/debian.conf": "logfile_rotate 0\n",
        LOCAL: office,
        "/bin/bash": File("ELF", mode=0o755),
        "/etc/squid/ads.txt": "ads.example",
        "/etc/squid/proxy.pem": "PEM",
        "/etc/squid/ldap.secret": "x",
        "/usr/lib/squid/basic_ldap_auth": File("ELF", mode=0o755),
    }
    findings = (
        started("squid", command),
        Package(seen_in=UNIT, name="squid", version=version, architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=UNIT, package="squid-ldap", paths=("/usr/lib/squid/basic_ldap_auth",)),
    )
    return list(squid.join(FakeGuest(files), findings))


def test_debian() -> None:
    found = analyzed("")
    assert [f for f in found if isinstance(f, Listen)] == [Listen(seen_in=Place(CONF, 7), service="squid", port=3128)]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        (CONF, "config"),
        ("/etc/squid/conf.d/debian.conf", "config"),
        ("/var/spool/squid", "cache"),
        ("/var/log/squid/access.log", "log"),
        ("/var/log/squid/cache.log", "log"),
    }
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/squid", "--foreground", "-YC", "-d", "1")
    ]
    assert [f.seen_in for f in found if isinstance(f, Health)] == [Place(CONF, 7)]
    assert not [f for f in found if isinstance(f, RunsAs | Rebind | Need | Secret)]
    assert [f.seen_in for f in found if isinstance(f, Caution)] == [Place(CONF, 5)]


def test_ports_and_peers() -> None:
    found = analyzed()
    assert [(f.port, f.protocol, f.address) for f in found if isinstance(f, Listen)] == [
        (3129, "tcp", "127.0.0.1"),
        (3130, "tcp", "fd00::1"),
        (3130, "udp", "*"),
        (3128, "tcp", "*"),
    ]
    assert [(f.before, f.after) for f in found if isinstance(f, Rebind)] == [
        ("127.0.0.1:3129", "0.0.0.0:3129"),
        ("[fd00::1]:3130", "[::]:3130"),
    ]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [
        ("tcp:parent.corp.example:3128", 10),
        ("udp:parent.corp.example:3130", 10),
        ("tcp:127.0.0.1:8080", 12),
        ("udp:10.0.0.2:53", 13),
        ("udp:10.0.0.3:53", 13),
        ("tcp:logs.corp.example:5140", 9),
        ("tcp:127.0.0.1:1344", 14),
    ]
    assert not [f for f in found if isinstance(f, Unread)]


def test_files_users_and_secrets() -> None:
    found = analyzed()
    uses = {(f.path, f.role) for f in found if isinstance(f, Uses)}
    assert {
        (LOCAL, "config"),
        ("/etc/squid/ads.txt", "config"),
        ("/etc/squid/proxy.pem", "config"),
        ("/etc/squid/ldap.secret", "config"),
        ("/var/log/squid/office.log", "log"),
        ("/run/squid", "runtime"),
        ("/var/spool/squid", "cache"),
    } <= uses
    assert [f.package for f in found if isinstance(f, Requires)] == ["squid-ldap"]
    assert [(f.user, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("squid", 16)]
    assert [(f.name, f.seen_in.line) for f in found if isinstance(f, Secret)] == [
        ("login", 10),
        ("cachemgr_passwd", 18),
    ]
    assert "horse" not in repr(found)
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        (
            "/bin/sh",
            "-c",
            "/usr/sbin/squid --foreground -z && exec /usr/sbin/squid --foreground -YC -d 1",
        )
    ]


def test_the_password_of_a_helper() -> None:
    found = analyzed("auth_param basic program /usr/lib/squid/basic_ldap_auth -b dc=corp -w tin-horse\n")
    assert [(f.id, f.seen_in) for f in found if isinstance(f, Secret)] == [
        ("squid-conf-d-office-conf-auth-param-w", Place(LOCAL, 1))
    ]
    assert "horse" not in repr(found)


def test_old_squid_and_a_file_of_its_own() -> None:
    found = analyzed("", f"/usr/sbin/squid -sf {CONF}", version="7:3.5.20-17")
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/squid", "-N", "-d", "1")]
    moved = analyzed("", f"/usr/sbin/squid --foreground -f {LOCAL}")
    assert [f.command[-2:] for f in moved if isinstance(f, Foreground)] == [("-f", LOCAL)]


def test_files_that_include_one_another() -> None:
    found = analyzed(f"include {CONF}\n")
    assert any("include one another" in f.why for f in found if isinstance(f, Unread))


@given(st.lists(st.sampled_from([*(TEXT + OFFICE).split(), "\n", "\n", "\\\n", '"', "'", "\x00", "#", "if"])))
@settings(max_examples=150, deadline=None)
def test_no_text_raises(words: list[str]) -> None:
    text = " ".join(words).replace("include", "x")
    assert all(f.seen_in.path for f in analyzed(text, text=text))
