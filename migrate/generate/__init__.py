"""From plan and guest to images, manifests and runbook.

    artifacts = generate(plan, guest, secrets)
    write(artifacts, DIR)            # while the guest is still open: large files are read as they are written

Generators are pure: each takes the plan, worked out against the guest, and gives files as values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from migrate import output
from migrate.errors import PlanError
from migrate.generate.context import Context, check, make_context
from migrate.generate.tripwire import Tripwire
from migrate.guest.protocol import Guest
from migrate.model import Secret
from migrate.output import File, Written
from migrate.plan.model import Plan
from migrate.text import show

__all__ = ["OWNER", "Artifacts", "check", "generate", "write"]

OWNER = "generate"
"""The name under which `migrate.output` remembers what was written."""


class Artifacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was generated: files by their name below DIR, and what a person should know about them."""

    files: dict[str, File]
    notices: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """The files' names below DIR, sorted."""
        return sorted(self.files)


def generate(plan: Plan, guest: Guest, secrets: Sequence[Secret]) -> Artifacts:
    """Return everything that a plan becomes. Nothing is written.

    `secrets` are what a fresh scan of the same guest found, values included: no output may hold one. Raises
    PlanStopsError where the plan is undecided or blocked, PlanError where it cannot be turned into containers.
    """
    context = make_context(plan, guest, secrets)
    files = {name: file for target in _targets() for name, file in target(context).items()}
    _check_texts(files, Tripwire(secrets, plan))
    return Artifacts(files=dict(sorted(files.items())), notices=context.notices)


def write(artifacts: Artifacts, folder: Path) -> Written:
    """Make `folder` hold the artifacts, in whole or not at all; see `migrate.output.write`."""
    return output.write(artifacts.files, folder, OWNER)


def _targets() -> Sequence[Callable[[Context], Mapping[str, File]]]:
    return (_images, _compose, _kubernetes, _kubevirt, _runbook)


def _images(context: Context) -> dict[str, File]:
    from migrate.generate.dockerfile import image_files

    return {f"images/{m.id}/{name}": file for m in context.moving for name, file in image_files(m, context).items()}


def _compose(context: Context) -> dict[str, File]:
    from migrate.generate.compose import compose

    return {"compose.yaml": File(compose(context).encode())} if context.pods else {}


def _kubernetes(context: Context) -> dict[str, File]:
    from migrate.generate.kubernetes import kubernetes

    return {f"kubernetes/{name}": file for name, file in kubernetes(context).items()}


def _kubevirt(context: Context) -> dict[str, File]:
    from migrate.generate.kubevirt import kubevirt

    return {f"kubevirt/{name}": file for name, file in kubevirt(context).items()}


def _runbook(context: Context) -> dict[str, File]:
    from migrate.generate.runbook import runbook

    return {"RUNBOOK.md": File(runbook(context).encode())}


def _check_texts(files: Mapping[str, File], tripwire: Tripwire) -> None:
    """Refuse a text that holds a secret: it came in by the plan, since nothing else is written into texts."""
    for name, file in files.items():
        if isinstance(file.content, bytes):
            found = tripwire.in_text(file.content.decode("utf-8", "surrogateescape"))
            if found is not None:
                raise PlanError(
                    f"write {name}",
                    f"it would hold the secret {show(found.id)}, seen in {show(str(found.seen_in))}",
                    "take the value out of plan.yaml: an environment file or a file of its own carries it as a Secret",
                )
