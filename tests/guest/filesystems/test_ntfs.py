"""NTFS as mkfs.ntfs and ntfs-3g write it, against what ntfs-3g shows of it: that is what libguestfs mounts it with."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError, GuestFileError
from migrate.guest.directory import KINDS
from migrate.guest.filesystems.inprocess import DamagedError
from migrate.guest.filesystems.ntfs import Ntfs, probe, top_names
from migrate.guest.filesystems.ntfsboot import LENGTH, log_is_clean, parse_boot
from migrate.guest.filesystems.ntfsindex import parse_nodes
from migrate.guest.filesystems.ntfsrecord import SPARSE, Attribute, parse_record, parse_runs, restored
from migrate.guest.images.image import describe
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE
from tests.guest.made import CORPUS, needs, needs_guestfs, run, sparse_file, unpacked

# Bytes of a cluster and a sector.
SIZES = {"4k": (4096, 512), "512": (512, 512), "64k": (65536, 512), "big-sectors": (4096, 4096)}
MTIME = 1_700_000_001


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > len(data):
            raise DiskError("read", "beyond the end")
        return data[offset : offset + length]

    return read


def opened(image: bytes | Path) -> Ntfs:
    data = image.read_bytes() if isinstance(image, Path) else image
    return Ntfs(reader(data), len(data), "/dev/sda1")


@contextlib.contextmanager
def mounted(image: Path, options: str = "ro") -> Iterator[Path]:
    """Mount by ntfs-3g itself."""
    needs("ntfs-3g", "umount")
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("mounting by ntfs-3g needs root and /dev/fuse")
    place = image.with_suffix(".mounted")
    place.mkdir(exist_ok=True)
    run("ntfs-3g", "-o", options, image, place)
    try:
        yield place
    finally:
        run("umount", place)


def fill(top: Path) -> None:
    """Make files of all lengths, a sparse one, links of both kinds, many names, and one that only Unix can have."""
    (top / "directory" / "inner").mkdir(parents=True)
    (top / "many").mkdir()
    for number in range(700):
        (top / "many" / f"a name of some length, number {number:04}").write_bytes(b"x" * (number % 5))
    for number in range(0, 700, 3):
        (top / "many" / f"a name of some length, number {number:04}").unlink()
    for length in (0, 1, 100, 700, 1024, 4096, 70_000, 3 << 20):
        (top / "directory" / f"{length} bytes").write_bytes(random.Random(length).randbytes(length))
    with (top / "directory" / "sparse").open("wb") as file:
        file.truncate(30 << 20)
        file.seek(20 << 20)
        file.write(b"in the middle")
    with (top / "directory" / "grown").open("wb") as file:
        file.write(b"start")
        file.truncate(200_000)
    (top / "directory" / "hard").hardlink_to(top / "directory" / "100 bytes")
    (top / "directory" / "soft").symlink_to("../directory/inner/né")
    (top / "inner link").symlink_to("/absolute")
    (top / "naïve-🐧-名前.txt").write_bytes(b"unicode\n")
    (top / "case").write_bytes(b"lower\n")
    (top / "CASE").write_bytes(b"upper\n")
    (top / 'what: a "name"?').write_bytes(b"unix\n")
    (top / ("n" * 255)).write_bytes(b"long\n")
    (top / "Long name that DOS sees too.txt").write_bytes(b"dos\n")
    os.setxattr(top / "Long name that DOS sees too.txt", "system.ntfs_dos_name", b"LONGNA~1.TXT")
    for number, path in enumerate(sorted(top.rglob("*"))):
        if not path.is_symlink():
            os.utime(path, ns=(0, (MTIME + number) * 10**9 + 987_654_300))
    os.utime(top / "case", (-86400, -86400))


@pytest.fixture(scope="module", params=SIZES)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("mkfs.ntfs")
    cluster, sector = SIZES[request.param]
    path = sparse_file(tmp_path_factory.mktemp("ntfs") / "image", 24)
    run("mkfs.ntfs", "-q", "-F", "-L", "LABEL-1", "-c", str(cluster), "-s", str(sector), path)
    with mounted(path, "rw") as top:
        fill(top)
    return path


def told(entry: Entry) -> tuple[object, ...]:
    return (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.links, entry.allocated,
            entry.target, entry.inode[1], entry.xattrs)  # fmt: skip


def shown(top: Path) -> dict[str, tuple[object, ...]]:
    """Return what a mount shows, as `told` tells it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        target = str(path.readlink()) if kind == "symlink" else ""
        xattrs = tuple((name, os.getxattr(path, name)) for name in os.listxattr(path, follow_symlinks=False))
        found["/" + str(path.relative_to(top)).removeprefix(".")] = (
            kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
            status.st_size if kind == "file" else len(target.encode()), int(status.st_mtime_ns // 10**9),
            1 if kind == "directory" else status.st_nlink, status.st_blocks * 512 if kind == "file" else 0,
            target, status.st_ino, xattrs,
        )  # fmt: skip
    return found


def compare(image: Path) -> dict[str, Entry]:
    """Hold a file system against its mount, names, fields and content; return its entries."""
    ntfs = opened(image)
    mine = {entry.path: entry for entry in ntfs.entries()}
    with mounted(image) as top:
        theirs = shown(top)
        assert {path: told(entry) for path, entry in mine.items()} == theirs
        usage, said = ntfs.usage(), os.statvfs(top)
        assert (usage.block_size, usage.blocks, usage.free) == (said.f_frsize, said.f_blocks, said.f_bfree)
        for path, entry in mine.items():
            if entry.kind == "file":
                content = b"".join(ntfs.read_file(path, entry.inode[1], entry.size))
                assert content == (top / path[1:]).read_bytes(), path
                assert b"".join(ntfs.read_file(path, entry.inode[1], 5)) == content[:5]
    return mine


# ---------------------------------------------------------------- what was written


def test_it_is_what_ntfs_3g_shows(image: Path) -> None:
    mine = compare(image)
    assert len(mine) > 480
    assert mine["/directory/hard"].inode == mine["/directory/100 bytes"].inode
    assert mine["/directory/hard"].links == 2
    assert mine["/directory/soft"].target == "../directory/inner/né"
    assert mine["/directory/sparse"].allocated < 1 << 20
    paths = list(mine)
    assert all(path == "/" or paths.index(path.rpartition("/")[0] or "/") < at for at, path in enumerate(paths))


def test_what_blkid_says_of_it(image: Path) -> None:
    needs("blkid")
    said = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", image).splitlines())
    data = image.read_bytes()
    found = probe(reader(data), len(data))
    assert found is not None
    assert (found.type, found.uuid, found.label, found.why_not) == ("ntfs", said["UUID"], said["LABEL"], "")
    assert said["TYPE"] == "ntfs"
    names = top_names(reader(data), len(data), "/dev/sda1")
    assert {"directory", "many", "case", "CASE"} <= set(names)
    assert not [name for name in names if name.startswith("$") or name == "."]


def test_content_comes_in_pieces(image: Path) -> None:
    ntfs = opened(image)
    for name in ("sparse", "3145728 bytes"):
        entry = next(entry for entry in ntfs.entries() if entry.path == f"/directory/{name}")
        assert max(map(len, ntfs.read_file("/x", entry.inode[1], entry.size))) <= PIECE


def test_another_makers_disk(tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of other people's disks (../shared/corpus/images) is not here")
    path = unpacked(CORPUS, "ntfs.raw", tmp_path)
    path.chmod(0o600)
    found = compare(path)
    assert found["/a_link"].target == "a_directory/another_file"


def test_a_partition_of_windows(tmp_path: Path) -> None:
    """A VHDX that Windows wrote: `System Volume Information` and its files are hidden system files."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of other people's disks (../shared/corpus/images) is not here")
    needs("qemu-img", "dd")
    run("qemu-img", "convert", "-O", "raw", unpacked(CORPUS, "ntfs-parent.vhdx", tmp_path), tmp_path / "disk")
    run("dd", f"if={tmp_path / 'disk'}", f"of={tmp_path / 'part'}", "bs=512", "skip=128", "count=6016", "status=none")
    data = (tmp_path / "part").read_bytes()
    found = probe(reader(data), len(data))
    assert found is not None
    assert (found.type, found.uuid, found.label, found.why_not) == ("ntfs", "64AAFEA2AAFE6FC2", "TestVolume", "")
    assert "System Volume Information" in top_names(reader(data), len(data), "/dev/sda1")
    assert "/System Volume Information/WPSettings.dat" in compare(tmp_path / "part")


# ---------------------------------------------------------------- what is not certain


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    needs("mkfs.ntfs")
    path = sparse_file(tmp_path_factory.mktemp("small") / "image", 3)
    run("mkfs.ntfs", "-q", "-F", "-c", "512", "-L", "SMALL", path)
    with mounted(path, "rw") as top:
        (top / "directory").mkdir()
        (top / "directory" / "file").write_bytes(b"c" * 5000)
        (top / "resident").write_bytes(b"r" * 20)
        for number in range(60):
            (top / "directory" / f"many {number:030}").touch()
    return path.read_bytes()


def changed(small: bytes, tmp_path: Path, change: Callable[[Path], None]) -> bytes:
    path = tmp_path / "image"
    path.write_bytes(small)
    with mounted(path, "rw,compression") as top:
        change(top)
    return path.read_bytes()


def _compressed(top: Path) -> None:
    (top / "packed").mkdir()
    os.setxattr(top / "packed", "system.ntfs_attrib", struct.pack("<I", 0x810))
    (top / "packed" / "file").write_bytes(b"again and again " * 8000)


def _ea() -> bytes:
    return struct.pack("<IBBH", 16, 0, 3, 3) + b"ABC\0" + b"xyz\0"


def _junction() -> bytes:
    name = "\\??\\C:\\Users".encode("utf-16-le")
    return struct.pack("<IHHHHHH", 0xA0000003, 8 + len(name) + 4, 0, 0, len(name), len(name) + 2, 0) + name + bytes(4)


def _fragmented(top: Path) -> None:
    with (top / "first").open("wb") as first, (top / "second").open("wb") as second:
        for _ in range(400):
            for file in (first, second):
                file.write(b"f" * 512)
                file.flush()
                os.fsync(file.fileno())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda top: os.setxattr(top / "resident", "user.stream", b"s"), "named streams"),
        (lambda top: os.setxattr(top / "directory", "user.stream", b"s"), "named streams"),
        (lambda top: os.mkfifo(top / "fifo"), "a fifo or a socket"),
        (lambda top: os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)), "a device"),
        (lambda top: (top / ".NTFS-3G").mkdir(), "is not known here"),
        (_compressed, "compressed"),
        (lambda top: os.setxattr(top / "resident", "system.ntfs_ea", _ea()), "extended attributes"),
        (_fragmented, "continued in other records"),
        (lambda top: os.setxattr(top / "directory", "system.ntfs_reparse_data", _junction()), "reparse point"),
    ],
)  # fmt: skip
def test_what_is_not_certain(small: bytes, tmp_path: Path, change: Callable[[Path], None], why: str) -> None:
    data = changed(small, tmp_path, change)
    with pytest.raises(DamagedError, match=why):
        list(opened(data).entries())
    assert "directory" in top_names(reader(data), len(data), "/dev/sda1")


def test_a_volume_that_was_not_left_clean(small: bytes) -> None:
    data = bytearray(small)
    boot = parse_boot(small)
    assert boot is not None
    at = data.index(struct.pack("<II", 0x70, 0x28), boot.table + 3 * boot.record)  # the volume's information
    data[at + 24 + 10] |= 1
    found = probe(reader(bytes(data)), len(data))
    assert found is not None
    assert (found.label, found.why_not[:32]) == ("SMALL", "it was not unmounted cleanly, or")
    with pytest.raises(DamagedError, match="not unmounted cleanly"):
        opened(bytes(data))
    assert top_names(reader(bytes(data)), len(data), "/dev/sda1") == ["directory", "resident"]


def test_a_log() -> None:
    assert log_is_clean(b"\xff" * 512)
    start = b"RSTR" + bytes(20) + struct.pack("<H", 48) + bytes(22)
    for clients, flags, clean in ((0xFFFF, 0, True), (0, 2, True), (0, 0, False)):
        assert log_is_clean((start + struct.pack("<12xHH", clients, flags)).ljust(512, b"\0")) is clean
    assert not log_is_clean(bytes(512))


def test_a_log_that_is_in_use(small: bytes) -> None:
    log = small.index(b"\xff" * 4096)
    start = (b"RSTR" + bytes(20) + struct.pack("<H", 48) + bytes(22) + bytes(16)).ljust(512, b"\0")
    with pytest.raises(DamagedError, match="its log is not empty"):
        opened(small[:log] + start + small[log + 512 :])


def test_a_mirror_that_is_another(small: bytes) -> None:
    boot = parse_boot(small)
    assert boot is not None
    at = boot.mirror + 3 * boot.record + 56
    with pytest.raises(DamagedError, match="mirror"):
        opened(small[:at] + bytes([small[at] ^ 1]) + small[at + 1 :])


def test_labels_and_what_is_none(small: bytes, tmp_path: Path) -> None:
    needs("mkfs.ntfs", "mkfs.fat")
    path = sparse_file(tmp_path / "image", 2)
    run("mkfs.ntfs", "-q", "-F", "-L", "New Volume", path)
    found = probe(reader(path.read_bytes()), 2 << 20)
    assert found is not None
    assert (found.label, found.why_not) == ("New Volume", "")
    run("mkfs.ntfs", "-q", "-F", "-L", "Café", path)
    found = probe(reader(path.read_bytes()), 2 << 20)
    assert found is not None
    assert "not plain" in found.why_not
    run("mkfs.fat", path)
    assert probe(reader(path.read_bytes()), 2 << 20) is None
    assert probe(reader(b""), 0) is None
    assert probe(reader(small[:600]), 600) is None
    found = probe(reader(small), len(small) // 2 + (1 << 20))
    assert found is not None
    assert "its device" in found.why_not
    for offset, value in ((3, 0), (13, 3), (14, 1), (16, 1), (64, 0)):
        data = small[:offset] + bytes([value]) + small[offset + 1 :]
        assert probe(reader(data), len(data)) is None
        with pytest.raises(DamagedError):
            opened(data)


def test_a_file_that_is_none(small: bytes) -> None:
    for number in (0, 5, 23, 1 << 40):
        with pytest.raises(GuestFileError):
            list(opened(small).read_file("/x", number, 5))


# ---------------------------------------------------------------- hostile input


def read_all(data: bytes) -> None:
    """Read everything there is; only the documented errors may come, and soon."""
    with contextlib.suppress(DiskError):
        probe(reader(data), len(data))
    with contextlib.suppress(DiskError):
        top_names(reader(data), len(data), "/dev/sda1")
    try:
        ntfs = opened(data)
        ntfs.usage()
        entries = list(ntfs.entries())
    except DiskError:
        return
    for entry in entries:
        if entry.kind == "file":
            length = min(entry.size, PIECE)
            with contextlib.suppress(DiskError, GuestFileError):
                assert sum(map(len, ntfs.read_file(entry.path, entry.inode[1], length))) == length


def test_mutated_disks(small: bytes) -> None:
    chance = random.Random(4)
    boot = parse_boot(small)
    assert boot is not None
    indexes = [at for at in range(0, len(small), 512) if small[at : at + 4] == b"INDX"]
    records = [boot.table + number * boot.record for number in (0, 2, 3, 5, 6, 10, *range(64, 68))]
    for _ in range(300):
        data = bytearray(small)
        for _ in range(chance.randint(1, 4)):
            start, length = chance.choice([(0, 80), *((at, 400) for at in records), *((at, 200) for at in indexes)])
            value = chance.choice((0, 1, 8, 0x10, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            data[start + chance.randrange(length)] = value
            data[boot.mirror : boot.mirror + 4 * boot.record] = data[boot.table : boot.table + 4 * boot.record]
        read_all(bytes(data))


def test_mutated_disks_are_refused_or_read_as_ntfs_3g_reads_them(small: bytes, tmp_path: Path) -> None:
    chance, same = random.Random(5), 0
    boot = parse_boot(small)
    assert boot is not None
    indexes = [at for at in range(0, len(small), 512) if small[at : at + 4] == b"INDX"]
    places = [*indexes, *(boot.table + number * boot.record for number in (3, 5, 6, *range(64, 70)))]
    for _ in range(60):
        data = bytearray(small)
        for _ in range(chance.randint(1, 2)):
            data[chance.choice(places) + chance.randrange(300)] = chance.choice((0, 1, 4, 0x10, 0x7F, 0x80, 0xFF))
        data[boot.mirror : boot.mirror + 4 * boot.record] = data[boot.table : boot.table + 4 * boot.record]
        (tmp_path / "image").write_bytes(data)
        try:
            list(opened(bytes(data)).entries())
        except DamagedError:
            continue
        compare(tmp_path / "image")
        same += 1
    assert same > 10


@given(st.binary(min_size=LENGTH, max_size=LENGTH))
def test_any_boot_sector(data: bytes) -> None:
    data = data[:3] + b"NTFS    " + data[11:]
    assert parse_boot(data) is None or parse_boot(data)
    read_all(data.ljust(65536, b"\0"))


@given(st.binary(max_size=600), st.integers(0, 4096))
def test_any_record_and_index(data: bytes, at: int) -> None:
    content = (b"FILE" + struct.pack("<HH", 48, 3) + data).ljust(1024, b"\0")
    for parse in (lambda: parse_record(content), lambda: restored(data, b"INDX"), lambda: parse_nodes(data, at)):
        with contextlib.suppress(ValueError):
            parse()


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 1 << 40), st.booleans())
def test_any_runs(runs: bytes, clusters: int, sparse: bool) -> None:
    attribute = Attribute(
        type=0x80, name=b"", flags=SPARSE if sparse else 0, size=0, allocated=clusters * 512, initialized=0, value=None,
        clusters=clusters, runs=runs,
    )  # fmt: skip
    try:
        found = parse_runs(attribute, 512, 1 << 30)
    except ValueError:
        return
    assert sum(count for _, count in found) == clusters
    assert all(-1 <= first <= (1 << 30) - count or first == -1 for first, count in found)


def test_runs_backwards_and_a_hole() -> None:
    """0x30 clusters at 0x20, then 0x10 that lie 0x10 before those, then a hole."""
    attribute = Attribute(
        type=0x80, name=b"", flags=SPARSE, size=0, allocated=0, initialized=0, value=None, clusters=0x30 + 0x10 + 8,
        runs=bytes.fromhex("21302000" + "1110f0" + "0108" + "00"),
    )  # fmt: skip
    assert parse_runs(attribute, 512, 1000) == [(0x20, 0x30), (0x10, 0x10), (-1, 8)]


# ---------------------------------------------------------------- the appliance


@pytest.mark.appliance
def test_the_appliance_shows_the_same(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libguestfs mounts NTFS with is ntfs-3g, and local time is not the machine's."""
    needs_guestfs()
    from migrate.guest.libguestfs.reader import _Machine
    from migrate.guest.libguestfs.sweep import Sweep
    from migrate.guest.progress import silent

    monkeypatch.setenv("TZ", "America/New_York")
    path = tmp_path / "image"
    path.write_bytes(small)
    machine = _Machine([describe(path)], silent, silent)
    try:
        device = machine.handle.list_disk_labels()[machine.labels[0]]
        tags, found = machine.handle.blkid(device), probe(reader(small), len(small))
        assert found is not None
        assert (found.type, found.uuid, found.label) == (tags["TYPE"], tags["UUID"], tags["LABEL"])
        machine.handle.mount_options("ro", device, "/")
        ntfs = opened(small)
        said, usage = machine.handle.statvfs("/"), ntfs.usage()
        assert (said["frsize"], said["blocks"], said["bfree"]) == (usage.block_size, usage.blocks, usage.free)
        sweep = Sweep(machine.handle, silent)
        theirs = {entry.path: told(entry) for entry in sweep.entries()}
        assert sweep.problems == []
        assert {entry.path: told(entry) for entry in ntfs.entries()} == theirs
    finally:
        machine.handle.close()
