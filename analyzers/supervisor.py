"""Supervisor: each program that supervisord starts is a service of its own, with its user, environment and logs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import is_every, port_number, run_path, split_host_port
from analyzers._reading import Reader, absolute, assignments
from analyzers._servers import options
from analyzers._supervisor_conf import Section, expand, load, pairs, unexpanded, words
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Listen, Place, Service, Setting, Uses, Variable
from migrate.services import by_id

_NAME = "supervisor"
_PATHS = ("/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")
_KINDS = ("program", "fcgi-program", "eventlistener")
_MAX_PROCESSES = 64  # of one program; more are told, not listed
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")  # supervisor/datatypes.py, boolean()


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a program section after expansion."""

    ident: str
    kind: str
    section: Section
    command: tuple[str, ...]
    directory: str
    environment: tuple[Variable, ...]
    values: dict[str, str]


def configuration(guest: Guest, service: Service) -> str:
    """Return the configuration of a service that runs supervisord: `-c`, else the first place that has one."""
    at = next((i for i, word in enumerate(service.command) if posixpath.basename(word) == "supervisord"), None)
    given = options(service.command[at + 1 :] if at is not None else (), {"-c": "c", "--configuration": "c"})
    if "c" in given:
        return absolute(given["c"][-1], service.working_directory or "/")
    return next((path for path in _PATHS if guest.is_file(path)), "")


def is_supervisord(service: Service) -> bool:
    """Tell whether a service runs supervisord, by its command, or by its name where a script starts it."""
    if service.manager == _NAME:
        return False
    if any(posixpath.basename(word) == "supervisord" for word in service.command):
        return True
    return service.id in ("supervisor", "supervisord") and service.command[:1] != ()


