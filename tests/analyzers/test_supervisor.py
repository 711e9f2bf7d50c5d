from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import secrets, supervisor
from analyzers._supervisor_conf import expand, parse
from migrate.model import EnvironmentFile, Finding, Listen, Place, Secret, Service, Setting, Unread, Uses, Variable
from tests.analyzers.fake import Content, FakeGuest

CONF = "/etc/supervisor/supervisord.conf"
UNIT = "/usr/lib/systemd/system/supervisor.service"
# Debian 12's, without the sections that only supervisorctl reads.
MAIN = """\
; supervisor config file

[unix_http_server]
file=/var/run/supervisor.sock   ; (the path to the socket file)
chmod=0700                       ; sockef file mode (default 0700)

[supervisord]
logfile=/var/log/supervisor/supervisord.log ; (main log file;default $CWD/supervisord.log)
pidfile=/var/run/supervisord.pid ; (supervisord pidfile;default supervisord.pid)
childlogdir=/var/log/supervisor            ; ('AUTO' child log dir, default $TEMP)

[include]
files = /etc/supervisor/conf.d/*.conf
"""
ORDERS = """\
[program:orders]
command=/srv/orders/venv/bin/gunicorn
    --bind 127.0.0.1:%(ENV_PORT)s  # behind nginx
    --name "%(program_name)s a;b" app:app
directory=/srv/orders
user=orders
environment=PORT="8001",
    MODE='live,fast',HOME="%(here)s"
autorestart=true
stopsignal=QUIT
stopwaitsecs=30
priority=20
stdout_logfile=/var/log/orders/%(program_name)s.log
redirect_stderr=true
stderr_logfile=/var/log/orders/never.log
"""


def daemon(*, enabled: bool = True, command: tuple[str, ...] = ("/usr/bin/supervisord", "-n", "-c", CONF)) -> Service:
    return Service(seen_in=Place(UNIT, 7), id="supervisor", manager="systemd", enabled=enabled, unit=UNIT,
                   command=command)  # fmt: skip


def joined(
    conf: str = ORDERS, *more: Finding, files: Mapping[str, Content] | None = None, by: Service | None = None
) -> list[Finding]:
    guest = FakeGuest({CONF: MAIN, "/etc/supervisor/conf.d/orders.conf": conf, **(files or {})})
    return list(supervisor.join(guest, [by or daemon(), *more]))


def services(found: list[Finding]) -> dict[str, Service]:
    return {f.id: f for f in found if isinstance(f, Service)}


def test_a_program_is_a_service() -> None:
    path = "/etc/supervisor/conf.d/orders.conf"
    assert services(joined())["orders"] == Service(
        seen_in=Place(path, 2),
        id="orders",
        manager="supervisor",
        enabled=True,
        unit=path,
        command=("/srv/orders/venv/bin/gunicorn", "--bind", "127.0.0.1:8001", "--name", "orders a;b", "app:app"),
        user="orders",
        working_directory="/srv/orders",
        environment=(
            Variable("HOME", "/etc/supervisor/conf.d", Place(path, 8)),
            Variable("MODE", "live,fast", Place(path, 8)),
            Variable("PORT", "8001", Place(path, 7)),
        ),
        settings=(
            Setting("KillSignal", "SIGQUIT", Place(path, 10)),
            Setting("Restart", "always", Place(path, 9)),
            Setting("TimeoutStopSec", "30", Place(path, 11)),
        ),
    )
    assert [(f.path, f.role) for f in joined() if isinstance(f, Uses) and f.service == "orders"] == [
        ("/var/log/orders/orders.log", "log")
    ]
    assert not any(isinstance(f, Unread) for f in joined())


def test_a_secret_variable_has_the_secrets_place() -> None:
    # What hides a value in the plan compares both places.
    text = '[program:x]\ncommand=/bin/x\nenvironment=\n  A="1",\n  DB_PASSWORD="hunter2secret"\n'
    path = "/etc/supervisor/conf.d/orders.conf"
    found = services(joined(text))["x"].environment
    assert {v.name: v.seen_in.line for v in found} == {"A": 4, "DB_PASSWORD": 5}
    kept = list(secrets.join(FakeGuest({path: text}), []))
    assert [(f.name, f.seen_in) for f in kept if isinstance(f, Secret)] == [("DB_PASSWORD", Place(path, 5))]
    by = msgspec.structs.replace(daemon(), environment_files=(EnvironmentFile("/etc/d", True, Place(UNIT, 6)),))
    inherited = services(joined("[program:y]\ncommand=/bin/y\n", files={"/etc/d": "#\nTOKEN=t0k3n\n"}, by=by))["y"]
    assert inherited.environment == (Variable("TOKEN", "t0k3n", Place("/etc/d", 2)),)


def test_what_supervisord_does_itself() -> None:
    found = joined("[inet_http_server]\nport=*:9001\npassword=s3cret\n")
    assert [(f.service, f.port, f.address, f.path) for f in found if isinstance(f, Listen)] == [
        ("supervisor", None, "*", "/run/supervisor.sock"),
        ("supervisor", 9001, "*", ""),
    ]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        (CONF, "config"),
        ("/etc/supervisor/conf.d/orders.conf", "config"),
        ("/var/log/supervisor/supervisord.log", "log"),
        ("/var/log/supervisor", "log"),
    ]
    assert "s3cret" not in repr(found)


