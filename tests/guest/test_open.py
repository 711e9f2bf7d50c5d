"""Which reader is taken, and what is refused before any is."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from migrate.errors import DiskError, UsageError
from migrate.guest.archives.tarball import TarGuest
from migrate.guest.directory import DirectoryGuest
from migrate.guest.inputs import kind_of
from migrate.guest.mounting.keys import Key, parse_key
from migrate.guest.open import open_guest
from tests.guest.made import Maker


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Stand in for libguestfs: what it is given is kept, and nothing launched."""
    given: list[object] = []

    class StandIn:
        def __init__(self, infos: list[object], root: str | None, *_rest: object, keys: Sequence[Key]) -> None:
            given.append((infos, root, tuple(keys)))

        def keep(self, stack: contextlib.ExitStack) -> None:
            stack.close()

    monkeypatch.setattr("migrate.guest.libguestfs.reader.GuestfsGuest", StandIn)
    return given


def test_directories_and_archives(tree_tar: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with open_guest([tmp_path]) as guest:
        assert isinstance(guest, DirectoryGuest)
        assert (guest.source.reader, guest.source.disks[0].format) == ("directory", "directory")
    with open_guest([tree_tar]) as guest:
        assert isinstance(guest, TarGuest)
        assert (guest.source.reader, guest.source.disks[0].format) == ("tar", "tar")


def test_usage(tree_tar: Path, tmp_path: Path, launched: list[object]) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match="no disk"):
        open_guest([])
    with pytest.raises(UsageError, match="one of them is a directory"):
        open_guest([tmp_path / "disk", tmp_path])
    with pytest.raises(UsageError, match="one of them is an archive"):
        open_guest([tmp_path / "disk", tree_tar])
    with pytest.raises(UsageError, match="one root itself"):
        open_guest([tree_tar], root="/dev/sda1")
    with pytest.raises(UsageError, match="take --snapshot: a directory is one root itself; leave it away"):
        open_guest([tmp_path], snapshot="before")
    with pytest.raises(UsageError, match="cannot take --key: an archive is one root itself") as caught:
        open_guest([tree_tar], keys=[parse_key("all:key:opensesame")])
    assert "opensesame" not in str(caught.value)
    (tmp_path / "link").symlink_to("disk")
    with pytest.raises(UsageError, match="given twice"):
        open_guest([tmp_path / "disk", tmp_path / "link"])
    assert launched == []


def test_images_go_to_libguestfs_in_their_order(tmp_path: Path, launched: list[object]) -> None:
    for name in "ba":
        (tmp_path / name).write_bytes(bytes(1 << 20))
    key = parse_key("all:key:opensesame")
    open_guest([tmp_path / "b", tmp_path / "a"], reader="guestfs", root="/dev/sda1", keys=[key])
    infos, root, keys = launched[0]  # type: ignore[misc]
    assert ([info.path.name for info in infos], root) == (["b", "a"], "/dev/sda1")  # type: ignore[has-type]
    assert keys == (key,)  # type: ignore[has-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong_ova.ova", "ova"),
        ("no_ovf.ova", "ovf"),
    ],
)
def test_virtual_appliances_that_are_none(corpus: Path, name: str, message: str) -> None:
    with pytest.raises(DiskError, match=message) as caught:
        open_guest([corpus / name])
    print(caught.value)


def test_the_disks_of_a_virtual_appliance_in_its_order(corpus: Path, launched: list[object]) -> None:
    open_guest([corpus / "tty_tiny.ova"], reader="guestfs")
    (info,) = launched[0][0]  # type: ignore[index]
    assert (info.given, info.format) == (str(corpus / "tty_tiny.ova" / "from_out_tty-disk1.vmdk"), "vmdk")


def test_a_compressed_disk(tmp_path: Path, launched: list[object]) -> None:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(gzip.compress(bytes(1 << 20)))
    open_guest([path], reader="guestfs")
    (info,) = launched[0][0]  # type: ignore[index]
    assert (info.given, info.format, info.virtual_bytes) == (str(path), "raw", 1 << 20)


def test_what_a_path_is(tree_tar: Path, tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    for name in ("machine", "layout"):
        (tmp_path / name).mkdir()
    (tmp_path / "machine" / "m.ovf").write_text("<Envelope/>")
    for name in ("oci-layout", "index.json"):
        (tmp_path / "layout" / name).write_text("{}")
    with tarfile.open(tmp_path / "machine.tar", "w") as archive:
        Maker(archive).add("m.ovf", content=b"<Envelope/>")
        Maker(archive).add("m-disk1.vmdk", content=b"KDMV")
    (tmp_path / "disk").write_bytes(bytes(512))
    kinds = {name: kind_of(tmp_path / name) for name in ("rootfs", "machine", "layout", "machine.tar", "disk", "gone")}
    assert kinds == {
        "rootfs": "directory", "machine": "appliance", "layout": "container image", "machine.tar": "appliance",
        "disk": "image", "gone": "image",
    }  # fmt: skip
    assert kind_of(tree_tar) == "archive"
