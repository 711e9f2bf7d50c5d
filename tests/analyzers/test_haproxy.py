from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import haproxy
from analyzers._haproxy_conf import parse_address, split_words
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
    Secret,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

CONF = "/etc/haproxy/haproxy.cfg"
# Debian 12's, trimmed, and a shop behind it.
GLOBAL = """\
global
	log /dev/log	local0
	chroot /var/lib/haproxy
	stats socket /run/haproxy/admin.sock mode 660 level admin
	user haproxy
	group haproxy
	daemon
	crt-base /etc/ssl/private

defaults
	log	global
	mode	http
	errorfile 400 /etc/haproxy/errors/400.http
"""
SHOP = """
frontend web
	bind *:80,:::80 v6only
	bind 10.0.0.5:443 ssl crt shop.pem alpn h2,http/1.1   # the address of the machine
	bind quic4@:443 ssl crt /etc/ssl/private/shop.pem
	bind /run/haproxy/web.sock mode 666
	bind abns@internal accept-proxy
	use_backend %[req.hdr(host),lower,map(/etc/haproxy/maps/hosts.map,shop)]

backend shop
	server s1 127.0.0.1:8000 check
	server s2 app2.corp.example:8000 check backup
	server s3 unix@/run/shop/web.sock
	server-template dyn 3 _http._tcp.svc.corp.example:8080 resolvers corp
	server odd 10.0.0.9 check

listen stats
	bind 127.0.0.1:8404-8405
	stats enable

listen off
	bind :9999
	disabled

listen mysql
	mode tcp
	bind :3306
	server db 10.0.0.8

peers mesh
	peer lb1 10.0.0.5:1024
	peer lb2 10.0.0.6:1024

resolvers corp
	nameserver dns1 10.0.0.2:53
	nameserver dns2 tcp@10.0.0.3:53

backend logs
	log 10.0.0.4:514 local0
"""
COMMAND = f"/usr/sbin/haproxy -Ws -f {CONF} -p /run/haproxy.pid -S /run/haproxy-master.sock"
UNIT = Place("/usr/lib/systemd/system/haproxy.service", 3)


def analyzed(text: str = GLOBAL + SHOP, command: str = COMMAND, **more: Content) -> list[Finding]:
    files: dict[str, Content] = {
        CONF: text,
        "/bin/bash": File("ELF", mode=0o755),
        "/etc/hostname": "lb1\n",
        "/etc/haproxy/errors/400.http": "HTTP/1.0 400",
        "/etc/haproxy/maps/hosts.map": "shop.example shop",
        "/etc/ssl/private/shop.pem": "PEM",
        **more,
    }
    return list(haproxy.join(FakeGuest(files), [started("haproxy", command, ("/etc/default/haproxy",))]))


def line_of(text: str) -> int:
    return next(n for n, line in enumerate((GLOBAL + SHOP).split("\n"), 1) if text in line)


def test_where_it_listens() -> None:
    found = [f for f in analyzed() if isinstance(f, Listen)]
    assert [(f.port, f.protocol, f.address, f.path, f.seen_in.line) for f in found] == [
        (80, "tcp", "*", "", line_of("*:80")),
        (80, "tcp", "*", "", line_of("*:80")),
        (443, "tcp", "10.0.0.5", "", line_of("10.0.0.5:443")),
        (443, "udp", "*", "", line_of("quic4")),
        (None, "tcp", "*", "/run/haproxy/web.sock", line_of("web.sock mode")),
        (8404, "tcp", "127.0.0.1", "", line_of("8404")),
        (8405, "tcp", "127.0.0.1", "", line_of("8404")),
        (3306, "tcp", "*", "", line_of(":3306")),
        (None, "tcp", "*", "/run/haproxy/admin.sock", line_of("admin.sock")),
        (None, "tcp", "*", "/run/haproxy-master.sock", 3),
    ]


def test_what_it_passes_to() -> None:
    found = [f for f in analyzed() if isinstance(f, Need)]
    assert [(f.over, f.host_text, f.detail) for f in found] == [
        ("tcp:127.0.0.1:8000", "127.0.0.1", "backend shop"),
        ("tcp:app2.corp.example:8000", "app2.corp.example", "backend shop"),
        ("unix:/run/shop/web.sock", "", "backend shop"),
        ("tcp:_http._tcp.svc.corp.example:8080", "_http._tcp.svc.corp.example", "backend shop"),
        ("tcp:10.0.0.8:3306", "10.0.0.8", "listen mysql"),
        ("tcp:10.0.0.6:1024", "10.0.0.6", "peers mesh"),
        ("udp:10.0.0.2:53", "10.0.0.2", "resolvers"),
        ("tcp:10.0.0.3:53", "10.0.0.3", "resolvers"),
        ("udp:10.0.0.4:514", "10.0.0.4", "log"),
    ]
    told = [(f.seen_in.line, f.says) for f in analyzed() if isinstance(f, Caution)]
    told += [(f.seen_in.line, f.why) for f in analyzed() if isinstance(f, Unread)]
    notes = {(line, words.split(":")[0]) for line, words in told}
    assert notes == {(2, "log /dev/log"), (line_of("server odd"), "server 10.0.0.9 names no port")}


