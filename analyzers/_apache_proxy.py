"""What Apache httpd hands requests to: mod_proxy, mod_rewrite's [P], handlers, mod_jk, mod_fastcgi, LDAP, caches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._addresses import over_tcp, port_number, run_path, split_host_port
from analyzers._apache_tree import Directive, each, place_of
from analyzers._reading import Reader, absolute, meaningful
from migrate.model import Need, Place

# The ports of mod_proxy's schemes where the URL names none (mod_proxy_ajp, _fcgi, _scgi, _uwsgi, _ftp).
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "h2": 443, "h2c": 80, "ajp": 8009, "fcgi": 8000,
          "scgi": 4000, "uwsgi": 3031, "ftp": 21, "ldap": 389, "ldaps": 636}  # fmt: skip
_PASSES = ("proxypass", "proxypassmatch", "balancermember", "rewriterule", "sethandler", "addhandler", "proxyremote",
           "proxyremotematch", "authldapurl", "oidcprovidermetadataurl", "fastcgiexternalserver", "jkworkersfile",
           "sslsessioncache", "cachesocache", "authncachesocache", "dbdparams")  # fmt: skip


class Upstreams:
    """Yields one server's needs."""

    def __init__(self, reader: Reader, ident: str, tree: Sequence[Directive]) -> None:
        self.reader, self.ident, self.tree = reader, ident, tree
        self._workers: set[str] = set()

    def needs(self) -> Iterator[Need]:
        """Yield what the configuration passes requests to, each once for a line."""
        driver = next((d.args[0].lower() for d, _ in each(self.tree, "dbdriver") if d.args), "")
        for directive, around in each(self.tree, *_PASSES):
            match directive.name:
                case "jkworkersfile":
                    yield from self.workers(directive)
                case "fastcgiexternalserver":
                    yield from self.fastcgi(directive)
                case "dbdparams":
                    yield from self.database(directive, driver)
                case "sslsessioncache" | "cachesocache" | "authncachesocache":
                    yield from self.cache(directive)
                case _:
                    for text in _targets(directive, around):
                        yield from self.target(directive, text)

    def need(self, directive: Directive, over: str, host: str, says: str) -> Need:
        place = place_of(self.reader, directive, host or over.removeprefix("unix:"))
        return Need(seen_in=place, service=self.ident, over=over, detail=says, host_text=host)

    def target(self, directive: Directive, text: str) -> Iterator[Need]:
        """`[unix:/path|]scheme://host[:port][/…]` (mod_proxy)."""
        says = _SAYS.get(directive.name, directive.name)
        if match := re.match(r"unix:([^|]+)(\||$)", text, re.IGNORECASE):
            path = match[1]
            if path.startswith("/") and not re.search(r"[$%]", path):
                yield self.need(directive, f"unix:{run_path(path)}", "", f"{says}: a unix socket")
            else:
                self.decided(directive, text)
            return
        match = re.match(r"([A-Za-z][\w+.-]{0,30})://([^/?\s]*)", text)
        if match is None or (scheme := match[1].lower()) == "balancer":
            return  # the balancer's members are needs of their own
        authority = match[2].rpartition("@")[2]
        if re.search(r"[$%*]", authority):
            self.decided(directive, text)
            return
        parts = split_host_port(authority, _PORTS.get(scheme))
        if parts is None or parts[1] is None:
            self.reader.note(directive.place.path, f"{says} names no address with a port", directive.place.line)
            return
        yield self.need(directive, over_tcp(parts[0], parts[1]), parts[0], f"{says} ({scheme})")

    def decided(self, directive: Directive, text: str) -> None:
        shown = re.sub(r"//[^/@]*@", "//", text[:100])
        why = f"{_SAYS.get(directive.name, directive.name)} {shown} is decided for each request"
        self.reader.note(directive.place.path, why, directive.place.line)

    def fastcgi(self, directive: Directive) -> Iterator[Need]:
        """`FastCgiExternalServer file -host HOST:PORT | -socket PATH` (mod_fastcgi)."""
        told = dict(zip(directive.args, directive.args[1:], strict=False))
        if (socket := told.get("-socket", "")).startswith("/"):
            yield self.need(directive, f"unix:{run_path(socket)}", "", "FastCgiExternalServer: a unix socket")
        elif (parts := split_host_port(told.get("-host", ""))) and parts[1]:
            yield self.need(directive, over_tcp(parts[0], parts[1]), parts[0], "FastCgiExternalServer")

    def database(self, directive: Directive, driver: str) -> Iterator[Need]:
        """`DBDParams "host=db port=5432 user=… password=…"`; only host and port are taken from it (mod_dbd)."""
        text = " ".join(directive.args)
        host, port = (re.search(rf"\b{name}\s*=\s*'?([^\s,;']+)", text) for name in ("host", "port"))
        default = {"pgsql": 5432, "mysql": 3306}.get(driver)
        number = port_number(port[1]) if port else default
        parts = split_host_port(host[1], number) if host else None
        if parts and parts[1]:
            yield self.need(directive, over_tcp(parts[0], parts[1]), parts[0], f"DBDParams ({driver or 'mod_dbd'})")

    def cache(self, directive: Directive) -> Iterator[Need]:
        """`redis:HOST:PORT[,…]`, `memcache:HOST:PORT[,…]` (mod_socache_redis, mod_socache_memcache)."""
        match = re.match(r"(redis|memcache):(.+)", directive.args[0]) if directive.args else None
        for server in match[2].split(",") if match else ():
            parts = split_host_port(server.strip(), 6379 if match and match[1] == "redis" else 11211)
            if parts and parts[1]:
                yield self.need(directive, over_tcp(parts[0], parts[1]), parts[0], directive.name)

    def workers(self, directive: Directive) -> Iterator[Need]:
        """Yield mod_jk's workers: `worker.NAME.host`, `.port` (tomcat.apache.org/connectors-doc)."""
        path = absolute(directive.args[0], directive.root) if directive.args else ""
        if path in self._workers:
            return
        self._workers.add(path)
        found: dict[str, dict[str, tuple[str, int]]] = {}
        for number, line in meaningful(self.reader.optional(path, 1 << 20) or ""):
            if match := re.fullmatch(r"worker\.([\w.-]+)\.(host|port|type)\s*=\s*(\S+)", line):
                found.setdefault(match[1], {})[match[2]] = (match[3], number)
        for name in sorted(found):
            worker = found[name]
            if worker.get("type", ("ajp13", 0))[0] not in ("ajp13", "ajp14"):
                continue
            host, line_number = worker.get("host", ("localhost", next(iter(worker.values()))[1]))
            parts = split_host_port(host, port_number(worker.get("port", ("8009", 0))[0]))
            if parts and parts[1]:
                says = f"mod_jk's worker {name}"
                over = over_tcp(parts[0], parts[1])
                yield Need(
                    seen_in=Place(path, line_number), service=self.ident, over=over, detail=says, host_text=parts[0]
                )


