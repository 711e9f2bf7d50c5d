"""Timers of systemd as jobs: when, in crontab's words where those can say it exactly, and what they run.

systemd.timer(5), systemd.time(7).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from analyzers._boot import System
from analyzers._calendar import CalendarError, parse, time_span, to_fields
from analyzers._schedule import Fields, NotExpressible, every, render, union
from analyzers._service import Services
from analyzers._unit import Line, Unit, parse_name
from migrate.model import Job

_AT_BOOT = ("OnActiveSec", "OnBootSec", "OnStartupSec")
_INTERVALS = ("OnUnitActiveSec", "OnUnitInactiveSec")
_TIMES = ("OnCalendar", *_AT_BOOT, *_INTERVALS)
_ZONES = "/usr/share/zoneinfo"

# What shifts or catches up a run; crontab has no word for it, so it is kept in the original text.
_NOTED = ("RandomizedDelaySec", "FixedRandomDelay", "Persistent", "AccuracySec", "WakeSystem", "RemainAfterElapse")


class Schedule(msgspec.Struct, frozen=True):
    """When a timer elapses. `cron` is None where no single crontab line says it."""

    cron: str | None
    at_boot: bool
    timezone: str
    original: str


def schedule(system: System, unit: Unit, started: bool) -> Schedule:
    """Return when a timer elapses; lines that systemd refuses are noted.

    `started` tells that the boot starts the timer's service too: an interval counts from its last start, and
    without one that another setting or the boot gives, it never begins.
    """
    lines = unit.all("Timer", *_TIMES)  # an empty one of them forgets all
    noted = [line for key in _NOTED if (line := unit.last("Timer", key)) is not None]
    found: list[tuple[Fields, str]] = []
    intervals: list[Fields] = []
    exact, at_boot = True, False
    for line in lines:
        try:
            if line.key in _AT_BOOT:
                at_boot = time_span(line.value) is not None or at_boot
            elif line.key == "OnCalendar":
                found.append(_event(system, system.expand(unit, line.value)))
            else:
                intervals.append(_interval(line))
        except NotExpressible:
            exact = False
        except CalendarError as error:
            system.reader.note(line.place.path, f"{line.key}=: {error}", line.place.line)
    if at_boot or started or found:
        found += [(fields, "") for fields in intervals]
    together = union([fields for fields, _ in found]) if len({zone for _, zone in found}) == 1 and exact else None
    return Schedule(
        cron=render(together) if together is not None else None,
        at_boot=at_boot,
        timezone=found[0][1] if together is not None else "",
        original="; ".join(f"{line.key}={line.value}" for line in (*lines, *noted)),
    )


def _event(system: System, text: str) -> tuple[Fields, str]:
    """Return the crontab fields of OnCalendar= and its time zone. Raises CalendarError or NotExpressible."""
    calendar = parse(text)
    zone, guest = calendar.timezone, system.guest
    if zone not in ("", "UTC") and guest.is_dir(_ZONES) and not guest.is_file(f"{_ZONES}/{zone}"):
        raise CalendarError(f"no time zone of this machine: {zone!r}")
    return to_fields(calendar), zone


def _interval(line: Line) -> Fields:
    """Return the crontab fields of an interval. Raises CalendarError or NotExpressible."""
    span = time_span(line.value)
    if span is None or line.key == "OnUnitInactiveSec":
        raise NotExpressible("an interval that counts from the end of the last run")
    return every(span)


def _timers(system: System) -> Iterator[Unit]:
    """Yield the timers to report: all that the boot starts, and of the others those that are not systemd's own."""
    names = {*system.units.names("timer"), *system.boot.direct, *system.boot.triggered}
    for name in sorted(n for n in names if n.endswith(".timer")):
        unit = system.units.load(name)
        if unit is None or unit.name.is_template or unit.name.full != name:
            continue
        if system.boot.starts(name) or not unit.own:
            yield unit


def _job(system: System, services: Services, unit: Unit) -> Job | None:
    enabled = system.boot.starts(unit.name.full) and not unit.mask
    lines = unit.all("Timer", *_TIMES)
    target = system.triggers(unit)
    name = parse_name(target or "")
    started_unit = system.units.load(target) if target is not None else None
    why = ""
    if not lines:
        why = "a timer without a time: systemd refuses to start it"
    elif name is None or name.type != "service" or started_unit is None:
        missing = unit.value("Timer", "Unit", f"{unit.name.stem}.service")
        why = f"the unit it starts, {missing}, is no service on the disk"
    if why or target is None or started_unit is None:
        if enabled:
            system.reader.note(unit.path, why, 1)
        return None
    when = schedule(system, unit, system.boot.starts(target))
    service = services.service(started_unit)
    return Job(
        id=unit.name.stem,
        manager="systemd",
        enabled=enabled and not started_unit.mask,
        schedule=when.cron,
        original=when.original,
        command=service.command,
        user=service.user,
        environment=service.environment,
        service=service.id,
        at_boot=when.at_boot,
        timezone=when.timezone,
        seen_in=lines[0].place,
    )


def jobs(system: System, services: Services) -> Iterator[Job]:
    """Yield a job for each timer that is started, and for the others that are not systemd's own."""
    for unit in _timers(system):
        job = _job(system, services, unit)
        if job is not None:
            yield job
