"""Unit files as systemd reads them: lines to assignments, names to their parts, assignments to what is in force.

The grammar is systemd.syntax(7); where the manual is silent, `config_parse` of systemd's
src/shared/conf-parser.c decides (a comment inside a continuation is skipped; a line that is not UTF-8 is
left out; a broken section header makes the whole file invalid). Names are systemd.unit(5).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import msgspec

from migrate.model import Place

TYPES = ("service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope")
_NAME = re.compile(rf"([A-Za-z0-9:_.\\-]+)(?:(@)([A-Za-z0-9:_.\\@-]*))?\.({'|'.join(TYPES)})")
_BLANKS = " \t\n\r"
_LONGEST_NAME = 255  # UNIT_NAME_MAX

# Names of old that are still read (load-fragment-gperf.gperf.in), and one that stands for two (systemd.service(5)).
_OTHER_NAMES = {
    "ReadWriteDirectories": ("ReadWritePaths",),
    "ReadOnlyDirectories": ("ReadOnlyPaths",),
    "InaccessibleDirectories": ("InaccessiblePaths",),
    "BindTo": ("BindsTo",),
    "TimeoutSec": ("TimeoutStartSec", "TimeoutStopSec"),
}


class UnitError(ValueError):
    """A file that systemd refuses to load as a whole; `line` is where, from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why


class Assignment(msgspec.Struct, frozen=True):
    """One `key=value` of a file; `line` is where it begins, from 1."""

    section: str
    key: str
    value: str
    line: int


class Fault(msgspec.Struct, frozen=True):
    """A line that systemd passes over, and why."""

    line: int
    why: str


class UnitName(msgspec.Struct, frozen=True):
    """A unit's name and its parts. `instance` is None without an `@`, and empty for a template."""

    full: str
    prefix: str
    instance: str | None
    type: str

    @property
    def id(self) -> str:
        """The name without its suffix for a service (`nginx`), the whole name for all else (`ssh.socket`)."""
        return self.stem if self.type == "service" else self.full

    @property
    def stem(self) -> str:
        """The name without its suffix, of any type."""
        return self.full[: -len(self.type) - 1]

    @property
    def is_template(self) -> bool:
        """Whether it is a template (`getty@.service`)."""
        return self.instance == ""

    @property
    def template(self) -> str | None:
        """The name of the template an instance is made from."""
        return f"{self.prefix}@.{self.type}" if self.instance else None


class Line(msgspec.Struct, frozen=True):
    """An assignment with its place on the guest."""

    section: str
    key: str
    value: str
    place: Place


class Unit(msgspec.Struct, frozen=True, dict=True):
    """A unit with its drop-ins: `lines` in the order systemd applies them.

    `path` is the real path of the main file. `own` tells that the file is one of systemd's own (its header
    says so). `mask` is the place of a mask over it.
    """

    name: UnitName
    path: str
    lines: tuple[Line, ...]
    own: bool = False
    mask: Place | None = None

    @cached_property
    def _places(self) -> dict[tuple[str, str], list[int]]:
        """Where in `lines` each setting is assigned."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for at, line in enumerate(self.lines):
            found[line.section, line.key].append(at)
        return dict(found)

    def last(self, section: str, key: str) -> Line | None:
        """Return the assignment in force of a setting that holds one value; None where it is unset or emptied."""
        places = self._places.get((section, key))
        return self.lines[places[-1]] if places and self.lines[places[-1]].value else None

    def value(self, section: str, key: str, default: str = "") -> str:
        """Return the text of `last`, or `default`."""
        line = self.last(section, key)
        return line.value if line else default

    def all(self, section: str, *keys: str) -> list[Line]:
        """Return the assignments in force of settings that hold one list: an empty one forgets those before it."""
        kept: list[Line] = []
        for at in sorted(at for key in keys for at in self._places.get((section, key), ())):
            if self.lines[at].value:
                kept.append(self.lines[at])
            else:
                kept.clear()
        return kept

    def yes(self, section: str, key: str) -> bool:
        """Tell whether a boolean is set (systemd.syntax(7): 1, yes, true, on)."""
        return truth(self.value(section, key))


def truth(text: str) -> bool:
    """Tell whether `text` is one of systemd's words for true."""
    return text.lower() in {"1", "yes", "y", "true", "t", "on"}


