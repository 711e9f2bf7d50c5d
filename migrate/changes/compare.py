"""The disk compared with its package databases: what somebody changed, and what only looks like it.

Facts ─expected─▶ a word on each path ─digests─▶ differences ─explain─▶ changes and what is explained
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from migrate.changes.alternatives import switched
from migrate.changes.aspects import Names, differences, names_of
from migrate.changes.checks import checks
from migrate.changes.expected import Expected, Word, expected
from migrate.changes.explain import Case, Explainer
from migrate.changes.leftovers import leftovers
from migrate.changes.model import Change, Comparison, Difference, Explained
from migrate.changes.permissions import UNRECORDED, unrecorded
from migrate.changes.recorded import Recorded
from migrate.changes.ucf import ucf_words
from migrate.guest.protocol import Entry, Guest

if TYPE_CHECKING:
    from migrate.facts import Facts


class _Seen(msgspec.Struct, frozen=True, gc=False):
    """A packaged path on the disk: the name itself, and what it leads to."""

    entry: Entry | None
    followed: Entry | None


def compare(facts: Facts) -> Comparison:
    """Return the whole disk compared with its packages: types, contents, targets, modes, owners, capabilities.

    Contents are read once, all of them in one question to the guest. Raises nothing: what cannot be read is in
    `unread`.
    """
    words = expected(facts, ucf_words(facts))
    seen = {path: _look(facts.guest, path) for path in words}
    digests, unread = _digests(facts.guest, words, seen)
    names = names_of(facts.users, facts.groups)
    explainer = Explainer(facts.guest, checks(facts.guest, names))
    recorded = Recorded(facts.guest)
    changes: list[Change] = []
    explained: list[Explained] = []
    for path, word in words.items():
        for expect, found in _differing(word, seen[path], digests, names):
            left, reasons = _judge(path, expect, found, seen[path].entry, explainer)
            explained += reasons
            if left:
                place = recorded.place(expect, contents=any(each.aspect == "content" for each in left))
                changes.append(Change(path, expect.package, left, expect.configuration, place))
    changes += switched(facts)
    return Comparison(
        changes=tuple(sorted(changes)),
        explained=tuple(sorted(set(explained))),
        files=sum(1 for each in seen.values() if each.entry is not None and each.entry.kind == "file"),
        compared=len({path for path, _ in digests}),
        leftovers=tuple(leftovers(facts)),
        unread=unread,
    )


def _look(guest: Guest, path: str) -> _Seen:
    entry = guest.lstat(path)
    return _Seen(entry, guest.stat(path) if entry is not None and entry.kind == "symlink" else entry)


Digests = Mapping[tuple[str, str], str]
"""Digests of contents by (path, algorithm)."""


def _digests(
    guest: Guest, words: Mapping[str, Word], seen: Mapping[str, _Seen]
) -> tuple[dict[tuple[str, str], str], tuple[tuple[str, str], ...]]:
    """Return the digests that are expected of what is there, and (path, why) of what could not be read.

    One question for all files; another only for those whose owners recorded different algorithms.
    """
    wanted: dict[str, dict[str, None]] = {}
    for path, word in words.items():
        followed = seen[path].followed
        if followed is not None and followed.kind == "file":
            for each in word.owners:
                if each.digest:
                    wanted.setdefault(path, {})[each.algorithm] = None
    before = len(guest.problems)
    found: dict[tuple[str, str], str] = {}
    unread: dict[str, str] = {}
    for turn in range(max(map(len, wanted.values()), default=0)):
        asked = {path: list(names)[turn] for path, names in wanted.items() if len(names) > turn}
        got = guest.digests(asked)
        found.update({(path, asked[path]): digest for path, digest in got.items()})
        unread.update(dict.fromkeys(asked.keys() - got.keys(), "its content could not be read"))
    why = {problem.path: problem.why for problem in guest.problems[before:]}
    return found, tuple(sorted((path, why.get(path, text)) for path, text in unread.items()))


def _differing(
    word: Word, seen: _Seen, digests: Digests, names: Names
) -> Iterator[tuple[Expected, tuple[Difference, ...]]]:
    """Yield what differs: from the owner that the path is most like, and from each override."""
    best: tuple[Expected, tuple[Difference, ...]] | None = None
    for each in word.owners:
        found = _from(each, seen, digests, names)
        if not word.overrides:
            found += tuple(unrecorded(each, seen.entry, names))
        if not found:
            best = None
            break
        if best is None or len(found) < len(best[1]):
            best = each, found
    if best is not None:
        yield best
    for each in word.overrides:
        if seen.entry is not None and (found := _from(each, seen, digests, names)):
            yield each, found


def _from(each: Expected, seen: _Seen, digests: Digests, names: Names) -> tuple[Difference, ...]:
    digest = digests.get((each.shipped.path, each.algorithm))
    return differences(each, seen.entry, seen.followed, digest, names)


def _judge(
    path: str, expect: Expected, found: tuple[Difference, ...], entry: Entry | None, explainer: Explainer
) -> tuple[tuple[Difference, ...], list[Explained]]:
    """Return the differences that are left once the rules have spoken, and what they explained."""
    left: list[Difference] = []
    explained: list[Explained] = []
    for difference in found:
        reason = explainer.explain(Case(path, difference, expect, entry))
        if reason is None:
            left.append(difference)
        elif difference.shipped or difference.aspect not in UNRECORDED:  # else nothing that was recorded differs
            rule, place = reason
            explained.append(Explained(path, expect.package, rule.id, rule.says, place, difference.aspect))
    return tuple(left), explained
