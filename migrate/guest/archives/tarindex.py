"""What a tar archive holds and where in it each content is, in one pass that reads no content.

Formats: ustar and pax (POSIX.1-2017, pax), GNU (long names, sparse files of all four kinds, base-256 numbers:
GNU tar manual, "Basic Tar Format"), extended attributes as star and GNU tar (`SCHILY.xattr.NAME`) and
libarchive (`LIBARCHIVE.xattr.NAME`) write them. The archive is hostile: names never lead out of the root, what
a header claims costs no more memory than `_Frugal` lets it, and all entries together no more than `Budget` does.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import sys
import tarfile
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import IO, cast

import msgspec

from migrate.errors import DiskError
from migrate.guest.protocol import Entry, Kind, Problem
from migrate.guest.spool import pread_pieces, zeros
from migrate.guest.tree import encode, parent, shared
from migrate.text import show

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 16 << 20
MAX_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
"""The most bytes that the names and attributes of one archive may take: half of what the host has."""

MAX_PROBLEMS = 1000
"""How many problems of one archive are told one by one."""

# limits.h: what no path and no symbolic link on Linux is longer than. A header may hold a name of megabytes, and with
# `a/a/a/…` each of its directories has a path half as long: 1 GiB for a name of 64 KiB.
_PATH_MAX = 4096
_NAME_MAX = 255
_PER_ENTRY = 512  # bytes: measured for an Entry with its place in the tree (migrate.guest.tree)
_PER_EXTENT = 128
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
# What tarfile raises for headers that no program writes, beside its own errors.
_ERRORS = (tarfile.TarError, OSError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)


class Extent(msgspec.Struct, frozen=True, gc=False):
    """A piece of a file's content: `length` bytes at `offset` of the file are at `start` of the archive."""

    offset: int
    length: int
    start: int


class Budget:
    """How much memory, in bytes, what an archive names may still take."""

    __slots__ = ("_left", "_whole")

    def __init__(self, count: int = MAX_MEMORY) -> None:
        self._whole = self._left = count

    def take(self, count: int, title: str) -> None:
        """Take some of it. Raises DiskError where there is no more."""
        self._left -= count
        if self._left < 0:
            found = f"its names and attributes take more than {self._whole >> 20} MiB of memory"
            do = "read it on a host with more memory, if it is no attack"
            raise DiskError(f"read the archive {title}", found, do)


