"""Tables of SQLite databases that a guest brought: rpm's own (`rpmdb.sqlite`) and dnf's history.

SQLite is made to open hostile files (sqlite.org/security.html), with what that page asks for: a private copy, no
trusted schema, limits, a handler that stops a query. Only plain tables are read, never a view or a virtual table,
and only whole: what a schema defines (functions, triggers, generated columns) is denied by the authorizer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analyzers._rpm_header import MAX_HEADER, DamagedError

_STEP = 10_000  # virtual machine instructions between two looks
_MAX_STEPS = 10_000  # 10⁸ instructions, some 10 s; a table of 130 packages takes 700
_EXCESS = 2  # a table of N bytes cannot give more than that, unless its pages are used many times


class NoTableError(DamagedError):
    """A database has no table of that name, or something else is called so."""


def _connect(path: Path) -> sqlite3.Connection:
    # A copy without a write-ahead log is opened as unchangeable, so nothing is made beside it; with one, SQLite
    # has to build its index, in the private folder.
    journal = path.with_name(path.name + "-wal")
    how = "mode=rw" if journal.exists() and journal.stat().st_size else "mode=ro&immutable=1"
    db = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, isolation_level=None)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0", "temp_store=MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.text_factory = bytes
    steps = 0

    def stop() -> int:
        nonlocal steps
        steps += 1
        return int(steps > _MAX_STEPS)

    db.set_progress_handler(stop, _STEP)
    return db


def _rows(db: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    found = db.execute("SELECT type, rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchmany(2)
    if [(kind, root > 0) for kind, root in found if isinstance(root, int)] != [(b"table", True)]:
        raise NoTableError(f"it has no table {table}")

    def allow(action: int, first: str | None, _second: str | None, _name: str | None, source: str | None) -> int:
        reads = action == sqlite3.SQLITE_READ and first == table
        return (
            sqlite3.SQLITE_OK if source is None and (reads or action == sqlite3.SQLITE_SELECT) else sqlite3.SQLITE_DENY
        )

    db.set_authorizer(allow)
    names = ", ".join(f"[{column}]" for column in columns)
    yield from db.execute(f'SELECT {names} FROM "{table}" NOT INDEXED')  # noqa: S608  # names are ours


def read_table(path: Path, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table of a private copy; text comes as bytes. `-wal` beside it is honoured.

    Raises DamagedError where it is no database, breaks off, or takes too long, NoTableError where it has no such table.
    """
    left = _EXCESS * sum(part.stat().st_size for part in path.parent.glob(path.name + "*"))
    try:
        with closing(_connect(path)) as db:
            for row in _rows(db, table, columns):
                left -= sum(len(value) for value in row if isinstance(value, bytes)) + len(row)
                if left < 0:
                    raise DamagedError(f"table {table} gives more than the file can hold")
                yield row
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError, MemoryError) as error:
        # UnicodeError: a message of SQLite's own holds a name of the schema, which may be no UTF-8.
        raise DamagedError(f"SQLite: {error}") from error


def read_sqlite(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, header) of each package in a private copy of rpmdb.sqlite. Raises DamagedError, also half way."""
    for number, blob in read_table(path, "Packages", ("hnum", "blob")):
        if not isinstance(number, int) or not isinstance(blob, bytes):
            raise DamagedError("a package that is no header")
        yield number, blob
