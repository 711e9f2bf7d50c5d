"""The key `files` of inventory.json: the account of the disk as JSON values."""

from __future__ import annotations

from typing import Any

import msgspec

from migrate.account import Account
from migrate.changes.model import Change, Comparison
from migrate.tally import Item

EXAMPLES = 3
"""So many paths are named for each reason why something differs that nobody changed."""


def file_list(account: Account) -> dict[str, Any]:
    """Return the account: totals, classes and rules, the largest items, the changes, and what a person must see.

    `accounted` is everything but what is unknown; its ratios are rounded down, so that only all of it is 1.
    """
    files = sum(n for n, _ in account.classes.values())
    size = sum(n for _, n in account.classes.values())
    unknown_files, unknown_bytes = account.classes["unknown"]
    return {
        "total": {"files": files, "bytes": size},
        "accounted": {
            "files": files - unknown_files,
            "bytes": size - unknown_bytes,
            "files_ratio": _ratio(files - unknown_files, files),
            "bytes_ratio": _ratio(size - unknown_bytes, size),
        },
        "classes": {name: {"files": n, "bytes": b} for name, (n, b) in sorted(account.classes.items())},
        "rules": [msgspec.to_builtins(total) for total in account.rules],
        "largest": {kind: [_item(item) for item in items] for kind, items in account.largest.items()},
        "unknown": [_item(item) for item in account.unknown],
        "paths": [msgspec.to_builtins(line) for line in account.paths],
        **_comparison(account.comparison),
    }


def _ratio(part: int, whole: int) -> float:
    """Return a share with six digits, rounded down; of nothing, everything is accounted for."""
    return part * 1_000_000 // whole / 1_000_000 if whole else 1.0


def _item(item: Item) -> dict[str, Any]:
    return {"path": item.path, "files": item.files, "bytes": item.bytes}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "compared": {
            "files": comparison.compared,
            "of": comparison.files,
            "done": comparison.done,
            "unread": [{"path": path, "why": why} for path, why in comparison.unread],
        },
        "changes": [_change(change) for change in comparison.changes],
        "explained": _explained(comparison),
        "leftovers": [msgspec.to_builtins(each) for each in comparison.leftovers],
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "package": change.package,
        "class": "changed-config" if change.configuration else "changed-package",
        "differences": [msgspec.to_builtins(each) for each in change.differences],
        "seen_in": str(change.seen_in),
        "diff": None,
        "diff_source": None,
        "no_diff": None,
    }


def _explained(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the reasons why packaged paths differ though nobody changed them, each with how many and a few."""
    says: dict[str, str] = {}
    paths: dict[str, set[str]] = {}
    for each in comparison.explained:
        says.setdefault(each.rule, each.says)
        paths.setdefault(each.rule, set()).add(each.path)
    return [
        {"rule": rule, "says": says[rule], "files": len(paths[rule]), "examples": sorted(paths[rule])[:EXAMPLES]}
        for rule in sorted(says)
    ]
