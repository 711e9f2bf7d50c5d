"""Reading ELF files with pyelftools; the one module of the analyzers that knows that library."""

from __future__ import annotations

import io

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.constants import E_FLAGS
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

# e_machine (elf.h) → (name on little-endian, name on big-endian): Debian's names, but ppc64le as the kernel
# and container images call it.
_MACHINES = {
    "EM_X86_64": ("amd64", ""),
    "EM_AARCH64": ("arm64", "arm64be"),
    "EM_386": ("i386", ""),
    "EM_ARM": ("armel", "armeb"),
    "EM_S390": ("", "s390x"),
    "EM_PPC64": ("ppc64le", "ppc64"),
    "EM_PPC": ("powerpcel", "powerpc"),
    "EM_RISCV": ("riscv64", ""),
    "EM_MIPS": ("mipsel", "mips"),
    "EM_SPARCV9": ("", "sparc64"),
    "EM_SPARC": ("", "sparc"),
    "EM_IA_64": ("ia64", ""),
    "EM_LOONGARCH": ("loong64", ""),
    "EM_PARISC": ("", "hppa"),
    "EM_68K": ("", "m68k"),
    "EM_ALPHA": ("alpha", ""),
}

# What pyelftools raises on a hostile file: its own errors, and those of the struct and index
# arithmetic it does on the file's numbers (seen with hypothesis on cut and changed headers).
_BROKEN = (ELFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, UnicodeError,
           AssertionError, MemoryError, RecursionError, OSError, ArithmeticError)  # fmt: skip


_MAX_SEGMENTS = 1024  # the kernel maps no more than 64 KiB of them, binfmt_elf.c


class Elf(msgspec.Struct, frozen=True):
    """What is read of an ELF file: `machine` as Debian names it, DT_NEEDED, and DT_RUNPATH or DT_RPATH's parts."""

    machine: str
    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str = ""


def is_elf(head: bytes) -> bool:
    """Tell whether the first bytes of a file are ELF's."""
    return head.startswith(b"\x7fELF")


def machine_name(elf: ELFFile) -> str:
    """Return the architecture's name, or `unknown (EM_…)`."""
    kind = str(elf.header["e_machine"])
    little, big = _MACHINES.get(kind, ("", ""))
    if kind == "EM_X86_64" and elf.elfclass == 32:
        return "x32"
    if kind == "EM_S390" and elf.elfclass == 32:
        return "s390"
    if kind == "EM_RISCV" and elf.elfclass == 32:
        return "riscv32"
    if kind == "EM_MIPS" and elf.elfclass == 64:
        return "mips64el" if elf.little_endian else "mips64"
    if kind == "EM_ARM" and elf.little_endian and elf.header["e_flags"] & E_FLAGS.EF_ARM_ABI_FLOAT_HARD:
        return "armhf"
    return (little if elf.little_endian else big) or f"unknown ({kind})"


def read_elf(data: bytes) -> Elf:
    """Read an ELF file (ELF specification 1.2, gABI). Raises ValueError where it is none or is broken."""
    if not is_elf(data):
        raise ValueError("not an ELF file")
    try:
        elf = ELFFile(io.BytesIO(data))
        machine = machine_name(elf)
        needed: list[str] = []
        runpath: list[str] = []
        interpreter = ""
        seen: set[type] = set()
        count, size = elf.num_segments(), elf.header["e_phentsize"]
        # 128 bytes that claim 2³² program headers of no size would be read for hours; gABI, "Program Header".
        if count > _MAX_SEGMENTS or (count and size != (56 if elf.elfclass == 64 else 32)):
            raise ValueError(f"{count} program headers of {size} bytes")
        for segment in elf.iter_segments():
            if type(segment) in seen:  # the loader reads the first of each kind
                continue
            seen.add(type(segment))
            if isinstance(segment, InterpSegment):
                interpreter = str(segment.get_interp_name())
            elif isinstance(segment, DynamicSegment):
                _read_dynamic(segment, needed, runpath)
        return Elf(machine, tuple(needed), tuple(runpath), interpreter)
    except _BROKEN as error:
        raise ValueError(f"a broken ELF file ({str(error) or type(error).__name__})") from error


def _read_dynamic(dynamic: DynamicSegment, needed: list[str], runpath: list[str]) -> None:
    for tag in dynamic.iter_tags():
        if tag.entry.d_tag == "DT_NEEDED":
            needed.append(str(getattr(tag, "needed", "")))
        elif tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
            text = getattr(tag, "runpath", None) or getattr(tag, "rpath", "")
            runpath.extend(part for part in str(text).split(":") if part)
