"""Unbound: where it answers, whom it asks, the trust anchors it keeps up, and how it logs in the foreground."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_address, is_every, is_host, over_tcp, port_number, run_path, tcp_check
from analyzers._argv import argv, program_at
from analyzers._reading import Reader, absolute, inside
from analyzers._servers import options
from analyzers._unbound_conf import Attribute, load
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
    Service,
    Uses,
)
from migrate.services import by_id

_NAME = "unbound"
_CONFIGURATION = "/etc/unbound/unbound.conf"
_PROGRAM = "/usr/sbin/unbound"
_KEYS = ("server-key-file", "server-cert-file", "control-key-file", "control-cert-file")
_FILES = ("root-hints", "trust-anchor-file", "trusted-keys-file", "tls-service-key", "tls-service-pem",
          "tls-cert-bundle", "python-script")  # fmt: skip

Role = Literal["config", "data", "log", "runtime"]


class _Findings:
    """Turns one server's configuration into findings."""

    def __init__(self, guest: Guest, service: Service) -> None:
        self.guest, self.service = guest, service
        self.reader = Reader(guest, _NAME)
        words = argv(self.reader, service)
        at = program_at(words, "unbound")
        script = at is not None and words[at].text == service.unit
        self.words = [word.text for word in words[at + 1 :]] if at is not None and not script else []
        self.program = words[at].text if at is not None and not script else _PROGRAM
        self.main = absolute(options(self.words, {"-c": "c"}).get("c", [_CONFIGURATION])[-1], "/etc/unbound")
        self.found, self.files = load(self.reader, self.main) if guest.is_file(self.main) else ([], [])

    def all(self, name: str, clause: str = "server") -> list[Attribute]:
        return [a for a in self.found if a.clause == clause and a.name == name and a.value]

    def value(self, name: str, default: str, clause: str = "server") -> str:
        """Return the last value of an attribute: `""` counts, it switches off."""
        return next((a.value for a in reversed(self.found) if (a.clause, a.name) == (clause, name)), default)

    def uses(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.service.id, path=path, role=role, says=says)

    @property
    def port(self) -> int:
        return port_number(self.value("port", "53")) or 53

    def running(self) -> Iterator[Finding]:
        ident, here = self.service.id, self.service.seen_in
        if self.guest.is_file(self.program) and self.value("port", "53") != "0":
            rest = [word for word in self.words if word not in ("-d", "-p", "-dp", "-dd", "-ddp")]
            says = "unbound stays in the foreground with -d and logs to standard error with a second one (unbound(8))"
            command = (self.program, "-dd", "-p", *rest)
            yield Foreground(seen_in=here, service=ident, command=command, says=says)
        for attribute in self.all("username")[-1:]:
            yield RunsAs(seen_in=attribute.place, service=ident, user=attribute.value, says="username")
        tcp = self.value("do-tcp", "yes") == "yes"
        if tcp and (check := tcp_check(self.guest, self.port)):
            yield Health(seen_in=here, service=ident, command=check, says="it accepts connections")

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        interfaces = [*self.all("interface"), *self.all("ip-address")]
        encrypted = {self.value("tls-port", "853"), self.value("https-port", "443")}
        if self.value("interface-automatic", "no") == "yes" and not interfaces:
            yield from self.both(self.all("interface-automatic")[-1].place, "*", self.port, ("tcp", "udp"))
            return
        for attribute in interfaces:
            host, _, given = attribute.value.partition("@")
            port = port_number(given) or self.port
            address = "*" if is_every(host) or host == "::0" else host
            if not is_address(host):
                why = f"it listens on the interface {host}, and a Pod's has another name"
                self.reader.caution(self.service.id, attribute.place, why)
            yield from self.both(attribute.place, address, port, ("tcp",) if str(port) in encrypted else ("tcp", "udp"))
            if is_loopback(host):
                says = "it listens on loopback only"
                after = "::0" if ":" in host else "0.0.0.0"  # noqa: S104  # the guest's file
                yield Rebind(seen_in=attribute.place, service=self.service.id, before=host, after=after, says=says)
        if not interfaces and self.found:
            for address in ("127.0.0.1", "::1"):
                yield from self.both(Place(self.main), address, self.port, ("tcp", "udp"), assumed=True)
        yield from self.control()

    def both(
        self, place: Place, address: str, port: int, protocols: tuple[str, ...], *, assumed: bool = False
    ) -> Iterator[Listen]:
        for protocol in protocols:
            if self.value(f"do-{protocol}", "yes") == "yes":
                yield Listen(seen_in=place, service=self.service.id, port=port, protocol=protocol, address=address,
                             assumed=assumed)  # fmt: skip

    def control(self) -> Iterator[Finding]:
        if self.value("control-enable", "no", "remote-control") != "yes":
            return
        port = port_number(self.value("control-port", "8953", "remote-control")) or 8953
        stated = self.all("control-interface", "remote-control")
        for attribute in stated:
            if attribute.value.startswith("/"):
                yield Listen(seen_in=attribute.place, service=self.service.id, path=run_path(attribute.value))
            else:
                address = "*" if is_every(attribute.value) else attribute.value.partition("@")[0]
                yield Listen(seen_in=attribute.place, service=self.service.id, port=port, address=address)
        if not stated:
            place = self.all("control-enable", "remote-control")[-1].place
            yield Listen(seen_in=place, service=self.service.id, port=port, address="127.0.0.1", assumed=True)
        for name in _KEYS:
            for attribute in self.all(name, "remote-control"):
                yield self.uses(attribute.place, absolute(attribute.value, self.directory), "config", name)

    def access(self) -> None:
        """By default only the machine itself is answered (unbound.conf(5), access-control)."""
        allowed = [a.value.split() for a in self.all("access-control")]
        if self.found and not any(len(w) > 1 and w[1].startswith("allow") and not w[0].startswith(("127.", "::1"))
                                  for w in allowed):  # fmt: skip
            place = next((a.place for a in self.all("access-control")), Place(self.main))
            why = "no access-control lets anybody but the machine itself ask; clients in other Pods are refused"
            self.reader.caution(self.service.id, place, why)
        if self.found and not self.all("interface") and not self.all("ip-address"):
            why = "no interface is set, so it listens on loopback only; add interface: 0.0.0.0"
            self.reader.caution(self.service.id, Place(self.main), why)

    # ---------------------------------------------------------------- whom it asks

    def needs(self) -> Iterator[Need]:
        names = {a.number: a.value for a in self.found if a.name == "name"}
        secure = {
            a.number for a in self.found if a.name.endswith(("-tls-upstream", "-ssl-upstream")) and a.value == "yes"
        }
        for attribute in self.found:
            if attribute.name not in ("forward-addr", "stub-addr", "forward-host", "stub-host", "primary", "master"):
                continue
            host, _, rest = attribute.value.partition("#")[0].partition("@")
            default = 853 if attribute.number in secure else 53
            if not host or not (is_address(host) or is_host(host)):
                continue
            protocol = "tcp" if attribute.number in secure or attribute.clause in ("auth-zone", "rpz") else "udp"
            says = f"it asks that for {names.get(attribute.number, 'a zone')}"
            over = over_tcp(host, port_number(rest) or default, protocol)
            yield Need(seen_in=attribute.place, service=self.service.id, over=over, detail=says, host_text=host)

    # ---------------------------------------------------------------- its files

    @property
    def directory(self) -> str:
        stated = self.value("directory", "")
        return stated if stated.startswith("/") else "/etc/unbound"

    def files_used(self) -> Iterator[Uses]:
        for path in dict.fromkeys(self.files):
            yield self.uses(Place(path), path, "config", "its configuration")
        for attribute in self.all("auto-trust-anchor-file"):
            path = absolute(attribute.value, self.directory)
            folder = posixpath.dirname(path)  # it writes a new file beside it and renames that
            says = "the trust anchor that it keeps up (RFC 5011)"
            yield self.uses(attribute.place, path if inside(folder, "/etc") else folder, "data", says)
        for name in _FILES:
            for attribute in self.all(name):
                if not inside(path := absolute(attribute.value, self.directory), "/usr"):
                    yield self.uses(attribute.place, path, "config", name)
        for attribute in self.all("logfile"):
            yield self.uses(attribute.place, absolute(attribute.value, self.directory), "log", "logfile")
        for clause in ("auth-zone", "rpz"):
            for attribute in self.all("zonefile", clause):
                path = absolute(attribute.value, self.directory)
                copied = any(
                    a.number == attribute.number and a.name in ("primary", "master", "url") for a in self.found
                )
                yield self.uses(attribute.place, path, "data" if copied else "config", "the file of a zone")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the configuration of each unbound that the machine has says."""
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        if any(posixpath.basename(word) == "unbound" for word in service.command[:4]):
            own = _Findings(guest, service)
            own.access()
            yield from own.running()
            yield from own.listens()
            yield from own.needs()
            yield from own.files_used()
            yield from own.reader.unread
            yield from own.reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="Unbound: addresses, forwarders, trust anchors, control.",
    reads=("/etc/unbound", "/etc/default/unbound", "/etc/sysconfig/unbound"),
    join=join,
    source="unbound.conf(5), unbound(8)",
)
