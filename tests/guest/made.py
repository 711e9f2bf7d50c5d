"""What tests of the readers are made of: one awkward tree, and the programs that make disks of it."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "images"
MTIME = 1_700_000_000
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
LONG_NAME = "n" * 251 + ".txt"
BIG = bytes(range(256)) * 4096 * 12  # 12 MiB
VAR_UUID = "6a1e4a7c-23b0-4c11-9e0a-0d5c4f2f7e55"
JOURNALLED = b"written, and only in the journal\n"
FSTAB = f"""\
# made for a test
/dev/vda2 / ext4 errors=remount-ro 0 1
UUID={VAR_UUID.upper()} /var ext4 defaults 0 2
this line is
LABEL=not-there /srv/missing ext4 defaults 0 2
nas:/export/home /home nfs defaults,_netdev 0 0
/srv/app /srv/bound none bind 0 0
/dev/disk/by-label/My\\x20Data /data ext4 defaults 0 2
tmpfs /tmp tmpfs mode=1777 0 0
/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0
/dev/vda3 none swap sw 0 0
"""


_DIRECTORIES = [
    "bin", "etc", "etc/app", "home", "root", "srv", "srv/app", "srv/app/.venv", "srv/bound", "srv/deep", "srv/missing",
    "usr", "usr/bin", "data",
]  # fmt: skip


class Maker:
    """Makes the archive."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mtime = kind, len(content), MTIME
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o777 if kind == tarfile.SYMTYPE else 0o644
        for field, value in fields.items():
            setattr(info, field, value)
        self._archive.addfile(info, io.BytesIO(content))


def make_tree(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        make = Maker(archive)
        for name in _DIRECTORIES:
            make.add(name, tarfile.DIRTYPE)
        make.add("tmp", tarfile.DIRTYPE, mode=0o1777)
        make.add("var", tarfile.DIRTYPE)
        make.add("var/lib", tarfile.DIRTYPE)
        make.add("var/lib/orders", tarfile.DIRTYPE, mode=0o2750, uid=996, gid=33)
        make.add("var/lib/orders/state", content=b"kept\n", mode=0o640, uid=996, gid=33)
        make.add("etc/fstab", content=FSTAB.encode())
        make.add("etc/os-release", content=b'ID=nothing\nPRETTY_NAME="Nobody knows this"\n')
        make.add("etc/app/app.conf", content=b"port = 8000\n", mode=0o600, uid=1000, gid=1000)
        make.add("etc/app/latin1", content=b"caf\xe9\n")
        make.add("etc/absolute", tarfile.SYMTYPE, linkname="/etc/app/app.conf")
        make.add("etc/relative", tarfile.SYMTYPE, linkname="app/../app/app.conf")
        make.add("etc/escape", tarfile.SYMTYPE, linkname="../../../../etc/app/app.conf")
        make.add("etc/dangling", tarfile.SYMTYPE, linkname="/no/such/thing")
        make.add("etc/conf.d", tarfile.SYMTYPE, linkname="/etc/app")
        make.add("srv/app/.venv/pyvenv.cfg", content=b"home = /usr/bin\n")
        make.add("srv/loop", tarfile.SYMTYPE, linkname="loop")
        make.add("srv/ping", tarfile.SYMTYPE, linkname="/srv/pong")
        make.add("srv/pong", tarfile.SYMTYPE, linkname="ping")
        make.add("srv/chain0", content=b"end\n")
        for number in range(1, 42):
            make.add(f"srv/chain{number}", tarfile.SYMTYPE, linkname=f"chain{number - 1}")
        make.add("srv/hard1", content=b"one file\n")
        make.add("srv/hard2", tarfile.LNKTYPE, linkname="srv/hard1")
        make.add("srv/a", content=b"")
        make.add(f"srv/{LONG_NAME}", content=b"long\n")
        make.add("srv/line\nbreak", content=b"newline\n")
        make.add("srv/ümläut", content=b"utf-8\n")
        make.add("srv/latin-\udce9", content=b"not utf-8\n", uid=7)
        make.add("srv/dir-\udcff", tarfile.DIRTYPE, mode=0o700)
        make.add("srv/dir-\udcff/inside", content=b"below\n")
        make.add("srv/to-latin", tarfile.SYMTYPE, linkname="latin-\udce9")
        make.add("srv/big", content=BIG)
        make.add("srv/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        make.add("srv/disk", tarfile.BLKTYPE, devmajor=259, devminor=70, mode=0o660, gid=6)
        make.add("srv/fifo", tarfile.FIFOTYPE)
        make.add("usr/bin/setuid", content=b"#!/bin/false\n", mode=0o4755)
        pax = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
        make.add("usr/bin/ping", content=b"ping\n", mode=0o755, pax_headers=pax)


def needs(*programs: str) -> None:
    """Skip where a program that makes test disks is missing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for program in programs:
        if shutil.which(program, path=path) is None:
            pytest.skip(f"needs {program}")


def run(*argv: str | Path, stdin: str = "") -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        argv, check=True, input=stdin, text=True, capture_output=True, env={**os.environ, "PATH": path, "LC_ALL": "C"}
    )
    return done.stdout


def sparse_file(path: Path, mebibytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(mebibytes << 20)
    return path


def put(source: Path, target: Path, mebibyte: int) -> None:
    run("dd", f"if={source}", f"of={target}", "bs=1M", f"seek={mebibyte}", "conv=notrunc,sparse", "status=none")


def needs_guestfs() -> None:
    if importlib.util.find_spec("guestfs") is None:
        pytest.skip("the module guestfs (python3-guestfs) cannot be imported")


def unpacked(corpus: Path, name: str, directory: Path) -> Path:
    """Return a disk of the corpus, decompressed into `directory`."""
    needs("zstd")
    run("zstd", "-dqf", corpus / f"{name}.zst", "-o", directory / name)
    return directory / name
