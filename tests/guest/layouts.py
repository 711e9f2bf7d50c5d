"""Disks of machines as installers lay them out, all made in one launch of an appliance.

Each machine is told from the others by a file of its own, `/usr/machine`, and names nothing of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migrate.guest.libguestfs.appliance import needs_emulation
from tests.guest.made import put, run, sparse_file

if TYPE_CHECKING:
    import guestfs

PASSPHRASE = "correct: horse"  # with a colon: --key takes it
HOME_PASSPHRASE = "battery staple"
SNAPSHOTS = 40
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
RAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
EFI = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"

LETTERS = "abcdefghi"
LVM_DISKS, RAID_DISKS, SUSE, UBUNTU, DEBIAN, FEDORA, TWO = "ab", "cd", "e", "f", "g", "h", "i"


def launched(disks: Sequence[Path]) -> guestfs.GuestFS:
    """An appliance that writes to raw disks."""
    import guestfs

    handle = guestfs.GuestFS(python_return_dict=True)
    handle.set_backend("direct")
    if needs_emulation(lambda _text: None):
        handle.set_backend_setting("force_tcg", "1")
    for disk in disks:
        handle.add_drive_opts(str(disk), format="raw", cachemode="unsafe")
    handle.launch()
    return handle


def make_disks(place: Path) -> dict[str, Path]:
    """Make the disks, by their letters."""
    sizes = {**dict.fromkeys(LETTERS, 300), "a": 700, "b": 400, "c": 200, "d": 200, "i": 100}
    disks = {letter: sparse_file(place / f"{letter}.raw", sizes[letter]) for letter in LETTERS}
    _partition(disks)
    handle = launched(list(disks.values()))
    try:
        for make in (_lvm, _raid, _suse, _ubuntu, _debian, _two):
            make(handle)
            handle.umount_all()
        _fedora(handle, (place / "lv").read_bytes())
        handle.shutdown()
    finally:
        handle.close()
    return disks


def _partition(disks: dict[str, Path]) -> None:
    tables = {
        "a": f"label: gpt\nsize=64MiB, type={EFI}\nsize=64MiB, type={LINUX}\ntype={LVM}\n",
        "c": f"label: gpt\nsize=32MiB, type={RAID}\ntype={RAID}\n",
        "d": f"label: gpt\nsize=32MiB, type={RAID}\ntype={RAID}\n",
        "e": f"label: gpt\ntype={LINUX}\n",
        "g": "label: dos\nsize=32MiB, type=83\nsize=180MiB, type=83\nsize=40MiB, type=83\n",
        "h": f"label: gpt\ntype={LVM}\n",
        "i": (
            f"label: gpt\nsize=32MiB, type={LINUX}, name=first\nsize=32MiB, type={LINUX}, name=second\n"
            f"size=8MiB, type={SWAP}\nsize=8MiB, type={LINUX}, uuid=11111111-2222-4333-8444-555555555555\n"
        ),
    }
    for letter, table in tables.items():
        run("sfdisk", "-q", disks[letter], stdin=table)
    place = disks["g"].parent
    put(luks(place / "luks2", PASSPHRASE, "luks2", 24), disks["g"], 33)
    put(luks(place / "luks1", HOME_PASSPHRASE, "luks1", 8), disks["g"], 213)
    luks(place / "lv", PASSPHRASE, "luks1", 3)


def luks(path: Path, passphrase: str, kind: str, mebibytes: int) -> Path:
    """Make the header of an encrypted volume, whose key costs next to nothing to derive."""
    cheap = ["--pbkdf-force-iterations", "1000"]
    if kind == "luks2":
        cheap = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "32"]
    key = path.with_suffix(".key")
    key.write_text(passphrase)
    run("cryptsetup", "-q", "luksFormat", "--type", kind, *cheap, "--key-file", key, sparse_file(path, mebibytes))
    return path


def _root(handle: guestfs.GuestFS, machine: str, fstab: str, *directories: str) -> None:
    """Write a system into what is mounted at `/`."""
    for name in ("/etc", "/usr", *directories):
        handle.mkdir_p(name)
    handle.write("/etc/fstab", fstab.encode())
    handle.write("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
    handle.write("/usr/machine", machine.encode())


def _lvm(handle: guestfs.GuestFS) -> None:
    """LVM over two disks; /usr, /var and /home on volumes of their own; /boot and the ESP beside it; swap."""
    handle.mkfs("vfat", "/dev/sda1")
    handle.mkfs("ext4", "/dev/sda2")
    handle.pvcreate("/dev/sda3")
    handle.pvcreate("/dev/sdb")
    handle.vgcreate("sys-vg", ["/dev/sda3", "/dev/sdb"])
    kinds = {"root": ("xfs", 330), "usr": ("ext4", 60), "var": ("ext3", 260), "home-1": ("ext4", 120)}
    for name, (kind, size) in kinds.items():
        handle.lvcreate(name, "sys-vg", size)
        handle.mkfs(kind, f"/dev/sys-vg/{name}")
    handle.lvcreate("swap", "sys-vg", 8)
    handle.mkswap("/dev/sys-vg/swap")
    handle.mount("/dev/sys-vg/root", "/")
    fstab = (
        "/dev/mapper/sys--vg-root / xfs defaults 0 0\n/dev/sys-vg/usr /usr ext4 defaults 0 2\n"
        f"UUID={handle.vfs_uuid('/dev/sys-vg/var')} /var ext3 defaults 0 2\n"
        "/dev/mapper/sys--vg-home--1 /home ext4 defaults 0 0\n/dev/mapper/sys--vg-swap none swap sw 0 0\n"
        f"UUID={handle.vfs_uuid('/dev/sda2')} /boot ext4 defaults 0 2\n"
        f"UUID={handle.vfs_uuid('/dev/sda1')} /boot/efi vfat umask=0077 0 1\n"
        "this line has no sense\nnas:/export /srv nfs defaults 0 0\n/var/www /srv/www none bind 0 0\n"
    )
    _root(handle, "hidden by /usr", fstab, "/var", "/home", "/boot", "/srv/www")
    for device, where in (("usr", "/usr"), ("var", "/var"), ("home-1", "/home")):
        handle.mount(f"/dev/sys-vg/{device}", where)
    handle.write("/usr/machine", b"lvm")
    handle.write("/var/state", b"in /var\n")
    handle.write("/home/notes", b"in /home\n")
    handle.mount("/dev/sda2", "/boot")
    handle.mkdir_p("/boot/efi")
    handle.mount_options("utf8", "/dev/sda1", "/boot/efi")
    handle.write("/boot/efi/Žluťoučký kůň 日本.txt", b"on the ESP\n")


def _raid(handle: guestfs.GuestFS) -> None:
    """/boot on a mirror and the root on stripes, over two disks."""
    handle.md_create("mirror", ["/dev/sdc1", "/dev/sdd1"], level="raid1")
    handle.md_create("stripes", ["/dev/sdc2", "/dev/sdd2"], level="raid0")
    boot, root = "/dev/md/mirror", "/dev/md/stripes"
    handle.mkfs("ext4", boot)
    handle.mkfs("ext4", root, label="stripes")
    handle.mount(root, "/")
    fstab = f"UUID={handle.vfs_uuid(root)} / ext4 defaults\n/dev/md/mirror /boot ext4 defaults\n"
    _root(handle, "raid", fstab, "/boot")
    handle.mount(boot, "/boot")
    handle.write("/boot/vmlinuz", b"kernel\n")
    handle.write("/usr/striped", bytes(range(256)) * 8192)
    handle.umount_all()
    for device in (boot, root):
        handle.md_stop(device)


def _suse(handle: guestfs.GuestFS) -> None:
    """openSUSE's way: the default subvolume is a snapshot, and there are forty more."""
    handle.mkfs("btrfs", "/dev/sde1")
    uuid = handle.vfs_uuid("/dev/sde1")
    handle.mount("/dev/sde1", "/")
    handle.btrfs_subvolume_create("/@")
    handle.btrfs_subvolume_create("/@/home")
    handle.btrfs_subvolume_create("/@/.snapshots")
    handle.mkdir_p("/@/.snapshots/1")
    handle.btrfs_subvolume_create("/@/.snapshots/1/snapshot")
    handle.write("/@/home/notes", b"in /home\n")
    listed = {each["btrfssubvolume_path"]: each["btrfssubvolume_id"] for each in handle.btrfs_subvolume_list("/")}
    handle.btrfs_subvolume_set_default(listed["@/.snapshots/1/snapshot"], "/")
    handle.umount("/")
    handle.mount("/dev/sde1", "/")
    options = {"/home": "subvol=/@/home", "/.snapshots": "subvol=/@/.snapshots"}
    lines = [f"UUID={uuid} {where} btrfs {option} 0 0\n" for where, option in {"/": "defaults", **options}.items()]
    _root(handle, "suse", "".join(lines), "/home", "/.snapshots")
    handle.umount("/")
    handle.mount_options("subvolid=5", "/dev/sde1", "/")
    for number in range(2, 2 + SNAPSHOTS):
        handle.mkdir_p(f"/@/.snapshots/{number}")
        handle.btrfs_subvolume_snapshot("/@/.snapshots/1/snapshot", f"/@/.snapshots/{number}/snapshot", ro=True)


