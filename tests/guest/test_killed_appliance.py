"""A run through libguestfs that is killed outright leaves no machine behind, and no temporary file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest.made import needs, needs_guestfs, run, sparse_file

pytestmark = pytest.mark.appliance

STARTS_WITHIN, ENDS_WITHIN = 120.0, 15.0  # libguestfs' recovery process looks every two seconds
SCRIPT = """
import pathlib, signal, sys
from migrate.guest.open import open_guest
with open_guest([pathlib.Path(sys.argv[1])], reader="guestfs") as guest:
    print("open", flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def disk(tree_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_guestfs()
    needs("mke2fs", "qemu-img")
    path = sparse_file(tmp_path_factory.mktemp("killed") / "disk", 128)
    run("mke2fs", "-q", "-t", "ext4", "-d", tree_directory, path)
    return path


def machines(place: Path) -> list[int]:
    """The qemu processes that have a disk below a directory."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            line = (path / "cmdline").read_bytes() if path.name.isdigit() else b""
        except OSError:
            continue
        if b"qemu-system" in line.partition(b"\0")[0] and str(place).encode() in line:
            found.append(int(path.name))
    return found


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("opened", [False, True], ids=["while it starts", "while it reads"])
def test_nothing_is_left_of_a_run_that_was_killed(disk: Path, tmp_path: Path, opened: bool) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "LIBGUESTFS_CACHEDIR": "/var/tmp"}
    argv = [sys.executable, "-c", SCRIPT, str(disk)]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            if opened:
                assert process.stdout.readline() == "open\n"
            assert until(lambda: bool(machines(tmp_path)), STARTS_WITHIN)
        finally:
            process.kill()
            process.wait()
    assert until(lambda: not machines(tmp_path), ENDS_WITHIN)
    assert until(lambda: not list(tmp_path.iterdir()), ENDS_WITHIN), list(tmp_path.rglob("*"))
