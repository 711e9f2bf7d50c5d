"""The account of the disk: every path falls in exactly one class, and what is not known is said.

What decides, in the order in which the first that fits is taken:

1. what was found: a secret in it · a change against its package · what a package manager left beside configuration
2. its content, for the few files that a rule looks into (migrate.contents)
3. its package, whose database names it
4. a rule for its place (migrate/rules/places) · the service or application whose it is, the nearest directory first
   · a general rule, from the Filesystem Hierarchy Standard

Whatever is left is `unknown`.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterator, Sequence

import msgspec

from migrate.changes.model import Change, Comparison
from migrate.contents import Looked, look_into
from migrate.facts import Facts
from migrate.guest.protocol import Entry
from migrate.join import Joined
from migrate.model import Application, PackageFiles, User
from migrate.places import NONE, FileClass, PlaceRule, State, Table, place_rules
from migrate.tally import SHARED, Folder, Item, Line, Tally, Total, Verdict

CLASSES: tuple[FileClass, ...] = (
    "package",
    "changed-config",
    "changed-package",
    "generated",
    "application",
    "data",
    "log",
    "temporary",
    "boot",
    "secret",
    "unknown",
)
_ROLES: dict[str, tuple[FileClass, str]] = {
    "log": ("log", "a log of {}"),
    "data": ("data", "data of {}"),
    "cache": ("temporary", "a cache of {}"),
    "runtime": ("temporary", "made by {} at each start"),
    "code": ("application", "the code of {}, which no package owns"),
}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Files and bytes of each class and rule, the largest of each class, and the paths that a person must see.

    Directories are not counted; the bytes of a file with several names (hard links) count once. A tree of an
    application, or of what is unknown, is one line.
    """

    classes: dict[str, tuple[int, int]]
    paths: tuple[Line, ...]
    rules: tuple[Total, ...]
    largest: dict[str, tuple[Item, ...]]
    unknown: tuple[Item, ...]
    comparison: Comparison


def account(facts: Facts, joined: Joined, comparison: Comparison) -> Account:
    """Return the account of everything on the disk but directories."""
    judge = _Judge(facts, joined, comparison)
    folders: dict[str, _Place] = {}
    seen: set[tuple[int, int]] = set()
    for entry in facts.guest.walk("/"):
        above, _, name = entry.path.rpartition("/")
        if entry.kind == "directory":
            folders[entry.path] = judge.enter(entry.path, name, folders.get(above or "/"))
            continue
        place = folders[above or "/"]
        size = 0
        if entry.kind == "file" and (entry.links == 1 or entry.inode not in seen):
            size = entry.size
            if entry.links != 1:
                seen.add(entry.inode)
        place.cell(judge.verdict(entry, name, place)).add(entry, size)
    tally = Tally(folders.values())
    says = {rule.id: rule.says for rule in place_rules()}
    return Account(
        classes=tally.classes(CLASSES),
        paths=tuple(sorted({*tally.lines(), *judge.missing()})),
        rules=tally.rules(says),
        largest=tally.largest(),
        unknown=tally.unknown(),
        comparison=comparison,
    )


class _Place(Folder):
    """A directory with what can be known of the files in it before their names are."""

    __slots__ = ("general", "known", "packaged", "tree")

    def __init__(
        self, path: str, parent: Folder | None, states: tuple[State, State, State], tree: Verdict | None
    ) -> None:
        super().__init__(path, parent)
        self.known, self.general, self.packaged = states
        self.tree = tree


@functools.cache
def _tables() -> tuple[Table, Table, Table, tuple[PlaceRule, ...]]:
    """Return the tables of the rules: those that come first, the general ones, those for packaged files too, and all
    that look into a file."""
    by_place = [rule for rule in place_rules() if not rule.is_looked_into]
    return (
        Table([rule for rule in by_place if not rule.general]),
        Table([rule for rule in by_place if rule.general]),
        Table([rule for rule in by_place if rule.packaged]),
        tuple(rule for rule in place_rules() if rule.is_looked_into),
    )


_UNKNOWN = Verdict("unknown", "unknown", "no rule knows it")
_PACKAGE = Verdict("package", "packaged", "a package owns it")
_GHOST = Verdict("generated", "owned-not-shipped", "a package owns the path, and ships nothing there")
_GHOST_CONFIG = Verdict("changed-config", "owned-not-shipped", "a package owns the path, and ships nothing there")
_HOME = Verdict("data", "home", "in a home directory")


