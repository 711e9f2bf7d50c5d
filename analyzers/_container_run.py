"""Units that make their container anew at each start: `docker run …`, `podman run …` (docker-run(1), podman-run(1))."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._containers import Bind, Container, Port, Variable
from analyzers._quadlet import parse_publish
from analyzers._reading import Reader, absolute, assignments
from migrate.model import Place, Service, Setting

# Options that take no value of their own; every other one takes the next word, where it has no `=`.
_BARE = frozenset({
    "detach", "interactive", "tty", "rm", "privileged", "init", "read-only", "publish-all", "no-healthcheck",
    "oom-kill-disable", "sig-proxy", "disable-content-trust", "replace", "quiet", "no-hosts", "no-hostname", "rmi",
    "env-host", "http-proxy", "passwd", "tls-verify", "help", "d", "i", "t", "P", "q",
})  # fmt: skip
_LONG = {
    "p": "publish", "v": "volume", "e": "env", "u": "user", "w": "workdir", "h": "hostname", "m": "memory",
    "net": "network", "l": "label",
}  # fmt: skip


class Run(msgspec.Struct, frozen=True):
    """The words of a `run`: its options by their long names, the image, and what is run in it."""

    options: Mapping[str, tuple[str, ...]]
    image: str
    command: tuple[str, ...]

    def last(self, name: str, default: str = "") -> str:
        """Return the last value of an option."""
        return next(reversed(self.options.get(name, ())), default)


def parse_run(argv: Sequence[str]) -> Run | None:
    """Return what a `docker run` or `podman run` makes; None where the words are no such command.

    >>> parse_run(("/usr/bin/docker", "run", "--rm", "-p80:8080", "--name", "web", "nginx:1.25", "nginx")).image
    'nginx:1.25'
    """
    if not argv or posixpath.basename(argv[0]) not in ("docker", "podman"):
        return None
    words = list(argv[1:])
    at = next((i for i, word in enumerate(words[:8]) if word == "run"), -1)
    if at < 0:
        return None
    found: dict[str, list[str]] = {}
    at += 1
    while at < len(words) and words[at].startswith("-") and len(words[at]) > 1:
        word = words[at]
        at += 1
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            letters = re.match("[ditPq]*", word[1:])
            name = word[1 + (letters.end() if letters else 0) :]
            if not name:
                continue
            name, value = name[0], name[1:].removeprefix("=")
            equals = value
        if not equals and name not in _BARE:
            value = next(iter(words[at : at + 1]), "")
            at += 1
        found.setdefault(_LONG.get(name, name), []).append(value)
    if at >= len(words) or not words[at]:
        return None
    return Run({name: tuple(values) for name, values in found.items()}, words[at], tuple(words[at + 1 :]))


def container_of(reader: Reader, service: Service, manager: str, storage: str) -> Container | None:
    """Return the container that a unit makes, with the unit's id; None where it makes none."""
    run = parse_run(service.command)
    if run is None or posixpath.basename(service.command[0]) != manager:
        return None
    place = service.seen_in
    name = run.last("name", service.id)
    network = run.last("network")
    entrypoint = run.options.get("entrypoint", ())[-1:]
    settings = [Setting("Network", network, place)] if network else []
    settings += [Setting("Privileged", "true", place)] if "privileged" in run.options else []
    settings += (setting for setting in service.settings if setting.name in ("Restart", "MemoryMax", "CPUQuota"))
    return Container(
        ident=service.id,
        manager=manager,
        place=place,
        unit=service.unit,
        name=name,
        image=run.image,
        description=service.description or f"container {name} of image {run.image}, made anew at each start",
        enabled=service.enabled,
        command=(*entrypoint, *run.command),
        user=run.last("user"),
        settings=tuple(settings),
        variables=tuple(_variables(reader, run, service, place)),
        ports=tuple(_ports(reader, run, place)),
        binds=tuple(_binds(run, service.working_directory or "/", storage, place)),
        names=frozenset({name.lower(), run.last("hostname", name).lower(), *run.options.get("network-alias", ())}),
        networks=frozenset({network} if network else ()) - {"host", "none", "bridge", "default"},
        on_host=network == "host",
        after=service.after,
        requires=service.requires,
    )


def _ports(reader: Reader, run: Run, place: Place) -> Iterator[Port]:
    for text in run.options.get("publish", ()):
        found = parse_publish(text)
        if not found:
            reader.note(place.path, f"--publish {text}: no port of the machine", place.line)
        for port, within, protocol, address in found:
            yield Port(port, within, protocol, address, place)


def _binds(run: Run, folder: str, storage: str, place: Place) -> Iterator[Bind]:
    for text in run.options.get("volume", ()):
        source, _, rest = text.partition(":")
        target, _, options = rest.partition(":")
        if target:
            yield from _bind(source, target, "ro" not in options.split(","), folder, storage, place)
    for text in run.options.get("mount", ()):
        given = dict(part.partition("=")[::2] for part in text.split(","))
        source = given.get("source", given.get("src", ""))
        target = given.get("destination", given.get("target", given.get("dst", "")))
        if given.get("type", "volume") in ("bind", "volume") and source and target:
            yield from _bind(source, target, not {"ro", "readonly"} & given.keys(), folder, storage, place)


def _bind(source: str, target: str, writes: bool, folder: str, storage: str, place: Place) -> Iterator[Bind]:
    if source.startswith(("/", "./", "../")):
        yield Bind(absolute(source, folder), absolute(target, "/"), writes, place)
    elif re.fullmatch(r"[A-Za-z0-9][\w.-]*", source):
        yield Bind(f"{storage}/volumes/{source}/_data", absolute(target, "/"), writes, place, source)


def _variables(reader: Reader, run: Run, service: Service, place: Place) -> Iterator[Variable]:
    for path in run.options.get("env-file", ()):
        path = absolute(path, service.working_directory or "/")
        for name, (value, number) in assignments(reader.optional(path) or "").items():
            yield Variable(name, value, Place(path, number))
    given = {variable.name: variable for variable in service.environment}
    for text in run.options.get("env", ()):
        name, equals, value = text.partition("=")
        if equals:
            yield Variable(name, value, place)
        elif name in given:  # handed on from the unit's own environment
            yield Variable(name, given[name].value, given[name].seen_in)
