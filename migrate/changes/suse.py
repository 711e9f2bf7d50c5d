"""SUSE's permission profiles: chkstat(8), today permctl(8), gives packaged files modes, owners and capabilities."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from migrate.changes.aspects import octal
from migrate.changes.capabilities import parse
from migrate.changes.explain import Case
from migrate.changes.settings import Lines
from migrate.model import Place

_FOLDERS = ("/usr/share/permissions", "/etc")
_LEVELS = re.compile(r'PERMISSION_SECURITY="?([\w -]*)"?')
_LEVEL = re.compile(r"[\w-]{1,40}")
_ENTRY = re.compile(r"(/\S*)\s+([^\s:.]+)[:.](\S+)\s+([0-7]{3,5})")
_VARIABLE = re.compile(r"(\w{1,64})\s*=\s*(.+)")
_USE = re.compile(r"%\{(\w+)\}")
_MAX_PATHS = 64
_MAX_ENTRIES = 50_000


class Entry(msgspec.Struct, frozen=True):
    """One entry of permissions(5), with its line: what the profile gives a path."""

    place: Place
    user: str
    group: str
    mode: int
    capabilities: str = ""

    def gives(self, case: Case) -> bool:
        """Tell whether what was found is what the profile gives."""
        found = case.difference.found
        if case.difference.aspect == "capabilities":
            return parse(found) == parse(self.capabilities)
        return found == {"mode": octal(self.mode), "user": self.user, "group": self.group}[case.difference.aspect]


def expand(path: str, variables: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the paths that one with `%{name}` stands for, at most 64; none where a variable is not known.

    >>> expand("%{dirs}/x", {"dirs": ["/usr/lib", "/usr/libexec"]})
    ['/usr/lib/x', '/usr/libexec/x']
    """
    parts = _USE.split(path)
    choices = [variables.get(part, ()) if at % 2 else (part,) for at, part in enumerate(parts)]
    found = ("".join(each).replace("//", "/") for each in itertools.product(*choices[:9]))
    return list(itertools.islice(found, _MAX_PATHS))


def parse_entries(lines: Sequence[tuple[Place, str]], variables: Mapping[str, Sequence[str]]) -> dict[str, Entry]:
    """Return the entries of permissions(5) by path; a later one replaces an earlier, `+capabilities` extends one."""
    found: dict[str, Entry] = {}
    last: list[str] = []
    for place, line in lines:
        if line.startswith("+capabilities"):
            given = line.partition(" ")[2].strip()
            found.update({path: msgspec.structs.replace(found[path], capabilities=given) for path in last})
        elif match := _ENTRY.fullmatch(line if line.startswith("/") else f"/{line}" if line.startswith("%") else ""):
            last = [path.rstrip("/") for path in expand(match[1], variables)]
            found.update(dict.fromkeys(last, Entry(place, match[2], match[3], int(match[4], 8) & 0o7777)))
        if len(found) > _MAX_ENTRIES:
            break
    return found


class Profiles:
    """What the profiles in force give; /etc/sysconfig/security names them, `secure local` where it does not."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._entries: Mapping[str, Entry] | None = None

    def __call__(self, case: Case) -> Place | None:
        """Return the line that gives a path what was found on it."""
        if self._entries is None:
            self._entries = parse_entries(list(self._read()), self._variables())
        entry = self._entries.get(case.path)
        return entry.place if entry is not None and entry.gives(case) else None

    def _variables(self) -> dict[str, list[str]]:
        found = (_VARIABLE.fullmatch(line) for _, line in self._lines.of("/usr/share/permissions/variables.conf"))
        return {match[1]: match[2].split()[:_MAX_PATHS] for match in found if match}

    def _read(self) -> Iterator[tuple[Place, str]]:
        named = (_LEVELS.fullmatch(line) for _, line in self._lines.of("/etc/sysconfig/security"))
        text = next((match[1] for match in named if match), "") or "secure local"
        levels = ["", *(f".{level}" for level in text.split() if _LEVEL.fullmatch(level))]
        for level in levels:
            for folder in _FOLDERS:
                yield from self._lines.of(f"{folder}/permissions{level}")
            if level != ".local":
                folders = (f"{folder}/permissions.d/*{level}" for folder in _FOLDERS)
                yield from self._lines.below(*folders)
