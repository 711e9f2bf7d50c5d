"""Small ELF files for tests: real headers, segments, dynamic and section tables around contents of one's choice."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

BASE = 0x400000
DATA = 0x800000

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _SONAME, _FLAGS_1 = 1, 5, 14, 0x6FFFFFFB


def make_elf(
    *,
    kind: int = 3,
    bits: int = 64,
    little: bool = True,
    interpreter: str = "",
    needed: Sequence[str] = (),
    soname: str = "",
    pie: bool = False,
    sections: Mapping[str, bytes] | None = None,
    data: bytes = b"",
    data_at: int = DATA,
) -> bytes:
    """Return an ELF file; all of it is loaded at `BASE`, and `data` writable at `data_at`."""
    order, wide = "<" if little else ">", bits == 64
    head = struct.Struct(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"))
    phdr = struct.Struct(order + ("IIQQQQQQ" if wide else "8I"))
    shdr = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
    dyn = struct.Struct(order + ("qQ" if wide else "iI"))
    blob = bytearray(16 + head.size + 4 * phdr.size)

    def put(content: bytes) -> int:
        blob.extend(bytes(-len(blob) % 16))
        at = len(blob)
        blob.extend(content)
        return at

    segments: list[tuple[int, int, int, int, int]] = []  # type, flags, offset, address, size
    if interpreter:
        text = interpreter.encode() + b"\0"
        at = put(text)
        segments.append((_INTERP, 4, at, BASE + at, len(text)))
    if needed or soname or pie:
        strings, tags = bytearray(b"\0"), []
        for tag, name in [*((_NEEDED, n) for n in needed), *([(_SONAME, soname)] if soname else [])]:
            tags.append((tag, len(strings)))
            strings += name.encode() + b"\0"
        tags += [(_STRTAB, BASE + put(bytes(strings)))] + ([(_FLAGS_1, 0x08000000)] if pie else []) + [(0, 0)]
        table = b"".join(dyn.pack(*tag) for tag in tags)
        at = put(table)
        segments.append((_DYNAMIC, 6, at, BASE + at, len(table)))
    rows = [(0, 0, 0, 0, 0)]  # name, type, address, offset, size
    names = bytearray(b"\0")
    for name, content in (sections or {}).items():
        at = put(content)
        rows.append((len(names), 1, BASE + at, at, len(content)))
        names += name.encode() + b"\0"
    if data:
        at = put(data)
        segments.insert(0, (_LOAD, 6, at, data_at, len(data)))
    names_at = len(names)
    names += b".shstrtab\0"
    rows.append((names_at, 3, 0, put(bytes(names)), len(names)))
    packed = b"".join(shdr.pack(n, t, 0, address, at, size, 0, 0, 1, 0) for n, t, address, at, size in rows)
    shoff = put(packed)
    segments.insert(0, (_LOAD, 4, 0, BASE, len(blob)))
    blob[:16] = b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2, 1]) + bytes(9)
    machine = 62 if wide else 3
    blob[16 : 16 + head.size] = head.pack(
        kind, machine, 1, BASE, 16 + head.size, shoff, 0, 16 + head.size, phdr.size, len(segments), shdr.size,
        len(rows), len(rows) - 1,
    )  # fmt: skip
    for number, (what, flags, at, address, size) in enumerate(segments):
        place = 16 + head.size + number * phdr.size
        row = (what, flags, at, address, address, size, size, 16) if wide else (
            what, at, address, address, size, size, flags, 16)  # fmt: skip
        blob[place : place + phdr.size] = phdr.pack(*row)
    return bytes(blob)


def mutated(data: bytes, numbers: Sequence[int]) -> bytes:
    """Return the bytes with some changed: pairs of a place and a value; an odd number at the end cuts there."""
    changed = bytearray(data)
    for at, value in zip(numbers[::2], numbers[1::2], strict=False):
        changed[at % len(changed)] = value % 256
    return bytes(changed[: numbers[-1] % len(changed)] if len(numbers) % 2 else changed)
