"""The example machine as a tree and a plan: what the generators' tests start from."""

from __future__ import annotations

from migrate.model import Place, Secret
from migrate.plan.model import (
    Account,
    Component,
    Data,
    Directory,
    EnvFile,
    Health,
    Image,
    NeedRef,
    Plan,
    PlanSource,
    Port,
    Reason,
    Resources,
    Rewrite,
    RunUser,
    SecretRef,
    Socket,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link, Node

DB_PASSWORD = "PLANTED-orders-db-8f2c61"
FLASK_KEY = "PLANTED-flask-secret-key-3b9d27e4"
TLS_KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4b2xuOjK0MWL7gfq
ajHdEhZFWVuA70t59FHOq/DrzVmhRANCAASiRqCeaX65nhoy2oOeQIMq4aPn6RJi
W4XTHl48H57YE56HsWYAN8nhMUESK0lzbQh8UbcNIbwgNd9G/TBSpITo
-----END PRIVATE KEY-----
"""
SNAKEOIL_KEY = TLS_KEY.replace("MIGHAgEA", "MIGHBgFB").replace("ajHd", "zzHd")

ENV = f"""DATABASE_URL=postgresql://orders:{DB_PASSWORD}@127.0.0.1:5432/orders
REDIS_URL=redis://127.0.0.1:6379/0
SECRET_KEY={FLASK_KEY}
SMTP_URL=smtp://smtp.corp.example:25
LOG_LEVEL=info
"""

TREE: dict[str, Content] = {
    "/bin": Link("usr/bin"),
    "/lib": Link("usr/lib"),
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\norders:x:996:996::/srv/orders:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nwww-data:x:33:\nssl-cert:x:109:postgres\norders:x:996:\npostgres:x:110:\nredis:x:111:\n",
    "/etc/shadow": File("root:$6$PLANTED$hash:1:::::::\n", mode=0o640, gid=42),
    "/etc/timezone": "Europe/Berlin\n",
    "/etc/localtime": Link("/usr/share/zoneinfo/Europe/Berlin"),
    "/usr/share/zoneinfo/Europe/Berlin": b"TZif2\0\0",
    "/etc/default/locale": "LANG=en_US.UTF-8\n",
    "/usr/lib/locale/locale-archive": b"\xde\xad\0locale",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 shop01\n10.1.2.3 smtp.corp.example smtp\n",
    "/var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5\nEssential: yes\n\n",
    "/usr/bin/perl": File(b"\x7fELF", mode=0o755),
    "/etc/orders/env": File(ENV, mode=0o640, gid=996),
    "/etc/systemd/system/orders.service": "[Service]\nExecStart=/srv/orders/venv/bin/gunicorn\n",
    "/etc/cron.d/orders-report": "15 3 * * 1-5 orders /usr/local/bin/orders-report\n",
    "/etc/nginx/nginx.conf": "user www-data;\npid /run/nginx.pid;\ninclude /etc/nginx/sites-enabled/*;\n",
    "/etc/nginx/mime.types": "types {}\n",
    "/etc/nginx/sites-available/shop": "upstream orders { server unix:/run/orders/gunicorn.sock; }\n",
    "/etc/nginx/sites-enabled/shop": Link("../sites-available/shop"),
    "/etc/ssl/certs/shop.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "/etc/ssl/private": Dir(mode=0o710, gid=109),
    "/etc/ssl/private/shop.key": File(TLS_KEY, mode=0o640, gid=109),
    "/etc/ssl/private/ssl-cert-snakeoil.key": File(SNAKEOIL_KEY, mode=0o640, gid=109),
    "/etc/ssl/certs/ssl-cert-snakeoil.pem": "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n",
    "/srv/shop/static/shop.css": "body {}\n",
    "/srv/orders": Dir(),
    "/srv/orders/app.py": "import os\n",
    "/srv/orders/cleanup.py": "import store\n",
    "/srv/orders/venv/bin/python": Link("/usr/bin/python3"),
    "/srv/orders/venv/bin/gunicorn": File("#!/srv/orders/venv/bin/python\n", mode=0o755),
    "/srv/orders/reports": Dir(mode=0o750, uid=996, gid=996),
    "/srv/orders/reports/orders-2024-05-02.csv": File("day,item\n", mode=0o640, uid=996, gid=996),
    "/srv/orders/stray.sock": Node("socket", uid=996),
    "/usr/local/bin/orders-report": File("#!/bin/sh\n. /etc/orders/env\n", mode=0o755),
    "/var/log/orders": Dir(mode=0o750, uid=996, gid=996),
    "/var/log/orders/report.log": File("old\n", mode=0o640, uid=996, gid=996),
    "/var/log/nginx": Dir(gid=4),
    "/var/log/nginx/shop.access.log": File("old\n", mode=0o640, uid=33, gid=4),
    "/etc/postgresql/15/main": Dir(uid=107, gid=110),
    "/etc/postgresql/15/main/postgresql.conf": File(
        "data_directory = '/var/lib/postgresql/15/main'\n#listen_addresses = 'localhost'\nssl = on\n", uid=107, gid=110
    ),
    "/etc/postgresql/15/main/pg_hba.conf": File(
        "local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n", mode=0o640, uid=107, gid=110
    ),
    "/var/lib/postgresql/15/main": Dir(mode=0o700, uid=107, gid=110),
    "/var/lib/postgresql/15/main/PG_VERSION": File("15\n", mode=0o600, uid=107, gid=110),
    "/etc/redis": Dir(mode=0o2750, uid=108, gid=111),
    "/etc/redis/redis.conf": File("bind 127.0.0.1 -::1\nport 6379\n", mode=0o640, uid=108, gid=111),
    "/var/lib/redis": Dir(mode=0o750, uid=108, gid=111),
    "/var/lib/redis/dump.rdb": File(b"REDIS0009\0\xff", mode=0o660, uid=108, gid=111),
}


def guest(**changes: Content) -> FakeGuest:
    return FakeGuest({**TREE, **changes})


def secret(name: str, kind: str, path: str, line: int | None, value: str, variable: str = "") -> Secret:
    return Secret(id=name, kind=kind, name=variable, value=value, seen_in=Place(path, line))


SECRETS = (
    secret("orders-env-database-url", "password-in-url", "/etc/orders/env", 1, DB_PASSWORD, "DATABASE_URL"),
    secret("orders-env-secret-key", "token", "/etc/orders/env", 3, FLASK_KEY, "SECRET_KEY"),
    secret("shop-key", "private-key", "/etc/ssl/private/shop.key", None, TLS_KEY),
    secret("snakeoil-key", "private-key", "/etc/ssl/private/ssl-cert-snakeoil.key", None, SNAKEOIL_KEY),
)

ENV_REFS = [
    SecretRef(id="orders-env-database-url", kind="password-in-url", seen_in="/etc/orders/env:1"),
    SecretRef(id="orders-env-secret-key", kind="token", seen_in="/etc/orders/env:3"),
]
ENV_REWRITES = [
    Rewrite(path="/etc/orders/env", line=1, from_="127.0.0.1", to="postgresql"),
    Rewrite(path="/etc/orders/env", line=2, from_="127.0.0.1", to="redis-server"),
]
ORDERS = Account(name="orders", uid=996, gid=996, group="orders", home="/srv/orders")
BASE = "debian:12-slim"
REPORTS = Data(path="/srv/orders/reports", claim="orders-reports", bytes=9, uid=996, gid=996, mode="0750")


def why(seen_in: str) -> list[Reason]:
    return [Reason(rule="runs-in-foreground", says="it stays in the foreground", seen_in=seen_in)]


def component(name: str, seen_in: str, **fields: object) -> Component:
    start: dict[str, object] = {
        "id": name, "kind": "service", "decision": "containerize", "confidence": 0.9, "because": why(seen_in),
        "workload": "deployment", "pod": name, "timezone": "Europe/Berlin",
    }  # fmt: skip
    return Component(**{**start, **fields})  # type: ignore[arg-type]  # checked by the struct's users


def nginx() -> Component:
    return component(
        "nginx",
        "/lib/systemd/system/nginx.service:1",
        pod="orders",
        image=Image(
            strategy="packages", base=BASE, packages=["nginx=1.22.1-9+deb12u1"],
            files=["/etc/nginx", "/etc/ssl/certs/shop.crt", "/srv/shop/static"], remove=["/etc/nginx"],
        ),
        command=["/usr/sbin/nginx", "-g", "daemon off;"],
        user=RunUser(name="www-data", uid=33, gid=33),
        ports=[Port(port=80), Port(port=80, address="[::]"), Port(port=443)],
        needs=[NeedRef(component="orders", over="unix:/run/orders/gunicorn.sock", seen_in="/etc/nginx/x:3")],
        config=["/etc/nginx", "/etc/ssl/certs/shop.crt"],
        directories=[
            Directory(path="/run/orders", uid=996, gid=33),
            Directory(path="/var/lib/nginx"),
            Directory(path="/var/log/nginx", gid=4),
        ],
        logs=["/var/log/nginx/shop.access.log", "/var/log/nginx/error.log"],
        secrets=[SecretRef(id="shop-key", kind="private-key", seen_in="/etc/ssl/private/shop.key")],
        stop_signal="SIGQUIT",
        stop_timeout=5,
    )  # fmt: skip


def orders() -> Component:
    return component(
        "orders",
        "/etc/systemd/system/orders.service:9",
        image=Image(
            strategy="app", base=BASE, packages=["python3=3.11.2-1+b1"], files=["/srv/orders"],
            exclude=["/srv/orders/reports"],
        ),
        command=["/srv/orders/venv/bin/gunicorn", "--bind", "unix:/run/orders/gunicorn.sock", "app:app"],
        working_directory="/srv/orders",
        environment={"PYTHONUNBUFFERED": "1", "LOG_LEVEL": "debug"},
        environment_files=[EnvFile(path="/etc/orders/env")],
        user=RunUser(name="orders", uid=996, gid=33, groups=[996]),
        accounts=[ORDERS],
        ports=[Port(port=8000, address="127.0.0.1")],
        sockets=[Socket(path="/run/orders/gunicorn.sock")],
        needs=[
            NeedRef(component="postgresql", over="tcp:127.0.0.1:5432", seen_in="/etc/orders/env:1"),
            NeedRef(component="redis-server", over="tcp:127.0.0.1:6379", seen_in="/etc/orders/env:2"),
            NeedRef(external="smtp.corp.example:25", over="tcp", seen_in="/etc/orders/env:4"),
        ],
        config=["/etc/orders/env"],
        data=[REPORTS],
        directories=[Directory(path="/run/orders", uid=996, gid=33)],
        secrets=list(ENV_REFS),
        rewrites=list(ENV_REWRITES),
        resources=Resources(memory="300Mi", open_files=4096),
        stop_timeout=15,
    )  # fmt: skip


def postgresql() -> Component:
    conf = "/etc/postgresql/15/main"
    return component(
        "postgresql",
        "/lib/systemd/system/postgresql@.service:1",
        workload="statefulset",
        image=Image(
            strategy="packages", base=BASE, packages=["postgresql-15=15.8-0+deb12u1"], files=[conf], remove=[conf]
        ),
        command=["/usr/lib/postgresql/15/bin/postgres", "-c", f"config_file={conf}/postgresql.conf"],
        user=RunUser(name="postgres", uid=107, gid=110, groups=[109]),
        accounts=[Account(name="postgres", uid=107, gid=110, group="postgres", home="/var/lib/postgresql")],
        ports=[Port(port=5432, address="localhost")],
        config=[conf],
        data=[
            Data(
                path="/var/lib/postgresql/15/main", claim="postgresql-main", bytes=3 << 30, uid=107, gid=110,
                mode="0700",
            )
        ],
        directories=[Directory(path="/run/postgresql", uid=107, gid=110, mode="2775")],
        secrets=[SecretRef(id="snakeoil-key", kind="private-key", seen_in="/etc/ssl/private/ssl-cert-snakeoil.key")],
        rewrites=[
            Rewrite(
                path=f"{conf}/postgresql.conf", line=2, from_="#listen_addresses = 'localhost'",
                to="listen_addresses = '*'",
            ),
            Rewrite(path=f"{conf}/pg_hba.conf", line=2, from_="127.0.0.1/32", to="samenet"),
        ],
        health=Health(command=["/usr/bin/pg_isready", "-q"], says="pg_isready"),
        stop_signal="SIGINT",
    )  # fmt: skip


def redis() -> Component:
    return component(
        "redis-server",
        "/lib/systemd/system/redis-server.service:1",
        workload="statefulset",
        image=Image(
            strategy="packages", base=BASE, packages=["redis-server=5:7.0.15-1~deb12u1"], files=["/etc/redis"],
            remove=["/etc/redis"],
        ),
        command=["/usr/bin/redis-server", "/etc/redis/redis.conf", "--daemonize", "no"],
        user=RunUser(name="redis", uid=108, gid=111),
        accounts=[Account(name="redis", uid=108, gid=111, group="redis", home="/var/lib/redis")],
        ports=[Port(port=6379, address="127.0.0.1")],
        config=["/etc/redis"],
        data=[Data(path="/var/lib/redis", claim="redis-server", bytes=12, uid=108, gid=111, mode="0750")],
        rewrites=[Rewrite(path="/etc/redis/redis.conf", line=1, from_="127.0.0.1 -::1", to="* -::*")],
        health=Health(command=["/usr/bin/redis-cli", "ping"], says="PING"),
    )  # fmt: skip


def report() -> Component:
    return component(
        "orders-report",
        "/etc/cron.d/orders-report:1",
        kind="job",
        workload="cronjob",
        image=Image(
            strategy="app", base=BASE, packages=["postgresql-client-15=15.8-0+deb12u1"],
            files=["/etc/orders/env", "/usr/local/bin/orders-report"],
        ),
        command=["/bin/sh", "-c", "/usr/local/bin/orders-report >> /var/log/orders/report.log 2>&1"],
        environment={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        user=RunUser(name="orders", uid=996, gid=996),
        accounts=[ORDERS],
        needs=[
            NeedRef(component="postgresql", over="tcp:127.0.0.1:5432", seen_in="/etc/orders/env:1"),
            NeedRef(component="orders", over="files:/srv/orders/reports", seen_in="/usr/local/bin/orders-report:6"),
        ],
        config=["/etc/orders/env"],
        data=[REPORTS],
        directories=[Directory(path="/var/log/orders", uid=996, gid=996, mode="0750")],
        logs=["/var/log/orders/report.log"],
        secrets=list(ENV_REFS),
        rewrites=list(ENV_REWRITES),
        schedule="15 3 * * 1-5",
    )  # fmt: skip


def cleanup() -> Component:
    return component(
        "orders-cleanup",
        "/etc/systemd/system/orders-cleanup.timer:5",
        kind="job",
        workload="cronjob",
        image=Image(
            strategy="app", base=BASE, packages=["python3=3.11.2-1+b1"], files=["/srv/orders"],
            exclude=["/srv/orders/reports"],
        ),
        command=["/srv/orders/venv/bin/python", "/srv/orders/cleanup.py"],
        working_directory="/srv/orders",
        environment_files=[EnvFile(path="/etc/orders/env")],
        user=RunUser(name="orders", uid=996, gid=996),
        accounts=[ORDERS],
        needs=[NeedRef(component="postgresql", over="tcp:127.0.0.1:5432", seen_in="/etc/orders/env:1")],
        secrets=list(ENV_REFS),
        rewrites=list(ENV_REWRITES),
        schedule="30 4 * * *",
    )  # fmt: skip


def plan(*components: Component) -> Plan:
    retired = Component(
        id="cron", kind="host", decision="retire", confidence=1.0,
        because=[Reason(rule="platform", says="the cluster runs jobs", seen_in="/lib/systemd/system/cron.service")],
    )  # fmt: skip
    return Plan(
        schema_="vm2c.plan/1",
        machine="shop01",
        source=PlanSource(
            disks=["shop.qcow2"], os="Debian GNU/Linux 12 (bookworm)", inventory="sha256:0", architecture="amd64"
        ),
        components=list(components or (nginx(), orders(), postgresql(), redis(), report(), cleanup(), retired)),
    )
