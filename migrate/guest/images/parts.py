"""Where a disk's bytes lie on the host, when that is not simply one file of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Part(msgspec.Struct, frozen=True):
    """A run of bytes in a file of the host; `size` of them from `offset` on."""

    path: Path
    offset: int
    size: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A disk image as an archive holds it: `parts` joined in their order, then decompressed.

    `name` is its name in the archive. `packed` is how it is compressed (gzip, bzip2, xz, zstd) or empty.
    `capacity` is how many bytes the guest sees of it, by the archive's description, or None where that is not said.
    """

    name: str
    parts: tuple[Part, ...]
    packed: str = ""
    capacity: int | None = None
