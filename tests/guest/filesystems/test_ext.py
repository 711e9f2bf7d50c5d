"""ext2, ext3 and ext4 as mke2fs and debugfs make them, against the directory that they were made of."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems.ext import Ext
from migrate.guest.filesystems.extattr import parse_block, parse_inline, visible
from migrate.guest.filesystems.extsuper import INLINE_DATA, parse_superblock
from migrate.guest.open import open_guest
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE
from migrate.guest.tree import Tree
from tests.guest.filesystems.hashed import check_hashes
from tests.guest.made import needs, run, sparse_file

KINDS = {
    "ext2": ("-t", "ext2", "-I", "128"),
    "ext3-1k": ("-t", "ext3", "-b", "1024", "-I", "128"),
    "ext4": ("-t", "ext4"),
    "ext4-2k-plain": ("-t", "ext4", "-b", "2048", "-O", "^metadata_csum,^64bit,^flex_bg"),
    "ext4-inline": ("-t", "ext4", "-O", "inline_data,metadata_csum_seed", "-I", "256"),
    "ext4-large-inodes": ("-t", "ext4", "-I", "1024", "-O", "inline_data"),
}


def opened(image: bytes) -> Ext:
    def read(offset: int, length: int) -> bytes:
        if offset < 0 or offset + length > len(image):
            raise DiskError("read", "beyond the end")
        return image[offset : offset + length]

    return Ext(read, len(image), "/dev/sda1", 0)


@pytest.fixture(scope="module", params=KINDS)
def image(request: pytest.FixtureRequest, tree_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("mke2fs")
    path = sparse_file(tmp_path_factory.mktemp("ext") / "image", 64)
    run("mke2fs", "-q", *KINDS[request.param], "-d", tree_directory, path)
    return path


def told(entry: Entry) -> tuple[object, ...]:
    return (entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.target, entry.device,
            entry.links, entry.xattrs, entry.mtime)  # fmt: skip


def test_it_is_the_directory(image: Path, tree_directory: Path) -> None:
    ext = opened(image.read_bytes())
    tree = Tree(ext.entries())
    names = [entry.path for entry in tree.walk() if entry.path != "/lost+found"]
    with open_guest([tree_directory]) as guest:
        assert names == [entry.path for entry in guest.walk()]
        for theirs in guest.walk():
            if theirs.path == "/srv/sparse" and ext.superblock.incompat & INLINE_DATA:
                continue  # mke2fs 1.47.0 sets its size to the end of the last data, and so says debugfs
            mine = tree.find(theirs.path, follow=False)
            assert mine is not None
            assert (
                told(mine)[: -1 if theirs.path == "/" else None] == told(theirs)[: -1 if theirs.path == "/" else None]
            )
            if theirs.kind == "file":
                content = b"".join(ext.read_file(mine.path, mine.inode[1], mine.size))
                assert content == guest.read(theirs.path), theirs.path
                assert b"".join(ext.read_file(mine.path, mine.inode[1], 5)) == content[:5]
    assert check_hashes(ext, ext._read, tree.walk()) > 15


def test_what_blkid_and_the_kernel_say_of_it(image: Path) -> None:
    needs("blkid", "dumpe2fs")
    ext = opened(image.read_bytes())
    said = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", image).splitlines())
    assert (ext.superblock.type, ext.superblock.uuid) == (said["TYPE"], said["UUID"])
    free = [line.split()[-1] for line in run("dumpe2fs", "-h", image).splitlines() if line.startswith("Free blocks:")]
    assert [str(ext.usage().free)] == free


def test_what_a_file_takes(image: Path) -> None:
    ext = opened(image.read_bytes())
    for entry in ext.entries():
        if entry.kind == "file" and b" " not in entry.path.encode("utf-8", "surrogateescape"):
            inode = ext.inode(entry.inode[1])
            said = run("debugfs", "-R", f"stat <{entry.inode[1]}>", image)
            count = int(said.split("Blockcount:")[1].split()[0])
            assert inode.sectors == count
            assert entry.allocated - count * 512 == ((entry.size + 511) // 512 * 512 if inode.flags & 0x10000000 else 0)


# ---------------------------------------------------------------- what mke2fs -d does not make


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """Make a small file system and let debugfs change it."""
    needs("mke2fs", "debugfs")

    def make(*options: str, commands: str = "") -> Path:
        path = sparse_file(tmp_path / "small", 8)
        run("mke2fs", "-q", "-t", "ext4", *options, path)
        if commands:
            run("debugfs", "-w", "-f", "-", path, stdin=commands)
        return path

    return make


def listed(path: Path) -> dict[str, Entry]:
    return {entry.path: entry for entry in opened(path.read_bytes()).entries()}


def test_times_before_1970_and_after_2038(small: Callable[..., Path], tmp_path: Path) -> None:
    for name, seconds in (("old", -86400), ("new", 5_000_000_000)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (seconds, seconds))
    root = tmp_path / "root"
    root.mkdir()
    for name in ("old", "new"):
        (tmp_path / name).rename(root / name)
    # e2fsprogs before 1.47.1 leaves out the two bits that reach beyond 2038.
    path = small("-d", str(root), commands="set_inode_field /new mtime_extra 1\n")
    found = listed(path)
    expected = {name: int((root / name).stat().st_mtime) for name in ("old", "new")}
    assert {name: found[f"/{name}"].mtime for name in expected} == expected


def test_a_large_directory_with_an_index(tmp_path: Path) -> None:
    needs("mke2fs", "e2fsck")
    root = tmp_path / "root"
    root.mkdir()
    for number in range(3000):
        (root / f"file-{number:05}-{'x' * 40}").touch()
    path = sparse_file(tmp_path / "image", 32)
    run("mke2fs", "-q", "-t", "ext4", "-N", "8000", "-d", root, path)
    run("e2fsck", "-fyD", path)
    assert len([name for name in listed(path) if name.startswith("/file-")]) == 3000


def test_a_file_of_many_pieces(small: Callable[..., Path], tmp_path: Path) -> None:
    """An extent tree with inner nodes, and holes between."""
    root = tmp_path / "root"
    root.mkdir()
    content = b"".join((b"%4d" % n).ljust(1024, b".") if n % 2 else bytes(1024) for n in range(3000))
    with (root / "holes").open("wb") as file:
        for number in range(1, 3000, 2):
            file.seek(number * 1024)
            file.write(content[number * 1024 : (number + 1) * 1024])
    for options in (("-b", "1024"), ("-b", "1024", "-O", "^extents,^64bit,^metadata_csum")):
        path = small(*options, "-d", str(root))
        ext = opened(path.read_bytes())
        entry = next(e for e in ext.entries() if e.path == "/holes")
        assert entry.size == len(content)
        assert b"".join(ext.read_file("/holes", entry.inode[1], entry.size)) == content
        short = msgspec.structs.replace(entry, size=1 << 20)
        assert check_hashes(ext, ext._read, [short]) == 1


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ("feature needs_recovery", "its journal must be replayed"),
        ("set_super_value state 2", "marked as having errors"),
        ("set_super_value state 0", "not unmounted cleanly"),
        ("set_super_value last_orphan 12", "a mount cleans up"),
        ("set_super_value rev_level 0", "not usual"),
        ("set_super_value volume_name café", "its label has characters"),
        ("set_super_value feature_incompat 0x2c3", "it uses compression"),
        ("set_super_value feature_incompat 0x6c2", "it uses attributes in inodes"),
        ("set_super_value feature_incompat 0x4002c2", "a feature that is not known"),
        ("set_super_value feature_ro_compat 0x8000046b", "a feature that is not known"),
        ("set_super_value inodes_count 1", "sizes that are not usual"),
    ],
)
def test_what_is_not_certain(small: Callable[..., Path], commands: str, why: str) -> None:
    with pytest.raises(DiskError, match=why):
        opened(small("-O", "^metadata_csum", commands=commands + "\n").read_bytes())


def test_a_disk_that_is_cut_short(small: Callable[..., Path]) -> None:
    with pytest.raises(DiskError, match="is 8388608 bytes long, and its device 8384512"):
        opened(small().read_bytes()[:-4096])


@pytest.mark.parametrize("feature", ["bigalloc", "casefold", "encrypt", "meta_bg,^resize_inode", "mmp", "ea_inode"])
def test_features_that_are_left_to_the_kernel(small: Callable[..., Path], feature: str) -> None:
    with pytest.raises(DiskError, match=r"it uses|sizes that are not usual"):
        opened(small("-O", feature).read_bytes())


def test_damage_is_seen_by_checksums(small: Callable[..., Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(0, 200, 2):  # enough extents for a tree, enough attributes for a block
        with (root / "many").open("ab") as file:
            file.truncate(number * 1024)
            file.seek(number * 1024)
            file.write(b"x" * 1024)
    os.setxattr(root / "many", "user.long", b"v" * 500)
    content = small("-b", "1024", "-d", str(root)).read_bytes()
    ext = opened(content)
    many = next(entry for entry in ext.entries() if entry.path == "/many").inode[1]
    table = ext._tables[0] * 1024 + 256  # of the root's inode
    tree = struct.unpack_from("<I", ext.inode(many).block, 16)[0] * 1024
    directory = next(ext._runs(ext.inode(2)))[2] * 1024
    group, index = divmod(many - 1, ext.superblock.group_inodes)
    where = ext._tables[group] * 1024 + index * ext.superblock.inode_size
    attributes = struct.unpack_from("<I", content, where + 0x68)[0] * 1024
    for offset, why in (
        (1024 + 0x2C, "superblock is damaged"),
        (2048 + 12, "group 0 is damaged"),
        (table + 2, "inode 2 is damaged"),
        (directory + 40, "directory of inode 2 is damaged"),
        (attributes + 1000, f"attributes of inode {many} are damaged"),
        (tree + 20, f"extents of inode {many} are damaged"),
    ):
        broken = bytearray(content)
        broken[offset] ^= 1
        with pytest.raises(DiskError, match=why):
            _read_all(opened(bytes(broken)))
    _read_all(ext)


def _read_all(ext: Ext) -> None:
    for entry in list(ext.entries()):
        if entry.kind == "file":
            for _ in ext.pieces(ext.inode(entry.inode[1]), entry.size):
                pass


def test_a_file_whose_map_is_damaged_is_one_file(small: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(b"x" * 10000)
    options = ("-O", "^metadata_csum", "-d", str(tmp_path / "root"))
    path = small(*options, commands="set_inode_field /file block[5] 0xffffff\n")
    ext = opened(path.read_bytes())
    entry = next(e for e in ext.entries() if e.path == "/file")
    with pytest.raises(GuestFileError, match="cannot read /file: it points to block 16777215, which it does not have"):
        list(ext.read_file("/file", entry.inode[1], entry.size))


def test_a_directory_in_itself_ends(small: Callable[..., Path]) -> None:
    path = small(commands="mkdir /a\nln <2> /a/root\n")
    with pytest.raises(DiskError, match="in two places"):
        listed(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_disks_raise_only_disk_errors(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content, places = _hostile(tmp_path_factory)
    broken = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        place, length = data.draw(st.sampled_from(places))
        at = place + data.draw(st.integers(0, length - 1))
        broken[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
    try:
        ext = opened(bytes(broken))
        entries = list(ext.entries())
        ext.usage()
    except DiskError:
        return
    for entry in entries:
        if entry.kind == "file":
            try:
                list(ext.read_file(entry.path, entry.inode[1], min(entry.size, 1 << 20)))
            except (DiskError, GuestFileError):
                continue
    check_hashes(ext, ext._read, entries)


_MADE: list[tuple[bytes, list[tuple[int, int]]]] = []


def _hostile(factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a file system without checksums, and where its metadata is."""
    if not _MADE:
        needs("mke2fs")
        place = factory.mktemp("hostile")
        (place / "root" / "etc").mkdir(parents=True)
        (place / "root" / "etc" / "file").write_bytes(b"x" * 5000)
        (place / "root" / "etc" / "link").symlink_to("x" * 80)
        (place / "root" / "short").symlink_to("etc")
        path = sparse_file(place / "image", 2)
        run("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-N", "32", "-d", place / "root", path)
        content = path.read_bytes()
        ext = opened(content)
        blocks = [where for n in (2, 12) for _, _, where in ext._runs(ext.inode(n))]
        where = [(1024, 0x180), (2048, 64), (ext._tables[0] * 1024 + 256, 256), (ext._tables[0] * 1024 + 2816, 1280)]
        _MADE.append((content, where + [(block * 1024, 64) for block in blocks]))
    return _MADE[0]


