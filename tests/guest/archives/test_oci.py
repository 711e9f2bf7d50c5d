"""Container images as guests, in every form that they are kept in."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.errors import DiskError, GuestFileError
from migrate.guest.archives.oci import OciGuest, is_image_directory, open_archive
from migrate.guest.archives.tarball import TarGuest
from migrate.guest.protocol import Entry, Guest
from tests.guest.made import BIG, CAPABILITY, Maker, needs
from tests.guest.ocimade import (
    BASE,
    CONFIG,
    LAYER,
    MANIFEST,
    NAME,
    PACKED,
    Layout,
    as_directory,
    as_tar,
    config,
    directory,
    entry,
    file,
    layer,
    layout,
    link,
    opened,
    packed,
    saved,
    symlink,
)


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("build", [layout, saved])
def test_archives(tmp_path: Path, build: Callable[..., dict[str, bytes]], how: str) -> None:
    needs(*filter(None, [how]))
    upper = layer(file("etc/motd", b"hello again\n"), file("etc/.wh.os-release"), file("etc/new", b"new\n"))
    with opened(build(BASE, upper, how=how), tmp_path) as guest:
        assert guest.listdir("/etc") == ["motd", "new"]
        assert guest.read("/etc/motd") == b"hello again\n"
        assert guest.read("/etc/new", 2) == b"ne"
        source = guest.source
        assert source.disks[0].format == ("oci" if build is layout else "docker-archive")
        assert (source.disks[0].path, source.disks[0].virtual_bytes) == (str(tmp_path / "image.tar"), 16)
        assert [(system.type, system.mountpoint) for system in source.filesystems] == [("oci", "/")]
        assert guest.problems == ()
    with pytest.raises(GuestFileError, match="was closed"):
        guest.read("/etc/new")


@pytest.mark.parametrize("how", ["gzip", "xz", "bzip2", "zstd"])
def test_archives_that_are_compressed_as_a_whole(tmp_path: Path, how: str) -> None:
    needs(*filter(lambda each: each == "zstd", [how]))
    path = as_tar(layout(BASE, how="gzip"), tmp_path / "image.tar")
    path.write_bytes(packed(path.read_bytes(), how))
    with open_archive(path) as guest:
        assert guest.read("/etc/motd") == b"hello\n"


@pytest.mark.parametrize("build", [layout, saved])
def test_directories(tmp_path: Path, build: Callable[..., dict[str, bytes]]) -> None:
    place = as_directory(build(BASE, how="gzip"), tmp_path / "image")
    assert is_image_directory(place)
    with OciGuest(place) as guest:
        assert guest.read("/etc/motd") == b"hello\n"
        assert guest.source.disks[0].path == str(place)


def test_a_directory_with_links_to_its_own_files(tmp_path: Path) -> None:
    """What unpacking an archive of Docker before 25 makes where two layers are one."""
    place = as_directory(saved(BASE), tmp_path / "image")
    first = json.loads((place / "manifest.json").read_bytes())[0]["Layers"][0]
    (place / first).rename(place / "layer.tar")
    (place / first).symlink_to("../layer.tar")
    with OciGuest(place) as guest:
        assert guest.read("/etc/motd") == b"hello\n"


def test_what_is_no_image(tmp_path: Path, tree_tar: Path) -> None:
    """A root that happens to hold a manifest.json is a root."""
    assert not is_image_directory(tmp_path)
    assert not is_image_directory(tmp_path / "nowhere")
    as_directory({"etc/passwd": b"", "manifest.json": b"[]"}, tmp_path / "root")
    assert not is_image_directory(tmp_path / "root")
    with open_archive(tree_tar) as guest:
        assert isinstance(guest, TarGuest)
    with open_archive(as_tar({"etc/passwd": b"", "manifest.json": b"[]"}, tmp_path / "a.tar")) as guest:
        assert isinstance(guest, TarGuest)
    with pytest.raises(DiskError, match=r"neither an index\.json nor a manifest\.json"):
        OciGuest(tmp_path)


def test_what_docker_writes_now(tmp_path: Path) -> None:
    """Docker 25 and later: an OCI layout with a manifest.json beside, and SHA-512 is allowed."""
    made = Layout("sha512")
    files = made.done(made.image(BASE, annotations={NAME: "1"}))
    files["manifest.json"] = b'[{"Config": "not even there", "Layers": []}]'
    with opened(files, tmp_path) as guest:
        assert guest.source.disks[0].format == "oci"
        assert guest.read("/etc/motd") == b"hello\n"


def test_an_image_without_a_name_as_docker_25_saves_it(tmp_path: Path) -> None:
    """Seen in go-containerregistry's hello-world-v25.tar: the layout's index is empty."""
    empty = b'{"schemaVersion": 2, "manifests": null}'
    files = {**layout(), **saved(BASE), "index.json": empty}
    with opened(files, tmp_path) as guest:
        assert guest.source.disks[0].format == "docker-archive"
        assert guest.read("/etc/motd") == b"hello\n"
    with pytest.raises(DiskError, match=r"its index\.json lists no image"):
        opened({**layout(BASE), "index.json": empty}, tmp_path)


def test_layers_that_are_links_to_others(tmp_path: Path) -> None:
    """Docker before 25 saves a layer once, and the same one again as a link."""
    files = saved(BASE, layer(file("etc/x")), BASE)
    first, second, _ = json.loads(files["manifest.json"])[0]["Layers"]
    manifest = json.loads(files["manifest.json"])
    manifest[0]["Layers"][2] = "again/layer.tar"
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as archive:
        make = Maker(archive)
        make.add("again/layer.tar", tarfile.SYMTYPE, linkname=f"../{first}")
        for name, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            make.add(name, content=data)
    assert second in files
    with open_archive(path) as guest:
        assert guest.listdir("/etc") == ["motd", "os-release", "x"]


def test_an_archive_with_holes(tmp_path: Path) -> None:
    """An image's directory, packed again with `tar -S`: layers have runs of zeros."""
    needs("tar")
    place = as_directory(layout(layer(directory("etc"), file("etc/zeros", bytes(1 << 20) + b"end"))), tmp_path / "i")
    blobs = place / "blobs/sha256"
    biggest = max(blobs.iterdir(), key=lambda each: each.stat().st_size)
    subprocess.run(["cp", "--sparse=always", biggest, tmp_path / "sparse"], check=True)
    (tmp_path / "sparse").rename(biggest)
    subprocess.run(["tar", "-cS", "-C", place, "-f", tmp_path / "image.tar", "."], check=True)
    assert (tmp_path / "image.tar").stat().st_size < 1 << 20
    with open_archive(tmp_path / "image.tar") as guest:
        assert guest.read("/etc/zeros") == bytes(1 << 20) + b"end"


