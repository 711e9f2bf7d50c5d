"""RabbitMQ: listeners of the broker and its plugins, its database, certificates, members of its cluster."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, port_number
from analyzers._rabbitmq_conf import Line, cluster_nodes, conf_lines, environment, plugins, split_listener
from analyzers._reading import Reader, absolute
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Need, Place, Rebind, Service, Trait, Uses
from migrate.services import by_id

_NAME = "rabbitmq"
_CONF = "/etc/rabbitmq"
_HOME = "/var/lib/rabbitmq"
_FILES = re.compile(r".*\b(cacertfile|certfile|keyfile)")
# Plugins that listen: the key of their listeners, and the default (each plugin's page of rabbitmq.com/docs).
_PLUGINS = {
    "rabbitmq_management": ("management", 15672), "rabbitmq_prometheus": ("prometheus", 15692),
    "rabbitmq_mqtt": ("mqtt.listeners", 1883), "rabbitmq_stomp": ("stomp.listeners", 61613),
    "rabbitmq_stream": ("stream.listeners", 5552), "rabbitmq_web_stomp": ("web_stomp", 15674),
    "rabbitmq_web_mqtt": ("web_mqtt", 15675),
}  # fmt: skip


class _Broker:
    """Turns the broker's files into findings."""

    def __init__(self, reader: Reader, service: Service, own: frozenset[str]) -> None:
        self.reader, self.guest, self.service, self.own = reader, reader.guest, service, own
        path = f"{_CONF}/rabbitmq-env.conf"
        self.env_file, text = path, reader.optional(path)
        self.environment = environment(text or "", path)
        for variable in service.environment:
            if variable.name.startswith("RABBITMQ_"):
                name = variable.name.removeprefix("RABBITMQ_")
                self.environment[name] = Line(variable.name, variable.value, "", variable.seen_in)
        self.files = [path] if text is not None else []
        self.lines: dict[str, Line] = {}
        main = self.variable("CONFIG_FILE", f"{_CONF}/rabbitmq.conf")
        main = main if main.endswith(".conf") else f"{main}.conf"
        names = [n for n in reader.guest.listdir(f"{_CONF}/conf.d") if n.endswith(".conf")]
        for path in (main, *(f"{_CONF}/conf.d/{name}" for name in names[:200])):
            if (text := reader.optional(path)) is not None:
                self.files.append(path)
                self.lines |= {line.key: line for line in conf_lines(text, path)}
        for name in ("advanced.config", "rabbitmq.config"):
            if (text := reader.optional(f"{_CONF}/{name}")) is not None and re.sub(r"%[^\n]*|[\[\]\s.]", "", text):
                reader.note(
                    f"{_CONF}/{name}", "it holds Erlang terms, which are not read: listeners may stand there too"
                )
        enabled = self.variable("ENABLED_PLUGINS_FILE", f"{_CONF}/enabled_plugins")
        self.enabled, text = enabled, reader.optional(enabled)
        self.files += [enabled] if text is not None else []
        self.plugins = plugins(text or "")
        self.place = Place(self.files[0]) if self.files else service.seen_in

    def variable(self, name: str, default: str = "") -> str:
        line = self.environment.get(name)
        return line.value if line is not None and line.value else default

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        yield from self.broker()
        yield from self.listeners("listeners.ssl", 0, self.place)
        for plugin, (prefix, default) in _PLUGINS.items():
            if plugin in self.plugins:
                yield from self.listeners(prefix, default, Place(self.enabled))
        port = port_number(self.variable("DIST_PORT"))
        base = port_number(self.variable("NODE_PORT", "5672")) or 5672
        if port or base + 20000 < 65536:  # rabbitmq.com/docs/networking: the node's port and 20,000
            place = self.environment["DIST_PORT"].place if port else self.place
            yield Listen(seen_in=place, service=self.service.id, port=port or base + 20000, assumed=port is None)

    def broker(self) -> Iterator[Finding]:
        """AMQP: `listeners.tcp.*`, else NODE_PORT and NODE_IP_ADDRESS, else 5672 on every address."""
        if self.lines.get("listeners.tcp", Line("", "", "", self.place)).value == "none":
            return
        if any(key.startswith("listeners.tcp") for key in self.lines):
            yield from self.listeners("listeners", 0, self.place)
            return
        port, address = self.environment.get("NODE_PORT"), self.environment.get("NODE_IP_ADDRESS")
        number = port_number(self.variable("NODE_PORT", "5672"))
        host = self.variable("NODE_IP_ADDRESS")
        place = port.place if port is not None else self.place
        if number is not None:
            yield Listen(seen_in=place, service=self.service.id, port=number, address="*" if is_every(host) else host,
                         assumed=port is None)  # fmt: skip
        if address is not None and address.text and not is_every(host):
            yield self.opened(address, host)

    def listeners(self, prefix: str, default: int, place: Place) -> Iterator[Finding]:
        """`PREFIX.tcp.NAME = [ADDRESS:]PORT`, `PREFIX.ssl.…`, `PREFIX.port` and `.ip`; else the plugin's default."""
        found = False
        name = re.escape(prefix)
        ports = rf"{name}(\.(tcp|ssl))?\.port"
        lists = (
            rf"{name}(\.(tcp|ssl))?\.(default|\d+|[a-z]\w*)"
            if prefix.endswith("listeners")
            else rf"{name}\.(default|\d+)"
        )
        for key, line in self.lines.items():
            if key == f"{prefix}.tcp" and line.value == "none":
                found = True
            if re.fullmatch(ports, key):
                ip = self.lines.get(f"{key.removesuffix('port')}ip")
                address, port = ip.value if ip is not None else "", line.value
            elif re.fullmatch(lists, key) and (prefix != "listeners" or not key.startswith("listeners.ssl")):
                ip, (address, port) = line, split_listener(line.value)
            else:
                continue
            if (number := port_number(port)) is None:
                continue
            found = True
            host = "*" if is_every(address) else address
            yield Listen(seen_in=line.place, service=self.service.id, port=number, address=host)
            if ip is not None and address and not is_every(address):
                yield self.opened(ip, address)
        if default and not found:
            yield Listen(seen_in=place, service=self.service.id, port=default, assumed=True)

    def opened(self, line: Line, address: str) -> Rebind:
        where = "the machine itself" if is_loopback(address) else "an address of the machine"
        return Rebind(seen_in=line.place, service=self.service.id, before=address, after="0.0.0.0",  # noqa: S104
                      says=f"it listens on {where} only")  # fmt: skip

    # ---------------------------------------------------------------- the rest

    def needs(self) -> Iterator[Need]:
        for key, line in self.lines.items():
            if re.fullmatch(r"cluster_formation\.classic_config\.nodes\.\w+", key):
                yield from self.member(line.value.rpartition("@")[2], line.place)
            elif re.fullmatch(r"auth_ldap\.servers\.\w+", key) and line.value:
                port = self.lines.get("auth_ldap.port")
                number = port_number(port.value) if port is not None else 389
                if number:
                    yield Need(seen_in=line.place, service=self.service.id, over=over_tcp(line.value, number),
                               detail="users are asked for there (LDAP)", host_text=line.value)  # fmt: skip
        base = self.database()
        for name in self.guest.listdir(base)[:50]:
            path = f"{base}/{name}/cluster_nodes.config"
            for host in cluster_nodes(self.reader.optional(path, 1 << 16) or ""):
                if host != name.rpartition("@")[2]:
                    yield from self.member(host, Place(path, 1))

    def member(self, host: str, place: Place) -> Iterator[Need]:
        if host and host.partition(".")[0] not in self.own:
            yield Need(seen_in=place, service=self.service.id, over=over_tcp(host, 25672),
                       detail="a member of its cluster", host_text=host)  # fmt: skip

    def database(self) -> str:
        return absolute(self.variable("MNESIA_BASE", f"{_HOME}/mnesia"), "/")

    def uses(self) -> Iterator[Uses]:
        ident = self.service.id
        limit = next((v for k, v in self.lines.items() if k.startswith("vm_memory_high_watermark.")), None)
        says = "its configuration" + (f"; {limit.key} = {limit.value} ({limit.place})" if limit is not None else "")
        if self.guest.is_dir(_CONF):
            yield Uses(seen_in=self.place, service=ident, path=_CONF, role="config", says=says)
        says = "its database, in a folder named after the node (rabbit@HOSTNAME): it is found under that name alone"
        places = [_HOME] if self.guest.is_dir(_HOME) else []
        for path in (*places, *([] if self.database().startswith(f"{_HOME}/") else [self.database()])):
            name = self.environment.get("MNESIA_BASE")
            place = name.place if name is not None and path != _HOME else Place(path)
            yield Uses(seen_in=place, service=ident, path=path, role="data", says=says)
        base = self.environment.get("LOG_BASE")
        folder = base.value if base is not None and base.value.startswith("/") else "/var/log/rabbitmq"
        if base is not None or self.guest.is_dir(folder):
            place = base.place if base is not None else Place(folder)
            yield Uses(seen_in=place, service=ident, path=absolute(folder, "/"), role="log", says="its logs")
        for line in self.lines.values():
            if _FILES.fullmatch(line.key) and line.value.startswith("/"):
                says = line.key[:100]
                yield Uses(seen_in=line.place, service=ident, path=absolute(line.value, "/"), role="config", says=says)

    def running(self) -> Iterator[Finding]:
        """`RABBITMQ_LOGS=-` sends the log to standard output (rabbitmq.com/docs/logging)."""
        server = self.service.command[0]
        says = "rabbitmq-server stays in the foreground, and logs to standard output where RABBITMQ_LOGS is `-`"
        command = ("/usr/bin/env", "RABBITMQ_LOGS=-", server)
        yield Foreground(seen_in=self.service.seen_in, service=self.service.id, command=command, says=says)
        for folder in ("/usr/sbin", posixpath.dirname(server)):
            if self.guest.is_file(check := f"{folder}/rabbitmq-diagnostics"):
                says = "the node answers"
                yield Health(seen_in=Place(check), service=self.service.id, command=(check, "-q", "ping"), says=says)
                break


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each broker's configuration says."""
    reader = Reader(guest, _NAME)
    own = {f.value.partition(".")[0] for f in findings if isinstance(f, Trait) and f.key == "hostname"} | {"localhost"}
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    for service in services.values():
        program = service.command[0] if service.command else ""
        if program.startswith("/") and posixpath.basename(program) == "rabbitmq-server":
            broker = _Broker(reader, service, frozenset(own))
            yield from broker.running()
            yield from broker.listens()
            yield from broker.needs()
            yield from broker.uses()
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="RabbitMQ: listeners of the broker and its plugins, database, certificates, cluster.",
    reads=(_CONF,),
    join=join,
    source="rabbitmq.com/docs (configure, networking, logging, clustering), rabbitmq-env.conf(5)",
)
