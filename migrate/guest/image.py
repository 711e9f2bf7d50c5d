"""What a disk image is, found out without trusting it: `describe` is asked before anything opens one.

An image may name other files (its backing file, its extents). They are followed only inside the image's own
directory and those that were allowed, so that a stranger's image cannot show a file of the host as its own.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from migrate.errors import DiskError
from migrate.guest.imageheader import HEAD, Header, looks_like_text, partitions_end, read_header
from migrate.guest.protocol import Disk, FileSystem, Problem, Source
from migrate.guest.spool import start_of
from migrate.guest.tarball import compression
from migrate.text import show

FORMATS = frozenset({"raw", "qcow2", "qcow", "qed", "vmdk", "vpc", "vhdx", "vdi"})
"""The formats that are read, as qemu calls them (vpc is VHD)."""

_CHECKED = frozenset({"qcow2", "qed", "vdi", "vhdx", "vmdk"})
_MAX_CHAIN = 32


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image that can be opened.

    `path` is absolute and has no symlink in it; `given` is how the user named it. `virtual_bytes` is the size of
    the disk that the guest sees. `files` are the other files of the host that it is made of, nearest first.
    `notes` is what is odd about it and does not stop the reading.
    """

    path: Path
    given: str
    format: str
    virtual_bytes: int
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class _QemuInfo(msgspec.Struct, rename="kebab"):
    format: str
    virtual_size: int
    encrypted: bool = False


class _QemuCheck(msgspec.Struct, rename="kebab"):
    corruptions: int = 0
    check_errors: int = 0


def source_of(disks: Sequence[ImageInfo], filesystems: tuple[FileSystem, ...], reader: str) -> Source:
    """Return what a reader opened, as every reader tells it."""
    found = tuple(Disk(path=d.given, format=d.format, virtual_bytes=d.virtual_bytes) for d in disks)
    return Source(disks=found, filesystems=filesystems, reader=reader)


def notes_of(disks: Sequence[ImageInfo]) -> list[Problem]:
    """Return what is odd about the images themselves."""
    return [Problem(path=disk.given, why=note) for disk in disks for note in disk.notes]


def describe(path: Path, allow_backing: Sequence[Path] = ()) -> ImageInfo:
    """Return what an image is. Raises DiskError, in one sentence, for what cannot be read as a disk.

    `allow_backing` are directories, besides the image's own, that it may name files in.
    """
    attempted = f"open {show(str(path))}"
    size = _size(path, attempted)
    real = Path(os.path.realpath(path))
    header = _header(real, attempted)
    _check_content(real, header, size, attempted)
    allowed = [real.parent, *(Path(os.path.realpath(directory)) for directory in allow_backing)]
    files = _files(real, header, allowed, attempted)
    info = _ask_qemu(real, header.format, attempted)
    if info.encrypted:
        raise DiskError(attempted, "it is encrypted", "decrypt it with `qemu-img convert` first")
    if header.format in _CHECKED:
        _check_tables(real, header.format, size, attempted)
    return ImageInfo(
        path=real,
        given=str(path),
        format=header.format,
        virtual_bytes=info.virtual_size,
        files=tuple(files),
        notes=_notes(real, header, size),
    )


