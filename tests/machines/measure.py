"""What vm2c says of a machine, beside what is known of it, and how well the two agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from migrate import analysis
from migrate.account import Account, account
from migrate.changes.compare import compare
from migrate.changes.model import Comparison
from migrate.facts import Facts
from migrate.guest.open import open_guest
from migrate.join import join

_RPM = {"S": "size", "M": "mode", "5": "content", "D": "device", "L": "target", "U": "user", "G": "group",
        "P": "capabilities"}  # fmt: skip

Changed = Mapping[str, tuple[str, ...]]
"""In which aspects what path differs, each sorted."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. `truth` is its truth.yaml, `said` what the distribution's own tool said (empty: none was asked).

    `real` maps a path as that tool writes it to the path as the tree has it.
    """

    name: str
    facts: Facts
    comparison: Comparison
    account: Account
    truth: dict[str, Any]
    said: Changed
    files: int
    bytes: int

    @property
    def planted(self) -> Changed:
        """What was changed, by the truth."""
        return {e["path"]: tuple(sorted(e["drift"])) for e in self.truth["planted"] if "drift" in e}

    @property
    def found(self) -> Changed:
        """What is called drift."""
        return {path: tuple(sorted(each)) for path, each in _together(self.comparison).items()}

    @property
    def unknown(self) -> tuple[float, float]:
        """How much of the files and of the bytes is of class unknown, from 0 to 1."""
        count, size = self.account.classes["unknown"]
        return count / max(self.files, 1), size / max(self.bytes, 1)

    @property
    def precision(self) -> float:
        """How much of what is called drift was planted, from 0 to 1."""
        return _ratio(self.found.keys() & self.planted.keys(), self.found)

    @property
    def recall(self) -> float:
        """How much of what was planted is called drift, from 0 to 1."""
        return _ratio(self.found.keys() & self.planted.keys(), self.planted)

    def class_of(self, path: str) -> str:
        """Return the class that the account shows for a path or its folder; empty where it shows none."""
        lines = [line for line in self.account.paths if line.path == path or _is_folder_of(line.path, path)]
        return max(lines, key=lambda line: len(line.path)).class_ if lines else ""


def _is_folder_of(line: str, path: str) -> bool:
    return line.endswith("/") and path.startswith(line)


def _together(comparison: Comparison) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for change in comparison.changes:
        found.setdefault(change.path, set()).update(change.aspects)
    return found


def _ratio(some: Iterable[str], of_all: Iterable[str]) -> float:
    of_all = list(of_all)
    return len(list(some)) / len(of_all) if of_all else 1.0


def measure(name: str, disk: Path, truth: dict[str, Any], said: str = "") -> Measured:
    """Open a disk, find, compare and account."""
    with open_guest([disk]) as guest:
        facts = analysis.find(guest)
        comparison = compare(facts)
        found = account(facts, join(facts), comparison)
        real = {path: as_the_tree_has_it(facts, path) for path in parse_said(said)}
        return Measured(
            name=name,
            facts=facts,
            comparison=comparison,
            account=found,
            truth=truth,
            said={real[path]: aspects for path, aspects in parse_said(said).items()},
            files=sum(count for count, _ in found.classes.values()),
            bytes=sum(size for _, size in found.classes.values()),
        )


def as_the_tree_has_it(facts: Facts, path: str) -> str:
    """Return a path with no link among its folders: dpkg says /lib/systemd where the tree has /usr/lib/systemd."""
    folder, _, name = path.rpartition("/")
    resolved = facts.guest.resolve(folder or "/")
    return path if resolved is None else f"{resolved.rstrip('/')}/{name}"


def parse_said(text: str) -> Changed:
    """Return what `rpm -Va` or `dpkg --verify` says: nine letters or `missing`, what kind of file, the path.

    What differs in its time alone, or in nothing (`.........`), is left out; dpkg looks at nothing but contents and
    has a `?` for the rest. Of a path that two packages own either may speak.

    >>> parse_said("S.5....T.  c /etc/a b\\nmissing   d /usr/x\\n.......T.    /y\\n......... /z (replaced)\\n")
    {'/etc/a b': ('content', 'size'), '/usr/x': ('missing',)}
    """
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        word, path = line.split(maxsplit=1)[0], line[line.index("/") :]
        aspects = {"missing"} if word == "missing" else {_RPM[letter] for letter in word if letter in _RPM}
        if aspects:
            found.setdefault(path, set()).update(aspects)
    return {path: tuple(sorted(aspects)) for path, aspects in found.items()}


def table(machines: Sequence[Measured]) -> list[str]:
    """Return the lines of a table in Markdown."""
    head = (
        "machine",
        "files",
        "MiB",
        "unknown files",
        "unknown bytes",
        "planted",
        "called drift",
        "precision",
        "recall",
    )
    rows: list[tuple[str, ...]] = [head]
    for each in machines:
        files, size = each.unknown
        rows.append((
            each.name, f"{each.files:,}", f"{each.bytes / 2**20:,.0f}", f"{files:.3%}", f"{size:.3%}",
            str(len(each.planted)), str(len(each.found)), f"{each.precision:.2f}", f"{each.recall:.2f}",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
