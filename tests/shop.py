"""A small machine in memory, with findings as the analyzers would give them: nginx, an application, its database.

Tests of the join, the rules and the planner start from it and change one thing.
"""

from __future__ import annotations

from migrate.facts import Facts
from migrate.model import (
    EnvironmentFile,
    Finding,
    Foreground,
    Group,
    Health,
    Job,
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
    Setting,
    System,
    Trait,
    User,
    Uses,
    Variable,
)
from tests.analyzers.fake import Dir, FakeGuest, File, Link

ENV = "DATABASE_URL=postgresql://orders:pw-hunter2@127.0.0.1:5432/orders\nSMTP=smtp.corp.example:25\n"
UNIT = "/etc/systemd/system/orders.service"
DATABASE = "/var/lib/postgresql/15/main"


def guest() -> FakeGuest:
    """Return the machine's files."""
    return FakeGuest(
        {
            "/var/run": Link("/run"),
            "/usr/sbin/nginx": File("ELF", mode=0o755),
            "/etc/nginx/nginx.conf": "user www-data;\n",
            "/etc/nginx/sites-enabled/shop": "proxy_pass http://unix:/run/orders/gunicorn.sock;\n",
            "/etc/ssl/private/shop.key": File("-----BEGIN PRIVATE KEY-----", mode=0o600),
            "/srv/orders/app.py": "x = 1\n",
            "/srv/orders/venv/bin/gunicorn": File("#!/srv/orders/venv/bin/python\n", mode=0o755),
            "/srv/orders/reports": Dir(mode=0o755, uid=996, gid=33),
            "/srv/orders/reports/a.csv": File("a,b\n" * 10, uid=996, gid=33),
            "/etc/orders/env": File(ENV, mode=0o640, gid=996),
            UNIT: "[Service]\n",
            f"{DATABASE}/PG_VERSION": File("15\n", uid=106, gid=113),
            DATABASE: Dir(mode=0o700, uid=106, gid=113),
            "/etc/postgresql/15/main/postgresql.conf": "#listen_addresses = 'localhost'\n",
            "/usr/local/bin/report": File("#!/bin/sh\n", mode=0o755),
            "/etc/cron.d/report": "15 3 * * 1-5 orders report\n",
            "/var/log/orders": Dir(uid=996, gid=33),
        }
    )


def findings() -> list[Finding]:
    """Return what analyzers find there."""
    here = Place("/etc/passwd", 1)
    return [
        System(family="debian", id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)", seen_in=here),
        Trait(key="hostname", value="web01", seen_in=here),
        Trait(key="timezone", value="Europe/Berlin", seen_in=here),
        *_accounts(here),
        *_packages(),
        *_nginx(),
        *_orders(),
        *_postgresql(),
        *_jobs(),
        Service(
            id="ssh",
            manager="systemd",
            enabled=True,
            unit="/usr/lib/systemd/system/ssh.service",
            type="notify",
            command=("/usr/sbin/sshd", "-D"),
            seen_in=Place("/usr/lib/systemd/system/ssh.service", 9),
        ),
        Service(
            id="idle",
            manager="systemd",
            enabled=False,
            unit="/etc/systemd/system/idle.service",
            seen_in=Place("/etc/systemd/system/idle.service", 1),
        ),
    ]


def _accounts(here: Place) -> list[Finding]:
    def user(name: str, uid: int, gid: int, home: str = "/nonexistent") -> User:
        return User(name=name, uid=uid, gid=gid, home=home, shell="/usr/sbin/nologin", seen_in=here)

    return [
        user("root", 0, 0, "/root"),
        user("www-data", 33, 33, "/var/www"),
        user("orders", 996, 996, "/srv/orders"),
        user("postgres", 106, 113, "/var/lib/postgresql"),
        Group(name="root", gid=0, seen_in=here),
        Group(name="www-data", gid=33, seen_in=here),
        Group(name="orders", gid=996, seen_in=here),
        Group(name="postgres", gid=113, seen_in=here),
        Group(name="ssl-cert", gid=112, members=("postgres",), seen_in=here),
    ]


def _packages() -> list[Finding]:
    owned = {
        "nginx": ("/usr/sbin/nginx", "/etc/nginx/nginx.conf", "/etc/nginx"),
        "openssh-server": ("/usr/sbin/sshd",),
        "postgresql-15": ("/usr/lib/postgresql/15/bin/postgres",),
        "python3": ("/usr/bin/python3-config",),
    }
    found: list[Finding] = []
    for name, paths in owned.items():
        info = Place(f"/var/lib/dpkg/info/{name}.list")
        found.append(
            Package(name=name, version=f"1.0-{name}", architecture="amd64", manager="dpkg", chosen=True, seen_in=info)
        )
        found.append(PackageFiles(package=name, paths=paths, seen_in=info))
    return found


