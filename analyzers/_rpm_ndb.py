"""rpm's `Packages.db`, its own "new database" (SUSE since 15.2, Tumbleweed).

Format: rpm, lib/backend/ndb/rpmpkg.c. Pages of slots (package number, first block, number of blocks), then blocks of
16 bytes that hold one header each, between a head and a tail. Always little endian.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator

from analyzers._rpm_header import MAX_HEADER, DamagedError

_PAGE, _BLOCK, _SLOT, _HEAD, _TAIL = 4096, 16, 16, 16, 12
_FIRST_SLOT = 2  # two slots' room is the file's header


def _slots(data: bytes | mmap.mmap, note: Callable[[str], None]) -> list[tuple[int, int, int]]:
    """Return (first block, number of blocks, package number), sorted and without overlaps."""
    if len(data) < _PAGE or data[:4] != b"RpmP":
        raise DamagedError("it is no ndb database of rpm")
    version, _generation, pages = struct.unpack_from("<III", data, 4)
    if version:
        raise DamagedError(f"ndb version {version} is not known")
    if not 0 < pages <= len(data) // _PAGE:
        raise DamagedError(f"{pages} pages of slots in a file of {len(data)} bytes")
    found = []
    for magic, number, first, blocks in struct.iter_unpack("<4sIII", data[_FIRST_SLOT * _SLOT : pages * _PAGE]):
        if magic != b"Slot":
            note("a slot without its mark")
        elif first:
            if not number or not blocks or first < pages * _PAGE // _BLOCK or (first + blocks) * _BLOCK > len(data):
                note(f"package {number} is said to be in {blocks} blocks from {first}, which it cannot be")
            else:
                found.append((first, blocks, number))
    found.sort()
    apart, end = [], 0
    for first, blocks, number in found:
        if first < end:
            note(f"package {number} overlaps another")
            continue
        end = first + blocks
        apart.append((first, blocks, number))
    return apart


def read_ndb(data: bytes | mmap.mmap, note: Callable[[str], None]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, header) of each package; what is damaged is told to `note`.

    Raises DamagedError where the file is no such database at all.
    """
    for first, blocks, number in _slots(data, note):
        start, end = first * _BLOCK, (first + blocks) * _BLOCK
        magic, owner, _generation, length = struct.unpack_from("<4sIII", data, start)
        fits = length <= MAX_HEADER and blocks == (_HEAD + length + _TAIL + _BLOCK - 1) // _BLOCK
        if magic != b"BlbS" or owner != number or not fits:
            note(f"package {number} does not begin where its slot says")
            continue
        checksum, again, close = struct.unpack_from("<II4s", data, end - _TAIL)
        if again != length or close != b"BlbE":
            note(f"package {number} does not end where its slot says")
            continue
        if zlib.adler32(data[start : end - _TAIL]) != checksum:
            # librpm reads on (it compares only when it moves a header): so it is shown, and said.
            note(f"the checksum of package {number} does not match")
        yield number, data[start + _HEAD : start + _HEAD + length]
