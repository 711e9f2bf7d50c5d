"""PgBouncer: where it listens, which servers it stands before, and the files and passwords it reads."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from analyzers._addresses import is_every, over_tcp, port_number, run_path, tcp_check
from analyzers._commands import Tracer, runners
from analyzers._owners import Owners
from analyzers._pgbouncer_conf import Entry, connection, load, users
from analyzers._reading import Reader, absolute
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
    RunsAs,
    Secret,
    Service,
    Uses,
)
from migrate.services import by_id

_NAME = "pgbouncer"
_PROGRAM = "/usr/sbin/pgbouncer"
_CONF = "/etc/pgbouncer/pgbouncer.ini"
_FILES = ("auth_file", "auth_hba_file", "auth_ident_file", "client_tls_key_file", "client_tls_cert_file",
          "client_tls_ca_file", "server_tls_key_file", "server_tls_cert_file", "server_tls_ca_file")  # fmt: skip
_AWAY = frozenset({"-d", "--daemon", "-R", "--reboot", "-q", "--quiet"})  # pgbouncer(1)


class Pooler(msgspec.Struct, frozen=True):
    """A pgbouncer that a service starts: `args` are its words without those that take it from the foreground."""

    service: Service
    program: str
    args: tuple[str, ...]
    place: Place
    directory: str

    @property
    def conf(self) -> str:
        """The configuration: the one word that is no option, nor the user behind -u."""
        words = [w for at, w in enumerate(self.args) if not w.startswith("-") and self.args[at - 1 : at] != ("-u",)]
        return absolute(words[0], self.directory) if words else ""


def poolers(guest: Guest, findings: Sequence[Finding], reader: Reader) -> Iterator[Pooler]:
    """Find the services that start a pooler, by their command or, with an init script, by their name."""
    tracer = Tracer(guest, reader, Owners(guest, findings))
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    for runner in runners(findings):
        service = services.get(runner.ident)
        if service is None or not runner.commands:
            continue
        calls = [call for call in tracer.trace(runner).calls if call.name == "pgbouncer" and call.program]
        if calls:
            call = calls[-1]
            words = (word.text for word in call.command.words[1:] if word.whole and word.text)
            args = tuple(word for word in words if word not in _AWAY)
            yield Pooler(service, call.program, args, call.place, call.directory)
        elif service.id == "pgbouncer" and service.manager != "systemd" and guest.is_file(_PROGRAM):
            yield Pooler(service, _PROGRAM, (_CONF,), service.seen_in, "/")


class _Findings:
    """Turns one pooler's configuration into findings."""

    def __init__(self, guest: Guest, pooler: Pooler) -> None:
        self.guest, self.pooler, self.ident = guest, pooler, pooler.service.id
        self.reader = Reader(guest, _NAME)
        self.entries, self.opened = load(self.reader, pooler.conf, pooler.directory) if pooler.conf else ([], [])
        self.settings = {entry.key.lower(): entry for entry in self.entries if entry.section == "pgbouncer"}
        self.port = port_number(self.value("listen_port", "6432")) or 6432

    def value(self, name: str, default: str = "") -> str:
        return self.settings[name].value if name in self.settings else default

    def place(self, *names: str) -> Place:
        return next((self.settings[name].place for name in names if name in self.settings), self.pooler.place)

    def uses(self, place: Place, path: str, role: Literal["config", "log", "runtime"], says: str) -> Uses:
        return Uses(seen_in=place, service=self.ident, path=path, role=role, says=says)

    @property
    def sockets(self) -> str:
        """The folder of its own sockets and its servers'; empty for none and for abstract ones."""
        folder = self.value("unix_socket_dir", "/tmp")  # noqa: S108  # the documented default
        return run_path(absolute(folder, "/") + "/").rstrip("/") if folder.startswith("/") else ""

    def running(self) -> Iterator[Finding]:
        pooler = self.pooler
        says = "pgbouncer stays in the foreground and logs to standard error"
        command = (pooler.program, *pooler.args)
        yield Foreground(seen_in=pooler.place, service=self.ident, command=command, says=says)
        user = self.value("user")
        if user and pooler.service.user in ("", "root", "0"):
            says = "it becomes that account after its start"
            yield RunsAs(seen_in=self.place("user"), service=self.ident, user=user, says=says)
        if self.addresses() and (check := tcp_check(self.guest, self.port)):
            place = self.place("listen_port", "listen_addr")
            yield Health(seen_in=place, service=self.ident, command=check, says="it accepts connections")

    def addresses(self) -> list[str]:
        """Return the addresses it listens on; none where nothing is said."""
        words = [word.strip() for word in self.value("listen_addr").split(",")]
        return list(dict.fromkeys("*" if is_every(word) else word for word in words if word))

    def listens(self) -> Iterator[Listen]:
        stated = "listen_port" in self.settings
        for address in self.addresses():
            place = self.place("listen_port", "listen_addr")
            yield Listen(seen_in=place, service=self.ident, port=self.port, address=address, assumed=not stated)
        if self.sockets:
            path, assumed = f"{self.sockets}/.s.PGSQL.{self.port}", "unix_socket_dir" not in self.settings
            yield Listen(seen_in=self.place("unix_socket_dir"), service=self.ident, path=path, assumed=assumed)

    def rebinds(self) -> Iterator[Rebind]:
        entry = self.settings.get("listen_addr")
        addresses = self.addresses()
        if entry is not None and addresses and all(map(is_loopback, addresses)):
            before, says = entry.text, "it listens on the machine itself only"
            after = f"{before.partition('=')[0].rstrip()} = *"
            yield Rebind(seen_in=entry.place, service=self.ident, before=before, after=after, says=says)

    def needs(self) -> Iterator[Need]:
        """Yield the servers of [databases]; without a host it is the unix socket in unix_socket_dir."""
        for entry in self.entries:
            if entry.section != "databases":
                continue
            parts = connection(entry.value)
            port = port_number(parts.get("port", "5432"))
            detail = "any other database" if entry.key == "*" else f"the database {entry.key}"
            for host in parts.get("host", "").split(",") if port else ():
                name = host.strip()
                folder = name if name.startswith("/") else "" if name else self.sockets
                if folder:
                    over = f"unix:{run_path(absolute(folder, '/') + '/').rstrip('/')}/.s.PGSQL.{port}"
                    yield Need(seen_in=entry.place, service=self.ident, over=over, detail=detail)
                elif name and port and name[0] != "@":
                    over = over_tcp(name, port)
                    yield Need(seen_in=entry.place, service=self.ident, over=over, detail=detail, host_text=name)

    def files(self) -> Iterator[Uses]:
        for path in dict.fromkeys(self.opened):
            yield self.uses(Place(path), path, "config", "its configuration")
        for name in _FILES:
            if path := self.value(name):
                yield self.uses(self.place(name), absolute(path, self.pooler.directory), "config", name)
        log = self.value("logfile")
        if log.startswith("/") and not log.startswith("/dev/"):
            yield self.uses(self.place("logfile"), log, "log", "logfile; it logs to standard error, too")
        folders = (("unix_socket_dir", self.sockets), ("pidfile", posixpath.dirname(run_path(self.value("pidfile")))))
        for name, folder in folders:
            if folder.startswith("/run/"):
                yield self.uses(self.place(name), folder, "runtime", name)

    def secrets(self) -> Iterator[Secret]:
        if name := self.value("auth_file"):
            path = absolute(name, self.pooler.directory)
            for line, user, word in users(self.reader.optional(path) or ""):
                kind = "password-hash" if word.startswith(("md5", "SCRAM-SHA-256$")) else "password"
                if word:
                    yield Secret(seen_in=Place(path, line), id=secret_id(path, user), kind=kind, name=user, value=word)
        for entry in self.entries:
            yield from self.password(entry)

    def password(self, entry: Entry) -> Iterator[Secret]:
        word = connection(entry.value).get("password", "") if entry.section == "databases" else ""
        if word:
            ident = secret_id(entry.place.path, f"{entry.key} password")
            yield Secret(seen_in=entry.place, id=ident, kind="password", name="password", value=word)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each pooler's configuration says."""
    reader = Reader(guest, _NAME)
    secrets: list[Secret] = []
    for pooler in poolers(guest, findings, reader):
        found = _Findings(guest, pooler)
        yield from found.running()
        yield from found.listens()
        yield from found.rebinds()
        yield from found.needs()
        yield from found.files()
        secrets += found.secrets()
        yield from found.reader.unread
    yield from unique(secrets)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="PgBouncer: addresses, the servers behind it, its lists of users.",
    reads=("/etc/pgbouncer",),
    join=join,
    source="pgbouncer(1), pgbouncer.ini(5)",
)
