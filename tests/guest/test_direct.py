"""The direct reader: the contract of every reader, the same as the others, and what it leaves to libguestfs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from migrate.errors import DiskError, GuestFileError, NoSystemError, UsageError
from migrate.guest.direct import DirectGuest, _disk_name
from migrate.guest.images.image import ImageInfo, describe
from migrate.guest.images.nbd import NbdClient
from migrate.guest.libguestfs.reader import GuestfsGuest
from migrate.guest.mounting.keys import Key
from migrate.guest.open import open_guest
from migrate.guest.progress import silent
from migrate.guest.protocol import Entry, Guest
from tests.guest import test_contract
from tests.guest.made import BIG, VAR_UUID, needs, needs_guestfs, put, run, sparse_file

# The contract's tests run here too, with this module's fixture `guest`.
globals().update({name: test for name, test in vars(test_contract).items() if name.startswith("test_")})


def make_disks(tree_directory: Path, place: Path) -> tuple[Path, Path]:
    """The disks of `two_disks`, but left clean; the first with an MBR, and swap in a logical partition."""
    needs("mke2fs", "mkswap", "sfdisk", "qemu-img", "qemu-nbd")
    root = place / "root"
    root.mkdir()
    run("cp", "-a", f"{tree_directory}/.", root)
    shutil.rmtree(root / "var" / "lib")
    system = sparse_file(place / "system.ext4", 96)
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "system", "-d", root, system)
    disk = sparse_file(place / "disk.raw", 128)
    table = (
        "label: dos\nstart=1MiB, size=1MiB, type=41\nstart=2MiB, size=96MiB, type=83\n"
        "start=99MiB, size=20MiB, type=5\nstart=100MiB, size=8MiB, type=82\n"
    )
    run("sfdisk", "-q", disk, stdin=table)
    put(system, disk, 2)
    run("mkswap", "-L", "exchange", sparse_file(place / "swap", 8))
    put(place / "swap", disk, 100)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, place / "first.qcow2")
    var = sparse_file(place / "second.raw", 32)
    run("mke2fs", "-q", "-t", "ext4", "-U", VAR_UUID, "-d", tree_directory / "var", var)
    return place / "first.qcow2", var


@pytest.fixture(scope="module")
def clean_disks(tree_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_disks(tree_directory, tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def guest(clean_disks: tuple[Path, Path]) -> Iterator[Guest]:
    before = [hashlib.sha256(disk.read_bytes()).digest() for disk in clean_disks]
    with DirectGuest([describe(disk) for disk in clean_disks], None) as found:
        yield found
    assert [hashlib.sha256(disk.read_bytes()).digest() for disk in clean_disks] == before


def opened(*disks: Path, root: str | None = None) -> DirectGuest:
    return DirectGuest([describe(disk) for disk in disks], root)


def test_what_was_opened(guest: Guest, clean_disks: tuple[Path, Path]) -> None:
    source = guest.source
    assert source.reader == "direct"
    assert [(disk.path, disk.format, disk.virtual_bytes) for disk in source.disks] == [
        (str(clean_disks[0]), "qcow2", 128 << 20),
        (str(clean_disks[1]), "raw", 32 << 20),
    ]
    assert [(f.device, f.type, f.mountpoint, f.label) for f in source.filesystems] == [
        ("/dev/sda2", "ext4", "/", "system"),
        ("/dev/sdb", "ext4", "/var", ""),
        ("/dev/sda5", "swap", "", "exchange"),
    ]
    assert ("/home", "a network file system (nfs) is mounted there; it is on no disk of this machine") in [
        (problem.path, problem.why) for problem in guest.problems
    ]


@pytest.mark.appliance
def test_it_is_what_libguestfs_gives(guest: Guest, clean_disks: tuple[Path, Path]) -> None:
    """Every field of every entry, all contents, what was found and what could not be read."""
    needs_guestfs()

    def told(entry: Entry, numbers: dict[int, int]) -> Entry:
        device = numbers.setdefault(entry.inode[0], len(numbers))
        return msgspec.structs.replace(entry, inode=(device, entry.inode[1]))

    with GuestfsGuest([describe(disk) for disk in clean_disks], None, silent) as reference:
        mine: dict[int, int] = {}
        theirs: dict[int, int] = {}
        odd = {e.path for e in reference.walk() if e.inode[0] < 0}  # read out of an archive: no number, no allocation
        assert {path.partition("-")[0] for path in odd} == {"/srv/latin", "/srv/dir", "/srv/to"}
        assert [e.path for e in guest.walk()] == [e.path for e in reference.walk()]
        for one, two in zip(guest.walk(), reference.walk(), strict=True):
            if one.path in odd:
                two = msgspec.structs.replace(two, inode=one.inode, allocated=one.allocated)
                assert one == two
            else:
                assert told(one, mine) == told(two, theirs)
            if one.kind == "file":
                assert list(guest.chunks(one.path)) == list(reference.chunks(one.path)), one.path
        for algorithm in ("md5", "sha256"):
            wanted = {entry.path: algorithm for entry in guest.walk()}
            assert guest.digests(wanted) == reference.digests(wanted)
        assert guest.source.filesystems == reference.source.filesystems
        assert guest.source.disks == reference.source.disks

        def lost(read: Guest) -> list[tuple[str, str]]:
            return [(problem.path, problem.why) for problem in read.problems if "as text" not in problem.why]

        assert lost(guest) == lost(reference)


# ---------------------------------------------------------------- what it leaves to libguestfs


def test_a_journal_that_must_be_replayed(two_disks: tuple[Path, Path]) -> None:
    with pytest.raises(DiskError, match=r"of /dev/sda2 \(ext4\): its journal must be replayed"):
        opened(*two_disks)


@pytest.mark.parametrize(
    ("at", "content", "kind", "why"),
    [
        (0, b"LUKS\xba\xbe", "crypto_LUKS", "it is encrypted (LUKS)"),
        (3, b"-FVE-FS-", "BitLocker", "it holds BitLocker, which only a mount reads"),
        (0x10040, b"_BHRfS_M", "btrfs", "it holds btrfs, which only a mount reads"),
        (1024, b"\x10\x20\xf5\xf2", "f2fs", "it holds f2fs, which only a mount reads"),
        ((128 << 10), b"\x0c\xb1\xba\0\0\0\0\0".ljust(1024, b"\1") * 4, "zfs_member", "it holds zfs_member,"),
        (4096, b"\xfc\x4e\x2b\xa9", "linux_raid_member", "it is a member of a RAID (md), which the kernel puts"),
        ((32 << 20) - 0x10000, b"\xfc\x4e\x2b\xa9", "linux_raid_member", "it is a member of a RAID"),
        ((32 << 20) - 0x2000, b"\xfc\x4e\x2b\xa9", "linux_raid_member", "it is a member of a RAID"),
    ],
)
def test_what_is_not_read_here_is_named(
    clean_disks: tuple[Path, Path], tmp_path: Path, at: int, content: bytes, kind: str, why: str
) -> None:
    alone = sparse_file(tmp_path / "alone", 32)
    _write(alone, at, content)
    with pytest.raises(DiskError, match=re.escape(f"of /dev/sdb: {why}")):
        opened(clean_disks[0], alone)
    if at == 1024:
        return  # the place of ext4's own superblock
    _write(Path(shutil.copy(clean_disks[1], tmp_path / "over")), at, content)
    with pytest.raises(DiskError, match=rf"/dev/sdb shows traces of {kind} and ext4|of ext4 and {kind}"):
        opened(clean_disks[0], tmp_path / "over")


def test_swap_that_holds_a_sleeping_machine(clean_disks: tuple[Path, Path], tmp_path: Path) -> None:
    _write(sparse_file(tmp_path / "swap", 32), 4086, b"S1SUSPEND\0")
    with pytest.raises(DiskError, match="the swap on /dev/sdb is not as mkswap writes it"):
        opened(clean_disks[0], tmp_path / "swap")
    _write(Path(shutil.copy(clean_disks[1], tmp_path / "over")), 4086, b"SWAPSPACE2")
    with pytest.raises(DiskError, match="/dev/sdb shows traces of ext4 and swap"):
        opened(clean_disks[0], tmp_path / "over")


def _write(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_a_blank_disk_is_told_and_one_with_something_unknown_is_not_certain(
    clean_disks: tuple[Path, Path], tmp_path: Path
) -> None:
    blank = sparse_file(tmp_path / "blank", 32)
    with opened(*clean_disks, blank) as guest:
        why = [problem.why for problem in guest.problems if problem.path == "/dev/sdc"]
    assert why == ["what is on it is not known: no file system was recognised"]
    for at in (1 << 20, (32 << 20) - 4096):
        with blank.open("r+b") as file:
            file.seek(at)
            file.write(b"\x0d\xd0\x01\xc1")
        with pytest.raises(DiskError, match="/dev/sdc holds something that is not recognised"):
            opened(*clean_disks, blank)
        os.truncate(blank, 0)
        os.truncate(blank, 32 << 20)


def test_a_table_that_is_damaged(clean_disks: tuple[Path, Path], tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "raw", clean_disks[0], tmp_path / "disk")
    with (tmp_path / "disk").open("r+b") as file:
        file.seek((99 << 20) + 510)
        file.write(b"\0\0")
    with pytest.raises(DiskError, match="of /dev/sda: the chain of its logical partitions is broken"):
        opened(tmp_path / "disk", clean_disks[1])


def test_no_system(clean_disks: tuple[Path, Path]) -> None:
    with pytest.raises(NoSystemError, match=r"no root directory on /dev/sda \(ext4\)"):
        opened(clean_disks[1])


def test_a_root_that_is_asked_for(clean_disks: tuple[Path, Path]) -> None:
    with opened(*clean_disks, root="system") as guest:
        assert guest.source.filesystems[0].device == "/dev/sda2"
    with pytest.raises(UsageError, match="the roots here: /dev/sda2"):
        opened(*clean_disks, root="/dev/sdb")


def test_a_server_that_dies_while_reading(clean_disks: tuple[Path, Path]) -> None:
    with opened(*clean_disks) as guest:
        guest._servers[0]._process.kill()
        guest._servers[0]._process.wait()
        with pytest.raises(GuestFileError, match="cannot read /srv/big: the server"):
            guest.read("/srv/big")
    with pytest.raises(GuestFileError, match="closed"):
        guest.read("/srv/a")


def test_content_that_cannot_be_read_is_read_the_other_way_from_then_on(
    clean_disks: tuple[Path, Path], tree_tar: Path
) -> None:
    opened_instead: list[Guest] = []
    said: list[str] = []

    def instead() -> Guest:
        opened_instead.append(open_guest([tree_tar]))
        return opened_instead[-1]

    infos = [describe(disk) for disk in clean_disks]
    with DirectGuest(infos, None, notify=said.append, instead=instead) as guest:
        pieces = guest.chunks("/srv/big", 3 << 20)
        begun = next(pieces)
        for server in guest._servers:
            server._process.kill()
            server._process.wait()
        assert begun + b"".join(pieces) == BIG
        assert guest.read("/etc/app/app.conf") == b"port = 8000\n"
        assert guest.read("/srv/big", 5) == BIG[:5]
        assert (len(opened_instead), len(said)) == (1, 1)
        assert said[0].startswith("reading on through libguestfs: /srv/big cannot be read directly (the server ")
    with pytest.raises(GuestFileError, match="closed"):
        opened_instead[0].read("/srv/a")


def test_where_the_other_way_fails_too(clean_disks: tuple[Path, Path]) -> None:
    calls: list[int] = []

    def instead() -> Guest:
        calls.append(1)
        raise DiskError("start libguestfs' appliance", "there is no kernel", "install one")

    with DirectGuest([describe(disk) for disk in clean_disks], None, instead=instead) as guest:
        guest._servers[0]._process.kill()
        guest._servers[0]._process.wait()
        with pytest.raises(GuestFileError, match="does not open the disks: there is no kernel; install one"):
            guest.read("/srv/big")
        with pytest.raises(GuestFileError, match="cannot read /srv/big: the server"):
            guest.read("/srv/big")
        assert calls == [1]


def test_nothing_is_left(
    clean_disks: tuple[Path, Path], two_disks: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before: tuple[object, ...] = (_descriptors(), [], _children())
    opened(*clean_disks).close()
    with pytest.raises(DiskError):
        opened(*two_disks)
    assert (_descriptors(), list(tmp_path.iterdir()), _children()) == before


def _descriptors() -> list[str]:
    return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists())


def _children() -> set[str]:
    return {pid for path in Path("/proc/self/task").iterdir() for pid in (path / "children").read_text().split()}


def test_disks_are_called_as_libguestfs_calls_them() -> None:
    assert [_disk_name(n) for n in (0, 25, 26, 701)] == ["/dev/sda", "/dev/sdz", "/dev/sdaa", "/dev/sdzz"]


# ---------------------------------------------------------------- which reader is taken


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for libguestfs, and keep the format of what it is given."""
    given: list[str] = []

    class StandIn:
        def __init__(self, infos: list[ImageInfo], *_rest: object, keys: Sequence[Key]) -> None:
            given.extend(info.format for info in infos)

        def keep(self, stack: contextlib.ExitStack) -> None:
            stack.close()

    monkeypatch.setattr("migrate.guest.libguestfs.reader.GuestfsGuest", StandIn)
    return given


