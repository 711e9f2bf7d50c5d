from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest
import yaml

from migrate.join import join
from migrate.plan.propose import Chosen, propose
from migrate.plan.store import render_plan
from migrate.schemas import plan_schema, published, render
from tests.shop import facts


def test_the_published_schema_is_that_of_the_types() -> None:
    assert published() == render(plan_schema()), "run: python -m migrate.schemas"


def test_a_proposed_plan_fits_it_and_a_misspelt_one_does_not() -> None:
    found = facts()
    document = yaml.safe_load(render_plan(propose(found, join(found), Chosen(("web01.qcow2",)), "sha256:00")))
    schema = json.loads(published())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    document["components"][0]["decision"] = "containerise"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_an_unknown_key_does_not_fit_either() -> None:
    found = facts()
    document = msgspec.to_builtins(propose(found, join(found), Chosen(), ""))
    document["components"][0]["comand"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(published()))
