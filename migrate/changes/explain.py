"""Why a packaged path differs though nobody changed it: rules as data (explained.yaml), applied to differences.

A rule explains a difference where all of what it names holds: one of its `aspects`, of its `paths` and `targets`
(shell patterns in which `*` matches slashes too), of the types on the disk (`found`), all of its `flags` of the
package database; one of the paths `needs` exists on the disk, and is then the evidence; and its `check`, a function
of `migrate.changes.settings`, finds on the disk what it looks for, and says where.

A program that gained rights (setuid, setgid, capabilities) is explained by a rule with `privileges` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import cache
from importlib import resources

import msgspec
import yaml

from migrate.changes.aspects import gives_privileges
from migrate.changes.expected import Expected
from migrate.changes.model import Aspect, Difference
from migrate.errors import Vm2cError
from migrate.guest.protocol import Entry, Guest, Kind
from migrate.model import Place


class Case(msgspec.Struct, frozen=True):
    """One difference of one path, as a rule sees it; `entry` is None where the path is missing."""

    path: str
    difference: Difference
    expected: Expected
    entry: Entry | None


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A difference that a rule explains, or leaves: `files` are on the disk besides (a text, or `-> TARGET`).

    `owner` is the user that the whole tree belongs to.
    """

    path: str
    aspect: Aspect
    shipped: str = ""
    found: str = ""
    flags: tuple[str, ...] = ()
    files: dict[str, str] = {}
    owner: int = 0


class Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Planted and not: each rule has both."""

    explains: tuple[Example, ...]
    leaves: tuple[Example, ...]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One reason why a packaged path is not as shipped, and where that is written."""

    id: str
    says: str
    source: str
    aspects: tuple[Aspect, ...]
    paths: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    found: tuple[Kind, ...] = ()
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    check: str = ""
    privileges: bool = False
    examples: Examples


Check = Callable[[Case], Place | None]
"""Looks on the disk for the reason; returns where it stands, or None where it is not there."""


@cache
def explaining_rules() -> tuple[Rule, ...]:
    """Return the rules in their order. Raises Vm2cError where two share an id."""
    text = resources.files("migrate.changes").joinpath("explained.yaml").read_text("utf-8")
    rules = msgspec.convert(yaml.safe_load(text), tuple[Rule, ...])
    ids = [rule.id for rule in rules]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise Vm2cError("read the reasons of differences", f"{twice} is there twice")
    return rules


def _pattern(patterns: Iterable[str]) -> Callable[[str], object]:
    joined = "|".join(translate(each) for each in patterns)
    return re.compile(joined).match if joined else lambda _text: True


class _Ready(msgspec.Struct, frozen=True):
    """A rule with its patterns compiled and its check bound to the guest."""

    rule: Rule
    path: Callable[[str], object]
    target: Callable[[str], object]
    check: Check | None
    needed: str | None

    def explains(self, case: Case) -> Place | None:
        """Return the evidence, or None where the rule says nothing of the case."""
        rule, entry = self.rule, case.entry
        if not self.path(case.path) or any(flag not in case.expected.shipped.flags for flag in rule.flags):
            return None
        if rule.found and (entry is None or entry.kind not in rule.found):
            return None
        if rule.targets and (entry is None or entry.kind != "symlink" or not self.target(entry.target)):
            return None
        if is_privilege(case) and not rule.privileges:
            return None
        if self.check is not None:
            return self.check(case)
        return case.expected.seen_in if self.needed is None else Place(self.needed)


def is_privilege(case: Case) -> bool:
    """Tell whether a difference gives a program rights that its package did not."""
    return case.entry is not None and case.entry.kind == "file" and gives_privileges(case.difference)


class Explainer:
    """The rules that can hold for one machine, by the aspects that they explain."""

    def __init__(self, guest: Guest, checks: Mapping[str, Check]) -> None:
        self._rules: dict[Aspect, list[_Ready]] = {}
        for rule in explaining_rules():
            needed = next((path for path in rule.needs if guest.exists(path)), None)
            if rule.needs and needed is None:
                continue
            check = checks[rule.check] if rule.check else None
            ready = _Ready(rule, _pattern(rule.paths), _pattern(rule.targets), check, needed)
            for aspect in rule.aspects:
                self._rules.setdefault(aspect, []).append(ready)
        # Of 200,000 differences most are in no place that a rule names: one look tells, where 30 took 15 s.
        self._anywhere = {a: [r for r in rules if not r.rule.paths] for a, rules in self._rules.items()}
        self._places = {a: _pattern(p for r in rules for p in r.rule.paths) for a, rules in self._rules.items()}

    def explain(self, case: Case) -> tuple[Rule, Place] | None:
        """Return the first rule that explains a difference, with its evidence; None where it is somebody's change."""
        aspect = case.difference.aspect
        if aspect not in self._rules:
            return None
        rules = self._rules[aspect] if self._places[aspect](case.path) else self._anywhere[aspect]
        for ready in rules:
            if (place := ready.explains(case)) is not None:
                return ready.rule, place
        return None
