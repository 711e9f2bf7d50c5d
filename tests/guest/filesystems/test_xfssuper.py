"""Which XFS is read here, and which is left to a mount, told by its superblock."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.guest.filesystems.inprocess import DamagedError
from migrate.guest.filesystems.xfssuper import parse_superblock, probe
from tests.guest.filesystems.test_xfs import changed, made, mounted, opened, reader
from tests.guest.made import run, sparse_file


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return made(tmp_path / "image")


def test_a_label_and_a_new_uuid(empty: Path) -> None:
    """xfs_admin -U keeps the UUID that the metadata carries beside the new one (META_UUID)."""
    new = "6a1e4a7c-23b0-4c11-9e0a-0d5c4f2f7e55"
    changed(empty, "label twelve-chars", f"uuid {new}")
    found = probe(*reader(empty))
    assert found is not None
    assert (found.uuid, found.label, found.why_not) == (new, "twelve-chars", "")
    said = run("blkid", "-p", "-o", "export", str(empty))
    assert f"UUID={new}" in said
    assert "LABEL=twelve-chars" in said
    assert [entry.path for entry in opened(empty).entries()] == ["/"]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("features_incompat", "0x1b", "marked as needing repair"),
        ("features_incompat", "0x10b", "a directory of metadata"),
        ("features_incompat", "0x8000000b", "a feature that is not known"),
        ("features_ro_compat", "0x8000000f", "a feature that is not known"),
        ("features_log_incompat", "0x80", "a feature that is not known"),
        ("inprogress", "1", "not made to its end"),
        ("logstart", "0", "its log is on another device"),
        ("rblocks", "1000", "realtime"),
        ("versionnum", "0xf4a5", "case-insensitive"),
        ("versionnum", "0xa4a5", "made in a way that is not usual"),
        ("versionnum", "0xb4a6", "of version 6"),
        ("agcount", "5", "sizes that are not usual"),
        ("agblklog", "13", "sizes that are not usual"),
        ("fdblocks", "1000000000", "sizes that are not usual"),
        ("logstart", "0xfffffff", "sizes that are not usual"),
        ("fname", '"a\tb"', "its label has characters"),
        ("lsn", "0x7000000000", "its superblock is newer than its log"),
    ],
)
def test_what_is_not_certain(empty: Path, field: str, value: str, why: str) -> None:
    changed(empty, "sb 0", f"write -d {field} {value}")
    found = probe(*reader(empty))
    assert found is not None
    assert why in found.why_not
    with pytest.raises(DamagedError, match=why):
        opened(empty)


def test_a_log_on_another_device(tmp_path: Path) -> None:
    log = sparse_file(tmp_path / "log", 64)
    image = made(tmp_path / "image", "-l", f"logdev={log}")
    with pytest.raises(DamagedError, match="its log is on another device"):
        opened(image)


def test_names_of_any_case(tmp_path: Path) -> None:
    image = made(tmp_path / "image", "-n", "version=ci")
    with pytest.raises(DamagedError, match="case-insensitive"):
        opened(image)


def test_a_realtime_section_and_file(tmp_path: Path, empty: Path) -> None:
    image = made(tmp_path / "realtime", "-r", f"rtdev={sparse_file(tmp_path / 'device', 64)}")
    with pytest.raises(DamagedError, match="realtime"):
        opened(image)
    with mounted(empty) as place:
        (place / "file").write_bytes(b"x")
    changed(empty, "path /file", "write core.realtime 1")
    with pytest.raises(DamagedError, match="its content is on another device"):
        list(opened(empty).entries())


def test_a_disk_that_is_cut_short(empty: Path) -> None:
    with empty.open("r+b") as file:
        file.truncate((320 << 20) - 4096)
    with pytest.raises(DamagedError, match="is 335544320 bytes long, and its device 335540224"):
        opened(empty)


def test_nothing_and_other_things(tmp_path: Path) -> None:
    for content in (b"", b"XFSB", bytes(8192)):
        (tmp_path / "image").write_bytes(content)
        assert probe(*reader(tmp_path / "image")) is None
        with pytest.raises(DamagedError, match="holds no XFS"):
            opened(tmp_path / "image")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=512, max_size=512))
def test_any_superblock(data: bytes) -> None:
    assert parse_superblock(b"XFSC" + data[4:]) is None
    found = parse_superblock(b"XFSB" + data[4:])
    assert found is not None
    assert found.why_not
    assert found.usage().blocks >= 0
