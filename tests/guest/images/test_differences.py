"""Differencing VHDs and VHDXs through qemu: their changes over their parent, whatever that is found to be."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from migrate.errors import DiskError
from migrate.guest.images import differences
from migrate.guest.images.child import ZEROS
from migrate.guest.images.differencing import changes, read_child
from migrate.guest.images.image import ImageInfo, describe, make_overlay
from migrate.guest.images.nbd import NbdDisk
from migrate.guest.images.vhdxdiff import current_header
from tests.guest.images.test_differencing import OTHER, make_vhdx, vhdx_header
from tests.guest.made import needs, run, unpacked

PAIRS = [("fat-differential.vhd", "fat-parent.vhd", "vpc"), ("ntfs-differential.vhdx", "ntfs-parent.vhdx", "vhdx")]


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    needs("qemu-img", "qemu-nbd")
    place = tmp_path / "spools"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


def content(image: ImageInfo) -> bytes:
    with closing(NbdDisk(image)) as disk:
        assert disk.size == image.virtual_bytes
        return disk.read(0, disk.size)


def expected(child: Path, parent: Path, form: str) -> bytes:
    """Return the child's disk, made of the parent's raw content without qemu's help."""
    raw = child.parent / "expected.raw"
    run("qemu-img", "convert", "-f", form, "-O", "raw", parent, raw)
    disk = bytearray(raw.read_bytes())
    with child.open("rb") as file:
        said = read_child(file)
        for start, at, length in changes(file, said):
            disk[start : start + length] = bytes(length)
            if at != ZEROS:
                file.seek(at)
                disk[start : start + length] = file.read(length)
    return bytes(disk)


@pytest.mark.parametrize(("name", "base", "form"), PAIRS)
def test_a_child_over_its_parent(corpus: Path, tmp_path: Path, name: str, base: str, form: str) -> None:
    child, parent = unpacked(corpus, name, tmp_path), unpacked(corpus, base, tmp_path)
    before = hashlib.sha256(parent.read_bytes()).digest()
    wanted = expected(child, parent, form)
    with ExitStack() as stack:
        info = describe(child, stack=stack)
        assert (info.path, info.given, info.format) == (child, str(child), form)
        assert info.files == (parent,)
        assert content(info) == wanted
        assert content(describe(parent)) != wanted
        make_overlay(info, tmp_path / "over", stack)
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "over", tmp_path / "read")
        assert (tmp_path / "read").read_bytes() == wanted
    assert hashlib.sha256(parent.read_bytes()).digest() == before


@pytest.mark.parametrize(("name", "base", "form"), PAIRS)
def test_a_compressed_child(corpus: Path, tmp_path: Path, name: str, base: str, form: str) -> None:
    child, parent = unpacked(corpus, name, tmp_path), unpacked(corpus, base, tmp_path)
    wanted = expected(child, parent, form)
    child.unlink()
    shutil.copy(corpus / f"{name}.zst", tmp_path)
    with ExitStack() as stack:
        assert content(describe(tmp_path / f"{name}.zst", stack=stack)) == wanted


@pytest.mark.parametrize(("name", "base", "form"), PAIRS)
def test_a_parent_that_is_not_there_or_another(corpus: Path, tmp_path: Path, name: str, base: str, form: str) -> None:
    child, parent = unpacked(corpus, name, tmp_path), tmp_path / base
    with ExitStack() as stack:
        with pytest.raises(DiskError, match=f"{base}, which is not there; copy that file beside it"):
            describe(child, stack=stack)
        run("qemu-img", "create", "-q", "-f", form, parent, "4M")
        with pytest.raises(DiskError, match=f"it is a change to .*/{base}, and that is not what it was: it is another"):
            describe(child, stack=stack)
        parent.unlink()
        parent.symlink_to("/etc/hostname")
        with pytest.raises(DiskError, match="it names /etc/hostname, which is outside of its own directory"):
            describe(child, stack=stack)


