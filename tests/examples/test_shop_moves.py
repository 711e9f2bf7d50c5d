"""The main job on the example machine, as a user does it: analyze, generate, extract, build, run, compare.

The disk is read through libguestfs, the images are built and run by a Docker engine, and what the
containers answer is held against what the machine answered when it was booted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrate.plan.model import Component, Plan
from migrate.plan.store import read_plan
from tests.examples.machine import SHOP, Answers, truth

pytestmark = [pytest.mark.disk, pytest.mark.appliance]

TRUTH = truth()
VM2C = (sys.executable, "-m", "migrate")
MOVED = {c["id"]: c for c in TRUTH["components"]}


def _vm2c(*arguments: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*VM2C, *map(str, arguments)], cwd=where, capture_output=True, text=True, timeout=1500, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    for secret in TRUTH["planted_secrets"]:
        assert secret not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(shop_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where analyze and generate have run on the disk, read by libguestfs, with no hand edit."""
    pytest.importorskip("guestfs", reason="libguestfs' Python bindings are missing: apt-get install python3-guestfs")
    place = tmp_path_factory.mktemp("shop")
    for arguments in (("analyze", shop_disk, "-o", "shop"), ("generate", "shop")):
        done = _vm2c(*arguments, "--reader", "guestfs", where=place)
        assert done.returncode == 0, done.stderr
    return place / "shop"


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return read_plan(folder / "plan.yaml")


@pytest.fixture(scope="module")
def moved(plan: Plan) -> dict[str, Component]:
    return {c.id: c for c in plan.components if c.kind != "host"}


# ---------------------------------------------------------------- what analyze says


def test_the_components_are_exactly_those_that_are_there(plan: Plan, moved: dict[str, Component]) -> None:
    assert {c.id: (c.kind, c.decision) for c in moved.values()} == {
        name: (c["kind"], c["decision"]) for name, c in MOVED.items()
    }
    upkeep = {c.id for c in plan.components if c.kind == "host"}
    assert {c.decision for c in plan.components if c.kind == "host"} == {"retire"}
    must = {u["id"] for u in TRUTH["upkeep"] if not u.get("once")}
    may = must | {u["id"] for u in TRUTH["upkeep"]} | set(TRUTH["upkeep_of_packages"])
    assert must <= upkeep <= may


def test_every_claim_has_its_place(plan: Plan) -> None:
    for component in plan.components:
        assert component.because
        claims: list[Any] = [*component.because, *component.ports, *component.sockets, *component.needs]
        for said in (*claims, *component.secrets, *component.data):
            assert said.seen_in.startswith("/"), (component.id, said)


@pytest.mark.parametrize("name", MOVED)
def test_ports_sockets_schedules_and_users_are_the_machines(moved: dict[str, Component], name: str) -> None:
    component, said = moved[name], MOVED[name]
    assert {(p.port, p.protocol, p.address) for p in component.ports} == {
        (p["port"], p["protocol"], p["address"]) for p in said.get("ports", [])
    }
    assert {s.path for s in component.sockets} == {s["path"] for s in said.get("sockets", [])}
    assert component.schedule == said.get("schedule")
    assert component.user is not None
    assert component.user.name == said["user"]
    numbers = {a["name"]: a["uid"] for a in TRUTH["accounts"]}
    assert component.user.uid == numbers[said["user"]]


def test_the_edges_are_those_of_the_machine(folder: Path) -> None:
    graph = json.loads((folder / "graph.json").read_text())
    kinds = {"tcp", "udp", "unix-socket", "shared-files", "external"}
    hosts = {n["id"] for n in graph["nodes"] if n["type"] == "host"}
    found = {
        (e["source"], e["target"], e["kind"])
        for e in graph["edges"]
        if e["kind"] in kinds and not {e["source"], e["target"]} & hosts
    }
    expected = {(e["source"], e["target"], e["kind"]) for e in TRUTH["edges"]}
    tolerated = {(e["source"], e["target"]) for e in TRUTH["tolerated_edges"]}
    assert expected <= found
    assert {e for e in found - expected if e[:2] not in tolerated} == set()
    places = {(e["source"], e["target"], e["kind"]): e["seen_in"] for e in graph["edges"]}
    for edge in TRUTH["edges"]:
        assert places[edge["source"], edge["target"], edge["kind"]].startswith(edge["seen_in"])


def test_data_is_found_with_its_owner(moved: dict[str, Component]) -> None:
    numbers = {a["name"]: a["uid"] for a in TRUTH["accounts"]}
    found = {(d.path, c.id): (d.uid, d.mode) for c in moved.values() if c.kind == "service" for d in c.data}
    assert found == {(d["path"], d["component"]): (numbers[d["owner"]], d["mode"]) for d in TRUTH["data"]}


