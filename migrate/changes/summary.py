"""Changes as a person reads them: one line each, and one line for the many that are one thing."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from migrate.changes.model import Aspect, Change, Comparison

FEW: Mapping[tuple[Aspect, ...], int] = {("missing",): 5, ("content",): 20, ("content", "size"): 20}
"""So many changes of a kind are shown one by one for each package, and more of them as one line.

Somebody removed a package's documentation, or let a program update itself: npm 10 over Debian's nodejs is 1,290 paths.
Configuration, modes, owners and capabilities are lines of their own always.
"""
_SAYS: Mapping[str, str] = {"missing": "are missing", "content": "were replaced"}


class Group(msgspec.Struct, frozen=True, order=True):
    """Changes that are one thing to a person: a single one, or many of one kind of a package, all below `top`."""

    top: str
    package: str
    changes: tuple[Change, ...]

    @property
    def says(self) -> str:
        """The line to show; texts of the disk are not escaped in it."""
        change = self.changes[0]
        if len(self.changes) > 1:
            return f"{len(self.changes)} paths of {self.package} {_SAYS[change.aspects[0]]} below {self.top}"
        what = ", ".join(
            f"{d.aspect} {d.shipped or 'not recorded'} → {d.found or 'nothing'}" if d.aspect != "missing" else "missing"
            for d in change.differences
        )
        return f"{change.path} of {change.package or 'no package'}: {what}"


def grouped(changes: Iterable[Change]) -> tuple[Group, ...]:
    """Return the changes in groups, sorted by path."""
    kinds: dict[tuple[str, tuple[Aspect, ...]], list[Change]] = {}
    groups: list[Group] = []
    for change in changes:
        if change.aspects in FEW and not change.configuration:
            kinds.setdefault((change.package, change.aspects), []).append(change)
        else:
            groups.append(Group(change.path, change.package, (change,)))
    for (package, aspects), each in kinds.items():
        if len(each) <= FEW[aspects]:
            groups += [Group(change.path, package, (change,)) for change in each]
        else:
            groups.append(Group(_common([change.path for change in each]), package, tuple(sorted(each))))
    return tuple(sorted(groups))


def _common(paths: list[str]) -> str:
    """Return the directory that all paths are below; a hostile list may name some that are not absolute."""
    return posixpath.commonpath(paths) if all(path.startswith("/") for path in paths) else "/"


def by_rule(comparison: Comparison) -> dict[str, int]:
    """Return how many differences each rule explained, by the rules' ids."""
    return dict(sorted(Counter(each.rule for each in comparison.explained).items()))
