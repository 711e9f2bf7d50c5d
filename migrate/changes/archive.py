"""Chosen files out of a package's archive, read once for all of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence

import msgspec

from migrate.changes.archive_formats import Member, members
from migrate.changes.archive_stream import ArchiveError, Budget
from migrate.errors import Vm2cError
from migrate.guest import compression
from migrate.text import show

MAX_ORIGINAL = 1 << 20
"""Of a longer file no textual difference is made, so its original is not wanted."""


class Wanted(msgspec.Struct, frozen=True, order=True):
    """The original of a path is wanted: the package's name, the path as the disk has it, the digest recorded of it.

    `algorithm` is as hashlib spells it, `digest` in hex; both are empty where the package database recorded none.
    """

    package: str
    path: str
    algorithm: str = ""
    digest: str = ""

    def is_met_by(self, data: bytes) -> bool:
        """Tell whether content has the digest recorded; where none is, any has."""
        if not self.digest:
            return True
        try:
            return hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest() == self.digest
        except (ValueError, TypeError):  # not known here, or of no fixed length (shake_128)
            return False


class Extracted(msgspec.Struct, frozen=True):
    """What an archive held of what was wanted, by path; and why there is not more: an empty text where there is."""

    contents: dict[str, bytes]
    why: str = ""


def extract(pieces: Iterable[bytes], wanted: Sequence[Wanted], budget: Budget | None = None) -> Extracted:
    """Read the wanted files out of a package's archive (deb, rpm, apk, pacman), whole, with the digests wanted.

    Reading ends with the last of them. No content is longer than MAX_ORIGINAL; `budget` is what the archive may
    unpack to. Raises nothing for what an archive may hold.
    """
    left: dict[str, Wanted] = {each.path: each for each in wanted}
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    why = ""
    source = iter(pieces)
    inside = members(source, budget or Budget(1 << 30))
    try:
        for path, data in _matching(inside, left):
            seen.add(path)
            if left[path].is_met_by(data):
                found[path] = data
                del left[path]
                if not left:
                    break
    except (ArchiveError, Vm2cError, *compression.ERRORS) as error:
        told = error.found if isinstance(error, Vm2cError) else str(error)
        why = show(told)[:300] or type(error).__name__
    finally:
        for each in (inside, source):  # ends the program zstd, and then lets go of what fed it
            if isinstance(each, Generator):
                each.close()
    if not why and left:
        why = (
            "its file is not the one that the package database recorded: the digest differs"
            if seen.issuperset(left)
            else "it does not have the file, or a longer one than is compared as text"
        )
    return Extracted(found, why)


def _matching(inside: Iterable[Member], left: dict[str, Wanted]) -> Iterator[tuple[str, bytes]]:
    """Yield (path wanted, content) for each member that is one; of names of one file, cpio gives it to the last."""
    names = {name: path for path in left for name in spellings(path)}
    linked: dict[int, list[str]] = defaultdict(list)
    for member in inside:
        path = names.get(member.path)
        if member.link and path in left and not member.size:
            linked[member.link].append(path)
        if member.size > MAX_ORIGINAL or (path not in left and member.link not in linked):
            continue
        data = member.read()
        others = linked[member.link] if member.size and member.link in linked else []
        for each in (path, *others):
            if each is not None and each in left:
                yield each, data


def spellings(path: str) -> tuple[str, ...]:
    """Return the paths that a package may ship a file under: with /usr merged, /lib/x is on the disk as /usr/lib/x.

    >>> spellings("/usr/lib/x")
    ('/usr/lib/x', '/lib/x')
    """
    if path.startswith(("/usr/bin/", "/usr/sbin/", "/usr/lib")):
        short = path.removeprefix("/usr")
        if short.startswith("/sbin/"):
            return path, short
        # Fedora 42 made /usr/sbin a link to /usr/bin, as Arch did long before.
        more = ("/usr/sbin/" + short.removeprefix("/bin/"), "/sbin/" + short.removeprefix("/bin/"))
        return (path, short, *more) if short.startswith("/bin/") else (path, short)
    return (path,)
