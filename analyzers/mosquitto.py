"""Mosquitto: listeners, bridges to other brokers, what it keeps, its passwords and plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._invoked import Invocation, getopt, invocations
from analyzers._mosquitto_conf import Line, Listener, load
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, meaningful
from analyzers._secret import secret_id, unique
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Secret,
    Uses,
)

_NAME = "mosquitto"
_FILES = frozenset({
    "password_file", "acl_file", "psk_file", "cafile", "capath", "certfile", "keyfile", "crlfile", "dhparamfile",
    "bridge_cafile", "bridge_capath", "bridge_certfile", "bridge_keyfile",
})  # fmt: skip
_SECRETS = frozenset({"remote_password", "local_password", "bridge_psk"})  # mosquitto.conf(5), CONFIGURING BRIDGES


class _Broker:
    """Turns one broker's configuration into findings."""

    def __init__(self, guest: Guest, reader: Reader, findings: Sequence[Finding], found: Invocation) -> None:
        self.guest, self.reader, self.findings, self.invocation = guest, reader, findings, found
        self.ident = found.ident
        self.options = {option.name: option for option in getopt(found.arguments, "cp", {"config-file": "c"})}
        conf = self.options.get("c")
        self.conf = absolute(conf.value, found.service.working_directory or "/") if conf and conf.value else ""
        self.lines: list[Line] = load(reader, self.conf) if self.conf else []
        self.last = {line.name: line for line in self.lines}
        self.start = Place(self.conf) if self.conf else found.service.seen_in

    # ---------------------------------------------------------------- where it listens

    def version(self) -> tuple[int, ...]:
        """Return the package's version; 2.0, the oldest that is local without listeners, where there is none."""
        for package in self.findings:
            if isinstance(package, Package) and package.name == _NAME:
                match = re.match(r"(?:\d+:)?(\d+)\.(\d+)", package.version)
                return (int(match[1]), int(match[2])) if match else (2, 0)
        return (2, 0)

    def listeners(self) -> Iterator[Listener]:
        given = [line for line in self.lines if line.name == "listener"]
        port, address, option = self.last.get("port"), self.last.get("bind_address"), self.options.get("p")
        for line in given:
            words = line.value.split(None, 1)
            number = port_number(words[0]) if words else None
            host = words[1].strip() if len(words) > 1 else ""
            if words and words[0] == "0" and host.startswith("/"):
                yield Listener(0, "", run_path(host), line.place)
            elif number is None:
                self.reader.note(line.place.path, f"listener {line.value}: no port", line.place.line)
            else:
                yield Listener(number, "*" if is_every(host) else host.strip("[]"), "", line.place)
        if given and not (port or address or option):
            return
        text, place = (option.value, option.place) if option else (port.value, port.place) if port else ("1883", None)
        if number := port_number(text):
            host = address.value if address else ""
            # 2.0's ChangeLog: with no listener configured it binds to loopback only.
            local = not (port or address) and self.version() >= (2, 0)
            shown = "127.0.0.1" if local else "*" if is_every(host) else host.strip("[]")
            where = place or (address.place if address else self.start)
            yield Listener(number, shown, "", where, place is not None)

    def listens(self) -> Iterator[Finding]:
        found = list(self.listeners())
        for each in found:
            yield Listen(seen_in=each.place, service=self.ident, port=each.port or None, address=each.address or "*",
                         path=each.path, assumed=not each.stated)  # fmt: skip
            folder = each.path.rpartition("/")[0]
            if folder.startswith("/run/"):
                says = "its unix socket is there"
                yield Uses(seen_in=each.place, service=self.ident, path=folder, role="runtime", says=says)
        first = next((each for each in found if each.port), None)
        if first and (check := tcp_check(self.guest, first.port)):
            says = "it accepts connections"
            yield Health(seen_in=first.place, service=self.ident, command=check, says=says)

    def rebinds(self) -> Iterator[Rebind]:
        for line in self.lines:
            host = line.value
            if line.name == "listener":
                host = line.value.partition(" ")[2].strip()
            elif line.name != "bind_address":
                continue
            if host and not host.startswith("/") and not is_every(host):
                every = "::" if ":" in host else "0.0.0.0"  # noqa: S104
                says = f"it listens on {host} only"
                yield Rebind(seen_in=line.place, service=self.ident, before=host, after=every, says=says)
        for each in self.listeners():
            if each.address == "127.0.0.1" and not each.stated:
                says = "with no listener it serves this machine alone; for other Pods add `listener 1883`"
                self.reader.caution(self.ident, Place(self.start.path), says)

    # ---------------------------------------------------------------- what it needs and uses

    def needs(self) -> Iterator[Need]:
        for line in self.lines:
            for word in line.value.split() if line.name in ("address", "addresses") else ():
                parts = split_host_port(word, 1883)
                if parts and parts[1]:
                    over = over_tcp(parts[0], parts[1])
                    yield Need(seen_in=line.place, service=self.ident, over=over, detail="bridge", host_text=parts[0])
                else:
                    self.reader.note(line.place.path, f"address {word} is not understood", line.place.line)

    def uses(self) -> Iterator[Finding]:
        def use(place: Place, path: str, role: Literal["config", "data", "log", "runtime"], says: str) -> Uses:
            return Uses(seen_in=place, service=self.ident, path=absolute(path, "/"), role=role, says=says)

        for path in sorted({line.place.path for line in self.lines}):
            yield use(Place(path), path, "config", "its configuration")
        for line in self.lines:
            if line.name in _FILES and line.value.startswith("/"):
                yield use(line.place, line.value, "config", line.name)
            elif line.name == "http_dir" and line.value.startswith("/"):
                yield use(line.place, line.value, "config", "http_dir: it serves these files")
            elif line.name == "log_dest" and line.value.startswith("file /"):
                yield use(line.place, line.value.removeprefix("file "), "log", "log_dest")
            elif line.name == "log_dest" and line.value == "syslog":
                says = "log_dest syslog: a container has no syslog; `log_dest stdout` prints"
                self.reader.caution(self.ident, line.place, says)
            elif line.name == "pid_file" and run_path(line.value).startswith("/run/"):
                folder = run_path(line.value).rpartition("/")[0]
                if folder != "/run":
                    yield use(line.place, folder, "runtime", "the pid file is there")
        kept = self.last.get("persistence")
        if kept and kept.value.lower() in ("true", "1"):
            where = self.last.get("persistence_location")
            path = where.value if where else self.invocation.service.working_directory
            if path.startswith("/"):
                yield use(where.place if where else kept.place, path, "data", "retained messages and sessions")
            else:
                self.reader.note(kept.place.path, "persistence with no persistence_location", kept.place.line)

    def running(self) -> Iterator[Finding]:
        user = self.last.get("user")
        names = ("mosquitto",) if user is None else (user.value,)
        place = user.place if user else self.start
        if self.invocation.service.user == "root" and names[0] not in ("root", ""):
            says = "`user`: it drops root" if user else "it drops root for the user mosquitto (mosquitto.conf(5), user)"
            yield RunsAs(seen_in=place, service=self.ident, user=names[0], says=says)
        words = tuple(word for word in self.invocation.words if word not in ("-d", "--daemon"))
        says = "it stays in the foreground without -d"
        command = (self.invocation.program, *words)
        yield Foreground(seen_in=self.invocation.service.seen_in, service=self.ident, command=command, says=says)
        owners = Owners(self.guest, self.findings)
        for line in self.lines:
            if line.name in ("plugin", "auth_plugin", "global_plugin") and line.value.startswith("/"):
                if package := owners.package(line.value):
                    yield Requires(seen_in=line.place, service=self.ident, package=package, says=line.name)
                else:
                    says = f"{line.name}: no package owns it"
                    yield Uses(seen_in=line.place, service=self.ident, path=line.value, role="code", says=says)

    def secrets(self) -> Iterator[Secret]:
        for line in self.lines:
            if line.name in _SECRETS and line.value:
                ident = secret_id(line.place.path, line.name)
                yield Secret(seen_in=line.place, id=ident, kind="password", name=line.name, value=line.value)
            elif line.name == "psk_file" and line.value.startswith("/"):
                for number, text in meaningful(self.reader.optional(line.value) or ""):
                    name, _, key = text.partition(":")  # `identity:key`, the key in hexadecimal
                    if re.fullmatch(r"[0-9A-Fa-f]{2,1024}", key.strip()):
                        ident, place = secret_id(line.value, name), Place(line.value, number)
                        yield Secret(seen_in=place, id=ident, kind="other", name=name, value=key.strip())


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each broker's configuration says."""
    reader = Reader(guest, _NAME)
    secrets: list[Secret] = []
    for found in invocations(reader, findings, (_NAME,)):
        broker = _Broker(guest, reader, findings, found)
        yield from broker.listens()
        yield from broker.rebinds()
        yield from broker.needs()
        yield from broker.uses()
        yield from broker.running()
        secrets += broker.secrets()
    yield from unique(secrets)
    yield from reader.unread
    yield from reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="Mosquitto: listeners, bridges, what it keeps, passwords, plugins.",
    reads=("/etc/mosquitto",),
    join=join,
    source="mosquitto.conf(5), mosquitto(8)",
)
