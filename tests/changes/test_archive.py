from __future__ import annotations

import gzip
import hashlib
import io
import random
import shutil
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.changes.archive import MAX_ORIGINAL, Wanted, extract, spellings
from migrate.changes.archive_formats import members
from migrate.changes.archive_stream import ArchiveError, Budget, Stream, unpacked
from tests.changes import archives
from tests.changes.archives import PACKED, needs_zstd

CONF = b"# orders\nport = 8000\n"
OTHER = b"other\n" * 100
FILES = {"./usr/bin/orders": b"#!/bin/sh\n", "./etc/orders.conf": CONF, "./etc/other.conf": OTHER}


def want(path: str, content: bytes | None, algorithm: str = "md5") -> Wanted:
    digest = "" if content is None else hashlib.new(algorithm, content).hexdigest()
    return Wanted("orders", path, algorithm if digest else "", digest)


def pieces(data: bytes, size: int = 7000) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


BOTH = [want("/etc/orders.conf", CONF), want("/etc/other.conf", OTHER, "sha256")]


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("make", [archives.deb, archives.rpm])
def test_every_compression(make: object, packed: str) -> None:
    data = make(FILES, packed)  # type: ignore[operator]
    got = extract(pieces(data), BOTH)
    assert (got.contents, got.why) == ({"/etc/orders.conf": CONF, "/etc/other.conf": OTHER}, "")


@pytest.mark.parametrize("packed", PACKED)
def test_pacman_is_a_compressed_tar(packed: str) -> None:
    data = archives.PACKERS[packed](archives.tar({".PKGINFO": b"", "etc/orders.conf": CONF, "etc/other.conf": OTHER}))
    assert extract(pieces(data), BOTH).contents == {"/etc/orders.conf": CONF, "/etc/other.conf": OTHER}


def test_apk_is_three_tars_in_gzip_streams() -> None:
    got = extract(pieces(archives.apk({"etc/orders.conf": CONF})), BOTH[:1])
    assert (got.contents, got.why) == ({"/etc/orders.conf": CONF}, "")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
@pytest.mark.parametrize("packed", ["none", "gzip", "xz", "zstd"])
def test_what_dpkg_deb_builds(tmp_path: Path, packed: str) -> None:
    data = archives.real_deb(tmp_path, FILES, packed)
    assert extract(pieces(data), BOTH).contents == {"/etc/orders.conf": CONF, "/etc/other.conf": OTHER}


@pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="no rpmbuild")
@pytest.mark.parametrize("payload", ["w9.gzdio", "w7.xzdio", "w9.bzdio", "w5.lzdio", "w3.zstdio"])
def test_what_rpmbuild_builds_with_hard_links(tmp_path: Path, payload: str) -> None:
    data = archives.real_rpm(tmp_path, {"orders.conf": CONF, "other.conf": OTHER}, payload)
    got = extract(pieces(data), [*BOTH, want("/etc/orders.link", CONF, "sha256")])
    assert got.contents == {"/etc/orders.conf": CONF, "/etc/orders.link": CONF, "/etc/other.conf": OTHER}


def test_of_hard_links_the_last_has_the_content() -> None:
    data = archives.rpm({"./etc/a": b"", "./etc/orders.conf": b"", "./etc/z": CONF},
                        inodes={"./etc/a": 7, "./etc/orders.conf": 7, "./etc/z": 7})  # fmt: skip
    assert extract(pieces(data), BOTH[:1]).contents == {"/etc/orders.conf": CONF}


def test_another_content_is_not_the_original_and_that_is_said() -> None:
    got = extract(pieces(archives.deb({"./etc/orders.conf": b"changed\n"})), BOTH[:1])
    assert not got.contents
    assert got.why == "its file is not the one that the package database recorded: the digest differs"


def test_what_is_not_there_is_said() -> None:
    got = extract(pieces(archives.deb({"./etc/else": b""})), BOTH[:1])
    assert (got.contents, got.why) == ({}, "it does not have the file, or a longer one than is compared as text")


def test_without_a_digest_the_name_is_enough() -> None:
    assert extract(pieces(archives.deb(FILES)), [want("/etc/orders.conf", None)]).contents == {"/etc/orders.conf": CONF}


