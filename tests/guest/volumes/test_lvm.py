"""Physical volumes as LVM writes them, made here byte by byte, and as nobody should."""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.filesystems.extsuper import LENGTH, OFFSET, parse_superblock
from migrate.guest.filesystems.inprocess import Read
from migrate.guest.volumes.lvm import TYPE, Member, Volume, find_volumes, probe
from migrate.guest.volumes.lvmlabel import dashed, lvm_crc
from migrate.guest.volumes.lvmtext import MAX_LENGTH, parse_config
from tests.guest.made import needs, unpacked

MIB = 1 << 20
SECTOR = 512
EXTENT = 128  # sectors
START = 2048
COUNT = 64
SIZE = 6 * MIB
AREA = (4096, MIB - 4096)
MAGIC = b" LVM2 x[5A%r0N*>"


# ---------------------------------------------------------------- a writer


def identity(number: int, kind: str = "pv") -> str:
    return f"{kind}{number:04d}".ljust(32, "x")


def sector_of(device: int, number: int) -> bytes:
    """A sector's content, different for each sector of each device."""
    return struct.pack("<II", 1000 + device, number) * 64


def label(
    uuid: str, areas: Sequence[tuple[int, int]], *, sector: int = 1, used: bool = True, version: int = 2
) -> bytes:
    places = struct.pack("<QQQQ", START * SECTOR, 0, 0, 0)
    places += b"".join(struct.pack("<QQ", *area) for area in areas) + bytes(16)
    extension = struct.pack("<IIQQ", version, used if version > 1 else 0, 0, 0) if version else b""
    body = uuid.encode() + struct.pack("<Q", SIZE) + places + extension
    content = struct.pack("<I8s", 32, b"LVM2 001") + body
    content = content.ljust(SECTOR - 20, b"\0")
    return struct.pack("<8sQI", b"LABELONE", sector, lvm_crc(content)) + content


def put_area(disk: bytearray, area: tuple[int, int], text: bytes, offset: int = 1024, flags: int = 0) -> None:
    """Write a metadata area; a text that reaches its end goes on after the header."""
    start, size = area
    locations = struct.pack("<QQII", offset if text else 0, len(text), lvm_crc(text) if text else 0, flags)
    body = struct.pack("<16sIQQ", MAGIC, 1, start, size) + locations
    body = body.ljust(SECTOR - 4, b"\0")
    disk[start : start + SECTOR] = struct.pack("<I", lvm_crc(body)) + body
    first = min(len(text), size - offset)
    disk[start + offset : start + offset + first] = text[:first]
    rest = text[first:]
    disk[start + SECTOR : start + SECTOR + len(rest)] = rest


