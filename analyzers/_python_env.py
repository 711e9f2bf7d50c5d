"""Python environments on a disk: where they are, what is installed in them, what interpreter they use."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._manifests import around, batched, in_folders, manifests, optional_bytes
from analyzers._owners import Owners
from analyzers._python_tools import conda_python, normal
from analyzers._reading import Reader, inside, numbered
from migrate.guest.protocol import Guest
from migrate.model import LanguagePackage, Place

_MAX_PACKAGES = 200_000
_METADATA = ("*.dist-info/METADATA", "*.egg-info/PKG-INFO", "*.egg-info")
# Folders that hold many things, so none is an application's root.
_SHARED = re.compile(
    r"/|/(srv|opt|root|home|var|usr|data|app|apps|www|mnt|media)|/home/[^/]+|/usr/local(/(lib|share|bin))?"
    r"|/var/(lib|www|opt|local)|/opt/(venvs?|virtualenvs?)|.*/\.?(virtualenvs|venvs|pipx)"
)


class Environment(msgspec.Struct, frozen=True):
    """A virtual environment (PEP 405): `interpreter` is what its bin/python leads to, as its last link names it."""

    path: str
    version: str
    interpreter: str
    sees_system: bool
    place: Place


class Swept(msgspec.Struct, frozen=True):
    """What lies where packages put little: environments, metadata of packages, conda's environments and records."""

    environments: tuple[str, ...]
    metadata: tuple[str, ...]
    conda: tuple[str, ...]
    records: tuple[str, ...]


def sweep(guest: Guest) -> Swept:
    """Return what there is, by names alone. Caches of uv and conda hold packages that are not installed."""
    found = manifests(guest)
    conda = tuple(posixpath.dirname(posixpath.dirname(path)) for path in found.get("conda-meta/history", ()))
    virtual = (posixpath.dirname(path) for path in found.get("pyvenv.cfg", ()) if not in_folders(path, (".cache",)))
    caches = {f"{path}/pkgs" for path in conda}
    metadata = [
        *(path for path in found.get("METADATA", ()) if path.endswith(".dist-info/METADATA")),
        *(path for path in found.get("PKG-INFO", ()) if path.endswith(".egg-info/PKG-INFO")),
        *found.get("*.egg-info", ()),
    ]
    return Swept(
        tuple(path for path in virtual if path not in conda),
        tuple(sorted(path for path in metadata if not in_folders(path, (".cache",)) and around(path, caches) is None)),
        conda,
        found.get("conda-meta/*.json", ()),
    )


def system_metadata(guest: Guest, owners: Owners) -> tuple[str, ...]:
    """Return the metadata of packages among the distribution's that no package of its own owns: pip put them there."""
    if not owners:
        return ()
    found = [path for folder in ("dist-packages", "site-packages") for name in _METADATA
             for path in guest.glob(f"/usr/lib*/python*/{folder}/{name}")]  # fmt: skip
    return tuple(sorted({path for path in found if guest.is_file(path) and owners.own(path) is None}))


def parse_metadata(text: str, path: str) -> LanguagePackage | None:
    """Read the head of a METADATA or PKG-INFO file (core metadata, packaging.python.org/specifications)."""
    name, version, line = "", "", None
    for number, text_line in numbered(text):
        if not text_line.strip():
            break
        key, _, value = text_line.partition(":")
        if key == "Name":
            name, line = value.strip(), number
        elif key == "Version":
            version = value.strip()
    location = posixpath.dirname(path if path.endswith(".egg-info") else posixpath.dirname(path))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not version:
        return None
    return LanguagePackage(
        seen_in=Place(path, line), ecosystem="pypi", name=normal(name), version=version, location=location
    )


def packages(reader: Reader, metadata: Sequence[str], conda: Sequence[str] = ()) -> Iterator[LanguagePackage]:
    """Yield the installed packages; those that conda itself put into its environments are in its own records."""
    if len(metadata) > _MAX_PACKAGES:
        reader.note(metadata[_MAX_PACKAGES], f"only the first {_MAX_PACKAGES} of {len(metadata)} packages were read")
    environments = frozenset(conda)
    for path in batched(reader.guest, metadata, _MAX_PACKAGES):
        if around(path, environments) is not None and installer(reader.guest, path) == "conda":
            continue
        text = reader.text(path, 1 << 20)
        found = parse_metadata(text, path) if text is not None else None
        if found is not None:
            yield found
        elif text is not None:
            reader.note(path, "no name and version of a Python package")


def installer(guest: Guest, metadata: str) -> str:
    """Return what installed a package, by the file INSTALLER beside its METADATA (PEP 376): pip, uv, conda, rpm, …"""
    path = f"{posixpath.dirname(metadata)}/INSTALLER"
    return optional_bytes(guest, path, 100).decode("ascii", "replace").strip() if guest.is_file(path) else ""


def conda_environment(swept: Swept, path: str) -> Environment:
    """Return a conda environment: its interpreter is a package in it, so it needs none from outside."""
    place = Place(f"{path}/conda-meta/history", 1)
    return Environment(path, conda_python(swept.records, path), "", sees_system=False, place=place)


def environment(reader: Reader, path: str) -> Environment:
    """Read a virtual environment's pyvenv.cfg and follow its interpreter."""
    config = f"{path}/pyvenv.cfg"
    fields: dict[str, tuple[str, int]] = {}
    for number, line in numbered(reader.optional(config) or ""):
        key, equals, value = line.partition("=")
        if equals:
            fields[key.strip().lower()] = (value.strip(), number)
    home, line_of_home = fields.get("home", ("", 1))
    version = fields.get("version", fields.get("version_info", ("", 0)))[0]
    return Environment(
        path=path,
        version=".".join(version.split(".")[:3]),
        interpreter=interpreter_of(reader.guest, path) or (f"{home}/python3" if home else ""),
        sees_system=fields.get("include-system-site-packages", ("false", 0))[0].lower() == "true",
        place=Place(config, line_of_home),
    )


def interpreter_of(guest: Guest, path: str) -> str:
    """Return the first program outside the environment that its bin/python leads to, or nothing."""
    step = f"{path}/bin/python3" if guest.lstat(f"{path}/bin/python3") else f"{path}/bin/python"
    for _ in range(20):
        entry = guest.lstat(step)
        if entry is None or entry.kind != "symlink":
            break
        step = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.target))
        if not inside(step, path):
            return step
    return ""


def runtime_packages(interpreter: str) -> tuple[str, ...]:
    """Return the package of a distribution's interpreter: /usr/bin/python3.11 is of python3.11, by name.

    Debian's own file list says python3.11-minimal, which lacks half of the standard library.
    """
    match = re.fullmatch(r"/(?:usr/)?bin/(python[0-9.]*)", interpreter)
    return (match[1],) if match else ()


def application_root(guest: Guest, path: str) -> str:
    """Return the environment's parent where that holds the code it serves, else the environment."""
    parent = posixpath.dirname(path)
    if _SHARED.fullmatch(parent):
        return path
    folders = [parent, *(f"{parent}/{name}" for name in guest.listdir(parent))]
    for folder in folders:
        if not inside(folder, path) and any(name.endswith(".py") for name in guest.listdir(folder)):
            return parent
    return path
