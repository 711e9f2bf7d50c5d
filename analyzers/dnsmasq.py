"""dnsmasq: where it answers, whom it asks, its leases, and how it runs in the foreground as its script starts it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_address, is_every, over_tcp, port_number, tcp_check
from analyzers._argv import Word, argv, program_at
from analyzers._dnsmasq_conf import Option, arguments, load
from analyzers._reading import Reader, assignments, inside, meaningful
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

_NAME = "dnsmasq"
_PROGRAM = "/usr/sbin/dnsmasq"
_DEFAULTS = "/etc/default/dnsmasq"
_SCRIPT = "/usr/share/dnsmasq/init-system-common"
_ANCHORS = "/usr/share/dns/root.ds"
_LEASES = ("/var/lib/misc/dnsmasq.leases", "/var/lib/dnsmasq/dnsmasq.leases")  # Debian's, Red Hat's
_FILES = ("addn-hosts", "hostsdir", "dhcp-hostsfile", "dhcp-hostsdir", "dhcp-optsfile", "dhcp-optsdir", "servers-file",
          "resolv-file", "dhcp-script", "dhcp-luascript", "read-ethers")  # fmt: skip
# What Debian's script makes of /etc/default/dnsmasq, in its order.
_DEBIAN = {"MAILHOSTNAME": "-m", "MAILTARGET": "-t", "DHCP_LEASE": "-l", "DOMAIN_SUFFIX": "-s", "RESOLV_CONF": "-r",
           "CACHESIZE": "-c", "CONFIG_DIR": "-7"}  # fmt: skip


def debian_words(reader: Reader) -> list[Word]:
    """Return the words that Debian's init-system-common starts dnsmasq with, `--local-service` left out."""
    defaults = assignments(reader.optional(_DEFAULTS) or "")
    user, line = defaults.get("DNSMASQ_USER", ("", 0))
    found = [Word("-u", Place(_SCRIPT)), Word(user or "dnsmasq", Place(_DEFAULTS, line) if user else Place(_SCRIPT))]
    for name, letter in (("DNSMASQ_INTERFACE", "-i"), ("DNSMASQ_EXCEPT", "-I")):
        value, line = defaults.get(name, ("", 0))
        for word in value.split():
            found += [Word(letter, Place(_DEFAULTS, line)), Word(word, Place(_DEFAULTS, line))]
    for name, letter in _DEBIAN.items():
        value, line = defaults.get(name, ("", 0))
        if value and "`" not in value and "$" not in value:
            found += [Word(letter, Place(_DEFAULTS, line)), Word(value, Place(_DEFAULTS, line))]
        elif value:
            reader.note(_DEFAULTS, f"{name} is what a command says when it is started", line)
    value, line = defaults.get("DNSMASQ_OPTS", ("", 0))
    return [*found, *(Word(word, Place(_DEFAULTS, line)) for word in value.split())]


def anchors(text: str) -> list[str]:
    """Return root.ds as options, as Debian's script does.

    >>> anchors(". IN DS 20326 8 2 E06D44B8")
    ['--trust-anchor=.,20326,8,2,E06D44B8']
    """
    found = re.finditer(r"^([.a-zA-Z0-9]+)[ \t][ \t0-9]*(?:IN[ \t]+)?DS[ \t]+([0-9A-Fa-f \t]+)$", text, re.MULTILINE)
    return [f"--trust-anchor={match[1]},{','.join(match[2].split())}" for match in found]


