from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import binaries, dotnet, golang, java_apps, programs, rust, scripts
from migrate.applications import Runner, innermost, run_by
from migrate.discover import run_analyzers
from migrate.facts import Facts
from migrate.join import join
from migrate.model import (
    Analyzer,
    Application,
    Finding,
    Job,
    Package,
    PackageFiles,
    Place,
    Requires,
    Service,
    Unread,
    Uses,
)
from tests.analyzers.elf_made import make_elf
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_dotnet import CONFIG, DEPS
from tests.analyzers.test_golang import MKCERT, inline
from tests.analyzers.test_java_apps import FAT, TOMCAT

UNIT = Place("/etc/systemd/system/x.service", 7)
CRON = Place("/etc/crontab", 3)


def app(root: str) -> Application:
    return Application(seen_in=Place(root), root=root, ecosystem="elf", name="x")


def service(ident: str, *command: str, **more: object) -> Service:
    return Service(
        seen_in=UNIT,
        id=ident,
        manager="systemd",
        enabled=True,
        unit=UNIT.path,
        command=command,
        **more,  # type: ignore[arg-type]
    )


def job(ident: str, command: str, unit: str = "") -> Job:
    return Job(
        seen_in=CRON, id=ident, manager="cron", enabled=True, schedule="1 2 * * *", original="", command=(command,),
        shell=not unit, service=unit,
    )  # fmt: skip


def asked(*findings: Finding, files: dict[str, Content] | None = None) -> dict[str, tuple[Runner, ...]]:
    facts = Facts(findings, FakeGuest(files or {}))
    return run_by(facts, join(facts))


def test_by_the_command_and_the_innermost_root_wins() -> None:
    roots = (app("/opt/tomcat"), app("/opt/tomcat/webapps/shop.war"), app("/opt/tom"))
    found = asked(*roots, service("tomcat", "/opt/tomcat/bin/catalina.sh", "run"))
    assert found == {"/opt/tomcat": (Runner("tomcat", "service", UNIT),)}
    assert list(asked(*roots, service("x", "java", "-jar", "/opt/tomcat/webapps/shop.war"))) == [
        "/opt/tomcat/webapps/shop.war"
    ]


@pytest.mark.parametrize(
    "command",
    [
        "cd /tmp && /opt/shop/bin/run --config=/etc/x >/dev/null",
        "java -cp /opt/shop/lib/a.jar:/opt/shop/lib/b.jar Main",
        "FOO=1 bash -c '/opt/shop/bin/run; true'",
        "PYTHONPATH=/opt/shop python3 -m shop",
        "/opt//shop/./bin/../bin/run",
    ],
)
def test_by_the_paths_in_a_shells_command(command: str) -> None:
    assert asked(app("/opt/shop"), job("nightly", command)) == {"/opt/shop": (Runner("nightly", "job", CRON),)}


def test_addresses_are_no_paths() -> None:
    assert asked(app("/shop"), app("/opt"), job("x", "curl https://example.org/shop/opt http:///opt")) == {}


def test_by_what_analyzers_saw_it_use() -> None:
    script = Place("/usr/local/bin/start", 4)
    use = Uses(seen_in=script, service="shop", path="/opt/shop/shop.jar", role="code")
    reads = Uses(seen_in=script, service="other", path="/opt/shop/config.yml", role="config")
    found = asked(
        app("/opt/shop"), service("shop", "/bin/sh", "/usr/local/bin/start"), service("other", "x"), use, reads
    )
    assert found == {"/opt/shop": (Runner("shop", "service", script),)}


def test_by_where_it_works_where_nothing_else_says() -> None:
    web = service("web", "/usr/bin/node", "server.js", working_directory="/srv/web/")
    assert asked(app("/srv/web"), web) == {"/srv/web": (Runner("web", "service", UNIT),)}
    both = service("web", "/opt/tool", "server.js", working_directory="/srv/web")
    assert list(asked(app("/srv/web"), app("/opt/tool"), both)) == ["/opt/tool"]
    root = service("web", "x", working_directory="/")
    assert asked(app("/srv/web"), root) == {}


def test_links_lead_to_applications() -> None:
    files: dict[str, Content] = {"/opt/shop-2.1/bin/run": "", "/opt/shop": Link("shop-2.1")}
    assert list(asked(app("/opt/shop-2.1"), service("shop", "/opt/shop/bin/run"), files=files)) == ["/opt/shop-2.1"]


def test_a_timers_service_is_its_job() -> None:
    unit = service("cleanup", "/srv/orders/venv/bin/python", "/srv/orders/cleanup.py")
    disabled = Service(**{f: getattr(unit, f) for f in unit.__struct_fields__} | {"enabled": False})
    found = asked(app("/srv/orders"), disabled, job("cleanup", "cleanup.service", "cleanup"))
    assert found == {"/srv/orders": (Runner("cleanup", "job", UNIT),)}


