"""FAT12, FAT16 and FAT32 as mkfs.fat, mtools and other systems write them, against what was written and the kernel."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems.fat import ROOT, Fat
from migrate.guest.filesystems.fatboot import LENGTH, Boot, parse_boot, probe
from migrate.guest.filesystems.fatnames import checksum_of, long_name, parse_directory, short_name, unix_time
from migrate.guest.filesystems.inprocess import DamagedError
from migrate.guest.images.image import describe
from migrate.guest.images.nbd import NbdDisk
from migrate.guest.progress import silent
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE
from tests.guest.made import CORPUS, needs, needs_guestfs, run, sparse_file, unpacked

# Name, mebibytes, mkfs.fat's options.
KINDS = {
    "fat12": (8, ("-F", "12", "-s", "8")),
    "fat12-small": (1, ("-F", "12", "-f", "1", "-r", "512", "-s", "1")),
    "fat16": (20, ("-F", "16")),
    "fat32": (40, ("-F", "32", "-s", "1")),
    "fat32-4k": (300, ("-F", "32", "-S", "4096", "-s", "1")),
}
MTIME = 1_700_000_002  # even: a FAT's times are
TIME, DATE = 11 << 11 | 22 << 5 | 16, 40 << 9 | 3 << 5 | 4  # 2020-03-04 11:22:32
CONTENTS = {
    "/EFI/BOOT/BOOTX64.EFI": bytes(range(256)) * 500,
    "/EFI/debian/grub.cfg": b"search.fs_uuid 1 root\n",
    "/EFI/debian/A long name that is no short one.conf": b"x" * 70_000,
    "/README.TXT": b"read me\n",
    "/Mixed.Case": b"mixed\n",
    "/empty": b"",
    "/read-only": b"kept\n",
}


def opened(image: bytes | Path, size: int | None = None) -> Fat:
    data = image.read_bytes() if isinstance(image, Path) else image
    return Fat(reader(data), len(data) if size is None else size, "/dev/sda1")


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > len(data):
            raise DiskError("read", "beyond the end")
        return data[offset : offset + length]

    return read


def boot_of(image: bytes | bytearray) -> Boot:
    found = parse_boot(bytes(image[:LENGTH]))
    assert found is not None
    return found


# ---------------------------------------------------------------- a writer of what mtools does not write


def record(short: bytes, **fields: int) -> bytes:
    """Return a directory's record of a short name of eleven bytes."""
    get = fields.get
    return struct.pack(
        "<11sBB5xHHHHHI", short, get("attributes", 0x20), get("lower", 0), 0, get("start", 0) >> 16,
        get("time", TIME), get("date", DATE), get("start", 0) & 0xFFFF, get("size", 0),
    )  # fmt: skip


