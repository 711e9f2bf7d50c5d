from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from analyzers._reading import Reader
from analyzers._rpm_database import Copies
from analyzers._rpm_header import DamagedError
from analyzers._rpm_history import read_history
from analyzers._rpm_tdnf import TDNF, TDNF_LIST, read_tdnf
from tests.analyzers.fake import FakeGuest

# vmware/tdnf, history/history.c
RPMS = "CREATE TABLE IF NOT EXISTS rpms(Id INTEGER PRIMARY KEY AUTOINCREMENT,nevra TEXT);"
FLAGS = """
CREATE TABLE IF NOT EXISTS names(Id INTEGER PRIMARY KEY AUTOINCREMENT,name TEXT);
CREATE TABLE IF NOT EXISTS flag_set(Id INTEGER PRIMARY KEY AUTOINCREMENT,trans_id INTEGER,name_id INTEGER,
    value INTEGER);
INSERT INTO names VALUES (1, 'libx'), (2, 'nginx'), (3, 'back'), (4, 'again');
INSERT INTO flag_set (trans_id, name_id, value) VALUES (1, 1, 1), (1, 2, 0), (1, 3, 1), (2, 3, 0), (2, 4, 0),
    (3, 4, 1), (3, 99, 1);
"""


def _made(folder: Path, script: str) -> bytes:
    path = folder / "made.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.executescript(script)
    db.close()
    return path.read_bytes()


def test_the_last_flag_of_a_name_counts(tmp_path: Path) -> None:
    guest = FakeGuest({TDNF: _made(tmp_path, RPMS + FLAGS)})
    reader = Reader(guest, "rpm")
    found = read_history(reader, Copies(reader, tmp_path), [("libx", "noarch")])
    assert reader.unread == []
    assert found.automatic == frozenset({"libx", "again"})
    assert [found.was_chosen(name, "noarch") for name in ("libx", "nginx", "back", "never")] == [
        False,
        True,
        True,
        True,
    ]
    assert reader.unread == []


def test_a_history_without_flags_tells_nothing(tmp_path: Path) -> None:
    """As an image builder leaves it: no person asked for each of the packages."""
    reader = Reader(FakeGuest({TDNF: _made(tmp_path, RPMS)}), "rpm")
    assert read_history(reader, Copies(reader, tmp_path), []).was_chosen("bash", "x86_64") is None


def test_the_old_list(tmp_path: Path) -> None:
    reader = Reader(FakeGuest({TDNF_LIST: "libx\nliby\n"}), "rpm")
    assert read_history(reader, Copies(reader, tmp_path), []).automatic == frozenset({"libx", "liby"})


@pytest.mark.parametrize("at", [0, 20, 100, 600, 4100, 8200])
def test_damage_is_told(tmp_path: Path, at: int) -> None:
    whole = _made(tmp_path, RPMS + FLAGS)
    (tmp_path / "cut").write_bytes(whole[:at])
    try:
        assert read_tdnf(tmp_path / "cut") <= {"libx", "again", "back", "nginx"}
    except DamagedError as error:
        assert str(error)  # noqa: PT017 - either is right, a traceback is not
    reader = Reader(FakeGuest({TDNF: b"no database"}), "rpm")
    assert read_history(reader, Copies(reader, tmp_path), []).automatic is None
    assert [str(note.seen_in) for note in reader.unread] == [TDNF]
