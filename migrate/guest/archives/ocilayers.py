"""A container image's layers, applied one over the other. Pure.

OCI image specification 1.1, layer.md, "Applying Changesets" and "Whiteouts". Where it leaves a choice, this is what
engines do that keep each layer apart and lay them over one another (overlayfs: Docker, containerd, Podman): a name
below what is no directory in a lower layer makes a directory there, symbolic link or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from migrate.guest.archives.tarindex import MAX_PROBLEMS
from migrate.guest.protocol import Entry, Problem
from migrate.guest.tree import join, parent
from migrate.text import show

_MARK = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."  # what AUFS kept for itself: moby, pkg/archive/whiteouts.go, WhiteoutMetaPrefix


class Removals(msgspec.Struct, frozen=True):
    """What a layer takes away from those below it: paths, and directories of which all children go."""

    removed: tuple[str, ...]
    emptied: tuple[str, ...]
    odd: tuple[str, ...]
    """Names that look like removals and say nothing that can be done."""


def is_marked(path: str) -> bool:
    """Tell whether a name of a layer is about removals, or below one that is: it is never a file of the image."""
    return f"/{_MARK}" in path


def removals(paths: Iterable[str]) -> Removals:
    """Return what the whiteouts among a layer's paths take away.

    >>> removals(["/etc/.wh.motd", "/srv/.wh..wh..opq", "/etc/hosts"])
    Removals(removed=('/etc/motd',), emptied=('/srv',), odd=())
    """
    removed, emptied, odd = [], [], []
    for path in filter(is_marked, paths):
        above, name = parent(path), path.rpartition("/")[2]
        if is_marked(above):
            if not above.startswith(f"/{_AUFS}"):
                odd.append(path)
        elif name == _OPAQUE:
            emptied.append(above)
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_MARK)
            if hidden in {"", ".", ".."}:
                odd.append(path)
            else:
                removed.append(join(above, hidden))
    return Removals(tuple(removed), tuple(emptied), tuple(odd))


class _Directory:
    """A directory; `entry` is None where layers have something in it and never itself."""

    __slots__ = ("children", "entry")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.children: dict[str, _Directory | Entry] = {}


class Layers:
    """What layers make together.

    `problems` is what of them no file of the image was made of, and `untold` how many more there are of it.
    """

    def __init__(self) -> None:
        self._root = _Directory()
        self._origins: dict[str, str] = {}
        self._layer = 0
        self.problems: list[Problem] = []
        self.untold = 0

    def apply(self, layer: int, entries: Mapping[str, Entry], outside: Mapping[str, str]) -> None:
        """Put a layer over those before it. `entries` have (its number, any number) as their inodes.

        `outside` are hard links to what the layer itself does not have, by path. The paths of both are canonical.
        """
        self._layer = layer
        gone = removals([*entries, *outside])
        for path in gone.odd:
            self._note(path, "looks like the mark of a removal (`.wh.`) and says nothing that can be removed")
        self._remove(gone)
        links = dict(self._resolved(outside))
        for path, entry in entries.items():
            if not is_marked(path):
                self._put(path, entry)
        for path, (entry, origin) in links.items():
            if self._put(path, entry):
                self._origins[path] = origin
        for path in gone.emptied:
            self._enter(path, path)
        for path in gone.removed:
            self._enter(parent(path), path)

    def _remove(self, gone: Removals) -> None:
        for path in gone.emptied:
            found = self._find(path)
            if isinstance(found, _Directory):
                found.children.clear()
        for path in gone.removed:
            above = self._find(parent(path))
            if isinstance(above, _Directory):
                above.children.pop(path.rpartition("/")[2], None)

    def _resolved(self, outside: Mapping[str, str]) -> Iterator[tuple[str, tuple[Entry, str]]]:
        for path, target in outside.items():
            if is_marked(path):
                continue
            found = self._find(target)
            if isinstance(found, Entry):
                entry = msgspec.structs.replace(found, path=path)
                yield path, (entry, self._origins.get(target, target))
            else:
                self._note(path, f"a hard link to {show(target)}, which no layer has before it")

    def _find(self, path: str) -> _Directory | Entry | None:
        at: _Directory | Entry | None = self._root
        for name in path.split("/"):
            if not isinstance(at, _Directory):
                return None
            at = at.children.get(name) if name else at
        return at

    def _put(self, path: str, entry: Entry) -> bool:
        """Give a path to an entry; False where that cannot be reached."""
        if path == "/":
            if entry.kind == "directory":
                self._root.entry = entry
            else:
                self._note(path, f"a layer has a {entry.kind} as its root")
            return False
        above = self._enter(parent(path), path)
        if above is None:
            return False
        name = path.rpartition("/")[2]
        self._origins.pop(path, None)
        if entry.kind != "directory":
            above.children[name] = entry
            return True
        known = above.children.get(name)
        if not isinstance(known, _Directory):
            known = above.children[name] = _Directory()
        known.entry = entry
        return True

    def _enter(self, path: str, inside: str) -> _Directory | None:
        """Return the directory at a path, made where there is none; None where this very layer has something else."""
        at = self._root
        done = ""
        for name in filter(None, path.split("/")):
            done = f"{done}/{name}"
            below = at.children.get(name)
            if isinstance(below, Entry):
                if below.inode[0] == self._layer:
                    self._note(inside, f"stands below {show(done)}, which is a {below.kind}; no path leads to it")
                    return None
                if below.kind == "symlink":
                    why = f"a layer has {show(inside)} below it, and it was a symbolic link to {show(below.target)}"
                    self._note(done, f"{why}: it is a directory now, as overlayfs makes it")
            if not isinstance(below, _Directory):
                below = at.children[name] = _Directory()
            at = below
        return at

    def origins(self) -> dict[str, str]:
        """Return the paths whose content has another one in its own layer (the first half of an entry's inode)."""
        return self._origins

    def entries(self) -> Iterator[Entry]:
        """Yield everything there is, with hard links counted; directories that no layer names are root's, 0755."""
        counts = Counter(entry.inode for _, entry in self._walk() if entry is not None and entry.kind != "directory")
        for number, (path, entry) in enumerate(self._walk()):
            if entry is None:
                yield Entry(path=path, kind="directory", mode=0o755, uid=0, gid=0, inode=(-1, number))
            elif entry.kind != "directory" and entry.links != counts[entry.inode]:
                yield msgspec.structs.replace(entry, links=counts[entry.inode])
            else:
                yield entry

    def _walk(self) -> Iterator[tuple[str, Entry | None]]:
        todo = [("/", self._root)]
        while todo:
            path, directory = todo.pop()
            yield path, directory.entry
            for name, child in directory.children.items():
                below = join(path, name)
                if isinstance(child, _Directory):
                    todo.append((below, child))
                else:
                    yield below, child

    def _note(self, path: str, why: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(path=path, why=why))
        else:
            self.untold += 1