def test_everybody_who_runs_it_sorted_and_once() -> None:
    runs = [service(name, "/opt/shop/run", "/opt/shop/conf") for name in ("b", "a")]
    found = asked(app("/opt/shop"), *runs, job("c", "/opt/shop/run"))
    assert [(r.id, r.kind) for r in found["/opt/shop"]] == [("a", "service"), ("b", "service"), ("c", "job")]


@given(st.lists(st.text(alphabet="/ab."), max_size=5), st.text(alphabet="/ab."))
def test_innermost_ends(roots: list[str], path: str) -> None:
    found = innermost(roots, path)
    assert found is None or found in roots


def test_long_commands_take_no_time() -> None:
    begun = time.process_time()
    for text in ("a" * 200_000, "/a" * 100_000, "://" * 60_000, ":" * 200_000):
        asked(app("/opt/shop"), job("x", text))
    assert time.process_time() - begun < 20


# ---------------------------------------------------------------- all analyzers of applications together


def owned(package: str, *paths: str) -> list[Finding]:
    place = Place("/var/lib/dpkg/status", 1)
    return [
        Package(seen_in=place, name=package, version="1", architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=place, package=package, paths=paths),
    ]


def test_four_services_end_with_their_code_and_the_packages_of_their_runtimes() -> None:
    loader = "/lib64/ld-linux-x86-64.so.2"
    elf = File(make_elf(interpreter=loader, needed=("libc.so.6",)), mode=0o755)
    java = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"
    asp = "/usr/lib/dotnet/shared/Microsoft.AspNetCore.App/8.0.11/Microsoft.AspNetCore.dll"
    config = CONFIG.replace("Microsoft.NETCore.App", "Microsoft.AspNetCore.App")
    files: dict[str, Content] = {
        **TOMCAT,
        "/bin/sh": elf,
        "/usr/bin/java": Link(java),
        java: elf,
        "/lib/libc.so.6": "",
        "/opt/shop/shop.jar": FAT,
        "/usr/local/bin/gitea": File(
            make_elf(
                interpreter=loader, needed=("libc.so.6", "libpam.so.0"), sections={".go.buildinfo": inline(MKCERT)}
            ),
            mode=0o755,
        ),
        "/usr/lib/libpam.so.0": "",
        "/usr/bin/dotnet": elf,
        asp: "MZ",
        "/srv/app/App.dll": "MZ",
        "/srv/app/App.deps.json": DEPS.replace("Shop.Api", "App"),
        "/srv/app/App.runtimeconfig.json": config,
    }
    said: list[Finding] = [
        *owned("libc6", "/lib/libc.so.6"), *owned("dash", "/bin/sh"), *owned("openjdk-17-jre-headless", java),
        *owned("libpam0g", "/usr/lib/libpam.so.0"), *owned("dotnet-host-8.0", "/usr/bin/dotnet"),
        *owned("aspnetcore-runtime-8.0", asp),
        service("shop", "java", "-jar", "/opt/shop/shop.jar"),
        service("tomcat", "/opt/tomcat/bin/catalina.sh", "run"),
        service("gitea", "/usr/local/bin/gitea", "web"),
        service("app", "dotnet", "/srv/app/App.dll"),
    ]  # fmt: skip
    stub = Analyzer(name="stub", says="", reads=(), analyze=lambda _: said)
    mine = [m.ANALYZER for m in (binaries, dotnet, golang, java_apps, programs, rust, scripts)]
    guest = FakeGuest(files)
    facts = Facts(run_analyzers(guest, [stub, *mine]), guest)
    needs = {s: {r.package for r in facts.about(Requires, [s])} for s in ("shop", "tomcat", "gitea", "app")}
    assert needs == {
        "shop": {"openjdk-17-jre-headless"},
        "tomcat": {"openjdk-17-jre-headless", "dash"},
        "gitea": {"libc6", "libpam0g"},
        "app": {"dotnet-host-8.0", "aspnetcore-runtime-8.0"},
    }
    code = {c.id: c.paths("code") for c in join(facts).candidates}
    assert code == {
        "shop": ["/opt/shop"], "tomcat": ["/opt/tomcat"], "gitea": ["/usr/local/bin/gitea"], "app": ["/srv/app"],
    }  # fmt: skip
    runs = {root: [r.id for r in by] for root, by in run_by(facts, join(facts)).items()}
    assert runs == {
        "/opt/shop": ["shop"], "/opt/tomcat": ["tomcat"], "/usr/local/bin/gitea": ["gitea"], "/srv/app": ["app"],
    }  # fmt: skip
    assert facts.of(Unread) == []
