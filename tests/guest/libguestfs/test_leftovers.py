"""A directory for files with names is gone however the process ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migrate.guest.libguestfs.leftovers import private_place

SCRIPT = """
import pathlib, signal, subprocess, sys
from migrate.guest.libguestfs.leftovers import private_place
with private_place() as place:
    pathlib.Path(place, "disk").write_bytes(b"x")
    subprocess.Popen(["sleep", "3"])  # as qemu may outlive it
    print(place, flush=True)
    signal.pause()
"""


def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        place = Path(process.stdout.readline().strip())
        assert (place / "disk").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    end = time.monotonic() + 10
    while place.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not place.exists()


def test_nothing_is_left_at_the_end_and_no_shell_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with private_place() as place:
        assert Path(place).parent == tmp_path
    assert list(tmp_path.iterdir()) == []

    def no_shell(*_args: object, **_options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "Popen", no_shell)
    with private_place() as place:
        assert Path(place).is_dir()
    assert list(tmp_path.iterdir()) == []
