"""Partition tables as sfdisk and parted write them, as nobody should, and as a kernel reads them."""

from __future__ import annotations

import contextlib
import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.filesystems.inprocess import Read
from migrate.guest.libguestfs.appliance import needs_emulation
from migrate.guest.progress import silent
from migrate.guest.volumes.partitions import Partition, Table, find_partitions, find_table
from tests.guest.made import needs, needs_guestfs, run, sparse_file, unpacked

UNIT = 256 << 10
SIZE = 16 * UNIT
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
NAME = 'rööt "1"\\ a=b\u20ac'


def reader(content: bytes) -> Read:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(content)
        return content[offset : offset + length]

    return read


def found_in(content: bytes) -> list[Partition] | None:
    return find_partitions(reader(content), len(content))


def changed(content: bytes, *edits: tuple[int, bytes]) -> bytes:
    found = bytearray(content)
    for offset, data in edits:
        found[offset : offset + len(data)] = data
    return bytes(found)


# ---------------------------------------------------------------- disks

_MBR = (
    "label: dos\nlabel-id: 0xcafe0001\nstart=256KiB, size=512KiB, type=83\nstart=768KiB, size=512KiB, type=82\n"
    "start=1280KiB, size=2560KiB, type=5\nstart=1536KiB, size=256KiB, type=83\nstart=2048KiB, size=256KiB, type=8e\n"
)
_MANY = "label: dos\n256,256,L\n512,7600,Ex\n" + "".join(f"{512 + 256 * n + 63},128,L\n" for n in range(18))
_GPT = (
    "label: gpt\nstart=256KiB, size=256KiB, type=21686148-6449-6E6F-744E-656564454649\n"
    f'start=512KiB, size=2048KiB, type=linux, uuid=6A1E4A7C-23B0-4C11-9E0A-0D5C4F2F7E55, name="{NAME}"\n'
).replace('"1"\\ ', "1 ")
_ODD_GPT = (
    "label: gpt\nfirst-lba: 66\ntable-length: 256\n200 : start=1024KiB, size=256KiB\n3 : start=2048KiB, size=256KiB\n"
    "2 : start=2560KiB, size=256KiB\n128 : start=512KiB, size=256KiB\n"
)


_written: dict[str, bytes] = {}


def with_table(path: Path, script: str) -> bytes:
    needs("sfdisk")
    if script not in _written:
        run("sfdisk", "-q", sparse_file(path, 4), stdin=script)
        _written[script] = path.read_bytes()
    return _written[script]


def gpt_of(
    sector: int, size: int, *partitions: tuple[int, int], place: int = 1, number: int = 4
) -> tuple[bytes, bytes]:
    """Return a header and its entries, of partitions given by first and last sector."""
    entries = b"".join(
        struct.pack("<16s16sQQQ72s", bytes(range(16)), bytes([n]) * 16, first, last, 0, f"p{n}".encode("utf-16-le"))
        for n, (first, last) in enumerate(partitions, 1)
    ).ljust(128 * number, b"\0")
    end = size // sector - 1
    table = 2 if place == 1 else place - 4096 // sector
    fields = [b"EFI PART", 0x10000, 92, 0, 0, place, end if place == 1 else 1, 64, end - 64, b"G" * 16]
    pack = struct.Struct("<8sIIIIQQQQ16sQIII").pack
    header = pack(*fields, table, number, 128, zlib.crc32(entries))
    fields[3] = zlib.crc32(header)
    return pack(*fields, table, number, 128, zlib.crc32(entries)), entries


def slot(kind: int, start: int, count: int, status: int = 0) -> bytes:
    return struct.pack("<B3xB3xII", status, kind, start, count)


def mbr_of(*slots: bytes, boot: bytes = b"") -> bytes:
    return boot.ljust(446, b"\0") + b"".join(slots).ljust(64, b"\0") + b"\x55\xaa"


def large_sectors(size: int = SIZE) -> bytes:
    """A disk of 4096-byte sectors, with a GPT at both ends."""
    parts = [(64, 127), (128, 255)]
    end = size // 4096 - 1
    header, entries = gpt_of(4096, size, *parts)
    other, _ = gpt_of(4096, size, *parts, place=end)
    protective = mbr_of(slot(0xEE, 1, end))
    return changed(
        bytes(size), (0, protective), (4096, header), (8192, entries), (4096 * (end - 1), entries), (4096 * end, other)
    )