def _nginx() -> list[Finding]:
    site = "/etc/nginx/sites-enabled/shop"
    unit = "/usr/lib/systemd/system/nginx.service"
    return [
        Service(
            id="nginx",
            manager="systemd",
            enabled=True,
            unit=unit,
            type="forking",
            command=("/usr/sbin/nginx",),
            settings=(
                Setting(
                    "ExecStop", "start-stop-daemon --stop --retry QUIT/5 --pidfile /run/nginx.pid", Place(unit, 20)
                ),
                Setting("TimeoutStopSec", "5", Place(unit, 21)),
            ),
            seen_in=Place(unit, 15),
        ),
        Foreground(
            service="nginx",
            command=("/usr/sbin/nginx", "-g", "daemon off;"),
            says="nginx stays with `daemon off`",
            seen_in=Place(unit, 15),
        ),
        RunsAs(service="nginx", user="www-data", says="user", seen_in=Place("/etc/nginx/nginx.conf", 1)),
        Listen(service="nginx", port=80, address="*", seen_in=Place(site, 2)),
        Need(service="nginx", over="unix:/var/run/orders/gunicorn.sock", seen_in=Place(site, 1)),
        Uses(service="nginx", path="/etc/nginx", role="config", seen_in=Place(site, 1)),
        Uses(service="nginx", path="/etc/ssl/private/shop.key", role="config", seen_in=Place(site, 4)),
        Uses(service="nginx", path="/run/nginx.pid", role="runtime", seen_in=Place("/etc/nginx/nginx.conf", 2)),
        Secret(
            id="ssl-private-shop-key",
            kind="private-key",
            value="-----BEGIN PRIVATE KEY-----",
            seen_in=Place("/etc/ssl/private/shop.key", 1),
        ),
    ]


def _orders() -> list[Finding]:
    return [
        Service(
            id="orders",
            manager="systemd",
            enabled=True,
            unit=UNIT,
            user="orders",
            group="www-data",
            command=("/srv/orders/venv/bin/gunicorn", "app:app"),
            working_directory="/srv/orders",
            environment=(Variable("WORKERS", "2", Place(UNIT, 4)),),
            environment_files=(EnvironmentFile("/etc/orders/env", False, Place(UNIT, 5)),),
            settings=(
                Setting("MemoryMax", "300M", Place(f"{UNIT}.d/limits.conf", 2)),
                Setting("LimitNOFILE", "4096", Place(UNIT, 7)),
            ),
            requires=("postgresql.service",),
            after=("postgresql.service",),
            seen_in=Place(UNIT, 9),
        ),
        Uses(service="orders", path="/srv/orders", role="code", seen_in=Place(UNIT, 6)),
        Uses(service="orders", path="/srv/orders/reports", role="data", seen_in=Place("/srv/orders/reports")),
        Uses(service="orders", path="/etc/orders/env", role="config", seen_in=Place(UNIT, 5)),
        Uses(service="orders", path="/run/orders", role="runtime", seen_in=Place(UNIT, 8)),
        Requires(service="orders", package="python3", seen_in=Place("/srv/orders/venv/pyvenv.cfg", 1)),
        Listen(service="orders", path="/run/orders/gunicorn.sock", seen_in=Place(UNIT, 9)),
        Listen(service="orders", port=8000, address="127.0.0.1", seen_in=Place(UNIT, 9)),
        Need(service="orders", over="tcp:127.0.0.1:5432", host_text="127.0.0.1", seen_in=Place("/etc/orders/env", 1)),
        Need(
            service="orders",
            over="tcp:smtp.corp.example:25",
            host_text="smtp.corp.example",
            seen_in=Place("/etc/orders/env", 2),
        ),
        Secret(
            id="orders-env-database-url",
            kind="password-in-url",
            name="DATABASE_URL",
            value="pw-hunter2",
            seen_in=Place("/etc/orders/env", 1),
        ),
    ]


def _postgresql() -> list[Finding]:
    conf = "/etc/postgresql/15/main/postgresql.conf"
    return [
        Service(
            id="postgresql",
            manager="postgresql-common",
            enabled=True,
            unit="/usr/lib/systemd/system/postgresql@.service",
            command=("/usr/lib/postgresql/15/bin/postgres", "-D", DATABASE),
            user="postgres",
            settings=(Setting("KillSignal", "SIGINT", Place(conf, 1)),),
            seen_in=Place(conf, 1),
        ),
        Uses(service="postgresql", path=DATABASE, role="data", seen_in=Place(conf, 1)),
        Uses(service="postgresql", path="/etc/postgresql/15/main", role="config", seen_in=Place(conf, 1)),
        Listen(service="postgresql", port=5432, address="localhost", assumed=True, seen_in=Place(conf, 1)),
        Rebind(
            service="postgresql",
            before="#listen_addresses = 'localhost'",
            after="listen_addresses = '*'",
            says="it listens on loopback alone",
            seen_in=Place(conf, 1),
        ),
        Health(service="postgresql", command=("/usr/bin/pg_isready",), seen_in=Place(conf, 1)),
    ]


def _jobs() -> list[Finding]:
    cron = "/etc/cron.d/report"
    return [
        Job(
            id="report",
            manager="cron",
            enabled=True,
            schedule="15 3 * * 1-5",
            original="15 3 * * 1-5",
            command=("/usr/local/bin/report >>/var/log/orders/report.log 2>&1",),
            shell=True,
            user="orders",
            seen_in=Place(cron, 1),
        ),
        Uses(service="report", path="/usr/local/bin/report", role="code", seen_in=Place(cron, 1)),
        Uses(service="report", path="/srv/orders/reports", role="data", seen_in=Place("/usr/local/bin/report", 1)),
        Uses(service="report", path="/etc/orders/env", role="config", seen_in=Place("/usr/local/bin/report", 1)),
        Uses(service="report", path="/var/log/orders/report.log", role="log", seen_in=Place(cron, 1)),
        Need(service="report", over="tcp:127.0.0.1:5432", host_text="127.0.0.1", seen_in=Place("/etc/orders/env", 1)),
    ]


def facts(*more: Finding, without: tuple[type, ...] = ()) -> Facts:
    """Return the machine's facts, with some added and some types left out."""
    return Facts([f for f in findings() if not isinstance(f, without)] + list(more), guest())
