"""What a disk image is, found out without trusting it: `describe` is asked before anything opens one.

An image may name other files (its backing file, its extents). They are followed only inside the image's own
directory and those that were allowed (`imagechain`), and qemu is told of each file that was looked at, so that it
follows no name by itself (`blockgraph`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from migrate.errors import DiskError
from migrate.guest.compression import compression
from migrate.guest.images.blockgraph import Node, Window, graph, look
from migrate.guest.images.differences import merged
from migrate.guest.images.imagechain import Chain, find_snapshot, header_of, is_differencing, real
from migrate.guest.images.imageheader import HEAD, Header, looks_like_text, partitions_end
from migrate.guest.images.imagetables import check_tables
from migrate.guest.images.nbdserver import Server
from migrate.guest.images.packed import LARGEST, Unpacked, unpack, window_of
from migrate.guest.images.parts import Stored
from migrate.guest.images.qemuimg import CHECKED, ask, check, create_overlay
from migrate.guest.progress import Progress, silent
from migrate.guest.protocol import Disk, FileSystem, Problem, Source
from migrate.text import show

_MAX_NAME = 1023  # of a backing file, QEMU, docs/interop/qcow2.txt


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image that can be opened.

    `given` is how the user named it. `path` is absolute and has no symlink in it; of one in an archive, it is where
    `given` would be. `virtual_bytes` is the size of the disk that the guest sees. `files` are the other files of the
    host that it is made of, nearest first. `notes` is what is odd about it and does not stop the reading. `graph` is
    how it is opened: `node` gives that.
    """

    path: Path
    given: str
    format: str
    virtual_bytes: int
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    graph: Node | None = None

    def node(self) -> Node:
        """Return what qemu is told to open; without `graph` a file that is based on no other. Raises DiskError."""
        if self.graph is not None:
            return self.graph
        try:
            return Node(format=self.format, file=look(self.path))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise DiskError(f"open {show(self.given)}", why) from error


def source_of(disks: Sequence[ImageInfo], filesystems: tuple[FileSystem, ...], reader: str) -> Source:
    """Return what a reader opened, as every reader tells it."""
    found = tuple(Disk(path=d.given, format=d.format, virtual_bytes=d.virtual_bytes) for d in disks)
    return Source(disks=found, filesystems=filesystems, reader=reader)


def notes_of(disks: Sequence[ImageInfo]) -> list[Problem]:
    """Return what is odd about the images themselves."""
    return [Problem(path=disk.given, why=note) for disk in disks for note in disk.notes]


def describe(
    path: Path,
    allow_backing: Sequence[Path] = (),
    *,
    snapshot: str | None = None,
    stack: ExitStack | None = None,
    progress: Progress = silent,
) -> ImageInfo:
    """Return what an image is. Raises DiskError, in one sentence, for what cannot be read as a disk.

    `allow_backing` are directories, besides the image's own, that it may name files in. `snapshot` is the name or id
    of an internal snapshot to read instead of the disk as it is now.

    What is compressed, or a differencing VHD or VHDX, is made readable in temporary files without a name. They are
    closed with `stack`, and the image can be opened until then; without it such an image is refused.
    """
    attempted = f"open {show(str(path))}"
    window = _look(path, attempted)
    packed = compression(_read(window, 6, attempted))
    if packed and stack is None:
        found = f"it is compressed with {packed}, and is no archive of a root"
        raise DiskError(attempted, found, f"decompress it first: {packed} -dk {show(str(path))}")
    return _Image(path, attempted, allow_backing, stack, progress).described(
        window, real(path), window.path.parent, packed or "", snapshot
    )


def describe_stored(
    stored: Stored,
    given: str,
    allow_backing: Sequence[Path] = (),
    *,
    stack: ExitStack,
    snapshot: str | None = None,
    progress: Progress = silent,
) -> ImageInfo:
    """Return what an image in an archive is, as `describe` does; `given` is how the user would name it.

    A part of one file that is not compressed is read where it is; otherwise it is unpacked to a temporary file that
    has no name, and that is closed with `stack`. Raises DiskError.
    """
    attempted = f"open {show(given)}"
    if not stored.parts:
        raise DiskError(attempted, f"{show(stored.name)} has no content")
    windows = []
    for part in stored.parts:
        window = _look(part.path, attempted)
        try:
            windows.append(window.part(part.offset, part.size))
        except ValueError as error:
            found = f"{show(stored.name)} is to be {part.size} bytes from {part.offset} on, and ends before that"
            raise DiskError(attempted, found, "copy the archive again") from error
    alone = windows[0] if len(windows) == 1 else None
    image = _Image(Path(given), attempted, allow_backing, stack, progress, stored.capacity)
    is_file = alone is not None and alone.whole and not _is_temporary(alone.path)
    directory = windows[0].path.parent if is_file else None
    place = windows[0].path if is_file else real(Path(given))
    # qemu's window into a file is of whole sectors, block/raw-format.c: raw_apply_options
    packed = stored.packed or compression(_read(windows[0], 6, attempted)) or ""
    if alone is None or (alone.size % 512 and not alone.whole):
        window = image.unpacked(windows, packed)
        return image.described(window, place, directory, "", snapshot)
    return image.described(alone, place, directory, packed, snapshot)


