from __future__ import annotations

import sqlite3
import struct
import time
from pathlib import Path

import pytest

from analyzers._rpm_bdb import read_bdb
from analyzers._rpm_database import Installed, read_database
from analyzers._rpm_header import DamagedError
from analyzers._rpm_ndb import read_ndb
from analyzers._rpm_sqlite import read_sqlite, read_table
from tests.analyzers.rpm_made import make_bdb, make_ndb, make_sqlite, package

# Some fit on a page of a Berkeley DB, some take a chain of pages, and there are more than one bucket's page holds.
SET = [
    package(
        f"package{number}", str(number), files={f"/usr/share/doc/{number}/file{n}": "0" * 64 for n in range(number)}
    )
    for number in range(1, 60)
]


def read(path: Path) -> tuple[list[Installed], list[str]]:
    notes: list[str] = []
    name = {"sqlite": "rpmdb.sqlite", "ndb": "Packages.db"}.get(path.name, "Packages")
    return sorted(read_database(name, path, notes.append), key=lambda p: p.name), notes


def refused(data: bytes) -> list[str]:
    notes: list[str] = []
    try:
        list(read_bdb(data, notes.append))
    except DamagedError as error:
        notes.append(str(error))
    return notes


def test_one_set_of_packages_is_one_list_in_all_back_ends(tmp_path: Path) -> None:
    expected, notes = read(make_sqlite(tmp_path / "sqlite", SET))
    assert (len(expected), notes) == (59, [])
    made = [make_ndb(tmp_path / "ndb", SET), make_sqlite(tmp_path / "wal", SET[:0])]
    for order, size in (("<", 4096), (">", 4096), ("<", 512), (">", 65536)):
        made.append(make_bdb(tmp_path / f"bdb{'le' if order == '<' else 'be'}{size}", SET, order, size))
    for path in made:
        if path.name != "wal":
            assert read(path) == (expected, []), path.name


def test_what_is_in_the_write_ahead_log_alone_is_read(tmp_path: Path) -> None:
    path = make_sqlite(tmp_path / "sqlite", SET, wal=True)
    assert (tmp_path / "sqlite-wal").stat().st_size > path.stat().st_size
    without = tmp_path / "without" / "sqlite"
    without.parent.mkdir()
    without.write_bytes(path.read_bytes())
    assert read(without)[0] == []
    assert len(read(path)[0]) == 59


# ---------------------------------------------------------------- Berkeley DB


@pytest.fixture(scope="module")
def bdb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_bdb(tmp_path_factory.mktemp("bdb") / "Packages", SET, page_size=512).read_bytes()


def pages(data: bytes, kind: int) -> list[int]:
    return [n for n in range(1, len(data) // 512) if data[n * 512 + 25] == kind]


def changed(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def test_chains_that_loop_end(bdb: bytes) -> None:
    for kind in (7, 13):
        broken = bdb
        for number in pages(bdb, kind):  # each leads to itself
            broken = changed(broken, number * 512 + 16, struct.pack("<I", number))
        start = time.monotonic()
        notes = refused(broken)
        assert any("a second time" in note for note in notes), kind
        assert time.monotonic() - start < 5


def test_one_damaged_chain_costs_one_package(bdb: bytes) -> None:
    last = next(n for n in pages(bdb, 7) if struct.unpack_from("<I", bdb, n * 512 + 16)[0] == 0)
    broken = changed(bdb, last * 512 + 25, b"\5")
    notes: list[str] = []
    assert len(list(read_bdb(broken, notes.append))) == 58
    assert [note.split(" ", 2)[0] for note in notes] == ["page"]


def test_pages_that_nothing_leads_to_are_told(bdb: bytes) -> None:
    assert refused(bdb) == []
    full = next(n for n in pages(bdb, 13) if struct.unpack_from("<H", bdb, n * 512 + 20)[0])
    for broken in (changed(bdb, full * 512 + 20, b"\0\0"), changed(bdb, 72, bytes(4))):  # no items; one bucket alone
        assert len(list(read_bdb(broken, lambda why: None))) < 59
        assert "nothing leads to them" in refused(broken)[-1]


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (12, b"\0\0\0\0", "no Berkeley DB hash"),
        (16, struct.pack("<I", 7), "version 7"),
        (20, struct.pack("<I", 1000), "page size of 1000"),
        (20, struct.pack("<I", 1 << 31), "page size"),
        (24, b"\1", "encrypted"),
        (26, b"\1", "checksums"),
        (72, struct.pack("<I", 0xFFFFFFFF), "buckets"),
    ],
)
def test_metadata_that_cannot_be_is_refused(bdb: bytes, offset: int, value: bytes, why: str) -> None:
    assert why in refused(changed(bdb, offset, value))[-1]


def test_a_value_of_4_gigabytes_is_not_fetched(bdb: bytes) -> None:
    values = [
        n * 512 + struct.unpack_from("<H", bdb, n * 512 + 28)[0] for n in pages(bdb, 13) if any(bdb[n * 512 + 20 :][:2])
    ]
    at = next(at for at in values if bdb[at] == 3)  # the value lies on pages of its own
    assert any("a value of 4294967295 bytes" in note for note in refused(changed(bdb, at + 8, b"\xff" * 4)))


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 5000])
def test_a_truncated_database_says_so(bdb: bytes, length: int) -> None:
    assert refused(bdb[:length])


