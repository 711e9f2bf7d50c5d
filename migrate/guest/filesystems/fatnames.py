"""The names and fields of a FAT directory's records, as Linux shows them with `utf8` and its defaults. Pure.

linux, fs/fat/dir.c (__fat_readdir, fat_parse_long, fat_parse_short), fs/fat/misc.c (fat_time_fat2unix),
fs/nls/nls_base.c (utf16s_to_utf8s), nls_cp437.c: the code page is 437, `shortname=mixed`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

RECORD = 32
_READ_ONLY, _VOLUME, _DIRECTORY, _LONG = 0x01, 0x08, 0x10, 0x0F
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_DELETED = 0xE5
_MOST_SLOTS = 20
_DAYS = (0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0)
_DOTS = (b".          ", b"..         ")
# What a name can be looked up by does not tell upper from lower case (nls_strnicmp, in ASCII).
_FOLDED = bytes(range(256)).lower()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory as its parent names it; `at` is the record's place in the directory, in bytes."""

    at: int
    name: bytes
    is_directory: bool
    read_only: bool
    start: int
    size: int
    mtime: int


def parse_directory(data: bytes, bits: int) -> list[Record]:
    """Return what a directory's content names, without `.` and `..`. Raises ValueError in half a sentence.

    That is where the kernel would show a name that cannot be looked up again as that file, or where other systems
    see another directory (records behind its end).
    """
    found: list[Record] = []
    known: set[bytes] = set()
    ended = data_end(data)
    for at, long in _shown(data):
        raw = data[at : at + RECORD]
        short = short_name(raw)
        name = short if long is None else long
        if not short and long is None:
            continue
        if at >= ended:
            raise ValueError("it goes on behind its end")
        for each in {short.translate(_FOLDED), name.translate(_FOLDED)}:
            if each in known or not each:
                raise ValueError("two names in it are the same")
            known.add(each)
        if raw[:11] in _DOTS:
            continue
        if b"/" in name or b"\0" in name or name.endswith(b"."):
            raise ValueError("a name in it is none")
        found.append(parse_record(raw, bits, at, name))
    return found


def data_end(data: bytes) -> int:
    """Return where the first record is that was never used: there other systems end the directory."""
    return next((at for at in range(0, len(data), RECORD) if not data[at]), len(data))


def count_directories(data: bytes) -> int:
    """Return how many records are of directories, `.` and `..` among them (fat_subdirs)."""
    records = (data[at : at + 12] for at in range(0, len(data), RECORD))
    return sum(r[0] not in {0, _DELETED} and not r[11] & _VOLUME and bool(r[11] & _DIRECTORY) for r in records)


def parse_record(raw: bytes, bits: int, at: int, name: bytes) -> Record:
    """Return the fields of one record; `bits` tells whether the upper half of the first cluster counts."""
    high, time, date, low, size = struct.unpack_from("<HHHHI", raw, 20)
    return Record(
        at=at,
        name=name,
        is_directory=bool(raw[11] & _DIRECTORY),
        read_only=bool(raw[11] & _READ_ONLY),
        start=low | (high << 16 if bits == 32 else 0),
        size=size,
        mtime=unix_time(date, time),
    )


def _shown(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield where the records are that are shown, and their long names. Raises ValueError for a name that is none."""
    at, end = 0, len(data) // RECORD * RECORD
    while at < end:
        if data[at] != _DELETED and data[at + 11] == _LONG:
            at, name, is_shown = _long_name(data, at, end)
            if not is_shown:
                continue
            yield at, name
        elif data[at] not in {0, _DELETED} and not data[at + 11] & _VOLUME:
            yield at, None
        at += RECORD


def _long_name(data: bytes, at: int, end: int) -> tuple[int, bytes | None, bool]:
    """Follow the slots of a long name from the first on, as fat_parse_long does.

    Returns where the record is that they belong to, the name (None where their checksum is another's) and True;
    or where to go on, and False.
    """
    while True:
        slots, checksum = data[at] & ~0x40, data[at + 13]
        if not data[at] & 0x40 or not 0 < slots <= _MOST_SLOTS:
            return at + RECORD, None, False
        pieces: list[bytes] = []
        for expected in range(slots, 0, -1):
            if pieces and data[at + 11] != _LONG:
                return at, None, False
            if pieces and (data[at] & ~0x40 != expected or data[at + 13] != checksum):
                break
            pieces.insert(0, data[at + 1 : at + 11] + data[at + 14 : at + 26] + data[at + 28 : at + 32])
            if expected < slots and data[at] & 0x40:
                raise ValueError("a long name in it begins twice")
            at += RECORD
            if at >= end:
                return end, None, False
        else:
            if data[at] == _DELETED:
                return at + RECORD, None, False
            if data[at + 11] == _LONG:
                continue
            if not data[at] or data[at + 11] & _VOLUME:
                return at + RECORD, None, False
            return at, long_name(b"".join(pieces)) if checksum == checksum_of(data[at : at + 11]) else None, True


def checksum_of(name: bytes) -> int:
    """Return the checksum of the eleven bytes of a short name that its long name's slots hold."""
    total = 0
    for byte in name:
        total = ((total << 7 | total >> 1) + byte) & 0xFF
    return total


def long_name(units: bytes) -> bytes:
    """Return a name in UTF-16 up to its end as UTF-8. Raises ValueError for half a surrogate pair, which is left out.

    >>> long_name("naïve 🐧".encode("utf-16-le") + bytes(4)).decode()
    'naïve 🐧'
    """
    end = next((at for at in range(0, len(units) - 1, 2) if units[at : at + 2] == b"\0\0"), len(units))
    return units[:end].decode("utf-16-le").encode()


def short_name(raw: bytes) -> bytes:
    r"""Return the name in a record's first eleven bytes, as UTF-8; empty where there is none.

    >>> short_name(b"README  TXT".ljust(12) + bytes([0x08]))
    b'readme.TXT'
    """
    first = b"\xe5" if raw[0] == 0x05 else raw[:1]
    base = _part(first + raw[1:8], lower=bool(raw[12] & _LOWER_BASE))
    extension = _part(raw[8:11], lower=bool(raw[12] & _LOWER_EXTENSION))
    return (f"{base}.{extension}" if extension else base).encode()


def _part(raw: bytes, *, lower: bool) -> str:
    text = raw.partition(b"\0")[0].rstrip(b" ").decode("cp437")
    return "".join(map(_lower, text)) if lower else text


def _lower(character: str) -> str:
    """Return the small letter where the code page has it (charset2lower; sharp s and micro are small ones)."""
    small = character.lower()
    return small if small.encode("cp437", "ignore") else character


def unix_time(date: int, time: int) -> int:
    """Return a record's date and time, taken as UTC, in seconds since the epoch; what is no date is never refused.

    >>> unix_time(44 << 9 | 2 << 5 | 29, 13 << 11 | 37 << 5 | 5)
    1709213830
    """
    year, month, day = date >> 9, max(1, date >> 5 & 0xF), max(1, date & 0x1F) - 1
    leap = (year + 3) // 4 - (year > 120)  # 2100 is none
    leap += not year & 3 and year != 120 and month > 2
    days = year * 365 + leap + _DAYS[month] + day + 3652
    return days * 86400 + (time >> 11) * 3600 + (time >> 5 & 0x3F) * 60 + (time & 0x1F) * 2
