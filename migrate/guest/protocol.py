"""The one door to a guest's files. Analyzers and generators see this and nothing else.

A `Guest` is a machine's mounted file systems as one tree. Its metadata is in memory from the start, so
`exists`, `lstat`, `glob`, `walk` and symlink resolution cost no round trip. Contents cost one, unless
`prefetch` was told beforehand.

Paths are absolute `str`s from the guest's root. Symbolic links, absolute ones included, resolve inside
the guest; one that loops or leads nowhere resolves to None. No method ever touches a path of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Kind = Literal["file", "directory", "symlink", "fifo", "socket", "char", "block"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One name in the guest's tree, as lstat(2) and llistxattr(2) give it.

    `mode` is the permission bits with setuid, setgid and sticky (0o7777). `size` is in bytes (a symlink's is
    its target's length; directories, devices, fifos and sockets have 0). `mtime` is in whole seconds since
    the epoch. `target` is a symlink's text. `device` is (major, minor) of a device node. `inode` is equal
    for hard links of one file and unique otherwise; `links` is how many names it has. `xattrs` holds
    attribute names and raw values (`security.capability` is how file capabilities are kept).
    `allocated` is how many bytes the file takes on the disk (less than `size` where it is sparse).
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int = 0
    mtime: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    inode: tuple[int, int] = (0, 0)
    links: int = 1
    allocated: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """One disk image (or a directory or tar in its place). `virtual_bytes` is what the guest sees."""

    path: str
    format: str
    virtual_bytes: int


class FileSystem(msgspec.Struct, frozen=True, kw_only=True):
    """A file system of the guest. `device` is named as inside the guest (`/dev/sda1`, `/dev/vg/root`).

    `mountpoint` is empty where it is not mounted. `bytes` and `used` are statvfs(3)'s, or 0 if not known.
    """

    device: str
    type: str
    mountpoint: str
    bytes: int = 0
    used: int = 0
    label: str = ""
    uuid: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the disk that could not be read; `path` is a path of the guest, or a device's name."""

    path: str
    why: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What was opened: the disks in order, the file systems found, and the reader that read them."""

    disks: tuple[Disk, ...]
    filesystems: tuple[FileSystem, ...]
    reader: str


class Guest(Protocol):
    """A machine's files. Open with `migrate.guest.open.open_guest`; use as a context manager."""

    @property
    def source(self) -> Source:
        """What was opened."""
        ...

    @property
    def problems(self) -> Sequence[Problem]:
        """What could not be read so far; grows while reading."""
        ...

    def lstat(self, path: str) -> Entry | None:
        """Return the entry itself (a symlink is not followed, its parents are), or None."""
        ...

    def stat(self, path: str) -> Entry | None:
        """Return the entry that `path` leads to, or None where it is missing, dangling or looping."""
        ...

    def resolve(self, path: str) -> str | None:
        """Return the real path with no symlink in it, or None where `stat` would return None."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether `path` leads to something."""
        ...

    def is_file(self, path: str) -> bool:
        """Tell whether `path` leads to a regular file."""
        ...

    def is_dir(self, path: str) -> bool:
        """Tell whether `path` leads to a directory."""
        ...

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory (symlinks to one are followed), sorted; empty where there is none."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, sorted by bytes. `*`, `?`, `[]` within one name; `**` for any depth.

        A leading dot is matched by a dot only (glob(7)); `**` goes through hidden directories too and follows
        no symlink.
        """
        ...

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield `top` and everything below it, parents first, sorted; symlinks are not followed."""
        ...

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Return the content of the regular file that `path` leads to, at most `limit` bytes of it.

        Raises GuestFileError where it is missing, not a regular file, or cannot be read.
        """
        ...

    def text(self, path: str, limit: int = 4 << 20) -> str:
        """Return the content as text: UTF-8, undecodable bytes kept as surrogates. Raises as `read`."""
        ...

    def chunks(self, path: str, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the whole content in pieces, for files of any length. Raises as `read`."""
        ...

    def digests(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return the digests (hex) of whole contents: `wanted` maps paths of regular files to hashlib's names.

        Meant for many files at once: a reader reads them in the order and with the parallelism that suits it.
        Symlinks are followed. What is no regular file, or cannot be read, is left out; why a file could not be
        read is added to `problems`. Raises ValueError for an algorithm that hashlib does not guarantee.
        """
        ...

    def prefetch(self, paths: Iterable[str]) -> None:
        """Fetch contents below these paths (files, trees, globs) in bulk; what is missing is passed over.

        Only an optimisation: `read` gives the same without it.
        """
        ...

    def close(self) -> None:
        """Let go of the disks; temporary files are removed."""
        ...

    def __enter__(self) -> Guest: ...

    def __exit__(self, *exc: object) -> None: ...
