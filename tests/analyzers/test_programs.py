from __future__ import annotations

import pytest

from analyzers import programs
from analyzers._commands import interpreter, unwrap
from analyzers._script import parse
from analyzers._script_words import UNKNOWN, Word
from analyzers.programs import paths_in
from migrate.model import (
    Application,
    EnvironmentFile,
    Finding,
    Job,
    Package,
    PackageFiles,
    Place,
    Requires,
    Service,
    Unread,
    User,
    Uses,
)
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link
from tests.analyzers.test_script import REPORT

HERE = Place("/var/lib/dpkg/status", 1)
CRON = Place("/etc/cron.d/report", 5)
UNIT = Place("/etc/systemd/system/x.service", 7)
SCRIPT = "/usr/local/bin/orders-report"


def owned(package: str, *paths: str, priority: str = "optional", depends: tuple[str, ...] = ()) -> list[Finding]:
    return [
        Package(
            seen_in=HERE, name=package, version="1", architecture="amd64", manager="dpkg", chosen=True,
            priority=priority, depends=depends,
        ),
        PackageFiles(seen_in=HERE, package=package, paths=paths),
    ]  # fmt: skip


def account(name: str, uid: int) -> User:
    return User(seen_in=HERE, name=name, uid=uid, gid=uid, home="/", shell="/bin/sh")


def job(command: str, user: str = "orders") -> Job:
    return Job(
        seen_in=CRON, id="report", manager="cron", enabled=True, schedule="15 3 * * *", original="", command=(command,),
        shell=True, user=user,
    )  # fmt: skip


def service(*command: str, **more: object) -> Service:
    return Service(
        seen_in=UNIT,
        id="x",
        manager="systemd",
        enabled=True,
        unit=UNIT.path,
        command=command,
        **more,  # type: ignore[arg-type]
    )


PSQL = "/usr/lib/postgresql/15/bin/psql"
FILES: dict[str, Content] = {
    "/usr/bin/psql": Link("../share/postgresql-common/pg_wrapper"),
    "/usr/share/postgresql-common/pg_wrapper": File("#!/usr/bin/perl -w\n", mode=0o755),
    PSQL: File("\x7fELF", mode=0o755),
    "/usr/bin/mktemp": File("\x7fELF", mode=0o755),
    "/usr/bin/mv": File("\x7fELF", mode=0o755),
    "/bin": Link("usr/bin"),
    "/usr/bin/dash": File("\x7fELF", mode=0o755),
    "/usr/bin/sh": Link("dash"),
    SCRIPT: File(REPORT, mode=0o755),
    "/etc/orders/env": "DATABASE_URL=x\n",
    "/srv/orders/reports": Dir(uid=996),
    "/var/log/orders/report.log": "",
}
PACKAGES = [
    *owned("coreutils", "/usr/bin/mktemp", "/usr/bin/mv", priority="required", depends=("libacl1",)),
    *owned("dash", "/usr/bin/dash", "/usr/bin/sh", priority="required"),
    *owned("postgresql-client-common", "/usr/bin/psql", "/usr/share/postgresql-common/pg_wrapper"),
    *owned("postgresql-client-15", PSQL, "/usr/share/doc/psql"),
    account("orders", 996),
]


def joined(*findings: Finding, files: dict[str, Content] | None = None) -> list[Finding]:
    return list(programs.join(FakeGuest({**FILES, **(files or {})}), [*PACKAGES, *findings]))


def required(found: list[Finding]) -> set[tuple[str, str]]:
    return {(f.package, str(f.seen_in)) for f in found if isinstance(f, Requires)}


def used(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(f.path, f.role, str(f.seen_in)) for f in found if isinstance(f, Uses)}


def test_a_job_of_a_script_of_a_wrapper() -> None:
    found = joined(job(f"{SCRIPT} >> /var/log/orders/report.log 2>&1"))
    assert required(found) == {
        ("postgresql-client-common", f"{SCRIPT}:12"),
        ("postgresql-client-15", f"{SCRIPT}:12"),  # pg_wrapper runs it; what every image has is not named
    }
    assert used(found) == {
        (SCRIPT, "code", str(CRON)),
        ("/var/log/orders/report.log", "log", str(CRON)),
        ("/etc/orders/env", "config", f"{SCRIPT}:8"),
        ("/srv/orders/reports", "data", f"{SCRIPT}:10"),
        ("/srv/orders/reports", "data", f"{SCRIPT}:15"),
    }


