"""Java programs that services run as jars: Spring Boot's configuration, sizes, ports; what plain ones are told."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import is_every, port_number, tcp_check
from analyzers._commands import Call, Runner, Tracer, line_of, runners
from analyzers._endpoints import text_endpoints
from analyzers._java_archives import archive
from analyzers._jvm import Option, heap, jdbc_endpoints, option_listens, properties, secret_free, shell_options, words
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, assignments
from analyzers._spring import Configuration, Value, launch_configuration, variables_given
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Health, Listen, Need, Place, Rebind, Service, Uses

_NAME = "spring"
_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "RUN_ARGS")
# Options of java(1) that take the next word.
_TAKES = frozenset({"-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens",
                    "--add-exports", "--add-reads", "--upgrade-module-path", "-m", "--module"})  # fmt: skip
_SERVERS = re.compile(r"tomcat-embed-core|jetty-server|undertow-core|spring-boot-starter-(webflux|reactor-netty)")
_FILE_DATABASE = re.compile(r"jdbc:(?:h2|hsqldb|derby|sqlite):(?:file:|directory:|nio:)?([~./][^;?]*)")


class Started(msgspec.Struct, frozen=True):
    """A jar that a service starts: its options for Java, its arguments, and where it works."""

    jar: str
    options: tuple[Option, ...]
    arguments: tuple[str, ...]
    directory: str
    place: Place


def parse_java(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Return the options, the jar and what stands behind it; no jar where a class is named.

    >>> parse_java(["-Xmx1g", "-cp", "x", "-jar", "a.jar", "--server.port=1"])
    (['-Xmx1g'], 'a.jar', ['--server.port=1'])
    """
    options: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "-jar":
            return options, next(iter(arguments[at + 1 : at + 2]), ""), list(arguments[at + 2 :])
        if not word.startswith("-"):
            break
        if word in _TAKES:
            at += 1
        else:
            options.append(word)
        at += 1
    return options, "", list(arguments[at + 1 :])


class _Program:
    """Turns one jar's configuration into findings."""

    def __init__(self, reader: Reader, runner: Runner, started: Started, given: list[Value]) -> None:
        self.reader, self.guest, self.runner, self.started = reader, reader.guest, runner, started
        self.ident = runner.ident
        jar = archive(Reader(reader.guest, _NAME), started.jar)  # what cannot be read of it, `java_apps` says
        names = [nested.location.rpartition("/")[2] for nested in jar.nested] if jar is not None else []
        self.is_boot = any(name.startswith("spring-boot-") for name in names)
        self.is_web = any(_SERVERS.match(name) for name in names)
        self.configuration = Configuration(reader, started.jar, started.directory, given) if self.is_boot else None

    def run(self) -> Iterator[Finding]:
        size = heap(self.started.options)
        says = "the program it runs" + (f"; {size.text} ({size.place})" if size is not None else "")
        yield Uses(seen_in=self.started.place, service=self.ident, path=self.started.jar, role="code", says=says)
        for address, port, place in option_listens(self.started.options):
            yield Listen(seen_in=place, service=self.ident, port=port, address=address)
        if self.configuration is not None:
            yield from self.listens(self.configuration)
            yield from self.files(self.configuration)
            yield from self.needs(self.configuration)

    def listens(self, told: Configuration) -> Iterator[Finding]:
        if not self.is_web or told.get("spring.main.web-application-type").lower() == "none":
            return
        main: int | None = None
        for prefix, default in (("server", "8080"), ("management.server", "")):
            port = told.values.get(f"{prefix}.port")
            text = told.get(f"{prefix}.port") or default
            number = port_number(text)
            if number is None or number == main:
                if text and number is None and text != "-1":
                    where = port.place.path if port is not None else self.started.jar
                    self.reader.note(where, f"{prefix}.port {text[:40]} is decided when it starts")
                continue
            address = told.get(f"{prefix}.address") or (told.get("server.address") if not default else "")
            place = port.place if port is not None else self.started.place
            host = "*" if is_every(address) else address
            yield Listen(seen_in=place, service=self.ident, port=number, address=host, assumed=port is None)
            main = main or number
            yield from self.rebind(told.values.get(f"{prefix}.address"))
            if prefix == "server" and (check := tcp_check(self.guest, number)):
                says = "it accepts connections"
                yield Health(seen_in=place, service=self.ident, command=check, says=says)

    def rebind(self, address: Value | None) -> Iterator[Rebind]:
        if address is None or is_every(address.value) or not address.value:
            return
        where = "the machine itself" if is_loopback(address.value) else "an address of the machine"
        if address.inside:
            why = f"{address.inside} in it binds it to {where}; SERVER_ADDRESS=0.0.0.0 in its environment opens it"
            self.reader.note(self.started.jar, why)
            return
        lines = (self.reader.optional(address.place.path) or "").split("\n")
        line = lines[(address.place.line or 1) - 1] if len(lines) >= (address.place.line or 1) else ""
        if address.value in line:
            yield Rebind(
                seen_in=address.place, service=self.ident, before=address.value, after="0.0.0.0",  # noqa: S104
                says=f"it listens on {where} only",
            )  # fmt: skip

    def files(self, told: Configuration) -> Iterator[Uses]:
        for path in told.files:
            yield Uses(seen_in=Place(path), service=self.ident, path=path, role="config", says="Spring Boot reads it")
        for key in ("logging.file.name", "logging.file.path", "logging.file", "logging.path"):
            if (value := told.values.get(key)) is not None and (path := told.get(key)) and "${" not in path:
                path = absolute(path, self.started.directory)
                yield Uses(seen_in=value.place, service=self.ident, path=path, role="log", says=value.key)
        for value in told.values.values():
            text = told.expanded(value.value)
            if value.key.endswith(("key-store", "trust-store", "certificate", "keyStore")) and text.startswith("file:"):
                path = absolute(re.sub(r"^file:(//)?", "", text), self.started.directory)
                if self.guest.is_file(path):
                    says = value.key[:100]
                    yield Uses(seen_in=value.place, service=self.ident, path=path, role="config", says=says)
            if match := _FILE_DATABASE.match(text):
                path = posixpath.dirname(absolute(match[1], self.started.directory))
                if not match[1].startswith("~") and path != "/" and self.guest.is_dir(path):
                    says = f"{value.key[:100]}: a database in files"
                    yield Uses(seen_in=value.place, service=self.ident, path=path, role="data", says=says)

    def needs(self, told: Configuration) -> Iterator[Need]:
        """What is in the jar, has a placeholder, or a driver's own form; `endpoints` finds the rest."""
        values = list(told.values.values())
        lines = [f"{value.key}={' '.join(told.expanded(value.value).split())}" for value in values]
        usual = text_endpoints("\n".join(lines))
        for endpoint in usual:
            value = values[endpoint.line - 1]
            if value.inside or "${" in value.value:
                yield self.need(value, endpoint.over, endpoint.host, endpoint.says)
        seen = {(endpoint.line, endpoint.over) for endpoint in usual}
        for number, value in enumerate(values, 1):
            text = told.expanded(value.value)
            for over, host in jdbc_endpoints(text) if text.startswith("jdbc:") else ():
                if (number, over) not in seen:
                    yield self.need(value, over, host, f"{value.key[:100]} ({secret_free(text)})")

    def need(self, value: Value, over: str, host: str, says: str) -> Need:
        detail = f"{says}, {value.inside} in the jar" if value.inside else says
        text = host if host in value.value else ""
        return Need(seen_in=value.place, service=self.ident, over=over, detail=detail, host_text=text)