def slots(name: str, short: bytes, checksum: int | None = None) -> bytes:
    """Return the slots of a long name, in front of the record of the short one."""
    units = name.encode("utf-16-le", "surrogatepass")
    count = -(-len(units) // 26)
    units = (units + bytes(2)).ljust(count * 26, b"\xff")
    kept = checksum_of(short) if checksum is None else checksum
    found = b""
    for number in range(count, 0, -1):
        part = units[(number - 1) * 26 : number * 26]
        first = number | (0x40 if number == count else 0)
        found += struct.pack("<B10sBBB12sH4s", first, part[:10], 0x0F, 0, kept, part[10:22], 0, part[22:])
    return found


def root_place(image: bytes | bytearray) -> tuple[int, int]:
    boot = boot_of(image)
    if boot.root_cluster:
        return boot.data + (boot.root_cluster - 2) * boot.cluster, boot.cluster
    return boot.data - boot.root_size, boot.root_size


def add(image: bytearray, records: bytes) -> None:
    """Write records at the end of the root directory, which must have room for them in its first cluster."""
    place, room = root_place(image)
    at = next(at for at in range(place, place + room, 32) if not image[at])
    assert at + len(records) <= place + room
    image[at : at + len(records)] = records


# Records in the root directory, and the names the kernel shows for them (None: it shows none).
ODD: list[tuple[bytes, str | None]] = [
    (slots("naïve-🐧-名前.txt", b"NAVE~1  TXT") + record(b"NAVE~1  TXT"), "naïve-🐧-名前.txt"),
    (slots("wrong checksum", b"WRONG~1    ", 0x11) + record(b"WRONG~1    "), "WRONG~1"),
    (slots("nobody's long name", b"ORPHAN~1   "), None),
    (record(b"LOWER   BAS", lower=0x08), "lower.BAS"),
    (record(b"EXT     LOW", lower=0x10), "EXT.low"),
    (record(b"\x80\x8e\x9a\xe2\xe4   \xa5\xea ", lower=0x18), "çäü\u0393\u03c3.ñΩ"),
    (record(b"\x80\x8e\x9a\xe2\xe4\xe1  UP "), "ÇÄÜ\u0393\u03a3ß.UP"),
    (record(b"\x05KANJI     "), "\u03c3KANJI"),
    (record(b"small case "), "small ca.se"),
    (record(b"        EXT"), ".EXT"),
    (record(b"CUT\0ABCDX\0Z"), "CUT.X"),
    (record(b"LABEL2     ", attributes=0x08), None),
    (record(b"DIRLABEL   ", attributes=0x18), None),
    (b"\xe5" + record(b"DELETED    ")[1:], None),
    (slots("deleted", b"DELETED2   ") + b"\xe5" + record(b"DELETED2   ")[1:], None),
    (slots("cut", b"CUT2       ")[:-32] + record(b"CUT2       "), "CUT2"),
    (slots("twenty-seven characters long", b"BEGIN~1    ")[:32] + record(b"BEGIN~1    "), "BEGIN~1"),
    (slots("a first name that is given up", b"AFIRST~1   ")[:64] + slots("the second", b"SECOND~1   ")
     + record(b"SECOND~1   "), "the second"),
    (slots("a label's", b"LABEL3     ") + record(b"LABEL3     ", attributes=0x08), None),
    (slots("\uffff\ufffe", b"NONCHA~1   ") + record(b"NONCHA~1   "), "\uffff\ufffe"),
    (slots("e\u0301.\u202etxt", b"CONTRO~1TXT") + record(b"CONTRO~1TXT"), "e\u0301.\u202etxt"),
    (record(b"NODATE     ", date=0, time=0), "NODATE"),
    (record(b"BADDATE    ", date=0xFFFF, time=0xFFFF), "BADDATE"),
    (record(b"YEAR2100   ", date=121 << 9 | 3 << 5 | 1), "YEAR2100"),
    (record(b"LEAPDAY    ", date=44 << 9 | 2 << 5 | 29), "LEAPDAY"),
    (record(b"HIDDEN  SYS", attributes=0x06), "HIDDEN.SYS"),
    (record(b"RDONLY     ", attributes=0x01), "RDONLY"),
    (record(b"DEVICE     ", attributes=0x60), "DEVICE"),
    (slots("n" * 255, b"LONGES~1   ") + record(b"LONGES~1   "), "n" * 255),
]  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("fat"), request.param)


