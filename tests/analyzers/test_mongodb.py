from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import mongodb
from analyzers._mongod_conf import parse_conf, parse_words
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
    RunsAs,
    Secret,
    Service,
    Unread,
    User,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File

T = TypeVar("T")

CONF = "/etc/mongod.conf"
UNIT = Place("/lib/systemd/system/mongod.service", 10)
# What mongodb-org-server 7.0 ships for Debian.
TEXT = """\
# mongod.conf

# Where and how to store data.
storage:
  dbPath: /var/lib/mongodb
#  engine:
#  wiredTiger:

# where to write logging data.
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log

# network interfaces
net:
  port: 27017
  bindIp: 127.0.0.1

# how the process runs
processManagement:
  timeZoneInfo: /usr/share/zoneinfo

#security:
"""
# What Debian 9's mongodb-server 3.2 shipped, trimmed.
OLD = """\
# mongodb.conf
dbpath=/var/lib/mongodb

logpath=/var/log/mongodb/mongodb.log
logappend=true
bind_ip = 127.0.0.1
#port = 27017
journal=true
keyFile = /etc/mongodb.key
replSet = rs0
"""
FILES: dict[str, Content] = {
    CONF: TEXT,
    "/usr/bin/mongod": File("ELF", mode=0o755),
    "/usr/bin/mongos": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/var/lib/mongodb": Dir(uid=110),
    "/var/lib/mongodb/mongod.lock": "",
}
STATUS = Place("/var/lib/dpkg/status", 1)
COMMAND = ("/usr/bin/mongod", "--config", CONF)


def analyzed(
    text: str = TEXT, command: tuple[str, ...] = COMMAND, *, version: str = "7.0.14", user: str = "mongodb",
    manager: str = "systemd", environment: tuple[Variable, ...] = (), files: dict[str, Content] | None = None,
) -> list[Finding]:  # fmt: skip
    found: list[Finding] = [
        Package(seen_in=STATUS, name="mongodb-server", version=version, architecture="", manager="dpkg", chosen=True),
        PackageFiles(seen_in=STATUS, package="mongodb-server", paths=("/usr/bin/mongod", "/usr/bin/mongos")),
        User(seen_in=Place("/etc/passwd", 1), name="mongodb", uid=110, gid=65534, home="/home/mongodb", shell=""),
        Service(seen_in=UNIT, id="mongod", manager=manager, enabled=True, unit=UNIT.path, command=command, user=user,
                environment=environment),
    ]  # fmt: skip
    return list(mongodb.join(FakeGuest({**FILES, CONF: text, **(files or {})}), found))


def of(kind: type[T], found: list[Finding]) -> list[T]:
    return [finding for finding in found if isinstance(finding, kind)]


