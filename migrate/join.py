"""From findings to components and the ties between them.

A component is what moves together: one unit, one init script, one database cluster, or one job with the
unit its timer starts. This module decides what is one component and who is tied to whom; what becomes of it
is for `migrate.decide`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from migrate.errors import GuestFileError
from migrate.facts import Facts, is_below
from migrate.model import (
    Covers,
    Foreground,
    Health,
    Job,
    Listen,
    Need,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Secret,
    Service,
    Unread,
    Uses,
)
from migrate.services import by_id

TieKind = Literal["tcp", "udp", "unix-socket", "shared-files", "starts-after", "runs", "external"]


ORDERING = frozenset({"After", "Requires", "Requisite", "BindsTo", "PartOf", "Wants", "Upholds"})


class Tie(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One edge between components. `target` is a component's id, or `HOST:PORT` where `kind` is external."""

    source: str
    target: str
    kind: TieKind
    detail: str
    seen_in: Place
    host_text: str = ""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A component before anything is decided about it. `ids` are the services and jobs it stands for."""

    id: str
    kind: Literal["service", "job"]
    ids: tuple[str, ...]
    seen_in: Place
    service: Service | None = None
    job: Job | None = None
    program: str = ""
    package: str = ""
    listens: tuple[Listen, ...] = ()
    uses: tuple[Uses, ...] = ()
    requires: tuple[Requires, ...] = ()
    foreground: Foreground | None = None
    runs_as: RunsAs | None = None
    rebinds: tuple[Rebind, ...] = ()
    health: Health | None = None

    def paths(self, *roles: str) -> list[str]:
        """Return the paths used in one of these roles, sorted, without those below another of them."""
        wanted = sorted({u.path for u in self.uses if u.role in roles})
        return [p for p in wanted if not any(p != q and is_below(p, q) for q in wanted)]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What the join makes: components sorted by id, their ties sorted, and what could not be tied."""

    candidates: tuple[Candidate, ...]
    ties: tuple[Tie, ...]
    unread: tuple[Unread, ...]

    def __getitem__(self, component: str) -> Candidate:
        return next(c for c in self.candidates if c.id == component)


def join(facts: Facts) -> Joined:
    """Return the machine's components and ties. Deterministic for the same findings."""
    candidates = sorted(_candidates(facts), key=lambda c: c.id)
    ties, unread = _ties(facts, candidates)
    return Joined(candidates=tuple(candidates), ties=tuple(sorted(set(ties))), unread=tuple(unread))


def _candidates(facts: Facts) -> Iterable[Candidate]:
    services = by_id(facts.of(Service))
    covers: dict[str, set[str]] = {}
    for cover in facts.of(Covers):
        covers.setdefault(cover.service, set()).update(cover.units)
    covered = {unit for service, units in covers.items() for unit in units if unit != service}
    jobs = [j for j in facts.of(Job) if j.enabled]
    by_timer = {j.service for j in jobs if j.service}
    taken: set[str] = set()

    def named(text: str) -> str:
        base = name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-") or "component"
        count = 2
        while name in taken:
            name, count = f"{base}-{count}", count + 1
        taken.add(name)
        return name

    for service in services.values():
        if service.enabled and service.id not in covered and service.id not in by_timer:
            ids = tuple(dict.fromkeys((service.id, *sorted(covers.get(service.id, ())))))
            yield _candidate(facts, named(service.id), ids, service, None)
    for job in jobs:
        unit = services.get(job.service)
        if unit is not None and unit.enabled and unit.id not in covered:
            continue  # a timer that restarts what the boot starts anyway: the service is the component
        ids = tuple(dict.fromkeys((job.id, *([job.service] if job.service else []))))
        yield _candidate(facts, named(job.id), ids, unit, job)


def _candidate(facts: Facts, name: str, ids: tuple[str, ...], service: Service | None, job: Job | None) -> Candidate:
    command = service.command if service is not None else (job.command if job is not None else ())
    # What is said of a service is not said of a job that has its name: cron.daily/apache2 starts no server.
    daemon = ids if service is not None else ()
    foreground = next(iter(facts.about(Foreground, daemon)), None)
    hidden = not command or _is_shell_line(command)
    program = _program(facts, foreground.command if foreground and hidden else command, job)
    unit = service.unit if service is not None else (job.seen_in.path if job is not None else "")
    place = service.seen_in if service is not None and job is None else (job or service).seen_in  # type: ignore[union-attr]
    return Candidate(
        id=name,
        kind="service" if job is None else "job",
        ids=ids,
        seen_in=place,
        service=service,
        job=job,
        program=program,
        package=facts.owner(program) or facts.owner(unit),
        listens=tuple(dict.fromkeys(facts.about(Listen, daemon))),
        uses=tuple(dict.fromkeys(facts.about(Uses, ids))),
        requires=tuple(dict.fromkeys(facts.about(Requires, ids))),
        foreground=foreground,
        runs_as=next(iter(facts.about(RunsAs, daemon)), None),
        rebinds=tuple(dict.fromkeys(facts.about(Rebind, daemon))),
        health=next(iter(facts.about(Health, daemon)), None),
    )


def _is_shell_line(command: Sequence[str]) -> bool:
    """Tell whether a unit has a shell run a line (`sh -c "… exec server"`): the program is in the line then."""
    return len(command) > 2 and command[1] == "-c" and command[0].rpartition("/")[2] in {"sh", "bash", "dash"}