class _Machine:
    """One supervisord with its configuration."""

    def __init__(self, guest: Guest, daemon: Service, path: str, others: dict[str, Service]) -> None:
        self.guest, self.daemon, self.path, self.others = guest, daemon, path, others
        self.reader = Reader(guest, _NAME)
        self.inherited = {variable.name: variable for variable in daemon.environment}
        for file in daemon.environment_files:
            for name, (value, line) in assignments(self.reader.optional(file.path) or "").items():
                self.inherited[name] = Variable(name, value, Place(file.path, line))
        self.common = {f"ENV_{name}": variable.value for name, variable in self.inherited.items()}
        host = (self.reader.optional("/etc/hostname", 256) or "").strip()
        if host:
            self.common["host_node_name"] = host
        self.sections, self.files = load(self.reader, path, self.common)
        self.main = self.sections.get("supervisord")
        self.groups = self._groups()

    def _groups(self) -> dict[str, str]:
        """Return the group of each program that a [group:x] lists."""
        found = {}
        for name, section in self.sections.items():
            if name.startswith("group:"):
                for program in section.get("programs").split(","):
                    found[program.strip()] = name.partition(":")[2].strip()
        return found

    def programs(self) -> Iterator[tuple[str, str, Section]]:
        """Yield (kind, name, section) of all that supervisord starts."""
        for head, section in self.sections.items():
            kind, colon, name = head.partition(":")
            if colon and kind in _KINDS and name.strip():
                yield kind, name.strip(), section

    # ---------------------------------------------------------------- one program

    def starts(self, section: Section) -> bool:
        return self.daemon.enabled and section.get("autostart", "true").lower() in _TRUE

    def environment(self, section: Section, values: dict[str, str]) -> dict[str, Variable]:
        """supervisord's own variables, then those of [supervisord], then the program's."""
        found = dict(self.inherited)
        for part in [section] if self.main is None else [self.main, section]:
            place = part.at("environment")
            read = pairs(expand(part.get("environment"), {**values, "here": part.here}))
            if read is None:
                self.reader.note(place.path, "the environment is no list of KEY=value pairs", place.line)
            for name, value in (read or {}).items():
                found[name] = Variable(name, value, part.line_with("environment", name))
        return found

    def processes(self, kind: str, name: str, section: Section) -> Iterator[Process]:
        count, first = (self.number(section, key, value) for key, value in (("numprocs", 1), ("numprocs_start", 0)))
        seen: dict[tuple[str, ...], None] = {}
        for number in range(first, first + min(count, _MAX_PROCESSES)):
            values = {**self.common, "here": section.here, "program_name": name, "process_num": str(number),
                      "group_name": self.groups.get(name, name), "numprocs": str(count)}  # fmt: skip
            environment = self.environment(section, values)
            values |= {f"ENV_{variable.name}": variable.value for variable in environment.values()}
            text = expand(section.get("command"), values)
            command = words(text)
            if not command or (left := unexpanded(text)):
                why = f"{left} has no value that the disk tells" if command else "it has no command that can be read"
                if self.starts(section):
                    self.reader.note(section.at("command").path, f"[{kind}:{name}]: {why}", section.at("command").line)
            key = (*(command or ()), "", *(f"{v.name}={v.value}" for v in environment.values()))
            if key in seen:
                continue
            seen[key] = None
            yield Process(
                ident=self.ident(section, name if len(seen) == 1 and count == 1 else f"{name}-{number}"),
                kind=kind,
                section=section,
                command=command or (),
                directory=expand(section.get("directory"), values),
                environment=tuple(environment[key] for key in sorted(environment)),
                values=values,
            )
        if count > max(len(seen), 1) and self.starts(section):
            why = f"numprocs starts {count} processes of {name}; only {len(seen)} differ and are planned: set replicas"
            self.reader.note(section.at("numprocs").path, why, section.at("numprocs").line)

    def number(self, section: Section, name: str, default: int) -> int:
        text = section.get(name, str(default)).strip()
        return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else default

    def ident(self, section: Section, name: str) -> str:
        """A program is called by its name, unless a unit of that name runs too, or would hide this one."""
        other = self.others.get(name)
        return f"supervisor-{name}" if other is not None and (other.enabled or not self.starts(section)) else name

    def services(self) -> Iterator[Finding]:
        for kind, name, section in self.programs():
            for process in self.processes(kind, name, section):
                if process.command:
                    yield self.service(process)
                    yield from self.logs(process)

    def service(self, process: Process) -> Service:
        section = process.section
        user = section.get("user") or (self.main.get("user") if self.main is not None else "") or self.daemon.user
        program = process.command[0]
        directory = process.directory or (self.main.get("directory") if self.main is not None else "")
        if "/" in program and not program.startswith("/") and directory.startswith("/"):
            program = absolute(program, directory)
        return Service(
            id=process.ident,
            manager=_NAME,
            enabled=self.starts(section),
            unit=section.place.path,
            type=self.type(process),
            command=(program, *process.command[1:]),
            user=user.partition(":")[0],
            working_directory=directory,
            environment=process.environment,
            settings=tuple(self.settings(process)),
            after=self.earlier(section),
            seen_in=section.at("command"),
        )

    def type(self, process: Process) -> str:
        """A program must stay in the foreground; one that may end at once and is not restarted runs once."""
        section = process.section
        once = section.get("startsecs").strip() == "0" and section.get("autorestart").lower() in _FALSE
        return ("oneshot" if once else "simple") if process.kind == "program" else process.kind

    def settings(self, process: Process) -> Iterator[Setting]:
        """What a container must honour, as systemd calls it."""
        section = process.section
        told = {"stopsignal": "KillSignal", "stopwaitsecs": "TimeoutStopSec", "umask": "UMask"}
        found = []
        for name, ours in told.items():
            if value := section.get(name).strip():
                signal = value.upper().removeprefix("SIG")
                value = f"SIG{signal}" if ours == "KillSignal" and not signal.isdecimal() else value
                found.append(Setting(ours, value, section.at(name)))
        again = section.get("autorestart", "unexpected").lower()
        restart = "always" if again in _TRUE else "no" if again in _FALSE else "on-failure"
        yield from sorted([*found, Setting("Restart", restart, section.at("autorestart"))], key=lambda s: s.name)

    def earlier(self, section: Section) -> tuple[str, ...]:
        """The programs that a lower priority starts before this one; only where both say theirs."""
        own = section.get("priority").strip()
        if not own.isdecimal():
            return ()
        return tuple(
            name
            for _, name, other in self.programs()
            if other.get("priority").strip().isdecimal() and self.number(other, "priority", 999) < int(own[:9])
        )

    def logs(self, process: Process) -> Iterator[Finding]:
        section = process.section
        for stream in ("stdout", "stderr"):
            path = expand(section.get(f"{stream}_logfile"), process.values)
            redirected = stream == "stderr" and section.get("redirect_stderr").lower() in _TRUE
            if path.startswith("/") and not path.startswith("/dev/") and not redirected:
                says = f"supervisord writes its {stream} there; in a container it is the container's"
                place = section.at(f"{stream}_logfile")
                yield Uses(seen_in=place, service=process.ident, path=absolute(path, "/"), role="log", says=says)
        if process.kind == "fcgi-program" and (socket := expand(section.get("socket"), process.values)):
            yield from self.socket(process, socket)

    def socket(self, process: Process, socket: str) -> Iterator[Finding]:
        place = process.section.at("socket")
        if socket.startswith("unix://"):
            yield Listen(seen_in=place, service=process.ident, path=run_path(socket.removeprefix("unix://")))
        elif parts := split_host_port(socket.removeprefix("tcp://")):
            address = "*" if is_every(parts[0]) else parts[0]
            yield Listen(seen_in=place, service=process.ident, port=parts[1], address=address)
        why = "supervisord opens this socket and hands it to the program as its standard input; no Pod does that"
        self.reader.note(place.path, why, place.line)

    # ---------------------------------------------------------------- supervisord itself

    def itself(self) -> Iterator[Finding]:
        ident = self.daemon.id
        for path in self.files:
            yield Uses(seen_in=self.daemon.seen_in, service=ident, path=path, role="config", says="its configuration")
        if (section := self.sections.get("unix_http_server")) is not None and section.get("file").startswith("/"):
            yield Listen(seen_in=section.at("file"), service=ident, path=run_path(section.get("file")))
        if (section := self.sections.get("inet_http_server")) is not None:
            host, _, port = section.get("port").rpartition(":")
            if number := port_number(port):
                address = "*" if is_every(host) else host.strip("[]")
                yield Listen(seen_in=section.at("port"), service=ident, port=number, address=address)
        if self.main is not None:
            for name in ("logfile", "childlogdir"):
                path = expand(self.main.get(name), {**self.common, "here": self.main.here})
                if path.startswith("/") and not path.startswith("/dev/"):
                    yield Uses(
                        seen_in=self.main.at(name), service=ident, path=absolute(path, "/"), role="log", says=name
                    )


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the programs of each supervisord that a service of the machine runs."""
    services = by_id(f for f in findings if isinstance(f, Service) and f.manager != _NAME)
    done: set[str] = set()
    for daemon in sorted(filter(is_supervisord, services.values()), key=lambda s: (not s.enabled, s.id)):
        path = configuration(guest, daemon)
        real = guest.resolve(path) if path else None
        if real is None or real in done:
            continue
        done.add(real)
        machine = _Machine(guest, daemon, path, services)
        yield from machine.itself()
        yield from machine.services()
        yield from machine.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Supervisor: the programs that supervisord starts, each a service of its own.",
    reads=("/etc/supervisord.conf", "/etc/supervisor", "/etc/supervisord.d", "/etc/hostname"),
    join=join,
    source="supervisord.org/configuration.html, supervisor/options.py",
)