def test_how_it_runs() -> None:
    found = analyzed()
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/haproxy", "-W", "-db", "-f", CONF, "-S", "/run/haproxy-master.sock")
    ]
    assert not [f for f in found if isinstance(f, RunsAs)]  # chroot takes root
    assert [f.seen_in.line for f in found if isinstance(f, Health)] == [line_of("*:80")]
    assert {(f.before, f.after) for f in found if isinstance(f, Rebind)} == {
        ("10.0.0.5:443", "*:443"),
        ("127.0.0.1:8404-8405", "*:8404-8405"),
    }
    free = analyzed(GLOBAL.replace("\tchroot /var/lib/haproxy\n", ""), f"/usr/sbin/haproxy -Ws -f {CONF}")
    assert [(f.user, f.group) for f in free if isinstance(f, RunsAs)] == [("haproxy", "haproxy")]
    old = analyzed(command=f"/usr/sbin/haproxy-systemd-wrapper -f {CONF} -p /run/haproxy.pid")
    assert [f.command for f in old if isinstance(f, Foreground)] == [("/usr/sbin/haproxy", "-db", "-f", CONF)]


def test_files() -> None:
    found = {(f.path, f.role) for f in analyzed() if isinstance(f, Uses)}
    assert found == {
        (CONF, "config"),
        ("/etc/haproxy/errors/400.http", "config"),
        ("/etc/haproxy/maps/hosts.map", "config"),
        ("/etc/ssl/private/shop.pem", "config"),
        ("/run/haproxy", "runtime"),
        ("/var/lib/haproxy", "runtime"),
    }
    missing = analyzed(GLOBAL + "frontend x\n bind :443 ssl crt no.pem\n")
    assert any(f.why.endswith("/etc/ssl/private/no.pem is not there") for f in missing if isinstance(f, Unread))


def test_passwords_are_named_by_their_places() -> None:
    text = """\
userlist staff
	user ann password $6$k6y3o.eP$JlKBx9za9667qe4
	user bob insecure-password hunter2-horse
listen stats
	bind :8404
	stats auth admin:battery-horse
"""
    found = analyzed(text)
    assert [(f.kind, f.id, f.seen_in.line) for f in found if isinstance(f, Secret)] == [
        ("password-hash", "haproxy-haproxy-cfg-userlist-staff-user", 2),
        ("password", "haproxy-haproxy-cfg-userlist-staff-user-2", 3),
        ("password", "haproxy-haproxy-cfg-listen-stats-stats", 6),
    ]
    assert "horse" not in repr(found)


def test_a_folder_of_files_and_variables() -> None:
    parts: dict[str, Content] = {
        "/etc/haproxy/conf.d/10-web.cfg": 'listen web\n  bind "${IP}:80"\n  server a "${APP}"\n',
        "/etc/haproxy/conf.d/20-x.cfg": "\nlisten x :81\n",
        "/etc/haproxy/conf.d/README": "listen never :1\n",
        "/etc/default/haproxy": "IP=10.0.0.1\nAPP=app:8000\nEXTRAOPTS=-f /etc/haproxy/conf.d\n",
    }
    found = analyzed(GLOBAL, f"/usr/sbin/haproxy -Ws -f {CONF} $EXTRAOPTS", **parts)
    assert [(f.address, f.port, f.seen_in.path[-10:]) for f in found if isinstance(f, Listen) and f.port] == [
        ("10.0.0.1", 80, "10-web.cfg"),
        ("*", 81, "d/20-x.cfg"),
    ]
    assert [f.over for f in found if isinstance(f, Need)] == ["tcp:app:8000"]


def test_ranges_without_end_are_cut() -> None:
    found = analyzed("listen x\n" + "\tbind " + ",".join([":1-1000"] * 50) + "\n\tserver a app\n")
    assert len([f for f in found if isinstance(f, Listen) and f.port]) == 4096
    assert any("only the first 4096" in f.why for f in found if isinstance(f, Unread))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("127.0.0.1:80", [("127.0.0.1", 80)]),
        ("[::1]:80", [("::1", 80)]),
        ("::1:80", [("::1", 80)]),
        ("[::1]", [("::1", None)]),
        ("ipv6@:::80", [("*", 80)]),
        ("app", [("app", None)]),
        ("app:+10", [("app", None)]),
        (":80-70", []),
        (":1-60000", []),
        ("a b:80", []),
        ("fd@3", []),
        ("", []),
    ],
)
def test_addresses(text: str, hosts: list[tuple[str, int | None]]) -> None:
    assert [(a.host, a.port) for a in parse_address(text) if text] == hosts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a b\\ c \'d # e\' "f\\"$X" # g', ["a", "b c", "d # e", 'f"1']),
        ("a'b'\"c\"d '$X'", ["abcd", "$X"]),
        ("a 'b", None),
        ("a \\", None),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str] | None) -> None:
    assert split_words(text, {"X": "1"}) == words


@given(
    st.lists(st.sampled_from([*(GLOBAL + SHOP).split(), "\n", "\n\t", "'", '"', "\\", "\x00", ".if", "@", ":", "${"]))
)
@settings(max_examples=150, deadline=None)
def test_no_text_raises(words: list[str]) -> None:
    assert all(f.seen_in.path for f in analyzed(" ".join(words)))
