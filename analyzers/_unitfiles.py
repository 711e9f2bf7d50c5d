"""The units of a guest as systemd finds them on disk: search path, shadowing, masks, aliases, drop-ins.

systemd.unit(5), "Unit File Load Path"; how links become aliases and which drop-in wins is
`unit_file_build_name_map` and `unit_file_find_dropin_paths` of src/shared/unit-file.c and dropin.c.
A disk that is not running has no /run, so what generators make there is missing (see `_generators`).
"""

from __future__ import annotations

import posixpath

import msgspec

from analyzers._reading import Reader, absolute
from analyzers._unit import (
    TYPES,
    Assignment,
    Line,
    Unit,
    UnitError,
    UnitName,
    dropin_names,
    is_systemds_own,
    parse,
    parse_name,
)
from migrate.guest.protocol import Guest
from migrate.model import Place

SEARCH_PATH = (
    "/etc/systemd/system.control",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
MANAGER_CONF = "systemd/system.conf"
_CONF_TREES = ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
_LONGEST_FILE = 256 << 10  # bytes; the longest unit of Debian 12's archive has 12 KiB
_MOST_FAULTS = 10  # lines of one file that are told one by one
_MAX_ALIASES = 8  # FOLLOW_MAX of src/shared/unit-file.c


class _File(msgspec.Struct, frozen=True):
    """What a name in the search path stands for: a file, a mask, or another name."""

    place: str
    path: str = ""
    alias: str = ""

    @property
    def masked(self) -> bool:
        return not self.path and not self.alias


class UnitFiles:
    """All units of one guest. Lines that systemd passes over are noted in the reader's `unread`."""

    def __init__(self, guest: Guest, reader: Reader) -> None:
        self.guest = guest
        self.reader = reader
        self.directories = self._directories()
        self._names: dict[str, _File] = {}
        self._below: dict[str, _File] = {}
        self._listing = {directory: frozenset(guest.listdir(directory)) for directory in self.directories}
        for directory in self.directories:
            for name in sorted(self._listing[directory]):
                self._enter(directory, name)
        self._units: dict[str, Unit | None] = {}
        self._files: dict[str, list[Line]] = {}
        self._own: set[str] = set()
        self._aliases: dict[str, list[str]] = {}
        for name in sorted(self._names):
            target = self.canonical(name)
            if target is not None and target != name:
                self._aliases.setdefault(target, []).append(name)

    def _directories(self) -> list[str]:
        """Return the directories of the search path, each once (`/lib` is `/usr/lib` on most machines)."""
        found: dict[str, str] = {}
        for path in SEARCH_PATH:
            real = self.guest.resolve(path)
            if real is not None and self.guest.is_dir(real):
                found.setdefault(real, path)
        return list(found)

    def _enter(self, directory: str, name: str) -> None:
        if parse_name(name) is None:
            return
        file = self._classify(directory, name)
        if file is None:
            return
        if name not in self._names:
            self._names[name] = file
        elif self._names[name].masked and not file.masked:
            self._below.setdefault(name, file)

    def _classify(self, directory: str, name: str) -> _File | None:
        place = f"{directory}/{name}"
        entry = self.guest.lstat(place)
        if entry is None or entry.kind not in {"file", "symlink"}:
            return None
        if entry.kind == "file":
            return _File(place, path=place) if entry.size else _File(place)
        target = absolute(entry.target, directory)
        if target == "/dev/null" or self.guest.resolve(place) == "/dev/null":
            return _File(place)
        base = posixpath.basename(target)
        parts = parse_name(name)
        if (
            base not in (name, parts.template if parts else None)
            and self._in_search_path(target)
            and _may_alias(name, base)
        ):
            return _File(place, alias=base)
        real = self.guest.stat(place)
        if real is None or real.kind != "file":
            return None
        if real.size == 0:
            return _File(place)
        return _File(place, path=real.path)

    def _in_search_path(self, path: str) -> bool:
        directory = self.guest.resolve(posixpath.dirname(path))
        return directory in self.directories or posixpath.dirname(path) in SEARCH_PATH

    # ------------------------------------------------------------ names

    def names(self, kind: str) -> list[str]:
        """Return the names with a file of their own (masked ones and templates among them), sorted."""
        return sorted(name for name, file in self._names.items() if name.endswith(f".{kind}") and not file.alias)

    def canonical(self, name: str) -> str | None:
        """Return the name a unit is loaded under: aliases followed, instances kept. None where there is no file."""
        for _ in range(_MAX_ALIASES):
            found, instance = self._look_up(name)
            if found is None:
                return None
            if not found.alias:
                return name
            target = parse_name(found.alias)
            name = found.alias
            if instance and target is not None and target.is_template:
                name = f"{target.prefix}@{instance}.{target.type}"
        return None

    def _look_up(self, name: str) -> tuple[_File | None, str]:
        """Return the entry for a name and, where it is the template's, the instance asked for."""
        parts = parse_name(name)
        if parts is None:
            return None, ""
        if name in self._names:
            return self._names[name], parts.instance or ""
        template = parts.template
        return (self._names.get(template) if template else None), parts.instance or ""

    def aliases(self, name: str) -> list[str]:
        """Return the other names of a unit, sorted."""
        return self._aliases.get(name, [])

    def has(self, name: str) -> bool:
        """Tell whether systemd finds a file or a mask for that name."""
        return self._look_up(name)[0] is not None

    # ------------------------------------------------------------ contents

    def load(self, name: str) -> Unit | None:
        """Return a unit with its drop-ins; None where there is none or systemd refuses its file.

        A masked unit is returned with its `mask`, and what the mask hides, where it hides something.
        """
        target = self.canonical(name)
        if target is None:
            return None
        if target not in self._units:
            self._units[target] = self._load(target)
        return self._units[target]

    def _load(self, name: str) -> Unit | None:
        parts = parse_name(name)
        file, _ = self._look_up(name)
        if parts is None or file is None:
            return None
        mask = None
        if file.masked:
            mask = Place(file.place)
            template = parts.template or ""
            hidden = next((f for f in (self._below.get(name), self._names.get(template)) if f and f.path), None)
            if hidden is None:
                return None
            file = hidden
        lines = self._lines(file.path)
        if lines is None:
            return None
        every = list(lines)
        for path in self._dropins(parts):
            every.extend(self._lines(path) or ())
        return Unit(name=parts, path=file.path, lines=tuple(every), own=file.path in self._own, mask=mask)

    def _lines(self, path: str) -> list[Line] | None:
        """Return the assignments of one file, or None, with a note, where systemd loads nothing of it."""
        if path in self._files:
            return self._files[path]
        text = self.reader.text(path, _LONGEST_FILE)
        if text is None:
            return None
        try:
            found, faults = parse(text)
        except UnitError as error:
            self.reader.note(path, error.why, error.line)
            return None
        for fault in faults[:_MOST_FAULTS]:
            self.reader.note(path, fault.why, fault.line)
        if faults[_MOST_FAULTS:]:
            self.reader.note(path, f"{len(faults) - _MOST_FAULTS} more lines that systemd passes over")
        lines = [_placed(line, path) for line in found]
        if is_systemds_own(text):
            self._own.add(path)
        self._files[path] = lines
        return lines

    def _dropins(self, name: UnitName) -> list[str]:
        """Return the drop-ins of a unit in the order they apply: by file name, the most particular of equal ones."""
        stems = dropin_names(name)
        others = [n for alias in self.aliases(name.full) if (n := parse_name(alias)) is not None]
        folders = [f"{top}/{stem}.d" for top in self.directories for stem in stems]
        folders += [f"{top}/{stem}.d" for other in others for top in self.directories for stem in dropin_names(other)]
        folders += [f"{top}/{name.type}.d" for top in self.directories]
        return self._conf_files(folders)

    def _conf_files(self, folders: list[str]) -> list[str]:
        """Return the *.conf of these folders by name; the first folder wins, and a link to /dev/null hides."""
        found: dict[str, str] = {}
        for folder in folders:
            top, _, base = folder.rpartition("/")
            if top in self._listing and base not in self._listing[top]:
                continue
            for name in self.guest.listdir(folder):
                if name.endswith(".conf") and not name.startswith("."):
                    found.setdefault(name, f"{folder}/{name}")
        real = (self.guest.resolve(found[name]) for name in sorted(found))
        return [path for path in real if path is not None and self.guest.is_file(path)]

    # ------------------------------------------------------------ ties

    def linked(self, name: str, suffix: str) -> list[tuple[str, Place]]:
        """Return the units in a unit's `.wants`, `.requires` or `.upholds` directories, each with its link."""
        parts = parse_name(name)
        if parts is None:
            return []
        found: dict[str, tuple[str, Place] | None] = {}
        for full in (name, *self.aliases(name)):
            owner = parse_name(full)
            stems = dropin_names(owner) if owner is not None else []
            for top in self.directories:
                for stem in stems:
                    if f"{stem}.{suffix}" in self._listing[top]:
                        self._links(f"{top}/{stem}.{suffix}", found)
        return [found[entry] for entry in sorted(found) if found[entry] is not None]  # type: ignore[misc]

    def _links(self, folder: str, found: dict[str, tuple[str, Place] | None]) -> None:
        for entry in self.guest.listdir(folder):
            if entry in found or parse_name(entry) is None:
                continue
            link = self.guest.lstat(f"{folder}/{entry}")
            hides = link is not None and link.kind == "symlink" and link.target == "/dev/null"
            found[entry] = None if hides else (entry, Place(f"{folder}/{entry}"))

    def instances(self) -> list[str]:
        """Return the instances that have drop-ins of their own: somebody made them, started or not."""
        names = {
            n.removesuffix(".d") for listing in self._listing.values() for n in listing if n.endswith(".service.d")
        }
        parsed = (parse_name(name) for name in sorted(names))
        return [n.full for n in parsed if n is not None and n.instance and n.full not in self._names]

    # ------------------------------------------------------------ the manager's own configuration

    def manager(self) -> dict[str, Line]:
        """Return what [Manager] of system.conf and its drop-ins set (systemd-system.conf(5))."""
        main = next((p for top in _CONF_TREES if self.guest.is_file(p := f"{top}/{MANAGER_CONF}")), None)
        paths = [self.guest.resolve(main)] if main else []
        paths += self._conf_files([f"{top}/{MANAGER_CONF}.d" for top in _CONF_TREES])
        found: dict[str, Line] = {}
        for path in paths:
            for line in self._lines(path) or () if path else ():
                if line.section == "Manager":
                    found[line.key] = line
        return {key: found[key] for key in sorted(found) if found[key].value}


def _placed(line: Assignment, path: str) -> Line:
    return Line(line.section, line.key, line.value, Place(path, line.line))


def _may_alias(name: str, target: str) -> bool:
    """Tell whether one unit name may stand for another: of one type, and both or neither with an `@`."""
    one, other = parse_name(name), parse_name(target)
    return (
        one is not None
        and other is not None
        and one.type == other.type
        and one.type in TYPES
        and (one.instance is None) == (other.instance is None)
    )
