"""rpm's `Packages` in a Berkeley DB hash (EL 5 to 8, SUSE to 15.1, Fedora to 32), read page by page.

Format: Berkeley DB's dbinc/db_page.h, and rpm's own read-only reader, lib/backend/bdb_ro.c. A page has 26 bytes of
header, then the offsets of its items, which fill it from the end: key, value, key, value. A value too long for a
page (any header of a package) lies in a chain of overflow pages of its own.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator

import msgspec

from analyzers._rpm_header import MAX_HEADER, DamagedError

_MAGIC = 0x061561
_VERSIONS = (8, 9, 10)
_META = 512  # every page is at least that long
_PAGE_HEADER = 26
_INVALID, _HASH_UNSORTED, _OVERFLOW, _HASH = 0, 2, 7, 13
_ON_PAGE, _OFF_PAGE = 1, 3


class _Database(msgspec.Struct):
    """The fields of the metadata page that a walk needs, and which pages it has been to."""

    data: bytes | mmap.mmap
    order: str
    page_size: int
    last: int
    max_bucket: int
    spares: tuple[int, ...]
    seen: set[int] = msgspec.field(default_factory=set)

    def page(self, number: int) -> bytes:
        """Return a page that no walk has been to: each belongs to one chain, so none is read twice."""
        if not 0 < number <= self.last or number in self.seen:
            what = "a second time" if number in self.seen else f"of {self.last}"
            raise DamagedError(f"a chain leads to page {number} {what}")
        self.seen.add(number)
        page = self.data[number * self.page_size : (number + 1) * self.page_size]
        if len(page) < self.page_size:
            raise DamagedError(f"page {number} is beyond the end of the file")
        if any(page[:_PAGE_HEADER]) and self.number(page, 8) != number:
            raise DamagedError(f"page {number} says it is page {self.number(page, 8)}")
        return page

    def number(self, page: bytes, offset: int) -> int:
        """Return the 32-bit number at an offset."""
        return int.from_bytes(page[offset : offset + 4], "little" if self.order == "<" else "big")

    def half(self, page: bytes, offset: int) -> int:
        """Return the 16-bit number at an offset."""
        return int.from_bytes(page[offset : offset + 2], "little" if self.order == "<" else "big")


def _open(data: bytes | mmap.mmap) -> _Database:
    if len(data) < _META:
        raise DamagedError(f"{len(data)} bytes are no Berkeley DB")
    meta = data[:_META]
    order = next((o for o in "<>" if struct.unpack_from(f"{o}I", meta, 12)[0] == _MAGIC), None)
    if order is None:
        raise DamagedError("it is no Berkeley DB hash")
    version, page_size = struct.unpack_from(f"{order}II", meta, 16)
    if version not in _VERSIONS:
        raise DamagedError(f"Berkeley DB hash version {version} is not known")
    if meta[24] or meta[26] & 1:  # rpm uses neither, and they move what lies on a page
        raise DamagedError("the Berkeley DB is encrypted or has checksums")
    if page_size not in (512 << n for n in range(8)):
        raise DamagedError(f"a page size of {page_size} bytes")
    last, max_bucket = struct.unpack_from(f"{order}I", meta, 32)[0], struct.unpack_from(f"{order}I", meta, 72)[0]
    if max_bucket > len(data) // page_size:
        raise DamagedError(f"{max_bucket + 1} buckets in {len(data) // page_size} pages")
    return _Database(data, order, page_size, last, max_bucket, struct.unpack_from(f"{order}32I", meta, 96))


def _overflow(db: _Database, first: int, length: int) -> bytes:
    if not 0 < length <= MAX_HEADER:
        raise DamagedError(f"a value of {length} bytes")
    parts: list[bytes] = []
    number, left = first, length
    while left:
        page = db.page(number)
        here = db.half(page, 22)
        if page[25] != _OVERFLOW or not 0 < here <= min(left, db.page_size - _PAGE_HEADER):
            raise DamagedError(f"page {number} does not go on with a value that misses {left} bytes")
        parts.append(page[_PAGE_HEADER : _PAGE_HEADER + here])
        left -= here
        number = db.number(page, 16)
    return b"".join(parts)


def _item(db: _Database, page: bytes, start: int, end: int) -> bytes:
    if not _PAGE_HEADER <= start < end <= db.page_size:
        raise DamagedError(f"an item from byte {start} to {end} of a page")
    if page[start] == _ON_PAGE:
        return page[start + 1 : end]
    if page[start] == _OFF_PAGE and end - start == 12:
        return _overflow(db, db.number(page, start + 4), db.number(page, start + 8))
    raise DamagedError(f"an item of kind {page[start]} and {end - start} bytes")


def _pairs(db: _Database, page: bytes, note: Callable[[str], None]) -> Iterator[tuple[int, bytes]]:
    count = db.half(page, 20)
    if count > (db.page_size - _PAGE_HEADER) // 2 or count % 2:
        raise DamagedError(f"{count} items on a page")
    ends = [db.page_size, *(db.half(page, _PAGE_HEADER + 2 * i) for i in range(count))]
    for i in range(1, count, 2):
        try:
            key = _item(db, page, ends[i], ends[i - 1])
            if len(key) != 4:
                raise DamagedError(f"a key of {len(key)} bytes")
            if any(key):  # number 0 holds the highest number given
                yield db.number(key, 0), _item(db, page, ends[i + 1], ends[i])
        except DamagedError as error:
            note(str(error))


def _orphans(db: _Database) -> int:
    """Return how many pages hold something that no walk came by; free pages are of type 0, and empty ones hold nothing.

    A bucket that a damaged page says is empty would otherwise be missed in silence. Real databases have none.
    """
    found = 0
    for number in range(1, min(db.last, len(db.data) // db.page_size - 1) + 1):
        if number not in db.seen:
            head = db.data[number * db.page_size : number * db.page_size + _PAGE_HEADER]
            found += head[25] == _OVERFLOW or (head[25] in (_HASH, _HASH_UNSORTED) and db.half(head, 20) > 0)
    return found


def read_bdb(data: bytes | mmap.mmap, note: Callable[[str], None]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, header) of each package, bucket by bucket; what is damaged is told to `note`.

    Raises DamagedError where the file is no such database at all.
    """
    db = _open(data)
    for bucket in range(db.max_bucket + 1):
        try:
            number = bucket + db.spares[bucket.bit_length()]
            while number:
                page = db.page(number)
                if page[25] not in (_HASH, _HASH_UNSORTED):
                    if page[25] == _INVALID and not any(page[:_PAGE_HEADER]):
                        break  # a bucket's page that was never written
                    raise DamagedError(f"page {number} of type {page[25]} in bucket {bucket}")
                yield from _pairs(db, page, note)
                number = db.number(page, 16)
        except DamagedError as error:
            note(str(error))
    if lost := _orphans(db):
        note(f"{lost} pages hold something, and nothing leads to them")
