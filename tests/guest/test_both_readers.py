"""Both readers see the same, byte for byte, on every disk that both can open; what only one opens is named here.

One appliance holds all disks at once; each is compared with what the direct reader makes of it alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from migrate.errors import DiskError
from migrate.guest.direct import DirectHandle, _disk_name
from migrate.guest.filesystems.hashing import Task, hash_tasks
from migrate.guest.images.image import ImageInfo
from migrate.guest.images.nbd import NbdDisk
from migrate.guest.inputs import images_of
from migrate.guest.libguestfs.handle import Handle
from migrate.guest.libguestfs.hashing import sums_below
from migrate.guest.libguestfs.reader import _Machine
from migrate.guest.libguestfs.sweep import Sweep
from migrate.guest.mounting.devices import find_devices
from migrate.guest.mounting.layout import FileSystemSeen, holds_files
from migrate.guest.mounting.mounts import options_of
from migrate.guest.progress import silent
from migrate.guest.protocol import Entry
from migrate.guest.spool import reopened, spool
from tests.guest.compared import same_analysis
from tests.guest.made import CORPUS, needs_guestfs, unpacked

pytestmark = pytest.mark.appliance

ONLY_LIBGUESTFS = {
    "luks1.raw": "it is encrypted",
    "luks2.raw": "it is encrypted",
    "ntfs-differential.vhdx": "/a_link: it is a reparse point",
    "compressed_stream_opt.vmdk": "holds something that is not recognised",
    "streamOptimizedWithMarkers.vmdk": "holds something that is not recognised",
}
"""Disks that the direct reader leaves to libguestfs, with a part of its reason."""

REFUSED = {
    "no_ovf.ova": "it has no OVF descriptor",
    "wrong_ova.ova": "its descriptor names .*, and that is not beside it",
    "tw_sparse-s001.vmdk": "it is a part of a disk; give the descriptor",
}
"""Files that are no disk that can be read, with a part of the reason."""


class Attached(msgspec.Struct, frozen=True):
    """The appliance with all disks, and which disk of it is which."""

    handle: Handle
    numbers: dict[str, int]
    infos: dict[str, ImageInfo]
    devices: list[FileSystemSeen]


def names() -> list[str]:
    """The corpus' disks, by their names once they are unpacked."""
    return sorted(path.name.removesuffix(".zst") for path in CORPUS.iterdir()) if CORPUS.is_dir() else []