def test_secrets_are_named_by_place_and_kind(folder: Path) -> None:
    inventory = json.loads((folder / "inventory.json").read_text())
    found = {(s["seen_in"].partition(":")[0], s["kind"]) for s in inventory["secrets"]}
    assert found >= {(s["seen_in"].partition(":")[0], s["kind"]) for s in TRUTH["secrets"]}


def test_the_account_of_the_disk_knows_what_was_changed_and_made_by_hand(folder: Path) -> None:
    files = json.loads((folder / "inventory.json").read_text())["files"]
    classes = {p["path"]: p["class"] for p in files["paths"]}
    assert {p for p in TRUTH["changed_configuration"] if classes.get(p) != "changed-config"} == set()
    for path in TRUTH["nobodys_package"]:
        named = [shown for shown in classes if path == shown or (shown.endswith("/") and path.startswith(shown))]
        assert named, path
    total = sum(c["files"] for c in files["classes"].values())
    assert files["classes"]["unknown"]["files"] <= total * 0.005


def test_packages_a_person_chose_are_told_from_those_pulled_in(folder: Path) -> None:
    packages = {p["name"]: p for p in json.loads((folder / "inventory.json").read_text())["packages"]}
    assert {n for n in ("nginx", "redis-server", "cron", "rsyslog") if not packages[n]["chosen"]} == set()
    assert {n for n in ("postgresql-15", "nginx-common", "libpq5", "python3") if packages[n]["chosen"]} == set()


@pytest.mark.parametrize("reader", ["guestfs", "direct"])
def test_analyzing_and_generating_again_gives_the_same_bytes(folder: Path, shop_disk: Path, reader: str) -> None:
    def snapshot() -> dict[str, bytes]:
        files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        # The reader's name is all that two readers may tell differently (and the digest of that file).
        files["inventory.json"] = re.sub(rb'"reader": "\w+"', b"", files["inventory.json"])
        del files[".vm2c/analyze.json"]
        return files

    before = snapshot()
    for arguments in (("analyze", shop_disk, "-o", "shop"), ("generate", "shop")):
        done = _vm2c(*arguments, "--reader", reader, where=folder.parent)
        assert done.returncode == 0, done.stderr
    after = snapshot()
    assert sorted(after) == sorted(before)
    assert [name for name in before if before[name] != after[name]] == []


# ---------------------------------------------------------------- what generate makes