def _size(path: Path, attempted: str) -> int:
    """Return the size of a regular file or block device; nothing else is opened (a fifo would wait for ever)."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            size = status.st_size
        elif stat.S_ISBLK(status.st_mode):
            with path.open("rb", buffering=0) as device:
                size = device.seek(0, os.SEEK_END)
        elif stat.S_ISDIR(status.st_mode):
            raise DiskError(attempted, "it is a directory, not a disk image", "give it alone to read it as a root")
        else:
            raise DiskError(attempted, "it is neither a file nor a block device")
    except FileNotFoundError as error:
        raise DiskError(attempted, "there is no such file") from error
    except (OSError, ValueError) as error:
        raise DiskError(attempted, getattr(error, "strerror", None) or str(error)) from error
    if size == 0:
        raise DiskError(attempted, "it is empty (0 bytes)", "copy it again")
    return size


def _header(path: Path, attempted: str) -> Header:
    try:
        head = start_of(path, HEAD)
    except OSError as error:
        raise DiskError(attempted, error.strerror or str(error)) from error
    packed = compression(head)
    if packed:
        found = f"it is compressed with {packed}, and is no archive of a root"
        raise DiskError(attempted, found, f"decompress it first: {packed} -dk {show(str(path))}")
    return read_header(head)


def _check_content(path: Path, header: Header, size: int, attempted: str) -> None:
    if header.refused:
        raise DiskError(attempted, header.refused)
    if header.encrypted:
        raise DiskError(
            attempted, f"it is an encrypted {header.format} image", "decrypt it with `qemu-img convert` first"
        )
    if header.format == "raw":
        if looks_like_text(start_of(path, 4096)):
            raise DiskError(attempted, f"it is {size} bytes of text, not a disk image")
        if size < 512:
            raise DiskError(attempted, f"it is {size} bytes long, and a disk has at least one sector of 512")


def _files(path: Path, header: Header, allowed: Sequence[Path], attempted: str) -> list[Path]:
    """Return the files that an image and its backing files name, refusing what lies outside of `allowed`."""
    found: list[Path] = []
    while True:
        others = [_resolve(path, name, allowed, attempted) for name in header.others]
        if any(_header(other, attempted).others for other in others):
            raise DiskError(attempted, "it names a file that in turn names others, which no known program makes")
        found += others
        if header.backing is None:
            return found
        backing = _resolve(path, header.backing, allowed, attempted)
        if backing in found or len(found) >= _MAX_CHAIN:
            raise DiskError(attempted, "its chain of backing files does not end")
        found.append(backing)
        declared = header.backing_format
        path, header = backing, _header(backing, f"open {show(str(backing))}, which {show(str(path))} is based on")
        if declared == "raw":  # then qemu does not look into it either
            return found
        if header.refused:
            raise DiskError(attempted, f"of the file it is based on, {show(str(path))}: {header.refused}")
        if declared not in {"", header.format} and (declared, header.format) != ("vpc", "raw"):
            found_format = f"it says that {show(str(path))} is of format {show(declared)}, and that is {header.format}"
            raise DiskError(attempted, found_format)


def _resolve(image: Path, name: str, allowed: Sequence[Path], attempted: str) -> Path:
    """Return the real path of a file that an image names. Raises DiskError where it is not to be followed."""
    plain = name.removeprefix("file:") if name.startswith("file:/") else name
    if not plain or "\0" in plain or ":" in plain.split("/")[0]:  # what qemu takes for a protocol
        raise DiskError(attempted, f"it is based on {show(name)!r}, which is no file beside it", "copy that beside it")
    real = Path(os.path.realpath(image.parent / plain))
    if not any(_is_inside(real, directory) for directory in allowed):
        found = f"it names {show(str(real))}, which is outside of its own directory"
        raise DiskError(attempted, found, f"if that is right, say so with --allow-backing {show(str(real.parent))}")
    if not real.is_file() and not real.is_block_device():
        found = f"it is based on {show(str(real))}, which is not there"
        raise DiskError(attempted, found, "copy that file beside it; without it most of the disk is missing")
    return real


def _is_inside(path: Path, directory: Path) -> bool:
    """Tell whether a file is in a directory or below it; `/` stands for itself alone."""
    return path.parent == directory or (directory != Path("/") and path.is_relative_to(directory))


def make_overlay(image: ImageInfo, overlay: Path) -> None:
    """Make a qcow2 file that takes the writes to an image, so that the image itself is only read.

    Raises DiskError.
    """
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", image.format, "-b", str(image.path), str(overlay)]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise DiskError(f"open {show(str(image.path))}", f"qemu-img cannot be run: {error.strerror}") from error
    if done.returncode:
        raise DiskError(f"open {show(str(image.path))}", _reason(done.stderr, image.path) or "qemu-img create failed")


def _ask_qemu(path: Path, image_format: str, attempted: str) -> _QemuInfo:
    done = _qemu_img("info", image_format, path, attempted)
    try:
        return msgspec.json.decode(done.stdout, type=_QemuInfo)
    except msgspec.DecodeError as error:
        raise DiskError(attempted, _reason(done.stderr, path) or f"qemu-img answers {error}") from error


def _check_tables(path: Path, image_format: str, size: int, attempted: str) -> None:
    """Refuse an image whose tables point outside of it: qemu reads zeros there, without an error."""
    done = _qemu_img("check", image_format, path, attempted)
    try:
        result = msgspec.json.decode(done.stdout, type=_QemuCheck)
    except msgspec.DecodeError:
        return  # this format has no check (exit code 63)
    if result.corruptions or result.check_errors:
        count = result.corruptions or result.check_errors
        if b"exceeding the end of the file" in done.stderr:
            found = f"it is cut short: it is {size} bytes long, and {count} places in its tables lie beyond that"
        else:
            found = f"qemu-img check finds {count} errors in its tables: {_reason(done.stderr, path)}"
        raise DiskError(attempted, found, "copy the image again from where it came")


def _qemu_img(command: str, image_format: str, path: Path, attempted: str) -> subprocess.CompletedProcess[bytes]:
    """Run qemu-img on a file that is never taken for anything else: the path is absolute, the format given.

    Its complaints may be millions of lines (one for each cluster that is not there); the first 4 KiB are kept.
    """
    argv = ["qemu-img", command, "-f", image_format, "--output=json", str(path)]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        do = "install it (Debian, Ubuntu: apt-get install qemu-utils; Fedora: dnf install qemu-img)"
        raise DiskError(attempted, f"the program qemu-img cannot be run: {error.strerror}", do) from error
    with process:
        assert process.stdout is not None  # noqa: S101 - PIPE above
        assert process.stderr is not None  # noqa: S101
        words = process.stderr.read(4096)
        while process.stderr.read(1 << 20):
            pass
        answer = process.stdout.read()
    return subprocess.CompletedProcess(argv, process.returncode, answer, words)


def _reason(words: bytes, path: Path) -> str:
    """Return the first thing qemu-img complains of, without its own name and the path in front."""
    line = words.decode("utf-8", "replace").partition("\n")[0]
    while (shorter := re.sub(rf"^(?:qemu-img: |Could not open '{re.escape(str(path))}': )", "", line)) != line:
        line = shorter
    return show(line.removesuffix("\n"))


def _notes(path: Path, header: Header, size: int) -> tuple[str, ...]:
    end = partitions_end(start_of(path, HEAD)) if header.format == "raw" else None
    if end is None or end <= size:
        return ()
    return (f"it is {size} bytes long, and its partition table goes to byte {end}: it may be cut short",)
