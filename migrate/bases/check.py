"""Whether the base image that an engine has is the one that something was left to: tags move.

An image's id is the digest of its configuration, which names its layers by digest (image-spec, config.md): the same
id is the same files. An image of another id is read, as `docker save` gives it, and each file compared: nothing
is run in it, so neither its shell nor its programs are believed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from migrate.bases.make import saved
from migrate.bases.model import NAME, BaseFile, LeftToBase, base_file
from migrate.engine import Engine
from migrate.errors import DiskError, EngineError
from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from migrate.text import show

_LARGEST = 256 << 20  # bytes: an image that leaves half a million files to its base has 100 MB here


class BaseMovedError(EngineError):
    """The engine's base image is not what was counted on when the image was generated."""


def read_left(context: Path) -> LeftToBase | None:
    """Return what an image leaves to its base, from its folder; None where it leaves nothing. Raises EngineError."""
    path = context / NAME
    do = "run vm2c generate again"
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST + 1)
        left = msgspec.json.decode(text[:_LARGEST], type=LeftToBase)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"read {path}", error.strerror or str(error), do) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise EngineError(f"read {path}", show(str(error)), do) from error
    return left if left.relied_on() else None


def differences(wanted: Iterable[BaseFile], guest: Guest) -> list[str]:
    """Return the paths, sorted, that a base image has not or has otherwise."""
    expected = {file.path: file for file in wanted}
    entries = {path: entry for path in expected if (entry := guest.lstat(path)) is not None and entry.path == path}
    digests = guest.digests({path: "sha256" for path, entry in entries.items() if entry.kind == "file"})
    return sorted(
        path for path, file in expected.items() if path not in entries or base_file(entries[path], digests) != file
    )


class BaseChecker:
    """Holds base images against what was left to them; an image is read once for all that is asked of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._same: dict[str, set[BaseFile]] = {}

    def check(self, left: LeftToBase) -> str:
        """Return the id of the engine's base image, or an empty text where it has none.

        Raises BaseMovedError where a file that was left to it is missing there or differs.
        """
        image_id = self._engine.image_id(left.base)
        if image_id is None:
            return ""
        if left.image_id != image_id:
            self._compare(left, image_id)
        return image_id

    def _compare(self, left: LeftToBase, image_id: str) -> None:
        wanted = set(left.relied_on()) - self._same.get(image_id, set())
        if not wanted:
            return
        with tempfile.TemporaryDirectory(prefix="vm2c-base.") as folder:
            archive = saved(self._engine, image_id, Path(folder))
            try:
                with open_guest([archive]) as guest:
                    differing = differences(wanted, guest)
            except DiskError as error:  # one without a system among them: it has nothing of what was left to it
                raise BaseMovedError(f"build on {left.base}", error.found, _refresh(left)) from error
        if differing:
            first = ", ".join(show(path) for path in differing[:3])
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise BaseMovedError(
                f"build on {left.base}",
                f"the engine's image is not the one that was counted on: {first}{more} differ there or are missing",
                _refresh(left),
            )
        self._same.setdefault(image_id, set()).update(wanted)


def _refresh(left: LeftToBase) -> str:
    return f"refresh with vm2c bases --refresh {left.base}, then analyze and generate again"
