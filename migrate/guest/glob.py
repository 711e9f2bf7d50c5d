"""Patterns on a guest's tree: `*`, `?`, `[…]` and `[!…]` within one name, `**` for any number of names.

As glob(7): a leading dot is matched by a dot only, so that a pattern from a configuration file means here what
it means to the program that reads it. `**` goes through hidden directories too. Names without a pattern, and
directories that a pattern matched, are followed through symlinks, as glob(3) does; `**` follows none. `/etc/**`
matches `/etc` and all below it, and `/etc/**/x` an `x` in any real directory there.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from migrate.guest.protocol import Entry

MAX_SPELLINGS = 1 << 10
"""From this many matches on, a directory is entered under one of its names only, its own first.

A thousand symlinks to their own directory make a million spellings at the second `*`. No file is lost by this,
only further names of it."""

_MAGIC = re.compile(r"[*?\[]")


class Names(Protocol):
    """What matching needs of a tree: paths in, entries out."""

    def find(self, path: str, *, follow: bool = True) -> Entry | None:
        """Return what `path` leads to."""
        ...

    def children(self, path: str) -> tuple[Entry, ...]:
        """Return the entries of a directory."""
        ...

    def walk(self, top: str = "/") -> Iterator[Entry]:
        """Yield `top` and all below it."""
        ...


def is_pattern(path: str) -> bool:
    """Tell whether any of `*`, `?` and `[` stands in the path."""
    return _MAGIC.search(path) is not None


def glob_tree(names: Names, pattern: str) -> list[str]:
    """Return the matching paths, spelt as the pattern leads to them, each once, in no set order."""
    parts = [part for part in pattern.split("/") if part and part != "."]
    if pattern.endswith("/") and parts:
        parts.append("")
    found = {"/": "/"}  # spelling: real path
    for place, part in enumerate(parts):
        found = _step(names, found, part, last=place == len(parts) - 1)
    return list(found)


def _step(names: Names, found: dict[str, str], part: str, *, last: bool) -> dict[str, str]:
    return dict(_expand(names, _each_once(names, found), part, last=last))


def _each_once(names: Names, found: dict[str, str]) -> dict[str, str]:
    if len(found) < MAX_SPELLINGS:
        return found
    once: dict[str, str] = {}
    for spelling, real in sorted(found.items(), key=lambda item: item[0] != item[1]):
        entry = names.find(real)
        if entry is not None:
            once.setdefault(entry.path, spelling)
    return {spelling: real for real, spelling in once.items()}


def _expand(names: Names, found: dict[str, str], part: str, *, last: bool) -> Iterator[tuple[str, str]]:
    match = _matcher(part) if is_pattern(part) else None
    for spelling, real in found.items():
        if part == "":
            entry = names.find(real)
            if entry is not None and entry.kind == "directory":
                yield spelling, entry.path
        elif part == "**":
            yield from _below(names, spelling, real, last=last)
        elif match is None:
            entry = names.find(f"{real}/{part}", follow=False)
            if entry is not None:
                yield _spell(spelling, part), entry.path
        else:
            for entry in names.children(real):
                name = entry.path.rpartition("/")[2]
                if match(name):
                    yield _spell(spelling, name), entry.path


def _below(names: Names, spelling: str, real: str, *, last: bool) -> Iterator[tuple[str, str]]:
    entry = names.find(real)
    if entry is None or entry.kind != "directory":
        return
    prefix = 0 if entry.path == "/" else len(entry.path)
    base = "" if spelling == "/" else spelling
    yield spelling, entry.path
    for below in names.walk(entry.path):
        if below is not entry and (last or below.kind == "directory"):
            yield base + below.path[prefix:], below.path


def _spell(directory: str, name: str) -> str:
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


@functools.lru_cache(maxsize=512)
def _matcher(part: str) -> Callable[[str], object]:
    try:
        return re.compile(("" if part.startswith(".") else r"(?!\.)") + fnmatch.translate(part)).match
    except re.error:  # a bracket expression that no name can match
        return lambda _name: None