def test_the_awkward_tree_in_layers(tree_tar: Path, tar_guest: Guest, tmp_path: Path) -> None:
    """What is added and taken away again leaves the same tree as one archive: owners, devices, attributes, names."""
    junk = layer(file("srv/big", b"junk"), symlink("etc", "/srv"), file("junk/x"), link("junk/y", "junk/x"))
    back = layer(file(".wh.junk"), file("srv/.wh.big"))
    with opened(layout(junk, back, tree_tar.read_bytes(), how="gzip"), tmp_path) as guest:
        assert guest.problems == ()

        def told(each: Entry) -> tuple[object, ...]:
            return (each.path, each.kind, each.mode, each.uid, each.gid, each.size, each.mtime, each.target,
                    each.device, each.links, each.allocated, each.xattrs)  # fmt: skip

        assert [told(each) for each in guest.walk()] == [told(each) for each in tar_guest.walk()]
        assert guest.read("/srv/big") == BIG
        assert guest.read("/srv/latin-\udce9") == b"not utf-8\n"
        assert entry(guest, "/usr/bin/ping").xattrs == (("security.capability", CAPABILITY),)
        assert entry(guest, "/srv/hard1").inode == entry(guest, "/srv/hard2").inode
        inodes = [each.inode for each in guest.walk() if each.path != "/srv/hard2"]
        assert len(set(inodes)) == len(inodes)


def test_hard_links_across_layers(tmp_path: Path) -> None:
    files = layout(
        layer(directory("etc"), file("etc/one", b"one"), link("etc/two", "etc/one")),
        layer(link("etc/three", "etc/one")),
        layer(file("etc/one", b"another"), link("etc/four", "etc/three")),
        how="gzip",
    )
    with opened(files, tmp_path) as guest:
        assert [guest.read(f"/etc/{name}") for name in ("one", "two", "three", "four")] == [b"another"] + [b"one"] * 3
        assert [entry(guest, f"/etc/{name}").links for name in ("one", "two", "three", "four")] == [1, 3, 3, 3]
        assert guest.source.disks[0].virtual_bytes == len(b"another" + b"one")


