"""HAProxy: where it listens, the servers it passes to, its files, and what its log needs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import over_tcp, run_path, tcp_check
from analyzers._argv import variables
from analyzers._haproxy_conf import Address, Line, Section, parse, parse_address
from analyzers._invoked import Invocation, invocations
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
    Uses,
)

_NAME = "haproxy"
_CONF = "/etc/haproxy/haproxy.cfg"
_VALUED = frozenset({"-f", "-p", "-S", "-C", "-n", "-N", "-L", "-m", "-x"})  # haproxy(1), OPTIONS
_MAX_FILES = 200
_MAX_TOTAL = 8 << 20  # characters of all files together
_MAX_BINDS = 4096  # of one haproxy, each port of a range by itself
_PROXIES = frozenset({"frontend", "listen", "backend"})
_CERTIFICATES = {"crt": "crt-base", "crt-list": "", "ca-file": "ca-base", "crl-file": "ca-base",
                 "ca-verify-file": "ca-base", "key": "key-base"}  # fmt: skip
_PATH = re.compile(r"(?:^|[(,=])(/[^\s(),]+)")
_NO_LOG = "; a container has none, and `log stdout format raw local0` prints"


def own_port(section: Section) -> int | None:
    """Return the one port that a section listens on, which its servers have where they name none; else None."""
    ports: set[int] = set()
    for line in section.lines:
        for part in line.words[0].split(",") if line.name == "bind" and line.words else ():
            ports |= {address.port for address in parse_address(part) if address.port}
            if len(ports) > 1:
                return None
    return next(iter(ports), None)


class _Balancer:
    """Turns one haproxy's command and configuration into findings."""

    def __init__(self, guest: Guest, reader: Reader, found: Invocation) -> None:
        self.guest, self.reader, self.invocation, self.ident = guest, reader, found, found.ident
        known = {name: value for name, (value, _) in variables(reader, found.service).items()}
        self.paths: list[str] = []
        self.sections: list[Section] = []
        for given in self.option("-f") or [_CONF]:
            self.paths += self.files(absolute(given, next(iter(self.option("-C")), "/")))
        size = 0
        for count, path in enumerate(self.paths):
            if count >= _MAX_FILES or size > _MAX_TOTAL:
                reader.note(path, f"this and what follows it was not read: {len(self.paths)} files of configuration")
                self.paths = self.paths[:count]
                break
            text = reader.text(path) or ""
            size += len(text)
            sections, odd = parse(text, path, known)
            self.sections += sections
            for line, why in odd:
                reader.note(path, why, line)
        self.settings = {line.name: line for section in self.of("global") for line in section.lines}
        self.bound = list(itertools.islice(self.binds(), _MAX_BINDS))
        if len(self.bound) == _MAX_BINDS:
            place = self.bound[-1][0].place
            reader.note(place.path, f"only the first {_MAX_BINDS} ports were taken", place.line)

    def option(self, name: str) -> list[str]:
        """Return the values of an option; haproxy knows no joined ones."""
        words = self.invocation.words
        return [words[at + 1] for at, word in enumerate(words[:-1]) if word == name]

    def files(self, path: str) -> list[str]:
        """Return a file, or the *.cfg of a folder in the order of their names (Management Guide, 3: -f)."""
        if self.guest.is_dir(path):
            return [f"{path}/{name}" for name in self.guest.listdir(path) if name.endswith(".cfg") and name[0] != "."]
        return [path]

    def of(self, *kinds: str) -> Iterator[Section]:
        return (section for section in self.sections if section.kind in kinds)

    def word(self, name: str) -> str:
        line = self.settings.get(name)
        return line.words[0] if line and line.words else ""

    # ---------------------------------------------------------------- where it listens

    def binds(self) -> Iterator[tuple[Line, Address]]:
        """Yield the addresses that sections in force listen on, with their lines."""
        for section in self.of("frontend", "listen", "peers", "log-forward"):
            if any(line.name == "disabled" for line in section.lines):
                continue
            given = [line for line in section.lines if line.name in ("bind", "dgram-bind") and line.words]
            if section.kind in ("frontend", "listen") and len(section.head.words) > 1 and ":" in section.head.words[1]:
                given.insert(0, Line("bind", section.head.words[1:], section.head.place))  # until 2.0: `listen X :80`
            for line in given:
                yield from ((line, address) for address in self.addresses(line, line.words[0]))
        for section in self.of("global"):
            for line in section.lines:
                if line.name == "stats" and line.words[:1] == ("socket",) and len(line.words) > 1:
                    yield from ((line, address) for address in self.addresses(line, line.words[1]))

    def addresses(self, line: Line, text: str) -> Iterator[Address]:
        for part in text.split(","):
            found = parse_address(part)
            if not found and not re.match(r"(fd|abnsz?|sockpair|rhttp)@", part):
                self.reader.note(line.place.path, f"{line.name} {part} is not understood", line.place.line)
            yield from found

    @property
    def prefix(self) -> str:
        """What `unix-bind prefix DIR` puts before the paths of `bind`."""
        line = self.settings.get("unix-bind")
        words = line.words if line else ()
        return words[words.index("prefix") + 1] if "prefix" in words[:-1] else ""

    def listens(self) -> Iterator[Listen]:
        for line, address in self.bound:
            protocol = "udp" if line.name == "dgram-bind" else address.protocol
            if address.path:
                prefix = self.prefix if line.name == "bind" else ""
                yield Listen(seen_in=line.place, service=self.ident, path=run_path(f"{prefix}{address.path}"))
            elif address.port:
                yield Listen(seen_in=line.place, service=self.ident, port=address.port, protocol=protocol,
                             address=address.host)  # fmt: skip
        for text in self.option("-S"):
            for address in parse_address(text.split(",")[0]):
                place = self.invocation.service.seen_in
                yield Listen(
                    seen_in=place, service=self.ident, port=address.port, path=address.path, address=address.host or "*"
                )

    def rebinds(self) -> Iterator[Rebind]:
        for line, address in self.bound:
            if address.host not in ("", "*") and line.name != "stats":
                port = address.text.rpartition(":")[2]
                every = f":::{port}" if ":" in address.host else f"*:{port}"
                says = f"it listens on {address.host} only"
                yield Rebind(seen_in=line.place, service=self.ident, before=address.text, after=every, says=says)

    # ---------------------------------------------------------------- what it passes to

    def needs(self) -> Iterator[Need]:
        for section in self.of(*_PROXIES, "ring", "resolvers", "mailers", "peers"):
            port = own_port(section)
            for line in section.lines:
                at = {"server": 1, "server-template": 2, "dispatch": 0, "nameserver": 1, "mailer": 1, "peer": 1}.get(
                    line.name
                )
                if at is not None and len(line.words) > at:
                    yield from self.need(section, line, line.words[at], port)

    def need(self, section: Section, line: Line, text: str, port: int | None) -> Iterator[Need]:
        own = line.name == "peer" and line.words[0] in (self.own_name(), *self.option("-L"))
        detail = f"{section.kind} {section.name}".strip()
        if line.name == "nameserver":
            detail, port = "resolvers", 53
        found = parse_address(text)
        if not found and not text.startswith(("fd@", "abns@", "abnsz@", "sockpair@", "rhttp@")):
            self.reader.note(line.place.path, f"{line.name} {text} is not understood", line.place.line)
        for address in found:
            if own and address.port:
                continue
            protocol = "udp" if line.name == "nameserver" and not address.family.startswith("tcp") else "tcp"
            number = address.port or (port if re.fullmatch(r"[^:]*|\[.*\]", text) else None)
            if address.path:
                yield Need(seen_in=line.place, service=self.ident, over=f"unix:{address.path}", detail=detail)
            elif number and address.host != "*":
                over = over_tcp(address.host, number, protocol)
                yield Need(seen_in=line.place, service=self.ident, over=over, detail=detail, host_text=address.host)
            else:
                says = f"{line.name} {text} names no port: it is that of each connection"
                self.reader.note(line.place.path, says, line.place.line)

    def own_name(self) -> str:
        return (self.reader.optional("/etc/hostname", 256) or "").strip()

    def logs(self) -> Iterator[Need]:
        for section in self.sections:
            for line in section.lines:
                target = line.words[0] if line.name == "log" and line.words else ""
                address = (
                    next(iter(parse_address(target)), None) if target not in ("global", "stdout", "stderr") else None
                )
                if address is None:
                    continue
                if address.path or is_loopback(address.host):
                    self.reader.caution(self.ident, line.place, f"log {target}: the machine's syslog{_NO_LOG}")
                elif address.host != "*":
                    over = over_tcp(address.host, address.port or 514, "udp")
                    yield Need(seen_in=line.place, service=self.ident, over=over, detail="log", host_text=address.host)

    # ---------------------------------------------------------------- files, and how it runs

    def uses(self) -> Iterator[Uses]:
        for path in self.paths:
            yield Uses(seen_in=Place(path), service=self.ident, path=path, role="config", says="its configuration")
        for section in self.sections:
            for line in section.lines:
                yield from self.named(line)
        for listen in self.listens():
            folder = listen.path.rpartition("/")[0]
            if folder.startswith("/run/"):
                says = "its unix socket is there"
                yield Uses(seen_in=listen.seen_in, service=self.ident, path=folder, role="runtime", says=says)
        if (path := self.word("chroot")).startswith("/"):
            says = "chroot: an empty folder"
            yield Uses(seen_in=self.settings["chroot"].place, service=self.ident, path=path, role="runtime", says=says)

    def named(self, line: Line) -> Iterator[Uses]:
        """Yield the files of a line: certificates below their base, and any word that is a file."""
        found: dict[str, str] = {}
        for at, word in enumerate(line.words):
            before = line.words[at - 1] if at else line.name
            if before in _CERTIFICATES and not word.startswith("@"):
                path = absolute(word, self.word(_CERTIFICATES[before]) or "/")
                if not self.guest.exists(path):
                    self.reader.note(line.place.path, f"{before} {word}: {path} is not there", line.place.line)
                else:
                    found[path] = before
            for match in _PATH.finditer(word):
                if self.guest.is_file(match[1]) and not match[1].startswith(("/dev/", "/run/", "/proc/")):
                    found.setdefault(absolute(match[1], "/"), line.name)
        for path, says in sorted(found.items()):
            yield Uses(seen_in=line.place, service=self.ident, path=path, role="config", says=says)

    def secrets(self) -> Iterator[Secret]:
        """`stats auth USER:PASSWORD` and the users of a userlist (Configuration Manual, 3.4)."""
        for section in self.sections:
            for line in section.lines:
                kind, value = "password", ""
                if line.name == "stats" and line.words[:1] == ("auth",) and len(line.words) > 1:
                    value = line.words[1].partition(":")[2]
                elif line.name == "user" and section.kind == "userlist" and len(line.words) > 2:
                    kind = "password" if line.words[1] == "insecure-password" else "password-hash"
                    value = line.words[2]
                if value:
                    ident = secret_id(line.place.path, f"{section.kind} {section.name} {line.name}")
                    yield Secret(seen_in=line.place, id=ident, kind=kind, name=line.name, value=value)

    def running(self) -> Iterator[Finding]:
        words = list(self.invocation.words)
        if "-p" in words[:-1]:
            del words[words.index("-p") : words.index("-p") + 2]
        master = any(word in ("-W", "-Ws") for word in words)  # since 1.8
        kept = tuple(word for word in words if word not in ("-W", "-Ws", "-D", "-db"))
        program = self.invocation.program.replace("haproxy-systemd-wrapper", "haproxy")
        command = (program, *(("-W",) if master else ()), "-db", *kept)
        says = "-db keeps it in the foreground, whatever `daemon` says"
        yield Foreground(seen_in=self.invocation.service.seen_in, service=self.ident, command=command, says=says)
        listens = list(self.listens())
        # As another user it could neither chroot nor make a socket in /run: it starts as root and drops that itself.
        rooted = self.word("chroot") or any(listen.path.rpartition("/")[0] == "/run" for listen in listens)
        if (user := self.word("user")) and not rooted:
            says = "`user`: it drops root"
            place = self.settings["user"].place
            yield RunsAs(seen_in=place, service=self.ident, user=user, group=self.word("group"), says=says)
        first = next((each for each in listens if each.port and each.protocol == "tcp"), None)
        if first:
            host = first.address if is_loopback(first.address) else "127.0.0.1"
            if check := tcp_check(self.guest, first.port or 0, host):
                says = "it accepts connections"
                yield Health(seen_in=first.seen_in, service=self.ident, command=check, says=says)
        for section in self.of("program"):
            place = section.head.place
            self.reader.note(place.path, f"program {section.name}: haproxy starts it too", place.line)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each haproxy's configuration says."""
    reader = Reader(guest, _NAME)
    secrets: list[Secret] = []
    for found in invocations(reader, findings, (_NAME, "haproxy-systemd-wrapper")):
        balancer = _Balancer(guest, reader, found)
        yield from balancer.listens()
        yield from balancer.rebinds()
        yield from balancer.needs()
        yield from balancer.logs()
        yield from balancer.uses()
        yield from balancer.running()
        secrets += balancer.secrets()
    yield from unique(secrets)
    yield from reader.unread
    yield from reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="HAProxy: addresses, servers, certificates, maps, its log.",
    reads=("/etc/haproxy", "/etc/default/haproxy", "/etc/sysconfig/haproxy", "/etc/hostname"),
    join=join,
    source="HAProxy's Configuration Manual and Management Guide, haproxy(1)",
)
