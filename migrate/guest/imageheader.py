"""What a disk image's first bytes say: its format, and which other files of the host it names. Pure.

qemu opens the files that an image names before anything can be asked about it (`qemu-img info` on a VMDK
whose descriptor has `FLAT "/etc/shadow"` opens that), so they are read here first.

Formats: qcow and qcow2 (QEMU, docs/interop/qcow2.txt), QED (docs/interop/qed_spec.txt), VMDK (VMware, Virtual
Disk Format 5.0), VHD (Microsoft, Virtual Hard Disk Image Format Specification), VHDX ([MS-VHDX]), VDI.
"""

from __future__ import annotations

import codecs
import re
import struct

import msgspec

from migrate.guest.tree import decode

HEAD = 1 << 20
"""How many bytes from the start `read_header` needs to see all there is to see."""

_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE = 0x44415441
_EXTENT = re.compile(r'^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)\s+"([^"\r\n]*)"', re.MULTILINE)
# As qemu knows it, block/vmdk.c: vmdk_probe: comments and empty lines, then the version.
_DESCRIPTOR = re.compile(rb"# Disk DescriptorFile|(?:#[^\n]*\n|[ \r]*\n)*+[ ]*version=\d")
_PARENT = re.compile(r'^\s*parentFileNameHint\s*=\s*"([^"\r\n]*)"', re.MULTILINE)
_OTHER = {
    b"PK\x03\x04": "a zip archive; unpack it and give the disk in it",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and give the disk in it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it and give the disk in it",
    b"\x04\x22\x4d\x18": "compressed with lz4; decompress it first",
    b"\x7fELF": "a program, not a disk image",
    b"EVF\x09\x0d\x0a\xff\x00": "an EnCase image (E01); make a raw image of it with ewfexport",
    b"MSWIM\x00\x00\x00": "a Windows image (WIM), not a disk image",
    b"VMA\x00": "a Proxmox backup (VMA); unpack it with `vma extract`",
}


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of itself.

    `format` is qemu's name of it. `backing` is the image it is a change to and `backing_format` that one's
    format, where it says; `others` are further files that hold its content. All as written in the image.
    `refused` says why it cannot be read, where that is clear from the header alone.
    """

    format: str
    backing: str | None = None
    backing_format: str = ""
    others: tuple[str, ...] = ()
    encrypted: bool = False
    refused: str = ""


def read_header(head: bytes) -> Header:
    """Read the start of an image (up to HEAD bytes). No bytes raise; what is not known is raw."""
    try:
        return _read(head)
    except (struct.error, IndexError):
        return Header(format="raw", refused="its header is cut short")


def _read(head: bytes) -> Header:
    if head.startswith(b"QFI\xfb"):
        return _qcow(head)
    if head.startswith(b"QED\0"):
        return _qed(head)
    if head.startswith((b"KDMV", b"COWD")):
        return _sparse_vmdk(head)
    if _DESCRIPTOR.match(head):
        return _vmdk_descriptor(head)
    if head.startswith(b"conectix"):
        return _vhd(head)
    if head.startswith(b"vhdxfile"):
        return Header(format="vhdx")
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return Header(format="vdi")
    known = next((says for magic, says in _OTHER.items() if head.startswith(magic)), "")
    return Header(format="raw", refused=f"it is {known}" if known else "")


def _qcow(head: bytes) -> Header:
    version, offset, length = struct.unpack_from(">IQI", head, 4)
    backing = _text(head, offset, length) if offset else None
    if version == 1:
        return Header(format="qcow", backing=backing, encrypted=struct.unpack_from(">I", head, 36)[0] != 0)
    if version not in {2, 3}:
        return Header(format="qcow2", refused=f"it is qcow2 of version {version}, which is not known")
    encrypted = struct.unpack_from(">I", head, 32)[0] != 0
    incompatible, start = 0, 72
    if version == 3:
        incompatible, start = struct.unpack_from(">Q20xI", head, 72)
    extensions = _extensions(head, start)
    data_file = extensions.get(_DATA_FILE)
    if incompatible & 4 and data_file is None:
        return Header(format="qcow2", refused="its content is in an external file that it does not name")
    return Header(
        format="qcow2",
        backing=backing,
        backing_format=decode(extensions.get(_BACKING_FORMAT, b"")),
        others=() if data_file is None else (decode(data_file),),
        encrypted=encrypted,
    )


def _extensions(head: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0 or length > len(head):
            break
        found[kind] = head[at + 8 : at + 8 + length]
        at += 8 + (length + 7) // 8 * 8
    return found


def _qed(head: bytes) -> Header:
    features, offset, length = struct.unpack_from("<16xQ32xII", head)
    return Header(format="qed", backing=_text(head, offset, length) if features & 1 else None)


def _text(head: bytes, offset: int, length: int) -> str:
    text = head[offset : offset + length]
    if len(text) != length:
        raise IndexError("the name lies outside the header")
    return decode(text)


def _sparse_vmdk(head: bytes) -> Header:
    if head.startswith(b"COWD"):
        return Header(format="vmdk")
    capacity, _grain, offset, size = struct.unpack_from("<12xQQQQ", head)
    descriptor = head[offset * 512 : (offset + size) * 512]
    if capacity == 0:  # qemu takes such a file for a descriptor alone, block/vmdk.c: vmdk_open_vmdk4
        return _vmdk_descriptor(descriptor)
    parent = _PARENT.search(decode(descriptor.split(b"\0")[0]))
    return Header(format="vmdk", backing=parent[1] if parent else None, backing_format="vmdk" if parent else "")


def _vmdk_descriptor(head: bytes) -> Header:
    text = decode(head.split(b"\0")[0])
    extents = tuple(name for kind, name in _EXTENT.findall(text) if kind != "ZERO")
    parent = _PARENT.search(text)
    return Header(
        format="vmdk",
        backing=parent[1] if parent else None,
        backing_format="vmdk" if parent else "",
        others=tuple(dict.fromkeys(extents)),
    )


def _vhd(head: bytes) -> Header:
    (kind,) = struct.unpack_from(">I", head, 60)
    # qemu opens a differencing VHD as if it were whole, and what its parent holds reads as zeros.
    differs = "it is a differencing VHD: it holds only what changed since its parent; merge the two first"
    return Header(format="vpc", refused=differs if kind == 4 else "")


def looks_like_text(head: bytes) -> bool:
    """Tell whether a file's start is text: UTF-8 without control characters, NUL above all."""
    if not head or any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def partitions_end(head: bytes) -> int | None:
    """Return where the last partition of a raw disk ends, in bytes, going by its MBR or GPT; None for neither.

    UEFI 2.10, section 5: the MBR has four entries of 16 bytes at 446; a GPT header is at LBA 1. Sectors of 512.
    """
    if head[510:512] != b"\x55\xaa":
        return None
    entries = [struct.unpack_from("<B3xB3xII", head, 446 + 16 * n) for n in range(4)]
    if any(status not in {0, 0x80} for status, *_ in entries):
        return None
    if head[512:520] == b"EFI PART" and any(kind == 0xEE for _, kind, _, _ in entries):
        start, count, size = struct.unpack_from("<QII", head, 512 + 72)
        ends = []
        for n in range(min(count, 1024)):
            entry = head[start * 512 + n * size :][:48]
            if len(entry) == 48 and any(entry[:16]):
                ends.append((struct.unpack_from("<Q", entry, 40)[0] + 1) * 512)
    else:
        ends = [(first + sectors) * 512 for _, kind, first, sectors in entries if kind and kind != 0xEE and sectors]
    return max(ends, default=None)
