from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import mysql
from analyzers._mysql_options import from_words, named, parse_lines
from migrate.model import (
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
    Service,
    Unread,
    User,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

T = TypeVar("T")

UNIT = Place("/usr/lib/systemd/system/mariadb.service", 84)
CONF = "/etc/mysql/mariadb.conf.d/50-server.cnf"
# Debian 12's, trimmed.
MAIN = """\
# The MariaDB configuration file
[client-server]
# Port or socket location where to connect
# port = 3306
socket = /run/mysqld/mysqld.sock

!includedir /etc/mysql/conf.d/
!includedir /etc/mysql/mariadb.conf.d/
"""
SERVER = """\
[server]

[mysqld]
#user                    = mysql
pid-file                = /run/mysqld/mysqld.pid
basedir                 = /usr
#datadir                 = /var/lib/mysql
bind-address            = 127.0.0.1
expire_logs_days        = 10

[embedded]
port = 1
[mariadb]
[mariadb-10.11]
"""
SHELL = (
    "/bin/sh",
    "-c",
    (
        "set -f; [ ! -e /usr/bin/galera_recovery ] && VAR= ||  VAR=`/usr/bin/galera_recovery`; [ $? -eq 0 ] || exit 1;"
        "  exec /usr/sbin/mariadbd $MYSQLD_OPTS $_WSREP_NEW_CLUSTER $VAR"
    ),
)
FILES: dict[str, Content] = {
    "/etc/mysql/my.cnf": Link("/etc/alternatives/my.cnf"),
    "/etc/alternatives/my.cnf": Link("/etc/mysql/mariadb.cnf"),
    "/etc/mysql/mariadb.cnf": MAIN,
    "/etc/mysql/conf.d/mysqldump.cnf": "[mysqldump]\nquick\nmax_allowed_packet\t= 16M\n",
    CONF: SERVER,
    "/usr/sbin/mariadbd": File("ELF", mode=0o755),
    "/usr/sbin/mysqld": Link("mariadbd"),
    "/usr/bin/mariadb-admin": File("ELF", mode=0o755),
    "/usr/bin/mysqladmin": Link("mariadb-admin"),
    "/bin/sh": File("ELF", mode=0o755),
    "/var/lib/mysql": Dir(mode=0o755, uid=100, gid=102),
    "/var/lib/mysql/ibdata1": "x",
    "/var/lib/mysql/mysql_upgrade_info": "10.11.19-MariaDB",
    "/usr/lib/mysql/plugin/ha_rocksdb.so": "ELF",
}
STATUS = Place("/var/lib/dpkg/status", 1)
MYSQL = User(seen_in=Place("/etc/passwd", 1), name="mysql", uid=100, gid=102, home="/nonexistent", shell="/bin/false")


def package(name: str, version: str, *paths: str) -> list[Finding]:
    return [
        Package(seen_in=STATUS, name=name, version=version, architecture="amd64", manager="dpkg", chosen=False),
        PackageFiles(seen_in=STATUS, package=name, paths=paths),
    ]


FOUND: list[Finding] = [
    *package("mariadb-server-core", "1:10.11.19-0+deb12u1", "/usr/sbin/mariadbd", "/usr/sbin/mysqld"),
    *package("mariadb-client", "1:10.11.19-0+deb12u1", "/usr/bin/mariadb-admin"),
    *package("mariadb-plugin-rocksdb", "1:10.11.19-0+deb12u1", "/usr/lib/mysql/plugin/ha_rocksdb.so"),
    MYSQL,
]


def service(*command: str, ident: str = "mariadb", user: str = "mysql", manager: str = "systemd") -> Service:
    return Service(seen_in=UNIT, id=ident, manager=manager, enabled=True, unit=UNIT.path, command=command, user=user)


def analyzed(text: str = SERVER, *more: Finding, files: dict[str, Content] | None = None) -> list[Finding]:
    guest = FakeGuest({**FILES, CONF: text, **(files or {})})
    own = more or (service(*SHELL),)
    return list(mysql.join(guest, [*FOUND, *own]))


def of(kind: type[T], found: list[Finding]) -> list[T]:
    return [finding for finding in found if isinstance(finding, kind)]


def change(old: str, new: str) -> str:
    assert old in SERVER
    return SERVER.replace(old, new)


def test_the_shell_around_the_server_is_left_out() -> None:
    found = analyzed()
    assert [(f.command, f.seen_in) for f in of(Foreground, found)] == [(("/usr/sbin/mariadbd",), UNIT)]
    assert of(RunsAs, found) == []  # the unit says User=mysql
    assert of(Unread, found) == []


def test_options_of_the_unit_stay() -> None:
    unit = Service(
        seen_in=UNIT, id="mariadb", manager="systemd", enabled=True, unit=UNIT.path, command=SHELL, user="mysql",
        environment=(Variable("MYSQLD_OPTS", "--port=3310 --max-connections=9", UNIT),),
    )  # fmt: skip
    found = analyzed(SERVER, unit)
    assert [f.command for f in of(Foreground, found)] == [("/usr/sbin/mariadbd", "--port=3310", "--max-connections=9")]
    assert [f.port for f in of(Listen, found)] == [3310, None]


def test_where_it_listens() -> None:
    assert of(Listen, analyzed()) == [
        Listen(seen_in=Place(CONF, 8), service="mariadb", port=3306, address="127.0.0.1", assumed=True),
        Listen(seen_in=Place("/etc/mysql/mariadb.cnf", 5), service="mariadb", path="/run/mysqld/mysqld.sock"),
    ]


@pytest.mark.parametrize(
    ("said", "ports"),
    [
        ("[mariadb-10.11]\nport = 3307 # ours\n", [(3307, "127.0.0.1")]),
        ("[mariadb-10.6]\nport = 3307\n", [(3306, "127.0.0.1")]),
        ("[mysqld-10.11]\nloose-port='3308'\n[galera]\nbind_address=10.0.0.5,::1\n",
         [(3308, "10.0.0.5"), (3308, "::1")]),
        ("[client]\nport = 1\n[mysqld]\nbind-address = ::\n", [(3306, "*")]),
        ("[mysqld]\nskip-networking\n", []),
        ("[mysqld]\nskip-networking\nskip_networking = OFF\n", [(3306, "127.0.0.1")]),
        ("[mariadb]\nextra_port = 3399\n", [(3306, "127.0.0.1"), (3399, "127.0.0.1")]),
    ],
)  # fmt: skip
def test_groups_by_version_prefixes_and_the_last_word(said: str, ports: list[tuple[int, str]]) -> None:
    assert [(f.port, f.address) for f in of(Listen, analyzed(SERVER + said)) if f.port] == ports


def test_what_must_change_for_clients_in_other_pods() -> None:
    assert [(f.before, f.after, f.seen_in) for f in of(Rebind, analyzed())] == [
        ("bind-address            = 127.0.0.1", "bind-address = 0.0.0.0", Place(CONF, 8))
    ]
    silent = analyzed(change("bind-address            = 127.0.0.1", "skip-networking"))
    assert [(f.before, f.after) for f in of(Rebind, silent)] == [("skip-networking", "skip-networking = 0")]
    assert of(Rebind, analyzed(change("127.0.0.1", "*"))) == []
    command = analyzed(SERVER, service("/usr/sbin/mariadbd", "--bind-address=127.0.0.1"))
    assert of(Rebind, command) == []
    assert [f.seen_in for f in of(Unread, command)] == [UNIT]


def test_health_asks_over_the_socket_without_a_password() -> None:
    found = analyzed()
    assert [f.command for f in of(Health, found)] == [
        ("/usr/bin/mariadb-admin", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "ping")
    ]
    assert {f.package for f in of(Requires, found)} == {"mariadb-client"}


def test_files_with_their_roles() -> None:
    text = SERVER + (
        "[mysqld]\nlog_error=/var/log/mysql/error.log\nslow_query_log=1\nslow_query_log_file=/var/log/mysql/slow.log\n"
        "general_log_file=/var/log/mysql/off.log\nlog_bin=/srv/binlog/bin\nserver-id=7\nread_only\n"
        "innodb_buffer_pool_size=8G\nssl-cert=/etc/mysql/cert.pem\ntmpdir=/srv/tmp\n"
    )
    found = analyzed(text, files={"/var/lib/mysql/shop": Link("/srv/shop"), "/srv/shop": Dir(uid=100),
                                  "/var/lib/mysql/a/t.isl": "/srv/fast/t.ibd\n"})  # fmt: skip
    uses = {(f.path, f.role): f for f in of(Uses, found)}
    assert set(uses) == {
        ("/etc/mysql/mariadb.cnf", "config"), ("/etc/mysql/conf.d/mysqldump.cnf", "config"), (CONF, "config"),
        ("/etc/mysql/cert.pem", "config"), ("/var/lib/mysql", "data"), ("/srv/binlog", "data"), ("/srv/shop", "data"),
        ("/srv/fast/t.ibd", "data"), ("/var/log/mysql/error.log", "log"), ("/var/log/mysql/slow.log", "log"),
        ("/run/mysqld", "runtime"), ("/srv/tmp", "cache"),
    }  # fmt: skip
    assert uses[CONF, "config"].says == "its configuration; innodb_buffer_pool_size 8G"
    assert str(uses[CONF, "config"].seen_in) == f"{CONF}:{text.split(chr(10)).index('innodb_buffer_pool_size=8G') + 1}"
    assert uses["/var/lib/mysql", "data"].says == (
        "the databases of MariaDB 10.11 (mysql_upgrade_info: 10.11.19-MariaDB); replication: server_id 7, "
        "log_bin /srv/binlog/bin, read_only; it was shut down cleanly (no ibtmp1)"
    )
    assert of(Foreground, found)[0].command == ("/usr/sbin/mariadbd", "--skip-log-error")


def test_a_server_that_was_not_shut_down_is_told() -> None:
    crashed = analyzed(files={"/var/lib/mysql/ibtmp1": "x"})
    assert ["it was not shut down (ibtmp1" in f.says for f in of(Uses, crashed) if f.role == "data"] == [True]
    node = analyzed(files={"/var/lib/mysql/grastate.dat": "# GALERA saved state\nseqno:   -1\n"})
    assert ["seqno -1" in f.says for f in of(Uses, node) if f.role == "data"] == [True]
    moved = analyzed(SERVER + "[mysqld]\ninnodb_temp_data_file_path=../t:12M:autoextend\n")
    assert ["shut down" in f.says for f in of(Uses, moved) if f.role == "data"] == [False]


def test_instances_of_the_template_have_groups_of_their_own() -> None:
    text = (
        SERVER + "[mariadbd.shop]\nport=3311\nsocket=/run/mysqld/shop.sock\ndatadir=/srv/shop\n[mariadbd.x]\nport=1\n"
    )
    found = analyzed(text, service("/usr/sbin/mariadbd", "--defaults-group-suffix=.shop", ident="mariadb@shop"))
    assert {(f.port, f.path) for f in of(Listen, found)} == {(3311, ""), (None, "/run/mysqld/shop.sock")}
    assert [f.path for f in of(Uses, found) if f.role == "data"] == ["/srv/shop"]
    assert of(Foreground, found)[0].command == ("/usr/sbin/mariadbd", "--defaults-group-suffix=.shop")


def test_a_file_of_its_own_is_the_only_one() -> None:
    command = ("/usr/sbin/mysqld", "--defaults-file=/srv/my.cnf", "--datadir", "/srv/d", "-P", "3312")
    found = analyzed(SERVER, service(*command), files={"/srv/my.cnf": "[mysqld]\nport=1\n"})
    assert [(f.port, f.address) for f in of(Listen, found) if f.port] == [(3312, "*")]
    assert {f.path for f in of(Uses, found) if f.role == "config"} == {"/srv/my.cnf"}
    assert [f.path for f in of(Uses, found) if f.role == "data"] == ["/srv/d"]


def test_the_safe_wrapper_gives_way_to_the_server() -> None:
    conf = (
        "[mysqld]\ndatadir=/var/lib/mysql\n[mysqld_safe]\nlog-error=/var/log/mariadb/mariadb.log\nuser=mysql\nnice=0\n"
    )
    files: dict[str, Content] = {
        "/etc/my.cnf": conf,
        "/usr/libexec/mysqld": File("ELF", mode=0o755),
        "/usr/bin/mysqld_safe": File("#!/bin/sh\n", mode=0o755),
        "/usr/bin/mysqladmin": File("ELF", mode=0o755),
        "/var/lib/mysql": Dir(uid=27),
    }
    found_before = package("mariadb-server", "1:5.5.68-1.el7", "/usr/libexec/mysqld", "/usr/bin/mysqld_safe")
    own = service("/usr/bin/mysqld_safe", "--basedir=/usr", "--nice=3", user="root")
    found = list(mysql.join(FakeGuest(files), [*found_before, own]))
    assert [f.command for f in of(Foreground, found)] == [
        ("/usr/libexec/mysqld", "--basedir=/usr", "--user=mysql", "--skip-log-error")
    ]
    assert [(f.user, f.seen_in) for f in of(RunsAs, found)] == [("mysql", Place("/etc/my.cnf", 5))]
    assert [(f.path, f.assumed) for f in of(Listen, found) if f.path] == [("/var/lib/mysql/mysql.sock", True)]
    assert [f.path for f in of(Uses, found) if f.role == "log"] == ["/var/log/mariadb/mariadb.log"]


def test_an_init_script_runs_as_who_owns_the_data() -> None:
    init = service("/etc/init.d/mariadb", "start", user="root", manager="sysv")
    found = analyzed(SERVER, init)
    assert [(f.user, f.seen_in) for f in of(RunsAs, found)] == [("mysql", Place("/var/lib/mysql"))]
    assert [f.command for f in of(Foreground, found)] == [("/usr/sbin/mariadbd",)]


def test_mysql_8_of_the_red_hat_family() -> None:
    files: dict[str, Content] = {
        "/etc/my.cnf": "[client-server]\nport=1\n[mysqld]\n!includedir /etc/my.cnf.d\n",
        "/etc/my.cnf.d/mysql-server.cnf": "[mysqld]\ndatadir=/var/lib/mysql\nsocket=/var/lib/mysql/mysql.sock\n"
        "log-error=/var/log/mysql/mysqld.log\npid-file=/run/mysqld/mysqld.pid\n[mysqld-8.0]\nport=3320\n",
        "/usr/libexec/mysqld": File("ELF", mode=0o755),
        "/var/lib/mysql/mysqld-auto.cnf": '{"Version": 2, "mysql_dynamic_variables": {"innodb_buffer_pool_size":'
        ' {"Value": "268435456", "Metadata": {"User": "root"}}, "port": {"Value": "3321"}}}',
    }
    own = service("/usr/libexec/mysqld", "--basedir=/usr", "--daemonize", ident="mysqld")
    before = package("mysql-server", "8.0.36-1.el9", "/usr/libexec/mysqld")
    found = list(mysql.join(FakeGuest(files), [*before, own]))
    assert {(f.port, f.path, f.assumed) for f in of(Listen, found)} == {
        (3321, "", False), (33060, "", True), (None, "/var/lib/mysql/mysql.sock", False)
    }  # fmt: skip
    assert of(Foreground, found)[0].command == ("/usr/libexec/mysqld", "--basedir=/usr", "--skip-log-error")
    assert ["MySQL 8.0" in f.says for f in of(Uses, found) if f.role == "data"] == [True]


def test_plugins_bring_their_packages() -> None:
    found = analyzed(SERVER + "[mariadb]\nplugin-load-add=ha_rocksdb.so\nplugin_load_add=a=gone\n")
    assert {(f.package, f.seen_in.line) for f in of(Requires, found)} >= {("mariadb-plugin-rocksdb", 16)}
    assert [(f.seen_in.line, "gone" in f.why) for f in of(Unread, found)] == [(17, True)]


def test_replicas_and_cluster_nodes_need_their_peers() -> None:
    master = "33\nbin.000012\n412\ndb1.corp\nrepl\ns3cret\n3306\n"
    text = (
        SERVER + "[galera]\nwsrep_on=ON\nwsrep_cluster_address=gcomm://10.0.0.1,10.0.0.2:4568\nwsrep_sst_auth=sst:pw7\n"
    )
    found = analyzed(text, files={"/var/lib/mysql/master.info": master})
    assert [(f.over, str(f.seen_in)) for f in of(Need, found)] == [
        ("tcp:10.0.0.1:4567", f"{CONF}:17"),
        ("tcp:10.0.0.2:4568", f"{CONF}:17"),
        ("tcp:db1.corp:3306", "/var/lib/mysql/master.info:4"),
    ]
    assert [(f.name, f.value, f.seen_in.line) for f in of(Secret, found)] == [("wsrep_sst_auth", "pw7", 18)]
    shown = repr(found)
    assert "s3cret" not in shown
    assert "pw7" not in shown
    assert any("Galera" in f.why for f in of(Unread, found))


def test_other_services_are_left_alone() -> None:
    assert analyzed(SERVER, service("/usr/bin/mariadb-admin", "ping", ident="check")) == []
    assert analyzed(SERVER, service("/usr/sbin/mariadbd", "--initialize", ident="init")) == []


def test_files_that_everybody_may_write_are_ignored_as_the_server_does() -> None:
    found = analyzed(files={"/etc/mysql/mariadb.conf.d/99.cnf": File("[mysqld]\nport=1\n", mode=0o666)})
    assert [f.port for f in of(Listen, found) if f.port] == [3306]
    assert [f.seen_in.path for f in of(Unread, found)] == ["/etc/mysql/mariadb.conf.d/99.cnf"]


# ---------------------------------------------------------------- the parts


def test_lines_as_the_server_reads_them() -> None:
    # What mariadbd 10.11 --print-defaults makes of the same text.
    text = r"""[mysqld]
a-b = "q # r" # z
c='it\'s' # foo
d = a#b
e = "x" y
f = a\sb\tc
 g   =   1
h
; c
  # c
i=
[ mariadb-10.11 ]
j=1
[mysqld]trailing
m=1
"""
    found = [(line.group, line.key, line.value) for line in parse_lines(text)]
    assert found == [
        ("mysqld", "a-b", "q # r"), ("mysqld", "c", "it's"), ("mysqld", "d", "a"), ("mysqld", "e", '"x" y'),
        ("mysqld", "f", "a b\tc"), ("mysqld", "g", "1"), ("mysqld", "h", None), ("mysqld", "i", ""),
        (" mariadb-10.11", "j", "1"), ("mysqld", "m", "1"),
    ]  # fmt: skip
    assert [(line.number, line.key) for line in parse_lines("x=1\n[y\n!nonsense z\n")] == [(1, ""), (2, ""), (3, "")]


@pytest.mark.parametrize(
    ("key", "value", "name", "enabled"),
    [
        ("skip-log-bin", None, "log_bin", False),
        ("disable-log-bin", None, "log_bin", False),
        ("enable-log_bin", None, "log_bin", True),
        ("loose-general_log", "0", "general_log", False),
        ("skip-networking", None, "skip_networking", True),
        ("skip_networking", "OFF", "skip_networking", False),
    ],
)
def test_prefixes(key: str, value: str | None, name: str, enabled: bool) -> None:
    option = named(key, value, "", Place("/x"))
    assert (option.name, option.enabled) == (name, enabled)


def test_words_of_a_command_line() -> None:
    words = ["--port=1", "--socket", "/s", "-P", "2", "-h/d", "--skip-log-bin", "positional"]
    assert [(o.name, o.value) for o in from_words(words, Place("/x"))] == [
        ("port", "1"), ("socket", "/s"), ("port", "2"), ("datadir", "/d"), ("log_bin", None)
    ]  # fmt: skip


def test_includes_that_lead_back_end() -> None:
    found = analyzed("[mysqld]\n!include /etc/mysql/mariadb.cnf\n!includedir relative\n!include /gone.cnf\n")
    whys = [f.why for f in of(Unread, found)]
    assert any("include one another" in why for why in whys)
    assert any("working directory" in why for why in whys)
    assert any("not there" in why for why in whys)


SAMPLES = """[mysqld]|[galera]|[mysqld|port=99999|port|bind-address=|bind-address=,@|socket=|socket=@x|datadir=../..
|wsrep_on
|wsrep_cluster_address=gcomm://,[::1]:x|plugin_load_add=;=:|!include /etc/mysql/my.cnf|!includedir /|!|log_error|'
|tmpdir=:
|log_bin=|user=|master.info|basedir=|innodb_data_home_dir=/|innodb_data_home_dir=x"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=10).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    more: dict[str, Content] = {
        "/var/lib/mysql/master.info": text, "/var/lib/mysql/grastate.dat": text, "/var/lib/mysql/x/y.isl": text,
        "/var/lib/mysql/mysql_upgrade_info": text, "/var/lib/mysql/mysqld-auto.cnf": text,
    }  # fmt: skip
    analyzed("[mysqld]\n" + text, files=more)
    old = [finding for finding in FOUND if not isinstance(finding, Package | PackageFiles)]
    files: dict[str, Content] = {"/usr/sbin/mysqld": "ELF", "/etc/my.cnf": text, **more}
    list(mysql.join(FakeGuest(files), [*old, service("/usr/sbin/mysqld", *text.split(), ident="x")]))
