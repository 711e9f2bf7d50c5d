"""What `vm2c analyze` wrote into a folder, read back and checked: the plan, the graph, and parts of the inventory.

The files may have been edited, or come from somebody else: each is held against its shape before anything is said.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from migrate.errors import Vm2cError
from migrate.exchange.model import Graph
from migrate.inventory import encode
from migrate.plan.model import Plan
from migrate.plan.store import read_plan
from migrate.text import show

LARGEST = 1 << 30
"""A file of more bytes than this was not written by an analysis; reading it would only use memory."""

T = TypeVar("T")


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the inventory's rows: what is not used here is passed over."""


class Variable(_Row, frozen=True):
    """A variable of the environment."""

    name: str
    value: str
    seen_in: str


class EnvironmentFile(_Row, frozen=True):
    """A file of variables."""

    path: str
    optional: bool
    seen_in: str


class Setting(_Row, frozen=True):
    """One effective line of a unit, and the file that it stands in."""

    name: str
    value: str
    seen_in: str


class Service(_Row, frozen=True):
    """A unit, an init script, or a supervised program."""

    id: str
    manager: str
    enabled: bool
    unit: str
    type: str
    description: str
    command: list[str]
    before: list[list[str]]
    user: str
    group: str
    working_directory: str
    environment: list[Variable]
    environment_files: list[EnvironmentFile]
    settings: list[Setting]
    after: list[str]
    requires: list[str]
    wants: list[str]
    aliases: list[str]
    package: str
    seen_in: str


class Job(_Row, frozen=True):
    """Something that runs at times."""

    id: str
    manager: str
    enabled: bool
    schedule: str | None
    original: str
    command: list[str]
    user: str
    environment: list[Variable]
    service: str
    at_boot: bool
    timezone: str
    seen_in: str


class Listen(_Row, frozen=True):
    """Where a unit listens; `assumed` where nothing on the disk says so."""

    service: str
    port: int | None
    protocol: str
    address: str
    path: str
    assumed: bool
    seen_in: str


class Use(_Row, frozen=True):
    """A path that a unit uses."""

    service: str
    path: str
    role: str
    says: str
    seen_in: str


class Package(_Row, frozen=True):
    """An installed package."""

    name: str
    version: str
    architecture: str
    seen_in: str


class Runner(_Row, frozen=True):
    """Who runs an application."""

    id: str
    seen_in: str


class Application(_Row, frozen=True):
    """Code that nobody packaged."""

    root: str
    ecosystem: str
    name: str
    version: str
    run_by: list[Runner]
    seen_in: str


class Difference(_Row, frozen=True):
    """In what a changed file differs from its package's."""

    aspect: str
    shipped: str
    found: str


class Change(_Row, frozen=True):
    """A packaged file that somebody changed; `diff` is how, line by line, where the original could be had."""

    path: str
    package: str
    differences: list[Difference]
    diff: list[str] | None
    seen_in: str


class Compared(_Row, frozen=True):
    """Whether packaged files were compared with their packages."""

    done: bool


class Files(_Row, frozen=True):
    """The account of the disk, as far as it is told again."""

    compared: Compared
    changes: list[Change]


class Secret(_Row, frozen=True):
    """A secret's place."""

    id: str
    kind: str
    name: str
    seen_in: str


class Unread(_Row, frozen=True):
    """What could not be read or understood."""

    path: str
    why: str
    analyzer: str


class Inventory(_Row, frozen=True):
    """inventory.json, as far as it is told again (its whole shape: migrate/schemas/inventory.schema.json)."""

    schema_: Literal["vm2c.inventory/1"] = msgspec.field(name="schema")
    packages: list[Package]
    applications: list[Application]
    files: Files
    services: list[Service]
    jobs: list[Job]
    listens: list[Listen]
    data: list[Use]
    logs: list[Use]
    secrets: list[Secret]
    unread: list[Unread]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All three. `belongs` tells whether the plan was made from this inventory."""

    plan: Plan
    graph: Graph
    inventory: Inventory
    belongs: bool


def read_found(directory: Path) -> Found:
    """Read what an analysis wrote. Raises Vm2cError where a file is missing, or is not what an analysis writes."""
    plan = read_plan(directory / "plan.yaml")
    graph = _decoded(directory / "graph.json", _content(directory / "graph.json"), Graph)
    path = directory / "inventory.json"
    content = _content(path)
    inventory = _decoded(path, content, Inventory)
    return Found(plan=plan, graph=graph, inventory=inventory, belongs=_digest(path, content) == plan.source.inventory)


def _content(path: Path) -> bytes:
    attempted = f"read {path}"
    try:
        if path.stat().st_size > LARGEST:
            raise Vm2cError(attempted, f"it is larger than {LARGEST >> 30} GiB", "analyze again")
        return path.read_bytes()
    except FileNotFoundError:
        raise Vm2cError(attempted, "there is no such file", "run `vm2c analyze DISK` again") from None
    except OSError as error:
        raise Vm2cError(attempted, error.strerror or type(error).__name__, "analyze again") from error


def _decoded(path: Path, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = f"it is not what an analysis of this version writes: {show(str(error))[:200]}"
        raise Vm2cError(f"use {path}", found, "run `vm2c analyze DISK` again") from error


def _digest(path: Path, content: bytes) -> str:
    """Return the digest that a plan made from this inventory names: which reader read the disk is no part of it."""
    document: dict[str, Any] = _decoded(path, content, dict[str, Any])
    source = document.get("source")
    if isinstance(source, dict):
        source.pop("reader", None)
    try:
        return "sha256:" + hashlib.sha256(encode(document)).hexdigest()
    except (RecursionError, OverflowError):  # no inventory is so deep, or counts so far
        return ""
