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
from collections.abc import Callable

import msgspec

from migrate.guest.tree import decode
from migrate.text import show

HEAD = 1 << 20
"""How many bytes from the start `read_header` needs to see all there is to see."""

_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE = 0x44415441
_EXTENT_LINE = re.compile(r"^[ \t]*(?:RW|RDONLY|NOACCESS)\b.*$", re.MULTILINE | re.IGNORECASE)
_EXTENT = re.compile(r'[ \t]*(RW|RDONLY)[ \t]+(\d{1,15})[ \t]+(\w+)[ \t]+"([^"\r\n]*)"(?:[ \t]+(\d{1,15}))?')
_CID = re.compile(r"^[ \t]*(parentCID|CID)[ \t]*=[ \t]*([0-9a-fA-F]{1,8})\b", re.MULTILINE)
_FLAT = frozenset({"FLAT", "VMFS"})
_SPARSE = frozenset({"SPARSE", "VMFSSPARSE", "SESPARSE"})
_MAX_SNAPSHOTS, _MAX_TABLE = 65536, 64 << 20  # QEMU, block/qcow2.h: QCOW_MAX_SNAPSHOTS, QCOW_MAX_SNAPSHOTS_SIZE
_MAX_EXTENTS = 4096
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


class Extent(msgspec.Struct, frozen=True):
    """A piece of a VMDK, as its descriptor says: so many sectors of 512 bytes in a file named beside it.

    `offset` is where they start in the file, in sectors; only a flat one has that.
    """

    sectors: int
    kind: str
    name: str
    offset: int = 0

    @property
    def is_flat(self) -> bool:
        """Tell whether the file holds the sectors as they are."""
        return self.kind in _FLAT


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of itself.

    `format` is qemu's name of it. `backing` is the image it is a change to and `backing_format` that one's
    format, where it says. `data_file` is the file that holds a qcow2's content, byte for byte as the guest sees it
    with `data_file_raw`; `extents` are the files that hold a VMDK's, and `cids` its identity and its parent's. All
    as written in the image. `snapshots` is where the table of a qcow2's internal snapshots is, and of how many.
    `virtual_bytes` is the size of the disk where a qcow2 or fixed VHD says it, otherwise 0. `differencing` is True
    for a VHD that holds the changes to a parent. `odd` is what to tell of it, if it can be read.
    `refused` says why it cannot be read, where that is clear from the header alone.
    """

    format: str
    backing: str | None = None
    backing_format: str = ""
    data_file: str | None = None
    data_file_raw: bool = False
    extents: tuple[Extent, ...] = ()
    cids: tuple[str, str] = ("fffffffe", "ffffffff")
    snapshots: tuple[int, int] = (0, 0)
    virtual_bytes: int = 0
    differencing: bool = False
    encrypted: bool = False
    odd: str = ""
    refused: str = ""

    @property
    def others(self) -> tuple[str, ...]:
        """The files, besides those it is based on, that hold its content."""
        names = [extent.name for extent in self.extents]
        return tuple(dict.fromkeys([*names, *([] if self.data_file is None else [self.data_file])]))


def read_header(head: bytes, tail: bytes = b"", size: int = 0) -> Header:
    """Read the start of an image (up to HEAD bytes). No bytes raise; what is not known is raw.

    A fixed VHD is told by its last 512 bytes, `tail`, and by its size in bytes.
    """
    try:
        header = _read(head)
    except (struct.error, IndexError):
        return Header(format="raw", refused="its header is cut short")
    if header.format == "raw" and _is_footer(tail, size):
        return Header(format="vpc", virtual_bytes=size - 512)
    return header


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
    virtual_bytes, crypt = struct.unpack_from(">QI", head, 24)
    count, table = struct.unpack_from(">IQ", head, 60)
    incompatible, autoclear, start = 0, 0, 72
    if version == 3:
        incompatible, autoclear, start = struct.unpack_from(">Q8xQ4xI", head, 72)
    extensions = _extensions(head, start)
    data_file = extensions.get(_DATA_FILE) if incompatible & 4 else None
    if incompatible & 4 and data_file is None:
        return Header(format="qcow2", refused="its content is in an external file that it does not name")
    return Header(
        format="qcow2",
        backing=backing,
        backing_format=decode(extensions.get(_BACKING_FORMAT, b"")),
        data_file=None if data_file is None else decode(data_file),
        data_file_raw=bool(autoclear & 2),
        snapshots=(table, count),
        virtual_bytes=virtual_bytes,
        encrypted=crypt != 0,
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
        return Header(format="vmdk", odd="it has no descriptor: it may be one of several parts of a disk")
    capacity, _grain, offset, size = struct.unpack_from("<12xQQQQ", head)
    descriptor = head[offset * 512 : (offset + size) * 512]
    if capacity == 0:  # qemu takes such a file for a descriptor alone, block/vmdk.c: vmdk_open_vmdk4
        return _vmdk_descriptor(descriptor)
    is_whole = offset and descriptor.strip(b"\0")
    refused = "" if is_whole else "it is a part of a disk; give the descriptor, the small file that names all its parts"
    return msgspec.structs.replace(_vmdk_descriptor(descriptor), extents=(), refused=refused)


def _vmdk_descriptor(head: bytes) -> Header:
    text = decode(head.split(b"\0")[0])
    extents, refused = _extents(text)
    parent = _PARENT.search(text)
    cids: dict[str, str] = dict(_CID.findall(text))
    return Header(
        format="vmdk",
        backing=parent[1] if parent else None,
        backing_format="vmdk" if parent else "",
        extents=extents,
        cids=(cids.get("CID", "fffffffe"), cids.get("parentCID", "ffffffff")),
        refused=refused,
    )


def _extents(text: str) -> tuple[tuple[Extent, ...], str]:
    """Return a VMDK's extents, and why they are not to be read. qemu passes silently over what it does not know."""
    found: list[Extent] = []
    for line in _EXTENT_LINE.findall(text):
        match = _EXTENT.match(line)
        kind = "" if match is None else match[3]
        if match is None or kind not in _FLAT | _SPARSE or (kind == "FLAT" and match[5] is None) or not int(match[2]):
            return (), f"its descriptor has a line that is not understood: {show(line.strip()[:200])}"
        offset = int(match[5] or 0) if kind in _FLAT else 0
        found.append(Extent(int(match[2]), kind, match[4], offset))
        if len(found) > _MAX_EXTENTS:
            return (), f"its descriptor names more than {_MAX_EXTENTS} files"
    return tuple(found), "" if found else "its descriptor names no file that holds the disk's content"


