"""A machine as an archive or a folder: an OVF descriptor with its disks (OVA, unpacked OVF, Vagrant's box).

DMTF DSP0243, Open Virtualization Format Specification: an OVA is a tar archive of the descriptor, a manifest with
digests and the disks. Nothing is unpacked: a disk is where it is in the archive (`migrate.guest.images.parts`). Some
exporters compress the whole archive; such a one is decompressed into a temporary file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from migrate.errors import DiskError
from migrate.guest.archives.tarball import decompressed, within_room
from migrate.guest.compression import ERRORS, compression
from migrate.guest.images.ovafiles import (
    AGAIN,
    TAR_ERRORS,
    Archive,
    Files,
    Folder,
    Headers,
    Stream,
    headers_of,
    members,
)
from migrate.guest.images.ovf import Described, DescribedDisk, Digest, OvfError, read_manifest, read_ovf
from migrate.guest.images.parts import Part, Stored
from migrate.guest.progress import Progress, silent
from migrate.guest.spool import pread_pieces, reopened, spool, start_of, write_sparse
from migrate.text import show

_MAX_TEXT = 16 << 20
_SOON = 1000  # the descriptor is the first file of an archive, DSP0243, 5.3; some are not so strict
_ENVELOPE = re.compile(rb"<(?:[\w.-]+:)?Envelope[\s>/]")
_ROOT = frozenset(
    {"bin", "boot", "dev", "etc", "home", "lib", "opt", "root", "run", "sbin", "srv", "usr", "var", "blobs"}
)


class Ova(msgspec.Struct, frozen=True):
    """A machine: its name, its disks in the order in which it has them, and what is odd about it."""

    name: str
    disks: tuple[Stored, ...]
    problems: tuple[str, ...]


def is_ova(path: Path) -> bool:
    """Tell whether there is a machine in an archive, at a descriptor, or in a folder with one.

    An archive that is named *.ova is meant to be one, so that `open_ova` says what is missing. Raises DiskError where
    a program to decompress it is missing, and OSError.
    """
    if path.is_dir():
        names = [each.name for each in path.iterdir()]
        return any(name.lower().endswith(".ovf") for name in names) and not {"etc", "usr"} & set(names)
    head = start_of(path, 1 << 16)
    packed = compression(head)
    named = path.suffix.lower() == ".ova"
    if packed is None:
        if _is_xml(head):
            return _ENVELOPE.search(head) is not None
        with path.open("rb") as file:
            return _has_descriptor(headers_of(file), named=named)
    pieces = decompressed(path, packed)
    with contextlib.closing(pieces):
        stream = Stream(pieces)
        return _has_descriptor(Headers(stream.read, stream.skip), named=named)


def _is_xml(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def open_ova(path: Path, stack: contextlib.ExitStack, progress: Progress = silent) -> Ova:
    """Open an archive, a descriptor, or a folder with one, and check its files against its manifest.

    A compressed archive becomes a temporary file, which is there until `stack` is closed. `progress` is told how
    many bytes of how many are checked. Raises DiskError, in one sentence.
    """
    attempted = f"open {show(str(path))}"
    try:
        files, descriptor = _files(path, stack, progress, attempted)
        part = files.find(descriptor)
        if part is None:
            raise DiskError(attempted, f"{show(descriptor)} is gone")
        described = _described(part, descriptor, attempted)
        disks, problems = [], list(described.problems)
        for disk in described.disks:
            if disk.href:
                parts = _parts(files, disk, attempted)
                size = sum(each.size for each in parts)
                if disk.size not in {None, size}:
                    problems.append(
                        f"its descriptor says that {show(disk.href)} has {disk.size} bytes, and it has {size}"
                    )
                disks.append(Stored(name=disk.href, parts=parts, packed=disk.packed, capacity=disk.capacity))
        if not disks:
            found = "the machine that it describes has no disk with anything on it"
            raise DiskError(attempted, "; ".join([found, *described.problems]))
        problems += _check(files, descriptor, disks, progress, attempted)
    except OSError as error:
        raise DiskError(attempted, error.strerror or str(error)) from error
    return Ova(described.name, tuple(disks), tuple(problems))


def _described(part: Part, name: str, attempted: str) -> Described:
    try:
        return read_ovf(_text(part, name, attempted), Path(name).stem)
    except OvfError as error:
        raise DiskError(attempted, error.found, error.do) from error


def _text(part: Part, name: str, attempted: str) -> bytes:
    """Return a file that is text, of a length that text may have. Raises DiskError, OSError."""
    if part.size > _MAX_TEXT:
        raise DiskError(attempted, f"its {show(name)} is {part.size} bytes long, and no such file is")
    return b"".join(_content(part))


def _content(part: Part) -> Iterator[bytes]:
    with part.path.open("rb", buffering=0) as file:
        left = part.size
        for piece in pread_pieces(file, part.offset, part.size):
            left -= len(piece)
            yield piece
    if left:
        raise DiskError(f"read {show(str(part.path))}", "it became shorter while it was read")


# ------------------------------------------------------------------ where the files are


def _files(path: Path, stack: contextlib.ExitStack, progress: Progress, attempted: str) -> tuple[Files, str]:
    """Return the files and the descriptor's name among them. Raises DiskError, OSError."""
    if path.is_dir():
        files: Files = Folder(path, attempted)
        return files, _one_descriptor(files, attempted)
    head = start_of(path, 1 << 16)
    real = Path(os.path.realpath(path))
    if _is_xml(head):
        return Folder(real.parent, attempted), real.name
    packed = compression(head)
    if packed is not None:
        copy = spool()
        stack.callback(copy.close)
        progress(f"decompressing {path.name}")
        try:
            write_sparse(copy, within_room(decompressed(path, packed), copy, attempted))
        except ERRORS as error:
            found = f"it is compressed with {packed} and cannot be decompressed: {error}"
            raise DiskError(attempted, show(found), f"{AGAIN}; if room ran out, set TMPDIR") from error
        real = Path(reopened(copy))
    files = Archive(real, attempted)
    return files, _one_descriptor(files, attempted)


