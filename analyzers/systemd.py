"""Services, and the sockets and timers that start them, as systemd would find them at the next boot.

A service is reported with `enabled=True` where the boot starts it: default.target pulls it in, or a socket or
path unit that it pulls in stands ready to start it. Installed services that no boot starts are reported with
`enabled=False`, masked ones too. Uninstantiated templates are not: there is nothing to start.

systemd brings about a hundred services to set up a machine (file systems, udev, tmpfiles, …), which are the
machine's and not something that runs on it. Of the units that are systemd's own (their header says "This file
is part of systemd.") those alone are reported that the boot pulls in directly and that stay (any Type= but
oneshot): journald, udevd, logind, timesyncd, networkd, resolved, getty; and what a timer runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from analyzers._addresses import is_address, port_number, run_path
from analyzers._boot import System, runs_systemd
from analyzers._service import Services, is_lasting
from analyzers._timers import jobs
from analyzers._unit import Unit, UnitName, parse_name
from analyzers._unitfiles import SEARCH_PATH
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Listen, Place, Unread

READS = (
    *SEARCH_PATH,
    "/etc/systemd/system.conf",
    "/etc/systemd/system.conf.d",
    "/usr/lib/systemd/system.conf.d",
    "/etc/passwd",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/default",
    "/etc/sysconfig",
    "/etc/postgresql/*/*/start.conf",
    "/etc/postfix/main.cf",
)

_LISTENS = {"ListenStream": "tcp", "ListenDatagram": "udp", "ListenSequentialPacket": "tcp"}
_OTHER_LISTENS = ("ListenFIFO", "ListenSpecial", "ListenNetlink", "ListenMessageQueue", "ListenUSBFunction")


def reported(system: System) -> list[Unit]:
    """Return the service units to report (the module's text says which), sorted by name."""
    boot, units = system.boot, system.units
    names = {*units.names("service"), *units.instances(), *boot.direct, *boot.triggered, *boot.timed}
    found: dict[str, Unit] = {}
    for name in sorted(n for n in names if n.endswith(".service")):
        unit = units.load(name)
        if unit is not None and _is_reported(system, unit):
            found[unit.name.full] = unit
    return [found[name] for name in sorted(found)]


def _is_reported(system: System, unit: Unit) -> bool:
    boot, name = system.boot, unit.name.full
    if name in boot.timed:
        return True
    if unit.own:
        return name in boot.direct and name not in boot.barred and is_lasting(unit)
    return not unit.name.is_template or name in boot.triggered


def parse_listen(value: str) -> tuple[int | None, str, str] | None:
    """Return (port, address, path) of a ListenStream= and its kin (systemd.socket(5)); None for other families.

    >>> parse_listen("[::1]:80"), parse_listen("@orders")
    ((80, '[::1]', ''), (None, '*', '@orders'))
    """
    if value.startswith(("/", "@")):
        return None, "*", run_path(value)
    port = port_number(value)
    if port is not None:
        return port, "*", ""
    match = re.fullmatch(r"(\[[^\]]+\]|[0-9.]+):([0-9]+)(?:%\S+)?", value)
    if match is None or not is_address(match[1].strip("[]")):
        return None
    port = port_number(match[2])
    return None if port is None else (port, match[1], "")


def _listens(system: System, unit: Unit, service: str) -> Iterator[Listen]:
    for line in unit.all("Socket", *_LISTENS, *_OTHER_LISTENS):
        if line.key not in _LISTENS:
            continue
        value = system.expand(unit, line.value)
        parsed = parse_listen(value)
        if parsed is not None:
            port, address, path = parsed
            yield Listen(
                seen_in=line.place,
                service=service,
                port=port,
                protocol=_LISTENS[line.key],
                address=address,
                path=path,
            )
        elif not value.startswith("vsock:"):
            system.reader.note(line.place.path, f"{line.key}={value} is no address", line.place.line)


def _sockets(system: System) -> Iterator[tuple[Unit, UnitName]]:
    """Yield the socket units that the boot opens, each with the service it starts."""
    for name in sorted({*system.boot.direct, *system.boot.triggered}):
        unit = system.units.load(name) if name.endswith(".socket") else None
        if unit is None or unit.mask or name in system.boot.barred:
            continue
        target = parse_name(system.triggers(unit) or "")
        if target is not None:
            yield unit, target


def _lingering(guest: Guest, services: Services) -> Iterator[Unread]:
    """Yield the units of users whose own manager a boot starts (loginctl enable-linger): they are not read."""
    for user in guest.listdir("/var/lib/systemd/linger"):
        account = services.accounts.get(user)
        if account is None:
            continue
        for path in guest.glob(f"{account.home}/.config/systemd/user/*.service"):
            why = f"a unit of {user}'s own service manager, which the boot starts (linger); it is not read"
            yield Unread(seen_in=Place(path), why=why, analyzer="systemd")


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield services, what they use, what their sockets listen on, and the timers' jobs."""
    if not runs_systemd(guest):
        return
    system = System(guest, "systemd")
    services = Services(system)
    sockets: dict[str, list[Unit]] = {}
    for socket, target in _sockets(system):
        sockets.setdefault(target.full, []).append(socket)
    for unit in reported(system):
        service = services.service(unit)
        yield service
        yield from services.uses(unit, service)
        for socket in sockets.get(unit.name.full, ()):
            yield from _listens(system, socket, service.id)
    yield from jobs(system, services)
    yield from _lingering(guest, services)
    yield from system.reader.unread


ANALYZER = Analyzer(
    name="systemd",
    says="services of systemd, with drop-ins, and the sockets and timers that start them",
    reads=READS,
    analyze=analyze,
    source="systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.socket(5), systemd.timer(5)",
)
