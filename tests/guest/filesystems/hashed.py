"""Hashing many files at once, held against reading each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems.hashing import SHORT, Opened, Task, hash_tasks
from migrate.guest.filesystems.inprocess import InProcess, Read
from migrate.guest.protocol import Entry


def check_hashes(system: InProcess, read: Read, entries: Iterable[Entry]) -> int:
    """Check the digests of the short files, and return of how many there is one.

    Where one cannot be read, others near it may have none; none has a wrong one.
    """
    files = [entry for entry in entries if entry.kind == "file" and entry.size <= SHORT]
    wanted = [_digest(system, entry) for entry in files]
    found = hash_tasks([Opened(system, read)], [Task(0, entry.inode[1], entry.size, "md5") for entry in files])
    for entry, one, other in zip(files, found, wanted, strict=True):
        assert one == other or (one is None and None in wanted), entry.path
    return len(found) - found.count(None)


def _digest(system: InProcess, entry: Entry) -> bytes | None:
    try:
        content = b"".join(system.read_file(entry.path, entry.inode[1], entry.size))
    except (DiskError, GuestFileError):
        return None
    return hashlib.md5(content).digest() if len(content) == entry.size else None