def test_an_algorithm_that_hashlib_has_not_matches_nothing() -> None:
    assert not Wanted("x", "/x", "openpgp-99", "00").is_met_by(b"")
    assert not Wanted("x", "/x", "shake_128", "00").is_met_by(b"")


def test_merged_usr_is_seen_through() -> None:
    got = extract(pieces(archives.deb({"./lib/systemd/x.service": CONF})), [want("/usr/lib/systemd/x.service", CONF)])
    assert got.contents == {"/usr/lib/systemd/x.service": CONF}
    assert "/usr/sbin/x" in spellings("/usr/bin/x")
    assert spellings("/etc/x") == ("/etc/x",)


def test_reading_ends_with_the_last_that_is_wanted() -> None:
    data = archives.deb({"./etc/orders.conf": CONF, "./usr/share/big": random.Random(1).randbytes(4 << 20)}, "none")
    taken = 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces(data):
            taken += len(piece)
            yield piece

    assert extract(counted(), BOTH[:1]).contents
    assert taken < 100_000


@needs_zstd
def test_the_program_is_ended_early_too() -> None:
    data = archives.deb({"./etc/orders.conf": CONF, "./usr/share/big": random.Random(1).randbytes(8 << 20)}, "zstd")
    assert extract(pieces(data), BOTH[:1]).contents


@needs_zstd
def test_without_the_program_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    data = archives.deb(FILES, "zstd")
    monkeypatch.setattr("migrate.guest.compression.shutil.which", lambda _: None)
    assert extract(pieces(data), BOTH[:1]).why == "there is no zstd program here"


def test_a_long_file_is_not_read_into_memory() -> None:
    data = archives.deb({"./etc/orders.conf": bytes(MAX_ORIGINAL + 1)})
    assert not extract(pieces(data), [want("/etc/orders.conf", None)]).contents
    most = archives.deb({"./etc/orders.conf": bytes(MAX_ORIGINAL)})
    assert extract(pieces(most), [want("/etc/orders.conf", None)]).contents


def test_names_that_lead_out_are_none() -> None:
    data = archives.deb({"./../etc/orders.conf": CONF, "/etc/../etc/orders.conf": CONF})
    assert not extract(pieces(data), BOTH[:1]).contents


# ---------------------------------------------------------------- hostile


