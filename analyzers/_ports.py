"""Ports and sockets that a service's own environment and options say it listens on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import port_number, run_path, split_host_port

# Names that are used for a server's own address alone; `DB_PORT` and `SMTP_PORT` are other people's.
_VARIABLE = re.compile(
    r"((APP|HTTP|HTTPS|SERVER|WEB|API|LISTEN|BIND|NODE|METRICS|ADMIN)_)?PORT"
    r"|((\w+_)?(LISTEN|BIND)(_?(ADDR|ADDRESS|HOST|ON))?)|SERVER_ADDR(ESS)?"
)
_OPTION = re.compile(
    r"--?((http|https|web|api|server|listen|bind|metrics|admin|tls|grpc)[-.]?)?"
    r"(port|listen|bind|listen-addr(ess)?|bind-addr(ess)?|addr|address)"
)


class Port(msgspec.Struct, frozen=True):
    """Where something listens: `text` is how it is written."""

    address: str
    port: int | None
    path: str
    text: str


def parse_port(text: str) -> Port | None:
    """Read `3000`, `:3000`, `0.0.0.0:3000`, `tcp://…:3000`, `unix:/run/x`; None for an address with no port."""
    bare = re.sub(r"^(tcp|http|https)://", "", text.strip())
    path = re.sub(r"^unix:(//)?", "", bare)
    if path.startswith("/") and (path != bare or path.endswith((".sock", ".socket"))):
        return Port("*", None, run_path(path), text)
    if number := port_number(bare.removeprefix("*").removeprefix(":")):
        return Port("*", number, "", text)
    parts = split_host_port(bare)
    return Port(parts[0].strip("[]"), parts[1], "", text) if parts and parts[1] else None


def variable_port(name: str, value: str) -> Port | None:
    """Return where a service listens by one of its variables, or None."""
    return parse_port(value) if _VARIABLE.fullmatch(name.upper()) else None


def option_ports(words: Sequence[str]) -> Iterator[Port]:
    """Yield where a service listens by options as most programs name them: `--port 3000`, `--listen=:80`."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if _OPTION.fullmatch(name):
            found = parse_port(value if equals else words[at + 1] if at + 1 < len(words) else "")
            if found is not None:
                yield found
