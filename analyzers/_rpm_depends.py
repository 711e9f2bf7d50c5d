"""Which installed packages an rpm package needs: its requirements, met by what others provide.

rpm.org, "Dependencies Basics" and "Boolean Dependencies"; lib/rpmds.c (rpmdsCompare), rpmio/rpmvercmp.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

import msgspec

from analyzers import _rpm_header as tags
from analyzers._rpm_header import Budget, DamagedError, Header

LESS, GREATER, EQUAL = 1 << 1, 1 << 2, 1 << 3  # rpmds.h, rpmsenseFlags
_SENSE = LESS | GREATER | EQUAL
_WEAK, _RPMLIB = 1 << 19, 1 << 24  # MISSINGOK: SUSE's old way to say "suggests"; what rpm itself must be able to do
_MAX_PROVIDERS = 16  # of one thing; a repository has three or four that do, a hostile database a hundred thousand
_MAX_TEXT = 4096  # characters of one boolean dependency
_MAX_VERSION = 256  # characters that are compared
_MAX_COMPARISONS = 500_000  # some 10 s; EL 8's 518 packages take 3,000
_OPERATORS = frozenset(("<", "<=", "=", ">=", ">"))
_WORDS = frozenset(("and", "or", "with", "else"))
_CONDITIONS = frozenset(("if", "unless", "without"))


class Relation(msgspec.Struct, frozen=True, gc=False):
    """A name, and how its version compares: a requirement or a provision."""

    name: str
    flags: int = 0
    version: str = ""


def relations(header: Header, budget: Budget, names: int, flags: int, versions: int) -> list[Relation]:
    """Return the relations of three parallel tags. Raises DamagedError where they are not parallel."""
    words, bits, numbers = header.strings(names), header.integers(flags), header.strings(versions)
    if any(len(column) not in (0, len(words)) for column in (bits, numbers)):
        raise DamagedError(
            f"tag {names} has {len(words)} values, tag {flags} {len(bits)}, tag {versions} {len(numbers)}"
        )
    budget.take(len(words), sum(map(len, words)) + sum(map(len, numbers)))
    return [Relation(*row) for row in zip(words, bits or [0] * len(words), numbers or [""] * len(words), strict=True)]


def _segments(version: str) -> list[str]:
    return re.findall(r"[0-9]+|[A-Za-z]+|~|\^", version[:_MAX_VERSION])


def _order(one: str | None, two: str | None) -> int:
    """Compare two segments, None being the end: `~` is before the end, `^` after it, and both before the rest."""

    def rank(part: str | None) -> int:
        if part == "~":
            return 0
        if part is None:
            return 1
        if part == "^":
            return 2
        return 4 if part.isdigit() else 3  # a number is newer than letters

    if rank(one) != rank(two) or one is None or two is None:
        return (rank(one) > rank(two)) - (rank(one) < rank(two))
    if one.isdigit():
        one, two = one.lstrip("0"), two.lstrip("0")
        if len(one) != len(two):
            return 1 if len(one) > len(two) else -1
    return (one > two) - (one < two)


def compare_versions(one: str, two: str) -> int:
    """Return -1, 0 or 1 as rpmvercmp does.

    >>> compare_versions("1.10", "1.9"), compare_versions("1.0~rc1", "1.0"), compare_versions("2.0", "2_0")
    (1, -1, 0)
    """
    for left, right in zip_longest(_segments(one), _segments(two)):
        if order := _order(left, right):
            return order
    return 0


def _compare_full(one: str, two: str) -> int:
    """Compare [EPOCH:]VERSION[-RELEASE]: no epoch is 0, and a release counts where both have one."""

    def split(text: str) -> tuple[str, str, str]:
        epoch, colon, rest = text.partition(":")
        if not (colon and epoch.isdigit()):
            epoch, rest = "0", text
        version, dash, release = rest.rpartition("-")
        return (epoch, version, release) if dash else (epoch, rest, "")

    (epoch1, version1, release1), (epoch2, version2, release2) = split(one), split(two)
    order = compare_versions(epoch1, epoch2) or compare_versions(version1, version2)
    return order or (compare_versions(release1, release2) if release1 and release2 else 0)


def meets(provided: Relation, needed: Relation) -> bool:
    """Tell whether the versions of two relations of one name overlap; one without a version always does."""
    if not (provided.flags & _SENSE and needed.flags & _SENSE and provided.version and needed.version):
        return True
    order = _compare_full(provided.version, needed.version)
    if order < 0:
        return bool(provided.flags & GREATER or needed.flags & LESS)
    if order > 0:
        return bool(provided.flags & LESS or needed.flags & GREATER)
    return any(provided.flags & needed.flags & sense for sense in (LESS, GREATER, EQUAL))


def boolean_names(text: str) -> list[str]:
    """Return what a boolean dependency may pull in: not its conditions, and nothing of versions.

    >>> boolean_names("((feature1 if (foo or bar)) or libx.so.1()(64bit) >= 2)")
    ['feature1', 'libx.so.1()(64bit)']
    """
    names: list[str] = []
    depth, silent = 0, 0  # `silent`: the depth at which a condition began, 0 outside of one
    skip = False
    for word in text[:_MAX_TEXT].split():
        bare = word.lstrip("(")
        depth += len(word) - len(bare)
        name, closed = bare, 0
        while name.endswith(")") and name.count(")") > name.count("("):
            name, closed = name[:-1], closed + 1
        if name in _OPERATORS:
            skip = True
        elif name in _CONDITIONS:
            silent = silent or depth
        elif name in _WORDS:
            silent = 0 if name == "else" and depth == silent else silent
        elif name and not skip and not silent:
            names.append(name)
        if name not in _OPERATORS:
            skip = False
        depth -= closed
        if depth < silent:
            silent = 0
    return names


class Providers:
    """What installed packages provide, and how their requirements are met.

    `packages` is each package's name, provisions and paths; `real` turns a path into the tree's own, since
    `/bin/sh` is required where `/usr/bin/sh` is packaged.
    """

    def __init__(
        self, packages: Iterable[tuple[str, Sequence[Relation], Iterable[str]]], real: Callable[[str], str]
    ) -> None:
        self._provided: dict[str, list[tuple[str, Relation]]] = {}
        self._owners: dict[str, str] = {}
        self._answers: dict[Relation, tuple[str, ...]] = {}
        self._real = real
        self._comparisons = 0
        for package, relations_, paths in packages:
            for relation in relations_:
                self._provided.setdefault(relation.name, []).append((package, relation))
            for path in paths:
                self._owners.setdefault(path, package)

    def who(self, needed: Relation) -> tuple[str, ...]:
        """Return the names of the installed packages that meet a requirement, each once."""
        known = self._answers.get(needed)
        if known is None:
            known = self._answers[needed] = self._search(needed)
        return known

    def _search(self, needed: Relation) -> tuple[str, ...]:
        given = self._provided.get(needed.name, [])
        self._comparisons += len(given)
        compared = self._comparisons <= _MAX_COMPARISONS  # beyond, a name is enough
        found = [package for package, relation in given if not compared or meets(relation, needed)]
        if not found and needed.name.startswith("/"):
            owner = self._owners.get(needed.name) or self._owners.get(self._real(needed.name))
            found = [owner] if owner else []
        return tuple(dict.fromkeys(found))[:_MAX_PROVIDERS]

    def depends(self, package: str, needed: Iterable[Relation]) -> tuple[str, ...]:
        """Return the names of the packages that a package's requirements lead to, in order, without itself."""
        names: dict[str, None] = {}
        for relation in needed:
            if relation.flags & (_WEAK | _RPMLIB) or relation.name.startswith("rpmlib("):
                continue
            alternatives = (
                [Relation(name) for name in boolean_names(relation.name)]
                if relation.name.startswith("(")
                else [relation]
            )
            for alternative in alternatives:
                found = self.who(alternative)
                if package not in found:
                    names.update(dict.fromkeys(found))
        return tuple(names)


def required_names(depends: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return the names that at least one other package depends on."""
    return frozenset(name for names in depends.values() for name in names)


def provisions(header: Header, budget: Budget) -> list[Relation]:
    """Return what a package provides. Raises DamagedError."""
    return relations(header, budget, tags.PROVIDENAME, tags.PROVIDEFLAGS, tags.PROVIDEVERSION)


def requirements(header: Header, budget: Budget) -> list[Relation]:
    """Return what a package requires. Raises DamagedError."""
    return relations(header, budget, tags.REQUIRENAME, tags.REQUIREFLAGS, tags.REQUIREVERSION)


def recommendations(header: Header, budget: Budget) -> list[Relation]:
    """Return what a package recommends: pulled in where it can be. Raises DamagedError."""
    return relations(header, budget, tags.RECOMMENDNAME, tags.RECOMMENDFLAGS, tags.RECOMMENDVERSION)