def make(place: Path, kind: str) -> Path:
    """Make a file system: files by mtools, one of them in pieces, a directory of several clusters, odd records."""
    needs("mkfs.fat", "mcopy", "mmd", "mdel", "mattrib")
    mebibytes, options = KINDS[kind]
    path = sparse_file(place / kind, mebibytes)
    run("mkfs.fat", "--invariant", "-n", "LABEL-1", "-i", "ABCD1234", *options, path)
    for directory in ("::/EFI", "::/EFI/BOOT", "::/EFI/debian", "::/many"):
        run("mmd", "-i", path, directory)
    source = place / "source"
    source.mkdir(exist_ok=True)
    for number in range(90):
        (source / f"file number {number:03}").write_bytes(b"%d" % number * 600)
    run("mcopy", "-i", path, *sorted(source.glob("file*")), "::/many")
    for number in range(0, 90, 2):
        run("mdel", "-i", path, f"::/many/file number {number:03}")
    for name, content in CONTENTS.items():
        (source / "one").write_bytes(content)
        os.utime(source / "one", (MTIME, MTIME))
        run("env", "TZ=UTC", "mcopy", "-m", "-i", path, source / "one", f"::{name}")
    run("mattrib", "+r", "-i", path, "::/read-only")
    data = bytearray(path.read_bytes())
    for odd, _ in ODD[: 10 if kind == "fat32" else None]:  # whose root has room for sixteen records in a cluster
        if odd and root_has_room(data, len(odd)):
            add(data, odd)
    path.write_bytes(data)
    return path


def root_has_room(image: bytearray, length: int) -> bool:
    place, room = root_place(image)
    free = [at for at in range(place, place + room, 32) if not image[at]]
    return len(free) * 32 > length


def content(fat: Fat, entry: Entry, length: int | None = None) -> bytes:
    return b"".join(fat.read_file(entry.path, entry.inode[1], entry.size if length is None else length))


# ---------------------------------------------------------------- what was written


