"""Mounting, on a stand-in for the appliance: what happens when something is wrong with a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.errors import NoSystemError
from migrate.guest.handle import Subvolume
from migrate.guest.mounts import Mounted, Mounter
from migrate.guest.progress import silent
from tests.guest.handle import FakeHandle

LABELS = ["diska", "diskb"]


@pytest.fixture
def handle(tmp_path: Path) -> FakeHandle:
    """/dev/sda: BIOS boot, ESP, root. /dev/sdb: one file system on the whole disk."""
    for name in ("root/etc", "root/usr", "root/var", "root/srv", "esp/EFI", "data"):
        (tmp_path / name).mkdir(parents=True)
    found = FakeHandle(tmp_path)
    found.devices = {
        "/dev/sda1": {"PART_ENTRY_TYPE": "21686148-6449-6e6f-744e-656564454649"},
        "/dev/sda2": {"TYPE": "vfat", "UUID": "7A1B-22C3"},
        "/dev/sda3": {"TYPE": "ext4", "UUID": "33", "LABEL": "root"},
        "/dev/sdb": {"TYPE": "xfs", "UUID": "44"},
    }
    found.tops = {
        "/dev/sda2": tmp_path / "esp", "/dev/sda3": tmp_path / "root", "/dev/sdb": tmp_path / "data",
    }  # fmt: skip
    return found


def fstab(handle: FakeHandle, text: str) -> None:
    (handle.tops["/dev/sda3"] / "etc" / "fstab").write_text(text)


def mount(handle: FakeHandle, root: str | None = None) -> tuple[Mounted, list[tuple[str, str]]]:
    mounted = Mounter(handle, LABELS, silent).mount(root)
    return mounted, [(problem.path, problem.why) for problem in mounted.problems]


def test_an_ordinary_machine(handle: FakeHandle) -> None:
    fstab(handle, "UUID=33 / ext4\n/dev/vdb /srv xfs\nUUID=7A1B-22C3 /boot/efi vfat\n")
    (handle.tops["/dev/sda3"] / "boot" / "efi").mkdir(parents=True)
    mounted, problems = mount(handle)
    assert problems == []
    assert [(f.device, f.type, f.mountpoint, f.bytes, f.used) for f in mounted.filesystems] == [
        ("/dev/sda3", "ext4", "/", 409600, 307200),
        ("/dev/sdb", "xfs", "/srv", 409600, 307200),
        ("/dev/sda2", "vfat", "/boot/efi", 409600, 307200),
    ]
    assert {options for options, _, _ in handle.mounts} == {"ro"}


def test_without_fstab_the_rest_is_told(handle: FakeHandle) -> None:
    _, problems = mount(handle)
    assert problems == [
        ("/dev/sda2", "a file system (vfat) that fstab does not mount; it was not read"),
        ("/dev/sdb", "a file system (xfs) that fstab does not mount; it was not read"),
    ]


def test_a_mount_point_that_is_a_link_is_resolved_in_the_guest(handle: FakeHandle) -> None:
    fstab(handle, "UUID=44 /data xfs\nUUID=7A1B-22C3 /boot vfat noauto")
    (handle.tops["/dev/sda3"] / "data").symlink_to("srv")
    _, problems = mount(handle)
    assert ("ro", "/dev/sdb", "/srv") in handle.mounts
    assert problems == [("/boot", "/dev/sda2 belongs there, and there is no such directory to mount it on")]


def test_a_file_system_that_cannot_be_mounted(handle: FakeHandle) -> None:
    fstab(handle, "UUID=44 /srv xfs\nUUID=7A1B-22C3 /var vfat")
    handle.unmountable["/dev/sdb"] = "ro"
    mounted, problems = mount(handle)
    assert ("/dev/sdb", "cannot be mounted: can't read superblock on /dev/sdb") in problems
    assert [f.mountpoint for f in mounted.filesystems] == ["/", "/var", ""]


@pytest.mark.parametrize(("kind", "options"), [("ext4", "ro,noload"), ("xfs", "ro,nouuid")])
def test_the_next_way_is_tried(handle: FakeHandle, monkeypatch: pytest.MonkeyPatch, kind: str, options: str) -> None:
    handle.devices["/dev/sda3"]["TYPE"] = kind

    def refuse(given: str, device: str, place: str) -> None:
        handle.unmountable["/dev/sda3"] = "ro" if given == "ro" else "never"
        FakeHandle.mount_options(handle, given, device, place)

    monkeypatch.setattr(handle, "mount_options", refuse)
    _, problems = mount(handle)
    assert (options, "/dev/sda3", "/") in handle.mounts
    told = [why for path, why in problems if path == "/dev/sda3"]
    assert bool(told) == (kind == "ext4")
    assert all("without replaying its journal" in why and "can't read superblock" in why for why in told)


def test_no_root(handle: FakeHandle) -> None:
    handle.devices["/dev/sda3"] = {"TYPE": "crypto_LUKS"}
    with pytest.raises(
        NoSystemError, match=r"no root directory on /dev/sdb \(xfs\); /dev/sda3: it is encrypted \(LUKS"
    ):
        mount(handle)


def test_members_of_what_is_whole_are_no_problem(handle: FakeHandle) -> None:
    handle.devices["/dev/sdb"] = {"TYPE": "LVM2_member"}
    _, problems = mount(handle)
    assert ("/dev/sdb", "it belongs to an LVM volume group of which not all disks were given") in problems
    handle.devices["/dev/vg0/data"] = {"TYPE": "ext4"}
    handle.tops["/dev/vg0/data"] = handle.tops["/dev/sda2"]
    _, problems = mount(handle)
    assert [path for path, _ in problems] == ["/dev/sda2", "/dev/vg0/data"]


def test_a_volume_that_cannot_be_examined(handle: FakeHandle) -> None:
    handle.devices["/dev/vg0/data"] = {}
    handle.broken.add(("blkid", "/dev/vg0/data"))
    _, problems = mount(handle)
    assert (
        "/dev/vg0/data", "it is made of several disks, of which not all were given; give all disks of the machine",
    ) in problems  # fmt: skip


def test_an_fstab_that_cannot_be_read(handle: FakeHandle) -> None:
    fstab(handle, "UUID=44 /srv xfs")
    handle.broken.add(("pread", "/etc/fstab"))
    _, problems = mount(handle)
    assert problems[0] == (
        "/etc/fstab", "cannot be read, so only the root is mounted: /etc/fstab: Input/output error",
    )  # fmt: skip


# ---------------------------------------------------------------- btrfs


def btrfs(handle: FakeHandle, top: Path, *paths: str, default: int = 5, roots: tuple[str, ...] = ()) -> None:
    handle.devices["/dev/sda3"]["TYPE"] = "btrfs"
    handle.tops["/dev/sda3"] = top
    for path in paths:
        (top / path).mkdir(parents=True, exist_ok=True)
    for path in roots:
        (top / path / "etc").mkdir(parents=True, exist_ok=True)
        (top / path / "usr").mkdir(exist_ok=True)
    handle.volumes = [
        Subvolume(btrfssubvolume_id=256 + n, btrfssubvolume_top_level_id=5, btrfssubvolume_path=path)
        for n, path in enumerate(paths)
    ]
    handle.default = default


def test_a_subvolume_is_the_root(handle: FakeHandle, tmp_path: Path) -> None:
    """As Ubuntu lays it out, with timeshift's snapshots: they are roots too, and not read."""
    snapshot = "timeshift-btrfs/snapshots/2024-01-01/@"
    btrfs(handle, tmp_path / "b", "@", "@home", snapshot, roots=("@", snapshot))
    mounted, problems = mount(handle)
    assert mounted.filesystems[0].device == "/dev/sda3[/@]"
    assert handle.mounts[0] == ("ro,subvol=/@", "/dev/sda3", "/")
    assert [path for path, _ in problems] == ["/dev/sda2", "/dev/sdb"]