def _one_descriptor(files: Files, attempted: str) -> str:
    names = files.names()
    found = [name for name in names if name.lower().endswith(".ovf") and "/" not in name]
    if len(found) == 1:
        return found[0]
    if found:
        raise DiskError(
            attempted, f"it has {len(found)} descriptors: {_listed(found)}", "unpack it, and give one of them"
        )
    do = "export the machine again, or unpack it and give its disks"
    raise DiskError(attempted, f"it has no OVF descriptor (a file named *.ovf), only {_listed(names)}", do)


def _listed(names: list[str]) -> str:
    return (
        ", ".join(show(name) for name in names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
        or "nothing"
    )


def _parts(files: Files, disk: DescribedDisk, attempted: str) -> tuple[Part, ...]:
    """Return the file of a disk, or all the chunks of it (DSP0243, 7.1). Raises DiskError."""
    whole = files.find(disk.href)
    if whole is not None:
        return (whole,)
    chunks: list[Part] = []
    while (chunk := files.find(_chunk_name(disk.href, len(chunks)))) is not None:
        chunks.append(chunk)
    if not chunks:
        found = f"its descriptor names {show(disk.href)}, and that is not {files.place}"
        raise DiskError(attempted, found, "put its files together again, or export the machine again")
    size, total = disk.chunk or chunks[0].size, sum(chunk.size for chunk in chunks)
    odd = next((number for number, chunk in enumerate(chunks[:-1]) if chunk.size != size), None)
    if odd is not None:
        found = f"{show(_chunk_name(disk.href, odd))} has {chunks[odd].size} bytes, and the chunks have {size}"
        raise DiskError(attempted, found, AGAIN)
    later = re.compile(re.escape(disk.href) + r"\.[0-9]{9}")
    if (disk.size or 0) > total or sum(1 for name in files.names() if later.fullmatch(name)) > len(chunks):
        raise DiskError(attempted, f"{show(_chunk_name(disk.href, len(chunks)))} is missing", AGAIN)
    return tuple(chunks)


def _chunk_name(href: str, number: int) -> str:
    return f"{href}.{number:09}"


# ------------------------------------------------------------------ the manifest


def _check(files: Files, descriptor: str, disks: list[Stored], progress: Progress, attempted: str) -> list[str]:
    """Compare the files with the manifest, each read once. Raises DiskError for a difference, and OSError.

    A manifest of vCenter has a line for each chunk, and one for the file that the chunks are of.
    """
    name = f"{Path(descriptor).stem}.mf"
    manifest = files.find(name)
    if manifest is None:
        return []
    digests, problems = read_manifest(_text(manifest, name, attempted))
    chunked = {disk.name: disk.parts for disk in disks if len(disk.parts) > 1 or files.find(disk.name) is None}
    wanted: dict[Digest, tuple[Part, ...]] = {}
    for digest in digests:
        part = files.find(digest.file.removeprefix("./"))
        parts = chunked.get(digest.file) if part is None else (part,)
        if parts is None:
            found = f"its manifest {show(name)} lists {show(digest.file)}, and that is not {files.place}"
            raise DiskError(attempted, found, AGAIN)
        wanted[digest] = parts
    for digest, value in _digests(wanted, progress).items():
        if value != digest.value:
            found = (
                f"{show(digest.file)} is damaged: its {digest.algorithm.upper()} is {value}, and its manifest "
                f"{show(name)} says {digest.value}"
            )
            raise DiskError(attempted, found, f"{AGAIN}; if it was changed on purpose, remove or correct the manifest")
    checked = {part for parts in wanted.values() for part in parts}
    unlisted = [disk.name for disk in disks if not checked.issuperset(disk.parts)]
    return [*problems, *(f"its manifest {show(name)} does not list {show(disk)}" for disk in unlisted)]


def _digests(wanted: dict[Digest, tuple[Part, ...]], progress: Progress) -> dict[Digest, str]:
    """Return the digests of what is wanted, `value` as it is; each part is read once. Raises DiskError, OSError."""
    hashes = {
        digest: hashlib.new(digest.algorithm, usedforsecurity=False)
        for digest in {(each.file, each.algorithm): each for each in wanted}.values()
    }
    takers: dict[Part, list[Digest]] = {}
    for digest in sorted(hashes, key=lambda digest: -len(wanted[digest])):  # so that chunks are read in their order
        for part in wanted[digest]:
            takers.setdefault(part, []).append(digest)
    done, total = 0, sum(part.size for part in takers)
    for part, digests in takers.items():
        for piece in _content(part):
            for digest in digests:
                hashes[digest].update(piece)
            done += len(piece)
            progress("checking against the manifest", done, total)
    found = {(digest.file, digest.algorithm): each.hexdigest() for digest, each in hashes.items()}
    return {digest: found[digest.file, digest.algorithm] for digest in wanted}


def _has_descriptor(headers: Headers, *, named: bool) -> bool:
    """Tell whether an archive has a descriptor, or is `named` as if it had one.

    It may be the archive of a root directory, which has too many files to ask them all.
    """
    with contextlib.suppress(*TAR_ERRORS, *ERRORS):
        for number, info in enumerate(members(headers)):
            name = info.name.removeprefix("./")
            top, *below = name.split("/")
            if named or (info.isreg() and not below and name.lower().endswith(".ovf")):
                return True
            if number >= _SOON or (top in _ROOT and (below or info.isdir())):
                return False
    return False
