"""Choosing the root, and planning what is mounted below it."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import NoSystemError, UsageError
from migrate.guest.libguestfs import handle, sweep
from migrate.guest.mounting import layout, root
from migrate.guest.mounting.crypttab import Mapping
from migrate.guest.mounting.fstab import parse_fstab
from migrate.guest.mounting.layout import Candidate, FileSystemSeen, PlannedMount, choose_root, find_device, plan_mounts
from migrate.guest.protocol import Problem

ROOT = FileSystemSeen(device="/dev/sda2", type="ext4", uuid="11-AA", label="root", disk=0, partition=2)
BOOT = FileSystemSeen(device="/dev/sda1", type="vfat", uuid="7A1B-22C3", disk=0, partition=1, part_uuid="027b0f42-01")
VAR = FileSystemSeen(device="/dev/vg-a/var", type="xfs", label="My Data")
DATA = FileSystemSeen(device="/dev/sdb1", type="btrfs", disk=1, partition=1, part_label="data")
LOCKED = FileSystemSeen(device="/dev/sdb2", type="crypto_LUKS", uuid="22", disk=1, partition=2)
EVERY = [BOOT, ROOT, DATA, LOCKED, VAR]
NAMES = frozenset({"etc", "usr", "bin"})


def planned(text: str, root: FileSystemSeen = ROOT) -> tuple[list[PlannedMount], list[tuple[str, str]]]:
    mounts, problems = plan_mounts(*parse_fstab(text), EVERY, root)
    return mounts, [(problem.path, problem.why) for problem in problems]


def test_parents_come_first() -> None:
    mounts, problems = planned(
        "PARTLABEL=data /var/lib/db btrfs subvol=@db,noatime\n"
        "/dev/vda2 / ext4\n"
        "/dev/mapper/vg--a-var /var xfs\n"
        "UUID=7a1b-22c3 /boot//efi/ vfat umask=0077\n"
    )
    assert not problems
    assert mounts == [
        PlannedMount(VAR, "/var"),
        PlannedMount(BOOT, "/boot/efi"),
        PlannedMount(DATA, "/var/lib/db", "subvol=@db"),
    ]


@pytest.mark.parametrize(
    ("line", "path", "why"),
    [
        ("nas:/srv /srv nfs4 defaults", "/srv", "a network file system (nfs4) is mounted there"),
        ("//nas/share /srv auto defaults", "/srv", "a network file system (auto) is mounted there"),
        ("host.example:/v /srv fuse.glusterfs defaults", "/srv", "a network file system (fuse.glusterfs)"),
        ("/srv/app /srv/b none rbind", "/srv/b", "a bind mount of /srv/app; what it shows is read there"),
        ("sshfs#x /srv fuse.sshfs defaults", "/srv", "a network file system"),
        ("/var/disk.img /srv ext4 loop", "/srv", "the image file /var/disk.img is mounted there"),
        ("LABEL=gone /srv ext4 nofail", "/srv", "LABEL=gone is mounted there, and is on no disk given"),
        ("/dev/sdc1 /srv ext4 defaults", "/srv", "/dev/sdc1 is mounted there, and is on no disk given"),
        ("UUID=22 /srv ext4 defaults", "/srv", "it is encrypted (LUKS), and no key was given"),
        ("UUID=11-aa /mnt/usb ext4 noauto", "/mnt/usb", "UUID=11-aa is mounted there only by hand (noauto)"),
        ("LABEL=root /srv/../../x ext4 defaults", "/srv/../../x", "line 1 of /etc/fstab has `..` in its mount point"),
        ("LABEL=root /.snapshots btrfs defaults", "/.snapshots", "snapshots of the system, which are not read"),
        ("what", "/etc/fstab", "line 1 is passed over: it has 1 fields"),
    ],
)
def test_what_is_not_mounted_is_told(line: str, path: str, why: str) -> None:
    mounts, problems = planned(line)
    assert mounts == []
    assert [problem[0] for problem in problems] == [path]
    assert problems[0][1].startswith(why)


@pytest.mark.parametrize(
    "line",
    ["tmpfs /tmp tmpfs size=1g", "proc /proc proc", "UUID=33 none swap sw", "/dev/cdrom /media/cdrom auto noauto",
     "/dev/fd0 /media/floppy auto rw,user,noauto", "# UUID=x /x ext4", "LABEL=root / ext4"],
)  # fmt: skip
def test_what_is_on_no_disk_is_passed_over(line: str) -> None:
    assert planned(line) == ([], [])


def test_boot_is_mounted_though_it_is_not_at_boot() -> None:
    assert planned("PARTUUID=027B0F42-01 /boot vfat noauto")[0] == [PlannedMount(BOOT, "/boot")]


def test_disks_given_in_another_order_than_the_machines() -> None:
    """The guest's vda is the second disk given: its fstab says so of the root."""
    root = FileSystemSeen(device="/dev/sdb1", type="ext4", disk=1, partition=1)
    other = FileSystemSeen(device="/dev/sda1", type="ext4", disk=0, partition=1)
    lines, bad = parse_fstab("/dev/vda1 / ext4\n/dev/vdb1 /srv ext4\n")
    mounts, problems = plan_mounts(lines, bad, [other, root], root)
    assert (mounts, problems) == ([PlannedMount(other, "/srv")], [])


