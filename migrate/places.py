"""Rules for places: what kind of file is where on a Linux machine, as data, and a table that asks all of them at once.

A pattern is an absolute path in which `*`, `?` and `[…]` match within one name (a leading dot too) and `**` any
number of names: `/var/log/**` is `/var/log` and all below it, `**/x` an `x` anywhere. The first rule that fits wins, in
the order of the files and of the rules in them, those that are `general` last.

As one regular expression 266 patterns took 3.8 s for 500,000 paths below /srv, and twice that below /usr. Here a
directory carries the patterns that can still match below it, so that a file costs one look-up and, in most
directories, one comparison of its ending: 0.1 s.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import yaml

from migrate.errors import Vm2cError

FileClass = Literal[
    "package", "changed-config", "changed-package", "generated", "application", "data", "log", "temporary", "boot",
    "secret", "unknown",
]  # fmt: skip
NONE = 1 << 30
"""The number of no rule: larger than that of any."""


class PlaceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What files at certain paths are. `says` why, `source` is the manual page or specification that knows it.

    `kind` and `target` (patterns on a symlink's text, fnmatch(3)) narrow it. `general` rules come after all others and
    after what was found of services and applications; `packaged` ones hold for files that packages own too.

    With one of these three a file is looked into, and the rule fits where its content agrees. `content` is a regular
    expression that is searched for in the first 64 KiB. `equals` is the file it was copied from (`{name}` stands for
    the path's last name); lines after the first and before the second of each pair in `between` may differ. `hashes`
    is a list in the form of md5sum(1) that says what the files in it were. A file that is not as `equals` or `hashes`
    says is in the class `differs`.
    """

    id: str
    class_: FileClass = msgspec.field(name="class")
    paths: tuple[str, ...]
    says: str
    source: str
    kind: Literal["", "file", "symlink"] = ""
    target: tuple[str, ...] = ()
    general: bool = False
    packaged: bool = False
    content: str = ""
    equals: str = ""
    between: tuple[tuple[str, str], ...] = ()
    hashes: str = ""
    differs: FileClass = "changed-config"

    @property
    def is_looked_into(self) -> bool:
        """Tell whether the path alone does not decide."""
        return bool(self.content or self.equals or self.hashes)


