"""What the readers of package databases share: bounds, paths as the tree has them, and names that others provide."""

from __future__ import annotations

import bz2
import lzma
import posixpath
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from analyzers._reading import Reader
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import Place, Unread

MAX_DATABASE = 64 << 20
"""Bytes of one database: Alpine needs some 60 for a file, so this is a million files."""
MAX_PACKAGES = 50_000
MAX_PATHS = 1_000_000
MAX_TEXT_TOTAL = 256 << 20
"""Bytes of all files that one reader of a database reads together: half the names may be links to one file."""
MAX_LINE = 1 << 20
MAX_PATH = 4096  # PATH_MAX, limits.h
_MAX_DEPTH = 256
_MAX_NOTES = 1000
_MAX_NAMES = 500_000
_MAX_PROVIDERS = 8
_FEW = 10
_LZMA_MEMORY = 128 << 20
_MAX_MEMBERS = 64
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._+@/:~-]{1,255}")
_PLAIN_VERSION = re.compile(r"[A-Za-z0-9._+@:~-]{1,255}")

THE_ROOT = frozenset({"/", "/.", "./", "."})
"""How package lists spell the root directory, which every package of some managers owns and none changes."""

Kind = Literal["file", "directory", "symlink", "other", "unknown"]

Complain = Callable[[str, int], None]
"""How a parser says what it did not understand, and on which line."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a database says of one path.

    `digest` is `md5:`, `sha1:`, `sha256:` or `sha256-160:` (its first 20 bytes) and hex; for a symlink it is of
    the target's text where the manager keeps one (apk). `mode` is the permission bits, None where they are not
    recorded, as `uid`, `gid`, `size` (bytes) and `mtime` (seconds since the epoch). `configuration`: the manager
    does not overwrite it when it was changed. `kind` is `unknown` where the manager lists paths alone, and `other`
    for devices, fifos and sockets.
    """

    path: str
    kind: Kind = "file"
    digest: str = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    mtime: int | None = None
    target: str = ""
    configuration: bool = False


class Database(Reader):
    """A Reader for databases that may have been made to harm: so many bytes in all, and so many notes."""

    def __init__(self, guest: Guest, analyzer: str) -> None:
        super().__init__(guest, analyzer)
        self._left = MAX_TEXT_TOTAL
        self._told: set[tuple[str, str, int | None]] = set()

    def note(self, path: str, why: str, line: int | None = None) -> None:
        """Remember that something at `path` was not understood; of a thousand notes on, only that there are more."""
        if len(self._told) > _MAX_NOTES or (path, why, line) in self._told:
            return
        self._told.add((path, why, line))
        if len(self._told) > _MAX_NOTES:
            path, why, line = "/", f"more than {_MAX_NOTES} things could not be read or understood", None
        self.unread.append(Unread(seen_in=Place(path, line), why=why, analyzer=self.analyzer))

    def text(self, path: str, limit: int = MAX_DATABASE) -> str | None:
        """Return the text of a regular file; None, with a note, where it cannot be read or enough was read."""
        found = super().text(path, min(limit, self._left)) if self._may_read(path) else None
        self._left -= len(found or "")
        return found

    def data(self, path: str, limit: int) -> bytes | None:
        """Return the content of a regular file; None, with a note, where it cannot be read or enough was read."""
        found = super().data(path, min(limit, self._left)) if self._may_read(path) else None
        self._left -= len(found or b"")
        return found

    def _may_read(self, path: str) -> bool:
        if self._left <= 0:
            self.note(path, f"not read: {MAX_TEXT_TOTAL} bytes of the database were read before it")
        return self._left > 0


