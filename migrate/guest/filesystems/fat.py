"""FAT12, FAT16 and FAT32, read in process: what Linux shows of one mounted as `vfat` with `ro,utf8,tz=UTC` by root.

Whatever is not as it should be ends in DiskError, so that the caller can hand over to a mount. No library: libfsfat
20260826 gives every date a month too late, a long name whose checksum is another's, and no short name's code page;
pyfatfs 1.1.0 shows `EMPTY` where Linux shows `empty` (the flags of Windows NT). Neither says what a file takes.

Modes and sizes: linux, fs/fat/fat.h (fat_make_mode), inode.c (fat_fill_inode, fat_statfs), cache.c (fat_get_cluster).
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterator
from typing import Never

from migrate.errors import GuestFileError
from migrate.guest.filesystems.fatboot import LENGTH, Boot, parse_boot, probe
from migrate.guest.filesystems.fatnames import RECORD, Record, count_directories, parse_directory, parse_record
from migrate.guest.filesystems.inprocess import DamagedError, Read, Usage
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE
from migrate.guest.tree import decode, encode, join
from migrate.text import show

__all__ = ["Fat", "probe"]

ROOT = 1
_WINDOW = 96 << 10  # bytes of the FAT at a time; a multiple of 12, so that no entry of 12 bits is cut
_MOST_RECORDS = 2 << 20  # bytes of a directory: 65,536 records (Microsoft FAT32 File System Specification 1.03)
_MOST_PATH = 4095  # PATH_MAX, linux/limits.h
_NO_BITS = bytes(byte & 0x0F for byte in range(256))


class Fat:
    """One file system. `name` is the device's name in errors, `device` a number that tells its inodes from others.

    An inode's number is where its record is on the device, in units of 32 bytes; the top's is ROOT. Raises DamagedError
    where it cannot be read with certainty, DiskError as `read` does.
    """

    def __init__(self, read: Read, size: int, name: str, device: int = 0) -> None:
        self._read = read
        self._name = name
        self._device = device
        found = parse_boot(read(0, LENGTH)) if size >= LENGTH else None
        if found is None:
            self._fail("it holds no FAT")
        self.boot: Boot = found
        if found.why_not:
            self._fail(found.why_not)
        if found.size > size:
            self._fail(f"the file system is {found.size} bytes long, and its device {size}")
        self._window = (0, b"")

    def _fail(self, why: str) -> Never:
        raise DamagedError(f"read {show(self._name)} without mounting it", show(why))

    # ------------------------------------------------------------ the table

    def usage(self) -> Usage:
        """Return its clusters and the free ones: they are counted, as a mount counts them."""
        boot = self.boot
        free, length = 0, (boot.end * boot.bits + 7) // 8
        for at in range(0, length, _WINDOW):
            piece = self._read(boot.fat + at, min(_WINDOW, length - at))
            first = at * 8 // boot.bits
            free += _zeros(piece, boot.bits, max(0, 2 - first), boot.end - first)
        return Usage(block_size=boot.cluster, blocks=boot.end - 2, free=free)

    def _next(self, cluster: int) -> int:
        """Return the cluster that follows in a chain; 0 at its end."""
        boot = self.boot
        at = cluster * boot.bits // 8
        start, piece = self._window
        if not start <= at <= at + 4 <= start + len(piece):
            start = at // _WINDOW * _WINDOW
            # what is read beyond the table is not looked at: an entry of 16 bits may be the last bytes of a device
            piece = self._read(boot.fat + start, min(_WINDOW, (boot.end * boot.bits + 7) // 8 - start)) + bytes(4)
            self._window = start, piece
        (value,) = struct.unpack_from("<I", piece, at - start)
        if boot.bits == 12:
            value >>= 4 * (cluster & 1)
        most = (1 << min(boot.bits, 28)) - 1
        value &= most
        if value >= most - 7:
            return 0
        if not 2 <= value < boot.end:
            self._fail(f"the chain of clusters at {cluster} goes on at {value}, which cannot be")
        return int(value)

    def _runs(self, start: int, count: int) -> Iterator[tuple[int, int]]:
        """Yield the first `count` clusters of a chain, as the first and how many of each run."""
        if not 2 <= start < self.boot.end:
            self._fail(f"something begins at cluster {start}, which cannot be")
        first = last = start
        for _ in range(count - 1):
            following = self._next(last)
            if not following:
                self._fail(f"the chain of clusters from {start} ends too early")
            if following != last + 1:
                yield first, last - first + 1
                first = following
            last = following
        yield first, last - first + 1

    def _chain(self, start: int) -> list[int]:
        """Return a directory's whole chain."""
        if not 2 <= start < self.boot.end:
            self._fail(f"a directory begins at cluster {start}, which cannot be")
        chain = [start]
        while following := self._next(chain[-1]):
            chain.append(following)
            if len(chain) * self.boot.cluster > _MOST_RECORDS:
                self._fail("a directory is larger than one may be")
        return chain

    # ------------------------------------------------------------ names

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, the top's as `/`. Raises DamagedError, DiskError."""
        yield Entry(path="/", kind="directory", mode=0o755, uid=0, gid=0, mtime=0, inode=(self._device, ROOT))
        used = bytearray(self.boot.end // 8 + 1)
        todo = [("/", self.boot.root_cluster)]
        while todo:
            path, start = todo.pop()
            for record, place in self._records(path, start, used):
                full = join(path, decode(record.name))
                if len(encode(full)) > _MOST_PATH:
                    self._fail("a path on it is longer than a path may be")
                if record.is_directory:
                    todo.append((full, self._subdirectory(record.start)))
                elif record.size:
                    self._mark(used, self._runs(record.start, -(-record.size // self.boot.cluster)))
                yield self._entry(full, record, place // RECORD)

    def _subdirectory(self, start: int) -> int:
        if start in {0, self.boot.root_cluster}:
            self._fail("a directory in it is said to be its top")
        return start

    def _records(self, path: str, start: int, used: bytearray) -> list[tuple[Record, int]]:
        """Return a directory's records in the order of their names, and each one's place on the device."""
        boot = self.boot
        if start:
            chain = self._chain(start)
            self._mark(used, ((cluster, 1) for cluster in chain))
            places = [self._place(cluster) for cluster in chain]
            data = b"".join(self._read(place, boot.cluster) for place in places)
        else:
            places = [boot.data - boot.root_size]
            data = self._read(places[0], boot.root_size)
        try:
            if path != "/" and count_directories(data) < 2:
                raise ValueError("it is no directory")
            records = parse_directory(data, boot.bits)
        except ValueError as error:
            why = "a name in it is not UTF-16" if isinstance(error, UnicodeError) else str(error)
            self._fail(f"the directory {path} is damaged: {why}")
        step = boot.cluster if start else len(data)
        found = [(record, places[record.at // step] + record.at % step) for record in records]
        return sorted(found, key=lambda each: each[0].name)

    def _mark(self, used: bytearray, runs: Iterator[tuple[int, int]]) -> None:
        """Note the clusters of a chain. Raises DamagedError where one is in use, of this chain or of another."""
        for first, count in runs:
            for cluster in range(first, first + count):
                bit = 1 << (cluster & 7)
                if used[cluster >> 3] & bit:
                    self._fail(f"cluster {cluster} belongs to more than one file")
                used[cluster >> 3] |= bit

    def _place(self, cluster: int) -> int:
        return self.boot.data + (cluster - 2) * self.boot.cluster

    def _entry(self, path: str, record: Record, number: int) -> Entry:
        is_file = not record.is_directory
        return Entry(
            path=path,
            kind="file" if is_file else "directory",
            mode=0o555 if is_file and record.read_only else 0o755,
            uid=0,
            gid=0,
            size=record.size if is_file else 0,
            mtime=record.mtime,
            inode=(self._device, number),
            allocated=-(-record.size // self.boot.cluster) * self.boot.cluster if is_file else 0,
        )

    # ------------------------------------------------------------ content

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        """Yield the start of a regular file. Raises GuestFileError where its chain is damaged, DiskError as `Read`."""
        boot = self.boot
        try:
            place = number * RECORD
            if not boot.fat < place <= boot.size - RECORD:
                self._fail(f"there is no file {number}")
            record = parse_record(self._read(place, RECORD), boot.bits, 0, b"")
            left = min(length, record.size)
            if left <= 0:
                return
            for first, count in self._runs(record.start, -(-left // boot.cluster)):
                at, end = self._place(first), self._place(first + count)
                while at < end and left:
                    piece = self._read(at, min(PIECE, end - at, left))
                    yield piece
                    at, left = at + len(piece), left - len(piece)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error

    def layout(self, path: str, number: int, length: int) -> None:
        """Tell nothing: `read_file` knows. Few files of a system are on one."""


def _zeros(piece: bytes, bits: int, first: int, end: int) -> int:
    """Return how many of the entries from `first` to before `end` are free; `piece` begins with entry 0."""
    if bits == 12:
        values = int.from_bytes(piece, "little")
        return sum(not values >> 12 * number & 0xFFF for number in range(first, min(end, len(piece) * 8 // 12)))
    if bits == 32:
        plain = bytearray(piece)
        plain[3::4] = plain[3::4].translate(_NO_BITS)  # the upper four bits are no part of an entry
        piece = bytes(plain)
    step = bits // 8
    return array.array("I" if bits == 32 else "H", piece[first * step : end * step]).count(0)
