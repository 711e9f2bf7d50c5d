"""Mounting, on a stand-in for the appliance: what happens when something is wrong with a disk."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from migrate.errors import NoSystemError
from migrate.guest.libguestfs.handle import Subvolume
from migrate.guest.mounting.keys import parse_key
from migrate.guest.mounting.mounts import Mounted, Mounter
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
    assert [(options, where) for options, _, where in handle.mounts] == [
        ("ro", "/"), ("ro", "/srv"), ("ro,utf8,tz=UTC", "/boot/efi"),
    ]  # fmt: skip


def test_the_size_of_an_xfs_is_what_its_superblock_says(handle: FakeHandle) -> None:
    """A kernel's statvfs takes away what it keeps in reserve, and each version keeps another amount."""
    fstab(handle, "UUID=44 /srv xfs\n")
    start = bytearray(b"XFSB".ljust(4096, b"\0"))
    struct.pack_into(">IQ", start, 4, 4096, 1000)
    struct.pack_into(">Q", start, 48, 500)  # the log is inside, and has 64 blocks
    struct.pack_into(">I", start, 96, 64)
    struct.pack_into(">Q", start, 144, 900)
    handle.starts["/dev/sdb"] = bytes(start)
    mounted = Mounter(handle, LABELS, silent, by_kernel=True).mount(None)
    assert [(f.mountpoint, f.bytes, f.used) for f in mounted.filesystems[:2]] == [
        ("/", 409600, 307200), ("/srv", 936 * 4096, 36 * 4096),
    ]  # fmt: skip
    handle.umount_all()
    handle.starts["/dev/sdb"] = b"no superblock"
    mounted = Mounter(handle, LABELS, silent, by_kernel=True).mount(None)
    assert mounted.filesystems[1].bytes == 409600


def test_the_only_file_system_is_mounted_once(handle: FakeHandle) -> None:
    del handle.devices["/dev/sdb"]
    mount(handle)
    assert [call for call in handle.calls if call.startswith("mount")] == ["mount /dev/sda3"]


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


def test_raids_are_known_by_the_names_they_were_made_with(handle: FakeHandle) -> None:
    """Whatever numbers they get here: those of /dev/md0 and /dev/md1 are the other way round."""
    fstab(handle, "UUID=33 / ext4\n/dev/md0 /srv xfs\n/dev/md/1 /var xfs\n")
    handle.devices["/dev/sdb"] = {"TYPE": "linux_raid_member"}
    for number, name in ((127, "0"), (126, "1")):
        handle.devices[f"/dev/md{number}"] = {"TYPE": "xfs", "RAID": name}
        handle.tops[f"/dev/md{number}"] = handle.tops["/dev/sdb"]
    _, problems = mount(handle)
    assert [(device, where) for _, device, where in handle.mounts[1:]] == [
        ("/dev/md127", "/srv"),
        ("/dev/md126", "/var"),
    ]
    assert [path for path, _ in problems] == ["/dev/sda2"]
    handle.broken |= {("md_detail", "/dev/md126"), ("md_detail", "/dev/md127")}
    handle.umount_all()
    _, problems = mount(handle)
    assert [path for path, _ in problems][:2] == ["/srv", "/var"]


def test_a_volume_that_cannot_be_examined(handle: FakeHandle) -> None:
    handle.devices["/dev/sdb"] = {"TYPE": "LVM2_member", "UUID": "aaaa-bb"}
    handle.devices["/dev/vg0/data"] = {}
    handle.broken.add(("blkid", "/dev/vg0/data"))
    _, problems = mount(handle)
    assert (
        "/dev/vg0/data", "it is made of several disks, of which not all were given; give all disks of the machine",
    ) in problems  # fmt: skip
    handle.groups = {"vg0": ["aaaabb", "cccc-dd"], "whole": ["aaaa-bb"]}
    _, problems = mount(handle)
    why = (
        "its LVM volume group is not complete: vg0 lacks one disk (physical volume cccc-dd); "
        "give all disks of the machine"
    )
    assert ("/dev/vg0/data", why) in problems


def test_a_partition_that_cannot_be_examined(handle: FakeHandle) -> None:
    handle.broken.add(("blkid", "/dev/sda2"))
    _, problems = mount(handle)
    assert problems[0] == ("/dev/sda2", "it cannot be examined: /dev/sda2: Input/output error")


def test_an_fstab_that_cannot_be_read(handle: FakeHandle) -> None:
    fstab(handle, "UUID=44 /srv xfs")
    handle.broken.add(("pread", "/etc/fstab"))
    _, problems = mount(handle)
    assert problems[0] == (
        "/etc/fstab", "cannot be read, so only the root is mounted: /etc/fstab: Input/output error",
    )  # fmt: skip


# ---------------------------------------------------------------- encrypted volumes

LUKS_UUID = "d806b968-2f02-4138-ae61-54586be6f8ec"
OPENED = f"/dev/mapper/luks-{LUKS_UUID}"
WRONG = "No key available with this passphrase."


def encrypt(handle: FakeHandle, device: str, says: str = WRONG) -> None:
    """Hide what is on a device behind the key "right"."""
    handle.locks[device] = "right", says, handle.devices[device]
    handle.devices[device] = {"TYPE": "crypto_LUKS", "UUID": LUKS_UUID}
    handle.tops[OPENED] = handle.tops[device]
    handle.starts[device] = luks1(1000)


def luks1(iterations: int) -> bytes:
    """A header with one slot in use."""
    head = bytearray(b"LUKS\xba\xbe\x00\x01".ljust(1024, b"\0"))
    struct.pack_into(">II", head, 208, 0x00AC71F3, iterations)
    return bytes(head)


