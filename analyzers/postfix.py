"""Postfix: where it takes mail, where it hands it on, its tables, milters, queue and mailboxes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import over_tcp, port_number, run_path
from analyzers._owners import Owners
from analyzers._postfix_conf import Entry, Logical, expand, next_hop, parse_main, parse_master, words_of
from analyzers._postfix_tables import INDEXED, SERVERS, asked, peers, tables
from analyzers._products import program_of, unit_of
from analyzers._reading import Reader, absolute, inside
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Covers,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    Place,
    Rebind,
    Requires,
    Uses,
)

_NAME = "postfix"
_FOLDER = "/etc/postfix"
_MAIN, _MASTER = f"{_FOLDER}/main.cf", f"{_FOLDER}/master.cf"
_GENERATOR = "system-generators/postfix-instance-generator"  # Debian, until 12: postfix.service runs /bin/true
_PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587, "lmtp": 24, "qmqp": 628}  # /etc/services
_DEFAULTS = {  # postconf(5)
    "queue_directory": "/var/spool/postfix", "data_directory": "/var/lib/postfix", "config_directory": _FOLDER,
    "mail_spool_directory": "/var/mail", "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "inet_interfaces": "all", "virtual_transport": "virtual", "local_transport": "local:$myhostname",
    "mail_name": "Postfix", "default_database_type": "hash", "command_directory": "/usr/sbin",
}  # fmt: skip
_HOPS = ("relayhost", "smtp_fallback_relay", "fallback_relay")
_TRANSPORTS = ("virtual_transport", "mailbox_transport", "local_transport", "relay_transport", "default_transport",
               "fallback_transport", "content_filter")  # fmt: skip
_PREPARE = "/usr/lib/postfix/configure-instance.sh"
_MAX_TEXT = 256 << 10
_MAX_ADDRESSES = 64
_FILE = re.compile(r"(smtpd?|lmtp|tlsproxy)_tls_(cert_file|key_file|eccert_file|eckey_file|dcert_file|dkey_file|CAfile|"
                   r"dh\d+_param_file|chain_files)")  # fmt: skip


class _Findings:
    """Turns main.cf and master.cf into findings."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        self.main = parse_main(self.reader.optional(_MAIN, _MAX_TEXT) or "")
        self.master = list(parse_master(self.reader.optional(_MASTER, _MAX_TEXT) or ""))
        self.values = _DEFAULTS | {name: value for name, (value, _) in self.main.items()}
        if "." in self.value("myhostname"):
            self.values.setdefault("mydomain", self.value("myhostname").partition(".")[2])
        self.by_name = {entry.name: entry for entry in self.master if entry.type == "unix"}
        self.chrooted = {word for e in self.master if e.chroot for word in (e.command, e.name)}
        self.sasl_types = {value for name, value, _, _ in self.settings() if name == "smtpd_sasl_type"}
        self.queue = absolute(self.value("queue_directory"), "/")
        self.instances = any(guest.is_file(f"{d}/{_GENERATOR}") for d in ("/lib/systemd", "/usr/lib/systemd"))
        self.interfaces = self._interfaces()
        self.ident = "postfix@-" if self.instances else unit_of(guest, ("postfix",))

    def value(self, name: str) -> str:
        return expand(self.values.get(name, ""), self.values)

    def place(self, name: str, part: str = "") -> Place:
        return Place(_MAIN, self.main[name][1].line_with(part)) if name in self.main else Place(_MAIN)

    def settings(self) -> Iterator[tuple[str, str, str, Logical]]:
        """Yield every parameter of both files: its name, expanded value, file, and logical line."""
        for name, (_, logical) in self.main.items():
            yield name, self.value(name), _MAIN, logical
        for entry in self.master:
            for name, value in entry.options:
                yield name, expand(value, self.values), _MASTER, entry.logical

    def need(self, place: Place, over: str, says: str, host: str = "") -> Need:
        return Need(seen_in=place, service=self.ident, over=over, detail=says, host_text=host)

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Listen]:
        for entry in self.master:
            if entry.type != "inet":
                continue
            host, _, name = entry.name.rpartition(":")
            port = _PORTS.get(name) or port_number(name)
            if port is None:
                self.reader.note(_MASTER, f"no port is known for {entry.name}", entry.logical.lines[0][0])
                continue
            place = Place(_MASTER, entry.logical.lines[0][0])
            for address in [host.strip("[]")] if host else self.interfaces:
                yield Listen(seen_in=place, service=self.ident, port=port, address=address)

    def _interfaces(self) -> list[str]:
        named = {"all": ["*"], "loopback-only": ["127.0.0.1"]}
        words = words_of(self.value("inet_interfaces"))
        return list(
            dict.fromkeys(a for word in words[:_MAX_ADDRESSES] for a in named.get(word.lower(), [word.strip("[]")]))
        ) or ["*"]

    def rebinds(self) -> Iterator[Rebind]:
        logical = self.main["inet_interfaces"][1] if "inet_interfaces" in self.main else None
        if logical is None or not all(map(is_loopback, self.interfaces)) or len(logical.lines) > 1:
            return
        says = "it takes mail from the machine itself only"
        text = logical.text
        yield Rebind(
            seen_in=self.place("inet_interfaces"),
            service=self.ident,
            before=text,
            after="inet_interfaces = all",
            says=says,
        )
        why = "mynetworks says who may relay; clients in other Pods come from other addresses"
        self.reader.caution(self.ident, self.place("mynetworks"), why)

    # ---------------------------------------------------------------- what it talks to

    def needs(self) -> Iterator[Need]:
        for name, value, path, logical in self.settings():
            place = Place(path, logical.line_with(value.split(",")[0]))
            if name in _HOPS:
                for word in words_of(value):
                    if hop := next_hop(word, 25, _PORTS):
                        yield self.need(place, over_tcp(*hop), f"{name}: mail goes out over it", hop[0])
            elif name in _TRANSPORTS:
                yield from self.transport(place, name, value)
            elif name in ("smtpd_milters", "non_smtpd_milters"):
                command = "smtpd" if name == "smtpd_milters" else "cleanup"
                for word in words_of(value):
                    yield from self.endpoint(place, name, word.split(",")[0].split()[0] if word else "", command)
            elif name == "smtpd_sasl_path" and "dovecot" in self.sasl_types:
                yield from self.endpoint(place, name, value if ":" in value else f"unix:{value}", "smtpd")
            for word in re.findall(r"check_policy_service[\s{]+([^\s,{}]+)", value):
                yield from self.endpoint(Place(path, logical.line_with(word)), "check_policy_service", word, "smtpd")
            for peer in asked(value):
                yield self.need(place, peer.over, f"a table of {name}", peer.host)

    def transport(self, place: Place, name: str, value: str) -> Iterator[Need]:
        """`transport:nexthop` of transport(5): lmtp(8) has sockets too, a pipe(8) has a command."""
        transport, _, hop = value.partition(":")
        entry = self.by_name.get(transport)
        kind = entry.command if entry else transport
        if kind == "lmtp" and hop.startswith(("unix:", "inet:")):
            yield from self.endpoint(place, name, hop, transport)
        elif kind in ("smtp", "lmtp") and (peer := next_hop(hop, 24 if kind == "lmtp" else 25, _PORTS)):
            yield self.need(place, over_tcp(*peer), f"{name}: mail goes there", peer[0])

    def endpoint(self, place: Place, name: str, text: str, command: str) -> Iterator[Need]:
        """Read `unix:PATH`, `local:PATH`, `inet:HOST:PORT`, `inet:PORT@HOST` as a service in `command` sees it."""
        kind, _, rest = text.partition(":")
        if kind in ("unix", "local") and rest:
            path = rest if rest.startswith("/") and command not in self.chrooted else f"{self.queue}/{rest.lstrip('/')}"
            yield self.need(place, f"unix:{run_path(absolute(path, '/'))}", name)
        elif kind == "inet":
            port, at, host = rest.partition("@")
            hop = next_hop(f"[{host.strip('[]')}]:{port}" if at else rest, 24, _PORTS)
            if hop:
                yield self.need(place, over_tcp(*hop), name, hop[0])

    # ---------------------------------------------------------------- its files

    def uses(self) -> Iterator[Uses]:
        ident = self.ident
        yield Uses(seen_in=Place(_MAIN), service=ident, path=_FOLDER, role="config", says="its configuration")
        says = "mail that waits to be sent"
        yield Uses(seen_in=self.place("queue_directory"), service=ident, path=self.queue, role="data", says=says)
        path = absolute(self.value("data_directory"), "/")
        yield Uses(seen_in=self.place("data_directory"), service=ident, path=path, role="cache", says="data_directory")
        if "mailname" in self.value("myorigin") or (self.instances and self.guest.is_file("/etc/mailname")):
            says = "the name mail is sent from"
            yield Uses(seen_in=self.place("myorigin"), service=ident, path="/etc/mailname", role="config", says=says)
        for name, value, file, logical in self.settings():
            place = Place(file, logical.line_with(value))
            if _FILE.fullmatch(name):
                for path in words_of(value):
                    if path.startswith("/"):
                        yield Uses(seen_in=place, service=ident, path=path, role="config", says=name)
        if (path := self.value("maillog_file")).startswith("/") and not path.startswith("/dev/"):
            yield Uses(seen_in=self.place("maillog_file"), service=ident, path=path, role="log", says="maillog_file")
        yield from self.mailboxes()

    def mailboxes(self) -> Iterator[Uses]:
        if self.value("virtual_mailbox_maps") and self.value("virtual_transport").startswith("virtual"):
            path = self.value("virtual_mailbox_base")
            if path.startswith("/"):
                place = self.place("virtual_mailbox_base")
                yield Uses(seen_in=place, service=self.ident, path=path, role="data", says="virtual mailboxes")
        local = self.value("local_transport").partition(":")[0] == "local"
        elsewhere = any(self.value(n) for n in ("mailbox_transport", "mailbox_command", "home_mailbox"))
        if local and not elsewhere and self.value("mydestination"):
            path = absolute(self.value("mail_spool_directory"), "/")
            if real := self.guest.resolve(path):
                says = "mailboxes of the machine's users (local delivery)"
                place = self.place("mydestination")
                yield Uses(seen_in=place, service=self.ident, path=real, role="data", says=says)

    def tables(self) -> Iterator[Finding]:
        data = absolute(self.value("data_directory"), "/")
        for name, value, file, logical in self.settings():
            for table in tables(value):
                place = Place(file, logical.line_with(table.path))
                if not inside(table.path, _FOLDER) and not inside(table.path, data):
                    for path in (table.path, table.path + INDEXED.get(table.type, "")):
                        if path == table.path or (path != table.path and self.guest.is_file(path)):
                            yield Uses(seen_in=place, service=self.ident, path=path, role="config", says=name)
                if table.type in SERVERS:
                    for peer in peers(self.reader, table):
                        where = Place(table.path, peer.line)
                        yield self.need(where, peer.over, f"{name}: a {table.type} table", peer.host)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        if self.instances:
            units = ("postfix", "postfix@", "postfix@-")
            yield Covers(seen_in=Place(_MAIN), service=self.ident, units=units)
        program = program_of(self.guest, ("postfix",))
        if not program:
            return
        scripts = [p for p in (f"{d}/postfix-script" for d in (_FOLDER, *self.daemons())) if self.guest.is_file(p)]
        if any("start-fg" in (self.reader.optional(path) or "") for path in scripts):
            command: tuple[str, ...] = (program, "start-fg")
            says = "postfix start-fg stays in the foreground (since 3.3)"
            if any(self.guest.is_file(f"{d}/postlogd") for d in self.daemons()):
                # postlogd(8) came with 3.4; `postfix` has no option for one parameter (MAILLOG_README).
                set_log = f"{program_of(self.guest, ('postconf',)) or 'postconf'} maillog_file=/dev/stdout"
                if self.instances and self.chrooted and self.guest.is_file(_PREPARE):
                    # The unit's ExecStartPre: resolv.conf, services and libraries go into the chroot.
                    set_log = f"{_PREPARE} - && {set_log}"
                command = ("/bin/sh", "-c", f"{set_log} && exec {program} start-fg")
                says += ", and maillog_file=/dev/stdout sends its log to standard output (since 3.4)"
                if not any(e.command == "postlogd" for e in self.master):
                    self.reader.note(_MASTER, "no postlog service: maillog_file does not work without it")
            yield Foreground(seen_in=Place(scripts[0]), service=self.ident, command=command, says=says)
        says = "postfix status: its master runs"
        yield Health(seen_in=Place(_MAIN), service=self.ident, command=(program, "status"), says=says)

    def daemons(self) -> tuple[str, ...]:
        own = self.value("daemon_directory")
        return tuple(dict.fromkeys((own or "/usr/lib/postfix/sbin", "/usr/lib/postfix/sbin", "/usr/libexec/postfix")))

    def pipes(self) -> Iterator[tuple[Entry, str]]:
        """Yield the services that run a program of others, where that program is there: pipe(8), spawn(8)."""
        for entry in self.master:
            program = next((w.removeprefix("argv=") for w in entry.words if w.startswith("argv=")), "")
            if entry.command in ("pipe", "spawn") and program.startswith("/") and self.guest.is_file(program):
                yield entry, program


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what main.cf and master.cf say."""
    if not guest.is_file(_MAIN):
        return
    findings = _Findings(guest)
    yield from findings.running()
    yield from findings.listens()
    yield from findings.needs()
    yield from findings.uses()
    yield from findings.tables()
    yield from findings.rebinds()
    yield from findings.reader.unread
    yield from findings.reader.cautions


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Requires]:
    """Yield the packages that its tables and pipes come from."""
    if not guest.is_file(_MAIN):
        return
    own, owners = _Findings(guest), Owners(guest, findings)
    installed = {finding.name for finding in findings if isinstance(finding, Package)}
    for name, value, file, logical in own.settings():
        for table in tables(value):
            if f"postfix-{table.type}" in installed:
                place, says = Place(file, logical.line_with(table.path)), f"{name}: a {table.type} table"
                yield Requires(seen_in=place, service=own.ident, package=f"postfix-{table.type}", says=says)
        if name.endswith("_CApath") and inside(value, "/etc/ssl/certs") and "ca-certificates" in installed:
            place = Place(file, logical.line_with(value))
            yield Requires(seen_in=place, service=own.ident, package="ca-certificates", says=name)
    for entry, program in own.pipes():
        if package := owners.package(program):
            place, says = Place(_MASTER, entry.logical.line_with(program)), f"{entry.name} runs {program}"
            yield Requires(seen_in=place, service=own.ident, package=package, says=says)


ANALYZER = Analyzer(
    name=_NAME,
    says="Postfix: ports, relay hosts, tables, milters, the queue, mailboxes, and how it runs in the foreground.",
    reads=(_FOLDER, "/etc/aliases", "/usr/lib/postfix/sbin/postfix-script", "/usr/libexec/postfix/postfix-script"),
    analyze=analyze,
    join=join,
    source="postconf(5), master(5), transport(5), DATABASE_README, MILTER_README, MAILLOG_README",
)
