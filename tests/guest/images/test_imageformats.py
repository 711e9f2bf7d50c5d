"""Every format, made by qemu-img of a known disk: what is read of it is that disk, byte for byte."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from migrate.errors import DiskError
from migrate.guest.images.image import ImageInfo, describe, make_overlay
from migrate.guest.images.nbd import NbdDisk
from tests.guest.made import needs, run, unpacked

SIZE = 9 << 20


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    needs("qemu-img", "qemu-nbd")
    place = tmp_path / "spools"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 MiB: data that compresses, data that does not, a hole, and data up to the end."""
    chance = random.Random(1)
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    text = b"".join(b"%d words that compress\n" % number for number in range(50_000))[: 1 << 20]
    with path.open("wb") as file:
        file.write(bytes(512) + text[512:] + chance.randbytes(2 << 20))
        file.seek(SIZE - (1 << 20) - 512)
        file.write(chance.randbytes((1 << 20) + 512))
    assert path.stat().st_size == SIZE
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(image: ImageInfo, size: int = SIZE) -> str:
    """Return the sha256 of the first bytes of a disk; what is beyond is zeros."""
    disk = NbdDisk(image)
    try:
        assert disk.size == image.virtual_bytes >= size
        assert not any(disk.read(size, disk.size - size))
        return hashlib.sha256(disk.read(0, size)).hexdigest()
    finally:
        disk.close()
        assert disk._process.returncode == 0


def digest_of_overlay(image: ImageInfo, place: Path, size: int = SIZE) -> str:
    """Return the same through an overlay, by another program than ours."""
    place.mkdir()
    with ExitStack() as stack:
        make_overlay(image, place / "over.qcow2", stack)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", place / "over.qcow2", place.parent / "read.raw")
    shutil.rmtree(place)
    read = (place.parent / "read.raw").read_bytes()
    assert len(read) == image.virtual_bytes
    return hashlib.sha256(read[:size]).hexdigest()


def convert(raw: Path, target: Path, form: str, *options: str) -> Path:
    run("qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, target)
    return target


FORMS = [
    ("raw",),
    ("qcow",),
    ("qcow2", "-o", "compat=0.10"),
    ("qcow2", "-o", "compat=1.1"),
    ("qcow2", "-c"),
    ("qcow2", "-c", "-o", "compression_type=zstd"),
    ("qcow2", "-c", "-o", "compat=0.10"),
    ("qcow2", "-o", "extended_l2=on,cluster_size=128k"),
    ("qcow2", "-o", "cluster_size=512"),
    ("qed",),
    ("vdi",),
    ("vdi", "-o", "static=on"),
    ("vpc",),
    ("vpc", "-o", "subformat=fixed"),
    ("vpc", "-o", "subformat=fixed,force_size=on"),
    ("vhdx",),
    ("vhdx", "-o", "subformat=fixed"),
    ("vhdx", "-o", "block_size=1M"),
    ("vmdk", "-o", "subformat=monolithicSparse"),
    ("vmdk", "-o", "subformat=monolithicFlat"),
    ("vmdk", "-o", "subformat=twoGbMaxExtentSparse"),
    ("vmdk", "-o", "subformat=twoGbMaxExtentFlat"),
    ("vmdk", "-o", "subformat=streamOptimized"),
]


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_what_is_read_is_what_was_written(raw: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    image = convert(raw, tmp_path / "disk.img", *form)
    info = describe(image)
    assert (info.format, info.notes) == (form[0], ())
    assert digest(info) == digest_of(raw)
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)


ALONE = [form for form in FORMS if not any(word in form[-1] for word in ("Flat", "twoGb"))]


@pytest.mark.parametrize("form", ALONE[::3], ids=" ".join)
@pytest.mark.parametrize("name", ["a,b:c,,{}\"'é", "\udcff\\ \n%s", "json:{}", "x" * 250])
def test_a_name_is_of_any_bytes(raw: Path, tmp_path: Path, form: tuple[str, ...], name: str) -> None:
    place = tmp_path / name[::-1]
    place.mkdir()
    info = describe(convert(raw, tmp_path / "disk", *form).rename(place / name))
    assert info.path == place / name
    assert digest(info) == digest_of(raw)
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)


def test_parts_have_names_of_any_bytes(raw: Path, tmp_path: Path) -> None:
    image = convert(raw, tmp_path / "disk.vmdk", "vmdk", "-o", "subformat=monolithicFlat")
    name = "a,b;\udcff'é{}"
    part = (tmp_path / "disk-flat.vmdk").rename(tmp_path / name)
    image.write_bytes(image.read_bytes().replace(b"disk-flat.vmdk", os.fsencode(name)))
    assert describe(image).files == (part,)
    assert digest(describe(image)) == digest_of(raw)


