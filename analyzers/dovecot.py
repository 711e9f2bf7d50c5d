"""Dovecot: its protocols' ports and sockets, mailboxes, users, certificates, and what it asks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, port_number, run_path, split_host_port, tcp_check
from analyzers._dovecot_conf import Setting, load
from analyzers._owners import Owners
from analyzers._products import program_of, unit_of
from analyzers._reading import Reader, absolute, inside, meaningful
from analyzers._secret import secret_id, unique
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Need, Place, Rebind, Requires, Secret, Uses

_NAME = "dovecot"
_FOLDER = "/etc/dovecot"
_MAIN = f"{_FOLDER}/dovecot.conf"
# Which service of a protocol has which listeners: the built-in `service` blocks (doc.dovecot.org).
_LISTENERS = {
    "imap": ("imap-login", (("imap", 143), ("imaps", 993))),
    "pop3": ("pop3-login", (("pop3", 110), ("pop3s", 995))),
    "submission": ("submission-login", (("submission", 587),)),
    "sieve": ("managesieve-login", (("sieve", 4190),)),
    "lmtp": ("lmtp", ()),
}
_TLS = frozenset({"imaps", "pop3s"})
_FILES = ("ssl_cert", "ssl_key", "ssl_alt_cert", "ssl_alt_key", "ssl_ca", "ssl_dh", "ssl_client_ca_file",
          "ssl_server_cert_file", "ssl_server_key_file", "ssl_server_ca_file", "ssl_server_dh_file",
          "passwd_file_path")  # fmt: skip
_MAIL = ("mail_location", "mail_path", "mail_home", "mail_inbox_path", "location")
_HOSTS = {"imapc_host": 143, "pop3c_host": 110, "submission_relay_host": 25, "submission_host": 25}
_DATABASES = {"mysql": 3306, "pgsql": 5432, "cassandra": 9042}


class _Findings:
    """Turns the settings into findings."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, _NAME)
        loaded = load(self.reader, _MAIN)
        self.settings, self.files = loaded.settings, loaded.files
        self.ident = unit_of(guest, ("dovecot",))
        self.last = {s.name: s for s in self.settings if not s.within}
        self.base = run_path(self.value("base_dir", "/run/dovecot")).rstrip("/")

    def value(self, name: str, default: str = "") -> str:
        return self.last[name].value if name in self.last else default

    def place(self, name: str) -> Place:
        return self.last[name].place if name in self.last else Place(_MAIN)

    def within(self, *sections: str) -> dict[str, Setting]:
        """Return the last settings of a section, its opening line under the empty name."""
        return {s.name: s for s in self.settings if s.within == sections}

    @property
    def protocols(self) -> list[str]:
        # master-settings.c, 2.3: "imap pop3 lmtp"
        words = re.split(r"[\s,]+", self.value("protocols", "imap pop3 lmtp"))
        return [word for word in dict.fromkeys(words) if word in _LISTENERS]

    @property
    def addresses(self) -> list[str]:
        words = re.split(r"[\s,]+", self.value("listen", "*, ::").strip())
        return list(dict.fromkeys("*" if is_every(word) else word.strip("[]") for word in words))

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Listen]:
        off = {service for name, (service, _) in _LISTENERS.items() if name not in self.protocols}
        for name in self.protocols:
            service, listeners = _LISTENERS[name]
            for listener, port in listeners:
                if listener not in _TLS or self.value("ssl", "yes") != "no":
                    yield from self.inet(f"service {service}", f"inet_listener {listener}", port)
            if name == "lmtp":
                own = self.within("service lmtp", "unix_listener lmtp")
                place = own[""].place if own else self.place("protocols")
                path = f"{self.base}/lmtp"
                yield Listen(seen_in=place, service=self.ident, path=path, assumed=not own)
        known = {(f"service {s}", f"inet_listener {n}") for s, ls in _LISTENERS.values() for n, _ in ls}
        for setting in self.settings:
            if setting.name or len(setting.within) != 2 or setting.within[0].removeprefix("service ") in off:
                continue
            kind, _, path = setting.within[1].partition(" ")
            if kind == "inet_listener" and setting.within not in known:
                yield from self.inet(*setting.within, None)
            elif kind == "unix_listener" and path.startswith("/") and self.opens(setting):
                yield Listen(seen_in=setting.place, service=self.ident, path=run_path(path))

    def opens(self, setting: Setting) -> bool:
        mode = self.within(*setting.within).get("mode")
        return mode is None or mode.value.strip("0") != ""

    def inet(self, service: str, listener: str, default: int | None) -> Iterator[Listen]:
        own = self.within(service, listener)
        port = port_number(own["port"].value) if "port" in own else default
        where = own.get("port") or own.get("")
        if port is None:
            return  # `port = 0` turns it off
        place = where.place if where else self.place("protocols")
        stated = own.get("address") or own.get("listen")
        addresses = re.split(r"[\s,]+", stated.value.strip()) if stated else self.addresses
        for address in dict.fromkeys("*" if is_every(a) else a.strip("[]") for a in addresses):
            yield Listen(seen_in=place, service=self.ident, port=port, address=address, assumed="port" not in own)

    def rebinds(self) -> Iterator[Rebind]:
        line = self.last.get("listen")
        if line and all(map(is_loopback, self.addresses)):
            says = "it listens on the machine itself only"
            yield Rebind(seen_in=line.place, service=self.ident, before=line.text, after="listen = *, ::", says=says)

    # ---------------------------------------------------------------- what it asks

    def needs(self) -> Iterator[Finding]:
        for setting in self.settings:
            if setting.name in _HOSTS and setting.value:
                key = setting.name.replace("_host", "_port")
                port = port_number(self.value(key)) or _HOSTS[setting.name]
                if parts := split_host_port(setting.value, port):
                    yield self.need(setting.place, parts[0], parts[1] or port, setting.name)
            elif setting.name == "args" and setting.within and setting.within[-1] in ("passdb", "userdb"):
                yield from self.database(setting)
        for dictionary in self.settings:
            if dictionary.within == ("dict",) and (
                m := re.match(r"(?:mysql|pgsql|sqlite|ldap):(/\S+)", dictionary.value)
            ):
                yield from self.asked(m[1], dictionary.value.partition(":")[0])

    def database(self, setting: Setting) -> Iterator[Finding]:
        """`args` of a passdb or userdb: a file of settings (sql, ldap), or options and a file of users."""
        driver = self.driver(setting)
        path = next((word for word in setting.value.split() if word.startswith("/")), "")
        if path and driver in ("sql", "ldap", "passwd-file", "dict"):
            if not inside(path, _FOLDER) and "%" not in path:
                yield Uses(seen_in=setting.place, service=self.ident, path=path, role="config", says=setting.within[-1])
            if driver in ("sql", "ldap"):
                yield from self.asked(path, driver)
        elif driver == "static" and (home := re.search(r"\bhome=(/[^\s%]*)", setting.value)):
            yield from self.mailboxes(setting.place, home[1])

    def driver(self, setting: Setting) -> str:
        """Return the driver that stands in the same passdb or userdb block: such blocks have no names."""
        driver, seen = "", False
        for each in self.settings:
            if each.within == setting.within:
                if not each.name:
                    if seen:
                        break
                    driver = ""
                elif each.name == "driver":
                    driver = each.value
                seen = seen or each is setting
        return driver

    def asked(self, path: str, driver: str) -> Iterator[Finding]:
        """Read what a dovecot-sql.conf or dovecot-ldap.conf connects to."""
        found: dict[str, tuple[str, int]] = {}
        for number, line in meaningful(self.reader.optional(path) or ""):
            name, equals, value = line.partition("=")
            if equals:
                found[name.strip()] = (value.strip(), number)
        driver = found.get("driver", (driver, 0))[0]
        value, number = found.get("connect", ("", 0))
        place = Place(path, number or None)
        if driver == "sqlite" and value.startswith("/"):
            says = "a database in one file"
            yield Uses(seen_in=place, service=self.ident, path=value.split()[0], role="data", says=says)
        port = port_number(next(iter(re.findall(r"\bport=(\d+)", value)), "")) or _DATABASES.get(driver)
        for host in re.findall(r"\bhost=([^\s]+)", value):
            if host.startswith("/"):
                path = f"{host}/.s.PGSQL.{port}" if driver == "pgsql" else host
                yield Need(seen_in=place, service=self.ident, over=f"unix:{run_path(path)}", detail=driver)
            elif port:
                yield self.need(place, host, port, f"its users are in a {driver} database")
        for name in ("hosts", "uris") if driver == "ldap" else ():
            value, number = found.get(name, ("", 0))
            for word in value.split():
                default = 636 if word.startswith("ldaps:") else 389
                if parts := split_host_port(re.sub(r"^ldaps?://", "", word).rstrip("/"), default):
                    yield self.need(Place(path, number), parts[0], parts[1] or default, "its users are in a directory")

    def need(self, place: Place, host: str, port: int, says: str) -> Need:
        return Need(seen_in=place, service=self.ident, over=over_tcp(host, port), detail=says, host_text=host)

    def secrets(self) -> Iterator[Secret]:
        """The password of `connect`, and the hashes or passwords in files of users (Passwd-file, passdb)."""
        for setting in self.settings:
            if setting.name != "args" or setting.within[-1:] not in (("passdb",), ("userdb",)):
                continue
            path = next((word for word in setting.value.split() if word.startswith("/")), "")
            driver = self.driver(setting)
            for number, line in (
                meaningful(self.reader.optional(path) or "") if driver in ("sql", "passwd-file") else ()
            ):
                match = re.match(r"connect\s*=.*\bpassword=(\S+)", line)
                if driver == "sql" and match:
                    yield _secret(Place(path, number), "connect password", "password", match[1])
                elif driver == "passwd-file" and line.count(":") and line.split(":")[1]:
                    user, value = line.split(":")[:2]
                    plain = value.upper().startswith(("{PLAIN}", "{CLEAR}", "{CLEARTEXT}"))
                    yield _secret(Place(path, number), f"user {user}", "password" if plain else "password-hash", value)

    # ---------------------------------------------------------------- its files

    def uses(self) -> Iterator[Uses]:
        ident = self.ident
        yield Uses(seen_in=Place(_MAIN), service=ident, path=_FOLDER, role="config", says="its configuration")
        for path in sorted(set(self.files)):
            if not inside(path, _FOLDER) and not inside(path, "/usr/share/dovecot"):
                yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says="its configuration")
        for setting in self.settings:
            name, value = setting.name, setting.value.removeprefix("<").strip()
            if name in _FILES and value.startswith("/") and self.value("ssl", "yes") != "no":
                if not inside(value, "/usr/share/dovecot"):
                    yield Uses(seen_in=setting.place, service=ident, path=value, role="config", says=name)
            elif name.endswith("log_path") and value.startswith("/") and not value.startswith("/dev/"):
                yield Uses(seen_in=setting.place, service=ident, path=value, role="log", says=name)
            elif name in _MAIL:
                yield from self.mailboxes(setting.place, setting.value)
            elif name.startswith("sieve_") and (match := re.match(r"(?:file:)?(/[^\s;%~]+)", value)):
                yield Uses(seen_in=setting.place, service=ident, path=match[1], role="config", says=name)
            elif name == "driver" and value == "pam" and setting.within[-1:] == ("passdb",):
                says = "passwords are checked by PAM: its users are the machine's own accounts"
                yield Uses(seen_in=setting.place, service=ident, path="/etc/pam.d/dovecot", role="config", says=says)
        yield Uses(seen_in=self.place("base_dir"), service=ident, path=self.base, role="runtime", says="its sockets")

    def mailboxes(self, place: Place, text: str) -> Iterator[Uses]:
        """Yield the trees that a location names, up to its first variable; `~` is each user's home."""
        for part in re.split(r":(?:\w+=)?", text):
            match = re.match(r"(/[^%]*)(%?)", part)
            path = match[1].rpartition("/")[0] if match and match[2] else part
            if match and path.strip("/") and path != "/home":
                path = self.guest.resolve(path) or absolute(path, "/")
                yield Uses(seen_in=place, service=self.ident, path=path, role="data", says="mailboxes")
            elif part.startswith("~/") and "%" not in part and not re.search(r"[*?\[]", part):
                for folder in self.guest.glob(f"/home/*/{part[2:].strip('/')}"):
                    yield Uses(seen_in=place, service=self.ident, path=folder, role="data", says="a user's mailbox")

    # ---------------------------------------------------------------- how it runs

    def running(self) -> Iterator[Finding]:
        program = program_of(self.guest, ("dovecot",))
        if program:
            says = "dovecot -F stays in the foreground"
            if self.value("log_path", "syslog") not in ("/dev/stderr", "/dev/stdout"):
                says += "; its log goes where log_path says: /dev/stderr is the container's"
            yield Foreground(seen_in=self.place("log_path"), service=self.ident, command=(program, "-F"), says=says)
        first = next((listen for listen in self.listens() if listen.port), None)
        if first and first.port and (check := tcp_check(self.guest, first.port)):
            yield Health(seen_in=first.seen_in, service=self.ident, command=check, says="it accepts connections")