def test_links_and_what_they_lead_to_have_owners_of_their_own() -> None:
    files: dict[str, Content] = {
        "/usr/bin/redis-server": Link("redis-check-rdb"),
        "/usr/bin/redis-check-rdb": File("\x7fELF"),
    }
    packages = [*owned("redis-server", "/usr/bin/redis-server"), *owned("redis-tools", "/usr/bin/redis-check-rdb")]
    found = joined(service("/usr/bin/redis-server", "/etc/redis.conf"), *packages, files=files)
    assert required(found) == {("redis-server", str(UNIT)), ("redis-tools", str(UNIT))}


def test_alternatives() -> None:
    files: dict[str, Content] = {
        "/usr/bin/java": Link("/etc/alternatives/java"),
        "/etc/alternatives/java": Link("/usr/lib/jvm/java-17/bin/java"),
        "/usr/lib/jvm/java-17/bin/java": File("\x7fELF", mode=0o755),
        "/opt/shop/lib/shop.jar": "PK",
    }
    packages = owned("openjdk-17-jre-headless", "/usr/lib/jvm/java-17/bin/java")
    found = joined(service("java", "-jar", "/opt/shop/lib/shop.jar"), *packages, files=files)
    assert required(found) == {("openjdk-17-jre-headless", str(UNIT))}
    assert used(found) == {("/opt/shop", "code", str(UNIT))}


def test_an_interpreter_of_a_script_nobody_packaged() -> None:
    files: dict[str, Content] = {
        "/opt/tool/run": File("#!/usr/bin/env -S perl -w\n", mode=0o755),
        "/usr/bin/perl": File("\x7fELF", mode=0o755),
        "/usr/local/bin/lost": File("#!/usr/bin/ruby\n", mode=0o755),
        "/usr/local/bin/own": File("#!/usr/bin/python3\n", mode=0o755),
        "/usr/bin/python3": Link("python3.11"),
        "/usr/bin/python3.11": File("\x7fELF", mode=0o755),
    }
    packages = [
        *owned("perl", "/usr/bin/perl"),
        *owned("python3-minimal", "/usr/bin/python3"),
        *owned("python3.11-minimal", "/usr/bin/python3.11"),
        *owned("python3"),
        *owned("python3.11"),
    ]
    found = joined(service("/opt/tool/run"), job("lost; PATH=/x own"), *packages, files=files)
    assert required(found) == {("perl", "/opt/tool/run:1")}
    found = joined(service("/usr/local/bin/own"), service("/usr/local/bin/lost"), *packages, files=files)
    assert [str(f.seen_in) for f in found if isinstance(f, Unread)] == ["/usr/local/bin/lost:1"]
    found = joined(service("own"), *packages, files=files)
    assert required(found) == {("python3", "/usr/local/bin/own:1"), ("python3.11", "/usr/local/bin/own:1")}


def test_wrappers_and_shells_are_seen_through() -> None:
    files: dict[str, Content] = {
        f"/usr/bin/{name}": File("\x7fELF", mode=0o755)
        for name in ("flock", "tar", "gzip", "nice", "curl", "rsync", "find")
    }
    packages = [
        *owned("tar", "/usr/bin/tar"), *owned("gzip", "/usr/bin/gzip"), *owned("curl", "/usr/bin/curl"),
        *owned("rsync", "/usr/bin/rsync"), *owned("flock", "/usr/bin/flock"), *owned("nice", "/usr/bin/nice"),
        *owned("findutils", "/usr/bin/find"),
    ]  # fmt: skip
    text = (
        "flock -n /run/lock/x nice -n 19 sh -c 'tar cf - /etc/orders | gzip > /var/backups/e.tgz' && curl -s http://x/"
    )
    found = joined(
        job(text + "; find /srv -name x -exec rsync {} y \\;"), *packages, files={**files, "/var/backups": Dir()}
    )
    assert {package for package, _ in required(found)} == {"flock", "nice", "tar", "gzip", "curl", "rsync", "findutils"}
    assert ("/var/backups", "data", str(CRON)) in used(found)
    assert ("/etc/orders", "config", str(CRON)) in used(found)


