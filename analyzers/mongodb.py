"""MongoDB: start, addresses, data and whether it was shut down cleanly, of mongod and mongos."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._mongod_conf import MAX_CONF, Setting, parse_conf, parse_words
from analyzers._mongod_server import CONFIGS, NAME, Server, servers
from analyzers._reading import Reader, absolute
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
    RunsAs,
    Secret,
    User,
    Uses,
)

_FILES = ("security.keyFile", "net.tls.certificateKeyFile", "net.tls.CAFile", "net.tls.clusterFile",
          "net.ssl.PEMKeyFile", "net.ssl.CAFile")  # fmt: skip
_NO_FORK = "MONGODB_CONFIG_OVERRIDE_NOFORK"  # mongod.service of the packages sets it


class _Findings:
    """Turns one server's settings into findings; the command line goes over the file."""

    def __init__(self, guest: Guest, server: Server, findings: Sequence[Finding]) -> None:
        self.guest, self.server, self.ident = guest, server, server.service.id
        self.reader = Reader(guest, NAME)
        self.users = [finding for finding in findings if isinstance(finding, User)]
        words = parse_words(server.args, server.place)
        self.conf = absolute(words["config"].value, "/") if "config" in words else ""
        text = self.reader.text(self.conf, MAX_CONF) if self.conf else None
        self.settings: dict[str, Setting] = {**parse_conf(text or "", self.conf), **words}
        role = self.value("sharding.clusterRole")
        usual = 27018 if role == "shardsvr" or "sharding.shardsvr" in self.settings else 27017
        usual = 27019 if role == "configsvr" or "sharding.configsvr" in self.settings else usual
        self.port = port_number(self.value("net.port", str(usual))) or usual
        self.data = absolute(self.value("storage.dbPath", "/data/db"), "/")

    def value(self, name: str, default: str = "") -> str:
        return self.settings[name].value if name in self.settings else default

    def on(self, name: str) -> bool:
        return name in self.settings and self.settings[name].enabled

    def place(self, *names: str) -> Place:
        return next((self.settings[name].place for name in names if name in self.settings), self.server.place)

    def uses(self, place: Place, path: str, role: Literal["config", "data", "log", "runtime"], says: str) -> Uses:
        return Uses(seen_in=place, service=self.ident, path=path, role=role, says=says)

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        server = self.server
        entry = self.guest.stat(self.data)
        owner = next((u.name for u in self.users if entry is not None and u.uid == entry.uid), "")
        if server.service.user in ("", "root", "0") and owner not in ("", "root"):
            says = "its data are theirs"
            yield RunsAs(seen_in=Place(self.data), service=self.ident, user=owner, says=says)
        forks = self.settings.get("processManagement.fork")
        own = tuple(word for word in server.args if word not in ("--fork", "--fork=true", "--syslog"))
        overridden = any(v.name == _NO_FORK and v.value == "1" for v in server.service.environment)
        if forks is not None and forks.enabled and forks.place.path == self.conf and not overridden:
            why = "fork: true sends it to the background, and no option of the command goes over it; say false"
            self.reader.caution(self.ident, forks.place, why)
        else:
            says = f"{posixpath.basename(server.program)} stays in the foreground"
            yield Foreground(seen_in=server.place, service=self.ident, command=(server.program, *own), says=says)
        if check := tcp_check(self.guest, self.port):
            place = self.place("net.port")
            yield Health(seen_in=place, service=self.ident, command=check, says="it accepts connections")

    # ---------------------------------------------------------------- where it listens

    def bound(self) -> list[str]:
        """Return what it binds to: localhost by default since 3.6, every address before (release notes)."""
        if self.on("net.bindIpAll"):
            return ["*"]
        before = self.server.version is not None and self.server.version < (3, 6)
        words = self.value("net.bindIp", "*" if before else "localhost").strip("[] ").split(",")
        return list(dict.fromkeys("*" if is_every(word) else word for word in (w.strip() for w in words) if word))

    def listens(self) -> Iterator[Finding]:
        place = self.place("net.port", "net.bindIp", "net.bindIpAll")
        bound = self.bound()
        for address in bound:
            if address.startswith("/"):
                yield Listen(seen_in=self.place("net.bindIp"), service=self.ident, path=run_path(address))
            else:
                yield Listen(seen_in=place, service=self.ident, port=self.port, address=address,
                             assumed="net.port" not in self.settings)  # fmt: skip
        local = any(address == "*" or is_loopback(address) for address in bound if address[0] != "/")
        off = self.value("net.unixDomainSocket.enabled", "true").lower() in ("false", "no", "off")
        if local and not off and not self.on("net.unixDomainSocket.disabled"):
            prefix = self.value("net.unixDomainSocket.pathPrefix", "/tmp")  # noqa: S108  # the documented default
            path = run_path(absolute(f"{prefix}/mongodb-{self.port}.sock", "/"))
            stated = "net.unixDomainSocket.pathPrefix" in self.settings
            where = self.place("net.unixDomainSocket.pathPrefix")
            yield Listen(seen_in=where, service=self.ident, path=path, assumed=not stated)
        yield from self.peers()

    def peers(self) -> Iterator[Need]:
        """The configuration servers of a router: `REPLSET/HOST:PORT,…`, 27019 by default."""
        for part in self.value("sharding.configDB").rpartition("/")[2].split(","):
            where = split_host_port(part.strip(), 27019)
            if where and where[0] and where[1]:
                over = over_tcp(where[0], where[1])
                yield Need(seen_in=self.place("sharding.configDB"), service=self.ident, over=over,
                           detail="a configuration server of its cluster", host_text=where[0])  # fmt: skip

    def rebinds(self) -> Iterator[Rebind]:
        bound, setting = self.bound(), self.settings.get("net.bindIp")
        if not all(address[0] == "/" or is_loopback(address) for address in bound):
            return
        guarded = self.value("security.authorization") == "enabled" or "security.keyFile" in self.settings
        guarded = guarded or self.on("security.auth")
        says = "it listens on the machine itself only"
        says += "" if guarded else "; it asks nobody for a password, so let a NetworkPolicy say who reaches it"
        head, stated, tail = setting.text.rpartition(setting.value) if setting and setting.value else ("", "", "")
        if setting is not None and setting.place.path == self.conf and stated:
            after = f"{head}0.0.0.0{tail}"  # noqa: S104  # written into the file on the guest
            yield Rebind(seen_in=setting.place, service=self.ident, before=setting.text, after=after, says=says)
        else:
            place = self.place("net.bindIp")
            self.reader.caution(self.ident, place, f"{says}; no line that could be changed says so: add bindIp")

    # ---------------------------------------------------------------- its files

    def files(self) -> Iterator[Uses]:
        if self.conf:
            cache = self.settings.get("storage.wiredTiger.engineConfig.cacheSizeGB")
            says = "its configuration" + (f"; cacheSizeGB {cache.value}" if cache else "")
            yield self.uses(cache.place if cache else Place(self.conf), self.conf, "config", says)
        for name in _FILES:
            if path := self.value(name):
                yield self.uses(self.place(name), absolute(path, "/"), "config", name)
        if not self.server.router and ("storage.dbPath" in self.settings or self.guest.is_dir(self.data)):
            place = self.settings["storage.dbPath"].place if "storage.dbPath" in self.settings else Place(self.data)
            yield self.uses(place, self.data, "data", self.data_says())
        log = self.value("systemLog.path")
        if log.startswith("/") and not log.startswith("/dev/"):
            yield self.uses(self.place("systemLog.path"), log, "log", "systemLog.path")
        for name in ("processManagement.pidFilePath", "net.unixDomainSocket.pathPrefix"):
            path = self.value(name) if name.endswith("Prefix") else posixpath.dirname(self.value(name))
            if (folder := run_path(f"{path}/").rstrip("/")).startswith("/run/"):
                yield self.uses(self.place(name), folder, "runtime", name)

    def data_says(self) -> str:
        """A mongod.lock that is not empty is of a server that was not shut down (manual, "Recover a Standalone")."""
        version = ".".join(map(str, self.server.version)) if self.server.version else ""
        says = f"the databases of MongoDB {version}".rstrip()
        if name := self.value("replication.replSetName"):
            says += f"; a member of the replica set {name}, whose others stand in its database"
        lock = self.guest.stat(f"{self.data}/mongod.lock")
        if lock is None or lock.kind != "file":
            return says
        return f"{says}; it was {'not ' if lock.size else ''}shut down cleanly (mongod.lock)"

    def secrets(self) -> Iterator[Secret]:
        path = absolute(self.value("security.keyFile"), "/")
        value = (self.reader.optional(path, 4096) or "").strip()
        if "security.keyFile" in self.settings and value:
            yield Secret(
                seen_in=Place(path, 1), id=secret_id(path, "keyFile"), kind="token", name="keyFile", value=value
            )


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each server's settings and files say."""
    reader = Reader(guest, NAME)
    secrets: list[Secret] = []
    for server in servers(guest, findings, reader):
        found = _Findings(guest, server, findings)
        yield from found.running()
        yield from found.listens()
        yield from found.rebinds()
        yield from found.files()
        secrets += found.secrets()
        yield from found.reader.unread
        yield from found.reader.cautions
    yield from unique(secrets)
    yield from reader.unread
    yield from reader.cautions


ANALYZER = Analyzer(
    name=NAME,
    says="MongoDB servers and routers: start, addresses, data and whether it was shut down cleanly.",
    reads=CONFIGS,
    join=join,
    source="MongoDB manual: Configuration File Options, mongod, Recover a Standalone after an Unexpected Shutdown",
)
