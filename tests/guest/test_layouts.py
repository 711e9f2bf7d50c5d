"""Machines as installers lay them out: volume groups, RAID, btrfs, encrypted volumes, two systems on one disk.

Their disks are made in one launch and read in another, all together; a machine is chosen by its root. What depends
on which disks are given has launches of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.errors import NoSystemError
from migrate.guest.images.image import describe
from migrate.guest.libguestfs.reader import _KEY_MEMORY, _Machine
from migrate.guest.mounting import mounts
from migrate.guest.mounting.devices import find_devices
from migrate.guest.mounting.keys import parse_key
from migrate.guest.mounting.layout import FileSystemSeen, why_not_mountable
from migrate.guest.mounting.mounts import Mounted, Mounter
from migrate.guest.open import open_guest
from migrate.guest.progress import silent
from tests.guest.compared import same_analysis
from tests.guest.layouts import HOME_PASSPHRASE, LVM_DISKS, PASSPHRASE, RAID_DISKS, TWO, make_disks
from tests.guest.made import needs, needs_guestfs, unpacked

pytestmark = pytest.mark.appliance


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    needs_guestfs()
    needs("cryptsetup", "sfdisk", "dd", "qemu-img")
    return make_disks(tmp_path_factory.mktemp("layouts"))


def launch(*disks: Path, memory: int = 0) -> _Machine:
    return _Machine([describe(disk) for disk in disks], lambda _text: None, silent, memory)


class Survey:
    """The appliance with all disks, and what is found on them without a key, with a wrong one, and with the right."""

    def __init__(self, disks: dict[str, Path]) -> None:
        self.machine = launch(*disks.values(), memory=_KEY_MEMORY)
        self.shut = self.look()
        self.wrong = self.look("all:key:no such thing")
        self.of_others = self.look("/dev/sda1:key:no such thing")
        self.opened = self.look(f"all:key:{PASSPHRASE}", f"/dev/vdg3:key:{HOME_PASSPHRASE}")

    def look(self, *keys: str) -> list[FileSystemSeen]:
        found, problems = find_devices(self.machine.handle, self.machine.labels, [parse_key(key) for key in keys])
        assert problems == []
        return found

    def read(self, root: str, *devices: str) -> tuple[Mounted, dict[str, str]]:
        """Mount the machine that has these devices, which are open already; return what is mounted where, too."""
        own = [seen for seen in self.opened if (seen.holder or seen).device.startswith(devices)]
        self.machine.handle.umount_all()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mounts, "find_devices", lambda *_args: (own, []))
            mounted = Mounter(self.machine.handle, self.machine.labels, silent, by_kernel=True).mount(root)
        return mounted, {f.mountpoint: f"{f.device} {f.type}" for f in mounted.filesystems if f.mountpoint}

    def content(self, path: str) -> bytes:
        return self.machine.handle.pread(path, 1 << 21, 0)


@pytest.fixture(scope="module")
def survey(disks: dict[str, Path]) -> Iterator[Survey]:
    found = Survey(disks)
    yield found
    found.machine.handle.close()


def told(mounted: Mounted) -> list[tuple[str, str]]:
    return [(problem.path, problem.why) for problem in mounted.problems]


# ---------------------------------------------------------------- volume groups and RAID


def test_a_volume_group_over_two_disks(survey: Survey) -> None:
    mounted, where = survey.read("/dev/sys-vg/root", "/dev/sda", "/dev/sys-vg/")
    assert where == {
        "/": "/dev/sys-vg/root xfs",
        "/usr": "/dev/sys-vg/usr ext4",
        "/var": "/dev/sys-vg/var ext3",
        "/home": "/dev/sys-vg/home-1 ext4",
        "/boot": "/dev/sda2 ext4",
        "/boot/efi": "/dev/sda1 vfat",
    }
    assert survey.content("/usr/machine") == b"lvm"
    assert survey.content("/home/notes") == b"in /home\n"
    assert survey.content("/boot/efi/Žluťoučký kůň 日本.txt") == b"on the ESP\n"
    assert told(mounted) == [
        ("/etc/fstab", "line 8 is passed over: its mount point is not an absolute path"),
        ("/srv", "a network file system (nfs) is mounted there; it is on no disk of this machine"),
        ("/srv/www", "a bind mount of /var/www; what it shows is read there"),
    ]


def test_both_readers_read_the_same_machine(disks: dict[str, Path]) -> None:
    """LVM over two disks with XFS, ext3 and ext4, /boot and an EFI partition beside it."""
    given = [disks[letter] for letter in LVM_DISKS]
    same_analysis(given)
    with open_guest(given) as guest:
        assert guest.source.reader == "direct"
        assert guest.read("/boot/efi/Žluťoučký kůň 日本.txt") == b"on the ESP\n"
        assert guest.read("/home/notes") == b"in /home\n"


def test_the_size_of_an_xfs_is_what_its_superblock_says(survey: Survey, disks: dict[str, Path]) -> None:
    mounted, _ = survey.read("/dev/sys-vg/root", "/dev/sda", "/dev/sys-vg/")
    root = mounted.filesystems[0]
    start = survey.machine.handle.pread_device("/dev/sys-vg/root", 512, 0)
    block, blocks, log, free = (
        int.from_bytes(start[at : at + n], "big") for at, n in ((4, 4), (8, 8), (96, 4), (144, 8))
    )
    assert root.bytes == (blocks - log) * block
    assert root.used == (blocks - log - free) * block
    assert 0 < root.used < root.bytes < 330 << 20


def test_a_mirror_and_stripes(survey: Survey) -> None:
    mounted, where = survey.read("stripes", "/dev/md")
    assert set(where) == {"/", "/boot"}
    assert all(what.startswith("/dev/md") and what.endswith("ext4") for what in where.values())
    assert survey.content("/usr/striped") == bytes(range(256)) * 8192
    assert survey.content("/boot/vmlinuz") == b"kernel\n"
    assert told(mounted) == []


def test_half_of_a_volume_group_and_half_of_the_stripes(disks: dict[str, Path]) -> None:
    """A mirror of which half is missing is not read either: the other half may be the newer one."""
    machine = launch(disks[LVM_DISKS[0]], disks[RAID_DISKS[0]])
    try:
        with pytest.raises(NoSystemError) as caught:
            Mounter(machine.handle, machine.labels, silent).mount(None)
        found, problems = find_devices(machine.handle, machine.labels)
    finally:
        machine.handle.close()
    whys = [problem.why for problem in problems] + [seen.why_not for seen in found if seen.why_not]
    lacking = "its LVM volume group is not complete: sys-vg lacks one disk (physical volume "
    assert [why for why in whys if why.startswith(lacking) and why.endswith("give all disks of the machine")]
    assert lacking in str(caught.value)
    raid = [why_not_mountable(seen) for seen in found if seen.type == "linux_raid_member"]
    raid += [problem.why for problem in problems if problem.path.startswith("/dev/md")]
    assert raid
    assert all("not all" in str(why) for why in raid)


def test_disks_in_another_order(disks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LIBGUESTFS_CACHEDIR", "/var/tmp")
    with open_guest([disks[letter] for letter in reversed(LVM_DISKS)], reader="guestfs") as guest:
        assert [(f.device, f.mountpoint) for f in guest.source.filesystems if f.mountpoint] == [
            ("/dev/sys-vg/root", "/"),
            ("/dev/sys-vg/usr", "/usr"),
            ("/dev/sys-vg/var", "/var"),
            ("/dev/sys-vg/home-1", "/home"),
            ("/dev/sdb2", "/boot"),
            ("/dev/sdb1", "/boot/efi"),
        ]
        assert guest.read("/boot/efi/Žluťoučký kůň 日本.txt") == b"on the ESP\n"
        assert guest.read("/usr/machine") == b"lvm"
        guest.prefetch(["/etc", "/usr"])
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- btrfs


def test_forty_snapshots_are_one_system(survey: Survey) -> None:
    mounted, where = survey.read("/dev/sde1", "/dev/sde")
    assert where == {"/": "/dev/sde1 btrfs", "/home": "/dev/sde1 btrfs"}
    assert survey.content("/usr/machine") == b"suse"
    assert survey.content("/home/notes") == b"in /home\n"
    assert told(mounted) == [("/.snapshots", "snapshots of the system, which are not read")]


def test_a_root_in_a_subvolume_on_a_whole_disk(survey: Survey) -> None:
    _, where = survey.read("/dev/sdf[/@]", "/dev/sdf")
    assert where == {"/": "/dev/sdf[/@] btrfs", "/home": "/dev/sdf btrfs"}
    assert survey.content("/home/notes") == b"in @home\n"


# ---------------------------------------------------------------- encrypted volumes


def test_without_a_key_it_is_told_which_option_to_give(survey: Survey) -> None:
    shut = {seen.device: why_not_mountable(seen) for seen in survey.shut if seen.type == "crypto_LUKS"}
    assert list(shut) == ["/dev/sdg2", "/dev/sdg3", "/dev/outer/root"]
    for seen in survey.shut:
        if seen.device in shut:
            option = f"--key {seen.uuid}:file:FILENAME"
            assert shut[seen.device] == (
                f"it is encrypted (LUKS), and no key was given; keep its passphrase in a file, and give {option}"
            )


def test_a_wrong_key_and_one_for_another_device(survey: Survey) -> None:
    wrong = [seen.why_not for seen in survey.wrong if seen.type == "crypto_LUKS"]
    assert len(wrong) == 3
    assert all("the key that was given does not open it" in why and "no such thing" not in why for why in wrong)
    others = [seen.why_not for seen in survey.of_others if seen.type == "crypto_LUKS"]
    assert len(others) == 3
    assert all("no key that was given is for it" in why for why in others)


def test_volumes_in_an_encrypted_partition(survey: Survey) -> None:
    """As Debian's installer makes them; /home by the name that crypttab gives to another partition."""
    mounted, where = survey.read("/dev/safe-vg/root", "/dev/sdg", "/dev/safe-vg/")
    assert told(mounted) == []
    home = next(seen for seen in survey.opened if seen.holder is not None and seen.holder.device == "/dev/sdg3")
    assert home.holder is not None
    assert where == {
        "/": "/dev/safe-vg/root ext4",
        "/boot": "/dev/sdg1 ext4",
        "/home": f"/dev/mapper/luks-{home.holder.uuid} ext4",
    }
    assert survey.content("/home/notes") == b"in /home\n"


