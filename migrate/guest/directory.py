"""A root directory that was unpacked onto this host, as a guest.

Nothing on the host is reached through it: each component of a path is opened by itself, relative to the
one before, and never through a symbolic link; only regular files are opened at all.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from migrate.errors import DiskError, GuestFileError
from migrate.guest.digests import Answer, Job, batches, digest_of, in_threads
from migrate.guest.mounting.layout import NETWORK_TYPES
from migrate.guest.mounting.root import check_root
from migrate.guest.protocol import Disk, Entry, FileSystem, Kind, Problem, Source
from migrate.guest.tree import Tree, TreeGuest, decode, encode, parent
from migrate.text import show

KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}
# filesystems(5) and /proc/filesystems: what is mounted there is on no disk.
_PSEUDO = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs",
    "sysfs", "tmpfs", "tracefs",
})  # fmt: skip
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryGuest(TreeGuest):
    """A guest whose files are below one directory of the host. Raises DiskError, NoSystemError."""

    def __init__(self, path: Path) -> None:
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DiskError(f"open the directory {path}", error.strerror or str(error)) from error
        try:
            sweep = _Sweep(self._root)
            tree = Tree(sweep.entries())
            check_root(tree, f"the directory {path}")
            size = sum(entry.allocated for entry in tree.walk())
            disk = Disk(path=str(path), format="directory", virtual_bytes=size)
            system = FileSystem(device=str(path), type=sweep.types.get(sweep.device, "directory"), mountpoint="/")
            super().__init__(tree, Source(disks=(disk,), filesystems=(system,), reader="directory"), sweep.problems)
        except BaseException:
            os.close(self._root)
            raise

    def close(self) -> None:
        """Close the directory."""
        if not self._closed:
            os.close(self._root)
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        try:
            with open_below(self._root, encode(parent(entry.path))) as directory:
                yield from self._read(directory, entry, length)
        except OSError as error:
            raise GuestFileError(f"read {show(entry.path)}", error.strerror or str(error)) from error

    def _hashed(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        """Hash in threads, directory by directory: each is opened once, and about in the order of the inodes."""
        order = sorted(range(len(jobs)), key=lambda number: jobs[number].entry.inode)
        first: dict[str, int] = {}
        for place, number in enumerate(order):
            first.setdefault(parent(jobs[number].entry.path), place)
        order.sort(key=lambda number: first[parent(jobs[number].entry.path)])
        parts = batches(order, [job.entry.size for job in jobs])
        return in_threads(parts, lambda part: self._hashed_part(jobs, part), len(jobs))

    def _hashed_part(self, jobs: Sequence[Job], part: Sequence[int]) -> Iterator[tuple[int, Answer]]:
        for above, numbers in itertools.groupby(part, key=lambda number: parent(jobs[number].entry.path)):
            some = list(numbers)
            try:
                with open_below(self._root, encode(above)) as directory:
                    for number in some:
                        yield number, self._hashed_file(directory, jobs[number])
            except OSError as error:
                for number in some:
                    attempted = f"read {show(jobs[number].entry.path)}"
                    yield number, GuestFileError(attempted, error.strerror or str(error))

    def _hashed_file(self, directory: int, job: Job) -> Answer:
        try:
            return digest_of(job, self._read(directory, job.entry, job.entry.size))
        except OSError as error:
            return GuestFileError(f"read {show(job.entry.path)}", error.strerror or str(error))

    def _read(self, directory: int, entry: Entry, length: int) -> Iterator[bytes]:
        with self._opened(directory, entry) as file:
            while length > 0 and (piece := os.read(file, min(length, 1 << 20))):
                length -= len(piece)
                yield piece

    @contextmanager
    def _opened(self, directory: int, entry: Entry) -> Iterator[int]:
        """Open a regular file; O_PATH first, since opening a device or fifo may do something (open(2))."""
        name = encode(entry.path).rpartition(b"/")[2]
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != entry.inode:
                raise GuestFileError(f"read {show(entry.path)}", "another file stands there since it was opened")
            file = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(handle)
        try:
            yield file
        finally:
            os.close(file)


@contextmanager
def open_below(root: int, path: bytes) -> Iterator[int]:
    """Open the directory `path` (bytes, `/` between names) below the open directory `root`.

    No component may be a symbolic link: that raises OSError (ELOOP or ENOTDIR), as whatever else is wrong does.
    """
    at = os.dup(root)
    try:
        for name in filter(None, path.split(b"/")):
            below = os.open(name, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


class _Sweep:
    """One pass over everything below an open directory."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.device = os.fstat(root).st_dev
        self.types = _mounted_types()
        self.problems: list[Problem] = []

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, the root's own first."""
        yield self._entry("/", os.fstat(self._root), self._root, b".")
        todo = [("/", self.device)]
        while todo:
            path, device = todo.pop()
            try:
                with open_below(self._root, encode(path)) as directory:
                    for entry in self._names(path, directory):
                        yield entry
                        if entry.kind == "directory" and self._enters(entry, device):
                            todo.append((entry.path, entry.inode[0]))
            except OSError as error:
                self._problem(path, error)

    def _names(self, path: str, directory: int) -> Iterator[Entry]:
        base = "" if path == "/" else path
        with os.scandir(directory) as names:
            for name in names:
                raw = os.fsencode(name.name)
                full = f"{base}/{decode(raw)}"
                try:
                    yield self._entry(full, name.stat(follow_symlinks=False), directory, raw)
                except OSError as error:
                    self._problem(full, error)

    def _entry(self, path: str, status: os.stat_result, directory: int, name: bytes) -> Entry:
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        is_file, is_link, is_device = kind == "file", kind == "symlink", kind in {"char", "block"}
        target = decode(os.readlink(name, dir_fd=directory)) if is_link else ""
        return Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if is_file else len(encode(target)),
            mtime=status.st_mtime_ns // 1_000_000_000,
            target=target,
            device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
            inode=(status.st_dev, status.st_ino),
            links=1 if kind == "directory" else status.st_nlink,
            allocated=status.st_blocks * 512 if is_file else 0,
            xattrs=self._xattrs(path, directory, name),
        )

    def _xattrs(self, path: str, directory: int, name: bytes) -> tuple[tuple[str, bytes], ...]:
        # There is no listxattrat(2); through /proc only the last component could be a link, and is not followed.
        handle = b"/proc/self/fd/%d/%s" % (directory, name)
        try:
            names = sorted(os.listxattr(handle, follow_symlinks=False))
            return tuple((each, os.getxattr(handle, each, follow_symlinks=False)) for each in names)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.ENODATA}:
                why = f"its extended attributes cannot be read: {error.strerror}"
                self.problems.append(Problem(path=path, why=why))
            return ()

    def _enters(self, entry: Entry, above: int) -> bool:
        device = entry.inode[0]
        kind = self.types.get(device, "") if device != above else ""
        if kind in NETWORK_TYPES:
            self.problems.append(Problem(path=entry.path, why=f"a network file system ({kind}) is mounted there"))
        return kind not in _PSEUDO and kind not in NETWORK_TYPES

    def _problem(self, path: str, error: OSError) -> None:
        self.problems.append(Problem(path=path, why=error.strerror or str(error)))


def _mounted_types() -> dict[int, str]:
    """Return the type of each file system mounted on the host, by device number (proc_pid_mountinfo(5))."""
    types = {}
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        before, _, after = line.partition(b" - ")
        major, _, minor = before.split(b" ")[2].partition(b":")
        types[os.makedev(int(major), int(minor))] = decode(after.split(b" ")[0])
    return types
