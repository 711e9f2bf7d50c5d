"""A tar archive of a root directory, as a guest: plain, or compressed with gzip, bzip2, xz or zstd."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO

from migrate.errors import DiskError, GuestFileError
from migrate.guest.progress import Progress, silent
from migrate.guest.protocol import Disk, Entry, FileSystem, Source
from migrate.guest.root import check_root
from migrate.guest.spool import PIECE, spool, start_of, write_sparse
from migrate.guest.tarindex import TarIndex
from migrate.guest.tree import Tree, TreeGuest
from migrate.text import show

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_OPENERS: dict[str, Callable[[Path], io.BufferedIOBase]] = {
    "gzip": gzip.GzipFile,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error)


def compression(head: bytes) -> str | None:
    """Return how a file is compressed (gzip, bzip2, xz or zstd), going by its first bytes; None if it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def is_tar(path: Path) -> bool:
    """Tell whether a file is a tar archive, or a compressed one. Raises DiskError where no tool can tell."""
    head = start_of(path, 6)
    packed = compression(head)
    if packed is None:
        return _is_header(start_of(path, tarfile.BLOCKSIZE))
    pieces = decompressed(path, packed, tarfile.BLOCKSIZE)
    try:
        return _is_header(next(pieces, b"")[: tarfile.BLOCKSIZE])
    except _ERRORS:
        return False
    finally:
        pieces.close()


def _is_header(block: bytes) -> bool:
    """Tell a tar header by its checksum: the magic is missing from old ones (tar(5))."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def decompressed(path: Path, packed: str, size: int = PIECE) -> Generator[bytes, None, None]:
    """Yield a compressed file's content, `size` bytes at a time.

    Raises DiskError where the tool is missing, and otherwise what the decompressors raise (`_ERRORS`).
    """
    if packed == "zstd":
        yield from _unzstd(path, size)
        return
    with _OPENERS[packed](path) as file:
        while piece := file.read(size):
            yield piece


def _unzstd(path: Path, size: int) -> Generator[bytes, None, None]:
    """Yield what `zstd -dc` makes of the file, given as its standard input."""
    program = shutil.which("zstd")
    if program is None:
        do = "install zstd (Debian: apt-get install zstd), or decompress it on another machine"
        raise DiskError(f"open {path}", "it is compressed with zstd, and there is no zstd program here", do)
    with (
        path.open("rb") as source,
        subprocess.Popen(
            [program, "-dc", "--quiet"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - PIPE above
        assert process.stderr is not None  # noqa: S101
        ended = False
        try:
            while piece := process.stdout.read(size):
                yield piece
            ended = True
        finally:
            if not ended:
                process.kill()
        words = process.stderr.read(1000).decode("utf-8", "replace").strip()
        if process.wait() != 0:
            raise OSError(f"zstd says: {words}")


class TarGuest(TreeGuest):
    """A guest whose files are in a tar archive; a compressed one is unpacked to a temporary file first.

    `progress` is told what is being done and, where it is known, how many bytes of how many are done.
    Raises DiskError for what is no archive, or a damaged one, and NoSystemError where it holds no root.
    """

    def __init__(self, path: Path, progress: Progress = silent) -> None:
        self._archive = _plain(path, progress)
        try:
            progress(f"indexing {path.name}")
            self._index = TarIndex(self._archive, str(path))
            entries, self._index.entries = self._index.entries, {}
            tree = Tree(entries.values())
            _refuse_ova(tree, path)
            check_root(tree, f"the archive {path}")
            size = sum(entry.allocated for entry in entries.values())
            disk = Disk(path=str(path), format="tar", virtual_bytes=size)
            system = FileSystem(device=str(path), type="tar", mountpoint="/")
            super().__init__(tree, Source(disks=(disk,), filesystems=(system,), reader="tar"), self._index.problems)
        except BaseException:
            self._archive.close()
            raise

    def close(self) -> None:
        """Close the archive; the temporary copy of a compressed one is gone with that."""
        self._archive.close()
        super().close()

    def _pieces(self, entry: Entry, length: int) -> Iterator[bytes]:
        try:
            yield from self._index.pieces(entry.path, length)
        except OSError as error:
            raise GuestFileError(f"read {show(entry.path)}", error.strerror or str(error)) from error


def _refuse_ova(tree: Tree, path: Path) -> None:
    """Refuse a virtual appliance: an archive of a machine's description and its disks (DSP0243, OVF 1.1, 5.3)."""
    names = [entry.path[1:] for entry in tree.children("/")]
    if not any(name.lower().endswith(".ovf") for name in names):
        return
    disks = [show(name) for name in names if name.lower().endswith((".vmdk", ".vhd", ".vhdx", ".img", ".qcow2"))]
    chunks = [show(name) for name in names if name.rpartition(".")[2].isdigit()]
    do = f"unpack it with tar -xf {show(str(path))} and give its disks"
    if disks:
        do += f": {', '.join(disks)}"
    elif chunks:
        do += f", the chunks of each joined in their order: {', '.join(chunks)}"
    raise DiskError(
        f"open {show(str(path))}", "it is an OVA, an archive with a machine's description and its disks", do
    )


def _plain(path: Path, progress: Progress) -> IO[bytes]:
    """Open the archive itself, or a decompressed copy of it. Raises DiskError."""
    try:
        packed = compression(start_of(path, 6))
        if packed is None:
            return path.open("rb", buffering=0)
    except OSError as error:
        raise DiskError(f"open {path}", error.strerror or str(error)) from error
    copy = spool()
    try:
        progress(f"decompressing {path.name}")
        write_sparse(copy, decompressed(path, packed))
    except _ERRORS as error:
        copy.close()
        found = f"it is compressed with {packed} and cannot be decompressed: {error}"
        do = "copy it again; if room ran out, set TMPDIR to a directory with more"
        raise DiskError(f"open {path}", show(found), do) from error
    except BaseException:
        copy.close()
        raise
    return copy