class _Image:
    """One image that is looked at; the names are for messages. `capacity` is the size that its disk should have."""

    def __init__(
        self,
        path: Path,
        attempted: str,
        allowed: Sequence[Path],
        stack: ExitStack | None,
        progress: Progress,
        capacity: int | None = None,
    ) -> None:
        self._given = str(path)
        self._attempted = attempted
        self._allowed = allowed
        self._stack = stack
        self._progress = progress
        self._capacity = capacity

    def unpacked(self, windows: Sequence[Window], packed: str) -> Window:
        """Return a temporary file with what was compressed or in parts."""
        assert self._stack is not None  # noqa: S101 - the callers have one or refuse
        # What an image has besides the disk's content: 4 or 8 bytes for each 64 KiB or more, and headers.
        most = LARGEST if self._capacity is None else self._capacity + self._capacity // 8 + (64 << 20)
        file = unpack(windows, packed, Unpacked(self._given, self._progress, most))
        self._stack.callback(file.close)
        return window_of(file)

    def described(
        self, window: Window, path: Path, directory: Path | None, packed: str, snapshot: str | None
    ) -> ImageInfo:
        """Return what the image is that lies in a window; names in it are those of a directory."""
        attempted = self._attempted
        if packed:
            window = self.unpacked([window], packed)
        if window.size == 0:
            raise DiskError(attempted, "it is empty (0 bytes)", "copy it again")
        again = compression(_read(window, 6, attempted))
        if again:
            found = f"it is compressed with {again}" + (f" and then with {packed}" if packed else "")
            raise DiskError(attempted, found, "decompress it first")
        try:
            return self._described(window, path, directory, snapshot)
        except OSError as error:
            raise DiskError(attempted, error.strerror or str(error)) from error

    def _described(self, window: Window, path: Path, directory: Path | None, snapshot: str | None) -> ImageInfo:
        attempted = self._attempted
        header = header_of(window)
        _check_content(window, header, attempted)
        chosen = None if snapshot is None else find_snapshot(window, header, snapshot, attempted)
        chain = Chain(self._allowed, attempted, self._merge)
        differs = is_differencing(window, header)
        node = chain.node(window, header, directory, differs)
        size = self._check(node)
        if header.format == "qcow2" and header.virtual_bytes != size and not differs:
            raise DiskError(
                attempted, "it is being changed while it is read", "shut down its machine, or copy it first"
            )
        if chosen is not None:
            size = chosen.virtual_bytes
            node = msgspec.structs.replace(node, snapshot=chosen.id)
        return ImageInfo(
            path=path,
            given=self._given,
            format=header.format,
            virtual_bytes=size,
            files=tuple(chain.files),
            notes=tuple(self._notes(window, header, size)),
            graph=node,
        )

    def _check(self, top: Node) -> int:
        """Look whether an image and those it is based on are whole. Return the size of its disk."""
        sizes: list[int] = []
        node: Node | None = top
        while node is not None:
            attempted, path = self._attempted, show(str(node.file.path))
            is_ours = _is_temporary(node.file.path)
            if sizes:
                attempted += ": open what it is based on" if is_ours else f": open {path}, which it is based on"
            sizes.append(_check_alone(msgspec.structs.replace(node, backing=None), attempted))
            node = node.backing
        return sizes[0]

    def _merge(self, chain: Chain, window: Window, directory: Path | None) -> Node:
        if self._stack is None:
            found = "it is a differencing disk: it holds only what changed since its parent"
            raise DiskError(self._attempted, found, "merge the two first")
        return merged(chain, window, directory, self._stack, self._progress)

    def _notes(self, window: Window, header: Header, size: int) -> list[str]:
        notes = [header.odd] if header.odd else []
        if self._capacity is not None and self._capacity != size:
            notes.append(f"its disk has {size} bytes, and the machine's description says {self._capacity}")
        end = partitions_end(window.read(0, HEAD)) if header.format == "raw" else None
        if end is not None and end > window.size:
            notes.append(
                f"it is {window.size} bytes long, and its partition table goes to byte {end}: it may be cut short"
            )
        return notes


