"""mongod.conf: YAML since MongoDB 2.6, `name = value` before (MongoDB manual, "Configuration File Options")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
import yaml

from analyzers._reading import meaningful, unquote
from migrate.model import Place

MAX_CONF = 128 << 10  # bytes; reading YAML takes a second for each megabyte or more
_MAX_DEPTH = 8
_MAX_SETTINGS = 2000
# The names that the old form and the command line have for the settings that are asked for.
_OLD = {
    "port": "net.port", "bind_ip": "net.bindIp", "bind_ip_all": "net.bindIpAll", "dbpath": "storage.dbPath",
    "nounixsocket": "net.unixDomainSocket.disabled", "unixSocketPrefix": "net.unixDomainSocket.pathPrefix",
    "logpath": "systemLog.path", "syslog": "systemLog.syslog", "fork": "processManagement.fork",
    "pidfilepath": "processManagement.pidFilePath", "keyFile": "security.keyFile", "auth": "security.auth",
    "replSet": "replication.replSetName", "configdb": "sharding.configDB", "shardsvr": "sharding.shardsvr",
    "configsvr": "sharding.configsvr", "tlsCertificateKeyFile": "net.tls.certificateKeyFile",
    "tlsCAFile": "net.tls.CAFile", "sslPEMKeyFile": "net.ssl.PEMKeyFile", "sslCAFile": "net.ssl.CAFile",
    "storageEngine": "storage.engine", "wiredTigerCacheSizeGB": "storage.wiredTiger.engineConfig.cacheSizeGB",
}  # fmt: skip
_SHORT = {"-f": "config"}
_FLAGS = frozenset({"fork", "nounixsocket", "auth", "bind_ip_all", "syslog", "shardsvr", "configsvr", "logappend",
                    "journal", "nojournal", "quiet", "smallfiles", "directoryperdb", "noauth", "ipv6",
                    "verbose"})  # fmt: skip


class Setting(msgspec.Struct, frozen=True):
    """A setting: its value as text, how it is written, and the place."""

    value: str
    text: str
    place: Place

    @property
    def enabled(self) -> bool:
        """Tell whether a switch is on."""
        return self.value.lower() in ("true", "yes", "on", "1", "")


def parse_yaml(text: str, path: str) -> dict[str, Setting] | None:
    """Return the settings by dotted name, or None where the text is no YAML mapping (the old form then)."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if not isinstance(root, yaml.MappingNode):
        return None
    lines = text.split("\n")
    found: dict[str, Setting] = {}
    for name, key, node in _walk(root, "", 0, [0]):
        at = key.start_mark.line
        # A value on one line can be edited there; marks count characters of the line.
        line = lines[at] if at < len(lines) else ""
        same = node.end_mark.line == at
        written = line[key.start_mark.column : node.end_mark.column] if same else ""
        found[name] = Setting(str(node.value), written, Place(path, at + 1))
    return found


def _walk(
    node: yaml.MappingNode, prefix: str, depth: int, count: list[int]
) -> Iterator[tuple[str, yaml.ScalarNode, yaml.ScalarNode]]:
    """Yield (name, key, value) of the scalars; aliases can make a small text endless, so both ways are bounded."""
    for key, value in node.value:
        count[0] += 1
        if not isinstance(key, yaml.ScalarNode) or count[0] > _MAX_SETTINGS:
            continue
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.ScalarNode):
            yield name, key, value
        elif isinstance(value, yaml.MappingNode) and depth < _MAX_DEPTH:
            yield from _walk(value, f"{name}.", depth + 1, count)


def parse_old(text: str, path: str) -> dict[str, Setting]:
    """Return the settings of the form before 2.6 under their names of today."""
    found: dict[str, Setting] = {}
    for number, line in meaningful(text):
        match = re.fullmatch(r"([\w.]+)\s*=\s*(.*)", line)
        if match is not None:
            value = unquote(match[2].split(" #", 1)[0].strip())
            found[_OLD.get(match[1], match[1])] = Setting(value, line.split(" #", 1)[0].rstrip(), Place(path, number))
    return found


def parse_conf(text: str, path: str) -> dict[str, Setting]:
    """Return the settings of a configuration file in either form, by their names of today."""
    found = parse_yaml(text, path)
    return parse_old(text, path) if found is None else found


def parse_words(words: Sequence[str], place: Place) -> dict[str, Setting]:
    """Return the settings of a command line; `config` is the file."""
    found: dict[str, Setting] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("--") and word not in _SHORT:
            continue
        key, equals, value = (_SHORT.get(word) or word[2:]).partition("=")
        if not equals and key not in _FLAGS and at < len(words):
            value, at = words[at], at + 1
        found[_OLD.get(key, key)] = Setting(value, word, place)
    return found