def resealed(content: bytes, *edits: tuple[int, bytes]) -> bytes:
    """Change a GPT's header or entries, and make its checksums right again."""
    content = changed(content, *edits)
    table, count, each = struct.unpack_from("<QII", content, 512 + 72)
    if table * 512 + count * each <= len(content):
        crc = zlib.crc32(content[table * 512 : table * 512 + count * each])
        content = changed(content, (512 + 88, struct.pack("<I", crc)))
    content = changed(content, (512 + 16, bytes(4)))
    return changed(content, (512 + 16, struct.pack("<I", zlib.crc32(content[512 : 512 + 92]))))


Maker = Callable[[Path], bytes]


def _file_system(*command: str) -> Maker:
    def make(path: Path) -> bytes:
        needs(command[0])
        run(*command, sparse_file(path, 4))
        return path.read_bytes()

    return make


def _parted(*words: str) -> Maker:
    def make(path: Path) -> bytes:
        needs("parted")
        run("parted", "-s", sparse_file(path, 4), "mklabel", *words)
        return path.read_bytes()

    return make


def _mbr(*edits: tuple[int, bytes]) -> Maker:
    return lambda path: changed(with_table(path, _MBR), *edits)


def _gpt(*edits: tuple[int, bytes]) -> Maker:
    return lambda path: changed(with_table(path, _GPT), *edits)


def _resealed(*edits: tuple[int, bytes]) -> Maker:
    return lambda path: resealed(with_table(path, _GPT), *edits)


def _made(content: bytes) -> Maker:
    return lambda _: content.ljust(SIZE, b"\0")


_END = SIZE - 512
_ONE = slot(0x83, 512, 512)
_WINDOWS = (
    b"\xebR\x90NTFS    \0\x02\x08".ljust(24, b"\0") + b"A disk read error occurred\r\nBOOTMGR is missing\r\n" * 12
)

