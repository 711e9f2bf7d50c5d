"""What options of a Java machine say (java(1), catalina.sh): sizes, properties, ports; and addresses in JDBC URLs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import is_every, is_host, over_tcp, port_number, split_host_port
from analyzers._endpoints import url_endpoints
from analyzers._reading import numbered
from migrate.model import Place

_LONGEST = 4096
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_PORTS = {"1521": ("oracle",), "1433": ("sqlserver", "jtds", "sybase"), "50000": ("db2",), "3050": ("firebirdsql",)}
_ORACLE = re.compile(r"oracle:\w+:[^@]{0,200}@(?://)?(\[[^\]]*\]|[\w.-]+)(?::(\d{1,5}))?")
_ORACLE_LONG = re.compile(r"\(\s*HOST\s*=\s*([\w.-]+)\s*\)\s*\(\s*PORT\s*=\s*(\d{1,5})\s*\)", re.IGNORECASE)
_SEMICOLON = re.compile(r"(sqlserver|jtds:\w+|db2|firebirdsql|sybase:Tds)(?::)(?://)?([^;/?\s]*)")
_SERVER_NAME = re.compile(r";\s*serverName\s*=\s*([^;\s]+)", re.IGNORECASE)


class Option(msgspec.Struct, frozen=True):
    """One word for the Java machine, and the line it stands in."""

    text: str
    place: Place


def words(text: str) -> list[str]:
    """Split options as a shell does; at spaces where its quotes do not close."""
    try:
        return shlex.split(text[:_LONGEST])
    except ValueError:
        return text[:_LONGEST].split()


def shell_options(text: str, path: str, names: Sequence[str], known: dict[str, list[Option]]) -> None:
    """Add what a sourced file gives to variables of options; one that does not repeat its own value begins anew."""
    open_name, open_line, value = "", 0, ""
    for number, line in numbered(text):
        if open_name:
            value += " " + line.strip().removesuffix("\\")
        elif match := _ASSIGNMENT.match(line):
            if match[1] not in names or len(line) > _LONGEST:
                continue
            open_name, open_line, value = match[1], number, match[2].rstrip().removesuffix("\\")
        else:
            continue
        if len(value) < _LONGEST and (value.count('"') % 2 or value.count("'") % 2 or line.endswith("\\")):
            continue
        _assign(open_name, value, Place(path, open_line), known)
        open_name = ""


def _assign(name: str, value: str, place: Place, known: dict[str, list[Option]]) -> None:
    bare = " ".join(words(value))
    before = list(known.get(name, ()))
    kept = before if re.search(rf"\$\{{?{name}\b", bare) else []
    rest = re.sub(rf"\$\{{?{name}\b[^}}\s]*\}}?", " ", bare)
    known[name] = (kept + [Option(word, place) for word in rest.split()])[-500:]


def heap(options: Sequence[Option]) -> Option | None:
    """Return the option that bounds the heap: the last `-Xmx` (or its long form), else a share of the memory."""
    for pattern in (r"-Xmx\d+[kKmMgGtT]?|-XX:MaxHeapSize=\S+", r"-XX:MaxRAMPercentage=\S+"):
        found = [option for option in options if re.fullmatch(pattern, option.text)]
        if found:
            return found[-1]
    return None


def properties(options: Sequence[Option]) -> dict[str, str]:
    """Return the system properties that `-Dname=value` sets; the last one counts."""
    pairs = (option.text[2:].partition("=") for option in options if option.text.startswith("-D"))
    return {name: value for name, _, value in pairs}


def option_listens(options: Sequence[Option]) -> Iterator[tuple[str, int, Place]]:
    """Yield (address, port, place) of JMX and of a debugger (jdwp: without an address, loopback since Java 9)."""
    values = properties(options)
    for option in options:
        name, _, value = option.text.partition("=")
        if name in ("-Dcom.sun.management.jmxremote.port", "-Dcom.sun.management.jmxremote.rmi.port"):
            if port := port_number(value):
                yield values.get("com.sun.management.jmxremote.host", "*"), port, option.place
        elif name.startswith(("-agentlib:jdwp", "-Xrunjdwp:")) and re.search(r"\bserver=y\b", option.text):
            match = re.search(r"\baddress=(?:([^,:\s]*|\[[^\]]*\]):)?(\d{1,5})\b", option.text)
            if match and (port := port_number(match[2])):
                yield match[1] or "127.0.0.1", port, option.place


def jdbc_endpoints(url: str) -> list[tuple[str, str]]:
    """Return (over, host as written) for the servers a JDBC URL names, in the forms of its drivers.

    >>> jdbc_endpoints("jdbc:sqlserver://db\\\\main:1444;databaseName=x"), jdbc_endpoints("jdbc:oracle:thin:@db:1521:X")
    ([('tcp:db:1444', 'db')], [('tcp:db:1521', 'db')])
    """
    found: list[tuple[str, str]] = []
    bare = url[:_LONGEST].removeprefix("jdbc:")
    pairs: list[tuple[str, str]] = [(match[1], match[2]) for match in _ORACLE_LONG.finditer(bare)]
    if not pairs and (match := _ORACLE.match(bare)):
        pairs = [(match[1], match[2] or "1521")]
    elif not pairs and (match := _SEMICOLON.match(bare)):
        kind = match[1].split(":")[0]
        default = next((int(port) for port, kinds in _PORTS.items() if kind in kinds), None)
        text = re.sub(r"\\[^:]*", "", match[2])  # the instance behind the host
        named = _SERVER_NAME.search(bare)
        parts = split_host_port(named[1] if named and not text.split(":")[0] else text, default)
        pairs = [(parts[0], str(parts[1]))] if parts and parts[1] else []
    for host, text in pairs:
        port = port_number(text)
        if port and is_host(host) and not is_every(host):
            found.append((over_tcp(host, port), host))
    if found:
        return list(dict.fromkeys(found))
    plain = re.sub(r"^(mysql|mariadb|postgresql):(?:replication|loadbalance|aurora|failover|sequential):", r"\1:", bare)
    return list(dict.fromkeys((over, host) for over, host, _scheme in url_endpoints(plain)))


def secret_free(url: str) -> str:
    """Return the first words of a URL that name its kind alone (`jdbc:postgresql`), never a user or a password."""
    match = re.match(r"(?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]{0,30}(?=:)", url)
    return match[0] if match else "a URL"