def mount_with(handle: FakeHandle, *keys: str) -> tuple[Mounted, list[tuple[str, str]]]:
    mounted = Mounter(handle, LABELS, silent, [parse_key(key) for key in keys]).mount(None)
    return mounted, [(problem.path, problem.why) for problem in mounted.problems]


def test_an_encrypted_root_is_opened(handle: FakeHandle) -> None:
    fstab(handle, "/dev/mapper/sda3_crypt / ext4\n")
    encrypt(handle, "/dev/sda3")
    mounted, problems = mount_with(handle, "/dev/sdb:key:other", "all:key:wrong", f"{LUKS_UUID}:key:right")
    assert (mounted.filesystems[0].device, mounted.filesystems[0].mountpoint) == (OPENED, "/")
    assert handle.tried == [("/dev/sda3", "wrong"), ("/dev/sda3", "right")]
    assert [path for path, _ in problems] == ["/dev/sda2", "/dev/sdb"]
    assert "/dev/sda3" not in [f.device for f in mounted.filesystems]


@pytest.mark.parametrize(
    ("name", "crypttab"),
    [
        ("home_crypt", f"home_crypt UUID={LUKS_UUID} none luks\n"),
        ("home-crypt", "home-crypt /dev/vdb none\n"),
        (f"luks-{LUKS_UUID}", ""),
        (f"luks-{LUKS_UUID.upper()}", "other /dev/sdz1\n"),
    ],
)
def test_a_volume_is_found_by_its_name_in_crypttab(handle: FakeHandle, name: str, crypttab: str) -> None:
    fstab(handle, f"/dev/mapper/{name} /srv xfs\n")
    (handle.tops["/dev/sda3"] / "etc" / "crypttab").write_text(crypttab)
    encrypt(handle, "/dev/sdb")
    _, problems = mount_with(handle, "/dev/sdb:key:right")
    assert ("ro", OPENED, "/srv") in handle.mounts
    assert [path for path, _ in problems] == ["/dev/sda2"]
    del handle.devices[OPENED]
    _, problems = mount_with(handle)
    assert ("/srv", f"{SHUT} --key {LUKS_UUID}:file:FILENAME") in problems


WRONG_GIVEN = "it is encrypted (LUKS), and the key that was given does not open it; give the right one with"
SHUT = "it is encrypted (LUKS), and no key was given; keep its passphrase in a file, and give"


@pytest.mark.parametrize(
    ("keys", "says", "why"),
    [
        ((), WRONG, f"{SHUT} --key {LUKS_UUID}:file:FILENAME"),
        (
            ("/dev/sda3:key:secret",), WRONG,
            f"it is encrypted (LUKS), and no key that was given is for it; give --key {LUKS_UUID}:file:FILENAME",
        ),
        (
            ("all:key:secret",), WRONG,
            f"{WRONG_GIVEN} --key {LUKS_UUID}:file:FILENAME",
        ),
        (
            ("all:key:secret",), "Not enough available memory to open a keyslot.",
            "it is encrypted (LUKS), and cannot be opened: Not enough available memory to open a keyslot.",
        ),
        (
            ("all:key:\udce9",), WRONG,
            "it is encrypted (LUKS), and cannot be opened: a key that is not text needs libguestfs 1.60 or newer",
        ),
    ],
)  # fmt: skip
def test_what_does_not_open_is_told(handle: FakeHandle, keys: tuple[str, ...], says: str, why: str) -> None:
    encrypt(handle, "/dev/sdb", says)
    mounted, problems = mount_with(handle, *keys)
    assert ("/dev/sdb", why) in problems
    assert "/dev/sdb" in [f.device for f in mounted.filesystems]
    assert not any("secret" in text for _, text in problems)


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (
            luks1(1 << 31),
            "its header asks for 2147483648 iterations to derive a key, where a few millions are usual",
        ),
        (b"", "its header is damaged"),
    ],
)
def test_a_header_that_asks_for_hours_is_not_tried(handle: FakeHandle, start: bytes, why: str) -> None:
    encrypt(handle, "/dev/sdb")
    handle.starts["/dev/sdb"] = start
    _, problems = mount_with(handle, "all:key:right")
    assert ("/dev/sdb", f"it is encrypted (LUKS), and is not opened: {why}") in problems
    assert handle.tried == []


def test_volumes_in_an_encrypted_one_come_to_light(handle: FakeHandle) -> None:
    """A volume group in LUKS, a volume of which is encrypted again."""
    root = handle.devices["/dev/sda3"]
    encrypt(handle, "/dev/sda3")
    handle.locks["/dev/sda3"] = "right", WRONG, {"TYPE": "LVM2_member", "UUID": "pv"}
    inner = "/dev/mapper/luks-240912c0-2035-4b4e-b139-97ff071f2f86"
    handle.appear = {"/dev/vg/root": {"TYPE": "crypto_LUKS", "UUID": inner[-36:]}, "/dev/vg/swap": {"TYPE": "swap"}}
    handle.locks["/dev/vg/root"] = "right", WRONG, root
    handle.starts["/dev/vg/root"] = luks1(1000)
    handle.tops[inner] = handle.tops["/dev/sda3"]
    mounted, problems = mount_with(handle, "all:key:right")
    assert [(f.device, f.type, f.mountpoint) for f in mounted.filesystems] == [
        (inner, "ext4", "/"), ("/dev/sda2", "vfat", ""), ("/dev/sdb", "xfs", ""), ("/dev/vg/swap", "swap", ""),
    ]  # fmt: skip
    assert [path for path, _ in problems] == ["/dev/sda2", "/dev/sdb"]


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
    assert (
        "/dev/sda3[/root]",
        "another root of a system, beside /dev/sda3[/old], which was read; read it with --root '/dev/sda3[/root]'",
    ) in problems
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
