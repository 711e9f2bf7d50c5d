"""The tree of files that a disk image is made of, each looked at beforehand, as qemu's block layer is told it.

qemu follows the names in an image by itself, and would find another file there than the one that was checked where
somebody exchanges the two in between. So it is given every node (a `json:{…}` filename; qemu, docs/interop/
qemu-qmp-ref, BlockdevOptions), with `backing` always said, and every file as a descriptor that was opened here and
compared with what was looked at: /proc/self/fd/N. A path may so be of any bytes, which JSON could not hold.

A VMDK's extents cannot be said as nodes (BlockdevOptionsVmdk has none), so a descriptor is written anew for it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from migrate.errors import DiskError
from migrate.guest.images.imageheader import Extent
from migrate.text import show

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_WITH_BACKING = frozenset({"qcow2", "qcow", "qed", "vmdk"})
_FIRST = 10  # descriptors for qemu start here, beyond those that a shell or a server may use itself


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A run of bytes in a file or block device of the host that was looked at.

    `path` is absolute and has no symlink in it, or is /proc/PID/fd/N of a temporary file that we hold open.
    `device` and `inode` say which file that was (stat(2)). `whole` is False where other things are around the run.
    """

    path: Path
    device: int
    inode: int
    offset: int = 0
    size: int
    whole: bool = True
    is_block: bool = False

    def open(self) -> int:
        """Return a new descriptor of the file. Raises DiskError where that is another file by now, and OSError."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != (self.device, self.inode):
                raise DiskError(f"open {show(str(self.path))}", "it was exchanged for another file meanwhile")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Return these bytes of the run, fewer where it ends. Raises DiskError and OSError."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        descriptor = self.open()
        try:
            pieces = []
            at = self.offset + offset
            while length and (piece := os.pread(descriptor, length, at)):
                pieces.append(piece)
                at, length = at + len(piece), length - len(piece)
            return b"".join(pieces)
        finally:
            os.close(descriptor)

    def file(self) -> io.BufferedReader:
        """Open the run as a file of its own, to be closed by the caller. Raises DiskError and OSError."""
        return io.BufferedReader(_WindowFile(self), 1 << 16)

    def part(self, offset: int, size: int) -> Window:
        """Return a run within this one. Raises ValueError where it is not within."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError("it is not within")
        whole = self.whole and (offset, size) == (0, self.size)
        return msgspec.structs.replace(self, offset=self.offset + offset, size=size, whole=whole)


class _WindowFile(io.RawIOBase):
    def __init__(self, window: Window) -> None:
        self._window = window
        self._descriptor = window.open()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._window.size}[whence]
        if self._at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        length = max(0, min(len(view), self._window.size - self._at))
        count = os.preadv(self._descriptor, [view[:length]], self._window.offset + self._at) if length else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def look(path: Path) -> Window:
    """Look at a regular file or block device; nothing else is opened (a fifo would wait for ever).

    Raises OSError, IsADirectoryError and ValueError among them for what is neither.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(str(path))
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        raise ValueError("it is neither a file nor a block device")
    is_block = stat.S_ISBLK(status.st_mode)
    found = Window(path=path, device=status.st_dev, inode=status.st_ino, size=status.st_size, is_block=is_block)
    descriptor = found.open()
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
    return msgspec.structs.replace(found, size=size)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a format, and the nodes that it is based on.

    `file` is the image itself; where `extents` are given, it is a VMDK's descriptor, which then is written anew of
    them: the file of each, and `cids` as they stand in it. `data` is a qcow2's external data file. `snapshot` is the
    id of the internal snapshot to be read, or empty.
    """

    format: str
    file: Window
    backing: Node | None = None
    data: Window | None = None
    extents: tuple[tuple[Extent, Window], ...] = ()
    cids: tuple[str, str] = ("fffffffe", "ffffffff")
    snapshot: str = ""

    def windows(self) -> Iterator[Window]:
        """Yield the files that the image is made of, its own first."""
        yield self.file
        yield from (window for _, window in self.extents)
        if self.data is not None:
            yield self.data
        if self.backing is not None:
            yield from self.backing.windows()


Name = Callable[[Window], str]
"""Returns the name under which qemu is to open a file."""


def graph(node: Node, name: Name, name_of_text: Callable[[bytes], str]) -> str:
    """Return an image as a filename of qemu. `name_of_text` makes a file of a descriptor and returns its name."""
    return "json:" + json.dumps(_node(node, name, name_of_text), separators=(",", ":"))


def _node(node: Node, name: Name, name_of_text: Callable[[bytes], str]) -> dict[str, object]:
    found: dict[str, object] = {"driver": node.format}
    if node.extents:
        text = _descriptor(node, name)
        found["file"] = {"driver": "file", "filename": name_of_text(text)}
    else:
        found["file"] = _file(node.file, name)
    if node.format in _WITH_BACKING:
        found["backing"] = None if node.backing is None else _node(node.backing, name, name_of_text)
    if node.data is not None:
        found["data-file"] = _file(node.data, name)
    if node.format == "vpc":
        # Otherwise qemu goes by the footer's geometry, which ends before the disk does where it was not made by one
        # of the programs that it knows (block/vpc.c: vpc_open).
        found["force_size_calc"] = "current_size"
    return found


def _file(window: Window, name: Name) -> dict[str, object]:
    file: dict[str, object] = {"driver": "host_device" if window.is_block else "file", "filename": name(window)}
    if window.whole:
        return file
    return {"driver": "raw", "offset": window.offset, "size": window.size, "file": file}


def _descriptor(node: Node, name: Name) -> bytes:
    """Return a VMDK descriptor with these extents and no others (VMware, Virtual Disk Format 5.0)."""
    lines = ["# Disk DescriptorFile", "version=1", f"CID={node.cids[0]}", f"parentCID={node.cids[1]}"]
    lines.append('createType="twoGbMaxExtentSparse"')  # qemu only looks whether it knows it, block/vmdk.c
    for extent, window in node.extents:
        kind, offset = ("FLAT", f" {extent.offset}") if extent.is_flat else (extent.kind, "")
        lines.append(f'RW {extent.sectors} {kind} "{name(window)}"{offset}')
    return "\n".join([*lines, ""]).encode()


class Opened:
    """The files of an image, opened for a program that is started with `descriptors` (subprocess, `pass_fds`).

    `filename` is what that program is given. All is closed with `stack`; with `for_others` the names are those that
    another process of the same user can open for as long. Raises DiskError.
    """

    def __init__(self, node: Node, stack: ExitStack, *, for_others: bool = False) -> None:
        self._stack = stack
        self._place = str(os.getpid()) if for_others else "self"
        self._names: dict[tuple[Path, int, int], str] = {}
        self.descriptors: list[int] = []
        self.filename = graph(node, self._name, self._name_of_text)

    def _name(self, window: Window) -> str:
        key = window.path, window.device, window.inode
        if key not in self._names:
            try:
                self._names[key] = self._keep(window.open())
            except OSError as error:
                raise DiskError(f"open {show(str(window.path))}", error.strerror or str(error)) from error
        return self._names[key]

    def _name_of_text(self, text: bytes) -> str:
        descriptor = os.memfd_create("vm2c-descriptor")
        name = self._keep(descriptor)
        os.pwrite(self.descriptors[-1], text, 0)
        return name

    def _keep(self, descriptor: int) -> str:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
        os.close(descriptor)
        self._stack.callback(os.close, moved)
        self.descriptors.append(moved)
        return f"/proc/{self._place}/fd/{moved}"
