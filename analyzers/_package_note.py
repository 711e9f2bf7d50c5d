"""What a distribution or a builder wrote into an ELF file about the package it was built as.

The note is that of systemd.io/ELF_PACKAGE_METADATA: owner `FDO`, type 0xcafe1a7e, JSON with name and version, in
the section `.note.package`.
"""

from __future__ import annotations

import json
import struct

import msgspec

_TYPE = 0xCAFE1A7E


class PackageNote(msgspec.Struct, frozen=True):
    """The package that a binary was built as: `kind` is deb, rpm, …"""

    kind: str
    name: str
    version: str


def parse_note(data: bytes, little: bool) -> PackageNote | None:
    r"""Read the notes of a section; None where none of them is the package's.

    >>> text = b'{"type":"rpm","name":"hello","version":"2.10-1.fc39"}\0'
    >>> parse_note(struct.pack("<III", 4, len(text), 0xCAFE1A7E) + b"FDO\0" + text, True)
    PackageNote(kind='rpm', name='hello', version='2.10-1.fc39')
    """
    head = struct.Struct("<III" if little else ">III")
    at = 0
    while at + head.size <= len(data):
        owner, size, kind = head.unpack_from(data, at)
        name_at = at + head.size
        text_at = name_at + (owner + 3) // 4 * 4
        if kind == _TYPE and data[name_at : name_at + owner] == b"FDO\0":
            return _parse(data[text_at : text_at + size])
        at = text_at + (size + 3) // 4 * 4
    return None


def _parse(text: bytes) -> PackageNote | None:
    try:
        found = json.loads(text.rstrip(b"\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    kind, name, version = (found.get(key, "") for key in ("type", "name", "version"))
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(version, str) and name):
        return None
    return PackageNote(kind, name, version)
