"""NTFS, read in process: what ntfs-3g shows of one mounted with `ro`, which is what libguestfs mounts it with.

That is mode 0777 and root for everything; the first files, which are the volume's own, are not shown. What it shows in
a way of its own is refused: reparse points, named streams and extended attributes (among the file's attributes),
compressed and encrypted content, special files, files whose attributes need more than one record. No library: pyfsntfs
(libfsntfs 20260827) reads all of the structures, and says neither what a file takes, nor what is free, nor whether the
volume was left clean.

What is shown: ntfs-3g 2022.10.3, src/ntfs-3g.c (ntfs_fuse_getattr), libntfs-3g/dir.c (ntfs_readdir), inode.c.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Never, TypeVar

import msgspec

from migrate.errors import GuestFileError
from migrate.guest.filesystems.inprocess import DamagedError, Found, Read, Usage
from migrate.guest.filesystems.ntfsboot import (
    BITMAP,
    FIRST_USER,
    LENGTH,
    LOG,
    TOP,
    UPCASE,
    Boot,
    log_is_clean,
    parse_boot,
    probe,
)
from migrate.guest.filesystems.ntfsindex import DIRECTORY_NAME, Key, Node, parse_key, parse_nodes, text_of, walk
from migrate.guest.filesystems.ntfsrecord import (
    BITMAP_OF,
    DATA,
    EA,
    EA_INFORMATION,
    FILE_NAME,
    INDEX_ALLOCATION,
    INDEX_ROOT,
    REPARSE_POINT,
    SECTOR,
    SPARSE,
    STANDARD,
    Attribute,
    Record,
    parse_record,
    parse_runs,
    restored,
    unix_time,
)
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE, zeros
from migrate.guest.tree import encode, join
from migrate.text import show

__all__ = ["Ntfs", "probe", "top_names"]

_INDEX = "$I30".encode("utf-16-le")
_HIDDEN, _SYSTEM, _REPARSE, _ENCRYPTED = 0x2, 0x4, 0x400, 0x4000
_DOS_NAME = 2
_MOST_BITMAP = 1 << 20  # bytes: 8 million blocks of a directory's index
_MOST_PATH = 4095  # PATH_MAX, linux/limits.h
_MAPPING = ".NTFS-3G"  # a directory of it turns owners and permissions on
_SYMLINK = b"IntxLNK\x01"
_T = TypeVar("_T")


class _File(msgspec.Struct, frozen=True):
    """A file's record with what is told of it; `target` is an Interix symbolic link's."""

    record: Record
    mtime: int
    data: Attribute | None
    target: str | None


class Ntfs:
    """One file system. `name` is the device's name in errors, `device` a number that tells its inodes from others.

    Raises DamagedError where it cannot be read with certainty, DiskError as `read` does. With `clean=False` one that
    was not unmounted cleanly, or whose mirror is damaged, is opened too.
    """

    def __init__(self, read: Read, size: int, name: str, device: int = 0, *, clean: bool = True) -> None:
        self._read = read
        self._name = name
        self._device = device
        boot = parse_boot(read(0, LENGTH)) if size >= LENGTH else None
        if boot is None:
            self._fail("it holds no NTFS")
        self.boot: Boot = boot
        if boot.size > size:
            self._fail(f"the file system is {boot.size} bytes long, and its device {size}")
        first = self._checked("the master file table", lambda: parse_record(read(boot.table, boot.record)))
        self._table = self._mapped("the master file table", self._data_of(first))
        self._upcase = array("H")
        if clean:
            self._check(probe(read, size))
        self._upcase = self._upcase_table()

    def _fail(self, why: str) -> Never:
        raise DamagedError(f"read {show(self._name)} without mounting it", show(why))

    def _checked(self, what: str, parse: Callable[[], _T]) -> _T:
        try:
            return parse()
        except ValueError as error:
            why = "a name in it is not UTF-16" if isinstance(error, UnicodeError) else error
            self._fail(f"{what}: {why}")

    def _check(self, found: Found | None) -> None:
        """Check what a mount checks: the volume's state, its mirror and its log."""
        if found is None or found.why_not:
            self._fail("it holds no NTFS" if found is None else found.why_not)
        for number in range(4):
            place = self.boot.mirror + number * self.boot.record
            mirror = self._checked("its mirror", lambda at=place: parse_record(self._read(at, self.boot.record)))  # type: ignore[misc]
            if mirror.used != self.record(number).used:
                self._fail("its mirror is another")
        for number in range(UPCASE + 2):  # a mount opens them
            self.record(number)
        log = self._data_of(self.record(LOG))
        start = b"".join(self._content("its log", log, min(SECTOR, log.size if log else 0)))
        if len(start) < SECTOR or not log_is_clean(start):
            self._fail("its log is not empty: it was not unmounted cleanly")

    def _upcase_table(self) -> array[int]:
        data = self._data_of(self.record(UPCASE))
        if data is None or data.size != 131072:
            self._fail("its table of capital letters is damaged")
        content = b"".join(self._content("its table of capital letters", data, data.size))
        return array("H", struct.unpack("<65536H", content))

    # ------------------------------------------------------------ records and their content

    def record(self, number: int, sequence: int = 0) -> Record:
        """Return a record of the master file table; `sequence` is what names it expects, or 0."""
        boot = self.boot
        data = b"".join(self._within(self._table, number * boot.record, boot.record))
        if len(data) < boot.record:
            self._fail(f"there is no file {number}")
        found = self._checked(f"file {number}", lambda: parse_record(data))
        if sequence and found.sequence != sequence:
            self._fail(f"file {number} is not the one that is named")
        return found

    def _data_of(self, record: Record) -> Attribute | None:
        return self._checked("a file", lambda: record.one(DATA))

    def _mapped(self, what: str, attribute: Attribute | None) -> list[tuple[int, int]]:
        if attribute is None or attribute.flags & ~SPARSE:
            self._fail(f"{what}: its content is compressed, encrypted or missing")
        if attribute.size > 1 << 46:
            self._fail(f"{what}: it is too large")
        return self._checked(what, lambda: parse_runs(attribute, self.boot.cluster, self.boot.clusters))

    def _content(self, what: str, attribute: Attribute | None, length: int) -> Iterator[bytes]:
        """Yield the start of an attribute's content: holes, and what was never written, as zeros."""
        length = min(length, attribute.size) if attribute else 0
        if attribute is None or not length:
            return
        if attribute.value is not None:
            yield attribute.value[:length]
            return
        cluster, at = self.boot.cluster, 0
        written = min(length, attribute.initialized)
        for first, count in self._mapped(what, attribute):
            end = min(at + count * cluster, written)
            if first < 0:
                yield from zeros(end - at)
                at = max(at, end)
                continue
            start = first * cluster - at
            while at < end:
                piece = self._read(start + at, min(PIECE, end - at))
                yield piece
                at += len(piece)
        yield from zeros(length - at)

    def usage(self) -> Usage:
        """Return its clusters and the free ones, as ntfs-3g counts them."""
        bitmap = self._data_of(self.record(BITMAP))
        if bitmap is None or not self.boot.clusters <= bitmap.size * 8 <= self.boot.clusters + 1024:
            self._fail("its bitmap is damaged")
        pieces = self._content("its bitmap", bitmap, bitmap.size)
        used = sum(int.from_bytes(piece, "little").bit_count() for piece in pieces)
        return Usage(block_size=self.boot.cluster, blocks=self.boot.clusters, free=bitmap.size * 8 - used)

    # ------------------------------------------------------------ names

    def names(self, number: int, record: Record) -> list[tuple[str, Key]]:
        """Return the names in a directory; those that only DOS sees, and the volume's own files, are left out."""
        what = f"the directory of file {number}"
        found: list[tuple[str, Key]] = []
        last: tuple[list[int], list[int]] | None = None
        for key in self._keys(what, record):
            if self._upcase:
                units = list(struct.unpack(f"<{len(key.name) // 2}H", key.name))
                order = [self._upcase[unit] for unit in units], units
                if last is not None and order <= last:
                    self._fail(f"{what}: its names are not in order")
                last = order
            if key.parent != number:
                self._fail(f"{what}: a name in it is another's")
            if key.namespace != _DOS_NAME and key.number >= FIRST_USER:
                found.append((self._checked(what, lambda raw=key.name: text_of(raw)), key))  # type: ignore[misc]
        return found

    def _keys(self, what: str, record: Record) -> Iterator[Key]:
        """Yield the keys of a directory's index in their order: a tree of blocks, each of them in it once."""
        root = self._checked(what, lambda: record.one(INDEX_ROOT, _INDEX))
        if root is None or root.value is None or len(root.value) < 32 or not record.is_directory:
            self._fail(f"{what}: it is no directory")
        kind, rule, size = struct.unpack_from("<III", root.value)
        if kind != 0x30 or rule != 1 or size not in {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}:
            self._fail(f"{what}: its index is of a kind that is not read here")
        value, seen = root.value, set[int]()
        keys = walk(self._checked(what, lambda: parse_nodes(value, 16)), self._blocks(what, record, size), seen)
        while (key := self._checked(what, lambda: next(keys, None))) is not None:
            yield key
        if seen != self._blocks_in_use(what, record, size):
            self._fail(f"{what}: its index has blocks that nothing leads to")

    def _blocks(self, what: str, record: Record, size: int) -> Callable[[int], list[Node]]:
        """Return what reads a block of a directory's index, by its number in units of clusters or sectors."""
        allocation = self._checked(what, lambda: record.one(INDEX_ALLOCATION, _INDEX))
        unit = self.boot.cluster if size >= self.boot.cluster else SECTOR
        runs = self._mapped(what, allocation) if allocation is not None and allocation.value is None else []
        limit = allocation.initialized if allocation is not None else 0

        def block(number: int) -> list[Node]:
            at = number * unit
            if at + size > limit:
                self._fail(f"{what}: its index is damaged")
            data = self._checked(what, lambda: restored(b"".join(self._within(runs, at, size)), b"INDX"))
            if struct.unpack_from("<Q", data, 16)[0] != number:
                self._fail(f"{what}: its index is damaged")
            return self._checked(what, lambda: parse_nodes(data, 24))

        return block

    def _blocks_in_use(self, what: str, record: Record, size: int) -> set[int]:
        """Return the blocks of a directory's index that its bitmap tells: those that ntfs-3g lists."""
        bitmap = self._checked(what, lambda: record.one(BITMAP_OF, _INDEX))
        if bitmap is None:
            return set()
        if bitmap.size > _MOST_BITMAP:
            self._fail(f"{what}: it is too large")
        bits = int.from_bytes(b"".join(self._content(what, bitmap, bitmap.size)), "little")
        step = size // self.boot.cluster if size >= self.boot.cluster else size // SECTOR
        text = f"{bits:b}"[::-1]
        return {number * step for number, bit in enumerate(text) if bit == "1"}

    def _within(self, runs: list[tuple[int, int]], at: int, length: int) -> Iterator[bytes]:
        """Yield bytes of an attribute whose runs are known."""
        cluster = self.boot.cluster
        for first, count in runs:
            if at < count * cluster and length:
                part = min(length, count * cluster - at)
                yield self._read(first * cluster + at, part) if first >= 0 else bytes(part)
                at, length = at + part, length - part
            at -= count * cluster

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, the top's as `/`. Raises DamagedError, DiskError."""
        top = self._file("/", self.record(TOP))
        yield self._entry("/", TOP, top)
        todo, seen = [("/", TOP, top.record)], {TOP}
        while todo:
            path, number, directory = todo.pop()
            for name, key in sorted(self.names(number, directory), key=lambda each: encode(each[0])):
                full = join(path, name)
                if len(encode(full)) > _MOST_PATH or full == f"/{_MAPPING}":
                    self._fail(f"{full}: what ntfs-3g makes of it is not known here")
                record = self.record(key.number, key.sequence)
                self._check_name(full, key, record)
                file = self._file(full, record)
                if file.record.is_directory:
                    if key.number in seen:
                        self._fail(f"the directory of file {key.number} is in two places")
                    seen.add(key.number)
                    todo.append((full, key.number, file.record))
                yield self._entry(full, key.number, file)

    def _check_name(self, path: str, key: Key, record: Record) -> None:
        """Check that a file has the name itself by which a directory has it, and is of that kind (ntfs_filldir)."""
        own = self._checked(path, lambda: [parse_key(0, each.value or b"") for each in record.all(FILE_NAME)])
        if (key.name, key.namespace, key.parent) not in {(each.name, each.namespace, each.parent) for each in own}:
            self._fail(f"{path}: the file does not have that name itself")
        _, flags = self._times_and_flags(path, record)
        if (key.flags ^ flags) & (_SYSTEM | _REPARSE) or bool(key.flags & DIRECTORY_NAME) != record.is_directory:
            self._fail(f"{path}: the directory it is in has another kind of file for it")

    def _file(self, path: str, record: Record) -> _File:
        """Return what is told of a file, where it is told without doubt."""
        seconds, flags = self._times_and_flags(path, record)
        special = {REPARSE_POINT, EA_INFORMATION, EA} & {each.type for each in record.attributes}
        if flags & (_REPARSE | _ENCRYPTED) or special:
            self._fail(f"{path}: it is a reparse point, is encrypted or has extended attributes")
        if any(each.name for each in record.all(DATA)):
            self._fail(f"{path}: it has named streams, which are shown as extended attributes")
        data = self._data_of(record)
        if record.is_directory:
            if data is not None:
                self._fail(f"{path}: it is a directory with content")
            return _File(record, seconds, None, None)
        if data is None:  # which can be listed, and not opened
            self._fail(f"{path}: it has no content")
        if data.flags & ~SPARSE:
            self._fail(f"{path}: its content is compressed or encrypted")
        if data.value is None:
            self._mapped(path, data)
        return _File(record, seconds, data, self._target(path, flags, data) if flags & _SYSTEM else None)

    def _times_and_flags(self, path: str, record: Record) -> tuple[int, int]:
        """Return when content was last changed, and the flags that Windows calls attributes."""
        standard = self._checked(path, lambda: record.one(STANDARD))
        if standard is None or standard.value is None:
            self._fail(f"{path}: its record is damaged")
        mtime, flags = struct.unpack_from("<8xq16xI", standard.value)
        return self._checked(path, lambda: unix_time(mtime)), flags

    def _target(self, path: str, flags: int, data: Attribute | None) -> str | None:
        """Return the target of a system file that is a symbolic link as Interix keeps it, or None.

        Its fifos, sockets and devices are refused (ntfs-3g.c, ntfs_fuse_getattr; layout.h, INTX_FILE_TYPES).
        """
        size = 0 if data is None else data.size
        if size < 2 and not flags & _HIDDEN:
            self._fail(f"{path}: it is a fifo or a socket")
        content = b"".join(self._content(path, data, 8 + 2 * _MOST_PATH))
        if content[:4] != b"Intx":
            return None
        if content[:8] != _SYMLINK or size != len(content) or size < 10 or size % 2:
            self._fail(f"{path}: it is a device, or no link that is known")
        target = self._checked(path, lambda: content[8:].decode("utf-16-le"))
        if any(each in target for each in "\0\ufffe\uffff"):
            self._fail(f"{path}: its target is none")
        return target

    def _entry(self, path: str, number: int, file: _File) -> Entry:
        size = 0 if file.data is None else file.data.size
        is_file = not file.record.is_directory and file.target is None
        allocated = 0 if file.data is None else (file.data.allocated + 511) // 512 * 512
        return Entry(
            path=path,
            kind="directory" if file.record.is_directory else "file" if is_file else "symlink",
            mode=0o777,
            uid=0,
            gid=0,
            size=size if is_file and not file.record.is_directory else len(encode(file.target or "")),
            mtime=file.mtime,
            target=file.target or "",
            inode=(self._device, number),
            links=1 if file.record.is_directory else file.record.links,
            allocated=allocated if is_file else 0,
        )

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        """Yield the start of a regular file. Raises GuestFileError where its record is damaged, DiskError as `Read`."""
        try:
            if number < FIRST_USER:
                self._fail(f"there is no file {number}")
            record = self.record(number)
            if record.is_directory:
                self._fail(f"file {number} is a directory")
            yield from self._content(path, self._data_of(record), length)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error

    def layout(self, path: str, number: int, length: int) -> None:
        """Tell nothing: `read_file` knows. Few files of a system are on one."""


def top_names(read: Read, size: int, name: str) -> list[str]:
    """Return the names in the top directory, those of a volume too that `Ntfs` does not read with certainty.

    They tell a system's disk (`Windows`, `Program Files`) from another. Raises DamagedError, DiskError as `read` does.
    """
    ntfs = Ntfs(read, size, name, clean=False)
    return sorted(text for text, _ in ntfs.names(TOP, ntfs.record(TOP)))