def test_several_processes_of_one_program() -> None:
    text = "[program:w]\ncommand=/srv/w --port 80%(process_num)02d\nnumprocs=2\nprocess_name=w%(process_num)d\n"
    assert {i: s.command[-1] for i, s in services(joined(text)).items()} == {"w-0": "8000", "w-1": "8001"}
    equal = joined(text.replace("80%(process_num)02d", "8000"))
    assert list(services(equal)) == ["w-0"]
    assert [f.seen_in.line for f in equal if isinstance(f, Unread) and "numprocs starts 2" in f.why] == [3]


@pytest.mark.parametrize(
    ("text", "enabled", "kind"),
    [
        ("command=/bin/x\n", True, "simple"),
        ("command=/bin/x\nautostart=false\n", False, "simple"),
        ("command=/bin/x\nstartsecs=0\nautorestart=false\n", True, "oneshot"),
    ],
)
def test_what_starts_and_stays(text: str, enabled: bool, kind: str) -> None:
    service = services(joined("[program:x]\n" + text))["x"]
    assert (service.enabled, service.type) == (enabled, kind)
    assert services(joined("[program:x]\n" + text, by=daemon(enabled=False)))["x"].enabled is False


def test_order_where_both_say_it() -> None:
    first = "[program:first]\ncommand=/bin/a\npriority=10\n[program:any]\ncommand=/bin/b\n"
    assert services(joined(ORDERS + first))["orders"].after == ("first",)


def test_users() -> None:
    main = {CONF: MAIN.replace("[supervisord]", "[supervisord]\nuser=deploy")}
    text = "[program:x]\ncommand=/bin/x\n[program:y]\ncommand=/bin/y\nuser=www-data\n"
    assert [s.user for s in services(joined(text, files=main)).values()] == ["deploy", "www-data"]


def test_a_unit_of_the_same_name_is_not_hidden() -> None:
    unit = Service(seen_in=Place("/u"), id="x", manager="systemd", enabled=True, unit="/u", command=("/bin/other",))
    text = "[program:x]\ncommand=/bin/x\n"
    assert list(services(joined(text, unit))) == ["supervisor-x"]
    left = Service(seen_in=Place("/u"), id="x", manager="systemd", enabled=False, unit="/u", command=("/bin/other",))
    assert list(services(joined(text, left))) == ["x"]
    # The rounds of the join see the services of the one before.
    assert list(services(joined(text, left, services(joined(text))["x"]))) == ["x"]


def test_sockets_that_only_supervisord_opens() -> None:
    text = "[fcgi-program:f]\nsocket=unix:///var/run/f.sock\ncommand=/srv/f\n[eventlistener:e]\ncommand=/srv/e\n"
    found = joined(text)
    assert {i: s.type for i, s in services(found).items()} == {"f": "fcgi-program", "e": "eventlistener"}
    assert [f.path for f in found if isinstance(f, Listen) and f.service == "f"] == ["/run/f.sock"]
    assert [f.seen_in.line for f in found if isinstance(f, Unread)] == [2]


def test_where_its_configuration_is() -> None:
    # Red Hat's unit and layout.
    rhel = {"/etc/supervisord.conf": "[supervisord]\n[include]\nfiles = supervisord.d/*.ini\n",
            "/etc/supervisord.d/x.ini": "[program:x]\ncommand=x --here %(here)s\n"}  # fmt: skip
    by = daemon(command=("/usr/bin/supervisord", "-c", "/etc/supervisord.conf"))
    assert services(joined(files=rhel, by=by))["x"].command == ("x", "--here", "/etc/supervisord.d")
    assert list(services(joined(by=daemon(command=("/etc/init.d/supervisor", "start"))))) == ["orders"]
    assert joined(by=daemon(command=("/usr/bin/supervisord", "-c", "/etc/none.conf"))) == []


def test_what_has_no_value_is_told() -> None:
    found = joined('[program:x]\ncommand=/bin/x %(ENV_NOWHERE)s\n[program:y]\ncommand="open\n')
    assert services(found)["x"].command == ("/bin/x", "%(ENV_NOWHERE)s")
    assert [f.why for f in found if isinstance(f, Unread)] == [
        "[program:x]: %(ENV_NOWHERE)s has no value that the disk tells",
        "[program:y]: it has no command that can be read",
    ]


def test_expansions_are_bounded() -> None:
    assert expand("%(a)999999999s|%(a)3d|%(a)s|%%", {"a": "x"}) == "%(a)999999999s|%(a)3d|x|%"
    assert len(expand("%(a)s" * 1000, {"a": "x" * 10_000})) == 64 << 10


def test_lines() -> None:
    assert list(parse("[a]\nK : v ;c\n  w;d\n\n# x\n  u\n[b]\nno value\n")) == [
        ("a", "", "", (1,)),
        ("a", "k", "v\nw;d\nu", (2, 3, 6)),
        ("b", "", "", (7,)),
    ]


SAMPLES = """[program:x]|[program:]|[group:g]|programs=x|[include]|files=*|files=/etc/supervisor/*|command=x|command="
|environment=A|environment=A="|numprocs=999999|numprocs=-1|priority=9|[supervisord]|  more|socket=tcp://:
|[fcgi-program:f]|%(|command=%(program_name)99d|[inet_http_server]|port=:|autostart=x|stdout_logfile=/x"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=10).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(text, files={CONF: text + "\n[include]\nfiles=conf.d/*.conf supervisord.conf\n"})