def test_a_vmdk_as_esxi_writes_it(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw, tmp_path / "vm-flat.vmdk")
    (tmp_path / "vm.vmdk").write_text(
        '# Disk DescriptorFile\nversion=3\nencoding="UTF-8"\nCID=a1b2c3d4\nparentCID=ffffffff\ncreateType="vmfs"\n\n'
        f'# Extent description\nRW {SIZE // 512} VMFS "vm-flat.vmdk"\n\n# The Disk Data Base\nddb.x = "1"\n'
    )
    info = describe(tmp_path / "vm.vmdk")
    assert (info.format, info.files) == ("vmdk", (tmp_path / "vm-flat.vmdk",))
    assert digest(info) == digest_of(raw)
    with pytest.raises(DiskError, match="through a server only"):
        make_overlay(info, tmp_path / "overlay")
    os.truncate(tmp_path / "vm-flat.vmdk", SIZE - 512)
    with pytest.raises(DiskError, match=f"vm-flat.vmdk, a part of it, is cut short: {SIZE - 512} bytes where it says"):
        describe(tmp_path / "vm.vmdk")


def test_a_vmdk_of_many_parts(raw: Path, tmp_path: Path) -> None:
    """Flat and sparse parts, from anywhere in a file, and a line that forbids writing."""
    content = raw.read_bytes()
    sectors = SIZE // 512
    (tmp_path / "first").write_bytes(b"x" * 1024 + content[: 512 * 100])
    (tmp_path / "rest.raw").write_bytes(content[512 * 100 :])
    convert(tmp_path / "rest.raw", tmp_path / "rest.vmdk", "vmdk", "-o", "subformat=twoGbMaxExtentSparse")
    (tmp_path / "disk.vmdk").write_text(
        f'# Disk DescriptorFile\nversion=1\nRDONLY 100 FLAT "first" 2\nRW {sectors - 100} SPARSE "rest-s001.vmdk"\n'
    )
    info = describe(tmp_path / "disk.vmdk")
    assert info.files == (tmp_path / "first", tmp_path / "rest-s001.vmdk")
    assert digest(info) == digest_of(raw)


def test_a_chain_of_vmdks(raw: Path, tmp_path: Path) -> None:
    base = convert(raw, tmp_path / "base.vmdk", "vmdk")
    run("qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", "base.vmdk", tmp_path / "child.vmdk")
    info = describe(tmp_path / "child.vmdk")
    assert info.files == (base,)
    assert digest(info) == digest_of(raw)
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)
    with base.open("r+b") as file:
        at = file.read(4096).index(b"\nCID=") + 5
        file.seek(at)
        file.write(b"12345678")
    with pytest.raises(DiskError, match=r"base\.vmdk, and that was written to since: its CID is not"):
        describe(tmp_path / "child.vmdk")


def test_a_backing_chain_and_a_data_file(raw: Path, tmp_path: Path) -> None:
    data, base = tmp_path / "data,file", tmp_path / "base"
    run(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        f"data_file={tmp_path}/data,,file,data_file_raw=on",
        base,
        f"{SIZE}",
    )
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, base)
    run("qemu-img", "create", "-q", "-f", "qed", "-F", "qcow2", "-b", "base", tmp_path / "middle")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qed", "-b", "middle", tmp_path / "top")
    changed = bytearray(raw.read_bytes())
    run("qemu-io", "-f", "qed", "-c", "write -P 7 5000 9000", tmp_path / "middle")
    changed[5000:14000] = b"\7" * 9000
    run("qemu-io", "-f", "qcow2", "-c", "write -P 9 9000 9000", tmp_path / "top")
    changed[9000:18000] = b"\x09" * 9000
    info = describe(tmp_path / "top")
    assert info.files == (tmp_path / "middle", base, data)
    wanted = hashlib.sha256(changed).hexdigest()
    assert digest(info) == wanted
    assert digest_of_overlay(info, tmp_path / "over") == wanted
    os.truncate(data, SIZE - 1)
    with pytest.raises(DiskError, match="data,file, a part of it, is cut short"):
        describe(tmp_path / "top")


def test_a_base_that_is_cut_short(raw: Path, tmp_path: Path) -> None:
    base = convert(raw, tmp_path / "base", "qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", tmp_path / "top")
    os.truncate(base, base.stat().st_size - (1 << 20))
    with pytest.raises(DiskError, match=r"/top: open .*/base, which it is based on: it is cut short"):
        describe(tmp_path / "top")