def test_a_bomb_ends_at_the_budget() -> None:
    bomb = archives.ar(
        {"debian-binary": b"2.0\n", "data.tar.gz": gzip.compress(archives.tar({"./a": bytes(64 << 20)}))}
    )
    tracemalloc.start()
    got = extract(pieces(bomb), BOTH[:1], Budget(16 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to more than is read" in got.why
    assert peak < 8 << 20


def test_streams_of_nothing_end() -> None:
    empty = gzip.compress(b"", mtime=0)
    data = archives.ar({"data.tar.gz": gzip.compress(bytes(512)) + empty * ((10 << 20) // len(empty))})
    start = time.process_time()
    got = extract(pieces(data, 16 << 10), BOTH[:1])
    assert got.why
    assert not got.contents
    assert time.process_time() - start < 20
    with pytest.raises(ArchiveError, match="more compressed than it unpacks to"):
        for _ in unpacked(pieces(empty * ((10 << 20) // len(empty)), 16 << 10)):
            pass


def test_a_header_that_claims_a_gigabyte_takes_no_memory() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    data = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(48 << 20))
    tracemalloc.start()
    got = extract(pieces(data), BOTH[:1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "damaged" in got.why
    assert peak < 8 << 20


def test_a_size_below_zero_does_not_lead_back() -> None:
    header = tarfile.TarInfo("etc/x")
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 10 + b"\xfc\x00"  # base 256: -1024
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw)
    got = extract(pieces(bytes(raw) + bytes(10240)), BOTH[:1])
    assert not got.contents
    assert got.why


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "damaged"),
        (b"!<arch>\n", "cut short"),
        (b"!<arch>\n" + b"x" * 60, "no header of ar"),
        (archives.ar({f"m{n}": b"" for n in range(30)}), "no data.tar"),
        (archives.ar({"data.tar": archives.tar(FILES)}).replace(b"10240  ", b"9999999"), "does not have the file"),
        (archives.ar({"data.tar": archives.tar(FILES)})[:2000], "cut short"),
        (b"\xed\xab\xee\xdb" + bytes(92) + b"x" * 16, "no header of rpm"),
        (b"\xed\xab\xee\xdb" + bytes(92) + b"\x8e\xad\xe8\x01\0\0\0\0" + b"\xff" * 8, "no header of rpm"),
        (b"\xed\xab\xee\xdb" + bytes(92) + archives.rpm_header(1, b""), "cut short"),
        (b"ADBd" + bytes(100), "apk 3"),
        (gzip.compress(b"no tar at all" * 100), "damaged"),
        (gzip.compress(archives.tar(FILES))[:60], "too early"),
        (archives.deb(FILES, "gzip")[:350], "too early"),
    ],
)  # fmt: skip
def test_what_is_no_archive_is_said(data: bytes, says: str) -> None:
    got = extract(pieces(data), [want("/etc/none", CONF)])
    assert not got.contents
    assert says in got.why or "cut short" in got.why


@pytest.mark.parametrize("field", [6, 11])
def test_sizes_in_cpio_are_not_believed(field: int) -> None:
    raw = bytearray(archives.cpio({"./etc/orders.conf": CONF}))
    raw[6 + 8 * field : 14 + 8 * field] = b"ffffffff"
    inside = members(iter([b"\xed\xab\xee\xdb" + bytes(92), *_headers(), bytes(raw)]), Budget(1 << 30))
    with pytest.raises(ArchiveError):
        [member.read() for member in inside]


def _headers() -> list[bytes]:
    return [archives.rpm_header(0, b""), archives.rpm_header(0, b"")]


def test_a_payload_without_names_is_said() -> None:
    data = b"\xed\xab\xee\xdb" + bytes(92) + b"".join(_headers()) + b"07070X00000000" + bytes(200)
    assert extract(pieces(data), BOTH[:1]).why == "its payload has no names"


def test_more_members_than_any_package_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.changes.archive_formats.MAX_MEMBERS", 10)
    files = {f"./etc/{number}": b"" for number in range(20)}
    for data in (archives.deb(files), archives.rpm(files)):
        assert extract(pieces(data), BOTH[:1]).why == "it has more than 10 members"


SAMPLES = {
    "deb": archives.deb(FILES, "gzip"), "plain deb": archives.deb(FILES, "none"), "rpm": archives.rpm(FILES, "none"),
    "xz rpm": archives.rpm(FILES, "xz"), "apk": archives.apk(FILES), "tar": archives.tar(FILES),
    "lzma": archives.rpm(FILES, "lzma"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_never_gives_another_content(name: str) -> None:
    generator = random.Random(name)
    sample = SAMPLES[name]
    for _ in range(400):
        data = bytearray(sample)
        for _ in range(generator.randrange(1, 6)):
            at = generator.randrange(len(data))
            if generator.random() < 0.2:
                del data[at : at + generator.randrange(1, 600)]
            else:
                data[at] = generator.randrange(256)
            if not data:
                break
        got = extract(pieces(bytes(data), generator.choice((1, 100, 5000))), BOTH, Budget(4 << 20))
        assert all(content in (CONF, OTHER) for content in got.contents.values())
        assert got.why or len(got.contents) == 2


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"!<arch>\n", b"\xed\xab\xee\xdb", b"\x1f\x8b\x08\0", b"\x5d\0\0", b"070701"]),
    st.binary(max_size=600),
)
def test_any_bytes_end_in_a_reason(head: bytes, data: bytes) -> None:
    got = extract(pieces(head + data, 50), BOTH, Budget(1 << 20))
    assert got.why
    assert not got.contents


def test_a_stream_only_goes_forwards() -> None:
    stream = Stream(iter([b"abc", b"", b"defg"]), Budget(100))
    assert (stream.read(2), stream.some(9), stream.at) == (b"ab", b"c", 3)
    stream.skip(1)
    assert (stream.exactly(2), stream.read(5), stream.read(5), stream.some(1)) == (b"ef", b"g", b"", b"")
    with pytest.raises(ArchiveError, match="cut short at byte 7"):
        stream.skip(1)


def test_tar_headers_of_megabytes_of_members_are_let_go() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for number in range(3000):
            made.addfile(tarfile.TarInfo(f"etc/{number}"))
    data = out.getvalue()
    tracemalloc.start()
    count = sum(1 for _ in members(pieces(data), Budget(1 << 30)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3000
    assert peak < 1 << 20
