"""Turns what a package database says of a path into `Shipped`, with all that it does not say named as unchecked."""

from __future__ import annotations

import hashlib
import stat

from analyzers._packages import Kind, Record
from analyzers._reading import Reader, numbered
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Shipped

_TYPES = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}
_MAX_NAMES = 100_000


class Shipper:
    """Makes `Shipped` of records, with the machine's own names for the numbers of owners."""

    def __init__(self, reader: Reader, tree: Tree) -> None:
        self._guest: Guest = reader.guest
        self._tree = tree
        self._users = _names(reader.optional("/etc/passwd") or "")
        self._groups = _names(reader.optional("/etc/group") or "")

    def shipped(self, record: Record, algorithm: str) -> Shipped:
        """Return what is to be compared of a path; a digest by another algorithm is left out."""
        path = self._tree.real(record.path)
        name, _, digest = record.digest.partition(":")
        kind: Kind = record.kind
        target = record.target
        if kind == "symlink" and digest and not target:
            kind, target = self._link(path, name, digest)
        known = {
            "digest": kind == "file" and name == algorithm,
            "size": record.size is not None,
            "user": record.uid is not None,
            "group": record.gid is not None,
            "mtime": record.mtime is not None,
            "mode": record.mode is not None and kind in _TYPES,
            "target": kind == "symlink",
            "device": False,
            "capabilities": False,
        }
        return Shipped(
            path=path,
            mode=_TYPES.get(kind, 0) | (record.mode or 0),
            user=_name(record.uid, self._users),
            group=_name(record.gid, self._groups),
            size=record.size or 0,
            mtime=record.mtime or 0,
            digest=digest if known["digest"] else "",
            target=target if kind == "symlink" else "",
            flags=("config", "noreplace") if record.configuration else (),
            unchecked=tuple(what for what, is_known in known.items() if not is_known),
        )

    def _link(self, path: str, algorithm: str, digest: str) -> tuple[Kind, str]:
        """Return kind and target of what apk wrote as a symlink, with no more of its target than a digest.

        Where the link on the disk has that digest, its target is the one shipped; else none is known, and any
        differs. What is a regular file on the disk may have been shipped as one, for apk writes both alike.
        """
        entry = self._guest.lstat(path)
        if entry is not None and entry.kind == "file":
            return "file", ""
        if entry is None or algorithm not in hashlib.algorithms_guaranteed:
            return "symlink", ""
        found = hashlib.new(algorithm, entry.target.encode("utf-8", "surrogateescape"), usedforsecurity=False)
        return "symlink", entry.target if found.hexdigest() == digest else ""


def _name(number: int | None, names: dict[int, str]) -> str:
    return "" if number is None else names.get(number, str(number))


def _names(text: str) -> dict[int, str]:
    """Return the names of numbers in passwd(5) or group(5); the first line wins, as in getpwuid(3)."""
    found: dict[int, str] = {0: "root"}
    for _, line in numbered(text):
        fields = line.split(":", 3)
        if len(fields) > 3 and fields[2].isascii() and fields[2].isdigit() and len(fields[2]) < 11:
            found.setdefault(int(fields[2]), fields[0])
            if len(found) >= _MAX_NAMES:
                break
    return found
