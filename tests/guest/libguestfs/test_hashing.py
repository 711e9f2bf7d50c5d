"""Which directories are hashed in the appliance, and what its sums say."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.images.image import ImageInfo
from migrate.guest.libguestfs import reader as libguestfs
from migrate.guest.libguestfs.hashing import parse_sum, plan_sums
from migrate.guest.libguestfs.reader import GuestfsGuest
from migrate.guest.progress import silent
from migrate.guest.protocol import Entry
from migrate.guest.tree import Tree, encode
from tests.guest.handle import FakeHandle
from tests.guest.made import needs

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def tree(*files: tuple[str, int]) -> Tree:
    return Tree(Entry(path=path, kind="file", mode=0o644, uid=0, gid=0, size=size) for path, size in files)


MANY = tuple((f"/usr/share/{folder}/{name}", 5000) for folder in "abcdefgh" for name in range(300))
USR = {path for path, _ in MANY}
FEW = {"/etc/a", "/etc/b"}


def test_whole_directories_where_most_of_them_is_wanted() -> None:
    small = tree(*MANY, ("/etc/a", 1), ("/etc/b", 1))
    assert plan_sums(small, USR | FEW, ()) == ["/"]
    assert plan_sums(small, FEW, ()) == []
    assert plan_sums(small, {path for path in USR if "/c/" in path}, ()) == ["/usr/share/c"]
    assert plan_sums(small, set(), ()) == []
    assert plan_sums(tree(), set(), ()) == []


def test_what_is_large_and_not_wanted_is_not_hashed_along() -> None:
    large = tree(*MANY, ("/var/log/lastlog", 1 << 40), ("/usr/share/c/huge", 1 << 40))
    assert plan_sums(large, USR, ()) == [f"/usr/share/{folder}" for folder in "abdefgh"]


def test_nothing_above_what_is_not_known_is_hashed() -> None:
    small = tree(*MANY)
    assert plan_sums(small, USR, ("/home/snapshot",)) == ["/usr/share"]
    assert plan_sums(small, USR, ("/usr/share/c",)) == [f"/usr/share/{folder}" for folder in "abdefgh"]
    assert plan_sums(small, USR, ("/usr/share/c/1",)) == [f"/usr/share/{folder}" for folder in "abdefgh"]
    assert plan_sums(small, USR, ("/",)) == ["/usr/share"]


@pytest.mark.parametrize("name", ["a\nb", "a b", "a;b", "$(b)", "caf\udce9", "ümläut", "-n\\"])
def test_no_directory_is_asked_for_by_a_name_that_a_shell_could_take_for_another(name: str) -> None:
    odd = tree(*((f"/srv/{name}/{number}", 10) for number in range(1000)), ("/var/large", 1 << 40))
    wanted = {f"/srv/{name}/{number}" for number in range(1000)}
    assert plan_sums(odd, wanted, ()) == ["/srv"]
    assert plan_sums(odd, wanted, ("/srv/x",)) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"{MD5}  ./etc/passwd", ("etc/passwd", MD5)),
        (f"{MD5} *./a", ("a", MD5)),
        (f"\\{MD5}  ./a\\nb\\\\n\\r", ("a\nb\\n\r", MD5)),
        (f"{MD5}  ./a\\nb", ("a\\nb", MD5)),
        (f"{MD5}  ./a  b ", ("a  b ", MD5)),
        (f"{MD5}  /etc/passwd", None),
        (f"{MD5}  ./", None),
        (f"{MD5[:31]}  ./a", None),
        (f"{MD5} ./a", None),
        ("", None),
    ],
)
def test_a_line_of_sums(line: str, found: tuple[str, str] | None) -> None:
    assert parse_sum(line.encode()) == found


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_any_name_comes_back(name: bytes) -> None:
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    line = (b"\\" if escaped != name else b"") + MD5.encode() + b"  ./" + escaped
    found = parse_sum(line)
    assert found is not None
    assert encode(found[0]) == name


@given(st.binary(max_size=80))
def test_any_line_is_a_sum_or_none(line: bytes) -> None:
    parse_sum(line)
    parse_sum(MD5.encode() + line)


# ---------------------------------------------------------------- the guest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chance = random.Random(2)
    root = tmp_path / "root"
    for name in ("etc", "usr/share", "srv/line\nbreak", "srv/linebreak"):
        (root / name).mkdir(parents=True)
    for number in range(400):
        (root / "usr" / "share" / f"file{number}").write_bytes(chance.randbytes(100))
        for name in ("line\nbreak", "linebreak"):
            (root / "srv" / name / f"{number}").write_bytes(chance.randbytes(50))
    (root / "usr" / "share" / "caf\udce9").write_bytes(b"odd")
    (root / "usr" / "share" / "a\\b\nc\rd").write_bytes(b"more odd")
    (root / "etc" / "empty").touch()
    os.mkfifo(root / "etc" / "fifo")
    os.link(root / "usr" / "share" / "file1", root / "etc" / "hard")
    return root


@pytest.fixture
def handle(root: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHandle:
    needs("find", "tar", "md5sum", "sha512sum")
    found = FakeHandle(root)
    found.devices = {"/dev/sda1": {"TYPE": "ext4"}}
    found.tops = {"/dev/sda1": root}

    class StandIn:
        def __init__(self, *_args: object) -> None:
            self.handle, self.labels = found, ["diska"]
            self.servers = contextlib.ExitStack()

    monkeypatch.setattr(libguestfs, "_Machine", StandIn)
    return found


def opened(tmp_path: Path) -> GuestfsGuest:
    info = ImageInfo(path=tmp_path, given="disk", format="raw", virtual_bytes=1 << 20)
    return GuestfsGuest([info], None, silent)


def truth(root: Path, algorithm: str) -> dict[str, str]:
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            digest = hashlib.new(algorithm, path.read_bytes()).hexdigest()
            found[f"/{path.relative_to(root)}"] = digest
    return found


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_all_files_in_one_call(handle: FakeHandle, root: Path, tmp_path: Path, algorithm: str) -> None:
    with opened(tmp_path) as guest:
        handle.calls.clear()
        wanted = {entry.path: algorithm for entry in guest.walk()}
        assert guest.digests(wanted) == truth(root, algorithm)
        assert handle.calls == ["checksums_out /"]
        assert guest.problems == ()


def test_what_the_daemon_cannot_is_read_and_hashed_here(handle: FakeHandle, root: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as guest:
        handle.calls.clear()
        assert guest.digests(dict.fromkeys(truth(root, "md5"), "blake2b")) == truth(root, "blake2b")
        assert not [call for call in handle.calls if call.startswith("checksums_out")]


def test_a_few_files_are_read(handle: FakeHandle, root: Path, tmp_path: Path) -> None:
    with opened(tmp_path) as guest:
        handle.calls.clear()
        assert guest.digests({"/etc/hard": "md5", "/etc/fifo": "md5"}) == {"/etc/hard": truth(root, "md5")["/etc/hard"]}
        assert handle.calls == ["pread /etc/hard"]


def test_one_that_cannot_be_read_is_one(handle: FakeHandle, root: Path, tmp_path: Path) -> None:
    handle.broken |= {("checksum", "/usr/share/file7"), ("pread", "/usr/share/file7")}
    with opened(tmp_path) as guest:
        found = guest.digests({entry.path: "md5" for entry in guest.walk()})
        assert truth(root, "md5").keys() - found.keys() == {
            path for path in truth(root, "md5") if path.startswith("/usr/share/file7") and path not in found
        }
        assert [(problem.path, problem.why) for problem in guest.problems] == [
            ("/usr/share/file7", "/usr/share/file7: Input/output error")
        ]
        assert "/usr/share/file7" not in found
        assert "/usr/share/file70" in found


def test_an_appliance_that_stops(handle: FakeHandle, tmp_path: Path) -> None:
    with opened(tmp_path) as guest:
        handle.ready = False
        with pytest.raises(DiskError, match="the appliance that reads it stopped"):
            guest.digests({entry.path: "md5" for entry in guest.walk()})
