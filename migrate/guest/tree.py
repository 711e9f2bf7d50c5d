"""A guest's names and metadata in memory, and everything of the `Guest` protocol that they can answer.

Readers make one `Tree` from what they swept up, and add only how content is fetched (`TreeGuest`).

Memory: an `Entry` with its path, its place in the index and in its directory takes about 0.5 KiB, so a
million inodes stay near 0.5 GiB (measured by `tests/guest/test_tree.py`). For that the children of a
directory are a tuple of the entries themselves, and no name is kept beside the path it ends.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from migrate.errors import GuestFileError
from migrate.guest.digests import Answer, Job, digest_of, hasher, jobs_of, too_much
from migrate.guest.glob import glob_tree
from migrate.guest.protocol import Entry, Problem, Source
from migrate.text import show

MAX_LINKS = 40
"""How many symbolic links one resolution may follow: the kernel's limit, path_resolution(7)."""

MAX_READ = 1 << 30
"""The most bytes that `read` puts into memory at once; longer files are read with `chunks`."""

_PATH = operator.attrgetter("path")
_DOTS = re.compile(r"/\.{1,2}(?:/|\Z)")


def encode(path: str) -> bytes:
    """Return the bytes of a guest's path. Order among names is the order of these."""
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """Return a guest's path as text; what is no UTF-8 is kept as surrogates."""
    return path.decode("utf-8", "surrogateescape")


