"""What stands in an ELF file's headers, read from the parts that are needed (ELF specification 1.2, gABI).

pyelftools trusts a file's counts: 128 bytes that speak of 2^32 program headers of size 0 keep it busy for nine hours
(7 µs each, measured with 300,000 of them). Here every count has a bound, and a file that is too big for memory will do.
"""

from __future__ import annotations

import struct
from typing import IO, Final

import msgspec

from analyzers._opened import piece

_MAX_SEGMENTS = 1024
_MAX_SECTIONS = 20_000  # a kernel image has 80; what has more is no program
_MAX_NAMES = 4 << 20
_MAX_DYNAMIC = 1 << 16
_MAX_STRING = 4096

_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _SONAME, _FLAGS_1 = 1, 5, 14, 0x6FFFFFFB
_PIE = 0x08000000  # DF_1_PIE
_NOBITS: Final = 8
_WRITABLE = 2

EXECUTABLE, SHARED = 2, 3
"""e_type: ET_EXEC and ET_DYN."""


class Section(msgspec.Struct, frozen=True):
    """A section: where it is in the file and in memory."""

    name: str
    offset: int
    address: int
    size: int


class Segment(msgspec.Struct, frozen=True):
    """A part of the file that is loaded at `address`."""

    offset: int
    address: int
    size: int
    writable: bool


class Headers(msgspec.Struct, frozen=True):
    """What an ELF file says of itself. `kind` is e_type; without an `interpreter` and `needed` it is static."""

    kind: int
    little: bool
    bits: int
    sections: tuple[Section, ...] = ()
    segments: tuple[Segment, ...] = ()
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    pie: bool = False

    @property
    def is_program(self) -> bool:
        """Tell whether it is to be run, not to be linked with or loaded by another."""
        if self.kind == EXECUTABLE:
            return True
        return self.kind == SHARED and (self.pie or (bool(self.interpreter) and not self.soname))

    def section(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def offset(self, address: int) -> tuple[int, int] | None:
        """Return where an address is in the file, and how many bytes of its segment follow; None where nowhere."""
        for part in self.segments:
            if part.address <= address < part.address + part.size:
                inside = address - part.address
                return part.offset + inside, part.size - inside
        return None


class _Layout:
    """The forms of the tables for one class and byte order."""

    def __init__(self, little: bool, bits: int) -> None:
        order = "<" if little else ">"
        wide = bits == 64
        self.wide = wide
        self.header = struct.Struct(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"))
        self.program = struct.Struct(order + ("IIQQQQQQ" if wide else "8I"))
        self.section = struct.Struct(order + ("IIQQQQIIQQ" if wide else "10I"))
        self.dynamic = struct.Struct(order + ("qQ" if wide else "iI"))


def read_headers(file: IO[bytes]) -> Headers:
    """Read an ELF file's headers. Raises ValueError where it is none or is cut in its tables."""
    ident = piece(file, 0, 16)
    if len(ident) < 16 or not ident.startswith(b"\x7fELF") or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise ValueError("not an ELF file")
    little, bits = ident[5] == 1, 32 * ident[4]
    layout = _Layout(little, bits)
    head = piece(file, 16, layout.header.size)
    if len(head) < layout.header.size:
        raise ValueError("an ELF file that ends in its header")
    fields = layout.header.unpack(head)
    kind, phoff, shoff, phentsize, phnum, shentsize, shnum, shstrndx = fields[0], *fields[4:6], *fields[8:13]
    programs = _programs(file, layout, phoff, phentsize, phnum)
    loads = tuple(Segment(p[1], p[2], p[3], bool(p[4] & _WRITABLE)) for p in programs if p[0] == _LOAD)
    headers = Headers(kind, little, bits, _sections(file, layout, shoff, shentsize, shnum, shstrndx), loads)
    needed: tuple[str, ...] = ()
    interpreter, soname, flags = "", "", 0
    if at := next((p for p in programs if p[0] == _INTERP), None):
        interpreter = _string(file, at[1])
    if at := next((p for p in programs if p[0] == _DYNAMIC), None):
        needed, soname, flags = _dynamic(file, layout, headers, at[1], at[3])
    return msgspec.structs.replace(
        headers, interpreter=interpreter, needed=needed, soname=soname, pie=bool(flags & _PIE)
    )


def section_data(file: IO[bytes], headers: Headers, name: str, limit: int) -> bytes | None:
    """Return the first `limit` bytes of a section, or None where there is none of that name."""
    section = headers.section(name)
    return None if section is None else piece(file, section.offset, min(section.size, limit))


def _programs(
    file: IO[bytes], layout: _Layout, offset: int, size: int, count: int
) -> list[tuple[int, int, int, int, int]]:
    """Return (type, offset, address, size in the file, flags) of the program headers."""
    if count == 0:
        return []
    if size != layout.program.size:
        raise ValueError(f"an ELF file with program headers of {size} bytes")
    data = piece(file, offset, size * min(count, _MAX_SEGMENTS))
    found = []
    for at in range(0, len(data) - size + 1, size):
        part = layout.program.unpack_from(data, at)
        if layout.wide:
            found.append((part[0], part[2], part[3], part[5], part[1]))
        else:
            found.append((part[0], part[1], part[2], part[4], part[6]))
    if not found:
        raise ValueError("an ELF file that ends before its program headers")
    return found


def _sections(
    file: IO[bytes], layout: _Layout, offset: int, size: int, count: int, names_at: int
) -> tuple[Section, ...]:
    """Return the sections; none where the table is not there: no program needs it to run, and it can be cut off."""
    if size != layout.section.size or not 0 < count <= _MAX_SECTIONS:
        return ()
    data = piece(file, offset, size * count)
    rows = [layout.section.unpack_from(data, at) for at in range(0, len(data) - size + 1, size)]
    if names_at >= len(rows):
        return ()
    names = piece(file, rows[names_at][4], min(rows[names_at][5], _MAX_NAMES))
    found = []
    for row in rows:
        if row[1] != _NOBITS and row[5]:
            end = names.find(b"\0", row[0], row[0] + _MAX_STRING)
            found.append(Section(names[row[0] : max(end, row[0])].decode("latin-1"), row[4], row[3], row[5]))
    return tuple(found)


def _dynamic(
    file: IO[bytes], layout: _Layout, headers: Headers, offset: int, size: int
) -> tuple[tuple[str, ...], str, int]:
    """Return DT_NEEDED, DT_SONAME and DT_FLAGS_1."""
    data = piece(file, offset, min(size, _MAX_DYNAMIC))
    step = layout.dynamic.size
    tags = [layout.dynamic.unpack_from(data, at) for at in range(0, len(data) - step + 1, step)]
    end = next((number for number, (tag, _) in enumerate(tags) if tag == 0), len(tags))
    tags = tags[:end]
    at = headers.offset(next((value for tag, value in tags if tag == _STRTAB), -1))
    flags = next((value for tag, value in tags if tag == _FLAGS_1), 0)
    if at is None:
        return (), "", flags
    needed = [_string(file, at[0] + value) for tag, value in tags if tag == _NEEDED]
    soname = next((_string(file, at[0] + value) for tag, value in tags if tag == _SONAME), "")
    return tuple(name for name in dict.fromkeys(needed) if name), soname, flags


def _string(file: IO[bytes], offset: int) -> str:
    text, end, _ = piece(file, offset, _MAX_STRING).partition(b"\0")
    return text.decode("utf-8", "surrogateescape") if end else ""
