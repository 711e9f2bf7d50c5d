"""What analyzers share for reading text files: a failure becomes a finding with its place."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.model import Caution, Place, Unread

MAX_TEXT = 4 << 20  # bytes; a configuration file that is longer is read so far, and that is said


class Reader:
    """Reads text files for one analyzer; keeps what was not understood (`unread`) and what to see to (`cautions`)."""

    def __init__(self, guest: Guest, analyzer: str) -> None:
        self.guest = guest
        self.analyzer = analyzer
        self.unread: list[Unread] = []
        self.cautions: list[Caution] = []
        self._noted: set[Unread] = set()

    def note(self, path: str, why: str, line: int | None = None) -> None:
        """Remember that something at `path` was not understood."""
        finding = Unread(seen_in=Place(path, line), why=why, analyzer=self.analyzer)
        if finding not in self._noted:
            self._noted.add(finding)
            self.unread.append(finding)

    def caution(self, service: str, place: Place, says: str) -> None:
        """Remember what a person must see to when a service moves: nothing is unread, and no edit does it."""
        finding = Caution(seen_in=place, service=service, says=says)
        if finding not in self.cautions:
            self.cautions.append(finding)

    def text(self, path: str, limit: int = MAX_TEXT) -> str | None:
        """Return the text of a regular file; None, with a note, where it cannot be read."""
        try:
            text = self.guest.text(path, limit)
        except GuestFileError as error:
            self.note(path, error.found)
            return None
        entry = self.guest.stat(path)
        if entry is not None and entry.size > limit:
            self.note(path, f"only the first {limit} of {entry.size} bytes were read")
        return text

    def data(self, path: str, limit: int) -> bytes | None:
        """Return the content of a regular file; None, with a note, where it cannot be read or is longer."""
        entry = self.guest.stat(path)
        if entry is not None and entry.size > limit:
            self.note(path, f"it is {entry.size} bytes long, and at most {limit} are read")
            return None
        try:
            return self.guest.read(path, limit)
        except GuestFileError as error:
            self.note(path, error.found)
            return None

    def optional(self, path: str, limit: int = MAX_TEXT) -> str | None:
        """Return the text of a regular file, or None where there is none; only failures to read are noted."""
        return self.text(path, limit) if self.guest.is_file(path) else None


def numbered(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield the lines of a text with their numbers from 1.

    Only `\n` ends a line, as in the editors people will look with (str.splitlines knows ten more).
    """
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line.removesuffix("\r")


def meaningful(text: str, comment: str = "#") -> Iterator[tuple[int, str]]:
    """Yield the stripped lines, with numbers, that are not empty and do not begin with a comment sign."""
    for number, line in numbered(text):
        line = line.strip()
        if line and not line.startswith(tuple(comment)):
            yield number, line


def continued(text: str, comment: str = "#") -> Iterator[tuple[int, str]]:
    r"""Yield the meaningful lines, those that end in `\` joined with the next, with the number of the first."""
    first, parts = 0, ""
    for number, line in numbered(text):
        first = first or number
        if line.endswith("\\"):
            parts += line[:-1] + " "
            continue
        whole = (parts + line).strip()
        if whole and not whole.startswith(tuple(comment)):
            yield first, whole
        first, parts = 0, ""
    if parts.strip():
        yield first, parts.strip()


def absolute(path: str, directory: str) -> str:
    """Return `path` seen from `directory`, normalised: no `.`, `..`, doubled or trailing slash."""
    return posixpath.normpath("/" + posixpath.join(directory, path).lstrip("/"))


def unquote(value: str) -> str:
    """Take one pair of equal quotes from around a value."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def assignments(text: str) -> dict[str, tuple[str, int]]:
    """Return NAME=VALUE lines (os-release(5), /etc/default/*) as name → (value, line); the last one wins.

    Quotes around a value and the backslashes of a double-quoted one are taken off; nothing is expanded.
    """
    found: dict[str, tuple[str, int]] = {}
    for number, line in meaningful(text):
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        if not equals or not name.replace("_", "a").isalnum():
            continue
        value = value.strip()
        bare = unquote(value)
        if bare != value and value[0] == '"':
            for special in ('\\"', "\\$", "\\`", "\\\\"):
                bare = bare.replace(special, special[1])
        found[name] = (bare, number)
    return found


def inside(path: str, top: str) -> bool:
    """Tell whether `path` is `top` or below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")
