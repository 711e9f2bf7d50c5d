"""The subvolumes of a btrfs: which of them are roots, and which are snapshots that must not be read again.

@                              the root, where fstab or the default says so
@/.snapshots/1/snapshot        snapper's; on openSUSE this one is the root, and the default subvolume
@home
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, must_live
from migrate.guest.mounting.layout import Candidate, FileSystemSeen, PlannedMount, snapshots_in
from migrate.guest.mounting.root import MARKS, SIGNS, WINDOWS, is_root
from migrate.guest.tree import join

TOP = 5
"""The id of a file system's top, which every btrfs has (btrfs-subvolume(8))."""


class Subvolumes(msgspec.Struct, frozen=True):
    """The paths of a file system's subvolumes, by id; `/` is the top. `default` is what a plain mount shows."""

    paths: dict[int, str]
    default: int

    def shown_by(self, mount: PlannedMount) -> str:
        """Return the path of the subvolume that a mount shows, without slashes around it."""
        options = dict(option.partition("=")[::2] for option in mount.options.split(",") if option)
        if "subvol" in options:
            return options["subvol"].strip("/")
        number = options.get("subvolid", "")
        path = self.paths.get(int(number) if number.isdigit() else self.default, "")
        return (mount.seen.subvolume if mount.seen.subvolume and not number else path).strip("/")


def subvolumes(handle: Handle) -> Subvolumes:
    """Return the subvolumes of the btrfs that is mounted at `/`, its top."""
    listed = handle.btrfs_subvolume_list("/")
    paths = {each["btrfssubvolume_id"]: each["btrfssubvolume_path"].strip("/") for each in listed}
    return Subvolumes({TOP: "/", **paths}, handle.btrfs_subvolume_get_default("/") or TOP)


def candidates(handle: Handle, seen: FileSystemSeen, volumes: Subvolumes) -> list[Candidate]:
    """Return the subvolumes of the btrfs mounted at `/` that may be roots: the default first, then by path.

    What lies within another root (a container's layers, snapshots) is none, unless it is the default.
    """
    found: list[Candidate] = []
    order = sorted(volumes.paths.items(), key=lambda item: (item[0] != volumes.default, item[1] != "/", item[1]))
    for number, path in order:
        inside = any(_is_below(path, each.seen.subvolume) for each in found if is_root(each.names))
        if number != volumes.default and (inside or snapshots_in(path) is not None):
            continue
        subvolume = "" if number == volumes.default else path
        directory = "/" if path == "/" else f"/{path}"
        found.append(Candidate(msgspec.structs.replace(seen, subvolume=subvolume), top_names(handle, directory)))
    return found


def _is_below(path: str, above: str) -> bool:
    return above == "/" or (above != "" and path.startswith(f"{above}/"))


def top_names(handle: Handle, directory: str) -> frozenset[str]:
    """Return which of the names that tell a root are in a directory, and `etc/NAME` for the signs of one in use."""
    found = _there(handle, directory, sorted({*MARKS, *WINDOWS}))
    if "etc" in found:
        found |= {f"etc/{name}" for name in _there(handle, join(directory, "etc"), SIGNS)}
    return found


def _there(handle: Handle, directory: str, names: Sequence[str]) -> frozenset[str]:
    try:
        stats = handle.lstatnslist(directory, names)
    except BINDING_ERRORS as error:
        must_live(handle, error)
        return frozenset()
    return frozenset(name for name, each in zip(names, stats, strict=True) if each["st_ino"] != -1)


def nested_snapshots(mount: PlannedMount, volumes: Subvolumes) -> set[str]:
    """Return the guest's directories below a mount that hold snapshots, which show with it."""
    shown = volumes.shown_by(mount)
    prefix = f"{shown}/" if shown else ""
    base = "" if mount.mountpoint == "/" else mount.mountpoint
    below = (path[len(prefix) :] for path in volumes.paths.values() if path != "/" and path.startswith(prefix))
    return {f"{base}/{place}" for path in below if (place := snapshots_in(path)) is not None}
