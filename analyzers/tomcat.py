"""Apache Tomcat: connectors, hosts, web applications, data sources, sizes; as packaged, as instances, and unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._addresses import is_every, tcp_check
from analyzers._jar import BROKEN, member_text, parse_properties
from analyzers._java_servers import is_tomcats_own
from analyzers._jvm import heap, option_listens, properties
from analyzers._opened import opened
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside
from analyzers._secret import unique
from analyzers._tomcat_conf import Document, Port, addresses, connectors, files, others, secrets
from analyzers._tomcat_instances import Instance, instances
from analyzers._xml import XmlError, parse_xml
from migrate.errors import Vm2cError
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    Place,
    Rebind,
    Requires,
    Secret,
    Service,
    Uses,
)
from migrate.services import by_id

_NAME = "tomcat"
_MAX_FILES = 200
_MAX_WAR = 512 << 20
_NATIVE = "libtcnative-1"

Role = Literal["config", "data", "log", "runtime", "cache", "code"]


def _plain(path: str) -> str:
    """Return a path as a pattern that matches it alone (glob(7))."""
    return re.sub(r"([*?\[])", r"[\1]", path)


class _Tomcat:
    """Turns one instance's files into findings."""

    def __init__(self, reader: Reader, instance: Instance, findings: Sequence[Finding]) -> None:
        self.reader, self.guest, self.instance = reader, reader.guest, instance
        self.ident = instance.ident
        self.findings = findings
        self.owners = Owners(reader.guest, findings)
        self.conf = f"{instance.base}/conf"
        rows = parse_properties(reader.optional(f"{self.conf}/catalina.properties") or "")
        own = {"catalina.base": instance.base, "catalina.home": instance.home}
        self.properties = {**rows, **own, **properties(instance.options)}
        self.server = self.document(f"{self.conf}/server.xml")
        self.ports: list[Port] = []
        if self.server is not None:
            self.ports = [*connectors(self.server, self.is_old()), *others(self.server)]

    def real(self, path: str) -> str:
        """Return a path with its links followed: Debian's base is made of links."""
        return self.guest.resolve(path) or path

    def document(self, path: str, text: str | None = None) -> Document | None:
        """Return a parsed file; None, with a note, where it cannot be read."""
        shown = self.real(path)
        text = self.reader.optional(shown) if text is None else text
        if text is None:
            return None
        try:
            return Document(shown, text, parse_xml(text), self.properties)
        except XmlError as error:
            self.reader.note(shown, str(error))
            return None

    def is_old(self) -> bool:
        """Tell whether AJP listens on every address: it does before 7.0.100, 8.5.51 and 9.0.31 (their change logs)."""
        name = r"tomcat\d*(-common)?"
        version = next((f.version for f in self.findings if isinstance(f, Package) and re.fullmatch(name, f.name)), "")
        if not inside(self.instance.home, "/usr/share"):
            notes = self.reader.optional(f"{self.instance.home}/RELEASE-NOTES", 1 << 16) or ""
            match = re.search(r"Apache Tomcat Version (\d[\d.]*)", notes)
            version = match[1] if match else ""
        match = re.match(r"(?:\d+:)?(\d{1,4})\.(\d{1,4})\.(\d{1,4})", version)
        if match is None:
            return False
        number = (int(match[1]), int(match[2]), int(match[3]))
        return number < {7: (7, 0, 100), 8: (8, 5, 51), 9: (9, 0, 31)}.get(number[0], (7, 0, 0))

    # ---------------------------------------------------------------- where it listens

    def listens(self) -> Iterator[Finding]:
        for port in self.ports:
            if port.port or port.path:
                yield Listen(seen_in=port.place, service=self.ident, port=port.port, protocol=port.protocol,
                             address="*" if is_every(port.address) else port.address, path=port.path,
                             assumed=port.assumed)  # fmt: skip
            if port.kind in ("http", "ajp") and port.before and not is_every(port.address):
                says = "the connector is bound to an address of the machine; a Pod's clients come from others"
                yield Rebind(seen_in=port.place, service=self.ident, before=port.before, after=port.after, says=says)
            if port.kind == "cluster" and port.protocol == "udp":
                self.reader.note(port.place.path, "the cluster finds its members by multicast, which few Pod networks "
                                 "carry; its DNS or Kubernetes membership does", port.place.line)  # fmt: skip
        for address, number, place in option_listens(self.instance.options):
            yield Listen(seen_in=place, service=self.ident, port=number, address=address)

    def running(self) -> Iterator[Finding]:
        command, says = self.instance.service.command, "catalina.sh run stays in the foreground, its console is the log"
        script = f"{self.instance.home}/bin/catalina.sh"
        stays = command[-1:] != ("start",) or not any(word.endswith("/catalina.sh") for word in command)
        stays = stays and not any(word.endswith(("startup.sh", "daemon.sh")) for word in command)
        if self.instance.service.manager == "systemd" and self.instance.service.type != "forking" and stays:
            yield Foreground(seen_in=self.instance.service.seen_in, service=self.ident, command=command, says=says)
        elif self.guest.is_file(script):
            told = {variable.name for variable in self.instance.service.environment}
            both = {"CATALINA_BASE": self.instance.base, "CATALINA_HOME": self.instance.home}
            lacks = tuple(f"{name}={value}" for name, value in both.items() if name not in told)
            run = (*(("/usr/bin/env", *lacks) if lacks else ()), script, "run")
            yield Foreground(seen_in=self.instance.service.seen_in, service=self.ident, command=run, says=says)
        for port in self.ports:
            if port.kind == "http" and port.port and (check := tcp_check(self.guest, port.port)):
                yield Health(seen_in=port.place, service=self.ident, command=check, says="it accepts connections")
                break

    # ---------------------------------------------------------------- files

    def uses(self, place: Place, path: str, role: Role, says: str) -> Uses:
        return Uses(seen_in=place, service=self.ident, path=absolute(path, self.instance.base), role=role, says=says)

    def own_files(self) -> Iterator[Finding]:
        base = self.instance.base
        says = "its configuration"
        if (size := heap(self.instance.options)) is not None:
            says = f"{says}; {size.text} ({size.place})"
        yield self.uses(Place(f"{self.real(self.conf)}/server.xml"), self.real(self.conf), "config", says)
        for path in self.instance.sourced:
            yield self.uses(Place(path), self.real(path), "config", "its start script sources it")
        for name, role, what in (("logs", "log", "its logs"), ("work", "cache", "what it makes of pages")):
            if self.guest.is_dir(f"{base}/{name}"):
                yield self.uses(Place(f"{base}/{name}"), self.real(f"{base}/{name}"), role, what)  # type: ignore[arg-type]
        temp = self.real(self.instance.temp)
        if temp not in ("/tmp", "/var/tmp") and self.guest.is_dir(temp):  # noqa: S108  # the guest's
            yield self.uses(Place(self.instance.temp), temp, "cache", "temporary files")
        for folder in dict.fromkeys((f"{base}/lib", f"{self.instance.home}/lib", f"{base}/shared")):
            yield from self.libraries(folder)

    def libraries(self, folder: str) -> Iterator[Finding]:
        """Jars that a person put beside Tomcat's: database drivers; links lead to packages."""
        for path in self.guest.glob(f"{_plain(folder)}/*.jar")[:500]:
            if self.owners.own(path) is not None or not self.owners:
                continue
            yield self.uses(Place(path), path, "code", "a library for its applications")
            entry = self.guest.lstat(path)
            for package, target in self.owners.packages(path) if entry is not None and entry.kind == "symlink" else ():
                yield Requires(seen_in=Place(path), service=self.ident, package=package, says=f"it leads to {target}")

    def hosts(self) -> Iterator[Finding]:
        """Yield the folders of hosts, what is deployed from elsewhere, access logs and certificates."""
        if self.server is None:
            return
        document = self.server
        for host in document.root.each("Host"):
            base = absolute(document.value(host, "appBase", "webapps"), self.instance.base)
            if self.guest.is_dir(base):
                place = document.place(host, host.get("appBase"))
                yield self.uses(place, self.real(base), "code", f"applications of {host.get('name') or 'a host'}")
        for valve in document.root.each("Valve"):
            if valve.get("className").endswith("AccessLogValve"):
                path = absolute(document.value(valve, "directory", "logs"), self.instance.base)
                place = document.place(valve, valve.get("directory"))
                yield self.uses(place, self.real(path), "log", "access logs")
        native = any(e.get("className").endswith("AprLifecycleListener") for e in document.root.each("Listener"))
        if native and any(isinstance(f, Package) and f.name == _NATIVE for f in self.findings):
            place = next(document.place(e) for e in document.root.each("Listener") if "Apr" in e.get("className"))
            yield Requires(seen_in=place, service=self.ident, package=_NATIVE, says="AprLifecycleListener loads it")

    def bases(self) -> list[str]:
        """Return the folders that applications are deployed from."""
        document = self.server
        names = [document.value(h, "appBase", "webapps") for h in document.root.each("Host")] if document else []
        return list(dict.fromkeys(absolute(name, self.instance.base) for name in names))

    def documents(self) -> Iterator[tuple[Document, str]]:
        """Yield the files that hold resources, each with the folder that its docBase is seen from."""
        bases = self.bases()
        first = bases[0] if bases else f"{self.instance.base}/webapps"
        paths = [f"{self.conf}/context.xml", *self.guest.glob(f"{_plain(self.instance.base)}/conf/*/*/*.xml")]
        paths += [p for b in bases for p in self.guest.glob(f"{_plain(b)}/*/META-INF/context.xml")]
        if self.server is not None:
            yield self.server, first
        if len(paths) > _MAX_FILES:
            self.reader.note(self.conf, f"{len(paths)} contexts, of which {_MAX_FILES} were read")
        for path in paths[:_MAX_FILES]:
            if (document := self.document(path)) is not None:
                yield document, first
        yield from ((document, first) for base in bases for document in self.archived(base))

    def archived(self, base: str) -> Iterator[Document]:
        """Yield the contexts in archives that were not unpacked; there is no line in those."""
        for war in self.guest.glob(f"{_plain(base)}/*.war")[:_MAX_FILES]:
            if self.guest.is_dir(war.removesuffix(".war")):
                continue
            try:
                with opened(self.guest, war, _MAX_WAR) as file:
                    document = self.document(war, member_text(file, "META-INF/context.xml"))
            except KeyError:  # it has none
                continue
            except (Vm2cError, *BROKEN) as error:
                self.reader.note(war, f"its context cannot be read: {str(error) or type(error).__name__}")
                continue
            if document is not None:
                yield document

    def secrets(self) -> Iterator[Secret]:
        """Yield the passwords of users and resources."""
        users = self.document(f"{self.conf}/tomcat-users.xml")
        for document in [*([users] if users else []), *(document for document, _ in self.documents())]:
            if not document.path.endswith(".war"):
                yield from secrets(document)

    def resources(self) -> Iterator[Finding]:
        for document, base in self.documents():
            is_archive = document.path.endswith(".war")
            if is_tomcats_own(self.reader, document.path.removesuffix("/META-INF/context.xml")):
                continue
            for found in addresses(document):
                place = Place(document.path) if is_archive else found.place
                yield Need(seen_in=place, service=self.ident, over=found.over, detail=found.says, host_text=found.host)
            for what, path, place in files(document):
                path = absolute(path.removeprefix("file:"), self.instance.base)
                if self.guest.is_file(path) and not is_archive:
                    yield self.uses(place, self.real(path), "config", what)
            for context in [document.root, *document.root.each("Context")]:
                docs = document.value(context, "docBase") if context.name == "Context" else ""
                path = absolute(docs, base)
                if docs and "${" not in docs and not inside(path, base) and self.guest.exists(path):
                    place = document.place(context, context.get("docBase"))
                    yield self.uses(place, self.real(path), "code", f"an application: docBase {docs}")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each Tomcat's configuration says."""
    reader = Reader(guest, _NAME)
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    found: list[Secret] = []
    for instance in instances(reader, iter(services.values())):
        tomcat = _Tomcat(reader, instance, findings)
        yield from tomcat.running()
        yield from tomcat.listens()
        yield from tomcat.own_files()
        yield from tomcat.hosts()
        yield from tomcat.resources()
        found += tomcat.secrets()
    yield from unique(dict.fromkeys(found))
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Apache Tomcat: connectors, hosts, web applications, data sources, sizes of its Java.",
    reads=("/etc/tomcat*",),
    join=join,
    source="tomcat.apache.org/tomcat-10.1-doc (RUNNING.txt, config/*), Debian's README.Debian, Red Hat's tomcat.conf",
)
