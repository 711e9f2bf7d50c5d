"""Which files qemu is given: those that were looked at, whatever happens to their names and to what names them."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, Opened, Window, graph, look
from migrate.guest.images.image import describe
from migrate.guest.images.imageheader import Extent
from migrate.guest.images.nbd import NbdDisk
from tests.guest.made import needs, run

SIZE = 1 << 20


def window(path: str, **more: object) -> Window:
    return msgspec.structs.replace(Window(path=Path(path), device=1, inode=2, size=512), **more)


def names(found: Window) -> str:
    return str(found.path)


def test_a_graph_names_every_node() -> None:
    base = Node(format="raw", file=window("/dev/x", is_block=True))
    middle = Node(format="vpc", file=window("/b", offset=1024, whole=False), backing=None)
    top = Node(format="qcow2", file=window('/a",{}'), backing=base, data=window("/data"))
    found = graph(top, names, lambda _: "")
    assert found.startswith("json:")
    assert json.loads(found[5:]) == {
        "driver": "qcow2",
        "file": {"driver": "file", "filename": '/a",{}'},
        "backing": {"driver": "raw", "file": {"driver": "host_device", "filename": "/dev/x"}},
        "data-file": {"driver": "file", "filename": "/data"},
    }
    assert json.loads(graph(middle, names, lambda _: "")[5:]) == {
        "driver": "vpc",
        "file": {"driver": "raw", "offset": 1024, "size": 512, "file": {"driver": "file", "filename": "/b"}},
        "force_size_calc": "current_size",
    }
    alone = msgspec.structs.replace(top, backing=None, data=None)
    assert json.loads(graph(alone, names, lambda _: "")[5:])["backing"] is None
    assert [each.path.name for each in top.windows()] == ['a",{}', "data", "x"]


def test_a_descriptor_names_nothing_else() -> None:
    texts: list[bytes] = []

    def keep(text: bytes) -> str:
        texts.append(text)
        return "/descriptor"

    extents = ((Extent(8, "VMFS", "evil\nRW", 2), window("/flat")), (Extent(4, "SPARSE", "x"), window("/sparse")))
    node = Node(format="vmdk", file=window("/d.vmdk"), extents=extents, cids=("1234abcd", "ffffffff"))
    found = json.loads(graph(node, names, keep)[5:])
    assert found["file"] == {"driver": "file", "filename": "/descriptor"}
    (text,) = texts
    assert [line for line in text.decode().splitlines() if line.startswith("RW")] == [
        'RW 8 FLAT "/flat" 2',
        'RW 4 SPARSE "/sparse"',
    ]
    assert b"CID=1234abcd\nparentCID=ffffffff\n" in text
    assert b"evil" not in text


def test_a_window_is_a_file_of_its_own(tmp_path: Path) -> None:
    content = os.urandom(5000)
    (tmp_path / "file").write_bytes(content)
    whole = look(tmp_path / "file")
    part = whole.part(1000, 3000)
    assert whole.whole
    assert whole.part(0, 5000).whole
    assert not part.whole
    assert part.read(0, 9999) == content[1000:4000]
    assert part.read(2990, 100) == content[3990:4000]
    assert part.read(3000, 1) == part.read(-1, 5) == part.read(0, 0) == b""
    with part.file() as file:
        assert file.read() == content[1000:4000]
        assert file.seek(-10, os.SEEK_END) == 2990
        assert file.read(100) == content[3990:4000]
        assert (file.seek(0), file.read(4)) == (0, content[1000:1004])
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(-1)
    again = part.part(100, 100)
    assert (again.offset, again.read(0, 100)) == (1100, content[1100:1200])
    for offset, size in ((0, 3001), (-1, 2), (3001, 0), (1, -1)):
        with pytest.raises(ValueError, match="it is not within"):
            part.part(offset, size)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="neither a file nor a block device"):
        look(tmp_path / "fifo")
    with pytest.raises(ValueError, match="neither a file nor a block device"):
        look(Path("/dev/null"))
    with pytest.raises(IsADirectoryError):
        look(tmp_path)
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "gone")


def test_a_file_that_was_exchanged_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one" * 200)
    seen = look(path)
    path.rename(tmp_path / "old")
    path.symlink_to("/etc/hostname")
    with pytest.raises(DiskError, match="it was exchanged for another file meanwhile"):
        seen.read(0, 3)
    with ExitStack() as stack, pytest.raises(DiskError, match="it was exchanged"):
        Opened(Node(format="raw", file=seen), stack)
    path.unlink()
    with ExitStack() as stack, pytest.raises(DiskError, match="No such file"):
        Opened(Node(format="raw", file=seen), stack)


def test_descriptors_are_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one" * 200)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as stack:
        node = Node(format="raw", file=look(tmp_path / "file"))
        opened = Opened(msgspec.structs.replace(node, format="qcow2", backing=node), stack)
        assert len(opened.descriptors) == 1  # the same file twice
        assert min(opened.descriptors) > 9
        assert f"/proc/self/fd/{opened.descriptors[0]}" in opened.filename
        assert not os.get_inheritable(opened.descriptors[0])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---------------------------------------------------------------- between the look and qemu's


@pytest.fixture
def based(tmp_path: Path) -> tuple[Path, Path]:
    """An image, and the one that it is based on."""
    needs("qemu-img", "qemu-nbd")
    (tmp_path / "base").write_bytes(b"base".ljust(SIZE, b"."))
    (tmp_path / "other").write_bytes(b"evil".ljust(SIZE, b"."))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", tmp_path / "top")
    return tmp_path / "top", tmp_path / "base"


def start(path: Path) -> bytes:
    disk = NbdDisk(describe(path))
    try:
        return disk.read(0, 4)
    finally:
        disk.close()


def test_a_name_that_changes_after_the_look_is_not_followed(based: tuple[Path, Path], tmp_path: Path) -> None:
    top, base = based
    assert start(top) == b"base"
    info = describe(top)
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "other", top)
    assert start(top) == b"evil"
    disk = NbdDisk(info)
    assert disk.read(0, 4) == b"base"
    disk.close()
    base.rename(tmp_path / "was")
    base.symlink_to("other")
    with pytest.raises(DiskError, match="it was exchanged for another file meanwhile"):
        NbdDisk(info)


def test_a_base_that_appears_after_the_look_is_not_read(tmp_path: Path) -> None:
    needs("qemu-img", "qemu-nbd")
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "top", f"{SIZE}")
    (tmp_path / "other").write_bytes(b"evil".ljust(SIZE, b"."))
    info = describe(tmp_path / "top")
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "other", tmp_path / "top")
    disk = NbdDisk(info)
    assert disk.read(0, 4) == bytes(4)
    disk.close()


def test_a_descriptor_that_changes_after_the_look_is_not_read(tmp_path: Path) -> None:
    needs("qemu-img", "qemu-nbd")
    for name, content in (("good", b"base"), ("other", b"evil")):
        (tmp_path / name).write_bytes(content.ljust(SIZE, b"."))
    text = f'# Disk DescriptorFile\nversion=1\nRW {SIZE // 512} FLAT "good" 0\n'
    (tmp_path / "disk.vmdk").write_text(text)
    info = describe(tmp_path / "disk.vmdk")
    (tmp_path / "disk.vmdk").write_text(text.replace("good", str(tmp_path / "other")))
    disk = NbdDisk(info)
    assert disk.read(0, 4) == b"base"
    disk.close()