def _variables(reader: Reader, runner: Runner) -> dict[str, tuple[str, Place]]:
    """Return a service's variables, those of its environment's files over the unit's own (systemd.exec(5))."""
    found = {variable.name: (variable.value, variable.seen_in) for variable in runner.environment}
    for file in runner.environment_files:
        for name, (value, line) in assignments(reader.optional(file.path) or "").items():
            found[name] = (value, Place(file.path, line))
    return found


def started_by(reader: Reader, runner: Runner, call: Call) -> tuple[Started, list[Value]] | None:
    """Return the jar that a call starts, with what its environment and arguments give; or None."""
    texts = [word.text for word in call.command.words[1:]]
    directory = call.directory
    variables = _variables(reader, runner)
    known: dict[str, list[Option]] = {}
    for name in _VARIABLES:
        value, place = variables.get(name, ("", call.place))
        known[name] = [Option(word, place) for word in words(value)]
    own, jar, arguments = parse_java(texts) if call.name == "java" else ([], call.program, texts)
    if not jar.endswith(".jar"):
        return None
    jar = absolute(jar, directory)
    if not reader.guest.is_file(jar):
        return None
    names: tuple[str, ...] = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")
    if call.name != "java":  # its launch script works in its folder (executable jars, "Customizing the Startup Script")
        names, directory = (*names, "JAVA_OPTS"), posixpath.dirname(jar)
        path = launch_configuration(jar)
        shell_options(reader.optional(path) or "", path, _VARIABLES, known)
        arguments = [*(option.text for option in known["RUN_ARGS"]), *arguments]
    options = [option for name in names for option in known[name]]
    options += [Option(word, line_of(reader, call.place, word)) for word in own]
    given = variables_given(variables)
    given += [Value(name, value, _place(options, name, call.place)) for name, value in properties(options).items()]
    for word in arguments:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals:
            given.append(Value(name, value, line_of(reader, call.place, value)))
    return Started(jar, tuple(options), tuple(arguments), directory, call.place), given


def _place(options: Sequence[Option], name: str, place: Place) -> Place:
    return next((o.place for o in reversed(options) if o.text.startswith(f"-D{name}=")), place)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what the jars that services run are configured with."""
    reader = Reader(guest, _NAME)
    services = {finding.id for finding in findings if isinstance(finding, Service)}
    tracer = Tracer(guest, Reader(guest, "programs"), Owners(guest, findings))
    for runner in runners(findings):
        if runner.ident not in services:
            continue
        done: set[str] = set()
        for call in tracer.trace(runner).calls:
            if call.name != "java" and not call.program.endswith(".jar"):
                continue
            found = started_by(reader, runner, call)
            if found is not None and found[0].jar not in done:
                done.add(found[0].jar)
                yield from _Program(reader, runner, *found).run()
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Jars that services run: Spring Boot's ports, configuration and databases; sizes of Java, JMX.",
    reads=(),
    join=join,
    source="docs.spring.io/spring-boot/reference/features/external-config.html, java(1)",
)