_SAYS = {"proxypass": "ProxyPass", "proxypassmatch": "ProxyPassMatch", "balancermember": "BalancerMember",
         "rewriterule": "RewriteRule [P]", "sethandler": "SetHandler", "addhandler": "AddHandler",
         "authldapurl": "AuthLDAPURL", "proxyremote": "ProxyRemote", "proxyremotematch": "ProxyRemoteMatch",
         "oidcprovidermetadataurl": "OIDCProviderMetadataURL"}  # fmt: skip


def _targets(directive: Directive, around: Sequence[Directive]) -> Iterator[str]:
    """Yield the URLs a directive hands requests to; within `<Location>` the path is left out."""
    args = directive.args
    name = directive.name
    if name in ("proxypass", "proxypassmatch"):
        inside = any(section.name in ("location", "locationmatch") for section in around)
        text = args[0] if inside and args else "".join(args[1:2])
        if text != "!":
            yield text
    elif name == "balancermember":
        inside = any(section.name in ("proxy", "proxymatch") for section in around)
        text = args[0] if inside and args else "".join(args[1:2])
        if not any(re.fullmatch(r"status=\+?[A-Z]*D[A-Z]*", word, re.IGNORECASE) for word in args):
            yield text
    elif name == "rewriterule" and len(args) > 2:
        flags = [flag.strip().lower() for flag in args[2].strip("[]").split(",")]
        if "p" in flags or "proxy" in flags:
            yield args[1]
    elif name in ("sethandler", "addhandler") and args and args[0].lower().startswith("proxy:"):
        yield args[0][len("proxy:") :]
    elif name == "authldapurl" and args:
        scheme, _, rest = args[0].partition("://")
        for host in re.split(r"\s+", rest.partition("/")[0]):  # several hosts stand within the quotes
            yield f"{scheme}://{host}/"
    elif name in ("proxyremote", "proxyremotematch"):
        yield "".join(args[1:2])
    elif name == "oidcprovidermetadataurl" and args:
        yield args[0]
