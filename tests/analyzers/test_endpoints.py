from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import endpoints
from analyzers._clients import client_endpoints
from analyzers._endpoints import text_endpoints, url_endpoints
from analyzers._ports import parse_port
from analyzers._script import parse
from migrate.model import (
    EnvironmentFile,
    Finding,
    Job,
    Listen,
    Need,
    PackageFiles,
    Place,
    Service,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, FakeGuest, File

UNIT = Place("/etc/systemd/system/orders.service", 9)
ENV = "/etc/orders/env"
TEXT = """\
DATABASE_URL=postgresql://orders:pw-8f2c61@127.0.0.1:5432/orders
REDIS_URL=redis://127.0.0.1:6379/0
SECRET_KEY=3b9d27e4
# OLD_URL=http://old.corp.example/
SMTP_URL=smtp://smtp.corp.example:25
LOG_LEVEL=info
LISTEN_ADDR=127.0.0.1:8000
"""


def service(*command: str, **more: object) -> Service:
    return Service(
        seen_in=UNIT,
        id="orders",
        manager="systemd",
        enabled=True,
        unit=UNIT.path,
        command=command or ("/srv/x",),
        **more,  # type: ignore[arg-type]
    )


def joined(*findings: Finding, files: dict[str, Content] | None = None) -> list[Need]:
    guest = FakeGuest({ENV: TEXT, **(files or {})})
    found = list(endpoints.join(guest, findings))
    assert not any(isinstance(f, Unread) for f in found)
    return [f for f in found if isinstance(f, Need)]


def test_an_environment_file() -> None:
    found = joined(service(environment_files=(EnvironmentFile(ENV, False, Place(UNIT.path, 4)),)))
    assert [(f.over, f.host_text, str(f.seen_in), f.detail) for f in found] == [
        ("tcp:127.0.0.1:5432", "127.0.0.1", f"{ENV}:1", "DATABASE_URL (postgresql)"),
        ("tcp:127.0.0.1:6379", "127.0.0.1", f"{ENV}:2", "REDIS_URL (redis)"),
        ("tcp:smtp.corp.example:25", "smtp.corp.example", f"{ENV}:5", "SMTP_URL (smtp)"),
    ]
    lines = TEXT.split("\n")
    assert all(f.host_text in lines[(f.seen_in.line or 0) - 1] for f in found)
    assert "pw-8f2c61" not in repr(found)


def test_variables_of_the_unit() -> None:
    variables = (
        Variable("DB_HOST", "db.corp.example", Place(UNIT.path, 3)),
        Variable("AMQP", "amqps://mq:5671", Place(UNIT.path, 4)),
    )
    assert [(f.over, f.seen_in.line) for f in joined(service(environment=variables))] == [("tcp:mq:5671", 4)]


def test_a_database_in_a_file_is_data() -> None:
    files: dict[str, Content] = {
        "/etc/x/env": "# x\nDB=sqlite:////srv/x/db.sqlite3\nGONE=sqlite:////gone\n",
        "/srv/x/db.sqlite3": "",
    }
    unit = service(environment_files=(EnvironmentFile("/etc/x/env", False, UNIT),))
    found = list(endpoints.join(FakeGuest(files), [unit]))
    assert [(f.path, f.role, str(f.seen_in)) for f in found if isinstance(f, Uses)] == [
        ("/srv/x/db.sqlite3", "data", "/etc/x/env:2")
    ]


def test_a_script_needs_what_it_refers_to_and_no_other_variable() -> None:
    script = "#!/bin/sh\n. /etc/orders/env\npsql \"$DATABASE_URL\" -c 'select 1'\n"
    job = Job(
        seen_in=Place("/etc/cron.d/x", 1), id="report", manager="cron", enabled=True, schedule="0 1 * * *", original="",
        command=("/usr/local/bin/report",), shell=True,
    )  # fmt: skip
    uses = Uses(seen_in=Place("/usr/local/bin/report", 2), service="report", path=ENV, role="config")
    found = joined(job, uses, files={"/usr/local/bin/report": File(script, mode=0o755)})
    assert [(f.service, f.over, str(f.seen_in)) for f in found] == [("report", "tcp:127.0.0.1:5432", f"{ENV}:1")]


def test_commands_with_addresses() -> None:
    found = joined(service("/usr/bin/curl", "-s", "https://api.corp.example/v1?x=http%3A"))
    assert [(f.over, f.detail) for f in found] == [("tcp:api.corp.example:443", "curl (https)")]
    own = Listen(seen_in=UNIT, service="orders", path="/run/orders.sock")
    other = Listen(seen_in=UNIT, service="fpm", path="/run/fpm.sock")
    found = joined(service("/srv/x", "--bind", "unix:/run/orders.sock", "--fpm=/var/run/fpm.sock"), own, other)
    assert [f.over for f in found] == ["unix:/run/fpm.sock"]


def test_its_own_address_is_no_need() -> None:
    variables = (
        Variable("API_URL", "http://127.0.0.1:8000/x", UNIT),
        Variable("SELF", "http://web.example.net:8000", UNIT),
    )
    own = Listen(seen_in=UNIT, service="orders", port=8000)
    assert [f.over for f in joined(service(environment=variables), own)] == []
    assert [f.over for f in joined(service(environment=variables))] == ["tcp:127.0.0.1:8000"]


def test_configuration_it_uses_and_only_what_a_person_changed() -> None:
    shipped = "url = http://vendor.corp.example/\n"
    digest = hashlib.md5(shipped.encode()).hexdigest()
    files: dict[str, Content] = {
        "/etc/shop/a.yml": "db:\n  host: db.corp.example\n  port: 5433\n",
        "/etc/shop/vendor.conf": shipped,
        "/etc/shop/cert.pem": "http://no.corp.example/",
        "/etc/shop/binary": b"\0http://no.corp.example/",
        "/etc/nginx/nginx.conf": "proxy_pass http://no.corp.example;\n",
    }
    uses = [
        Uses(seen_in=UNIT, service="orders", path=p, role="config") for p in ("/etc/shop", "/etc/nginx", "/etc/gone")
    ]
    owned = PackageFiles(
        seen_in=UNIT, package="shop", paths=("/etc/shop/vendor.conf",), conffiles=(("/etc/shop/vendor.conf", digest),)
    )
    found = joined(service(), *uses, owned, files=files)
    assert [(f.over, str(f.seen_in)) for f in found] == [("tcp:db.corp.example:5433", "/etc/shop/a.yml:2")]


def listens(*findings: Finding, files: dict[str, Content] | None = None) -> list[tuple[object, ...]]:
    found = endpoints.join(FakeGuest(files or {}), findings)
    return [(f.port, f.address, f.path, str(f.seen_in)) for f in found if isinstance(f, Listen)]


def test_where_a_service_says_it_listens() -> None:
    files: dict[str, Content] = {
        "/etc/x/env": "# x\nPORT=3000\nDB_PORT=5432\n",
        UNIT.path: "\n" * 8 + "ExecStart=/x \\\n  --listen :80\n",
    }
    env = EnvironmentFile("/etc/x/env", False, UNIT)
    assert listens(service("/x", "--listen", ":80", environment_files=(env,)), files=files) == [
        (3000, "*", "", "/etc/x/env:2"),
        (80, "*", "", f"{UNIT.path}:10"),
    ]
    variables = (Variable("LISTEN_ADDR", "127.0.0.1:9", UNIT),)
    assert listens(service("/x", "--db-port", "1", "--http.port=2", environment=variables)) == [
        (9, "127.0.0.1", "", str(UNIT)),
        (2, "*", "", str(UNIT)),
    ]


def test_who_knows_better_is_not_contradicted() -> None:
    known = Listen(seen_in=UNIT, service="orders", port=80)
    assert listens(service("/x", "--port", "81"), known) == []
    assert listens(service("/srv/venv/bin/gunicorn", "--bind", ":80", "app:app")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3000", ("*", 3000, "")),
        (":3000", ("*", 3000, "")),
        ("*:3000", ("*", 3000, "")),
        ("[::1]:80", ("::1", 80, "")),
        ("tcp://0.0.0.0:80", ("0.0.0.0", 80, "")),
        ("unix:/var/run/x.sock", ("*", None, "/run/x.sock")),
        ("/run/x.sock", ("*", None, "/run/x.sock")),
        ("systemd:", None),
        ("/etc/x.conf", None),
        ("70000", None),
        ("", None),
    ],
)
def test_ports(text: str, expected: tuple[str, int | None, str] | None) -> None:
    found = parse_port(text)
    assert (found and (found.address, found.port, found.path)) == expected


