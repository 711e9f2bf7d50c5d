"""The addresses of nginx's directives, as nginx.org/en/docs/http/ngx_http_core_module.html#listen writes them."""

from __future__ import annotations

import re

import msgspec

from analyzers._addresses import over_tcp, port_number, run_path, split_host_port

# Directives that hand a request on (nginx.org/en/docs), and the port where the address names none.
PASSES = {"proxy_pass": 80, "fastcgi_pass": None, "uwsgi_pass": None, "scgi_pass": None, "grpc_pass": 80,
           "memcached_pass": None}  # fmt: skip
_SCHEMES = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443, "uwsgi": None, "suwsgi": None}


class Address(msgspec.Struct, frozen=True):
    """What `listen`, `server` and `…_pass` name: a unix socket's path, or a host and a port."""

    host: str = ""
    port: int | None = None
    path: str = ""

    @property
    def over(self) -> str:
        """How `Need` names it."""
        return f"unix:{self.path}" if self.path else over_tcp(self.host, self.port or 0)


def _socket(text: str) -> str:
    path = text.removeprefix("unix:").split(":", 1)[0]  # behind a second colon stands the URI
    return run_path(path) if path.startswith("/") else ""


def parse_address(text: str, default: int | None) -> Address | None:
    """Read `host:port`, `[v6]:port` or `unix:/path`; None where it is none, or names no port and has no default."""
    if text.startswith("unix:"):
        return Address(path=path) if (path := _socket(text)) else None
    parts = split_host_port(text, default)
    return Address(parts[0], parts[1]) if parts and parts[1] is not None else None


def parse_pass(directive: str, text: str) -> tuple[str, int | None]:
    """Return the address part of a `…_pass` argument and its default port.

    >>> parse_pass("proxy_pass", "https://orders/v1/")
    ('orders', 443)
    """
    default = PASSES[directive]
    if match := re.match(r"(\w+)://(.*)", text):
        default = _SCHEMES.get(match[1], default)
        text = match[2]
    if text.startswith("unix:"):
        return "unix:" + text.removeprefix("unix:").split(":", 1)[0], default
    return re.split(r"[/?]", text, maxsplit=1)[0], default


def parse_listen(text: str, default: int = 80) -> list[Address]:
    """Read the first argument of `listen`: one address for each port of a range; none where it is not understood.

    `host` is `*` for every address; IPv6 has no brackets.
    """
    if text.startswith("unix:"):
        return [Address(path=path)] if (path := _socket(text)) else []
    if match := re.fullmatch(r"(?:(\*|\[[^\]]*\]|[^:\[\]]+):)?([0-9]+)(?:-([0-9]+))?", text):
        host, first, last = match[1] or "*", match[2], match[3] or match[2]
    else:  # an address alone
        host, first, last = text, str(default), str(default)
    low, high = port_number(first), port_number(last)
    if host != "*" and split_host_port(host, default) is None:
        return []
    if low is None or high is None or not low <= high <= low + 1000:
        return []
    return [Address(host.strip("[]"), port) for port in range(low, high + 1)]
