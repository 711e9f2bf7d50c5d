"""Each unpackaged ELF program of a guest, read once for all the analyzers that look at them."""

from __future__ import annotations

import posixpath
import weakref
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._dotnet_files import Bundle, read_bundle
from analyzers._elf_sections import Headers, read_headers, section_data
from analyzers._go_buildinfo import BuildInfo, read_buildinfo
from analyzers._interpreters import every_interpreter
from analyzers._libraries import library_folders
from analyzers._nobodys import Nobodys, tree_of
from analyzers._opened import opened
from analyzers._package_note import PackageNote, parse_note
from analyzers._reading import Reader, absolute, inside
from analyzers._rust_audit import Rust, read_rust
from migrate.errors import Vm2cError
from migrate.guest.protocol import Guest
from migrate.model import Application, Place

_NOTES = ".note.package"


class Binary(msgspec.Struct, frozen=True):
    """An ELF program and what made it; `broken` says why it could not be read."""

    path: str
    headers: Headers | None = None
    go: BuildInfo | None = None
    rust: Rust | None = None
    bundle: Bundle | None = None
    note: PackageNote | None = None
    broken: str = ""

    @property
    def ecosystem(self) -> str:
        """Whose it is: golang, cargo, nuget, or elf."""
        if self.go is not None:
            return "golang"
        if self.bundle is not None:
            return "nuget"
        return "cargo" if self.rust is not None else "elf"


_ROOTS: weakref.WeakKeyDictionary[Guest, Roots] = weakref.WeakKeyDictionary()
_READ: weakref.WeakKeyDictionary[Guest, dict[str, Binary]] = weakref.WeakKeyDictionary()


def inspect(guest: Guest, path: str) -> Binary:
    """Return what an ELF file says of itself."""
    known = _READ.setdefault(guest, {})
    if path not in known:
        known[path] = _inspect(guest, path)
    return known[path]


def _inspect(guest: Guest, path: str) -> Binary:
    try:
        with opened(guest, path) as file:
            headers = read_headers(file)
            if not headers.is_program:
                return Binary(path, headers)
            note = parse_note(section_data(file, headers, _NOTES, 1 << 16) or b"", headers.little)
            if (go := read_buildinfo(file, headers)) is not None:
                return Binary(path, headers, go=go, note=note)
            if (bundle := read_bundle(file, headers)) is not None:
                return Binary(path, headers, bundle=bundle, note=note)
            return Binary(path, headers, rust=read_rust(file, headers), note=note)
    except ValueError as error:
        return Binary(path, broken=str(error))
    except Vm2cError as error:
        return Binary(path, broken=error.found)


def binaries(nobodys: Nobodys) -> Iterator[Binary]:
    """Yield the ELF programs that no package owns; libraries and modules are none."""
    for entry in nobodys.with_head(b"\x7fELF"):
        found = inspect(nobodys.guest, entry.path)
        if found.broken or (found.headers is not None and found.headers.is_program):
            yield found


class Roots:
    """Which binaries are applications, and where each one's root is; `of_guest` keeps it for a round's analyzers."""

    def __init__(self, nobodys: Nobodys) -> None:
        self.nobodys = nobodys
        self._taken = java_trees(nobodys) | dotnet_trees(nobodys)
        runtimes = {each.root for each in every_interpreter(nobodys.guest)}  # told by their own languages' analyzers
        found: dict[str, list[Binary]] = {}
        for each in binaries(nobodys):
            if any(inside(each.path, root) for root in runtimes):
                continue
            if not each.broken and not nobodys.is_languages(each.path) and nobodys.counts(each.path):
                found.setdefault(tree_of(each.path), []).append(each)
        self.applications: dict[str, Binary] = {}
        for tree, programs in found.items():
            self.applications.update(self._of(tree, programs))

    @staticmethod
    def of_guest(nobodys: Nobodys) -> Roots:
        """Return the roots among what is known of a guest."""
        known = _ROOTS.get(nobodys.guest)
        if known is None or known.nobodys is not nobodys:
            known = _ROOTS[nobodys.guest] = Roots(nobodys)
        return known

    def _of(self, tree: str, programs: Sequence[Binary]) -> dict[str, Binary]:
        nobodys = self.nobodys
        by_path = {each.path: each for each in programs}
        called = {path: each for path, each in by_path.items() if path in nobodys.called}
        if any(inside(tree, taken) or inside(taken, tree) for taken in self._taken) or nobodys.is_anothers(tree):
            near = {path for path in by_path if posixpath.dirname(path) in (tree, f"{tree}/bin")} - {tree}
            made = {path: by_path[path] for path in near if by_path[path].go or by_path[path].rust}
            inner = called if any(inside(tree, taken) for taken in self._taken) else {**made, **called}
            return {path: each for path, each in inner.items() if not self._is_runtime(path)}
        if not nobodys.is_nobodys(tree):
            return by_path  # a package's folder, in which somebody laid programs
        made_by = {path: each for path, each in by_path.items() if each.ecosystem != "elf"} or by_path
        main = nobodys.main(tree, list(made_by))
        return {tree: by_path[main], **{path: each for path, each in called.items() if path != main}}

    def _is_runtime(self, path: str) -> bool:
        return posixpath.basename(path) in ("java", "dotnet", "python", "python3", "node", "ruby", "php")

    def of(self, ecosystem: str) -> Iterator[tuple[str, Binary]]:
        """Yield (root, binary) of the applications of one ecosystem."""
        for root, each in sorted(self.applications.items()):
            if each.ecosystem == ecosystem:
                yield root, each


def java_trees(nobodys: Nobodys) -> set[str]:
    """Return the trees that hold jars, and the unpacked JDKs."""
    trees = {tree_of(entry.path) for entry in nobodys.files if entry.path.endswith((".jar", ".war", ".ear"))}
    return trees | {posixpath.dirname(entry.path) for entry in nobodys.files if is_jdk(nobodys, entry.path)}


def is_jdk(nobodys: Nobodys, path: str) -> bool:
    """Tell whether a file named `release` is a Java runtime's, by its neighbours."""
    return path.endswith("/release") and nobodys.guest.is_file(f"{posixpath.dirname(path)}/bin/java")


def dotnet_trees(nobodys: Nobodys) -> set[str]:
    """Return the folders of .NET applications."""
    ends = (".deps.json", ".runtimeconfig.json")
    return {posixpath.dirname(entry.path) for entry in nobodys.files if entry.path.endswith(ends)}


class Linked:
    """The packages of the libraries that binaries load, as ld.so(8) finds them."""

    def __init__(self, nobodys: Nobodys) -> None:
        self._nobodys = nobodys
        self._folders = library_folders(Reader(nobodys.guest, "binaries"))

    def packages(self, headers: Headers) -> tuple[str, ...]:
        """Return the packages of an ELF file's needed libraries, sorted; what is not on the disk has none."""
        found = set()
        for library in headers.needed:
            for folder in self._folders:
                path = absolute(library, folder)
                if self._nobodys.guest.is_file(path):
                    found.add(self._nobodys.owners.package(path) or "")
                    break
        return tuple(sorted(found - {""}))


def application(root: str, each: Binary, name: str, version: str, linked: Linked) -> Application:
    """Return the finding for a binary."""
    headers = each.headers
    return Application(
        seen_in=Place(each.path),
        root=root,
        ecosystem=each.ecosystem,
        name=name or posixpath.basename(each.path),
        version=version,
        runtime=linked.packages(headers) if headers is not None else (),
        interpreter=headers.interpreter if headers is not None else "",
        libraries=headers.needed if headers is not None else (),
    )