def test_a_parent_elsewhere_must_be_allowed(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    (tmp_path / "vm").mkdir()
    parent = unpacked(corpus, "fat-parent.vhd", tmp_path / "bases")
    child = unpacked(corpus, "fat-differential.vhd", tmp_path / "vm")
    (tmp_path / "vm" / "fat-parent.vhd").symlink_to(parent)
    with ExitStack() as stack:
        with pytest.raises(DiskError, match="which is outside of its own directory; if that is right"):
            describe(child, stack=stack)
        assert describe(child, [tmp_path / "bases"], stack=stack).files == (parent,)


def test_a_parent_that_is_itself_cut_short(corpus: Path, tmp_path: Path) -> None:
    child, parent = (unpacked(corpus, name, tmp_path) for name in PAIRS[1][:2])
    os.truncate(parent, parent.stat().st_size // 2)
    with ExitStack() as stack, pytest.raises(DiskError) as caught:
        describe(child, stack=stack)
    assert "\n" not in str(caught.value)


def test_an_image_based_on_a_child(corpus: Path, tmp_path: Path) -> None:
    child, parent = (unpacked(corpus, name, tmp_path) for name in PAIRS[1][:2])
    wanted = expected(child, parent, "vhdx")
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "vhdx", "-b", child.name, tmp_path / "top", "4M")
    with ExitStack() as stack:
        info = describe(tmp_path / "top", stack=stack)
        assert info.files == (child, parent)
        assert content(info) == wanted


def test_changes_that_do_not_fit(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child, _ = (unpacked(corpus, name, tmp_path) for name in PAIRS[1][:2])
    monkeypatch.setattr(differences, "free_room", lambda file: 1000)
    with ExitStack() as stack, pytest.raises(DiskError, match="bytes for what it changes are needed, and 1000 are"):
        describe(child, stack=stack)


def test_how_many_clusters_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, though several runs are in it, and zeros not at all."""
    monkeypatch.setattr(differences, "free_room", lambda file: 2 * (65536 + 16))
    runs = [(512, 0, 512), (2048, 9, 512), (65000, 9, 600), (1 << 30, ZEROS, 1 << 30)]
    with (tmp_path / "layer").open("wb") as layer:
        differences._check_room(runs, layer, "open x")
        with pytest.raises(DiskError, match="196656 bytes for what it changes"):
            differences._check_room([*runs, (1 << 40, 5, 1)], layer, "open x")


def test_a_child_of_a_child(tmp_path: Path) -> None:
    """Each with its own changes: a block of zeros, and one that the base has nothing of."""
    (tmp_path / "raw").write_bytes(b"\x01" * (1 << 20) + b"\x02" * (1 << 20) + bytes(2 << 20))
    base, middle, top = tmp_path / "base.vhdx", tmp_path / "middle.vhdx", tmp_path / "top.vhdx"
    run("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "block_size=1M", tmp_path / "raw", base)
    with base.open("rb") as file:
        identity = current_header(file).data_write
    words = {"parent_linkage": f"{{{identity}}}", "relative_path": ".\\base.vhdx"}
    headers = vhdx_header(1, OTHER), vhdx_header(2, OTHER)
    middle.write_bytes(make_vhdx(4 << 20, {2: 6}, words=words, headers=headers))
    words = {"parent_linkage": f"{{{OTHER}}}", "relative_path": "middle.vhdx"}
    top.write_bytes(make_vhdx(4 << 20, {0: 2}, words=words))
    with ExitStack() as stack:
        info = describe(top, stack=stack)
        assert info.files == (middle, base)
        found = content(info)
    blocks = [found[at : at + (1 << 20)] for at in range(0, len(found), 1 << 20)]
    assert [set(block) for block in blocks] == [{0}, {2}, {3}, {0}]
    own = {"parent_linkage": f"{{{OTHER}}}", "relative_path": "middle.vhdx"}
    middle.write_bytes(make_vhdx(4 << 20, {2: 6}, words=own, headers=headers))
    with ExitStack() as stack, pytest.raises(DiskError, match="its chain of backing files does not end"):
        describe(top, stack=stack)