def test_letters_with_gaps_match_in_order() -> None:
    root = FileSystemSeen(device="/dev/sda1", type="ext4", uuid="1", disk=0, partition=1)
    other = FileSystemSeen(device="/dev/sdb1", type="ext4", disk=1, partition=1)
    lines, bad = parse_fstab("UUID=1 / ext4\n/dev/sda2 /a ext4\n/dev/sdd1 /srv ext4\n")
    mounts, _ = plan_mounts(lines, bad, [root, other], root)
    assert mounts == [PlannedMount(other, "/srv")]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("/dev/disk/by-label/My\\x20Data", VAR), ("LABEL=my data", None), ("/dev/vg-a/var", VAR), ("UUID=", None),
        ("/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1", None), ("/dev/nvme0n1p2", ROOT),
    ],
)  # fmt: skip
def test_find_device(spec: str, found: FileSystemSeen | None) -> None:
    assert find_device(spec, EVERY, {}) == found


def test_find_device_by_its_name_in_crypttab() -> None:
    shut = FileSystemSeen(device="/dev/sdb1", type="crypto_LUKS", uuid="AA-11", disk=1, partition=1)
    holder = FileSystemSeen(
        device="/dev/sdb2", type="crypto_LUKS", uuid="bb-22", part_label="safe", disk=1, partition=2
    )
    home = FileSystemSeen(device="/dev/mapper/luks-bb-22", type="ext4", uuid="66", holder=holder)
    every = [*EVERY, shut, home]
    mappings = [
        Mapping("home_crypt", "/dev/disk/by-partlabel/safe"), Mapping("data-crypt", "UUID=aa-11"),
        Mapping("gone", "UUID=00"), Mapping("itself", "/dev/mapper/itself"), Mapping("a", "/dev/mapper/home_crypt"),
    ]  # fmt: skip
    for name, found in [
        ("home_crypt", home), ("data-crypt", shut), ("luks-bb-22", home), ("luks-aa-11", shut),
        ("gone", None), ("itself", None), ("a", None), ("other", None),
    ]:  # fmt: skip
        assert find_device(f"/dev/mapper/{name}", every, {}, mappings) == found
    assert find_device("UUID=66", every, {}, mappings) == home
    assert find_device("UUID=bb-22", every, {}, mappings) is None


