"""ProFTPD: its servers' ports, what they serve, users' files and databases, modules, certificates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._owners import Owners
from analyzers._products import program_of, unit_of
from analyzers._proftpd_conf import Line, load
from analyzers._reading import Reader, absolute, inside
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
    Requires,
    Secret,
    Uses,
)

_NAME = "proftpd"
_MAINS = ("/etc/proftpd/proftpd.conf", "/etc/proftpd.conf")
_MAX_PORTS = 64
_FILES = frozenset({
    "authuserfile", "authgroupfile", "tlsrsacertificatefile", "tlsrsacertificatekeyfile", "tlseccertificatefile",
    "tlseccertificatekeyfile", "tlscacertificatefile", "tlscertificatechainfile", "tlsdhparamfile", "sftphostkey",
})  # fmt: skip
_LOGS = frozenset({"transferlog", "systemlog", "extendedlog", "tlslog", "sqllogfile", "sftplog", "controlslog"})


class _Findings:
    """Turns proftpd.conf into findings."""

    def __init__(self, guest: Guest, main: str) -> None:
        self.guest, self.main = guest, main
        self.reader = Reader(guest, _NAME)
        loaded = load(self.reader, main)
        self.lines, self.files = loaded.lines, loaded.files
        self.ident = unit_of(guest, ("proftpd",))
        self.last = {line.name: line for line in self.lines if not _server(line)}

    def word(self, name: str, default: str = "") -> str:
        return self.last[name].word if name in self.last else default

    def place(self, name: str) -> Place:
        return self.last[name].place if name in self.last else Place(self.main)

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Listen]:
        """The main server and each VirtualHost; `Port 0` turns the main one off."""
        port = port_number(self.word("port", "21"))
        addresses = self.last["defaultaddress"].words if "defaultaddress" in self.last else ("*",)
        if port:
            place, assumed = self.place("port"), "port" not in self.last
            for address in addresses[:_MAX_PORTS]:
                bare = "*" if is_every(address) else address
                yield Listen(seen_in=place, service=self.ident, port=port, address=bare, assumed=assumed)
        hosts = {line.within: line for line in self.lines if line.name == "port" and _server(line)}
        for section in [
            line for line in self.lines if not line.name and line.within[-1].lower().startswith("virtualhost ")
        ]:
            line = hosts.get(section.within)
            number = port_number(line.word if line else "21")
            for address in section.within[-1].split()[1:][:_MAX_PORTS] if number else ():
                bare = "*" if is_every(address) else address.strip("[]")
                place = line.place if line else section.place
                yield Listen(seen_in=place, service=self.ident, port=number, address=bare, assumed=line is None)
        yield from self.passive()

    def passive(self) -> Iterator[Listen]:
        line = self.last.get("passiveports")
        numbers = [port_number(word) for word in line.words[:2]] if line else []
        first, last = numbers if len(numbers) == 2 else (None, None)
        if line is None or first is None or last is None:
            why = "clients reach passive data connections at any port; set PassivePorts and MasqueradeAddress"
            self.reader.caution(self.ident, Place(self.main), why)
        elif last - first >= _MAX_PORTS:
            why = f"passive data connections use the {last - first + 1} ports {first} to {last}"
            self.reader.caution(self.ident, line.place, why)
        else:
            for port in range(first, last + 1):
                yield Listen(seen_in=line.place, service=self.ident, port=port)

    def rebinds(self) -> Iterator[Rebind]:
        line = self.last.get("defaultaddress")
        if line and line.words and all(map(is_loopback, line.words)):
            says, after = "it listens on the machine itself only", "DefaultAddress 0.0.0.0"
            yield Rebind(seen_in=line.place, service=self.ident, before=line.text, after=after, says=says)

    # ---------------------------------------------------------------- what it asks, and its files

    def needs(self) -> Iterator[Need]:
        ports = {"mysql": 3306, "postgres": 5432}
        default = ports.get(self.word("sqlbackend", "mysql").lower(), 3306)
        for line in self.lines:
            if line.name == "sqlconnectinfo" and "@" in line.word:
                host = line.word.rpartition("@")[2]
                if host.startswith("/"):
                    over, name = f"unix:{run_path(host)}", ""
                elif parts := split_host_port(host, default):
                    over, name = over_tcp(parts[0], parts[1] or default), parts[0]
                else:
                    continue
                says = "its users are in a database"
                yield Need(seen_in=line.place, service=self.ident, over=over, detail=says, host_text=name)
            elif line.name == "ldapserver":
                for scheme, host in re.findall(r"(?:(ldaps?)://)?([^\s/]+)", line.word):
                    if parts := split_host_port(host, 636 if scheme == "ldaps" else 389):
                        over, says = over_tcp(parts[0], parts[1] or 389), "its users are in a directory"
                        yield Need(seen_in=line.place, service=self.ident, over=over, detail=says, host_text=parts[0])

    def uses(self) -> Iterator[Uses]:
        ident, folder = self.ident, self.main.rpartition("/")[0]
        top = folder if folder != "/etc" else self.main
        yield Uses(seen_in=Place(self.main), service=ident, path=top, role="config", says="its configuration")
        for path in self.files:
            if not inside(path, top):
                yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says="its configuration")
        for line in self.lines:
            path = absolute(line.word, "/")
            if not line.word.startswith("/"):
                continue
            if line.name in _FILES and not inside(path, top):
                yield Uses(seen_in=line.place, service=ident, path=path, role="config", says=line.name)
            elif line.name in _LOGS and not path.startswith("/dev/"):
                yield Uses(seen_in=line.place, service=ident, path=path, role="log", says=line.name)
            elif line.name == "controlssocket" and run_path(path).startswith("/run/"):
                where = run_path(path).rpartition("/")[0]
                yield Uses(seen_in=line.place, service=ident, path=where, role="runtime", says=line.name)
            elif line.name == "defaultroot" and "%" not in path and path != "/":
                says = "the files of those who log in"
                yield Uses(seen_in=line.place, service=ident, path=path, role="data", says=says)
        yield from self.homes()

    def homes(self) -> Iterator[Uses]:
        for section in self.lines:
            if section.name or not section.within[-1].lower().startswith("anonymous "):
                continue
            root = section.within[-1].partition(" ")[2].strip('"')
            path = self.home(root[1:]) if root.startswith("~") else root
            if path.startswith("/") and path != "/":
                says = "what anybody may fetch"
                yield Uses(seen_in=section.place, service=self.ident, path=path, role="data", says=says)
        line = self.last.get("defaultroot")
        if (line is None or line.word.startswith("~")) and self.guest.listdir("/home"):
            says = "those who log in get their home directories"
            yield Uses(seen_in=self.place("defaultroot"), service=self.ident, path="/home", role="data", says=says)

    def home(self, user: str) -> str:
        for line in (self.reader.optional("/etc/passwd") or "").split("\n"):
            fields = line.split(":")
            if len(fields) > 5 and fields[0] == user:
                return fields[5]
        return ""

    def secrets(self) -> Iterator[Secret]:
        """Passwords that stand as words: `SQLConnectInfo DATABASE USER PASSWORD`, `LDAPBindDN DN PASSWORD`."""
        places = {"sqlconnectinfo": 2, "ldapbinddn": 1}
        for line in self.lines:
            at = places.get(line.name)
            if at is not None and len(line.words) > at and line.words[at]:
                ident = secret_id(line.place.path, line.name)
                value = line.words[at]
                yield Secret(seen_in=line.place, id=ident, kind="password", name=line.name, value=value)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        if self.word("servertype", "standalone").lower() != "standalone":
            self.reader.note(
                self.main, "ServerType inetd: inetd starts it for each client", self.place("servertype").line
            )
            return
        if program := program_of(self.guest, ("proftpd",)):
            command = (program, "--nodaemon", "-c", self.main)
            says = (
                "proftpd --nodaemon stays in the foreground, as root (User is only of its sessions); it logs to files"
            )
            yield Foreground(seen_in=self.place("servertype"), service=self.ident, command=command, says=says)
        port = port_number(self.word("port", "21"))
        if port and (check := tcp_check(self.guest, port)):
            yield Health(seen_in=self.place("port"), service=self.ident, command=check, says="it accepts connections")


def _server(line: Line) -> str:
    """Return the VirtualHost or Anonymous a directive stands in, or nothing: then it is the main server's."""
    inner = (s for s in reversed(line.within) if s.lower().startswith(("virtualhost ", "anonymous ", "directory ")))
    return next((s for s in inner if s.lower().startswith("virtualhost ")), "") or next(
        (s for s in line.within if not s.lower().startswith(("ifmodule", "ifdefine", "global"))), ""
    )


