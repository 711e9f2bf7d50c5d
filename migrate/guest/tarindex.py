"""What a tar archive holds and where in it each content is, in one pass that reads no content.

Formats: ustar and pax (POSIX.1-2017, pax), GNU (long names, sparse files of all four kinds, base-256 numbers:
GNU tar manual, "Basic Tar Format"), extended attributes as star and GNU tar (`SCHILY.xattr.NAME`) and
libarchive (`LIBARCHIVE.xattr.NAME`) write them. The archive is hostile: names never lead out of the root, and what
a header claims costs no more memory than `_Frugal` lets it.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import tarfile
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import IO, cast

import msgspec

from migrate.errors import DiskError
from migrate.guest.protocol import Entry, Kind, Problem
from migrate.guest.spool import pread_pieces
from migrate.guest.tree import encode
from migrate.text import show

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 16 << 20
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "directory",
    b"D": "directory",  # GNU incremental dump: a directory with a list of names as its content
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_ZEROS = bytes(1 << 20)
# What tarfile raises for headers that no program writes, beside its own errors.
_ERRORS = (tarfile.TarError, OSError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)


class Extent(msgspec.Struct, frozen=True, gc=False):
    """A piece of a file's content: `length` bytes at `offset` of the file are at `start` of the archive."""

    offset: int
    length: int
    start: int


