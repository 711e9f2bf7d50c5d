"""What a script's tests say as far as the disk and known words can tell (XCU "test"), and the files it reads in."""

from __future__ import annotations

import re

from analyzers._reading import absolute, inside
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest

MAX_TEXT = 1 << 18  # bytes of one script
_MAX_WORDS = 40  # of one test

_NOT_ON_DISK = ("/run", "/var/run", "/dev", "/proc", "/sys", "/tmp")  # noqa: S108  # compared
_YES, _NO = frozenset("yes true on y t 1".split()), frozenset("no false off n f 0".split())  # noqa: SIM905


class Files:
    """The disk as a script sees it from the directory it runs in: files to read in, and what `test` says of paths."""

    def __init__(self, guest: Guest | None = None, folder: str = "/") -> None:
        self.guest, self.folder = guest, folder

    def source(self, path: str) -> str | None:
        """Return the text of a file that `.` names, or None where it cannot be read."""
        path = absolute(path, self.folder)
        if self.guest is None or not self.guest.is_file(path):
            return None
        try:
            return self.guest.text(path, MAX_TEXT)
        except GuestFileError:
            return None

    def test(self, operator: str, path: str) -> bool | None:
        """Answer `test -f path` and its kin as root would get it; None for what a boot makes anew."""
        path = absolute(path, self.folder)
        if self.guest is None or any(inside(path, top) for top in _NOT_ON_DISK):
            return None
        entry = self.guest.stat(path)
        if operator in ("-h", "-L"):
            entry = self.guest.lstat(path)
            return entry is not None and entry.kind == "symlink"
        if entry is None:
            return False
        kinds = {"-f": entry.kind == "file", "-d": entry.kind == "directory", "-s": entry.size > 0}
        kinds |= {"-x": bool(entry.mode & 0o111), "-e": True, "-r": True, "-w": True}
        return kinds.get(operator)


def yesno(texts: list[str]) -> bool | None:
    """Answer OpenRC's `yesno` (sh/functions.sh)."""
    word = texts[0].lower() if len(texts) == 1 else ""
    return word in _YES if word in _YES | _NO else None


def answer(texts: list[str], files: Files) -> bool | None:
    """Answer test(1); of `-a` and `-o`, the first between two expressions splits (2.9, obsolescent)."""
    if len(texts) > _MAX_WORDS:
        return None
    for operator in ("-o", "-a") if len(texts) > 4 else ():
        if operator in texts[1:-1]:
            at = texts.index(operator, 1)
            told = (answer(texts[:at], files), answer(texts[at + 1 :], files))
            decisive = operator == "-o"
            if decisive in told:
                return decisive
            return None if None in told else not decisive
    match texts:
        case ["!", *rest] if rest:
            found = answer(rest, files)
            return None if found is None else not found
        case ["-n" | "-z" as operator, text]:
            return bool(text) == (operator == "-n")
        case [operator, path] if re.fullmatch(r"-[a-zA-Z]", operator):
            return files.test(operator, path)
        case [one, "=" | "==", other]:
            return one == other
        case [one, "!=", other]:
            return one != other
        case [text]:
            return bool(text)
    return None
