"""What conda, pipx and uv write beside the environments they make, and a project's own pyproject.toml."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from analyzers._manifests import base, batched, decoded, line_with, seen
from analyzers._reading import Reader
from migrate.model import LanguagePackage, Place

_MAX_CONDA = 16 << 20  # bytes; a record names each file of its package
_MAX_RECORDS = 100_000


class Record(msgspec.Struct, frozen=True):
    """A record of conda-meta (conda's `PrefixRecord`), as far as it is looked at."""

    name: str = ""
    version: str = ""


class _Main(msgspec.Struct, frozen=True):
    package: Any = ""
    package_version: Any = ""


class _Pipx(msgspec.Struct, frozen=True):
    """pipx_metadata.json (pipx, metadata version 0.1 to 0.5)."""

    main_package: _Main = _Main()


class Named(msgspec.Struct, frozen=True):
    """What an environment was made for, and where that is said."""

    name: str
    version: str
    place: Place


def conda_packages(reader: Reader, paths: Sequence[str], environments: Sequence[str]) -> Iterator[LanguagePackage]:
    """Yield what is installed in conda's environments: one JSON file each in conda-meta."""
    known = frozenset(environments)
    wanted = [path for path in paths if posixpath.dirname(posixpath.dirname(path)) in known]
    if len(wanted) > _MAX_RECORDS:
        reader.note(wanted[_MAX_RECORDS], f"only the first {_MAX_RECORDS} of {len(wanted)} records were read")
    for path in batched(reader.guest, wanted, _MAX_RECORDS):
        read = decoded(reader, path, Record, _MAX_CONDA)
        if read is None:
            continue
        record, data = read
        if record.name and record.version:
            yield LanguagePackage(
                seen_in=seen(path, data, '"version"', f'"{record.version}"'),
                ecosystem="conda",
                name=record.name,
                version=record.version,
                location=posixpath.dirname(posixpath.dirname(path)),
            )
        else:
            reader.note(path, "no name and version of a conda package")


def conda_python(paths: Sequence[str], environment: str) -> str:
    """Return the version of Python in a conda environment, by the name of its record; nothing where it has none."""
    wanted = re.compile(rf"{re.escape(environment)}/conda-meta/python-(\d[\w.]*)-[^/-]+\.json")
    return next((match[1] for path in paths if (match := wanted.fullmatch(path))), "")


def named_by_tool(reader: Reader, path: str, installed: Sequence[LanguagePackage]) -> Named | None:
    """Return what pipx or `uv tool` made the environment at `path` for, or None where it is neither's."""
    metadata, receipt = f"{path}/pipx_metadata.json", f"{path}/uv-receipt.toml"
    if reader.guest.is_file(metadata):
        read = decoded(reader, metadata, _Pipx)
        main = read[0].main_package if read else _Main()
        if read and isinstance(main.package, str) and main.package:
            version = main.package_version if isinstance(main.package_version, str) else ""
            line = line_with(read[1], '"package":', f'"{main.package}"')
            return Named(main.package, version, Place(metadata, line))
    uv, pipx = reader.guest.is_file(receipt), path.endswith(f"/pipx/venvs/{base(path)}")
    if uv or pipx:
        name = base(path)
        own = [p for p in installed if p.name == normal(name) and p.location.startswith(f"{path}/lib")]
        if uv:
            return Named(name, own[0].version if own else "", Place(receipt, 1))
        if own:  # before pipx 0.15 there was no pipx_metadata.json
            return Named(name, own[0].version, own[0].seen_in)
    return None


def project(reader: Reader, root: str) -> Named | None:
    """Return a project's name and version as its pyproject.toml states them (PEP 621), or None."""
    path = f"{root}/pyproject.toml"
    text = reader.optional(path, 1 << 17)
    if text is None:
        return None
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError):  # not TOML: the project's own matter
        return None
    tool = found.get("tool")
    for table in (found.get("project"), tool.get("poetry") if isinstance(tool, dict) else None):
        if isinstance(table, dict) and isinstance(name := table.get("name"), str) and name:
            version = table.get("version")
            data = text.encode("utf-8", "surrogateescape")
            return Named(name, version if isinstance(version, str) else "", seen(path, data, "name", name))
    return None


def normal(name: str) -> str:
    """Return a name as PyPI knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
