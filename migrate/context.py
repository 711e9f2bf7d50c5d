"""A build context as a tar archive: the same files give the same bytes, however they came there."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from migrate.errors import EngineError

# Zip files cannot say an earlier time, and programs that make them from a context's files then fail.
_MTIME = 315532800  # 1980-01-01T00:00:00Z
_PIECE = 1 << 20


def context_tar(context: Path, names: Iterable[str]) -> Iterator[bytes]:
    """Yield the files `names` of a build context as a tar archive, in pieces of about a mebibyte.

    Sorted names, owner 0:0, one fixed time; modes and links as they are. GNU format (gnu.org/software/tar/manual,
    "Basic Tar Format") keeps names that are not UTF-8. Raises EngineError for a file that cannot be read or
    is a device, socket or fifo.
    """
    buffer = bytearray()
    try:
        for block in _blocks(context, sorted(names, key=os.fsencode)):
            buffer += block
            if len(buffer) >= _PIECE:
                yield bytes(buffer)
                buffer.clear()
    except OSError as error:
        raise EngineError(f"read the build context {context}", str(error)) from error
    yield bytes(buffer)


def _blocks(context: Path, names: Iterable[str]) -> Iterator[bytes]:
    for name in names:
        info = _member(context, name)
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if info.isreg():
            yield from _content(context / name, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(context: Path, name: str) -> tarfile.TarInfo:
    path = context / name
    status = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = status.st_mode & 0o7777
    info.mtime = _MTIME
    if path.is_symlink():
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    elif path.is_dir():
        info.type = tarfile.DIRTYPE
    elif path.is_file():
        info.size = status.st_size
    else:
        raise EngineError(f"read the build context {context}", f"{name} is no file, directory or link", "remove it")
    return info


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise EngineError(f"read {path}", "it became shorter while it was read", "build again")
            left -= len(piece)
            yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)