def _program(facts: Facts, command: Sequence[str], job: Job | None) -> str:
    if not command:
        return ""
    first = command[0].split()[0] if job is not None and job.shell and command[0].split() else command[0]
    if first.startswith("/"):
        return first
    for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if facts.guest.is_file(f"{folder}/{first}"):
            return f"{folder}/{first}"
    return first


# ---------------------------------------------------------------- ties


def _ties(facts: Facts, candidates: Sequence[Candidate]) -> tuple[list[Tie], list[Unread]]:
    ties: list[Tie] = []
    unread: list[Unread] = []
    owner = {i: c.id for c in candidates for i in c.ids}
    for need in facts.of(Need):
        source = owner.get(need.service)
        if source is None:
            continue
        tie = _resolve(facts, candidates, source, need)
        if tie is None:
            why = f"{need.service} needs {need.over}, and nothing was seen listening there"
            unread.append(Unread(seen_in=need.seen_in, why=why, analyzer="join"))
        elif tie.target != source:
            ties.append(tie)
    ties.extend(_starts_after(facts, candidates, owner))
    ties.extend(_shared_files(candidates))
    ties.extend(_runs(candidates))
    return ties, unread


def _resolve(facts: Facts, candidates: Sequence[Candidate], source: str, need: Need) -> Tie | None:
    scheme, _, rest = need.over.partition(":")

    def tie(target: str, kind: TieKind, detail: str) -> Tie | None:
        if not target:
            return None
        return Tie(
            source=source,
            target=target,
            kind=kind,
            detail=detail,
            seen_in=need.seen_in,
            host_text=need.host_text,
        )

    def first(accepts: Callable[[Candidate], bool]) -> str:
        return next((c.id for c in candidates if accepts(c)), "")

    if scheme == "unix":
        path = facts.run_path(rest)
        return tie(first(lambda c: any(facts.run_path(x.path) == path for x in c.listens)), "unix-socket", path)
    if scheme == "files":
        return tie(
            first(lambda c: c.id != source and any(is_below(rest, u.path) for u in c.uses)), "shared-files", rest
        )
    host, _, port = rest.rpartition(":")
    if not facts.is_own(host):
        return tie(f"{host}:{port}", "external", scheme)
    transport: TieKind = "udp" if scheme == "udp" else "tcp"
    listening = first(lambda c: any(str(x.port) == port and x.protocol == transport for x in c.listens))
    return tie(listening, transport, f"{host}:{port}")


def _starts_after(facts: Facts, candidates: Sequence[Candidate], owner: dict[str, str]) -> Iterable[Tie]:
    for candidate in candidates:
        service = candidate.service
        if service is None:
            continue
        for other in sorted({*service.after, *service.requires, *service.wants}):
            target = owner.get(other.removesuffix(".service"))
            if target is not None and target != candidate.id:
                strict = other in service.requires
                yield Tie(
                    source=candidate.id,
                    target=target,
                    kind="starts-after",
                    detail="requires" if strict else "after",
                    seen_in=_ordering_line(facts, service.unit, other),
                )


def _ordering_line(facts: Facts, unit: str, other: str) -> Place:
    """Return the line of a unit that orders it after another one, or the unit where a link or a drop-in does."""
    try:
        lines = facts.guest.text(unit).splitlines()
    except GuestFileError:
        return Place(unit)
    for number, line in enumerate(lines, 1):
        key, _, value = line.partition("=")
        if key.strip() in ORDERING and {other, f"{other}.service"} & set(value.split()):
            return Place(unit, number)
    return Place(unit)


def _shared_files(candidates: Sequence[Candidate]) -> Iterable[Tie]:
    writers = [(c, u) for c in candidates for u in c.uses if u.role == "data"]
    for first, (one, use) in enumerate(writers):
        for other, theirs in writers[first + 1 :]:
            if one.id != other.id and (is_below(use.path, theirs.path) or is_below(theirs.path, use.path)):
                deeper = max(use.path, theirs.path, key=len)
                (source, seen), (target, _) = sorted(
                    [(one, use), (other, theirs)], key=lambda pair: (pair[0].kind != "job", pair[0].id)
                )
                yield Tie(source=source.id, target=target.id, kind="shared-files", detail=deeper, seen_in=seen.seen_in)


def _runs(candidates: Sequence[Candidate]) -> Iterable[Tie]:
    """Tie a job to the service whose application its command is part of."""
    for job in candidates:
        if job.kind != "job":
            continue
        code = job.paths("code")
        for service in candidates:
            trees = [p for p in service.paths("code") if service.kind == "service"]
            shared = [p for p in code if any(is_below(p, t) or is_below(t, p) for t in trees)]
            if shared:
                yield Tie(source=job.id, target=service.id, kind="runs", detail=shared[0], seen_in=job.seen_in)


def secrets_of(facts: Facts, candidate: Candidate) -> list[Secret]:
    """Return the secrets in the files that a component reads: its configuration, code, and unit."""
    service, job = candidate.service, candidate.job
    files = {u.path for u in candidate.uses if u.role in {"config", "code"}}
    if service is not None:
        files |= {f.path for f in service.environment_files}
        files |= {v.seen_in.path for v in service.environment} | {service.unit}
    if job is not None:
        files.add(job.seen_in.path)
    data = [u.path for u in candidate.uses if u.role == "data"]
    return [
        s
        for s in facts.secrets
        if any(is_below(s.seen_in.path, f) for f in files) and not any(is_below(s.seen_in.path, d) for d in data)
    ]