# ---------------------------------------------------------------- the parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql+psycopg2://u:p@db/x", ["tcp:db:5432"]),
        ("mysql://u@[2001:db8::1]:3307/x", ["tcp:[2001:db8::1]:3307"]),
        ("mongodb://a:1,b:2,c/x?replicaSet=r", ["tcp:a:1", "tcp:b:2", "tcp:c:27017"]),
        ("jdbc:postgresql://db:5432/x", ["tcp:db:5432"]),
        ("postgresql:///x?host=/var/run/postgresql", ["unix:/run/postgresql/.s.PGSQL.5432"]),
        ("redis+socket:///var/run/redis.sock?db=1", ["unix:/run/redis.sock"]),
        ("http+unix://%2Fvar%2Frun%2Fdocker.sock/v1", ["unix:/run/docker.sock"]),
        ("unix:///run/x.sock", ["unix:/run/x.sock"]),
        ("ldaps://ldap.corp", ["tcp:ldap.corp:636"]),
        ("http://$HOST/ http://${H}:80 http://{{ h }}/ sqlite:////x file:///y http://0.0.0.0:80 nothing://h", []),
        ("http://www.w3.org/2001/XMLSchema", []),
        ("postgresql://u:p@ss@db/x", ["tcp:db:5432"]),
    ],
)
def test_urls(text: str, expected: list[str]) -> None:
    assert [over for over, _, _ in url_endpoints(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DB_HOST=db\nDB_PORT=5433\n", [(1, "tcp:db:5433")]),
        ("DB_ENGINE=django.db.backends.mysql\nDB_HOST=db\n", [(2, "tcp:db:3306")]),
        ("REDIS_HOST=cache\n", [(1, "tcp:cache:6379")]),
        ("PGHOST=/var/run/postgresql\n", [(1, "unix:/run/postgresql/.s.PGSQL.5432")]),
        ("KAFKA_BROKERS=k1:9092,k2:9092\n", [(1, "tcp:k1:9092"), (1, "tcp:k2:9092")]),
        ("[db]\nhost = db # x\nport = 5433\n[web]\nhost = 0.0.0.0\nport = 80\n", [(2, "tcp:db:5433")]),
        ("[a]\nhost = h\n[b]\nport = 1\n", []),
        ('{\n  "redis": {\n    "host": "r",\n    "port": 6380\n  }\n}\n', [(3, "tcp:r:6380")]),
        ('"redis": {"host": "r", "db": 1, "port": 6380}, "listen": {"host": "l", "port": 1}', [(1, "tcp:r:6380")]),
        ("db: {host: d, port: 5}\n", [(1, "tcp:d:5")]),
        ("a:\n  server: h1\n  port: 1\nb:\n  server: h2\n  port: 2\n", [(2, "tcp:h1:1"), (5, "tcp:h2:2")]),
        ("dsn = host=db port=5 dbname=x password=y\n", [(1, "tcp:db:5")]),
        ("conninfo = 'host=/run/postgresql dbname=x'\n", [(1, "unix:/run/postgresql/.s.PGSQL.5432")]),
        ("# DB_HOST=db\n; host = x:1\n// server: y:2\n", []),
        ("bind_address = 10.0.0.1:80\nlisten: db:1\nallowed_hosts = a:1\n", []),
        ("server = db\nname = x:1\n", []),
    ],
)
def test_hosts_and_ports(text: str, expected: list[tuple[int, str]]) -> None:
    assert [(found.line, found.over) for found in text_endpoints(text)] == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("pg_dump shop", ["unix:/run/postgresql/.s.PGSQL.5432"]),
        ("pg_dump -p 5433 shop", ["unix:/run/postgresql/.s.PGSQL.5433"]),
        ("psql -h db -p 5433 x", ["tcp:db:5433"]),
        ("psql --host=/var/run/postgresql x", ["unix:/run/postgresql/.s.PGSQL.5432"]),
        ("PGHOST=db psql x", ["tcp:db:5432"]),
        ('psql "$URL"', []),
        ("psql 'host=x dbname=y'", []),
        ("mysqldump -hdb -P3307 x", ["tcp:db:3307"]),
        ("mysqldump x", ["unix:/run/mysqld/mysqld.sock"]),
        ("mysql -h localhost", ["unix:/run/mysqld/mysqld.sock"]),
        ("mysql --socket=/var/run/m.sock", ["unix:/run/m.sock"]),
        ("redis-cli ping", ["tcp:127.0.0.1:6379"]),
        ("redis-cli -h r -p 6380 ping", ["tcp:r:6380"]),
        ("redis-cli -s /run/r.sock ping", ["unix:/run/r.sock"]),
        ("ls -h x", []),
    ],
)
def test_clients(command: str, expected: list[str]) -> None:
    simple = parse(command).commands[0]
    assert [over for over, _ in client_endpoints(simple.name, simple, {})] == expected


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["http://", "@", ":", "host=", "=", "\n", "port: 1", "[", "]", "%", "{", "host: a"]) | st.text()
    ).map("".join)
)
def test_any_text_is_read(text: str) -> None:
    for found in text_endpoints(text):
        assert found.host in text


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "a://" * 50_000, "= " * 90_000, "host=\n" * 30_000, "a://b@" * 30_000, ":" * 200_000]
)
def test_hostile_text_takes_little_time(text: str) -> None:
    began = time.process_time()
    text_endpoints(text)
    assert time.process_time() - began < 5


def test_comments_and_schemas_of_xml_are_no_addresses() -> None:
    text = """<?xml version="1.0"?>
<!-- Licensed under
  http://www.apache.org/licenses/LICENSE-2.0 -->
<web-app xsi:schemaLocation="https://jakarta.ee/xml/ns https://jakarta.ee/x.xsd">
  <param-value>http://billing.corp.example:8080/api</param-value>
</web-app>
"""
    shown = endpoints._without_markup("/etc/app/web.xml", text)
    assert [(each.host, each.line) for each in text_endpoints(shown)] == [("billing.corp.example", 5)]
    assert endpoints._without_markup("/etc/app/env", "A=http://x <!-- b -->") == "A=http://x <!-- b -->"
