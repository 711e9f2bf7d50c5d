"""Service definitions of s6-rc (its source format) and service directories of s6-overlay, and what a boot brings up.

skarnet.org/software/s6-rc/s6-rc-compile.html "Source format"; just-containers/s6-overlay, README. s6-rc boots from a
compiled database: the definitions are read as it was made from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from analyzers._init import booted
from analyzers._reading import Reader, meaningful
from migrate.model import Place

OVERLAY = "/etc/s6-overlay/s6-rc.d"
SOURCES = (OVERLAY, "/etc/s6-rc/source", "/etc/s6/sv", "/etc/s6/adminsv", "/etc/s6-rc/sv")
LEGACY = "/etc/services.d"  # s6-overlay 1 and 2, and 3 for their sake
IMAGE = "/etc/s6-linux-init/current/run-image/service"
_MAX_NAMES = 2000


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is no bundle: `bundle` and `place` say what brings it up, None where a boot does not."""

    name: str
    path: str
    oneshot: bool
    after: tuple[str, ...]
    bundle: str = ""
    place: Place | None = None


def definitions(reader: Reader) -> Iterator[Definition]:
    """Yield all services of s6 on the machine."""
    guest = reader.guest
    init = booted(guest)
    runs = init is not None and init.name == "s6"
    overlay = _overlay_runs(reader)
    folders: dict[str, str] = {}
    for top in SOURCES:
        for name in guest.listdir(top)[:_MAX_NAMES]:
            if guest.is_file(f"{top}/{name}/type"):
                folders.setdefault(name, f"{top}/{name}")
    causes: dict[str, tuple[str, Place]] = {}
    if overlay:
        causes |= _brought_up(reader, folders, ("user", "user2"))
    elif runs:
        causes |= _brought_up(reader, folders, ("default",))
    for name, path in folders.items():
        kind = (reader.optional(f"{path}/type") or "").strip()
        if kind in ("longrun", "oneshot") and guest.is_file(f"{path}/{'run' if kind == 'longrun' else 'up'}"):
            bundle, place = causes.get(name, ("", None))
            after = tuple(sorted(other for other, _ in _listed(reader, path, "dependencies")))
            yield Definition(name=name, path=path, oneshot=kind == "oneshot", after=after, bundle=bundle, place=place)
    for top, up in ((LEGACY, overlay), (IMAGE, runs)):
        for name in guest.listdir(top)[:_MAX_NAMES]:
            path = f"{top}/{name}"
            if guest.is_file(f"{path}/run") and not name.startswith("."):
                down = guest.lstat(f"{path}/down") is not None
                place = Place(f"{path}/run") if up and not down else None
                yield Definition(name=name, path=path, oneshot=False, after=(), bundle=top, place=place)


def _overlay_runs(reader: Reader) -> bool:
    """Tell whether the root is a container's whose /init is s6-overlay's: it has it, and nothing to boot from."""
    guest = reader.guest
    if not guest.is_file("/init") or guest.glob("/boot/vmlinu*") or guest.listdir("/lib/modules"):
        return False
    return "s6" in (reader.optional("/init", 1 << 16) or "")


def _listed(reader: Reader, path: str, what: str) -> Iterator[tuple[str, Place]]:
    """Yield the names in `what`, a file of lines, or in `what.d`, a directory of empty files."""
    for number, line in meaningful(reader.optional(f"{path}/{what}") or ""):
        yield line, Place(f"{path}/{what}", number)
    for name in reader.guest.listdir(f"{path}/{what}.d"):
        yield name, Place(f"{path}/{what}.d/{name}")


def _brought_up(reader: Reader, folders: dict[str, str], bundles: tuple[str, ...]) -> dict[str, tuple[str, Place]]:
    """Return what bringing up these bundles starts, with the bundle or service that asks for it and the place."""
    found: dict[str, tuple[str, Place]] = {}
    waiting = deque((bundle, bundle) for bundle in bundles if bundle in folders)
    seen = {bundle for bundle, _ in waiting}
    while waiting:
        name, _ = waiting.popleft()
        for what in ("contents", "dependencies"):
            for other, place in _listed(reader, folders[name], what):
                if other in folders and other not in seen:
                    seen.add(other)
                    found[other] = (name, place)
                    waiting.append((other, name))
    return found
