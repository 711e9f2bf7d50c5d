"""The command of a service as its program gets it: words with variables filled in, each with its place; getopt(3)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from analyzers._commands import line_of
from analyzers._reading import Reader, assignments
from migrate.model import Finding, Place, Service
from migrate.services import by_id

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")


class Argument(msgspec.Struct, frozen=True):
    """One word of a command and the line that holds it: the unit's, or that of the file its variable is set in."""

    text: str
    place: Place


class Option(msgspec.Struct, frozen=True):
    """An option by its letter (or long name), its value or nothing, and where the value stands."""

    name: str
    value: str
    place: Place


class Invocation(msgspec.Struct, frozen=True):
    """A service whose program is one of those asked for; `arguments` are the words behind it."""

    service: Service
    program: str
    arguments: tuple[Argument, ...]

    @property
    def ident(self) -> str:
        """The id of the service."""
        return self.service.id

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments without their places."""
        return tuple(argument.text for argument in self.arguments)


def invocations(reader: Reader, findings: Sequence[Finding], programs: Collection[str]) -> Iterator[Invocation]:
    """Yield the services that start one of these programs, by its name, sorted by id; what no boot starts is none."""
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    for ident in sorted(services):
        service = services[ident]
        if service.enabled and service.command and posixpath.basename(service.command[0]) in programs:
            yield Invocation(service, service.command[0], tuple(_arguments(reader, service)))


def variables(reader: Reader, service: Service) -> dict[str, tuple[str, Place]]:
    """Return a service's variables with their places: those of files win over the unit's own (systemd.exec(5))."""
    found = {variable.name: (variable.value, variable.seen_in) for variable in service.environment}
    for file in service.environment_files:
        for name, (value, line) in assignments(reader.optional(file.path) or "").items():
            found[name] = (value, Place(file.path, line))
    return found


def _arguments(reader: Reader, service: Service) -> Iterator[Argument]:
    """Fill in variables as systemd.service(5) does: `$NAME` alone is split at white space, `${NAME}` never."""
    known = variables(reader, service)
    for word in service.command[1:]:
        if re.fullmatch(r"\$[A-Za-z_]\w*", word):
            value, place = known.get(word[1:], ("", service.seen_in))
            yield from (Argument(part, place) for part in value.split())
            continue
        names = [name for name in _VARIABLE.findall(word) if name in known]
        text = _VARIABLE.sub(lambda match: known.get(match[1], ("", service.seen_in))[0], word)
        yield Argument(text, known[names[0]][1] if names else line_of(reader, service.seen_in, word))


def getopt(arguments: Sequence[Argument], valued: str, long: Mapping[str, str] | None = None) -> Iterator[Option]:
    """Yield the options of a command line: `valued` are the letters that take a value.

    `-p 1`, `-p1`, `-vp 1`, `--port=1`, `--port 1`; `long` maps long names to letters. What is no option is passed over.
    """
    names = long or {}
    at = 0
    while at < len(arguments):
        word, place = arguments[at].text, arguments[at].place
        at += 1
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = names.get(name, name)
            if not equals and len(name) == 1 and name in valued and at < len(arguments):
                value, place = arguments[at].text, arguments[at].place
                at += 1
            yield Option(name, value, place)
            continue
        if not word.startswith("-"):
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter not in valued:
                yield Option(letter, "", place)
                continue
            value = word[index:]
            if not value and at < len(arguments):
                value, place = arguments[at].text, arguments[at].place
                at += 1
            yield Option(letter, value, place)
            break
