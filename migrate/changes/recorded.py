"""Where a package database says what a changed path was: of dpkg the very line, of others what the analyzer named."""

from __future__ import annotations

from migrate.changes.expected import Expected
from migrate.changes.texts import Texts
from migrate.guest.protocol import Guest
from migrate.model import Place

_INFO = "/var/lib/dpkg/info/"
_STATUS = "/var/lib/dpkg/status"
_MOST = 2000
"""For so many changes the line is looked up; the file alone is named for those after them."""
_MAX_TEXT = 64 << 20


class Recorded:
    """Finds lines, and keeps the texts that it found them in."""

    def __init__(self, guest: Guest) -> None:
        self._texts = Texts(guest)
        self._left = _MOST

    def place(self, expected: Expected, contents: bool) -> Place:
        """Return the line with a path's digest where its `contents` changed, and else that of the path in the list."""
        listing = expected.seen_in.path
        if not listing.startswith(_INFO) or expected.seen_in.line is not None:
            return expected.seen_in
        path = expected.shipped.path
        name = path.rpartition("/")[2]
        if not (contents and expected.digest):
            # The list may name it through a link: /bin/x of a merged /usr.
            found = (self._line(listing, "", each) for each in (f"\n{path}", path.removeprefix("/usr"), f"/{name}"))
            return next((place for place in found if place), expected.seen_in)
        if expected.configuration:
            return self._line(_STATUS, f"/{name} {expected.digest}", "") or expected.seen_in
        sums = f"{listing.rpartition('.')[0]}.md5sums"
        # A diverted file has another name there.
        return self._line(sums, expected.digest, name) or self._line(sums, expected.digest, "") or expected.seen_in

    def _line(self, path: str, holds: str, ends: str) -> Place | None:
        """Return the first line that holds one text and ends in another."""
        if self._left <= 0:
            return None
        self._left -= 1
        text = self._texts.of(path, _MAX_TEXT)
        needle = holds or f"{ends}\n"
        at = text.find(needle)
        while at >= 0:
            start = text.rfind("\n", 0, at + 1) + 1
            end = text.find("\n", start)
            if text[start : end if end >= 0 else None].endswith(ends.lstrip("\n")):
                return Place(path, text.count("\n", 0, start) + 1)
            at = text.find(needle, at + 1)
        return None
