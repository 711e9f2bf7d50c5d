"""nginx: what it listens on, passes requests to, serves, reads and writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import is_every, over_tcp, run_path, tcp_check
from analyzers._nginx_address import PASSES, parse_address, parse_listen, parse_pass
from analyzers._nginx_conf import Directive, Loader, build_options, each
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute
from migrate.addresses import is_loopback
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Uses,
)  # fmt: skip

_NAME = "nginx"
_MAIN = "/etc/nginx/nginx.conf"
_PROGRAMS = ("/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/usr/bin/nginx")

_FILES = ("ssl_certificate", "ssl_certificate_key", "ssl_trusted_certificate", "ssl_client_certificate", "ssl_crl",
          "ssl_dhparam", "ssl_password_file", "ssl_session_ticket_key", "auth_basic_user_file", "proxy_ssl_certificate",
          "proxy_ssl_certificate_key", "proxy_ssl_trusted_certificate", "geoip_country", "geoip_city", "js_import",
          "grpc_ssl_certificate", "grpc_ssl_certificate_key", "uwsgi_ssl_certificate_key")  # fmt: skip
# What nginx-common.postinst puts into /var/www/html where there is no page yet.
_OWN_PAGES = ("index.nginx-debian.html",)
_CACHES = ("proxy_cache_path", "fastcgi_cache_path", "uwsgi_cache_path", "scgi_cache_path", "client_body_temp_path",
           "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path")  # fmt: skip


class _Site:
    """Turns one machine's configuration into findings."""

    def __init__(self, guest: Guest) -> None:
        self.reader = Reader(guest, _NAME)
        self.guest = guest
        self.program = next((path for path in _PROGRAMS if guest.is_file(path)), "")
        options = build_options(self.reader.data(self.program, 64 << 20) or b"") if self.program else {}
        self.options = options
        self.prefix = options.get("prefix", "/usr/share/nginx")
        self.main = absolute(options.get("conf-path", _MAIN), self.prefix)
        self.directory = self.main.rpartition("/")[0]
        self.loader = Loader(self.reader, self.main)
        self.tree: tuple[Directive, ...] = ()
        if guest.is_file(self.main):
            self.tree = self.loader.load(self.main)

    def path_of(self, directive: Directive, text: str, base: str) -> str | None:
        """Return the path an argument names; where it holds variables its fixed part, with a note if there is none."""
        if "$" not in text:
            return absolute(text, base) if text else None
        fixed = text.split("$", 1)[0].rpartition("/")[0]
        if fixed:
            return absolute(fixed, base)
        why = f"{directive.name} {text} is decided for each request"
        self.reader.note(directive.place.path, why, directive.place.line)
        return None

    # ---------------------------------------------------------------- what it listens on

    def listens(self) -> Iterator[Finding]:
        for server, around in each(self.tree, "server"):
            if not any(block.name in ("http", "stream", "mail") for block in around[-1:]):
                continue
            listens = [d for d in server.block if d.name == "listen" and d.args]
            if not listens and around[-1].name == "http":  # `*:80` for root, ngx_http_core_module
                yield Listen(seen_in=server.place, service=_NAME, port=80, assumed=True)
            for directive in listens:
                found = parse_listen(directive.args[0])
                if not found:
                    self.reader.note(
                        directive.place.path, f"listen {directive.args[0]}: no address", directive.place.line
                    )
                protocol = "udp" if {"udp", "quic"} & set(directive.args[1:]) else "tcp"
                for listen in found:
                    yield Listen(
                        seen_in=directive.place,
                        service=_NAME,
                        port=listen.port,
                        protocol=protocol,
                        address=listen.host or "*",
                        path=listen.path,
                    )
            yield from self.rebinds(listens)

    def rebinds(self, listens: Sequence[Directive]) -> Iterator[Rebind]:
        """Loopback, or an address of the machine's own, becomes every address: a Pod has neither for its clients."""
        every: set[int | None] = {
            f.port for d in listens for f in parse_listen(d.args[0]) if f.port and is_every(f.host)
        }
        for directive in listens:
            for listen in parse_listen(directive.args[0])[:1]:
                if listen.path or is_every(listen.host) or listen.port in every:
                    continue
                every.add(listen.port)
                after = f"[::]:{listen.port}" if ":" in listen.host else str(listen.port)
                says = (
                    "only the machine itself is let in"
                    if is_loopback(listen.host)
                    else "the address is the machine's own"
                )
                yield Rebind(seen_in=directive.place, service=_NAME, before=directive.args[0], after=after, says=says)

    # ---------------------------------------------------------------- what it passes requests to

    def upstreams(self) -> dict[tuple[str, str], list[Directive]]:
        return {
            (around[-1].name if around else "", directive.args[0]): [s for s in directive.block if s.name == "server"]
            for directive, around in each(self.tree, "upstream")
            if directive.args
        }

    def needs(self) -> Iterator[Need]:
        upstreams = self.upstreams()
        for directive, around in each(self.tree, *PASSES):
            if not directive.args:
                continue
            text, default = parse_pass(directive.name, directive.args[0])
            servers = upstreams.get((around[0].name if around else "", text))
            if servers is None:
                yield from self.need(directive, text, default, f"{directive.name} {directive.args[0]}")
            for server in servers or ():
                if server.args and "down" not in server.args:
                    yield from self.need(server, server.args[0], 80, f"{directive.name} to upstream {text}")
        for directive, _ in each(self.tree, "resolver"):
            for text in directive.args:
                if "=" not in text and (address := parse_address(text, 53)):
                    over = over_tcp(address.host, address.port or 53, "udp")
                    yield Need(
                        seen_in=directive.place, service=_NAME, over=over, detail="resolver", host_text=address.host
                    )

    def need(self, directive: Directive, text: str, default: int | None, says: str) -> Iterator[Need]:
        address = None if "$" in text else parse_address(text, default)
        if address is None:
            why = "is decided for each request" if "$" in text else "names no address"
            self.reader.note(directive.place.path, f"{directive.name} {text} {why}", directive.place.line)
            return
        yield Need(seen_in=directive.place, service=_NAME, over=address.over, detail=says, host_text=address.host)

    # ---------------------------------------------------------------- files

    def files(self) -> Iterator[Finding]:
        yield Uses(
            seen_in=Place(self.main), service=_NAME, path=self.directory, role="config", says="its configuration"
        )
        for path in self.loader.files:
            if not path.startswith(self.directory + "/"):
                yield Uses(seen_in=Place(path), service=_NAME, path=path, role="config", says="included")
        for directive, _ in each(self.tree, *_FILES):
            for text in directive.args[:1]:
                if text == "off" or text.startswith(("data:", "engine:", "store:")):
                    continue
                if named := self.path_of(directive, text, self.directory):
                    yield from self.config_file(directive, named)

    def config_file(self, directive: Directive, path: str) -> Iterator[Uses]:
        real = self.guest.resolve(path)
        if real is None:
            self.reader.note(
                directive.place.path, f"{directive.name} names {path}, which is not there", directive.place.line
            )
            return
        for each_path in dict.fromkeys((path, real)):  # certbot's live/ holds symlinks into archive/
            yield Uses(seen_in=directive.place, service=_NAME, path=each_path, role="config", says=directive.name)

    def logs(self) -> Iterator[Finding]:
        said = {directive.name for directive, _ in each(self.tree, "access_log", "error_log")}
        for directive, _ in each(self.tree, "access_log", "error_log"):
            text = directive.args[0] if directive.args else "off"
            if text.startswith("syslog:"):
                yield from self.syslog(directive, text)
                continue
            to_file = text not in ("off", "stderr") and not text.startswith(("/dev/", "memory:"))
            if to_file and (path := self.path_of(directive, text, self.prefix)):
                yield Uses(seen_in=directive.place, service=_NAME, path=path, role="log", says=directive.name)
        for name, option in (("access_log", "http-log-path"), ("error_log", "error-log-path")):
            compiled = self.options.get(option, "")
            if self.tree and name not in said and compiled.startswith("/"):
                says = f"{name}: compiled into the program"
                yield Uses(seen_in=Place(self.program), service=_NAME, path=compiled, role="log", says=says)

    def syslog(self, directive: Directive, text: str) -> Iterator[Need]:
        match = re.match(r"syslog:server=([^,]+)", text)
        if match and match[1].startswith("unix:"):
            over = f"unix:{run_path(match[1].removeprefix('unix:'))}"
            yield Need(seen_in=directive.place, service=_NAME, over=over, detail=directive.name)
        elif match and (address := parse_address(match[1], 514)):
            over = over_tcp(address.host, address.port or 514, "udp")
            yield Need(seen_in=directive.place, service=_NAME, over=over, detail=directive.name, host_text=address.host)

    def directories(self) -> Iterator[Uses]:
        for directive, _ in each(self.tree, *_CACHES):
            if directive.args and (path := self.path_of(directive, directive.args[0], self.prefix)):
                yield Uses(seen_in=directive.place, service=_NAME, path=path, role="cache", says=directive.name)
        temporary = {value.rpartition("/")[0] for name, value in self.options.items() if name.endswith("-temp-path")}
        for path in sorted(temporary):
            if path.startswith("/"):
                says = "request bodies and answers on their way: compiled into the program"
                yield Uses(seen_in=Place(self.program), service=_NAME, path=path, role="cache", says=says)
        pids = [(d.place, d.args[0]) for d, _ in each(self.tree, "pid") if d.args]
        for place, text in pids or [(Place(self.program), self.options.get("pid-path", ""))]:
            folder = run_path(absolute(text, self.prefix)).rpartition("/")[0] if text else ""
            if folder not in ("", "/run", "/tmp", "/dev"):  # noqa: S108
                yield Uses(seen_in=place, service=_NAME, path=folder, role="runtime", says="the pid file is there")

    # ---------------------------------------------------------------- how it runs

    def running(self, listens: Sequence[Finding]) -> Iterator[Finding]:
        top = {directive.name: directive for directive in self.tree}
        if user := top.get("user"):
            name = user.args[0] if user.args else ""
            group = user.args[1] if len(user.args) > 1 else ""
            yield RunsAs(seen_in=user.place, service=_NAME, user=name, group=group, says="the workers, by `user`")
        daemon = top.get("daemon")
        place = daemon.place if daemon else Place(self.main)
        if daemon and daemon.args[:1] != ("off",):
            says = "daemon on; keeps nginx from the foreground, and -g may not say otherwise"
            self.reader.note(place.path, says, place.line)
            yield Rebind(seen_in=place, service=_NAME, before="daemon on", after="daemon off", says=says)
        if self.program:
            command = (self.program,) if daemon else (self.program, "-g", "daemon off;")
            says = "nginx.conf says daemon off" if daemon else "daemon off keeps the master in the foreground"
            yield Foreground(seen_in=place, service=_NAME, command=command, says=says)
        ports = [f for f in listens if isinstance(f, Listen) and f.port and f.protocol == "tcp"]
        if ports:
            first = min(ports, key=lambda f: (f.address.startswith(":"), f.port != 80))
            host = "::1" if first.address.startswith(":") else "127.0.0.1"
            if check := tcp_check(self.guest, first.port or 80, host):
                says = f"a connection to port {first.port} is accepted"
                yield Health(seen_in=first.seen_in, service=_NAME, command=check, says=says)


