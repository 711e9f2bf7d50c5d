"""The package as a user gets it: built, installed in a fresh environment, run outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PROJECT)], PROJECT)
    wheel = next(folder.glob("vm2c-*.whl"))
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    _run([str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", str(wheel)], folder)
    return folder / "venv/bin/vm2c"


def _run(argv: list[str], where: Path, codes: tuple[int, ...] = (0,)) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(argv, cwd=where, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode in codes, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_runs_outside_the_checkout_with_its_analyzers_rules_and_templates(command: Path, tmp_path: Path) -> None:
    assert _run([str(command), "--version"], tmp_path).startswith("vm2c ")
    names = {
        a["name"] for a in json.loads(_run([str(command), "analyzers", "--format", "json"], tmp_path))["analyzers"]
    }
    assert {"systemd", "dpkg", "nginx", "postgresql"} <= names
    assert json.loads(_run([str(command), "rules", "--format", "json"], tmp_path))["rules"]


def test_it_analyzes_a_directory_with_no_libguestfs_at_hand(command: Path, tmp_path: Path) -> None:
    root = tmp_path / "machine"
    unit = root / "etc/systemd/system/hello.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/local/bin/hello\n[Install]\nWantedBy=multi-user.target\n")
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "hello.service").symlink_to("/etc/systemd/system/hello.service")
    library = root / "usr/lib/systemd/system"
    library.mkdir(parents=True)
    (library / "multi-user.target").write_text("[Unit]\nDescription=Multi-User System\n")
    (library / "default.target").symlink_to("multi-user.target")
    program = root / "usr/local/bin/hello"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexec sleep infinity\n")
    program.chmod(0o755)
    argv = [str(command), "analyze", str(root), "-o", "plan", "--format", "json"]
    answer = json.loads(
        _run(argv, tmp_path, codes=(3,))
    )  # a blind spot: no program there says which processor it is for
    assert [c["id"] for c in answer["plan"]["components"]] == ["hello"]
    assert {p.name for p in (tmp_path / "plan").iterdir()} >= {
        "inventory.json",
        "graph.json",
        "plan.yaml",
        "report.html",
    }
