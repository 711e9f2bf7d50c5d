"""Redis and Valkey: addresses, persistence, passwords, and how a server runs in the foreground."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import msgspec

from analyzers._addresses import is_every, over_tcp, port_number, run_path, tcp_check
from analyzers._reading import Reader, absolute
from analyzers._redis_conf import Line, load
from analyzers._secret import secret_id, unique
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    Secret,
    Uses,
)

_NAME = "redis"
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_FILES = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-dh-params-file", "aclfile", "loadmodule")


class Instance(msgspec.Struct, frozen=True):
    """A server that the machine may start: the unit's id, its configuration, its programs."""

    ident: str
    conf: str
    server: str
    client: str


def instances(guest: Guest) -> Iterator[Instance]:
    """Find the servers by their configuration: the unit's name is the distribution's."""
    for kind in ("redis", "valkey"):
        server, client = (next((p for p in (f"/usr/bin/{kind}-{part}", f"/usr/local/bin/{kind}-{part}")
                                if guest.is_file(p)), "") for part in ("server", "cli"))  # fmt: skip
        unit = next((n for n in (f"{kind}-server", kind) if any(guest.is_file(f"{d}/{n}.service") for d in _UNITS)), "")
        unit = unit or f"{kind}-server"
        main = next((p for p in (f"/etc/{kind}/{kind}.conf", f"/etc/{kind}.conf") if guest.is_file(p)), None)
        if main:
            yield Instance(unit, main, server, client)
        for link in guest.glob(f"/etc/systemd/system/*.wants/{unit}@*.service"):
            name = posixpath.basename(link).removeprefix(f"{unit}@").removesuffix(".service")
            conf = f"/etc/{kind}/{kind}-{name}.conf"
            if guest.is_file(conf):
                yield Instance(f"{unit}@{name}", conf, server, client)


