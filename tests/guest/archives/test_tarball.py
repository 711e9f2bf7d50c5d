"""Archives: the formats in use, and those made to harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError, GuestFileError, NoSystemError
from migrate.guest.archives.tarball import TarGuest
from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from migrate.guest.spool import spool
from tests.guest.made import BIG, Maker, needs

PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def archive(path: Path, *members: tuple[str, bytes, bytes, dict[str, object]], form: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as file:
        make = Maker(file)
        make.add("etc", tarfile.DIRTYPE)
        for name, kind, content, fields in members:
            make.add(name, kind, content, **fields)
    return path


def file(name: str, content: bytes = b"x") -> tuple[str, bytes, bytes, dict[str, object]]:
    return name, tarfile.REGTYPE, content, {}


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_compressed_archives(tree_tar: Path, tmp_path: Path, packer: str) -> None:
    path = tmp_path / "root.tar.x"  # told by content, not by name
    path.write_bytes(PACKERS[packer](tree_tar.read_bytes()))
    with open_guest([path]) as guest:
        assert guest.read("/srv/big") == BIG
        assert guest.read("/etc/absolute") == b"port = 8000\n"


def test_zstd(tree_tar: Path, tmp_path: Path) -> None:
    needs("zstd")
    path = tmp_path / "root.tar.zst"
    subprocess.run(["zstd", "-q", tree_tar, "-o", path], check=True)
    with open_guest([path]) as guest:
        assert guest.read("/srv/big") == BIG


def test_without_zstd_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.tar.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskError, match=r"no zstd program here; install zstd \(Debian: apt-get install zstd\)"):
        open_guest([path])


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_a_compressed_archive_cut_short(tree_tar: Path, tmp_path: Path, packer: str) -> None:
    path = tmp_path / "cut"
    packed = PACKERS[packer](tree_tar.read_bytes() + os.urandom(200_000))
    path.write_bytes(packed[: len(packed) - 50_000])
    with pytest.raises(DiskError, match=f"compressed with {packer} and cannot be decompressed"):
        TarGuest(path)


@pytest.mark.parametrize("keep", [700, 512 * 9 + 100, -BIG.__len__() // 2])
def test_an_archive_cut_short(tree_tar: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.tar"
    path.write_bytes(tree_tar.read_bytes()[:keep])
    with pytest.raises(DiskError) as caught:
        open_guest([path])
    assert str(caught.value).startswith(f"cannot read the archive {path}: ")
    assert "\n" not in str(caught.value)


def test_an_archive_without_its_end_is_a_problem(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", file("etc/passwd"))
    path.write_bytes(path.read_bytes()[: 3 * 512])
    with open_guest([path]) as guest:
        assert [p.why for p in guest.problems] == [
            "the archive has no end mark: it may have been cut between two files"
        ]


def test_damage_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", file("etc/one"), file("etc/two"))
    data = bytearray(path.read_bytes())
    data[512 * 3 : 512 * 3 + 100] = b"?" * 100
    path.write_bytes(data)
    with pytest.raises(DiskError, match="no valid header at byte 1536"):
        open_guest([path])


def test_names_that_lead_out_are_left_out(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar", file("../evil"), file("etc/../../evil"), file("/etc/absolute"), file("./etc//./dots")
    )
    with open_guest([path]) as guest:
        assert guest.listdir("/etc") == ["absolute", "dots"]
        assert [(p.path, p.why[:39]) for p in guest.problems] == [
            ("/../evil", "its name leads out of the archive with "),
            ("/etc/../../evil", "its name leads out of the archive with "),
        ]


def test_a_file_below_a_symlink_is_not_written_through_it(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("var", tarfile.SYMTYPE, b"", {"linkname": "/etc"}), file("var/passwd"))
    with open_guest([path]) as guest:
        assert not guest.exists("/etc/passwd")
        assert [p.path for p in guest.problems] == ["/var/passwd"]


def test_a_hard_link_to_nothing_is_a_problem(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("etc/x", tarfile.LNKTYPE, b"", {"linkname": "etc/later"}), file("etc/later"))
    with open_guest([path]) as guest:
        assert not guest.exists("/etc/x")
        assert [p.path for p in guest.problems] == ["/etc/x"]


def test_the_later_of_two_members_counts(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", file("etc/a", b"old content"), file("etc/b"), file("etc/a", b"new"))
    with open_guest([path]) as guest:
        assert guest.read("/etc/a") == b"new"
        inodes = [entry.inode for entry in guest.walk("/etc")]
        assert len(set(inodes)) == 3


def test_an_unknown_type_is_a_problem(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("etc/label", b"V", b"", {}))
    with open_guest([path]) as guest:
        assert [(p.path, p.why) for p in guest.problems] == [
            ("/etc/label", "the archive has it as type b'V', which is no kind of file")
        ]


@pytest.mark.parametrize("option", ["--format=gnu", "--format=pax", "--sparse-version=0.0", "--sparse-version=0.1"])
def test_sparse_files(tmp_path: Path, option: str) -> None:
    """In all four of GNU tar's forms; 30 extents are more than one header holds."""
    needs("tar")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    with (root / "etc" / "holes").open("wb") as sparse:
        for place in range(1, 31):
            sparse.seek(place << 20)
            sparse.write(b"%d." % place * 1000)
        sparse.truncate(40 << 20)
    argv: list[str | Path] = ["tar", "-cS", "-C", root, "-f", tmp_path / "s.tar", option]
    subprocess.run([*argv, "--format=pax", "."] if "sparse" in option else [*argv, "."], check=True)
    content = (root / "etc" / "holes").read_bytes()
    assert (tmp_path / "s.tar").stat().st_size < 2 << 20
    with open_guest([tmp_path / "s.tar"]) as guest:
        entry = guest.lstat("/etc/holes")
        assert entry is not None
        assert entry.size == 40 << 20
        assert entry.allocated < 2 << 20
        assert guest.read("/etc/holes") == content
        for limit in (1, (1 << 20) + 5, (5 << 20) + 1, (30 << 20) + 3003, (40 << 20) - 1):
            assert guest.read("/etc/holes", limit) == content[:limit]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_few_pieces_of_a_sparse_file(tmp_path: Path, count: int) -> None:
    """A GNU header has places for four, and those that are not used are zeros."""
    needs("tar")
    (tmp_path / "etc").mkdir()
    with (tmp_path / "etc" / "holes").open("wb") as sparse:
        for place in range(count):
            sparse.seek(place << 20)
            sparse.write(b"%d." % place * 10)
        sparse.truncate(8 << 20)
    subprocess.run(["tar", "-cS", "--format=gnu", "-C", tmp_path, "-f", tmp_path / "s.tar", "etc"], check=True)
    with open_guest([tmp_path / "s.tar"]) as guest:
        assert guest.read("/etc/holes") == (tmp_path / "etc" / "holes").read_bytes()


