"""The report's part of the account of the disk: coverage, classes, changes, and applications that nobody packaged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from migrate.reporting import LONGEST_LIST, cell, entries, mapping, number, table

# The classes of migrate.account in the order of the bar, with their colour's number (--k0 … in the template); a class
# that is not known here comes before `unknown`.
CLASSES = {
    "package": ("unchanged from a package", 0),
    "changed-config": ("configuration, changed or added", 1),
    "changed-package": ("packages' files, changed", 10),
    "generated": ("made by a package or the system", 2),
    "application": ("applications", 3),
    "data": ("data", 4),
    "log": ("logs", 5),
    "temporary": ("temporary", 6),
    "boot": ("boot and kernel", 7),
    "secret": ("secrets", 8),
    "unknown": ("unknown", 9),
}
_LONGEST_DIFF = 400
_FEW_LIBRARIES = 6
_DIGEST = re.compile(r"\b([0-9a-z]+:[0-9a-f]{12})[0-9a-f]{8,}\b")


def files_view(inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of `files`."""
    files = mapping(inventory.get("files"))
    classes = _classes(files)
    total = {"files": sum(k["files"] for k in classes), "bytes": sum(k["bytes"] for k in classes)}
    unknown = next((k for k in classes if k["name"] == "unknown"), {"files": 0, "bytes": 0})
    listed = _counted(files, "unknown", "path")
    return {
        "classes": classes,
        "total": total,
        "accounted": {key: percent(total[key] - unknown[key], total[key]) for key in ("files", "bytes")},
        "unknown": {"files": unknown["files"], "bytes": unknown["bytes"], "rows": listed[:LONGEST_LIST],
                    "total": len(listed)},
        "paths": _paths([row for row in table(files, "paths", ("path", "class", "why"))
                         if not (listed and row["class"] == "unknown")]),
        "largest": _largest(files),
        "rules": _counted(files, "rules", "rule", "class", "says"),
        **_compared(files),
    }  # fmt: skip


def _counted(given: Mapping[str, Any], key: str, *names: str) -> list[dict[str, Any]]:
    """Return rows with their files and bytes as numbers."""
    return [
        {**{name: cell(row.get(name)) for name in names}, **{n: number(row.get(n)) for n in ("files", "bytes")}}
        for row in entries(given, key)
    ]


def percent(part: int, whole: int) -> str:
    """Return a share in per cent with two digits, rounded down: 100 % is all of it.

    >>> percent(24_034, 24_035), percent(0, 0)
    ('99.99 %', '100 %')
    """
    hundredths = part * 10_000 // whole if whole else 10_000
    return f"{hundredths / 100:g} %"


def coverage_tile(view: Mapping[str, Any]) -> dict[str, object] | None:
    """Return the tile that says how much of the disk is accounted for, or None where nothing was counted."""
    if not view["classes"]:
        return None
    by_files, by_bytes = view["accounted"]["files"], view["accounted"]["bytes"]
    label = f"of {view['total']['files']:,} files, {by_bytes} of bytes accounted for"
    return {"style": "coverage", "count": by_files, "label": label}


def label_of(name: str) -> str:
    """Return what a class is called on the page."""
    return CLASSES[name][0] if name in CLASSES else name


def _classes(files: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = mapping(files.get("classes"))
    others = sorted(given.keys() - CLASSES.keys())
    return [
        {
            "name": name,
            "label": label_of(name),
            "colour": CLASSES[name][1] if name in CLASSES else 2,
            "files": number(mapping(given[name]).get("files")),
            "bytes": number(mapping(given[name]).get("bytes")),
        }
        for name in (*(n for n in CLASSES if n != "unknown"), *others, "unknown")
        if name in given
    ]


def _paths(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the paths that a person must see by class, the unknown ones first."""
    groups = []
    for name in sorted({str(row["class"]) for row in listed}, key=lambda n: (n != "unknown", n)):
        same = [row for row in listed if row["class"] == name]
        groups.append({"label": label_of(name), "total": len(same), "rows": same[:LONGEST_LIST]})
    return groups


def _largest(files: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = mapping(files.get("largest"))
    found = []
    for name in (*CLASSES, *sorted(given.keys() - CLASSES.keys())):
        listed = _counted(given, name, "path")
        if listed:
            found.append({"label": label_of(name), "rows": listed[:LONGEST_LIST]})
    return found


def _compared(files: Mapping[str, Any]) -> dict[str, Any]:
    given = mapping(files.get("compared"))
    changes = [_change(row) for row in entries(files, "changes")]
    return {
        "compared": {
            "said": bool(given),
            "done": given.get("done") is not False,
            "files": number(given.get("files")),
            "of": number(given.get("of")),
            "unread": table(given, "unread", ("path", "why")),
        },
        "changes": changes[:LONGEST_LIST],
        "changes_total": len(changes),
        "explained": [
            {**row, "examples": [str(path) for path in given_row.get("examples") or ()]}
            for row, given_row in zip(
                _counted(files, "explained", "rule", "says"), entries(files, "explained"), strict=True
            )
        ],
        "leftovers": table(files, "leftovers", ("path", "of", "package", "says")),
    }


def _change(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("path", "package", "class", "seen_in", "diff_source", "no_diff")
    return {
        **{name: cell(row.get(name)) for name in names},
        "label": "configuration" if row.get("class") == "changed-config" else "program or data",
        "differences": [
            {name: _short(str(text)) for name, text in each.items()}
            for each in table(row, "differences", ("aspect", "shipped", "found"))
        ],
        "diff": _diff(row.get("diff")),
    }


def _short(text: str) -> str:
    """Return a digest so far as a person compares it; inventory.json has all of it."""
    return _DIGEST.sub(r"\1…", text)


def _diff(given: object) -> list[dict[str, str]]:
    """Return the lines of a unified diff with the style of each; only so many, the rest is counted."""
    lines = [str(line) for line in given] if isinstance(given, list | tuple) else []
    shown = [_diff_line(line) for line in lines[:_LONGEST_DIFF]]
    if len(lines) > _LONGEST_DIFF:
        shown.append({"style": "at", "text": f"{len(lines) - _LONGEST_DIFF:,} more lines are in inventory.json"})
    return shown


def _diff_line(line: str) -> dict[str, str]:
    if line.startswith(("---", "+++", "@@")):
        return {"style": "at", "text": line}
    style = {"+": "new", "-": "old"}.get(line[:1], "same")
    return {"style": style, "text": line[1:]}


def applications_view(inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of `applications`."""
    names = ("root", "ecosystem", "name", "version", "interpreter", "seen_in")
    found = []
    for row in entries(inventory, "applications"):
        libraries = [str(name) for name in row.get("libraries") or ()]
        found.append({
            **{name: cell(row.get(name)) for name in names},
            "runtime": ", ".join(str(name) for name in row.get("runtime") or ()),
            "libraries": libraries[:_FEW_LIBRARIES],
            "libraries_more": max(0, len(libraries) - _FEW_LIBRARIES),
            "run_by": [{"id": cell(r.get("id") or r.get("service")), "kind": cell(r.get("kind")),
                        "seen_in": cell(r.get("seen_in"))} for r in entries(row, "run_by")],
        })  # fmt: skip
    return {"rows": found[:LONGEST_LIST], "total": len(found)}