@pytest.mark.parametrize("reader", ["auto", "direct"])
def test_it_is_taken_where_it_is_certain(
    clean_disks: tuple[Path, Path], launched: list[str], reader: Literal["auto", "direct"]
) -> None:
    said: list[str] = []
    with open_guest(clean_disks, reader=reader, notify=said.append) as guest:
        assert isinstance(guest, DirectGuest)
    assert (launched, said) == ([], [])


def test_it_is_handed_over_where_it_is_not(two_disks: tuple[Path, Path], launched: list[str]) -> None:
    said: list[str] = []
    open_guest(two_disks, notify=said.append)
    assert launched == ["qcow2", "raw"]
    why = "of /dev/sda2 (ext4): its journal must be replayed"
    assert said == [f"reading through libguestfs, since it cannot be done directly: {why}"]
    with pytest.raises(DiskError, match=r"its journal must be replayed; use --reader auto or guestfs"):
        open_guest(two_disks, reader="direct")
    assert len(launched) == 2


def test_it_is_handed_over_half_way(
    clean_disks: tuple[Path, Path], launched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = NbdClient.read

    def failing(client: NbdClient, offset: int, length: int) -> bytes:
        if offset > 1 << 20:
            raise DiskError("read", "the server ended in the middle of an answer")
        return reads(client, offset, length)

    monkeypatch.setattr(NbdClient, "read", failing)
    said: list[str] = []
    open_guest(clean_disks, notify=said.append)
    assert (len(launched), len(said)) == (2, 1)
    assert said[0].endswith("the server ended in the middle of an answer")


def test_libguestfs_alone_and_what_is_final(clean_disks: tuple[Path, Path], launched: list[str]) -> None:
    open_guest(clean_disks, reader="guestfs")
    assert launched == ["qcow2", "raw"]
    with pytest.raises(NoSystemError):
        open_guest([clean_disks[1]])
    with pytest.raises(UsageError):
        open_guest(clean_disks, root="nothing")
    assert len(launched) == 2
