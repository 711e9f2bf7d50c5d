"""Lookup tables of Postfix: the files they are, and the servers they ask (DATABASE_README)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._addresses import over_tcp, port_number, run_path, split_host_port
from analyzers._reading import Reader, meaningful

# Indexed files are made from a text of the same name by postmap(1) with this suffix.
INDEXED = {"hash": ".db", "btree": ".db", "dbm": ".pag", "sdbm": ".pag", "lmdb": ".lmdb", "cdb": ".cdb"}
TEXT = ("texthash", "cidr", "pcre", "regexp")
SERVERS = {"mysql": 3306, "pgsql": 5432, "ldap": 389, "memcache": 11211, "mongodb": 27017}
_TABLE = re.compile(
    r"(?<![\w/])(hash|btree|s?dbm|lmdb|cdb|texthash|cidr|pcre|regexp|mysql|pgsql|ldap|memcache|mongodb|sqlite):(/[^\s,{}]+)"
)
_ASKED = re.compile(
    r"(?<![\w/])(?:(tcp):([^\s,:{}]+:\d{1,5})|socketmap:(?:inet:([^\s,:{}]+:\d{1,5})|unix:(/[^\s,:{}]+)):)"
)


class Table(msgspec.Struct, frozen=True):
    """A table: its type and the path behind it."""

    type: str
    path: str


class Peer(msgspec.Struct, frozen=True):
    """What a table asks: `over` as in `Need`, the host's text, and the line where a file says it."""

    over: str
    host: str
    line: int | None = None


def tables(value: str) -> list[Table]:
    """Return the tables that a parameter's value names; `proxy:` before one changes only who opens it.

    >>> tables("proxy:mysql:/etc/postfix/my.cf, hash:/etc/aliases")
    [Table(type='mysql', path='/etc/postfix/my.cf'), Table(type='hash', path='/etc/aliases')]
    """
    return [Table(match[1], match[2]) for match in _TABLE.finditer(value)]


def asked(value: str) -> Iterator[Peer]:
    """Yield the servers that a value itself names: tcp_table(5), socketmap_table(5)."""
    for match in _ASKED.finditer(value):
        if match[4]:
            yield Peer(f"unix:{run_path(match[4])}", "")
        elif (peer := split_host_port(match[2] or match[3])) and peer[1]:
            yield Peer(over_tcp(peer[0], peer[1]), peer[0])


def peers(reader: Reader, table: Table) -> Iterator[Peer]:
    """Yield what the configuration file of a table connects to (mysql_table(5), pgsql_table(5), ldap_table(5))."""
    settings: dict[str, tuple[str, int]] = {}
    for number, line in meaningful(reader.optional(table.path) or ""):
        name, equals, value = line.partition("=")
        if equals:
            settings[name.strip()] = (value.strip(), number)
    default = SERVERS[table.type]
    if table.type == "ldap":
        default = port_number(settings.get("server_port", ("389", 0))[0]) or 389
    key = {"ldap": "server_host", "memcache": "memcache", "mongodb": "uri"}.get(table.type, "hosts")
    value, number = settings.get(key, ("localhost", 0))
    for word in re.split(r"[\s,]+", value):
        if peer := _peer(word, default):
            yield Peer(peer[0], peer[1], number or None)


def _peer(word: str, default: int) -> tuple[str, str] | None:
    match = re.match(r"(\w+)://(?:[^@/]*@)?([^/?]*)", word)
    if match is None and word.startswith("unix:"):
        return f"unix:{run_path(word.removeprefix('unix:'))}", ""
    port = 636 if match and match[1] == "ldaps" else default
    parts = split_host_port(match[2] if match else word.removeprefix("inet:"), port)
    return (over_tcp(parts[0], parts[1] or port), parts[0]) if parts and parts[0] else None
