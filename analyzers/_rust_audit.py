"""What a Rust binary says of its crates.

`.dep-v0` is cargo-auditable's section: zlib-compressed JSON with every crate (github.com/rust-secure-code/
cargo-auditable, PARSING.md; cargo-auditable.schema.json). A binary without one still names, in the messages of its
panics, the source files of those crates that can panic: `…/registry/src/INDEX/NAME-VERSION/src/lib.rs`.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import IO, Literal

import msgspec

from analyzers._elf_sections import Headers, section_data
from analyzers._opened import piece

_MAX_PACKED = 4 << 20
_MAX_JSON = 8 << 20  # of 300 crates it is 30 KiB
_MAX_CRATES = 20_000
_STEP = 8 << 20
_OVERLAP = 512

# Cargo's registry (doc.rust-lang.org/cargo/guide/cargo-home.html), and Debian's (/usr/share/cargo/registry).
_SEMVER = rb"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][0-9A-Za-z.+-]{1,60})?"
_SOURCE = re.compile(
    rb"/registry/(?:src/[0-9A-Za-z._-]{1,80}-[0-9a-f]{16}/)?([0-9A-Za-z_-]{1,64}?)-("
    + _SEMVER
    + rb")/(?:src/|[a-z_]+\.rs)"
)
_COMPILER = re.compile(rb"rustc version ([0-9][0-9A-Za-z.+-]{0,60})")
_LIBRARY = re.compile(rb"/(?:rustc/[0-9a-f]{40}|rustc-([0-9][0-9.]{0,20})[^/\0]{0,20})/library/")


class Crate(msgspec.Struct, frozen=True, order=True):
    """A crate; `source` is cargo-auditable's word: crates.io, git, local, registry, or nothing."""

    name: str
    version: str
    source: str = ""
    root: bool = False


class Rust(msgspec.Struct, frozen=True):
    """`compiler` is rustc's version, or nothing. `crates` are all where `complete`, else those that panics name."""

    compiler: str
    crates: tuple[Crate, ...]
    complete: bool
    broken: str = ""
    section: Literal[".dep-v0", ".comment", ".rodata"] = ".rodata"

    @property
    def root(self) -> Crate | None:
        """The crate that the program is of."""
        return next((crate for crate in self.crates if crate.root), None)


def parse_audit(data: bytes) -> tuple[Crate, ...]:
    """Read a `.dep-v0` section. Raises ValueError where it is not one, or would be more than 8 MiB of text."""
    machine = zlib.decompressobj()
    try:
        text = machine.decompress(data, _MAX_JSON)
    except zlib.error as error:
        raise ValueError(f"its list of crates is not zlib's ({error})") from error
    if machine.unconsumed_tail:
        raise ValueError(f"its list of crates is more than {_MAX_JSON} bytes of text")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its list of crates is no JSON ({type(error).__name__})") from error
    packages = document.get("packages") if isinstance(document, dict) else None
    if not isinstance(packages, list):
        raise ValueError("its list of crates has no packages")  # noqa: TRY004  # of the file, not of an argument
    return tuple(dict.fromkeys(crate for each in packages[:_MAX_CRATES] if (crate := _crate(each)) is not None))


def _crate(row: object) -> Crate | None:
    """Return one entry; crates that were only used to build are not in the binary."""
    if not isinstance(row, dict) or row.get("kind", "runtime") == "build":
        return None
    name, version, source = row.get("name"), row.get("version"), row.get("source", "")
    if not isinstance(name, str) or not isinstance(version, str) or not name:
        return None
    return Crate(name, version, source if isinstance(source, str) else "", row.get("root") is True)


def read_rust(file: IO[bytes], headers: Headers) -> Rust | None:
    """Return what an ELF file says of its crates, or None where rustc did not make it."""
    audit = section_data(file, headers, ".dep-v0", _MAX_PACKED)
    comment = _COMPILER.search(section_data(file, headers, ".comment", 1 << 16) or b"")
    compiler = comment[1].decode("ascii") if comment else ""
    broken = ""
    if audit is not None:
        try:
            return Rust(compiler, parse_audit(audit), complete=True, section=".dep-v0")
        except ValueError as error:
            broken = str(error)
    crates, found = _panics(file, headers)
    if not compiler and found is None and audit is None:
        return None
    return Rust(
        compiler or found or "", crates, complete=False, broken=broken, section=".comment" if comment else ".rodata"
    )


def _panics(file: IO[bytes], headers: Headers) -> tuple[tuple[Crate, ...], str | None]:
    """Return the crates that panics name, and the compiler's version (empty: not said) where its library is named."""
    section = headers.section(".rodata")
    crates: set[Crate] = set()
    library: str | None = None
    for start in range(0, min(section.size, 1 << 30) if section else 0, _STEP):
        data = piece(file, (section.offset if section else 0) + start, _STEP + _OVERLAP)
        if not data:
            break
        if b"/library/" in data and (match := _LIBRARY.search(data)):
            library = library or (match[1] or b"").decode("ascii")
        for match in _SOURCE.finditer(data):
            if len(crates) < _MAX_CRATES:
                crates.add(Crate(match[1].decode("ascii"), match[2].decode("ascii")))
    return tuple(sorted(crates)), library
