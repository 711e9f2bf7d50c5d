"""Prometheus, Alertmanager, Pushgateway, exporters and Grafana: addresses, what they keep, whom they ask."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from analyzers._addresses import is_every, over_tcp, port_number, split_host_port, tcp_check
from analyzers._argv import Word, argv
from analyzers._prometheus_conf import Scalar, scalars
from analyzers._reading import Reader, absolute, meaningful, unquote
from analyzers._servers import Bind, parse_bind
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Health, Listen, Need, Place, Rebind, Service, Uses
from migrate.services import by_id

_NAME = "prometheus"
# Each program's port: prometheus/prometheus wiki, Default port allocations. Debian puts prometheus- before a name.
_PORTS = {
    "prometheus": 9090, "pushgateway": 9091, "alertmanager": 9093, "node": 9100, "haproxy": 9101, "statsd": 9102,
    "collectd": 9103, "mysqld": 9104, "consul": 9107, "graphite": 9108, "nginx": 9113, "elasticsearch": 9114,
    "blackbox": 9115, "snmp": 9116, "apache": 9117, "bind": 9119, "redis": 9121, "influxdb": 9122, "memcached": 9150,
    "varnish": 9131, "postfix": 9154, "dnsmasq": 9153, "unbound": 9167, "postgres": 9187, "mongodb": 9216,
    "ipmi": 9290, "squid": 9301, "process": 9256, "smokeping": 9374,
}  # fmt: skip
_PATTERN = re.compile(
    r"(?:prometheus-)?(?:(?P<exporter>[a-z]+)[-_]exporter|(?P<own>prometheus|alertmanager|pushgateway))"
)
_GRAFANA = ("grafana-server", "grafana")
_MAX_LISTS = 30  # files of targets that are read
_NAMED = ("rule_files", "templates", "files", "scrape_config_files")
_URLS = ("url", "webhook_url", "api_url")
_FILE_KEYS = ("credentials_file", "password_file", "bearer_token_file", "ca_file", "cert_file", "key_file")


class Flag(msgspec.Struct, frozen=True):
    """A flag's value, the flag as written, and its place."""

    value: str
    text: str
    place: Place


def product(program: str) -> str:
    """Return what a program is by its name: `node` for an exporter, or nothing.

    >>> product("/usr/bin/prometheus-node-exporter")
    'node'
    """
    match = _PATTERN.fullmatch(posixpath.basename(program))
    return (match["exporter"] or match["own"]) if match else ""


def flags(words: Sequence[Word]) -> dict[str, Flag]:
    """Return `--name=value` and `--name value`, with one dash as before 2.0 too; the last one counts."""
    found = {}
    for at, word in enumerate(words):
        name, equals, value = word.text.lstrip("-").partition("=")
        if word.text.startswith("-"):
            following = words[at + 1] if at + 1 < len(words) and not words[at + 1].text.startswith("-") else None
            if equals or following is None:
                found[name] = Flag(unquote(value), word.text, word.place)
            else:
                found[name] = Flag(unquote(following.text), following.text, following.place)
    return found


