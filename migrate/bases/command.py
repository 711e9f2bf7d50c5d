"""`vm2c bases`: what is listed, and how an inventory is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migrate.bases.make import from_engine, from_path
from migrate.bases.model import Base, digest
from migrate.bases.store import Known, Listing, keep
from migrate.errors import UsageError
from migrate.guest.progress import Notify, Progress, silent
from migrate.text import show

COLUMNS = ("image", "processor", "packages", "files", "size", "inventory", "made from", "kept in")


def row(known: Known) -> tuple[str, ...]:
    """Return one line of the list, its columns as in COLUMNS."""
    base = known.base
    files = sum(file.kind == "file" for file in base.files)
    made = f"{base.made_from} ({base.made_on})" if base.made_on else base.made_from
    kept = known.place if known.own else "vm2c"
    words = (base.reference, base.architecture, str(len(base.packages)), str(files), f"{base.bytes / 1e6:.0f} MB",
             known.digest[:19], made, kept)  # fmt: skip
    return tuple(map(show, words))


def document(listing: Listing) -> dict[str, Any]:
    """Return the list as the one document of `--format json`; sizes are in bytes."""
    return {
        "bases": [_described(known) for known in listing.known],
        "problems": [str(problem) for problem in listing.problems],
    }


def _described(known: Known) -> dict[str, Any]:
    base = known.base
    return {
        "reference": base.reference,
        "architecture": base.architecture,
        "system": base.system,
        "version": base.version,
        "image_id": base.image_id,
        "inventory": known.digest,
        "packages": [
            {"name": p.name, "version": p.version, "architecture": p.architecture, "manager": p.manager}
            for p in base.packages
        ],
        "files": sum(file.kind == "file" for file in base.files),
        "names": len(base.files),
        "bytes": base.bytes,
        "made_from": base.made_from,
        "made_on": base.made_on,
        "place": known.place,
        "own": known.own,
    }


def refresh(
    references: Sequence[str],
    source: Path | None = None,
    pull: bool = False,
    notify: Notify = silent,
    progress: Progress = silent,
) -> list[Known]:
    """Make inventories of images anew, among the user's own, and return them: of the engine's, or of one in `source`.

    Raises UsageError for what cannot be asked for together, EngineError, DiskError and Vm2cError as making, reading
    and writing do; those that were written before stay.
    """
    if source is not None and (len(references) != 1 or pull):
        found = "--pull is the engine's" if pull else f"{len(references)} references were given"
        raise UsageError(f"make an inventory of {show(str(source))}", found, "give --from FILE --as REF alone")
    for reference in references:
        _check_reference(reference)
    if source is not None:
        return [_kept(from_path(source, references[0], notify=notify))]
    from migrate.engine import Engine

    with Engine.connect() as engine:
        return [_kept(from_engine(engine, ref, pull, notify, progress)) for ref in references]


def _check_reference(reference: str) -> None:
    from migrate.errors import PlanError
    from migrate.generate.quoting import base_image

    try:
        base_image(reference)
    except PlanError as error:
        raise UsageError("make an inventory", error.found, error.do) from error


def _kept(base: Base) -> Known:
    return Known(base=base, digest=digest(base), place=str(keep(base)), own=True)
