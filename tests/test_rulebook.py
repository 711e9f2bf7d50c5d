from __future__ import annotations

import pytest

from migrate.model import Place
from migrate.rulebook import Attributes, Rule, apply, rules


def _attributes(values: dict[str, str]) -> Attributes:
    return {key: [(value, Place("/etc/unit", 3))] for key, value in values.items()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_a_rule_matches_what_its_examples_say(rule: Rule) -> None:
    assert rule.examples.match
    assert rule.examples.no_match
    for example in rule.examples.match:
        match = apply(rule, _attributes(example))
        assert match is not None, example
        assert match.seen_in == Place("/etc/unit", 3)
        assert "{" not in match.says
    for example in rule.examples.no_match:
        assert apply(rule, _attributes(example)) is None, example


def test_a_rule_says_where_its_knowledge_comes_from() -> None:
    for rule in rules():
        assert 0 < rule.weight <= 1
        assert rule.why
        assert rule.source


def test_what_a_machine_says_is_never_a_template() -> None:
    rule = next(r for r in rules() if r.id == "foreground-known")
    match = apply(rule, _attributes({"foreground": "{id.__class__} {value}"}))
    assert match is not None
    assert match.says == "{id.__class__} {value}"
