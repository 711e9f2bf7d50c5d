"""The header of an installed rpm package: an index of tags over a store of data, all in network byte order.

Format: rpm.org, "RPM V4 Package format", Header Structure; lib/header.c. In a database a header has no magic: the
number of index entries and of data bytes, the index (tag, type, offset, count: 16 bytes each), the data.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import msgspec

MAX_HEADER = 64 << 20  # bytes; the kernel's of EL 8 takes 4 MB. librpm itself allows 256 MB
_MAX_TAGS = 0xFFFF  # lib/header.c, HEADER_TAGS_MAX
_MAX_COUNT = 0xFFFFF  # lib/header.c, HEADER_ARRAY_MAX
_ITEM = 200  # bytes, about what one path with its fields takes beside its characters

# rpmtag.h
NAME, VERSION, RELEASE, EPOCH, VENDOR, GROUP, ARCH, SOURCERPM = 1000, 1001, 1002, 1003, 1011, 1016, 1022, 1044
PROVIDENAME, REQUIREFLAGS, REQUIRENAME, REQUIREVERSION, PROVIDEFLAGS, PROVIDEVERSION = (
    1047,
    1048,
    1049,
    1050,
    1112,
    1113,
)
OLDFILENAMES, FILESIZES, FILESTATES, FILEMODES, FILEMTIMES, FILEDIGESTS = 1027, 1028, 1029, 1030, 1034, 1035
FILELINKTOS, FILEFLAGS, FILEUSERNAME, FILEGROUPNAME, FILEVERIFYFLAGS = 1036, 1037, 1039, 1040, 1045
SIGPGP, SIGGPG, DSAHEADER, RSAHEADER, SHA1HEADER, SHA256HEADER, OPENPGP = 259, 262, 267, 268, 269, 273, 278
RECOMMENDNAME, RECOMMENDVERSION, RECOMMENDFLAGS = 5046, 5047, 5048
DIRINDEXES, BASENAMES, DIRNAMES, LONGFILESIZES, FILECAPS, FILEDIGESTALGO = 1116, 1117, 1118, 5008, 5010, 5011

_WANTED = frozenset(
    (
        NAME, VERSION, RELEASE, EPOCH, VENDOR, GROUP, ARCH, SOURCERPM, PROVIDENAME, REQUIREFLAGS, REQUIRENAME,
        REQUIREVERSION, PROVIDEFLAGS, PROVIDEVERSION, OLDFILENAMES, FILESIZES, FILESTATES, FILEMODES, FILEMTIMES,
        FILEDIGESTS, FILELINKTOS, FILEFLAGS, FILEUSERNAME, FILEGROUPNAME, FILEVERIFYFLAGS, DIRINDEXES, BASENAMES,
        DIRNAMES, LONGFILESIZES, FILECAPS, FILEDIGESTALGO, RECOMMENDNAME, RECOMMENDVERSION, RECOMMENDFLAGS,
        SIGPGP, SIGGPG, DSAHEADER, RSAHEADER, SHA1HEADER, SHA256HEADER, OPENPGP,
    )
)  # fmt: skip
_IMMUTABLE = 63  # RPMTAG_HEADERIMMUTABLE: the part that the package came with, and that digests are of
_MAGIC = bytes.fromhex("8eade80100000000")  # what stands before a header in a package file
_INTEGERS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q"}  # rpmTagType: char, int8, int16, int32, int64
_STRING, _BINARY, _STRING_ARRAY, _I18N = 6, 7, 8, 9


class DamagedError(ValueError):
    """A database or a header does not follow its format; the text says what is wrong."""


class Budget:
    """How much memory all packages of a database may still take: five bytes on the disk can be a path, which costs 250.

    And one long directory name can stand before a million names. EL 8's 518 packages take 20 MB.
    """

    def __init__(self, left: int = 512 << 20) -> None:
        self.left = left

    def take(self, items: int, characters: int) -> None:
        """Take what so many paths or relations cost. Raises DamagedError where it is more than is left."""
        self.left -= _ITEM * items + characters
        if self.left < 0:
            raise DamagedError("the database has more paths and relations than are kept")


class Header(msgspec.Struct, frozen=True):
    """The tags of one package that are looked at: tag → (type, offset into `data`, count)."""

    tags: dict[int, tuple[int, int, int]]
    data: bytes

    def strings(self, tag: int) -> list[str]:
        """Return the strings of a tag, none where it is missing. Raises DamagedError.

        Of an i18n string only the first is text without a language; all are returned.
        """
        kind, offset, count = self.tags.get(tag, (_STRING_ARRAY, 0, 0))
        if not count:
            return []
        if kind not in (_STRING, _STRING_ARRAY, _I18N) or (kind == _STRING and count != 1):
            raise DamagedError(f"tag {tag} has type {kind} and count {count} where text belongs")
        parts = self.data[offset:].split(b"\0", count)
        if len(parts) <= count:
            raise DamagedError(f"tag {tag} ends after {len(parts) - 1} of {count} strings")
        return [part.decode("utf-8", "surrogateescape") for part in parts[:count]]

    def text(self, tag: int) -> str:
        """Return the first string of a tag, empty where it is missing. Raises DamagedError."""
        kind, offset, count = self.tags.get(tag, (_STRING_ARRAY, 0, 0))
        if not count:
            return ""
        if kind not in (_STRING, _STRING_ARRAY, _I18N):
            raise DamagedError(f"tag {tag} has type {kind} where text belongs")
        end = self.data.find(b"\0", offset)
        if end < 0:
            raise DamagedError(f"tag {tag} has no end")
        return self.data[offset:end].decode("utf-8", "surrogateescape")

    def integers(self, tag: int) -> Sequence[int]:
        """Return the numbers of a tag, none where it is missing. Raises DamagedError."""
        kind, offset, count = self.tags.get(tag, (4, 0, 0))
        if kind not in _INTEGERS:
            raise DamagedError(f"tag {tag} has type {kind} where numbers belong")
        form = f">{count}{_INTEGERS[kind]}"
        if offset + struct.calcsize(form) > len(self.data):
            raise DamagedError(f"tag {tag} goes beyond the end of its header")
        return struct.unpack_from(form, self.data, offset)

    def binary(self, tag: int) -> bytes:
        """Return the bytes of a tag, none where it is missing. Raises DamagedError."""
        kind, offset, count = self.tags.get(tag, (_BINARY, 0, 0))
        if kind != _BINARY or offset + count > len(self.data):
            raise DamagedError(f"tag {tag} has type {kind} and {count} bytes where bytes belong")
        return self.data[offset : offset + count]


def parse_header(blob: bytes) -> Header:
    """Read the index of a header as it lies in a database. Raises DamagedError.

    What follows the immutable region (rpm writes there at install time) stands for what is in it:
    lib/header.c, "Dribble entries replace duplicate region entries".
    """
    if not 8 <= len(blob) <= MAX_HEADER:
        raise DamagedError(f"a header of {len(blob)} bytes")
    entries, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    if not 0 < entries <= _MAX_TAGS or start + size != len(blob):
        raise DamagedError(f"a header of {len(blob)} bytes says it has {entries} tags and {size} bytes of data")
    tags: dict[int, tuple[int, int, int]] = {}
    for tag, kind, offset, count in struct.iter_unpack(">IIII", blob[8:start]):
        if tag in _WANTED:
            if offset > size or not 0 < count <= _MAX_COUNT:
                raise DamagedError(f"tag {tag} has {count} entries at byte {offset} of {size}")
            tags[tag] = (kind, offset, count)
            if tag == BASENAMES:
                tags.pop(OLDFILENAMES, None)
    header = Header(tags, blob[start:])
    _check(blob, start, header)
    return header


def _check(blob: bytes, start: int, header: Header) -> None:
    """Compare the digest that a header brings, as librpm does on each read; headers before rpm 4.0 have none."""
    tag, _kind, offset, _count = struct.unpack_from(">IIII", blob, 8)
    digests = [(header.text(SHA256HEADER), "sha256"), (header.text(SHA1HEADER), "sha1")]
    known, algorithm = next((digest for digest in digests if digest[0]), ("", ""))
    if tag != _IMMUTABLE or not known:
        return
    if offset + 16 > len(header.data):
        raise DamagedError("its immutable region has no end")
    size = -struct.unpack_from(">i", header.data, offset + 8)[0]  # of the region's index, told by its trailer
    if not 16 <= size <= start - 8 or size % 16:
        raise DamagedError(f"its immutable region has {size} bytes of index")
    region = struct.pack(">II", size // 16, offset + 16) + blob[8 : 8 + size] + header.data[: offset + 16]
    if hashlib.new(algorithm, _MAGIC + region, usedforsecurity=False).hexdigest() != known.lower():
        raise DamagedError("its digest does not match")
