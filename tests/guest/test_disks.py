"""Real disks in a real appliance. Each launch takes 15 to 20 s without KVM, so few fixtures serve all tests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migrate.errors import GuestFileError, NoSystemError
from migrate.guest.appliance import needs_emulation
from migrate.guest.image import describe
from migrate.guest.libguestfs import GuestfsGuest, _Machine, version
from migrate.guest.mounts import Mounter
from migrate.guest.open import open_guest
from migrate.guest.progress import silent
from migrate.guest.protocol import Guest
from tests.guest.made import JOURNALLED, VAR_UUID, needs, needs_guestfs, run, sparse_file, unpacked

if TYPE_CHECKING:
    import guestfs

pytestmark = pytest.mark.appliance


# ---------------------------------------------------------------- two disks, GPT and none, ext4


def test_the_version() -> None:
    needs_guestfs()
    assert (version() or "").startswith("1.")


def test_what_was_opened(disk_guest: Guest, two_disks: tuple[Path, Path]) -> None:
    source = disk_guest.source
    assert source.reader == "guestfs"
    assert [(disk.path, disk.format, disk.virtual_bytes) for disk in source.disks] == [
        (str(two_disks[0]), "qcow2", 128 << 20),
        (str(two_disks[1]), "raw", 32 << 20),
    ]
    assert [(f.device, f.type, f.mountpoint, f.label) for f in source.filesystems] == [
        ("/dev/sda2", "ext4", "/", "system"),
        ("/dev/sdb", "ext4", "/var", ""),
        ("/dev/sda3", "swap", "", ""),
    ]
    root, var, swap = source.filesystems
    assert 0 < root.used < root.bytes <= 96 << 20
    assert (var.uuid, swap.bytes) == (VAR_UUID, 8 << 20)


def test_what_fstab_says_and_cannot_be_had(disk_guest: Guest) -> None:
    expected = [
        ("/etc/fstab", "line 4 is passed over: its mount point is not an absolute path"),
        ("/srv/missing", "LABEL=not-there is mounted there, and is on no disk given; give all disks of the machine"),
        ("/home", "a network file system (nfs) is mounted there; it is on no disk of this machine"),
        ("/srv/bound", "a bind mount of /srv/app; what it shows is read there"),
        ("/data", "/dev/disk/by-label/My\\x20Data is mounted there, and is on no disk given"),
    ]
    found = [(problem.path, problem.why) for problem in disk_guest.problems if "as text" not in problem.why]
    assert len(found) == len(expected)
    for (path, why), (wanted, start) in zip(found, expected, strict=True):
        assert path == wanted
        assert why.startswith(start)


def test_the_journal_is_replayed_and_the_disk_left_alone(disk_guest: Guest, two_disks_digests: dict[Path, str]) -> None:
    assert disk_guest.read("/srv/journalled") == JOURNALLED
    for disk, digest in two_disks_digests.items():
        assert hashlib.sha256(disk.read_bytes()).hexdigest() == digest


def test_what_no_archive_has(disk_guest: Guest) -> None:
    sparse, socket = disk_guest.lstat("/srv/sparse"), disk_guest.lstat("/srv/socket")
    assert sparse is not None
    assert socket is not None
    assert socket.kind == "socket"
    assert sparse.size == 64 << 20
    assert 0 < sparse.allocated < 1 << 20
    pieces = list(disk_guest.chunks("/srv/sparse", 1 << 20))
    assert pieces[40].startswith(b"in the middle\0")
    assert sum(map(len, pieces)) == 64 << 20


def test_prefetching_is_one_archive_and_gives_the_same(disk_guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(disk_guest, GuestfsGuest)
    monkeypatch.setattr("migrate.guest.bulk._SINGLE", 1.0)  # so that even a dozen files pay
    names = [e.path for e in disk_guest.walk("/srv") if e.kind == "file" and 0 < e.size < 1 << 20]
    before = {name: disk_guest.read(name) for name in names}
    disk_guest.prefetch(["/srv", "/etc/absolute"])
    there = set(disk_guest._fetched)
    assert "/etc/app/app.conf" in there
    assert there >= {name for name in names if "\udcff" not in name and "\udce9" not in name}
    assert "/srv/big" not in there
    machine, disk_guest._machine = disk_guest._machine, None
    try:
        assert {name: disk_guest.read(name) for name in names} == before
        with pytest.raises(GuestFileError, match="ended after 0 of"):
            disk_guest.read("/srv/big")
    finally:
        disk_guest._machine = machine


def test_a_file_that_is_gone_is_a_readable_error(disk_guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(disk_guest, GuestfsGuest)
    monkeypatch.setattr(disk_guest, "_from_disk", lambda _path, length: disk_guest._machine.pread("/gone", length, 0))  # type: ignore[union-attr]
    with pytest.raises(GuestFileError) as caught:
        disk_guest.read("/srv/big")
    assert str(caught.value) == "cannot read /srv/big: open: /gone: No such file or directory"


# ---------------------------------------------------------------- LVM over two disks, xfs and btrfs


def _launched(*disks: Path) -> guestfs.GuestFS:
    import guestfs

    handle = guestfs.GuestFS(python_return_dict=True)
    if needs_emulation(lambda _text: None):
        handle.set_backend_setting("force_tcg", "1")
    for disk in disks:
        handle.add_drive_opts(str(disk), format="raw")
    handle.launch()
    return handle


@pytest.fixture(scope="module")
def lvm_disks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A volume group with a hyphen in its name over both; root on xfs, /srv on btrfs with subvolumes, and an ESP.

    The second disk holds a small system of its own, too.
    """
    needs_guestfs()
    place = tmp_path_factory.mktemp("lvm")
    first, second = sparse_file(place / "a.raw", 600), sparse_file(place / "b.raw", 600)
    handle = _launched(first, second)
    try:
        handle.part_init("/dev/sda", "mbr")
        handle.part_add("/dev/sda", "p", 2048, 131071)
        handle.part_add("/dev/sda", "p", 131072, -1)
        handle.part_init("/dev/sdb", "gpt")
        handle.part_add("/dev/sdb", "p", 2048, 1048575)
        handle.part_add("/dev/sdb", "p", 1048576, -2048)
        handle.mkfs("vfat", "/dev/sda1")
        esp = handle.vfs_uuid("/dev/sda1")
        handle.pvcreate("/dev/sda2")
        handle.pvcreate("/dev/sdb1")
        handle.vgcreate("web-vg", ["/dev/sda2", "/dev/sdb1"])
        handle.lvcreate("root", "web-vg", 400)
        handle.lvcreate("srv-old", "web-vg", 400)
        handle.mkfs("xfs", "/dev/web-vg/root")
        handle.mkfs("btrfs", "/dev/web-vg/srv-old")
        handle.mkfs("ext4", "/dev/sdb2", label="spare")
        handle.mount("/dev/web-vg/srv-old", "/")
        handle.btrfs_subvolume_create("/@srv")
        handle.write("/@srv/file", b"in a subvolume\n")
        handle.btrfs_subvolume_create("/@srv/.snapshots")
        handle.btrfs_subvolume_snapshot("/@srv", "/@srv/.snapshots/1")
        handle.umount("/")
        handle.mount("/dev/sdb2", "/")
        for name in ("/etc", "/usr"):
            handle.mkdir_p(name)
        handle.umount("/")
        handle.mount("/dev/web-vg/root", "/")
        for name in ("/etc", "/usr/bin", "/srv", "/boot/efi"):
            handle.mkdir_p(name)
        fstab = (
            f"/dev/mapper/web--vg-root / xfs defaults 0 0\nUUID={esp} /boot/efi vfat umask=0077 0 1\n"
            "/dev/mapper/web--vg-srv--old /srv btrfs subvol=@srv 0 0\n"
        )
        handle.write("/etc/fstab", fstab.encode())
        handle.write("/usr/bin/tool", b"tool\n")
        handle.shutdown()
    finally:
        handle.close()
    return first, second