def test_the_other_way_to_write_attributes(tmp_path: Path) -> None:
    """As bsdtar does: LIBARCHIVE.xattr, the name percent-encoded and the value in base64."""
    pax = {"LIBARCHIVE.xattr.user.a%2fb": "AAECAw"}
    path = archive(tmp_path / "a.tar", ("etc/x", tarfile.REGTYPE, b"", {"pax_headers": pax}), form=tarfile.PAX_FORMAT)
    with open_guest([path]) as guest:
        entry = guest.lstat("/etc/x")
        assert entry is not None
        assert entry.xattrs == (("user.a/b", b"\0\1\2\3"),)


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header with any 12 bytes for its size, and a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        (b"\xff" * 11 + b"\x00", b"0"),  # -256: back to the header itself, CVE-2025-8194
        (b"\xff" * 12, b"x"),
        (b"\x80" + b"\xff" * 11, b"0"),
        (b"\x80" + bytes(5) + b"\x10" + bytes(5), b"x"),  # an extended header of 16 TiB
        (b"\x80" + bytes(5) + b"\x10" + bytes(5), b"L"),
        (b"77777777777\0", b"S"),
    ],
)
def test_impossible_sizes(tmp_path: Path, size: bytes, kind: bytes) -> None:
    path = tmp_path / "evil.tar"
    path.write_bytes(header(b"etc/a", b"00000000000\0") + header(b"etc/x", size, kind) + bytes(1024))
    with pytest.raises(DiskError, match="cannot read the archive"):
        open_guest([path])


def test_many_headers_for_one_file(tmp_path: Path) -> None:
    """Each leads to the next, as deep as the stack; and nothing worse than a refusal comes of it."""
    path = tmp_path / "evil.tar"
    one = header(b"x", b"00000000011\0", b"x") + b"9 path=a\n".ljust(512, b"\0")
    path.write_bytes(one * 5000 + header(b"etc/a", b"00000000000\0") + bytes(1024))
    with pytest.raises(DiskError):
        open_guest([path])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 12_000), st.binary(min_size=1, max_size=20)), max_size=6))
