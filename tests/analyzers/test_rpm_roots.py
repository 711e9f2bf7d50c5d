"""Whole roots of other architectures: their package lists equal what rpm prints, a big-endian Berkeley DB included."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from analyzers import rpm
from migrate.guest.open import open_guest
from migrate.model import Package, PackageFiles
from tests.guest.made import CORPUS, needs

DATABASE = "var/lib/rpm"
ROOTS = sorted((CORPUS.parent / "rootfs").glob("almalinux-*.tar.xz"))


def ask(database: Path, form: str) -> list[str]:
    """Ask rpm about a database that is ours to write to."""
    argv = ["rpm", "-qa", "--qf", form, "--dbpath", str(database)]
    said = subprocess.run(argv, check=True, capture_output=True).stdout.decode("utf-8", "surrogateescape")
    return sorted(line for line in said.split("\n") if line and not line.startswith("gpg-pubkey"))


@pytest.mark.parametrize("root", ROOTS, ids=lambda path: path.name)
def test_packages_and_their_files_equal_what_rpm_prints(root: Path, tmp_path: Path) -> None:
    needs("rpm", "tar", "xz")
    subprocess.run(["tar", "-xJf", root, "-C", tmp_path, "--no-same-owner", DATABASE], check=True)
    with open_guest([root]) as guest:
        findings = list(rpm.analyze(guest))
    mine = sorted(f"{p.name} {p.version} {p.architecture}" for p in findings if isinstance(p, Package))
    form = "%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH}\n"
    assert mine == [line.replace(" 0:", " ") for line in ask(tmp_path / DATABASE, form)]
    assert len(mine) > 15
    # A path is given as the tree has it (/lib64/libc.so.6 is below /usr): how many are on the disk must be the same.
    counts = Counter({f.package: len(f.paths) for f in findings if isinstance(f, PackageFiles)})
    lines = ask(tmp_path / DATABASE, "[%{=NAME}|%{FILESTATES:fstate}|%{FILENAMES}\n]")
    said = (line.split("|", 2) for line in lines)
    assert counts == Counter(name for name, state, path in said if state == "normal" and path != "/")


def test_there_are_two_roots_or_no_corpus() -> None:
    assert len(ROOTS) == 2 or not CORPUS.is_dir()
