"""The files that say what a .NET application is: deps.json, runtimeconfig.json, and the bundle that holds both.

Forms: github.com/dotnet/sdk/blob/main/documentation/specs/runtime-configuration-file.md, and for single-file
applications github.com/dotnet/designs/blob/main/accepted/2020/single-file/bundler.md with the host's header.h.
"""

from __future__ import annotations

import json
import re
import struct
from typing import IO, Any

import msgspec

from analyzers._elf_sections import Headers
from analyzers._opened import piece

# SHA-256 of ".net core bundle"; the eight bytes before it are where the bundle's header is, 0 where there is none.
_MARK = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")
_MAX_JSON = 8 << 20
_MAX_SEARCH = 128 << 20  # of all segments together, which may overlap
_STEP = 4 << 20
_FIXED = struct.Struct("<IIi")
_LOCATIONS = struct.Struct("<qqqq")
_MAX_LIBRARIES = 20_000


class Library(msgspec.Struct, frozen=True, order=True):
    """An entry of deps.json: `kind` is package (of NuGet), project (the application's own), reference, runtimepack."""

    name: str
    version: str
    kind: str
    line: int | None = None


class Deps(msgspec.Struct, frozen=True):
    """A deps.json: `target` as in `.NETCoreApp,Version=v8.0`, with the runtime identifier where there is one."""

    target: str
    libraries: tuple[Library, ...]


class Framework(msgspec.Struct, frozen=True, order=True):
    """A shared framework that the application runs on, and the version it was built for."""

    name: str
    version: str


class Bundle(msgspec.Struct, frozen=True):
    """A single-file application: what its bundle holds of the two files, as texts."""

    identity: str
    files: int
    deps: bytes = b""
    config: bytes = b""


def _document(text: str | bytes, what: str) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError."""
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig", "replace")
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no {what}: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise ValueError(f"no {what}: it holds no object")  # noqa: TRY004  # of the file, not of an argument
    return found


def parse_deps(text: str | bytes) -> Deps:
    """Read a deps.json. Raises ValueError where it is none."""
    found = _document(text, "deps.json")
    target = found.get("runtimeTarget")
    name = target.get("name") if isinstance(target, dict) else target
    libraries = found.get("libraries")
    if not isinstance(libraries, dict):
        raise ValueError("no deps.json: it has no libraries")  # noqa: TRY004  # of the file, not of an argument
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    lines = _lines(plain)
    rows = []
    for key, each in list(libraries.items())[:_MAX_LIBRARIES]:
        called, slash, version = key.rpartition("/")
        kind = each.get("type", "") if isinstance(each, dict) else ""
        if slash and called and isinstance(kind, str):
            rows.append(Library(called, version, kind, lines.get(key)))
    return Deps(name if isinstance(name, str) else "", tuple(rows))


def _lines(text: str) -> dict[str, int]:
    """Return the last line that each NAME/VERSION stands in as a key: `libraries` comes behind `targets`."""
    found = {}
    for number, line in enumerate(text.split("\n"), 1):
        if match := re.match(r'\s{0,40}"([^"\\]{1,300}/[^"\\]{1,100})"\s{0,9}:', line):
            found[match[1]] = number
    return found


def parse_config(text: str | bytes) -> tuple[Framework, ...]:
    """Return the frameworks that a runtimeconfig.json names; a self-contained one's `includedFrameworks` are none.

    Raises ValueError where it is none.
    """
    options = _document(text, "runtimeconfig.json").get("runtimeOptions")
    if not isinstance(options, dict):
        raise ValueError("no runtimeconfig.json: it has no runtimeOptions")  # noqa: TRY004  # of the file, not of an argument
    listed = options.get("frameworks")
    rows = [options.get("framework"), *(listed if isinstance(listed, list) else [])]
    found = []
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            version = row.get("version", "")
            found.append(Framework(row["name"], version if isinstance(version, str) else ""))
    return tuple(dict.fromkeys(found))


def read_bundle(file: IO[bytes], headers: Headers) -> Bundle | None:
    """Return the bundle of a single-file application, or None where an ELF file holds none."""
    at = _marked(file, headers)
    if at is None:
        return None
    offset = int.from_bytes(piece(file, at - 8, 8), "little")
    data = piece(file, offset, 512) if offset else b""
    if len(data) < _FIXED.size + 1:
        return None
    major, _, count = _FIXED.unpack_from(data)
    length, start = data[_FIXED.size], _FIXED.size + 1
    identity = data[start : start + length].decode("ascii", "replace")
    if not 1 <= major <= 100 or count < 0 or length > 127 or not re.fullmatch(r"[\w.+/=-]*", identity, re.ASCII):
        return None
    bundle = Bundle(identity, count)
    if major < 2 or len(data) < start + length + _LOCATIONS.size:
        return bundle
    deps_at, deps_size, config_at, config_size = _LOCATIONS.unpack_from(data, start + length)
    return msgspec.structs.replace(
        bundle,
        deps=piece(file, deps_at, min(deps_size, _MAX_JSON)),
        config=piece(file, config_at, min(config_size, _MAX_JSON)),
    )


def _marked(file: IO[bytes], headers: Headers) -> int | None:
    """Return where the mark is: in the data or the read-only data of the host."""
    parts = [each for each in headers.segments if each.size]
    left = _MAX_SEARCH
    for part in sorted(parts, key=lambda each: (not each.writable, each.offset)):
        size = min(part.size, left)
        left -= size
        for start in range(0, size, _STEP):
            at = piece(file, part.offset + start, min(_STEP + len(_MARK), size - start)).find(_MARK)
            if at >= 0:
                return part.offset + start + at
    return None
