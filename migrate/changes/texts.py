"""Reads the texts that comparing looks into, once each and no more than a bound: any name may lead to a large file."""

from __future__ import annotations

from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest

MAX_TOTAL = 128 << 20
"""Bytes of all texts that one reader keeps; a Debian of 1,100 packages has 5 MB of postinst scripts."""


class Texts:
    """Texts of a guest by path; what cannot be read, and what comes after the bound, is empty."""

    def __init__(self, guest: Guest, most: int = MAX_TOTAL) -> None:
        self.guest = guest
        self._left = most
        self._known: dict[str, str] = {}

    def of(self, path: str, limit: int) -> str:
        """Return the first `limit` bytes of a regular file as text."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._read(path, min(limit, self._left))
            self._left -= len(found)
        return found

    def _read(self, path: str, limit: int) -> str:
        if limit <= 0 or not self.guest.is_file(path):
            return ""
        try:
            return self.guest.text(path, limit)
        except GuestFileError:
            return ""