def test_functions_and_builtins_are_no_programs() -> None:
    files: dict[str, Content] = {
        "/usr/bin/test": "x",
        "/usr/bin/backup": "x",
        SCRIPT: File("#!/bin/sh\nbackup() { test -d /; }\nbackup\n"),
    }
    found = joined(job(SCRIPT), *owned("wrong", "/usr/bin/test", "/usr/bin/backup"), files=files)
    assert required(found) == set()


def test_scripts_that_call_one_another_end() -> None:
    files: dict[str, Content] = {
        "/usr/local/bin/a": File("#!/bin/sh\nb\n", mode=0o755),
        "/usr/local/bin/b": File("#!/bin/bash\n. /usr/local/lib/shop/common.sh\na\nb\n", mode=0o755),
        "/usr/local/lib/shop/common.sh": "x=1\n",
    }
    found = joined(job("a", user="root"), files=files)
    assert required(found) == set()  # cron's PATH is /usr/bin:/bin, so `a` is not found
    found = joined(service("a"), files=files)
    assert {path for path, _, _ in used(found)} == {
        "/usr/local/bin/a",
        "/usr/local/bin/b",
        "/usr/local/lib/shop/common.sh",
        "/usr/local/lib/shop",
    }


def test_libraries_of_a_program_nobody_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzers import _libraries
    from analyzers._elf import Elf

    monkeypatch.setattr(
        _libraries, "read_elf", lambda _: Elf("amd64", ("libpq.so.5", "libown.so", "libgone.so"), ("$ORIGIN/../lib",))
    )
    files: dict[str, Content] = {
        "/opt/shop/bin/server": File("\x7fELF", mode=0o755),
        "/opt/shop/lib/libown.so": "\x7fELF",
        "/usr/lib/x86_64-linux-gnu/libpq.so.5": Link("libpq.so.5.15"),
        "/usr/lib/x86_64-linux-gnu/libpq.so.5.15": "\x7fELF",
        "/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
        "/etc/ld.so.conf.d/x.conf": "# Multiarch support\n/usr/lib/x86_64-linux-gnu\n",
    }
    packages = owned("libpq5", "/usr/lib/x86_64-linux-gnu/libpq.so.5", "/usr/lib/x86_64-linux-gnu/libpq.so.5.15")
    found = joined(service("/opt/shop/bin/server"), *packages, files=files)
    assert required(found) == {("libpq5", "/opt/shop/bin/server")}
    assert ("/opt/shop/lib/libown.so", "code", "/opt/shop/bin/server") in used(found)
    assert ["libgone.so" in f.why for f in found if isinstance(f, Unread)] == [True]


def test_environment_files_and_paths_in_arguments() -> None:
    env = EnvironmentFile("/etc/orders/env", True, Place(UNIT.path, 4))
    files: dict[str, Content] = {
        "/etc/x/x.yml": "",
        "/var/lib/x/state": Dir(uid=996),
        "/usr/bin/x": File("\x7fELF"),
        "/var/lib/pkg/y": "",
    }
    packages = [*owned("x", "/usr/bin/x", "/var/lib/pkg/y")]
    unit = service(
        "/usr/bin/x", "--config=/etc/x/x.yml", "--dir", "/var/lib/x/state", "--y=/var/lib/pkg/y", "http://h/etc/orders/env",
        "/proc/self", "/nowhere/at/all", user="orders", environment_files=(env,),
    )  # fmt: skip
    assert used(joined(unit, *packages, files=files)) == {
        ("/etc/orders/env", "config", f"{UNIT.path}:4"),
        ("/etc/x/x.yml", "config", str(UNIT)),
        ("/var/lib/x/state", "data", str(UNIT)),
    }


