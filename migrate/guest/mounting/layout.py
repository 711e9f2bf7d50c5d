"""Which file system is the root, and what else is mounted where below it. Pure: it reads values, not disks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from migrate.errors import NoSystemError, UsageError
from migrate.guest.mounting.crypttab import Mapping
from migrate.guest.mounting.fstab import BadLine, KernelDisk, Line, Tag, Volume, parse_device
from migrate.guest.mounting.root import SIGNS, is_root, is_windows
from migrate.guest.protocol import Problem
from migrate.text import show

NETWORK_TYPES = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs",
})  # fmt: skip
"""File systems that are reached over a network, or shared with one: never followed."""

_NOT_ON_DISK = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "swap", "sysfs", "tmpfs",
    "tracefs", "usbdevfs", "usbfs",
})  # fmt: skip
_REMOVABLE = re.compile(r"/dev/(?:cdrom|cdrw|dvd|sr\d|scd\d|fd\d|floppy)\S*")
_UNMOUNTABLE = {
    "BitLocker": "it is encrypted (BitLocker)",
    "LVM2_member": "it belongs to an LVM volume group of which not all disks were given",
    "linux_raid_member": "it belongs to a RAID of which not all disks were given",
    "isw_raid_member": "it belongs to a firmware RAID, which is not read",
    "ddf_raid_member": "it belongs to a firmware RAID, which is not read",
    "zfs_member": "it belongs to a ZFS pool, which is not read",
    "bcache": "it is a bcache device, which is not read",
    "VMFS": "it holds VMFS, the file system of a hypervisor",
    "VMFS_volume_member": "it holds VMFS, the file system of a hypervisor",
}
LUKS = "crypto_LUKS"
"""What blkid(8) calls a volume that cryptsetup(8) opens."""

NO_FILES = frozenset({"swap", "suspend", "swsuspend", "jbd", "xfs_external_log", ""})
_NEVER_ROOT = frozenset({"vfat", "msdos", "exfat", "iso9660", "udf", "minix", "hfs", "hfsplus"})
_MAPPER = "/dev/mapper/"
_SNAPSHOTS = re.compile(r"\.?snapshots?|timeshift(?:-btrfs)?")


class FileSystemSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A device that may hold a file system, as the disks have it.

    `device` is the appliance's name of it, and `subvolume` a btrfs subvolume's path from the top of the file
    system, or `/` for the top itself; empty is what a mount without options shows.
    `disk` counts the disks given, from 0, and `partition` from 1 (0: not partitioned); None where the device
    spans disks (LVM, RAID). `bytes` is the device's size. `raid` is a RAID's own name (`0` of /dev/md0, `boot` of
    /dev/md/boot): its number is given out anew at each start. `holder` is the encrypted device that this one is the
    content of. `why_not` says why it cannot be read, where more is known of that than its type.
    """

    device: str
    type: str
    subvolume: str = ""
    uuid: str = ""
    label: str = ""
    part_uuid: str = ""
    part_label: str = ""
    disk: int | None = None
    partition: int = 0
    bytes: int = 0
    raid: str = ""
    holder: FileSystemSeen | None = None
    why_not: str = ""

    @property
    def name(self) -> str:
        """What a person calls it: the device, and the subvolume in brackets, as findmnt(8) writes it."""
        return f"{self.device}[/{self.subvolume.strip('/')}]" if self.subvolume else self.device


def why_not_mountable(seen: FileSystemSeen) -> str | None:
    """Return why a device cannot be read, or None where it can be, or holds no files in the first place."""
    if seen.type == "unknown":
        return "what is on it is not known: no file system was recognised"
    if seen.why_not:
        return seen.why_not
    if seen.type == LUKS:
        option = f"--key {show(seen.uuid or seen.device)}:file:FILENAME"
        return f"it is encrypted (LUKS), and no key was given; keep its passphrase in a file, and give {option}"
    return _UNMOUNTABLE.get(seen.type)


def holds_files(seen: FileSystemSeen) -> bool:
    """Tell whether there is a file system to mount."""
    return seen.type not in NO_FILES and why_not_mountable(seen) is None


def may_be_root(seen: FileSystemSeen) -> bool:
    """Tell whether it is worth looking for a root on it."""
    return holds_files(seen) and seen.type not in _NEVER_ROOT


def snapshots_in(path: str) -> str | None:
    """Return the directory of snapshots that a subvolume's path leads through, or None where it is in none.

    As snapper(8) and timeshift lay them out.

    >>> snapshots_in("home/.snapshots/12/snapshot"), snapshots_in("home/mail")
    ('home/.snapshots', None)
    """
    parts = path.split("/")
    place = next((n for n, part in enumerate(parts) if _SNAPSHOTS.fullmatch(part)), None)
    return None if place is None else "/".join(parts[: place + 1])