class TarIndex:
    """The entries of an archive by path, and where their contents stand.

    `entries` have guest paths below `/`. `problems` is what the archive names that no tree can hold.
    `prefix` is put before every name: the guest's directory that the archive was made of. `device` is the first
    half of the inode numbers given. With `may_be_cut` the entries before a damage are kept.
    Raises DiskError for an archive that is cut short, damaged, or none at all.
    """

    def __init__(
        self, file: IO[bytes], title: str, *, prefix: str = "", device: int = 0, may_be_cut: bool = False
    ) -> None:
        self._file = file
        self._title = title
        self._prefix = prefix
        self._device = device
        self._where: dict[str, int | tuple[Extent, ...]] = {}
        self.entries: dict[str, Entry] = {}
        self.problems: list[Problem] = []
        self._count = 0
        try:
            for info in self._members():
                self._add(info)
        except _ERRORS as error:
            if not may_be_cut:
                raise self._damaged(str(error) or type(error).__name__) from error
        self._count_links()

    def _damaged(self, found: str) -> DiskError:
        return DiskError(f"read the archive {self._title}", f"{show(found)}", "make or copy the archive again")

    def _members(self) -> Iterator[tarfile.TarInfo]:
        source = _Frugal(self._file)
        archive = tarfile.open(  # noqa: SIM115 - it owns nothing; the file is the caller's
            fileobj=cast("IO[bytes]", source),
            mode="r:",
            encoding="utf-8",
            errors="surrogateescape",
            format=tarfile.GNU_FORMAT,
        )
        last = -1
        while (info := archive.next()) is not None:
            # A negative size would lead back to headers already read, for ever (CVE-2025-8194).
            if archive.offset <= last or info.size < 0 or info.offset_data < 0:
                raise tarfile.ReadError(f"the header at byte {info.offset} has an impossible size")
            last = archive.offset
            yield info
            # tarfile keeps every header it has read, 1.5 KiB each; its documentation has no way to forget them.
            archive.members = []  # type: ignore[attr-defined]
        self._check_end(archive.offset)

    def _check_end(self, offset: int) -> None:
        """Tell the end of an archive from damage, which tarfile takes for the end too."""
        block = os.pread(self._file.fileno(), _BLOCK, offset)
        if not block:
            why = "the archive has no end mark: it may have been cut between two files"
            self.problems.append(Problem(path="/", why=why))
        elif len(block) < _BLOCK:
            raise tarfile.ReadError(f"it is cut short: a header at byte {offset} is incomplete")
        elif any(block):
            raise tarfile.ReadError(f"it is damaged: no valid header at byte {offset}")

    def _add(self, info: tarfile.TarInfo) -> None:
        path = self._path(info.name)
        if path is None:
            self._skip(info, "its name leads out of the archive with `..`, or holds NUL")
        elif info.type == tarfile.LNKTYPE:
            self._add_link(info, path)
        elif info.type in _KINDS:
            self._count += 1
            self._where.pop(path, None)
            entry = _entry(info, path, _KINDS[info.type], (self._device, self._count))
            self.entries[path] = entry
            if entry.kind == "file":
                self._where[path] = _location(info)
        else:
            self._skip(info, f"the archive has it as type {info.type!r}, which is no kind of file")

    def _skip(self, info: tarfile.TarInfo, why: str) -> None:
        self.problems.append(Problem(path=f"/{info.name.lstrip('/')}", why=why))

    def _path(self, name: str) -> str | None:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in name:
            return None
        return f"{self._prefix}/{'/'.join(parts)}" if parts else self._prefix or "/"

    def _add_link(self, info: tarfile.TarInfo, path: str) -> None:
        target = self._path(info.linkname)
        original = self.entries.get(target or "")
        if original is None or original.kind == "directory":
            self._skip(info, f"a hard link to {show(info.linkname)}, which the archive does not have before it")
            return
        self.entries[path] = msgspec.structs.replace(original, path=path)
        self._where.pop(path, None)
        if original.path in self._where:
            self._where[path] = self._where[original.path]

    def _count_links(self) -> None:
        names: dict[tuple[int, int], list[str]] = {}
        for path, entry in self.entries.items():
            if entry.kind != "directory":
                names.setdefault(entry.inode, []).append(path)
        for paths in names.values():
            for path in paths if len(paths) > 1 else ():
                self.entries[path] = msgspec.structs.replace(self.entries[path], links=len(paths))

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def __contains__(self, path: str) -> bool:
        return path in self._where

    def pieces(self, path: str, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of a file's content, holes as zeros. Raises KeyError, OSError."""
        where = self._where[path]
        if isinstance(where, int):
            yield from pread_pieces(self._file, where, length)
            return
        at = 0
        for extent in where:
            if at >= length:
                return
            yield from _zeros(min(extent.offset, length) - at)
            at = max(at, min(extent.offset, length))
            wanted = min(extent.length, length - at)
            yield from pread_pieces(self._file, extent.start, wanted)
            at += wanted
        yield from _zeros(length - at)


def _location(info: tarfile.TarInfo) -> int | tuple[Extent, ...]:
    sparse: list[tuple[int, int]] | None = getattr(info, "sparse", None)
    if sparse is None:
        return info.offset_data
    extents, start, end = [], info.offset_data, 0
    for offset, length in sparse:
        if offset < end or length < 0 or offset + length > info.size:
            raise tarfile.ReadError(f"{show(info.name)} has an impossible map of its holes")
        if length:
            extents.append(Extent(offset, length, start))
        start, end = start + length, offset + length
    return tuple(extents)


def _entry(info: tarfile.TarInfo, path: str, kind: Kind, inode: tuple[int, int]) -> Entry:
    sparse: list[tuple[int, int]] | None = getattr(info, "sparse", None)
    is_file, is_link, is_device = kind == "file", kind == "symlink", kind in {"char", "block"}
    return Entry(
        path=path,
        kind=kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        size=info.size if is_file else len(encode(info.linkname)) if is_link else 0,
        mtime=math.floor(info.mtime) if math.isfinite(info.mtime) else 0,
        target=info.linkname if is_link else "",
        device=(info.devmajor, info.devminor) if is_device else (0, 0),
        inode=inode,
        allocated=(info.size if sparse is None else sum(length for _, length in sparse)) if is_file else 0,
        xattrs=_xattrs(info.pax_headers),
    )


def _xattrs(headers: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    found = {}
    for key, value in headers.items():
        if key.startswith("SCHILY.xattr."):
            found[key.removeprefix("SCHILY.xattr.")] = encode(value)
        elif key.startswith("LIBARCHIVE.xattr."):
            name = urllib.parse.unquote(key.removeprefix("LIBARCHIVE.xattr."))
            try:
                found.setdefault(name, base64.b64decode(value + "=" * (-len(value) % 4)))
            except (ValueError, binascii.Error):
                continue
    return tuple(sorted(found.items()))


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = _ZEROS[:count]
        yield piece
        count -= len(piece)


class _Frugal:
    """The archive as tarfile sees it: it seeks as it likes, and reads no more at once than a header may need.

    tarfile reads a whole extended header into memory, and its length is what the archive says.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _MAX_HEADER:
            raise tarfile.ReadError(f"the header at byte {self._at} claims {count} bytes for itself")
        data = b"".join(pread_pieces(self._file, self._at, count))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < 0:
            raise tarfile.ReadError(f"a header leads to byte {offset}")
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at
