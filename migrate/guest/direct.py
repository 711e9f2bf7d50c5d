"""The reader that needs no appliance: qemu-nbd under file systems that are read in this process.

It is used only where it is certain to see what a mount would: each partition is an ext2, ext3 or ext4 that was
left clean, with no feature but known ones, or holds no files (swap, a boot loader). For everything else it
raises DiskError with the reason, and libguestfs reads the disks (`migrate.guest.libguestfs`).

Finding the root and what is mounted below it is done by the same code: `DirectHandle` answers the calls of
libguestfs that `Mounter` makes.
"""

from __future__ import annotations

import contextlib
import re
import struct
import uuid
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec

from migrate.errors import DiskError
from migrate.guest.devices import NO_FILES
from migrate.guest.ext import Ext, Read
from migrate.guest.extsuper import LENGTH, OFFSET, parse_superblock
from migrate.guest.handle import Handle, Stat, StatVfs
from migrate.guest.image import ImageInfo, notes_of, source_of
from migrate.guest.mounts import Mounter
from migrate.guest.nbd import NbdDisk
from migrate.guest.partitions import Partition, find_partitions
from migrate.guest.progress import Progress, silent
from migrate.guest.protocol import Entry
from migrate.guest.tree import Tree, TreeGuest, decode
from migrate.text import show