def test_a_long_chain_goes_through_a_server(raw: Path, tmp_path: Path) -> None:
    """A backing file's name has 1023 bytes at most."""
    below, form = convert(raw, tmp_path / "0", "raw"), "raw"
    for number in range(1, 20):
        name = tmp_path / ("long" * 20 + str(number))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", below.name, name)
        below, form = name, "qcow2"
    info = describe(below)
    assert len(info.files) == 19
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)


CUT = [form for form in FORMS if form[0] not in {"raw", "qcow"} and "subformat=fixed" not in "".join(form)]


@pytest.mark.parametrize("form", CUT, ids=" ".join)
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_what_is_cut_short_is_refused(raw: Path, tmp_path: Path, form: tuple[str, ...], share: float) -> None:
    image = convert(raw, tmp_path / "disk", *form)
    largest = max((each for each in tmp_path.iterdir() if each.is_file()), key=lambda each: each.stat().st_size)
    os.truncate(largest, int(largest.stat().st_size * share))
    with pytest.raises(DiskError) as caught:
        describe(image)
    assert "\n" not in str(caught.value)
    assert "json:" not in str(caught.value)


# Of a flat VMDK the descriptor would be longer; of these formats what is at the end is a part.
LONGER = [
    form for form in FORMS if form[0] not in {"raw", "vpc"} and not form[-1].endswith(("Flat", "streamOptimized"))
]


@pytest.mark.parametrize("form", LONGER, ids=" ".join)
def test_something_after_the_end_does_no_harm(raw: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    image = convert(raw, tmp_path / "disk", *form)
    largest = max((each for each in tmp_path.iterdir() if each.is_file()), key=lambda each: each.stat().st_size)
    with largest.open("ab") as file:
        file.write(b"\n" * 512)
    assert digest(describe(image)) == digest_of(raw)


def test_a_vhd_of_a_program_that_qemu_does_not_know(raw: Path, tmp_path: Path) -> None:
    """VirtualBox writes a geometry that ends at 8 GB, and qemu goes by that: here one that ends after 1 MiB."""
    image = convert(raw, tmp_path / "disk.vhd", "vpc", "-o", "force_size=on,subformat=fixed")
    content = bytearray(image.read_bytes())
    footer = content[-512:]
    footer[28:32] = b"vbox"
    footer[56:60] = struct.pack(">HBB", 2, 16, 63)
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
    image.write_bytes(content[:-512] + footer)
    assert b'"virtual-size": 1032192' in run("qemu-img", "info", "-f", "vpc", "--output=json", image).encode()
    assert digest(describe(image)) == digest_of(raw)


# ---------------------------------------------------------------- snapshots


@pytest.fixture
def with_snapshots(raw: Path, tmp_path: Path) -> Path:
    image = convert(raw, tmp_path / "disk.qcow2", "qcow2")
    run("qemu-img", "snapshot", "-c", "before, the upgrade", image)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", image)
    run("qemu-img", "snapshot", "-c", "after", image)
    run("qemu-img", "snapshot", "-c", "after", image)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 8 0 8M", image)
    return image


@pytest.mark.parametrize("name", ["before, the upgrade", "1"])
def test_a_snapshot(raw: Path, tmp_path: Path, with_snapshots: Path, name: str) -> None:
    info = describe(with_snapshots, snapshot=name)
    assert digest(info) == digest_of(raw)
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)
    assert digest(describe(with_snapshots)) != digest_of(raw)
    changed = b"\7" * (1 << 20) + raw.read_bytes()[1 << 20 :]
    assert digest(describe(with_snapshots, snapshot="3")) == hashlib.sha256(changed).hexdigest()


def test_a_snapshot_that_is_not_there(with_snapshots: Path, tmp_path: Path) -> None:
    with pytest.raises(DiskError) as caught:
        describe(with_snapshots, snapshot="gone")
    assert str(caught.value).endswith(
        "it has no snapshots with the name or id gone; there are: before, the upgrade (id 1), after (id 2), "
        "after (id 3); give the id of one of them"
    )
    with pytest.raises(DiskError, match="it has 2 snapshots with the name or id after"):
        describe(with_snapshots, snapshot="after")
    run("qemu-img", "create", "-q", "-f", "vdi", tmp_path / "vdi", "1M")
    with pytest.raises(DiskError, match="it has no internal snapshots: it is vdi"):
        describe(tmp_path / "vdi", snapshot="1")