def _has(guest: Guest) -> _Site | None:
    site = _Site(guest) if guest.is_file(_MAIN) or any(guest.is_file(path) for path in _PROGRAMS) else None
    return site if site and (site.tree or site.reader.unread) else None


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what the configuration says."""
    site = _has(guest)
    if site is None:
        return
    listens = list(site.listens())
    yield from listens
    yield from site.needs()
    yield from site.files()
    yield from site.logs()
    yield from site.directories()
    yield from site.running(listens)
    yield from site.reader.unread


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the served directories that no package fills, and the packages of dynamic modules."""
    site = _has(guest)
    if site is None:
        return
    site.reader.unread.clear()  # told by `analyze`
    owners = Owners(guest, findings)
    for directive, _ in each(site.tree, "root", "alias"):
        path = site.path_of(directive, directive.args[0], site.prefix) if directive.args else None
        if path and path != "/" and (stray := owners.stray(path, _OWN_PAGES)):
            says = f"{directive.name}: served, and no package owns {stray}"
            yield Uses(seen_in=directive.place, service=_NAME, path=path, role="code", says=says)
    for directive, _ in each(site.tree, "load_module"):
        path = absolute(directive.args[0], site.prefix) if directive.args else ""
        if package := owners.package(path):
            yield Requires(
                seen_in=directive.place, service=_NAME, package=package, says=f"load_module {directive.args[0]}"
            )
        elif path:
            site.reader.note(directive.place.path, f"no package owns the module {path}", directive.place.line)
    yield from site.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="nginx: addresses, upstreams, sites, certificates, logs, modules.",
    reads=("/etc/nginx", *_PROGRAMS),
    analyze=analyze,
    join=join,
    source="nginx.org/en/docs/dirindex.html",
)
