"""What a person names as a machine's disks: images, virtual appliances, archives and directories, told apart."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from migrate.errors import DiskError
from migrate.guest.archives.oci import is_image_directory
from migrate.guest.archives.tarball import is_tar
from migrate.guest.images.image import ImageInfo, describe, describe_stored
from migrate.guest.images.ova import is_ova, open_ova
from migrate.guest.progress import Progress, silent

Kind = Literal["image", "appliance", "archive", "directory", "container image"]


def kind_of(path: Path) -> Kind:
    """Return what to read a path as. What cannot even be looked at is an image: `describe` says why not.

    Raises DiskError where a program that is needed to look into it is missing.
    """
    try:
        if path.is_dir():
            if is_ova(path):
                return "appliance"
            return "container image" if is_image_directory(path) else "directory"
        if not path.is_file():
            return "image"
        if is_ova(path):
            return "appliance"
        return "archive" if is_tar(path) else "image"
    except OSError:
        return "image"


def images_of(
    path: Path,
    *,
    kind: Kind | None = None,
    allow_backing: Sequence[Path] = (),
    snapshot: str | None = None,
    stack: contextlib.ExitStack,
    progress: Progress = silent,
) -> list[ImageInfo]:
    """Return the disk images that a path is: itself, or a virtual appliance's in the order the machine has them.

    `kind` is what `kind_of` said of it, where that is known. What had to be unpacked is there until `stack` is closed.
    Raises DiskError.
    """
    if (kind or kind_of(path)) != "appliance":
        return [describe(path, allow_backing, snapshot=snapshot, stack=stack, progress=progress)]
    machine = open_ova(path, stack, progress)
    found = [
        describe_stored(each, str(path / each.name), allow_backing, stack=stack, snapshot=snapshot, progress=progress)
        for each in machine.disks
    ]
    if not found:
        raise DiskError(f"open {path}", "the machine that it describes has no disk")
    return [msgspec.structs.replace(found[0], notes=(*machine.problems, *found[0].notes)), *found[1:]]
