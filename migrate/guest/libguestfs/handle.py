"""What is used of a libguestfs handle, and how its errors are read. The library itself is in `libguestfs`.

Only calls of the documented API (guestfs(3)); none that runs a program of the guest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypedDict

from migrate.errors import DiskError
from migrate.text import show

BINDING_ERRORS = (RuntimeError, UnicodeError)
"""What the binding raises: RuntimeError with the library's message, and UnicodeError where a name, a link's
target or that message itself is no UTF-8."""


class Stat(TypedDict):
    """The fields of guestfs(3)'s guestfs_statns that are used; `st_ino` is -1 where lstat(2) failed."""

    st_dev: int
    st_ino: int
    st_mode: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_rdev: int
    st_size: int
    st_blocks: int
    st_mtime_sec: int


class Xattr(TypedDict):
    """An extended attribute."""

    attrname: str
    attrval: bytes


class StatVfs(TypedDict):
    """The fields of statvfs(3) that are used."""

    bsize: int
    frsize: int
    blocks: int
    bfree: int


class Subvolume(TypedDict):
    """A btrfs subvolume; the path is from the top of the file system."""

    btrfssubvolume_id: int
    btrfssubvolume_top_level_id: int
    btrfssubvolume_path: str


class Handle(Protocol):
    """A launched appliance."""

    def version(self) -> dict[str, int | str]: ...  # noqa: D102
    def is_ready(self) -> int: ...  # noqa: D102
    def user_cancel(self) -> None: ...  # noqa: D102
    def list_disk_labels(self) -> dict[str, str]: ...  # noqa: D102
    def list_partitions(self) -> list[str]: ...  # noqa: D102
    def list_md_devices(self) -> list[str]: ...  # noqa: D102
    def lvs(self) -> list[str]: ...  # noqa: D102
    def blkid(self, device: str) -> dict[str, str]: ...  # noqa: D102
    def vfs_label(self, mountable: str) -> str: ...  # noqa: D102
    def blockdev_getsize64(self, device: str) -> int: ...  # noqa: D102
    def md_detail(self, md: str) -> dict[str, str]: ...  # noqa: D102
    def vgs(self) -> list[str]: ...  # noqa: D102
    def vgpvuuids(self, vgname: str) -> list[str]: ...  # noqa: D102
    def lvm_scan(self, activate: bool) -> None: ...  # noqa: D102
    def cryptsetup_open(  # noqa: D102
        self, device: str, key: str, mapname: str, readonly: bool | None = None, crypttype: str | None = None
    ) -> None: ...
    def pread_device(self, device: str, count: int, offset: int) -> bytes: ...  # noqa: D102
    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None: ...  # noqa: D102
    def umount_all(self) -> None: ...  # noqa: D102
    def statvfs(self, path: str) -> StatVfs: ...  # noqa: D102
    def realpath(self, path: str) -> str: ...  # noqa: D102
    def is_dir(self, path: str, followsymlinks: bool | None = None) -> int: ...  # noqa: D102
    def is_file(self, path: str, followsymlinks: bool | None = None) -> int: ...  # noqa: D102
    def btrfs_subvolume_list(self, fs: str) -> list[Subvolume]: ...  # noqa: D102
    def btrfs_subvolume_get_default(self, fs: str) -> int: ...  # noqa: D102
    def ls0(self, dir: str, filenames: str) -> None: ...  # noqa: A002, D102
    def find0(self, directory: str, files: str) -> None: ...  # noqa: D102
    def lstatns(self, path: str) -> Stat: ...  # noqa: D102
    def lstatnslist(self, path: str, names: Sequence[str]) -> list[Stat]: ...  # noqa: D102
    def readlinklist(self, path: str, names: Sequence[str]) -> list[str]: ...  # noqa: D102
    def lxattrlist(self, path: str, names: Sequence[str]) -> list[Xattr]: ...  # noqa: D102
    def pread(self, path: str, count: int, offset: int) -> bytes: ...  # noqa: D102
    def checksums_out(self, csumtype: str, directory: str, sumsfile: str) -> None: ...  # noqa: D102
    def tar_out(  # noqa: D102
        self,
        directory: str,
        tarfile: str,
        compress: str | None = None,
        numericowner: bool | None = None,
        excludes: Sequence[str] | None = None,
        xattrs: bool | None = None,
    ) -> None: ...


def reason(error: BaseException) -> str:
    """Return the useful line of an error: without the call's name, the mount command's own words if there are any.

    >>> reason(RuntimeError("pread: /etc/x: Input/output error"))
    '/etc/x: Input/output error'
    """
    if isinstance(error, UnicodeError):
        return "it has a name that is not UTF-8, which the binding of libguestfs cannot pass on"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = re.sub(r"^[a-z0-9_]+: (?=\S)", "", lines[0]) if lines else type(error).__name__
    if match := re.search(r"mount: /sysroot\S*: (.*?)\.?$", words):
        words = match[1]
    return show(words)


def must_live(handle: Handle, error: BaseException) -> None:
    """Raise DiskError where the appliance has ended: then no further call can work."""
    try:
        alive = handle.is_ready()
    except BINDING_ERRORS:
        alive = 0
    if not alive:
        found = f"the appliance that reads it stopped: {reason(error)}"
        do = "try again; where it stops again, run libguestfs-test-tool"
        raise DiskError("read the disk", found, do) from error