@cache
def place_rules() -> tuple[PlaceRule, ...]:
    """Return the built-in rules, the general ones last. Raises Vm2cError where two share an id."""
    found: dict[str, PlaceRule] = {}
    for file in sorted(resources.files("migrate.rules").joinpath("places").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            for rule in msgspec.convert(yaml.safe_load(file.read_text("utf-8")), list[PlaceRule]):
                if rule.id in found:
                    raise Vm2cError(f"read the rules of {file.name}", f"{rule.id} is there twice")
                found[rule.id] = rule
    return tuple(sorted(found.values(), key=lambda rule: rule.general))


class _Node:
    """A place between two names of a pattern. `deep` is the node after a `**` here, which stays where it is below."""

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays
        self.literal: dict[str, _Node] = {}
        self.globs: dict[str, _Node] = {}
        self.deep: _Node | None = None
        self.ends: list[int] = []
        self.below: list[int] = []

    def after(self, part: str) -> _Node:
        """Return the node after one more part of a pattern, made where it is missing."""
        if part == "**":
            if self.stays:
                return self
            self.deep = self.deep or _Node(stays=True)
            return self.deep
        table = self.globs if is_glob(part) else self.literal
        return table.setdefault(part, _Node())


def is_glob(part: str) -> bool:
    """Tell whether a name of a pattern matches more than itself."""
    return any(sign in part for sign in "*?[")


class State:
    """The patterns that can match below one directory. There are few different ones on a whole disk."""

    def __init__(self, table: Table, nodes: tuple[_Node, ...]) -> None:
        self._table = table
        self._nodes = nodes
        rows = [row for row in self._rows() if row[0] in table.files]
        anything = [number for number, name in rows if name == "*"]
        self._any = min(anything, default=NONE)
        rows = [(number, name) for number, name in rows if number < self._any]
        self._fixed: dict[str, int] = {}
        self._suffixes: dict[str, int] = {}
        globs = []
        for number, name in rows:
            if not is_glob(name):
                self._fixed.setdefault(name, number)
            elif not is_glob(name[1:]) and name[0] == "*":
                self._suffixes.setdefault(name[1:], number)
            else:
                globs.append((number, name))
        self._ends = tuple(self._suffixes)
        self._regex = _Alternatives((number, _regex(name)) for number, name in globs)
        self._plain = not self._fixed and not globs
        self._links = self._link_alternatives()
        self._globs = [
            (re.compile(f"{_regex(glob)}\\Z").match, child) for node in nodes for glob, child in node.globs.items()
        ]
        self._rest: State | None = None

    def _rows(self) -> list[tuple[int, str]]:
        """Return the rules that can match a name in this directory, each with the pattern of the name."""
        rows = []
        for node in self._nodes:
            rows += [(number, "*") for number in node.below]
            for name, child in (*node.literal.items(), *node.globs.items()):
                tail = child.deep.below if child.deep is not None else []
                rows += [(number, name) for number in (*child.ends, *tail)]
        return sorted(set(rows))

    def _link_alternatives(self) -> _Alternatives:
        rows = []
        for number, name in self._rows():
            if number in self._table.links:
                texts = self._table.rules[number].target or ("*",)
                rows += [(number, f"{_regex(name)}\\0{_regex(text)}") for text in texts]
        return _Alternatives(rows)

    def enter(self, name: str) -> State:
        """Return the state of a directory in this one."""
        reached = [node.literal[name] for node in self._nodes if name in node.literal]
        reached += [child for matches, child in self._globs if matches(name)]
        stays = [node for node in self._nodes if node.stays]
        if not reached:
            if self._rest is None:
                self._rest = self._table.state(stays)
            return self._rest
        return self._table.state([*stays, *reached, *(n.deep for n in reached if n.deep is not None)])

    def file(self, name: str) -> int:
        """Return the number of the rule for a file (or node) of this name, or NONE."""
        if self._plain and not name.endswith(self._ends):
            return self._any
        found = min(self._fixed.get(name, NONE), self._any)
        if name.endswith(self._ends):
            found = min(found, *(n for end, n in self._suffixes.items() if name.endswith(end)))
        return min(found, self._regex.match(name)) if self._regex else found

    def link(self, name: str, target: str) -> int:
        """Return the number of the rule for a symlink, or NONE."""
        return self._links.match(f"{name}\0{target}")


class _Alternatives:
    """Regular expressions of rules as one; the rule with the lowest number wins."""

    def __init__(self, rows: Iterable[tuple[int, str]]) -> None:
        self._numbers: list[int] = []
        parts = []
        for number, text in sorted(rows):
            self._numbers.append(number)
            parts.append(f"({text})\\Z")
        self._match = re.compile("|".join(parts), re.DOTALL).match if parts else None

    def __bool__(self) -> bool:
        return self._match is not None

    def match(self, text: str) -> int:
        found = self._match(text) if self._match is not None else None
        return NONE if found is None or found.lastindex is None else self._numbers[found.lastindex - 1]


class Table:
    """Rules that go by path alone, to be asked directory by directory from `root` on."""

    def __init__(self, rules: Sequence[PlaceRule]) -> None:
        self.rules = rules
        self._states: dict[tuple[int, ...], State] = {}
        self.files = frozenset(n for n, r in enumerate(rules) if r.kind != "symlink" and not r.target)
        self.links = frozenset(n for n, r in enumerate(rules) if r.kind != "file")
        top = _Node()
        for number, rule in enumerate(rules):
            for pattern in rule.paths:
                node, parts = top, [part for part in pattern.split("/") if part]
                for part in parts:
                    node = node.after(part)
                (node.below if parts[-1] == "**" else node.ends).append(number)
        self.root = self.state([top, *([top.deep] if top.deep is not None else [])])

    def state(self, nodes: Iterable[_Node]) -> State:
        """Return the state of these nodes, the same one each time."""
        each = {id(node): node for node in nodes}
        key = tuple(each)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = State(self, tuple(each.values()))
        return found


@cache
def _regex(glob: str) -> str:
    r"""Return a shell pattern as the inside of a regular expression (Python writes `(?s:…)\Z`)."""
    return fnmatch.translate(glob).removesuffix("\\Z").removesuffix("\\z")
