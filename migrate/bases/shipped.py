"""The inventories that vm2c brings: how they are made, by `python -m migrate.bases`.

Of debuerreotype (github.com/debuerreotype/debuerreotype, scripts/.slimify-excludes and .slimify-includes), which makes
Docker Hub's Debian images, the paths that its slim ones are without.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from migrate.bases.make import from_path
from migrate.bases.model import Base, BaseFile
from migrate.bases.store import file_name, stored

DATA = Path(__file__).parent / "data"

_SLIM_EXCLUDES = re.compile(r"/usr/share/(?:doc|groff|info|linda|lintian/overrides|locale|man)/.*")
_SLIM_INCLUDES = re.compile(
    r"/usr/share/doc/.*/copyright|/usr/share/doc/kde/HTML/C/.*|/usr/share/gnome/help/.*/C/.*"
    r"|/usr/share/locale/(?:all_languages|currency/.*|l10n/.*|languages|locale\.alias)|/usr/share/omf/.*/.*-C\.emf"
)


def slim(files: Iterable[BaseFile]) -> tuple[BaseFile, ...]:
    """Return the files of a Debian image that its slim variant has: no documentation but for copyrights.

    Links that then lead nowhere and empty directories go too, until there are none (scripts/debuerreotype-slimify).
    """
    kept = {f.path: f for f in files if f.kind != "file" or _stays(f.path)}
    while True:
        parents = {path.rpartition("/")[0] for path in kept}
        gone = [
            path
            for path, file in kept.items()
            if not _stays(path)
            and (
                (file.kind == "directory" and path not in parents)
                or (file.kind == "symlink" and _leads(file) not in kept)
            )
        ]
        if not gone:
            return tuple(kept.values())
        for path in gone:
            del kept[path]


def _stays(path: str) -> bool:
    return not _SLIM_EXCLUDES.fullmatch(path) or _SLIM_INCLUDES.fullmatch(path) is not None


def _leads(link: BaseFile) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))


def ship(path: Path, reference: str, made_from: str, made_on: str, is_slim: bool = False, data: Path = DATA) -> Path:
    """Write the inventory of what is in a file among those that vm2c brings, and return its path."""
    base: Base = msgspec.structs.replace(from_path(path, reference, made_on), made_from=made_from)
    if is_slim:
        base = msgspec.structs.replace(base, files=slim(base.files))
    data.mkdir(exist_ok=True)
    target = data / file_name(base.reference, base.architecture)
    target.write_bytes(stored(base))
    return target
