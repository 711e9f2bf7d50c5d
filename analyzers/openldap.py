"""OpenLDAP's slapd: its addresses, databases, certificates, the servers it copies from, and how it is started."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import unquote as url_unquote

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._commands import line_of
from analyzers._owners import Owners
from analyzers._products import program_of
from analyzers._reading import Reader, absolute, assignments
from analyzers._secret import secret_id, unique
from analyzers._slapd_conf import Setting, conf, tree
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
    Secret,
    Service,
    Uses,
)

_NAME = "openldap"
_IDENT = "slapd"
_DEFAULTS = "/etc/default/slapd"  # Debian's; its init script has no other source of options
_FOLDERS = ("/etc/ldap", "/etc/openldap")
_FILES = (
    "tlscertificatefile",
    "tlscertificatekeyfile",
    "tlscacertificatefile",
    "tlsdhparamfile",
    "tlscacertificatepath",
)
_PEERS = {"syncrepl": "it copies that server's entries", "uri": "it passes requests on", "updateref": "writes go there"}
_MAX_URLS = 64
_URL = re.compile(r"\b(ldaps?)://([^\s/\"',]+)")


class _Findings:
    """Turns slapd's configuration into findings."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.defaults = assignments(self.reader.optional(_DEFAULTS) or "")
        self.debian = guest.is_file("/etc/init.d/slapd") and guest.is_file(_DEFAULTS)
        candidates = [self.default("SLAPD_CONF")] if self.default("SLAPD_CONF") else []
        candidates += [f"{folder}/{name}" for folder in _FOLDERS for name in ("slapd.d", "slapd.conf")]
        self.path = next((p for p in candidates if guest.is_file(p) or guest.is_dir(p)), "")
        self.settings: list[Setting] = []
        if self.path:
            self.settings = list((tree if guest.is_dir(self.path) else conf)(self.reader, self.path))

    def default(self, name: str) -> str:
        return self.defaults.get(name, ("", 0))[0]

    def default_place(self, name: str) -> Place:
        return Place(_DEFAULTS, self.defaults[name][1]) if name in self.defaults else Place(_DEFAULTS)

    # ---------------------------------------------------------------- where it listens

    def listens(self, urls: str, place: Place, assumed: bool = False) -> Iterator[Listen]:
        """Read the URLs of `-h` (slapd(8))."""
        for url in urls.split()[:_MAX_URLS]:
            scheme, _, rest = url.partition("://")
            name = rest.partition("/")[0].partition("?")[0]
            where = line_of(self.reader, place, url)
            if scheme == "ldapi":
                path = url_unquote(name) or ("/run/slapd/ldapi" if self.debian else "/run/ldapi")
                yield Listen(seen_in=where, service=_IDENT, path=run_path(path), assumed=not name)
            elif scheme in ("ldap", "ldaps") and (parts := _host_port(name, 636 if scheme == "ldaps" else 389)):
                yield Listen(seen_in=where, service=_IDENT, port=parts[1], address=parts[0], assumed=assumed)

    def debians(self) -> Iterator[Finding]:
        """What Debian's init script makes of /etc/default/slapd: the options in its order, and a directory in /run."""
        urls, place = self.default("SLAPD_SERVICES"), self.default_place("SLAPD_SERVICES")
        if not self.default("SLAPD_SERVICES"):
            urls = "ldap:///"
        listens = list(self.listens(urls, place, "SLAPD_SERVICES" not in self.defaults))
        yield from listens
        yield from self.rebind(urls, place, listens)
        yield from self.health(listens)
        command = [program_of(self.guest, ("slapd",)) or "/usr/sbin/slapd", "-h", urls]
        for option, name in (("-g", "SLAPD_GROUP"), ("-u", "SLAPD_USER")):
            command += [option, self.default(name)] if self.default(name) else []
        command += ["-F" if self.guest.is_dir(self.path) else "-f", self.path]
        try:
            command += shlex.split(self.default("SLAPD_OPTIONS"))
        except ValueError:
            self.reader.note(_DEFAULTS, "the quotes of SLAPD_OPTIONS do not close")
        yield self.foreground(command, place)
        if user := self.default("SLAPD_USER"):
            seen = self.default_place("SLAPD_USER")
            yield RunsAs(seen_in=seen, service=_IDENT, user=user, group=self.default("SLAPD_GROUP"), says="slapd -u")
        yield Uses(seen_in=Place(_DEFAULTS), service=_IDENT, path=_DEFAULTS, role="config", says="its options")
        says = "its socket and pid file are there"
        yield Uses(seen_in=place, service=_IDENT, path="/run/slapd", role="runtime", says=says)

    def rebind(self, urls: str, place: Place, listens: Sequence[Listen]) -> Iterator[Rebind]:
        ports = [listen for listen in listens if listen.port]
        if place.line is None or not ports or not all(is_loopback(listen.address) for listen in ports):
            return
        after = re.sub(r"(ldaps?://)(\[[^\]\s]*\]|[^\s:/]+)", r"\1", urls)
        says = "it listens on the machine itself only"
        yield Rebind(seen_in=place, service=_IDENT, before=urls, after=after, says=says)

    def health(self, listens: Sequence[Listen]) -> Iterator[Health]:
        port = next((listen.port for listen in listens if listen.port), None)
        if port and (check := tcp_check(self.guest, port)):
            yield Health(seen_in=listens[0].seen_in, service=_IDENT, command=check, says="it accepts connections")

    def foreground(self, command: Sequence[str], place: Place) -> Foreground:
        """`-d` keeps slapd in the foreground and logs to standard error what the level says: the machine's own."""
        level = next((s for s in self.settings if s.name == "loglevel"), None)
        word = ",".join(level.value.split()) if level and re.fullmatch(r"[\w ]+", level.value) else "stats"
        says = f"slapd -d stays in the foreground and logs to standard error (loglevel {word})"
        return Foreground(
            seen_in=level.place if level else place, service=_IDENT, command=(*command, "-d", word), says=says
        )

    # ---------------------------------------------------------------- what its configuration says

    def configured(self) -> Iterator[Finding]:
        yield Uses(seen_in=Place(self.path), service=_IDENT, path=self.path, role="config", says="its configuration")
        suffixes: dict[tuple[str, str], str] = {}
        for setting in self.settings:
            if setting.name == "suffix":
                suffixes.setdefault((setting.place.path, setting.database), setting.value)
        for setting in self.settings:
            name, value, place = setting.name, setting.value.strip('"'), setting.place
            if name == "directory" and value.startswith("/"):
                suffix = suffixes.get((place.path, setting.database), "")
                says = f"the {setting.database} database of {suffix}".removesuffix(" of ")
                yield Uses(seen_in=place, service=_IDENT, path=absolute(value, "/"), role="data", says=says)
            elif name in _FILES and value.startswith("/"):
                yield Uses(seen_in=place, service=_IDENT, path=absolute(value, "/"), role="config", says=name)
            elif name == "logfile" and value.startswith("/"):
                yield Uses(seen_in=place, service=_IDENT, path=absolute(value, "/"), role="log", says=name)
            elif name == "include" and value.startswith("/") and not value.startswith(f"{self.path}/"):
                yield Uses(seen_in=place, service=_IDENT, path=absolute(value, "/"), role="config", says=name)
            elif name in _PEERS:
                for scheme, host in _URL.findall(value):
                    if parts := split_host_port(host, 636 if scheme == "ldaps" else 389):
                        over = over_tcp(parts[0], parts[1] or 389)
                        yield Need(seen_in=place, service=_IDENT, over=over, detail=_PEERS[name], host_text=parts[0])

    def secrets(self) -> Iterator[Secret]:
        """`credentials=` of syncrepl; `rootpw` is found as any other password is."""
        for setting in self.settings:
            match = re.search(r"\bcredentials=(\"[^\"]+\"|[^\s\"]+)", setting.value)
            if match:
                name = f"{setting.name} credentials"
                ident, value = secret_id(setting.place.path, name), match[1].strip('"')
                yield Secret(seen_in=setting.place, id=ident, kind="password", name=name, value=value)


