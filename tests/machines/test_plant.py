"""What lays the planted changes down does what a truth says, and inside the tree alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.machines.plant import plant


def planted(path: str, **do: object) -> dict[str, object]:
    return {"planted": [{"path": path, "do": do}]}


def test_a_flipped_byte_keeps_size_and_time(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"#!/bin/sh\n")
    os.utime(script, (1, 1_600_000_000))
    plant(tmp_path, planted("/script", flip=3))
    assert script.read_bytes() == b"#!/cin/sh\n"
    assert (script.stat().st_size, script.stat().st_mtime) == (10, 1_600_000_000)


def test_a_link_and_a_folder_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    plant(tmp_path, planted("/a", link="/etc/passwd"))
    assert (tmp_path / "a").readlink() == Path("/etc/passwd")
    plant(tmp_path, planted("/a", directory=True))
    assert (tmp_path / "a").is_dir()
    plant(tmp_path, planted("/a", remove=True))
    assert not (tmp_path / "a").exists()


def test_no_path_leads_out_of_the_tree(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()
    (tree / "etc").symlink_to(outside)
    with pytest.raises(ValueError, match=r"write .* as the tree has it"):
        plant(tree, planted("/etc/x", write="text"))
    assert list(outside.iterdir()) == []


def test_nothing_is_done_where_nothing_is_said(tmp_path: Path) -> None:
    plant(tmp_path, {"planted": [{"path": "/etc/x", "explained": "by its recipe"}]})
    assert list(tmp_path.iterdir()) == []
