"""Squid: ports, cache directories, logs, parents, and what its lines name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._invoked import Invocation, getopt, invocations
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute
from analyzers._secret import secret_id, unique
from analyzers._squid_conf import Line, load, parse_port
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Secret,
    Uses,
)

_NAME = "squid"
_CONF = "/etc/squid/squid.conf"
_VALUED = "adfklmntu"  # squid(8); -k and -n are for other runs
_PORTS = {"http_port": "tcp", "https_port": "tcp", "ftp_port": "tcp", "icp_port": "udp", "htcp_port": "udp",
          "snmp_port": "udp"}  # fmt: skip
# The built-in values of these two: squid.conf.documented of Debian and Red Hat.
_LOGS = {"access_log": "daemon:/var/log/squid/access.log", "cache_log": "/var/log/squid/cache.log"}
_PROGRAMS = frozenset({
    "auth_param", "external_acl_type", "url_rewrite_program", "store_id_program", "redirect_program", "logfile_daemon",
    "sslcrtd_program", "sslcrtvalidator_program", "diskd_program", "unlinkd_program", "pinger_program",
})  # fmt: skip

Role = Literal["config", "data", "log", "runtime", "cache"]


class _Proxy:
    """Turns one squid's configuration into findings."""

    def __init__(self, guest: Guest, reader: Reader, findings: Sequence[Finding], found: Invocation) -> None:
        self.guest, self.reader, self.findings, self.invocation, self.ident = (
            guest,
            reader,
            findings,
            found,
            found.ident,
        )
        self.options = list(getopt(found.arguments, _VALUED))
        given = next((option.value for option in self.options if option.name == "f" and option.value), _CONF)
        self.conf = absolute(given, found.service.working_directory or "/")
        self.lines: list[Line] = load(reader, self.conf)
        self.last = {line.name: line for line in self.lines if line.words}

    def of(self, *names: str) -> Iterator[Line]:
        return (line for line in self.lines if line.name in names and line.words)

    def use(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.ident, path=absolute(path, "/"), role=role, says=says)

    # ---------------------------------------------------------------- where it listens

    def ports(self) -> Iterator[tuple[Line, str, int]]:
        for line in self.of(*_PORTS):
            found = parse_port(line.words[0])
            if found:
                yield line, *found
            elif line.words[0] not in ("0", "none"):
                self.reader.note(line.place.path, f"{line.name} {line.words[0]} is not understood", line.place.line)

    def listens(self) -> Iterator[Finding]:
        first: Listen | None = None
        for line, address, port in self.ports():
            listen = Listen(
                seen_in=line.place, service=self.ident, port=port, protocol=_PORTS[line.name], address=address
            )
            yield listen
            if first is None and line.name == "http_port" and not {"intercept", "tproxy"} & set(line.words):
                first = listen
            if address != "*":
                every = re.sub(r"^.*(?=:\d+$)", "[::]" if ":" in address else "0.0.0.0", line.words[0])  # noqa: S104
                says = f"it listens on {address} only"
                yield Rebind(seen_in=line.place, service=self.ident, before=line.words[0], after=every, says=says)
        if first and (check := tcp_check(self.guest, first.port or 0)):
            yield Health(seen_in=first.seen_in, service=self.ident, command=check, says="it accepts connections")
        allowed = [line for line in self.of("http_access") if line.words[0] == "allow"]
        mine = [line for line in allowed if line.words[1:] == ("localhost",)]
        if mine and all("localhost" in line.words for line in allowed):
            says = "only this machine's clients are let in; from another Pod they have another address"
            self.reader.caution(self.ident, mine[-1].place, says)

    # ---------------------------------------------------------------- what it needs

    def needs(self) -> Iterator[Need]:
        for line in self.of("cache_peer"):
            host, *words = line.words
            port = port_number(words[1]) if len(words) > 1 else None
            if port is None:
                self.reader.note(line.place.path, f"cache_peer {host}: no port", line.place.line)
                continue
            detail = "origin server" if "originserver" in words else f"cache_peer, {words[0]}"
            yield Need(seen_in=line.place, service=self.ident, over=over_tcp(host, port), detail=detail, host_text=host)
            queried = port_number(words[2]) if len(words) > 2 and "no-query" not in words else None
            if queried:
                over = over_tcp(host, queried, "udp")
                yield Need(seen_in=line.place, service=self.ident, over=over, detail="ICP", host_text=host)
        for line in self.of("dns_nameservers"):
            for host in line.words:
                over = over_tcp(host, 53, "udp")
                yield Need(seen_in=line.place, service=self.ident, over=over, detail="resolver", host_text=host)
        for line in self.of("icap_service", "access_log"):
            for word in line.words:
                match = re.match(r"(icaps?|tcp|udp)://?([^/\s]+)", word)
                default = {"icap": 1344, "icaps": 11344}.get(match[1]) if match else None
                parts = split_host_port(match[2], default) if match else None
                if match and parts and parts[1]:
                    over = over_tcp(parts[0], parts[1], "udp" if match[1] == "udp" else "tcp")
                    yield Need(seen_in=line.place, service=self.ident, over=over, detail=line.name, host_text=parts[0])

    # ---------------------------------------------------------------- files

    def uses(self) -> Iterator[Finding]:
        for path in sorted({line.place.path for line in self.lines} | {self.conf}):
            yield self.use(Place(path), path, "config", "its configuration")
        for line in self.of("cache_dir"):
            if len(line.words) > 1 and line.words[1].startswith("/"):
                yield self.use(line.place, line.words[1], "cache", f"cache_dir {line.words[0]}")
        for line in self.of("coredump_dir"):
            if line.words[0].startswith("/"):
                yield self.use(line.place, line.words[0], "cache", "coredump_dir: it works there")
        yield from self.logs()
        for line in self.of("pid_filename"):
            folder = run_path(line.words[0]).rpartition("/")[0]
            if folder.startswith("/run/"):
                yield self.use(line.place, folder, "runtime", "the pid file is there")
        for line in self.lines:
            yield from self.named(line)

    def logs(self) -> Iterator[Uses]:
        for name, default in _LOGS.items():
            given = [(line.place, line.words[0]) for line in self.of(name)]
            for place, text in given or [(Place(self.conf), default)]:
                path = re.sub(r"^(daemon|stdio):", "", text)
                if path.startswith("/") and not path.startswith("/dev/"):
                    yield self.use(place, path, "log", name if given else f"{name}: its built-in value")
                elif path.startswith("syslog"):
                    self.reader.caution(self.ident, place, f"{name} {text}: a container has no syslog")

    def named(self, line: Line) -> Iterator[Finding]:
        """Yield the files that a line names: quoted lists of `acl`, certificates, what helpers are given."""
        owners = Owners(self.guest, self.findings) if line.name in _PROGRAMS else None
        for word in line.words:
            path = re.sub(r"^[a-z-]+=", "", word).strip("\"'")
            if not path.startswith("/") or not self.guest.is_file(path) or path.startswith(("/dev/", "/run/")):
                continue
            entry = self.guest.stat(path)
            if not entry or not entry.mode & 0o111:
                if not path.startswith("/var/log/"):
                    yield self.use(line.place, path, "config", line.name)
            elif owners is not None and (package := owners.package(path)):
                yield Requires(seen_in=line.place, service=self.ident, package=package, says=f"{line.name}: {path}")
            elif owners is not None:
                says = f"{line.name}: no package owns it"
                yield Uses(seen_in=line.place, service=self.ident, path=path, role="code", says=says)

    def secrets(self) -> Iterator[Secret]:
        for line in self.of("cache_peer"):
            for word in line.words:
                match = re.fullmatch(r"login=[^:]+:(.+)", word)
                if match:
                    ident = secret_id(line.place.path, f"cache_peer {line.words[0]}")
                    yield Secret(seen_in=line.place, id=ident, kind="password", name="login", value=match[1])
        for line in self.of("auth_param", "external_acl_type"):
            for at, word in enumerate(line.words[:-1]):
                if word == "-w":  # basic_ldap_auth(8), ext_ldap_group_acl(8): the password to bind with
                    ident, value = secret_id(line.place.path, f"{line.name} -w"), line.words[at + 1]
                    yield Secret(seen_in=line.place, id=ident, kind="password", name="-w", value=value)
        manager = self.last.get("cachemgr_passwd")
        if manager and manager.words[0] not in ("none", "disable"):
            ident, value = secret_id(manager.place.path, manager.name), manager.words[0]
            yield Secret(seen_in=manager.place, id=ident, kind="password", name=manager.name, value=value)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        program = self.invocation.program
        letters = "".join(dict.fromkeys(o.name for o in self.options if o.name in ("Y", "C", "F", "R", "S")))
        stay = "--foreground" if self.major() >= 4 else "-N"  # squid(8) since 4
        conf = () if self.conf == _CONF else ("-f", self.conf)
        command = (program, stay, *((f"-{letters}",) if letters else ()), "-d", "1", *conf)
        says = f"{stay} keeps it in the foreground, -d 1 shows its log, and no -s asks for syslog"
        place = self.invocation.service.seen_in
        if any(line.words[0] not in ("null", "coss") for line in self.of("cache_dir")):
            make = shlex.join((program, stay, "-z", *conf))
            command = ("/bin/sh", "-c", f"{make} && exec {shlex.join(command)}")
            says += "; -z makes the directories of an empty cache"
        yield Foreground(seen_in=place, service=self.ident, command=command, says=says)
        user, pid = self.last.get("cache_effective_user"), self.last.get("pid_filename")
        # Any other user could not write the built-in /run/squid.pid, without which squid does not start.
        if user and pid and run_path(pid.words[0]).rpartition("/")[0] != "/run":
            group = self.last.get("cache_effective_group")
            name = group.words[0] if group else ""
            says = "cache_effective_user: it drops root"
            yield RunsAs(seen_in=user.place, service=self.ident, user=user.words[0], group=name, says=says)

    def major(self) -> int:
        """Return the version: the unit's own --foreground says 4, else the package does."""
        if "--foreground" in self.invocation.words:
            return 4
        for package in self.findings:
            if isinstance(package, Package) and package.name in ("squid", "squid-openssl", "squid3"):
                match = re.match(r"(?:\d+:)?(\d{1,3})\.", package.version)
                return int(match[1]) if match else 0
        return 0


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each squid's configuration says."""
    reader = Reader(guest, _NAME)
    secrets: list[Secret] = []
    for found in invocations(reader, findings, (_NAME, "squid3")):
        proxy = _Proxy(guest, reader, findings, found)
        yield from proxy.listens()
        yield from proxy.needs()
        yield from proxy.uses()
        yield from proxy.running()
        secrets += proxy.secrets()
    yield from unique(secrets)
    yield from reader.unread
    yield from reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="Squid: ports, caches, logs, parents, helpers, passwords.",
    reads=("/etc/squid", "/etc/squid3", "/etc/default/squid", "/etc/sysconfig/squid"),
    join=join,
    source="squid-cache.org/Doc/config, squid(8)",
)
