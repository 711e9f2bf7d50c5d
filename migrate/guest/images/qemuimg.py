"""What the program qemu-img says of an image whose files were looked at beforehand."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, Opened
from migrate.guest.spool import spool
from migrate.text import show

INSTALL = "install it (Debian, Ubuntu: apt-get install qemu-utils; Fedora: dnf install qemu-img)"
CHECKED = frozenset({"qcow2", "qed", "vdi", "vhdx", "vmdk"})
"""The formats that `check` knows."""

_MOST = 64 << 20
_MOST_MEMORY = 4 << 30  # `check` needs 2 bytes for each cluster: 512 MiB for a qcow2 of 16 TiB
_MOST_WORDS = 4096
_NO_CHECK = 63  # qemu-img(1), "check"
_LOCKED = re.compile(r"Failed to get .*\block\b")
_PLACE = re.compile(
    r"^(?:Could not open|Failed to load|Could not read) '(?:json:.*|[^']*)': |^qemu-[a-z]+: |^setpriv: "
)


class QemuInfo(msgspec.Struct, rename="kebab"):
    """The size of the disk in an image, in bytes, and whether it is encrypted."""

    virtual_size: int
    encrypted: bool = False


class _QemuCheck(msgspec.Struct, rename="kebab"):
    corruptions: int = 0
    check_errors: int = 0


def dying_with_us(argv: Sequence[str]) -> list[str]:
    """Return a command that is killed when the thread that starts it ends (PR_SET_PDEATHSIG, by setpriv(1)).

    One that is not installed stays as it is, so that starting it fails.
    """
    both = shutil.which("setpriv") and shutil.which(argv[0])
    return [*(["setpriv", "--pdeathsig", "KILL", "--"] if both else []), *argv]


def ask(node: Node, attempted: str) -> QemuInfo:
    """Return what `qemu-img info` says. Raises DiskError."""
    done = _run("info", node, attempted)
    try:
        return msgspec.json.decode(done.stdout, type=QemuInfo)
    except msgspec.DecodeError as error:
        raise DiskError(attempted, first_line(done.stderr) or f"qemu-img answers {error}") from error


def check(node: Node, attempted: str) -> None:
    """Refuse an image whose tables point outside of it: qemu reads zeros there, without an error. Raises DiskError."""
    done = _run("check", node, attempted)
    if done.returncode == _NO_CHECK:
        return
    do = "copy the image again from where it came"
    size = node.file.size
    try:
        result = msgspec.json.decode(done.stdout, type=_QemuCheck)
    except msgspec.DecodeError as error:
        # "ERROR: cluster offset for sector 18432 points after EOF", block/vmdk.c: vmdk_check
        if b"after EOF" in done.stderr or b"exceeding the end of the file" in done.stderr:
            found = f"it is cut short: it is {size} bytes long, and its tables point beyond that"
        else:
            found = f"qemu-img check fails: {first_line(done.stderr) or 'it does not say why'}"
        raise DiskError(attempted, found, do) from error
    if result.corruptions or result.check_errors:
        count = result.corruptions or result.check_errors
        if b"exceeding the end of the file" in done.stderr:
            found = f"it is cut short: it is {size} bytes long, and {count} places in its tables lie beyond that"
        else:
            found = f"qemu-img check finds {count} errors in its tables: {first_line(done.stderr)}"
        raise DiskError(attempted, found, do)


def create_overlay(overlay: Path, size: int, backing: tuple[str, str] | None, attempted: str) -> None:
    """Make a qcow2 of so many bytes; over another image, where one's name and format are given. Raises DiskError.

    That is not opened.
    """
    over = [] if backing is None else ["-u", "-b", backing[0], "-F", backing[1]]
    done = _qemu_img(["create", "-q", "-f", "qcow2", *over, "--", str(overlay), str(size)], (), attempted)
    if done.returncode:
        raise DiskError(attempted, first_line(done.stderr) or "qemu-img create failed")


def _run(command: str, node: Node, attempted: str) -> subprocess.CompletedProcess[bytes]:
    with ExitStack() as stack:
        opened = Opened(node, stack)
        return _qemu_img([command, "--output=json", opened.filename], opened.descriptors, attempted)


def _qemu_img(argv: Sequence[str], descriptors: Sequence[int], attempted: str) -> subprocess.CompletedProcess[bytes]:
    """Run qemu-img. It may complain in millions of lines (one for each cluster that is not there); 4 KiB are kept."""
    with spool() as answer:
        try:
            process = subprocess.Popen(
                dying_with_us(["qemu-img", *argv]),
                stdin=subprocess.DEVNULL,
                stdout=answer,  # no pipe: a hostile image's 65536 snapshots would fill one, and nobody reads it yet
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                pass_fds=descriptors,
            )
        except OSError as error:
            raise DiskError(attempted, f"the program qemu-img cannot be run: {error.strerror}", INSTALL) from error
        with process:
            with contextlib.suppress(OSError):  # it may have ended already
                resource.prlimit(process.pid, resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
            assert process.stderr is not None  # noqa: S101 - PIPE above
            words = process.stderr.read(_MOST_WORDS)
            while process.stderr.read(1 << 20):
                pass
        return subprocess.CompletedProcess(argv, process.returncode, os.pread(answer.fileno(), _MOST, 0), words)


def first_line(words: bytes) -> str:
    """Return the first thing a program of qemu's complains of, without its own name and that of the file."""
    line = words.decode("utf-8", "replace").partition("\n")[0]
    while (shorter := _PLACE.sub("", line)) != line:
        line = shorter
    if _LOCKED.match(line):
        return "another program has it open to write to it; shut down its machine, or make a copy of it first"
    return show(line)
