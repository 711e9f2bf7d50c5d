"""The members of package archives, one after another: tar, cpio (newc), and what deb and rpm wrap around them.

tar is read by the standard library, through `_Forward`, which bounds what a header may claim. ar and cpio are headers
of fixed size with decimal and hexadecimal numbers, 60 and 110 bytes. Libraries looked at: python-debian 1.1's debfile
unpacks data.tar.zst into memory whole, whatever its size, and keeps every member of the ar; rpmfile 2 reads headers of
any claimed size and needs a file that seeks; libarchive-c is a binding of a C library that is in no wheel, and whose
readers of all formats it knows would meet hostile bytes in this process.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, TypeVar, cast

import msgspec

from migrate.changes.archive_stream import ArchiveError, Budget, Stream, unpacked
from migrate.text import show

MAX_MEMBERS = 300_000
"""More members than the largest packages have (texlive's documentation: 100,000)."""

_MAX_NAME = 4096  # limits.h, PATH_MAX
_MAX_HEADER = 1 << 20
_DEB, _RPM, _APK3 = b"!<arch>\n", b"\xed\xab\xee\xdb", b"ADB"
_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_MOST_STORE = 256 << 20  # lib/header.c, HEADER_DATA_MAX
_MOST_TAGS = 0xFFFF
_HEADER_ERRORS = (ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)

T = TypeVar("T")


class Member(msgspec.Struct, frozen=True):
    """A regular file of an archive: its path from the root, its size in bytes, and what reads it (once, at once).

    `link` is equal for names of one file, whose content only one of them has (cpio); else it is 0.
    """

    path: str
    size: int
    read: Callable[[], bytes]
    link: int = 0


def members(pieces: Iterator[bytes], budget: Budget) -> Iterator[Member]:
    """Yield the regular files of a package's archive, by its first bytes: deb, rpm, apk (2), or a (compressed) tar.

    `budget` is how many bytes it may unpack to. Raises ArchiveError, and what `unpacked` raises.
    """
    stream = Stream(pieces, Budget(1 << 40))
    head = stream.read(8)
    reader = tar
    if head == _DEB:
        inner = _deb(stream)
    elif head.startswith(_RPM):
        inner, reader = _rpm(stream), cpio
    elif head.startswith(_APK3):
        raise ArchiveError("it is an archive of apk 3, which is not read")
    else:
        inner = _joined(head, stream.rest())
    with contextlib.closing(unpacked(inner)) as content:
        yield from reader(Stream(content, budget))


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


# ---------------------------------------------------------------- what is wrapped around


def _deb(stream: Stream) -> Iterator[bytes]:
    """Return data.tar of a Debian package (deb(5), ar(5)) whose magic was read."""
    for _ in range(20):  # debian-binary, control.tar, data.tar; others begin with an underscore
        header = stream.exactly(60)
        name, size = header[:16].rstrip(b" /"), header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            raise ArchiveError(f"no header of ar(5) before byte {stream.at}")
        if name.startswith(b"data.tar"):
            return stream.part(int(size))
        stream.skip(int(size) + int(size) % 2)
    raise ArchiveError("no data.tar among its first members")


def _rpm(stream: Stream) -> Iterator[bytes]:
    """Return the payload of an rpm package (rpm.org, "RPM V4 Package format") of whose lead 8 bytes were read."""
    stream.skip(96 - 8)
    for padded in (True, False):  # the signature, which is filled up to 8 bytes, and the header
        intro = stream.exactly(16)
        tags, size = int.from_bytes(intro[8:12], "big"), int.from_bytes(intro[12:], "big")
        if intro[:4] != _HEADER_MAGIC or tags > _MOST_TAGS or size > _MOST_STORE:
            raise ArchiveError(f"no header of rpm before byte {stream.at}")
        stream.skip(16 * tags + size + (-size % 8 if padded else 0))
    return stream.rest()


# ---------------------------------------------------------------- what is inside


def rooted(name: str) -> str | None:
    """Return a member's path from the root, or None where its name leads elsewhere.

    >>> rooted("./etc/motd"), rooted("etc//motd"), rooted("../etc/motd")
    ('/etc/motd', '/etc/motd', None)
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return None if not parts or ".." in parts or len(name) > _MAX_NAME else "/" + "/".join(parts)


def cpio(stream: Stream) -> Iterator[Member]:
    """Yield the regular files of a cpio archive in the "new ASCII" form (cpio(5)), as rpm writes them."""
    for _ in range(MAX_MEMBERS):
        header = stream.exactly(110)
        if header[:6] not in (b"070701", b"070702"):
            # rpm writes 07070X, and no names, where a file has 4 GiB or more (lib/cpio.c, "stripped").
            raise ArchiveError("its payload has no names" if header[:6] == b"07070X" else "its payload is no cpio")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        except ValueError:
            raise ArchiveError(f"no number in the header before byte {stream.at}") from None
        inode, mode, links, size, length = fields[0], fields[1], fields[4], fields[6], fields[11]
        if not 0 < length <= _MAX_NAME or min(fields) < 0:
            raise ArchiveError(f"a name of {length} bytes before byte {stream.at}")
        raw = stream.exactly(length + -(110 + length) % 4)[: length - 1]
        if raw == b"TRAILER!!!":
            return
        path = rooted(raw.decode("utf-8", "surrogateescape"))
        after = stream.at + size
        if path is not None and mode & 0o170000 == 0o100000:
            yield Member(path, size, lambda size=size: stream.exactly(size), inode if links > 1 else 0)  # type: ignore[misc]
        stream.skip(after + -size % 4 - stream.at)
    raise ArchiveError(f"it has more than {MAX_MEMBERS} members")


def tar(stream: Stream) -> Iterator[Member]:
    """Yield the regular files of a tar archive (tar(5)); sparse ones and hard links are passed over."""
    forward = _Forward(stream)
    file = cast("IO[bytes]", forward)
    archive = _careful(lambda: _opened(file))
    last = -1
    for _ in range(MAX_MEMBERS):
        info = _careful(archive.next)
        if info is None:
            return
        # A negative size would lead back to headers already read, for ever (CVE-2025-8194).
        if archive.offset <= last or info.size < 0 or info.offset_data < 0:
            raise ArchiveError(f"the header at byte {info.offset} has an impossible size")
        last = archive.offset
        path = rooted(info.name)
        if path is not None and info.isreg() and not info.issparse():
            forward.seek(info.offset_data)
            yield Member(path, info.size, lambda size=info.size: stream.exactly(size))  # type: ignore[misc]
        forward.spent = 0
        archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header, 1.5 KiB each
    raise ArchiveError(f"it has more than {MAX_MEMBERS} members")


def _opened(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")


def _careful(step: Callable[[], T]) -> T:
    """Do what reads a header. Raises ArchiveError where it is damaged, and what decompressing raises as it is."""
    try:
        return step()
    except ArchiveError:
        raise
    except tarfile.TarError as error:
        raise ArchiveError(f"its tar archive is damaged: {show(str(error))[:200]}") from error
    except _HEADER_ERRORS as error:
        raise ArchiveError("its tar archive has a header that no program writes") from error


class _Forward:
    """A stream as tarfile sees it: forwards only, and no header longer than `_MAX_HEADER`.

    tarfile reads a whole extended header into memory, and its length is what the archive says. `spent` is how many
    bytes were read for the member so far.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.spent = 0

    def read(self, count: int = -1) -> bytes:
        self.spent += max(0, count)
        if count < 0 or self.spent > _MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {self.spent} bytes for itself")
        return self._stream.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._stream.at:
            raise tarfile.ReadError(f"a header leads to byte {offset}")
        self._stream.skip(offset - self._stream.at)
        return offset

    def tell(self) -> int:
        return self._stream.at
