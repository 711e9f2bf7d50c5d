from __future__ import annotations

from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import pgbouncer
from analyzers._pgbouncer_conf import connection, users
from migrate.model import (
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    RunsAs,
    Secret,
    Service,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File

T = TypeVar("T")

CONF = "/etc/pgbouncer/pgbouncer.ini"
UNIT = Place("/lib/systemd/system/pgbouncer.service", 10)
# Debian 12's, with the lines that stand between left out.
TEXT = """\
;; database name = connect string
[databases]
;bardb = host=localhost dbname=bazdb
;* = host=testserver
[users]
;user1 = pool_mode=transaction max_user_connections=10
[pgbouncer]
logfile = /var/log/postgresql/pgbouncer.log
pidfile = /var/run/postgresql/pgbouncer.pid
listen_addr = localhost
listen_port = 6432
;unix_socket_dir = /tmp
unix_socket_dir = /var/run/postgresql
auth_type = md5
auth_file = /etc/pgbouncer/userlist.txt
;; Read additional config from other file
;%include /etc/pgbouncer/pgbouncer-other.ini
"""
FILES: dict[str, Content] = {"/usr/sbin/pgbouncer": File("ELF", mode=0o755), "/bin/bash": File("ELF", mode=0o755)}
COMMAND = ("/usr/sbin/pgbouncer", CONF)


def analyzed(
    text: str = TEXT, command: tuple[str, ...] = COMMAND, user: str = "postgres", manager: str = "systemd",
    files: dict[str, Content] | None = None,
) -> list[Finding]:  # fmt: skip
    service = Service(
        seen_in=UNIT, id="pgbouncer", manager=manager, enabled=True, unit=UNIT.path, command=command, user=user
    )
    return list(pgbouncer.join(FakeGuest({**FILES, CONF: text, **(files or {})}), [service]))


def of(kind: type[T], found: list[Finding]) -> list[T]:
    return [finding for finding in found if isinstance(finding, kind)]


def change(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_as_debian_ships_it() -> None:
    found = analyzed()
    assert of(Listen, found) == [
        Listen(seen_in=Place(CONF, 11), service="pgbouncer", port=6432, address="localhost"),
        Listen(seen_in=Place(CONF, 13), service="pgbouncer", path="/run/postgresql/.s.PGSQL.6432"),
    ]
    assert [(f.before, f.after, f.seen_in) for f in of(Rebind, found)] == [
        ("listen_addr = localhost", "listen_addr = *", Place(CONF, 10))
    ]
    assert [f.command for f in of(Foreground, found)] == [COMMAND]
    assert [f.command for f in of(Health, found)] == [("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6432")]
    assert {(f.path, f.role) for f in of(Uses, found)} == {
        (CONF, "config"),
        ("/etc/pgbouncer/userlist.txt", "config"),
        ("/var/log/postgresql/pgbouncer.log", "log"),
        ("/run/postgresql", "runtime"),
    }
    assert (of(Need, found), of(Unread, found), of(RunsAs, found)) == ([], [], [])


def test_the_servers_behind_it() -> None:
    text = change(
        "[users]",
        "foodb =\nbardb = host=10.0.0.7,db2.corp port=5433 dbname=bazdb\nsix = host=2001:db8::7\n"
        '"a b" = host=/var/run/pg\n* = host=@abstract\n[users]',
    )
    assert [(f.over, f.host_text, f.seen_in.line) for f in of(Need, analyzed(text))] == [
        ("unix:/run/postgresql/.s.PGSQL.5432", "", 5),
        ("tcp:10.0.0.7:5433", "10.0.0.7", 6),
        ("tcp:db2.corp:5433", "db2.corp", 6),
        ("tcp:[2001:db8::7]:5432", "2001:db8::7", 7),
        ("unix:/run/pg/.s.PGSQL.5432", "", 8),
    ]


def test_passwords_are_secrets() -> None:
    text = change("[users]", "force = host=localhost user=baz password='f''oo' dbname=x\n[users]")
    listed = '"app" "s3cret"\n"ro" "md545f2603610af569b6155c45067268c6b" x\n; "no" "no"\n"q""t" ""\n'
    found = analyzed(text, files={"/etc/pgbouncer/userlist.txt": listed})
    assert [(f.name, f.kind, f.value, f.seen_in.line) for f in of(Secret, found)] == [
        ("password", "password", "f'oo", 5),
        ("app", "password", "s3cret", 1),
        ("ro", "password-hash", "md545f2603610af569b6155c45067268c6b", 2),
    ]
    assert "s3cret" not in repr(found)
    assert "f''oo" not in repr(found)


def test_an_init_script_becomes_the_foreground_command() -> None:
    text = change("auth_type", "user = postgres\nauth_type")
    found = analyzed(text, ("/etc/init.d/pgbouncer", "start"), user="root", manager="sysv")
    assert [f.command for f in of(Foreground, found)] == [COMMAND]
    assert [(f.user, f.seen_in) for f in of(RunsAs, found)] == [("postgres", Place(CONF, 14))]
    daemon = ("/usr/sbin/pgbouncer", "-q", "-d", "-u", "postgres", CONF)
    assert [f.command for f in of(Foreground, analyzed(TEXT, daemon))] == [
        ("/usr/sbin/pgbouncer", "-u", "postgres", CONF)
    ]


def test_defaults_are_marked() -> None:
    bare = of(Listen, analyzed("[pgbouncer]\n"))
    assert [(f.port, f.path, f.assumed) for f in bare] == [(None, "/tmp/.s.PGSQL.6432", True)]
    addressed = of(Listen, analyzed("[pgbouncer]\nlisten_addr = *, ::1\nunix_socket_dir =\n"))
    assert [(f.port, f.address, f.assumed) for f in addressed] == [(6432, "*", True), (6432, "::1", True)]


def test_includes_keep_the_section_and_end() -> None:
    files: dict[str, Content] = {
        "/etc/pgbouncer/dbs.ini": "shop = host=db\n",
        "/etc/pgbouncer/me.ini": f"%include {CONF}\n",
    }
    text = (
        "[databases]\n%include /etc/pgbouncer/dbs.ini\n%include /etc/pgbouncer/me.ini\n[pgbouncer]\nlisten_port=1\nx\n"
    )
    found = analyzed(text, files=files)
    assert {(f.over, str(f.seen_in)) for f in of(Need, found)} == {("tcp:db:5432", "/etc/pgbouncer/dbs.ini:1")}
    assert any("include one another" in f.why for f in of(Unread, found))
    assert any(f.seen_in == Place(CONF, 6) for f in of(Unread, found))
    assert {f.path for f in of(Uses, found)} >= {CONF, "/etc/pgbouncer/dbs.ini"}


def test_connection_strings() -> None:
    assert connection("host = a  port=1 x='b c' y='open") == {"host": "a", "port": "1", "x": "b c", "y": ""}
    assert list(users('"a" "b" c\n"a"\n"x""y"   "z"\n')) == [(1, "a", "b"), (3, 'x"y', "z")]


SAMPLES = """[databases]|[pgbouncer]|[|a = host=,port=1|* = host=/|a = port=0|listen_addr=,|listen_port=x
|unix_socket_dir=@x
|unix_socket_dir=/|%include|%include .|%include pgbouncer.ini|auth_file=/etc|logfile=/|pidfile=|'|a = host='"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed("[pgbouncer]\n" + text, files={"/etc/pgbouncer/userlist.txt": text})
    analyzed(text, ("/usr/sbin/pgbouncer", *text.split()))
    list(users(text))
    connection(text)
