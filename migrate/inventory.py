"""inventory.json: what was found, schema vm2c.inventory/1. The same disk gives the same bytes."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from migrate.account import Account
from migrate.applications import run_by
from migrate.facts import Facts
from migrate.filelist import file_list
from migrate.join import Joined
from migrate.model import (
    Application,
    Fact,
    Group,
    Hardware,
    HostName,
    Interface,
    Job,
    LanguagePackage,
    Listen,
    Mount,
    Package,
    Place,
    Secret,
    Service,
    Unread,
    User,
    Uses,
)
from migrate.text import show

SCHEMA = "vm2c.inventory/1"


def inventory(facts: Facts, joined: Joined, files: Account) -> dict[str, Any]:
    """Return the inventory as JSON values, sorted, with no secret's value (texts are redacted by the writer)."""
    return {
        "schema": SCHEMA,
        "source": _plain(facts.guest.source),
        "os": _system(facts),
        "packages": _packages(facts),
        "language_packages": _rows(facts.of(LanguagePackage)),
        "applications": _applications(facts, joined),
        "files": file_list(files),
        "services": [_service(facts, s) for s in sorted(facts.of(Service), key=lambda s: s.id)],
        "jobs": _rows(facts.of(Job)),
        "listens": _rows(facts.of(Listen)),
        "edges": [_plain(t) for t in joined.ties],
        "users": _rows(facts.of(User)),
        "groups": _rows(facts.of(Group)),
        "mounts": _rows(facts.of(Mount)),
        "network": _rows(facts.of(Interface)),
        "hosts": _rows(facts.of(HostName)),
        "data": _rows(u for u in facts.of(Uses) if u.role == "data"),
        "logs": _rows(u for u in facts.of(Uses) if u.role == "log"),
        "secrets": _rows(facts.of(Secret)),
        "hardware": _rows(facts.of(Hardware)),
        "unread": [
            {"path": str(u.seen_in), "why": u.why, "analyzer": u.analyzer}
            for u in sorted(_unread(facts, joined), key=lambda u: (u.seen_in.path, u.why, u.analyzer))
        ],
    }


def _unread(facts: Facts, joined: Joined) -> set[Unread]:
    compared = {Unread(seen_in=Place(path), why=why, analyzer="packages") for path, why in facts.comparison.unread}
    return {*facts.of(Unread), *joined.unread, *compared}


def _rows(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    rows = [_plain(fact) for fact in facts]
    return sorted(rows, key=encode)


@functools.cache
def _names(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Return the fields' names as they are written, and as they are. Asked each time they took 60 of 80 ms."""
    return [(field.encode_name, field.name) for field in msgspec.structs.fields(kind)]


def _plain(value: Any) -> Any:  # JSON out
    """Return JSON values: places as text, secrets without their value. `encode` escapes what needs it."""
    if isinstance(value, Place):
        return str(value)
    if isinstance(value, Secret):
        return {"id": value.id, "kind": value.kind, "name": value.name, "seen_in": str(value.seen_in)}
    if isinstance(value, msgspec.Struct):
        return {shown: _plain(getattr(value, name)) for shown, name in _names(type(value))}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _system(facts: Facts) -> dict[str, Any]:
    system = facts.system
    return {
        "family": system.family if system else "linux",
        "id": system.id if system else "",
        "version": system.version if system else "",
        "name": system.name if system else "",
        "codename": system.codename if system else "",
        **{key: facts.trait(key) for key in ("architecture", "hostname", "init", "timezone", "locale")},
        "end_of_life": facts.trait("end_of_life") or None,
        "end_of_extended_support": facts.trait("end_of_extended_support") or None,
        "seen_in": str(system.seen_in) if system else "",
    }


def _packages(facts: Facts) -> list[dict[str, Any]]:
    rows = []
    for package in sorted(facts.of(Package), key=lambda p: (p.name, p.architecture)):
        row = _plain(package)
        row.pop("depends")
        rows.append(row)
    return rows


def _applications(facts: Facts, joined: Joined) -> list[dict[str, Any]]:
    runners = run_by(facts, joined)
    rows = [
        _plain(each) | {"run_by": [_plain(runner) for runner in runners.get(each.root, ())]}
        for each in facts.of(Application)
    ]
    return sorted(rows, key=encode)


def _service(facts: Facts, service: Service) -> dict[str, Any]:
    row: dict[str, Any] = _plain(service)
    row["package"] = facts.owner(service.command[0] if service.command else "") or facts.owner(service.unit)
    return row


def encode(document: dict[str, Any]) -> bytes:
    """Return a document's bytes: UTF-8, two spaces, a newline at the end; no character that hides or turns text."""
    return msgspec.json.format(msgspec.json.encode(_shown(document)), indent=2) + b"\n"


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return show(value)
    if isinstance(value, dict):
        return {show(k): _shown(v) for k, v in value.items()}
    return [_shown(v) for v in value] if isinstance(value, list | tuple) else value
