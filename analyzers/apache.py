"""Apache httpd: where it listens, what it hands requests to, serves, reads and writes, and how it stays in front."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from analyzers._addresses import is_every, port_number, tcp_check
from analyzers._apache_files import Files
from analyzers._apache_proxy import Upstreams
from analyzers._apache_secrets import secrets_of
from analyzers._apache_start import Start, start_of
from analyzers._apache_tree import Directive, Loader, each
from analyzers._owners import Owners
from analyzers._reading import Reader
from migrate.addresses import is_loopback
from migrate.digests import Recorded, conffiles
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Foreground, Health, Listen, Place, Rebind, RunsAs, Service
from migrate.services import by_id

_NAME = "apache"


def parse_listen(text: str) -> tuple[str, int] | None:
    """Read the first argument of `Listen`: `[address:]port`, IPv6 in brackets (mpm_common).

    >>> parse_listen("[::1]:8080")
    ('::1', 8080)
    """
    match = re.fullmatch(r"(?:(\[[\w:.%]{1,60}\]|[^\[\]:\s]{1,255}):)?(\d{1,5})", text)
    port = port_number(match[2]) if match else None
    if match is None or port is None:
        return None
    return (match[1] or "*").strip("[]"), port


class _Server:
    """Turns one server's configuration into findings."""

    def __init__(self, guest: Guest, reader: Reader, start: Start) -> None:
        self.guest, self.reader, self.start = guest, reader, start
        loader = Loader(reader, start.root, start.build, start.variables, (*start.defines, "FOREGROUND"))
        self.tree = loader.load(start.main)
        self.files = Files(reader, start, self.tree, loader.files)

    def listens(self) -> Iterator[Listen]:
        for directive, _ in each(self.tree, "listen"):
            text = directive.args[0] if directive.args else ""
            found = parse_listen(text)
            if found is None:
                self.reader.note(directive.place.path, f"Listen {text}: no port", directive.place.line)
                continue
            host, port = found
            yield Listen(seen_in=directive.place, service=self.start.ident, port=port, address=host)

    def rebinds(self, listens: Sequence[Listen]) -> Iterator[Rebind]:
        """A Pod has none of the machine's addresses: `Listen` takes every one, and virtual hosts any of them."""
        every = {listen.port for listen in listens if is_every(listen.address)}
        for directive, _ in each(self.tree, "listen"):
            found = parse_listen(directive.args[0]) if directive.args else None
            if found and not is_every(found[0]) and found[1] not in every:
                every.add(found[1])
                here = "the machine itself is let in" if is_loopback(found[0]) else "the address is the machine's own"
                before = directive.raw.split()[0].strip("\"'")
                yield self.rebind(directive, before, str(found[1]), f"{here}: Listen {directive.args[0]}")
        served: dict[str, set[str]] = {}
        for directive, _ in each(self.tree, "virtualhost"):
            after = []
            for text in directive.args:
                host, colon, port = _host_of(text)
                after.append(f"*{colon}{port}")
                if host not in ("*", "_default_", "0.0.0.0"):  # noqa: S104  # compared, not bound
                    served.setdefault(port, set()).add(host)
            if any(_host_of(text)[0] not in ("*", "_default_") for text in directive.args):
                says = "a virtual host is found by the address that a request came to"
                yield self.rebind(directive, directive.raw.strip(), " ".join(dict.fromkeys(after)), says)
        if any(len(hosts) > 1 for hosts in served.values()):
            why = "virtual hosts are told apart by the machine's addresses, and a Pod has one; check their ServerName"
            self.reader.caution(self.start.ident, Place(self.start.main), why)

    def rebind(self, directive: Directive, before: str, after: str, says: str) -> Rebind:
        return Rebind(seen_in=directive.place, service=self.start.ident, before=before, after=after, says=says)

    def running(self, listens: Sequence[Listen]) -> Iterator[Finding]:
        start = self.start
        top = {directive.name: directive for directive in self.tree}
        user, group = top.get("user"), top.get("group")
        if user and user.args and "${" not in user.args[0]:
            named = group.args[0].lstrip("#") if group and group.args else ""
            name = user.args[0].lstrip("#")
            yield RunsAs(seen_in=user.place, service=start.ident, user=name, group=named, says="its children, by User")
        for directive, _ in each(self.tree, "assignuserid", "suexecusergroup"):
            why = f"requests run as {' '.join(directive.args[:2])}, which takes root, and a container has none"
            self.reader.caution(start.ident, directive.place, why)
        if start.program and (command := start.foreground()):
            says = "-D FOREGROUND keeps the parent in the foreground"
            if start.envvars:
                says += f", and {start.envvars} sets what its configuration takes from the environment"
            yield Foreground(seen_in=start.place, service=start.ident, command=command, says=says)
        open_ports = [listen for listen in listens if listen.port]
        if open_ports:
            first = min(open_ports, key=lambda f: (not (is_every(f.address) or is_loopback(f.address)), f.port != 80))
            local = is_every(first.address) or is_loopback(first.address)
            host = first.address if not local else "::1" if ":" in first.address else "127.0.0.1"
            if check := tcp_check(self.guest, first.port or 80, host):
                says = f"a connection to port {first.port} is accepted"
                yield Health(seen_in=first.seen_in, service=start.ident, command=check, says=says)

    def findings(self, owners: Owners, shipped: Mapping[str, Recorded]) -> Iterator[Finding]:
        listens = list(self.listens())
        yield from listens
        yield from self.rebinds(listens)
        yield from Upstreams(self.reader, self.start.ident, self.tree).needs()
        yield from self.files.config(shipped)
        yield from self.files.logs()
        yield from self.files.states()
        yield from self.files.served(owners)
        yield from self.files.modules(owners)
        yield from self.running(listens)
        yield from secrets_of(self.guest, self.tree)


def _host_of(text: str) -> tuple[str, str, str]:
    """Split what `<VirtualHost>` names: host, colon, port (a number or `*`)."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?:(:)(\d{1,5}|\*))?", text)
    return (match[1], match[2] or "", match[3] or "") if match else (text, "", "")


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each service that starts httpd does, by its configuration."""
    owners: Owners | None = None
    reader = Reader(guest, _NAME)
    for service in by_id(finding for finding in findings if isinstance(finding, Service)).values():
        start = start_of(reader, service)
        if start is not None:
            owners = owners or Owners(guest, findings)
            yield from _Server(guest, reader, start).findings(owners, conffiles(findings))
    yield from reader.unread
    yield from reader.cautions


ANALYZER = Analyzer(
    name=_NAME,
    says="Apache httpd: addresses, virtual hosts, what it proxies to, sites, certificates, logs, modules.",
    reads=("/etc/apache2", "/etc/apache2-*", "/etc/httpd", "/etc/sysconfig/httpd", "/etc/sysconfig/apache2",
           "/usr/local/apache2/conf", "/usr/sbin/apache2", "/usr/sbin/httpd"),
    join=join,
    source="httpd.apache.org/docs/2.4, apache2ctl(8), httpd(8)",
)  # fmt: skip