def _check_alone(node: Node, attempted: str) -> int:
    """Look whether an image is whole, whatever it is based on. Return the size of its disk. Raises DiskError."""
    info = ask(node, attempted)
    if info.encrypted:
        raise DiskError(attempted, "it is encrypted", "decrypt it with `qemu-img convert` first")
    if node.format in CHECKED:
        check(node, attempted)
    try:
        with node.file.file() as file:
            check_tables(file, node.format)
    except ValueError as error:
        raise DiskError(attempted, str(error), "copy the image again from where it came") from error
    return info.virtual_size


def _is_temporary(path: Path) -> bool:
    """Tell a file that we hold open, which has no other name than /proc/PID/fd/N."""
    return path.is_relative_to(f"/proc/{os.getpid()}/fd")


def _look(path: Path, attempted: str) -> Window:
    try:
        return look(path if _is_temporary(path) else real(path))
    except IsADirectoryError as error:
        raise DiskError(
            attempted, "it is a directory, not a disk image", "give it alone to read it as a root"
        ) from error
    except FileNotFoundError as error:
        raise DiskError(attempted, "there is no such file") from error
    except (OSError, ValueError) as error:
        raise DiskError(attempted, getattr(error, "strerror", None) or str(error)) from error


def _read(window: Window, length: int, attempted: str) -> bytes:
    try:
        return window.read(0, length)
    except OSError as error:
        raise DiskError(attempted, error.strerror or str(error)) from error


def _check_content(window: Window, header: Header, attempted: str) -> None:
    if header.refused:
        raise DiskError(attempted, header.refused)
    if header.encrypted:
        raise DiskError(
            attempted, f"it is an encrypted {header.format} image", "decrypt it with `qemu-img convert` first"
        )
    if header.format == "raw":
        if looks_like_text(window.read(0, 4096)):
            raise DiskError(attempted, f"it is {window.size} bytes of text, not a disk image")
        if window.size < 512:
            found = f"it is {window.size} bytes long, and a disk has at least one sector of 512"
            raise DiskError(attempted, found)


def make_overlay(image: ImageInfo, overlay: Path, stack: ExitStack | None = None) -> None:
    """Make a qcow2 file that takes the writes to an image, so that the image itself is only read.

    Where the image cannot be said by its name (an internal snapshot, parts that are not as they are named, a name
    that is long or no UTF-8) a qemu-nbd serves it as long as `stack` is open; its socket is beside the overlay, in
    a directory that must be nobody else's. Raises DiskError, also where that is needed and there is no `stack`.
    """
    node = image.node()
    attempted = f"open {show(image.given)}"
    name = _plain_name(node)
    if name is not None:
        create_overlay(overlay, image.virtual_bytes, (name, node.format), attempted)
        return
    if stack is None:
        raise DiskError(attempted, "it can be given to another program through a server only")
    server = Server(node, image.given, overlay.parent, lasting=True)
    stack.callback(server.close)
    client = server.connect()
    try:
        if client.size < image.virtual_bytes:
            raise DiskError(attempted, f"qemu-nbd gives {client.size} of its {image.virtual_bytes} bytes")
    finally:
        client.close()
    # Where there is more, the overlay shows its start: it has the size that it is given.
    create_overlay(overlay, image.virtual_bytes, (f"nbd+unix:///?socket={server.socket}", "raw"), attempted)


def _plain_name(node: Node) -> str | None:
    """Return an image as a filename that another program can open at any time, or None where there is none."""
    if node.snapshot or any(_is_temporary(window.path) for window in node.windows()):
        return None
    each: Node | None = node
    while each is not None:
        if each.extents:
            return None
        each = each.backing
    try:
        for window in node.windows():
            str(window.path).encode()
            if look(window.path) != msgspec.structs.replace(window, offset=0, size=look(window.path).size, whole=True):
                raise DiskError(f"open {show(str(window.path))}", "it was exchanged for another file meanwhile")
    except (OSError, UnicodeEncodeError):
        return None
    name = graph(node, lambda window: str(window.path), lambda _: "")
    return name if len(name.encode()) <= _MAX_NAME else None