class Complaints:
    """Notes what was not understood: the first few of each file with their lines, then how many more.

    A database of nothing but wrong lines would else make as many findings.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counts: dict[str, int] = {}

    def about(self, path: str) -> Complain:
        """Return the function to complain of the file `path` with."""
        self._counts.setdefault(path, 0)

        def complain(why: str, line: int) -> None:
            self._counts[path] += 1
            if self._counts[path] <= _FEW:
                self._reader.note(path, why, line or None)

        return complain

    def finish(self) -> None:
        """Note how many there were beyond the few, once for each file."""
        for path, count in self._counts.items():
            if count > _FEW:
                self._reader.note(path, f"{count - _FEW} more lines or entries like these")
        self._counts.clear()


_ODD = re.compile(r"//|/\.{1,2}(?:/|\Z)|/\Z|\0")


def is_name(text: str) -> bool:
    """Tell whether a text can be a package's name: one word, no sign that means something to a shell or a file."""
    return _PLAIN_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Tell whether a text can be a version."""
    return _PLAIN_VERSION.fullmatch(text) is not None


def rooted(path: str) -> str | None:
    """Return a path of a package list as absolute, or None where it is none: empty, too long, with `..` or NUL.

    >>> rooted("etc/motd"), rooted("./usr//bin/x/"), rooted("../etc/shadow")
    ('/etc/motd', '/usr/bin/x', None)
    """
    if path.startswith("/") and _ODD.search(path) is None and len(path) <= MAX_PATH and path.count("/") <= _MAX_DEPTH:
        return path  # its one spelling already, as nearly all are: 36,000 of them in 20 ms, not 80
    if not path or len(path) > MAX_PATH or "\0" in path or path.count("/") > _MAX_DEPTH or ".." in path.split("/"):
        return None
    found = posixpath.normpath(f"/{path.lstrip('/')}")
    return None if found == "/" else found


def lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield the lines with their numbers from 1, one at a time: a list of them would be ten times the text.

    Only `\n` ends a line, and a carriage return before it is not part of it.
    """
    at, number = 0, 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        number += 1
        yield number, text[at:end].removesuffix("\r")
        at = end + 1


def real_paths(records: Iterable[Record], tree: Tree) -> tuple[str, ...]:
    """Return the paths as the tree has them, each once, sorted."""
    return tuple(sorted({tree.real(record.path) for record in records}))


class Names:
    """The installed packages, and which of them provide the names that others ask for."""

    def __init__(self) -> None:
        self.installed: dict[str, None] = {}
        self._providers: dict[str, dict[str, None]] = {}
        self._left = _MAX_NAMES

    def add(self, name: str, provides: Iterable[str]) -> None:
        """Take an installed package and the names it provides beside its own."""
        self.installed[name] = None
        for each in provides:
            self._left -= 1
            if self._left < 0:
                return
            providers = self._providers.setdefault(each, {})
            if len(providers) < _MAX_PROVIDERS:
                providers[name] = None

    def behind(self, name: str) -> Sequence[str]:
        """Return the installed packages that a name means: the one of that name, or else all that provide it."""
        return (name,) if name in self.installed else tuple(self._providers.get(name, ()))

    def resolve(self, asked: Iterable[str], itself: str) -> tuple[str, ...]:
        """Return the installed packages behind the names that `itself` asks for, in order, each once."""
        found = dict.fromkeys(package for name in dict.fromkeys(asked) for package in self.behind(name))
        found.pop(itself, None)
        return tuple(found)


def unpack(data: bytes, limit: int) -> bytes:
    """Return what a gzip, xz or bzip2 file holds, or `data` itself where it is none of them.

    Raises ValueError where it is damaged, is compressed otherwise, or holds more than `limit` bytes.
    """
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        raise ValueError("it is compressed with zstd, which is not read here")
    found = bytearray()
    try:
        for part in _unpacked(data, limit + 1):
            found += part
            if len(found) > limit:
                raise ValueError(f"it holds more than {limit} bytes")
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    return bytes(found)


def _unpacked(data: bytes, most: int) -> Iterator[bytes]:
    if data.startswith(b"\x1f\x8b"):
        yield from _gunzip(data, most)
    elif data.startswith(b"\xfd7zXZ\0"):
        yield lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY).decompress(data, most)
    elif data.startswith(b"BZh"):
        yield bz2.BZ2Decompressor().decompress(data, most)
    else:
        yield data


def _gunzip(data: bytes, most: int) -> Iterator[bytes]:
    """Yield the members of a gzip file, RFC 1952: apk's indexes have two, the signature and the archive."""
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        yield member.decompress(data, most)
        if not member.eof:
            if not member.unconsumed_tail:
                raise EOFError("it ends in the middle")
            return
        data = member.unused_data
        if not data.startswith(b"\x1f\x8b"):
            return
