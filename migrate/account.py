"""The account of the disk: every path falls in exactly one class, and what is not known is said.

The classes, in the order in which the first that fits is taken:

secret · log · temporary · data · boot · application · changed-config · package · generated · unknown

`package` means: owned by a package. Whether its bytes are still the package's is compared for
configuration files alone (dpkg records their digests in its status file).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib import resources

import msgspec
import yaml

from migrate.facts import Facts, is_below
from migrate.guest.protocol import Entry
from migrate.join import Joined
from migrate.model import Application, User

_TABLE: dict[str, list[str]] = yaml.safe_load(resources.files("migrate").joinpath("places.yaml").read_text("utf-8"))
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
    lines: list[Line] = []
    seen: set[tuple[int, int]] = set()
    for entry in facts.guest.walk("/"):
        if entry.kind == "directory":
            continue
        kind, why = places.classify(entry)
        totals[kind][0] += 1
        if entry.kind == "file" and (entry.links == 1 or entry.inode not in seen):
            seen.add(entry.inode)
            totals[kind][1] += entry.size
        if kind in SHOWN:
            lines.append(Line(entry.path, kind, why))
    classes = {name: (count, size) for name, (count, size) in totals.items()}
    return Account(classes, tuple(sorted(_collapse(lines, places.trees))))


class _Places:
    """Where what is, from the findings and the tables above."""

    def __init__(self, facts: Facts, joined: Joined) -> None:
        self.facts = facts
        self.secret = {s.seen_in.path: s.kind for s in facts.secrets}
        uses = [(u.path, u.role) for c in joined.candidates for u in c.uses]
        self.data = (*_TABLE["data"], *(p for p, role in uses if role == "data"))
        self.logs = (*_TABLE["log"], *(p for p, role in uses if role == "log"))
        self.cache = (*_TABLE["temporary"], *(p for p, role in uses if role in {"cache", "runtime"}))
        homes = tuple(u.home for u in facts.of(User) if not u.system or u.uid == 0)
        code = (p for p, role in uses if role == "code")
        self.application = (*_TABLE["application"], *(a.root for a in facts.of(Application)), *code)
        self.people = homes
        self.config = tuple(p for p, role in uses if role == "config" and p.startswith("/etc/"))
        self.trees = (*_TABLE["application"], *self.application, *homes)

    def classify(self, entry: Entry) -> tuple[str, str]:
        """Return the class of a path and why it is in it."""
        path = entry.path
        if path in self.secret:
            return "secret", self.secret[path]
        return self._by_place(path) or self._by_owner(entry) or self._rest(entry)

    def _by_place(self, path: str) -> tuple[str, str] | None:
        for name, tops in (
            ("log", self.logs),
            ("data", self.data),
            ("temporary", self.cache),
            ("boot", _TABLE["boot"]),
        ):
            if _in(path, tops):
                return name, "by its place"
        return None

    def _by_owner(self, entry: Entry) -> tuple[str, str] | None:
        path = entry.path
        if path in self.facts.conffiles:
            package, _ = self.facts.conffiles[path]
            if not self.facts.is_as_shipped(path):
                return "changed-config", f"not as {package} shipped it"
            return "package", package
        if self.facts.owns(path):
            return "package", "owned"
        if _in(path, self.application):
            return "application", "no package owns it"
        if _in(path, self.people):
            return "data", "in a home directory"
        return None

    def _rest(self, entry: Entry) -> tuple[str, str]:
        path = entry.path
        if entry.kind == "symlink" and (
            path.startswith("/etc/systemd/") or entry.target.startswith("/etc/alternatives/")
        ):
            return "generated", "a link that systemctl(1) or update-alternatives(1) made"
        if any(fnmatchcase(path, pattern) for pattern in _TABLE["generated"]):
            return "generated", "made by a package's scripts or the system"
        if path.startswith("/etc/"):
            used = _in(path, self.config)
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


def _in(path: str, tops: Iterable[str]) -> bool:
    return any(path == top or path.startswith(top + "/") for top in tops)


def _collapse(lines: list[Line], tops: Iterable[str]) -> Iterator[Line]:
    """Yield the lines, those of one application's tree as one line for its top and one for each folder below."""
    tops = sorted({t for t in tops if t}, key=len)
    trees: dict[str, list[Line]] = {}
    for line in lines:
        top = next((t for t in tops if line.class_ == "application" and is_below(line.path, t)), None)
        if top is None:
            yield line
            continue
        rest = line.path[len(top) :].lstrip("/").split("/")
        key = f"{top}/{rest[0]}/" if len(rest) > 1 else line.path
        trees.setdefault(key, []).append(line)
    for key, inside in trees.items():
        if len(inside) <= FEW:
            yield from inside
        else:
            yield Line(key, "application", f"no package owns it ({len(inside)} files)")
