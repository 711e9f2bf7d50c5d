"""The reader that needs no appliance: qemu-nbd under volumes and file systems that are read in this process.

It is used only where it is certain to see what a mount would: each partition or logical volume holds a file system of
a kind and in a state that `filesystems.probe` knows, or no files at all (swap, a boot loader). For everything else it
raises DiskError with the reason, and libguestfs reads the disks (`libguestfs.reader`). What turns out unreadable only
later, in a file's content, is read through libguestfs from then on.

Finding the root and what is mounted below it is done by the same code: `DirectHandle` answers the calls of
libguestfs that `Mounter` makes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec

from migrate.errors import DiskError, GuestFileError
from migrate.guest.digests import Answer, Job, hashed_by
from migrate.guest.directhash import DirectHashing
from migrate.guest.filesystems.hashing import Opened
from migrate.guest.filesystems.inprocess import Found, InProcess, Read
from migrate.guest.filesystems.probe import examine, open_found
from migrate.guest.images.image import ImageInfo, notes_of, source_of
from migrate.guest.images.nbd import NbdDisk
from migrate.guest.libguestfs.handle import Handle, Stat, StatVfs
from migrate.guest.mounting.devices import NO_FILES
from migrate.guest.mounting.mounts import Mounter
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Entry, Guest, Problem
from migrate.guest.tree import Tree, TreeGuest
from migrate.guest.volumes.lvm import Member, find_volumes
from migrate.guest.volumes.partitions import Partition, find_partitions
from migrate.text import show


class _Device(msgspec.Struct, frozen=True):
    """A partition, a disk without any, or a logical volume.

    `disk` is None for what may span disks; `found` is None where there is nothing on it.
    """

    name: str
    read: Read
    size: int
    disk: int | None
    partition: Partition | None
    found: Found | None


class DirectHandle:
    """Answers what `Mounter` asks of libguestfs, for the disks that were opened. Nothing is ever mounted for real.

    Raises DiskError for whatever cannot be read with certainty, and RuntimeError as libguestfs does for what a
    guest simply does not have.
    """

    def __init__(self, disks: Sequence[tuple[Read, int]], progress: Progress = silent) -> None:
        self._disks = disks
        self._progress = progress
        self.filesystems: list[Opened] = []
        self.names: list[str] = []
        self.notes: list[Problem] = []
        self._mounted: dict[str, InProcess] = {}
        self._by_device: dict[str, tuple[InProcess, list[Entry]]] = {}
        self._tree: Tree | None = None
        self._devices: dict[str, _Device] = {}
        for number, (read, size) in enumerate(disks):
            for device in self._on_disk(number, read, size):
                self._devices[device.name] = device
        self._volumes = self._assemble()

    def _on_disk(self, number: int, read: Read, size: int) -> Iterator[_Device]:
        """Yield a disk's partitions, or the disk itself where it has no table. Raises DiskError."""
        disk = _disk_name(number)
        try:
            table = find_partitions(read, size)
        except ValueError as error:
            raise DiskError("read the disks directly", f"of {disk}: {error}") from error
        if table is None:
            yield _Device(disk, read, size, number, None, examine(read, size, disk, no_files=False))
            return
        for part in table:
            name, within = f"{disk}{part.number}", _within(read, part)
            found = examine(within, part.size, name, no_files=part.type in NO_FILES)
            yield _Device(name, within, part.size, number, part, found)

    def _assemble(self) -> list[str]:
        """Add the logical volumes on all physical ones; return their names."""
        members = [
            Member(name=each.name, read=each.read, size=each.size)
            for each in self._devices.values()
            if each.found is not None and each.found.type == "LVM2_member"
        ]
        volumes = find_volumes(members) if members else []
        for volume in volumes:
            found = examine(volume.read, volume.size, volume.device, no_files=False)
            self._devices[volume.device] = _Device(volume.device, volume.read, volume.size, None, None, found)
        return [volume.device for volume in volumes]

    # ------------------------------------------------------------ devices

    def is_ready(self) -> int:
        """Tell that it can be asked: what stops it is an error of its own."""
        return 1

    def list_disk_labels(self) -> dict[str, str]:
        """Return the disks by their labels, which are their names."""
        return {_disk_name(number): _disk_name(number) for number in range(len(self._disks))}

    def list_partitions(self) -> list[str]:
        """Return the partitions."""
        return [name for name, device in self._devices.items() if device.partition is not None]

    def list_md_devices(self) -> list[str]:
        """Return none: a member of a RAID is not read."""
        return []

    def lvs(self) -> list[str]:
        """Return the logical volumes."""
        return self._volumes

    def vgs(self) -> list[str]:
        """Return no volume group: of none is anything missing, or the disks would have been refused."""
        return []

    def vfs_label(self, mountable: str) -> str:
        """Return the label of a file system."""
        found = self._devices[mountable].found
        return "" if found is None else found.label

    def blockdev_getsize64(self, device: str) -> int:
        """Return a device's size in bytes."""
        return self._devices[device].size

    def blkid(self, device: str) -> dict[str, str]:
        """Return what blkid(8) says of a device; nothing of its content where there are only zeros."""
        asked = self._devices[device]
        found, part = asked.found, asked.partition
        tags = {} if found is None else {"TYPE": found.type, "UUID": found.uuid, "LABEL": found.label}
        if part is not None:
            tags |= {"PART_ENTRY_TYPE": part.type, "PART_ENTRY_UUID": part.uuid, "PART_ENTRY_NAME": part.label}
        return {name: value for name, value in tags.items() if value}

    # ------------------------------------------------------------ mounting

    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None:  # noqa: ARG002 - always read-only
        """Show a file system's files below a directory of what is mounted."""
        mounted, entries = self._open(mountable)
        if any(each is mounted for each in self._mounted.values()):
            raise DiskError("read the disks directly", f"{mountable} is mounted in more than one place")
        prefix = "" if mountpoint == "/" else mountpoint
        known = [] if self._tree is None or not prefix else self._tree.walk()
        kept = [each for each in known if each.path != mountpoint and not each.path.startswith(f"{prefix}/")]
        moved = (msgspec.structs.replace(each, path=(prefix + each.path).rstrip("/") or "/") for each in entries)
        self._tree = Tree(itertools.chain(kept, moved if prefix else entries))
        self._mounted[mountpoint] = mounted

    def _open(self, name: str) -> tuple[InProcess, list[Entry]]:
        """Return the file system on a device and its entries, which are read once."""
        if name not in self._by_device:
            device = self._devices[name]
            if device.found is None:
                raise RuntimeError("there is no file system on it")  # told like the library's own errors
            self._progress(f"reading metadata of {name}")
            opened = self.open_again(name)
            self._by_device[name] = opened, list(opened.entries())
        return self._by_device[name]

    def open_again(self, name: str) -> InProcess:
        """Open the file system on a device as the next of `filesystems`, whose devices' `names` are kept beside them.

        With the names of another handle of the same disks, it has the same file systems by the same numbers.
        """
        device = self._devices[name]
        if device.found is None:
            raise RuntimeError("there is no file system on it")
        opened = open_found(device.found, device.read, device.size, name, len(self.filesystems))
        self.filesystems.append(Opened(opened, device.read))
        self.names.append(name)
        return opened

    def umount_all(self) -> None:
        """Show nothing any more."""
        self._mounted.clear()
        self._tree = None

    def finish(self) -> Tree:
        """Return what is mounted as one tree; nothing more can be mounted."""
        self._by_device.clear()
        return self.tree

    @property
    def tree(self) -> Tree:
        """What is mounted so far, as one tree."""
        if self._tree is None:
            raise RuntimeError("nothing is mounted")
        return self._tree

    def statvfs(self, path: str) -> StatVfs:
        """Return the usage of what is mounted at a path."""
        usage = self._mounted[path].usage()
        return StatVfs(bsize=usage.block_size, frsize=usage.block_size, blocks=usage.blocks, bfree=usage.free)

    def realpath(self, path: str) -> str:
        """Return the path with its symbolic links resolved."""
        found = self.tree.find(path)
        if found is None:
            raise RuntimeError("No such file or directory")
        return found.path

    def is_dir(self, path: str, followsymlinks: bool | None = None) -> int:
        """Tell whether there is a directory."""
        found = self.tree.find(path, follow=bool(followsymlinks))
        return int(found is not None and found.kind == "directory")

    def is_file(self, path: str, followsymlinks: bool | None = None) -> int:
        """Tell whether there is a regular file."""
        found = self.tree.find(path, follow=bool(followsymlinks))
        return int(found is not None and found.kind == "file")

    def lstatnslist(self, path: str, names: Sequence[str]) -> list[Stat]:
        """Return the inodes of names in a directory, -1 where there is none; nothing else of them is asked for."""
        found = [self.tree.find(f"{path.rstrip('/')}/{name}", follow=False) for name in names]
        return [_stat(-1 if each is None else each.inode[1]) for each in found]

    def pread(self, path: str, count: int, offset: int) -> bytes:
        """Return content of a file; only from its start."""
        entry = self.tree.find(path)
        if entry is None or entry.kind != "file" or offset:
            raise RuntimeError("No such file")
        return b"".join(self.pieces(entry, min(count, entry.size)))

    def pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        """Yield the start of a regular file. Raises GuestFileError, DiskError."""
        return self.filesystems[entry.inode[0]].system.read_file(entry.path, entry.inode[1], length)