def test_layers_that_aufs_made(tmp_path: Path) -> None:
    """Hard links lead to what AUFS kept for itself, which is no part of the image (moby, pkg/archive/diff.go)."""
    old = layer(
        directory(".wh..wh.plnk"), file(".wh..wh.plnk/12.34", b"kept"), directory(".wh..wh.orph"),
        link("etc/x", ".wh..wh.plnk/12.34"), link("etc/.wh.motd", ".wh..wh.plnk/12.34"),
    )  # fmt: skip
    with opened(layout(BASE, old), tmp_path) as guest:
        assert [each.path for each in guest.walk()] == ["/", "/etc", "/etc/os-release", "/etc/x"]
        assert guest.read("/etc/x") == b"kept"
        assert entry(guest, "/etc/x").links == 1
        assert guest.problems == ()


def test_sparse_files_in_layers(tmp_path: Path) -> None:
    needs("tar")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    with (root / "etc" / "holes").open("wb") as sparse:
        sparse.seek(3 << 20)
        sparse.write(b"in the middle")
        sparse.truncate(8 << 20)
    content = (root / "etc" / "holes").read_bytes()
    subprocess.run(["tar", "-cS", "--format=pax", "-C", root, "-f", tmp_path / "layer.tar", "."], check=True)
    with opened(layout(BASE, (tmp_path / "layer.tar").read_bytes()), tmp_path) as guest:
        assert guest.read("/etc/holes") == content
        assert entry(guest, "/etc/holes").allocated < 1 << 20


def test_layers_of_nothing_and_without_an_end(tmp_path: Path) -> None:
    """A digest tells that an archive is whole: that it has no end mark is no problem then."""
    with opened(layout(BASE, b"", bytes(1024), layer(file("etc/x"))[: -10240 + 1536]), tmp_path) as guest:
        assert guest.listdir("/etc") == ["motd", "os-release", "x"]
        assert guest.problems == ()


def test_how_it_is_run_and_what_was_chosen(tmp_path: Path) -> None:
    made = Layout()
    said = {"config": {"Entrypoint": ["/start"], "Env": ["A=1"]}}
    images = [
        made.image(BASE, configured={**said, "architecture": name}, platform={"os": "linux", "architecture": name})
        for name in ("mips64", "sparc64")
    ]
    other = made.image(layer(file("etc/x")), annotations={NAME: "other:1"})
    sentences: list[str] = []
    path = as_tar(made.done(*images, other), tmp_path / "image.tar")
    with open_archive(path, notify=sentences.append) as guest:
        assert isinstance(guest, OciGuest)
        assert (guest.config.entrypoint, guest.config.env) == (("/start",), ("A=1",))
        assert sentences == ["reading the image for linux/mips64, one of linux/mips64, linux/sparc64"]
        assert [(problem.path, problem.why) for problem in guest.problems] == [
            (str(path), "it holds a further image, which was not read: other:1")
        ]


def test_progress(tmp_path: Path) -> None:
    told: list[str] = []

    def progress(text: str, done: float | None = None, total: float | None = None) -> None:
        told.append(text if total is None else f"{text}: {done} of {total}")

    with open_archive(as_tar(layout(BASE), tmp_path / "image.tar"), progress):
        assert told == [
            "indexing image.tar",
            f"checking layer 1 of 1: 0 of {len(BASE)}",
            "indexing layer 1 of 1",
        ]


def test_the_same_whether_in_place_or_unpacked(tmp_path: Path) -> None:
    content = hashlib.sha256(b"x").digest() * 5000
    upper = layer(file("etc/x", content), link("etc/y", "etc/x"))
    seen = []
    for how in ("", "gzip"):
        with opened(layout(BASE, upper, how=how), tmp_path) as guest:
            assert guest.read("/etc/y") == content
            seen.append(list(guest.walk()))
    assert seen[0] == seen[1]


def test_gzip_in_several_members(tmp_path: Path) -> None:
    """eStargz and pigz write one stream after another."""
    data = gzip.compress(BASE[:700]) + gzip.compress(BASE[700:])
    made = Layout()
    value = {"config": made.blob(config(BASE), CONFIG), "layers": [made.blob(data, f"{LAYER}+gzip")]}
    with opened(made.done(made.document(value, MANIFEST)), tmp_path) as guest:
        assert guest.read("/etc/motd") == b"hello\n"