def test_a_timers_job_runs_as_its_service_does() -> None:
    timer = Job(
        seen_in=Place("/etc/systemd/system/x.timer", 5), id="nightly", manager="systemd", enabled=True,
        schedule="0 0 * * *", original="daily", command=("/usr/bin/psql",), service="x",
    )  # fmt: skip
    found = joined(service("/usr/bin/psql", "-f", "/srv/orders/reports/x.sql", user="orders"), timer)
    assert {f.service for f in found if isinstance(f, Uses)} == {"x", "nightly"}
    assert {f.service for f in found if isinstance(f, Requires)} == {"x", "nightly"}


def test_what_knows_the_daemon_speaks_before_its_unit() -> None:
    unit = service("/usr/bin/psql")
    cluster = Service(
        seen_in=UNIT,
        id="x",
        manager="postgresql-common",
        enabled=True,
        unit="",
        command=("/usr/bin/mktemp",),
        user="orders",
    )
    for findings in ([unit, cluster], [cluster, unit]):
        assert required(joined(*findings)) == set()  # mktemp is of every image, and psql is not called


def test_a_tree_of_code_with_its_own_folders() -> None:
    files: dict[str, Content] = {
        "/opt/chat": Dir(),
        "/opt/chat/server.js": "x\n",
        "/opt/chat/uploads": Dir(uid=996),
        "/opt/chat/uploads/2024": Dir(uid=996),
        "/usr/bin/node": File("\x7fELF", mode=0o755),
    }
    unit = service("/usr/bin/node", "server.js", user="orders", working_directory="/opt/chat")
    found = joined(unit, *owned("nodejs", "/usr/bin/node"), files=files)
    assert required(found) == {("nodejs", str(UNIT))}
    assert used(found) == {("/opt/chat", "code", str(UNIT)), ("/opt/chat/uploads", "data", "/opt/chat/uploads")}


def test_folders_that_another_account_fills_are_data() -> None:
    files: dict[str, Content] = {
        "/opt/chat/server.js": "",
        "/opt/chat/uploads": Dir(uid=996),
        "/srv/media/a.jpg": "",
        "/usr/bin/tar": File("\x7fELF", mode=0o755),
    }
    command = job("for d in /opt/chat/uploads /srv/media; do tar cf x $d; done", user="root")
    found = joined(command, *owned("tar", "/usr/bin/tar"), files=files)
    assert used(found) == {("/opt/chat/uploads", "data", str(CRON)), ("/srv/media", "code", str(CRON))}


def test_folders_below_run_are_made_anew() -> None:
    unit = service("/bin/sh", "-c", "mkdir -p /run/chat && install -d -o x /run/chat/y /opt && exec z")
    assert {(path, role) for path, role, _ in used(joined(unit))} == {
        ("/run/chat", "runtime"),
        ("/run/chat/y", "runtime"),
    }


def test_a_script_that_sources_its_neighbour() -> None:
    text = '#!/bin/bash\nHERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)\n. "$HERE/env"\n"$(dirname "$0")"/next\n'
    files: dict[str, Content] = {
        "/usr/local/bin/first": File(text, mode=0o755),
        "/usr/local/bin/env": "",
        "/usr/local/bin/next": File("#!/bin/sh\npsql\n", mode=0o755),
    }
    found = joined(service("/usr/local/bin/first"), files=files)
    assert ("/usr/local/bin/env", "config", "/usr/local/bin/first:3") in used(found)
    assert ("postgresql-client-15", "/usr/local/bin/next:2") in required(found)


def test_code_that_belongs_to_who_runs_it_is_no_data() -> None:
    files: dict[str, Content] = {
        "/opt/chat": Dir(uid=996),
        "/opt/chat/main.py": File("x\n", uid=996),
        "/opt/chat/data": Dir(uid=996),
        "/usr/bin/python3": File("\x7fELF", mode=0o755),
    }
    unit = service("/usr/bin/python3", "/opt/chat/main.py", "--data=/opt/chat/data", user="orders")
    assert used(joined(unit, *owned("python3", "/usr/bin/python3"), files=files)) == {
        ("/opt/chat", "code", str(UNIT)),
        ("/opt/chat/data", "data", str(UNIT)),
    }