def _secret(place: Place, name: str, kind: str, value: str) -> Secret:
    value = re.sub(r"^\{[\w.-]+\}", "", value)
    return Secret(seen_in=place, id=secret_id(place.path, name), kind=kind, name=name, value=value)


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what dovecot.conf and the files it includes say."""
    if not guest.is_file(_MAIN):
        return
    findings = _Findings(guest)
    yield from findings.running()
    yield from findings.listens()
    yield from findings.needs()
    yield from findings.uses()
    yield from findings.rebinds()
    yield from unique(dict.fromkeys(findings.secrets()))
    yield from findings.reader.unread


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Requires]:
    """Yield the packages of its protocols and drivers: Debian has one for each (dovecot-imapd, dovecot-mysql)."""
    if not guest.is_file(_MAIN):
        return
    own, owners = _Findings(guest), Owners(guest, findings)
    place = own.place("protocols")
    for name in own.protocols:
        for folder in ("/usr/lib/dovecot", "/usr/libexec/dovecot"):
            if package := owners.package(f"{folder}/{'managesieve' if name == 'sieve' else name}"):
                yield Requires(seen_in=place, service=own.ident, package=package, says=f"protocol {name}")
    for finding in own.needs():
        if isinstance(finding, Need):
            for driver in ("mysql", "pgsql", "ldap"):
                if driver in finding.detail or (driver == "ldap" and "directory" in finding.detail):
                    for path in guest.glob(f"/usr/lib*/dovecot/modules/**/*{driver}*.so"):
                        if package := owners.package(path):
                            yield Requires(seen_in=finding.seen_in, service=own.ident, package=package, says=driver)


ANALYZER = Analyzer(
    name=_NAME,
    says="Dovecot: the ports and sockets of its protocols, mailboxes, where its users are, certificates.",
    reads=(_FOLDER, "/usr/share/dovecot/protocols.d"),
    analyze=analyze,
    join=join,
    source="doc.dovecot.org: Configuration file syntax, Service configuration; dovecot(1)",
)
