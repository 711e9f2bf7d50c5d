"""All names and metadata of the mounted tree, through libguestfs, in three calls a directory and none a file.

The library takes names of one directory at a time (a name with `/` in it is refused), so directories are the
unit: find0 says what they are, then lstatnslist, readlinklist and lxattrlist answer for all names in one. Measured
under emulation (TCG, libguestfs 1.48, 24,000 names in 2,260 directories): find0 2.4 s, lstatnslist 2.0 s, readlinklist
0.2 s, lxattrlist 2.3 s; one round trip is 0.2 ms. With two processors in the appliance, lists take half as long again
and archives a third less; it has one. No other call of the library is better: filesystem_walk gives neither owners nor
attributes, readdir costs a call a directory as well, tar_out brings all contents, and `debug` is not for programs
(guestfs(3)). A million names take 0.5 GiB of memory here, tree included.

Names and link targets that are not UTF-8 cannot pass through the binding. What is below such a name is taken, with
its content, from a tar archive of the directory around it (`OddNames`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TypeVar

from migrate.guest.archives.tarindex import TarIndex
from migrate.guest.directory import KINDS
from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, Stat, Xattr, must_live, reason
from migrate.guest.progress import Progress
from migrate.guest.protocol import Entry, Problem
from migrate.guest.spool import reopened, spool, write_all
from migrate.guest.tree import decode, encode, join

ODD_CAP = 1 << 30
"""The most bytes fetched from one directory for names that are not UTF-8: contents come with the metadata."""

_BATCH = 1000
_MAX_SINGLE_FAILURES = 16
_MAX_EXCLUDES = 1 << 20
_MAX_LISTED = 20
_T = TypeVar("_T")


class Sweep:
    """One pass over the tree: iterate `entries` once, then look at `problems` and `odd`.

    Of `hidden` directories there is an entry each, and none of what they hold.
    """

    def __init__(self, handle: Handle, progress: Progress, hidden: Sequence[str] = ()) -> None:
        self._handle = handle
        self._hidden = frozenset(hidden)
        self._progress = progress
        self.problems: list[Problem] = []
        self.odd: list[TarIndex] = []
        self._odd_names: dict[str, set[bytes]] = {}

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, in no set order. Raises DiskError where the appliance stops."""
        yield _entry("/", self._handle.lstatns("/"), "", ())
        self._progress("listing names")
        directories = self._names()
        for done, path in enumerate(sorted(directories), 1):
            if done % 100 == 0:
                self._progress("reading metadata", done, len(directories))
            yield from self._directory(path, directories.pop(path))
        for path in sorted(self._odd_names):
            yield from self._odd_directory(path, self._odd_names[path])

    def _names(self) -> dict[str, list[str]]:
        """Return the names in each directory that has any, and note those that are not UTF-8."""
        found: dict[str, list[str]] = {}
        for base, raw in self._found("/"):
            try:
                directory, _, name = raw.decode("utf-8").rpartition("/")
            except UnicodeDecodeError:
                self._note_odd(base, raw)
            else:
                found.setdefault(join(base, directory) if directory else base, []).append(name)
        return found

    def _found(self, top: str) -> Iterator[tuple[str, bytes]]:
        """Yield each name below a directory: the directory it was asked of, and its path from there."""
        if not any(path.startswith(join(top, "")) for path in self._hidden):
            yield from ((top, raw) for raw in self._listed(self._handle.find0, top))
            return
        names = list(self._listed(self._handle.ls0, top))
        yield from ((top, raw) for raw in names)
        plain = [raw.decode("utf-8") for raw in names if is_utf8(raw)]
        for name, status in zip(plain, self._all(top, plain, self._stats), strict=True):
            if status and stat.S_ISDIR(status["st_mode"]) and join(top, name) not in self._hidden:
                yield from self._found(join(top, name))

    def _listed(self, call: Callable[[str, str], None], path: str) -> Iterator[bytes]:
        with spool() as file:
            try:
                call(path, reopened(file))
            except BINDING_ERRORS as error:
                must_live(self._handle, error)
                self._problem(path, f"not all names could be listed: {reason(error)}")
            for raw in _records(file):
                yield raw.removeprefix(b"/")  # find0 of any directory but the root puts it before each name

    def _note_odd(self, base: str, raw: bytes) -> None:
        parts = raw.split(b"/")
        depth = next(n for n, part in enumerate(parts) if not is_utf8(part))
        directory = decode(b"/".join(parts[:depth]))
        self._odd_names.setdefault(join(base, directory) if directory else base, set()).add(parts[depth])

    def _directory(self, path: str, names: list[str]) -> Iterator[Entry]:
        names.sort()
        stats = self._all(path, names, self._stats)
        if not any(stats):
            self._problem(path, f"the metadata of the {len(names)} names in it cannot be read")
            return
        links = [name for name, each in zip(names, stats, strict=True) if each and stat.S_ISLNK(each["st_mode"])]
        targets = dict(zip(links, self._all(path, links, self._links), strict=True)) if links else {}
        xattrs = self._all(path, names, self._xattrs)
        for name, status, attributes in zip(names, stats, xattrs, strict=True):
            full = join(path, name)
            if status is None:
                self._problem(full, "its metadata cannot be read")
                continue
            target = targets.get(name)
            if name in targets and target is None:  # not UTF-8, or unreadable: a tar archive has it as it is
                self._odd_names.setdefault(path, set()).add(encode(name))
                continue
            if attributes is None:
                self._problem(full, "its extended attributes cannot be read")
            yield _entry(full, status, target or "", attributes or ())

    def _stats(self, path: str, names: Sequence[str]) -> list[Stat | None]:
        return [None if each["st_ino"] == -1 else each for each in self._handle.lstatnslist(path, names)]

    def _links(self, path: str, names: Sequence[str]) -> list[str | None]:
        return [target or None for target in self._handle.readlinklist(path, names)]

    def _xattrs(self, path: str, names: Sequence[str]) -> list[tuple[tuple[str, bytes], ...] | None]:
        return list(_grouped(self._handle.lxattrlist(path, names)))

    def _all(
        self, path: str, names: Sequence[str], call: Callable[[str, Sequence[str]], list[_T | None]]
    ) -> list[_T | None]:
        """Call for all names, a thousand at a time; halve what fails until the names that fail are found.

        One bad name (a target that is not UTF-8, attributes larger than a message may be) fails a whole call.
        Where single names keep failing the directory itself is at fault, and the rest is given up.
        """
        results: list[_T | None] = []
        failures = 0
        todo = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)][::-1]
        while todo:
            batch = todo.pop()
            try:
                answer = call(path, batch) if failures < _MAX_SINGLE_FAILURES else [None] * len(batch)
                results += answer if len(answer) == len(batch) else [None] * len(batch)
            except BINDING_ERRORS as error:
                must_live(self._handle, error)
                if len(batch) > 1:
                    half = len(batch) // 2
                    todo += [batch[half:], batch[:half]]
                    continue
                results.append(None)
                failures += not isinstance(error, UnicodeError)
        return results

    def _odd_directory(self, path: str, wanted: set[bytes]) -> Iterator[Entry]:
        """Take the entries of some names in a directory, and all below them, from a tar archive."""
        try:
            file, complete = self._archive(path, wanted)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            self._problem(path, f"{len(wanted)} names in it that are not UTF-8 were not read: {reason(error)}")
            return
        index = TarIndex(file, path, prefix="" if path == "/" else path, device=-1 - len(self.odd), may_be_cut=True)
        self.odd.append(index)
        entries, index.entries = index.entries, {}
        start = len(encode(join(path, "")))
        for entry in entries.values():
            if encode(entry.path)[start:].split(b"/")[0] in wanted:
                yield entry
        if not complete:
            why = (
                f"not all below names that are not UTF-8 was read: it is more than {ODD_CAP >> 20} MiB, or room ran out"
            )
            self._problem(path, why)
            return
        missing = sorted(name for name in wanted if join(path, decode(name)) not in entries)
        for name in missing[:_MAX_LISTED]:
            self._problem(join(path, decode(name)), "its name or link target is not UTF-8, and it cannot be archived")
        if len(missing) > _MAX_LISTED:
            self._problem(path, f"so are {len(missing) - _MAX_LISTED} more names in it")

    def _archive(self, path: str, wanted: set[bytes]) -> tuple[IO[bytes], bool]:
        """Return an archive of the wanted names in a directory, and whether it is all of it.

        The names that are not wanted are excluded, as far as one call can hold them.
        """
        names = [raw for raw in self._listed(self._handle.ls0, path) if raw not in wanted and b"\n" not in raw]
        excludes = [tar_pattern(f"/{decode(raw)}") for raw in sorted(names)]
        if sum(map(len, excludes)) > _MAX_EXCLUDES:
            excludes = []
        file = spool()
        try:
            return file, _capped_tar(self._handle, path, excludes, file, ODD_CAP)
        except BaseException:
            file.close()
            raise

    def _problem(self, path: str, why: str) -> None:
        self.problems.append(Problem(path=path, why=why))


