"""PostgreSQL clusters: where they are, who runs them, and the command and settings that start them."""

from __future__ import annotations

import posixpath
import re

import msgspec

from analyzers._postgresql_conf import load_settings
from analyzers._reading import Reader, absolute, meaningful, numbered
from analyzers.users import parse_passwd
from migrate.guest.protocol import Guest
from migrate.model import Place, Service, Setting, User, Variable

NAME = "postgresql"
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


class Cluster(msgspec.Struct, frozen=True):
    """One cluster: `conf` is the folder of postgresql.conf, `bin` that of the programs, `data` the default's."""

    ident: str
    version: str
    name: str
    conf: str
    data: str
    bin: str
    debian: bool

    @property
    def main(self) -> str:
        """The path of postgresql.conf."""
        return f"{self.conf}/postgresql.conf"


def clusters(guest: Guest) -> list[Cluster]:
    """Find the clusters: /etc/postgresql/VERSION/NAME (pg_createcluster(1)), and the Red Hat family's places."""
    found = []
    for main in guest.glob("/etc/postgresql/*/*/postgresql.conf"):
        conf = posixpath.dirname(main)
        version, name = conf.split("/")[3:5]
        data, programs = f"/var/lib/postgresql/{version}/{name}", f"/usr/lib/postgresql/{version}/bin"
        found.append(Cluster(f"postgresql-{version}-{name}", version, name, conf, data, programs, debian=True))
    for data in ["/var/lib/pgsql/data", *guest.glob("/var/lib/pgsql/*/data")]:
        if guest.is_file(f"{data}/postgresql.conf"):
            parts = data.split("/")
            version = parts[4] if len(parts) > 5 else ""
            programs = f"/usr/pgsql-{version}/bin" if version else "/usr/bin"
            found.append(Cluster(f"postgresql-{version}".rstrip("-"), version, "", data, data, programs, debian=False))
    if len(found) == 1:
        return [msgspec.structs.replace(found[0], ident="postgresql")]
    return found


class Started:
    """One cluster with its settings in force, and how it is started."""

    def __init__(self, guest: Guest, cluster: Cluster) -> None:
        self.guest, self.cluster = guest, cluster
        self.reader = Reader(guest, NAME)
        self.settings = load_settings(self.reader, cluster.main)
        self.data = absolute(self.value("data_directory", cluster.data), cluster.conf)
        if guest.is_file(auto := f"{self.data}/postgresql.auto.conf"):  # ALTER SYSTEM, manual 20.1.2
            self.settings.update(load_settings(self.reader, auto))

    def value(self, name: str, default: str = "") -> str:
        """Return a setting's value, or the default where nothing says it."""
        return self.settings[name].value if name in self.settings else default

    def place(self, name: str) -> Place:
        """Return where a setting is said; postgresql.conf where it is not."""
        return self.settings[name].place if name in self.settings else Place(self.cluster.main)

    def split(self, name: str, default: str) -> list[str]:
        """Return the parts of a setting that is a list of names, comma-separated."""
        return [part.strip().strip('"') for part in self.value(name, default).split(",") if part.strip()]

    def owner(self) -> str:
        """Return the account that owns the data: the server refuses to run as another (manual, 19.1)."""
        entry = self.guest.stat(self.data)
        accounts = parse_passwd(self.reader.optional("/etc/passwd") or "", "/etc/passwd")
        if entry is None:
            return "postgres"
        return next((a.name for a in accounts if isinstance(a, User) and a.uid == entry.uid), str(entry.uid))

    def command(self) -> tuple[str, ...]:
        """Return what pg_ctlcluster(1) runs in the foreground."""
        cluster = self.cluster
        words = [f"{cluster.bin}/postgres", "-D", self.data]
        if cluster.debian:
            words += ["-c", f"config_file={cluster.main}"]
            for name, file in (("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")):
                if name not in self.settings:
                    words += ["-c", f"{name}={cluster.conf}/{file}"]
        return tuple(words)

    def environment(self) -> tuple[Variable, ...]:
        """Read the cluster's `environment` file; pg_ctlcluster sets LANG from lc_messages where it does not."""
        path = f"{self.cluster.conf}/environment"
        found = {}
        for number, line in meaningful(self.reader.optional(path) or ""):
            if match := re.fullmatch(r"(\w+)\s*=\s*('[^']*'|[^\s'#]+)\s*(#.*)?", line):
                found[match[1]] = Variable(match[1], match[2].strip("'"), Place(path, number))
            else:
                self.reader.note(path, "not a variable: `NAME = value` was expected", number)
        if "LANG" not in found and self.value("lc_messages"):
            found["LANG"] = Variable("LANG", self.value("lc_messages"), self.place("lc_messages"))
        return tuple(found[name] for name in sorted(found))

    def service(self) -> Service:
        """Return the cluster as a service of its own: the unit is a template and starts a wrapper."""
        cluster, guest = self.cluster, self.guest
        unit = next((f"{d}/postgresql@.service" for d in _UNITS if guest.is_file(f"{d}/postgresql@.service")), "")
        settings = []
        for number, line in numbered(self.reader.optional(unit) or "") if unit else ():
            name, _, value = line.partition("=")
            if name in ("TimeoutStopSec", "OOMScoreAdjust"):
                settings.append(Setting(name, value.strip(), Place(unit, number)))
            elif name == "ExecStop" and "-m fast" in value:  # pg_ctl(1): fast is SIGINT
                settings.append(Setting("KillSignal", "SIGINT", Place(unit, number)))
        return Service(
            seen_in=Place(cluster.main),
            id=cluster.ident,
            manager="postgresql-common",
            enabled=self.enabled(),
            unit=unit or cluster.main,
            description=f"PostgreSQL {cluster.version} cluster {cluster.name}",
            command=self.command(),
            user=self.owner(),
            environment=self.environment(),
            settings=tuple(sorted(settings)),
            after=("network.target",),
        )

    def enabled(self) -> bool:
        """Tell whether a boot starts it: start.conf says auto, and the unit (or init script) is wanted."""
        cluster, guest = self.cluster, self.guest
        start = next(meaningful(self.reader.optional(f"{cluster.conf}/start.conf") or "auto"), (1, "auto"))[1]
        own = f"postgresql@{cluster.version}-{cluster.name}.service"
        if any(path.endswith("/" + own) for path in guest.glob("/etc/systemd/system/*.wants/postgresql@*.service")):
            return start in ("auto", "manual")
        wanted = guest.glob("/etc/systemd/system/*.wants/postgresql.service") or guest.glob(
            "/etc/rc[2-5].d/S*postgresql"
        )
        return start == "auto" and bool(wanted)
