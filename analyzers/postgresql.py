"""PostgreSQL: each cluster with its settings, sockets, data, and what must change for it to leave its Pod."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_every, port_number, run_path
from analyzers._owners import Owners
from analyzers._postgresql_conf import (
    Value,
    commented,
    control_state,
    networks,
    parse_hba,
    parse_settings,
)
from analyzers._postgresql_start import NAME, Cluster, Started, clusters
from analyzers._reading import absolute
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Covers,
    Finding,
    Foreground,
    Health,
    Listen,
    Package,
    Place,
    Rebind,
    Requires,
    Uses,
)

_PASSWORD_METHODS = ("scram-sha-256", "md5")

Role = Literal["config", "data", "log", "runtime"]


class _Findings(Started):
    """Turns one cluster's files into findings."""

    def __init__(self, guest: Guest, cluster: Cluster) -> None:
        super().__init__(guest, cluster)
        self.port = port_number(self.value("port", "5432")) or 5432

    def uses(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.cluster.ident, path=path, role=role, says=says)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        cluster, ident = self.cluster, self.cluster.ident
        if cluster.debian:
            yield self.service()
            names = (f"postgresql@{cluster.version}-{cluster.name}", "postgresql@", "postgresql")
            yield Covers(seen_in=Place(cluster.main), service=ident, units=tuple(sorted(names)))
            says = "postgres stays in the foreground and logs to standard error; pg_ctlcluster would leave it"
            yield Foreground(seen_in=Place(cluster.main), service=ident, command=self.command(), says=says)
        options = f"{cluster.conf}/pg_ctl.conf"
        for number, name, value, _ in parse_settings(self.reader.optional(options) or ""):
            if name == "pg_ctl_options" and value:
                self.reader.note(options, f"options for pg_ctl that the foreground command lacks: {value}", number)
        if self.guest.exists(f"{cluster.bin}/pg_isready"):
            folder = next(iter(self.sockets()), ("", ""))[0]
            where = ("-h", run_path(f"{folder}/").rstrip("/") if folder else "127.0.0.1")
            check = (f"{cluster.bin}/pg_isready", "-q", *where, "-p", str(self.port))
            yield Health(
                seen_in=Place(cluster.main), service=ident, command=check, says="pg_isready: it takes connections"
            )

    # ---------------------------------------------------------------- where it listens

    def sockets(self) -> Iterator[tuple[str, str]]:
        """Yield (folder, socket's path) of the unix sockets; a leading @ is an abstract one and has no path."""
        default = "/var/run/postgresql" if self.cluster.debian else "/run/postgresql"
        for folder in self.split("unix_socket_directories", default):
            if folder.startswith("/"):
                yield folder, run_path(f"{folder.rstrip('/')}/.s.PGSQL.{self.port}")

    def listens(self) -> Iterator[Finding]:
        ident = self.cluster.ident
        stated = "listen_addresses" in self.settings
        for address in self.split("listen_addresses", "localhost"):
            place = self.place("port") if "port" in self.settings or not stated else self.place("listen_addresses")
            bare = "*" if is_every(address) else address
            yield Listen(seen_in=place, service=ident, port=self.port, address=bare, assumed=not stated)
        for folder, path in self.sockets():
            yield Listen(seen_in=self.place("unix_socket_directories"), service=ident, path=path)
            runtime = run_path(f"{folder}/").rstrip("/")
            if runtime.startswith("/run/"):
                yield self.uses(self.place("unix_socket_directories"), runtime, "runtime", "its unix socket is there")

    def rebinds(self) -> Iterator[Rebind]:
        yield from self.rebind_address()
        path = absolute(self.value("hba_file", "pg_hba.conf"), self.cluster.conf)
        lines = [line for line in parse_hba(self.reader.text(path) or "") if "replication" not in line.databases]
        if any(networks(line.address) is False and line.method in _PASSWORD_METHODS for line in lines):
            return
        for line in lines:
            if not networks(line.address):
                continue
            if line.method not in _PASSWORD_METHODS:
                says = f"clients from {line.address} are let in by {line.method}; that is not widened to other Pods"
                self.reader.note(path, says, line.line)
                continue
            says = f"clients come from other Pods' addresses; they give a password as before ({line.method})"
            where = Place(path, line.line)
            yield Rebind(seen_in=where, service=self.cluster.ident, before=line.address, after="0.0.0.0/0", says=says)

    def rebind_address(self) -> Iterator[Rebind]:
        name, after, says = "listen_addresses", "listen_addresses = '*'", "its clients are in other Pods"
        ident, main = self.cluster.ident, self.cluster.main
        if any(is_every(address) for address in self.split(name, "localhost")):
            return
        if name in self.settings:
            setting: Value = self.settings[name]
            if setting.place.path.startswith(f"{self.data}/") and self.cluster.debian:
                self.reader.note(
                    setting.place.path, f"ALTER SYSTEM has set {name}; change it there", setting.place.line
                )
            else:
                yield Rebind(seen_in=setting.place, service=ident, before=setting.text, after=after, says=says)
        elif line := commented(self.reader.text(main) or "", name):
            yield Rebind(seen_in=Place(main, line[0]), service=ident, before=line[1], after=after, says=says)
        else:
            self.reader.note(main, f"no line for {name}, and by default only the machine itself is let in; add {after}")

    # ---------------------------------------------------------------- its files

    def files(self) -> Iterator[Finding]:
        cluster = self.cluster
        yield self.uses(self.place("data_directory"), self.data, "data", self.data_says())
        for link in [*self.guest.glob(f"{self.data}/pg_tblspc/*"), f"{self.data}/pg_wal", f"{self.data}/pg_xlog"]:
            entry, real = self.guest.lstat(link), self.guest.resolve(link)
            if entry is not None and entry.kind == "symlink" and real is not None:
                yield self.uses(Place(link), real, "data", "a part of its files that is kept elsewhere")
        if cluster.debian:
            yield self.uses(Place(cluster.main), cluster.conf, "config", "its configuration")
        for name in ("hba_file", "ident_file", "ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file",
                     "ssl_dh_params_file", "krb_server_keyfile"):  # fmt: skip
            if not self.value(name) or (
                name.startswith("ssl_") and self.value("ssl") not in ("on", "true", "yes", "1")
            ):
                continue
            path = absolute(self.value(name), self.data if name.startswith("ssl_") else cluster.conf)
            if not path.startswith((f"{cluster.conf}/", f"{self.data}/")):
                yield self.uses(self.place(name), path, "config", name)
        yield from self.logs()

    def logs(self) -> Iterator[Uses]:
        cluster = self.cluster
        if self.value("logging_collector", "off") in ("on", "true", "yes", "1"):
            path = absolute(self.value("log_directory", "log"), self.data)
            if not path.startswith(f"{self.data}/"):
                yield self.uses(self.place("log_directory"), path, "log", "log_directory of the logging collector")
        elif cluster.debian:
            path = f"/var/log/postgresql/postgresql-{cluster.version}-{cluster.name}.log"
            path = self.guest.resolve(f"{cluster.conf}/log") or path
            yield self.uses(Place(cluster.main), path, "log", "pg_ctlcluster(1) writes standard error there")

    def data_says(self) -> str:
        says = f"the databases of PostgreSQL {self.cluster.version}".rstrip()
        version = (self.reader.optional(f"{self.data}/PG_VERSION", 64) or "").strip()
        if version and self.cluster.version and version != self.cluster.version:
            why = f"made by PostgreSQL {version}, but the cluster is one of {self.cluster.version}"
            self.reader.note(f"{self.data}/PG_VERSION", why, 1)
        control = f"{self.data}/global/pg_control"
        state = control_state(self.reader.data(control, 1 << 16) or b"") if self.guest.is_file(control) else None
        if state is None:
            return says
        if state in ("shut down", "shut down in recovery"):
            return f"{says}; it was {state} cleanly"
        return f"{says}; it was not shut down ({state}): it will recover from its log at the first start"


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield each cluster as a service, with what its files say."""
    for cluster in clusters(guest):
        findings = _Findings(guest, cluster)
        yield from findings.running()
        yield from findings.listens()
        yield from findings.files()
        yield from findings.rebinds()
        yield from findings.reader.unread


def _libraries(findings: _Findings, owners: Owners) -> Iterator[Requires]:
    """Yield the packages of libraries that the server loads at its start."""
    cluster = findings.cluster
    folder = posixpath.dirname(cluster.bin) + "/lib"
    for setting in ("shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"):
        for library in findings.split(setting, ""):
            path = absolute(library.replace("$libdir", folder), folder)
            package = owners.package(path if path.endswith(".so") else f"{path}.so")
            if package is None:
                findings.reader.note(findings.place(setting).path, f"{setting}: no package owns {library}")
            else:
                says = f"{setting}: {library}"
                yield Requires(seen_in=findings.place(setting), service=cluster.ident, package=package, says=says)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the packages that the server's extensions and locale come from."""
    owners = Owners(guest, findings)
    packages = [finding for finding in findings if isinstance(finding, Package)]
    for cluster in clusters(guest):
        own = _Findings(guest, cluster)
        own.reader.unread.clear()  # told by `analyze`
        yield from _libraries(own, owners)
        for package in packages:
            if cluster.debian and package.name.startswith(f"postgresql-{cluster.version}-"):
                says = "an extension for this server; whether a database uses it stands in its catalogues"
                yield Requires(seen_in=package.seen_in, service=cluster.ident, package=package.name, says=says)
        for name in ("lc_messages", "lc_monetary", "lc_numeric", "lc_time"):
            if own.value(name) not in ("", "C", "POSIX", "C.UTF-8", "C.utf8"):
                says = f"{name} is {own.value(name)}: the server does not start without that locale"
                archive = "/usr/lib/locale/locale-archive"
                if guest.is_file(archive):
                    yield own.uses(own.place(name), archive, "config", says)
                if any(package.name == "locales" for package in packages):
                    yield Requires(seen_in=own.place(name), service=cluster.ident, package="locales", says=says)
                break
        yield from own.reader.unread


ANALYZER = Analyzer(
    name=NAME,
    says="PostgreSQL clusters: start, addresses, access rules, data and whether it was shut down cleanly.",
    reads=(
        "/etc/postgresql",
        "/etc/passwd",
        "/lib/systemd/system/postgresql*",
        "/var/lib/postgresql/*/*/PG_VERSION",
        "/var/lib/postgresql/*/*/postgresql.auto.conf",
        "/var/lib/postgresql/*/*/global/pg_control",
        "/var/lib/pgsql/*/*.conf",
        "/var/lib/pgsql/data/PG_VERSION",
    ),
    analyze=analyze,
    join=join,
    source="PostgreSQL manual, chapters 19 to 21; pg_createcluster(1), pg_ctlcluster(1); catalog/pg_control.h",
)
