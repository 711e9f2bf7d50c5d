"""Where servers for Node.js that are told their port on the command line listen, and what npm's scripts run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import msgspec

from analyzers._addresses import port_number
from analyzers._servers import options

_RUN = frozenset({"run", "run-script", "rum", "urn"})  # npm-run(1) and its aliases
_SHORT = frozenset({"start", "stop", "test", "restart"})


class Server(msgspec.Struct, frozen=True):
    """How a server is told where to listen: its options, its defaults, and whether $PORT counts."""

    ports: frozenset[str]
    hosts: frozenset[str]
    address: str
    port: int
    subcommand: str = ""
    variable: str = ""


class Bound(msgspec.Struct, frozen=True):
    """An address; `text` is the word that says it, `assumed` where none does."""

    port: int
    address: str
    text: str = ""
    assumed: bool = False


# The manuals: nextjs.org (API reference, CLI); http-party/http-server and typicode/json-server 0.17, their README.md
_SERVERS: Mapping[str, Server] = {
    "next": Server(
        frozenset({"-p", "--port"}), frozenset({"-H", "--hostname"}), "*", 3000, subcommand="start", variable="PORT"
    ),
    "http-server": Server(frozenset({"-p", "--port"}), frozenset({"-a"}), "*", 8080, variable="PORT"),
    "json-server": Server(frozenset({"-p", "--port"}), frozenset({"-H", "--host"}), "localhost", 3000),
}


def script_of(words: Sequence[str]) -> str:
    """Return the name of the script in package.json that `npm run X`, `npm start`, `yarn X` or `pnpm X` runs.

    >>> script_of(["npm", "--silent", "run", "serve"])
    'serve'
    """
    if not words or words[0].rpartition("/")[2] not in ("npm", "yarn", "pnpm", "bun"):
        return ""
    bare = [word for word in words[1:] if not word.startswith("-")]
    for at, word in enumerate(bare):
        if word in _RUN:
            return bare[at + 1] if at + 1 < len(bare) else ""
        if word in _SHORT:
            return word
    return bare[0] if bare and words[0].rpartition("/")[2] != "npm" else ""


def bound(words: Sequence[str], variables: Mapping[str, str]) -> Bound | None:
    """Return where a known server listens; None where the program is none, or what it is told is no port."""
    names = [word.rpartition("/")[2] for word in words]
    if names[:1] in (["node"], ["npx"]):
        names = names[1:]
        words = words[1:]
    server = _SERVERS.get(names[0]) if names else None
    if server is None or (server.subcommand and server.subcommand not in words):
        return None
    keys = {**dict.fromkeys(server.ports, "port"), **dict.fromkeys(server.hosts, "host")}
    told = options(words[1:], keys)
    address = told.get("host", [server.address])[-1]
    text = told.get("port", [""])[-1]
    if text:
        number = port_number(text)
        return Bound(number, address, text) if number else None
    if server.variable and (number := port_number(variables.get(server.variable, ""))):
        return Bound(number, address)
    return Bound(server.port, address, assumed=True)


def words_of(script: str) -> list[list[str]]:
    """Return the commands of a script that hold nothing a shell would expand, with NAME=VALUE in front taken off."""
    found = []
    for part in script.replace("||", "&&").split("&&"):
        try:
            words = shlex.split(part)
        except ValueError:
            continue
        while words and "=" in words[0] and not words[0].startswith("-"):
            words = words[1:]
        if words and not any("$" in word for word in words):
            found.append(words)
    return found