def test_the_tree(image: Path) -> None:
    fat = opened(image)
    found = {entry.path: entry for entry in fat.entries()}
    paths = list(found)
    assert all(path == "/" or paths.index(path.rpartition("/")[0] or "/") < at for at, path in enumerate(paths))
    assert {f"/many/file number {n:03}" for n in range(1, 90, 2)} == {p for p in found if p.startswith("/many/")}
    for path, wanted in CONTENTS.items():
        entry = found[path]
        assert (entry.kind, entry.size, entry.mtime, entry.links) == ("file", len(wanted), MTIME, 1)
        assert entry.allocated == -(-len(wanted) // fat.boot.cluster) * fat.boot.cluster
        assert entry.mode == (0o555 if path == "/read-only" else 0o755)
        assert content(fat, entry) == wanted
        assert content(fat, entry, 5) == wanted[:5]
    for number in range(1, 90, 2):
        assert content(fat, found[f"/many/file number {number:03}"]) == b"%d" % number * 600
    assert {(e.mode, e.size, e.allocated) for e in found.values() if e.kind == "directory"} == {(0o755, 0, 0)}
    assert {(e.uid, e.gid) for e in found.values()} == {(0, 0)}
    assert len({entry.inode for entry in found.values()}) == len(found)
    assert found["/"].inode == (0, ROOT)


def test_odd_names(image: Path) -> None:
    data = image.read_bytes()
    place, room = root_place(data)
    names = {entry.path[1:] for entry in opened(data).entries() if entry.path.count("/") == 1 and entry.path != "/"}
    written = [name for odd, name in ODD if odd in data[place : place + room]]
    assert len(written) >= 2
    assert names == {name for name in written if name} | {
        "EFI",
        "many",
        "README.TXT",
        "Mixed.Case",
        "empty",
        "read-only",
    }


def test_what_blkid_says_of_it(image: Path) -> None:
    needs("blkid")
    said = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", image).splitlines())
    data = image.read_bytes()
    found = probe(reader(data), len(data))
    assert found is not None
    assert (found.type, found.uuid, found.label) == (said["TYPE"], said["UUID"], said["LABEL"])
    assert (found.label, found.why_not) == ("LABEL-1", "")
    assert f"FAT{boot_of(data).bits}" == said["VERSION"]


def test_what_is_free(image: Path) -> None:
    """Against fsck.fat, which counts what is in use."""
    needs("fsck.fat")
    place = image.with_suffix(".plain")
    run("mkfs.fat", "--invariant", *KINDS[image.name][1], sparse_file(place, KINDS[image.name][0]))
    (image.parent / "some").write_bytes(b"s" * 123_456)
    run("mcopy", "-i", place, image.parent / "some", "::/some")
    words = run("fsck.fat", "-n", place).splitlines()[-1].split()[-2]
    used, blocks = map(int, words.split("/"))
    usage = opened(place).usage()
    assert (usage.blocks - usage.free, usage.blocks) == (used, blocks)
    assert usage.block_size == boot_of(place.read_bytes()).cluster


# ---------------------------------------------------------------- what is not certain


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A FAT16 with one directory and a file of three clusters in it."""
    needs("mkfs.fat", "mcopy", "mmd")
    place = tmp_path_factory.mktemp("small")
    path = sparse_file(place / "image", 3)
    run("mkfs.fat", "--invariant", "-F", "16", "-s", "1", "-n", "SMALL", path)
    (place / "file").write_bytes(b"c" * 1500)
    run("mmd", "-i", path, "::/DIR")
    run("mcopy", "-i", path, place / "file", "::/DIR/FILE")
    return path.read_bytes()


def with_entry(image: bytes, cluster: int, value: int) -> bytes:
    at = boot_of(image).fat + cluster * 2
    return image[:at] + struct.pack("<H", value) + image[at + 2 :]


def with_records(image: bytes, *records: bytes) -> bytes:
    data = bytearray(image)
    for each in records:
        add(data, each)
    return bytes(data)


A_DIRECTORY = record(b"X          ", start=9, attributes=0x10)


def test_it_is_read_before_it_is_broken(small: bytes) -> None:
    assert [entry.path for entry in opened(small).entries()] == ["/", "/DIR", "/DIR/FILE"]
    chain = [struct.unpack_from("<H", small, boot_of(small).fat + 2 * each)[0] for each in (2, 3, 4, 5)]
    assert chain == [0xFFFF, 4, 5, 0xFFFF]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda i: with_entry(i, 2, 2), "larger than one may be"),
        (lambda i: with_entry(i, 2, 9), "goes on at 0"),
        (lambda i: with_entry(i, 5, 3), None),  # behind what the size needs: nobody looks
        (lambda i: with_entry(i, 4, 3), "more than one file"),
        (lambda i: with_entry(i, 3, 0xFFFF), "ends too early"),
        (lambda i: with_entry(i, 3, 0), "goes on at 0"),
        (lambda i: with_entry(i, 3, 0xFFF7), "goes on at 65527"),
        (lambda i: with_records(i, record(b"X          ", start=0, size=9)), "cannot be"),
        (lambda i: with_records(i, record(b"X          ", start=4, size=9)), "more than one file"),
        (lambda i: with_records(i, record(b"X          ", start=0, attributes=0x10)), "said to be its top"),
        (lambda i: with_records(i, A_DIRECTORY), "goes on at 0"),
        (lambda i: with_records(with_entry(i, 9, 0xFFFF), A_DIRECTORY), "it is no directory"),
        (lambda i: with_records(i, record(b"X          ", start=2, attributes=0x10)), "more than one file"),
        (lambda i: with_records(i, record(b"A/B        ")), "a name in it is none"),
        (lambda i: with_records(i, slots("dot.", b"DOT~1      ") + record(b"DOT~1      ")), "a name in it is none"),
        (lambda i: with_records(i, slots("..", b"DOT~1      ") + record(b"DOT~1      ")), "a name in it is none"),
        (lambda i: with_records(i, slots("a\ud800b", b"AB~1       ") + record(b"AB~1       ")), "not UTF-16"),
        (lambda i: with_records(i, slots("dir", b"DIR~1      ") + record(b"DIR~1      ")), "are the same"),
        (lambda i: with_records(i, slots("Other", b"dir        ") + record(b"dir        ")), "are the same"),
        (lambda i: with_records(i, slots("empty", b" " * 11) + record(b" " * 11)), "are the same"),
        (lambda i: with_records(i, bytes(32) + record(b"BEHIND     ")), "behind its end"),
    ],
)  # fmt: skip
def test_what_is_not_certain(small: bytes, change: Callable[[bytes], bytes], why: str | None) -> None:
    fat = opened(change(small))
    if why is None:
        assert len(list(fat.entries())) == 3
        return
    with pytest.raises(DamagedError, match=why):
        list(fat.entries())


def test_records_behind_the_end(small: bytes) -> None:
    """Linux shows them, other systems do not."""
    data = bytearray(small)
    place, _ = root_place(data)
    data[place + 512 : place + 544] = record(b"BEHIND     ")
    with pytest.raises(DamagedError, match="behind its end"):
        list(opened(bytes(data)).entries())
    data[place + 512] = 0xE5
    assert len(list(opened(bytes(data)).entries())) == 3


@pytest.mark.parametrize(
    ("offset", "value"),
    [(14, 0), (16, 0), (21, 0), (13, 0), (13, 3), (11, 1), (12, 0), (12, 0x20), (510, 0)],
)
def test_boot_sectors_that_are_none(small: bytes, offset: int, value: int) -> None:
    data = bytearray(small[: 1 << 16])
    data[offset] = value
    if offset == 510:
        data[0x36:0x3E] = b"unknown "
    assert probe(reader(bytes(data)), len(data)) is None
    with pytest.raises(DiskError):
        opened(bytes(data))


def test_sizes_that_cannot_be(small: bytes) -> None:
    found = probe(reader(small), len(small) // 2)
    assert found is not None
    assert "bytes long, and its device" in found.why_not
    with pytest.raises(DamagedError, match="bytes long"):
        opened(small, len(small) // 2)
    odd = small[:17] + struct.pack("<H", 500) + small[19:]  # entries of the root that fill no sector
    found = probe(reader(odd), len(odd))
    assert found is not None
    assert "not usual" in found.why_not
    none = small[:22] + bytes(2) + small[24:]
    assert (found := probe(reader(none), len(none))) is None or found.why_not


def test_labels(small: bytes) -> None:
    place, _ = root_place(small)
    for written, wanted in ((b"PLAIN.X-1  ", "PLAIN.X-1"), (b"TWO WORDS  ", "TWO WORDS"), (b"\0" * 11, "")):
        data = small[:place] + written + small[place + 11 :]
        found = probe(reader(data), len(data))
        assert found is not None
        assert (found.label, found.why_not) == (wanted, "")
    for written in (b"\x05LABEL     ", b"CAF\x90       "):
        data = small[:place] + written + small[place + 11 :]
        found = probe(reader(data), len(data))
        assert found is not None
        assert "not plain" in found.why_not


def test_what_blkid_says_of_mutated_disks(small: bytes, tmp_path: Path) -> None:
    needs("blkid")
    chance, same = random.Random(6), 0
    place, _ = root_place(small)
    for _ in range(150):
        data = bytearray(small)
        for _ in range(chance.randint(1, 3)):
            start, length = chance.choice(((0, 62), (place, 64), (510, 2)))
            data[start + chance.randrange(length)] = chance.choice((0, 1, 5, 8, 0x10, 0x28, 0x41, 0xE5, 0xFF))
        found = probe(reader(bytes(data)), len(data))
        (tmp_path / "image").write_bytes(data)
        answer = subprocess.run(["blkid", "-p", "-o", "export", tmp_path / "image"], capture_output=True, check=False)
        said = dict(line.split("=", 1) for line in answer.stdout.decode("latin-1").splitlines())
        if found is None:
            assert said.get("TYPE") is None
        elif not found.why_not:
            tags = said.get("TYPE"), said.get("UUID", ""), re.sub(r"\\(.)", r"\1", said.get("LABEL", ""))
            assert (found.type, found.uuid, found.label) == tags
            same += 1
    assert same > 30


def test_exfat_is_told_and_not_read(tmp_path: Path) -> None:
    needs("mkfs.exfat", "blkid")
    path = sparse_file(tmp_path / "image", 8)
    run("mkfs.exfat", path)
    said = dict(line.split("=", 1) for line in run("blkid", "-p", "-o", "export", path).splitlines())
    found = probe(reader(path.read_bytes()), 8 << 20)
    assert found is not None
    assert (found.type, found.uuid) == (said["TYPE"], said["UUID"])
    assert found.why_not
    with pytest.raises(DamagedError):
        opened(path)


def test_no_other_file_system_is_one(tmp_path: Path) -> None:
    needs("mkfs.ntfs", "mke2fs")
    for program in (("mkfs.ntfs", "-q", "-F"), ("mke2fs", "-q", "-F")):
        path = sparse_file(tmp_path / program[0], 4)
        run(*program, path)
        assert probe(reader(path.read_bytes()), 4 << 20) is None
    assert probe(reader(bytes(512)), 512) is None
    assert probe(reader(b""), 0) is None


def test_a_file_that_is_none(small: bytes) -> None:
    for number in (0, ROOT, 1 << 60):
        with pytest.raises(GuestFileError):
            list(opened(small).read_file("/x", number, 5))


def test_a_large_file_comes_in_pieces(tmp_path: Path) -> None:
    needs("mkfs.fat", "mcopy")
    path = sparse_file(tmp_path / "image", 16)
    run("mkfs.fat", path)
    (tmp_path / "big").write_bytes(os.urandom(5 << 20))
    run("mcopy", "-i", path, tmp_path / "big", "::/big")
    fat = opened(path)
    entry = next(entry for entry in fat.entries() if entry.path == "/big")
    pieces = list(fat.read_file("/big", entry.inode[1], entry.size))
    assert max(map(len, pieces)) == PIECE
    assert b"".join(pieces) == (tmp_path / "big").read_bytes()


def test_paths_that_are_too_long(small: bytes) -> None:
    """Directories within each other, until no program could name them."""
    data, boot = bytearray(small), boot_of(small)
    add(data, slots("d" * 255, b"D~1        ") + record(b"D~1        ", start=20, attributes=0x10))
    for cluster in range(20, 60):
        at = boot.data + (cluster - 2) * boot.cluster
        inner = slots("d" * 130, b"D~1        ") + record(b"D~1        ", start=cluster + 1, attributes=0x10)
        dots = record(b".          ", attributes=0x10) + record(b"..         ", attributes=0x10)
        assert len(dots + inner) <= boot.cluster
        data[at : at + boot.cluster] = (dots + inner).ljust(boot.cluster, b"\0")
        data[boot.fat + cluster * 2 : boot.fat + cluster * 2 + 2] = b"\xff\xff"
    with pytest.raises(DamagedError, match="longer than a path may be"):
        list(opened(bytes(data)).entries())


# ---------------------------------------------------------------- hostile input


def read_all(data: bytes) -> None:
    """Read everything there is; only the documented errors may come, and soon."""
    try:
        probe(reader(data), len(data))
        fat = opened(data)
        fat.usage()
        entries = list(fat.entries())
    except DiskError:
        return
    for entry in entries:
        if entry.kind == "file":
            try:
                assert len(content(fat, entry, min(entry.size, PIECE))) == min(entry.size, PIECE)
            except GuestFileError:
                continue


def test_mutated_disks(small: bytes, tmp_path: Path) -> None:
    chance = random.Random(3)
    boot = boot_of(small)
    places = [(0, 90), (boot.fat, 40), (boot.data - boot.root_size, 128), (boot.data, 128)]
    for _ in range(300):
        data = bytearray(small)
        for _ in range(chance.randint(1, 6)):
            start, length = chance.choice(places)
            data[start + chance.randrange(length)] = chance.choice(
                (0, 1, 2, 0x0F, 0x10, 0x7F, 0xFF, chance.randrange(256))
            )
        read_all(bytes(data))


@given(st.binary(min_size=LENGTH, max_size=LENGTH))
def test_any_boot_sector(data: bytes) -> None:
    data = data[:510] + b"\x55\xaa"
    found = parse_boot(data)
    assert found is None or found.end >= 2 or found.why_not
    read_all(data.ljust(4096, b"\0"))


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.binary(min_size=32, max_size=32),
            st.builds(
                lambda n, a: record(n.ljust(11), attributes=a), st.binary(max_size=11), st.sampled_from((0x20, 0x10, 8))
            ),
            st.builds(lambda n, s: slots(n, s.ljust(11)), st.text(min_size=1, max_size=30), st.binary(max_size=11)),
        ),
        max_size=12,
    ),
    st.sampled_from((12, 16, 32)),
)
def test_any_directory(records: list[bytes], bits: int) -> None:
    data = b"".join(records)
    try:
        found = parse_directory(data, bits)
    except ValueError:
        return
    for each in found:
        assert each.name
        assert b"/" not in each.name
        assert 0 <= each.at < len(data)
        each.name.decode()


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_any_time(date: int, time: int) -> None:
    assert 315532800 <= unix_time(date, time) < 315532800 + 129 * 366 * 86400


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=260))
def test_any_long_name(name: str) -> None:
    assert long_name(name.encode("utf-16-le") + bytes(2)).decode() == name


@given(st.binary(min_size=32, max_size=32))
def test_any_short_name(raw: bytes) -> None:
    assert len(short_name(raw).decode()) <= 12


# ---------------------------------------------------------------- other people's disks, and the kernel


def test_a_disk_in_vhd(tmp_path: Path) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of other people's disks (../shared/corpus/images) is not here")
    needs("qemu-nbd")
    disk = NbdDisk(describe(unpacked(CORPUS, "fat-parent.vhd", tmp_path)))
    try:
        start, size = 128 * 512, 6016 * 512

        def read(offset: int, length: int) -> bytes:
            return disk.read(start + offset, length)

        found = probe(read, size)
        assert found is not None
        assert (found.type, found.why_not) == ("vfat", "")
        fat = Fat(read, size, "/dev/sda1")
        files = {entry.path: content(fat, entry) for entry in fat.entries() if entry.kind == "file"}
        assert files
    finally:
        disk.close()


@pytest.mark.appliance
def test_it_is_what_the_kernel_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds at one launch: tags, size, every entry and every content; local time is not the machine's."""
    needs_guestfs()
    from migrate.guest.libguestfs.reader import _Machine
    from migrate.guest.libguestfs.sweep import Sweep

    disks = [make(tmp_path, kind) for kind in KINDS]
    monkeypatch.setenv("TZ", "America/New_York")
    machine = _Machine([describe(disk) for disk in disks], silent, silent)
    try:
        by_label = machine.handle.list_disk_labels()
        for label, disk in zip(machine.labels, disks, strict=True):
            device, fat, data = by_label[label], opened(disk), disk.read_bytes()
            tags, found = machine.handle.blkid(device), probe(reader(data), len(data))
            assert found is not None
            assert (found.type, found.uuid, found.label) == (tags["TYPE"], tags["UUID"], tags["LABEL"])
            machine.handle.mount_options("ro,utf8,tz=UTC", device, "/")
            said, usage = machine.handle.statvfs("/"), fat.usage()
            assert (said["frsize"], said["blocks"], said["bfree"]) == (usage.block_size, usage.blocks, usage.free)
            sweep = Sweep(machine.handle, silent)
            theirs = {entry.path: entry for entry in sweep.entries()}
            assert sweep.problems == []
            mine = {entry.path: entry for entry in fat.entries()}
            assert {path: told(entry) for path, entry in mine.items()} == {p: told(e) for p, e in theirs.items()}
            for path, entry in mine.items():
                if entry.size:
                    assert content(fat, entry) == machine.handle.pread(path, entry.size, 0)
            machine.handle.umount_all()
    finally:
        machine.handle.close()


def told(entry: Entry) -> tuple[object, ...]:
    return (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.links, entry.allocated,
            entry.target, entry.xattrs)  # fmt: skip
