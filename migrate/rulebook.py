"""Rules as data: read, checked, and applied to one component's attributes.

A rule matches where, for each key of `when`, one of the component's values for that key matches one of the
rule's patterns (shell patterns, fnmatch(3)), and no key of `unless` does. The attributes are

id, kind, program, program_name, package, unit, type, user, setting (`Name=value`), capability, schedule,
foreground (the sentence that says how), origin (package or nobody), listens (loopback or outside)

and each carries the place it was seen in, which becomes the verdict's evidence.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import yaml

from migrate.errors import Vm2cError
from migrate.model import Place

Verdict = Literal["containerize", "virtualize", "retire", "external", "undecided"]
Attributes = Mapping[str, Sequence[tuple[str, Place]]]


class Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes that the rule must match, and must not."""

    match: tuple[dict[str, str], ...]
    no_match: tuple[dict[str, str], ...]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. `weight` (0…1) is how sure it is; `host` marks what it matches as the machine's own upkeep."""

    id: str
    when: dict[str, tuple[str, ...]]
    verdict: Verdict
    weight: float
    says: str
    why: str
    source: str
    examples: Examples
    unless: dict[str, tuple[str, ...]] = {}
    host: bool = False


class Match(msgspec.Struct, frozen=True):
    """A rule that matched, the sentence it says about this component, and the place."""

    rule: Rule
    says: str
    seen_in: Place


class _Lenient(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


@cache
def rules() -> tuple[Rule, ...]:
    """Return the built-in rules in the order of their files. Raises Vm2cError where two share an id."""
    found: dict[str, Rule] = {}
    for file in sorted(resources.files("migrate.rules").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            for rule in msgspec.convert(yaml.safe_load(file.read_text("utf-8")), list[Rule]):
                if rule.id in found:
                    raise Vm2cError(f"read the rules of {file.name}", f"{rule.id} is there twice")
                found[rule.id] = rule
    return tuple(found.values())


def apply(rule: Rule, attributes: Attributes) -> Match | None:
    """Return the match of a rule with a component's attributes, or None."""
    first: tuple[str, Place] | None = None
    for key, patterns in rule.when.items():
        hit = _hit(attributes.get(key, ()), patterns)
        if hit is None:
            return None
        first = first or hit
    if first is None or any(_hit(attributes.get(k, ()), p) for k, p in rule.unless.items()):
        return None
    words = _Lenient({key: values[0][0] for key, values in attributes.items() if values})
    words["value"] = first[0]
    return Match(rule, string.Formatter().vformat(rule.says, (), words), first[1])


def _hit(values: Sequence[tuple[str, Place]], patterns: Sequence[str]) -> tuple[str, Place] | None:
    return next(((v, place) for v, place in values for p in patterns if fnmatchcase(v, p)), None)
