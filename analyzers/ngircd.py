"""ngIRCd: ports, TLS, the servers that it links to, and how it runs in the foreground."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import is_every, is_host, over_tcp, port_number, run_path, tcp_check
from analyzers._argv import argv, program_at
from analyzers._reading import Reader, absolute, meaningful
from analyzers._servers import options
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

_NAME = "ngircd"
_PROGRAM = "/usr/sbin/ngircd"
_CONFIGURATIONS = ("/etc/ngircd/ngircd.conf", "/etc/ngircd.conf")  # Debian's, Red Hat's
_MAX_LINES = 50_000
_FILES = ("motdfile", "helpfile", "certfile", "keyfile", "dhfile", "cafile", "crlfile")


class Setting(msgspec.Struct, frozen=True):
    """One variable: its section with a number that tells sections of one name apart, its value, and the line."""

    section: str
    number: int
    name: str
    value: str
    text: str
    place: Place


def parse(text: str, path: str) -> Iterator[Setting]:
    """Yield the variables of a file; names are the same in either case, `#` and `;` begin comments (ngircd.conf(5))."""
    section, number = "", 0
    for line_number, line in meaningful(text, "#;"):
        if line.startswith("["):
            section, number = line.strip("[]").strip().lower(), number + 1
        elif "=" in line:
            name, _, value = line.partition("=")
            bare = value.strip().strip('"')
            yield Setting(section, number, name.strip().lower(), bare, line, Place(path, line_number))


class _Findings:
    """Turns one server's configuration into findings."""

    def __init__(self, guest: Guest, service: Service) -> None:
        self.guest, self.service = guest, service
        self.reader = Reader(guest, _NAME)
        words = argv(self.reader, service)
        at = program_at(words, "ngircd")
        script = at is None or words[at].text == service.unit
        self.program = _PROGRAM if script or at is None else words[at].text
        self.words = [] if script or at is None else [word.text for word in words[at + 1 :]]
        default = next((path for path in _CONFIGURATIONS if guest.is_file(path)), _CONFIGURATIONS[0])
        self.main = absolute(options(self.words, {"-f": "f", "--config": "f"}).get("f", [default])[-1], "/")
        self.files = [self.main] if guest.is_file(self.main) else []
        self.settings = [s for path in self.files for s in parse(self.reader.text(path) or "", path)][:_MAX_LINES]
        self._include()

    def _include(self) -> None:
        """`IncludeDir` names a folder of *.conf files, read after this one."""
        for setting in self.all("includedir"):
            for path in self.guest.glob(absolute(setting.value, "/") + "/*.conf")[:200]:
                if self.guest.is_file(path) and path not in self.files and len(self.settings) < _MAX_LINES:
                    self.files.append(path)
                    self.settings += parse(self.reader.text(path) or "", path)

    def all(self, name: str, *sections: str) -> list[Setting]:
        return [s for s in self.settings if s.name == name and s.value and (not sections or s.section in sections)]

    def run(self) -> Iterator[Finding]:
        ident, here = self.service.id, self.service.seen_in
        if self.guest.is_file(self.program):
            rest = [word for word in self.words if word not in ("-n", "--nodaemon")]
            says = "ngircd stays in the foreground and logs to the console"
            command = (self.program, "--nodaemon", *rest)
            yield Foreground(seen_in=here, service=ident, command=command, says=says)
        group = next((s.value for s in reversed(self.all("servergid"))), "")
        for setting in self.all("serveruid")[-1:]:
            yield RunsAs(seen_in=setting.place, service=ident, user=setting.value, group=group, says="ServerUID")
        if self.files:
            yield from self.listens()
        yield from self.needs()
        yield from self.uses()

    def listens(self) -> Iterator[Finding]:
        ident = self.service.id
        stated = self.all("listen", "global")[-1:]
        addresses = [a.strip() for a in stated[0].value.split(",")] if stated else ["*"]
        plain = self.all("ports", "global")[-1:]
        ports = [(text.strip(), setting) for setting in plain for text in setting.value.split(",")]
        ports = ports or [("6667", Setting("", 0, "", "", "", Place(self.main)))]
        ports += [(text.strip(), s) for s in self.all("ports", "ssl")[-1:] for text in s.value.split(",")]
        for text, setting in ports:
            for address in dict.fromkeys("*" if is_every(a) else a for a in addresses):
                if port := port_number(text):
                    yield Listen(seen_in=setting.place, service=ident, port=port, address=address,
                                 assumed=not setting.text)  # fmt: skip
        if stated and all(map(is_loopback, addresses)):
            says = "it listens on loopback only"
            text = stated[0].text
            yield Rebind(seen_in=stated[0].place, service=ident, before=text, after=f"# {text}", says=says)
        if (first := port_number(ports[0][0])) and (check := tcp_check(self.guest, first)):
            yield Health(seen_in=ports[0][1].place, service=ident, command=check, says="it accepts connections")

    def needs(self) -> Iterator[Need]:
        """A [Server] with host and port is one that it connects to; a passive one connects to it."""
        numbers = {s.number: s for s in self.all("port", "server")}
        passive = {s.number for s in self.all("passive", "server") if s.value.lower() in ("yes", "true", "1")}
        for setting in self.all("host", "server"):
            port = port_number(numbers[setting.number].value) if setting.number in numbers else None
            if port and is_host(setting.value) and setting.number not in passive:
                over = over_tcp(setting.value, port)
                yield Need(seen_in=setting.place, service=self.service.id, over=over, detail="it links to that server",
                           host_text=setting.value)  # fmt: skip

    def uses(self) -> Iterator[Uses]:
        ident = self.service.id
        for path in self.files:
            yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says="its configuration")
        for name in _FILES:
            for setting in self.all(name):
                if setting.value.startswith("/") and self.guest.is_file(setting.value):
                    yield Uses(seen_in=setting.place, service=ident, path=setting.value, role="config", says=name)
        for setting in self.all("pidfile"):
            folder = posixpath.dirname(run_path(setting.value))
            if folder.startswith("/run/"):
                yield Uses(seen_in=setting.place, service=ident, path=folder, role="runtime", says="its process id")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the configuration of each ngircd that the machine has says."""
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        if any(posixpath.basename(word) == "ngircd" for word in service.command[:4]):
            own = _Findings(guest, service)
            yield from own.run()
            yield from own.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="ngIRCd: ports, TLS, linked servers.",
    reads=("/etc/ngircd", "/etc/ngircd.conf"),
    join=join,
    source="ngircd.conf(5), ngircd(8)",
)
