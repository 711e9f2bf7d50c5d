"""MySQL and MariaDB servers: which services start one, of which engine and version, with which options in force."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._commands import Tracer, runners
from analyzers._mysql_options import Option, Options, from_words, groups_of, leading
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute
from migrate.guest.protocol import Guest
from migrate.model import Finding, Package, Place, Service, User
from migrate.services import by_id

NAME = "mysql"
_SERVERS = frozenset({"mysqld", "mariadbd", "mysqld-debug"})
_SAFE = frozenset({"mysqld_safe", "mariadbd-safe", "safe_mysqld"})
_MULTI = frozenset({"mysqld_multi", "mariadbd-multi"})
_IDS = frozenset({"mysql", "mysqld", "mariadb"})
_NO_SERVICE = re.compile(
    r"--(help|version|initialize(-insecure)?|bootstrap|validate-config|wsrep-recover|print-defaults)"
)
# /usr/libexec: the Red Hat family; /usr/bin: Alpine; /usr/local/mysql: MySQL's own archives.
PROGRAMS = ("/usr/sbin/mariadbd", "/usr/sbin/mysqld", "/usr/libexec/mariadbd", "/usr/libexec/mysqld",
            "/usr/bin/mariadbd", "/usr/bin/mysqld", "/usr/local/mysql/bin/mysqld")  # fmt: skip
# What mysqld_safe(1) hands to the server; its other options are its own.
_SAFE_GROUPS = frozenset({"mysqld_safe", "safe_mysqld", "mariadb_safe", "mariadbd-safe"})
_HANDED = frozenset({"user", "datadir", "socket", "port", "pid_file", "basedir", "plugin_dir", "log_error"})
_INFO = ("mysql_upgrade_info", "mariadb_upgrade_info")


class Server(msgspec.Struct, frozen=True):
    """A server that a service starts: `args` are its own options; `safe` is the wrapper's path where one starts it."""

    service: Service
    program: str
    args: tuple[str, ...]
    place: Place
    safe: str
    engine: str
    version: str
    package: str

    @property
    def says(self) -> str:
        """Engine and version, as far as they are known."""
        return f"{self.engine} {self.version}".rstrip()


def servers(guest: Guest, findings: Sequence[Finding], reader: Reader) -> Iterator[Server]:
    """Find the services that start a server: by their command, through shells and wrappers, or by their name."""
    owners = Owners(guest, findings)
    tracer = Tracer(guest, reader, owners)
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    packages = {finding.name: finding for finding in findings if isinstance(finding, Package)}
    for runner in runners(findings):
        service = services.get(runner.ident)
        if service is None or not runner.commands:
            continue
        calls = [c for c in tracer.trace(runner).calls if c.name in _SERVERS | _SAFE | _MULTI]
        calls = [c for c in calls if not any(_NO_SERVICE.fullmatch(w.text) for w in c.command.words[1:])]
        if calls:
            call = calls[-1]
            if call.name in _MULTI:
                reader.note(
                    call.place.path, f"{call.name} starts several servers; they are not told apart", call.place.line
                )
                continue
            several = {variable.value for variable in service.environment}  # a shell splits what is not quoted
            words = [word.text for word in call.command.words[1:] if word.whole]
            args = tuple(part for text in words for part in (text.split() if text in several else [text]) if part)
            safe = (call.program or call.name) if call.name in _SAFE else ""
            yield _server(guest, service, "" if safe else call.program, args, call.place, safe, owners, packages)
        elif service.id in _IDS and service.manager != "systemd":
            safe = next(
                (p for p in ("/usr/bin/mariadbd-safe", "/usr/bin/mysqld_safe") if guest.is_file(p)), "mysqld_safe"
            )
            yield _server(guest, service, "", (), service.seen_in, safe, owners, packages)


def _server(
    guest: Guest,
    service: Service,
    program: str,
    args: tuple[str, ...],
    place: Place,
    safe: str,
    owners: Owners,
    packages: dict[str, Package],
) -> Server:
    program = program or next((p for p in PROGRAMS if guest.is_file(p)), "")
    owner = owners.package(program) if program else None
    info = " ".join(_first(guest, f"/var/lib/mysql/{name}") for name in _INFO)
    known = " ".join((guest.resolve(program) or program, owner or "", service.description, info)).lower()
    version = (
        packages[owner].version.partition(":")[2] or packages[owner].version if owner in packages else info.strip()
    )
    match = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    engine = "MariaDB" if "mariadb" in known else "MySQL"
    return Server(service, program, args, place, safe, engine, f"{match[1]}.{match[2]}" if match else "", owner or "")


