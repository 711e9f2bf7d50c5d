"""Names that an image may have in it, and where they lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, Window
from migrate.guest.images.imagechain import Chain


def no_merge(chain: Chain, window: Window, directory: Path | None) -> Node:
    raise AssertionError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with links that lead out of it, and one beside it that is allowed."""
    top = tmp_path_factory.mktemp("top").resolve()
    inner, allowed, other = top / "inner", top / "allowed", top / "inner-not"
    for each in (inner, inner / "sub", allowed, other):
        each.mkdir()
        (each / "disk").write_bytes(b"x")
    (inner / "up").symlink_to("..")
    (inner / "etc").symlink_to("/etc")
    (inner / "root").symlink_to("/")
    (inner / "proc").symlink_to("/proc/self/cwd")
    (inner / "shadow").symlink_to("/etc/shadow")
    (inner / "loop").symlink_to("loop")
    (inner / "there").symlink_to("../allowed/disk")
    os.mkfifo(inner / "fifo")
    return top


PARTS = st.sampled_from(
    ["", ".", "..", "disk", "sub", "up", "etc", "root", "proc", "shadow", "passwd", "hostname", "loop", "there", "fifo",
     "inner", "inner-not", "allowed", "file:", "nbd:", "json:{}", "dev", "null", "x" * 300, "\0", "\udcff", "self"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(parts=st.lists(PARTS, max_size=8), absolute=st.booleans(), prefix=st.sampled_from(["", "file:", "file://"]))
def test_no_name_leads_out(place: Path, parts: list[str], absolute: bool, prefix: str) -> None:
    name = prefix + ("/" if absolute else "") + "/".join(parts)
    chain = Chain([place / "allowed"], "open x", no_merge)
    try:
        found = chain.find(name, place / "inner")
    except DiskError:
        return
    assert found in {place / "inner" / "disk", place / "inner" / "sub" / "disk", place / "allowed" / "disk"}


def test_names_that_are_followed(place: Path) -> None:
    chain = Chain([place / "allowed"], "open x", no_merge)
    inner = place / "inner"
    for name, found in (
        ("disk", inner / "disk"),
        ("./sub/../disk", inner / "disk"),
        (f"{inner}/sub/disk", inner / "sub" / "disk"),
        (f"file:{inner}/disk", inner / "disk"),
        ("there", place / "allowed" / "disk"),
        ("up/inner/disk", inner / "disk"),
        ("./a:b", None),
    ):
        if found is None:
            with pytest.raises(DiskError, match="which is not there"):
                chain.find(name, inner)
        else:
            assert chain.find(name, inner) == found
    with pytest.raises(DiskError, match="it is in an archive, and names a file beside it: disk"):
        chain.find("disk", None)
    with pytest.raises(DiskError, match="outside of its own directory"):
        Chain([], "open x", no_merge).find("there", inner)
    with pytest.raises(DiskError, match="outside of its own directory"):
        chain.find("../inner-not/disk", inner)
    with pytest.raises(DiskError, match="cannot be read: File name too long"):
        chain.find("x" * 300, inner)