def change(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_server_of_today() -> None:
    found = analyzed()
    assert of(Listen, found) == [
        Listen(seen_in=Place(CONF, 17), service="mongod", port=27017, address="127.0.0.1"),
        Listen(seen_in=UNIT, service="mongod", path="/tmp/mongodb-27017.sock", assumed=True),
    ]
    assert [f.command for f in of(Foreground, found)] == [COMMAND]
    assert [f.command for f in of(Health, found)] == [("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/27017")]
    assert {(f.path, f.role, str(f.seen_in)) for f in of(Uses, found)} == {
        (CONF, "config", CONF),
        ("/var/lib/mongodb", "data", f"{CONF}:5"),
        ("/var/log/mongodb/mongod.log", "log", f"{CONF}:13"),
    }
    assert [f.says for f in of(Uses, found) if f.role == "data"] == [
        "the databases of MongoDB 7.0; it was shut down cleanly (mongod.lock)"
    ]
    assert (of(RunsAs, found), of(Unread, found), of(Secret, found)) == ([], [], [])


def test_what_must_change_for_clients_in_other_pods() -> None:
    rebinds = of(Rebind, analyzed())
    assert [(f.before, f.after, f.seen_in) for f in rebinds] == [
        ("bindIp: 127.0.0.1", "bindIp: 0.0.0.0", Place(CONF, 18))
    ]
    assert "asks nobody for a password" in rebinds[0].says
    quoted = of(Rebind, analyzed(change("127.0.0.1", "'localhost'")))
    assert [(f.before, f.after) for f in quoted] == [("bindIp: 'localhost'", "bindIp: '0.0.0.0'")]
    guarded = of(Rebind, analyzed(change("#security:", "security:\n  authorization: enabled")))
    assert ["password" in f.says for f in guarded] == [False]
    assert of(Rebind, analyzed(change("127.0.0.1", "127.0.0.1,10.0.0.5"))) == []
    unsaid = analyzed(change("  bindIp: 127.0.0.1\n", ""))
    assert of(Rebind, unsaid) == []
    assert ["add bindIp" in f.says for f in of(Caution, unsaid)] == [True]


def test_a_server_that_was_not_shut_down_is_told() -> None:
    found = analyzed(files={"/var/lib/mongodb/mongod.lock": "812\n"})
    assert ["not shut down cleanly" in f.says for f in of(Uses, found) if f.role == "data"] == [True]


def test_fork_in_the_file_leaves_the_foreground() -> None:
    text = change("processManagement:", "processManagement:\n  fork: true")
    told = analyzed(text)
    assert of(Foreground, told) == []
    assert [f.seen_in for f in of(Caution, told)] == [Place(CONF, 22)]
    unit = (Variable("MONGODB_CONFIG_OVERRIDE_NOFORK", "1", UNIT),)
    assert [f.command for f in of(Foreground, analyzed(text, environment=unit))] == [COMMAND]
    assert [f.command for f in of(Foreground, analyzed(TEXT, (*COMMAND, "--fork")))] == [COMMAND]


def test_the_old_form_under_an_init_script() -> None:
    found = analyzed(OLD, ("/etc/init.d/mongod", "start"), version="1:3.2.11-2", user="root", manager="sysv",
                     files={"/etc/mongodb.key": "c2VjcmV0c2VjcmV0\n"})  # fmt: skip
    assert [f.command for f in of(Foreground, found)] == [COMMAND]
    assert [(f.user, f.seen_in.path) for f in of(RunsAs, found)] == [("mongodb", "/var/lib/mongodb")]
    assert [(f.before, f.after) for f in of(Rebind, found)] == [("bind_ip = 127.0.0.1", "bind_ip = 0.0.0.0")]
    assert {(f.path, f.role) for f in of(Uses, found)} == {
        (CONF, "config"), ("/etc/mongodb.key", "config"), ("/var/lib/mongodb", "data"),
        ("/var/log/mongodb/mongodb.log", "log"),
    }  # fmt: skip
    assert ["replica set rs0" in f.says for f in of(Uses, found) if f.role == "data"] == [True]
    assert [(f.seen_in.path, f.value) for f in of(Secret, found)] == [("/etc/mongodb.key", "c2VjcmV0c2VjcmV0")]
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize(
    ("version", "words", "listens"),
    [
        ("3.4.1", (), {(27017, "*"), (None, "/tmp/mongodb-27017.sock")}),
        ("3.6.1", (), {(27017, "localhost"), (None, "/tmp/mongodb-27017.sock")}),
        ("7.0.1", ("--port", "27020", "--bind_ip=10.0.0.5"), {(27020, "10.0.0.5")}),
        ("7.0.1", ("--bind_ip_all", "--shardsvr", "--nounixsocket"), {(27018, "*")}),
        ("7.0.1", ("--configsvr", "--bind_ip", "::1,/run/m.sock", "--nounixsocket"),
         {(27019, "::1"), (None, "/run/m.sock")}),
    ],
)  # fmt: skip
def test_defaults_and_the_command_line(
    version: str, words: tuple[str, ...], listens: set[tuple[int | None, str]]
) -> None:
    found = of(Listen, analyzed(TEXT, ("/usr/bin/mongod", *words), version=version))
    assert {(f.port, f.path or f.address) for f in found} == listens


def test_a_router_needs_its_configuration_servers_and_keeps_nothing() -> None:
    text = "sharding:\n  configDB: rs1/cfg1.corp:27019,cfg2.corp\nnet: {bindIp: 0.0.0.0, port: 27017}\n"
    found = analyzed(text, ("/usr/bin/mongos", "-f", CONF))
    assert [(f.over, f.seen_in) for f in of(Need, found)] == [
        ("tcp:cfg1.corp:27019", Place(CONF, 2)),
        ("tcp:cfg2.corp:27019", Place(CONF, 2)),
    ]
    assert [f.role for f in of(Uses, found)] == ["config"]
    assert [(f.port, f.address) for f in of(Listen, found) if f.port] == [(27017, "*")]


# ---------------------------------------------------------------- the parts


def test_dotted_names_and_quotes() -> None:
    found = parse_conf('net.port: 1\nnet:\n  bindIp: "127.0.0.1"\n  http:\n    enabled: false\n', CONF)
    assert {name: (s.value, s.text) for name, s in found.items()} == {
        "net.port": ("1", "net.port: 1"),
        "net.bindIp": ("127.0.0.1", 'bindIp: "127.0.0.1"'),
        "net.http.enabled": ("false", "enabled: false"),
    }


def test_words() -> None:
    found = parse_words(["--fork", "--port", "1", "--dbpath=/d", "-f", "/c", "x", "--auth"], UNIT)
    assert {name: s.value for name, s in found.items()} == {
        "processManagement.fork": "", "net.port": "1", "storage.dbPath": "/d", "config": "/c", "security.auth": ""
    }  # fmt: skip


def test_aliases_do_not_make_a_small_text_endless() -> None:
    text = "a: &a {x: 1}\n" + "".join(
        f"{c}: &{c} {{p: *{p}, q: *{p}}}\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert len(parse_conf(text, CONF)) <= 2000
    assert parse_conf("a: &a\n  b: *a\n  c: 1\n", CONF)["a.c"].value == "1"


SAMPLES = """net:|  port: 99999|  port: [1]|  bindIp: ,|  bindIp: [127.0.0.1]|  bindIp: /|port=|bind_ip=,
|fork=true|dbpath=..|{|&a|*a
|keyFile=/etc|configdb=/,x:y|storage: {dbPath: 7}|net: {unixDomainSocket: {pathPrefix: ''}}
|%YAML 9|!!python/x y|? [a]"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text)
    analyzed(text, (*COMMAND, *text.split()))
