"""The sweep's own logic, on a stand-in for the appliance that fails where it is told to."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from migrate.errors import DiskError
from migrate.guest.directory import DirectoryGuest
from migrate.guest.libguestfs import sweep as module
from migrate.guest.libguestfs.handle import Stat, Xattr, reason
from migrate.guest.libguestfs.sweep import Sweep, tar_pattern
from migrate.guest.progress import silent
from migrate.guest.protocol import Problem
from migrate.guest.tree import Tree
from tests.guest.handle import FakeHandle
from tests.guest.made import needs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    needs("find", "tar")
    top = tmp_path / "root"
    for name in ("etc/app", "srv/deep/deeper", "usr"):
        (top / name).mkdir(parents=True)
    for number in range(40):
        (top / "srv" / f"file{number}").write_text(f"{number}\n")
    (top / "etc" / "app" / "conf").write_text("x")
    (top / "etc" / "link").symlink_to("app/conf")
    return top


Swept: TypeAlias = Callable[..., tuple[Tree, Sweep]]


@pytest.fixture
def swept() -> Iterator[Swept]:
    """Sweep the stand-in, and close the archives in the end."""
    made: list[Sweep] = []

    def sweep(handle: FakeHandle, *hidden: str) -> tuple[Tree, Sweep]:
        made.append(Sweep(handle, silent, hidden))
        return Tree(made[-1].entries()), made[-1]

    yield sweep
    for each in made:
        for index in each.odd:
            index.close()


def paths(tree: Tree, top: str = "/") -> list[str]:
    return [entry.path for entry in tree.walk(top)]


def test_it_is_what_the_directory_reader_sees(root: Path, swept: Swept) -> None:
    tree, sweep = swept(FakeHandle(root))
    with DirectoryGuest(root) as guest:
        assert list(tree.walk()) == list(guest.walk())
    assert (sweep.problems, sweep.odd) == ([], [])


def test_few_calls(root: Path, swept: Swept) -> None:
    handle = FakeHandle(root)
    swept(handle)
    assert len(handle.calls) == 2 + 2 * 5 + 1  # lstatns, find0; two for each directory with names; one with a link


def test_names_that_are_not_utf8_come_from_an_archive(root: Path, swept: Swept) -> None:
    odd = os.fsencode(root) + b"/srv/d\xff"
    os.mkdir(odd, 0o700)  # noqa: PTH102 - bytes
    for name, content in ((b"/plain", b"one"), (b"/l\xe4tin", b"two")):
        with open(odd + name, "wb") as file:  # noqa: PTH123
            file.write(content)
    (root / "srv" / "[x]*").symlink_to("t\udce4rget")
    tree, sweep = swept(FakeHandle(root))
    assert sweep.problems == []
    assert paths(tree, "/srv/d\udcff") == ["/srv/d\udcff", "/srv/d\udcff/l\udce4tin", "/srv/d\udcff/plain"]
    link = tree.find("/srv/[x]*", follow=False)
    assert link is not None
    assert link.target == "t\udce4rget"
    assert len(sweep.odd) == 1
    assert b"".join(sweep.odd[0].pieces("/srv/d\udcff/l\udce4tin", 3)) == b"two"
    assert "/srv/file1" not in sweep.odd[0]  # the others were left out of the archive
    with DirectoryGuest(root) as guest:
        assert paths(tree) == [entry.path for entry in guest.walk()]


def test_a_socket_with_such_a_name_is_a_problem(root: Path, swept: Swept) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(root) + b"/s\xff")
    _, sweep = swept(FakeHandle(root))
    assert [problem.path for problem in sweep.problems] == ["/s\udcff"]


def test_too_much_below_such_a_name_is_cut(root: Path, swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsencode(root) + b"/srv/d\xff"
    os.mkdir(odd)  # noqa: PTH102 - bytes
    for number in range(30):
        with open(odd + b"/%02d" % number, "wb") as file:  # noqa: PTH123
            file.write(bytes([number]) * (1 << 20))
    monkeypatch.setattr(module, "ODD_CAP", 5 << 20)
    tree, sweep = swept(FakeHandle(root))
    assert 1 < len(paths(tree, "/srv/d\udcff")) < 12
    assert [problem.path for problem in sweep.problems] == ["/srv"]
    assert "it is more than 5 MiB" in sweep.problems[0].why


def test_one_file_that_cannot_be_examined(root: Path, swept: Swept) -> None:
    tree, sweep = swept(FakeHandle(root, [("lstat", "/srv/file7")]))
    assert sweep.problems == [Problem(path="/srv/file7", why="its metadata cannot be read")]
    assert len(paths(tree, "/srv")) == 42


def test_attributes_too_large_for_a_message(root: Path, swept: Swept) -> None:
    tree, sweep = swept(FakeHandle(root, [("lxattr", "/srv/file7"), ("lxattr", "/srv/file31")]))
    assert sorted(problem.path for problem in sweep.problems) == ["/srv/file31", "/srv/file7"]
    assert len(paths(tree, "/srv")) == 43


def test_a_directory_that_fails_fails_alone_and_soon(root: Path, swept: Swept) -> None:
    for number in range(3000):
        (root / "usr" / str(number)).touch()
    handle = FakeHandle(root, [("lstatnslist", "/usr")])
    tree, sweep = swept(handle)
    assert sweep.problems == [Problem(path="/usr", why="the metadata of the 3000 names in it cannot be read")]
    assert handle.calls.count("lstatnslist /usr") < 100
    assert "/srv/file1" in paths(tree)


def test_links_that_cannot_be_read(root: Path, swept: Swept) -> None:
    _, sweep = swept(FakeHandle(root, [("readlinklist", "/etc")]))
    assert sweep.problems == []  # the archive has the target


def test_an_appliance_that_stops_is_an_error(root: Path) -> None:
    handle = FakeHandle(root)
    sweep = Sweep(handle, silent)
    entries = sweep.entries()
    next(entries)
    handle.ready = False
    with pytest.raises(DiskError, match="the appliance that reads it stopped: appliance closed the connection"):
        list(entries)


def test_snapshots_are_hidden(root: Path, swept: Swept) -> None:
    (root / "srv" / "deep" / ".snapshots" / "1" / "snapshot").mkdir(parents=True)
    (root / ".snapshots" / "1" / "snapshot" / "etc").mkdir(parents=True)
    handle = FakeHandle(root)
    tree, sweep = swept(handle, "/.snapshots", "/srv/deep/.snapshots")
    with DirectoryGuest(root) as guest:
        wanted = [e.path for e in guest.walk() if ".snapshots/" not in e.path]
    assert paths(tree) == wanted
    assert sweep.problems == []
    assert "find0 /" not in handle.calls


def test_patterns_of_tar() -> None:
    assert tar_pattern(r"/a*b?[c]\d") == r"./a\*b\?\[c]\\d"
    assert tar_pattern("/d\udce9") == "./d?"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mount_options: /dev/sda1 on / (options: 'ro'): mount: /sysroot: can't read superblock on /dev/sda1.\n dmesg",
         "can't read superblock on /dev/sda1"),
        ("pread: /x\x1b: Input/output error", "/x\\x1b: Input/output error"),
        ("\n", "RuntimeError"),
    ],
)  # fmt: skip
def test_the_useful_line_of_an_error(text: str, line: str) -> None:
    assert reason(RuntimeError(text)) == line


class Wide(FakeHandle):
    """A tree of so many directories with twenty files each, that is nowhere."""

    directories = 2000

    def find0(self, directory: str, files: str) -> None:
        names = (
            f"srv/d{n}\0" + "".join(f"srv/d{n}/file-number-{k}\0" for k in range(20)) for n in range(self.directories)
        )
        Path(files).write_bytes(("srv\0" + "".join(names)).encode())

    def lstatnslist(self, path: str, names: Sequence[str]) -> list[Stat]:
        mode = 0o100644 if path.startswith("/srv/") else 0o040755
        return [Stat(**{**dict.fromkeys(Stat.__annotations__, 1), "st_mode": mode}) for _ in names]  # type: ignore[typeddict-item]

    def lxattrlist(self, path: str, names: Sequence[str]) -> list[Xattr]:
        return [Xattr(attrname="", attrval=b"0") for _ in names]


def test_it_holds_the_names_and_no_more(tmp_path: Path) -> None:
    """A million files must fit in 1 GiB with all that is made of them: here a name takes some 190 bytes for a while."""
    sweep = Sweep(Wide(tmp_path), silent)
    tracemalloc.start()
    try:
        count = sum(1 for _ in sweep.entries())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 2 + Wide.directories * 21
    assert peak < 220 * count
