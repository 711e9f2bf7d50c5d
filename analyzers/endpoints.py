"""Which other systems services and jobs talk to, by the addresses in their environment, commands and configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import run_path
from analyzers._clients import client_endpoints
from analyzers._commands import Call, Runner, Trace, Tracer, line_of, runners
from analyzers._endpoints import Endpoint, text_endpoints, url_endpoints
from analyzers._owners import Owners
from analyzers._ports import option_ports, variable_port
from analyzers._python_servers import server_of
from analyzers._reading import Reader, assignments, meaningful
from migrate.addresses import is_loopback
from migrate.digests import conffiles
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Listen, Need, Place, Service, Uses

_NAME = "endpoints"
_MAX_CONFIG = 256 << 10
_MAX_FILES = 200  # below one directory of configuration

# Trees that an analyzer of their own reads, and files that hold no addresses.
_OTHERS = (
    "/etc/nginx", "/etc/apache2", "/etc/httpd", "/etc/postgresql", "/etc/redis", "/etc/valkey", "/etc/mysql",
    "/etc/my.cnf", "/etc/my.cnf.d", "/etc/mongod.conf", "/etc/mongodb.conf", "/etc/pgbouncer", "/etc/postfix",
    "/etc/dovecot", "/etc/ldap", "/etc/openldap", "/etc/samba", "/etc/vsftpd.conf", "/etc/vsftpd", "/etc/proftpd",
    "/etc/haproxy", "/etc/varnish", "/etc/squid", "/etc/mosquitto", "/etc/supervisor",
    "/etc/supervisord.conf", "/etc/supervisord.d", "/etc/bind", "/etc/named.conf", "/etc/unbound", "/etc/dnsmasq.conf",
    "/etc/dnsmasq.d", "/etc/prometheus", "/etc/grafana", "/etc/ngircd",
    "/etc/ssl", "/etc/pki", "/usr/lib/locale",
)  # fmt: skip
_BINARY = re.compile(r".*\.(pem|crt|cer|key|p12|jks|der|gpg|so|png|jpg|gz|bz2|xz|zip|db|sqlite3?|mo|pyc)$")
# Licences and schemas of Tomcat's own files named www.apache.org and jakarta.ee as what it needs.
_MARKUP = re.compile(r"<!--.*?(?:-->|\Z)|schemaLocation\s{0,9}=\s{0,9}(?:\"[^\"]*\"|'[^']*')", re.DOTALL)


class _Join:
    """Looks through what each runner reads."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.findings = guest, findings
        self.reader = Reader(guest, _NAME)
        self.tracer = Tracer(guest, self.reader, Owners(guest, findings))
        listens = [finding for finding in findings if isinstance(finding, Listen)]
        heard = {listen.service for listen in listens}
        self.silent = {f.id for f in findings if isinstance(f, Service) and f.id not in heard}
        self.sockets = {run_path(listen.path): listen.service for listen in listens if listen.path}
        self.own = {(listen.service, str(listen.port)) for listen in listens if listen.port}
        self.shipped = conffiles(findings)
        self.config: dict[str, list[str]] = {}
        for finding in findings:
            if isinstance(finding, Uses) and finding.role == "config":
                self.config.setdefault(finding.service, []).append(finding.path)
        self._known: dict[str, list[Endpoint]] = {}

    def run(self) -> Iterator[Finding]:
        for runner in runners(self.findings):
            trace = self.tracer.trace(runner)
            yield from self.variables(runner)
            yield from self.environment_files(runner)
            yield from self.databases(runner)
            yield from self.listens(runner)
            for call in trace.calls:
                yield from self.call(runner, call)
            yield from self.files(runner, trace)

    def need(self, runner: Runner, place: Place, over: str, host: str, says: str) -> Iterator[Need]:
        """Yield a need, unless it is an address the runner itself listens on."""
        if over.startswith("unix:"):
            if self.sockets.get(over.removeprefix("unix:")) == runner.ident:
                return
        elif is_loopback(host) and (runner.ident, over.rpartition(":")[2]) in self.own:
            return
        yield Need(seen_in=place, service=runner.ident, over=over, detail=says, host_text=host)

    # ---------------------------------------------------------------- the environment

    def variables(self, runner: Runner) -> Iterator[Need]:
        for variable in runner.environment:
            for endpoint in text_endpoints(f"{variable.name}={variable.value}"):
                yield from self.need(runner, variable.seen_in, endpoint.over, endpoint.host, endpoint.says)

    def environment_files(self, runner: Runner) -> Iterator[Need]:
        for file in runner.environment_files:
            for endpoint in self.endpoints(file.path):
                place = Place(file.path, endpoint.line)
                yield from self.need(runner, place, endpoint.over, endpoint.host, endpoint.says)

    def databases(self, runner: Runner) -> Iterator[Uses]:
        """A database that is one file is data; an absolute path stands behind four slashes (sqlite:////srv/x.db)."""
        for variable in runner.environment:
            yield from self.database(runner, variable.seen_in, variable.value)
        for file in runner.environment_files:
            for number, line in meaningful(self.reader.optional(file.path, _MAX_CONFIG) or ""):
                yield from self.database(runner, Place(file.path, number), line)

    def database(self, runner: Runner, place: Place, text: str) -> Iterator[Uses]:
        match = re.search(r"\bsqlite3?(?:\+\w+)?:///(/[^\s?'\"]+)", text)
        if match and self.guest.is_file(match[1]):
            says = "a database in one file"
            yield Uses(seen_in=place, service=runner.ident, path=match[1], role="data", says=says)

    def listens(self, runner: Runner) -> Iterator[Listen]:
        """Where a service listens by its options and environment, if nothing that knows it better says so."""
        if runner.ident not in self.silent or any(server_of(command) for command in runner.commands):
            return
        variables = [(variable.name, variable.value, variable.seen_in) for variable in runner.environment]
        for file in runner.environment_files:
            for name, (value, line) in assignments(self.reader.optional(file.path, _MAX_CONFIG) or "").items():
                variables.append((name, value, Place(file.path, line)))
        found = [(port, place) for name, value, place in variables if (port := variable_port(name, value))]
        for command in runner.commands[-1:]:  # those before it only prepare
            found += [(port, line_of(self.reader, runner.place, port.text)) for port in option_ports(command[1:])]
        for port, place in found:
            yield Listen(seen_in=place, service=runner.ident, port=port.port, address=port.address, path=port.path)

    # ---------------------------------------------------------------- commands

    def call(self, runner: Runner, call: Call) -> Iterator[Need]:
        for word in call.command.words:
            for over, host, scheme in url_endpoints(word.text):
                place = line_of(self.reader, call.place, host)
                yield from self.need(runner, place, over, host, f"{call.name or 'a command'} ({scheme})")
        for over, host in client_endpoints(call.name, call.command, runner.variables):
            yield from self.need(
                runner, line_of(self.reader, call.place, host), over, host, f"{call.name} connects there"
            )
        for word in call.command.words[1:]:
            path = run_path(word.text.rpartition("=")[2].removeprefix("unix:"))
            if path in self.sockets:
                yield from self.need(runner, call.place, f"unix:{path}", "", f"{call.name} is given it")

    # ---------------------------------------------------------------- configuration

    def files(self, runner: Runner, trace: Trace) -> Iterator[Need]:
        sourced = {path: references for path, _, references in trace.sourced}
        read = {file.path for file in runner.environment_files}
        for path in sorted({p for top in self.config.get(runner.ident, ()) for p in self.below(top)} - read):
            for endpoint in self.endpoints(path):
                names = sourced.get(path)
                if names is not None and endpoint.says.split(" ")[0] not in names:
                    continue  # a sourced variable that the script never refers to is not even exported
                yield from self.need(runner, Place(path, endpoint.line), endpoint.over, endpoint.host, endpoint.says)

    def below(self, top: str) -> list[str]:
        """Return the files of configuration at or below a path that a person may have written."""
        if any(top == other or top.startswith(other + "/") for other in _OTHERS):
            return []
        if not self.guest.is_dir(top):
            return [top] if self.guest.is_file(top) and not _BINARY.fullmatch(top) else []
        files = [e.path for e in self.guest.walk(self.guest.resolve(top) or top) if e.kind == "file"]
        if len(files) > _MAX_FILES:
            self.reader.note(
                top, f"{len(files)} files of configuration: the first {_MAX_FILES} were searched for addresses"
            )
        return [path for path in files[:_MAX_FILES] if not _BINARY.fullmatch(path)]

    def endpoints(self, path: str) -> list[Endpoint]:
        """Return the addresses in a file; none in one that is as its package shipped it."""
        if path not in self._known:
            self._known[path] = []
            entry = self.guest.stat(path)
            if entry is not None and entry.kind == "file" and entry.size <= _MAX_CONFIG:
                data = self.reader.data(path, _MAX_CONFIG) or b""
                shipped = self.shipped.get(entry.path)
                if b"\0" not in data and not (shipped is not None and shipped.matches(data)):
                    self._known[path] = text_endpoints(_without_markup(path, data.decode("utf-8", "surrogateescape")))
        return self._known[path]


def _without_markup(path: str, text: str) -> str:
    """Return an XML file's text without comments and names of schemas, line for line; other text as it is."""
    if not path.endswith(".xml") and not text.lstrip().startswith("<?xml"):
        return text
    return _MARKUP.sub(lambda match: "\n" * match[0].count("\n"), text)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the needs of each service and job."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Addresses in environments, commands and configuration: of other systems, and the service's own port.",
    reads=(),
    join=join,
    source="RFC 3986, PostgreSQL manual 34.1.1 (connection strings), IANA service names and ports",
)
