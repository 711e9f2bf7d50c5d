"""Finding the file systems on the disks of an appliance, and mounting them as the machine would, read-only.

Nothing here depends on what libguestfs' own inspection knows of distributions: a root is a directory that has
`etc` and programs, whatever it is called. No failure of one file system stops the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from migrate.errors import NoSystemError
from migrate.guest.filesystems.xfssuper import LENGTH, parse_superblock
from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, must_live, reason
from migrate.guest.mounting.btrfs import TOP, Subvolumes, candidates, nested_snapshots, subvolumes, top_names
from migrate.guest.mounting.crypttab import Mapping, parse_crypttab
from migrate.guest.mounting.devices import find_devices
from migrate.guest.mounting.fstab import BadLine, Line, parse_fstab
from migrate.guest.mounting.keys import Key
from migrate.guest.mounting.layout import (
    Candidate,
    FileSystemSeen,
    PlannedMount,
    choose_root,
    disk_order,
    find_device,
    holds_files,
    may_be_root,
    plan_mounts,
    why_not_mountable,
)
from migrate.guest.progress import Progress
from migrate.guest.protocol import FileSystem, Problem
from migrate.guest.tree import decode
from migrate.text import show

_MAX_TABLE = 1 << 20  # of fstab and crypttab, in bytes
_GAVE_UP = "mounted without replaying its journal, which is damaged: what was written last may be missing"
# First as the machine would; then what gets at the files where that fails (ext4(5), xfs(5)). A journal is replayed
# on the appliance's own overlay, never on the disk.
# A name outside of ISO 8859-1 has else `?` in it, and times follow the appliance's own zone (kernel, filesystems/vfat).
_FAT = (("ro,utf8,tz=UTC", ""),)
_WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "ext2": (("ro", ""), ("ro,noload", _GAVE_UP)),
    "ext3": (("ro", ""), ("ro,noload", _GAVE_UP)),
    "ext4": (("ro", ""), ("ro,noload", _GAVE_UP)),
    "xfs": (("ro", ""), ("ro,nouuid", ""), ("ro,nouuid,norecovery", _GAVE_UP)),
    "btrfs": (("ro", ""), ("ro,degraded", "mounted with a device of it missing")),
    "vfat": _FAT,
    "msdos": _FAT,
}


def options_of(kind: str) -> str:
    """Return the options that a file system of a type is mounted with, if nothing is wrong with it.

    >>> options_of("vfat"), options_of("ext4")
    ('ro,utf8,tz=UTC', 'ro')
    """
    return _ways(kind)[0][0]


def _ways(kind: str) -> tuple[tuple[str, str], ...]:
    return _WAYS.get(kind, (("ro", ""),))


class Mounted(msgspec.Struct, frozen=True):
    """What was found and mounted.

    `filesystems` holds all of them, those without a mount point too. `hidden` are directories of the guest that
    are no part of its system, though they show in it: snapshots.
    """

    filesystems: tuple[FileSystem, ...]
    problems: tuple[Problem, ...]
    hidden: tuple[str, ...] = ()


class Mounter:
    """Finds and mounts what is on the disks of a launched appliance; `labels` are its disks' labels, in order.

    `keys` open what is encrypted. `by_kernel` says that it is a kernel that mounts, not a reader of our own.
    """

    def __init__(
        self,
        handle: Handle,
        labels: Sequence[str],
        progress: Progress,
        keys: Sequence[Key] = (),
        *,
        by_kernel: bool = False,
    ) -> None:
        self._handle = handle
        self._labels = labels
        self._keys = keys
        self._by_kernel = by_kernel
        self._progress = progress
        self._problems: list[Problem] = []
        self._volumes: dict[str, Subvolumes] = {}

    def mount(self, wanted: str | None) -> Mounted:
        """Mount the root and what its fstab says below it.

        Raises NoSystemError where there is no root, UsageError where `wanted` names none of those there are.
        """
        self._progress("looking for file systems")
        every, problems = find_devices(self._handle, self._labels, self._keys)
        self._problems += problems
        self._problems += [Problem(path=s.name, why=why) for s in every if (why := why_not_mountable(s)) is not None]
        looked_at = [seen for seen in every if may_be_root(seen)]
        stays = len(looked_at) == 1 and looked_at[0].type != "btrfs"
        roots = [each for seen in looked_at for each in self._candidates(seen, stays=stays)]
        root, others = choose_root(roots, wanted, self._problems)
        self._problems += others
        if not stays and not self._mounts(root, "/"):
            raise NoSystemError(f"read {root.name}", "it was mounted a moment ago, and cannot be mounted again")
        lines, bad = self._fstab()
        mappings = self._crypttab() if any(line.device.startswith("/dev/mapper/") for line in lines) else []
        planned, problems = plan_mounts(lines, bad, every, root, mappings)
        self._problems += problems
        mounted = [PlannedMount(root, "/")]
        mounted += [m for mount in planned if (m := self._mount_below(mount)) is not None]
        self._report_unmounted(every, mounted, lines, mappings)
        hidden = self._hidden(mounted)
        return Mounted(self._filesystems(every, mounted), tuple(self._problems), hidden)

    def _candidates(self, seen: FileSystemSeen, *, stays: bool) -> list[Candidate]:
        """Mount a file system alone and see what is in it; a btrfs by its top, with all subvolumes in sight.

        One that `stays` mounted is the only one, and needs not be mounted again.
        """
        is_btrfs = seen.type == "btrfs"
        if not self._mounts(seen, "/", f"subvolid={TOP}" if is_btrfs else ""):
            return []
        try:
            if not is_btrfs:
                return [Candidate(seen, top_names(self._handle, "/"))]
            volumes = self._volumes[seen.device] = subvolumes(self._handle)
            return candidates(self._handle, seen, volumes)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            self._problem(seen.name, f"its subvolumes cannot be listed: {reason(error)}")
            return [Candidate(seen, top_names(self._handle, "/"))]
        finally:
            if not stays:
                with contextlib.suppress(*BINDING_ERRORS):
                    self._handle.umount_all()

    def _hidden(self, mounted: Sequence[PlannedMount]) -> tuple[str, ...]:
        """Return the directories of snapshots within what is mounted; they hold the system over and over."""
        hidden: set[str] = set()
        for mount in mounted:
            if mount.seen.device in self._volumes:
                hidden |= nested_snapshots(mount, self._volumes[mount.seen.device])
        for path in sorted(hidden):
            self._problem(path, "snapshots of the system, which are not read")
        return tuple(sorted(hidden))

    def _mounts(self, seen: FileSystemSeen, mountpoint: str, options: str = "") -> bool:
        """Mount one file system read-only, some way; a failure is a problem with the first way's reason."""
        first = ""
        if seen.subvolume and not options:
            options = f"subvol=/{seen.subvolume.strip('/')}"
        for way, note in _ways(seen.type):
            try:
                self._handle.mount_options(",".join(filter(None, (way, options))), seen.device, mountpoint)
            except BINDING_ERRORS as error:
                must_live(self._handle, error)
                first = first or reason(error)
                continue
            if note:
                self._problem(seen.name, f"{note} ({first})")
            return True
        self._problem(seen.name, f"cannot be mounted: {first}")
        return False

    def _mount_below(self, mount: PlannedMount) -> PlannedMount | None:
        """Mount at a path below the root; the path's symlinks are resolved within the guest first."""
        try:
            real = self._handle.realpath(mount.mountpoint)
            if not self._handle.is_dir(real):
                raise RuntimeError("not a directory")  # told like the library's own errors
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            name = show(mount.seen.name)
            self._problem(mount.mountpoint, f"{name} belongs there, and there is no such directory to mount it on")
            return None
        return PlannedMount(mount.seen, real, mount.options) if self._mounts(mount.seen, real, mount.options) else None

    def _fstab(self) -> tuple[list[Line], list[BadLine]]:
        return parse_fstab(self._table("/etc/fstab", "so only the root is mounted"))

    def _crypttab(self) -> list[Mapping]:
        return parse_crypttab(self._table("/etc/crypttab", "so the names of encrypted volumes are not known"))

    def _table(self, path: str, consequence: str) -> str:
        try:
            if not self._handle.is_file(path, followsymlinks=True):
                return ""
            return decode(self._handle.pread(path, _MAX_TABLE, 0))
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            self._problem(path, f"cannot be read, {consequence}: {reason(error)}")
            return ""

    def _report_unmounted(
        self,
        every: Sequence[FileSystemSeen],
        mounted: Sequence[PlannedMount],
        lines: Sequence[Line],
        mappings: Sequence[Mapping],
    ) -> None:
        told = {mount.seen.device for mount in mounted} | {problem.path.partition("[")[0] for problem in self._problems}
        order = disk_order(lines, every, mounted[0].seen)
        told |= {
            seen.device for line in lines if (seen := find_device(line.device, every, order, mappings)) is not None
        }
        for seen in every:
            if holds_files(seen) and seen.device not in told:
                self._problem(
                    seen.name, f"a file system ({show(seen.type)}) that fstab does not mount; it was not read"
                )

    def _filesystems(self, every: Sequence[FileSystemSeen], mounted: Sequence[PlannedMount]) -> tuple[FileSystem, ...]:
        found = [self._filesystem(mount.seen, mount.mountpoint) for mount in mounted]
        devices = {mount.seen.device for mount in mounted}
        found += [self._filesystem(seen, "") for seen in every if seen.device not in devices]
        return tuple(found)

    def _filesystem(self, seen: FileSystemSeen, mountpoint: str) -> FileSystem:
        size = used = 0
        try:
            if mountpoint:
                size, used = self._usage(seen, mountpoint)
            else:
                size = self._handle.blockdev_getsize64(seen.device)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
        return FileSystem(
            device=seen.name,
            type=seen.type,
            mountpoint=mountpoint,
            bytes=size,
            used=used,
            label=seen.label,
            uuid=seen.uuid,
        )

    def _usage(self, seen: FileSystemSeen, mountpoint: str) -> tuple[int, int]:
        """Return a mounted file system's size, and what is used of it. Raises what the binding raises.

        Of an XFS its superblock says it: each version of the kernel keeps another amount in reserve (xfs_fs_statfs).
        """
        if self._by_kernel and seen.type == "xfs":
            superblock = parse_superblock(self._handle.pread_device(seen.device, LENGTH, 0))
            if superblock is not None:
                found = superblock.usage()
                return found.blocks * found.block_size, (found.blocks - found.free) * found.block_size
        answer = self._handle.statvfs(mountpoint)
        return answer["blocks"] * answer["frsize"], (answer["blocks"] - answer["bfree"]) * answer["frsize"]

    def _problem(self, path: str, why: str) -> None:
        self._problems.append(Problem(path=path, why=why))
