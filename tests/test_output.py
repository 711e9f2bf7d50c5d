"""What is written is whole, and only what vm2c wrote is replaced or removed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import Vm2cError
from migrate.output import File, recover, write


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".vm2c" not in p.parts
    }


def test_writes_and_repeats_without_touching(tmp_path: Path) -> None:
    files = {"images/a/Dockerfile": File(b"FROM x\n"), "run.sh": File(b"#!/bin/sh\n", 0o755)}
    assert write(files, tmp_path, "generate").changed == ("images/a/Dockerfile", "run.sh")
    assert (tmp_path / "run.sh").stat().st_mode & 0o777 == 0o755
    inode = (tmp_path / "run.sh").stat().st_ino
    again = write(files, tmp_path, "generate")
    assert (again.changed, again.removed, again.saved) == ((), (), ())
    assert (tmp_path / "run.sh").stat().st_ino == inode
    assert sorted(p.name for p in (tmp_path / ".vm2c").iterdir()) == ["generate.json", "lock"]


def test_a_mode_alone_is_a_change(tmp_path: Path) -> None:
    write({"a": File(b"x")}, tmp_path, "generate")
    assert write({"a": File(b"x", 0o755)}, tmp_path, "generate").changed == ("a",)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_removes_only_what_it_wrote(tmp_path: Path) -> None:
    write({"images/a/Dockerfile": File(b"a"), "images/b/Dockerfile": File(b"b")}, tmp_path, "generate")
    write({"inventory.json": File(b"{}")}, tmp_path, "analyze")
    (tmp_path / "images/a/notes.txt").write_text("mine")
    done = write({"images/b/Dockerfile": File(b"b")}, tmp_path, "generate")
    assert done.removed == ("images/a/Dockerfile",)
    assert tree(tmp_path) == {"images/a/notes.txt": b"mine", "images/b/Dockerfile": b"b", "inventory.json": b"{}"}
    write({}, tmp_path, "generate")
    assert not (tmp_path / "images/b").exists()
    assert (tmp_path / "images/a").exists()


def test_a_persons_change_is_saved_and_a_changed_orphan_kept(tmp_path: Path) -> None:
    write({"a": File(b"1"), "b": File(b"1")}, tmp_path, "generate")
    (tmp_path / "a").write_bytes(b"mine")
    (tmp_path / "b").write_bytes(b"mine too")
    (tmp_path / "c").write_bytes(b"there before")
    done = write({"a": File(b"2"), "c": File(b"2")}, tmp_path, "generate")
    assert (done.saved, done.kept) == (("a.yours", "c.yours"), ("b",))
    assert tree(tmp_path) == {
        "a": b"2", "a.yours": b"mine", "b": b"mine too", "c": b"2", "c.yours": b"there before",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../x", "a//b", "./a", "a\0b", ".vm2c/lock", "a/"])
def test_refuses_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(Vm2cError, match="inside the output folder"):
        write({name: File(b"")}, tmp_path / "out", "generate")
    assert not (tmp_path / "x").exists()


@given(name=st.text(max_size=30))
def test_any_name_is_refused_or_stays_inside(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("any")
    with contextlib.suppress(Vm2cError, UnicodeEncodeError):
        write({name: File(b"x")}, base / "out", "generate")
    assert {p.name for p in base.iterdir()} <= {"out"}


def test_a_failure_while_writing_leaves_the_earlier_result(tmp_path: Path) -> None:
    write({"a": File(b"1"), "b": File(b"1")}, tmp_path, "generate")

    def fails() -> Iterator[bytes]:
        yield b"half"
        raise Vm2cError("read /x", "it is gone")

    with pytest.raises(Vm2cError, match="it is gone"):
        write({"a": File(b"2"), "b": File(fails)}, tmp_path, "generate")
    assert tree(tmp_path) == {"a": b"1", "b": b"1"}
    recover(tmp_path)
    assert sorted(p.name for p in (tmp_path / ".vm2c").iterdir()) == ["generate.json", "lock"]


@pytest.mark.parametrize("survives", range(1, 8))
def test_interrupted_moves_are_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """The n-th rename is the last that happens; whatever n is, the next run finds old or new, never a mix."""
    old = {"a": File(b"1"), "b/c": File(b"1"), "d": File(b"1")}
    new = {"a": File(b"2"), "b/c": File(b"2"), "e": File(b"2")}
    write(old, tmp_path, "generate")
    (tmp_path / "a").write_bytes(b"mine")
    before = tree(tmp_path)
    real, count = os.replace, 0

    def replace(src: Path, dst: Path) -> None:
        nonlocal count
        count += 1
        if count > survives:
            raise KeyboardInterrupt
        real(src, dst)

    monkeypatch.setattr(os, "replace", replace)
    with contextlib.suppress(KeyboardInterrupt):
        write(new, tmp_path, "generate")
    monkeypatch.setattr(os, "replace", real)
    recover(tmp_path)
    wanted = {"a": b"2", "a.yours": b"mine", "b/c": b"2", "e": b"2"}
    assert tree(tmp_path) == wanted, before
    assert write(new, tmp_path, "generate").changed == ()


def test_a_killed_process_leaves_the_earlier_result(tmp_path: Path) -> None:
    write({"a": File(b"1")}, tmp_path, "generate")
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from migrate.output import File, write
        def slow():
            yield b"half"
            print("now", flush=True)
            time.sleep(60)
        write({"a": File(slow), "b": File(b"2")}, Path(sys.argv[1]), "generate")
    """)
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert tree(tmp_path) == {"a": b"1"}
    write({"a": File(b"2")}, tmp_path, "generate")
    assert tree(tmp_path) == {"a": b"2"}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Vm2cError, match="cannot write"):
        write({"a": File(b"")}, tmp_path / "file", "generate")