def _host_port(text: str, default: int) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    number = port_number(port) if port else default
    return None if number is None else ("*" if is_every(host) else host.strip("[]"), number)


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what slapd's configuration says, and on Debian how it is started."""
    findings = _Findings(guest)
    if not findings.path:
        return
    yield from findings.configured()
    yield from unique(findings.secrets())
    if findings.debian:
        yield from findings.debians()
    yield from findings.reader.unread


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield how a unit starts it, and the packages of modules that are not the server's own."""
    own = _Findings(guest)
    if not own.path:
        return
    own.reader.unread.clear()  # told by `analyze`
    owners = Owners(guest, findings)
    folder = next((s.value for s in own.settings if s.name == "modulepath"), "/usr/lib/ldap").partition(":")[0]
    server = owners.package(program_of(guest, ("slapd",)) or "/usr/sbin/slapd")
    for setting in own.settings:
        if setting.name == "moduleload":
            path = absolute(setting.value.removesuffix(".la").removesuffix(".so"), folder)
            package = owners.package(f"{path}.so") or owners.package(f"{path}.la")
            if package and package != server:
                says = f"moduleload {setting.value}"
                yield Requires(seen_in=setting.place, service=_IDENT, package=package, says=says)
    for service in findings:
        if isinstance(service, Service) and service.id == _IDENT and not own.debian:
            yield from _by_unit(own, service)


def _by_unit(own: _Findings, service: Service) -> Iterator[Finding]:
    command = service.command
    if not command or command[0].rpartition("/")[2] != "slapd":
        return
    at = command.index("-h") + 1 if "-h" in command[:-1] else None
    listens = list(own.listens(command[at] if at else "ldap:///", service.seen_in, at is None))
    yield from listens
    yield from own.health(listens)
    if not any(re.fullmatch(r"-d.*", word) for word in command[1:]):
        yield own.foreground(command, service.seen_in)
    if "-u" in command[:-1]:
        user = command[command.index("-u") + 1]
        yield RunsAs(seen_in=service.seen_in, service=_IDENT, user=user, says="slapd -u")


ANALYZER = Analyzer(
    name=_NAME,
    says="OpenLDAP servers: addresses, databases with their directories, certificates, replication, start.",
    reads=(_DEFAULTS, "/etc/ldap", "/etc/openldap"),
    analyze=analyze,
    join=join,
    source="slapd(8), slapd.conf(5), slapd-config(5), RFC 2849, Debian's /etc/init.d/slapd",
)