def is_utf8(raw: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _records(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the NUL-terminated names that a file holds."""
    rest = b""
    at = 0
    while piece := os.pread(file.fileno(), 1 << 20, at):
        at += len(piece)
        *whole, rest = (rest + piece).split(b"\0")
        yield from filter(None, whole)


def tar_pattern(path: str) -> str:
    r"""Return a pattern of tar for a path below an archived directory (GNU tar manual, "Wildcards Patterns").

    It matches that path alone; bytes that are no UTF-8, which cannot be passed on, match any byte.

    >>> tar_pattern("/a*[1]"), tar_pattern("/d\udce9")
    ('./a\\*\\[1]', './d?')
    """
    return "." + re.sub(r"[\udc80-\udcff]", "?", re.sub(r"([*?\[\\])", r"\\\1", path))


def _capped_tar(handle: Handle, path: str, excludes: Sequence[str], file: IO[bytes], cap: int) -> bool:
    """Write an archive of a directory to `file`, ending the transfer at `cap` bytes; return whether it is all."""
    reader, writer = os.pipe()
    cut = threading.Event()

    def copy() -> None:
        count = 0
        while piece := os.read(reader, 1 << 20):  # to the end, cut or not: who writes must never wait
            count += len(piece)
            if cut.is_set():
                continue
            try:
                if count > cap:
                    raise OSError(errno.EFBIG, "too much")
                write_all(file, piece)
            except OSError:
                cut.set()
                handle.user_cancel()  # made to be called from another thread, guestfs(3), CANCELLING LONG TRANSFERS

    thread = threading.Thread(target=copy)
    thread.start()
    try:
        name = f"/proc/{os.getpid()}/fd/{writer}"
        handle.tar_out(path, name, numericowner=True, excludes=list(excludes), xattrs=True)
    except BINDING_ERRORS:
        if not cut.is_set():
            raise
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
    return not cut.is_set()


def _grouped(flat: Sequence[Xattr]) -> Iterator[tuple[tuple[str, bytes], ...] | None]:
    """Part the flat list of lxattrlist: an unnamed entry with the count, then so many attributes; per name."""
    at = 0
    while at < len(flat):
        count = flat[at]["attrval"].rstrip(b"\0")
        end = at + 1 + (int(count) if count.isdigit() else 0)
        found = sorted((each["attrname"], bytes(each["attrval"])) for each in flat[at + 1 : end])
        yield tuple(found) if count else None
        at = end


def _entry(path: str, status: Stat, target: str, xattrs: tuple[tuple[str, bytes], ...]) -> Entry:
    kind = KINDS[stat.S_IFMT(status["st_mode"])]
    is_file, is_device = kind == "file", kind in {"char", "block"}
    device = status["st_rdev"]
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status["st_mode"]),
        uid=status["st_uid"],
        gid=status["st_gid"],
        size=status["st_size"] if is_file else len(encode(target)),
        mtime=status["st_mtime_sec"],
        target=target,
        device=(os.major(device), os.minor(device)) if is_device else (0, 0),
        inode=(status["st_dev"], status["st_ino"]),
        links=1 if kind == "directory" else status["st_nlink"],
        allocated=status["st_blocks"] * 512 if is_file else 0,
        xattrs=xattrs,
    )
