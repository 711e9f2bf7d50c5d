"""Write what a disk image holds to standard output, its holes left out: `python -m benchmarks.content DISK`.

nbdcopy to a pipe writes zeros where nothing is. Where something is says `qemu-img map`; it is read through qemu-nbd in
pieces of 1 MiB, as nbdcopy reads for the other floor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from migrate.guest.images.image import describe
from migrate.guest.images.nbd import NbdDisk

PIECE = 1 << 20


class Extent(msgspec.Struct, frozen=True):
    """A run of bytes of the disk, as qemu-img(1) maps it; without `data` it reads as zeros."""

    start: int
    length: int
    data: bool


def pieces(extents: list[Extent], size: int) -> Iterator[tuple[int, int]]:
    """Yield what to read, in order: offset and length of what is data, none of it beyond `size`.

    >>> list(pieces([Extent(0, 1 << 20, True), Extent(1 << 20, 512, True), Extent(1 << 21, 512, False)], 1 << 22))
    [(0, 1048576), (1048576, 512)]
    """
    for extent in extents:
        end = min(extent.start + extent.length, size)
        for at in range(extent.start, end if extent.data else 0, PIECE):
            yield at, min(PIECE, end - at)


def main() -> int:
    """Copy."""
    disk = Path(sys.argv[1])
    info = describe(disk)
    argv = ["qemu-img", "map", "--output=json", "-f", info.format, str(disk)]
    mapped = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    opened = NbdDisk(info)
    try:
        for at, length in pieces(msgspec.json.decode(mapped.stdout, type=list[Extent]), opened.size):
            data = memoryview(opened.read(at, length))
            while data:
                data = data[os.write(1, data) :]
    finally:
        opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
