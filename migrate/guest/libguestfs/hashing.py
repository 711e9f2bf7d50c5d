r"""Hashing files inside the appliance: whole directories in one call each (guestfs(3), checksums_out).

Measured under emulation (TCG, libguestfs 1.48; Debian 12, 17,700 files, 699 MiB, cold): `/` takes 19 to 23 s with MD5
and 26 s with SHA-256. /usr/bin with 394 files of 59 MiB takes 1.0 s so (SHA-256 1.4 s), and 2.9 s as an archive that
is hashed here. A file of it alone takes 3.8 ms by pread, and 54 ms by guestfs_checksum. A call hashes everything
below its directory, so it pays where most of that is wanted.

The daemon runs `find -type f -print0 | xargs -0 md5sum` in the directory (daemon/checksum.c), none of it the guest's;
names are in its output only, where a line begins with a backslash if its name had to be escaped (md5sum(1); \\, \n and
\r). The daemon is not in the guest's root then, so the directory must be a real path: one with no symbolic link in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import IO

from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, must_live
from migrate.guest.spool import PIECE, reopened, spool
from migrate.guest.tree import Tree, decode, join, parent

ALGORITHMS = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"})
"""What hashlib and the daemon call by the same names."""

_START, _PER_FILE, _PER_BYTE = 0.2, 7e-4, 1e-8  # seconds of one call
_SINGLE, _SINGLE_BYTE = 0.002, 2e-8  # and of a file that is read alone, as `bulk` has it
# The daemon puts the directory in a shell's line, with a backslash before all but these (daemon/guestd.c,
# print_shell_quote); before a newline that takes it away, and the files of another directory would be hashed.
_SAFE = re.compile(r"[A-Za-z0-9/._-]+")
_LINE = re.compile(rb"(\\?)([0-9a-f]{32,128}) [ *]\./(.+)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([\\nr])")
_PLAIN = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}
_LONGEST = 16 << 10  # of a line: a digest, and PATH_MAX bytes that are all escaped


def plan_sums(tree: Tree, wanted: Collection[str], barred: Iterable[str]) -> list[str]:
    """Return the directories to be hashed whole, so that all wanted files take the least time.

    Below the `barred` paths there may be what the tree does not know; nothing above one of them is chosen.
    """
    whole: dict[str, float] = {}
    best: dict[str, float] = {}
    for entry in tree.walk():
        if entry.kind == "file":
            above = parent(entry.path)
            whole[above] = whole.get(above, 0) + _PER_FILE + entry.size * _PER_BYTE
            if entry.path in wanted:
                best[above] = best.get(above, 0) + _SINGLE + entry.size * _SINGLE_BYTE
    for path in barred:
        whole[path] = float("inf")
    below: dict[str, list[str]] = {}
    # Deepest first: a directory is added to the one above it once all below it are in its own sums.
    for path in sorted(_with_above(whole) - {"/"}, key=lambda each: -each.count("/")):
        chosen = _chosen(path, whole, best, below)
        above = parent(path)
        whole[above] = whole.get(above, 0) + whole.get(path, 0)
        best[above] = best.get(above, 0) + best.get(path, 0)
        below.setdefault(above, []).extend(chosen)
    return sorted(_chosen("/", whole, best, below))


def _chosen(path: str, whole: dict[str, float], best: dict[str, float], below: dict[str, list[str]]) -> list[str]:
    """Return what to hash below a directory, or it alone where that is faster; its best time is then that."""
    at_once = _START + whole.get(path, 0)
    if at_once >= best.get(path, 0) or not _SAFE.fullmatch(path):
        return below.pop(path, [])
    below.pop(path, None)
    best[path] = at_once
    return [path]


def _with_above(paths: Iterable[str]) -> set[str]:
    """Return paths and all directories above them."""
    found: set[str] = set()
    for path in paths:
        while path not in found:
            found.add(path)
            path = parent(path)
    return found


def sums_below(handle: Handle, directory: str, algorithm: str) -> Iterator[tuple[str, str]]:
    """Yield path and digest of every regular file below a directory that could be read.

    Raises DiskError where the appliance stops.
    """
    with spool() as file:
        try:
            handle.checksums_out(algorithm, directory, reopened(file))
        except BINDING_ERRORS as error:  # after one file that cannot be read all others are there
            must_live(handle, error)
        for line in _lines(file):
            found = parse_sum(line)
            if found is not None:
                yield join(directory, found[0]), found[1]


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield whole lines, without their ends; what is not ended was cut."""
    rest, at = b"", 0
    while piece := os.pread(file.fileno(), PIECE, at):
        at += len(piece)
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST:
            return


def parse_sum(line: bytes) -> tuple[str, str] | None:
    r"""Return the path below its directory, and the digest, of a line of md5sum(1) and its kin.

    >>> parse_sum(b"\\d41d8cd98f00b204e9800998ecf8427e  ./a\\nb\\\\c")
    ('a\nb\\c', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    name = found[3]
    if found[1]:
        name = _ESCAPE.sub(lambda each: _PLAIN[each[1]], name)
    return decode(name), found[2].decode()
