"""Apply the rules to a component and say what should become of it, with the evidence.

The strongest rule wins. Two rules of nearly the same weight that say different things leave it undecided,
and so does no rule at all: a question in the plan, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

from migrate.addresses import is_loopback
from migrate.facts import Facts
from migrate.join import Candidate
from migrate.model import Place
from migrate.plan.model import Decision, Reason
from migrate.rulebook import Attributes, Match, apply, rules

TIE = 0.02
"""Weights closer than this are a tie."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What should become of a component; `host` is true for the machine's own upkeep."""

    decision: Decision
    confidence: float
    because: tuple[Reason, ...]
    host: bool


def decide(facts: Facts, candidate: Candidate) -> Verdict:
    """Return the verdict on one component."""
    found = attributes(facts, candidate)
    matches = sorted(filter(None, (apply(rule, found) for rule in rules())), key=lambda m: (-m.rule.weight, m.rule.id))
    if not matches:
        says = "no rule knows whether this can move; choose containerize, virtualize, retire or external"
        reason = Reason(rule="unmatched", says=says, seen_in=str(candidate.seen_in))
        return Verdict(decision="undecided", confidence=0.0, because=(reason,), host=False)
    best = matches[0]
    agreeing = [m for m in matches if m.rule.verdict == best.rule.verdict]
    rivals = [m for m in matches if m.rule.verdict != best.rule.verdict]
    if rivals and best.rule.weight - rivals[0].rule.weight < TIE:
        because = tuple(_reason(m) for m in (best, rivals[0]))
        return Verdict(decision="undecided", confidence=0.0, because=because, host=False)
    return Verdict(
        decision=best.rule.verdict,
        confidence=best.rule.weight,
        because=tuple(_reason(m) for m in agreeing),
        host=best.rule.host,
    )


def _reason(match: Match) -> Reason:
    return Reason(rule=match.rule.id, says=match.says, seen_in=str(match.seen_in))


def attributes(facts: Facts, candidate: Candidate) -> Attributes:
    """Return what the rules can ask about a component, each value with its place."""
    found: dict[str, list[tuple[str, Place]]] = {}
    for key, value, place in _attributes(facts, candidate):
        if value:
            found.setdefault(key, []).append((value, place))
    return found


def _attributes(facts: Facts, c: Candidate) -> Iterable[tuple[str, str, Place]]:
    here = c.seen_in
    for name in dict.fromkeys((*c.ids, c.id)):
        yield "id", name, here
    yield "kind", c.kind, here
    yield "program", c.program, here
    yield "program_name", PurePosixPath(c.program).name, here
    yield "package", c.package, here
    source = facts.packages[c.package].source if c.package in facts.packages else ""
    if source != c.package:
        yield "package", source, here
    yield "origin", "package" if c.package else "nobody", here
    if c.service is not None:
        service = c.service
        kind = service.setting("Type")
        yield "type", service.type, kind.seen_in if kind is not None else here
        yield "unit", service.unit, here
        yield "user", service.user, here
        for setting in service.settings:
            yield "setting", f"{setting.name}={setting.value}", setting.seen_in
            if setting.name in {"AmbientCapabilities", "CapabilityBoundingSet"}:
                for capability in setting.value.split():
                    yield "capability", capability, setting.seen_in
    if c.job is not None and c.job.schedule:
        yield "schedule", c.job.schedule, c.job.seen_in
    if c.foreground is not None:
        yield "foreground", c.foreground.says, c.foreground.seen_in
    for listen in c.listens:
        if listen.port is not None:
            yield "listens", "loopback" if is_loopback(listen.address) else "outside", listen.seen_in