@pytest.fixture(scope="module")
def place(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the corpus in one folder, unpacked: differencing disks need their parents beside them."""
    place = tmp_path_factory.mktemp("corpus")
    for path in corpus.iterdir():
        if path.suffix == ".zst":
            unpacked(corpus, path.stem, place)
        else:
            shutil.copy(path, place)
    return place


@pytest.fixture(scope="module")
def attached(place: Path) -> Iterator[Attached]:
    needs_guestfs()
    with contextlib.ExitStack() as stack:
        infos: dict[str, ImageInfo] = {}
        for name in names():
            if name not in REFUSED:
                infos[name] = images_of(place / name, stack=stack)[0]
        machine = _Machine(list(infos.values()), silent, silent)
        stack.callback(machine.servers.close)
        stack.callback(machine.handle.close)
        devices, problems = find_devices(machine.handle, machine.labels)
        assert problems == []
        yield Attached(machine.handle, {name: number for number, name in enumerate(infos)}, infos, devices)


@pytest.mark.parametrize("name", names())
def test_a_disk_of_the_corpus(place: Path, attached: Attached, name: str) -> None:
    if name in REFUSED:
        with contextlib.ExitStack() as stack, pytest.raises(DiskError, match=REFUSED[name]):
            images_of(place / name, stack=stack)
        return
    disk = NbdDisk(attached.infos[name])
    try:
        if name in ONLY_LIBGUESTFS:
            with pytest.raises(DiskError, match=ONLY_LIBGUESTFS[name]):
                mount_all(DirectHandle([(disk.read, disk.size)]))
            return
        compare(DirectHandle([(disk.read, disk.size)]), attached, attached.numbers[name])
    finally:
        disk.close()


def mount_all(direct: DirectHandle) -> None:
    for seen in find_devices(direct, ["/dev/sda"])[0]:  # type: ignore[arg-type]
        if holds_files(seen):
            direct.mount_options("ro", seen.device, "/")
            direct.umount_all()


def compare(direct: DirectHandle, attached: Attached, number: int) -> None:
    """Hold what the direct reader sees on its only disk against the appliance's disk of that number."""
    mine, problems = find_devices(direct, ["/dev/sda"])  # type: ignore[arg-type]  # as in migrate.guest.direct
    assert problems == []

    def renamed(seen: FileSystemSeen) -> FileSystemSeen:
        device = seen.device.replace("/dev/sda", _disk_name(number))
        return msgspec.structs.replace(seen, device=device, disk=None if seen.disk is None else number)

    volumes = {seen.device for seen in mine if seen.disk is None}
    theirs = [seen for seen in attached.devices if seen.disk == number or seen.device in volumes]
    assert [renamed(seen) for seen in mine] == theirs
    for seen in mine:
        if holds_files(seen):
            compare_files(direct, seen, attached.handle, renamed(seen).device)


def compare_files(direct: DirectHandle, seen: FileSystemSeen, handle: Handle, device: str) -> None:
    direct.mount_options("ro", seen.device, "/")
    handle.mount_options(options_of(seen.type), device, "/")
    try:
        sweep = Sweep(handle, silent)
        theirs = {entry.path: entry for entry in sweep.entries()}
        mine = {entry.path: entry for entry in direct.tree.walk()}
        assert mine.keys() == theirs.keys()
        for path, entry in mine.items():
            assert told(entry, seen.type) == told(theirs[path], seen.type)
        usage = direct.statvfs("/"), handle.statvfs("/")
        if seen.type != "xfs":  # the kernel holds some blocks back, and how many depends on its version
            assert usage[0]["blocks"] * usage[0]["frsize"] == usage[1]["blocks"] * usage[1]["frsize"]
            assert usage[0]["bfree"] * usage[0]["frsize"] == usage[1]["bfree"] * usage[1]["frsize"]
        digests = digests_of(handle)
        files = [entry for entry in mine.values() if entry.kind == "file"]
        assert {entry.path: digest(direct, entry) for entry in files} == digests
        tasks = [Task(*entry.inode, entry.size, "sha256") for entry in files]
        at_once = [found and found.hex() for found in hash_tasks(direct.filesystems, tasks)]
        assert at_once == [digests[entry.path] for entry in files]
        assert dict(sums_below(handle, "/", "sha256")) == digests
        for index in sweep.odd:
            index.close()
    finally:
        direct.umount_all()
        handle.umount_all()


def told(entry: Entry, kind: str) -> Entry:
    """What is the same whichever reader read it: FAT and NTFS have no inodes of their own."""
    return msgspec.structs.replace(entry, inode=(0, 0 if kind in {"vfat", "ntfs"} else entry.inode[1]))


def digest(direct: DirectHandle, entry: Entry) -> str:
    found = hashlib.sha256()
    for piece in direct.pieces(entry, entry.size):
        found.update(piece)
    return found.hexdigest()


def digests_of(handle: Handle) -> dict[str, str]:
    """sha256 of every regular file, by path: one call (guestfs(3), checksums_out)."""
    with spool() as file:
        handle.checksums_out("sha256", "/", reopened(file))
        lines = os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "surrogateescape").splitlines()
    return {path.removeprefix("."): value for value, _, path in (line.partition("  ") for line in lines)}


def test_a_virtual_appliance_is_analyzed_the_same(place: Path) -> None:
    """ttylinux, exported by vCenter: an OVA with a manifest, a partition at sector 63, ext3, /dev/hda1 in fstab."""
    needs_guestfs()
    found = same_analysis([place / "tty_tiny.ova"])
    system, source = found["os"], found["source"]
    assert isinstance(system, dict)
    assert isinstance(source, dict)
    assert (system["name"], system["hostname"]) == ("ttylinux ver 16.1 [bricolage]", "ttylinux.ec.eng.vmware.com")
    assert [(f["device"], f["type"], f["mountpoint"]) for f in source["filesystems"]] == [("/dev/sda1", "ext3", "/")]
    services = found["services"]
    assert isinstance(services, list)
    started = {service["id"] for service in services if service["enabled"]}
    assert {"crond", "inetd", "network", "random", "sshd", "syslog", "esxcloud-heartbeat"} <= started