class Candidate(msgspec.Struct, frozen=True):
    """A file system, and the telling ones of the names in its top directory and in `etc` (as `etc/fstab`)."""

    seen: FileSystemSeen
    names: frozenset[str]


def choose_root(
    candidates: Sequence[Candidate], wanted: str | None, problems: Sequence[Problem] = ()
) -> tuple[FileSystemSeen, list[Problem]]:
    """Return the root to read, and the other roots as problems.

    The one with most of what a system in use has in `etc`, of equals the first in the order given; or the one that
    `wanted` names by device, `device[/subvolume]`, UUID or label. Raises NoSystemError, and UsageError where `wanted`
    is none.
    """
    ranked = sorted((each for each in candidates if is_root(each.names)), key=_rank)
    roots = [each.seen for each in ranked]
    if not roots:
        raise _no_system(candidates, problems)
    chosen = roots[0]
    if wanted is not None:
        matching = [seen for seen in roots if wanted in _names(seen)]
        if not matching:
            names = ", ".join(show(seen.name) for seen in roots)
            raise UsageError("read the root asked for", f"{show(wanted)} is none; the roots here: {names}")
        chosen = matching[0]
    read = show(chosen.name)
    others = [
        Problem(path=seen.name, why=f"another root of a system, beside {read}, which was read; {_with(seen)}")
        for seen in roots
        if seen is not chosen
    ]
    return chosen, others


def _with(seen: FileSystemSeen) -> str:
    return f"read it with --root {shlex.quote(show(seen.name))}"


def _names(seen: FileSystemSeen) -> set[str]:
    """Return what `--root` may call a root; an encrypted device is as good as its content."""
    held = {seen.holder.device, seen.holder.uuid} if seen.holder is not None else set()
    return {seen.name, seen.device, seen.uuid, seen.label, *held} - {""}


def _rank(candidate: Candidate) -> int:
    return -sum(f"etc/{name}" in candidate.names for name in SIGNS)


def _no_system(candidates: Sequence[Candidate], problems: Sequence[Problem]) -> NoSystemError:
    attempted = "find a system on the disks"
    if any(is_windows(each.names) for each in candidates):
        return NoSystemError(attempted, "they hold a Windows system", "vm2c reads Linux systems")
    read = [f"{each.seen.name} ({show(each.seen.type)})" for each in candidates]
    found = f"no root directory on {', '.join(read)}" if read else "there is no file system that could hold one"
    reasons = [f"{show(problem.path)}: {show(problem.why)}" for problem in problems]
    do = "; ".join(reasons[:3]) or "give all disks of the machine together"
    return NoSystemError(attempted, found, do)


class PlannedMount(msgspec.Struct, frozen=True):
    """A file system to mount at a path below the root; `options` are those that choose what is seen of it."""

    seen: FileSystemSeen
    mountpoint: str
    options: str = ""


def plan_mounts(
    lines: Sequence[Line],
    bad: Sequence[BadLine],
    every: Sequence[FileSystemSeen],
    root: FileSystemSeen,
    mappings: Sequence[Mapping] = (),
) -> tuple[list[PlannedMount], list[Problem]]:
    """Return what fstab mounts below the root, parents first, and what of it cannot be.

    `mappings` are the lines of crypttab, which say what `/dev/mapper/NAME` is.
    """
    problems = [Problem(path="/etc/fstab", why=f"line {line.number} is passed over: {line.why}") for line in bad]
    order = disk_order(lines, every, root)
    planned: dict[str, PlannedMount] = {}
    for line in lines:
        mountpoint = _normal(line.mountpoint)
        if mountpoint == "/" or not line.mountpoint.startswith("/") or _passed_over(line):
            continue
        why = _why_not_followed(line, mountpoint)
        seen = find_device(line.device, every, order, mappings) if why is None else None
        if why is None and seen is None:
            why = f"{show(line.device)} is mounted there, and is on no disk given; give all disks of the machine"
        elif why is None and seen is not None:
            why = why_not_mountable(seen)
        if why is None and seen is not None and mountpoint is not None:
            planned[mountpoint] = PlannedMount(seen, mountpoint, _subvolume(line))
        elif why is not None:
            problems.append(Problem(path=mountpoint or line.mountpoint, why=why))
    return sorted(planned.values(), key=lambda mount: mount.mountpoint.count("/")), problems


def _normal(mountpoint: str) -> str | None:
    parts = [part for part in mountpoint.split("/") if part not in {"", "."}]
    return None if ".." in parts else f"/{'/'.join(parts)}"


def _passed_over(line: Line) -> bool:
    return line.type in _NOT_ON_DISK or _REMOVABLE.fullmatch(line.device) is not None


