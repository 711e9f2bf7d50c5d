"""Which of an application's own Python files a command reaches, told by their import lines. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._reading import Reader, inside, numbered
from migrate.model import Place

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+\(?([\w \t,.*]+)|import[ \t]+([\w. \t,]+))", re.MULTILINE
)
_MAX_FILES = 500
_MAX_SOURCE = 512 << 10


def imported(text: str) -> list[str]:
    """Return the modules that a source names in import lines, `from a import b` as both a and a.b.

    >>> imported("import os, store\\nfrom shop import mail as m")
    ['os', 'store', 'shop', 'shop.mail']
    """
    found: list[str] = []
    for source, names, plain in _IMPORT.findall(text):
        parts = [part.split()[0] for part in (names or plain).split(",") if part.split()]
        if plain:
            found += parts
        else:
            found.append(source)
            found += [f"{source}.{part}" if source.strip(".") else f"{source}{part}" for part in parts]
    return list(dict.fromkeys(name for name in found if name))


class Sources:
    """The Python files of one application."""

    def __init__(self, reader: Reader, root: str, environment: str) -> None:
        self._reader, self._guest = reader, reader.guest
        self.root, self._environment = root, environment
        self._texts: dict[str, str] = {}

    def text(self, path: str) -> str:
        """Return a source's text; nothing where it cannot be read."""
        if path not in self._texts:
            self._texts[path] = self._reader.text(path, _MAX_SOURCE) or ""
        return self._texts[path]

    def entry(self, words: list[str], directory: str) -> list[str]:
        """Return the files a command begins with: a script, `-m MODULE`, or `MODULE:NAME` of a web server."""
        found: list[str] = []
        for at, word in enumerate(words):
            module = re.fullmatch(r"([A-Za-z_][\w.]*)(?::[A-Za-z_][\w.()]*)?", word)
            path = word if word.startswith("/") else f"{directory.rstrip('/')}/{word}"
            if word.endswith(".py") and self._guest.is_file(path) and inside(path, self.root):
                found.append(path)
            elif module and (":" in word or words[at - 1 : at] == ["-m"]):
                found += self._module(module[1], [directory, self.root])
        return found

    def _module(self, name: str, folders: Sequence[str]) -> list[str]:
        parts = name.split(".")
        for folder in dict.fromkeys(folders):
            stem = f"{folder.rstrip('/')}/{'/'.join(parts)}"
            for path in (f"{stem}.py", f"{stem}/__main__.py", f"{stem}/__init__.py"):
                if self._guest.is_file(path) and inside(path, self.root) and not inside(path, self._environment):
                    return [path]
        return []

    def reached(self, entries: Sequence[str], directory: str) -> list[str]:
        """Return the entries and all of the application's files that they import, one by another, sorted."""
        seen: set[str] = set()
        waiting = list(entries)
        while waiting and len(seen) < _MAX_FILES:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            own = path.rpartition("/")[0]
            for name in imported(self.text(path)):
                dots = len(name) - len(name.lstrip("."))
                bare = name.lstrip(".")
                base = own.rsplit("/", dots - 1)[0] if dots > 1 else own
                folders = [base] if dots else [own, directory, self.root]
                waiting += self._module(bare, folders) if bare else []
        return sorted(seen)

    def foreign(self, paths: Sequence[str], directory: str) -> dict[str, Place]:
        """Return the modules from outside the application that its files import, each with the first place."""
        found: dict[str, Place] = {}
        for path in paths:
            folders = [path.rpartition("/")[0], directory, self.root]
            for number, line in numbered(self.text(path)):
                for name in imported(line):
                    top = name.split(".")[0]
                    if (
                        top
                        and top not in found
                        and not self._module(top, folders)
                        and not self._is_folder(top, folders)
                    ):
                        found[top] = Place(path, number)
        return found

    def _is_folder(self, name: str, folders: Sequence[str]) -> bool:
        return any(self._guest.is_dir(f"{folder}/{name}") for folder in folders)

    def mentions(self, paths: Sequence[str], name: str) -> Iterator[Place]:
        """Yield, for each file, the first line with `name` in a string: quoted, or a part of a path."""
        word = re.compile(rf"""["'/]{re.escape(name)}["'/]""")
        for path in paths:
            for number, line in numbered(self.text(path)):
                if word.search(line):
                    yield Place(path, number)
                    break
