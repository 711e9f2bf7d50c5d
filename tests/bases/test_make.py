"""Inventories out of trees and archives."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from migrate.bases.make import files_of, from_path
from migrate.bases.model import Base, BasePackage, base_file, digest, encode
from migrate.errors import DiskError, UsageError
from migrate.guest.protocol import Entry
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Node
from tests.bases import made


def test_what_a_base_holds() -> None:
    base = made.inventory(image_id="sha256:1")
    assert (base.reference, base.architecture, base.system, base.version) == (made.REFERENCE, "amd64", "debian", "12")
    assert (base.image_id, base.made_from, base.made_on) == ("sha256:1", "a tree in memory", "2024-01-02")
    assert base.packages == (
        BasePackage(name="libc6", version="2.36-9", architecture="amd64", manager="dpkg"),
        BasePackage(name="tzdata", version="2024a-0", architecture="all", manager="dpkg"),
    )
    files = base.by_path()
    assert (files["/bin"].kind, files["/bin"].target, files["/bin"].mode) == ("symlink", "usr/bin", 0o777)
    assert files["/usr/lib"].kind == "directory"
    ping = files["/usr/bin/ping"]
    assert ping.sha256 == hashlib.sha256(b"\x7fELF ping").hexdigest()
    assert ping.xattrs == (("security.capability", made.CAPABILITY.hex()),)
    assert base.bytes == sum(f.size for f in base.files)
    assert "/etc/shadow" not in files  # no image gets it, so none leaves it


def test_odd_names_kinds_and_files_that_cannot_be_read_are_not_in_it() -> None:
    tree: dict[str, Content] = {
        "/srv/not\udcffutf8": "x", "/srv/line\nbreak": "x", "/srv/turned\u202e": "x", "/srv/pipe": Node("fifo"),
        "/srv/broken": Broken(), "/srv/fine": "x",
    }  # fmt: skip
    assert [f.path for f in files_of(FakeGuest(tree))] == ["/srv", "/srv/fine"]


def test_a_link_to_an_odd_name_is_not_in_it() -> None:
    entry = Entry(path="/x", kind="symlink", mode=0o777, uid=0, gid=0, target="a\nb")
    assert base_file(entry, {}) is None


def test_the_same_tree_gives_the_same_digest_and_a_changed_mode_another() -> None:
    base = made.inventory()
    assert digest(base) == digest(made.inventory()) == digest(msgspec.json.decode(encode(base), type=Base))
    assert digest(made.inventory(made.TREE | {"/usr/lib": Dir(mode=0o700)})) != digest(base)


def test_an_archive_gives_what_the_tree_gives(tmp_path: Path) -> None:
    base = from_path(made.archive(tmp_path / "root.tar"), made.REFERENCE)
    assert base.made_from == "the file root.tar"
    assert base.files == made.inventory().files
    assert base.packages == made.inventory().packages


def test_what_has_no_processor_and_what_is_a_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="for which processor"):
        made.inventory({p: c for p, c in made.TREE.items() if p != "/usr/bin/dash"})
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match="docker save"):
        from_path(tmp_path / "disk.raw", made.REFERENCE)


def test_a_hard_link_is_two_names_of_the_same() -> None:
    tree: dict[str, Content] = {"/srv/a": File("x", inode=7, links=2), "/srv/b": File("x", inode=7, links=2)}
    one, two = files_of(FakeGuest(tree))[1:]
    assert (one.sha256, one.mode) == (two.sha256, two.mode)
