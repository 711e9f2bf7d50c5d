"""Opening a machine's disks, whatever they are kept in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from migrate.errors import DiskError, NoSystemError, UsageError
from migrate.guest.directory import DirectoryGuest
from migrate.guest.image import ImageInfo, describe
from migrate.guest.progress import Notify, Progress, silent
from migrate.guest.protocol import Guest
from migrate.guest.tarball import TarGuest, is_tar

Reader = Literal["auto", "direct", "guestfs"]


def open_guest(
    disks: Sequence[Path],
    *,
    reader: Reader = "auto",
    root: str | None = None,
    allow_backing: Sequence[Path] = (),
    notify: Notify = silent,
    progress: Progress = silent,
) -> Guest:
    """Open the disks of one machine, or a root directory or an archive of one in their place.

    `reader` is how images are read: `direct` without an appliance or not at all, `guestfs` in libguestfs' appliance,
    `auto` directly where that is certain to give the same, and otherwise through libguestfs. `root` chooses among
    several roots, by device, UUID or label. `allow_backing` are directories that an image may name further files in.
    `notify` takes a sentence that the user should see; `progress` takes what is being done and how far it is.

    Raises UsageError for what cannot be asked for, DiskError for what cannot be read, NoSystemError where no
    system is found.
    """
    if not disks:
        raise UsageError("open a machine", "no disk was given")
    kinds = [_kind(disk) for disk in disks]
    alone = next((kind for kind in kinds if kind != "image"), None)
    if alone is not None:
        if len(disks) > 1:
            found = f"one of them is {'a directory' if alone == 'directory' else 'an archive'}"
            raise UsageError("open several disks together", found, "give a root directory or an archive alone")
        if root is not None:
            raise UsageError("choose a root", "a directory or an archive is one root itself", "leave --root away")
        return DirectoryGuest(disks[0]) if alone == "directory" else TarGuest(disks[0], progress)
    infos = [describe(disk, allow_backing) for disk in disks]
    if len({info.path for info in infos}) < len(infos):
        raise UsageError("open several disks together", "one of them was given twice")

    def mounted() -> Guest:
        from migrate.guest.libguestfs import GuestfsGuest

        return GuestfsGuest(infos, root, notify, progress)

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
) -> Guest | None:
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


def _kind(path: Path) -> Literal["directory", "tar", "image"]:
    """Return what to read a path as. What cannot even be looked at is an image: `describe` says why not."""
    if path.is_dir():
        return "directory"
    try:
        if not path.is_file() or not is_tar(path):
            return "image"
    except OSError:
        return "image"
    return "tar"