def test_where_no_package_database_was_read_the_system_is_not_taken_for_code() -> None:
    files: dict[str, Content] = {"/usr/sbin/x": "\x7fELF", "/bin/y": "\x7fELF", "/usr/local/bin/z": "\x7fELF"}
    units = [service("/usr/sbin/x"), service("/bin/y"), service("/usr/local/bin/z")]
    found = [f for unit in units for f in programs.join(FakeGuest(files), [unit])]
    assert used(found) == {("/usr/local/bin/z", "code", str(UNIT))}


def test_code_in_an_application_means_its_tree() -> None:
    files: dict[str, Content] = {
        "/home/anna/shop/bin/go": File("#!/bin/sh\nexec /home/anna/shop/lib/x\n"),
        "/home/anna/shop/lib/x": "\x7fELF",
    }
    app = Application(seen_in=HERE, root="/home/anna/shop", ecosystem="pypi", name="shop")
    found = joined(service("/home/anna/shop/bin/go"), app, files=files)
    assert {(path, role) for path, role, _ in used(found)} == {("/home/anna/shop", "code")}


def test_a_script_that_cannot_be_read_is_told() -> None:
    found = joined(job(SCRIPT), files={SCRIPT: File("#!/bin/sh\necho 'open\n", mode=0o755)})
    assert [str(f.seen_in) for f in found if isinstance(f, Unread)] == [f"{SCRIPT}:2"]
    assert joined(job(SCRIPT), files={SCRIPT: Broken()})


# ---------------------------------------------------------------- the parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/etc/x", [("/etc/x", True)]),
        ("--config=/etc/x.conf", [("/etc/x.conf", True)]),
        ("-c/etc/x", [("/etc/x", True)]),
        ("a:/x,/y", [("/x", True), ("/y", True)]),
        (f"/srv/x-{UNKNOWN}.csv", [("/srv/x-", False)]),
        ("http://h/x", []),
        ("s/a/b/", []),
        ("/", []),
    ],
)
def test_paths_in_a_word(text: str, expected: list[tuple[str, bool]]) -> None:
    assert paths_in(Word(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nice -n 5 ionice -c3 tar cf x", ["nice", "ionice", "tar"]),
        ("env -i A=b python3 x", ["env", "python3"]),
        ("sudo -u postgres -- psql", ["sudo", "psql"]),
        ("timeout -k 5 60s curl x", ["timeout", "curl"]),
        ("xargs -0 -n 1 rm", ["xargs", "rm"]),
        ("exec -a name gosu app server", ["exec", "gosu", "server"]),
        ("su - app -c 'run this'", ["su", "run this"]),
        ("bash -lc 'a b'", ["bash", "a b"]),
        ("bash -eu -o pipefail -c 'a b' x", ["bash", "a b"]),
        ("bash /x/script -c y", ["bash"]),
        ("flock /l -c 'a b'", ["flock", "a b"]),
        ("flock /l nice psql -c 'select 1'", ["flock", "nice", "psql"]),
        ("runuser -u postgres psql -c 'select 1'", ["runuser", "psql"]),
        ("trap 'rm x' EXIT", ["trap", "rm x"]),
        ("eval a b", ["eval", "a b"]),
        ("start-stop-daemon --start --exec /usr/sbin/x -- -f", ["start-stop-daemon", "/usr/sbin/x"]),
        ("find . -exec gzip {} + -exec rm {} ;", ["find", "gzip", "rm"]),
    ],
)
def test_wrappers(text: str, expected: list[str]) -> None:
    command = parse(text.replace(";", "\\;")).commands[0]
    assert [part if isinstance(part, str) else part.name for part in unwrap(command)] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#!/bin/sh -e", "/bin/sh"),
        ("#! /usr/bin/env python3", "python3"),
        ("#!/usr/bin/env -S X=1 node --x", "node"),
        ("#!", ""),
        ("echo", ""),
    ],
)
def test_interpreters(line: str, expected: str) -> None:
    assert interpreter(line) == expected
