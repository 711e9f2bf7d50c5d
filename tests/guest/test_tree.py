"""Resolution in memory: by cases, by properties, and against the kernel itself."""

from __future__ import annotations

import ctypes
import os
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import GuestFileError
from migrate.guest.protocol import Disk, Entry, Problem, Source
from migrate.guest.tree import MAX_READ, Tree, TreeGuest, encode

NAMES = st.sampled_from(["a", "b", "c", "é", "\udcff"])
STEPS = st.lists(st.one_of(NAMES, st.sampled_from([".", "..", ""])), max_size=6)
TARGETS = st.builds(lambda absolute, steps: ("/" if absolute else "") + "/".join(steps), st.booleans(), STEPS)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
ENTRIES = st.lists(
    st.one_of(
        st.builds(lambda p: Entry(path=p, kind="directory", mode=0o755, uid=0, gid=0), PATHS),
        st.builds(lambda p: Entry(path=p, kind="file", mode=0o644, uid=0, gid=0), PATHS),
        st.builds(lambda p, t: Entry(path=p, kind="symlink", mode=0o777, uid=0, gid=0, target=t), PATHS, TARGETS),
    ),
    max_size=12,
)
SOURCE = Source(disks=(Disk(path="x", format="raw", virtual_bytes=0),), filesystems=(), reader="test")


def node(path: str, kind: str = "file", **fields: object) -> Entry:
    return Entry(path=path, kind=kind, mode=0o644, uid=0, gid=0, **fields)  # type: ignore[arg-type]


