"""Container images that are refused, and why; those made to harm."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from migrate.errors import DiskError, GuestFileError, NoSystemError
from migrate.guest.archives.oci import OciGuest, open_archive
from migrate.guest.archives.tarball import is_header
from migrate.guest.archives.tarindex import Budget
from migrate.guest.spool import spool
from tests.guest.made import Maker, needs
from tests.guest.ocimade import (
    BASE,
    CONFIG,
    LAYER,
    MANIFEST,
    PACKED,
    Layout,
    Member,
    as_directory,
    as_tar,
    config,
    digest,
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
def test_a_changed_layer(tmp_path: Path, build: Callable[..., dict[str, bytes]], how: str) -> None:
    needs(*filter(None, [how]))
    files = build(BASE, how=how)
    name = next(name for name, data in files.items() if data == packed(BASE, how))
    files[name] = packed(BASE.replace(b"hello", b"HELLO"), how).ljust(len(files[name]), b"\0")[: len(files[name])]
    with pytest.raises(DiskError, match=r"layer 1 of 1 .*(is damaged or was changed: its digest is sha256|unpacked)"):
        opened(files, tmp_path)


def test_a_layer_whose_content_is_not_what_the_configuration_says(tmp_path: Path) -> None:
    other = layer(file("etc/passwd"))
    files = layout(BASE, how="gzip", rootfs={"type": "layers", "diff_ids": [digest(other)]})
    with pytest.raises(DiskError) as caught:
        opened(files, tmp_path)
    assert str(caught.value) == (
        f"cannot read the image {tmp_path}/image.tar: layer 1 of 1, unpacked, is damaged or was changed: its digest is "
        f"{digest(BASE)}, and {digest(other)} was said; copy or save it again"
    )


def test_a_layer_of_another_length(tmp_path: Path) -> None:
    files = layout(BASE)
    files[f"blobs/sha256/{digest(BASE)[7:]}"] += bytes(512)
    with pytest.raises(DiskError, match=rf"layer 1 of 1 is {len(BASE) + 512} bytes long, .* says {len(BASE)}"):
        opened(files, tmp_path)


@pytest.mark.parametrize("how", ["gzip", "zstd", "xz"])
def test_a_layer_that_cannot_be_decompressed(tmp_path: Path, how: str) -> None:
    needs(*filter(lambda each: each == "zstd", [how]))
    cut = packed(os.urandom(100_000), how)[:50_000]
    made = Layout()
    blob = made.blob(cut, f"{LAYER}+gzip")
    value = {"config": made.blob(config(BASE), CONFIG), "layers": [blob]}
    with pytest.raises(DiskError, match=r"layer 1 of 1 \(blobs/sha256/.*\) cannot be unpacked: "):
        opened(made.done(made.document(value, MANIFEST)), tmp_path)


def test_without_zstd_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("zstd")
    files = layout(BASE, how="zstd")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match="there is no zstd program here; install zstd"):
        opened(files, tmp_path)


def test_a_layer_that_is_not_there(tmp_path: Path) -> None:
    files = layout(BASE)
    del files[f"blobs/sha256/{digest(BASE)[7:]}"]
    with pytest.raises(
        DiskError, match=rf"layer 1 of 1 \(blobs/sha256/{digest(BASE)[7:]}\) is not there; save it again"
    ):
        opened(files, tmp_path)
    made = Layout()
    kept = f"{LAYER.replace('.v1', '.nondistributable.v1')}+gzip"
    away = {"mediaType": kept, "digest": digest(BASE), "size": 9, "urls": ["https://example.com/layer"]}
    value = {"config": made.blob(config(BASE), CONFIG), "layers": [away]}
    with pytest.raises(
        DiskError, match=r"its maker does not let it be distributed, .* from https://example\.com/layer"
    ):
        opened(made.done(made.document(value, MANIFEST)), tmp_path)


def test_a_bomb_is_stopped_by_the_room_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.statvfs(tmp_path)
    small = os.statvfs_result((4096, 4096, 1000, 1000, 1000, *tuple(status)[5:10]))
    monkeypatch.setattr("migrate.guest.archives.tarball.os.fstatvfs", lambda _file: small)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bomb = layer(directory("etc"), file("etc/zeros", bytes(5 << 20)))
    with pytest.raises(DiskError) as caught:
        opened(layout(bomb, how="gzip"), tmp_path)
    assert str(caught.value) == (
        f"cannot read the image {tmp_path}/image.tar, layer 1 of 1: unpacked it is larger than the 4096000 bytes that "
        f"are free in {tmp_path}; set TMPDIR to a directory with more room, if it is no attack"
    )
    with opened(layout(bomb), tmp_path) as guest:  # nothing to unpack
        assert entry(guest, "/etc/zeros").size == 5 << 20


def test_names_take_no_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.guest.archives.oci.Budget", lambda: Budget(1 << 20))
    many = layer(directory("etc"), *(file(f"etc/{number}", b"") for number in range(1500)))
    with pytest.raises(DiskError, match="its names and attributes take more than 1 MiB of memory"):
        opened(layout(many, many), tmp_path)
    with opened(layout(many), tmp_path) as guest:
        assert len(guest.listdir("/etc")) == 1500


def test_names_that_lead_out(tmp_path: Path) -> None:
    evil = layer(
        file("../evil"), symlink("etc/out", "/../../../etc/passwd"), symlink("etc/loop", "loop"), file("etc/out/x"),
        link("etc/hard", "../../etc/shadow"), link("etc/shadow", "/etc/shadow"), file("etc/.wh..."), file("ok"),
    )  # fmt: skip
    with opened(layout(BASE, evil), tmp_path) as guest:
        assert guest.stat("/etc/loop") is None
        assert guest.stat("/etc/out") is None
        assert guest.is_file("/ok")
        assert [problem.path for problem in guest.problems] == [
            "/../evil", "/etc/hard", "/etc/...".replace("...", ".wh..."), "/etc/shadow", "/etc/out/x",
        ]  # fmt: skip


def test_many_odd_names_are_told_in_one(tmp_path: Path) -> None:
    evil = layer(*(file(f"../{number}") for number in range(1200)))
    with opened(layout(BASE, evil, layer(*(file(f"etc/.wh./{number}") for number in range(900)))), tmp_path) as guest:
        assert len(guest.problems) == 1001
        assert guest.problems[-1].why == "901 more names cannot be read"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../x", "link", "out", "loop", "below/secret", "fifo", "a", "x\0", "here"]
)
def test_a_directory_is_never_left(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(BASE)
    place = as_directory(saved(BASE), tmp_path / "image")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "below").symlink_to(tmp_path)
    (place / "out").symlink_to("a/../../secret")
    (place / "loop").symlink_to("loop")
    (place / "here").symlink_to(".")
    (place / "a").mkdir()
    os.mkfifo(place / "fifo")
    manifest = json.loads((place / "manifest.json").read_bytes())
    for key, value in (("Layers", [name]), ("Config", name)):
        (place / "manifest.json").write_text(json.dumps([{**manifest[0], key: value}]))
        with pytest.raises(DiskError, match=r"is no file in it|is not followed|no regular file"):
            OciGuest(place)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "loop", "out"])
def test_an_archive_is_never_left(tmp_path: Path, name: str) -> None:
    manifest = json.loads(saved(BASE)["manifest.json"])
    manifest[0]["Layers"] = [name]
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as archive:
        make = Maker(archive)
        make.add("loop", tarfile.SYMTYPE, linkname="loop")
        make.add("out", tarfile.SYMTYPE, linkname="/etc/passwd")
        for each, data in {**saved(BASE), "manifest.json": json.dumps(manifest).encode()}.items():
            make.add(each, content=data)
    with pytest.raises(DiskError, match="is not there"):
        open_archive(path)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"index\.json is 8388609 bytes long"):
        opened({**layout(BASE), "index.json": b" " * ((8 << 20) + 1)}, tmp_path)
    with pytest.raises(DiskError, match=r"as Docker before 1\.10 saved it"):
        open_archive(as_tar({"repositories": b"{}", "0" * 64 + "/layer.tar": BASE}, tmp_path / "a.tar"))
    with pytest.raises(NoSystemError, match=r"none of /etc, /usr, /var, … is there; it holds server"):
        opened(layout(layer(file("server"))), tmp_path)
    with pytest.raises(NoSystemError, match="it is empty"):
        opened(layout(), tmp_path)
    with pytest.raises(DiskError, match=r"read the archive .*image\.tar, layer 2 of 2: "):
        opened(layout(BASE, b"no archive" * 100), tmp_path)


def test_temporary_copies_have_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[IO[bytes]] = []

    def kept() -> IO[bytes]:
        made.append(spool())
        return made[-1]

    monkeypatch.setattr("migrate.guest.archives.ocistore.spool", kept)
    (tmp_path / "spools").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spools"))
    zeros = layer(directory("etc"), file("etc/zeros", bytes(64 << 20)))
    with opened(layout(zeros, BASE, zeros, how="gzip"), tmp_path) as guest:
        assert len(made) == 1
        assert os.fstat(made[0].fileno()).st_blocks * 512 < 4 << 20
        assert list((tmp_path / "spools").iterdir()) == []
        assert sum(map(len, guest.chunks("/etc/zeros"))) == 64 << 20
    assert made[0].closed
    with pytest.raises(DiskError):
        opened(layout(BASE, b"no archive" * 100, how="gzip"), tmp_path)
    assert made[1].closed


def _header_changed(data: bytes, chance: random.Random) -> bytes:
    """Change a header, and make its checksum right again."""
    places = [at for at in range(0, len(data), 512) if is_header(data[at : at + 512]) and any(data[at : at + 512])]
    at = chance.choice(places)
    block = bytearray(data[at : at + 512])
    for _ in range(chance.randint(1, 3)):
        place = chance.choice((0, 3, 100, 124, 130, 156, 156, 157, 345))
        block[place : place + 4] = chance.choice((chance.randbytes(4), b"..//", b"0123", b"\xff\xff\xff\xff", b".wh."))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + 512 :]


def _mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed))
        if chance.random() < 0.2:
            del changed[place : place + chance.randint(1, 600)]
        else:
            changed[place : place + 8] = chance.randbytes(chance.randint(1, 8))
    return bytes(changed) or b"x"


@pytest.mark.parametrize("trusted", [False, True])
def test_mutated_images_are_read_or_refused(tmp_path: Path, trusted: bool) -> None:
    """At random; `trusted` changes layers before their digests are made, so that what is in them is reached."""
    chance = random.Random(20261123)
    members: list[Member] = [
        directory("etc"), file("etc/a", b"1" * 700), link("etc/b", "etc/a"), symlink("etc/c", "/etc/a"),
        file("etc/.wh.x"), file("etc/long" + "g" * 120, pax_headers={"SCHILY.xattr.user.a": "v"}),
        ("etc/null", tarfile.CHRTYPE, b"", {"devmajor": 1, "devminor": 3}), file("srv/.wh..wh..opq"),
    ]  # fmt: skip
    layers = [layer(*members), layer(link("etc/d", "etc/a"), *members[1:4])]
    whole = as_tar(layout(*layers, how="gzip"), tmp_path / "whole.tar").read_bytes()
    path = tmp_path / "mutated.tar"
    read = 0
    for _ in range(200):
        if trusted:
            as_tar(saved(*(_header_changed(each, chance) for each in layers)), path)
        else:
            path.write_bytes(_mutated(whole, chance))
        with contextlib.suppress(DiskError, GuestFileError), open_archive(path) as guest:
            read += 1
            for each in guest.walk():
                if each.kind == "file":
                    assert len(guest.read(each.path, 1 << 20)) == min(each.size, 1 << 20)
    assert read > (20 if trusted else 2)


def test_a_layer_never_reads_beyond_itself(tmp_path: Path) -> None:
    """A header that claims more than its layer has would show what stands behind that in the archive."""
    whole = layer(directory("etc"), file("etc/x", b"1" * 5000))
    cut = whole[: 512 * 3]
    made = Layout()
    files = made.done(made.image(cut))
    path = as_tar({**files, "zzz": b"SECRET" * 2000}, tmp_path / "image.tar")
    with pytest.raises(DiskError, match="layer 1 of 1: unexpected end of data"):
        open_archive(path)
