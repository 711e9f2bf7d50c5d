"""Eclipse Jetty: connectors, web applications and sizes by start.ini and start.d; as packaged and unpacked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from analyzers._addresses import is_every, port_number, tcp_check
from analyzers._jvm import Option, heap, jdbc_endpoints, option_listens, properties, secret_free, shell_options, words
from analyzers._reading import Reader, absolute, assignments, meaningful
from analyzers._tomcat_conf import expand
from analyzers._xml import XmlError, line_with, parse_xml
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Need, Place, Rebind, Service, Uses
from migrate.services import by_id

_NAME = "jetty"
_OPTIONS = ("JAVA_OPTS", "JAVA_OPTIONS")
_MAX_FILES = 200
# The modules that listen, the properties of port and address (the last one that of 9.2 and before), the port's default.
_CONNECTORS = (
    ("http", ("jetty.http.port", "jetty.port"), ("jetty.http.host", "jetty.host"), "8080"),
    ("https", ("jetty.ssl.port", "jetty.https.port", "https.port"), ("jetty.ssl.host", "jetty.host"), "8443"),
)
_LOGS = ("jetty.logging.dir", "jetty.console-capture.dir", "jetty.logs")

Role = Literal["config", "data", "log", "code"]


class Line(msgspec.Struct, frozen=True):
    """A property or module that a file of arguments names, and the line it stands in."""

    name: str
    value: str
    text: str
    place: Place


def ini_lines(text: str, path: str) -> Iterator[Line]:
    r"""Yield the arguments of start.ini and start.d/*.ini: one a line, `name=value`, `--module=a,b`, `-Xmx1g`.

    >>> [(l.name, l.value) for l in ini_lines("# x\n--module=http,ssl\njetty.http.port = 1\n-Xmx1g", "/x")]
    [('--module', 'http'), ('--module', 'ssl'), ('jetty.http.port', '1'), ('-Xmx1g', '')]
    """
    for number, line in meaningful(text):
        name, _, value = line[:4096].partition("=")
        name, value = name.strip(), value.strip()
        if name in ("--module", "--modules", "--add-to-start"):
            for module in value.split(","):
                yield Line("--module", module.strip(), line, Place(path, number))
        else:
            yield Line(name.rstrip("+?"), value, line, Place(path, number))


class _Jetty:
    """Turns one server's files into findings."""

    def __init__(self, reader: Reader, service: Service, home: str, base: str, options: list[Option]) -> None:
        self.reader, self.guest, self.service = reader, reader.guest, service
        self.home, self.base = home, base
        self.lines: list[Line] = []
        self.files: list[str] = []
        for folder in dict.fromkeys((home, base)):
            names = [n for n in reader.guest.listdir(f"{folder}/start.d") if n.endswith(".ini")][:_MAX_FILES]
            for path in (f"{folder}/start.ini", *(f"{folder}/start.d/{name}" for name in names)):
                real = reader.guest.resolve(path) or path
                if (text := reader.optional(real, 1 << 20)) is not None and real not in self.files:
                    self.files.append(real)
                    self.lines += ini_lines(text, real)
        for word in service.command:
            self.lines += ini_lines(word, "") if "=" in word and not word.startswith("-D") else ()
        self.last = {line.name: line for line in self.lines}
        self.options = options + [Option(line.text, line.place) for line in self.lines if line.name.startswith("-X")]
        self.modules = {line.value: line.place for line in self.lines if line.name == "--module"}
        self.values = {"jetty.base": base, "jetty.home": home, **properties(options)}
        self.values |= {line.name: line.value for line in self.last.values() if not line.name.startswith("-")}

    def of(self, place: Place) -> Place:
        """Return the place of a line; a word of the command has the service's."""
        return place if place.path else self.service.seen_in

    def value(self, *names: str) -> tuple[str, Line | None]:
        """Return the value of the first of these properties that is given, and its line."""
        for name in names:
            if self.values.get(name):
                return expand(self.values[name], self.values), self.last.get(name)
        return "", None

    def connectors(self) -> Iterator[Finding]:
        ident, first = self.service.id, True
        enabled = [each for each in _CONNECTORS if each[0] in self.modules or self.value(*each[1])[1] is not None]
        if not enabled:
            self.reader.note(self.base, "neither its http nor its https module is enabled: its connectors are in XML")
        for module, ports, hosts, default in enabled:
            text, line = self.value(*ports)
            host, where = self.value(*hosts)
            place = self.of(line.place) if line is not None else self.of(self.modules.get(module, self.service.seen_in))
            if (port := port_number(text or default)) is None:
                continue
            address = "*" if is_every(host) else host
            yield Listen(seen_in=place, service=ident, port=port, address=address, assumed=not text)
            if where is not None and where.place.path and address != "*" and where.value in where.text:
                says = f"it listens on {'the machine itself' if is_loopback(host) else 'an address of it'} only"
                after = where.text[: where.text.rindex(where.value)] + "0.0.0.0"  # noqa: S104  # for a Pod's clients
                yield Rebind(seen_in=where.place, service=ident, before=where.text, after=after, says=says)
            if first and (check := tcp_check(self.guest, port)):
                yield Health(seen_in=place, service=ident, command=check, says="it accepts connections")
            first = False
        for address, port, place in option_listens(self.options):
            yield Listen(seen_in=place, service=ident, port=port, address=address)

    def uses(self, place: Place, path: str, role: Role, says: str) -> Uses:
        real = self.guest.resolve(path) or path
        return Uses(seen_in=place, service=self.service.id, path=real, role=role, says=says)

    def own_files(self) -> Iterator[Finding]:
        size = heap(self.options)
        says = "its configuration" + (f"; {size.text} ({size.place})" if size is not None else "")
        for path in self.files:
            yield self.uses(Place(path), path, "config", says)
        if self.guest.is_dir(f"{self.base}/etc"):
            yield self.uses(Place(f"{self.base}/etc"), f"{self.base}/etc", "config", "its configuration in XML")
        for name in ("jetty.sslContext.keyStorePath", "jetty.sslContext.trustStorePath", "jetty.keystore"):
            text, line = self.value(name)
            if line is not None and self.guest.is_file(path := absolute(text, self.base)):
                yield self.uses(self.of(line.place), path, "config", name)
        text, line = self.value("jetty.deploy.monitoredDir", "jetty.deploy.monitoredDirName")
        folder = absolute(text or "webapps", self.base)
        if self.guest.is_dir(folder):
            place = self.of(line.place) if line is not None else Place(folder)
            yield self.uses(place, folder, "code", "its applications")
            yield from self.contexts(folder)
        text, line = self.value(*_LOGS)
        folder = absolute(text or "logs", self.base)
        if self.guest.is_dir(folder):
            yield self.uses(self.of(line.place) if line is not None else Place(folder), folder, "log", "its logs")

    def contexts(self, folder: str) -> Iterator[Finding]:
        """What descriptors in the folder of applications deploy from elsewhere, and the databases they name."""
        for path in (f"{folder}/{n}" for n in self.guest.listdir(folder)[:_MAX_FILES] if n.endswith(".xml")):
            text = self.reader.optional(path, 1 << 20)
            if text is None:
                continue
            try:
                root = parse_xml(text)
            except XmlError as error:
                self.reader.note(path, str(error))
                continue
            for element in root.each("Set", "Arg"):
                value = expand(element.text.strip(), self.values)
                for over, host in jdbc_endpoints(value) if "://" in value or value.startswith("jdbc:") else ():
                    place = Place(path, line_with(text, element, host))
                    detail = f"{element.get('name') or element.name} ({secret_free(value)})"
                    yield Need(seen_in=place, service=self.service.id, over=over, detail=detail, host_text=host)
                if (
                    element.get("name") in ("war", "resourceBase")
                    and value.startswith("/")
                    and self.guest.exists(value)
                ):
                    place = Place(path, element.line)
                    yield self.uses(place, absolute(value, "/"), "code", f"an application: {element.get('name')}")

    def running(self) -> Iterator[Foreground]:
        command = self.service.command
        at = next((i for i, word in enumerate(command) if posixpath.basename(word) == "jetty.sh"), None)
        if at is not None and self.service.manager == "systemd":
            says = "jetty.sh run stays in the foreground and logs to standard error"
            run = (*command[: at + 1], "run")
            yield Foreground(seen_in=self.service.seen_in, service=self.service.id, command=run, says=says)


def server_of(reader: Reader, service: Service) -> _Jetty | None:
    """Return the Jetty that a service starts, or None where it starts none (jetty.sh; start.jar)."""
    names = [posixpath.basename(word) for word in service.command]
    variables = {variable.name: variable.value for variable in service.environment}
    known: dict[str, list[Option]] = {}
    for variable in service.environment:
        known[variable.name] = [Option(word, variable.seen_in) for word in words(variable.value)]
    files = [file.path for file in service.environment_files]
    if re.fullmatch(r"jetty\d*", service.id):
        files.append(f"/etc/default/{service.id}")
    for path in dict.fromkeys(files):
        text = reader.optional(path) or ""
        shell_options(text, path, _OPTIONS, known)
        variables |= {name: value for name, (value, _) in assignments(text).items()}
    is_init = service.manager != "systemd" and re.fullmatch(r"jetty\d*", service.id)
    if not ("jetty.sh" in names or "start.jar" in names or is_init):
        return None
    options = [option for name in _OPTIONS for option in known.get(name, ())]
    options += [Option(word, service.seen_in) for word in service.command if word.startswith(("-X", "-D", "-agentlib"))]
    told = properties(options)
    program = next((word for word in service.command if word.endswith(("/start.jar", "/jetty.sh"))), "")
    beside = posixpath.dirname(program) if program.endswith(".jar") else posixpath.dirname(posixpath.dirname(program))
    home = told.get("jetty.home") or variables.get("JETTY_HOME", "") or beside or f"/usr/share/{service.id}"
    here = service.working_directory
    works_here = bool(here) and (reader.guest.exists(f"{here}/start.d") or reader.guest.exists(f"{here}/start.ini"))
    base = told.get("jetty.base") or variables.get("JETTY_BASE", "") or (here if works_here else home)
    home, base = absolute(home, "/"), absolute(base, "/")
    if not any(reader.guest.exists(f"{folder}/{name}") for folder in (base, home) for name in ("start.ini", "start.d")):
        return None
    return _Jetty(reader, service, home, base, options)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each Jetty's configuration says."""
    reader = Reader(guest, _NAME)
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    for service in services.values():
        if (jetty := server_of(reader, service)) is not None:
            yield from jetty.running()
            yield from jetty.connectors()
            yield from jetty.own_files()
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Eclipse Jetty: connectors, applications, data sources, sizes of its Java.",
    reads=("/etc/jetty*",),
    join=join,
    source="jetty.org/docs/jetty/12/operations-guide (start, modules), jetty.sh, Debian's jetty9",
)