def test_no_secret_is_in_any_output(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in TRUTH["planted_secrets"]:
                assert secret.encode() not in content, path
    for archive in folder.glob("images/*/rootfs.tar"):
        with tarfile.open(archive) as tar:
            names = {m.name for m in tar}
        assert not names & {"etc/orders/env", "etc/ssl/private/shop.key", "etc/ssl/private/ssl-cert-snakeoil.key"}


def test_no_data_is_in_any_image(folder: Path) -> None:
    for archive in folder.glob("images/*/rootfs.tar"):
        with tarfile.open(archive) as tar:
            inside = [m.name for m in tar for d in TRUTH["data"] if m.name.startswith(d["path"].lstrip("/") + "/")]
        assert inside == []


def test_each_dockerfile_passes_hadolint(folder: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    dockerfiles = sorted(folder.glob("images/*/Dockerfile"))
    assert [d.parent.name for d in dockerfiles] == sorted(MOVED)
    done = subprocess.run([hadolint, *dockerfiles], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_manifests_are_valid_kubernetes_with_the_right_schedules(folder: Path) -> None:
    validate = Path(sys.executable).parent / "kubernetes-validate"
    manifests = [p for p in sorted((folder / "kubernetes").glob("**/*.yaml")) if p.name != "kustomization.yaml"]
    done = subprocess.run([validate, "--strict", *manifests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    documents = [d for p in manifests for d in yaml.safe_load_all(p.read_text()) if d]
    jobs = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "CronJob"}
    assert {n: (s["schedule"], s["timeZone"]) for n, s in jobs.items()} == {
        "orders-report": ("15 3 * * 1-5", "Europe/Berlin"),
        "orders-cleanup": ("30 4 * * *", "Europe/Berlin"),
    }
    assert {d["kind"] for d in documents} >= {"Deployment", "StatefulSet", "CronJob", "Service", "ConfigMap"}
    assert all("data" not in d and "stringData" not in d for d in documents if d["kind"] == "Secret")


def test_kustomize_builds_them(folder: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; scripts/setup.sh test installs it where the distribution has it")
    done = subprocess.run(["kubectl", "kustomize", folder / "kubernetes"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = [d for d in yaml.safe_load_all(done.stdout) if d]
    assert {d["metadata"]["name"] for d in built if d["kind"] == "StatefulSet"} == {"postgresql", "redis-server"}


# ---------------------------------------------------------------- what runs


def _compose() -> list[str]:
    """Return the compose command of this host, or skip."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.skip("neither `docker compose` nor docker-compose is installed; scripts/setup.sh test installs one")
    return ["docker-compose"]


class Running:
    """The composed containers, with the machine's data."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.command = _compose()
        self.folder = folder
        self.environment = {**os.environ, "VM2C_SECRETS": str(secrets), "COMPOSE_PROJECT_NAME": "vm2c-test-shop"}

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.command, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def load(self, component: str, path: str, archive: Path) -> None:
        container = self.compose("ps", "--all", "-q", component, check=False) or self.compose("ps", "-q", component)
        with archive.open("rb") as stream:
            subprocess.run(["docker", "cp", "-", f"{container.strip()}:{path}"], stdin=stream, check=True, timeout=120)

    def get(self, path: str, scheme: str = "http") -> Any:
        context = ssl.create_default_context(cafile=str(SHOP / "files/etc/ssl/certs/shop.crt"))
        context.check_hostname = False
        handler = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        with opener.open(f"{scheme}://127.0.0.1{path}", timeout=10) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()


@pytest.fixture(scope="module")
def built(folder: Path) -> dict[str, Any]:
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Docker engine answers; scripts/engine.sh starts one")
    done = _vm2c("build", "shop", where=folder.parent)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads((folder / "build.json").read_text())
    return answer


@pytest.fixture(scope="module")
def running(
    folder: Path, built: dict[str, Any], plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    assert built
    secrets = tmp_path_factory.mktemp("secrets")
    done = _vm2c("extract", "shop", "--into", secrets, where=folder.parent)
    assert done.returncode == 0, done.stderr
    shop = Running(folder, secrets)
    try:
        loaded: set[str] = set()
        for component in plan.components:
            for data in component.data if component.kind == "service" else []:
                if data.claim not in loaded:
                    loaded.add(data.claim)
                    shop.compose("up", "--no-start", component.id)
                    shop.load(component.id, data.path, secrets / "data" / f"{data.claim}.tar")
        shop.compose("up", "-d")
        _wait(shop)
        yield shop
    finally:
        shop.compose("down", "--volumes", check=False)


def _wait(shop: Running) -> None:
    last = ""
    for _ in range(90):
        try:
            if shop.get("/health")[0] == 200:
                return
        except OSError as error:
            last = str(error)
        time.sleep(1)
    raise AssertionError(f"the containers did not answer: {last}\n{shop.compose('logs', check=False)}")


@pytest.mark.docker
def test_build_says_what_it_built(built: dict[str, Any]) -> None:
    assert {i["id"]: i["outcome"] for i in built["images"]}.keys() == MOVED.keys()
    assert {i["outcome"] for i in built["images"]} <= {"built", "unchanged"}
    assert all(i["size_bytes"] > 0 for i in built["images"])


@pytest.mark.docker
@pytest.mark.boots
def test_the_containers_answer_as_the_machine_did(running: Running, machine_answers: Answers) -> None:
    for path in ("/", "/health", "/static/shop.css", "/reports/", "/reports/orders-2024-05-03.csv"):
        expected = machine_answers.to[path][0]
        status, kind, body = running.get(path)
        assert (status, kind, body) == (expected.status, expected.type, expected.body), path
    assert running.get("/", "https")[2] == machine_answers.secure.body


@pytest.mark.docker
def test_the_counter_goes_on_where_the_machine_stopped(running: Running) -> None:
    visits = json.loads(running.get("/visits")[2])["visits"]
    assert visits == TRUTH["visits_before"] + 1


@pytest.mark.docker
def test_the_jobs_do_their_work(running: Running) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        running.get("/reports/none.csv")
    before = running.get("/reports/")[2]
    running.compose("run", "--rm", "orders-report")
    assert running.get("/reports/")[2] != before
    running.compose("run", "--rm", "orders-cleanup")


@pytest.mark.docker
def test_processes_run_as_the_machines_users_without_capabilities(
    running: Running, moved: dict[str, Component]
) -> None:
    for name in ("nginx", "orders", "postgresql", "redis-server"):
        user = moved[name].user
        assert user is not None
        status = running.compose("exec", "-T", name, "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] == str(user.uid)
        assert fields["CapEff"].strip("0") == ""