def blank(number: int, size: int = SIZE) -> bytearray:
    """A device whose extents are numbered."""
    disk = bytearray(size)
    at = START * SECTOR
    disk[at:] = b"".join(sector_of(number, sector) for sector in range((size - at) // SECTOR))
    return disk


def physical_volume(
    number: int,
    text: bytes,
    *,
    areas: Sequence[tuple[int, int]] = (AREA,),
    sector: int = 1,
    version: int = 2,
    used: bool = True,
    offset: int = 1024,
    flags: int = 0,
) -> bytearray:
    disk = blank(number)
    disk[sector * SECTOR : (sector + 1) * SECTOR] = label(
        identity(number), areas, sector=sector, version=version, used=used
    )
    for area in areas:
        put_area(disk, area, text, offset, flags)
    return disk


def segment(number: int, start: int, count: int, *stripes: tuple[int, int], stripe_size: int = 0) -> str:
    size = f"stripe_size = {stripe_size}\n" if stripe_size else ""
    places = ", ".join(f'"pv{device}", {first}' for device, first in stripes)
    return (
        f"segment{number} {{\nstart_extent = {start}\nextent_count = {count}\n\n"
        f'type = "striped"\nstripe_count = {len(stripes)}\n{size}\nstripes = [\n{places}\n]\n}}\n'
    )


def volume(name: str, *segments: str, status: str = '"READ", "WRITE", "VISIBLE"', flags: str = "") -> str:
    uuid = dashed("".join(letter if letter.isalnum() else "0" for letter in name.ljust(32, "v")))
    return (
        f'{name} {{\nid = "{uuid}"\nstatus = [{status}]\nflags = [{flags}]\ncreation_time = 1626962863\t# then\n'
        f'creation_host = "a \\"host\\""\nsegment_count = {len(segments)}\n\n{"".join(segments)}}}\n'
    )


def group(
    name: str, devices: Sequence[int], *volumes: str, seqno: int = 3, number: int = 1, extra: str = "", pad: int = 0
) -> bytes:
    pvs = "\n".join(
        f'pv{n} {{\nid = "{dashed(identity(n))}"\ndevice = "/dev/sd{n}"\t# Hint only\n\nstatus = ["ALLOCATABLE"]\n'
        f"flags = []\ndev_size = {SIZE // SECTOR}\npe_start = {START}\npe_count = {COUNT}\n}}\n"
        for n in devices
    )
    text = (
        f'{name} {{\nid = "{dashed(identity(number, "vg"))}"\nseqno = {seqno}\nformat = "lvm2" # informational\n'
        f'status = ["RESIZEABLE", "READ", "WRITE"]\nflags = []\nextent_size = {EXTENT}\nmax_lv = 0\nmax_pv = 0\n'
        f"metadata_copies = 0\n{extra}\nphysical_volumes {{\n\n{pvs}}}\n\n"
        f"logical_volumes {{\n\n{''.join(volumes)}}}\n\n}}\n"
        "# Generated by LVM2 version 2.03.16(2) (2022-05-18): Mon Jul 10 10:00:00 2023\n\n"
        'contents = "Text Format Volume Group"\nversion = 1\n\ndescription = "Write from \'lvcreate {x}\'."\n\n'
        'creation_host = "made"\t# Linux made 6.1.0\ncreation_time = 1626962864\t# Thu Jul 22 16:07:44 2021\n\n'
    )
    return text.encode() + b"#" * pad + b"\n\0"


def member(disk: bytes | bytearray, name: str = "/dev/sda") -> Member:
    return Member(name=name, read=reader(disk), size=len(disk))


def reader(content: bytes | bytearray) -> Read:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(content)
        return bytes(content[offset : offset + length])

    return read


def volumes_of(*disks: bytes | bytearray) -> list[Volume]:
    return find_volumes([member(disk, f"/dev/sd{letter}") for letter, disk in zip("abcdefgh", disks, strict=False)])


ROOT = volume("root", segment(1, 0, 4, (0, 8)))


def simple(**options: object) -> bytes:
    return group("vg0", [0], ROOT, **options)  # type: ignore[arg-type]


def sectors(device: int, first: int, count: int) -> bytes:
    return b"".join(sector_of(device, number) for number in range(first, first + count))


# ---------------------------------------------------------------- what is read


def test_the_writer_is_believed_by_lvm(tmp_path: Path) -> None:
    """All it makes, wrapped around and in two areas: what pvck(8) says of it."""
    needs("pvck")
    text = group("vg0", [0], ROOT, pad=1500)
    area = (4096, 64 * 1024)
    other = (SIZE - 64 * 1024, 64 * 1024)
    path = tmp_path / "disk"
    path.write_bytes(physical_volume(0, text, areas=(area, other), offset=64 * 1024 - 1024))
    pvck = shutil.which("pvck", path="/usr/sbin:/sbin:/usr/bin")
    assert pvck is not None
    done = [
        subprocess.run([pvck, "--dump", what, path], capture_output=True, text=True, check=True)
        for what in ("headers", "metadata")
    ]
    assert not any(word in each.stdout + each.stderr for each in done for word in ("CHECK", "WARNING", "mismatch"))
    assert "mda_header_2.raw_locn[0].offset" in done[0].stdout
    assert text.decode().rstrip("\0").strip() in done[1].stdout


def test_the_corpus(corpus: Path, tmp_path: Path) -> None:
    disk = unpacked(corpus, "lvm.raw", tmp_path).read_bytes()
    found = probe(reader(disk), len(disk))
    assert found is not None
    assert (found.type, found.uuid, found.why_not) == (TYPE, "V9N6H5-MXlo-JmEE-TLHs-KyAo-kLv5-JL0RY7", "")
    one, two = volumes_of(disk)
    assert one.device == "/dev/test_volume_group/test_logical_volume1"
    assert two.device == "/dev/test_volume_group/test_logical_volume2"
    assert one.size == two.size == 4 * MIB
    assert one.read(0, one.size) == disk[MIB : 5 * MIB]
    assert two.read(0, two.size) == disk[5 * MIB : 9 * MIB]
    ext = parse_superblock(one.read(OFFSET, LENGTH))
    assert ext is not None
    assert ext.why_not == ""


def test_a_linear_volume() -> None:
    (root,) = volumes_of(physical_volume(0, simple()))
    assert (root.group, root.name, root.device, root.size) == ("vg0", "root", "/dev/vg0/root", 4 * EXTENT * SECTOR)
    assert root.read(0, root.size) == sectors(0, 8 * EXTENT, 4 * EXTENT)
    assert root.read(700, 3) == sectors(0, 8 * EXTENT, 2)[700:703]
    assert root.read(root.size, 0) == b""


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, 2), (0, -1), (4 * EXTENT * SECTOR, 1), (0, 4 * EXTENT * SECTOR + 1)]
)
def test_beyond_a_volume(offset: int, length: int) -> None:
    (root,) = volumes_of(physical_volume(0, simple()))
    with pytest.raises(DiskError, match="logical volume vg0/root"):
        root.read(offset, length)


