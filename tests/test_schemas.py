from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest
import yaml

from migrate.account import account
from migrate.inventory import encode, inventory
from migrate.join import join
from migrate.model import Application, Place
from migrate.plan.propose import Chosen, propose
from migrate.plan.store import render_plan
from migrate.schemas import INVENTORY, plan_schema, published, render
from migrate.schemas.inventory import inventory_schema
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


def test_an_inventory_fits_its_schema() -> None:
    schema = json.loads(published(INVENTORY))
    assert published(INVENTORY) == render(inventory_schema()), "run: python -m migrate.schemas"
    jsonschema.Draft202012Validator.check_schema(schema)
    found = facts(Application(root="/srv/orders", ecosystem="pypi", name="orders", seen_in=Place("/srv/orders", 1)))
    joined = join(found)
    document = json.loads(encode(inventory(found, joined, account(found, joined, found.comparison))))
    jsonschema.validate(document, schema)
    assert set(schema["properties"]) == set(document), "a key of the inventory that the schema does not know"
    assert set(schema["properties"]["files"]["properties"]) == set(document["files"])
    assert document["applications"][0]["run_by"]
    for key, wrong in (("services", "nginx"), ("files", []), ("schema", "vm2c.inventory/2")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | {key: wrong}, schema)
    del document["services"][0]["command"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_an_unknown_key_does_not_fit_either() -> None:
    found = facts()
    document = msgspec.to_builtins(propose(found, join(found), Chosen(), ""))
    document["components"][0]["comand"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(published()))
