"""The JSON Schema of inventory.json, made from the types of what is found."""

from __future__ import annotations

from typing import Any

import msgspec

from migrate.account import CLASSES
from migrate.applications import Runner
from migrate.changes.model import Difference, Leftover
from migrate.guest.protocol import Source
from migrate.inventory import SCHEMA
from migrate.join import Tie
from migrate.model import (
    Application,
    Group,
    Hardware,
    HostName,
    Interface,
    Job,
    LanguagePackage,
    Listen,
    Mount,
    Package,
    Service,
    User,
    Uses,
)

_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_RATIO: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
_ROWS = {
    "language_packages": LanguagePackage, "jobs": Job, "listens": Listen, "edges": Tie, "users": User, "groups": Group,
    "mounts": Mount, "network": Interface, "hosts": HostName, "data": Uses, "logs": Uses, "hardware": Hardware,
}  # fmt: skip
_OS = ("family", "id", "version", "name", "codename", "architecture", "hostname", "init", "timezone", "locale")


def inventory_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of inventory.json. A place is a text: path, or path:line."""
    types = {*_ROWS.values(), Source, Package, Service, Application, Runner, Difference, Leftover}
    _, found = msgspec.json.schema_components(sorted(types, key=lambda t: t.__name__), ref_template="#/$defs/{name}")
    found["Place"] = {"type": "string", "description": "A path on the guest, then the line where there is one."}
    for definition in found.values():
        if "properties" in definition:
            definition["required"] = sorted(definition["properties"])
            for each in definition["properties"].values():
                each.pop("default", None)
    _change(found["Package"], without="depends")
    _change(found["Service"], package=_TEXT)
    _change(found["Application"], run_by=_list(_ref("Runner")))
    _change(found["Source"], reader=_TEXT)
    found["Secret"] = _object(id=_TEXT, kind=_TEXT, name=_TEXT, seen_in=_ref("Place"))
    keys = {
        "schema": {"const": SCHEMA},
        "source": _ref("Source"),
        "os": _object(
            **dict.fromkeys(_OS, _TEXT),
            seen_in=_TEXT,
            end_of_life={"type": ["string", "null"]},
            end_of_extended_support={"type": ["string", "null"]},
        ),
        "packages": _list(_ref("Package")),
        "services": _list(_ref("Service")),
        "applications": _list(_ref("Application")),
        "secrets": _list(_ref("Secret")),
        **{key: _list(_ref(kind.__name__)) for key, kind in _ROWS.items()},
        "files": _files(),
        "unread": _list(_object(path=_TEXT, why=_TEXT, analyzer=_TEXT)),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vm2c inventory",
        "description": f"inventory.json, schema {SCHEMA}",
        **_object(**keys),
        "$defs": found,
    }


def _files() -> dict[str, Any]:
    size = _object(files=_COUNT, bytes=_COUNT)
    item = _object(path=_TEXT, files=_COUNT, bytes=_COUNT)
    kind = {"enum": list(CLASSES)}
    text_or_none = {"type": ["string", "null"]}
    change = _object(
        path=_TEXT, package=_TEXT, seen_in=_ref("Place"), differences=_list(_ref("Difference")),
        diff={"type": ["array", "null"], "items": _TEXT}, diff_source=text_or_none, no_diff=text_or_none,
        **{"class": kind},
    )  # fmt: skip
    return _object(
        total=size,
        accounted=_object(files=_COUNT, bytes=_COUNT, files_ratio=_RATIO, bytes_ratio=_RATIO),
        classes=_object(**dict.fromkeys(CLASSES, size)),
        rules=_list({"type": "object", "required": ["rule", "class", "files", "bytes"]}),
        largest={"type": "object", "additionalProperties": _list(item), "propertyNames": kind},
        unknown=_list(item),
        paths=_list(_object(path=_TEXT, why=_TEXT, rule=_TEXT, **{"class": kind})),
        compared=_object(files=_COUNT, of=_COUNT, done={"type": "boolean"}, unread={"type": "array"}),
        changes=_list(change),
        explained={"type": "array"},
        leftovers=_list(_ref("Leftover")),
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _change(definition: dict[str, Any], without: str = "", **more: dict[str, Any]) -> None:
    """Change a type's definition in the way in which the inventory writes it."""
    definition["properties"] = {k: v for k, v in definition["properties"].items() if k != without} | more
    definition["required"] = sorted(definition["properties"])