def test_the_default_subvolume_is_the_root_though_it_is_a_snapshot(handle: FakeHandle, tmp_path: Path) -> None:
    """As openSUSE does after a rollback."""
    paths = ("@", "@/.snapshots", "@/.snapshots/1/snapshot", "@/.snapshots/7/snapshot")
    btrfs(handle, tmp_path / "b", *paths, default=259, roots=paths[2:])
    mounted, _ = mount(handle)
    assert handle.mounts[0] == ("ro", "/dev/sda3", "/")
    assert mounted.hidden == ()


def test_two_roots_on_one_btrfs(handle: FakeHandle, tmp_path: Path) -> None:
    btrfs(handle, tmp_path / "b", "old", "root", roots=("old", "root"))
    mounted, problems = mount(handle)
    assert mounted.filesystems[0].device == "/dev/sda3[/old]"
    assert ("/dev/sda3[/root]", "another root of a system; read it with its name as --root") in problems
    assert mount(handle, "/dev/sda3[/root]")[0].filesystems[0].device == "/dev/sda3[/root]"


def test_snapshots_that_show_in_the_root_are_hidden(handle: FakeHandle, tmp_path: Path) -> None:
    paths = ("root", "root/.snapshots", "root/.snapshots/1/snapshot", "root/var/lib/docker/btrfs/subvolumes/ab")
    btrfs(handle, tmp_path / "b", *paths, roots=(paths[0], paths[2], paths[3]))
    mounted, problems = mount(handle)
    assert mounted.filesystems[0].device == "/dev/sda3[/root]"
    assert mounted.hidden == ("/.snapshots",)
    assert ("/.snapshots", "snapshots of the system, which are not read") in problems
    assert not [why for _, why in problems if "another root" in why]


def test_subvolumes_that_cannot_be_listed(handle: FakeHandle, tmp_path: Path) -> None:
    btrfs(handle, tmp_path / "b", roots=(".",))
    handle.broken.add(("btrfs_subvolume_list", "/"))
    mounted, problems = mount(handle)
    assert mounted.filesystems[0].device == "/dev/sda3"
    assert ("/dev/sda3", "its subvolumes cannot be listed: /: Input/output error") in problems
