"""The files that an image names, each found where it may be: what `describe` makes a `Node` of.

A stranger's image must not show a file of the host as its own. So a name is followed only inside the directory of
the image that has it, and those that were allowed; what qemu would take for a protocol is no name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from migrate.errors import DiskError
from migrate.guest.compression import compression
from migrate.guest.images.blockgraph import Node, Window, look
from migrate.guest.images.imageheader import HEAD, Extent, Header, Snapshot, read_header, read_snapshots
from migrate.text import show

_MAX_CHAIN = 32
_SPARSE_MAGIC = {"SPARSE": b"KDMV", "VMFSSPARSE": b"COWD", "SESPARSE": b"\xbe\xba\xfe\xca\x00\x00\x00\x00"}

Merge = Callable[["Chain", Window, Path | None], Node]
"""Makes a node of a differencing image, whose own directory is given; raises DiskError."""


def header_of(window: Window) -> Header:
    """Read what an image says of itself. Raises OSError and DiskError."""
    return read_header(window.read(0, HEAD), window.read(window.size - 512, 512), window.size)


def real(path: Path) -> Path:
    """Return a path with no symlink in it."""
    return Path(os.path.realpath(path))


class Chain:
    """Follows the names in one image and in those that it names; `files` are what they led to, nearest first.

    Raises DiskError, where `attempted` says of what.
    """

    def __init__(self, allowed: Sequence[Path], attempted: str, merge: Merge) -> None:
        self.attempted = attempted
        self.files: list[Path] = []
        self._allowed = [real(directory) for directory in allowed]
        self._merge = merge
        self._seen: list[tuple[int, int, int]] = []

    def node(self, window: Window, header: Header, directory: Path | None, differs: bool = False) -> Node:
        """Return the node of an image; `directory` is where it lies, None where it may name nothing.

        `differs` is True for a differencing VHD or VHDX.
        """
        self._seen.append((window.device, window.inode, window.offset))
        if differs:
            return self._merge(self, window, directory)
        extents = tuple((each, self._extent(each, directory)) for each in header.extents)
        data = None
        if header.data_file is not None:
            data = self._file(self.find(header.data_file, directory))
            if header.data_file_raw and data.size < header.virtual_bytes:
                raise self._cut(data, header.virtual_bytes)
        backing = None
        if header.backing is not None:
            backing = self.backing(self.find(header.backing, directory), header.backing_format, header.cids[1])
        return Node(format=header.format, file=window, backing=backing, data=data, extents=extents, cids=header.cids)

    def backing(self, path: Path, declared: str, cid: str = "") -> Node:
        """Return the node of an image that another is based on, which says of which format it is.

        `cid` is the identity that a VMDK's content should have.
        """
        window = self._file(path)
        if (window.device, window.inode, window.offset) in self._seen or len(self._seen) >= _MAX_CHAIN:
            raise DiskError(self.attempted, "its chain of backing files does not end")
        if declared == "raw":  # then qemu does not look into it either
            return Node(format="raw", file=window)
        header = self._header(path, window)
        form = header.format
        if declared not in {"", form}:
            if (declared, form) != ("vpc", "raw"):
                found = f"it says that {show(str(path))} is of format {show(declared)}, and that is {form}"
                raise DiskError(self.attempted, found)
            header = msgspec.structs.replace(header, format=declared)
        if form == declared == "vmdk" and int(cid, 16) not in {0xFFFFFFFF, int(header.cids[0], 16)}:
            found = f"it is a change to {show(str(path))}, and that was written to since: its CID is not {cid} any more"
            raise DiskError(self.attempted, found, "give that file as it was when this was made")
        return self.node(window, header, path.parent, is_differencing(window, header))

    def _header(self, path: Path, window: Window) -> Header:
        try:
            packed = compression(window.read(0, 6))
            header = header_of(window)
        except OSError as error:
            raise self._unreadable(path, error) from error
        refused = header.refused or (f"it is an encrypted {header.format} image" if header.encrypted else "")
        refused = refused or (f"it is compressed with {packed}" if packed else "")
        if refused:
            raise DiskError(self.attempted, f"of the file it is based on, {show(str(path))}: {refused}")
        return header

    def _extent(self, extent: Extent, directory: Path | None) -> Window:
        window = self._file(self.find(extent.name, directory))
        if extent.is_flat:
            if window.size < (end := (extent.offset + extent.sectors) * 512):
                raise self._cut(window, end)
            return window
        try:
            head = window.read(0, 512)
        except OSError as error:
            raise self._unreadable(window.path, error) from error
        if not head.startswith(_SPARSE_MAGIC[extent.kind]):
            found = f"it says that {show(str(window.path))} is a part of it of type {extent.kind}, and that is none"
            raise DiskError(self.attempted, found)
        if extent.kind == "SPARSE" and head[12:20] == bytes(8):  # qemu takes that for a descriptor
            raise DiskError(self.attempted, "it names a file that in turn names others, which no known program makes")
        return window

    def find(self, name: str, directory: Path | None) -> Path:
        """Return the real path of a file that an image in a directory names."""
        plain = name.removeprefix("file:") if name.startswith("file:/") else name
        if not plain or "\0" in plain or ":" in plain.split("/")[0]:  # what qemu takes for a protocol
            found = f"it is based on {show(name)!r}, which is no file beside it"
            raise DiskError(self.attempted, found, "copy that beside it")
        if directory is None:
            raise DiskError(self.attempted, f"it is in an archive, and names a file beside it: {show(name)}")
        path = self._resolved(directory / plain)
        if not any(_is_inside(path, each) for each in (directory, *self._allowed)):
            found = f"it names {show(str(path))}, which is outside of its own directory"
            do = f"if that is right, say so with --allow-backing {show(str(path.parent))}"
            raise DiskError(self.attempted, found, do)
        if not self._is_there(path):
            found = f"it is based on {show(str(path))}, which is not there"
            raise DiskError(self.attempted, found, "copy that file beside it; without it most of the disk is missing")
        return path

    def _resolved(self, path: Path) -> Path:
        try:
            return real(path)
        except (OSError, ValueError) as error:
            raise self._unreadable(path, error) from error

    def _is_there(self, path: Path) -> bool:
        try:
            return path.is_file() or path.is_block_device()
        except OSError as error:  # a name that is too long, a directory that may not be read
            raise self._unreadable(path, error) from error

    def _file(self, path: Path) -> Window:
        try:
            window = look(path)
        except (OSError, ValueError) as error:
            raise self._unreadable(path, error) from error
        if path not in self.files:
            self.files.append(path)
        return window

    def _unreadable(self, path: Path, error: Exception) -> DiskError:
        why = getattr(error, "strerror", None) or str(error)
        return DiskError(self.attempted, f"{show(str(path))}, which it names, cannot be read: {show(why)}")

    def _cut(self, window: Window, needed: int) -> DiskError:
        found = f"{show(str(window.path))}, a part of it, is cut short: {window.size} bytes where it says {needed}"
        return DiskError(self.attempted, found, "copy it again from where it came")


def is_differencing(window: Window, header: Header) -> bool:
    """Tell whether an image is a VHD or VHDX that holds only the changes to another. Raises OSError, DiskError."""
    if header.format != "vhdx":
        return header.differencing
    from migrate.guest.images.differencing import has_parent

    with window.file() as file:
        return has_parent(file)


def _is_inside(path: Path, directory: Path) -> bool:
    """Tell whether a file is in a directory or below it; `/` stands for itself alone."""
    return path.parent == directory or (directory != Path("/") and path.is_relative_to(directory))


def find_snapshot(window: Window, header: Header, wanted: str, attempted: str) -> Snapshot:
    """Return the internal snapshot with a name or id. Raises DiskError where there is not exactly one, and OSError."""
    if header.format != "qcow2":
        found = f"it has no internal snapshots: it is {header.format}, and only qcow2 can"
        raise DiskError(attempted, found, "leave the snapshot away")
    with window.file() as file:

        def read(offset: int, length: int) -> bytes:
            if offset + length > window.size:
                return b""
            file.seek(offset)
            return file.read(length)

        try:
            there = read_snapshots(read, header)
        except ValueError as error:
            raise DiskError(attempted, str(error), "copy the image again from where it came") from error
    chosen = [each for each in there if wanted in {each.id, each.name}]
    if len(chosen) != 1:
        said = ", ".join(f"{show(each.name)} (id {show(each.id)})" for each in there[:50]) or "none"
        found = f"it has {len(chosen) or 'no'} snapshots with the name or id {show(wanted)}; there are: {said}"
        raise DiskError(attempted, found, "give the id of one of them" if there else "leave the snapshot away")
    snapshot = chosen[0]
    if snapshot.virtual_bytes > header.virtual_bytes:
        found = (
            f"its disk was {snapshot.virtual_bytes} bytes large at the snapshot, and is smaller now: qemu shows less"
        )
        raise DiskError(attempted, found, "make a copy of it, and revert that one: qemu-img snapshot -a")
    if "\0" in snapshot.id or [each.id for each in there].count(snapshot.id) > 1 or snapshot.virtual_bytes % 512:
        raise DiskError(attempted, "its table of snapshots is damaged", "copy the image again from where it came")
    return snapshot
