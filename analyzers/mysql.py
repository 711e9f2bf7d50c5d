"""MySQL and MariaDB: start, addresses, data and logs of each server, and what must change for it to leave its Pod."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._mysql_data import replica
from analyzers._mysql_files import Files
from analyzers._mysql_options import Option, from_words
from analyzers._mysql_server import NAME, servers
from analyzers._owners import Owners
from analyzers._reading import Reader
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
    Rebind,
    Requires,
    RunsAs,
    Secret,
)

# Options of mysqld_safe(1) that the server knows nothing of, and the one that would leave the foreground.
_DROPPED = re.compile(
    r"--(?:(?:skip-)?syslog|syslog-tag|nice|ledir|mysqld|mysqld-version|malloc-lib|timezone|skip-kill-mysqld|daemonize"
    r"|numa-interleave|flush-caches|no-auto-restart|no-watch|open-files-limit-for-safe|crash-script)(?:=.*)?"
)
_ADMIN = ("mariadb-admin", "mysqladmin")


class _Findings(Files):
    """Turns one server's options and files into findings."""

    @property
    def ident(self) -> str:
        return self.server.service.id

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        server, options = self.server, self.options
        name, place = self.user()
        if name != "root" and server.service.user in ("", "root", "0"):
            yield RunsAs(seen_in=place, service=self.ident, user=name, says="the server drops root's rights")
        if server.program:
            own = [word for word in server.args if not _DROPPED.fullmatch(word)]
            said = {option.name for option in from_words(own, server.place)}
            handed = [o for o in options.last.values() if server.safe and o.name not in said and self.is_safe(o)]
            own += [f"--{o.name.replace('_', '-')}={o.value}" for o in handed if o.value and o.name != "log_error"]
            log = options.last.get("log_error")
            if log is not None and not log.off and log.value != "stderr":
                own.append("--skip-log-error")
            program = posixpath.basename(server.program)
            says = f"{program} stays in the foreground and logs to standard error"
            says += f"; {posixpath.basename(server.safe)} is a shell script around it" if server.safe else ""
            yield Foreground(seen_in=server.place, service=self.ident, command=(server.program, *own), says=says)
        if options.on("wsrep_on"):
            place = self.place("wsrep_on")
            self.reader.note(
                place.path, "a Galera node: its first start, and where it goes on, are for a person", place.line
            )

    def is_safe(self, option: Option) -> bool:
        """Tell whether only the wrapper reads this option, so that it must be handed to the server."""
        return option.name in self.handed and self.handed[option.name] == option

    def health(self, owners: Owners) -> Iterator[Finding]:
        program = next((p for n in _ADMIN for d in ("/usr/bin", "/usr/local/mysql/bin")
                        if self.guest.is_file(p := f"{d}/{n}")), "")  # fmt: skip
        port = port_number(self.options.value("port", "3306")) or 3306
        place = self.place("socket")
        if program and self.socket:
            command = (program, "--no-defaults", f"--socket={run_path(self.socket)}", "ping")
            says = "it answers; ping exits 0 where the server refuses the account, too (mariadb-admin(1))"
            yield Health(seen_in=place, service=self.ident, command=command, says=says)
            package = owners.package(program)
            if package and package != self.server.package:
                says = f"{program} asks whether it answers"
                yield Requires(seen_in=place, service=self.ident, package=package, says=says)
        elif not self.networkless and (check := tcp_check(self.guest, port)):
            yield Health(seen_in=self.place("port"), service=self.ident, command=check, says="it accepts connections")

    # ---------------------------------------------------------------- where it listens

    @property
    def networkless(self) -> bool:
        return self.options.on("skip_networking")

    def bound(self) -> list[str]:
        """Return the addresses it listens on: every one where nothing is said."""
        words = [w.strip().partition("/")[0] for w in self.options.value("bind_address", "*").split(",")]
        return list(dict.fromkeys("*" if is_every(word) else word for word in words))

    def listens(self) -> Iterator[Finding]:
        ident, options = self.ident, self.options
        extra = [("extra_port", "")] if self.server.engine == "MariaDB" else [("admin_port", "admin_address")]
        for name, address in [("port", "bind_address"), *extra] if not self.networkless else []:
            stated = name in options.last
            port = port_number(options.value(name, "3306" if name == "port" else "33062"))
            if not port or not (name == "port" or (stated if not address else address in options.last)):
                continue
            place = self.place(name if stated or not address else address)
            for bound in [options.value(address)] if name == "admin_port" else self.bound():
                assumed = not stated
                yield Listen(seen_in=place, service=ident, port=port, address=bound, assumed=assumed)
        yield from self.x_protocol()
        if self.socket:
            path, assumed = run_path(self.socket), "socket" not in options.last
            yield Listen(seen_in=self.place("socket"), service=ident, path=path, assumed=assumed)
        yield from self.cluster()

    def x_protocol(self) -> Iterator[Listen]:
        """MySQL 8 has the X Plugin loaded (MySQL manual 22.5.2): port 33060."""
        server, options = self.server, self.options
        if server.engine != "MySQL" or int(server.version.partition(".")[0] or 0) < 8 or self.networkless:
            return
        port = port_number(options.value("mysqlx_port", "33060"))
        if port and options.on("mysqlx", default=True):
            place, address = self.place("mysqlx_port"), options.value("mysqlx_bind_address", "*")
            bound = "*" if is_every(address) else address
            yield Listen(
                seen_in=place, service=self.ident, port=port, address=bound, assumed="mysqlx_port" not in options.last
            )

    def cluster(self) -> Iterator[Finding]:
        """Galera's own port is 4567, its peers stand in wsrep_cluster_address."""
        if not self.options.on("wsrep_on"):
            return
        place = self.place("wsrep_cluster_address")
        yield Listen(seen_in=self.place("wsrep_on"), service=self.ident, port=4567, assumed=True)
        peers = self.options.value("wsrep_cluster_address").removeprefix("gcomm://").partition("?")[0]
        for peer in peers.split(","):
            where = split_host_port(peer.strip(), 4567)
            if where and where[1] and where[0]:
                over = over_tcp(where[0], where[1])
                yield Need(
                    seen_in=place, service=self.ident, over=over, detail="a node of its cluster", host_text=where[0]
                )

    def rebinds(self) -> Iterator[Rebind]:
        says = "accounts that are granted for localhost alone do not let clients in other Pods in"
        for name in ("bind_address", "skip_networking"):
            option = self.options.last.get(name)
            if option is None or (name == "skip_networking" and not option.enabled):
                continue
            addresses = self.bound()
            if name == "bind_address" and ("*" in addresses or not all(map(is_loopback, addresses))):
                continue
            if option.place == self.server.place or not option.text:
                self.reader.note(option.place.path, f"{name} is said here, and clients in other Pods "
                                 "are not let in with it", option.place.line)  # fmt: skip
                continue
            key = option.text.partition("=")[0].rstrip()
            after = f"{key} = 0.0.0.0" if name == "bind_address" else f"{key} = 0"
            what = (
                "it listens on the machine itself only" if name == "bind_address" else "it listens on its socket only"
            )
            yield Rebind(
                seen_in=option.place, service=self.ident, before=option.text, after=after, says=f"{what}; {says}"
            )

    # ---------------------------------------------------------------- plugins, replication, secrets

    def plugins(self, owners: Owners) -> Iterator[Requires]:
        """The packages of plugins and providers that the configuration loads."""
        places = [d for d in (self.path("plugin_dir"), "/usr/lib/mysql/plugin", "/usr/lib64/mariadb/plugin",
                              "/usr/lib64/mysql/plugin", "/usr/lib/mariadb/plugin") if d]  # fmt: skip
        for option in self.options.every:
            if (
                option.off
                or not option.value
                or option.name not in ("plugin_load_add", "plugin_load", "wsrep_provider")
            ):
                continue
            for part in re.split(r"[;:]", option.value):
                library = part.rpartition("=")[2].strip()
                if library in ("", "none"):
                    continue
                names = [library] if library.startswith("/") else [f"{d}/{library}" for d in places]
                names += [f"{name}.so" for name in names if not name.endswith(".so")]
                path = next((name for name in names if self.guest.is_file(name)), "")
                package = owners.package(path) if path else None
                if package is None:
                    self.reader.note(option.place.path, f"{option.name}: no package owns {library}", option.place.line)
                elif package != self.server.package:
                    says = f"{option.name}: {library}"
                    yield Requires(seen_in=option.place, service=self.ident, package=package, says=says)

    def replication(self) -> Iterator[Finding]:
        for place, host, port in replica(self.reader, self.data):
            over = over_tcp(host, port)
            yield Need(seen_in=place, service=self.ident, over=over, detail="it is a replica of that", host_text=host)

    def secrets(self) -> Iterator[Secret]:
        option = self.options.last.get("wsrep_sst_auth")  # user:password; others are found by their names
        if option is not None and option.value and (password := option.value.partition(":")[2]):
            ident = secret_id(option.place.path, option.name)
            yield Secret(seen_in=option.place, id=ident, kind="password", name=option.name, value=password)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each server's options and files say."""
    owners = Owners(guest, findings)
    reader = Reader(guest, NAME)
    secrets: list[Secret] = []
    for server in servers(guest, findings, reader):
        found = _Findings(guest, server, findings)
        yield from found.running()
        yield from found.health(owners)
        yield from found.listens()
        yield from found.rebinds()
        yield from found.files()
        yield from found.plugins(owners)
        yield from found.replication()
        secrets += found.secrets()
        yield from found.reader.unread
    yield from unique(secrets)
    yield from reader.unread


ANALYZER = Analyzer(
    name=NAME,
    says="MySQL and MariaDB servers: start, options in force, addresses, data and whether it was shut down cleanly.",
    reads=(
        "/etc/mysql",
        "/etc/my.cnf",
        "/etc/my.cnf.d",
        "/var/lib/mysql/*_upgrade_info",
        "/var/lib/mysql/grastate.dat",
    ),
    join=join,
    source="MySQL manual 6.2.2 and 7.1.7, MariaDB documentation (option files, error log), mysqld_safe(1)",
)
