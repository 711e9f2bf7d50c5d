from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import _rpm_header as tags
from analyzers._rpm_database import Installed, read_package
from analyzers._rpm_depends import requirements
from analyzers._rpm_files import paths_of
from analyzers._rpm_header import Budget, DamagedError, parse_header
from analyzers._rpm_signature import key_of
from tests.analyzers.rpm_made import Value, header, package


def installed(blob: bytes) -> Installed | None:
    return read_package(parse_header(blob), Budget(), {})


def some(blob: bytes) -> Installed:
    found = installed(blob)
    assert found is not None
    return found


def test_the_fields_of_a_package() -> None:
    found = some(
        package(
            "bash", "5.1.8", "6.el9", t1003=[2], t1016="System/Shells", t1011="AlmaLinux",
            t1044="bash-completion-x-5.1.8-6.el9.src.rpm", t1049=["libc.so.6"], t1048=[0], t1050=[""],
        )
    )  # fmt: skip
    assert (found.name, found.version, found.architecture) == ("bash", "2:5.1.8-6.el9", "x86_64")
    assert (found.section, found.vendor, found.source) == ("System/Shells", "AlmaLinux", "bash-completion-x")
    assert [r.name for r in found.requires] == ["libc.so.6"]
    assert (found.files.files, some(package("x")).section) == ((), "")


def test_an_epoch_of_0_is_none() -> None:
    assert some(package("x", t1003=[0])).version == "1-1"


def test_the_first_text_of_several_languages_counts() -> None:
    blob = package("x", t1016=["System", "Système"])  # written as a plain array, and read the same
    assert some(blob).section == "System"


def test_files_with_all_that_is_recorded() -> None:
    found = some(
        package(
            "x", files={"/etc/x.conf": "AB" * 32, "/usr/bin/x": "cd" * 32, "/run/x": ""}, t1037=[1 | 16, 0, 64],
            t1030=[0o100600, 0o104755, 0o100644], t1039=["root", "daemon", "root"], t1040=["root", "mail", "root"],
            t5010=["", "cap_net_raw=ep", ""], t1028=[1, 2, 0], t1034=[5, 6, 7], t1036=["", "", ""], t1029=[0, 2, 0],
            t1045=[0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF & ~(1 | 2 | 32)],
        )
    )  # fmt: skip
    config, program, ghost = found.files.files
    assert (found.files.algorithm, sorted(found.files.absent)) == ("sha256", ["/usr/bin/x"])
    assert (config.digest, config.flags, config.mode) == ("ab" * 32, ("config", "noreplace"), 0o100600)
    assert (program.user, program.group, program.capabilities) == ("daemon", "mail", "cap_net_raw=ep")
    assert (program.size, program.mtime, program.mode, program.unchecked) == (2, 6, 0o104755, ())
    assert (ghost.flags, ghost.unchecked) == (("ghost",), ("digest", "size", "mtime"))


def test_md5_where_the_header_does_not_say_and_long_sizes() -> None:
    fields: dict[int, Value] = {
        1000: "x", 1001: "1", 1002: "1", 1022: "noarch", 1027: ["/a", "/b"], 5008: [1 << 40, 2],
    }  # fmt: skip
    found = some(header(fields))
    assert [(f.path, f.size) for f in found.files.files] == [("/a", 1 << 40), ("/b", 2)]
    assert found.files.algorithm == "md5"


def test_what_was_added_at_install_time_goes_over_the_package() -> None:
    fields: dict[int, Value] = {1000: "x", 1001: "1", 1002: "1", 1022: "noarch", 1027: ["/old"], 1016: "Old"}
    found = some(header(fields, after={1016: "New", 1116: [0], 1117: ["new"], 1118: ["/"]}))
    assert (found.section, [f.path for f in found.files.files]) == ("New", ["/new"])


def test_keys_are_no_packages() -> None:
    assert installed(package("gpg-pubkey", "c105b9de", "4e0fd3a3")) is None


