"""JSON Schemas of the files vm2c writes, as published; `python -m migrate.schemas` writes them anew."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from migrate.plan.model import Plan

PLAN = "plan.schema.json"
INVENTORY = "inventory.schema.json"


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of plan.yaml, made from the types that read it."""
    schema = msgspec.json.schema(Plan)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vm2c plan",
        "description": "plan.yaml, schema vm2c.plan/1",
        **schema,
    }


def render(schema: dict[str, Any]) -> str:
    """Return a schema's text as it is published."""
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def published(name: str = PLAN) -> str:
    """Return the text of a published schema."""
    return resources.files("migrate.schemas").joinpath(name).read_text("utf-8")


def publish() -> list[Path]:
    """Write the schema files of this checkout."""
    from migrate.schemas.inventory import inventory_schema

    made = {PLAN: plan_schema(), INVENTORY: inventory_schema()}
    paths = [Path(__file__).parent / name for name in made]
    for path, schema in zip(paths, made.values(), strict=True):
        path.write_text(render(schema), "utf-8")
    return paths