_PLAIN = re.compile(rb"[A-Za-z0-9._/+:-]*")
_RAID = b"\xfc\x4e\x2b\xa9"
# What blkid(8) would find beside a file system or instead of one: (offset, magic).
_SIGNATURES = (
    (0, b"LUKS\xba\xbe"), (0, b"XFSB"), (0x10040, b"_BHRfS_M"), (0x8001, b"CD001"), (3, b"NTFS"), (3, b"EXFAT"),
    (54, b"FAT"), (82, b"FAT32"), (0, _RAID), (4096, _RAID), (1024, b"\x10\x20\xf5\xf2"),
    (0x1018, b"\xc6\x85\x73\xf6"), (0, b"hsqs"), (65600, b"ReIsEr"), (0x8000, b"JFS1"),
    *((sector * 512, b"LABELONE") for sector in range(4)),
)  # fmt: skip
_SWAP = (b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")
_PAGE = 4096


class _Device(msgspec.Struct, frozen=True):
    """A partition, or a disk without any: where it is, and its entry in the partition table."""

    name: str
    disk: int
    read: Read
    size: int
    partition: Partition | None


class DirectHandle:
    """Answers what `Mounter` asks of libguestfs, for the disks that were opened. Nothing is ever mounted for real.

    Raises DiskError for whatever cannot be read with certainty, and RuntimeError as libguestfs does for what a
    guest simply does not have.
    """

    def __init__(self, disks: Sequence[tuple[Read, int]], progress: Progress = silent) -> None:
        self._disks = disks
        self._progress = progress
        self.filesystems: list[Ext] = []
        self._mounted: dict[str, Ext] = {}
        self._by_device: dict[str, tuple[Ext, list[Entry]]] = {}
        self._tree: Tree | None = None
        self._devices: dict[str, _Device] = {}
        for number, (read, size) in enumerate(disks):
            for device in _devices(number, read, size):
                self._devices[device.name] = device

    # ------------------------------------------------------------ devices

    def is_ready(self) -> int:
        """Tell that it can be asked: what stops it is an error of its own."""
        return 1

    def list_disk_labels(self) -> dict[str, str]:
        """Return the disks by their labels, which are their names."""
        return {_disk_name(number): _disk_name(number) for number in range(len(self._disks))}

    def list_devices(self) -> list[str]:
        """Return the disks."""
        return [_disk_name(number) for number in range(len(self._disks))]

    def list_partitions(self) -> list[str]:
        """Return the partitions."""
        return [name for name, device in self._devices.items() if device.partition is not None]

    def list_md_devices(self) -> list[str]:
        """Return none: a member of a RAID is not read."""
        return []

    def lvs(self) -> list[str]:
        """Return none: a physical volume is not read."""
        return []

    def part_to_dev(self, partition: str) -> str:
        """Return the disk that a partition is on."""
        return _disk_name(self._devices[partition].disk)

    def part_to_partnum(self, partition: str) -> int:
        """Return a partition's number."""
        found = self._devices[partition].partition
        return 0 if found is None else found.number

    def blockdev_getsize64(self, device: str) -> int:
        """Return a device's size in bytes."""
        return self._devices[device].size

    def blkid(self, device: str) -> dict[str, str]:
        """Return what blkid(8) says of a device. Raises DiskError where that is not certain."""
        found = self._devices[device]
        tags = _tags(found)
        if (part := found.partition) is not None:
            tags["PART_ENTRY_TYPE"] = part.type
            if part.uuid:
                tags["PART_ENTRY_UUID"] = part.uuid
            if part.label:
                tags["PART_ENTRY_NAME"] = part.label
        return tags

    # ------------------------------------------------------------ mounting

    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None:  # noqa: ARG002 - always read-only
        """Show a file system's files below a directory of what is mounted."""
        if mountable not in self._by_device:
            self._progress(f"reading metadata of {mountable}")
            device = self._devices[mountable]
            ext = Ext(device.read, device.size, device.name, len(self.filesystems))
            self._by_device[mountable] = ext, list(ext.entries())
            self.filesystems.append(ext)
        if any(ext is self._by_device[mountable][0] for ext in self._mounted.values()):
            raise DiskError("read the disks directly", f"{mountable} is mounted in more than one place")
        ext, entries = self._by_device[mountable]
        prefix = "" if mountpoint == "/" else mountpoint
        known = [] if self._tree is None or not prefix else self._tree.walk()
        kept = [each for each in known if each.path != mountpoint and not each.path.startswith(f"{prefix}/")]
        moved = [msgspec.structs.replace(each, path=(prefix + each.path).rstrip("/") or "/") for each in entries]
        self._tree = Tree([*kept, *(moved if prefix else entries)])
        self._mounted[mountpoint] = ext

    def umount_all(self) -> None:
        """Show nothing any more."""
        self._mounted.clear()
        self._tree = None

    @property
    def tree(self) -> Tree:
        """What is mounted, as one tree."""
        if self._tree is None:
            raise RuntimeError("nothing is mounted")
        return self._tree

    def statvfs(self, path: str) -> StatVfs:
        """Return the usage of what is mounted at a path."""
        ext = self._mounted[path]
        blocks, free = ext.usage()
        size = ext.superblock.block_size
        return StatVfs(bsize=size, frsize=size, blocks=blocks, bfree=free)

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
        ext = self.filesystems[entry.inode[0]]
        return ext.read_file(entry.path, entry.inode[1], length)


class DirectGuest(TreeGuest):
    """The disks of one machine, read in this process.

    `root` is the device, UUID or label of the root to read where there are several. Raises DiskError where it is not
    certain that this gives what a mount gives, or something fails; NoSystemError where no root is found, and
    UsageError where `root` is none.
    """

    def __init__(self, disks: Sequence[ImageInfo], root: str | None, progress: Progress = silent) -> None:
        self._servers: list[NbdDisk] = []
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
            # Of the calls that a Handle has, Mounter makes only those that DirectHandle answers.
            mounted = Mounter(cast("Handle", self._handle), labels, progress).mount(root)
            notes = notes_of(disks)
            source = source_of(disks, mounted.filesystems, "direct")
            super().__init__(self._handle.tree, source, [*notes, *mounted.problems])
            stack.pop_all()

    def close(self) -> None:
        """End the servers of the disks."""
        for server in self._servers:
            server.close()
        self._servers = []
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        return self._handle.pieces(entry, length)


def _disk_name(number: int) -> str:
    """Return what libguestfs calls a disk (sd(4)): a to z, then aa."""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return f"/dev/sd{letters}"


def _devices(number: int, read: Read, size: int) -> list[_Device]:
    """Return a disk's partitions, or the disk itself where it has no table. Raises DiskError."""
    disk = _disk_name(number)
    try:
        partitions = find_partitions(read, size)
    except ValueError as error:
        raise DiskError("read the disks directly", f"of {disk}: {error}") from error
    if partitions is None:
        return [_Device(disk, number, read, size, None)]
    return [_Device(f"{disk}{p.number}", number, _within(read, p), p.size, p) for p in partitions]


def _within(read: Read, partition: Partition) -> Read:
    def read_within(offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > partition.size:
            raise DiskError(f"read partition {partition.number}", f"byte {offset + length} is beyond its end")
        return read(partition.start + offset, length)

    return read_within


def _tags(device: _Device) -> dict[str, str]:
    """Return type, UUID and label of what is on a device; nothing where there are only zeros.

    Nothing, too, where the partition's type says that it holds no files and no file system is seen on it.
    Raises DiskError for anything but that, a clean ext2, ext3 or ext4, or swap.
    """
    swap = _at(device, _PAGE - 10, 10)
    other = any(_at(device, offset, len(magic)) == magic for offset, magic in _signatures(device.size))
    found = parse_superblock(_at(device, OFFSET, LENGTH))
    if found is not None and not other and not swap.startswith(_SWAP):
        if found.why_not:
            raise DiskError("read the disks directly", f"of {device.name} ({found.type}): {found.why_not}")
        return _filled(TYPE=found.type, UUID=found.uuid, LABEL=found.label)
    if found is None and not other and swap == _SWAP[0]:
        return _swap_tags(device)
    no_files = device.partition is not None and device.partition.type in NO_FILES
    if found is None and not other and not swap.startswith(_SWAP) and (no_files or _is_blank(device)):
        return {}
    raise DiskError("read the disks directly", f"{device.name} holds something else than ext2, ext3, ext4 or swap")


def _is_blank(device: _Device) -> bool:
    """Tell whether there are only zeros wherever blkid(8) looks for anything: the start and the end."""
    start, end = min(device.size, 2 << 20), max(0, device.size - (1 << 20))
    return not any(device.read(0, start)) and not any(device.read(end, device.size - end))


def _swap_tags(device: _Device) -> dict[str, str]:
    """Return what mkswap(8) wrote: version 1, sizes, UUID and label from byte 1024 on (linux, union swap_header)."""
    version, last = struct.unpack("<II", _at(device, 1024, 8))
    identity, label = _at(device, 1036, 16), _at(device, 1052, 16).partition(b"\0")[0]
    if version != 1 or not last or _PLAIN.fullmatch(label) is None:
        raise DiskError("read the disks directly", f"the swap on {device.name} is not as mkswap writes it")
    return _filled(TYPE="swap", UUID=str(uuid.UUID(bytes=identity)) if any(identity) else "", LABEL=decode(label))


def _filled(**tags: str) -> dict[str, str]:
    return {name: value for name, value in tags.items() if value}


def _at(device: _Device, offset: int, length: int) -> bytes:
    return device.read(offset, length) if 0 <= offset <= device.size - length else b""


def _signatures(size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the places of other formats' signatures; those of a RAID are at the end too (md(4))."""
    yield from _SIGNATURES
    yield (size & ~0xFFFF) - 0x10000, _RAID
    yield ((size // 512 - 16) & ~7) * 512, _RAID


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
