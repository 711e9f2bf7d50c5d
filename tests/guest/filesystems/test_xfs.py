"""XFS as mkfs.xfs makes it and the kernel fills it, against a mount of the same image."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import random
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.errors import DiskError
from migrate.guest.directory import _Sweep
from migrate.guest.filesystems.inprocess import Read
from migrate.guest.filesystems.xfs import Xfs
from migrate.guest.filesystems.xfsinode import TREE, parse_root
from migrate.guest.filesystems.xfssuper import LENGTH, parse_superblock, probe
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE
from tests.guest.filesystems.hashed import check_hashes
from tests.guest.made import CAPABILITY, needs, run, sparse_file, unpacked

KINDS = {
    "default": (),
    "rhel7": ("-m", "finobt=0,reflink=0,bigtime=0,inobtcount=0,rmapbt=0", "-i", "sparse=0"),
    "large-directory-blocks": ("-n", "size=64k", "-m", "rmapbt=1"),
    "small-blocks": ("-b", "size=1024", "-n", "size=4096", "-s", "size=512"),
    "large-counts": ("-i", "nrext64=1,size=2048", "-m", "rmapbt=1,bigtime=1", "-s", "size=4096"),
    "large-blocks": ("-b", "size=65536"),
}
LINKS = (1, 150, 300, 336, 337, 1000, 1023)


def reader(path: Path) -> tuple[Read, int]:
    """Return what reads an image that may be far larger than memory."""
    size = path.stat().st_size

    def read(offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > size:
            raise DiskError("read", "beyond the end")
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)

    return read, size


def opened(path: Path) -> Xfs:
    read, size = reader(path)
    return Xfs(read, size, "/dev/sda1", 0)


def made(path: Path, *options: str) -> Path:
    needs("mkfs.xfs")
    sparse_file(path, 320)
    try:
        run("mkfs.xfs", "-q", *options, str(path))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this mkfs.xfs does not make it: {error.stderr}")
    return path


@contextlib.contextmanager
def mounted(image: Path, options: str = "rw") -> Iterator[Path]:
    """Mount an image; skips where that cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    needs("mount", "umount")
    place = image.with_suffix(".mnt")
    place.mkdir(exist_ok=True)
    try:
        run("mount", "-t", "xfs", "-o", f"loop,{options}", str(image), str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel does not mount it: {error.stderr}")
    try:
        yield place
    finally:
        run("umount", str(place))


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


def fill(top: Path, most: int) -> None:
    _directories(top, most)
    _attributes(top)
    _contents(top)
    for length in LINKS:
        (top / f"link{length}").symlink_to("/".join(["x" * 9] * 200)[:length])
    os.symlink(b"latin-\xe9", bytes(top) + b"/to-\xff")  # noqa: PTH211 - names that are not UTF-8
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 260000))
    os.mkfifo(top / "fifo")
    with contextlib.chdir(top), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    for name, seconds in (("old", -86400), ("oldest", -(1 << 31)), ("half", -0.5), ("last", (1 << 31) - 1)):
        (top / name).touch()
        os.utime(top / name, ns=(0, int(seconds * 10**9)))
    with contextlib.suppress(OSError):
        os.utime(top / "last", (0, 8_000_000_000))
    os.chown(top / "old", 4294967294, 70000)
    (top / "old").chmod(0o4751)


def _directories(top: Path, most: int) -> None:
    for count in (0, 1, 12, 60, 300, most):
        directory = top / f"dir{count}"
        directory.mkdir()
        directory.chmod(0o1770)
        for number in range(count):
            (directory / f"file-{number:05}").touch()
    for number in range(0, most, 3):
        (top / f"dir{most}" / f"file-{number:05}").unlink()
    for name in ("one", "two"):
        (top / name).mkdir()
    for number in range(1500):  # both grow at the same time: many runs, a tree of extents
        for name in ("one", "two"):
            (top / name / f"{number:05}{'n' * 245}").symlink_to(".")
    odd = bytes(top) + b"/odd-\xff"
    os.mkdir(odd)  # noqa: PTH102 - a name that is not UTF-8
    for raw in (b"caf\xe9", b"new\nline", b"\xf0\x9f\x92\xbe", b"x" * 255, b"-", b" "):
        os.mkdir(odd + b"/" + raw)  # noqa: PTH102
        os.close(os.open(odd + b"/" + raw + b"/" + raw, os.O_CREAT))