# What is found: numbers of partitions, None for no table, or the reason why it is refused.
DISKS: dict[str, tuple[Maker, list[int] | str | None]] = {
    "mbr": (_mbr(), [1, 2, 3, 5, 6]),
    "many": (lambda path: with_table(path, _MANY), [1, 2, *range(5, 23)]),
    "gpt": (_gpt(), [1, 2]),
    "unordered": (lambda path: with_table(path, _ODD_GPT), [2, 3, 128, 200]),
    "nothing": (_made(b""), None),
    "nobackup": (_gpt((_END, bytes(512))), [1, 2]),
    # the primary is damaged, the backup is not
    "badheader": (_gpt((512 + 24, b"\x02")), "its checksum is wrong.; there is a whole backup"),
    "noheader": (_gpt((512, bytes(512))), "its GPT is missing; there is a whole backup"),
    "badentries": (_gpt((1024 + 130, b"\x07")), "checksum of its entries is wrong.; there is a whole backup"),
    "badboth": (_gpt((512 + 24, b"\x02"), (_END, bytes(8))), r"its checksum is wrong\)$"),
    "neither": (_gpt((512, bytes(8)), (_END, bytes(8))), "its GPT is missing$"),
    # the protective MBR and what else can be in its place
    "hybrid": (_gpt((446 + 16, _ONE)), [1, 2]),
    "lateproof": (_gpt((446, _ONE + slot(0x07, 4096, 9) + slot(0xEE, 1, 99, 0x80))), [1, 2]),
    "oddstatus": (_gpt((446, b"\x12")), [1, 2]),
    "shortproof": (_gpt((446 + 12, b"\1\0\0\0")), [1, 2]),
    "notatone": (_gpt((446 + 8, b"\2")), "its MBR is that of a GPT, and not as a GPT needs it"),
    "noproof": (_gpt((510, b"\0\0")), "a GPT without the protective MBR"),
    "leftover": (_gpt((446, _ONE)), [1]),
    "cleared": (_gpt((446, bytes(64))), None),
    # GPTs that the kernel does not take
    "cutoff": (_resealed((512 + 48, struct.pack("<Q", SIZE // 512))), "that of a larger disk"),
    "elsewhere": (_resealed((512 + 24, b"\2")), "laid out in a way that is not known"),
    "wide": (_resealed((512 + 84, b"\0\1")), "laid out in a way that is not known"),
    "noentries": (_resealed((512 + 80, bytes(4))), "laid out in a way that is not known"),
    "outside": (_resealed((1024 + 32, struct.pack("<Q", 1))), "its partition 1 is outside of the part for partitions"),
    "backwards": (_resealed((1024 + 40, b"\1\0\0\0\0")), "its partition 1 is outside of the part for partitions"),
    # MBRs without partitions, and what only looks like one
    "bootcode": (_made(mbr_of(boot=b"\xfa\x31\xc0" * 100)), None),
    "vfat": (_file_system("mkfs.vfat"), None),
    "ntfs": (_file_system("mkfs.ntfs", "-F", "-Q", "-q"), None),
    "exttwo": (_file_system("mke2fs", "-q"), None),
    "windows": (_made(_WINDOWS[:510].ljust(510, b"\0") + b"\x55\xaa"), None),
    "strange": (_mbr((446, b"\x12")), None),
    "notype": (_mbr((450, b"\0")), "entry 1 of its partition table has no type or no place"),
    "noplace": (_mbr((446 + 8, bytes(4))), "entry 1 of its partition table has no type or no place"),
    "beyond": (_mbr((446 + 12, b"\xff\xff\xff\x7f")), "its partition 1 goes beyond the end of the disk"),
    "farbeyond": (_mbr((446 + 8, b"\xff\xff\xff\x7f")), "its partition 1 goes beyond the end of the disk"),
    "extbeyond": (_mbr((446 + 44, b"\xff\xff\xff\x7f")), "its extended partition goes beyond the end"),
    "bsd": (_mbr((450, b"\xa5")), "partition 1 is of type 0xa5, which may hold a table of its own"),
    "dynamic": (_mbr((450, b"\x42")), "partition 1 is of type 0x42, which may hold a table of its own"),
    "solaris": (_mbr((3 * UNIT + 524, b"\xee\xde\x0d\x60")), "partition 2 is of type 0x82, which may hold"),
    "twoext": (_mbr((450, b"\x0f")), "more than one extended partition"),
    "chainend": (_mbr((5 * UNIT + 510, b"\0\0")), "chain of its logical partitions is broken"),
    "chainloop": (_mbr((5 * UNIT + 446 + 16 + 8, bytes(4))), "chain of its logical partitions is broken"),
    "chainthree": (_mbr((5 * UNIT + 446 + 32 + 12, b"\1")), "not as programs write it"),
    # sectors of 4096 bytes
    "large": (lambda _: large_sectors(), [1, 2]),
    "largebad": (lambda _: changed(large_sectors(), (4096 + 24, b"\2")), "its checksum is wrong.; there is a whole"),
    "largenone": (lambda _: changed(large_sectors(), (4096, bytes(8))), "its GPT is missing; there is a whole backup"),
    # tables of other kinds
    "sun": (_parted("sun", "mkpart", "ext2", "512s", "4095s"), r"another kind \(Sun\)"),
    "apple": (_parted("mac", "mkpart", "p", "ext2", "512s", "4095s"), r"another kind \(Apple\)"),
    "amiga": (_parted("amiga", "mkpart", "p", "ext2", "512s", "4095s"), r"another kind \(Amiga\)"),
    "sgi": (lambda path: with_table(path, "label: sgi\n"), r"another kind \(SGI\)"),
    "atari": (_made(bytes(0x1C6) + struct.pack(">B3sII", 1, b"GEM", 512, 512)), r"another kind \(Atari\)"),
    "karma": (_made(bytes(510) + b"\x56\xab"), r"another kind \(Karma\)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("tables")
    return {name: make(place / name) for name, (make, _) in DISKS.items()}


@pytest.mark.parametrize("name", DISKS)
def test_a_table(disks: dict[str, bytes], name: str) -> None:
    wanted = DISKS[name][1]
    if isinstance(wanted, str):
        with pytest.raises(ValueError, match=wanted):
            found_in(disks[name])
    else:
        found = found_in(disks[name])
        assert (None if found is None else [each.number for each in found]) == wanted


def test_an_mbr_with_logical_partitions(disks: dict[str, bytes]) -> None:
    found = found_in(disks["mbr"])
    assert found is not None
    assert [(p.number, p.start / UNIT, p.size, p.type, p.uuid) for p in found] == [
        (1, 1, 2 * UNIT, "0x83", "cafe0001-01"),
        (2, 3, 2 * UNIT, "0x82", "cafe0001-02"),
        (3, 5, 1024, "0x5", "cafe0001-03"),
        (5, 6, UNIT, "0x83", "cafe0001-05"),
        (6, 8, UNIT, "0x8e", "cafe0001-06"),
    ]


def test_a_gpt(disks: dict[str, bytes]) -> None:
    found = found_in(disks["gpt"])
    assert found is not None
    assert found[0].type == "21686148-6449-6e6f-744e-656564454649"
    assert msgspec.structs.replace(found[1], label="") == Partition(
        number=2, start=2 * UNIT, size=8 * UNIT, type=LINUX, uuid="6a1e4a7c-23b0-4c11-9e0a-0d5c4f2f7e55"
    )
    assert found[1].label == NAME.replace('"1"\\ ', "1 ")


def test_sectors_of_4096_bytes(disks: dict[str, bytes]) -> None:
    table = find_table(reader(disks["large"]), SIZE)
    assert isinstance(table, Table)
    assert table.sector == 4096
    assert [(p.number, p.start, p.size, p.label) for p in table.partitions] == [
        (1, UNIT, UNIT, "p1"),
        (2, 2 * UNIT, 2 * UNIT, "p2"),
    ]
    other = find_table(reader(disks["gpt"]), SIZE)
    assert other is not None
    assert other.sector == 512


def test_a_disk_of_no_size() -> None:
    assert found_in(bytes(100)) is None
    assert found_in(b"") is None


@pytest.mark.parametrize(("name", "numbers"), [("mbr", [1, 2, 5]), ("gpt", [1, 2]), ("gpt_non_sequential", [1, 3])])
def test_the_corpus(corpus: Path, tmp_path: Path, name: str, numbers: list[int]) -> None:
    found = found_in(unpacked(corpus, f"{name}.raw", tmp_path).read_bytes())
    assert found is not None
    assert [each.number for each in found] == numbers


# ---------------------------------------------------------------- hostile


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4095), st.binary(min_size=1, max_size=16)), max_size=8),
    st.sampled_from(["mbr", "many", "gpt", "unordered", "large", "hybrid"]),
    st.booleans(),
)
def test_hostile_tables_raise_only_value_error(
    disks: dict[str, bytes], edits: list[tuple[int, bytes]], name: str, sealed: bool
) -> None:
    content = (resealed if sealed else changed)(disks[name], *edits)
    try:
        found = found_in(content)
    except ValueError:
        return
    assert found is None or all(0 < p.start < p.start + p.size <= len(content) for p in found)


def test_tables_changed_at_random(disks: dict[str, bytes]) -> None:
    chance = random.Random(20231123)
    places = [*range(440, 520), *range(512, 604), *range(1024, 1280), *range(5 * UNIT + 440, 5 * UNIT + 512)]
    read = 0
    for _ in range(400):
        disk = disks[chance.choice(["mbr", "gpt", "hybrid"])]
        edits = [(chance.choice(places), bytes([chance.choice([0, 1, 255, 0xEE, 5, chance.randrange(256)])]))]
        try:
            found = found_in((resealed if chance.randrange(2) else changed)(disk, *edits))
        except ValueError:
            continue
        read += 1
        assert found is None or all(0 < p.start < p.start + p.size <= len(disk) for p in found)
    assert 0 < read < 400


# ---------------------------------------------------------------- a kernel


class Seen(msgspec.Struct, frozen=True):
    """A partition as the appliance's kernel has it, in bytes, and what blkid(8) says of its entry."""

    number: int
    start: int
    size: int
    entry: dict[str, str]


_PRINTED = re.compile(rb"(M-)?(?:\\(.)|\^(.))|M-(.)", re.DOTALL)


def unescaped(value: str) -> str:
    r"""Undo what `blkid -o export` does to a value (util-linux, misc-utils/blkid.c, safe_print).

    >>> unescaped(r"rM-CM-6M-CM-6t\ 1")
    'rööt 1'
    """

    def undone(match: re.Match[bytes]) -> bytes:
        meta, quoted, control, plain = match.groups()
        code = ord(control) ^ 0x40 if control else ord(quoted or plain)
        return bytes([code | 0x80 if meta or plain else code])

    return _PRINTED.sub(undone, value.encode()).decode()


# udev reads a table anew whenever a disk was opened, and partitions are away meanwhile: it is killed, and waited for.
# Nodes are made by hand, and all is asked within one script, so that nothing comes between the table and the answer.
_SYSFS = r"""
for process in /proc/[0-9]*
do case "$(cat $process/comm 2>/dev/null)" in
*udevd) kill -9 ${process#/proc/}; while test -s $process/cmdline; do sleep 0.1; done;;
esac
done
mkdir -p /run/nodes
for label in /dev/disk/guestfs/*
do
disk=$(basename $(readlink -f $label))
case $disk in *[0-9]) continue;; esac
echo $(basename $label) $disk $(cat /sys/block/$disk/dev)
done >/run/disks
while read label disk number
do
mknod /run/nodes/$disk b ${number%:*} ${number#*:}
blockdev --rereadpt /run/nodes/$disk
done </run/disks 2>/dev/null
while read label disk number
do
for part in /sys/block/$disk/$disk[1-9]*
do
test -d $part || continue
echo "PARTITION $label $(cat $part/partition $part/start $part/size | tr '\n' ' ')"
number=$(cat $part/dev)
mknod /run/nodes/$(basename $part) b ${number%:*} ${number#*:}
blkid -c /dev/null -p -o export /run/nodes/$(basename $part)
done
done </run/disks
true
"""


_ENTRY = ("PART_ENTRY_TYPE", "PART_ENTRY_UUID", "PART_ENTRY_NAME")


@pytest.fixture(scope="module")
def kernel(
    disks: dict[str, bytes], corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], dict[str, list[Seen]]]:
    """All disks, in an appliance at once: those with large sectors twice, with such sectors and without."""
    needs_guestfs()
    import guestfs

    place = tmp_path_factory.mktemp("kernel")
    every = disks | {
        f"corpus{name}": unpacked(corpus, f"{file}.raw", place).read_bytes()
        for name, file in (("mbr", "mbr"), ("gpt", "gpt"), ("odd", "gpt_non_sequential"))
    }
    every |= {f"{name}four": content for name, content in disks.items() if name.startswith("large")}
    found: dict[str, list[Seen]] = {name: [] for name in every}
    handle: Any
    with contextlib.closing(guestfs.GuestFS(python_return_dict=True)) as handle:
        handle.set_backend("direct")
        if needs_emulation(silent):
            handle.set_backend_setting("force_tcg", "1")
        for name, content in every.items():
            (place / name).write_bytes(content)
            sector = 4096 if name.endswith("four") else 512
            handle.add_drive_opts(str(place / name), readonly=True, format="raw", label=name, blocksize=sector)
        handle.launch()
        for part in handle.debug("sh", [_SYSFS]).split("PARTITION ")[1:]:
            first, *lines = part.splitlines()
            name, *numbers = first.split()
            tags = dict(line.split("=", 1) for line in lines if "=" in line)
            entry = {key: unescaped(tags[key]) for key in _ENTRY if key in tags}
            number, start, size = map(int, numbers)
            found[name].append(Seen(number, start * 512, size * 512, entry))
    return every, {name: sorted(seen, key=lambda each: each.number) for name, seen in found.items()}


# Refused, and the kernel has no partitions on them either.
_NOTHING_SEEN = frozenset({
    "badheader", "noheader", "badentries", "badboth", "neither", "notatone", "noproof", "cutoff", "elsewhere", "wide",
    "noentries", "largebad", "largenone",
})  # fmt: skip


def _told(partition: Partition) -> Seen:
    entry = {"PART_ENTRY_TYPE": partition.type, "PART_ENTRY_UUID": partition.uuid, "PART_ENTRY_NAME": partition.label}
    return Seen(
        partition.number, partition.start, partition.size, {key: value for key, value in entry.items() if value}
    )


@pytest.mark.appliance
def test_what_the_kernel_has(kernel: tuple[dict[str, bytes], dict[str, list[Seen]]]) -> None:
    """What is found is what it has, and no table is no partition; sectors of 4096 bytes are seen only as such."""
    every, seen = kernel
    wrong = []
    for name, content in every.items():
        if name.startswith("large") and not name.endswith("four"):
            told: list[Seen] = []
        else:
            try:
                told = [_told(each) for each in found_in(content) or []]
            except ValueError:
                if name.removesuffix("four") not in _NOTHING_SEEN:
                    continue
                told = []
        if told != seen[name]:
            wrong.append((name, told, seen[name]))
    assert wrong == []