# ---------------------------------------------------------------- ndb


@pytest.fixture
def ndb(tmp_path: Path) -> bytes:
    return make_ndb(tmp_path / "ndb", SET[:3]).read_bytes()


def ndb_read(data: bytes) -> tuple[list[int], list[str]]:
    notes: list[str] = []
    return [number for number, _ in read_ndb(data, notes.append)], notes


def test_ndb_tells_what_is_damaged_and_goes_on(ndb: bytes) -> None:
    assert ndb_read(ndb) == ([1, 2, 3], [])
    slot = 32 + 16  # the second package's
    assert ndb_read(changed(ndb, slot, b"Slat")) == ([1, 3], ["a slot without its mark"])
    first = ndb[32 + 8 : 32 + 16]
    assert ndb_read(changed(ndb, slot + 8, first)) == ([1, 3], ["package 2 overlaps another"])
    assert "cannot be" in ndb_read(changed(ndb, slot + 8, b"\xff" * 8))[1][0]
    assert "cannot be" in ndb_read(changed(ndb, slot + 8, b"\1\0\0\0"))[1][0]  # among the slots
    start = struct.unpack_from("<I", ndb, slot + 8)[0] * 16
    assert ndb_read(changed(ndb, start, b"x"))[1] == ["package 2 does not begin where its slot says"]
    assert ndb_read(changed(ndb, start + 12, b"\xff" * 4))[1] == ["package 2 does not begin where its slot says"]
    assert ndb_read(changed(ndb, start + 100, b"\xff")) == ([1, 2, 3], ["the checksum of package 2 does not match"])
    assert ndb_read(ndb[:-1])[1][0].startswith("package 3 is said to be in")


@pytest.mark.parametrize("pages_", [0, 2, 0xFFFFFFFF])
def test_ndb_with_an_impossible_number_of_pages_is_refused(ndb: bytes, pages_: int) -> None:
    with pytest.raises(DamagedError, match="pages of slots"):
        ndb_read(changed(ndb, 12, struct.pack("<I", pages_))[: 4096 * 2 - 1])


@pytest.mark.parametrize("data", [b"", b"RpmP", bytes(5000), b"RpmP\1".ljust(5000, b"\0")])
def test_what_is_no_ndb_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        ndb_read(data)


# ---------------------------------------------------------------- sqlite

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS hnum, zeroblob(9) AS blob FROM n"


@pytest.mark.parametrize(
    "schema",
    [
        f"CREATE VIEW Packages AS {ENDLESS}",
        "CREATE VIRTUAL TABLE Packages USING fts4(hnum, blob)",
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (hex(zeroblob(400000000))))",
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY)",
        "CREATE TABLE Other (hnum INTEGER PRIMARY KEY, blob BLOB)",
        "CREATE TABLE Packages (hnum TEXT, blob TEXT)",
    ],
)
def test_a_schema_that_does_something_is_refused(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "sqlite"
    with sqlite3.connect(path) as db:
        db.execute(schema)
        if "TEXT" in schema:
            db.execute("INSERT INTO Packages VALUES ('x', 'y')")
        elif "zeroblob(4" in schema:
            db.execute("INSERT INTO Packages VALUES (1)")
    db.close()
    start = time.monotonic()
    with pytest.raises(DamagedError):
        list(read_sqlite(path))
    assert time.monotonic() - start < 5


def test_a_missing_column_is_no_text(tmp_path: Path) -> None:
    path = make_sqlite(tmp_path / "sqlite", SET[:1])
    with pytest.raises(DamagedError, match="no such column"):
        list(read_table(path, "Packages", ("hnum", "nothing")))


def test_a_table_that_gives_more_than_its_file_has_is_stopped(tmp_path: Path) -> None:
    # Interior pages that all lead to one leaf: a tree of a few pages with more rows than anybody can read.
    path = make_sqlite(tmp_path / "sqlite", [bytes(900)] * 40)
    data = bytearray(path.read_bytes())
    size = struct.unpack_from(">H", data, 16)[0]
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Packages'").fetchone()[0]
    db.close()
    at = (root - 1) * size
    assert data[at] == 5  # an interior page
    leaf = struct.unpack_from(">I", data, at + struct.unpack_from(">H", data, at + 12)[0])[0]
    cells = 500
    data[at : at + size] = bytes(size)
    data[at : at + 12] = struct.pack(">BHHHBI", 5, 0, cells, size - 5, 0, leaf)
    for cell in range(cells):
        struct.pack_into(">H", data, at + 12 + 2 * cell, size - 5)
    data[at + size - 5 : at + size] = struct.pack(">IB", leaf, 1)
    path.write_bytes(data)
    rows = read_sqlite(path)
    assert len([next(rows) for _ in range(80)]) == 80
    with pytest.raises(DamagedError, match="more than the file can hold"):
        list(rows)


@pytest.mark.parametrize("length", [0, 10, 100, 5000])
def test_a_truncated_sqlite_is_refused(tmp_path: Path, length: int) -> None:
    path = make_sqlite(tmp_path / "sqlite", SET)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedError):
        list(read_sqlite(path))