def test_a_damaged_archive_is_read_or_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        make = Maker(made)
        make.add("etc", tarfile.DIRTYPE)
        make.add("etc/" + "long" * 60, content=b"content" * 100)
        make.add("etc/link", tarfile.SYMTYPE, linkname="/etc")
        make.add("etc/hard", tarfile.LNKTYPE, linkname="etc/" + "long" * 60)
        make.add("etc/x", content=b"1", pax_headers={"SCHILY.xattr.user.a": "value"})
    data = bytearray(buffer.getvalue())
    for place, change in changes:
        data[place : place + len(change)] = change
    path = tmp_path / "any.tar"
    path.write_bytes(data)
    try:
        guest = TarGuest(path)
    except DiskError:
        return
    with guest:
        _read_all(guest)


def _read_all(guest: Guest) -> None:
    for entry in guest.walk():
        if entry.kind == "file" and entry.size < 1 << 20:
            try:
                assert len(guest.read(entry.path)) == entry.size
            except GuestFileError:
                continue


def test_garbage_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"\x01garbage" * 1000)
    with pytest.raises(DiskError, match="read the archive"):
        TarGuest(path)
    path.write_bytes(b"")
    with pytest.raises(DiskError, match="empty"):
        open_guest([path])


def test_a_root_one_level_down_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        for name in ("./rootfs/etc/passwd", "./rootfs/usr/bin/true"):
            Maker(made).add(name, content=b"x")
    with pytest.raises(NoSystemError, match="the root is one level down, in rootfs/; give that directory itself"):
        TarGuest(path)


def test_a_name_that_looks_compressed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        Maker(made).add("BZhello", content=b"x")
        Maker(made).add("etc/passwd", content=b"x")
    with open_guest([path]) as guest:
        assert guest.listdir("/") == ["BZhello", "etc"]


def test_xz_in_several_streams_with_padding(tmp_path: Path) -> None:
    """What `xz -dc` takes (The .xz File Format, 2.2); what follows the last stream is left out, as behind gzip's."""
    whole = archive(tmp_path / "a.tar", file("etc/x", b"1" * 100_000)).read_bytes()
    streams = lzma.compress(whole[:50_000]) + bytes(8) + lzma.compress(b"") + lzma.compress(whole[50_000:]) + bytes(4)
    path = tmp_path / "a.tar.xz"
    path.write_bytes(streams)
    with open_guest([path]) as guest:
        assert guest.read("/etc/x") == b"1" * 100_000
    path.write_bytes(streams + b"garbage")
    with open_guest([path]) as guest:
        assert guest.read("/etc/x") == b"1" * 100_000
    path.write_bytes(streams[:-100])
    with pytest.raises(DiskError, match="compressed with xz and cannot be decompressed"):
        open_guest([path])


def test_xz_that_asks_for_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.guest.compression._MOST_MEMORY", 1 << 20)
    path = tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(archive(tmp_path / "a.tar").read_bytes()))
    with pytest.raises(DiskError, match="Memory usage limit"):
        TarGuest(path)


def test_a_bomb_is_stopped_by_the_room_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.statvfs(tmp_path)
    small = os.statvfs_result((4096, 4096, 1000, 1000, 1000, *tuple(status)[5:10]))
    monkeypatch.setattr("migrate.guest.archives.tarball.os.fstatvfs", lambda _file: small)
    path = archive(tmp_path / "a.tar", file("etc/x", bytes(5 << 20)))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(
        DiskError, match=r"unpacked it is larger than the 4096000 bytes that are free in .*; set TMPDIR"
    ):
        TarGuest(path)


def test_names_take_no_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.guest.archives.tarindex.MAX_MEMORY", 1 << 20)
    with open_guest([archive(tmp_path / "a.tar", *(file(f"etc/{number}") for number in range(1500)))]) as guest:
        assert len(guest.listdir("/etc")) == 1500
    deep = (file(f"{number}/" + "a/" * 1000, b"") for number in range(1))
    with pytest.raises(DiskError, match="its names and attributes take more than 1 MiB of memory"):
        open_guest([archive(tmp_path / "b.tar", *deep)])
    attributes: dict[str, object] = {"pax_headers": {"SCHILY.xattr.user.a": "x" * (1 << 20)}}
    with pytest.raises(DiskError, match="its names and attributes take more than 1 MiB of memory"):
        open_guest([archive(tmp_path / "c.tar", ("etc/x", tarfile.REGTYPE, b"", attributes), form=tarfile.PAX_FORMAT)])


