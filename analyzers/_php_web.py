"""Which folders a web server has PHP run from, and through which socket: nginx's fastcgi_pass, Apache's handlers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import run_path
from analyzers._nginx_conf import Directive, Loader, each
from analyzers._php_fpm import parse_address
from analyzers._reading import Reader, absolute, meaningful, unquote
from migrate.model import Place

_APACHE = ("/etc/apache2/apache2.conf", "/etc/apache2/sites-enabled/*", "/etc/apache2/conf-enabled/*.conf",
           "/etc/apache2/vhosts.d/*.conf", "/etc/apache2/conf.d/*.conf", "/etc/httpd/conf/httpd.conf",
           "/etc/httpd/conf.d/*.conf")  # fmt: skip
_MODULES = ("/etc/apache2/mods-enabled/*.load", "/etc/httpd/conf.modules.d/*.conf", "/etc/apache2/conf.d/*.conf")
_MAX_FILES = 2000
# mod_proxy_fcgi: `SetHandler "proxy:unix:/path|fcgi://name/"`, `ProxyPassMatch RE fcgi://HOST:PORT/path`
_HANDLER = re.compile(r"(?:proxy:)?(?:unix:([^|\s\"]{1,255})\|)?fcgi://([^/\s\"]*)")


class Served(msgspec.Struct, frozen=True):
    """A folder whose PHP files a web server hands to `listen` (a path or HOST:PORT; nothing: the server runs them)."""

    root: str
    listen: str
    place: Place
    server: str


def nginx(reader: Reader, main: str = "/etc/nginx/nginx.conf") -> Iterator[Served]:
    """Yield the roots that are in force where nginx passes requests on (ngx_http_fastcgi_module)."""
    if not reader.guest.is_file(main):
        return
    tree = Loader(reader, main).load(main)
    upstreams = {block.args[0]: block for block, _ in each(tree, "upstream") if block.args}
    for directive, around in each(tree, "fastcgi_pass"):
        root = _root(around)
        for text in _targets(directive, upstreams) if root else ():
            if (listen := _listen(text)) and "$" not in root:
                yield Served(absolute(root, "/usr/share/nginx"), listen, directive.place, "nginx")


def _root(around: Sequence[Directive]) -> str:
    """Return the root of the innermost block that has one."""
    for block in reversed(around):
        for directive in block.block:
            if directive.name == "root" and directive.args:
                return directive.args[0]
    return ""


def _targets(directive: Directive, upstreams: dict[str, Directive]) -> Iterator[str]:
    if not directive.args:
        return
    upstream = upstreams.get(directive.args[0])
    if upstream is None:
        yield directive.args[0]
        return
    yield from (server.args[0] for server in upstream.block if server.name == "server" and server.args)


def _listen(text: str) -> str:
    if text.startswith("unix:"):
        return run_path(text.removeprefix("unix:"))
    address = parse_address(text)
    return f"{'127.0.0.1' if address[0] in ('*', 'localhost') else address[0]}:{address[1]}" if address else ""


def apache(reader: Reader) -> Iterator[Served]:
    """Yield Apache's document roots with the handler for PHP of their virtual host, or else of the server."""
    guest = reader.guest
    paths = [path for pattern in _APACHE for path in guest.glob(pattern) if guest.is_file(path)][:_MAX_FILES]
    roots: list[tuple[str, str, Place]] = []
    handlers: list[str] = []
    for path in paths:
        for root, listen, place in parse_apache(reader.text(path, 1 << 20) or "", path):
            if root:
                roots.append((root, listen, place))
            elif listen:
                handlers.append(listen)
    own = _runs_php(reader)
    for root, listen, place in roots:
        for each_listen in [listen] if listen else handlers[:1]:
            yield Served(root, each_listen, place, "apache2")
        if not listen and not handlers and own:
            yield Served(root, "", place, "apache2")


def parse_apache(text: str, path: str) -> Iterator[tuple[str, str, Place]]:
    """Yield (document root, handler, place); a handler outside of virtual hosts comes with no root."""
    inner, root, listen = False, ("", Place(path)), ""
    for number, line in meaningful(text):
        word, _, rest = line.partition(" ")
        low = word.lower()
        if low == "<virtualhost":
            inner, root, listen = True, ("", Place(path)), ""
        elif low.startswith("</virtualhost"):
            if root[0]:
                yield root[0], listen, root[1]
            inner, listen = False, ""
        elif low == "documentroot":
            root = (absolute(unquote(rest.strip()), "/"), Place(path, number))
            if not inner:
                yield root[0], "", root[1]
        elif low in ("sethandler", "proxypassmatch", "proxypass") and (match := _HANDLER.search(rest)):
            listen = run_path(match[1]) if match[1] else _listen(match[2])
            if not inner and listen:
                yield "", listen, Place(path, number)


def _runs_php(reader: Reader) -> bool:
    """Tell whether Apache loads PHP's own module."""
    paths = [path for pattern in _MODULES for path in reader.guest.glob(pattern) if reader.guest.is_file(path)]
    wanted = re.compile(r"LoadModule\s+php\d*_module\s", re.IGNORECASE)
    return any(
        wanted.match(line)
        for path in paths[:_MAX_FILES]
        for _, line in meaningful(reader.optional(path, 1 << 18) or "")
    )