def _why_not_followed(line: Line, mountpoint: str | None) -> str | None:
    if mountpoint is None:
        return f"line {line.number} of /etc/fstab has `..` in its mount point"
    if {"bind", "rbind"} & set(line.options):
        return f"a bind mount of {show(line.device)}; what it shows is read there"
    if snapshots_in(mountpoint) is not None:
        return "snapshots of the system, which are not read"
    if line.type in NETWORK_TYPES or line.device.startswith("//") or re.match(r"[^/=]+:", line.device):
        return f"a network file system ({show(line.type)}) is mounted there; it is on no disk of this machine"
    if line.type.startswith("fuse") or line.type in {"overlay", "aufs", "unionfs", "mergerfs"}:
        return f"a file system of type {show(line.type)} is mounted there, which is made of others"
    if "loop" in line.options or not (line.device.startswith("/dev/") or "=" in line.device):
        return f"the image file {show(line.device)} is mounted there, and images in the guest are not opened"
    if "noauto" in line.options and mountpoint.split("/")[1] not in {"boot", "efi"}:
        return f"{show(line.device)} is mounted there only by hand (noauto)"
    return None


def _subvolume(line: Line) -> str:
    for name in ("subvolid", "subvol"):
        value = line.option(name)
        if value and "," not in value:
            return f"{name}={value}"
    return ""


def disk_order(lines: Sequence[Line], every: Sequence[FileSystemSeen], root: FileSystemSeen) -> dict[int, int]:
    """Return which of the disks given is which disk of fstab, where it is not simply the same number.

    The line of `/` says which disk the guest calls the root's; if it was given in another place, the two
    change places. Otherwise, where fstab names as many disks as were given (sda and sdc), they match in order.
    """
    named = {line.mountpoint: parse_device(line.device) for line in lines}
    at_root = named.get("/")
    if isinstance(at_root, KernelDisk) and root.disk is not None:
        return {at_root.disk: root.disk, root.disk: at_root.disk} if at_root.disk != root.disk else {}
    numbers = sorted({device.disk for device in named.values() if isinstance(device, KernelDisk)})
    there = sorted({on.disk for seen in every if (on := seen.holder or seen).disk is not None})
    if numbers and len(numbers) == len(there) and not set(numbers) <= set(there):
        return dict(zip(numbers, there, strict=True))
    return {}


def find_device(
    spec: str, every: Sequence[FileSystemSeen], order: dict[int, int], mappings: Sequence[Mapping] = ()
) -> FileSystemSeen | None:
    """Return the file system that a device field of fstab names, whatever the guest's kernel called its disks."""
    if spec.startswith(_MAPPER) and (opened := _opened_as(spec, every, order, mappings)) is not None:
        return opened
    device = parse_device(spec)
    whole = [seen for seen in every if not seen.subvolume]
    if isinstance(device, Tag):
        key = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "part_uuid", "PARTLABEL": "part_label"}[device.name]
        exact = device.name.endswith("LABEL")
        wanted = _folded(device.value, exact)
        return next((s for s in whole if wanted and wanted == _folded(getattr(s, key), exact)), None)
    if isinstance(device, KernelDisk):
        disk = order.get(device.disk, device.disk)
        return next((s for s in whole if (s.disk, s.partition) == (disk, device.partition)), None)
    if isinstance(device, Volume):
        return next((s for s in whole if s.device == f"/dev/{device.group}/{device.name}"), None)
    return _by_other_name(device.path, whole)


def _opened_as(
    spec: str, every: Sequence[FileSystemSeen], order: dict[int, int], mappings: Sequence[Mapping]
) -> FileSystemSeen | None:
    """Return what an encrypted volume holds, by its name in crypttab or by UUID; the volume itself where it is shut."""
    name = spec.removeprefix(_MAPPER)
    held = {seen.holder or seen: seen for seen in every if seen.holder is not None or seen.type == LUKS}
    where = next((mapping.device for mapping in mappings if mapping.name == name), None)
    if where is None and name.startswith("luks-"):  # as anaconda and systemd-gpt-auto-generator(8) call them
        where = f"UUID={name.removeprefix('luks-')}"
    holder = None if where is None else find_device(where, list(held), order)
    return None if holder is None else held[holder]


def _folded(value: str, exact: bool) -> str:
    return value if exact else value.lower()


def _by_other_name(path: str, whole: Sequence[FileSystemSeen]) -> FileSystemSeen | None:
    """Return what a name means that says nothing by itself, where there is only one thing it can mean."""
    same = next((seen for seen in whole if seen.device == path), None)
    raids = [seen for seen in whole if seen.device.startswith("/dev/md")]
    if path.startswith("/dev/md"):
        name = re.sub(r"/dev/md(?:/md|/|_d|_)?", "", path)
        return next((seen for seen in raids if seen.raid == name), same or (raids[0] if len(raids) == 1 else None))
    match = re.fullmatch(r"/dev/disk/by-(?:id|path)/(?!dm-|md-|lvm-).+?(?:-part(\d{1,3}))?", path, re.ASCII)
    if same is None and match and {seen.disk for seen in whole} <= {0, None}:
        return next((seen for seen in whole if (seen.disk, seen.partition) == (0, int(match[1] or 0))), None)
    return same
