"""memcached: addresses, memory and user, from Debian's memcached.conf, Red Hat's sysconfig, or its command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import is_every, port_number, run_path, tcp_check
from analyzers._argv import Word
from analyzers._invoked import Option, getopt, invocations
from analyzers._memcached_conf import conf_arguments, reading_command
from analyzers._reading import Reader, absolute, meaningful
from analyzers._secret import secret_id, unique
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Place,
    Rebind,
    RunsAs,
    Secret,
    Service,
    Uses,
)

_NAME = "memcached"
_WRAPPERS = ("systemd-memcached-wrapper", "start-memcached")
_CONF = "/etc/memcached.conf"
_VALUED = "aspUmcluPfntDRbBIoYeN"  # the getopt string of memcached.c, 1.6
_LONG = {
    "unix-socket": "s", "unix-mask": "a", "listen": "l", "user": "u", "memory-limit": "m", "port": "p", "udp-port": "U",
    "conn-limit": "c", "threads": "t", "pidfile": "P", "listen-backlog": "b", "protocol": "B", "max-item-size": "I",
    "max-reqs-per-event": "R", "slab-growth-factor": "f", "slab-min-size": "n", "extended": "o", "auth-file": "Y",
    "daemon": "d",
}  # fmt: skip


class Server(msgspec.Struct, frozen=True):
    """One memcached: its service, its options, and Debian's file of options where a wrapper reads one."""

    service: Service
    program: str
    arguments: tuple[Word, ...]
    conf: str = ""

    @property
    def options(self) -> list[Option]:
        """The options in their order."""
        return list(getopt(self.arguments, _VALUED, _LONG))


def servers(reader: Reader, findings: Sequence[Finding]) -> Iterator[Server]:
    """Yield the servers that the findings' services start."""
    for found in invocations(reader, findings, (_NAME, *_WRAPPERS)):
        if found.program.endswith(_WRAPPERS):
            conf = absolute(found.words[0], "/") if found.words else _CONF
            text = reader.optional(conf)
            if text is None:
                place = found.service.seen_in
                reader.note(place.path, f"{conf} is not there: memcached is started without options", place.line)
            program = next(
                (p for p in ("/usr/bin/memcached", "/usr/local/bin/memcached") if reader.guest.is_file(p)), ""
            )
            yield Server(found.service, program, tuple(conf_arguments(text or "", conf)), conf)
        else:
            yield Server(found.service, found.program, found.arguments)


def addresses(options: Sequence[Option]) -> list[tuple[str, int | None, Option]]:
    """Return (address, its own port, option) for each address of `-l`: `HOST`, `HOST:PORT`, `[V6]:PORT`, by commas.

    >>> [entry[:2] for entry in addresses([Option("l", "127.0.0.1,[::1]:11212,::2", Place("/x"))])]
    [('127.0.0.1', None), ('::1', 11212), ('::2', None)]
    """
    found: list[tuple[str, int | None, Option]] = []
    for option in options:
        for part in option.value.split(",") if option.name == "l" else ():
            text = part.strip().removeprefix("notls:")
            host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
            host = (host if port or host else text).strip("[]")
            if text:
                found.append(("*" if is_every(host) else host, port_number(port), option))
    return found


