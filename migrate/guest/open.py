"""Opening a machine's disks, whatever they are kept in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from migrate.errors import DiskError, NoSystemError, UsageError
from migrate.guest.archives.oci import OciGuest, open_archive
from migrate.guest.directory import DirectoryGuest
from migrate.guest.images.image import ImageInfo
from migrate.guest.inputs import Kind, images_of, kind_of
from migrate.guest.mounting.keys import Key
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Guest
from migrate.guest.tree import TreeGuest

Reader = Literal["auto", "direct", "guestfs"]


def open_guest(
    disks: Sequence[Path],
    *,
    reader: Reader = "auto",
    root: str | None = None,
    snapshot: str | None = None,
    keys: Sequence[Key] = (),
    allow_backing: Sequence[Path] = (),
    notify: Notify = silent,
    progress: Progress = silent,
) -> Guest:
    """Open the disks of one machine, or a root directory, an archive of one or a container image in their place.

    `reader` is how images are read: `direct` without an appliance or not at all, `guestfs` in libguestfs' appliance,
    `auto` directly where that is certain to give the same, and otherwise through libguestfs. `root` chooses among
    several roots, by device, UUID or label; `snapshot` names an internal snapshot of the images to read instead of
    their present state; `keys` open encrypted volumes. `allow_backing` are directories that an image may name further
    files in. `notify` takes a sentence that the user should see; `progress` what is being done and how far it is.

    Raises UsageError for what cannot be asked for, DiskError for what cannot be read, NoSystemError where no
    system is found.
    """
    if not disks:
        raise UsageError("open a machine", "no disk was given")
    kinds = [kind_of(disk) for disk in disks]
    alone = next((kind for kind in kinds if kind not in {"image", "appliance"}), None)
    if alone is not None:
        _check_alone(alone, len(disks), {"root": root, "snapshot": snapshot, "key": keys})
        return _opened_alone(disks[0], alone, notify, progress)
    with contextlib.ExitStack() as stack:
        infos: list[ImageInfo] = []
        for disk, kind in zip(disks, kinds, strict=True):
            infos += images_of(
                disk, kind=kind, allow_backing=allow_backing, snapshot=snapshot, stack=stack, progress=progress
            )
        if len({info.path for info in infos}) < len(infos):
            raise UsageError("open several disks together", "one of them was given twice")
        guest = _opened(infos, reader, root, keys, notify, progress)
        guest.keep(stack)
        return guest


def _check_alone(kind: Kind, count: int, options: dict[str, object]) -> None:
    article = "an" if kind == "archive" else "a"
    if count > 1:
        found = f"one of them is {article} {kind}"
        raise UsageError("open several disks together", found, f"give {article} {kind} alone")
    given = next((name for name, value in options.items() if value), None)
    if given is not None:
        raise UsageError(f"take --{given}", f"{article} {kind} is one root itself", "leave it away")


def _opened_alone(path: Path, kind: Kind, notify: Notify, progress: Progress) -> Guest:
    if kind == "directory":
        return DirectoryGuest(path)
    if kind == "container image":
        return OciGuest(path, progress, notify)
    return open_archive(path, progress, notify)


def _opened(
    infos: Sequence[ImageInfo],
    reader: Reader,
    root: str | None,
    keys: Sequence[Key],
    notify: Notify,
    progress: Progress,
) -> TreeGuest:
    def mounted() -> TreeGuest:
        from migrate.guest.libguestfs.reader import GuestfsGuest

        return GuestfsGuest(infos, root, notify, progress, keys=keys)

    direct = None
    if reader != "guestfs":
        direct = _opened_directly(infos, root, notify, progress, mounted if reader == "auto" else None)
    return direct or mounted()


def _opened_directly(
    infos: Sequence[ImageInfo],
    root: str | None,
    notify: Notify,
    progress: Progress,
    instead: Callable[[], Guest] | None,
) -> TreeGuest | None:
    """Open images without an appliance; None where that is not certain to be right, once the user has been told why.

    Without `instead` that raises DiskError. NoSystemError and UsageError mean that all was read, and are final.
    """
    from migrate.guest.direct import DirectGuest

    try:
        return DirectGuest(infos, root, progress, notify=notify, instead=instead)
    except NoSystemError:
        raise
    except DiskError as error:
        if instead is None:
            raise DiskError(error.attempted, error.found, error.do or "use --reader auto or guestfs") from error
        notify(f"reading through libguestfs, since it cannot be done directly: {error.found}")
        return None
