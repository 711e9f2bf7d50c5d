"""Who runs the applications that nobody packaged: services and jobs, by what they call and where they work."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from migrate.facts import Facts
from migrate.join import Joined
from migrate.model import Application, Job, Place, Service, Uses
from migrate.services import by_id

_PATH_MAX = 4096  # limits.h
_PATHS = re.compile(r"(?:^|[\s=:,@\"'(`;&|<>])(/[^\s:,;'\"=&|<>()`$*?]*)")


class Runner(msgspec.Struct, frozen=True, order=True):
    """A service or job that runs an application; `seen_in` is the command, script line or setting that says so."""

    id: str
    kind: Literal["service", "job"]
    seen_in: Place


def run_by(facts: Facts, joined: Joined) -> dict[str, tuple[Runner, ...]]:
    """Return who runs each application, by its root, sorted; roots that nobody runs are not among them.

    A path counts for the innermost application that it lies in. What counts of a runner: the paths in its commands,
    the code that analyzers saw it use (through wrapper scripts), and, where those lead to no application, its working
    directory. Units that are one component with a job (a timer's service) are named as the job.
    """
    roots = {app.root for app in facts.of(Application)}
    found: dict[str, dict[tuple[str, str], Place]] = {}
    for ident, kind, paths, directory in _runners(facts, joined):
        hits = list(_hits(facts, roots, paths)) or list(_hits(facts, roots, directory))
        for root, place in hits:
            found.setdefault(root, {}).setdefault((ident, kind), place)
    return {
        root: tuple(
            sorted(Runner(ident, "job" if kind == "job" else "service", at) for (ident, kind), at in by.items())
        )
        for root, by in sorted(found.items())
    }


_Paths = list[tuple[str, Place]]


def _hits(facts: Facts, roots: Iterable[str], paths: _Paths) -> Iterator[tuple[str, Place]]:
    """Yield (root, place) for the innermost root of each path: as it is written, or as its links lead."""
    for path, place in paths:
        for each in dict.fromkeys((path, facts.guest.resolve(path) or path)):
            if (root := innermost(roots, each)) is not None:
                yield root, place
                break


def innermost(roots: Iterable[str], path: str) -> str | None:
    """Return the deepest of the roots that a path is or lies below.

    >>> innermost({"/opt/tomcat", "/opt/tomcat/webapps/shop.war"}, "/opt/tomcat/bin/catalina.sh")
    '/opt/tomcat'
    """
    known = roots if isinstance(roots, set | frozenset) else set(roots)
    while path not in known:
        if path in ("/", ""):
            return None
        path = path.rpartition("/")[0] or "/"
    return path


def _runners(facts: Facts, joined: Joined) -> Iterator[tuple[str, str, _Paths, _Paths]]:
    """Yield (id, kind, paths it uses, its working directory) of every service and job."""
    code: dict[str, _Paths] = {}
    for use in facts.of(Uses):
        if use.role == "code":
            code.setdefault(use.service, []).append((use.path, use.seen_in))
    services = by_id(facts.of(Service))
    timed = {i for each in joined.candidates if each.kind == "job" for i in each.ids}
    jobs: Mapping[str, Job] = {job.id: job for job in facts.of(Job)}
    for service in services.values():
        if service.id not in timed:
            yield service.id, "service", [*_commands(service), *code.get(service.id, ())], _directory(service)
    for job in jobs.values():
        unit = services.get(job.service)
        paths = [(path, job.seen_in) for path in _in_text(" ".join(job.command))]
        if unit is not None:
            paths += [*_commands(unit), *code.get(unit.id, ())]
        yield job.id, "job", [*paths, *code.get(job.id, ())], _directory(unit) if unit is not None else []


def _commands(service: Service) -> _Paths:
    words = [word for command in (service.command, *service.before) for word in command]
    return [(path, service.seen_in) for word in words for path in _in_text(word)]


def _directory(service: Service) -> _Paths:
    folder = service.working_directory
    return [(folder.rstrip("/"), service.seen_in)] if folder.startswith("/") and folder.strip("/") else []


def _in_text(text: str) -> Iterator[str]:
    """Yield the absolute paths in a command; a URL holds none of the machine's."""
    for match in _PATHS.finditer(re.sub(r"\w{1,20}://\S*", " ", text)):
        path = posixpath.normpath("/" + match[1].lstrip("/"))
        if path != "/" and len(path) < _PATH_MAX:
            yield path