def spread() -> tuple[list[bytearray], bytes]:
    """Three devices: a volume of linear and striped segments. Returns its content too."""
    text = group(
        "vg0",
        [2, 0, 1],
        volume(
            "data",
            segment(1, 0, 3, (1, 30)),
            segment(2, 3, 6, (0, 10), (2, 20), (1, 0), stripe_size=16),
            segment(3, 9, 4, (2, 40), (0, 40), stripe_size=128),
        ),
        volume("_hidden", segment(1, 0, 1, (0, 0)), status='"READ", "WRITE"'),
        volume("skipped", segment(1, 0, 1, (0, 1)), flags='"ACTIVATION_SKIP"'),
        volume("alone", segment(1, 0, 1, (2, 63))),
    )
    content = [sectors(1, 30 * EXTENT, 3 * EXTENT)]
    for chunk in range(6 * EXTENT // 16):  # 48 pieces of 16 sectors, in turn on the three
        device, first = [(0, 10), (2, 20), (1, 0)][chunk % 3]
        content.append(sectors(device, first * EXTENT + chunk // 3 * 16, 16))
    for chunk in range(4):
        device, first = [(2, 40), (0, 40)][chunk % 2]
        content.append(sectors(device, first * EXTENT + chunk // 2 * 128, 128))
    return [physical_volume(n, text) for n in range(3)], b"".join(content)


def test_stripes_over_several_disks() -> None:
    disks, content = spread()
    alone, data = volumes_of(*disks)
    assert (alone.device, data.device) == ("/dev/vg0/alone", "/dev/vg0/data")
    assert alone.read(0, alone.size) == sectors(2, 63 * EXTENT, EXTENT)
    assert data.size == len(content)
    assert data.read(0, data.size) == content
    chance = random.Random(1)
    for _ in range(300):
        offset = chance.randrange(len(content))
        length = chance.randrange(len(content) - offset + 1)
        assert data.read(offset, length) == content[offset : offset + length]


def test_the_order_of_disks_does_not_matter() -> None:
    disks, content = spread()
    assert volumes_of(*reversed(disks))[1].read(0, len(content)) == content


@pytest.mark.parametrize("sector", range(4))
def test_a_label_in_each_of_four_sectors(sector: int) -> None:
    disk = physical_volume(0, simple(), sector=sector)
    found = probe(reader(disk), len(disk))
    assert found is not None
    assert (found.uuid, found.why_not) == (dashed(identity(0)), "")
    assert volumes_of(disk)[0].name == "root"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_labels_of_older_versions(version: int) -> None:
    assert volumes_of(physical_volume(0, simple(), version=version))[0].name == "root"


def test_no_physical_volume() -> None:
    assert probe(reader(bytes(MIB)), MIB) is None
    assert probe(reader(b"LABELONE"), 8) is None
    assert find_volumes([]) == []
    with pytest.raises(DiskError, match="no label of LVM"):
        volumes_of(bytes(3 * MIB))


def test_a_description_that_goes_on_at_the_start_of_its_area() -> None:
    area = (4096, 32 * 1024)
    for before in (1, 512, 1000):
        disk = physical_volume(0, simple(), areas=(area,), offset=area[1] - before)
        assert volumes_of(disk)[0].name == "root"


def test_areas_at_the_start_and_the_end() -> None:
    end = (SIZE - 64 * 1024, 64 * 1024)
    disk = physical_volume(0, simple(), areas=(AREA, end))
    put_area(disk, AREA, simple(seqno=2))
    put_area(disk, end, group("vg0", [0], volume("newer", segment(1, 0, 1, (0, 0))), seqno=4))
    assert [each.name for each in volumes_of(disk)] == ["newer"]


def test_the_newest_description_counts() -> None:
    old, new = group("vg0", [0, 1], ROOT), group("vg0", [0, 1], volume("grown", segment(1, 0, 6, (0, 8))), seqno=4)
    for texts in ((old, new), (new, old)):
        disks = [physical_volume(n, text) for n, text in enumerate(texts)]
        assert [(each.name, each.size) for each in volumes_of(*disks)] == [("grown", 6 * EXTENT * SECTOR)]


def test_an_ignored_area_and_devices_without_one() -> None:
    text = group("vg0", [0, 1, 2], volume("root", segment(1, 0, 2, (1, 0)), segment(2, 2, 2, (2, 5))))
    disks = [
        physical_volume(0, text),
        physical_volume(1, b"", areas=()),
        physical_volume(2, b"what was here before", flags=1),
    ]
    assert volumes_of(*disks)[0].read(2 * EXTENT * SECTOR, SECTOR) == sectors(2, 5 * EXTENT, 1)
    with pytest.raises(DiskError, match="of physical volume /dev/sda: it belongs to a volume group that is described"):
        volumes_of(*disks[1:])


def test_a_physical_volume_of_no_group() -> None:
    assert volumes_of(physical_volume(0, b"", used=False)) == []
    assert [each.name for each in volumes_of(physical_volume(0, simple()), physical_volume(1, b"", used=False))] == [
        "root"
    ]


def test_a_group_without_volumes() -> None:
    assert volumes_of(physical_volume(0, group("vg0", [0]))) == []


def test_several_groups() -> None:
    other = group("backup", [1], volume("root", segment(1, 0, 1, (1, 0))), number=2)
    found = volumes_of(physical_volume(0, simple()), physical_volume(1, other))
    assert [each.device for each in found] == ["/dev/backup/root", "/dev/vg0/root"]


def test_a_device_that_grew() -> None:
    disk = physical_volume(0, simple())
    assert volumes_of(disk + bytes(MIB))[0].name == "root"


# ---------------------------------------------------------------- what is refused


def test_a_missing_disk() -> None:
    disks, _ = spread()
    with pytest.raises(
        DiskError, match=r"volume group vg0: its physical volume pv0002-.* is on none of the disks given"
    ):
        volumes_of(disks[0], disks[1])


def test_a_disk_given_twice() -> None:
    disk = physical_volume(0, simple())
    with pytest.raises(DiskError, match="/dev/sdb: it is the same physical volume as /dev/sda"):
        volumes_of(disk, disk)


def test_two_groups_of_one_name() -> None:
    other = group("vg0", [1], volume("root", segment(1, 0, 1, (1, 0))), number=2)
    with pytest.raises(DiskError, match="volume group vg0: there is another of the same name"):
        volumes_of(physical_volume(0, simple()), physical_volume(1, other))


def test_two_descriptions_of_one_version() -> None:
    texts = [group("vg0", [0, 1], volume(name, segment(1, 0, 1, (0, 0)))) for name in ("one", "two")]
    with pytest.raises(DiskError, match="volume group vg0 has two descriptions, both of version 3"):
        volumes_of(*(physical_volume(n, text) for n, text in enumerate(texts)))


def test_what_was_written_at_another_time_is_the_same() -> None:
    text = group("vg0", [0, 1], ROOT)
    later = text.replace(b"10:00:00 2023", b"10:00:01 2023").replace(
        b"creation_time = 1626962864", b"creation_time = 9"
    )
    assert later != text
    assert volumes_of(physical_volume(0, text), physical_volume(1, later))[0].name == "root"


def test_a_disk_that_was_taken_out_of_the_group() -> None:
    with pytest.raises(DiskError, match="/dev/sdb has an older description of it, and does not belong to it any more"):
        volumes_of(physical_volume(0, simple(seqno=4)), physical_volume(1, group("vg0", [0, 1], ROOT)))


def test_a_disk_that_says_it_is_anothers() -> None:
    other = group("backup", [1], volume("root", segment(1, 0, 1, (1, 0))), number=2)
    with pytest.raises(DiskError, match="/dev/sdb says that it belongs to group backup"):
        volumes_of(physical_volume(0, group("vg0", [0, 1], ROOT)), physical_volume(1, other))


def test_a_device_that_is_too_short() -> None:
    with pytest.raises(DiskError, match=f"/dev/sda has {SIZE - SECTOR} bytes, and should have {SIZE}"):
        volumes_of(physical_volume(0, simple())[:-SECTOR])
    with pytest.raises(DiskError, match="smaller than LVM looks at"):
        volumes_of(physical_volume(0, simple())[: 2 * MIB - 1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('type = "striped"', f'type = "{kind}"', f"its volume root is of type {kind}, which is not read here")
        for kind in (
            "snapshot", "thin", "thin-pool", "cache", "cache-pool", "cache+CACHE_USES_CACHEVOL", "writecache", "raid1",
            "raid5_ls", "raid10", "mirror", "vdo", "vdo-pool", "integrity", "error", "zero", "striped+RESHAPE", "",
        )
    ]
    + [
        ('"RESIZEABLE"', '"EXPORTED", "RESIZEABLE"', "it has the status EXPORTED"),
        ('"RESIZEABLE"', '"PARTIAL"', "it has the status PARTIAL"),
        ('"RESIZEABLE"', '"CLUSTERED"', "it has the status CLUSTERED"),
        ("flags = []\nextent", 'flags = ["NOAUTOACTIVATE"]\nextent', "it has the status NOAUTOACTIVATE"),
        ('"RESIZEABLE", "READ"', '"RESIZEABLE"', "it is not to be read"),
        ('["ALLOCATABLE"]', '["ALLOCATABLE", "MISSING"]', "its physical volume pv0 has the status MISSING"),
        ('["ALLOCATABLE"]\nflags = []', '[]\nflags = ["MISSING"]', "its physical volume pv0 has the status MISSING"),
        ('"VISIBLE"', '"VISIBLE", "LOCKED"', "its volume root has the status LOCKED"),
        ('"VISIBLE"', '"VISIBLE", "FIXED_MINOR"', "its volume root has the status FIXED_MINOR"),
        ('"VISIBLE"]\nflags = []', '"VISIBLE"]\nflags = ["NOAUTOACTIVATE"]', "root has the status NOAUTOACTIVATE"),
        ("max_lv = 0", 'lock_type = "sanlock"', "belongs to another system, or is shared"),
        ("max_lv = 0", 'system_id = "elsewhere"', "belongs to another system, or is shared"),
        ('format = "lvm2"', 'format = "lvm1"', "not of the format lvm2"),
        ("version = 1\n", "version = 2\n", "described in a way that is not known"),
        ('"pv0", 8', '"pv1", 8', "lies on something else than its physical volumes"),
        ('"pv0", 8', '"root", 8', "lies on something else than its physical volumes"),
        ('"pv0", 8', f'"pv0", {COUNT - 3}', "lies on something else than its physical volumes"),
        ('"pv0", 8', '"pv0", -1', "stripes that are not as LVM writes them"),
        ('"pv0", 8', '8, "pv0"', "stripes that are not as LVM writes them"),
        ('"pv0", 8', '"pv0"', "stripes that are not as LVM writes them"),
        ("stripe_count = 1", "stripe_count = 2", "stripes that are not as LVM writes them"),
        ("stripe_count = 1", "stripe_count = 0", "stripe_count is not described as LVM does it"),
        ("start_extent = 0", "start_extent = 1", "segments that do not follow one another"),
        ("segment_count = 1", "segment_count = 2", "not the segments that it says"),
        ("extent_size = 128", "extent_size = 0", "extent_size is not described as LVM does it"),
        ("pe_count = 64", "pe_count = 99", "described as smaller than its extents"),
        ("pe_start = 2048", "pe_start = 0", "pe_start is not described as LVM does it"),
        ("dev_size = 12288", "dev_size = 12289", "and should have"),
        ("seqno = 3", "seqno = x", "not in LVM's syntax"),
        ("seqno = 3", 'seqno = "3"', "seqno is not described as LVM does it"),
        ("root {", "-root {", "a name that LVM does not allow"),
        ("vg0 {", "a/b {", "a name that LVM does not allow"),
        ("root {", ".. {", "a name that LVM does not allow"),
        ('id = "vg0001', 'id = "vg00 1', "an identity of it"),
        ('id = "rootvv', 'id = "root_v', "an identity of it"),
        ("max_lv = 0", "seqno = 4", "has seqno twice"),
    ],
)  # fmt: skip
def test_a_group_that_is_not_simply_read(old: str, new: str, message: str) -> None:
    text = simple()
    assert old.encode() in text
    with pytest.raises(DiskError, match=r"read the disks directly: of (volume group vg0|physical volume)") as caught:
        volumes_of(physical_volume(0, text.replace(old.encode(), new.encode(), 1)))
    assert message in str(caught.value)


def test_one_bad_volume_beside_a_good_one_refuses_all() -> None:
    thin = volume("pool", segment(1, 0, 1, (0, 20))).replace('"striped"', '"thin-pool"')
    with pytest.raises(DiskError, match="volume group vg0: its volume pool is of type thin-pool"):
        volumes_of(physical_volume(0, group("vg0", [0], ROOT, thin)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (segment(1, 0, 4, (0, 0), (1, 0), stripe_size=256), "no part of an extent"),
        (segment(1, 0, 4, (0, 0), (1, 0), stripe_size=24), "of unequal length"),
        (segment(1, 0, 4, (0, 0), (1, 0), stripe_size=1), "stripe_size is not described"),
        (segment(1, 0, 4, (0, 0), (1, 0)), "stripe_size is not described"),
        (segment(1, 0, 3, (0, 0), (1, 0), stripe_size=16), "of unequal length"),
        (segment(1, 0, 4, (0, 0), (0, 1), stripe_size=16), "on the same extents"),
    ],
)
def test_stripes_that_cannot_be(bad: str, message: str) -> None:
    text = group("vg0", [0, 1], volume("data", bad))
    with pytest.raises(DiskError, match=message):
        volumes_of(*(physical_volume(n, text) for n in range(2)))


def test_segments_in_another_order() -> None:
    """LVM itself does not count a segment that comes before one already read (import_vsn1.c, _insert_segment)."""
    text = group("vg0", [0], volume("root", segment(2, 2, 2, (0, 4)), segment(1, 0, 2, (0, 0))))
    with pytest.raises(DiskError, match="segments that do not follow one another"):
        volumes_of(physical_volume(0, text))


def test_two_volumes_of_one_identity() -> None:
    other = volume("root", segment(1, 0, 1, (0, 0))).replace("root {", "other {", 1)
    with pytest.raises(DiskError, match="two of its volumes are one by their identity"):
        volumes_of(physical_volume(0, group("vg0", [0], ROOT, other)))


def test_two_volumes_on_the_same_extents() -> None:
    other = volume("other", segment(1, 0, 2, (0, 11)))
    with pytest.raises(DiskError, match="two of its segments lie on the same extents"):
        volumes_of(physical_volume(0, group("vg0", [0], ROOT, other)))


@pytest.mark.parametrize(
    ("at", "data", "message"),
    [
        (SECTOR + 40, b"z", "its LVM label is damaged"),
        (SECTOR + 8, b"\2", "its LVM label is damaged"),
        (SECTOR + 16, b"\0\0", "its LVM label is damaged"),
        (2 * SECTOR, b"LABELONE", "more than one label"),
        (4096 + 8, b"z", "its LVM metadata area is damaged"),
        (4096 + 1024 + 30, b"z", "its checksum is wrong"),
    ],
)
def test_a_damaged_physical_volume(at: int, data: bytes, message: str) -> None:
    disk = physical_volume(0, simple())
    disk[at : at + len(data)] = data
    with pytest.raises(DiskError, match=rf"physical volume /dev/sda: .*{message}"):
        volumes_of(disk)
    found = probe(reader(disk), len(disk))
    assert found is not None
    assert (message in found.why_not) == ("label" in message)


@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ([(4096, 64 * 1024)] * 3, "more than two metadata areas"),
        ([(n * MIB, 1024) for n in range(1, 30)], "its LVM label is damaged"),
        ([(SIZE - 512, 1024)], "a metadata area that is not on it"),
        ([(4097, 64 * 1024)], "a metadata area that is not on it"),
        ([(4096, 512)], "a metadata area that is not on it"),
        ([(1 << 63, 1 << 63)], "a metadata area that is not on it"),
    ],
)
def test_areas_that_cannot_be(areas: list[tuple[int, int]], message: str) -> None:
    disk = blank(0)
    body = identity(0).encode() + struct.pack("<QQQQQ", SIZE, START * SECTOR, 0, 0, 0)
    body += b"".join(struct.pack("<QQ", *area) for area in areas)
    content = (struct.pack("<I8s", 32, b"LVM2 001") + body).ljust(SECTOR - 20, b"\0")[: SECTOR - 20]
    disk[SECTOR : 2 * SECTOR] = struct.pack("<8sQI", b"LABELONE", 1, lvm_crc(content)) + content
    with pytest.raises(DiskError, match=message):
        volumes_of(disk)


@pytest.mark.parametrize(
    ("offset", "size"), [(512, MIB), (511, 100), (MIB, 100), (1024, 0), (1 << 63, 100), (1024, 1 << 63)]
)
def test_a_text_that_cannot_be_where_it_is_said_to_be(offset: int, size: int) -> None:
    disk = physical_volume(0, simple())
    body = struct.pack("<16sIQQQQII", MAGIC, 1, *AREA, offset, size, 0, 0).ljust(SECTOR - 4, b"\0")
    disk[4096 : 4096 + SECTOR] = struct.pack("<I", lvm_crc(body)) + body
    with pytest.raises(DiskError, match="metadata area is damaged"):
        volumes_of(disk)


# ---------------------------------------------------------------- the syntax


def test_the_syntax() -> None:
    assert parse_config('a{b=[ ]\nc=["x",\n-2 ,"\\"q\\\\"]}# end }\nd="#no"\n1x = 12') == {
        "a": {"b": [], "c": ["x", -2, '"q\\']},
        "d": "#no",
        "1x": 12,
    }
    assert parse_config("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "a", "a {", "a = ", "a = [", "a = [1", "a = [1,", "a = [1 2]", "a = [[1]]", "a = {}", "}", "a {}}", "= 1", "{}",
        'a = "open', "a = 1.5", "a = b", "a = 'b'", "a ! 1", "a = 99999999999999999999", '"a" = 1', "a = [,]",
        "a=1 a=2", "a {} a {}", "a{" * 100, "a{" * 8 + "}" * 8, "a = [" + "1," * 500_000 + "]", "#" * (MAX_LENGTH + 1),
        "".join(f"k{n}=1 " for n in range(420_000)),
    ],
)  # fmt: skip
def test_what_is_not_the_syntax(text: str) -> None:
    with pytest.raises(ValueError, match=r"^its description "):
        parse_config(text)


_PARTS = st.sampled_from(
    ["{", "}", "[", "]", ",", "=", '"', "a", "7", " ", "\n", "#", "\\", "vg0 {", "segment1 {", "é"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PARTS, max_size=60).map("".join))
def test_any_text(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_config(text), dict)


# ---------------------------------------------------------------- hostile


def all_read(disks: Sequence[bytes | bytearray]) -> bool:
    """Tell whether volumes were found; each is within its devices."""
    try:
        found = volumes_of(*disks)
    except DiskError:
        return False
    for each in found:
        assert 0 < each.size <= sum(len(disk) for disk in disks)
        assert len(each.read(0, each.size)) == each.size
    return True


_EDIT = st.tuples(st.integers(0, 2500), st.integers(0, 4), _PARTS)


@settings(max_examples=200, deadline=None)
@given(st.lists(_EDIT, min_size=1, max_size=4))
def test_descriptions_that_were_tampered_with(edits: list[tuple[int, int, str]]) -> None:
    """With right checksums, so that it is the text's own checks that are tried."""
    text = group("vg0", [0], ROOT, volume("data", segment(1, 0, 2, (0, 20)), segment(2, 2, 2, (0, 30))))
    for at, gone, put in edits:
        text = text[:at] + put.encode() + text[at + gone :]
    all_read([physical_volume(0, text)])


def test_disks_changed_at_random(corpus: Path, tmp_path: Path) -> None:
    """In what LVM wrote, all checksums made right again in half of the cases."""
    chance = random.Random(20231123)
    real = unpacked(corpus, "lvm.raw", tmp_path).read_bytes()
    read = 0
    for turn in range(300):
        disk = bytearray(real)
        for _ in range(chance.randrange(1, 5)):
            at = chance.choice([*range(512, 704), *range(4096, 4160), *range(7168, 7168 + 1448)])
            disk[at] = chance.choice([0, 255, 32, ord("{"), ord("9"), chance.randrange(256)])
        if turn % 2:
            offset, size = struct.unpack_from("<QQ", disk, 4096 + 40)
            text = disk[4096 + offset : 4096 + offset + min(size, MIB)] if offset < MIB else b""
            struct.pack_into("<I", disk, 4096 + 56, lvm_crc(bytes(text)))
            struct.pack_into("<I", disk, 4096, lvm_crc(bytes(disk[4100 : 4096 + 512])))
            struct.pack_into("<I", disk, 512 + 16, lvm_crc(bytes(disk[512 + 20 : 1024])))
        read += all_read([disk])
    assert 0 < read < 300


def test_many_long_descriptions_are_too_many() -> None:
    """Each device has another one, all of them valid: what is read of them together is bounded."""
    text = group("vg0", [0], ROOT, pad=3 * MIB)
    area = (4096, 4 * MIB)
    members = []
    for number in range(12):
        disk = bytearray(SIZE)
        disk[SECTOR : 2 * SECTOR] = label(identity(number), [area])
        put_area(disk, area, text.replace(b"description", b"descriptio%d" % number))
        members.append(member(disk, f"/dev/sda{number}"))
    with pytest.raises(DiskError, match="more to read of volume groups than there can be"):
        find_volumes(members)