class _Findings:
    """Turns one server's words and configuration into findings."""

    def __init__(self, guest: Guest, service: Service, kind: str) -> None:
        self.guest, self.service, self.kind = guest, service, kind
        self.reader = Reader(guest, _NAME)
        self.flags = flags(argv(self.reader, service)[1:])
        self.directory = service.working_directory or "/"
        self.lists = 0

    def flag(self, *names: str) -> Flag | None:
        return next((self.flags[name] for name in names if name in self.flags), None)

    def run(self) -> Iterator[Finding]:
        yield from self.listens()
        if (flag := self.flag("web.config.file", "web.config")) and flag.value:
            yield self.uses(flag.place, absolute(flag.value, self.directory), "TLS and passwords of its own pages")
        if self.kind in ("prometheus", "alertmanager"):
            yield from self.kept()
            yield from self.configured()
        elif (flag := self.flag("config.file", "config.path", "snmp.config")) and flag.value:
            yield self.uses(flag.place, absolute(flag.value, self.directory), "its configuration")
        elif (flag := self.flag("persistence.file")) and flag.value:
            folder = posixpath.dirname(absolute(flag.value, self.directory))
            yield Uses(seen_in=flag.place, service=self.service.id, path=folder, role="data", says="what was pushed")

    def uses(self, place: Place, path: str, says: str) -> Uses:
        return Uses(seen_in=place, service=self.service.id, path=path, role="config", says=says)

    def listens(self) -> Iterator[Finding]:
        ident, default = self.service.id, _PORTS.get(self.kind)
        flag = self.flag("web.listen-address", "telemetry.address")
        bind = parse_bind(flag.value, default or 80) if flag is not None else Bind(host="*", port=default)
        if bind is None or bind.port is None:
            return
        address = "*" if is_every(bind.host) else bind.host
        place = flag.place if flag is not None else self.service.seen_in
        yield Listen(seen_in=place, service=ident, port=bind.port, address=address, assumed=flag is None)
        if flag is not None and is_loopback(bind.host):
            says = "it listens on loopback only"
            yield Rebind(seen_in=place, service=ident, before=flag.value, after=f":{bind.port}", says=says)
        if check := tcp_check(self.guest, bind.port):
            yield Health(seen_in=place, service=ident, command=check, says="it accepts connections")
        cluster = self.flag("cluster.listen-address")
        if self.kind == "alertmanager" and (cluster is None or cluster.value):
            peers = parse_bind(cluster.value, 9094) if cluster is not None else Bind(port=9094)
            place = cluster.place if cluster is not None else self.service.seen_in
            for protocol in ("tcp", "udp") if peers is not None and peers.port else ():
                port = peers.port if peers is not None else None
                yield Listen(seen_in=place, service=ident, port=port, protocol=protocol, assumed=cluster is None)

    def kept(self) -> Iterator[Uses]:
        """What it stores; without a flag Debian's built-in folder where the machine has it, else `data` (--help)."""
        server = self.kind == "prometheus"
        flag = self.flag("storage.tsdb.path", "storage.local.path") if server else self.flag("storage.path")
        debian = "/var/lib/prometheus/metrics2" if server else "/var/lib/prometheus/alertmanager"
        path = absolute(flag.value, self.directory) if flag is not None else debian
        if flag is None and not self.guest.is_dir(path):
            path = absolute("data", self.directory)
        if flag is not None or self.guest.is_dir(path):
            says = "the time series" if server else "silences and what it has told"
            place = flag.place if flag is not None else Place(path)
            yield Uses(seen_in=place, service=self.service.id, path=path, role="data", says=says)

    # ---------------------------------------------------------------- what it reads

    def configured(self) -> Iterator[Finding]:
        flag = self.flag("config.file")
        path = absolute(flag.value if flag else f"/etc/prometheus/{self.kind}.yml", self.directory)
        if not self.guest.is_file(path):
            return
        yield self.uses(flag.place if flag else Place(path), path, "its configuration")
        found = scalars(self.reader.text(path) or "")
        if found is None:
            self.reader.note(path, "it is no YAML that can be read")
            return
        for scalar in found:
            yield from self.value(path, scalar)
        named = {s.value: s.line for s in found if s.key in _NAMED and s.value}
        for pattern, line in named.items():
            yield from self.named(path, pattern, line)

    def named(self, path: str, pattern: str, line: int) -> Iterator[Finding]:
        """Files that the configuration names: rules, templates, lists of targets."""
        full = absolute(pattern, posixpath.dirname(path))
        for inner in self.guest.glob(full)[:200]:
            if not self.guest.is_file(inner):
                continue
            yield self.uses(Place(path, line), inner, "its configuration names it")
            if inner.endswith((".yml", ".yaml", ".json")) and self.lists < _MAX_LISTS:
                self.lists += 1
                for scalar in scalars(self.reader.text(inner, 1 << 16) or "") or []:
                    if scalar.key == "targets":
                        yield from self.target(inner, scalar, 80)

    def value(self, path: str, scalar: Scalar) -> Iterator[Finding]:
        place, text = Place(path, scalar.line), scalar.value
        if scalar.key == "targets":
            yield from self.target(path, scalar, 9093 if "alertmanagers" in scalar.keys else 80)
        elif scalar.key in _URLS and (parts := _url(text)):
            yield self.need(place, *parts, f"{scalar.keys[0].replace('_', ' ')} (url)")
        elif scalar.key == "smtp_smarthost" and (host := split_host_port(text, 25)) and host[1]:
            yield self.need(place, host[0], host[1], "it sends mail there")
        elif scalar.key in _FILE_KEYS and text:
            yield self.uses(place, absolute(text, posixpath.dirname(path)), scalar.key)

    def target(self, path: str, scalar: Scalar, default: int) -> Iterator[Need]:
        """A target is HOST:PORT; of a probe it may be a URL."""
        parts = split_host_port(scalar.value, default) or _url(scalar.value)
        if parts and parts[0] and parts[1]:
            says = "it tells alerts to that" if "alertmanagers" in scalar.keys else "it asks that for its metrics"
            flag = self.flag("web.listen-address")
            heard = parse_bind(flag.value) if flag is not None else None
            own = heard.port if heard is not None else _PORTS.get(self.kind)
            if not (is_loopback(parts[0]) and parts[1] == own):
                yield self.need(Place(path, scalar.line), parts[0], parts[1], says)

    def need(self, place: Place, host: str, port: int, says: str) -> Need:
        return Need(seen_in=place, service=self.service.id, over=over_tcp(host, port), detail=says, host_text=host)


