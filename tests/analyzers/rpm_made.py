"""Makes headers of rpm packages, and databases of them in every back end, for tests."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from analyzers import _rpm_header as tags
from tests.guest.made import needs, run

Value: TypeAlias = "str | bytes | Sequence[str] | Sequence[int]"
_I16 = {tags.FILEMODES}
_I8 = {tags.FILESTATES}
_I64 = {tags.LONGFILESIZES}
_REGION = 63  # HEADERIMMUTABLE
NUMBERS = {2: "B", 3: "H", 4: "I", 5: "Q"}


def _encoded(tag: int, value: Value) -> tuple[int, int, bytes]:
    """Return (type, count, data)."""
    if isinstance(value, bytes):
        return 7, len(value), value
    if isinstance(value, str):
        return 6, 1, value.encode("utf-8", "surrogateescape") + b"\0"
    texts = [v for v in value if isinstance(v, str)]
    if texts:
        return 8, len(texts), b"".join(t.encode("utf-8", "surrogateescape") + b"\0" for t in texts)
    kind = 3 if tag in _I16 else 2 if tag in _I8 else 5 if tag in _I64 else 4
    numbers = [v for v in value if isinstance(v, int)]
    return kind, len(numbers), struct.pack(f">{len(numbers)}{NUMBERS[kind]}", *numbers)


def header(fields: Mapping[int, Value], after: Mapping[int, Value] | None = None) -> bytes:
    """Return a header as a database holds it: a region, with its trailer, and what was added `after` it."""
    index, data = b"", b""

    def add(tag: int, value: Value) -> None:
        nonlocal index, data
        kind, count, raw = _encoded(tag, value)
        data += bytes(-len(data) % {3: 2, 4: 4, 5: 8}.get(kind, 1))
        index += struct.pack(">IIiI", tag, kind, len(data), count)
        data += raw

    for tag, value in sorted(fields.items()):
        add(tag, value)
    region = struct.pack(">IIiI", _REGION, 7, len(data), 16)
    data += struct.pack(">IIiI", _REGION, 7, -(len(index) + 16), 16)
    for tag, value in sorted((after or {}).items()):
        add(tag, value)
    index = region + index
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


def package(name: str, version: str = "1", release: str = "1", arch: str = "x86_64", **fields: object) -> bytes:
    """Return the header of a package; `t1234=value` sets a tag, `files` is a mapping of path to digest."""
    found: dict[int, Value] = {
        tags.NAME: name, tags.VERSION: version, tags.RELEASE: release, tags.ARCH: arch, tags.GROUP: "Unspecified",
        tags.SOURCERPM: f"{name}-{version}-{release}.src.rpm", tags.PROVIDENAME: [name], tags.PROVIDEFLAGS: [8],
        tags.PROVIDEVERSION: [f"{version}-{release}"],
    }  # fmt: skip
    files = fields.pop("files", {})
    assert isinstance(files, Mapping)
    if files:
        folders = sorted({path.rpartition("/")[0] + "/" for path in files})
        found |= {
            tags.BASENAMES: [path.rpartition("/")[2] for path in files],
            tags.DIRNAMES: folders,
            tags.DIRINDEXES: [folders.index(path.rpartition("/")[0] + "/") for path in files],
            tags.FILEDIGESTS: list(files.values()),
            tags.FILEMODES: [0o100644] * len(files),
            tags.FILEDIGESTALGO: [8],
        }
    for key, value in fields.items():
        found[int(key[1:])] = value  # type: ignore[assignment]  # tests know what they write
    return header(found)


def make_sqlite(path: Path, headers: Sequence[bytes], wal: bool = False) -> Path:
    """Write rpmdb.sqlite; with `wal`, the packages are in the write-ahead log alone."""
    db = sqlite3.connect(path, isolation_level=None)
    if wal:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    db.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in headers])
    if wal:  # what a machine leaves that is switched off: closing would fold the log into the database
        copies = {name: path.with_name(name).read_bytes() for name in (path.name, f"{path.name}-wal")}
        db.close()
        for name, data in copies.items():
            path.with_name(name).write_bytes(data)
    else:
        db.close()
    return path


def make_ndb(path: Path, headers: Sequence[bytes]) -> Path:
    """Write Packages.db as rpmpkg.c does: one page of slots, then the blobs."""
    slots, blobs = b"", b""
    for number, blob in enumerate(headers, 1):
        start = 256 + len(blobs) // 16
        whole = struct.pack("<4sIII", b"BlbS", number, number, len(blob)) + blob
        whole += bytes(-(len(whole) + 12) % 16)
        whole += struct.pack("<II4s", zlib.adler32(whole), len(blob), b"BlbE")
        slots += struct.pack("<4sIII", b"Slot", number, start, len(whole) // 16)
        blobs += whole
    head = struct.pack("<4sIIII", b"RpmP", 0, len(headers), 1, len(headers) + 1).ljust(32, b"\0") + slots
    free = struct.pack("<4sIII", b"Slot", 0, 0, 0)
    path.write_bytes(head + free * ((4096 - len(head)) // 16) + blobs)
    return path


def make_bdb(path: Path, headers: Sequence[bytes], order: str = "<", page_size: int = 4096) -> Path:
    """Write Packages with Berkeley DB's own program, in either byte order."""
    needs("db5.3_load")
    word = "1234" if order == "<" else "4321"
    lines = [
        "VERSION=3",
        "format=bytevalue",
        "type=hash",
        f"db_lorder={word}",
        f"db_pagesize={page_size}",
        "HEADER=END",
    ]
    for number, blob in enumerate([struct.pack(f"{order}I", len(headers)), *headers]):
        lines += [f" {struct.pack(f'{order}I', number).hex()}", f" {blob.hex()}"]
    run("db5.3_load", path, stdin="\n".join([*lines, "DATA=END", ""]))
    return path
