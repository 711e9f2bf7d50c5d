"""Shared libraries: where the loader finds them on the guest, and which packages bring them (ld.so(8))."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

import msgspec

from analyzers._elf import is_elf, read_elf
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, meaningful
from migrate.guest.protocol import Guest
from migrate.model import Finding, Package

_DEFAULT = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_MAX_ELF = 256 << 20
_MAX_FILES = 4000


class Missing(msgspec.Struct, frozen=True, order=True):
    """A library that `binary` needs: `path` on the guest (nothing where there is none), `package` that owns it."""

    library: str
    path: str
    package: str
    binary: str


def base_packages(findings: Iterable[Finding]) -> frozenset[str]:
    """Return the packages every Debian base image has: those of priority `required`, apt, and what they depend on."""
    packages = {finding.name: finding for finding in findings if isinstance(finding, Package)}
    waiting = [name for name, package in packages.items() if package.priority == "required"]
    waiting += [name for name in ("apt",) if name in packages]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(other for other in packages[name].depends if other in packages)
    return frozenset(found)


def library_folders(reader: Reader) -> tuple[str, ...]:
    """Return the folders that ld.so searches: /etc/ld.so.conf with what it includes, then its own."""
    folders: list[str] = []
    waiting = ["/etc/ld.so.conf"]
    for path in waiting:
        for _, line in meaningful(reader.optional(path) or ""):
            words = line.split()
            if words[0] == "include":
                for pattern in words[1:]:
                    waiting.extend(p for p in reader.guest.glob(absolute(pattern, "/etc")) if p not in waiting)
            elif line.startswith("/"):
                folders.append(line)
    triplets = [path for path in reader.guest.glob("/usr/lib/*-linux-*") if reader.guest.is_dir(path)]
    return tuple(dict.fromkeys((*folders, *triplets, *_DEFAULT)))


class Libraries:
    """Finds what ELF files need from outside their own tree."""

    def __init__(self, reader: Reader, owners: Owners) -> None:
        self._reader = reader
        self._guest: Guest = reader.guest
        self._owners = owners
        self._folders = library_folders(reader)

    def missing(self, binaries: Sequence[str], own: Iterable[str] = ()) -> list[Missing]:
        """Return the libraries the binaries need that are not among `own`, the files that come along anyway."""
        brought = {posixpath.basename(path) for path in own}
        found: dict[str, Missing] = {}
        self._guest.prefetch(binaries)
        for path in binaries[:_MAX_FILES]:
            data = self._reader.data(path, _MAX_ELF)
            if data is None or not is_elf(data):
                continue
            try:
                elf = read_elf(data)
            except ValueError as error:
                self._reader.note(path, str(error))
                continue
            runpath = [folder.replace("${ORIGIN}", "$ORIGIN") for folder in elf.runpath]
            folders = [folder.replace("$ORIGIN", posixpath.dirname(path)) for folder in runpath]
            for library in elf.needed:
                if library not in found and library not in brought:
                    found[library] = self._find(library, folders, path)
        return sorted(found.values())

    def _find(self, library: str, runpath: Sequence[str], binary: str) -> Missing:
        for folder in (*runpath, *self._folders):
            path = absolute(library, folder)
            if self._guest.is_file(path):
                return Missing(library, path, self._owners.package(path) or "", binary)
        return Missing(library, "", "", binary)