@pytest.mark.parametrize("name", ["", "a b", "evil\nRUN rm", "-rf", "a/b", "ü", "x;y"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(DamagedError, match="no valid name"):
        installed(package(name))
    with pytest.raises(DamagedError, match="no valid name"):
        installed(package("x", name if name != "-rf" else "$(rm)"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"t1116": [0, 0]}, "say in which"),
        ({"t1116": [7]}, "say in which"),
        ({"t1030": [1, 2]}, "2 values for 1 files"),
        ({"t1039": ["a", "b", "c"]}, "3 values for 1 files"),
        ({"t1118": ["relative/"]}, "no slash"),
        ({"t1118": ["/" + "d" * 4096 + "/"]}, "a path of"),
        ({"t1000": [1]}, "where text belongs"),
        ({"t1116": "text"}, "where numbers belong"),
        ({"t1049": ["a", "b"], "t1048": [0]}, "tag 1049 has 2 values"),
        ({"t268": "text"}, "where bytes belong"),
    ],
)
def test_tags_that_do_not_fit_together_are_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(DamagedError, match=why):
        installed(package("x", "1", "1", "x86_64", files={"/a": ""}, **fields))


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"\0" * 8, struct.pack(">II", 1, 0), struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF) + bytes(64),
        struct.pack(">IIIIII", 1, 4, 1000, 6, 5, 1) + b"abc\0",
        struct.pack(">IIIIII", 1, 4, 1000, 8, 0, 1 << 20) + b"abc\0",
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_is_refused(blob: bytes) -> None:
    with pytest.raises(DamagedError):
        parse_header(blob)


@pytest.mark.parametrize(("kind", "count"), [(4, 2), (5, 1), (8, 3), (6, 2), (9, 2), (12, 1)])
def test_values_that_end_beyond_the_header_are_refused(kind: int, count: int) -> None:
    found = parse_header(struct.pack(">IIIIII", 1, 4, 1117, kind, 0, count) + b"abc\0")
    with pytest.raises(DamagedError):
        (found.integers if kind in (4, 5) else found.strings)(tags.BASENAMES)


def test_one_long_directory_before_many_names_is_not_multiplied() -> None:
    directory = "/" + "d" * 4000 + "/"
    blob = package("x", t1117=[str(n) for n in range(20_000)], t1116=[0] * 20_000, t1118=[directory])
    assert len(blob) < 1 << 20
    with pytest.raises(DamagedError, match="more paths and relations than are kept"):
        paths_of(parse_header(blob), Budget(16 << 20))


def test_millions_of_names_of_no_length_are_not_kept() -> None:
    found = parse_header(package("x", t1049=[""] * 100_000, t1048=[0] * 100_000, t1050=[""] * 100_000))
    assert len(requirements(found, Budget())) == 100_000
    with pytest.raises(DamagedError, match="more paths and relations than are kept"):
        requirements(found, Budget(1 << 20))


# ---------------------------------------------------------------- signatures


def test_the_key_of_a_signature() -> None:
    key = bytes.fromhex("24c6a8a7f4a80eb5")
    third = b"\3\5\0" + b"time" + key + b"rest"
    assert key_of(bytes([0x88, len(third)]) + third) == key.hex()
    issuer, fingerprint = b"\x09\x10" + key, b"\x16\x21\x04" + bytes(12) + key
    for hashed, plain in ((b"", issuer), (fingerprint, b""), (b"\2\x02\0", issuer)):
        body = b"\4\0\1\x08" + struct.pack(">H", len(hashed)) + hashed + struct.pack(">H", len(plain)) + plain
        assert key_of(bytes([0x89]) + struct.pack(">H", len(body)) + body) == key.hex()
        assert key_of(bytes([0xC2, len(body)]) + body) == key.hex()
        assert key_of(bytes([0xC2, 0xFF]) + struct.pack(">I", len(body)) + body) == key.hex()
    assert key_of(bytes([0x80 | 6 << 2, len(third)]) + third) == ""  # a key, no signature


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\xc2\x40\x04" + rest))
def test_no_signature_breaks_it(packet: bytes) -> None:
    assert len(key_of(packet)) in (0, 16)


# ---------------------------------------------------------------- hostile input

GOOD = package(
    "x", files={"/a/b": "00", "/c": ""}, t1049=["d"], t1048=[0], t1050=["1"], t1037=[1, 64], t268=b"\x88\1\3"
)
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([1000, 1001, 1002, 1022, 1027, 1030, 1035, 1037, 1047, 1049, 1116, 1117, 1118, 268, 278, 5008]),
        st.integers(0, 12),
        st.integers(0, 60) | st.integers(0, 0xFFFFFFFF),
        st.integers(0, 4) | st.integers(0, 0xFFFFFFFF),
    ),
    max_size=12,
)


def attempt(blob: bytes) -> None:
    with contextlib.suppress(DamagedError):
        installed(blob)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(blob: bytes) -> None:
    attempt(blob)


@settings(deadline=None, max_examples=500)
@given(ENTRIES, st.binary(max_size=64))
def test_no_index_breaks_it(entries: list[tuple[int, int, int, int]], data: bytes) -> None:
    index = b"".join(struct.pack(">IIII", *entry) for entry in entries)
    attempt(struct.pack(">II", len(entries), len(data)) + index + data)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_change_of_a_good_one_breaks_it(changes: list[tuple[int, int]]) -> None:
    blob = bytearray(GOOD)
    for at, value in changes:
        blob[at] = value
    attempt(bytes(blob))
