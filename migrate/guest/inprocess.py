"""What the direct reader asks of a file system that is read in this process: a module of its own for each kind.

Such a module has `probe`, which says what is on a device, and a class with the methods of `InProcess`. Both read
through a `Read` and nothing else, and give exactly what a mount gives, or DamagedError: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from migrate.errors import DiskError
from migrate.guest.protocol import Entry

Read = Callable[[int, int], bytes]
"""Returns exactly so many bytes from an offset of a device; raises DiskError."""


class DamagedError(DiskError):
    """A file system is not as it should be, or not as this reader knows it; the disk itself can be read."""


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