def test_an_encrypted_volume_of_a_group(survey: Survey) -> None:
    """Chosen by the name of the volume that holds it."""
    mounted, where = survey.read("/dev/outer/root", "/dev/outer/")
    (device,) = where.values()
    assert device.startswith("/dev/mapper/luks-")
    assert survey.content("/usr/machine") == b"fedora"
    assert told(mounted) == []


def test_other_peoples_encrypted_disks(corpus: Path, tmp_path: Path) -> None:
    """One opens. The other's key is derived with 1 GiB of memory, is right, and what it opens is not there."""
    infos = [unpacked(corpus, name, tmp_path) for name in ("luks1.raw", "luks2.raw")]
    machine = launch(*infos, memory=_KEY_MEMORY)
    try:
        found, _ = find_devices(machine.handle, machine.labels, [parse_key("all:key:luksde-TEST")])
        first, second = found
        assert (first.device, first.type) == ("/dev/mapper/luks-d806b968-2f02-4138-ae61-54586be6f8ec", "ext2")
        assert second.why_not == (
            "it is encrypted (LUKS), and cannot be opened: its data begins beyond the end of the device; "
            "the image is not complete"
        )
        machine.handle.mount_options("ro", first.device, "/")
        assert machine.handle.is_file("/passwords.txt")
    finally:
        machine.handle.close()


# ---------------------------------------------------------------- two systems


def test_the_first_of_two_systems_and_the_other_by_its_name(disks: dict[str, Path]) -> None:
    """The data is mounted by PARTUUID in one, by path in the other; both share the swap."""
    machine = launch(disks[TWO])
    try:
        for wanted, own, other in ((None, "one", 2), ("two", "two", 1)):
            mounted = Mounter(machine.handle, machine.labels, silent).mount(wanted)
            assert machine.handle.pread("/usr/machine", 9, 0) == own.encode()
            assert machine.handle.pread("/srv/data", 9, 0) == b"shared\n"
            read = f"another root of a system, beside /dev/sda{3 - other}, which was read"
            assert told(mounted) == [(f"/dev/sda{other}", f"{read}; read it with --root /dev/sda{other}")]
            assert [f.mountpoint for f in mounted.filesystems] == ["/", "/srv", "", ""]
            machine.handle.umount_all()
    finally:
        machine.handle.close()