class _Judge:
    """What is known of a disk before its files are gone through."""

    def __init__(self, facts: Facts, joined: Joined, comparison: Comparison) -> None:
        *tables, looked = _tables()
        self._known, self._general, self._packaged = tables
        self._rules = [[Verdict(r.class_, r.id, r.says) for r in table.rules] for table in tables]
        self._facts = facts
        self._changes = comparison.changes
        self._unshipped = frozenset(_unshipped(facts))
        self._explained = dict(_explained(comparison))
        # What is said of single paths, the strongest last.
        self._single = {path: _agreed(looked, found) for path, found in look_into(facts.guest, looked).items()}
        self._single |= {} if comparison.done else dict(_not_as_shipped(facts))
        self._single |= {p.path: Verdict("generated", "left-by-packages", p.says) for p in comparison.leftovers}
        self._single |= {change.path: _changed(change) for change in comparison.changes}
        self._single |= {s.seen_in.path: Verdict("secret", "secret", s.kind) for s in facts.secrets}
        self._trees = dict(_trees(facts, joined))
        self._read = frozenset(u.path for c in joined.candidates for u in c.uses if u.role == "config")

    def enter(self, path: str, name: str, parent: _Place | None) -> _Place:
        """Return what is known of a directory."""
        if parent is None:
            return _Place(path, None, (self._known.root, self._general.root, self._packaged.root), None)
        states = (parent.known.enter(name), parent.general.enter(name), parent.packaged.enter(name))
        return _Place(path, parent, states, self._trees.get(path, parent.tree))

    def verdict(self, entry: Entry, name: str, place: _Place) -> Verdict:
        """Return what a file is."""
        path = entry.path
        found = self._single.get(path)
        if found is not None:
            return found
        if self._facts.owns(path):
            return self._packaged_file(entry, name, place)
        number = _ask(place.known, entry, name)
        if number != NONE:
            return self._rules[0][number]
        tree = self._trees.get(path, place.tree)
        if tree is not None:
            return tree
        number = _ask(place.general, entry, name)
        if number == NONE:
            return _UNKNOWN
        found = self._rules[1][number]
        if found.rule == "configuration" and path in self._read:
            return Verdict(found.class_, found.rule, f"{found.why}, a service reads it")
        return found

    def _packaged_file(self, entry: Entry, name: str, place: _Place) -> Verdict:
        number = _ask(place.packaged, entry, name)
        if number != NONE:
            return self._rules[2][number]
        explained, unshipped = self._explained.get(entry.path), entry.path in self._unshipped
        if explained is None and not unshipped:
            return _PACKAGE
        number = _ask(place.known, entry, name)
        if number != NONE:
            return self._rules[0][number]
        if place.tree is not None:
            return place.tree
        number = _ask(place.general, entry, name)
        found = _UNKNOWN if number == NONE else self._rules[1][number]
        if found.class_ in {"log", "temporary", "data"}:
            return found
        if explained is not None:
            return explained
        return _GHOST_CONFIG if found.class_ == "changed-config" else _GHOST

    def missing(self) -> Iterator[Line]:
        """Yield the changed paths that are no files: those that are missing, and directories."""
        for change in self._changes:
            entry = self._facts.guest.lstat(change.path)
            if entry is None or entry.kind == "directory":
                verdict = _changed(change)
                yield Line(change.path, verdict.class_, verdict.why, verdict.rule)


def _ask(state: State, entry: Entry, name: str) -> int:
    return state.link(name, entry.target) if entry.kind == "symlink" else state.file(name)


def _agreed(rules: Sequence[PlaceRule], found: Looked) -> Verdict:
    rule = rules[found.number]
    model = f" ({found.model})" if found.model else ""
    if found.agrees:
        return Verdict(rule.class_, rule.id, f"{rule.says}{model}")
    return Verdict(rule.differs, rule.id, f"changed: {rule.says}{model}, and differs now")


def _explained(comparison: Comparison) -> Iterator[tuple[str, Verdict]]:
    """Yield what differs though nobody changed it. What has other attributes alone is the package's still."""
    attributes = {"mode", "user", "group", "capabilities", "device"}
    for each in sorted(comparison.explained, key=lambda e: (e.path, e.aspect not in attributes)):
        yield each.path, Verdict("package" if each.aspect in attributes else "generated", each.rule, each.says)


def _changed(change: Change) -> Verdict:
    how = f"not as {change.package or 'its package'} shipped it: {', '.join(change.aspects)}"
    if "missing" in change.aspects:
        how = f"missing: {change.package} shipped it"
    return Verdict("changed-config" if change.configuration else "changed-package", "changed", how)


def _not_as_shipped(facts: Facts) -> Iterator[tuple[str, Verdict]]:
    """Yield the changed configuration where nothing else was compared."""
    for path, recorded in facts.conffiles.items():
        if recorded.digest and facts.guest.is_file(path) and not facts.is_as_shipped(path):
            yield path, Verdict("changed-config", "changed", f"not as {recorded.package} shipped it: content")


def _unshipped(facts: Facts) -> Iterator[str]:
    """Yield the paths that packages own and ship nothing for."""
    for files in facts.of(PackageFiles):
        yield from (each.path for each in files.shipped if "ghost" in each.flags)
        yield from (path for path, digest in files.conffiles if not digest)


def _trees(facts: Facts, joined: Joined) -> Iterator[tuple[str, Verdict]]:
    """Yield whose the directories (and single files) are; where two are the same, the last one counts.

    A directory that belongs to everybody is nobody's, whatever a hostile unit or account says of it.
    """
    trees = [(u.home, _HOME) for u in facts.of(User) if not u.system or u.uid == 0]
    for each in facts.of(Application):
        what = f"{each.name} {each.version}".strip()
        trees.append((each.root, Verdict("application", "application-found", f"{what}, which no package owns")))
    for role in ("code", "runtime", "cache", "data", "log"):
        kind, says = _ROLES[role]
        for candidate in sorted(joined.candidates, key=lambda c: (c.kind == "job", c.id), reverse=True):
            named = Verdict(kind, f"used-as-{role}", says.format(candidate.id))
            trees += [(use.path, named) for use in candidate.uses if use.role == role]
    for top, verdict in trees:
        path = posixpath.normpath(top) if top.startswith("/") else ""
        if path and path not in SHARED and not path.startswith("//"):
            yield path, verdict