def _url(text: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    found = split_host_port(f"[{host}]" if ":" in host else host, port or (443 if parts.scheme == "https" else 80))
    return (found[0], found[1]) if found and found[1] else None


# ---------------------------------------------------------------- Grafana


def ini(text: str) -> dict[tuple[str, str], tuple[str, int]]:
    """Return grafana.ini as (section, key) → (value, line); `;` and `#` begin comments."""
    found, section = {}, ""
    for number, line in meaningful(text, "#;"):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif "=" in line:
            key, _, value = line.partition("=")
            found[section, key.strip()] = (unquote(value.strip()), number)
    return found


def grafana(guest: Guest, reader: Reader, service: Service) -> Iterator[Finding]:
    """Yield what Grafana's configuration says: `[server]`, `[database]`, `[paths]`."""
    given = flags(argv(reader, service)[1:])
    path = absolute(given["config"].value, "/") if "config" in given else "/etc/grafana/grafana.ini"
    read = ini(reader.optional(path) or "")
    ident = service.id

    def setting(section: str, key: str, default: str = "") -> tuple[str, Place]:
        override = given.get(f"cfg:default.{section}.{key}")
        value, line = read.get((section, key), ("", 0))
        if value:
            return value, Place(path, line)
        return (override.value, override.place) if override else (default, service.seen_in)

    if guest.is_file(path):
        yield Uses(seen_in=Place(path), service=ident, path=path, role="config", says="its configuration")
    port, place = setting("server", "http_port", "3000")
    address, where = setting("server", "http_addr")
    if number := port_number(port):
        bare = "*" if is_every(address) else address
        yield Listen(seen_in=where if address else place, service=ident, port=number, address=bare,
                     assumed=place == service.seen_in)  # fmt: skip
        if address and is_loopback(address) and where.path == path:
            says = "it listens on loopback only"
            yield Rebind(seen_in=where, service=ident, before=address, after="", says=says)
        if check := tcp_check(guest, number):
            yield Health(seen_in=place, service=ident, command=check, says="it accepts connections")
    yield from _grafana_database(service, setting("database", "type"), setting("database", "host"))
    for key, role in (("data", "data"), ("logs", "log")):
        folder, place = setting("paths", key, {"data": "/var/lib/grafana", "logs": "/var/log/grafana"}[key])
        if guest.is_dir(folder):
            yield Uses(seen_in=place, service=ident, path=folder, role="data" if role == "data" else "log",
                       says=f"{key} of its [paths]")  # fmt: skip
    folder, place = setting("paths", "provisioning", "/etc/grafana/provisioning")
    if guest.is_dir(folder):
        yield Uses(seen_in=place, service=ident, path=folder, role="config", says="provisioning")


def _grafana_database(service: Service, kind: tuple[str, Place], host: tuple[str, Place]) -> Iterator[Need]:
    defaults: Mapping[str, int] = {"mysql": 3306, "postgres": 5432}
    text, place = host
    if kind[0] not in defaults or not text:
        return
    if text.startswith("/"):
        yield Need(seen_in=place, service=service.id, over=f"unix:{text}", detail=f"its database ({kind[0]})")
    elif (parts := split_host_port(text, defaults[kind[0]])) and parts[1]:
        over = over_tcp(parts[0], parts[1])
        yield Need(seen_in=place, service=service.id, over=over, detail=f"its database ({kind[0]})", host_text=parts[0])


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the words and configuration of each of these servers say."""
    for service in by_id(f for f in findings if isinstance(f, Service)).values():
        program = service.command[0] if service.command else ""
        if kind := product(program):
            own = _Findings(guest, service, kind)
            yield from own.run()
            yield from own.reader.unread
        elif posixpath.basename(program) in _GRAFANA:
            reader = Reader(guest, _NAME)
            yield from grafana(guest, reader, service)
            yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Prometheus, Alertmanager, exporters and Grafana: addresses, data, targets.",
    reads=("/etc/prometheus", "/etc/alertmanager", "/etc/grafana", "/etc/default/prometheus*"),
    join=join,
    source="prometheus.io/docs/prometheus/latest/configuration, prometheus(1), grafana.com/docs (Configure Grafana)",
)