class TarIndex:
    """The entries of an archive by path, and where their contents stand.

    `entries` have guest paths below `/`. `problems` is what the archive names that no tree can hold.
    `prefix` is put before every name: the guest's directory that the archive was made of. `device` is the first
    half of the inode numbers given. With `may_be_cut` the entries before a damage are kept. `window` is where in the
    file the archive is: the first byte's place and how many there are. A `layer` of an image is known to be whole,
    and its hard links to what it does not have are kept as `outside`, from the link's path to the target's.
    Raises DiskError for an archive that is cut short, damaged, or none at all.
    """

    def __init__(
        self,
        file: IO[bytes],
        title: str,
        *,
        prefix: str = "",
        device: int = 0,
        may_be_cut: bool = False,
        window: tuple[int, int] | None = None,
        layer: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self._file = file
        self._title = title
        self._prefix = prefix
        self._device = device
        self._layer = layer
        self._start, size = window or (0, sys.maxsize)
        self._source = _Frugal(file, self._start, size)
        self._budget = budget or Budget(MAX_MEMORY)
        self._where: dict[str, int | tuple[Extent, ...]] = {}
        self.entries: dict[str, Entry] = {}
        self.outside: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._untold = 0
        self._implied: set[str] = set()
        self._linked: set[tuple[int, int]] = set()
        self._count = 0
        try:
            for info in self._members():
                self._add(info)
        except _ERRORS as error:
            if not may_be_cut:
                told = str(error) if isinstance(error, tarfile.TarError | OSError) else ""
                at = f"a header before byte {self._source.tell()} cannot be understood"
                raise self._damaged(told or at) from error
        self._implied = set()
        if self._untold:
            self.problems.append(Problem(path="/", why=f"{self._untold} more of its entries could not be read"))
        self._count_links()

    def _damaged(self, found: str) -> DiskError:
        return DiskError(f"read the archive {self._title}", f"{show(found)}", "make or copy the archive again")

    def _members(self) -> Iterator[tarfile.TarInfo]:
        if self._layer and not self._source.size:  # Go's archive/tar takes nothing at all for an archive without files
            return
        archive = tarfile.open(  # noqa: SIM115 - it owns nothing; the file is the caller's
            fileobj=cast("IO[bytes]", self._source),
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
            sparse: list[tuple[int, int]] = getattr(info, "sparse", None) or []
            if info.offset_data + sum(length for _, length in sparse) > archive.offset:
                raise tarfile.ReadError(f"{show(info.name)} has more content by its map than the archive has")
            yield info
            self._source.spent = 0
            # tarfile keeps every header it has read, 1.5 KiB each; its documentation has no way to forget them.
            archive.members = []  # type: ignore[attr-defined]
        self._check_end(archive.offset)

    def _check_end(self, offset: int) -> None:
        """Tell the end of an archive from damage, which tarfile takes for the end too."""
        self._source.seek(offset)
        block = self._source.read(_BLOCK)
        if not block and not self._layer:
            why = "the archive has no end mark: it may have been cut between two files"
            self.problems.append(Problem(path="/", why=why))
        elif 0 < len(block) < _BLOCK:
            raise tarfile.ReadError(f"it is cut short: a header at byte {offset} is incomplete")
        elif any(block):
            raise tarfile.ReadError(f"it is damaged: no valid header at byte {offset}")

    def _add(self, info: tarfile.TarInfo) -> None:
        path = self._path(info.name)
        if path is None:
            self._skip(info, "its name leads out of the archive with `..`, or holds NUL")
        elif _is_too_long(path) or len(info.linkname) > _PATH_MAX:
            self._skip(info, f"it has a name of more than {_NAME_MAX} bytes, or a path of more than {_PATH_MAX}")
        elif info.type == tarfile.LNKTYPE:
            self._add_link(info, path)
        elif info.type in _KINDS:
            self._count += 1
            entry = _entry(info, path, _KINDS[info.type], (self._device, self._count))
            self._put(entry)
            if entry.kind == "file":
                where = self._where[path] = _location(info, self._start)
                self._spend(0 if isinstance(where, int) else _PER_EXTENT * len(where))
        else:
            self._skip(info, f"the archive has it as type {info.type!r}, which is no kind of file")

    def _put(self, entry: Entry) -> None:
        """Keep an entry, in place of what had its path, and count what it and the directories above it take."""
        self._where.pop(entry.path, None)
        self.outside.pop(entry.path, None)
        self.entries[entry.path] = entry
        self._spend(2 * len(entry.path) + len(entry.target) + sum(len(name) + len(data) for name, data in entry.xattrs))
        above = parent(entry.path)
        while above not in self.entries and above not in self._implied:
            self._implied.add(above)
            self._spend(2 * len(above))
            above = parent(above)

    def _spend(self, count: int) -> None:
        if count:
            self._budget.take(_PER_ENTRY + count, self._title)

    def _skip(self, info: tarfile.TarInfo, why: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            path = f"/{info.name.lstrip('/')}"
            self.problems.append(Problem(path=path[:_PATH_MAX], why=why))
        else:
            self._untold += 1

    def _path(self, name: str) -> str | None:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in name:
            return None
        return f"{self._prefix}/{'/'.join(parts)}" if parts else self._prefix or "/"

    def _add_link(self, info: tarfile.TarInfo, path: str) -> None:
        target = self._path(info.linkname)
        original = self.entries.get(target or "")
        if self._layer and target is not None and original is None:
            self._forget(path)
            self.outside[path] = self.outside.get(target, target)
            self._spend(2 * len(path))
            return
        if original is None or original.kind == "directory":
            self._skip(info, f"a hard link to {show(info.linkname)}, which the archive does not have before it")
            return
        self._linked.add(original.inode)
        where = self._where.get(original.path)
        self._put(msgspec.structs.replace(original, path=path))
        if where is not None:
            self._where[path] = where

    def _forget(self, path: str) -> None:
        self.entries.pop(path, None)
        self._where.pop(path, None)

    def _count_links(self) -> None:
        names: dict[tuple[int, int], list[str]] = {inode: [] for inode in self._linked}
        for path, entry in self.entries.items() if names else ():
            if entry.inode in names:
                names[entry.inode].append(path)
        for paths in names.values():
            for path in paths if len(paths) > 1 else ():
                self.entries[path] = msgspec.structs.replace(self.entries[path], links=len(paths))
        self._linked = set()

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def __contains__(self, path: str) -> bool:
        return path in self._where

    def place(self, path: str) -> int | None:
        """Return where in the file a content stands in one piece, or None where it has holes. Raises KeyError."""
        where = self._where[path]
        return where if isinstance(where, int) else None

    def start(self, path: str) -> int:
        """Return where in the file a content begins; 0 where there is none but holes. Raises KeyError."""
        where = self._where[path]
        return where if isinstance(where, int) else where[0].start if where else 0

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
            yield from zeros(min(extent.offset, length) - at)
            at = max(at, min(extent.offset, length))
            wanted = min(extent.length, length - at)
            yield from pread_pieces(self._file, extent.start, wanted)
            at += wanted
        yield from zeros(length - at)


def _is_too_long(path: str) -> bool:
    if len(path) <= _NAME_MAX // 4:
        return False
    raw = encode(path)
    return len(raw) >= _PATH_MAX or any(len(name) > _NAME_MAX for name in raw.split(b"/"))


def _location(info: tarfile.TarInfo, first: int) -> int | tuple[Extent, ...]:
    """Return where a file's content is in an archive whose first byte is at `first` of the file."""
    sparse: list[tuple[int, int]] | None = getattr(info, "sparse", None)
    if sparse is None:
        return first + info.offset_data
    extents, start, end = [], first + info.offset_data, 0
    for offset, length in sparse:
        if not length:  # places of a GNU header that are not used are (0, 0), the end is (size, 0)
            continue
        if offset < end or length < 0 or offset + length > info.size:
            raise tarfile.ReadError(f"{show(info.name)} has an impossible map of its holes")
        extents.append(Extent(offset, length, start))
        start, end = start + length, offset + length
    return tuple(extents)


def _entry(info: tarfile.TarInfo, path: str, kind: Kind, inode: tuple[int, int]) -> Entry:
    sparse: list[tuple[int, int]] | None = getattr(info, "sparse", None)
    is_file, is_link, is_device = kind == "file", kind == "symlink", kind in {"char", "block"}
    return Entry(
        path=path,
        kind=kind,
        mode=shared(info.mode & 0o7777),
        uid=shared(info.uid),
        gid=shared(info.gid),
        size=shared(info.size if is_file else len(encode(info.linkname)) if is_link else 0),
        mtime=shared(math.floor(info.mtime) if math.isfinite(info.mtime) else 0),
        target=info.linkname if is_link else "",
        device=(info.devmajor, info.devminor) if is_device else (0, 0),
        inode=inode,
        allocated=shared(info.size if sparse is None else sum(length for _, length in sparse)) if is_file else 0,
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


class _Frugal:
    """An archive as tarfile sees it: it seeks as it likes, and reads no more than the headers of a member may need.

    tarfile reads a whole extended header, or map of holes, into memory, and its length is what the archive says.
    `spent` is how many bytes were read for the member so far.
    """

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._start = start
        self.size = size
        self._at = 0
        self.spent = 0

    def read(self, count: int = -1) -> bytes:
        self.spent += max(0, count)
        if count < 0 or self.spent > _MAX_HEADER:
            raise tarfile.ReadError(f"the header at byte {self._at} claims {self.spent} bytes for itself")
        here = max(0, min(count, self.size - self._at))
        data = os.pread(self._file.fileno(), here, self._start + self._at)
        if len(data) < here:
            rest = pread_pieces(self._file, self._start + self._at + len(data), here - len(data))
            data = b"".join((data, *rest))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or not 0 <= offset < 1 << 63:
            raise tarfile.ReadError(f"a header leads to byte {offset}")
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at
