"""Where Ruby's web servers listen, from their command lines and the literal lines of their configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from analyzers._addresses import port_number, run_path
from analyzers._reading import meaningful
from analyzers._servers import Bind, Start, options, parse_bind

_CALL = re.compile(r"(port|bind|listen)[ \t(]+(.+)")
# `ENV.fetch("PORT", 3000)`, `ENV.fetch("PORT") { 3000 }`, `ENV["PORT"] || 3000`
_FROM_ENVIRONMENT = re.compile(
    r"""ENV(?:\.fetch\(\s*["'](\w+)["']\s*(?:,\s*["']?(\d+)["']?\s*)?\)\s*(?:\{\s*["']?(\d+)["']?\s*\})?"""
    r"""|\[\s*["'](\w+)["']\s*\]\s*(?:\|\|\s*["']?(\d+)["']?)?)"""
)
_TEXT = re.compile(r"""(["'])([^"'#]+)\1""")


def _value(text: str, variables: Mapping[str, str]) -> str:
    """Return a literal, or what the environment or the literal behind it gives; nothing where it is computed."""
    if match := _FROM_ENVIRONMENT.match(text):
        name = match[1] or match[4]
        return variables.get(name) or match[2] or match[3] or match[5] or ""
    if match := _TEXT.match(text):
        return match[2]
    digits = re.match(r"\d+\b", text)
    return digits[0] if digits else ""


def parse_uri(text: str) -> Bind | None:
    """Read what Puma binds to: `tcp://HOST:PORT`, `ssl://HOST:PORT?key=…`, `unix:///PATH?umask=…`."""
    plain = text.split("?", 1)[0]
    if plain.startswith("unix://"):
        path = plain.removeprefix("unix://")
        return Bind(path=run_path(path), text=text) if path.startswith("/") else None
    bind = parse_bind(re.sub(r"^(tcp|ssl)://", "", plain), 0)
    return msgspec.structs.replace(bind, text=text) if bind is not None and (bind.port or bind.path) else None


def configured(text: str, variables: Mapping[str, str], names: Sequence[str]) -> list[tuple[Bind, int]]:
    """Return what a configuration file in Ruby binds to, with lines: calls of `names` at the start of a line."""
    found = []
    for number, line in meaningful(text):
        match = _CALL.match(line)
        if match is None or match[1] not in names:
            continue
        value = _value(match[2].strip(), variables)
        if match[1] == "port" or value.isdigit():
            host = _TEXT.search(match[2].partition(",")[2]) if match[1] == "port" else None
            port = port_number(value)
            bind = Bind(host=host[2] if host else "*", port=port) if port else None
        else:
            bind = parse_uri(value) if value else None
        if bind is not None:
            found.append((bind, number))
    return found


def _from_file(start: Start, paths: Sequence[str], names: Sequence[str]) -> list[Bind]:
    for path in paths:
        if (file := start.read(path)) is not None:
            return [
                msgspec.structs.replace(bind, file=file[0], line=line)
                for bind, line in configured(file[1], start.variables, names)
            ]
    return []


def puma(start: Start) -> list[Bind]:
    """github.com/puma/puma, README.md and lib/puma/dsl.rb: the command line over the configuration file."""
    told = options(start.words, {"-b": "bind", "--bind": "bind", "-p": "port", "--port": "port", "-C": "config",
                                 "--config": "config"})  # fmt: skip
    binds = [bind for text in told.get("bind", ()) if (bind := parse_uri(text))]
    binds += [Bind(host="*", port=port, text=text) for text in told.get("port", ()) if (port := port_number(text))]
    if binds or "bind" in told or "port" in told:
        return binds
    environment = start.variables.get("RAILS_ENV") or start.variables.get("RACK_ENV") or "development"
    usual = [f"config/puma/{environment}.rb", "config/puma.rb"]
    found = _from_file(start, [told["config"][-1]] if "config" in told else usual, ("port", "bind"))
    if found:
        return found
    if any(start.read(path) for path in (told.get("config") or usual)):
        return []  # it may well bind in a way that is computed
    return [Bind(host="*", port=9292, assumed=True)]


def rails(start: Start) -> list[Bind]:
    """Follow guides.rubyonrails.org/command_line.html: `rails server -p PORT -b HOST`, else Puma's file, else 3000."""
    if not {"server", "s"} & set(start.words[:1]):
        return []
    told = options(start.words, {"-p": "port", "--port": "port", "-b": "host", "--binding": "host"})
    environment = start.variables.get("RAILS_ENV") or start.variables.get("RACK_ENV") or "development"
    host = told.get("host", ["localhost" if environment == "development" else "*"])[-1]
    if "port" in told:
        port = port_number(told["port"][-1])
        return [Bind(host=host, port=port, text=told["port"][-1])] if port else []
    found = _from_file(start, [f"config/puma/{environment}.rb", "config/puma.rb"], ("port", "bind"))
    if found:
        return [bind if bind.path else msgspec.structs.replace(bind, host=host) for bind in found]
    port = port_number(start.variables.get("PORT", ""))
    return [Bind(host=host, port=port or 3000, assumed=port is None)]


def unicorn(start: Start) -> list[Bind]:
    """yhbt.net/unicorn: `-l ADDRESS`, else the configuration's `listen`, else every address, port 8080."""
    told = options(start.words, {"-l": "bind", "--listen": "bind", "-p": "port", "--port": "port", "-c": "config",
                                 "--config-file": "config"})  # fmt: skip
    binds = [bind for text in told.get("bind", ()) if (bind := parse_bind(text, 8080))]
    binds += [Bind(host="*", port=port, text=text) for text in told.get("port", ()) if (port := port_number(text))]
    if binds or "bind" in told or "port" in told:
        return binds
    if "config" in told:
        return _from_file(start, told["config"][-1:], ("listen",))
    return [Bind(host="*", port=8080, assumed=True)]


def _plain(names: Mapping[str, str], host: str, port: int) -> Callable[[Start], list[Bind]]:
    def read(start: Start) -> list[Bind]:
        told = options(start.words, names)
        if "socket" in told:
            return [Bind(path=run_path(told["socket"][-1]), text=told["socket"][-1])]
        number = port_number(told.get("port", [str(port)])[-1])
        text = told.get("port", [""])[-1]
        return [Bind(host=told.get("host", [host])[-1], port=number, text=text, assumed=not text)] if number else []

    return read


SERVERS: Mapping[str, Callable[[Start], list[Bind]]] = {
    "puma": puma,
    "rails": rails,
    "unicorn": unicorn,
    "unicorn_rails": unicorn,
    "thin": _plain({"-p": "port", "--port": "port", "-a": "host", "--address": "host", "-S": "socket",
                    "--socket": "socket"}, "*", 3000),
    "rackup": _plain({"-p": "port", "--port": "port", "-o": "host", "--host": "host"}, "localhost", 9292),
}  # fmt: skip


def server_of(words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the server's name and the words behind it: `puma …`, `bundle exec puma …`, `ruby bin/rails server`.

    >>> server_of(["/usr/bin/bundle", "exec", "--keep-file-descriptors", "puma", "-p", "80"])
    ('puma', ('-p', '80'))
    """
    names = [word.rpartition("/")[2] for word in words]
    at = 0
    if names[:1] in (["bundle"], ["bundler"]):
        at = names.index("exec") + 1 if "exec" in names else len(names)
    elif names and re.fullmatch(r"ruby[\d.]*", names[0]):
        at = 1
    while at < len(words) and words[at].startswith("-"):
        at += 1
    return (names[at], tuple(words[at + 1 :])) if at < len(names) and names[at] in SERVERS else None
