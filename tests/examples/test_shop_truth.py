"""truth.yaml, the example's files and its README say the same of the machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.examples.machine import SHOP, truth

FILES = SHOP / "files"


def _lines() -> list[tuple[str, str]]:
    """Return (place, text expected there) for each place of the truth that is a line of the example's files."""
    known = truth()
    expected = [(e["seen_in"], e["over"].removeprefix("tcp:").removeprefix("unix:")) for e in known["edges"]]
    expected += [(s["seen_in"], s["variable"]) for s in known["secrets"] if "variable" in s]
    for component in known["components"]:
        expected += [(p["seen_in"], str(p["port"])) for p in component.get("ports", []) if ".conf" not in p["seen_in"]]
        expected += [(u["seen_in"], u["path"]) for u in component.get("sockets", []) if ".conf" not in u["seen_in"]]
        if "program" in component:
            expected.append((component["command_seen_in"], component["program"]))
        elif "command" in component:
            expected.append((component["command_seen_in"], f"ExecStart={component['command'][0]}"))
        if "memory" in component:
            expected.append((component["memory_seen_in"], component["memory"]))
    return [(place, text) for place, text in expected if re.search(r":\d+$", place)]


@pytest.mark.parametrize(("place", "text"), _lines())
def test_a_place_holds_what_the_truth_says(place: str, text: str) -> None:
    path, _, number = place.rpartition(":")
    path = path.replace("/sites-enabled/", "/sites-available/")  # a link that the recipe makes
    assert text in (FILES / path.lstrip("/")).read_text().splitlines()[int(number) - 1]


def test_there_are_places_to_hold_against_the_files() -> None:
    assert len(_lines()) >= 15


@pytest.mark.parametrize("secret", truth()["planted_secrets"])
def test_a_planted_secret_is_on_the_disk_once(secret: str) -> None:
    """A search for a string that is nowhere would find no leak either."""
    sources = [p for folder in ("files", "recipe") for p in (SHOP / folder).rglob("*") if p.is_file()]
    assert sum(p.read_bytes().count(secret.encode()) for p in sources) == 1


def test_schedules_are_those_of_the_files() -> None:
    schedules = {c["id"]: c["schedule"] for c in truth()["components"] if c["kind"] == "job"}
    assert schedules["orders-report"] in (FILES / "etc/cron.d/orders-report").read_text()
    minute, hour, *rest = schedules["orders-cleanup"].split()
    assert rest == ["*", "*", "*"]
    timer = (FILES / "etc/systemd/system/orders-cleanup.timer").read_text()
    assert f"OnCalendar=*-*-* {int(hour):02}:{int(minute):02}:00" in timer


def test_the_readme_tells_of_every_component_edge_and_planted_place() -> None:
    known, readme = truth(), (SHOP / "README.md").read_text()
    for component in known["components"]:
        assert f"`{component['id']}`" in readme
    for edge in known["edges"]:
        assert edge["over"].partition(":")[2] in readme
    for secret in known["secrets"]:
        assert secret["seen_in"].partition(":")[0] in readme


def test_the_readme_holds_no_secret() -> None:
    readme = (SHOP / "README.md").read_text()
    assert [s for s in truth()["planted_secrets"] if s in readme] == []


def _build(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SHOP / "build.sh", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_build_tells_how_it_is_called() -> None:
    assert "examples/shop/build.sh [--force | --check] [OUT.qcow2]" in _build("--help").stdout


@pytest.mark.parametrize("arguments", [("--nonsense",), ("a.qcow2", "b.qcow2")])
def test_a_wrong_call_is_refused(arguments: tuple[str, ...]) -> None:
    done = _build(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("shop: ")


def test_a_disk_of_other_files_is_not_current(tmp_path: Path) -> None:
    disk = tmp_path / "old.qcow2"
    disk.write_text("")
    (tmp_path / "old.qcow2.inputs").write_text("0" * 64)
    done = _build("--check", disk)
    assert done.returncode == 1
    assert "was made from other files" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.qcow2", "old.qcow2.inputs"]