class Contents(TreeGuest):
    """A guest whose files hold their own path, over and over."""

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        text = encode(entry.path) * (length // len(entry.path) + 1)
        for start in range(0, min(length, entry.allocated), 7):
            yield text[start : min(start + 7, length, entry.allocated)]


@given(ENTRIES, TARGETS)
def test_whatever_is_found_is_real_and_within(entries: list[Entry], path: str) -> None:
    tree = Tree(entries)
    found = tree.find(path)
    if found is not None:
        assert found.kind != "symlink"
        assert tree.find(found.path) is found
        assert tree.find(found.path, follow=False) is found
    named = tree.find(path, follow=False)
    assert named is None or named in list(tree.walk())


@given(ENTRIES)
def test_every_entry_is_reached_once_or_told_of(entries: list[Entry]) -> None:
    tree = Tree(entries)
    walked = [entry.path for entry in tree.walk()]
    assert len(set(walked)) == len(walked) == len(tree)
    assert {entry.path for entry in entries} <= {*walked, *tree.unreachable}
    for path in walked:
        children = [entry.path for entry in tree.children(path)] if tree.find(path, follow=False) else []
        assert children == sorted(children, key=encode)


@given(ENTRIES, st.text(max_size=30))
def test_any_text_is_a_path_that_does_not_raise(entries: list[Entry], path: str) -> None:
    tree = Tree(entries)
    tree.find(path)
    tree.find(path, follow=False)
    tree.children(path)
    list(tree.walk(path))
    tree.glob(path)


def _in_root(root: int, path: str) -> tuple[int, int] | None:
    """Ask the kernel: openat2(2) with RESOLVE_IN_ROOT takes the descriptor for `/`."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, 0x10)
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(437, root, ctypes.c_char_p(encode(path)), how, ctypes.c_size_t(24))
    if found < 0:
        if ctypes.get_errno() == 38:
            pytest.skip("this kernel has no openat2(2)")
        return None
    try:
        status = os.fstat(found)
        return status.st_dev, status.st_ino
    finally:
        os.close(found)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel")


@settings(max_examples=200)
@given(entries=ENTRIES, paths=st.lists(TARGETS, min_size=1, max_size=8))
def test_the_kernel_resolves_the_same(scratch: Path, entries: list[Entry], paths: list[str]) -> None:
    top = scratch / str(len(list(scratch.iterdir())))
    top.mkdir()
    for entry in Tree(entries).walk():
        place = bytes(top) + encode(entry.path)
        if entry.kind == "directory":
            Path(os.fsdecode(place)).mkdir(exist_ok=True)
        elif entry.kind == "file":
            Path(os.fsdecode(place)).touch()
        else:
            Path(os.fsdecode(place)).symlink_to(entry.target or ".")
    real = Tree(_swept(top))
    root = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        for path in filter(None, paths):
            found = real.find(f"/{path}")
            assert (None if found is None else found.inode) == _in_root(root, f"/{path}"), path
    finally:
        os.close(root)


def _swept(top: Path) -> Iterator[Entry]:
    for base, directories, files in os.walk(top):
        for name in ["", *directories, *files]:
            place = Path(base, name)
            status = place.lstat()
            kind = {stat.S_IFDIR: "directory", stat.S_IFREG: "file"}.get(stat.S_IFMT(status.st_mode), "symlink")
            path = os.fsencode(place)[len(bytes(top)) :].decode("utf-8", "surrogateescape") or "/"
            target = os.fspath(place.readlink()) if kind == "symlink" else ""
            yield node(path, kind, inode=(status.st_dev, status.st_ino), target=target)


@pytest.mark.parametrize("path", ["a", "", "/a//b", "/a/", "/./a", "/a/..", "/a\0"])
def test_paths_of_entries_are_canonical(path: str) -> None:
    with pytest.raises(ValueError, match="canonical"):
        Tree([node(path)])


def test_what_stands_below_a_file_or_link_is_unreachable() -> None:
    tree = Tree([node("/a"), node("/a/b"), node("/l", "symlink", target="d"), node("/l/x/y"), node("/d", "directory")])
    assert tree.unreachable == ("/a/b", "/l/x", "/l/x/y")
    assert [entry.path for entry in tree.walk()] == ["/", "/a", "/d", "/l"]
    assert tree.find("/l/x") is None
    guest = Contents(tree, SOURCE)
    assert [problem.path for problem in guest.problems] == ["/a/b", "/l/x", "/l/x/y"]


def test_the_later_of_two_entries_counts() -> None:
    found = Tree([node("/a"), node("/a", "symlink", target="/")]).find("/a", follow=False)
    assert found is not None
    assert found.kind == "symlink"


def test_order_is_that_of_bytes() -> None:
    # U+FF21 is EF BC A1, and the lone byte FF sorts after it; as code points DCFF is before FF21.
    tree = Tree([node("/\uff21"), node("/\udcff"), node("/b"), node("/a-b"), node("/a/c")])
    assert [entry.path for entry in tree.walk()] == ["/", "/a", "/a/c", "/a-b", "/b", "/\uff21", "/\udcff"]


def test_a_maze_of_links_ends() -> None:
    """A thousand links to their own directory: resolving is bounded by the links, and globbing by directories."""
    links = [node(f"/m/{n}", "symlink", target=".") for n in range(1000)]
    tree = Tree([*links, node("/m/end")])
    assert tree.find("/m" + "/7" * 41) is None
    assert len(tree.glob("/m/*/*/*/end")) > 0
    assert len(tree.glob("/m/*/*/*")) <= 1001 * 1024


def test_reading_less_than_there_should_be_is_an_error() -> None:
    with Contents(Tree([node("/f", size=100, allocated=60)]), SOURCE) as guest:
        assert guest.read("/f", 60) == (b"/f" * 50)[:60]
        with pytest.raises(GuestFileError, match="ended after 60 of 100 bytes"):
            guest.read("/f")
        with pytest.raises(GuestFileError, match="ended after 60 of 100 bytes"):
            list(guest.chunks("/f"))
        assert guest.read("/f", 0) == guest.read("/f", -3) == b""


def test_reading_too_much_at_once_is_refused() -> None:
    with Contents(Tree([node("/f", size=MAX_READ + 1)]), SOURCE) as guest, pytest.raises(GuestFileError, match="limit"):
        guest.read("/f")


def test_a_closed_guest_says_so() -> None:
    guest = Contents(Tree([node("/f", size=1, allocated=1)]), SOURCE)
    guest.close()
    guest.close()
    with pytest.raises(GuestFileError, match="closed"):
        guest.read("/f")
    assert guest.exists("/f")


def test_messages_escape_what_the_guest_wrote() -> None:
    with (
        Contents(Tree([node("/e", "symlink", target="\x1b[2J\n")]), SOURCE) as guest,
        pytest.raises(GuestFileError) as caught,
    ):
        guest.read("/e")
    assert "\\x1b[2J\\n" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_problem_is_told_once() -> None:
    problem = Problem(path="/x", why="twice")
    assert Contents(Tree([]), SOURCE, [problem, problem]).problems == (problem,)


def test_a_million_inodes_stay_under_a_gibibyte() -> None:
    """Measured on 50,000 entries of ordinary shape; 1 GiB for a million is 1,073 bytes each."""
    count = 50_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tree = Tree(
            node(f"/usr/share/doc/package-{n // 20}/file-{n}.txt", size=n, mtime=n, inode=(2049, n), allocated=4096 + n)
            for n in range(count)
        )
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(tree) > count
    assert used / count < 700


def test_a_name_may_end_in_a_newline() -> None:
    names = ["/\n", "/.\n", "/..\n", "/a/..\n"]
    tree = Tree([Entry(path=name, kind="file", mode=0o644, uid=0, gid=0) for name in names])
    assert all(tree.find(name) is not None for name in names)
    for name in ("/..", "/a/.", "a", "/a/", "//a"):
        with pytest.raises(ValueError, match="canonical"):
            Tree([Entry(path=name, kind="file", mode=0o644, uid=0, gid=0)])
