"""What can be said of modes and owners that no database recorded: dpkg, Portage and older opkg keep none.

A packaged program that is setuid or setgid and is no known one, or has capabilities, differs in that, as one of
Debian's that needs the bit and lost it without an override of dpkg-statoverride(1); and where a
Debian package brought the path, one that everybody may write to, or that belongs to a person, for Debian Policy 9.2.2
and 10.9 allow no package to ship that. `Difference.shipped` is empty then. What a maintainer script did is found in it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from fnmatch import translate
from functools import cache
from importlib import resources
from itertools import product

import yaml

from migrate.changes.aspects import Names, capabilities, octal
from migrate.changes.expected import Expected
from migrate.changes.explain import Case
from migrate.changes.model import Difference
from migrate.changes.texts import Texts
from migrate.guest.protocol import Entry, Guest
from migrate.model import Place

_DPKG = "/var/lib/dpkg/"
_INFO = "/var/lib/dpkg/info"
# A bare list of files, as ttylinux keeps it, comes from a distribution of its own, whose programs nobody has listed.
_OF_A_DATABASE = re.compile(r"/var/lib/dpkg/|/var/db/pkg/|.*/opkg/").match
_PRIVILEGED = stat.S_ISUID | stat.S_ISGID
_PEOPLE = range(1000, 60000)  # Debian Policy 9.2.2: accounts that people have
_DYNAMIC = range(100, 60000)  # and those that maintainer scripts make: no file of an archive belongs to one
_MAX_SCRIPT = 1 << 20
_MAX_LOOKS = 10_000  # a machine has some twenty programs with more rights than their caller's
_BRACES = re.compile(r"\{([^{}]*)\}")
UNRECORDED = frozenset({"mode", "user", "group", "capabilities"})
_DOES = {
    "mode": re.compile(r"\b(?:chmod|install|dpkg-statoverride|setcap)\b"),
    "user": re.compile(r"\b(?:chown|install|dpkg-statoverride)\b"),
    "group": re.compile(r"\b(?:chown|chgrp|install|dpkg-statoverride)\b"),
    "capabilities": re.compile(r"\bsetcap\b"),
}


def unrecorded(expected: Expected, entry: Entry | None, names: Names) -> Iterator[Difference]:
    """Yield what of an entry's mode, owner and capabilities no package ships, where none of it was recorded."""
    if entry is None or entry.kind == "symlink" or not _OF_A_DATABASE(expected.seen_in.path):
        return
    if "capabilities" in expected.shipped.unchecked and entry.kind == "file" and (found := capabilities(entry)):
        yield Difference("capabilities", "", str(found))
    if "mode" not in expected.shipped.unchecked:
        return
    of_dpkg = expected.seen_in.path.startswith(_DPKG)
    if _is_open(entry, of_dpkg):
        yield Difference("mode", "", octal(entry.mode))
    if of_dpkg:
        if entry.kind == "file" and (bit := _always().get(entry.path, 0)) & ~entry.mode:
            yield Difference("mode", octal(entry.mode | bit), octal(entry.mode))
        never = _DYNAMIC if entry.kind == "file" and entry.path.startswith("/usr/") else _PEOPLE
        if entry.uid in never:
            yield Difference("user", "", names.user(entry.uid))
        if entry.gid in never and not entry.mode & stat.S_ISGID:
            yield Difference("group", "", names.group(entry.gid))


def _is_open(entry: Entry, of_dpkg: bool) -> bool:
    if entry.kind == "file" and entry.mode & _PRIVILEGED:
        return True
    sticky = entry.kind == "directory" and entry.mode & stat.S_ISVTX
    return of_dpkg and entry.kind in {"file", "directory"} and bool(entry.mode & stat.S_IWOTH) and not sticky


@cache
def _table() -> dict[str, list[str]]:
    text = resources.files("migrate.changes").joinpath("privileged.yaml").read_text("utf-8")
    table: dict[str, list[str]] = yaml.safe_load(text)
    return table


@cache
def _known() -> dict[int, re.Pattern[str]]:
    return {
        bit: re.compile("|".join(translate(each) for pattern in _table()[name] for each in expand(pattern)))
        for name, bit in (("setuid", stat.S_ISUID), ("setgid", stat.S_ISGID))
    }


@cache
def _capable() -> frozenset[str]:
    return frozenset(path for pattern in _table()["capabilities"] for path in expand(pattern))


@cache
def _always() -> dict[str, int]:
    return {
        path: bit
        for name, bit in (("always_setuid", stat.S_ISUID), ("always_setgid", stat.S_ISGID))
        for pattern in _table()[name]
        for path in expand(pattern)
    }


def expand(pattern: str) -> list[str]:
    """Return the patterns that one with `{a,b}` stands for.

    >>> expand("/usr/{bin,sbin}/x")
    ['/usr/bin/x', '/usr/sbin/x']
    """
    parts = _BRACES.split(pattern)
    return ["".join(each) for each in product(*(p.split(",") if at % 2 else [p] for at, p in enumerate(parts)))]


def known_privileged(case: Case) -> Place | None:
    """Return the place of a program's package where the rights it has are those that distributions ship it with."""
    entry = case.entry
    if entry is None or case.difference.shipped or entry.mode & stat.S_IWOTH:
        return None
    path = "/usr" + case.path if case.path.startswith(("/bin/", "/lib/")) else case.path
    if case.difference.aspect == "capabilities":
        return case.expected.seen_in if path in _capable() else None
    bits = [bit for bit in (stat.S_ISUID, stat.S_ISGID) if entry.mode & bit]
    return case.expected.seen_in if bits and all(_known()[bit].match(path) for bit in bits) else None


class MaintainerScript:
    """Looks for a path in the script that dpkg ran once the package was unpacked."""

    def __init__(self, guest: Guest) -> None:
        self._texts = Texts(guest)
        self._left = _MAX_LOOKS

    def __call__(self, case: Case) -> Place | None:
        """Return the line of the package's postinst that names the path, where the script sets what differs."""
        does = _DOES.get(case.difference.aspect)
        listing = case.expected.seen_in.path
        if does is None or not listing.startswith(f"{_INFO}/") or case.difference.shipped:
            return None
        script = f"{listing.rpartition('.')[0]}.postinst"
        self._left -= 1
        lines = self._lines(script) if self._left >= 0 else []
        name = re.compile(rf"(?<![\w.-]){re.escape(case.path.rpartition('/')[2])}(?![\w.-])")
        if not any(does.search(line) for line in lines):
            return None
        return next((Place(script, n) for n, line in enumerate(lines, 1) if name.search(line)), None)

    def _lines(self, script: str) -> list[str]:
        # A comment names what is not done; its line stays, so that the others keep their numbers.
        text = self._texts.of(script, _MAX_SCRIPT)
        return ["" if line.lstrip().startswith("#") else line for line in text.split("\n")]