def test_a_root_may_be_asked_for_by_what_holds_it() -> None:
    holder = FileSystemSeen(device="/dev/sdb2", type="crypto_LUKS", uuid="bb-22", disk=1, partition=2)
    inner = FileSystemSeen(device="/dev/mapper/luks-bb-22", type="ext4", uuid="66", holder=holder)
    candidates = [Candidate(ROOT, NAMES), Candidate(inner, NAMES)]
    for wanted in ("/dev/sdb2", "bb-22", "66", "/dev/mapper/luks-bb-22"):
        assert choose_root(candidates, wanted)[0] == inner
    with pytest.raises(UsageError, match="is none"):
        choose_root(candidates, "")


def test_names_that_mean_one_thing_where_there_is_one_thing() -> None:
    raid = FileSystemSeen(device="/dev/md127", type="ext4")
    assert find_device("/dev/md0", [raid, ROOT], {}) == raid
    boot = FileSystemSeen(device="/dev/md126", type="ext4", raid="boot")
    root = FileSystemSeen(device="/dev/md0", type="ext4", raid="1")
    zero = FileSystemSeen(device="/dev/md125", type="ext4", raid="0")
    named = [raid, boot, root, zero]
    for name, found in [
        ("/dev/md/boot", boot), ("/dev/md1", root), ("/dev/md/1", root), ("/dev/md_boot", boot), ("/dev/md0", zero),
        ("/dev/md7", None), ("/dev/md127", raid), ("/dev/md/md1", root),
    ]:  # fmt: skip
        assert find_device(name, named, {}) == found
    assert find_device("/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part2", [BOOT, ROOT, raid], {}) == ROOT
    assert find_device("/dev/disk/by-id/dm-name-vg-root", [BOOT, ROOT], {}) is None


def test_the_first_root_is_read_and_the_others_are_told() -> None:
    second = FileSystemSeen(device="/dev/sdb1", type="xfs", uuid="55")
    candidates = [Candidate(BOOT, frozenset({"EFI"})), Candidate(ROOT, NAMES), Candidate(second, NAMES)]
    chosen, others = choose_root(candidates, None)
    assert chosen == ROOT
    why = f"another root of a system, beside {ROOT.device}, which was read; read it with --root /dev/sdb1"
    assert others == [Problem(path="/dev/sdb1", why=why)]
    for wanted in ("/dev/sdb1", "55"):
        assert choose_root(candidates, wanted)[0] == second
    with pytest.raises(UsageError, match="the roots here: /dev/sda2, /dev/sdb1"):
        choose_root(candidates, "/dev/sdc1")


def test_a_system_in_use_goes_before_a_leftover() -> None:
    second = FileSystemSeen(device="/dev/sdb1", type="xfs")
    candidates = [Candidate(ROOT, NAMES | {"etc/passwd"}), Candidate(second, NAMES | {"etc/passwd", "etc/fstab"})]
    assert choose_root(candidates, None)[0] == second


def test_no_root_says_what_was_there() -> None:
    with pytest.raises(NoSystemError, match=r"no root directory on /dev/sda1 \(vfat\); give all disks"):
        choose_root([Candidate(BOOT, frozenset())], None)
    with pytest.raises(NoSystemError, match=r"no file system that could hold one; /dev/sdb2: it is encrypted"):
        choose_root([], None, [Problem(path="/dev/sdb2", why="it is encrypted")])
    with pytest.raises(NoSystemError, match="a Windows system; vm2c reads Linux systems"):
        choose_root([Candidate(BOOT, frozenset({"Windows"}))], None)


@given(st.text(st.sampled_from("/dev sda1UUID=x.#\\0\n\tbind,ext4nfs"), max_size=80))
def test_any_fstab_gives_a_plan_within_the_root(text: str) -> None:
    mounts, _ = planned(text)
    for mount in mounts:
        assert mount.mountpoint.startswith("/")
        assert not {"..", ".", ""} & set(mount.mountpoint[1:].split("/"))
    depths = [mount.mountpoint.count("/") for mount in mounts]
    assert depths == sorted(depths)


@pytest.mark.parametrize("module", [layout, root, handle, sweep])
def test_the_examples_in_the_documentation(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)
