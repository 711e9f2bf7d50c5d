"""A run that is killed outright leaves no process behind, no half-written result, and no temporary file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migrate.output import recover
from tests.guest.made import needs, run, sparse_file

WRITTEN = {".proposed.yaml", ".vm2c", "graph.json", "inventory.json", "plan.yaml", "report.html"}
ENDS_WITHIN = 10.0


@pytest.fixture(scope="module")
def disk(tree_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("mke2fs", "qemu-img", "qemu-nbd", "setpriv")
    place = tmp_path_factory.mktemp("killed")
    run("mke2fs", "-q", "-t", "ext4", "-d", tree_directory, sparse_file(place / "disk", 128))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", place / "disk", place / "disk.qcow2")
    return place / "disk.qcow2"


def started_with(word: str) -> list[str]:
    """The command lines of the processes, this one aside, that have it in their environment."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                if word.encode() in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue
    return [line for line in found if line]  # a zombie has none


def gone(word: str) -> bool:
    end = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < end:
        if not started_with(word):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("seconds", [0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0])
def test_nothing_is_left_of_a_run_that_was_killed(disk: Path, tmp_path: Path, seconds: float) -> None:
    spool, out = tmp_path / "spool", tmp_path / "out"
    spool.mkdir()
    argv = [sys.executable, "-m", "migrate", "analyze", "--reader", "direct", str(disk), "-o", str(out)]
    process = subprocess.Popen(
        argv, env={**os.environ, "TMPDIR": str(spool)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    ended = process.wait()
    assert gone(str(spool)), started_with(str(spool))
    if out.exists():
        recover(out)
        assert {path.name for path in out.iterdir()} in (WRITTEN, {".vm2c"}), ended
    assert [path for path in spool.rglob("*") if path.is_file()] == []  # a socket may be, for some milliseconds


def test_a_server_is_there_while_it_reads(disk: Path, tmp_path: Path) -> None:
    """That the test above would see one: stopped where it reads, a run has a server."""
    script = (
        "import signal, sys; from pathlib import Path; from migrate.guest.open import open_guest\n"
        "guest = open_guest([Path(sys.argv[1])], reader='direct'); print('open', flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(disk)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "open\n"
        there = started_with(str(tmp_path))
        process.kill()
        process.wait()
    assert any("qemu-nbd" in line for line in there)
    assert gone(str(tmp_path)), started_with(str(tmp_path))
