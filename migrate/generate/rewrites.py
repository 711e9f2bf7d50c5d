"""The plan's rewrites: one edit of one line each, in a file that goes along or in what a unit's file defines."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from migrate.errors import PlanError
from migrate.generate.known import DEFINITIONS
from migrate.guest.protocol import Guest
from migrate.plan.model import Component, Rewrite
from migrate.text import show

_SHOWN = 200  # characters of a line in a message


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What a component runs, after the rewrites of the unit or crontab that defines it."""

    command: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...]
    environment: dict[str, str]


def in_definition(rewrite: Rewrite) -> bool:
    """Tell whether a rewrite is of a unit, a crontab or an init script, which no image holds."""
    return DEFINITIONS.fullmatch(rewrite.path) is not None


def rewrite_content(content: bytes, rewrites: Iterable[Rewrite], secret: bool) -> bytes:
    """Return a file's content after its rewrites: on each named line, the first occurrence is replaced.

    Raises PlanError, naming path:line, where the line is not there or does not hold the text. What stands
    there is shown unless the file is `secret`.
    """
    lines = content.split(b"\n")
    for rewrite in rewrites:
        before, after = _bytes(rewrite.from_), _bytes(rewrite.to)
        if not before or not 1 <= rewrite.line <= len(lines) or before not in lines[rewrite.line - 1]:
            raise _not_there(rewrite, lines, secret)
        lines[rewrite.line - 1] = lines[rewrite.line - 1].replace(before, after, 1)
    return b"\n".join(lines)


def rewritten_definition(component: Component, guest: Guest) -> Definition:
    """Return the command, preparations and variables of a component after the rewrites of their definition.

    Raises PlanError where a rewrite's line does not hold its text, or nothing in the plan comes from that line.
    """
    command = list(component.command)
    prepare = [list(argv) for argv in component.prepare]
    environment = dict(component.environment)
    for rewrite in filter(in_definition, component.rewrites):
        # A unit's line can hold a secret beside what is rewritten, so it is never shown.
        rewrite_content(guest.read(rewrite.path), [rewrite], secret=True)
        line = guest.text(rewrite.path).split("\n")[rewrite.line - 1]
        if not _change(rewrite, line, command, prepare, environment):
            raise PlanError(
                f"rewrite {show(rewrite.path)}:{rewrite.line}",
                f"'{show(rewrite.from_)}' is in no argument or variable of {component.id}",
                "remove the rewrite, or change the component's command or environment in plan.yaml",
            )
    return Definition(command=tuple(command), prepare=tuple(map(tuple, prepare)), environment=environment)


def _change(rewrite: Rewrite, line: str, command: list[str], prepare: list[list[str]], env: dict[str, str]) -> bool:
    """Replace the text in the variable or argument that stands on that line; one that is alone need not stand there."""
    for name, value in env.items():
        if f"{name}=" in line and rewrite.from_ in value:
            env[name] = value.replace(rewrite.from_, rewrite.to, 1)
            return True
    places = [(argv, i) for argv in (command, *prepare) for i, arg in enumerate(argv) if rewrite.from_ in arg]
    here = [(argv, i) for argv, i in places if argv[i] in line]
    if not here and len(places) > 1:
        return False
    for argv, i in here[:1] or places:
        argv[i] = argv[i].replace(rewrite.from_, rewrite.to, 1)
        return True
    return False


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _not_there(rewrite: Rewrite, lines: list[bytes], secret: bool) -> PlanError:
    if rewrite.line > len(lines) or rewrite.line < 1:
        found = f"the file has {len(lines)} lines"
    elif secret:
        found = f"the line does not hold '{show(rewrite.from_)}' (it is not shown: the file holds secrets)"
    else:
        text = lines[rewrite.line - 1].decode("utf-8", "surrogateescape")
        found = f"'{show(rewrite.from_)}' is not on the line, which is '{show(text)[:_SHOWN]}'"
    return PlanError(f"rewrite {show(rewrite.path)}:{rewrite.line}", found, "correct the rewrite, or analyze again")
