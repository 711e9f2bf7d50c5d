"""Hash every file of a disk: `python -m benchmarks.hashing --reader direct DISK`. Says how many, and how many bytes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from migrate.errors import Vm2cError
from migrate.guest.open import open_guest


def main(arguments: Sequence[str] | None = None) -> int:
    """Open, hash, print one line. Returns the exit code: 1 where a disk, or a file of it, could not be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hashing", description=__doc__)
    parser.add_argument("--reader", choices=("direct", "guestfs"), default="direct")
    parser.add_argument("--algorithm", default="md5", help="hashlib's name (md5, as the floor has it)")
    parser.add_argument("disk", type=Path)
    given = parser.parse_args(arguments)
    try:
        with open_guest([given.disk], reader=given.reader) as guest:
            wanted = {entry.path: given.algorithm for entry in guest.walk() if entry.kind == "file"}
            sizes = {entry.inode: entry.size for entry in guest.walk() if entry.kind == "file"}
            found = guest.digests(wanted)
    except (Vm2cError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{len(found)} of {len(wanted)} files, {sum(sizes.values())} bytes\n")
    if len(found) < len(wanted):
        sys.stderr.write(f"{len(wanted) - len(found)} files could not be read\n")
    return int(len(found) < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