def test_a_machine_on_lvm(lvm_disks: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LIBGUESTFS_CACHEDIR", "/var/tmp")
    with open_guest(lvm_disks) as guest:
        assert [(f.device, f.type, f.mountpoint) for f in guest.source.filesystems] == [
            ("/dev/web-vg/root", "xfs", "/"),
            ("/dev/web-vg/srv-old", "btrfs", "/srv"),
            ("/dev/sda1", "vfat", "/boot/efi"),
            ("/dev/sdb2", "ext4", ""),
        ]
        assert [(problem.path, problem.why) for problem in guest.problems] == [
            ("/dev/sdb2", "another root of a system; read it with its name as --root"),
            ("/srv/.snapshots", "snapshots of the system, which are not read"),
        ]
        assert [entry.path for entry in guest.walk("/srv")] == ["/srv", "/srv/.snapshots", "/srv/file"]
        assert guest.read("/srv/file") == b"in a subvolume\n"
        assert guest.read("/usr/bin/tool") == b"tool\n"
        guest.prefetch(["/etc", "/srv"])
    assert list(tmp_path.iterdir()) == []


def test_one_disk_of_two(lvm_disks: tuple[Path, Path]) -> None:
    with pytest.raises(NoSystemError) as caught:
        open_guest([lvm_disks[0]])
    assert "not all were given" in str(caught.value) or "not all disks were given" in str(caught.value)


# ---------------------------------------------------------------- other people's disks


def test_a_machine_of_2014(corpus: Path, tmp_path: Path) -> None:
    """ttylinux as vCenter exported it: a chunked VMDK, the partition at sector 63, `/dev/hda1`, no os-release."""
    needs("tar")
    run("tar", "-xf", corpus / "tty_tiny.ova", "-C", tmp_path)
    disk = next(tmp_path.glob("*.vmdk.0*")).rename(tmp_path / "disk.vmdk")
    with open_guest([disk]) as guest:
        (system,) = guest.source.filesystems
        assert (system.device, system.type, system.mountpoint) == ("/dev/sda1", "ext3", "/")
        assert guest.problems == ()
        assert guest.resolve("/bin/sh") == "/bin/bash"
        assert guest.read("/bin/bash", 4) == b"\x7fELF"


# ---------------------------------------------------------------- no system


def test_disks_without_a_system_and_one_that_is_hostile(corpus: Path, tmp_path: Path) -> None:
    """The last disk holds, as its content, a qcow2 header that names a file of the host as its backing file."""
    names = ["ext4.raw", "gpt.raw", "mbr.raw", "lvm.raw", "ntfs.raw", "xfs.raw", "ext2.qcow2", "ext2.vhdx", "luks1.raw"]
    disks = [unpacked(corpus, name, tmp_path) for name in names]
    secret = sparse_file(tmp_path / "secret", 1)
    secret.write_bytes(b"the host's secret".ljust(1 << 20))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, tmp_path / "inner", "1M")
    os.truncate(tmp_path / "inner", 8 << 20)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "inner", tmp_path / "outer")
    said: list[str] = []
    machine = _Machine([describe(disk) for disk in [*disks, tmp_path / "outer"]], said.append, silent)
    try:
        assert machine.handle.pread_device("/dev/sdj", 4, 0) == b"QFI\xfb"
        with pytest.raises(NoSystemError) as caught:
            Mounter(machine.handle, machine.labels, silent).mount(None)
    finally:
        machine.handle.close()
    text = str(caught.value)
    assert "\n" not in text
    for device in ("/dev/sda (ext4)", "/dev/sdb1 (ext2)", "(xfs)"):
        assert device in text
    assert "/dev/sdi: it is encrypted (LUKS), and no key was given" in text