def _attributes(top: Path) -> None:
    place = top / "attributes"
    place.mkdir()
    (place / "file").touch()
    os.setxattr(place / "file", "security.capability", CAPABILITY)
    os.setxattr(place / "file", "security.selinux", b"system_u:object_r:etc_t:s0\0")
    os.setxattr(place / "file", "user.empty", b"")
    os.setxattr(place / "file", "trusted.mine", b"\0\1\2")
    for name in ("three", "four"):
        (place / name).touch()
    for number in range(60):  # both grow at the same time: a tree of extents for attributes
        for name in ("three", "four"):
            os.setxattr(place / name, f"user.{number}", bytes([number]) * 3000)
    for count, length in ((10, 100), (200, 40), (2500, 10), (3, 65536), (40, 3000)):
        path = place / f"{count}-{length}"
        path.touch()
        for number in range(count):
            os.setxattr(path, f"user.name-{number:05}", bytes([number & 0xFF]) * length)
        for number in range(0, count, 7):
            os.removexattr(path, f"user.name-{number:05}")
    (place / "link").symlink_to("x")
    os.setxattr(place / "link", "trusted.of-a-link", b"v", follow_symlinks=False)
    named = acl(
        (1, 6, 0xFFFFFFFF), (2, 7, 1000), (4, 4, 0xFFFFFFFF), (8, 5, 70000), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)
    )
    os.setxattr(place / "file", "system.posix_acl_access", named)
    os.setxattr(place, "system.posix_acl_default", named)
    (place / "inherits").mkdir()


def _contents(top: Path) -> None:
    generator = random.Random(1)
    (top / "one-byte").write_bytes(b"x")
    (top / "large").write_bytes(generator.randbytes(3_000_001))
    with (top / "fragmented").open("wb") as file:
        for number in range(600):
            file.seek(number * 2 * 65536)
            file.write(generator.randbytes(5000))
            file.flush()
        file.truncate(200 << 20)
    with (top / "unwritten").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8 << 20)
        file.seek(1 << 20)
        file.write(b"in the middle")
    with (top / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["fallocate", "-n", "-l", "4M", top / "one-byte"], check=True)
    subprocess.run(["cp", "--reflink=auto", top / "large", top / "shared"], check=True)
    with (top / "shared").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"another")
    for number in range(3):
        os.link(top / "large", top / f"hard{number}")


def told(entry: Entry) -> tuple[object, ...]:
    return (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.target, entry.device,
            entry.inode[1], entry.links, entry.allocated, entry.xattrs)  # fmt: skip


def same(xfs: Xfs, place: Path) -> int:
    """Compare all of a file system with its mount; return how many names it has."""
    root = os.open(place, os.O_RDONLY)
    try:
        theirs = {entry.path: entry for entry in _Sweep(root).entries()}
    finally:
        os.close(root)
    seen: set[str] = set()
    for entry in xfs.entries():
        assert told(entry) == told(theirs[entry.path]), entry.path
        assert entry.path not in seen
        assert entry.path == "/" or (entry.path.rpartition("/")[0] or "/") in seen
        seen.add(entry.path)
        if entry.kind == "file" and entry.size < 1 << 30:
            mine = hashlib.sha256()
            for piece in xfs.read_file(entry.path, entry.inode[1], entry.size):
                mine.update(piece)
            path = bytes(place) + entry.path.encode("utf-8", "surrogateescape")
            with open(path, "rb") as file:  # noqa: PTH123 - a name that is not UTF-8
                assert mine.digest() == hashlib.file_digest(file, "sha256").digest(), entry.path
    assert seen == set(theirs)
    return len(seen)


def changed(path: Path, *commands: str) -> Path:
    """Return the image after some commands of xfs_db's expert mode, which sees to the checksums."""
    needs("xfs_db")
    run("xfs_db", "-x", *(word for each in commands for word in ("-c", each)), str(path))
    return path


