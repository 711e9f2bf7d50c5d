"""Other people's disks, as a user gives them: opened, or refused in one line that says why; never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.made import CORPUS

SYSTEMS = {"tty_tiny.ova"}
NO_SYSTEM = "error: cannot find a system on the disks: "
REASONS = {
    "compressed_stream_opt.vmdk": "/dev/sda holds something that is not recognised; use --reader auto or guestfs",
    "fat-differential.vhd.zst": "fat-parent.vhd",
    "luks1.raw.zst": "of /dev/sda: it is encrypted (LUKS)",
    "luks2.raw.zst": "of /dev/sda: it is encrypted (LUKS)",
    "no_ovf.ova": "it has no OVF descriptor (a file named *.ovf), only wrong_ova.ova",
    "ntfs-differential.vhdx.zst": "ntfs-parent.vhdx",
    "streamOptimizedWithMarkers.vmdk": "/dev/sda holds something that is not recognised",
    "tw_sparse-s001.vmdk": "it is a part of a disk; give the descriptor, the small file that names all its parts",
    "wrong_ova.ova": "and that is not beside it; put its files together again, or export the machine again",
}
"""Of the others each is opened, and holds no system."""


def names() -> list[str]:
    return sorted(path.name for path in CORPUS.iterdir()) if CORPUS.is_dir() else []


@pytest.mark.parametrize("name", names())
def test_a_file_of_the_corpus(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "migrate", "analyze", "--reader", "direct", str(CORPUS / name), "-o", "out"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    if name in SYSTEMS:
        assert (done.returncode, said) == (3, [])
        assert (tmp_path / "out" / "plan.yaml").stat().st_size > 1000
        return
    assert (done.returncode, len(said)) == (1, 1)
    assert REASONS[name] in said[0] if name in REASONS else said[0].startswith(NO_SYSTEM)
    assert sorted(path.name for path in tmp_path.iterdir()) == []