# ---------------------------------------------------------------- attributes


def attribute(prefix: int, name: bytes, value: bytes) -> bytes:
    """Return an in-inode area with one attribute."""
    entry = struct.pack("<BBHIII", len(name), prefix, 64, 0, len(value), 0) + name
    return b"\x00\x00\x02\xea" + entry.ljust(64, b"\0") + value


def test_an_acl_is_given_as_the_kernel_gives_it() -> None:
    stored = struct.pack("<IHHHHIHHHH", 1, 1, 6, 2, 7, 1000, 4, 4, 0x20, 0)
    shown = struct.pack("<IHHIHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 7, 1000, 4, 4, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF)
    assert visible(parse_inline(attribute(2, b"", stored))) == (("system.posix_acl_access", shown),)


def test_capabilities_of_the_first_namespace_and_of_another() -> None:
    third = struct.pack("<IIIIII", 0x03000001, 0x2000, 0, 0, 0, 0)
    second = struct.pack("<IIIII", 0x02000001, 0x2000, 0, 0, 0)
    assert visible(parse_inline(attribute(6, b"capability", third))) == (("security.capability", second),)
    other = third[:20] + struct.pack("<I", 100000)
    assert visible(parse_inline(attribute(6, b"capability", other))) == (("security.capability", other),)


@pytest.mark.parametrize(
    ("prefix", "name", "value"),
    [(5, b"x", b""), (2, b"more", b""), (2, b"", b"\2\0\0\0"), (6, b"capability", b"short"), (1, b"\xff", b"v")],
)
def test_attributes_that_are_not_known(prefix: int, name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"it|its"):
        visible(parse_inline(attribute(prefix, name, value)))


@given(st.binary(max_size=300), st.booleans())
def test_hostile_attributes_raise_only_value_error(data: bytes, block: bool) -> None:
    head = b"\x00\x00\x02\xea"
    try:
        visible(parse_block(head + bytes(4) + b"\1\0\0\0" + bytes(20) + data) if block else parse_inline(head + data))
    except ValueError:
        return


@given(st.binary(min_size=1024, max_size=1024))
def test_any_superblock(data: bytes) -> None:
    assert parse_superblock(data[:0x38] + b"\0\0" + data[0x3A:]) is None
    found = parse_superblock(data[:0x38] + b"\x53\xef" + data[0x3A:])
    assert found is not None
    assert found.why_not


def test_blocks_are_read_in_bounded_pieces(image: Path) -> None:
    ext = opened(image.read_bytes())
    big = next(e for e in ext.entries() if e.path == "/srv/sparse")
    assert max(len(piece) for piece in ext.read_file("/srv/sparse", big.inode[1], big.size)) <= PIECE
