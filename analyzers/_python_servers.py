"""Where Python's web servers listen, from their command lines and configuration."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence

import msgspec

from analyzers._addresses import port_number, run_path
from analyzers._servers import Bind, Start, options, parse_bind


def python_settings(text: str) -> dict[str, tuple[list[str], int]]:
    """Return the assignments of plain strings and lists of strings in a Python file, as name → (values, line)."""
    found: dict[str, tuple[list[str], int]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the guest's code, not of ours
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            continue
        parts = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
        values = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if values:
            found[node.targets[0].id] = (values, node.lineno)
    return found


def gunicorn(start: Start) -> list[Bind]:
    """docs.gunicorn.org/en/stable/settings.html: command line over GUNICORN_CMD_ARGS over the configuration file."""
    names = {"-b": "bind", "--bind": "bind", "-c": "config", "--config": "config"}
    told = options(start.words, names)
    try:
        inherited = options(shlex.split(start.variables.get("GUNICORN_CMD_ARGS", "")), names)
    except ValueError:
        inherited = {}
    binds = told.get("bind") or inherited.get("bind")
    if binds:
        return [bind for text in binds if (bind := parse_bind(text))]
    config = (told.get("config") or inherited.get("config") or ["gunicorn.conf.py"])[-1].removeprefix("file:")
    if (file := start.read(config)) is not None:
        values, line = python_settings(file[1]).get("bind", ([], 0))
        found = [bind for text in values if (bind := parse_bind(text))]
        if found:
            return [msgspec.structs.replace(bind, file=file[0], line=line) for bind in found]
    if port := port_number(start.variables.get("PORT", "")):
        return [Bind(host="*", port=port)]
    return [Bind(host="127.0.0.1", port=8000, assumed=True)]


def _host_and_port(names: Mapping[str, str], host: str, port: int) -> Callable[[Start], list[Bind]]:
    """Make a reader for servers with an option each for host, port and socket."""

    def read(start: Start) -> list[Bind]:
        told = options(start.words, names)
        if "socket" in told:
            return [Bind(path=run_path(path), text=path) for path in told["socket"]]
        if "bind" in told:
            return [bind for text in told["bind"] for part in text.split() if (bind := parse_bind(part, port))]
        number = port_number(told.get("port", [str(port)])[-1])
        address = told.get("host", [host])[-1].strip("[]")
        text = told.get("port", told.get("host", [""]))[-1]
        return [Bind(host=address, port=number, text=text, assumed="port" not in told)] if number else []

    return read


def uwsgi(start: Start) -> list[Bind]:
    """uwsgi-docs.readthedocs.io/en/latest/Options.html: options, and the same names in an ini file."""
    keys = ("http", "http-socket", "https", "socket", "uwsgi-socket", "fastcgi-socket", "scgi-socket")
    names = {f"--{key}": key for key in keys} | {"-s": "socket", "--ini": "ini"}
    told = options(start.words, names)
    found = [bind for key in keys for text in told.get(key, ()) if (bind := parse_bind(text.split(",")[0], 0))]
    inis = [*told.get("ini", ()), *(word for word in start.words if word.endswith(".ini") and not word.startswith("-"))]
    for ini in dict.fromkeys(inis):
        if (file := start.read(ini)) is None:
            continue
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(file[1])
        except configparser.Error:
            continue
        for key in keys if parser.has_section("uwsgi") else ():
            text = parser.get("uwsgi", key, fallback="").split(",")[0].strip()
            line = next((n for n, row in enumerate(file[1].split("\n"), 1) if text and text in row), None)
            if text and (bind := parse_bind(text, 0)):
                found.append(msgspec.structs.replace(bind, file=file[0], line=line))
    return [bind for bind in found if bind.path or bind.port]


def runserver(start: Start) -> list[Bind]:
    """Django's `manage.py runserver [HOST:PORT]`."""
    if "runserver" not in start.words:
        return []
    behind = [word for word in start.words[start.words.index("runserver") + 1 :] if not word.startswith("-")]
    bind = parse_bind(behind[0]) if behind else Bind(host="127.0.0.1", port=8000, assumed=True)
    return [bind] if bind else []


_HOST_PORT = {"--host": "host", "-h": "host", "--port": "port", "-p": "port"}

# The program's name → how its command line is read; the defaults are each project's own.
SERVERS: Mapping[str, Callable[[Start], list[Bind]]] = {
    "gunicorn": gunicorn,
    "uvicorn": _host_and_port({"--host": "host", "--port": "port", "--uds": "socket"}, "127.0.0.1", 8000),
    "hypercorn": _host_and_port({"-b": "bind", "--bind": "bind"}, "127.0.0.1", 8000),
    "daphne": _host_and_port(
        {"-b": "host", "--bind": "host", "-p": "port", "--port": "port", "-u": "socket", "--unix-socket": "socket"},
        "127.0.0.1",
        8000,
    ),
    "waitress-serve": _host_and_port(
        {"--host": "host", "--port": "port", "--listen": "bind", "--unix-socket": "socket"}, "*", 8080
    ),
    "flask": _host_and_port(_HOST_PORT, "127.0.0.1", 5000),
    "uwsgi": uwsgi,
    "manage.py": runserver,
}


def server_of(words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the server's name and the words behind it: `gunicorn …`, `python -m uvicorn …`, `python manage.py …`."""
    names = [word.rpartition("/")[2] for word in words]
    if not names:
        return None
    if names[0] in SERVERS and (names[0] != "flask" or "run" in names):
        return names[0], tuple(words[1:])
    if re.fullmatch(r"python[\d.]*", names[0]):
        for at in range(1, len(words)):
            if words[at] == "-m" and at + 1 < len(words) and words[at + 1] in SERVERS:
                return words[at + 1], tuple(words[at + 2 :])
            if not words[at].startswith("-"):
                return (names[at], tuple(words[at + 1 :])) if names[at] in SERVERS else None
    return None
