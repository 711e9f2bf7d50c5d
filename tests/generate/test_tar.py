"""Archives read back the same by tarfile and by GNU tar, holes and attributes included."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import GuestFileError
from migrate.generate.tar import Member, data_map, link_names, member_of, stream
from migrate.guest.protocol import Entry
from tests.analyzers.fake import Dir, FakeGuest, File, Link, Node

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def members(guest: FakeGuest, top: str = "/") -> list[Member]:
    return link_names(m for e in guest.walk(top) if e.path != "/" and (m := member_of(e)) is not None)


def archive(guest: FakeGuest, found: list[Member], prefix: str = "") -> bytes:
    return b"".join(stream(found, guest, prefix))


def test_owners_modes_times_links_and_attributes() -> None:
    guest = FakeGuest({
        "/a": Dir(mode=0o2750, uid=996, gid=33, mtime=12),
        "/a/run": File("#!/bin/sh\n", mode=0o4755, uid=1 << 22, gid=7, mtime=1700000000),
        "/a/ping": File("x", xattrs={"security.capability": CAPABILITY, "security.selinux": b"secret_t"}),
        "/a/link": Link("/usr/bin/python3"),
        "/a/one": File("same", inode=9, links=2),
        "/a/two": File("same", inode=9, links=2),
        "/a/socket": Node("socket"),
        "/a/null": Node("char", device=(1, 3)),
        "/a/caf\udce9": "not UTF-8",
    })  # fmt: skip
    data = archive(guest, members(guest))
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        found = {m.name: m for m in tar}
        assert list(found) == ["a", "a/caf\udce9", "a/link", "a/one", "a/ping", "a/run", "a/two"]
        assert (found["a"].mode, found["a"].uid, found["a"].gid, found["a"].mtime) == (0o2750, 996, 33, 12)
        assert (found["a/run"].mode, found["a/run"].uid, found["a/run"].mtime) == (0o4755, 1 << 22, 1700000000)
        assert found["a/link"].linkname == "/usr/bin/python3"
        assert (found["a/two"].type, found["a/two"].linkname) == (tarfile.LNKTYPE, "a/one")
        attributes = found["a/ping"].pax_headers
        assert attributes["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY
        assert "SCHILY.xattr.security.selinux" not in attributes
    assert data == archive(guest, members(guest))
    assert len(data) % tarfile.RECORDSIZE == 0


def test_names_are_relative_below_a_prefix() -> None:
    guest = FakeGuest({"/var/lib/db": Dir(mode=0o700), "/var/lib/db/x": "1"})
    with tarfile.open(fileobj=io.BytesIO(archive(guest, members(guest, "/var/lib/db"), "/var/lib/db"))) as tar:
        assert tar.getnames() == [".", "./x"]


def test_a_file_of_another_length_than_its_entry_is_told() -> None:
    guest = FakeGuest({"/a": File("12345", size=3), "/b": File("1", size=3)})
    for path in ("/a", "/b"):
        entry = guest.lstat(path)
        assert entry is not None
        member = member_of(entry)
        assert member is not None
        with pytest.raises(GuestFileError, match="3 bytes its entry says"):
            b"".join(stream([member], guest))


SPARSE = [
    b"\0" * 40960,
    b"\0" * 40960 + b"end",
    b"start" + b"\0" * 100000,
    b"x" * 4096 + b"\0" * 81920 + b"y" * 5000 + b"\0" * 40960 + b"z",
    b"".join(bytes([i % 250 + 1]) * 4096 + b"\0" * 4096 for i in range(30)),
]


@pytest.mark.parametrize("content", SPARSE, ids=range(len(SPARSE)))
def test_holes_stay_holes(tmp_path: Path, content: bytes) -> None:
    guest = FakeGuest({"/d/sparse": content, "/d/after": "after"})
    found = [
        Member(path="/d/after", kind="file", mode=0o644, size=5, source="/d/after"),
        Member(path="/d/sparse", kind="file", mode=0o600, size=len(content), source="/d/sparse", sparse=True),
        Member(path="/d/z", kind="file", mode=0o644, size=1, content=b"z"),
    ]
    data = archive(guest, found, "/d")
    assert len(data) < len(content) + 20480
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["./after", "./sparse", "./z"]
        file = tar.extractfile("./sparse")
        assert file is not None
        assert file.read() == content
    tool = shutil.which("tar")
    if tool is None:
        pytest.skip("GNU tar is not installed")
    subprocess.run([tool, "-C", str(tmp_path), "-xf", "-"], input=data, check=True)
    assert (tmp_path / "sparse").read_bytes() == content
    assert (tmp_path / "z").read_bytes() == b"z"


def test_what_is_allotted_in_part_is_sparse() -> None:
    entry = Entry(path="/x", kind="file", mode=0o600, uid=0, gid=0, size=1 << 20, allocated=8192)
    whole = Entry(path="/x", kind="file", mode=0o600, uid=0, gid=0, size=10000, allocated=12288)
    assert [m.sparse for e in (entry, whole) if (m := member_of(e)) is not None] == [True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10000)), max_size=6), st.integers(1, 9000))
def test_the_map_finds_all_data(parts: list[tuple[bool, int]], size: int) -> None:
    content = b"".join((b"x" if data else b"\0") * length for data, length in parts)
    chunks = [content[i : i + size] for i in range(0, len(content), size)]
    found = data_map(chunks)
    rebuilt = bytearray(len(content))
    for start, length in found:
        rebuilt[start : start + length] = content[start : start + length]
    assert bytes(rebuilt) == content
    assert all(start % 4096 == 0 for start, _ in found)
