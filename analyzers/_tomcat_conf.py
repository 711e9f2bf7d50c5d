"""server.xml and context files of Tomcat: connectors, hosts, contexts, resources (tomcat.apache.org/tomcat-10.1-doc).

Properties (`${name}`, `${name:-default}`) are those of the options and of catalina.properties (config/systemprops).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._addresses import port_number, run_path
from analyzers._jvm import jdbc_endpoints, secret_free
from analyzers._secret import secret_id
from analyzers._secret_text import is_value, kind_of, names_secret, secrets_in
from analyzers._xml import Element, line_with
from migrate.model import Place, Secret

_PROPERTY = re.compile(r"\$\{([^${}:]{1,200})(?::-([^${}]{0,500}))?\}")
_FILES = ("keystoreFile", "truststoreFile", "SSLCertificateFile", "SSLCertificateKeyFile", "SSLCertificateChainFile",
          "SSLCACertificateFile", "certificateFile", "certificateKeyFile", "certificateChainFile",
          "certificateKeystoreFile", "caCertificateFile", "certificateRevocationListFile", "pathname")  # fmt: skip
_ADDRESSED = ("Resource", "Realm", "Environment", "Parameter", "Manager", "Store", "Valve")


class Document(msgspec.Struct):
    """A parsed file: its path, its text, its root, and the properties it is read with."""

    path: str
    text: str
    root: Element
    properties: Mapping[str, str]

    def value(self, element: Element, name: str, default: str = "") -> str:
        """Return an attribute with the properties in it put in; one that is not known stays."""
        return expand(element.get(name, default), self.properties)

    def place(self, element: Element, part: str = "") -> Place:
        """Return the line of an element, or that of its start tag which holds `part`."""
        return Place(self.path, line_with(self.text, element, part) if part else element.line)


class Port(msgspec.Struct, frozen=True):
    """A socket: `before` and `after` are the edit that opens one which only the machine itself reaches."""

    place: Place
    port: int | None = None
    address: str = "*"
    path: str = ""
    protocol: str = "tcp"
    secure: bool = False
    kind: str = "http"
    before: str = ""
    after: str = ""
    assumed: bool = False


def expand(text: str, properties: Mapping[str, str]) -> str:
    """Put properties in, once.

    >>> expand("${http.port:-8080}/${x}", {"x": "1"})
    '8080/1'
    """
    return _PROPERTY.sub(lambda match: properties.get(match[1].strip(), match[2] or match[0])[:500], text[:4096])


def connectors(document: Document, old_ajp: bool) -> Iterator[Port]:
    """Yield the sockets of connectors; AJP without an address is on loopback, but every one before 2020 (`old_ajp`)."""
    for element in document.root.each("Connector"):
        if path := document.value(element, "unixDomainSocketPath"):
            yield Port(document.place(element, "unixDomainSocketPath"), path=run_path(path))
            continue
        if (port := _port(document, element, "port")) is None:
            continue
        protocol = document.value(element, "protocol", "HTTP/1.1")
        kind = "ajp" if "ajp" in protocol.lower() else "http"
        secure = document.value(element, "SSLEnabled").lower() == "true"
        address, written = document.value(element, "address"), element.get("address")
        before = after = ""
        if address:
            line = document.place(element, written)
            quoted = re.search(rf"""address\s*=\s*(["']){re.escape(written)}\1""", _line(document.text, line.line))
            before = quoted[0] if quoted else ""
            after = before.replace(written, "0.0.0.0")  # noqa: S104  # what a Pod's clients need
        elif kind == "ajp" and not old_ajp:
            line = document.place(element, element.get("protocol"))
            address = "127.0.0.1"
            quoted = re.search(r"""protocol\s*=\s*(["'])[^"']*\1""", _line(document.text, line.line))
            before = quoted[0] if quoted else ""
            after = f'{before} address="0.0.0.0"' if before else ""
        else:
            line = document.place(element, element.get("port"))
        seen = line if before else document.place(element, element.get("port"))
        yield Port(seen, port, address or "*", secure=secure, kind=kind, before=before, after=after)


def others(document: Document) -> Iterator[Port]:
    """Yield the shutdown port, which is on loopback, and those of a cluster (config/cluster-receiver, -membership)."""
    server = document.root
    if (port := _port(document, server, "port", "8005")) is not None and server.name == "Server":
        address = document.value(server, "address", "127.0.0.1")
        yield Port(document.place(server, server.get("port")), port, address, kind="shutdown",
                   assumed="port" not in server.attributes)  # fmt: skip
    for cluster in document.root.each("Cluster"):
        receiver = next(cluster.each("Receiver"), None)
        port = _port(document, receiver, "port", "4000") if receiver is not None else 4000
        yield Port(document.place(receiver or cluster), port, kind="cluster", assumed=receiver is None)
        member = next(cluster.each("Membership"), None)
        port = _port(document, member, "port", "45564") if member is not None else 45564
        yield Port(document.place(member or cluster), port, protocol="udp", kind="cluster", assumed=member is None)


def _port(document: Document, element: Element, name: str, default: str = "") -> int | None:
    port = port_number(document.value(element, name, default))
    offset = document.value(document.root, "portOffset", "0")
    if element.name == "Connector" and element.get("portOffset"):
        offset = document.value(element, "portOffset")
    return port_number(str(port + int(offset))) if port and re.fullmatch(r"\d{1,5}", offset) else port


def _line(text: str, number: int | None) -> str:
    lines = text.split("\n")
    return lines[number - 1] if number and number <= len(lines) else ""


def files(document: Document) -> Iterator[tuple[str, str, Place]]:
    """Yield (what, path, place) of the files that attributes name: certificates, keystores, the user database."""
    for element in document.root.each():
        for name in _FILES:
            value = document.value(element, name)
            if value and "${" not in value and not re.match(r"[a-z]{2,}:", value):
                yield name, value, document.place(element, element.get(name))


class Address(msgspec.Struct, frozen=True):
    """Another system that a resource names."""

    over: str
    host: str
    says: str
    place: Place


def addresses(document: Document) -> Iterator[Address]:
    """Yield the systems that data sources, mail sessions, realms, environment entries and parameters name."""
    elements = [document.root, *document.root.each()]
    for element in elements:
        if element.name not in _ADDRESSED:
            continue
        name = document.value(element, "name")[:100]
        for key, raw in element.attributes.items():
            value = expand(raw.strip(), document.properties)
            if "://" not in value and not value.startswith("jdbc:"):
                continue
            if key in ("pattern", "description", "className", "factory", "type", "driverClassName", "pathname"):
                continue
            says = f"{element.name} {name or key} ({secret_free(value)})"
            for over, host in jdbc_endpoints(value):
                yield Address(over, host, says, document.place(element, host if host in raw else raw.strip()[:60]))
        if host := document.value(element, "mail.smtp.host"):
            port = port_number(document.value(element, "mail.smtp.port", "25"))
            for over, found in jdbc_endpoints(f"smtp://{host}:{port or 25}"):
                yield Address(over, found, f"mail session {name}", document.place(element, host))


def secrets(document: Document) -> Iterator[Secret]:
    """Yield the passwords in attributes, but those that stand in lines of their own, which any text's search finds."""
    known = {(found.line, found.value) for found in secrets_in(document.text)}
    for element in [document.root, *document.root.each()]:
        title = element.get("name") or element.get("username")
        for name, value in element.attributes.items():
            place = document.place(element, f'{name}="')
            if names_secret(name) and is_value(value) and (place.line, value) not in known:
                ident = secret_id(document.path, f"{element.name} {title[:60]} {name}")
                yield Secret(seen_in=place, id=ident, kind=kind_of(name), name=name, value=value)
