"""unbound.conf: attributes under their clauses, with includes (unbound.conf(5), FILE FORMAT)."""

from __future__ import annotations

import re

import msgspec

from analyzers._reading import Reader, absolute, meaningful
from migrate.model import Place

_MAX_FILES = 300
_MAX_DEPTH = 10
_MAX_ATTRIBUTES = 100_000
_ATTRIBUTE = re.compile(r"([a-z0-9-]+):(?:\s+|(?=\")|$)")
_CLAUSES = frozenset({
    "server", "stub-zone", "forward-zone", "remote-control", "cachedb", "dnscrypt", "auth-zone", "view", "python",
    "dynlib", "rpz", "ipset", "dnstap",
})  # fmt: skip


class Attribute(msgspec.Struct, frozen=True):
    """One attribute: its clause with a number that tells clauses of one name apart, its value, and the line."""

    clause: str
    number: int
    name: str
    value: str
    text: str
    place: Place


class _State(msgspec.Struct):
    clause: str = ""
    number: int = 0
    files: list[str] = []
    found: list[Attribute] = []


def value_of(text: str) -> str:
    """Return a value without its quotes and without a comment behind it.

    >>> value_of('"/var/lib/unbound/root.key"  # kept up')
    '/var/lib/unbound/root.key'
    """
    text = text.strip()
    if text[:1] in ('"', "'"):
        return text[1:].partition(text[0])[0]
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def load(reader: Reader, path: str) -> tuple[list[Attribute], list[str]]:
    """Return all attributes in their order, included files in their place, and the files that were read."""
    state = _State()
    _load(reader, path, state, 0)
    return state.found, state.files


def _load(reader: Reader, path: str, state: _State, depth: int) -> None:
    state.files.append(path)
    for number, line in meaningful(reader.text(path) or ""):
        rest = line
        if len(state.found) >= _MAX_ATTRIBUTES:
            reader.note(path, f"more than {_MAX_ATTRIBUTES} attributes: the rest is not read", number)
            return
        while match := _ATTRIBUTE.match(rest):  # a clause may stand on one line with its first attribute
            name, rest = match[1], rest[match.end() :]
            if name not in _CLAUSES:
                _attribute(
                    reader, state, name, value_of(rest), Attribute("", 0, name, "", line, Place(path, number)), depth
                )
                break
            state.clause, state.number = name, state.number + 1


def _attribute(reader: Reader, state: _State, name: str, value: str, at: Attribute, depth: int) -> None:
    if name not in ("include", "include-toplevel"):
        state.found.append(msgspec.structs.replace(at, clause=state.clause, number=state.number, value=value))
        return
    pattern = absolute(value, at.place.path.rpartition("/")[0])
    for inner in reader.guest.glob(pattern) if re.search(r"[*?\[]", pattern) else [pattern]:
        if depth >= _MAX_DEPTH or len(state.files) >= _MAX_FILES:
            reader.note(at.place.path, f"include {value} is one too many: files include one another", at.place.line)
            return
        _load(reader, inner, state, depth + 1)
