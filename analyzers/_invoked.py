"""The command of a service as its program gets it: words with variables filled in, each with its place; getopt(3)."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from analyzers._argv import Word, argv
from analyzers._reading import Reader
from migrate.model import Finding, Place, Service
from migrate.services import by_id


class Option(msgspec.Struct, frozen=True):
    """An option by its letter (or long name), its value or nothing, and where the value stands."""

    name: str
    value: str
    place: Place


class Invocation(msgspec.Struct, frozen=True):
    """A service whose program is one of those asked for; `arguments` are the words behind it."""

    service: Service
    program: str
    arguments: tuple[Word, ...]

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
            yield Invocation(service, service.command[0], tuple(argv(reader, service)[1:]))


def getopt(arguments: Sequence[Word], valued: str, long: Mapping[str, str] | None = None) -> Iterator[Option]:
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
