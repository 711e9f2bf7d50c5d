"""The account of the disk: every path falls in exactly one class, and what is not known is said.

The classes, in the order in which the first that fits is taken:

secret · log · temporary · data · boot · application · changed-config · package · generated · unknown

`package` means: owned by a package. Whether its bytes are still the package's is compared for
configuration files alone (dpkg records their digests in its status file).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from importlib import resources
from pathlib import PurePosixPath

import msgspec
import yaml

from migrate.facts import Facts
from migrate.guest.protocol import Entry
from migrate.join import Joined
from migrate.model import Application, User

_TABLE: dict[str, list[str]] = yaml.safe_load(resources.files("migrate").joinpath("places.yaml").read_text("utf-8"))
_GENERATED = re.compile("|".join(map(translate, _TABLE["generated"]))).match
FEW = 5
"""So many files of an application are listed one by one; more of them as their folder."""
SHOWN = frozenset({"changed-config", "application", "secret", "unknown"})
CLASSES = (
    "package",
    "changed-config",
    "generated",
    "application",
    "data",
    "log",
    "temporary",
    "boot",
    "secret",
    "unknown",
)


class Line(msgspec.Struct, frozen=True, order=True):
    """One path that a person must see."""

    path: str
    class_: str = msgspec.field(name="class")
    why: str


class Account(msgspec.Struct, frozen=True):
    """Files and bytes of each class, and the paths that a person must see (a tree of one class is one line)."""

    classes: dict[str, tuple[int, int]]
    paths: tuple[Line, ...]


def account(facts: Facts, joined: Joined) -> Account:
    """Return the account of everything on the disk but directories."""
    places = _Places(facts, joined)
    totals = {name: [0, 0] for name in CLASSES}
    lines = _Lines(places.trees)
    seen: set[tuple[int, int]] = set()
    for entry in facts.guest.walk("/"):
        if entry.kind == "directory":
            continue
        kind, why = places.classify(entry)
        total = totals[kind]
        total[0] += 1
        if entry.kind == "file" and (entry.links == 1 or entry.inode not in seen):
            if entry.links != 1:
                seen.add(entry.inode)
            total[1] += entry.size
        if kind in SHOWN:
            lines.add(entry.path, kind, why)
    classes = {name: (count, size) for name, (count, size) in totals.items()}
    return Account(classes, lines.sorted())


class _Places:
    """Where what is, from the findings and the tables above."""

    def __init__(self, facts: Facts, joined: Joined) -> None:
        self.facts = facts
        self.secret = {s.seen_in.path: s.kind for s in facts.secrets}
        uses = [(u.path, u.role) for c in joined.candidates for u in c.uses]
        data = (*_TABLE["data"], *(p for p, role in uses if role == "data"))
        logs = (*_TABLE["log"], *(p for p, role in uses if role == "log"))
        cache = (*_TABLE["temporary"], *(p for p, role in uses if role in {"cache", "runtime"}))
        tops = {"log": logs, "data": data, "temporary": cache, "boot": _TABLE["boot"]}
        self.places = [(name, _Trees(each)) for name, each in tops.items()]
        self.placed = _Trees(top for each in tops.values() for top in each)
        homes = tuple(u.home for u in facts.of(User) if not u.system or u.uid == 0)
        code = (p for p, role in uses if role == "code")
        application = (*_TABLE["application"], *(a.root for a in facts.of(Application)), *code)
        self.application = _Trees(application)
        self.people = _Trees(homes)
        self.config = _Trees(p for p, role in uses if role == "config" and p.startswith("/etc/"))
        self.trees = (*_TABLE["application"], *application, *homes)

    def classify(self, entry: Entry) -> tuple[str, str]:
        """Return the class of a path and why it is in it."""
        path = entry.path
        if path in self.secret:
            return "secret", self.secret[path]
        return self._by_place(path) or self._by_owner(entry) or self._rest(entry)

    def _by_place(self, path: str) -> tuple[str, str] | None:
        if path not in self.placed:
            return None
        return next((name, "by its place") for name, trees in self.places if path in trees)

    def _by_owner(self, entry: Entry) -> tuple[str, str] | None:
        path = entry.path
        if path in self.facts.conffiles:
            package = self.facts.conffiles[path].package
            if not self.facts.is_as_shipped(path):
                return "changed-config", f"not as {package} shipped it"
            return "package", package
        if self.facts.owns(path):
            return "package", "owned"
        if path in self.application:
            return "application", "no package owns it"
        if path in self.people:
            return "data", "in a home directory"
        return None

    def _rest(self, entry: Entry) -> tuple[str, str]:
        path = entry.path
        if entry.kind == "symlink" and (
            path.startswith("/etc/systemd/") or entry.target.startswith("/etc/alternatives/")
        ):
            return "generated", "a link that systemctl(1) or update-alternatives(1) made"
        if entry.kind == "symlink" and entry.target.rpartition("/")[2] == "busybox":
            return "generated", "an applet of busybox, which `busybox --install` linked"
        if _GENERATED(path):
            return "generated", "made by a package's scripts or the system"
        if path.startswith("/etc/"):
            used = path in self.config
            return "changed-config", "added: no package owns it" + (", a service reads it" if used else "")
        if self._parent_is_owned(path) and path.startswith(("/usr/share/", "/usr/lib/", "/var/lib/")):
            return "generated", "made in a package's own directory"
        return ("package", "a system link") if entry.kind == "symlink" and path.count("/") == 1 else ("unknown", "")

    def _parent_is_owned(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        while parent.count("/") > 2:  # /usr/share and its like belong to everybody
            if self.facts.owns(parent):
                return True
            parent = parent.rpartition("/")[0]
        return False


class _Trees:
    """Directories, or files: `path in trees` tells whether a path is one of them or below one."""

    def __init__(self, tops: Iterable[str]) -> None:
        self._tops = frozenset(tops)
        self._prefixes = tuple(f"{top}/" for top in self._tops)

    def __contains__(self, path: str) -> bool:
        return path.startswith(self._prefixes) or path in self._tops


class _Lines:
    """The lines, those of one application's tree as one line for its top and one for each folder below.

    Of a folder's lines no more are kept than are shown: it may hold a million files.
    """

    def __init__(self, tops: Iterable[str]) -> None:
        self._lines: list[Line] = []
        self._trees: dict[str, list[Line]] = {}
        self._counts: dict[str, int] = {}
        # `is_below` on a path in its one spelling, without splitting that for each top.
        plain = ((top, str(PurePosixPath(top))) for top in sorted({t for t in tops if t}, key=len))
        self._tops = [(top, each, each.rstrip("/") + "/") for top, each in plain]

    def add(self, path: str, kind: str, why: str) -> None:
        """Take a line."""
        top = None
        if kind == "application":
            top = next((top for top, each, prefix in self._tops if path.startswith(prefix) or path == each), None)
        if top is None:
            self._lines.append(Line(path, kind, why))
            return
        first, slash, _ = path[len(top) :].lstrip("/").partition("/")
        key = f"{top}/{first}/" if slash else path
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count <= FEW:
            self._trees.setdefault(key, []).append(Line(path, kind, why))

    def sorted(self) -> tuple[Line, ...]:
        """Return the lines to show, by path."""
        lines = list(self._lines)
        for key, count in self._counts.items():
            if count <= FEW:
                lines += self._trees[key]
            else:
                lines.append(Line(key, "application", f"no package owns it ({count} files)"))
        return tuple(sorted(lines))
