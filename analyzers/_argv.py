"""The words a unit's program is started with, those of its environment files among them, each with its place."""

from __future__ import annotations

import posixpath
import re

import msgspec

from analyzers._commands import line_of
from analyzers._reading import Reader, assignments
from migrate.model import Place, Service

_WHOLE = re.compile(r"\$([A-Za-z_]\w*)")
_WITHIN = re.compile(r"\$\{([A-Za-z_]\w*)\}")


class Word(msgspec.Struct, frozen=True):
    """One word of a command, and where it is written."""

    text: str
    place: Place


def variables(reader: Reader, service: Service) -> dict[str, tuple[str, Place]]:
    """Return the variables of a service: its own, then those of its files, which win (systemd.exec(5))."""
    found = {variable.name: (variable.value, variable.seen_in) for variable in service.environment}
    for file in service.environment_files:
        for name, (value, line) in assignments(reader.optional(file.path) or "").items():
            found[name] = (value, Place(file.path, line))
    return found


def argv(reader: Reader, service: Service) -> list[Word]:
    """Return a service's words; systemd splits a word `$NAME` at white space and `${NAME}` never (systemd.service(5)).

    Where a variable has been put in already, the line of the file that holds a word is its place.
    """
    known = variables(reader, service)
    found: list[Word] = []
    for word in service.command:
        if match := _WHOLE.fullmatch(word):
            value, place = known.get(match[1], ("", service.seen_in))
            found += [Word(part, place) for part in value.split()]
            continue
        named = next((known[name][1] for name in _WITHIN.findall(word) if name in known), None)
        put_in = next((place for value, place in known.values() if len(word) > 1 and word in value.split()), None)
        text = _WITHIN.sub(lambda match: known.get(match[1], ("", None))[0], word)
        found.append(Word(text, named or put_in or line_of(reader, service.seen_in, word)))
    return found


def program_at(words: list[Word], *names: str) -> int | None:
    """Return the index of the word that is a program of one of these names, or None."""
    return next((i for i, word in enumerate(words[:4]) if posixpath.basename(word.text) in names), None)