class _Findings:
    """Turns one server's options into findings."""

    def __init__(self, guest: Guest, server: Server) -> None:
        self.guest, self.server = guest, server
        self.options = server.options
        self.last = {option.name: option for option in self.options}
        self.ident = server.service.id
        self.start = Place(server.conf) if server.conf else server.service.seen_in

    def port(self, letter: str, default: str) -> int | None:
        return port_number(self.last[letter].value if letter in self.last else default)

    def listens(self) -> Iterator[Listen]:
        if socket := self.last.get("s"):  # -s disables network support (memcached(1))
            if socket.value.startswith("/"):
                yield Listen(seen_in=socket.place, service=self.ident, path=run_path(socket.value))
            return
        for letter, default, protocol in (("p", "11211", "tcp"), ("U", "0", "udp")):
            number = self.port(letter, default)
            option = self.last.get(letter)
            for address, own, given in addresses(self.options):
                if number:
                    place = given.place if own else option.place if option else given.place
                    assumed = option is None and own is None
                    yield Listen(seen_in=place, service=self.ident, port=own or number, protocol=protocol,
                                 address=address, assumed=assumed)  # fmt: skip
            if number and not addresses(self.options):
                place = option.place if option else self.start
                yield Listen(seen_in=place, service=self.ident, port=number, protocol=protocol, assumed=option is None)

    def rebinds(self) -> Iterator[Rebind]:
        if "s" in self.last:
            return
        for address, _, option in addresses(self.options):
            if address != "*":
                every = "::" if ":" in address else "0.0.0.0"  # noqa: S104
                says = f"it listens on {address} only"
                yield Rebind(seen_in=option.place, service=self.ident, before=address, after=every, says=says)

    def running(self) -> Iterator[Finding]:
        server = self.server
        kept = [option for option in self.options if option.name not in "dP"]
        if server.conf and server.program:
            words = tuple(word for o in kept for word in ((f"-{o.name}", o.value) if o.value else (f"-{o.name}",)))
            command = (server.program, *words)
            if any(self.rebinds()):
                command = reading_command(server.program, server.conf)
            says = "it stays in the foreground without -d; Debian's wrapper only turns the file into options, as root"
            yield Foreground(seen_in=self.start, service=self.ident, command=command, says=says)
        elif "d" in self.last:
            words = tuple(word for o in kept for word in ((f"-{o.name}", o.value) if o.value else (f"-{o.name}",)))
            says = "it stays in the foreground without -d"
            place = self.last["d"].place
            yield Foreground(seen_in=place, service=self.ident, command=(server.program, *words), says=says)
        if user := self.last.get("u"):
            yield RunsAs(seen_in=user.place, service=self.ident, user=user.value, says="-u: it becomes that user")
        first = next((listen for listen in self.listens() if listen.protocol == "tcp" and listen.port), None)
        if first and (check := tcp_check(self.guest, first.port or 0)):
            says = "it accepts connections"
            yield Health(seen_in=first.seen_in, service=self.ident, command=check, says=says)

    def uses(self) -> Iterator[Uses]:
        limit = self.last.get("m")
        says = f"its options; -m {limit.value}: megabytes of items" if limit else "its options"
        conf = self.server.conf
        if conf and self.guest.is_file(conf):
            yield Uses(seen_in=Place(conf), service=self.ident, path=conf, role="config", says=says)
        if (auth := self.last.get("Y")) and auth.value.startswith("/"):
            yield Uses(seen_in=auth.place, service=self.ident, path=auth.value, role="config", says="its passwords")
        for name, says in (("s", "its unix socket is there"), ("P", "its process id is there")):
            option = self.last.get(name)
            folder = run_path(option.value).rpartition("/")[0] if option else ""
            if option and folder.startswith("/run/"):
                yield Uses(seen_in=option.place, service=self.ident, path=folder, role="runtime", says=says)

    def secrets(self) -> Iterator[Secret]:
        """The lines `name:password` of the file of -Y (memcached's doc/protocol.txt, Authentication)."""
        auth = self.last.get("Y")
        reader = Reader(self.guest, _NAME)
        for number, line in meaningful(
            (reader.optional(auth.value) if auth and auth.value.startswith("/") else "") or ""
        ):
            name, colon, value = line.partition(":")
            if auth and colon and value:
                place = Place(auth.value, number)
                ident = secret_id(auth.value, name)
                yield Secret(seen_in=place, id=ident, kind="password", name=name, value=value)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the options of each memcached say."""
    reader = Reader(guest, _NAME)
    secrets: list[Secret] = []
    for server in servers(reader, findings):
        found = _Findings(guest, server)
        yield from found.listens()
        yield from found.rebinds()
        yield from found.running()
        yield from found.uses()
        secrets += found.secrets()
    yield from unique(secrets)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="memcached: addresses, memory, user, through Debian's wrapper too.",
    reads=("/etc/memcached.conf", "/etc/sysconfig/memcached"),
    join=join,
    source="memcached(1), Debian's systemd-memcached-wrapper",
)
