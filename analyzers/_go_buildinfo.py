r"""What Go's linker writes into a binary: the version of Go, the modules, how it was built.

The form is that of Go's own reader (go.dev/src/debug/buildinfo/buildinfo.go): `\xff Go buildinf:` on a boundary of
16 bytes in `.go.buildinfo` or the first writable segment; since Go 1.18 two texts follow, before that two pointers
to string headers. The second text has the lines of `go version -m` between two marks of 16 bytes.
"""

from __future__ import annotations

import re
from typing import IO, Literal

import msgspec

from analyzers._elf_sections import Headers
from analyzers._opened import piece

MAGIC = b"\xff Go buildinf:"
_ALIGN = 16
_HEADER = 32
_MAX_SEARCH = 16 << 20  # Go searches the whole data segment; the linker puts it near the beginning
_MAX_TEXT = 4 << 20  # kubelet's, with 200 modules, is 17 KiB
_MARK = 16

# -ldflags "-X main.version=v1.2.3": how most programs state their version, since a module built from a checkout
# had none before Go 1.24.
_STATED = re.compile(r"(?:^|\s)-X[\s=]+[\"']?[\w./@-]*[vV]ersion=([vV]?\d[\w.+~-]*)")


class Module(msgspec.Struct, frozen=True):
    """A module; `version` is empty for `(devel)`."""

    path: str
    version: str


class BuildInfo(msgspec.Struct, frozen=True):
    """`go` is the toolchain's version without `go`; `path` the main package's, `main` its module where there is one."""

    go: str
    path: str = ""
    main: Module | None = None
    modules: tuple[Module, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    def setting(self, key: str) -> str:
        """Return a build setting, such as vcs.revision."""
        return next((value for name, value in self.settings if name == key), "")

    @property
    def version(self) -> str:
        """The main module's version, or the one that -ldflags sets, or nothing where neither states one."""
        if self.main is not None and self.main.version:
            return self.main.version
        stated = _STATED.search(self.setting("-ldflags"))
        return stated[1] if stated else ""

    @property
    def name(self) -> str:
        """The name that `go install` gives the program (cmd/go: the last element that is no major version)."""
        parts = [part for part in self.path.split("/") if part]
        if len(parts) > 1 and re.fullmatch(r"v\d+", parts[-1]):
            parts.pop()
        return parts[-1] if parts and parts[-1] != "command-line-arguments" else ""


def read_buildinfo(file: IO[bytes], headers: Headers) -> BuildInfo | None:
    """Return what Go wrote into an ELF file, or None where it did not make it."""
    data, address = _blob(file, headers)
    at = data.find(MAGIC)
    while at >= 0 and (address + at) % _ALIGN:
        at = data.find(MAGIC, at + 1)
    if at < 0 or len(data) - at < _HEADER:
        return None
    if data[at + 15] & 2:
        version, rest = _inline(data, at + _HEADER)
        modules, _ = _inline(data, rest)
    else:
        version, modules = _pointed(file, headers, data[at : at + _HEADER])
    if not version:
        return None
    return parse_modinfo(version, modules)


def _blob(file: IO[bytes], headers: Headers) -> tuple[bytes, int]:
    section = headers.section(".go.buildinfo")
    if section is not None:
        return piece(file, section.offset, min(section.size, _MAX_SEARCH)), section.address
    part = next((each for each in headers.segments if each.writable and each.size), None)
    return (piece(file, part.offset, min(part.size, _MAX_SEARCH)), part.address) if part else (b"", 0)


def _inline(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the text behind a length as varint, and where it ends."""
    length = shift = 0
    for number in range(10):
        if at >= len(data):
            return b"", at
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if number == 9:
            return b"", at
    if length > min(_MAX_TEXT, len(data) - at):
        return b"", at
    return data[at : at + length], at + length


def _pointed(file: IO[bytes], headers: Headers, blob: bytes) -> tuple[bytes, bytes]:
    """Return the two texts that the form before Go 1.18 points to."""
    size = blob[14]
    order: Literal["big", "little"] = "big" if blob[15] & 1 else "little"
    if size not in (4, 8):
        return b"", b""

    def number(data: bytes) -> int:
        return int.from_bytes(data, order)

    def text(pointer: bytes) -> bytes:
        at = headers.offset(number(pointer))
        header = piece(file, at[0], min(2 * size, at[1])) if at else b""
        if len(header) < 2 * size:
            return b""
        length = number(header[size:])
        there = headers.offset(number(header[:size]))
        if there is None or length > min(there[1], _MAX_TEXT):
            return b""
        return piece(file, there[0], length)

    return text(blob[16 : 16 + size]), text(blob[16 + size : 16 + 2 * size])


def parse_modinfo(version: bytes, framed: bytes) -> BuildInfo:
    r"""Read the two texts (go.dev/src/runtime/debug/mod.go, ParseBuildInfo); lines of other forms are passed over.

    >>> mark = b"." * 16
    >>> parse_modinfo(b"go1.21.5", mark + b"path\tx.org/y\nmod\tx.org/y\tv1.2.0\th1:=\n" + mark).version
    'v1.2.0'
    """
    go = version.decode("utf-8", "replace").split(" ")[0].removeprefix("go")
    text = ""
    if len(framed) >= 2 * _MARK + 1 and framed[-_MARK - 1] == 0x0A:
        text = framed[_MARK:-_MARK].decode("utf-8", "surrogateescape")
    path, main, settings = "", None, []
    modules: list[Module] = []
    last = ""
    for line in text.split("\n"):
        word, _, rest = line.partition("\t")
        fields = rest.split("\t")
        if word == "path":
            path = rest
        elif word in ("mod", "dep") and len(fields) in (2, 3):
            module = _module(fields)
            if word == "mod":
                main = module
            else:
                modules.append(module)
        elif word == "=>" and len(fields) == 3 and last in ("mod", "dep"):
            if last == "mod":
                main = _module(fields)
            else:
                modules[-1] = _module(fields)
        elif word == "build":
            key, _, value = rest.partition("=")
            settings.append((key, _unquoted(value)))
        last = word if len(fields) in (2, 3) else ""
    return BuildInfo(go, path, main, tuple(modules), tuple(settings))


def _module(fields: list[str]) -> Module:
    return Module(fields[0], "" if fields[1] == "(devel)" else fields[1])


def _unquoted(value: str) -> str:
    """Take Go's quotes off; of the escapes only those of a quote and a backslash occur in what is read of it."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in '"`':
        inner = value[1:-1]
        return inner.replace('\\"', '"').replace("\\\\", "\\") if value[0] == '"' else inner
    return value
