"""An inventory out of an image, by the readers and analyzers that a machine's disk is read with."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from migrate.bases.model import Base, BaseFile, BasePackage, base_file
from migrate.errors import DiskError, EngineError, UsageError
from migrate.generate.known import NEVER
from migrate.guest.open import open_guest
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Guest
from migrate.text import show

if TYPE_CHECKING:
    from migrate.engine import Engine


def make(guest: Guest, reference: str, made_from: str, made_on: str = "", image_id: str = "") -> Base:
    """Return the inventory of the base image whose files a guest has; what no image gets is left out of it.

    Raises DiskError where there is nothing that says what system it is, or for which processor.
    """
    from migrate.analysis import find

    facts = find(guest)
    system, architecture = facts.system, facts.trait("architecture")
    if system is None or not architecture:
        found = "nothing says which distribution it is" if system is None else "nothing says for which processor it is"
        raise DiskError(f"make the inventory of {show(reference)}", found, "name the root of a Linux system")
    packages = {
        BasePackage(name=p.name, version=p.version, architecture=p.architecture, manager=p.manager)
        for p in facts.packages.values()
    }
    return Base(
        reference=reference,
        architecture=architecture,
        system=system.id,
        version=system.version,
        image_id=image_id,
        made_from=made_from,
        made_on=made_on,
        packages=tuple(sorted(packages, key=lambda p: (p.manager, p.name, p.architecture, p.version))),
        files=files_of(guest),
    )


def files_of(guest: Guest) -> tuple[BaseFile, ...]:
    """Return what is compared of everything a guest has, but for what no image gets, sorted by path."""
    entries = [e for e in guest.walk("/") if e.path != "/" and not NEVER.fullmatch(e.path)]
    digests = guest.digests({e.path: "sha256" for e in entries if e.kind == "file"})
    found = (base_file(entry, digests) for entry in entries)
    return tuple(sorted((f for f in found if f is not None), key=lambda f: f.path))


def from_path(path: Path, reference: str, made_on: str = "", notify: Notify = silent) -> Base:
    """Return the inventory of an image in a tar archive, a container image's archive or a directory.

    Raises UsageError where the path is a disk, DiskError for what cannot be read.
    """
    from migrate.guest.inputs import kind_of

    if kind_of(path) in {"image", "appliance"}:
        do = "give a tar archive, what `docker save` wrote, or a directory"
        raise UsageError(f"make an inventory of {show(str(path))}", "it is no root directory and no archive of one", do)
    with open_guest([path], notify=notify) as guest:
        return make(guest, reference, f"the file {path.name}" if path.is_file() else f"the folder {path.name}", made_on)


def from_engine(
    engine: Engine, reference: str, pull: bool = False, notify: Notify = silent, progress: Progress = silent
) -> Base:
    """Return the inventory of an image that the engine has, under the id it has there; `pull` has it fetched first.

    Raises EngineError where the engine has no such image, or one that changes when another is built on it.
    """
    attempted = f"make the inventory of {show(reference)}"
    if pull:
        progress(f"pulling {reference}")
        engine.pull(reference)
    facts = engine.image_facts(reference)
    if facts is None:
        raise EngineError(attempted, "the engine has no such image", "let it fetch the image with --pull")
    if facts.triggers:
        raise EngineError(attempted, "it has ONBUILD steps, which change it when another image is built on it")
    repository = next((d for d in facts.repository_digests), "")
    made_from = f"the engine's image {facts.image_id}" + (f", {repository}" if repository else "")
    with tempfile.TemporaryDirectory(prefix="vm2c-base.") as folder:
        archive = saved(engine, facts.image_id, Path(folder), progress)
        with open_guest([archive], notify=notify, progress=progress) as guest:
            return make(guest, reference, made_from, facts.created, facts.image_id)


def saved(engine: Engine, image: str, folder: Path, progress: Progress = silent) -> Path:
    """Have the engine write an image into `folder` as `docker save` does and return the archive's path.

    Raises EngineError where the engine refuses, or the folder's disk is full.
    """
    progress(f"reading {image}")
    archive = folder / "image.tar"
    try:
        with archive.open("wb") as stream:
            for piece in engine.save(image):
                stream.write(piece)
    except OSError as error:
        found = f"{error.strerror or error} at {folder}"
        raise EngineError(f"read the image {image}", found, "name a folder with more room in TMPDIR") from error
    return archive
