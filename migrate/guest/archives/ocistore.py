"""Where a container image's layers and documents are kept, and how they are taken out, checked."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

import msgspec

from migrate.errors import DiskError
from migrate.guest.archives.ociformat import MAX_JSON, hasher, is_kept_back
from migrate.guest.archives.ocipick import Layer, refuse_mismatch
from migrate.guest.archives.tarball import Archive, is_header, unpacked, within_room
from migrate.guest.compression import ERRORS, compression
from migrate.guest.directory import open_below
from migrate.guest.progress import Progress
from migrate.guest.spool import PIECE, pread_pieces, spool, write_sparse
from migrate.guest.tree import Tree, decode, encode
from migrate.text import show

_ALIGNED = 4096
_MAX_LINKS = 8
_TOLD_EVERY = 16 * PIECE


class Blob(msgspec.Struct, frozen=True):
    """A run of bytes in an open file."""

    file: IO[bytes]
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it. Raises OSError."""
        return pread_pieces(self.file, self.start, self.size)

    def head(self, count: int) -> bytes:
        """Return its first bytes. Raises OSError."""
        return os.pread(self.file.fileno(), min(count, self.size), self.start)


class Depot:
    """One temporary file for everything that must be unpacked to be read."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, pieces: Iterator[bytes], attempted: str) -> Blob:
        """Keep what the pieces make. Raises DiskError where there is no room, OSError, and what `pieces` raises."""
        if self._file is None:
            self._file = spool()
        start = -(-self._end // _ALIGNED) * _ALIGNED
        self._file.seek(start)
        size = write_sparse(self._file, within_room(pieces, self._file, attempted))
        self._end = start + size
        return Blob(self._file, start, size)

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()


class Store(Protocol):
    """What holds an image's documents and layers by name, as a tar archive or a directory does."""

    def names(self) -> set[str]:
        """Return the names at the top."""
        ...

    def blob(self, name: str, most: int | None = None) -> Blob | None:
        """Return a file, or None where there is none. Raises DiskError, too where it is longer than `most` bytes."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class TarStore:
    """An archive. Its links lead to its own members and nowhere else."""

    def __init__(self, archive: Archive, attempted: str, depot: Depot) -> None:
        self._archive = archive
        self._attempted = attempted
        self._depot = depot
        entries, archive.index.entries = archive.index.entries, {}
        self._tree = Tree(entries.values())

    def names(self) -> set[str]:
        """Return the names at the top."""
        return {entry.path[1:] for entry in self._tree.children("/")}

    def blob(self, name: str, most: int | None = None) -> Blob | None:
        """Return a member; one that is stored with holes is copied."""
        entry = self._tree.find(f"/{name}")
        if entry is None:
            return None
        if entry.kind != "file":
            raise DiskError(self._attempted, f"{show(name)} is a {entry.kind} in it")
        _check_length(name, entry.size, most, self._attempted)
        start = self._archive.index.place(entry.path)
        if start is None:
            return self._depot.add(self._archive.index.pieces(entry.path, entry.size), self._attempted)
        return Blob(self._archive.file, start, entry.size)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class DirectoryStore:
    """A directory of the host. Of symbolic links only those to another file in it are followed, and none in a path.

    An archive of Docker before 25 that was unpacked has them, where two layers are one: `ID/layer.tar`.
    """

    def __init__(self, path: Path, attempted: str) -> None:
        self._attempted = attempted
        self._files: list[IO[bytes]] = []
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DiskError(attempted, error.strerror or str(error)) from error

    def names(self) -> set[str]:
        """Return the names at the top. Raises OSError."""
        with os.scandir(self._root) as names:
            return {each.name for each in names}

    def blob(self, name: str, most: int | None = None) -> Blob | None:
        """Return a file; it is open until the store is closed."""
        raw = encode(name)
        if b"\0" in raw or any(part in {b"", b".", b".."} for part in raw.split(b"/")):
            raise DiskError(self._attempted, f"it names {show(name[:200])!r}, which is no file in it")
        try:
            file, size = self._open(raw)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            link = error.errno in {errno.ELOOP, errno.ENOTDIR}
            why = "it is a symbolic link, or below one, that is not followed" if link else error.strerror
            raise DiskError(self._attempted, f"{show(name[:200])} cannot be opened: {why or error}") from error
        self._files.append(file)
        _check_length(name, size, most, self._attempted)
        return Blob(file, 0, size)

    def _open(self, name: bytes) -> tuple[IO[bytes], int]:
        """Open a regular file by its path in the directory. Raises OSError, ELOOP for a link that is not followed.

        O_PATH first, since opening a device or a fifo may do something (open(2)).
        """
        for _ in range(_MAX_LINKS):
            above, _, last = name.rpartition(b"/")
            with open_below(self._root, above) as directory:
                handle = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                try:
                    status = os.fstat(handle)
                    if stat.S_ISREG(status.st_mode):
                        file = open(f"/proc/self/fd/{handle}", "rb", buffering=0)  # noqa: SIM115, PTH123
                        return cast("IO[bytes]", file), status.st_size
                    if not stat.S_ISLNK(status.st_mode):
                        raise DiskError(self._attempted, f"{show(decode(name)[:200])} is no regular file")
                    target = os.readlink(last, dir_fd=directory)
                finally:
                    os.close(handle)
            name = os.path.normpath(b"/".join(filter(None, (above, target))))
            if target.startswith(b"/") or name.startswith(b"..") or name == b".":
                break
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()
        os.close(self._root)


def read_document(store: Store, name: str) -> bytes | None:
    """Return a document of an image, or None where there is none. Raises DiskError, too for one that is too long."""
    blob = store.blob(name, MAX_JSON)
    return None if blob is None else blob.head(MAX_JSON)


def _check_length(name: str, size: int, most: int | None, attempted: str) -> None:
    if most is not None and size > most:
        found = f"{show(name)} is {size} bytes long, and no document of an image is longer than {most}"
        raise DiskError(attempted, found)


class Unpacker:
    """Takes layers out of a store, unpacks them and checks their digests, each once. Raises DiskError."""

    def __init__(self, store: Store, depot: Depot, attempted: str, progress: Progress) -> None:
        self._store = store
        self._depot = depot
        self._attempted = attempted
        self._progress = progress
        self._done: dict[tuple[str, str], Blob] = {}

    def layer(self, layer: Layer) -> Blob:
        """Return a layer as a tar archive without compression."""
        key = (layer.name, layer.unpacked)
        if key not in self._done:
            try:
                self._done[key] = self._unpacked(layer)
            except ERRORS as error:
                why = getattr(error, "strerror", None) or str(error) or "it ends too early"
                found = f"{layer.title} ({show(layer.name[:200])}) cannot be unpacked: {show(why)}"
                do = "copy or save it again; if room ran out, set TMPDIR to a directory with more"
                raise DiskError(self._attempted, found, do) from error
        return self._done[key]

    def _unpacked(self, layer: Layer) -> Blob:
        blob = self._store.blob(layer.name)
        if blob is None:
            raise self._missing(layer)
        if layer.size is not None and layer.size != blob.size:
            found = f"{layer.title} is {blob.size} bytes long, and its manifest says {layer.size}"
            raise DiskError(self._attempted, found, "copy or save it again")
        head = blob.head(512)
        packed = None if is_header(head) else compression(head)
        said = layer.digest or (layer.unpacked if packed is None else "")
        if said:
            self._drain(self._checked(blob.pieces(), said, layer.title, blob.size))
        if packed is not None:
            title = f"{layer.title}, unpacked,"
            content = unpacked(_opened(blob, layer.title), packed)
            attempted = f"{self._attempted}, {layer.title}"
            return self._depot.add(self._checked(content, layer.unpacked, title, 0), attempted)
        if said != layer.unpacked:
            self._drain(self._checked(blob.pieces(), layer.unpacked, layer.title, blob.size))
        return blob

    def _missing(self, layer: Layer) -> DiskError:
        found = f"{layer.title} ({show(layer.name[:200])}) is not there"
        if is_kept_back(layer.media_type):
            where = f", it is to be had from {show(layer.urls[0][:200])}" if layer.urls else ""
            return DiskError(self._attempted, f"{found}: its maker does not let it be distributed{where}")
        return DiskError(self._attempted, found, "save it again, with all that belongs to it")

    def _checked(self, pieces: Iterator[bytes], digest: str, title: str, size: int) -> Iterator[bytes]:
        """Pass on what has a digest, and refuse it in the end if it has another."""
        found, count = hasher(digest, self._attempted), 0
        for piece in pieces:
            if count % _TOLD_EVERY < len(piece):
                self._progress(f"checking {title.removesuffix(',')}", count, size or None)
            found.update(piece)
            count += len(piece)
            yield piece
        refuse_mismatch(digest, f"{found.name}:{found.hexdigest()}", self._attempted, title)

    @staticmethod
    def _drain(pieces: Iterator[bytes]) -> None:
        for _ in pieces:
            pass


class _Window(io.RawIOBase):
    """A blob as a file that is read from its beginning to its end."""

    def __init__(self, blob: Blob, name: str) -> None:
        self._blob = blob
        self.name = name
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = os.pread(
            self._blob.file.fileno(), min(len(buffer), self._blob.size - self._at), self._blob.start + self._at
        )
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _opened(blob: Blob, name: str) -> BinaryIO:
    return io.BufferedReader(_Window(blob, name), PIECE)