class _Findings:
    """Turns one instance's configuration into findings."""

    def __init__(self, guest: Guest, instance: Instance) -> None:
        self.guest, self.instance = guest, instance
        self.reader = Reader(guest, _NAME)
        self.lines = load(self.reader, instance.conf)
        self.last = {line.name: line for line in self.lines}

    def word(self, name: str, default: str = "") -> str:
        line = self.last.get(name)
        return line.words[0] if line and line.words else default

    def place(self, name: str) -> Place:
        return self.last[name].place if name in self.last else Place(self.instance.conf)

    @property
    def port(self) -> int | None:
        return port_number(self.word("port", "6379"))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of `bind`; a leading `-` only says that one may be missing. None named: every one."""
        words = self.last["bind"].words if "bind" in self.last else ("*",)
        return tuple(
            dict.fromkeys("*" if is_every(word.lstrip("-").rstrip("*")) else word.lstrip("-") for word in words)
        )

    def listens(self) -> Iterator[Finding]:
        ident = self.instance.ident
        for name, port in (("port", self.port), ("tls-port", port_number(self.word("tls-port", "0")))):
            for address in self.addresses if port else ():
                yield Listen(
                    seen_in=self.place(name), service=ident, port=port, address=address, assumed=name not in self.last
                )
        if path := self.word("unixsocket"):
            yield Listen(seen_in=self.place("unixsocket"), service=ident, path=run_path(path))
        if (
            len(words := (self.last.get("replicaof") or self.last.get("slaveof") or Line("", (), "", Place(""))).words)
            == 2
        ):
            place = self.place("replicaof" if "replicaof" in self.last else "slaveof")
            if words[0] != "no" and (port := port_number(words[1])):
                over = over_tcp(words[0], port)
                yield Need(
                    seen_in=place, service=ident, over=over, detail="it is a replica of that", host_text=words[0]
                )

    def rebinds(self) -> Iterator[Rebind]:
        """A Pod's clients come from other addresses; protected mode refuses those while there is no password."""
        ident, bind = self.instance.ident, self.last.get("bind")
        if bind and "*" not in self.addresses:
            # `*` and the dash came with 6.2 (its release notes); before it, 0.0.0.0 is every address.
            after = "bind * -::*" if any(word.startswith("-") for word in bind.words) else "bind 0.0.0.0"
            where = "the machine itself" if all(map(is_loopback, self.addresses)) else "the machine's own addresses"
            says = f"it listens on {where} only"
            yield Rebind(seen_in=bind.place, service=ident, before=bind.text, after=after, says=says)
        if self.word("requirepass") or self.word("protected-mode", "yes") != "yes":
            return
        says = "protected mode refuses all but loopback while no password is set"
        if line := self.last.get("protected-mode"):
            after = line.text[: line.text.lower().rindex("yes")] + "no"
            yield Rebind(seen_in=line.place, service=ident, before=line.text, after=after, says=says)
        else:
            self.reader.note(
                self.instance.conf, f"{says}, and no line says so that could be changed; add protected-mode no"
            )

    def uses(self) -> Iterator[Uses]:
        ident = self.instance.ident
        limit = self.word("maxmemory", "0")
        says = "its configuration" + (f"; maxmemory {limit}" if limit != "0" else "")
        for path in sorted({line.place.path for line in self.lines} | {self.instance.conf}):
            yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says=says)
        folder = posixpath.dirname(self.instance.conf)
        for name in _FILES:
            if path := self.word(name):
                yield Uses(
                    seen_in=self.place(name), service=ident, path=absolute(path, folder), role="config", says=name
                )
        yield from self.directories()

    def directories(self) -> Iterator[Uses]:
        ident, path = self.instance.ident, self.word("dir")
        points = [line for line in self.lines if line.name == "save"]
        snapshots = not points or points[-1].words != ("",)
        if path.startswith("/") and self.word("appendonly", "no").lower() == "yes":
            yield Uses(seen_in=self.place("appendonly"), service=ident, path=path, role="data", says="appendonly yes")
        elif path.startswith("/") and snapshots:
            says = f"snapshots: {self.word('dbfilename', 'dump.rdb')}"
            yield Uses(seen_in=self.place("dir"), service=ident, path=path, role="data", says=says)
        elif path.startswith("/"):
            says = "it keeps nothing: no save points, no append-only file"
            yield Uses(seen_in=points[-1].place, service=ident, path=path, role="cache", says=says)
        log = self.word("logfile")
        if log.startswith("/") and not log.startswith("/dev/"):
            yield Uses(seen_in=self.place("logfile"), service=ident, path=log, role="log", says="logfile")
        for name in ("pidfile", "unixsocket"):
            runtime = posixpath.dirname(run_path(self.word(name)))
            if runtime.startswith("/run/"):
                yield Uses(
                    seen_in=self.place(name), service=ident, path=runtime, role="runtime", says=f"the {name} is there"
                )

    def secrets(self) -> Iterator[Secret]:
        for name in ("requirepass", "masterauth"):
            if value := self.word(name):
                place = self.place(name)
                yield Secret(seen_in=place, id=secret_id(place.path, name), kind="password", name=name, value=value)
        for line in self.lines:
            for word in line.words[1:] if line.name == "user" else ():  # ACL rules: >password, #sha256
                if word[0:1] in (">", "#") and len(word) > 1:
                    ident = secret_id(line.place.path, f"user {line.words[0]}")
                    kind = "password" if word[0] == ">" else "password-hash"
                    yield Secret(seen_in=line.place, id=ident, kind=kind, name=line.words[0], value=word[1:])

    def running(self) -> Iterator[Finding]:
        server, client, conf = self.instance.server, self.instance.client, self.instance.conf
        if server:
            command = (server, conf, "--daemonize", "no", "--supervised", "no", "--logfile", "")
            says = "it stays in the foreground, waits for no supervisor, and logs to standard output"
            yield Foreground(seen_in=self.place("daemonize"), service=self.instance.ident, command=command, says=says)
        locked = self.word("requirepass") or any(line.name in ("user", "aclfile") for line in self.lines)
        check: tuple[str, ...] | None = None
        if client and self.port and not locked:
            check = (client, "-p", str(self.port), "ping")
        elif client and self.word("unixsocket") and not locked:
            check = (client, "-s", run_path(self.word("unixsocket")), "ping")
        elif port := self.port or port_number(self.word("tls-port", "0")):
            check = tcp_check(self.guest, port)
        if check:
            says = "it accepts connections" if check[0] != client else "it answers PING"
            yield Health(seen_in=self.place("port"), service=self.instance.ident, command=check, says=says)


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what each server's configuration says."""
    secrets: list[Secret] = []
    for instance in instances(guest):
        findings = _Findings(guest, instance)
        yield from findings.running()
        yield from findings.listens()
        yield from findings.uses()
        yield from findings.rebinds()
        secrets += findings.secrets()
        yield from findings.reader.unread
    yield from unique(secrets)


ANALYZER = Analyzer(
    name=_NAME,
    says="Redis and Valkey servers: addresses, what they keep, passwords.",
    reads=("/etc/redis", "/etc/redis.conf", "/etc/valkey", "/etc/valkey.conf"),
    analyze=analyze,
    source="redis.io/docs/latest/operate/oss_and_stack/management/config, redis-server(1)",
)
