"""Python environments on a disk: where they are, what is installed in them, what interpreter they use."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, inside, numbered
from migrate.guest.protocol import Guest
from migrate.model import LanguagePackage, Place

# Trees that belong to packages, or to no disk.
_PASSED_OVER = frozenset({"proc", "sys", "dev", "run", "boot", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32",
                          "etc", "tmp", "lost+found", "media", "mnt"})  # fmt: skip
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
    """What one walk over the metadata found: pyvenv.cfg files, metadata of packages, conda's folders."""

    environments: tuple[str, ...]
    metadata: tuple[str, ...]
    conda: tuple[str, ...]


def sweep(guest: Guest) -> Swept:
    """Walk the trees that packages do not own, by metadata alone."""
    environments, metadata, conda = [], [], []
    tops = [f"/{name}" for name in guest.listdir("/") if name not in _PASSED_OVER]
    for top in [*tops, "/usr/local"]:
        for entry in guest.walk(top):
            if entry.kind != "file":
                continue
            folder, _, name = entry.path.rpartition("/")
            if name == "pyvenv.cfg":
                environments.append(folder)
            elif (name == "METADATA" and folder.endswith(".dist-info")) or (
                name == "PKG-INFO" and folder.endswith(".egg-info")
            ):
                metadata.append(entry.path)
            elif name == "history" and folder.endswith("/conda-meta"):
                conda.append(posixpath.dirname(folder))
    return Swept(tuple(sorted(environments)), tuple(sorted(metadata)), tuple(sorted(conda)))


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
    location = posixpath.dirname(posixpath.dirname(path))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not version:
        return None
    # PEP 503: how pypi knows it
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return LanguagePackage(seen_in=Place(path, line), ecosystem="pypi", name=normal, version=version, location=location)


def packages(reader: Reader, swept: Swept) -> Iterator[LanguagePackage]:
    """Yield the installed packages."""
    reader.guest.prefetch(swept.metadata)
    for path in swept.metadata:
        text = reader.text(path, 1 << 20)
        found = parse_metadata(text, path) if text is not None else None
        if found is not None:
            yield found
        elif text is not None:
            reader.note(path, "no name and version of a Python package")


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
