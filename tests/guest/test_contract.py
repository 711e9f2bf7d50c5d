"""What every reader must give for the same tree (the `Guest` protocol)."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from migrate.errors import GuestFileError
from migrate.guest.protocol import Entry, Guest
from tests.guest.made import BIG, CAPABILITY, LONG_NAME, MTIME


def entry(guest: Guest, path: str) -> Entry:
    found = guest.lstat(path)
    assert found is not None, path
    return found


@pytest.mark.parametrize("path", ["/etc/absolute", "/etc/relative", "/etc/escape", "/etc/conf.d/app.conf"])
def test_symlinks_resolve_inside_the_guest(guest: Guest, path: str) -> None:
    assert guest.resolve(path) == "/etc/app/app.conf"
    assert guest.read(path) == b"port = 8000\n"


@pytest.mark.parametrize("path", ["/srv/loop", "/srv/ping", "/etc/dangling", "/srv/loop/x", "/srv/chain41"])
def test_a_loop_or_a_dangling_link_is_nothing(guest: Guest, path: str) -> None:
    assert guest.stat(path) is None
    assert guest.resolve(path) is None
    assert not guest.exists(path)
    with pytest.raises(GuestFileError):
        guest.read(path)


def test_forty_links_are_followed(guest: Guest) -> None:
    assert guest.read("/srv/chain40") == b"end\n"


def test_lstat_does_not_follow_the_last_name(guest: Guest) -> None:
    link = entry(guest, "/etc/conf.d")
    assert (link.kind, link.target, link.size, link.mode) == ("symlink", "/etc/app", 8, 0o777)


def test_dot_dot_does_not_leave_the_root(guest: Guest) -> None:
    assert guest.resolve("/../../etc/./app//") == "/etc/app"
    assert guest.resolve("/etc/os-release/..") is None


def test_owners_modes_and_times(guest: Guest) -> None:
    state = entry(guest, "/var/lib/orders/state")
    assert (state.kind, state.mode, state.uid, state.gid, state.size) == ("file", 0o640, 996, 33, 5)
    assert state.mtime == MTIME
    assert entry(guest, "/var/lib/orders").mode == 0o2750
    assert entry(guest, "/usr/bin/setuid").mode == 0o4755
    assert entry(guest, "/tmp").mode == 0o1777


def test_file_capabilities(guest: Guest) -> None:
    assert dict(entry(guest, "/usr/bin/ping").xattrs) == {"security.capability": CAPABILITY}
    assert entry(guest, "/usr/bin/setuid").xattrs == ()


def test_device_nodes_and_fifos_are_recorded_and_not_read(guest: Guest) -> None:
    null, disk, fifo = (entry(guest, f"/srv/{name}") for name in ("null", "disk", "fifo"))
    assert (null.kind, null.device, null.mode) == ("char", (1, 3), 0o666)
    assert (disk.kind, disk.device, disk.gid) == ("block", (259, 70), 6)
    assert (fifo.kind, fifo.size) == ("fifo", 0)
    for path in ("/srv/null", "/srv/disk", "/srv/fifo", "/srv"):
        with pytest.raises(GuestFileError, match="not a regular file"):
            guest.read(path)


def test_hard_links_share_an_inode(guest: Guest) -> None:
    one, two = entry(guest, "/srv/hard1"), entry(guest, "/srv/hard2")
    assert one.inode == two.inode
    assert (one.links, two.links) == (2, 2)
    assert guest.read("/srv/hard2") == b"one file\n"


def test_inodes_tell_files_apart(guest: Guest) -> None:
    inodes = [each.inode for each in guest.walk() if each.path != "/srv/hard2"]
    assert len(set(inodes)) == len(inodes)


def test_names_that_are_not_utf8(guest: Guest) -> None:
    assert guest.read("/srv/latin-\udce9") == b"not utf-8\n"
    assert entry(guest, "/srv/latin-\udce9").uid == 7
    assert entry(guest, "/srv/dir-\udcff").mode == 0o700
    assert guest.read("/srv/dir-\udcff/inside") == b"below\n"
    assert guest.read("/srv/dir-\udcff/inside", 3) == b"bel"
    assert entry(guest, "/srv/to-latin").target == "latin-\udce9"
    assert guest.resolve("/srv/to-latin") == "/srv/latin-\udce9"


def test_other_names(guest: Guest) -> None:
    assert guest.read("/srv/line\nbreak") == b"newline\n"
    assert guest.read("/srv/ümläut") == b"utf-8\n"
    assert guest.read(f"/srv/{LONG_NAME}") == b"long\n"
    assert guest.read("/srv/a") == b""
    assert list(guest.chunks("/srv/a")) == []


def test_listdir_is_sorted_by_bytes_and_follows_a_link(guest: Guest) -> None:
    names = guest.listdir("/srv")
    assert names == sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))
    assert guest.listdir("/etc/conf.d") == ["app.conf", "latin1"]
    assert guest.listdir("/etc/os-release") == guest.listdir("/nothing") == []


def test_large_files(guest: Guest) -> None:
    assert guest.read("/srv/big") == BIG
    assert guest.read("/srv/big", 5) == BIG[:5]
    pieces = list(guest.chunks("/srv/big", 1_000_000))
    assert {len(piece) for piece in pieces[:-1]} == {1_000_000}
    assert b"".join(pieces) == BIG


def test_text_keeps_what_is_no_utf8(guest: Guest) -> None:
    assert guest.text("/etc/app/latin1") == "caf\udce9\n"


def test_text_that_is_cut_is_a_problem(guest: Guest) -> None:
    assert guest.text("/etc/os-release", 4) == "ID=n"
    assert [problem.why for problem in guest.problems if problem.path == "/etc/os-release"] == [
        "only the first 4 of 43 bytes were read as text"
    ]


def test_glob(guest: Guest) -> None:
    assert guest.glob("/etc/*/app.conf") == ["/etc/app/app.conf", "/etc/conf.d/app.conf"]
    assert guest.glob("/etc/**/app.conf") == ["/etc/app/app.conf"]
    assert guest.glob("/srv/[hl]*[!p]") == ["/srv/hard1", "/srv/hard2", "/srv/latin-\udce9", "/srv/line\nbreak"]
    assert guest.glob("/srv/app/*") == []
    assert guest.glob("/srv/app/.v*/*") == guest.glob("/srv/**/pyvenv.cfg") == ["/srv/app/.venv/pyvenv.cfg"]
    assert guest.glob("/srv/latin-?") == ["/srv/latin-\udce9"]


def test_walk_yields_parents_first_and_follows_nothing(guest: Guest) -> None:
    paths = [each.path for each in guest.walk("/etc")]
    assert paths == [
        "/etc", "/etc/absolute", "/etc/app", "/etc/app/app.conf", "/etc/app/latin1", "/etc/conf.d", "/etc/dangling",
        "/etc/escape", "/etc/fstab", "/etc/os-release", "/etc/relative",
    ]  # fmt: skip


def test_reading_is_the_same_after_prefetch(guest: Guest) -> None:
    paths = [each.path for each in guest.walk("/") if each.kind == "file" and each.size < 1 << 20]
    before = {path: guest.read(path) for path in paths}
    guest.prefetch(["/etc", "/srv/*", "/usr/**/ping", "/nothing", "/var/lib/orders/state"])
    assert {path: guest.read(path) for path in paths} == before
    assert guest.read("/srv/big") == BIG


def test_the_readers_agree(guest: Guest, tar_guest: Guest) -> None:
    """The whole tree but for what an archive cannot say: allocation, inode numbers, and what is in no archive."""

    def told(each: Entry) -> tuple[object, ...]:
        return (each.path, each.kind, each.mode, each.uid, each.gid, each.size, each.target, each.device,
                each.links, each.xattrs)  # fmt: skip

    elsewhere = {"/srv/sparse", "/srv/socket", "/srv/journalled", "/lost+found", "/var/lost+found"}
    mine = [told(each) for each in guest.walk() if each.path not in elsewhere and each.path != "/"]
    assert mine == [told(each) for each in tar_guest.walk() if each.path != "/"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha512", "blake2b"])
def test_digests_are_those_of_the_contents(guest: Guest, tree_tar: Path, algorithm: str) -> None:
    with tarfile.open(tree_tar, encoding="utf-8", errors="surrogateescape") as archive:
        contents = {f"/{info.name}": archive.extractfile(info) for info in archive if info.isreg() or info.islnk()}
        content = {path: file.read() for path, file in contents.items() if file is not None}
    content |= dict.fromkeys(("/etc/absolute", "/etc/relative", "/etc/conf.d/app.conf"), b"port = 8000\n")
    content["/srv/to-latin"] = content["/srv/latin-\udce9"]
    wanted = dict.fromkeys([*content, "/srv/fifo", "/srv/null", "/srv/loop", "/etc", "/no/such"], algorithm)
    assert guest.digests(wanted) == {path: hashlib.new(algorithm, data).hexdigest() for path, data in content.items()}
