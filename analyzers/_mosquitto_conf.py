"""mosquitto.conf: lines of a directive and its value, with those of include_dir (mosquitto.conf(5))."""

from __future__ import annotations

import msgspec

from analyzers._reading import Reader, absolute, numbered
from migrate.model import Place

_MAX_FILES = 200
_MAX_TOTAL = 8 << 20  # characters of all files together


class Line(msgspec.Struct, frozen=True):
    """One directive: its name, the rest of the line, and the place."""

    name: str
    value: str
    place: Place


class Listener(msgspec.Struct, frozen=True):
    """Where the broker listens: the default listener's port may be the program's own."""

    port: int
    address: str
    path: str
    place: Place
    stated: bool = True


def parse(text: str, path: str) -> list[Line]:
    """Return the directives of one file: `#` begins a comment in the first column alone.

    >>> [(line.name, line.value) for line in parse("# x\\nlistener 1883  127.0.0.1\\n", "/x")]
    [('listener', '1883  127.0.0.1')]
    """
    found = []
    for number, line in numbered(text):
        name, _, value = line.strip().partition(" ")
        if name and not line.startswith("#"):
            found.append(Line(name, value.strip(), Place(path, number)))
    return found


def load(reader: Reader, path: str) -> list[Line]:
    """Return the directives of a file; `include_dir`, which counts in the main file alone, gives those of its files."""
    found: list[Line] = []
    opened = size = 0
    for line in parse(reader.text(path) or "", path):
        found.append(line)
        if line.name != "include_dir":
            continue
        folder = absolute(line.value, "/")
        names = [name for name in reader.guest.listdir(folder) if name.endswith(".conf")]
        for name in sorted(names, key=lambda n: [(c.lower(), c) for c in n]):
            opened += 1
            if opened > _MAX_FILES or size > _MAX_TOTAL:
                reader.note(path, f"{folder}: {name} and what follows it was not read", line.place.line)
                return found
            text = reader.text(f"{folder}/{name}") or ""
            size += len(text)
            found += parse(text, f"{folder}/{name}")
    return found