def parse_name(name: str) -> UnitName | None:
    """Return the parts of a unit's name, or None where systemd takes it for none (systemd.unit(5))."""
    match = _NAME.fullmatch(name)
    if match is None or len(name) > _LONGEST_NAME:
        return None
    prefix, at, instance, kind = match.groups()
    return UnitName(full=name, prefix=prefix, instance=instance if at else None, type=kind)


def unescape(text: str) -> str:
    r"""Undo systemd-escape(1): `-` is `/`, `\x2d` a byte.

    >>> unescape(r"srv-web\x2d1")
    'srv/web-1'
    """
    raw = re.sub(
        rb"\\x([0-9a-fA-F]{2})|-",
        lambda match: bytes([int(match[1], 16)]) if match[1] else b"/",
        text.encode("utf-8", "surrogateescape"),
    )
    return raw.decode("utf-8", "surrogateescape")


def dropin_names(name: UnitName) -> list[str]:
    """Return the names whose `.d` directories hold drop-ins for a unit, the most particular first.

    `foo-bar@x.service` reads its own, the template's, `foo-.service`'s and then those of `foo-@x.service` and
    `foo-@.service` (systemd.unit(5); the order is that of `unit_file_find_dirs`, src/shared/dropin.c). The
    type's own (`service.d`) come last and are not among these.
    """
    names = [name.full]
    if name.instance:
        names += dropin_names(UnitName(f"{name.prefix}@.{name.type}", name.prefix, "", name.type))
    stem = name.prefix.removesuffix("-")
    cut = stem.rfind("-")
    if cut > 0:
        prefix, at = stem[: cut + 1], f"@{name.instance}" if name.instance else ""
        names += dropin_names(UnitName(f"{prefix}{at}.{name.type}", prefix, name.instance or None, name.type))
    return list(dict.fromkeys(names))


def _ends_open(line: str) -> bool:
    """Tell whether a line goes on: its last backslash is not itself escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Yield lines with continuations joined by a blank, each with the number of the line it begins on."""
    begun: list[str] = []
    started = 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.lstrip(_BLANKS).rstrip("\r")
        if line.startswith(("#", ";")):
            continue
        started = started or number
        if _ends_open(line):
            begun.append(line[:-1])
            continue
        yield started, " ".join([*begun, line]).strip(_BLANKS)
        begun, started = [], 0
    if begun:
        yield started, " ".join(begun).strip(_BLANKS)


def parse(text: str) -> tuple[list[Assignment], list[Fault]]:
    """Parse one unit file or drop-in.

    Returns the assignments in order (an empty value is kept: it resets) and the lines systemd passes over.
    Raises UnitError where systemd loads nothing of the file.
    """
    found: list[Assignment] = []
    faults: list[Fault] = []
    section = ""
    for number, line in _logical_lines(text):
        if not line:
            continue
        if any("\ud800" <= char <= "\udfff" for char in line):
            faults.append(Fault(number, "the line is not UTF-8, and systemd passes over it"))
        elif line.startswith("["):
            if not line.endswith("]"):
                raise UnitError(number, "a section header without its closing bracket: systemd loads nothing of it")
            section = line[1:-1]
        elif "=" not in line:
            faults.append(Fault(number, "neither a section, a comment nor an assignment: systemd passes over it"))
        else:
            key, value = (part.strip(_BLANKS) for part in line.split("=", 1))
            if not key:
                faults.append(Fault(number, "an assignment to no name: systemd passes over it"))
            elif not section:
                faults.append(Fault(number, "an assignment before any section: systemd passes over it"))
            else:
                names = _OTHER_NAMES.get(key, (key,))
                found.extend(Assignment(section, name, value, number) for name in names)
    return found, faults


def is_systemds_own(text: str) -> bool:
    """Tell whether a file's leading comment says that it is part of systemd (each of its own units does)."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return False
        if "This file is part of systemd." in line:
            return True
    return False
