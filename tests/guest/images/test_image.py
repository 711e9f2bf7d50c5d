"""Telling what an image is, on files that qemu-img itself makes."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.images.image import describe
from migrate.guest.images.imageheader import (
    Header,
    Snapshot,
    looks_like_text,
    partitions_end,
    read_header,
    read_snapshots,
)
from migrate.guest.images.qemuimg import first_line
from tests.guest.made import needs, put, run, sparse_file, unpacked


@pytest.fixture(autouse=True)
def _qemu() -> None:
    needs("qemu-img")


def create(path: Path, form: str = "qcow2", *options: str | Path, size: str = "8M") -> Path:
    run("qemu-img", "create", "-q", "-f", form, *options, path, size)
    return path


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A qcow2 image with 4 MiB of data in it."""
    raw = tmp_path / "filled.raw"
    raw.write_bytes(os.urandom(4 << 20))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "filled.qcow2")
    return tmp_path / "filled.qcow2"


@pytest.mark.parametrize("form", ["raw", "qcow2", "qcow", "qed", "vmdk", "vpc", "vhdx", "vdi"])
def test_formats(tmp_path: Path, form: str) -> None:
    info = describe(create(tmp_path / "disk", form))
    assert (info.path, info.format, info.files) == (tmp_path / "disk", form, ())
    assert info.virtual_bytes == pytest.approx(8 << 20, abs=600_000)  # vpc rounds to a geometry


