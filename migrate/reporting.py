"""What the sections of the report share: taking rows out of inventory.json, any key of which may be missing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_LIST = 400
"""Rows of a table; the rest is counted, and stands in inventory.json."""


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def table(inventory: Mapping[str, Any], key: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a list of the inventory with the values of `names` in each row, empty where one is missing."""
    return [{name: cell(row.get(name)) for name in names} for row in entries(inventory, key)]


def entries(inventory: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the mappings in a list of the inventory as they are."""
    found = inventory.get(key)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list | tuple) else []


def cell(value: object) -> Any:
    """Return what stands in a table's cell: lists as a command line, places as text."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return shlex.join(str(part) for part in value)
    if isinstance(value, Mapping):
        return ":".join(str(part) for part in value.values() if part is not None)
    return value


def number(value: object) -> int:
    """Return a count, 0 where it is none."""
    return int(value) if isinstance(value, int | float) else 0
