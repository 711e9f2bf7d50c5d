"""The command line as a user meets it: output, exit codes, one clear line for bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate import cli
from migrate.plan.store import read_plan
from tests.guest.made import needs, put, sparse_file
from tests.guest.made import run as run_program

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vm2c", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a root directory with one application."""
    root = tmp_path / "web01"
    files = {
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "etc/hostname": "web01\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\napp:x:990:990::/opt/app:/usr/sbin/nologin\n",
        "etc/group": "root:x:0:\napp:x:990:\n",
        "etc/systemd/system/app.service": (
            "[Service]\nUser=app\nEnvironmentFile=/etc/app.env\nExecStart=/opt/app/serve --port 8080\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        "etc/app.env": "API_URL=https://api.corp.example/v1\nDB_PASSWORD=correct-horse-battery\n",
        "usr/lib/systemd/system/multi-user.target": "[Unit]\nDescription=Multi-User System\n",
        "opt/app/serve": "#!/bin/sh\nexec sleep infinity\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "opt/app/serve").chmod(0o755)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "app.service").symlink_to("/etc/systemd/system/app.service")
    (root / "usr/lib/systemd/system/default.target").symlink_to("multi-user.target")
    return root


def test_analyze_writes_four_files_and_says_what_it_found(run: Run, machine: Path, tmp_path: Path) -> None:
    code, out, err = run("analyze", machine, "-o", tmp_path / "plan")
    assert code in {0, cli.EXIT_BLIND}, err
    assert {"inventory.json", "graph.json", "plan.yaml", "report.html"} <= {
        p.name for p in (tmp_path / "plan").iterdir()
    }
    assert "app" in out
    assert "containerize" in out
    assert "\x1b" not in out + err


def test_analyze_writes_the_graph_for_other_programs(run: Run, machine: Path, tmp_path: Path) -> None:
    code, _, err = run(
        "analyze",
        machine,
        "-o",
        tmp_path / "plan",
        *(f"--graph={each}" for each in ("dot", "mermaid", "graphml", "dot")),
    )
    assert code in {0, cli.EXIT_BLIND}, err
    graphs = {path.name: path.read_text() for path in (tmp_path / "plan").glob("graph.*")}
    assert sorted(graphs) == ["graph.dot", "graph.graphml", "graph.json", "graph.mmd"]
    assert all("correct-horse-battery" not in text for text in graphs.values())
    assert all("api.corp.example:443" in text for text in graphs.values())


def test_explain_tells_a_component_as_text_and_as_json(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    code, out, err = run("explain", tmp_path / "plan", "app")
    assert (code, err) == (0, "")
    assert "User=app  (/etc/systemd/system/app.service:2)" in out
    assert "api.corp.example:443 outside this machine, over tcp  (/etc/app.env:1)" in out
    assert "correct-horse-battery" not in out
    code, out, _ = run("explain", tmp_path / "plan", "app", "--format", "json")
    assert json.loads(out)["component"]["id"] == "app"
    code, out, err = run("explain", tmp_path / "plan", "apo")
    assert (code, out) == (2, "")
    assert "did you mean 'app'?" in err
    code, _, err = run("explain", tmp_path / "nowhere", "app")
    assert code == 1
    assert "vm2c analyze" in err


def test_twice_gives_the_same_bytes_and_no_secret(run: Run, machine: Path, tmp_path: Path) -> None:
    def snapshot() -> dict[str, bytes]:
        folder = tmp_path / "plan"
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    run("analyze", machine, "-o", tmp_path / "plan")
    run("generate", tmp_path / "plan")
    first = snapshot()
    run("analyze", machine, "-o", tmp_path / "plan")
    code, _, err = run("generate", tmp_path / "plan")
    assert code == 0, err
    assert snapshot() == first
    assert "images/app/Dockerfile" in first
    assert all(b"correct-horse-battery" not in content for content in first.values())


def test_json_is_one_document_and_nothing_else(run: Run, machine: Path, tmp_path: Path) -> None:
    _, out, _ = run("analyze", machine, "-o", tmp_path / "plan", "--format", "json")
    answer = json.loads(out)
    assert [c["id"] for c in answer["plan"]["components"]] == ["app"]
    assert answer["directory"] == str(tmp_path / "plan")


def test_json_escapes_names_that_are_not_utf8(capfd: pytest.CaptureFixture[str]) -> None:
    cli._print(cli.Format.json, list, lambda: {"path": "/srv/\udcff\u202e", "inside": ["\x1b"]})
    assert json.loads(capfd.readouterr().out) == {"path": "/srv/\\xff\\u202e", "inside": ["\\x1b"]}


def test_an_edit_stays_when_the_machine_is_analyzed_again(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    path = tmp_path / "plan/plan.yaml"
    path.write_text(
        path.read_text().replace("\n  decision: containerize", "\n  decision: external  # Anna runs it now")
    )
    run("analyze", machine, "-o", tmp_path / "plan")
    assert "decision: external  # Anna runs it now" in path.read_text()


def test_a_broken_plan_is_never_overwritten(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    path = tmp_path / "plan/plan.yaml"
    broken = path.read_text().replace("decision: containerize", "decision: containerise").replace("# decision", "# d")
    path.write_text(broken)
    code, _, err = run("analyze", machine, "-o", tmp_path / "plan")
    assert code == 1
    assert "did you mean 'containerize'" in err
    assert path.read_text() == broken


def test_another_machines_plan_is_never_overwritten(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    before = (tmp_path / "plan/plan.yaml").read_bytes()
    (machine / "etc/hostname").write_text("db02\n")
    code, _, err = run("analyze", machine, "-o", tmp_path / "plan")
    assert code == 1
    assert "it holds the plan of web01, and this machine is db02; name another folder" in err
    assert (tmp_path / "plan/plan.yaml").read_bytes() == before


def test_an_undecided_component_stops_generate(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    path = tmp_path / "plan/plan.yaml"
    path.write_text(path.read_text().replace("\n  decision: containerize", "\n  decision: undecided"))
    code, _, err = run("generate", tmp_path / "plan")
    assert code == 4
    assert "app" in err
    assert not (tmp_path / "plan/images").exists()


def _refused(run: Run, folder: Path, name: str) -> str:
    """Return the one line that refuses a disk; nothing else is printed but what is under way, nothing written."""
    code, out, err = run("analyze", folder / name, "-o", folder / "plan")
    assert code == 1
    assert out == ""
    said = [line for line in err.splitlines() if not line.startswith(("Opening", "KVM is not used"))]
    assert len(said) == 1, err
    assert said[0].startswith("error: cannot ")
    assert not (folder / "plan").exists()
    return said[0]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("missing.qcow2", "there is no such file"),
        ("empty.qcow2", "it is empty"),
        ("text.qcow2", "text, not a disk image"),
        ("folder", "folder"),
    ],
)
def test_what_is_no_disk_gets_one_clear_line(run: Run, tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "empty.qcow2").write_bytes(b"")
    (tmp_path / "text.qcow2").write_text("hello\n" * 100)
    (tmp_path / "folder").mkdir()
    assert found in _refused(run, tmp_path, name)


def _qemu_img(*arguments: str | Path) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed; scripts/setup.sh installs it")
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def test_a_truncated_image_gets_one_clear_line(run: Run, tmp_path: Path) -> None:
    raw, whole = tmp_path / "raw", tmp_path / "whole.qcow2"
    raw.write_bytes(os.urandom(4 << 20))
    _qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, whole)
    (tmp_path / "cut.qcow2").write_bytes(whole.read_bytes()[: 2 << 20])
    assert "it is cut short" in _refused(run, tmp_path, "cut.qcow2")


@pytest.mark.appliance
def test_a_disk_without_a_system_gets_one_clear_line(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("guestfs", reason="libguestfs' Python bindings are missing: apt-get install python3-guestfs")
    _qemu_img("create", "-f", "qcow2", tmp_path / "blank.qcow2", "64M")
    assert "cannot find a system on the disks" in _refused(run, tmp_path, "blank.qcow2")


def test_a_mistake_of_our_own_is_one_line_without_what_a_disk_holds(
    run: Run, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ValueError("correct-horse-battery")

    monkeypatch.setattr("migrate.analysis.account", broken)
    code, out, err = run("analyze", machine, "-o", tmp_path / "plan")
    assert (code, out) == (1, "")
    assert "vm2c itself made a mistake, ValueError at analysis.py:" in err
    assert "correct-horse-battery" not in err
    assert "Traceback" not in err


def test_wrong_usage_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    assert run("analyse")[0] == 2
    assert run("analyze")[0] == 2
    code, _, err = run("extract", tmp_path)
    assert code == 2
    assert "--into" in err


def test_generate_opens_the_root_and_the_snapshot_that_were_analyzed(run: Run, machine: Path, tmp_path: Path) -> None:
    """Two systems on one disk, of which the second was asked for as it was before; then it became another machine."""
    needs("mke2fs", "sfdisk", "qemu-img", "qemu-nbd")
    other = tmp_path / "other"
    shutil.copytree(machine, other, symlinks=True)
    disk = sparse_file(tmp_path / "disk.raw", 64)
    qcow2 = tmp_path / "disk.qcow2"
    run_program("sfdisk", "-q", disk, stdin="label: gpt\nsize=24MiB\nsize=24MiB\n")
    for hostname, before in (("web02", True), ("web03", False)):
        (other / "etc/hostname").write_text(f"{hostname}\n")
        for place, root in ((1, machine), (25, other)):
            run_program("mke2fs", "-q", "-t", "ext4", "-d", root, sparse_file(tmp_path / "part", 24))
            put(tmp_path / "part", disk, place)
            (tmp_path / "part").unlink()
        run_program("qemu-img", "convert", *([] if before else ["-n"]), "-f", "raw", "-O", "qcow2", disk, qcow2)
        if before:
            run_program("qemu-img", "snapshot", "-c", "before", qcow2)
    out = tmp_path / "plan"
    code, printed, _ = run("analyze", qcow2, "--root", "/dev/sda2", "--snapshot", "before", "-o", out)
    assert code == 3
    assert "not read: /dev/sda1: another root of a system" in printed
    plan = read_plan(out / "plan.yaml")
    assert (plan.machine, plan.source.root, plan.source.snapshot) == ("web02", "/dev/sda2", "before")
    code, _, err = run("generate", out)
    assert (code, "error" in err) == (0, False)
    text = (out / "plan.yaml").read_text()
    assert "  snapshot: before\n" in text
    (out / "plan.yaml").write_text(text.replace("  snapshot: before\n", ""))
    code, _, err = run("generate", out)
    assert (code, "these disks are web03's, and the plan is web02's" in err) == (1, True)
    code, _, err = run("analyze", qcow2, "--snapshot", "after", "-o", out)
    assert (code, "before" in err) == (1, True)


def test_a_key_is_never_repeated(run: Run, machine: Path, tmp_path: Path) -> None:
    for given in ("opensesame", "all:key", "/dev/sda1:opensesame:x"):
        code, out, err = run("analyze", machine, "--key", given, "-o", tmp_path / "plan")
        assert code == 2
        assert "opensesame" not in out + err
    code, _, err = run("analyze", machine, "--key", "all:key:opensesame", "-o", tmp_path / "plan")
    assert (code, "opensesame" in err) == (2, False)
    assert "cannot take --key: a directory is one root itself; leave it away" in err


def test_another_machines_disk_is_refused(run: Run, machine: Path, tmp_path: Path) -> None:
    run("analyze", machine, "-o", tmp_path / "plan")
    (machine / "etc/hostname").write_text("db02\n")
    code, _, err = run("generate", tmp_path / "plan")
    assert code == 1
    assert "db02" in err


@pytest.mark.parametrize(
    ("disk", "folder"),
    [
        ("web01.qcow2", "web01"),
        ("/x/db.vmdk", "db"),
        ("root.tar.gz", "root"),
        ("web01.qcow2.zst", "web01"),
        ("machine.ova", "machine"),
        ("disk", "disk-plan"),
    ],
)
def test_the_output_folder_is_the_disks_name(disk: str, folder: str) -> None:
    assert cli.default_directory(Path(disk)) == Path(folder)
