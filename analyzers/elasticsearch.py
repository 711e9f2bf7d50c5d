"""Elasticsearch and OpenSearch: addresses, members of the cluster, data, sizes, how a node runs in the foreground."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, port_number, split_host_port, tcp_check
from analyzers._jvm import Option, heap, option_listens, words
from analyzers._reading import Reader, absolute, assignments, meaningful
from analyzers._yaml_lines import Setting, yaml_settings
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Need, Place, Rebind, Service, Uses
from migrate.services import by_id

_NAME = "elasticsearch"
_KINDS = {"elasticsearch": "ES", "opensearch": "OPENSEARCH"}
_PORTS = (
    ("http", ("http.port",), ("http.bind_host", "http.host", "network.bind_host", "network.host"), "9200"),
    ("transport", ("transport.port", "transport.tcp.port"),
     ("transport.bind_host", "transport.host", "network.bind_host", "network.host"), "9300"),
)  # fmt: skip
_SEEDS = ("discovery.seed_hosts", "discovery.zen.ping.unicast.hosts")


class _Node:
    """Turns one node's files into findings."""

    def __init__(self, reader: Reader, service: Service, kind: str, program: str) -> None:
        self.reader, self.guest, self.service, self.kind = reader, reader.guest, service, kind
        self.variables = {v.name: (v.value, v.seen_in) for v in service.environment}
        self.sourced = [file.path for file in service.environment_files]
        for path in self.sourced:
            for name, (value, line) in assignments(reader.optional(path) or "").items():
                self.variables[name] = (value, Place(path, line))
        prefix = _KINDS[kind]
        self.home = self.variable(f"{prefix}_HOME") or posixpath.dirname(posixpath.dirname(program))
        packaged = f"/etc/{kind}" if self.home.startswith("/usr/share/") else f"{self.home}/config"
        self.conf = absolute(self.variable(f"{prefix}_PATH_CONF") or packaged, "/")
        self.main = f"{self.conf}/{kind}.yml"
        self.text = reader.optional(self.main) or ""
        self.settings: dict[str, list[tuple[Setting, Place]]] = {}
        for setting in yaml_settings(self.text):
            self._add(setting, Place(self.main, setting.line))
        for word in service.command:
            name, equals, value = word.removeprefix("-E").partition("=")
            if word.startswith("-E") and equals:
                self.settings.pop(name, None)
                self._add(Setting(name, value, 0), service.seen_in)
        self.options = [*self._file_options()]
        value, place = self.variables.get(f"{prefix}_JAVA_OPTS", ("", service.seen_in))
        self.options += [Option(word, place) for word in words(value)]

    def _add(self, setting: Setting, place: Place) -> None:
        """Take a setting; lists have the key of all their items."""
        key, index, _ = setting.key.partition("[")
        if not index:
            self.settings[key] = []
        self.settings.setdefault(key, []).append((setting, place))

    def variable(self, name: str) -> str:
        return self.variables.get(name, ("", None))[0]

    def values(self, *keys: str) -> list[tuple[str, Place]]:
        """Return the values of the first of these keys that is given; a scalar may hold several with commas."""
        for key in keys:
            if key in self.settings:
                found = []
                for setting, place in self.settings[key][:200]:
                    text = re.sub(r"\$\{(\w+)\}", lambda m: self.variable(m[1])[:500] or m[0], setting.value)
                    found += [(part.strip(), place) for part in text.split(",") if part.strip()]
                return found
        return []

    def _file_options(self) -> Iterator[Option]:
        """Yield the options in jvm.options and jvm.options.d; a Java's version may stand before one (`8-13:-X`)."""
        more = [f"{self.conf}/jvm.options.d/{n}" for n in self.guest.listdir(f"{self.conf}/jvm.options.d")[:100]]
        for path in (f"{self.conf}/jvm.options", *(path for path in more if path.endswith(".options"))):
            for number, line in meaningful(self.reader.optional(path) or ""):
                yield Option(re.sub(r"^\d+(-\d*)?:", "", line), Place(path, number))

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        for kind, ports, hosts, default in _PORTS:
            told = self.values(*ports)
            text, place = told[0] if told else (default, Place(self.main))
            port = port_number(text.partition("-")[0])  # a range: the first one that is free
            if port is None:
                continue
            addresses = self.values(*hosts) or [("_local_", place)]
            for address in dict.fromkeys(_address(value) for value, _ in addresses):
                yield Listen(seen_in=place, service=self.service.id, port=port, address=address, assumed=not told)
            if kind == "http":
                if check := tcp_check(self.guest, port):
                    yield Health(seen_in=place, service=self.service.id, command=check, says="it accepts connections")
                yield from self.rebind([key for key in hosts if key in self.settings][:1], addresses)
        for address, number, place in option_listens(self.options):
            yield Listen(seen_in=place, service=self.service.id, port=number, address=address)

    def rebind(self, keys: Sequence[str], addresses: Sequence[tuple[str, Place]]) -> Iterator[Rebind]:
        """Open HTTP alone where that is all: beyond loopback, transport brings the bootstrap checks."""
        if any(_address(value) == "*" for value, _ in addresses):
            return
        if not keys or len(addresses) != 1 or addresses[0][1].path != self.main:
            self.reader.note(self.main, "it listens on loopback only, and no line says so that one could change; "
                             "other Pods need http.host: 0.0.0.0")  # fmt: skip
            return
        value, place = addresses[0]
        line = self.text.split("\n")[(place.line or 1) - 1].rstrip("\r")
        before, after = value, "0.0.0.0"  # noqa: S104  # what a Pod's clients need
        if line.startswith("network.host:") and not self.values(*_SEEDS) and is_loopback(_address(value)):
            before, after = line, "http.host: 0.0.0.0"
        if before in line:
            says = "it listens on loopback only" if is_loopback(_address(value)) else "the address is the machine's own"
            yield Rebind(seen_in=place, service=self.service.id, before=before, after=after, says=says)

    # ---------------------------------------------------------------- the rest

    def needs(self) -> Iterator[Need]:
        remote = sorted(key for key in self.settings if re.fullmatch(r"cluster\.remote\.[^.]+\.seeds", key))
        for key in (*[k for k in _SEEDS if k in self.settings][:1], *remote):
            for value, place in self.values(key):
                parts = split_host_port(value, 9300)
                if parts and parts[1] and not is_every(parts[0]):
                    over = over_tcp(parts[0], parts[1])
                    says = f"a member of its cluster: {key}" if key in _SEEDS else f"another cluster: {key[:100]}"
                    yield Need(seen_in=place, service=self.service.id, over=over, detail=says, host_text=parts[0])

    def uses(self) -> Iterator[Uses]:
        ident, size = self.service.id, heap(self.options)
        says = "its configuration" + (f"; {size.text} ({size.place})" if size is not None else "")
        yield Uses(seen_in=Place(self.main), service=ident, path=self.conf, role="config", says=says)
        data = self.values("path.data") or [(f"{self.home}/data", Place(self.main))]
        for value, place in data:
            yield Uses(
                seen_in=place,
                service=ident,
                path=absolute(value, self.home),
                role="data",
                says="path.data: its indices",
            )
        for value, place in self.values("path.repo"):
            yield Uses(
                seen_in=place, service=ident, path=absolute(value, self.home), role="data", says="path.repo: snapshots"
            )
        for value, place in self.values("path.logs") or [(f"{self.home}/logs", Place(self.main))]:
            yield Uses(seen_in=place, service=ident, path=absolute(value, self.home), role="log", says="path.logs")
        for value, place in self.values("bootstrap.memory_lock"):
            if value == "true":
                self.reader.note(place.path, "bootstrap.memory_lock needs unlimited memlock, which a container "
                                 "has from its engine alone", place.line)  # fmt: skip

    def running(self) -> Iterator[Foreground]:
        program = f"{self.home}/bin/{self.kind}"
        if self.guest.is_file(program):
            kept = tuple(word for word in self.service.command[1:] if word.startswith("-E"))
            says = "without -d it stays in the foreground, without --quiet it logs to standard output"
            yield Foreground(seen_in=self.service.seen_in, service=self.service.id, command=(program, *kept), says=says)