@pytest.fixture(scope="module", params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = made(tmp_path_factory.mktemp("xfs") / "image", *KINDS[request.param])
    with mounted(path) as place:
        fill(place, 20_000 if request.param == "default" else 3000)
    return path


def test_it_is_what_a_mount_shows(image: Path) -> None:
    xfs = opened(image)
    with mounted(image, "ro") as place:
        assert same(xfs, place) > 5000
    assert check_hashes(xfs, xfs._volume._read, xfs.entries()) > 1000


def test_what_blkid_and_statvfs_say_of_it(image: Path) -> None:
    needs("blkid", "xfs_db")
    found = probe(*reader(image))
    said = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", str(image)).splitlines())
    assert found is not None
    assert (found.type, found.uuid, found.label) == (said["TYPE"], said["UUID"], said.get("LABEL", ""))
    usage = opened(image).usage()
    assert f"fdblocks = {usage.free}\n" == run("xfs_db", "-r", "-c", "sb 0", "-c", "p fdblocks", str(image))
    with mounted(image, "ro") as place:
        theirs = os.statvfs(place)
    assert (usage.block_size, usage.blocks) == (theirs.f_bsize, theirs.f_blocks)
    superblock = parse_superblock(reader(image)[0](0, LENGTH))
    assert superblock is not None
    assert superblock.usage() == usage


def test_a_disk_with_no_two_free_blocks_together(tmp_path: Path) -> None:
    """Blocks of a directory in several runs; trees of extents of two levels, for attributes too."""
    image = made(tmp_path / "image", "-b", "size=1024", "-n", "size=8192", "-i", "maxpct=5", "-m", "reflink=0")
    with mounted(image) as place:
        names = [f"{number:04}" for number in range(40)]
        for name in names:
            (place / name).touch()
        (place / "directory").mkdir()
        with (place / "all").open("wb") as file:
            take(file.fileno(), 512 << 20)
            for number in range(20_000, 40_000, 2):
                punch(file.fileno(), number * 1024, 1024)
            with (place / "reserve").open("wb") as reserve:  # blocks together that the kernel had kept back
                take(reserve.fileno(), 9 << 20)
            for number in range(50_000, 70_000, 2):
                punch(file.fileno(), number * 1024, 1024)
        for number in range(300):
            os.link(place / names[0], place / "directory" / f"{number:04}{'n' * 200}")
        for number in range(100):
            for name in names[1:3]:
                os.setxattr(place / name, f"user.{number}", bytes([number]) * 900)
        with (place / names[3]).open("wb") as file:
            for number in range(3000):
                file.write(b"%8d" % number * 128)
        (place / names[4]).rename(place / names[5])
    with mounted(image, "ro") as place:
        assert same(opened(image), place) > 300
    xfs = opened(image)
    inodes = {entry.path: xfs.inode(entry.inode[1]) for entry in xfs.entries()}
    assert parse_root(inodes["/0003"].content.data)[0] > 1
    assert [inodes[path].content.format for path in ("/directory", "/0003", "/all")] == [TREE] * 3
    attributes = inodes["/0001"].attributes
    assert attributes is not None
    assert attributes.format == TREE


def take(file: int, size: int) -> None:
    """Allocate as much as there is, up to nearly twice a size."""
    while size >= 4096:
        with contextlib.suppress(OSError):
            os.posix_fallocate(file, os.fstat(file).st_size, size)
        size //= 2


def punch(file: int, offset: int, length: int) -> None:
    """Make a hole in a file (fallocate(2): FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)."""
    call = ctypes.CDLL(None, use_errno=True).fallocate
    if call(file, 3, ctypes.c_int64(offset), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def test_inodes_of_every_time(image: Path) -> None:
    """bigtime reaches to 2486, what was before it to 2038; both from 1901 on (compared with the mount above)."""
    times = {entry.path: entry.mtime for entry in opened(image).entries()}
    assert (times["/old"], times["/oldest"], times["/half"]) == (-86400, -(1 << 31), -1)
    assert times["/last"] in {(1 << 31) - 1, 8_000_000_000}


def test_content_comes_in_bounded_pieces(image: Path) -> None:
    xfs = opened(image)
    entries = {entry.path: entry for entry in xfs.entries()}
    for path in ("/fragmented", "/large", "/unwritten", "/sparse"):
        pieces = itertools.islice(xfs.read_file(path, entries[path].inode[1], entries[path].size), 300)
        assert max(len(piece) for piece in pieces) <= PIECE
    assert b"".join(xfs.read_file("/large", entries["/large"].inode[1], 5)) == b"".join(
        xfs.read_file("/shared", entries["/shared"].inode[1], 5)
    )


# ---------------------------------------------------------------- version 4, which the kernel may not mount


PROTOTYPE = """\
/none
0 0
d--755 0 0
file -u-644 5 70000 {file}
null c--666 0 0 1 3
fifo p--600 0 0
short l--777 0 0 some/where
long l--777 0 0 {long}
sub d--751 1 2
{names}
$
$
"""


def made_old(place: Path, types: int) -> Path:
    """Make a file system of version 4, with file types in directories or without."""
    needs("mkfs.xfs", "xfs_db")
    (place / "file").write_bytes(bytes(range(256)) * 100)
    names = "\n".join(f"name-{number:04}{'n' * 40} ---600 0 0 /dev/null" for number in range(500))
    (place / "prototype").write_text(PROTOTYPE.format(file=place / "file", long="/".join(["x" * 20] * 40), names=names))
    image = sparse_file(place / "image", 32)
    options = ("--unsupported", "-m", "crc=0", "-n", f"ftype={types}", "-i", "size=256", "-b", "size=1024")
    run("mkfs.xfs", "-q", *options, "-p", str(place / "prototype"), str(image))
    attributes = [("-u", "small", 10), ("-r", "large", 3000), ("-s", "label", 400)]
    attributes += [("-u", f"name-{number}", 30) for number in range(60)]
    commands = [each for space, name, size in attributes for each in ("-c", f"attr_set {space} -v {size} {name}")]
    run("xfs_db", "-x", "-c", "path /file", *commands, str(image))
    return image


@pytest.fixture(scope="module", params=[0, 1])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_old(tmp_path_factory.mktemp("old"), request.param)


def test_version_4(old: Path) -> None:
    xfs = opened(old)
    assert xfs.superblock.version == 4
    found = {entry.path: entry for entry in xfs.entries()}
    assert len(found) == 507
    file = found["/file"]
    assert (file.kind, file.mode, file.uid, file.gid, file.size) == ("file", 0o4644, 5, 70000, 25600)
    assert b"".join(xfs.read_file("/file", file.inode[1], 25600)) == bytes(range(256)) * 100
    assert len(file.xattrs) == 63
    values = dict(file.xattrs)
    assert (values["user.small"], values["trusted.large"], values["security.label"]) == (
        b"v" * 10,
        b"v" * 3000,
        b"v" * 400,
    )
    stated = run("xfs_db", "-r", "-c", "path /file", "-c", "p core.nblocks", str(old))
    assert f"core.nblocks = {file.allocated // 1024}\n" == stated
    assert found["/long"].target == "/".join(["x" * 20] * 40)
    assert found["/short"].target == "some/where"
    assert found["/null"].device == (1, 3)
    assert (found["/sub"].mode, found["/sub"].uid, found["/sub"].gid) == (0o751, 1, 2)
    names = {path for path in found if path.startswith("/sub/")}
    assert names == {f"/sub/name-{number:04}{'n' * 40}" for number in range(500)}


# ---------------------------------------------------------------- other people's


def test_the_corpus_disk(corpus: Path, tmp_path: Path) -> None:
    image = unpacked(corpus, "xfs.raw", tmp_path)
    found = probe(*reader(image))
    assert found is not None
    assert (found.uuid, found.label, found.why_not) == ("eb47e375-9d49-4775-b712-7e06b97fd210", "xfs_test", "")
    xfs = opened(image)
    assert len(list(xfs.entries())) == 6
    image.chmod(0o600)
    with mounted(image, "ro") as place:
        assert same(xfs, place) == 6
