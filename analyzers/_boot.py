"""What a boot of the guest starts: everything that default.target pulls in, directly or by a trigger.

systemd.unit(5): Wants=, Requires=, BindsTo=, Upholds= and the `.wants`, `.requires` and `.upholds` directories
pull units in; After= and Before= only order. A socket or path unit that is started stands ready to start its
service, so that the service counts as started too; a timer's service does not, since it runs at times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from analyzers._conditions import unmet
from analyzers._expand import Specifiers, split_words
from analyzers._generators import Wanted, generated
from analyzers._reading import Reader
from analyzers._unit import Line, Unit, parse_name
from analyzers._unitfiles import UnitFiles
from migrate.guest.protocol import Guest
from migrate.model import Place

DEFAULT = "default.target"
_USUAL = ("graphical.target", "multi-user.target")

# A dependency, and the name `systemctl show` gives its other end.
_PULLS = {"Wants": "WantedBy", "Requires": "RequiredBy", "BindsTo": "BoundBy", "Upholds": "UpheldBy"}
_FOLDERS = {"wants": "WantedBy", "requires": "RequiredBy", "upholds": "UpheldBy"}
_TRIGGERS = ("socket", "path", "timer")


class Cause(msgspec.Struct, frozen=True, order=True):
    """Why a unit is started: `relation` as `systemctl show` names it, the unit at the other end, the place."""

    relation: str
    unit: str
    place: Place


class Boot(msgspec.Struct, frozen=True):
    """The result: for each unit by canonical name why it is started, and what keeps it from starting.

    `direct` are units pulled in; `triggered` services that a started socket or path stands ready for;
    `timed` services that a started timer runs; `barred` units with a condition that is surely not met.
    """

    direct: dict[str, Cause]
    triggered: dict[str, Cause]
    timed: dict[str, Cause]
    barred: dict[str, Line]

    def starts(self, name: str) -> bool:
        """Tell whether a boot starts a unit, or makes it ready to be started by a socket or a path."""
        return name not in self.barred and (name in self.direct or name in self.triggered)

    def cause(self, name: str) -> Cause | None:
        """Return why a unit is started, the strongest reason first."""
        return self.direct.get(name) or self.triggered.get(name) or self.timed.get(name)


class System:
    """The units of a guest with what resolving them takes: specifiers, generated ties, and the boot."""

    def __init__(self, guest: Guest, analyzer: str) -> None:
        self.guest = guest
        self.reader = Reader(guest, analyzer)
        self.units = UnitFiles(guest, self.reader)
        self.specifiers = Specifiers(guest)
        self._generated: list[Wanted] = generated(guest, self.reader) if self.units.directories else []
        self.boot = self._walk()

    def expand(self, unit: Unit, text: str) -> str:
        """Resolve the specifiers of a unit's setting."""
        return self.specifiers.resolve(text, unit.name, unit.path)

    def words(self, unit: Unit, line: Line) -> list[str]:
        """Return the words of a list setting, specifiers resolved; a note and nothing where it cannot be split."""
        try:
            return [self.expand(unit, word) for word in split_words(line.value)]
        except ValueError as error:
            self.reader.note(line.place.path, f"{line.key}=: {error}", line.place.line)
            return []

    def triggers(self, unit: Unit) -> str | None:
        """Return the unit a socket, path or timer starts: its Unit= or Service=, or the one of its own name."""
        name = unit.name
        if name.type == "socket":
            named = unit.last("Socket", "Service")
            accept = unit.yes("Socket", "Accept")
            default = f"{name.prefix}@.service" if accept else f"{name.stem}.service"
        else:
            named = unit.last(name.type.capitalize(), "Unit")
            default = f"{name.stem}.service"
        target = self.expand(unit, named.value) if named else default
        return self.units.canonical(target)

    # ------------------------------------------------------------ the walk

    def _walk(self) -> Boot:
        boot = Boot({}, {}, {}, {})
        start = self.units.canonical(DEFAULT)
        roots = [start] if start else [*_USUAL]
        waiting = deque((name, Cause("", DEFAULT, Place("/"))) for name in roots)
        seen: set[str] = set()
        while waiting:
            name, cause = waiting.popleft()
            if name in seen:
                continue
            seen.add(name)
            boot.direct[name] = cause
            waiting.extend(self._pulled(name))
        for name in sorted(seen):
            self._bar(boot, name)
        self._ready(boot, seen)
        return boot

    def _bar(self, boot: Boot, name: str) -> None:
        unit = self.units.load(name)
        line = unmet(self.guest, unit, lambda text: self.expand(unit, text)) if unit is not None else None
        if line is not None:
            boot.barred[name] = line

    def _ready(self, boot: Boot, started: set[str]) -> None:
        """Add what started sockets, paths and timers stand ready for, and what that pulls in, in turn."""
        waiting = deque(sorted(name for name in started if name.endswith(tuple(f".{t}" for t in _TRIGGERS))))
        while waiting:
            unit = self.units.load(waiting.popleft())
            target = self.triggers(unit) if unit is not None and unit.name.full not in boot.barred else None
            if unit is None or target is None or unit.mask:
                continue
            kept = boot.timed if unit.name.type == "timer" else boot.triggered
            kept.setdefault(target, Cause("TriggeredBy", unit.name.full, Place(unit.path, 1)))
            self._bar(boot, target)
            if kept is boot.triggered:
                for name, cause in self._below(target, boot, started):
                    boot.triggered.setdefault(name, cause)
                    started.add(name)
                    self._bar(boot, name)
                    if name.endswith((".socket", ".path", ".timer")):
                        waiting.append(name)

    def _below(self, top: str, boot: Boot, started: set[str]) -> Iterator[tuple[str, Cause]]:
        """Yield all that a triggered service pulls in and that was not started before."""
        waiting, seen = deque(self._pulled(top)), set(started)
        while waiting:
            name, cause = waiting.popleft()
            if name not in seen and name not in boot.triggered:
                seen.add(name)
                yield name, cause
                waiting.extend(self._pulled(name))

    def _pulled(self, name: str) -> Iterable[tuple[str, Cause]]:
        """Return the units that starting `name` starts too, by canonical name, with the reason."""
        unit = self.units.load(name)
        if unit is not None and unit.mask:
            return []
        found: list[tuple[str, Cause]] = []
        if unit is not None:
            for key, relation in _PULLS.items():
                for line in unit.all("Unit", key):
                    found += [(word, Cause(relation, name, line.place)) for word in self.words(unit, line)]
            for line in unit.all("Service", "Sockets"):
                found += [(word, Cause("WantedBy", name, line.place)) for word in self.words(unit, line)]
        for suffix, relation in _FOLDERS.items():
            found += [(other, Cause(relation, name, place)) for other, place in self.units.linked(name, suffix)]
        found += [(other, Cause("WantedBy", name, place)) for one, other, place in self._generated if one == name]
        return [(full, cause) for other, cause in found if (full := self._named(other)) is not None]

    def _named(self, name: str) -> str | None:
        """Return the canonical name of a unit to start: it has a file that is not masked, or it is a target.

        A target needs no file to gather what its `.wants` directory links to.
        """
        parts = parse_name(name)
        if parts is None or parts.is_template:
            return None
        full = self.units.canonical(name)
        if full is None:
            return name if parts.type == "target" else None
        unit = self.units.load(full)
        return None if unit is None or unit.mask else full


def runs_systemd(guest: Guest) -> bool:
    """Tell whether systemd is what boots the guest: /sbin/init leads to it, or there is none and units are there."""
    init = guest.resolve("/sbin/init")
    if init is not None:
        return init.rpartition("/")[2] == "systemd"
    return any(guest.is_dir(path) for path in ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"))
