"""What the direct reader asks of a file system that is read in this process: a module of its own for each kind.

Such a module has `probe`, which says what is on a device, and a class with the methods of `InProcess`. Both read
through a `Read` and nothing else, and give exactly what a mount gives, or DamagedError: nothing is guessed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from migrate.errors import DiskError
from migrate.guest.directory import KINDS
from migrate.guest.protocol import Entry
from migrate.guest.spool import PIECE, zeros
from migrate.guest.tree import encode, shared

Read = Callable[[int, int], bytes]
"""Returns exactly so many bytes from an offset of a device; raises DiskError."""


class DamagedError(DiskError):
    """A file system is not as it should be, or not as this reader knows it; the disk itself can be read."""


Extent = tuple[int, int, int]
"""A part of a file: where in it, how many bytes, where on the device."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a device, as blkid(8) says it (`xfs`, `vfat`, …; UUID and label as it writes them).

    `why_not` says why it cannot be read with certainty without mounting it (a journal to be replayed, a feature
    that is not known), or is empty.
    """

    type: str
    uuid: str = ""
    label: str = ""
    why_not: str = ""


_PLAIN_LABEL = re.compile(r"(?! )[ -~]*(?<! )")


def is_plain(label: str) -> bool:
    """Tell whether a label is printed by every tool as it is: printable ASCII, with no space at either end.

    >>> is_plain("EFI System"), is_plain(""), is_plain(" x"), is_plain("ä")
    (True, True, False, False)
    """
    return _PLAIN_LABEL.fullmatch(label) is not None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a file system as statvfs(3) tells it, in blocks of `block_size` bytes."""

    block_size: int
    blocks: int
    free: int


class Attributes(Protocol):
    """What the inodes of all Unix file systems say."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def uid(self) -> int: ...  # noqa: D102
    @property
    def gid(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def mtime(self) -> int: ...  # noqa: D102
    @property
    def links(self) -> int: ...  # noqa: D102


def entry_of(
    path: str,
    inode: Attributes,
    device: int,
    *,
    target: str,
    node: tuple[int, int],
    allocated: int,
    xattrs: tuple[tuple[str, bytes], ...],
) -> Entry:
    """Return the entry of a name: `device` is the file system's number, `node` what a device node's numbers are.

    `allocated` in bytes, and `target` where it is a symbolic link, are as the file system's own reader says.
    """
    kind = KINDS[stat.S_IFMT(inode.mode)]
    is_file = kind == "file"
    return Entry(
        path=path,
        kind=kind,
        mode=shared(stat.S_IMODE(inode.mode)),
        uid=shared(inode.uid),
        gid=shared(inode.gid),
        size=shared(inode.size if is_file else len(encode(target))),
        mtime=shared(inode.mtime),
        target=target,
        device=node,
        inode=(device, inode.number),
        links=1 if kind == "directory" else inode.links,
        allocated=shared(allocated) if is_file else 0,
        xattrs=xattrs,
    )


def why_unknown(bits: tuple[int, int], known: tuple[int, int], names: dict[int, str]) -> str:
    """Return what a file system uses that is not known: incompatible and read-only compatible features, or nothing.

    `names` are those of incompatible ones that are known by name, and not read.
    """
    (incompat, ro_compat), (known_incompat, known_ro_compat) = bits, known
    if others := incompat & ~known_incompat:
        named = [name for bit, name in sorted(names.items()) if others & bit]
        return f"it uses {named[0] if named else f'a feature that is not known ({others:#x})'}"
    if ro_compat & ~known_ro_compat:
        return f"it uses a feature that is not known (read-only {ro_compat & ~known_ro_compat:#x})"
    return ""


def mapped(
    runs: Iterable[tuple[int, int, int]], size: int, length: int, blocks: Callable[[int, int], bytes]
) -> Iterator[bytes]:
    """Yield the first `length` bytes of a file that lies in runs of blocks of `size` bytes; the rest is zeros.

    A run, in order: its first block within the file, how many there are, where. `blocks` reads so many from a place.
    """
    at = 0
    for first, count, where in runs:
        if at >= length or first * size >= length:
            break
        yield from zeros(first * size - at)
        at = first * size
        while count and at < length:
            part = min(count, PIECE // size, -(-(length - at) // size))
            piece = blocks(where, part)[: length - at]
            yield piece
            at += len(piece)
            where, count = where + part, count - part
    yield from zeros(length - at)


def extents(
    runs: Iterable[tuple[int, int, int]], size: int, length: int, place: Callable[[int, int], int]
) -> list[Extent]:
    """Return where the first `length` bytes of a file are that lies in runs, as of `mapped`; the rest is zeros.

    `place` returns where a run of so many blocks starts on the device, in bytes.
    """
    found: list[Extent] = []
    for first, count, where in runs:
        at = first * size
        if at >= length:
            break
        found.append((at, min(count * size, length - at), place(where, min(count, -(-(length - at) // size)))))
    return found


class InProcess(Protocol):
    """A file system that is read in this process. Raises DamagedError, and DiskError as `Read` does."""

    def usage(self) -> Usage:
        """Return its size and what of it is free."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, parents first, the top's as `/`; `inode` is (the device's number, its own)."""
        ...

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of the regular file with an inode's number, holes as zeros.

        Raises GuestFileError where its content is damaged; `path` is for the message.
        """
        ...

    def layout(self, path: str, number: int, length: int) -> list[Extent] | bytes | None:
        """Return where the first `length` bytes of a regular file are, or the bytes where it is kept with its inode.

        What is in no extent is zeros. None where only `read_file` knows. It is for short files: there may be an extent
        for each block. Raises as `read_file`.
        """
        ...
