"""Files and bytes counted by class, by rule and by tree, with what a person must see of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from migrate.guest.protocol import Entry
from migrate.places import FileClass

SHOWN: dict[FileClass, int] = {
    "changed-config": 1 << 30, "changed-package": 1 << 30, "secret": 1 << 30, "application": 5, "unknown": 20,
}  # fmt: skip
"""The classes of which a person must see every path; of so many files of one folder each, of more the folder."""
LARGEST = 10
"""So many of the largest items of each class are kept."""
MOST_UNKNOWN = 1000
# Directories that belong to everybody: what is in one of them is an item of its own, not a part of it.
SHARED = frozenset({
    "/", "/usr", "/var", "/etc", "/opt", "/srv", "/home", "/mnt", "/media", "/usr/bin", "/usr/lib", "/usr/lib64",
    "/usr/libexec", "/usr/share", "/usr/src", "/usr/local", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib",
    "/usr/local/share", "/usr/local/etc", "/var/lib", "/var/cache", "/var/log", "/var/spool", "/var/opt", "/var/local",
    "/var/www", "/usr/share/doc", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
})  # fmt: skip


class Verdict(msgspec.Struct, frozen=True):
    """What a path is, the rule that says so, and in what words."""

    class_: FileClass
    rule: str
    why: str


class Line(msgspec.Struct, frozen=True, order=True):
    """One path that a person must see."""

    path: str
    class_: FileClass = msgspec.field(name="class")
    why: str
    rule: str = ""


class Item(msgspec.Struct, frozen=True):
    """A file, or a tree (its path ends in `/`) with the files of one class in it."""

    path: str
    files: int
    bytes: int


class Total(msgspec.Struct, frozen=True):
    """What one rule accounts for."""

    rule: str
    class_: FileClass = msgspec.field(name="class")
    says: str
    files: int
    bytes: int


class Cell:
    """What one verdict came to in one directory."""

    __slots__ = ("biggest", "bytes", "files", "keep", "paths", "sizes", "where")

    def __init__(self, keep: int) -> None:
        self.files = self.bytes = 0
        self.biggest = -1
        self.where = ""
        self.keep = keep
        self.paths: list[str] = []
        self.sizes: list[int] = []

    def add(self, entry: Entry, size: int) -> None:
        """Count a file; of the shown classes, keep its path as long as it may be shown."""
        self.files += 1
        self.bytes += size
        if size > self.biggest:
            self.biggest, self.where = size, entry.path
        if self.files <= self.keep:
            self.paths.append(entry.path)
            self.sizes.append(size)


class Folder:
    """The cells of one directory; `top` is the tree that it is counted to, `key` the folder that lines become."""

    __slots__ = ("cells", "key", "path", "top")

    def __init__(self, path: str, parent: Folder | None) -> None:
        self.path = path
        self.cells: dict[Verdict, Cell] = {}
        self.top: str = path if parent is None or parent.path in SHARED else parent.top
        direct = parent is None or path == self.top or path in SHARED or parent.path == self.top
        self.key: str = path if direct else (parent.key if parent is not None else path)

    def cell(self, verdict: Verdict) -> Cell:
        """Return the cell of a verdict, made where it is missing."""
        found = self.cells.get(verdict)
        if found is None:
            found = self.cells[verdict] = Cell(SHOWN.get(verdict.class_, 0))
        return found


class Tally:
    """All folders of a disk, summed up in the ways that are asked for."""

    def __init__(self, folders: Iterable[Folder]) -> None:
        self._rows = [(f, v, c) for f in folders for v, c in f.cells.items()]

    def classes(self, names: Iterable[FileClass]) -> dict[str, tuple[int, int]]:
        """Return files and bytes of each class."""
        found = {name: [0, 0] for name in names}
        for _, verdict, cell in self._rows:
            found[verdict.class_][0] += cell.files
            found[verdict.class_][1] += cell.bytes
        return {name: (files, size) for name, (files, size) in found.items()}

    def rules(self, says: dict[str, str]) -> tuple[Total, ...]:
        """Return what each rule accounts for, by name. `says` is the rule's own sentence, where it has one."""
        found: dict[tuple[str, FileClass], list[int]] = {}
        words: dict[tuple[str, FileClass], str] = {}
        for _, verdict, cell in self._rows:
            key = (verdict.rule, verdict.class_)
            total = found.setdefault(key, [0, 0])
            total[0] += cell.files
            total[1] += cell.bytes
            words.setdefault(key, says.get(verdict.rule, verdict.why))
        return tuple(Total(rule, kind, words[rule, kind], *found[rule, kind]) for rule, kind in sorted(found))

    def largest(self) -> dict[str, tuple[Item, ...]]:
        """Return the largest files and trees of each class; a file is named where it is half of its tree or more."""
        trees: dict[tuple[FileClass, str], list[tuple[Folder, Cell]]] = {}
        for folder, verdict, cell in self._rows:
            trees.setdefault((verdict.class_, folder.top), []).append((folder, cell))
        found: dict[str, list[Item]] = {}
        for (kind, top), cells in trees.items():
            found.setdefault(kind, []).extend(_items(top, cells))
        return {kind: tuple(sorted(items, key=_by_size)[:LARGEST]) for kind, items in sorted(found.items())}

    def unknown(self) -> tuple[Item, ...]:
        """Return what no rule knows, largest first."""
        items = [Item(path, files, size) for path, verdict, files, size in self._shown() if verdict.class_ == "unknown"]
        return tuple(sorted(items, key=_by_size)[:MOST_UNKNOWN])

    def lines(self) -> tuple[Line, ...]:
        """Return the paths that a person must see, by path."""
        return tuple(
            sorted(
                Line(path, v.class_, f"{v.why} ({files} files)" if path.endswith("/") else v.why, v.rule)
                for path, v, files, _ in self._shown()
            )
        )

    def _shown(self) -> Iterator[tuple[str, Verdict, int, int]]:
        """Yield path, verdict, files and bytes of the shown classes: each file, or its folder where there are many."""
        keys: dict[tuple[str, FileClass], list[tuple[Verdict, Cell]]] = {}
        for folder, verdict, cell in self._rows:
            if verdict.class_ in SHOWN:
                keys.setdefault((folder.key, verdict.class_), []).append((verdict, cell))
        for (key, kind), cells in keys.items():
            files = sum(cell.files for _, cell in cells)
            if files > SHOWN[kind]:
                yield key.rstrip("/") + "/", cells[0][0], files, sum(cell.bytes for _, cell in cells)
                continue
            for verdict, cell in cells:
                for path, size in zip(cell.paths, cell.sizes, strict=True):
                    yield path, verdict, 1, size


def _by_size(item: Item) -> tuple[int, str]:
    return -item.bytes, item.path


def _items(top: str, cells: list[tuple[Folder, Cell]]) -> Iterator[Item]:
    files, size = sum(c.files for _, c in cells), sum(c.bytes for _, c in cells)
    biggest = max((c for _, c in cells), key=lambda c: (c.biggest, c.where))
    if files == 1 or biggest.biggest * 2 >= size > 0:
        yield Item(biggest.where, 1, biggest.biggest)
        files, size = files - 1, size - biggest.biggest
    if size > 0:
        yield Item(top.rstrip("/") + "/", files, size)
