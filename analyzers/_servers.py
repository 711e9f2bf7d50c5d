"""Where a web server of any language listens: what its command line and its files say, as one value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from analyzers._addresses import port_number, run_path, split_host_port
from analyzers._commands import line_of
from analyzers._reading import Reader
from migrate.model import Listen, Place


class Bind(msgspec.Struct, frozen=True):
    """An address to listen on: `text` is how it stands in the command or file, to find its line again.

    `place` is the path of the file that says it, or nothing for the command line.
    """

    host: str = ""
    port: int | None = None
    path: str = ""
    text: str = ""
    file: str = ""
    line: int | None = None
    assumed: bool = False


class Start(msgspec.Struct, frozen=True):
    """How a server is started: its words behind the program, its environment, and how to read a file of the guest."""

    words: tuple[str, ...]
    variables: Mapping[str, str]
    read: Callable[[str], tuple[str, str] | None]


def parse_bind(text: str, default: int = 8000) -> Bind | None:
    """Read `HOST:PORT`, `:PORT`, `unix:PATH`, `fd://…` (which is none)."""
    for prefix in ("unix://", "unix:"):
        if text.startswith(prefix):
            return Bind(path=run_path(text.removeprefix(prefix)), text=text)
    if text.startswith("/"):
        return Bind(path=run_path(text), text=text)
    bare = re.sub(r"^(tcp|https?)://", "", text)
    if re.fullmatch(r"\*?:?\d+", bare) and port_number(bare.lstrip("*:")):
        return Bind(host="*", port=port_number(bare.lstrip("*:")), text=text)
    parts = split_host_port(bare, default)
    return Bind(host=parts[0].strip("[]"), port=parts[1], text=text) if parts else None


def options(words: Sequence[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Collect the values of options: `--bind X`, `--bind=X`, `-b X`, `-bX`; `names` maps each spelling to a key."""
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(words):
        word = words[at]
        name, equals, value = word.partition("=")
        if name.startswith("--") and name in names and equals:
            found.setdefault(names[name], []).append(value)
        elif word in names and at + 1 < len(words):
            found.setdefault(names[word], []).append(words[at + 1])
            at += 1
        elif word[:2] in names and len(word) > 2 and not word.startswith("--"):
            found.setdefault(names[word[:2]], []).append(word[2:].removeprefix("="))
        at += 1
    return found


def listen_of(reader: Reader, service: str, command: Place, bind: Bind) -> Listen:
    """Return a service's socket, with the line that says it: of a file, or of the command at `command`."""
    return Listen(
        seen_in=Place(bind.file, bind.line) if bind.file else line_of(reader, command, bind.text),
        service=service,
        port=bind.port,
        address=bind.host or "*",
        path=bind.path,
        assumed=bind.assumed,
    )
