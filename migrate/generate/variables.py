"""A component's environment: which variables are plain, and which come from a Secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from migrate.errors import GuestFileError, PlanError
from migrate.generate.envfile import parse_environment_file, split_environment
from migrate.generate.known import DEFINITIONS
from migrate.generate.rewrites import rewrite_content
from migrate.generate.tripwire import Tripwire
from migrate.guest.protocol import Guest
from migrate.plan.model import Component, SecretRef
from migrate.text import show

_CRON = re.compile(r"""\s*["']?(?P<name>[A-Za-z_]\w*)["']?\s*=\s*(?P<value>.*?)\s*""")


class Variables(msgspec.Struct, frozen=True, kw_only=True):
    """The environment. `secret` maps the names of variables that a Secret carries to where they are read from.

    A variable of an EnvironmentFile wins over the unit's own, and a later file over an earlier one
    (systemd.exec(5)), so a name is in one of both only.
    """

    plain: dict[str, str]
    secret: dict[str, str]


def place_path(seen_in: str) -> str:
    """Return the path of a place of the plan (`/etc/orders/env:1` gives `/etc/orders/env`)."""
    path, colon, line = seen_in.rpartition(":")
    return path if colon and line.isdigit() else seen_in


def secret_refs_in_definition(component: Component) -> list[SecretRef]:
    """Return the secrets that the unit or crontab itself hands over in a variable."""
    return [s for s in component.secrets if s.variable and DEFINITIONS.fullmatch(place_path(s.seen_in))]


def variables(
    component: Component,
    own: Mapping[str, str],
    guest: Guest,
    secret_paths: frozenset[str],
    tripwire: Tripwire,
) -> Variables:
    """Return the environment of a component; `own` is what its definition sets. No secret's value is in the result."""
    plain = dict(own)
    secret: dict[str, str] = {}
    for ref in secret_refs_in_definition(component):
        plain.pop(ref.variable, None)
        secret[ref.variable] = ref.seen_in
    for path in environment_paths(component, guest):
        content = _content(component, path, guest, secret_paths)
        hidden = path in secret_paths or tripwire.in_chunks([content]) is not None
        for name, value in parse_environment_file(content.decode("utf-8", "surrogateescape")).items():
            plain.pop(name, None)
            secret.pop(name, None)
            if hidden:
                secret[name] = path
            else:
                plain[name] = value
    return Variables(plain=dict(sorted(plain.items())), secret=dict(sorted(secret.items())))


def environment_paths(component: Component, guest: Guest) -> list[str]:
    """Return the component's files of variables in order, patterns expanded. Raises PlanError for a missing one."""
    found: list[str] = []
    for file in component.environment_files:
        paths = guest.glob(file.path) if set(file.path) & set("*?[") else [file.path]
        paths = [p for p in paths if guest.is_file(p)]
        if not paths and not file.optional:
            raise PlanError(
                f"read the variables of {component.id}",
                f"{show(file.path)} is no file on the disk",
                "correct environment_files in plan.yaml, or mark it `optional: true`",
            )
        found.extend(paths)
    return found


def secret_values(component: Component, names: Mapping[str, str], guest: Guest) -> dict[str, str]:
    """Return the values of the variables `names` (name to place), rewritten. Only `extract` may call this.

    Raises PlanError where a place no longer holds its variable.
    """
    values: dict[str, str] = {}
    for name, seen_in in names.items():
        path = place_path(seen_in)
        content = _content(component, path, guest, frozenset({path}))
        text = content.decode("utf-8", "surrogateescape")
        defined = DEFINITIONS.fullmatch(path) is not None
        found = _defined(text, seen_in, name) if defined else parse_environment_file(text).get(name)
        if found is None:
            raise PlanError(f"extract {name} for {component.id}", f"{show(seen_in)} does not set it", "generate again")
        values[name] = found
    return values


def _content(component: Component, path: str, guest: Guest, secret_paths: frozenset[str]) -> bytes:
    edits = [r for r in component.rewrites if r.path == path]
    try:
        return rewrite_content(guest.read(path), edits, path in secret_paths)
    except GuestFileError as error:
        raise PlanError(f"read the variables of {component.id}", str(error), "correct plan.yaml") from error


def _defined(text: str, seen_in: str, name: str) -> str | None:
    lines = text.split("\n")
    number = int(seen_in.rpartition(":")[2]) if seen_in.rpartition(":")[2].isdigit() else 0
    if not 1 <= number <= len(lines):
        return None
    line = lines[number - 1].removesuffix("\\")
    if "/systemd/" in place_path(seen_in):
        return split_environment(line.strip().removeprefix("Environment=")).get(name)
    match = _CRON.fullmatch(line)
    if match is None or match["name"] != name:
        return split_environment(line).get(name)
    value = match["value"]
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"  # crontab(5)
    return value[1:-1] if quoted else value