class _Findings:
    """Turns one server's options into findings."""

    def __init__(self, guest: Guest, service: Service) -> None:
        self.guest, self.service = guest, service
        self.reader = Reader(guest, _NAME)
        words = argv(self.reader, service)
        at = program_at(words, "dnsmasq")
        self.scripted = at is None or words[at].text == service.unit
        self.program = _PROGRAM if self.scripted or at is None else words[at].text
        self.words = debian_words(self.reader) if self.scripted or at is None else words[at + 1 :]
        self.options, self.files = load(self.reader, list(arguments(self.words)))

    def all(self, *names: str) -> list[Option]:
        return [option for option in self.options if option.name in names]

    def has(self, name: str) -> bool:
        return any(option.name == name for option in self.options)

    @property
    def port(self) -> int | None:
        """The port of DNS; 0 switches it off."""
        return port_number(next((option.value for option in self.all("port")), "53"))

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        ident, here = self.service.id, self.service.seen_in
        if self.guest.is_file(self.program):
            extra = (
                anchors(self.reader.optional(_ANCHORS, 1 << 16) or "") if self.scripted and self.has("dnssec") else []
            )
            given = [w.text for w in self.words if w.text not in ("-k", "--keep-in-foreground", "--local-service")]
            # No file for the process id: it would have to be written below /run (src/dnsmasq.c, daemon->runfile).
            command = (self.program, "--keep-in-foreground", "--log-facility=-", "--pid-file=", *given, *extra)
            says = "dnsmasq stays in the foreground and logs to standard error"
            if self.scripted:
                says += "; without the script's --local-service, which refuses clients of other networks"
            yield Foreground(seen_in=here, service=ident, command=command, says=says)
        for option in self.all("user")[-1:]:
            group = next((o.value for o in reversed(self.all("group"))), "")
            yield RunsAs(seen_in=option.place, service=ident, user=option.value, group=group, says="user")
        if self.port and (check := tcp_check(self.guest, self.port)):
            yield Health(seen_in=here, service=ident, command=check, says="it accepts connections")

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        place = next((option.place for option in self.all("port")), None)
        yield from self.dns(place)
        ranges = self.all("dhcp-range")
        for option in ranges[:1]:
            for number in sorted({547 if "::" in other.value else 67 for other in ranges}):
                yield Listen(seen_in=option.place, service=self.service.id, port=number, protocol="udp")
            why = "it gives out addresses by broadcasts of the machine's own network, which only hostNetwork hears"
            self.reader.caution(self.service.id, option.place, why)
        for option in self.all("enable-tftp"):
            yield Listen(seen_in=option.place, service=self.service.id, port=69, protocol="udp")

    def dns(self, place: Place | None) -> Iterator[Finding]:
        if not self.port:
            return
        named = [o for o in self.all("listen-address", "interface", "auth-server") if o.value]
        addresses: dict[str, Option | None] = {}
        for option in named:
            if option.name == "listen-address":
                addresses |= {"*" if is_every(a.strip()) else a.strip(): option for a in option.value.split(",")}
            else:  # loopback is added to the interfaces named (dnsmasq(8), --interface)
                addresses["127.0.0.1" if option.value == "lo" else "*"] = option
        for address, why in (addresses or {"*": None}).items():
            seen = place or (
                why.place if why is not None else Place(self.files[0]) if self.files else self.service.seen_in
            )
            for protocol in ("tcp", "udp"):
                yield Listen(seen_in=seen, service=self.service.id, port=self.port, protocol=protocol, address=address,
                             assumed=place is None)  # fmt: skip
        if named and all(is_loopback(address) for address in addresses):
            yield from self.rebind(named)
        for option in self.all("interface"):
            if option.value != "lo":
                why_not = f"it listens on the interface {option.value}, and a Pod's may have another name"
                self.reader.caution(self.service.id, option.place, why_not)

    def rebind(self, named: Sequence[Option]) -> Iterator[Rebind]:
        """With no address and no interface named it listens on all; a command's own words are not lines to edit."""
        for option in named:
            if option.place.path in self.files:
                says = "it listens on loopback only; without this line on every address"
                yield Rebind(seen_in=option.place, service=self.service.id, before=option.text,
                             after=f"# {option.text}", says=says)  # fmt: skip

    # ---------------------------------------------------------------- whom it asks, what it reads

    def needs(self) -> Iterator[Need]:
        for option in self.all("server", "local", "rev-server"):
            host = option.value.rpartition("/")[2] if option.name != "rev-server" else option.value.rpartition(",")[2]
            host, _, port = host.partition("@")[0].partition("#")
            if is_address(host):
                over = over_tcp(host, port_number(port) or 53, "udp")
                says = f"it asks that for {option.value.rpartition('/')[0].strip('/') or 'what it does not know'}"
                yield Need(seen_in=option.place, service=self.service.id, over=over, detail=says, host_text=host)

    def files_used(self) -> Iterator[Uses]:
        ident = self.service.id
        for path in self.files:
            yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says="its configuration")
        for option in self.all(*_FILES):
            if option.value.startswith("/") and not inside(option.value, "/run") and self.guest.exists(option.value):
                yield Uses(seen_in=option.place, service=ident, path=option.value, role="config", says=option.name)
        for option in self.all("tftp-root"):
            path = option.value.partition(",")[0]
            if path.startswith("/"):
                yield Uses(
                    seen_in=option.place, service=ident, path=path, role="data", says="what it gives out by TFTP"
                )
        for option in self.all("log-facility"):
            if option.value.startswith("/"):
                yield Uses(seen_in=option.place, service=ident, path=option.value, role="log", says="log-facility")
        yield from self.leases()
        self.hosts()

    def leases(self) -> Iterator[Uses]:
        stated = self.all("dhcp-leasefile")
        for option in self.all("dhcp-range")[:1]:
            path = stated[-1].value if stated else next((p for p in _LEASES if self.guest.exists(p)), _LEASES[0])
            place = stated[-1].place if stated else option.place
            if path.startswith("/"):
                says = "the leases it has given"
                yield Uses(seen_in=place, service=self.service.id, path=path, role="data", says=says)

    def hosts(self) -> None:
        """It answers with the names of /etc/hosts (dnsmasq(8), --no-hosts), and a Pod's is another."""
        if self.has("no-hosts") or not self.port:
            return
        for number, line in meaningful(self.reader.optional("/etc/hosts") or ""):
            address = line.split()[0]
            if is_address(address) and not is_loopback(address) and not address.lower().startswith(("ff0", "fe0")):
                why = "it answers with these names, and a Pod has a hosts file of its own; give it them by addn-hosts"
                self.reader.caution(self.service.id, Place("/etc/hosts", number), why)
                return


def _runs_dnsmasq(service: Service) -> bool:
    return any(posixpath.basename(word) == "dnsmasq" or word == "/usr/share/dnsmasq/systemd-helper"
               for word in service.command[:4])  # fmt: skip


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the options of each dnsmasq that the machine has say."""
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        if _runs_dnsmasq(service) and not service.id.startswith("dnsmasq@"):
            own = _Findings(guest, service)
            yield from own.running()
            yield from own.listens()
            yield from own.needs()
            yield from own.files_used()
            yield from own.reader.unread
            yield from own.reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="dnsmasq: addresses, upstream servers, DHCP leases.",
    reads=("/etc/dnsmasq.conf", "/etc/dnsmasq.d", "/etc/default/dnsmasq", "/etc/hosts", "/usr/share/dns/root.ds"),
    join=join,
    source="dnsmasq(8); Debian's /usr/share/dnsmasq/init-system-common",
)