def _main(guest: Guest) -> str:
    return next((path for path in _MAINS if guest.is_file(path)), "")


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what proftpd.conf and the files it includes say."""
    main = _main(guest)
    if not main:
        return
    findings = _Findings(guest, main)
    yield from findings.running()
    yield from findings.listens()
    yield from findings.needs()
    yield from findings.uses()
    yield from findings.rebinds()
    yield from unique(findings.secrets())
    yield from findings.reader.unread
    yield from findings.reader.cautions


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Requires]:
    """Yield the packages of the modules it loads (Debian: proftpd-mod-mysql, proftpd-mod-crypto, …)."""
    main = _main(guest)
    if not main:
        return
    own, owners = _Findings(guest, main), Owners(guest, findings)
    server = owners.package(program_of(guest, ("proftpd",)) or "/usr/sbin/proftpd")
    for line in own.lines:
        if line.name == "loadmodule":
            name = line.word.removesuffix(".c").replace("/", "")
            for folder in ("/usr/lib/proftpd", "/usr/libexec/proftpd", "/usr/lib64/proftpd"):
                package = owners.package(f"{folder}/{name}.so")
                if package and package != server:
                    says = f"LoadModule {name}"
                    yield Requires(seen_in=line.place, service=own.ident, package=package, says=says)


ANALYZER = Analyzer(
    name=_NAME,
    says="ProFTPD: ports with the passive range, what it serves, users' files and databases, modules.",
    reads=("/etc/proftpd", "/etc/proftpd.conf", "/etc/passwd"),
    analyze=analyze,
    join=join,
    source="proftpd.org/docs: configuration directives, ConfigFile, NAT; proftpd(8)",
)