def test_a_snapshot_of_another_size(raw: Path, tmp_path: Path, with_snapshots: Path) -> None:
    run("qemu-img", "resize", "-q", "-f", "qcow2", with_snapshots, "20M")
    info = describe(with_snapshots, snapshot="1")
    assert info.virtual_bytes == SIZE
    assert digest(info) == digest_of(raw)
    assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)
    assert describe(with_snapshots).virtual_bytes == 20 << 20
    run("qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", with_snapshots, "4M")
    with pytest.raises(DiskError, match="its disk was 9437184 bytes large at the snapshot, and is smaller now"):
        describe(with_snapshots, snapshot="1")


def test_a_snapshot_over_a_base(raw: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "base", "qcow2")
    top = tmp_path / "top"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", top)
    run("qemu-img", "snapshot", "-c", "fresh", top)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", top)
    info = describe(top, snapshot="fresh")
    assert digest(info) == digest_of(raw)


# ---------------------------------------------------------------- other people's images, and damaged ones


@pytest.mark.parametrize("name", ["ext2.qcow2", "ext2.vhd", "ext2.vhdx", "ext2.vmdk"])
def test_one_disk_in_all_formats(corpus: Path, tmp_path: Path, name: str) -> None:
    original = unpacked(corpus, "ext2.raw", tmp_path)
    assert digest(describe(unpacked(corpus, name, tmp_path)), 4 << 20) == digest_of(original)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tw_sparse.vmdk", "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8"),
        ("compressed_stream_opt.vmdk", ""),
        ("streamOptimizedWithMarkers.vmdk", ""),
    ],
)
def test_vmdks_of_other_programs(corpus: Path, tmp_path: Path, name: str, wanted: str) -> None:
    """What qemu-img converts of them by itself, and where it is known what that should be."""
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", corpus / name, tmp_path / "read")
    info = describe(corpus / name)
    found = digest(info, info.virtual_bytes)
    assert found == digest_of(tmp_path / "read")
    assert found == wanted or not wanted


def test_every_image_of_the_corpus_is_opened_or_refused(corpus: Path, tmp_path: Path) -> None:
    refused = {}
    corpus = corpus.resolve()
    for path in sorted(corpus.iterdir()):
        with ExitStack() as stack:
            try:
                info = describe(path, stack=stack)
                size = info.virtual_bytes
                digest(info, size)
            except DiskError as error:
                refused[path.name] = error.found
    assert refused == {
        "fat-differential.vhd.zst": f"it is based on {corpus}/fat-parent.vhd, which is not there",
        "ntfs-differential.vhdx.zst": f"it is based on {corpus}/ntfs-parent.vhdx, which is not there",
        "tw_sparse-s001.vmdk": "it is a part of a disk; give the descriptor, the small file that names all its parts",
        "wrong_ova.ova": "it is 5168 bytes of text, not a disk image",
    }


@pytest.mark.parametrize("form", [form for form in FORMS if form[0] != "raw"][::2], ids=" ".join)
def test_damaged_images_raise_nothing_else(raw: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    chance = random.Random(" ".join(form))
    small = tmp_path / "small.raw"
    small.write_bytes(raw.read_bytes()[: 1 << 20])
    image = convert(small, tmp_path / "disk", *form)
    parts = {each: each.read_bytes() for each in tmp_path.iterdir() if each.is_file() and each != small}
    said = []
    for _ in range(18):
        for path, content in parts.items():
            damaged = bytearray(content)
            for _ in range(chance.choice((1, 4, 50))):
                damaged[chance.randrange(min(len(damaged), chance.choice((200, 5000, 1 << 20))))] = chance.randrange(
                    256
                )
            path.write_bytes(damaged)
        try:
            info = describe(image)
            assert set(info.files) <= set(parts)
            with closing(NbdDisk(info)) as disk:
                disk.read(0, min(disk.size, 4 << 20))
        except DiskError as error:
            said.append(str(error))
    assert said or "fixed" in form[-1]  # of a fixed VHD it is the content that changes
    assert not any("\n" in each or "/proc/self" in each for each in said)


# ---------------------------------------------------------------- block devices


def test_a_block_device(raw: Path, tmp_path: Path) -> None:
    needs("losetup")
    if os.geteuid() != 0:
        pytest.skip("a loop device needs root")
    image = convert(raw, tmp_path / "disk.qcow2", "qcow2")
    for path, form in ((raw, "raw"), (image, "qcow2")):
        try:
            device = Path(run("losetup", "--find", "--show", "--read-only", path).strip())
        except Exception as error:  # noqa: BLE001 - a container may have none
            pytest.skip(f"no loop device: {error}")
        try:
            info = describe(device)
            assert info.format == form
            assert digest(info) == digest_of(raw)
            assert digest_of_overlay(info, tmp_path / "over") == digest_of(raw)
        finally:
            run("losetup", "--detach", device)
