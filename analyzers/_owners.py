"""Which package owns a path, asked of the `PackageFiles` that the package analyzers found."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping

from migrate.guest.protocol import Guest
from migrate.model import Finding, PackageFiles

BIN_FOLDERS = frozenset({"bin", "sbin", "games", "libexec"})


def lexical(path: str) -> str:
    """Return a path without `.`, `..` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


@functools.lru_cache(maxsize=1)
def _owners(files: tuple[PackageFiles, ...]) -> Mapping[str, str]:
    """Return each path's owner, the first that names it. Every join of a run asks for the same: 7 ms each."""
    owner: dict[str, str] = {}
    for each in files:
        for path in each.paths:
            owner.setdefault(path, each.package)
    return owner


class Owners:
    """The owners of paths. A symlink has its own owner, and what it leads to another."""

    def __init__(self, guest: Guest, findings: Iterable[Finding]) -> None:
        self._guest = guest
        self._owner = _owners(tuple(finding for finding in findings if isinstance(finding, PackageFiles)))
        self._named: dict[str, list[tuple[str, str]]] | None = None

    def __bool__(self) -> bool:
        return bool(self._owner)

    def _real(self, path: str) -> str:
        """Return `path` with the symlinks in its directory followed, itself not."""
        entry = self._guest.lstat(path)
        return entry.path if entry is not None else lexical(path)

    def own(self, path: str) -> str | None:
        """Return the package that ships this very path, symlink or not."""
        return self._owner.get(self._real(path))

    def chain(self, path: str) -> Iterator[str]:
        """Yield the path and each symlink's target after it, to the file at the end (alternatives have two)."""
        for _ in range(40):
            entry = self._guest.lstat(path)
            if entry is None:
                return
            yield entry.path
            if entry.kind != "symlink":
                return
            path = lexical(posixpath.join(posixpath.dirname(entry.path), entry.target))

    def packages(self, path: str) -> list[tuple[str, str]]:
        """Return (package, path it ships) for the path and all that its symlinks lead through, in that order.

        Debian's /usr/bin/redis-server is a link of redis-server to a program of redis-tools: both are needed.
        """
        found: dict[str, str] = {}
        for step in self.chain(path):
            if package := self._owner.get(step):
                found.setdefault(package, step)
        return list(found.items())

    def package(self, path: str) -> str | None:
        """Return the package of the file that the path leads to, or else of the link."""
        owned = self.packages(path)
        return owned[-1][0] if owned else None

    def stray(self, top: str, ignore: Collection[str] = ()) -> str | None:
        """Return the first file at or below `top` that no package owns and whose name is not in `ignore`."""
        real = self._guest.resolve(top)
        if real is None:
            return None
        for entry in self._guest.walk(real):
            named = entry.path.rpartition("/")[2]
            if entry.kind in ("file", "symlink") and entry.path not in self._owner and named not in ignore:
                return entry.path
        return None

    def shipping(self, name: str) -> list[tuple[str, str]]:
        """Return (package, path) for all programs of this name that packages ship, wherever they put them."""
        if self._named is None:
            self._named = {}
            for path, package in self._owner.items():
                folder, _, last = path.rpartition("/")
                if folder.rpartition("/")[2] in BIN_FOLDERS:
                    self._named.setdefault(last, []).append((package, path))
        return sorted(self._named.get(name, ()))
