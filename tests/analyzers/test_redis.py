from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import redis
from analyzers._redis_conf import split_words
from migrate.model import Finding, Foreground, Health, Listen, Need, Place, Rebind, Secret, Unread, Uses
from tests.analyzers.fake import Content, FakeGuest, File, Link

CONF = "/etc/redis/redis.conf"
# Debian 12's, with the lines that stand between left out.
TEXT = """\
# Redis configuration file example.
bind 127.0.0.1 -::1
protected-mode yes
port 6379
daemonize yes
pidfile /run/redis/redis-server.pid
logfile /var/log/redis/redis-server.log
# save ""
dbfilename dump.rdb
dir /var/lib/redis
appendonly no
"""
PROGRAMS: dict[str, Content] = {
    "/usr/bin/redis-server": Link("redis-check-rdb"),
    "/usr/bin/redis-check-rdb": File("ELF", mode=0o755),
    "/usr/bin/redis-cli": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/usr/lib/systemd/system/redis-server.service": "[Service]\n",
}


def analyzed(text: str = TEXT, **more: Content) -> list[Finding]:
    return list(redis.analyze(FakeGuest({**PROGRAMS, CONF: text, **more})))


def change(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_where_it_listens() -> None:
    assert [f for f in analyzed() if isinstance(f, Listen)] == [
        Listen(seen_in=Place(CONF, 4), service="redis-server", port=6379, address="127.0.0.1"),
        Listen(seen_in=Place(CONF, 4), service="redis-server", port=6379, address="::1"),
    ]
    socket = change("port 6379", "port 0\nunixsocket /var/run/redis/redis.sock")
    assert [(f.port, f.path) for f in analyzed(socket) if isinstance(f, Listen)] == [(None, "/run/redis/redis.sock")]
    default = [f for f in analyzed("dir /x\n") if isinstance(f, Listen)]
    assert [(f.port, f.address, f.assumed) for f in default] == [(6379, "*", True)]


def test_it_runs_in_the_foreground_and_answers() -> None:
    found = analyzed()
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/bin/redis-server", CONF, "--daemonize", "no", "--supervised", "no", "--logfile", "")
    ]
    assert [f.command for f in found if isinstance(f, Health)] == [("/usr/bin/redis-cli", "-p", "6379", "ping")]


def test_with_a_password_health_is_a_connection() -> None:
    found = analyzed(TEXT + 'requirepass "s3 cret"\n')
    assert [f.command for f in found if isinstance(f, Health)] == [
        ("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6379")
    ]


def test_passwords_are_secrets_and_no_reason_to_open_protected_mode() -> None:
    text = TEXT + 'requirepass "s3 cret"\nuser app on >pw1 #0a1b ~* +@all\n'
    found = analyzed(text)
    assert [(f.id, f.kind, f.value, f.seen_in.line) for f in found if isinstance(f, Secret)] == [
        ("redis-redis-conf-requirepass", "password", "s3 cret", 12),
        ("redis-redis-conf-user-app", "password", "pw1", 13),
        ("redis-redis-conf-user-app-2", "password-hash", "0a1b", 13),
    ]
    assert [f.before for f in found if isinstance(f, Rebind)] == ["bind 127.0.0.1 -::1"]
    assert "s3 cret" not in repr([f for f in found if isinstance(f, Secret)])


def test_what_must_change_for_clients_in_other_pods() -> None:
    rebinds = [f for f in analyzed() if isinstance(f, Rebind)]
    assert [(f.before, f.after, f.seen_in.line) for f in rebinds] == [
        ("bind 127.0.0.1 -::1", "bind * -::*", 2),
        ("protected-mode yes", "protected-mode no", 3),
    ]
    old = [f for f in analyzed(change("127.0.0.1 -::1", "127.0.0.1 ::1")) if isinstance(f, Rebind)]
    assert old[0].after == "bind 0.0.0.0"  # from before 6.2, where `*` is no address
    assert [f.before for f in analyzed(change("127.0.0.1 -::1", "0.0.0.0")) if isinstance(f, Rebind)] == [
        "protected-mode yes"
    ]


def test_protected_mode_that_no_line_names_is_told() -> None:
    found = analyzed(change("protected-mode yes\n", ""))
    assert ["protected mode" in f.why for f in found if isinstance(f, Unread)] == [True]


@pytest.mark.parametrize(
    ("text", "role", "line"),
    [
        (TEXT, "data", 10),
        (change("appendonly no", "appendonly yes"), "data", 11),
        (TEXT + 'save ""\n', "cache", 12),
        (TEXT + 'save ""\nsave 60 1\n', "data", 10),
        (change("appendonly no", "appendonly yes") + 'save ""\n', "data", 11),
    ],
)
def test_only_what_it_keeps_is_data(text: str, role: str, line: int) -> None:
    found = [f for f in analyzed(text) if isinstance(f, Uses) and f.path == "/var/lib/redis"]
    assert [(f.role, f.seen_in.line) for f in found] == [(role, line)]


def test_other_files_with_their_roles() -> None:
    found = analyzed(
        TEXT + "maxmemory 64mb\ninclude /etc/redis/local.conf\n", **{"/etc/redis/local.conf": "aclfile users.acl\n"}
    )
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        (CONF, "config"),
        ("/etc/redis/local.conf", "config"),
        ("/etc/redis/users.acl", "config"),
        ("/var/lib/redis", "data"),
        ("/var/log/redis/redis-server.log", "log"),
        ("/run/redis", "runtime"),
    }
    assert "its configuration; maxmemory 64mb" in {f.says for f in found if isinstance(f, Uses)}


def test_a_replica_needs_its_master() -> None:
    found = [f for f in analyzed(TEXT + "replicaof redis1.corp.example 6379\n") if isinstance(f, Need)]
    assert [(f.over, f.host_text, f.seen_in.line) for f in found] == [
        ("tcp:redis1.corp.example:6379", "redis1.corp.example", 12)
    ]
    assert not any(isinstance(f, Need) for f in analyzed(TEXT + "replicaof no one\n"))


def test_instances_and_valkey() -> None:
    wants = "/etc/systemd/system/multi-user.target.wants/redis-server@shop.service"
    files: dict[str, Content] = {
        **PROGRAMS,
        CONF: TEXT,
        wants: Link("/lib/systemd/system/redis-server@.service"),
        "/etc/redis/redis-shop.conf": "port 7000\n",
        "/etc/redis/redis-idle.conf": "port 7001\n",
        "/etc/valkey/valkey.conf": "port 7002\n",
        "/usr/bin/valkey-server": "ELF",
        "/usr/lib/systemd/system/valkey.service": "",
    }
    found = list(redis.analyze(FakeGuest(files)))
    assert {(f.service, f.port) for f in found if isinstance(f, Listen)} == {
        ("redis-server", 6379),
        ("redis-server@shop", 7000),
        ("valkey", 7002),
    }


def test_includes_that_lead_back_end() -> None:
    found = analyzed(
        "include /etc/redis/*.conf\ninclude redis.conf\nport 1\n", **{"/etc/redis/b.conf": "include redis.conf\n"}
    )
    assert any("include one another" in f.why for f in found if isinstance(f, Unread))


def test_words() -> None:
    assert split_words(r'a "b \"c\" \x41\n" ' + r"'d \'e' f") == ["a", 'b "c" A\n', "d 'e", "f"]
    assert split_words('a "open') is None
    assert split_words('"a"b') is None


SAMPLES = """save ""|save|bind|bind *|port -1|include|include .|user|user a >|replicaof x|dir|unixsocket|requirepass
|"|tls-port 1|logfile /x"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text)
