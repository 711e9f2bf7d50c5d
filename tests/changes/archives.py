"""Packages' archives made for tests: by hand, byte for byte, and with the formats' own programs where they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd program")


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstd,
}
PACKED = [pytest.param(name, marks=needs_zstd if name == "zstd" else ()) for name in PACKERS]


def tar(files: Mapping[str, bytes], *, end: bool = True) -> bytes:
    """A tar of regular files in order; without its end mark where it is to be followed by another."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        length = archive.offset
    return out.getvalue() if end else out.getvalue()[:length]


def ar(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name.encode(), 0, 0, 0, 0o100644, len(data))
        out += data + b"\n" * (len(data) % 2)
    return out


def deb(files: Mapping[str, bytes], packed: str = "xz") -> bytes:
    """A Debian package by hand (deb(5))."""
    ending = {"none": "", "gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "lzma": ".lzma", "zstd": ".zst"}[packed]
    control = gzip.compress(tar({"./control": b"Package: x\n"}), mtime=0)
    return ar({
        "debian-binary": b"2.0\n", "control.tar.gz": control, f"data.tar{ending}": PACKERS[packed](tar(files)),
    })  # fmt: skip


def apk(files: Mapping[str, bytes]) -> bytes:
    """A package of apk 2: three gzip streams, of which the first two tars have no end."""
    parts = (
        tar({".SIGN.RSA.x.pub": b"x" * 256}, end=False), tar({".PKGINFO": b"pkgname = x\n"}, end=False), tar(files),
    )  # fmt: skip
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def cpio(files: Mapping[str, bytes], inodes: Mapping[str, int] | None = None) -> bytes:
    """A cpio archive in the new ASCII form; names of one inode are links of one file."""
    numbers = dict(inodes or {})
    out = b""
    for at, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        inode = numbers.get(name, at + 1000)
        links = max(1, sum(1 for each in numbers.values() if each == inode))
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        fields = (inode, 0o100644, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return out


def rpm_header(tags: int, data: bytes) -> bytes:
    return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", tags, len(data)) + bytes(16 * tags) + data


def rpm(files: Mapping[str, bytes], packed: str = "xz", inodes: Mapping[str, int] | None = None) -> bytes:
    """An rpm package by hand: lead, signature (filled up to 8 bytes), header, payload."""
    lead = b"\xed\xab\xee\xdb\3\0\0\0\0\1" + b"x-1-1".ljust(66, b"\0") + b"\0\1\0\5" + bytes(16)
    signature = rpm_header(2, b"abcde")
    payload = PACKERS[packed](cpio(files, inodes))
    return lead + signature + b"\0" * (-len(signature) % 8) + rpm_header(3, b"0123456789") + payload


def real_deb(folder: Path, files: Mapping[str, bytes], packed: str) -> bytes:
    """What dpkg-deb(1) builds."""
    root = folder / "deb"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: orders\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n"
    )
    for name, data in files.items():
        path = root / name.lstrip("./")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    out = folder / "orders.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{packed}", "--build", str(root), str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    return out.read_bytes()


SPEC = """
Name: orders
Version: 1.0
Release: 1
Summary: x
License: x
BuildArch: noarch
%description
x
%install
mkdir -p %{buildroot}/etc
cp SOURCE/* %{buildroot}/etc/
ln %{buildroot}/etc/orders.conf %{buildroot}/etc/orders.link
%files
%config(noreplace) /etc/*
"""


def real_rpm(folder: Path, files: Mapping[str, bytes], payload: str) -> bytes:
    """What rpmbuild(8) builds of files in /etc; `payload` as the macro _binary_payload has it."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name, data in files.items():
        (source / name).write_bytes(data)
    spec = folder / "orders.spec"
    spec.write_text(SPEC.replace("SOURCE", str(source)))
    subprocess.run(
        ["rpmbuild", "-bb", "--define", f"_topdir {folder}/top", "--define", f"_binary_payload {payload}", str(spec)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next((folder / "top" / "RPMS").glob("*/*.rpm")).read_bytes()
