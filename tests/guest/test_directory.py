"""The reader of unpacked root directories, and that the host is safe from what is in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from migrate.errors import DiskError, GuestFileError, NoSystemError
from migrate.guest.directory import DirectoryGuest, open_below
from migrate.guest.open import open_guest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    for name in ("etc", "usr/bin", "srv/data"):
        (top / name).mkdir(parents=True)
    (top / "etc" / "motd").write_text("hello\n")
    (top / "srv" / "data" / "file").write_text("inside\n")
    return top


def test_the_hosts_files_are_out_of_reach(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the host's\n")
    (root / "etc" / "up").symlink_to("../../secret")
    (root / "etc" / "absolute").symlink_to(tmp_path / "secret")
    with DirectoryGuest(root) as guest:
        assert not guest.exists("/etc/up")
        assert not guest.exists("/etc/absolute")
        assert not guest.exists("/../secret")


@pytest.mark.parametrize("swapped", ["srv", "srv/data", "srv/data/file"])
def test_a_directory_that_becomes_a_link_is_not_followed(root: Path, tmp_path: Path, swapped: str) -> None:
    """Somebody who can write to the directory changes it between the sweep and the reading."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "srv" / "data").mkdir(parents=True)
    (elsewhere / "srv" / "data" / "file").write_text("outside\n")
    with DirectoryGuest(root) as guest:
        (root / swapped).rename(tmp_path / "away")
        (root / swapped).symlink_to(elsewhere / swapped)
        with pytest.raises(GuestFileError):
            guest.read("/srv/data/file")


def test_another_file_in_the_place_is_not_read(root: Path) -> None:
    with DirectoryGuest(root) as guest:
        (root / "etc" / "new").write_text("other\n")
        (root / "etc" / "new").rename(root / "etc" / "motd")
        with pytest.raises(GuestFileError, match="another file stands there"):
            guest.read("/etc/motd")


def test_a_fifo_in_the_place_does_not_block(root: Path) -> None:
    with DirectoryGuest(root) as guest:
        (root / "etc" / "motd").unlink()
        os.mkfifo(root / "etc" / "motd")
        with pytest.raises(GuestFileError):
            guest.read("/etc/motd")


def test_a_file_that_shrinks_is_told(root: Path) -> None:
    with DirectoryGuest(root) as guest:
        with (root / "etc" / "motd").open("r+") as file:
            file.truncate(2)
        with pytest.raises(GuestFileError, match="ended after 2 of 6 bytes"):
            guest.read("/etc/motd")


def test_what_may_not_be_read_is_a_problem(root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root / "srv" / "data").chmod(0)
    (root / "etc" / "motd").chmod(0)
    try:
        with DirectoryGuest(root) as guest:
            assert [(p.path, p.why) for p in guest.problems] == [("/srv/data", "Permission denied")]
            with pytest.raises(GuestFileError, match="Permission denied"):
                guest.read("/etc/motd")
    finally:
        (root / "srv" / "data").chmod(0o755)


def test_deep_trees_need_no_deep_stack(root: Path) -> None:
    at = os.open(root / "srv", os.O_RDONLY)
    for _ in range(1500):  # 7,500 bytes of path: more than a path may have, PATH_MAX is 4,096
        os.mkdir("deep", dir_fd=at)
        below = os.open("deep", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    with DirectoryGuest(root) as guest:
        assert guest.problems == ()
        assert guest.is_dir("/srv" + "/deep" * 1500)
    subprocess.run(["rm", "-rf", root], check=True)


def test_pseudo_file_systems_are_not_entered() -> None:
    """/ of this host: /proc, /sys and /dev are mounted there. Only that part of the tree is looked at."""
    from migrate.guest.directory import _Sweep

    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        sweep = _Sweep(top)
        proc = sweep._entry("/proc", Path("/proc").stat(), top, b"proc")
        assert sweep.types[proc.inode[0]] == "proc"
        assert not sweep._enters(proc, sweep.device)
        assert sweep._enters(sweep._entry("/etc", Path("/etc").stat(), top, b"etc"), Path("/etc").stat().st_dev)
    finally:
        os.close(top)


def test_a_network_mount_is_a_problem(root: Path) -> None:
    from migrate.guest.directory import _Sweep

    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sweep = _Sweep(top)
        sweep.types[7] = "nfs4"
        entry = sweep._entry("/srv", root.stat(), top, b".")
        elsewhere = type(entry)(path="/srv/nas", kind="directory", mode=0o755, uid=0, gid=0, inode=(7, 1))
        assert not sweep._enters(elsewhere, sweep.device)
        assert [(p.path, p.why) for p in sweep.problems] == [
            ("/srv/nas", "a network file system (nfs4) is mounted there")
        ]
    finally:
        os.close(top)


def test_open_below_refuses_links(root: Path) -> None:
    (root / "link").symlink_to("etc")
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with open_below(top, b"/etc") as there:
            assert os.listdir(there) == ["motd"]  # noqa: PTH208 - a descriptor
        with pytest.raises(OSError, match="Not a directory"), open_below(top, b"/link"):
            pass
    finally:
        os.close(top)


def test_what_is_no_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSystemError, match="it is empty"):
        open_guest([tmp_path])
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "rootfs" / "bin").mkdir()
    with pytest.raises(NoSystemError, match="one level down, in rootfs/; give that directory itself"):
        open_guest([tmp_path])
    (tmp_path / "Windows").mkdir()
    with pytest.raises(NoSystemError, match="Windows"):
        open_guest([tmp_path])
    with pytest.raises(DiskError, match="No such file"):
        DirectoryGuest(tmp_path / "nothing")


def test_descriptors_are_closed(root: Path) -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    for _ in range(20):
        with DirectoryGuest(root) as guest:
            guest.read("/etc/motd")
            next(guest.chunks("/etc/motd"))
    with pytest.raises(NoSystemError):
        DirectoryGuest(root / "srv" / "data")
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before