def test_names_longer_than_any_path_are_problems(tmp_path: Path) -> None:
    """A name of 64 KiB, one letter each: its directories' paths together would take 1 GiB."""
    names = ["a/" * 32_000, "etc/" + "é" * 128, "etc/" + "n" * 255, "e/" * 2046 + "x"]
    fields: dict[str, object] = {"linkname": "l" * 5000}
    link = ("etc/link", tarfile.SYMTYPE, b"", fields)
    with open_guest([archive(tmp_path / "a.tar", *(file(name) for name in names), link)]) as guest:
        assert guest.listdir("/etc") == ["n" * 255]
        assert guest.is_file("/" + names[-1])
        assert [problem.path[:6] for problem in guest.problems] == ["/a/a/a", "/etc/é", "/etc/l"]
        assert all(len(problem.path) <= 4096 for problem in guest.problems)


def test_many_problems_are_told_in_one(tmp_path: Path) -> None:
    with open_guest([archive(tmp_path / "a.tar", *(file(f"../{number}") for number in range(1200)))]) as guest:
        assert len(guest.problems) == 1001
        assert guest.problems[-1].why == "200 more of its entries could not be read"


@pytest.mark.parametrize(
    "map_",
    [b"1\n0\n6000\n", b"99999999999\n", b"2\n0\n512\n0\n512\n", b"1\n0\n-5\n", b"x\n", b"1\n9\n9999999999999\n"],
)
def test_maps_of_holes_that_lie(tmp_path: Path, map_: bytes) -> None:
    """A map (GNU 1.0) with more than the archive has would show what stands behind the file in the archive."""
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "etc/x", "GNU.sparse.realsize": "6000"}
    path = archive(
        tmp_path / "a.tar",
        ("etc/y", tarfile.REGTYPE, map_.ljust(512, b"\0") + bytes(512), {"pax_headers": pax}),
        file("etc/z", b"SECRET" * 1000),
        form=tarfile.PAX_FORMAT,
    )
    with pytest.raises(DiskError, match="read the archive"):
        open_guest([path])


def test_a_map_of_holes_without_end_takes_no_memory(tmp_path: Path) -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "etc/x", "GNU.sparse.realsize": "6000"}
    content = b"999999999\n" + b"0\n" * (20 << 19)
    path = archive(
        tmp_path / "a.tar", ("etc/y", tarfile.REGTYPE, content, {"pax_headers": pax}), form=tarfile.PAX_FORMAT
    )
    with pytest.raises(DiskError, match=r"claims \d+ bytes for itself"):
        open_guest([path])


def test_temporary_copies_have_no_name(tree_tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setenv("TMPDIR", str(spools))
    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(tree_tar.read_bytes(), 1))
    with open_guest([path]) as guest:
        assert guest.read("/srv/big", 3) == BIG[:3]
        assert list(spools.iterdir()) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(DiskError, match="set TMPDIR"):
        open_guest([path])


def test_zeros_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros compresses to a megabyte; its copy is a hole."""
    made: list[IO[bytes]] = []

    def kept() -> IO[bytes]:
        made.append(spool())
        return made[-1]

    monkeypatch.setattr("migrate.guest.archives.tarball.spool", kept)
    path = tmp_path / "zeros.tar.gz"
    with gzip.open(path, "wb", 1) as packed:
        packed.write(header(b"etc/zeros", b"%011o\0" % (256 << 20)))
        for _ in range(256):
            packed.write(bytes(1 << 20))
        packed.write(bytes(1024))
    with open_guest([path]) as guest:
        assert os.fstat(made[0].fileno()).st_blocks * 512 < 4 << 20
        assert sum(map(len, guest.chunks("/etc/zeros"))) == 256 << 20


def test_archives_of_other_peoples_roots(corpus: Path) -> None:
    roots = corpus.parent / "rootfs"
    for path in sorted(roots.iterdir()):
        with open_guest([path]) as guest:
            assert guest.problems == ()
            assert guest.is_file("/etc/os-release"), path
            assert "ID=" in guest.text("/etc/os-release")


def test_gnu_tar_and_this_agree_on_a_real_archive(tree_tar: Path, tar_guest: Guest) -> None:
    if shutil.which("tar") is None:
        pytest.skip("needs tar")
    listing = subprocess.run(
        ["tar", "-tf", tree_tar, "--quoting-style=literal"], capture_output=True, check=True
    ).stdout
    assert listing.count(b"\n") - 1 == len([e for e in tar_guest.walk() if e.path != "/"])
