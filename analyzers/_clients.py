"""Where client programs connect to by their options: psql, mysql, redis-cli and their like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from analyzers._addresses import is_host, over_tcp, port_number, run_path
from analyzers._script import Simple


class Client(msgspec.Struct, frozen=True):
    """A client: the options for host, port and socket, its own default port, and where it goes without a host.

    `default` is `tcp:HOST:PORT` or `unix:PATH`; `host_variable` and `port_variable` stand in for the options.
    """

    port: int
    default: str
    hosts: tuple[str, ...] = ("-h", "--host")
    ports: tuple[str, ...] = ("-p", "--port")
    sockets: tuple[str, ...] = ()
    host_variable: str = ""
    port_variable: str = ""
    folder: bool = False


_POSTGRES = Client(  # libpq 34.1.2; Debian's libpq looks for the socket in /var/run/postgresql
    5432, "unix:/run/postgresql/.s.PGSQL.5432", host_variable="PGHOST", port_variable="PGPORT", folder=True
)
_MYSQL = Client(  # mysql(1): without a host, or with `localhost`, the socket
    3306, "unix:/run/mysqld/mysqld.sock", ports=("-P", "--port"), sockets=("-S", "--socket"), host_variable="MYSQL_HOST"
)
_REDIS = Client(6379, "tcp:127.0.0.1:6379", hosts=("-h",), ports=("-p",), sockets=("-s",))
_MONGO = Client(27017, "tcp:localhost:27017")

_POSTGRES_NAMES = """psql pg_dump pg_dumpall pg_restore pg_isready pg_basebackup pgbench
    createdb dropdb createuser dropuser vacuumdb reindexdb clusterdb"""
_MYSQL_NAMES = "mysql mysqldump mysqladmin mysqlcheck mysqlimport mariadb mariadb-dump mariadb-admin"

CLIENTS: Mapping[str, Client] = {
    **dict.fromkeys(_POSTGRES_NAMES.split(), _POSTGRES),
    **dict.fromkeys(_MYSQL_NAMES.split(), _MYSQL),
    **dict.fromkeys(("redis-cli", "valkey-cli"), _REDIS),
    **dict.fromkeys(("mongo", "mongosh", "mongodump", "mongorestore"), _MONGO),
}


def _option(words: Sequence[str], names: Sequence[str]) -> str:
    for at, word in enumerate(words):
        for name in names:
            if word == name and at + 1 < len(words):
                return words[at + 1]
            if name.startswith("--") and word.startswith(name + "="):
                return word[len(name) + 1 :]
            if not name.startswith("--") and word.startswith(name) and len(word) > 2 and not word.startswith("--"):
                return word[2:]
    return ""


def client_endpoints(name: str, command: Simple, variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (over, host as written) for a client's command; nothing where a word of it is not known.

    A word that only a run could tell may be a whole connection string, so no default is claimed beside it.
    """
    client = CLIENTS.get(name)
    words = [word.text for word in command.words[1:]]
    if client is None or any("://" in word or ("host=" in word and word[:1] != "-") for word in words):
        return []
    assigned = {key: value.text for key, value in command.assignments}
    environment = {**variables, **assigned}
    if socket := _option(words, client.sockets):
        return [(f"unix:{run_path(socket)}", "")] if socket.startswith("/") else []
    given = _option(words, client.hosts)
    host = given or environment.get(client.host_variable, "")
    port = port_number(_option(words, client.ports) or environment.get(client.port_variable, "")) or client.port
    if client.folder and host.startswith("/"):
        return [(f"unix:{run_path(host.rstrip('/'))}/.s.PGSQL.{port}", "")]
    if host and is_host(host) and not (client is _MYSQL and host == "localhost"):
        return [(over_tcp(host, port), given)]
    if (host and host != "localhost") or not all(word.whole for word in command.words):
        return []
    default = client.default
    if port != client.port:
        default = default.replace(str(client.port), str(port))
    return [(default, "")]