def _address(value: str) -> str:
    """Return an address as findings have it: `_local_` is loopback; `_site_` and the like are the machine's own."""
    if value.startswith("_"):
        return "127.0.0.1" if value.startswith("_local") else value
    return "*" if is_every(value) else value


def nodes(reader: Reader, services: Sequence[Service]) -> Iterator[_Node]:
    """Yield the nodes that services start."""
    for service in services:
        for word in service.command:
            name = posixpath.basename(word)
            folder = posixpath.basename(posixpath.dirname(posixpath.dirname(word)))
            kind = name if name in _KINDS else ""
            if name in ("systemd-entrypoint", "opensearch-systemd-entrypoint"):
                kind = next((known for known in _KINDS if folder.startswith(known)), "")
            if kind and word.startswith("/"):
                node = _Node(reader, service, kind, word)
                if reader.guest.is_file(node.main):
                    yield node
                break


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each node's configuration says."""
    reader = Reader(guest, _NAME)
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    for node in nodes(reader, list(services.values())):
        yield from node.running()
        yield from node.listens()
        yield from node.needs()
        yield from node.uses()
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Elasticsearch and OpenSearch: addresses, cluster members, data, sizes of its Java.",
    reads=("/etc/elasticsearch", "/etc/opensearch"),
    join=join,
    source="elastic.co/guide/en/elasticsearch/reference (settings, modules-network, jvm-options), docs.opensearch.org",
)
