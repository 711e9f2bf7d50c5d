"""Which reader is taken, and what is refused before any is."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from migrate.errors import DiskError, UsageError
from migrate.guest.directory import DirectoryGuest
from migrate.guest.open import open_guest
from migrate.guest.tarball import TarGuest
from tests.guest.made import Maker


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Stand in for libguestfs: what it is given is kept, and nothing launched."""
    given: list[object] = []

    def stand_in(infos: list[object], root: str | None, *_rest: object) -> None:
        given.append((infos, root))

    monkeypatch.setattr("migrate.guest.libguestfs.GuestfsGuest", stand_in)
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
    (tmp_path / "link").symlink_to("disk")
    with pytest.raises(UsageError, match="given twice"):
        open_guest([tmp_path / "disk", tmp_path / "link"])
    assert launched == []


def test_images_go_to_libguestfs_in_their_order(tmp_path: Path, launched: list[object]) -> None:
    for name in "ba":
        (tmp_path / name).write_bytes(bytes(1 << 20))
    open_guest([tmp_path / "b", tmp_path / "a"], reader="guestfs", root="/dev/sda1")
    infos, root = launched[0]  # type: ignore[misc]
    assert ([info.path.name for info in infos], root) == (["b", "a"], "/dev/sda1")  # type: ignore[has-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tty_tiny.ova",
            "it is an OVA, an archive with a machine's description and its disks; unpack it with tar -xf ",
        ),
        ("ova.ova", "it is an OVA, an archive with a machine's description and its disks; unpack it with tar -xf "),
        ("wrong_ova.ova", "it is 5168 bytes of text, not a disk image"),
        ("no_ovf.ova", "none of /etc, /usr, /var, … is there"),
    ],
)
def test_virtual_appliances(corpus: Path, name: str, message: str) -> None:
    with pytest.raises(DiskError) as caught:
        open_guest([corpus / name])
    assert message in str(caught.value)
    if name == "ova.ova":
        assert str(caught.value).endswith("and give its disks: new_disk.vmdk")
    if name == "tty_tiny.ova":
        assert str(caught.value).endswith("joined in their order: from_out_tty-disk1.vmdk.000000000")


def test_a_compressed_disk_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw.gz"
    path.write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(
        DiskError, match=r"compressed with gzip, and is no archive of a root; decompress it first: gzip -dk"
    ):
        open_guest([path])


def test_an_ova_by_its_content_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "machine.tar"
    with tarfile.open(path, "w") as archive:
        Maker(archive).add("m.ovf", content=b"<xml/>")
        Maker(archive).add("m-disk1.vmdk", content=b"KDMV")
    with pytest.raises(DiskError, match=r"give its disks: m-disk1\.vmdk"):
        open_guest([path])
