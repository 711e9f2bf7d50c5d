"""Dockerfiles, and that nothing a plan says becomes an instruction of its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import PlanError
from migrate.generate.context import make_context
from migrate.generate.dockerfile import dockerfile
from migrate.plan.model import Account, Component, Data, Port, RunUser, Socket
from tests.generate import shop

GUEST = shop.guest()


def text(component: Component) -> str:
    context = make_context(shop.plan(component), GUEST, ())
    return dockerfile(context.moving[0], context)


def instructions(content: str, folder: Path) -> list[tuple[str, str]]:
    parser = DockerfileParser(path=str(folder))
    parser.content = content
    return [(i["instruction"], i["value"]) for i in parser.structure if i["instruction"] != "COMMENT"]


def of(found: list[tuple[str, str]], name: str) -> str:
    return next(value for instruction, value in found if instruction == name)


def test_an_image_of_packages(tmp_path: Path) -> None:
    found = instructions(text(shop.nginx()), tmp_path)
    assert [name for name, _ in found] == [
        "FROM", "LABEL", "RUN", "ADD", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "USER", "ENTRYPOINT",
    ]  # fmt: skip
    assert of(found, "FROM") == "debian:12-slim"
    assert "nginx=1.22.1-9+deb12u1;" in of(found, "RUN")
    assert of(found, "RUN").endswith("rm -rf -- /etc/nginx")
    assert of(found, "EXPOSE") == "443/tcp 80/tcp"
    assert of(found, "USER") == "33:33"
    assert json.loads(of(found, "ENTRYPOINT")) == ["/usr/sbin/nginx", "-g", "daemon off;"]
    assert "www-data" not in of(found, "RUN"), "base-passwd has it with the same numbers"


def test_accounts_come_before_packages_with_the_machines_numbers(tmp_path: Path) -> None:
    run = of(instructions(text(shop.postgresql()), tmp_path), "RUN")
    before, _, after = run.partition("apt-get install")
    assert "printf '%s\\n' postgres:x:107:110::/var/lib/postgresql:/usr/sbin/nologin >> /etc/passwd" in before
    assert "printf '%s\\n' ssl-cert:x:109:postgres >> /etc/group" in before
    assert "create_main_cluster = false" in before
    assert "/var/lib/postgresql/15/main" in after
    assert "rm -f /etc/ssl/private/ssl-cert-snakeoil.key" in after


def test_account_lines_replace_what_is_there(tmp_path: Path) -> None:
    component = shop.redis()
    component.accounts = [Account(name="Debian-exim", uid=105, gid=112, group="Debian-exim", home="/x y")]
    component.user = RunUser(name="Debian-exim", uid=105, gid=112)
    run = of(instructions(text(component), tmp_path), "RUN")
    steps = [s for s in run.split("; ") if "/etc/passwd" in s]
    (tmp_path / "passwd").write_text("root:x:0:0::/:\nDebian-exim:x:7:7::/:\nDebian-exim2:x:8:8::/:\n")
    script = "; ".join(steps).replace("/etc/passwd", "passwd")
    subprocess.run(["sh", "-eu", "-c", script], check=True, cwd=tmp_path)
    assert (tmp_path / "passwd").read_text() == (
        "root:x:0:0::/:\nDebian-exim2:x:8:8::/:\nDebian-exim:x:105:112::/x y:/usr/sbin/nologin\n"
    )


def test_root_has_no_user_line(tmp_path: Path) -> None:
    component = shop.redis()
    component.user = None
    content = text(component)
    assert "USER" not in [name for name, _ in instructions(content, tmp_path)]
    assert "# No USER: it starts as root" in content


def test_what_is_prepared_runs_first_and_the_shell_becomes_the_command(tmp_path: Path) -> None:
    component = shop.redis()
    component.prepare = [["/bin/mkdir", "-p", "/run/it's here"], ["/bin/true"]]
    component.environment = {"KEY": "two\nlines", "PLAIN": "a b"}
    found = instructions(text(component), tmp_path)
    argv = json.loads(of(found, "ENTRYPOINT"))
    assert argv[:3] == ["/bin/sh", "-e", "-c"]
    assert argv[3].splitlines()[-1] == 'exec "$@"'
    assert argv[4:] == ["sh", *component.command]
    assert "KEY" not in of(found, "ENV")
    script = argv[3].replace("/run/it'\"'\"'s here", str(tmp_path / "made"))
    done = subprocess.run(
        [*argv[:3], script, "sh", "/usr/bin/printenv", "KEY"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "two\nlines\n"
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"ports": [Port(port=6379)]}, ["/bin/bash", "-c", 'exec 3<>"/dev/tcp/$0/$1"', "127.0.0.1", "6379"]),
        ({"ports": [Port(port=1, protocol="udp")], "sockets": [Socket(path="/run/a b")]}, "/usr/bin/perl"),
        ({"ports": []}, None),
        ({"ports": [Port(port=1)], "workload": "cronjob"}, None),
    ],
)
def test_health(tmp_path: Path, change: dict[str, object], command: object) -> None:
    component = shop.redis()
    component.health = None
    for name, value in change.items():
        setattr(component, name, value)
    found = dict(instructions(text(component), tmp_path)).get("HEALTHCHECK")
    argv = json.loads(found.partition("CMD ")[2]) if found else None
    assert (argv[0] if isinstance(command, str) and argv else argv) == command


def test_packages_of_another_system_are_refused() -> None:
    component = shop.redis()
    context_guest = shop.guest()
    context_guest._data.pop("/var/lib/dpkg/status")
    context_guest._entries.pop("/var/lib/dpkg/status")
    context = make_context(shop.plan(component), context_guest, ())
    with pytest.raises(PlanError, match="strategy to lift"):
        dockerfile(context.moving[0], context)


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/lib", "/var", "x", "/a/../etc"])
def test_the_systems_own_directories_are_not_removed(path: str) -> None:
    component = shop.redis()
    assert component.image is not None
    component.image.remove = [path]
    with pytest.raises(PlanError):
        text(component)


@pytest.mark.parametrize("path", ["/home", "/var/mail"])
def test_data_in_a_directory_of_the_systems_stays_out_without_removing_it(path: str) -> None:
    component = shop.redis()
    component.data = [Data(path=path, claim="all")]
    made = text(component)
    assert "redis-server" in made
    assert not re.search(rf"rm -rf --[^\n]*{path}\b", made)


HOSTILE = st.text(st.sampled_from("\n\r\\\"'$(){}`#;& |<>-A=:/\0\u2028\u0085é\t"), min_size=1, max_size=12)
FIELDS = (
    "base", "package", "remove", "command", "environment", "variable", "working_directory", "stop_signal", "account",
    "health", "machine", "prepare", "group", "home",
)  # fmt: skip


def spoil(component: Component, field: str, value: str) -> None:
    assert component.image is not None
    assert component.health is not None
    image, account, health = component.image, component.accounts[0], component.health

    def all_health() -> None:
        health.says = health.command[0] = value

    changes: dict[str, Callable[[], None]] = {
        "base": lambda: setattr(image, "base", value),
        "package": lambda: image.packages.append(value),
        "remove": lambda: image.remove.append("/opt/" + value),
        "command": lambda: component.command.append(value),
        "environment": lambda: component.environment.update(NAME=value),
        "variable": lambda: component.environment.update({value: "x"}),
        "working_directory": lambda: setattr(component, "working_directory", "/" + value),
        "stop_signal": lambda: setattr(component, "stop_signal", value),
        "account": lambda: setattr(account, "name", value),
        "group": lambda: setattr(account, "group", value),
        "home": lambda: setattr(account, "home", value),
        "health": all_health,
        "prepare": lambda: setattr(component, "prepare", [[value]]),
        "machine": lambda: None,
    }
    changes[field]()


@pytest.mark.parametrize("field", FIELDS)
@given(value=HOSTILE)
def test_no_field_adds_an_instruction(field: str, value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    component = shop.redis()
    component.image.files = []  # type: ignore[union-attr]
    component.rewrites, component.config = [], []
    component.working_directory = "/srv"
    spoil(component, field, value)
    plan = shop.plan(component)
    if field == "machine":
        plan.machine = value
    try:
        context = make_context(plan, GUEST, ())
        content = dockerfile(context.moving[0], context)
    except PlanError:
        return
    names = ["FROM", "LABEL", "RUN", "ADD", "ENV", "WORKDIR", "EXPOSE", "HEALTHCHECK", "USER", "ENTRYPOINT"]
    if field == "stop_signal":
        names.insert(-3, "STOPSIGNAL")
    found = instructions(content, tmp_path_factory.getbasetemp())
    assert [name for name, _ in found] == names
    # What splits lines for some reader (U+0085, U+2028) must not stand in the file either.
    assert len(content.splitlines()) == content.count("\n")
    if field == "command":
        assert json.loads(of(found, "ENTRYPOINT"))[-1] == value