def test_version_two_and_old_qcow2(tmp_path: Path) -> None:
    assert describe(create(tmp_path / "old", "qcow2", "-o", "compat=0.10")).format == "qcow2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"not a disk\n", "it is 11 bytes of text, not a disk image"),
        ("naïve text\n".encode() * 1000, "it is 12000 bytes of text, not a disk image"),
        (b"\0" * 100, "it is 100 bytes long, and a disk has at least one sector of 512"),
        (gzip.compress(b"\0" * 9999), "it is compressed with gzip, and is no archive of a root; decompress it first: "),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "it is compressed with zstd"),
        (b"PK\x03\x04" + bytes(600), "it is a zip archive; unpack it and give the disk in it"),
        (b"QFI\xfb\0\0", "its header is cut short"),
        (b"QFI\xfb\0\0\0\x09" + bytes(600), "it is qcow2 of version 9, which is not known"),
        (b"KDMV" + bytes(10), "its header is cut short"),
        (b"KDMV" + bytes(8) + b"\1" + bytes(999), "it is a part of a disk; give the descriptor"),
        (b"# Disk DescriptorFile\n", "its descriptor names no file that holds the disk's content"),
        (b"# Disk DescriptorFile\nRW 8 ZERO\n", "its descriptor has a line that is not understood: RW 8 ZERO"),
        (b'# Disk DescriptorFile\nNOACCESS 8 FLAT "x" 0\n', "its descriptor has a line that is not understood: NOA"),
    ],
)
def test_what_is_no_disk(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    with pytest.raises(DiskError) as caught:
        describe(path)
    assert str(caught.value).startswith(f"cannot open {path}: {message}")
    assert "\n" not in str(caught.value)


def test_without_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where setpriv is, which would say so in other words, too."""
    needs("setpriv")
    disk = create(tmp_path / "disk")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "setpriv").symlink_to(shutil.which("setpriv") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DiskError, match=r"qemu-img cannot be run: No such file.*apt-get install qemu-utils"):
        describe(disk)


def test_qemus_words_are_shown_without_names() -> None:
    for words, shown in (
        (b'qemu-img: Could not open \'json:{"x":"it\'s"}\': Permission denied\nmore', "Permission denied"),
        (b"qemu-nbd: Could not open '/proc/self/fd/10': Invalid argument\n", "Invalid argument"),
        (b"qemu-img: Could not open 'json:{\"cut'", "Could not open 'json:{\"cut'"),
        (b"setpriv: x\x1b[1m", "x\\x1b[1m"),
        (b"", ""),
    ):
        assert first_line(words) == shown


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in (("gone", "there is no such file"), ("fifo", "neither a file nor"), (".", "a directory")):
        with pytest.raises(DiskError, match=message):
            describe(tmp_path / name)


@pytest.mark.parametrize("name", ["nbd://127.0.0.1:1/x", "json:{}", "fat:rw:.", "-f", "a,b=c", "line\nbreak", "\udcff"])
def test_a_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made = create(tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.rename(path)
    info = describe(path)
    assert (info.format, info.virtual_bytes) == ("qcow2", 8 << 20)
    assert info.path == tmp_path / name.replace("//", "/")


@pytest.mark.parametrize("keep", [3 << 20, 1 << 20, 100_000, 300])
def test_a_qcow2_cut_short(filled: Path, keep: int) -> None:
    os.truncate(filled, keep)
    with pytest.raises(DiskError) as caught:
        describe(filled)
    assert "\n" not in str(caught.value)
    if keep > 100_000:
        assert f"it is cut short: it is {keep} bytes long, and " in str(caught.value)


def test_an_image_that_a_machine_writes_to(filled: Path) -> None:
    needs("qemu-nbd")
    with nbdserver(filled) as started:
        with pytest.raises(DiskError, match="another program has it open to write to it; shut down its machine"):
            describe(filled)
        assert started.poll() is None


@contextlib.contextmanager
def nbdserver(image: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have an image open for writing."""
    socket = image.parent / "socket"
    with subprocess.Popen(["qemu-nbd", "-f", "qcow2", "-t", "-k", socket, image]) as process:
        try:
            while not socket.exists():
                time.sleep(0.02)
            run("qemu-img", "info", f"nbd+unix:///?socket={socket}")  # is answered when the image is open
            yield process
        finally:
            process.kill()


def test_a_qcow2_cut_short_by_a_million_clusters(tmp_path: Path) -> None:
    """qemu-img then complains of each (15 MiB here); what it says is neither kept nor shown."""
    path = create(tmp_path / "large", "qcow2", "-o", "preallocation=metadata,cluster_size=4096", size="512M")
    os.truncate(path, 3 << 20)
    with pytest.raises(DiskError, match="places in its tables lie beyond that") as caught:
        describe(path)
    assert len(str(caught.value)) < 400


def test_a_damaged_qcow2(filled: Path) -> None:
    with filled.open("r+b") as file:
        (table,) = struct.unpack_from(">Q", file.read(104), 48)
        file.seek(table)
        (counts,) = struct.unpack(">Q", file.read(8))
        file.seek(counts)
        file.write(bytes(64))  # says that the first clusters, the header among them, are free
    with pytest.raises(DiskError, match="qemu-img check finds"):
        describe(filled)


def test_encrypted(tmp_path: Path) -> None:
    # Not made by qemu-img: it measures the processor to choose a key's iterations, for five seconds, and on a
    # busy host gives up ("Unable to get accurate CPU usage").
    locked = create(tmp_path / "locked", "qcow2")
    with locked.open("r+b") as image:
        image.seek(32)  # crypt_method: 1 is AES, 2 is LUKS (docs/interop/qcow2.txt)
        image.write((2).to_bytes(4, "big"))
    with pytest.raises(DiskError, match="it is an encrypted qcow2 image; decrypt it"):
        describe(locked)


def test_a_raw_disk_whose_partitions_go_beyond_it(tmp_path: Path) -> None:
    needs("sfdisk")
    disk = sparse_file(tmp_path / "disk", 64)
    for label in ("dos", "gpt"):
        run("sfdisk", "-q", disk, stdin=f"label: {label}\nsize=8MiB\nsize=32MiB\n")
        assert describe(disk).notes == ()
        os.truncate(disk, 20 << 20)
        assert describe(disk).notes == (
            f"it is {20 << 20} bytes long, and its partition table goes to byte {41 << 20}: it may be cut short",
        )
        os.truncate(disk, 64 << 20)


# ---------------------------------------------------------------- other files


def test_a_backing_file_beside_it(tmp_path: Path) -> None:
    base = create(tmp_path / "base.raw", "raw")
    middle = create(tmp_path / "middle", "qcow2", "-b", base, "-F", "raw")
    top = create(tmp_path / "top", "qcow2", "-b", "middle", "-F", "qcow2")
    assert describe(top).files == (middle, base)


def test_a_backing_file_elsewhere_must_be_allowed(tmp_path: Path) -> None:
    for name in ("bases", "machines"):
        (tmp_path / name).mkdir()
    base = create(tmp_path / "bases" / "base.qcow2")
    top = create(tmp_path / "machines" / "top", "qcow2", "-b", base, "-F", "qcow2")
    with pytest.raises(DiskError) as caught:
        describe(top)
    assert f"it names {base}, which is outside of its own directory" in str(caught.value)
    assert str(caught.value).endswith(f"--allow-backing {tmp_path}/bases")
    assert describe(top, [tmp_path / "bases"]).files == (base,)


def test_the_host_is_not_named(tmp_path: Path) -> None:
    target = create(tmp_path / "x.qcow2", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw")
    with pytest.raises(DiskError, match="it names /etc/shadow, which is outside"):
        describe(target)
    (tmp_path / "link").symlink_to("/etc/shadow")
    create(target, "qcow2", "-u", "-b", "link", "-F", "raw")
    with pytest.raises(DiskError, match="it names /etc/shadow, which is outside"):
        describe(target)


@pytest.mark.parametrize(
    "name", ['json:{"driver":"nbd","host":"127.0.0.1"}', "nbd://127.0.0.1/x", "fat:/etc", "file:etc", "ssh:x"]
)
def test_backing_files_are_files(tmp_path: Path, name: str) -> None:
    path = create(tmp_path / "x.qcow2", "qcow2", "-u", "-b", name, "-F", "raw")
    with pytest.raises(DiskError, match="which is no file beside it"):
        describe(path)


def test_a_missing_backing_file(tmp_path: Path) -> None:
    path = create(tmp_path / "x.qcow2", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2")
    with pytest.raises(DiskError, match=r"it is based on .*/gone\.qcow2, which is not there"):
        describe(path)


def test_a_chain_that_bites_its_tail(tmp_path: Path) -> None:
    create(tmp_path / "a", "qcow2", "-u", "-b", "b", "-F", "qcow2")
    create(tmp_path / "b", "qcow2", "-u", "-b", "a", "-F", "qcow2")
    with pytest.raises(DiskError, match="does not end"):
        describe(tmp_path / "a")


def test_an_external_data_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = create(tmp_path / "sub" / "x.qcow2", "qcow2", "-o", f"data_file={tmp_path}/data.raw")
    with pytest.raises(DiskError, match=r"it names .*/data\.raw, which is outside"):
        describe(path)
    assert describe(path, [tmp_path]).files == (tmp_path / "data.raw",)


DESCRIPTOR = '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n'


@pytest.mark.parametrize("comment", ["", "#\n\n \r\n# x\nversion=1\n"])
def test_the_extents_of_a_vmdk(tmp_path: Path, comment: str) -> None:
    """qemu-img info opens them without a word; vm2c must see them first, whatever stands before them."""
    path = tmp_path / "disk.vmdk"
    text = comment + DESCRIPTOR if not comment else comment + DESCRIPTOR.partition("version=1\n")[2]
    path.write_text(text + 'RW 4 FLAT "/etc/hostname" 0\n')
    with pytest.raises(DiskError, match="it names /etc/hostname, which is outside"):
        describe(path)
    path.write_text(text + 'RW 4 FLAT "json:{}" 0\n')
    with pytest.raises(DiskError, match="which is no file beside it"):
        describe(path)
    path.write_text(text + 'RW 4 SPARSE "inner.vmdk" 0\n')
    inner = text + 'RW 4 FLAT "/etc/hostname" 0\n'
    (tmp_path / "inner.vmdk").write_text(inner)
    with pytest.raises(DiskError, match="a part of it of type SPARSE, and that is none"):
        describe(path)
    head = struct.pack("<4s8xQQQQ", b"KDMV", 0, 128, 1, 1).ljust(512, b"\0")
    (tmp_path / "inner.vmdk").write_bytes(head + inner.encode())
    with pytest.raises(DiskError, match="names others"):
        describe(path)
    create(tmp_path / "flat", "raw")
    path.write_text(text + 'RW 16384 FLAT "flat" 0\n')
    assert describe(path).files == (tmp_path / "flat",)


def test_a_backing_file_of_another_format_than_said(tmp_path: Path) -> None:
    """With `-F vmdk` qemu would open any text as a descriptor."""
    (tmp_path / "base").write_text("x\n" + 'RW 4 FLAT "/etc/hostname" 0\n')
    path = create(tmp_path / "x.qcow2", "qcow2", "-u", "-b", "base", "-F", "vmdk")
    with pytest.raises(DiskError, match=r"says that .* is of format vmdk, and that is raw"):
        describe(path)


# ---------------------------------------------------------------- other people's images


@pytest.mark.parametrize(
    ("name", "form"),
    [("ext2.qcow2", "qcow2"), ("ext2.vhd", "vpc"), ("ext2.vhdx", "vhdx"), ("ext2.vmdk", "vmdk"), ("lvm.raw", "raw"),
     ("ntfs-parent.vhdx", "vhdx"), ("fat-parent.vhd", "vpc"), ("luks1.raw", "raw")],
)  # fmt: skip
def test_images_of_the_corpus(corpus: Path, tmp_path: Path, name: str, form: str) -> None:
    info = describe(unpacked(corpus, name, tmp_path))
    assert info.format == form
    assert info.notes == ()


@pytest.mark.parametrize("name", ["fat-differential.vhd", "ntfs-differential.vhdx"])
def test_differencing_disks_need_somewhere_to_be_merged(corpus: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DiskError, match="it is a differencing disk: it holds only what changed since its parent"):
        describe(unpacked(corpus, name, tmp_path))


@pytest.mark.parametrize("name", ["compressed_stream_opt.vmdk", "streamOptimizedWithMarkers.vmdk", "tw_sparse.vmdk"])
def test_vmdks_of_all_kinds(corpus: Path, name: str) -> None:
    assert describe(corpus / name).format == "vmdk"


# ---------------------------------------------------------------- headers


@given(
    st.binary(max_size=2000),
    st.sampled_from([b"", b"QFI\xfb", b"QED\0", b"KDMV", b"# Disk DescriptorFile\n", b"conectix"]),
)
def test_any_header_is_read_or_refused(rest: bytes, magic: bytes) -> None:
    found = read_header(magic + rest)
    assert isinstance(found, Header)
    looks_like_text(magic + rest)
    partitions_end(magic + rest)


@given(st.binary(min_size=2000, max_size=2000))
def test_any_partition_table_is_read(rest: bytes) -> None:
    partitions_end(rest[:446] + b"\0" * 4 + b"\xee" + rest[451:510] + b"\x55\xaaEFI PART" + rest[520:])


def test_a_fixed_vhd_is_told_by_its_end() -> None:
    footer = bytearray(512)
    struct.pack_into(">8s40xQ4xI", footer, 0, b"conectix", 4096, 2)
    struct.pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
    assert read_header(bytes(512), bytes(footer), 4096 + 512).format == "vpc"
    assert read_header(bytes(512), bytes(footer), 4096 + 513).format == "raw"
    footer[100] = 1
    assert read_header(bytes(512), bytes(footer), 4096 + 512).format == "raw"


def table(*rows: tuple[bytes, bytes, int | None]) -> bytes:
    """Return a table of snapshots (docs/interop/qcow2.txt) that starts at 8."""
    found = bytes(8)
    for identity, name, size in rows:
        extra = b"" if size is None else struct.pack(">QQ", 0, size)
        fixed = struct.pack(">QIHHIIQII", 65536, 1, len(identity), len(name), 1, 0, 0, 0, len(extra))
        found += (fixed + extra + identity + name).ljust(-(-(40 + len(extra + identity + name)) // 8) * 8, b"\0")
    return found


def read_table(content: bytes, count: int) -> tuple[Snapshot, ...]:
    header = Header(format="qcow2", snapshots=(8, count), virtual_bytes=77)
    return read_snapshots(lambda offset, length: content[offset : offset + length], header)


def test_a_table_of_snapshots() -> None:
    content = table((b"1", b"first", 4096), (b"22", "ü".encode(), None), (b"3", b"\xff", 1))
    assert read_table(content, 3) == (
        Snapshot("1", "first", 4096),
        Snapshot("22", "ü", 77),
        Snapshot("3", "\udcff", 1),
    )
    with pytest.raises(ValueError, match="cut short"):
        read_table(content, 4)
    with pytest.raises(ValueError, match="70000 snapshots"):
        read_table(content, 70_000)


def test_a_table_of_snapshots_is_bounded() -> None:
    """65536 names of 64 KiB each would be 4 GiB."""
    entry = struct.pack(">QIHHIIQII", 0, 0, 65535, 65535, 0, 0, 0, 0, 0)
    asked = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return entry if length == 40 else bytes(length)

    with pytest.raises(ValueError, match="damaged"):
        read_snapshots(read, Header(format="qcow2", snapshots=(0, 65536)))
    assert sum(asked) < 65 << 20


@given(st.binary(max_size=400), st.integers(0, 5))
def test_any_table_of_snapshots_is_read_or_refused(content: bytes, count: int) -> None:
    with contextlib.suppress(ValueError):
        read_table(content, count)


@given(st.text(max_size=300))
def test_any_descriptor_is_read_or_refused(text: str) -> None:
    raw = ("# Disk DescriptorFile\nRW 8 " + text).encode("utf-8", "surrogatepass")
    found = read_header(raw)
    assert bool(found.extents) != bool(found.refused)


def test_text_is_told_from_disks() -> None:
    assert looks_like_text("ä".encode() * 10)
    assert looks_like_text("ää".encode()[:-1])
    assert not looks_like_text(b"\xe4" * 10)
    assert not looks_like_text(b"\0" * 10)
    assert not looks_like_text(b"")


def test_a_boot_sector_alone_is_not_text(tmp_path: Path) -> None:
    disk = sparse_file(tmp_path / "disk", 1)
    (tmp_path / "sector").write_bytes(b"A" * 510 + b"\x55\xaa")
    put(tmp_path / "sector", disk, 0)
    assert describe(disk).format == "raw"
