"""Paths of a package list as the tree has them: /lib/x is /usr/lib/x on a merged-/usr system."""

from __future__ import annotations

from migrate.guest.protocol import Guest

MOST = 500_000
"""How many directories are remembered at once; a list may name any number that nobody made."""


class Tree:
    """Follows the symbolic links of directories, and remembers them."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._known: dict[str, str] = {}

    def _directory(self, path: str) -> str:
        known = self._known.get(path)
        if known is not None:
            return known
        # Downwards, as far as the tree has it: a listed path may have thousands of parts that nobody made.
        parts = [part for part in path.split("/") if part]
        real, there = "", ""
        for at, part in enumerate(parts):
            there = f"{there}/{part}"
            step = self._known.get(there)
            if step is None:
                found = self._guest.resolve(f"{real}/{part}")
                if found is None:
                    real = "/".join((real, *parts[at:]))
                    break
                step = self._known[there] = found.rstrip("/")
            real = step
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[path] = real
        return real

    def real(self, path: str) -> str:
        """Return `path` with its directory's symlinks followed; itself, where the name is a link, it is kept."""
        parent, _, name = path.rpartition("/")
        return f"{self._directory(parent)}/{name}"
