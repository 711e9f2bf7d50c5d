"""Damaged and hostile XFS: an error of ours, soon, and never anything else."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems import xfsblock, xfsinode, xfssuper
from migrate.guest.filesystems.inprocess import DamagedError, InProcess, Read
from migrate.guest.filesystems.xfs import Xfs
from migrate.guest.filesystems.xfsinode import EXTENTS, TREE, parse_root
from migrate.guest.filesystems.xfssuper import probe
from tests.guest.filesystems.hashed import check_hashes
from tests.guest.filesystems.test_xfs import changed, made, made_old, mounted, opened, reader
from tests.guest.made import run


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return made(tmp_path / "image")


@pytest.fixture(scope="module", params=[0, 1])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_old(tmp_path_factory.mktemp("old"), request.param)


@pytest.fixture
def filled(empty: Path) -> Path:
    with mounted(empty) as place:
        (place / "many").mkdir()
        for number in range(100):
            (place / "many" / f"name-{number}").touch()
        with (place / "pieces").open("wb") as file:
            for number in range(100):
                file.seek(number * 8192)
                file.write(b"x" * 4096)
                os.fsync(file.fileno())
        (place / "values").touch()
        for number in range(3):
            os.setxattr(place / "values", f"user.{number}", b"v" * 3000 * number)
        (place / "link").symlink_to("x/" * 500)
    return empty


def test_damage_is_seen_by_checksums(filled: Path) -> None:
    xfs = opened(filled)
    sb = xfs.superblock
    inodes = {entry.path: xfs.inode(entry.inode[1]) for entry in xfs.entries()}
    attributes = inodes["/values"].attributes
    assert attributes is not None
    assert inodes["/pieces"].content.format == TREE
    runs = list(xfs._volume.runs(0, attributes))
    places = {
        100: "superblock is damaged",
        sb.inode_place(inodes["/many"].number) + 300: "is damaged (its checksum is wrong)",
        sb.place(next(xfs._volume.runs(0, inodes["/many"].content)).where) + 900: "the directory's blocks",
        sb.place(runs[0].where) + 80: "the extended attributes",
        sb.place(runs[-1].where) + 1000: "the extended attributes",
        sb.place(next(xfs._volume.runs(0, inodes["/link"].content)).where) + 200: "the symbolic link's blocks",
        sb.place(parse_root(inodes["/pieces"].content.data)[1][0]) + 80: "the extents",
    }
    for place, why in places.items():
        with filled.open("r+b") as file:
            before = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([before[0] ^ 1]), place)
        with pytest.raises((DamagedError, GuestFileError)) as caught:
            _read_all(opened(filled))
        assert why in str(caught.value)
        with filled.open("r+b") as file:
            os.pwrite(file.fileno(), before, place)
    _read_all(opened(filled))


def _read_all(xfs: Xfs) -> None:
    for entry in list(xfs.entries()):
        if entry.kind == "file":
            for _ in xfs.read_file(entry.path, entry.inode[1], entry.size):
                pass


def test_a_file_whose_map_is_damaged_is_one_file(empty: Path) -> None:
    with mounted(empty) as place:
        (place / "file").write_bytes(b"x" * 10000)
    changed(empty, "path /file", "write u3.bmx[0].startblock 0xffffffff")
    xfs = opened(empty)
    file = next(entry for entry in xfs.entries() if entry.path == "/file")
    with pytest.raises(GuestFileError, match="cannot read /file: the extents of inode"):
        list(xfs.read_file("/file", file.inode[1], file.size))
    with pytest.raises(GuestFileError, match="is no regular file"):
        list(xfs.read_file("/", xfs.superblock.root, 10))


def test_a_directory_in_itself_ends(empty: Path) -> None:
    with mounted(empty) as place:
        (place / "a" / "b").mkdir(parents=True)
    root = opened(empty).superblock.root
    changed(empty, "path /a", f"write u3.sfdir3.list[0].inumber.i4 {root}")
    with pytest.raises(DamagedError, match="in two places"):
        list(opened(empty).entries())


def test_every_use_of_random_damage_is_an_error_of_ours(
    old: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutated at random, with checksums that always match, so that all of the parsers see it."""
    monkeypatch.setattr(xfsblock, "crc_matches", lambda data, at: True)
    monkeypatch.setattr(xfsinode, "crc_matches", lambda data, at: True)
    monkeypatch.setattr(xfssuper, "crc_matches", lambda data, at: True)
    generator = random.Random(20)
    outcomes = []
    for path in (old, filled):
        read, size = reader(path)
        places = _metadata(opened(path))
        for _ in range(100):
            patches = {}
            for _ in range(generator.randint(1, 4)):
                start, length = generator.choice(places)
                patches[start + generator.randrange(length)] = generator.choice([0, 1, 255, generator.randrange(256)])
            started = time.monotonic()
            outcomes.append(_outcome(patched(read, patches), size))
            assert time.monotonic() - started < 10
    assert {"read", "damaged"} <= set(outcomes)


def patched(read: Read, patches: dict[int, int]) -> Read:
    def read_patched(offset: int, length: int) -> bytes:
        data = bytearray(read(offset, length))
        for at, value in patches.items():
            if offset <= at < offset + length:
                data[at - offset] = value
        return bytes(data)

    return read_patched


def _outcome(read: Read, size: int) -> str:
    try:
        probe(read, size)
        xfs: InProcess = Xfs(read, size, "/dev/sda1", 0)
        entries = list(xfs.entries())
        xfs.usage()
    except DiskError:
        return "damaged"
    for entry in entries:
        if entry.kind == "file":
            try:
                for _ in xfs.read_file(entry.path, entry.inode[1], min(entry.size, 1 << 20)):
                    pass
            except (DiskError, GuestFileError):
                return "file damaged"
    check_hashes(xfs, read, entries)
    return "read"


def _metadata(xfs: Xfs) -> list[tuple[int, int]]:
    """Return where there is metadata, the more often the more matters."""
    sb = xfs.superblock
    places = [(0, 264)] * 3
    for entry in xfs.entries():
        inode = xfs.inode(entry.inode[1])
        if entry.size or entry.xattrs or not entry.path.count("name-"):
            places += [(sb.inode_place(inode.number), sb.inode_size)] * 4
        for fork in (inode.attributes, inode.content):
            if fork is not None and fork.format in {EXTENTS, TREE} and (entry.kind != "file" or fork != inode.content):
                for run in xfs._volume.runs(inode.number, fork):
                    start = sb.place(run.where)
                    places += [(start, run.count * sb.block_size), *[(start, 100)] * 3]
            if fork is not None and fork.format == TREE:
                places += [(sb.place(where), 300) for where in parse_root(fork.data)[1]]
    return places


def test_directories_that_share_a_block(old: Path, tmp_path: Path) -> None:
    """Else a small disk of version 4 holds any number of names."""
    image = tmp_path / "image"
    run("cp", "--sparse=always", str(old), str(image))
    xfs = opened(image)
    sb = xfs.superblock
    sub = xfs.inode(next(entry.inode[1] for entry in xfs.entries() if entry.path == "/sub"))
    first = next(entry.inode[1] for entry in xfs.entries() if entry.path.startswith("/sub/"))
    read, _ = reader(image)
    with image.open("r+b") as file:  # a copy of the directory's inode in place of a file in it
        os.pwrite(file.fileno(), read(sb.inode_place(sub.number), sb.inode_size), sb.inode_place(first))
    with pytest.raises(DamagedError, match=r"the directory of inode .* is damaged"):
        list(opened(image).entries())