def _ubuntu(handle: guestfs.GuestFS) -> None:
    """Ubuntu's btrfs: @ and @home; on a disk without a partition table."""
    handle.mkfs("btrfs", "/dev/sdf", label="ubuntu")
    handle.mount("/dev/sdf", "/")
    handle.btrfs_subvolume_create("/@")
    handle.btrfs_subvolume_create("/@home")
    handle.write("/@home/notes", b"in @home\n")
    handle.umount("/")
    handle.mount_options("subvol=@", "/dev/sdf", "/")
    fstab = "LABEL=ubuntu / btrfs defaults,subvol=@ 0 1\nLABEL=ubuntu /home btrfs defaults,subvol=@home 0 2\n"
    _root(handle, "ubuntu", fstab, "/home")


def _debian(handle: guestfs.GuestFS) -> None:
    """Debian's installer: /boot, then LVM in LUKS2; and a LUKS1 of its own for /home, by its name in crypttab."""
    handle.mkfs("ext4", "/dev/sdg1")
    handle.cryptsetup_open("/dev/sdg2", PASSPHRASE, "opened", crypttype="luks")
    handle.cryptsetup_open("/dev/sdg3", HOME_PASSPHRASE, "home", crypttype="luks")
    handle.pvcreate("/dev/mapper/opened")
    handle.vgcreate("safe-vg", ["/dev/mapper/opened"])
    handle.lvcreate("root", "safe-vg", 120)
    handle.lvcreate("swap_1", "safe-vg", 8)
    handle.mkfs("ext4", "/dev/safe-vg/root")
    handle.mkswap("/dev/safe-vg/swap_1")
    handle.mkfs("ext4", "/dev/mapper/home")
    handle.mount("/dev/safe-vg/root", "/")
    fstab = (
        f"/dev/mapper/safe--vg-root / ext4 errors=remount-ro 0 1\nUUID={handle.vfs_uuid('/dev/sdg1')} /boot ext4\n"
        "/dev/mapper/safe--vg-swap_1 none swap sw 0 0\n/dev/mapper/home_crypt /home ext4 defaults 0 2\n"
    )
    _root(handle, "debian", fstab, "/boot", "/home")
    uuids = [handle.vfs_uuid(f"/dev/sdg{number}") for number in (2, 3)]
    handle.write("/etc/crypttab", f"sda2_crypt UUID={uuids[0]} none luks\nhome_crypt UUID={uuids[1]} none\n".encode())
    handle.mount("/dev/mapper/home", "/home")
    handle.write("/home/notes", b"in /home\n")
    handle.umount_all()
    handle.vg_activate(activate=False, volgroups=["safe-vg"])
    handle.cryptsetup_close("/dev/mapper/opened")
    handle.cryptsetup_close("/dev/mapper/home")


