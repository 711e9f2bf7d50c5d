"""BIND's named: where it listens, its zones and their files, forwarders, control, and how it logs in the foreground."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_address, over_tcp, port_number, run_path, tcp_check
from analyzers._argv import Word, argv, program_at
from analyzers._named_conf import Statement, each, load
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, assignments, inside
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
    Requires,
    RunsAs,
    Service,
    Uses,
)
from migrate.services import by_id

_NAME = "bind"
_OPTIONS = ("/etc/default/named", "/etc/default/bind9", "/etc/sysconfig/named")
_CONFIGURATIONS = ("/etc/bind/named.conf", "/etc/named.conf")
_VALUED = "cdDELMmnpStTUuxX"  # options with a word of their own, named(8)
_CHANGING = ("allow-update", "update-policy", "inline-signing", "dnssec-policy", "auto-dnssec")

Role = Literal["config", "data", "log", "runtime", "cache"]


class _Named:
    """One named with its configuration."""

    def __init__(self, guest: Guest, service: Service, owners: Owners) -> None:
        self.guest, self.service, self.owners = guest, service, owners
        self.reader = Reader(guest, _NAME)
        self.program, self.words = self._start()
        self.root = self.option("t").text.rstrip("/") if self.option("t").text.startswith("/") else ""
        default = next((path for path in _CONFIGURATIONS if guest.is_file(self.root + path)), _CONFIGURATIONS[0])
        self.main = self.root + absolute(self.option("c", default).text, "/")
        self.tree, self.files = load(self.reader, self.main, self.root) if guest.is_file(self.main) else ([], [])
        self.options = [inner for statement in self.tree if statement.name == "options" for inner in statement.block]
        stated = [s.words[1] for s in self.options if s.name == "directory" and len(s.words) > 1]
        debian = self.main.startswith(f"{self.root}/etc/bind")
        self.directory = stated[-1] if stated else "/etc/bind" if debian else "/"

    def _start(self) -> tuple[str, list[Word]]:
        """Return the program and its words; an init script gives it those of its file of defaults."""
        words = argv(self.reader, self.service)
        at = program_at(words, "named")
        if at is not None and words[at].text != self.service.unit:
            return words[at].text, words[at + 1 :]
        found: list[Word] = []
        for path in _OPTIONS:
            value, line = assignments(self.reader.optional(path) or "").get("OPTIONS", ("", 0))
            found = found or [Word(word, Place(path, line)) for word in value.split()]
        return "/usr/sbin/named" if self.guest.is_file("/usr/sbin/named") else "", found

    def option(self, letter: str, default: str = "") -> Word:
        """Return the value of an option, joined to it or in the next word."""
        for at, word in enumerate(self.words):
            if word.text == f"-{letter}" and at + 1 < len(self.words):
                return self.words[at + 1]
            if word.text.startswith(f"-{letter}") and len(word.text) > 2:
                return Word(word.text[2:], word.place)
        return Word(default, self.service.seen_in)

    def uses(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.service.id, path=path, role=role, says=says)

    def path(self, text: str) -> str:
        return self.root + absolute(text, self.directory)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        ident = self.service.id
        if self.program:
            rest = [word.text for word in self.words if word.text not in ("-f", "-g")]
            says = "named stays in the foreground and logs to standard error with -g (named(8))"
            command = (self.program, "-g", *rest)
            yield Foreground(seen_in=self.service.seen_in, service=ident, command=command, says=says)
        if user := self.option("u").text:
            yield RunsAs(seen_in=self.option("u").place, service=ident, user=user, says="-u of its options")
        if check := tcp_check(self.guest, self.port()):
            yield Health(seen_in=self.service.seen_in, service=ident, command=check, says="it accepts connections")

    def port(self) -> int:
        """The port of queries: `-p` wins over `port` of the options."""
        given = self.option("p").text.removeprefix("dns=")
        stated = next((s.words[1] for s in reversed(self.options) if s.name == "port" and len(s.words) > 1), "53")
        return port_number(given) or port_number(stated) or 53

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        stated = [s for s in self.options if s.name in ("listen-on", "listen-on-v6")]
        for statement in stated:
            port = port_number(statement.word("port")) or self.port()
            words = [inner.words[0] for inner in statement.block if inner.words]
            every = "::" if statement.name == "listen-on-v6" else "*"
            for address in dict.fromkeys(every if word == "any" else word for word in words):
                if address != "none" and not address.startswith("!"):
                    encrypted = "tls" in statement.words or "http" in statement.words
                    yield from self.both(statement.place, address, port, only_tcp=encrypted)
            yield from self.rebind(statement, words)
        if not any(s.name == "listen-on" and "tls" not in s.words for s in stated) and self.tree:
            yield from self.both(Place(self.main), "*", self.port(), assumed=True)
        for statement in self.tree:
            if statement.name in ("controls", "statistics-channels"):
                default = 953 if statement.name == "controls" else 80
                for inner in statement.block:
                    yield from self.channel(inner, default)
        keys = [path for path in (f"{posixpath.dirname(self.main)}/rndc.key", "/etc/rndc.key") if
                self.guest.is_file(path)]  # fmt: skip
        if keys:
            yield self.uses(Place(keys[0]), keys[0], "config", "the key that rndc shows it")
            if not any(statement.name == "controls" for statement in self.tree):
                yield Listen(
                    seen_in=Place(keys[0]), service=self.service.id, port=953, address="127.0.0.1", assumed=True
                )

    def both(
        self, place: Place, address: str, port: int, *, assumed: bool = False, only_tcp: bool = False
    ) -> Iterator[Listen]:
        for protocol in ("tcp",) if only_tcp else ("tcp", "udp"):
            yield Listen(seen_in=place, service=self.service.id, port=port, protocol=protocol, address=address,
                         assumed=assumed)  # fmt: skip

    def channel(self, statement: Statement, default: int) -> Iterator[Listen]:
        address = statement.word("inet")
        if address:
            port = port_number(statement.word("port", str(default))) or default
            yield Listen(seen_in=statement.place, service=self.service.id, port=port, address=address)
        elif path := statement.word("unix"):
            yield Listen(seen_in=statement.place, service=self.service.id, path=path)

    def rebind(self, statement: Statement, words: Sequence[str]) -> Iterator[Rebind]:
        """One line that lets it listen, or answer, on loopback alone; one of several lines is told."""
        if not words or not all(is_loopback(word) or word == "localhost" for word in words):
            return
        says = "it listens on loopback only" if statement.name.startswith("listen") else "it answers the machine only"
        opening, closing = statement.text.find("{"), statement.text.rfind("}")
        if 0 <= opening < closing:
            before = statement.text[opening : closing + 1]
            yield Rebind(seen_in=statement.place, service=self.service.id, before=before, after="{ any; }", says=says)
        else:
            why = f"{says}: set {statement.name} to any for clients in other Pods"
            self.reader.caution(self.service.id, statement.place, why)

    def access(self) -> Iterator[Finding]:
        """Who may ask: the machine itself, or, where nothing says it, its own networks (ARM, allow-recursion)."""
        for statement in self.options:
            if statement.name in ("allow-query", "allow-recursion", "allow-query-cache"):
                yield from self.rebind(statement, [inner.words[0] for inner in statement.block if inner.words])
        names = {s.name: s.words[1:] for s in self.options}
        asked = {"allow-query", "allow-recursion", "allow-query-cache"} & set(names)
        if self.tree and not asked and names.get("recursion") not in (["no"], ["false"], ["0"]):
            why = (
                "no allow-recursion: by default only the machine's own networks may, and other Pods are in none of them"
            )
            self.reader.caution(self.service.id, Place(self.main), why)

    # ---------------------------------------------------------------- zones

    def zones(self) -> Iterator[Finding]:
        lists = {s.words[1]: s for s in self.tree if s.name in ("primaries", "masters") and len(s.words) > 1}
        for zone in each(self.tree, "zone"):
            inner = {statement.name: statement for statement in zone.block}
            kind = inner["type"].words[-1].lower() if "type" in inner else "primary"
            name = zone.words[1] if len(zone.words) > 1 else "?"
            if (file := inner.get("file")) is not None and len(file.words) > 1:
                yield from self.zone_file(name, kind, file, changes=any(key in inner for key in _CHANGING))
            for key in ("primaries", "masters"):
                if key in inner and kind in ("secondary", "slave", "mirror", "stub", "redirect"):
                    yield from self.hosts(inner[key], lists, "tcp", f"the zone {name} is copied from there")
            if "forwarders" in inner:
                yield from self.hosts(inner["forwarders"], lists, "udp", f"it asks that for {name}")
        for statement in each(self.tree, "forwarders"):
            yield from self.hosts(statement, lists, "udp", "it asks that for what it does not know")

    def zone_file(self, name: str, kind: str, file: Statement, *, changes: bool) -> Iterator[Finding]:
        path = self.path(file.words[1])
        if kind in ("secondary", "slave", "mirror", "stub") or (changes and kind in ("primary", "master")):
            folder = posixpath.dirname(path)
            says = f"the zone {name}, {'which changes while it runs' if changes else 'a copy of its primary'}"
            yield self.uses(file.place, path if inside(folder, "/etc") else folder, "data", says)
        elif package := self.owners.package(path) if not inside(path, "/etc") else None:
            says = f"the zone {name}: {path}"
            yield Requires(seen_in=file.place, service=self.service.id, package=package, says=says)
        else:
            yield self.uses(file.place, path, "config", f"the zone {name}")

    def hosts(
        self, statement: Statement, lists: dict[str, Statement], protocol: str, says: str, depth: int = 0
    ) -> Iterator[Need]:
        """Yield a need for each address of a block; a name stands for a list of them."""
        default = statement.word("port", "53")
        for inner in statement.block[:200]:
            host = inner.words[0] if inner.words else ""
            if is_address(host):
                port = port_number(inner.word("port", default)) or 53
                over = over_tcp(host, port, protocol)
                yield Need(seen_in=inner.place, service=self.service.id, over=over, detail=says, host_text=host)
            elif host in lists and depth < 3:
                yield from self.hosts(lists[host], lists, protocol, says, depth + 1)

    # ---------------------------------------------------------------- its files

    def files_used(self) -> Iterator[Finding]:
        for path in self.files:
            yield self.uses(Place(path), path, "config", "its configuration")
        for statement in self.options:
            if statement.name in ("directory", "managed-keys-directory", "key-directory") and len(statement.words) > 1:
                path = self.path(statement.words[1])
                role: Role = "cache" if inside(path, f"{self.root}/var/cache") else "data"
                says = f"{statement.name}: keys it keeps up, journals" if role == "data" else "its working directory"
                if not inside(path, "/etc"):
                    yield self.uses(statement.place, path, role, says)
        stated = next((s for s in self.options if s.name == "pid-file" and len(s.words) > 1), None)
        runtime = posixpath.dirname(run_path(stated.words[1] if stated else "/run/named/named.pid"))
        if inside(runtime, "/run") and runtime != "/run" and self.tree:
            place = stated.place if stated else Place(self.main)
            yield self.uses(place, self.root + runtime, "runtime", "its process id and session key are there")
        for logging in each(self.tree, "logging"):
            for channel in logging.block:
                for inner in channel.block:
                    if inner.name == "file" and len(inner.words) > 1:
                        yield self.uses(inner.place, self.path(inner.words[1]), "log", "a channel of its logging")
        for statement in each(self.tree, "dyndb", "plugin"):
            path = next((word for word in statement.words[1:] if word.startswith("/")), "")
            if path and (package := self.owners.package(path)):
                says = f"it loads {path}"
                yield Requires(seen_in=statement.place, service=self.service.id, package=package, says=says)


def _runs_named(service: Service) -> bool:
    names = [posixpath.basename(word) for word in service.command[:4]]
    return "named" in names or (service.id in ("bind9", "named") and bool(names))


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the configuration of each named that the machine has says."""
    owners = Owners(guest, findings)
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        if _runs_named(service):
            named = _Named(guest, service, owners)
            yield from named.running()
            yield from named.listens()
            yield from named.access()
            yield from named.zones()
            yield from named.files_used()
            yield from named.reader.unread
            yield from named.reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="BIND: addresses, zones and their files, forwarders, control channels.",
    reads=("/etc/bind", "/etc/named.conf", "/etc/named", "/etc/named.*", "/etc/default/named", "/etc/default/bind9",
           "/etc/sysconfig/named"),
    join=join,
    source="BIND 9 Administrator Reference Manual, chapter 7; named(8)",
)  # fmt: skip
