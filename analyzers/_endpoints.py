"""Finding the addresses of other systems in text: URLs, DSNs, host and port pairs (RFC 3986, libpq 34.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from analyzers._addresses import DEFAULT_PORTS, is_every, is_host, over_tcp, port_number, run_path, split_host_port
from analyzers._reading import numbered

_LONGEST = 4096  # a longer line is data, not settings
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,40})://([^\s'\"<>`]*)")
_LIBPQ = re.compile(r"\bhost(?:addr)?\s*=\s*'?([^\s';]+)'?")
_LIBPQ_PORT = re.compile(r"\bport\s*=\s*'?([0-9]{1,5})\b")
# `key = value`, `key: value`, `"key": "value"`, `KEY=value`; what stands behind the value is not looked at.
_PAIR = re.compile(
    r"""^(?P<indent>\s*)(?:-\s+)?(?:export\s+)?(?P<key>["']?[A-Za-z_][\w.\[\]-]*["']?)\s*(?:=>|[:=])\s*(?P<value>.*?)\s*,?\s*$"""
)
# A host and its port in one line: `{"host": "db", "port": 5432}`, in JSON, YAML's flow style, or a source.
_FLOW = re.compile(
    r"""(?P<key>[\w.-]*)["']?\s*[:=]\s*\{[^{}]*?\b(?P<name>host|hostname|server)["']?\s*[:=]\s*["']?(?P<host>[\w.\[\]:-]+)["']?"""
    r"""[^{}]*?\bport["']?\s*[:=]\s*["']?(?P<port>\d{1,5})"""
)
_HOST_KEY = re.compile(r"(?P<prefix>.*?)[._-]?(?:host|hostname|server|addr|address|endpoint|broker)s?$", re.IGNORECASE)
_OWN_KEY = re.compile(r"listen|bind|(^|[._-])(?:pid|log|allow|deny|trusted|proxy_headers)", re.IGNORECASE)
_NOT_FOLLOWED = frozenset(
    {"file", "sqlite", "data", "about", "javascript", "urn", "chrome", "jar", "classpath", "git+file"}
)
_SCHEMA_HOSTS = re.compile(
    r"(www\.)?(w3\.org|xmlsoap\.org|json-schema\.org|apple\.com|oasis-open\.org|example\.(com|org|net))$"
)

# What a key's name says of the protocol where no port stands beside it.
_HINTS = (
    ("postgres", 5432), ("pgsql", 5432), ("pg", 5432), ("mysql", 3306), ("mariadb", 3306), ("redis", 6379),
    ("valkey", 6379), ("rabbit", 5672), ("amqp", 5672), ("mongo", 27017), ("smtp", 25), ("mail", 25),
    ("memcache", 11211), ("ldap", 389), ("elastic", 9200), ("kafka", 9092), ("etcd", 2379),
)  # fmt: skip


class Endpoint(msgspec.Struct, frozen=True):
    """An address in a text: `over` as `Need` names it, the host as it is written, what names it (no secret in it)."""

    line: int
    over: str
    host: str
    says: str


def url_endpoints(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (over, host as written, scheme) for the URLs in a text; those that name no host are passed over.

    >>> list(url_endpoints("postgresql+psycopg2://me:pw@db.corp:5433,db2.corp/x"))
    [('tcp:db.corp:5433', 'db.corp', 'postgresql'), ('tcp:db2.corp:5432', 'db2.corp', 'postgresql')]
    """
    for match in _URL.finditer(text):
        scheme = match[1].lower()
        base = scheme.split("+")[0]
        if base in _NOT_FOLLOWED or scheme in _NOT_FOLLOWED:
            continue
        authority, _, rest = re.split(r"([/?#])", match[2] + "/", maxsplit=1)
        hosts = authority.rpartition("@")[2]
        if "unix" in scheme or "socket" in scheme:
            path = unquote(hosts) or "/" + rest.split("?")[0].rstrip("/")
            if path.startswith("/") and len(path) > 1:
                yield f"unix:{run_path(path)}", "", scheme
            continue
        asked = re.search(r"[?&]host=(%2F|/)([^&\s]*)", match[2], re.IGNORECASE)
        if not hosts and asked:  # postgresql:///db?host=/run/postgresql
            yield f"unix:{run_path('/' + unquote(asked[2]))}/.s.PGSQL.5432", "", base
            continue
        default = DEFAULT_PORTS.get(scheme) or DEFAULT_PORTS.get(base)
        for part in hosts.split(","):
            parsed = split_host_port(part, default)
            if parsed and parsed[1] and not is_every(parsed[0]) and not _SCHEMA_HOSTS.search(parsed[0]):
                yield over_tcp(parsed[0], parsed[1]), parsed[0], base


def hinted_port(name: str, others: Mapping[str, str]) -> int | None:
    """Return the port that a key's name, or an engine named beside it, stands for."""
    words = [
        name,
        *(
            value
            for key, value in others.items()
            if re.search(r"engine|driver|connection|type|adapter|dialect", key, re.IGNORECASE)
        ),
    ]
    for word in words:
        for hint, port in _HINTS:
            if re.search(rf"(^|[^a-z]){hint}" if hint == "pg" else hint, word.lower()):
                return port
    return None


class Pair(msgspec.Struct, frozen=True):
    """A line that gives a key a value."""

    line: int
    indent: int
    key: str
    value: str


def pairs(text: str) -> list[Pair]:
    """Return the lines of env, ini, yaml, toml, json and properties files that give a key a value; no comments."""
    found = []
    for number, line in numbered(text):
        if len(line) > _LONGEST or re.match(r"\s*(#|;|//|/?\*|--|<!--)", line):
            continue
        match = _PAIR.match(line)
        if match:
            value = re.split(r"\s+[#;]\s", match["value"], maxsplit=1)[0].strip().rstrip(";").strip("'\"")
            found.append(Pair(number, len(match["indent"]), match["key"].strip("'\""), value))
        elif re.match(r"\s*\[", line):
            found.append(Pair(number, -1, "", ""))  # a section begins
    return found


def _near(all_pairs: Sequence[Pair], at: int) -> dict[str, str]:
    """Return the keys beside one: same depth, same section, at most twenty lines away."""
    pair = all_pairs[at]
    found: dict[str, str] = {}
    for step in (-1, 1):
        index = at + step
        while 0 <= index < len(all_pairs) and abs(index - at) <= 20:
            other = all_pairs[index]
            if other.indent < pair.indent:
                break
            if other.indent == pair.indent:
                found.setdefault(other.key.lower(), other.value)
            index += step
    return found


def pair_endpoints(text: str) -> Iterator[Endpoint]:
    """Yield the addresses that keys give: a host with a port beside it or in it, or one its name tells."""
    found = pairs(text)
    for at, pair in enumerate(found):
        if not pair.key or "://" in pair.value or _OWN_KEY.search(pair.key):
            continue
        match = _HOST_KEY.match(pair.key)
        if match is None or not pair.value or is_every(pair.value):
            continue
        beside = _near(found, at)
        prefix = match["prefix"].lower()
        named = next(
            (beside[key] for key in (f"{prefix}{dash}port" for dash in ("_", "-", ".", "")) if key in beside), ""
        )
        port = port_number(named) or hinted_port(pair.key, beside)
        if pair.value.startswith("/"):
            if port == 5432 or "pg" in prefix:
                yield Endpoint(
                    pair.line, f"unix:{run_path(pair.value.rstrip('/'))}/.s.PGSQL.{port or 5432}", "", pair.key
                )
            continue
        for part in pair.value.split(","):
            parsed = split_host_port(part.strip(), port)
            if parsed and parsed[1] and not is_every(parsed[0]) and not parsed[0].isdigit():
                yield Endpoint(pair.line, over_tcp(parsed[0], parsed[1]), parsed[0], pair.key)


def text_endpoints(text: str) -> list[Endpoint]:
    """Return all addresses in a configuration file's text, in the order of lines, each line's once."""
    found: dict[tuple[int, str], Endpoint] = {}
    for number, line in numbered(text):
        if (
            len(line) > _LONGEST
            or re.match(r"\s*(#|;|//|/?\*|--|<!--)", line)
            or "xmlns" in line
            or "<!DOCTYPE" in line
        ):
            continue
        key = _PAIR.match(line)
        name = key["key"].strip("'\"") if key else ""
        if _OWN_KEY.search(name):
            continue
        for over, host, scheme in url_endpoints(line):
            found.setdefault((number, over), Endpoint(number, over, host, f"{name} ({scheme})" if name else scheme))
        for endpoint in flow_endpoints(line, number):
            found.setdefault((number, endpoint.over), endpoint)
        for endpoint in libpq_endpoints(line, number, name):
            found.setdefault((number, endpoint.over), endpoint)
    for endpoint in pair_endpoints(text):
        found.setdefault((endpoint.line, endpoint.over), endpoint)
    return [found[place] for place in sorted(found)]


def flow_endpoints(line: str, number: int) -> Iterator[Endpoint]:
    """Yield the servers that stand with host and port between two braces."""
    for match in _FLOW.finditer(line) if "{" in line else ():
        host, port = match["host"], port_number(match["port"])
        if port and is_host(host) and not is_every(host) and not _OWN_KEY.search(match["key"]):
            yield Endpoint(number, over_tcp(host, port), host, match["key"] or match["name"])


def libpq_endpoints(line: str, number: int, name: str) -> Iterator[Endpoint]:
    """Yield the server of a libpq connection string: `host=db port=5432 dbname=orders`."""
    if "dbname" not in line and "user=" not in line:
        return
    match = _LIBPQ.search(line)
    if match is None or "://" in line:
        return
    port_match = _LIBPQ_PORT.search(line)
    port = port_number(port_match[1]) if port_match else 5432
    host = match[1]
    if host.startswith("/"):
        yield Endpoint(number, f"unix:{run_path(host.rstrip('/'))}/.s.PGSQL.{port}", "", name or "connection string")
    elif is_host(host) and port:
        yield Endpoint(number, over_tcp(host, port), host, name or "connection string")