def _fedora(handle: guestfs.GuestFS, header: bytes) -> None:
    """LUKS on a logical volume, opened as luks-UUID, with no crypttab."""
    handle.pvcreate("/dev/sdh1")
    handle.vgcreate("outer", ["/dev/sdh1"])
    handle.lvcreate("root", "outer", 100)
    handle.pwrite_device("/dev/outer/root", header, 0)
    handle.cryptsetup_open("/dev/outer/root", PASSPHRASE, "lv", crypttype="luks")
    handle.mkfs("ext4", "/dev/mapper/lv")
    handle.mount("/dev/mapper/lv", "/")
    _root(handle, "fedora", f"/dev/mapper/luks-{handle.vfs_uuid('/dev/outer/root')} / ext4 defaults 0 0\n")
    handle.umount_all()
    handle.cryptsetup_close("/dev/mapper/lv")


def _two(handle: guestfs.GuestFS) -> None:
    """Two systems on one disk, and the same data mounted by name, path, identity and number."""
    for number, label in ((1, "one"), (2, "two"), (4, "data")):
        handle.mkfs("ext4", f"/dev/sdi{number}", label=label)
    handle.mkswap("/dev/sdi3", label="both")
    by_path = "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part4"
    for name, where in (("one", "PARTUUID=11111111-2222-4333-8444-555555555555"), ("two", by_path)):
        handle.mount("/dev/sdi1" if name == "one" else "/dev/sdi2", "/")
        fstab = f"LABEL={name} / ext4 defaults\n{where} /srv ext4 defaults\nLABEL=both none swap sw\n"
        _root(handle, name, fstab, "/srv")
        handle.umount("/")
    handle.mount("/dev/sdi4", "/")
    handle.write("/data", b"shared\n")
