"""OpenDKIM: its socket, the keys it signs with, the tables that say when, and the user it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._products import program_of, unit_of
from analyzers._reading import Reader, absolute, assignments, meaningful
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Need, Place, Rebind, RunsAs, Uses

_NAME = "opendkim"
_MAIN = "/etc/opendkim.conf"
_DEFAULTS = ("/etc/default/opendkim", "/etc/sysconfig/opendkim")
_MAX_DEPTH = 5
# Directives that name a file, or a data set that may be one (opendkim.conf(5), DATA SETS in opendkim(8)).
_DATASETS = frozenset({
    "keytable", "signingtable", "internalhosts", "externalignorelist", "peerlist", "exemptdomains", "domain", "mta",
    "keyfile", "trustanchorfile", "boguskey", "macrolist", "mustbesigned", "senderheaders", "vbrtrustedcertifiers",
})  # fmt: skip
_FILE = re.compile(r"(?:(?:ref?file|file|db|bdb):)?(/\S+)")


class Setting(msgspec.Struct, frozen=True):
    """A directive in force: the value, the line as it stands, and its place."""

    value: str
    text: str
    place: Place


def load(reader: Reader, path: str, found: dict[str, Setting] | None = None, depth: int = 0) -> dict[str, Setting]:
    """Return the directives by lower-case name; the last of a name counts, `Include` is read where it stands."""
    found = {} if found is None else found
    for number, line in meaningful(reader.text(path) or ""):
        words = line.split(None, 1)
        value = words[1].partition(" #")[0].strip() if len(words) > 1 else ""
        if words[0].lower() != "include":
            found[words[0].lower()] = Setting(value, line, Place(path, number))
        elif depth >= _MAX_DEPTH or "include" in found:
            reader.note(path, f"include {value} was not read: one file is followed", number)
        else:
            found["include"] = Setting(value, line, Place(path, number))
            load(reader, absolute(value, path.rpartition("/")[0]), found, depth + 1)
    return found


class _Findings:
    """Turns opendkim.conf into findings."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.settings = load(self.reader, _MAIN)
        self.ident = unit_of(guest, ("opendkim",))

    def value(self, name: str) -> str:
        return self.settings[name].value if name in self.settings else ""

    def place(self, name: str) -> Place:
        return self.settings[name].place if name in self.settings else Place(_MAIN)

    def listens(self) -> Iterator[Listen]:
        """`Socket` is `local:PATH` or `inet:PORT@HOST`, as all milters have it."""
        kind, _, rest = self.value("socket").partition(":")
        if kind in ("local", "unix") and rest.startswith("/"):
            yield Listen(seen_in=self.place("socket"), service=self.ident, path=run_path(rest))
        elif kind.startswith("/"):
            yield Listen(seen_in=self.place("socket"), service=self.ident, path=run_path(kind))
        elif kind in ("inet", "inet6"):
            port, _, host = rest.partition("@")
            if number := port_number(port):
                address = "*" if is_every(host) else host.strip("[]")
                yield Listen(seen_in=self.place("socket"), service=self.ident, port=number, address=address)

    def rebinds(self) -> Iterator[Rebind]:
        for listen in self.listens():
            if listen.port and is_loopback(listen.address):
                after = f"Socket inet:{listen.port}"
                says = "it listens on the machine itself only"
                before = self.settings["socket"].text
                yield Rebind(seen_in=listen.seen_in, service=self.ident, before=before, after=after, says=says)

    def uses(self) -> Iterator[Uses]:
        ident = self.ident
        yield Uses(seen_in=Place(_MAIN), service=ident, path=_MAIN, role="config", says="its configuration")
        if include := self.value("include"):
            path = absolute(include, "/etc")
            yield Uses(seen_in=self.place("include"), service=ident, path=path, role="config", says="its configuration")
        for name, setting in sorted(self.settings.items()):
            match = _FILE.match(setting.value) if name in _DATASETS else None
            if match and not match[1].startswith("/usr/share/"):
                path = absolute(match[1], "/")
                yield Uses(seen_in=setting.place, service=ident, path=path, role="config", says=name)
                if name == "keytable" and self.guest.is_file(path):
                    yield from self.keys(path)
        if (path := self.value("statistics")).startswith("/"):
            yield Uses(seen_in=self.place("statistics"), service=ident, path=path, role="log", says="statistics")
        for listen in self.listens():
            folder = listen.path.rpartition("/")[0]
            if folder.startswith("/run/"):
                yield Uses(seen_in=listen.seen_in, service=ident, path=folder, role="runtime", says="its socket")

    def keys(self, path: str) -> Iterator[Uses]:
        """A line of a KeyTable is `NAME DOMAIN:SELECTOR:KEY`, the key a path or the key itself."""
        for number, line in meaningful(self.reader.text(path) or ""):
            match = re.match(r"\S+\s+[^:\s]+:[^:\s]+:(/\S+)", line)
            if match:
                key = absolute(match[1], "/")
                says = "a key it signs with"
                yield Uses(seen_in=Place(path, number), service=self.ident, path=key, role="config", says=says)

    def needs(self) -> Iterator[Need]:
        """Data sets in databases and directories: `dsn:mysql://user:password@port+host/…`, `ldap://host/…`."""
        for name, setting in sorted(self.settings.items()):
            default = {"mysql": 3306, "pgsql": 5432, "ldap": 389, "ldaps": 636}
            match = re.match(r"(?:dsn:)?(mysql|pgsql|ldaps?)://(?:[^@/\s]*@)?(?:(\d+)\+)?([^/\s]+)", setting.value)
            if match and name in _DATASETS and (parts := split_host_port(match[3], default[match[1]])):
                port = port_number(match[2] or "") or parts[1] or default[match[1]]
                over = over_tcp(parts[0], port)
                yield Need(seen_in=setting.place, service=self.ident, over=over, detail=name, host_text=parts[0])

    def running(self) -> Iterator[Finding]:
        if program := program_of(self.guest, ("opendkim",)):
            command = (program, "-f", "-x", _MAIN)
            says = "opendkim -f stays in the foreground; it logs to syslog"
            yield Foreground(seen_in=self.place("background"), service=self.ident, command=command, says=says)
        user, _, group = self.value("userid").partition(":")
        if user:
            place = self.place("userid")
            yield RunsAs(seen_in=place, service=self.ident, user=user, group=group, says="UserID")
        for listen in self.listens():
            if listen.port and (check := tcp_check(self.guest, listen.port)):
                yield Health(seen_in=listen.seen_in, service=self.ident, command=check, says="it accepts connections")
        for path in _DEFAULTS:  # for init scripts; a unit does not read them
            found = assignments(self.reader.optional(path) or "").get("SOCKET")
            if found and "socket" not in self.settings:
                self.reader.note(path, "the socket stands here, and not in opendkim.conf", found[1])


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what opendkim.conf says."""
    if not guest.is_file(_MAIN):
        return
    findings = _Findings(guest)
    yield from findings.running()
    yield from findings.listens()
    yield from findings.needs()
    yield from findings.uses()
    yield from findings.rebinds()
    yield from findings.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="OpenDKIM: its socket, keys and tables, and as whom it runs.",
    reads=(_MAIN, "/etc/opendkim", "/etc/dkimkeys", *_DEFAULTS),
    analyze=analyze,
    source="opendkim.conf(5), opendkim(8)",
)
