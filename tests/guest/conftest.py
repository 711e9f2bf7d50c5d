"""One awkward tree, as a tar archive, a directory and the disks of a machine.

The archive is made here member by member, so that it needs no privileges and is the same everywhere; the
directory is that archive unpacked, and the disks are made of the directory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from tests.guest.made import CORPUS, JOURNALLED, VAR_UUID, make_tree, needs, needs_guestfs, put, run, sparse_file
from tests.guest.ocimade import layout, opened


@pytest.fixture(scope="session")
def tree_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tree") / "root.tar"
    make_tree(path)
    return path


@pytest.fixture(scope="session")
def tree_directory(tree_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        pytest.skip("unpacking owners and device nodes needs root")
    path = tmp_path_factory.mktemp("unpacked") / "root"
    path.mkdir(mode=0o755)
    subprocess.run(
        ["tar", "-xpf", tree_tar, "-C", path, "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"],
        check=True,
    )
    sparse = path / "srv" / "sparse"
    with sparse.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(40 << 20)
        file.write(b"in the middle")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path / "srv")  # a socket's path may be 107 bytes long, unix(7)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    return path


@pytest.fixture(scope="session")
def two_disks(tree_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two disks: qcow2 with a GPT and the root in partition 2, its journal not replayed; raw with /var, no table."""
    needs("mke2fs", "mkswap", "sfdisk", "debugfs", "qemu-img", "tar")
    place = tmp_path_factory.mktemp("disks")
    root = place / "root"
    root.mkdir()
    run("cp", "-a", f"{tree_directory}/.", root)
    shutil.rmtree(root / "var" / "lib")
    (root / "srv" / "journalled").write_bytes(b"old".ljust(len(JOURNALLED)))
    system = sparse_file(place / "system.ext4", 96)
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "system", "-d", root, system)
    block = run("debugfs", "-R", "blocks /srv/journalled", system).split()[0]
    (place / "block").write_bytes(JOURNALLED.ljust(4096, b"\0"))
    run("debugfs", "-w", "-f", "-", system, stdin=f"jo\njw -b {block} {place / 'block'}\njc\n")
    disk = sparse_file(place / "disk.raw", 128)
    table = "label: gpt\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\nsize=96MiB\nsize=8MiB, type=swap\n"
    run("sfdisk", "-q", disk, stdin=table)
    put(system, disk, 2)
    run("mkswap", sparse_file(place / "swap", 8))
    put(place / "swap", disk, 98)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, place / "first.qcow2")
    var = sparse_file(place / "second.raw", 32)
    run("mke2fs", "-q", "-t", "ext4", "-U", VAR_UUID, "-d", tree_directory / "var", var)
    for each in (system, disk, place / "block", place / "swap"):
        each.unlink()
    return place / "first.qcow2", var


@pytest.fixture(scope="session")
def directory_guest(tree_directory: Path) -> Iterator[Guest]:
    with open_guest([tree_directory]) as guest:
        yield guest


@pytest.fixture(scope="session")
def tar_guest(tree_tar: Path) -> Iterator[Guest]:
    with open_guest([tree_tar]) as guest:
        yield guest


@pytest.fixture(scope="session")
def two_disks_digests(two_disks: tuple[Path, Path]) -> dict[Path, str]:
    """The disks' content before anything opened them."""
    return {disk: hashlib.sha256(disk.read_bytes()).hexdigest() for disk in two_disks}


@pytest.fixture(scope="session")
def disk_guest(two_disks: tuple[Path, Path], two_disks_digests: dict[Path, str]) -> Iterator[Guest]:
    needs_guestfs()
    with open_guest(two_disks) as guest:
        yield guest


@pytest.fixture(scope="session")
def image_guest(tree_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """The archive as the one layer of a container image."""
    with opened(layout(tree_tar.read_bytes(), how="gzip"), tmp_path_factory.mktemp("image")) as guest:
        yield guest


@pytest.fixture(
    params=["directory_guest", "tar_guest", "image_guest", pytest.param("disk_guest", marks=pytest.mark.appliance)],
    ids=["directory", "tar", "image", "guestfs"],
)
def guest(request: pytest.FixtureRequest) -> Guest:
    """The awkward tree, by each reader."""
    found: Guest = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def corpus() -> Path:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of other people's disks (../shared/corpus/images) is not here")
    return CORPUS