def _first(guest: Guest, path: str) -> str:
    return (Reader(guest, NAME).optional(path, 256) or "").split("\n", 1)[0][:60] if guest.is_file(path) else ""


class Started:
    """One server with its options in force."""

    def __init__(self, guest: Guest, server: Server, findings: Sequence[Finding]) -> None:
        self.guest, self.server = guest, server
        self.reader = Reader(guest, NAME)
        self.options = Options(self.reader)
        self.handed: dict[str, Option] = {}
        self.accounts = {finding.name: finding for finding in findings if isinstance(finding, User)}
        self._read()
        self.base = self.options.value("basedir", "/usr/local/mysql" if "/usr/local/" in server.program else "")
        default = f"{self.base}/data" if self.base.startswith("/usr/local/") else "/var/lib/mysql"
        self.data = absolute(self.options.value("datadir", default), "/")
        if server.engine == "MySQL":
            self.options.persisted(f"{self.data}/mysqld-auto.cnf")

    def _read(self) -> None:
        server, asked = self.server, leading(self.server.args)
        groups = groups_of(server.engine, server.version, asked.get("defaults_group_suffix", ""))
        account = self.accounts.get(server.service.user or "root")
        for path in self._paths(asked, account):
            self.options.load(path, groups)
        if server.safe:
            safe = Options(Reader(self.guest, NAME))
            for path in self._paths(asked, account):
                safe.load(path, _SAFE_GROUPS)
            self.handed = {option.name: option for option in safe.every if option.name in _HANDED}
            self.options.add(self.handed.values())
        self.options.add(from_words(server.args, server.place))

    def _paths(self, asked: dict[str, str], account: User | None) -> Iterator[str]:
        """Yield the option files in their order (MySQL manual 6.2.2.2); /usr/etc is that of Oracle's packages."""
        if "no_defaults" in asked:
            return
        if file := asked.get("defaults_file"):
            yield absolute(file, "/")
            return
        yield from ("/etc/my.cnf", "/etc/mysql/my.cnf")
        if self.server.engine == "MySQL":
            yield "/usr/etc/my.cnf"
        if file := asked.get("defaults_extra_file"):
            yield absolute(file, "/")
        if account is not None and account.home.startswith("/"):
            yield absolute(".my.cnf", account.home)

    # ---------------------------------------------------------------- what several findings ask for

    @property
    def main(self) -> Place:
        """Where the server's start is said."""
        return self.server.place

    def place(self, name: str) -> Place:
        """Return where an option is said, or the server's start where it is not."""
        return self.options.place(name, self.main)

    def path(self, name: str) -> str:
        """Return an option's value as a path, relative ones seen from the data directory; empty where there is none."""
        value = self.options.value(name)
        return absolute(value, self.data) if value else ""

    @property
    def socket(self) -> str:
        """The unix socket's path; the built-in one differs by who built the server. Abstract ones have none."""
        program = self.server.program
        default = "/run/mysqld/mysqld.sock"
        if program.startswith("/usr/libexec/"):
            default = "/var/lib/mysql/mysql.sock"
        elif program.startswith("/usr/local/"):
            default = "/tmp/mysql.sock"  # noqa: S108  # the path on the guest
        value = self.options.value("socket", default)
        return "" if value.startswith("@") else absolute(value, self.data)

    def user(self) -> tuple[str, Place]:
        """Return the account the server runs as, and what says so: its options, its wrapper, or its files' owner."""
        service = self.server.service
        if service.user not in ("", "root", "0"):
            return service.user, service.seen_in
        if name := self.options.value("user"):
            return name, self.place("user")
        entry = self.guest.stat(self.data)
        owner = next((u.name for u in self.accounts.values() if entry is not None and u.uid == entry.uid), "")
        return (owner, Place(self.data)) if owner and owner != "root" else ("root", service.seen_in)