def join(directory: str, name: str) -> str:
    """Return the path of a name in a directory, which may be `/`."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


@functools.lru_cache(maxsize=1 << 14)
def shared(number: int) -> int:
    """Return the same number as one object for all that have it.

    Readers make their entries' modes, owners, sizes and times of these: 28 to 32 bytes less for each that repeats.
    """
    return number


def parent(path: str) -> str:
    """Return the directory that a canonical path stands in; that of `/` is `/`."""
    return path.rpartition("/")[0] or "/"


class Tree:
    """The names of a guest, as one tree below `/`.

    Made from entries with canonical absolute paths, in any order; of two with one path the later counts.
    Directories that entries imply are added (root's, 0755). Entries below something that is no directory
    cannot be reached by any path: they are left out and listed in `unreachable`.

    Raises ValueError for a path that is not canonical (relative, or with `//`, `.`, `..` or NUL in it).
    """

    __slots__ = ("_children", "_entries", "unreachable")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            if not _is_canonical(entry.path):
                raise ValueError(f"not a canonical path: {entry.path!r}")
            self._entries[entry.path] = entry
        root = self._entries.get("/")
        if root is None or root.kind != "directory":
            self._entries["/"] = _implied("/")
        self._children = self._connect()
        self.unreachable = self._drop_unreachable()

    def _connect(self) -> dict[str, tuple[Entry, ...]]:
        lists: dict[str, list[Entry]] = {}
        todo = list(self._entries.values())
        for entry in todo:  # grows while it runs: an implied directory may imply another
            path = entry.path
            if path == "/":
                continue
            above = path.rpartition("/")[0] or "/"
            siblings = lists.get(above)
            if siblings is not None:
                siblings.append(entry)
                continue
            holder = self._entries.get(above)
            if holder is None:
                holder = self._entries[above] = _implied(above)
                todo.append(holder)
            lists[holder.path] = [entry]
        return {path: tuple(_sorted(children)) for path, children in lists.items()}

    def _drop_unreachable(self) -> tuple[str, ...]:
        count, todo = 1, ["/"]
        while todo:
            children = self._children.get(todo.pop(), ())
            count += len(children)
            todo.extend(child.path for child in children if child.kind == "directory")
        if count == len(self._entries):
            return ()
        reached = {entry.path for entry in self.walk("/")}
        lost = sorted((path for path in self._entries if path not in reached), key=encode)
        for path in lost:
            del self._entries[path]
        self._children = {path: kids for path, kids in self._children.items() if self._is_directory(path)}
        return tuple(lost)

    def _is_directory(self, path: str) -> bool:
        entry = self._entries.get(path)
        return entry is not None and entry.kind == "directory"

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, path: str, *, follow: bool = True) -> Entry | None:
        """Return what `path` leads to, or with `follow` false the last name itself; None if there is nothing.

        As path_resolution(7) has it, with the guest's root as `/`: `..` of the root is the root, a path
        that ends in `/` must be a directory, an empty one and one with NUL lead nowhere.
        """
        known = self._entries.get(path)
        if known is not None and (known.kind != "symlink" or not follow):
            return known
        if not path or "\0" in path:
            return None
        at = root = self._entries["/"]
        links = 0
        todo = path.split("/")[::-1]
        while todo:
            name = todo.pop()
            if at.kind != "directory":
                return None
            if name in {"", "."}:
                continue
            if name == "..":
                at = self._entries[parent(at.path)]
                continue
            step = self._entries.get(join(at.path, name))
            if step is None:
                return None
            if step.kind != "symlink" or not (todo or follow):
                at = step
                continue
            links += 1
            if links > MAX_LINKS or not step.target:
                return None
            if step.target.startswith("/"):
                at = root
            todo.extend(step.target.split("/")[::-1])
        return at

    def children(self, path: str) -> tuple[Entry, ...]:
        """Return the entries of the directory that `path` leads to, sorted; none if it is no directory."""
        entry = self.find(path)
        return () if entry is None else self._children.get(entry.path, ())

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield `top` and all below it, parents first, siblings sorted; a symlink as `top` is only itself."""
        start = self.find(top, follow=False)
        todo = [] if start is None else [start]
        while todo:
            entry = todo.pop()
            yield entry
            if entry.kind == "directory":
                todo.extend(reversed(self._children.get(entry.path, ())))

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match (`migrate.guest.glob` says how), sorted by bytes."""
        return sorted(glob_tree(self, pattern), key=encode)


def _is_canonical(path: str) -> bool:
    """Tell whether a path is absolute, and the only spelling of itself (0.2 µs; one pattern for it all takes 1)."""
    if path[:1] != "/" or "//" in path or "\0" in path:
        return False
    if path[-1] == "/":
        return path == "/"
    return "/." not in path or _DOTS.search(path) is None


def _sorted(entries: list[Entry]) -> list[Entry]:
    """Return a directory's entries by the bytes of their names; among ASCII ones that is the order of the texts."""
    plain = all(map(str.isascii, map(_PATH, entries)))
    return sorted(entries, key=_PATH if plain else lambda entry: encode(entry.path))


def _implied(path: str) -> Entry:
    return Entry(path=path, kind="directory", mode=0o755, uid=0, gid=0)


class TreeGuest(abc.ABC):
    """The `Guest` protocol on a `Tree`; a reader adds `_pieces` and, where it pays, `prefetch`."""

    def __init__(self, tree: Tree, source: Source, problems: Iterable[Problem] = ()) -> None:
        self._tree = tree
        self._source = source
        self._problems: dict[Problem, None] = {}
        self._closed = False
        self._after = contextlib.ExitStack()
        for problem in problems:
            self._note(problem)
        for path in tree.unreachable:
            self._note(Problem(path=path, why="stands below something that is no directory; no path leads to it"))

    @abc.abstractmethod
    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of a regular file, in pieces of at most a few MiB.

        `length` is at most `entry.size`. Raises GuestFileError where they cannot be read.
        """

    def _note(self, problem: Problem) -> None:
        self._problems.setdefault(problem)

    @property
    def source(self) -> Source:
        """What was opened."""
        return self._source

    @property
    def problems(self) -> Sequence[Problem]:
        """What could not be read so far; grows while reading."""
        return tuple(self._problems)

    def lstat(self, path: str) -> Entry | None:
        """Return the entry itself (a symlink is not followed, its parents are), or None."""
        return self._tree.find(path, follow=False)

    def stat(self, path: str) -> Entry | None:
        """Return the entry that `path` leads to, or None where it is missing, dangling or looping."""
        return self._tree.find(path)

    def resolve(self, path: str) -> str | None:
        """Return the real path with no symlink in it, or None where `stat` would return None."""
        entry = self._tree.find(path)
        return None if entry is None else entry.path

    def exists(self, path: str) -> bool:
        """Tell whether `path` leads to something."""
        return self._tree.find(path) is not None

    def is_file(self, path: str) -> bool:
        """Tell whether `path` leads to a regular file."""
        entry = self._tree.find(path)
        return entry is not None and entry.kind == "file"

    def is_dir(self, path: str) -> bool:
        """Tell whether `path` leads to a directory."""
        entry = self._tree.find(path)
        return entry is not None and entry.kind == "directory"

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory (symlinks to one are followed), sorted; empty where there is none."""
        return [entry.path.rpartition("/")[2] for entry in self._tree.children(path)]

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, sorted by bytes. `*`, `?`, `[]` within one name; `**` for any depth."""
        return self._tree.glob(pattern)

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield `top` and everything below it, parents first, sorted; symlinks are not followed."""
        return self._tree.walk(top)

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of the regular file that `path` leads to, at most `limit` bytes of it.

        Raises GuestFileError where it is missing, not a regular file, cannot be read, or is longer than
        MAX_READ with no limit given.
        """
        entry = self._regular(path)
        length = entry.size if limit is None else max(0, min(limit, entry.size))
        if length > MAX_READ:
            raise GuestFileError(
                f"read {show(path)} at once", f"it is {entry.size} bytes long", "read it in pieces, or with a limit"
            )
        return b"".join(self._exactly(entry, length))

    def text(self, path: str, limit: int = 4 << 20) -> str:
        """Return the content as text: UTF-8, undecodable bytes kept as surrogates. Raises as `read`.

        A file longer than `limit` is cut there, and that it was is among the `problems`.
        """
        entry = self._regular(path)
        content = self.read(path, limit)
        if entry.size > len(content):
            why = f"only the first {len(content)} of {entry.size} bytes were read as text"
            self._note(Problem(path=entry.path, why=why))
        return decode(content)

    def chunks(self, path: str, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the whole content in pieces of `size` bytes, for files of any length. Raises as `read`."""
        entry = self._regular(path)
        return _resized(self._exactly(entry, entry.size), max(1, size))

    def digests(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return the digests (hex) of files' whole contents; those that cannot be read are among the `problems`.

        Raises ValueError for an algorithm that hashlib does not guarantee.
        """
        jobs, numbers = jobs_of(self._tree.find, wanted)
        answers = self._answers(jobs)
        found: dict[str, str] = {}
        for path, number in zip(wanted, numbers, strict=True):
            answer = answers[number] if number >= 0 else ""
            if isinstance(answer, GuestFileError):
                self._note(Problem(path=self.resolve(path) or path, why=answer.found))
            elif answer:
                found[path] = answer
        return found

    def _answers(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash what there is anything of, and not more than the disks can hold."""
        sizes = [job.entry.size for job in jobs]
        out = too_much(sizes, sum(disk.virtual_bytes for disk in self._source.disks))
        if self._closed:
            return [self._unread(job) for job in jobs]
        read = [size > 0 and number not in out for number, size in enumerate(sizes)]
        hashed = iter(self._hashed([job for job, each in zip(jobs, read, strict=True) if each]))
        return [next(hashed) if each else self._unread(job) for job, each in zip(jobs, read, strict=True)]

    def _unread(self, job: Job) -> Answer:
        """Return the answer for a file that is not read."""
        attempted, size = f"hash {show(job.entry.path)}", job.entry.size
        if self._closed:
            return GuestFileError(attempted, "the guest was closed")
        if size:
            found = f"it has {size} bytes: with all others that is more than the disks can hold"
            return GuestFileError(attempted, found)
        return hasher(job.algorithm).hexdigest()

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Return an answer for each file, none of which is empty; a reader may have a better way."""
        return [self._digest(job) for job in jobs]

    def _digest(self, job: Job) -> Answer:
        """Hash one file."""
        return digest_of(job, self._pieces(job.entry, job.entry.size))

    def prefetch(self, paths: Iterable[str]) -> None:  # noqa: B027 - a reader with cheap reads has nothing to do
        """Fetch contents below these paths in bulk where that is cheaper; otherwise do nothing."""

    def close(self) -> None:
        """Let go of the disks; temporary files are removed. A second call does nothing."""
        self._closed = True
        self._after.close()

    def keep(self, stack: contextlib.ExitStack) -> None:
        """Take over what must last as long as this guest is open; it is closed after the guest's own."""
        self._after.push(stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _regular(self, path: str) -> Entry:
        if self._closed:
            raise GuestFileError(f"read {show(path)}", "the guest was closed")
        entry = self._tree.find(path)
        if entry is None:
            named = self._tree.find(path, follow=False)
            found = (
                "no such file on the guest" if named is None else f"the symlink to {show(named.target)} leads nowhere"
            )
            raise GuestFileError(f"read {show(path)}", found)
        if entry.kind != "file":
            raise GuestFileError(f"read {show(path)}", f"it is a {entry.kind}, not a regular file")
        return entry

    def _exactly(self, entry: Entry, length: int) -> Iterator[bytes]:
        """Yield `length` bytes; a file that turns out shorter is an error, not a shorter answer."""
        got = 0
        for piece in self._pieces(entry, length) if length else ():
            got += len(piece)
            yield piece
        if got != length:
            raise GuestFileError(f"read {show(entry.path)}", f"it ended after {got} of {length} bytes")


def _resized(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut and join pieces so that each but the last is `size` bytes long."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
