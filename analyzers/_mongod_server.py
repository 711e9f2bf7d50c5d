"""Which services start a mongod or mongos, of which version, with which options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._commands import Tracer, runners
from analyzers._owners import Owners
from analyzers._reading import Reader
from migrate.guest.protocol import Guest
from migrate.model import Finding, Package, Place, Service
from migrate.services import by_id

NAME = "mongodb"
CONFIGS = ("/etc/mongod.conf", "/etc/mongodb.conf")
_PROGRAMS = ("mongod", "mongos")
_IDS = {"mongod": "mongod", "mongodb": "mongod", "mongos": "mongos"}


class Server(msgspec.Struct, frozen=True):
    """A mongod or mongos that a service starts, with the options of its command."""

    service: Service
    program: str
    args: tuple[str, ...]
    place: Place
    version: tuple[int, int] | None

    @property
    def router(self) -> bool:
        """Tell whether it is mongos, which keeps no data."""
        return posixpath.basename(self.program) == "mongos"


def servers(guest: Guest, findings: Sequence[Finding], reader: Reader) -> Iterator[Server]:
    """Find the services that start a server, by their command or, with an init script, by their name."""
    owners = Owners(guest, findings)
    tracer = Tracer(guest, reader, owners)
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    versions = {finding.name: finding.version for finding in findings if isinstance(finding, Package)}

    def server(service: Service, program: str, args: tuple[str, ...], place: Place) -> Server:
        match = re.match(r"(?:\d+:)?(\d{1,4})\.(\d{1,4})", versions.get(owners.package(program) or "", ""))
        return Server(service, program, args, place, (int(match[1]), int(match[2])) if match else None)

    for runner in runners(findings):
        service = services.get(runner.ident)
        if service is None or not runner.commands:
            continue
        calls = [call for call in tracer.trace(runner).calls if call.name in _PROGRAMS and call.program]
        if calls:
            args = tuple(word.text for word in calls[-1].command.words[1:] if word.whole and word.text)
            yield server(service, calls[-1].program, args, calls[-1].place)
        elif service.id in _IDS and service.manager != "systemd":
            program = f"/usr/bin/{_IDS[service.id]}"
            conf = next((path for path in CONFIGS if guest.is_file(path)), "")
            if conf and guest.is_file(program):
                yield server(service, program, ("--config", conf), service.seen_in)