def _vhd(head: bytes) -> Header:
    (kind,) = struct.unpack_from(">I", head, 60)
    return Header(format="vpc", differencing=kind == 4)


def _is_footer(tail: bytes, size: int) -> bool:
    """Tell the footer of a fixed VHD, whose disk is all that is before it."""
    if len(tail) != 512 or not tail.startswith(b"conectix"):
        return False
    disk, kind, checksum = struct.unpack_from(">Q4xII", tail, 48)
    return bool(kind == 2 and disk == size - 512 and checksum == ~(sum(tail) - sum(tail[64:68])) & 0xFFFFFFFF)


class Snapshot(msgspec.Struct, frozen=True):
    """An internal snapshot of a qcow2; `virtual_bytes` is how large the disk was then."""

    id: str
    name: str
    virtual_bytes: int


def read_snapshots(read: Callable[[int, int], bytes], header: Header) -> tuple[Snapshot, ...]:
    """Read a qcow2's table of snapshots (docs/interop/qcow2.txt, "Snapshots") by its `read(offset, length)`.

    Raises ValueError where it is damaged.
    """
    start, count = header.snapshots
    at = start
    if count > _MAX_SNAPSHOTS:
        raise ValueError(f"it says that it has {count} snapshots")
    found = []
    for _ in range(count):
        fixed = read(at, 40)
        if len(fixed) < 40:
            raise ValueError("its table of snapshots is cut short")
        id_length, name_length, extra = struct.unpack_from(">12xHH20xI", fixed)
        if extra > 1024 or at - start > _MAX_TABLE:
            raise ValueError("its table of snapshots is damaged")
        rest = read(at + 40, extra + id_length + name_length)
        if len(rest) < extra + id_length + name_length:
            raise ValueError("its table of snapshots is cut short")
        size = struct.unpack_from(">8xQ", rest)[0] if extra >= 16 else header.virtual_bytes
        text = rest[extra:]
        found.append(Snapshot(decode(text[:id_length]), decode(text[id_length:]), size))
        at += (40 + len(rest) + 7) // 8 * 8
    return tuple(found)


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