class DirectGuest(TreeGuest):
    """The disks of one machine, read in this process.

    `root` is the device, UUID or label of the root to read where there are several. `instead` opens the same disks
    another way: it is called once, when content cannot be read although its place was, and answers from then on.

    Raises DiskError where it is not certain that this gives what a mount gives, or something fails; NoSystemError where
    no root is found, and UsageError where `root` is none.
    """

    def __init__(
        self,
        disks: Sequence[ImageInfo],
        root: str | None,
        progress: Progress = silent,
        *,
        notify: Notify = silent,
        instead: Callable[[], Guest] | None = None,
    ) -> None:
        self._servers: list[NbdDisk] = []
        self._notify = notify
        self._instead = instead
        self._other: Guest | None = None
        with contextlib.ExitStack() as stack:
            progress("opening the disks")
            for disk in disks:
                server = NbdDisk(disk)
                stack.callback(server.close)
                self._servers.append(server)
                if server.size != disk.virtual_bytes:
                    found = f"qemu-nbd gives {server.size} bytes where {disk.virtual_bytes} were expected"
                    raise DiskError(f"open {show(disk.given)}", found)
            self._handle = DirectHandle([(server.read, server.size) for server in self._servers], progress)
            labels = list(self._handle.list_disk_labels())
            self._hashing = DirectHashing(
                disks=tuple(disks),
                filesystems=self._handle.filesystems,
                devices=self._handle.names,
                notify=notify,
                progress=progress,
            )
            # Of the calls that a Handle has, Mounter makes only those that DirectHandle answers.
            mounted = Mounter(cast("Handle", self._handle), labels, progress).mount(root)
            problems = [*notes_of(disks), *self._handle.notes, *mounted.problems]
            super().__init__(self._handle.finish(), source_of(disks, mounted.filesystems, "direct"), problems)
            stack.pop_all()

    def close(self) -> None:
        """End the servers of the disks."""
        for server in self._servers:
            server.close()
        self._servers = []
        if self._other is not None:
            self._other.close()
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        done = 0
        if self._other is None:
            try:
                for piece in self._handle.pieces(entry, length):
                    yield piece
                    done += len(piece)
            except (DiskError, GuestFileError) as error:
                self._other = self._opened_instead(entry, error)
            else:
                return
        yield from _after(self._other.chunks(entry.path), done, length)

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash directly, and what cannot be read so in the other way."""
        answers: list[Answer | None] = list(self._hashing.digests(jobs))
        left: list[int] = []
        for number, answer in enumerate(answers):
            if answer is None and self._other is None:
                answers[number] = self._digest(jobs[number])
            elif answer is None:
                left.append(number)
        if self._other is not None and left:
            for number, answer in zip(left, hashed_by(self._other, [jobs[each] for each in left]), strict=True):
                answers[number] = answer
        return [answer for answer in answers if answer is not None]

    def _opened_instead(self, entry: Entry, error: DiskError | GuestFileError) -> Guest:
        """Open the disks the other way. Raises GuestFileError where there is none, with what was wrong here."""
        if self._instead is None:
            if isinstance(error, GuestFileError):
                raise error
            raise GuestFileError(f"read {show(entry.path)}", error.found, error.do) from error
        self._notify(f"reading on through libguestfs: {show(entry.path)} cannot be read directly ({error.found})")
        try:
            return self._instead()
        except DiskError as failed:
            self._instead = None
            found = f"{error.found}; and libguestfs does not open the disks: {failed.found}"
            raise GuestFileError(f"read {show(entry.path)}", found, failed.do) from failed


def _after(pieces: Iterator[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` of what the pieces make together."""
    at = 0
    for piece in pieces:
        part = piece[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if part:
            yield part
        if at >= end:
            return


def _disk_name(number: int) -> str:
    """Return what libguestfs calls a disk (sd(4)): a to z, then aa."""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return f"/dev/sd{letters}"


def _within(read: Read, partition: Partition) -> Read:
    def read_within(offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > partition.size:
            raise DiskError(f"read partition {partition.number}", f"byte {offset + length} is beyond its end")
        return read(partition.start + offset, length)

    return read_within


def _stat(inode: int) -> Stat:
    return Stat(
        st_dev=0,
        st_ino=inode,
        st_mode=0,
        st_nlink=0,
        st_uid=0,
        st_gid=0,
        st_rdev=0,
        st_size=0,
        st_blocks=0,
        st_mtime_sec=0,
    )
