"""Real disks in a real appliance. Each launch takes 15 to 20 s without KVM, so few fixtures serve all tests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from migrate.errors import GuestFileError, NoSystemError
from migrate.guest.images.image import describe
from migrate.guest.libguestfs.reader import GuestfsGuest, _Machine, version
from migrate.guest.mounting.mounts import Mounter
from migrate.guest.open import open_guest
from migrate.guest.progress import silent
from migrate.guest.protocol import Guest
from tests.guest.made import JOURNALLED, VAR_UUID, needs, needs_guestfs, run, sparse_file, unpacked

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
    monkeypatch.setattr("migrate.guest.libguestfs.bulk._SINGLE", 1.0)  # so that even a dozen files pay
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
