"""Documentation made from the code: what is known, and where it comes from. `python -m migrate.docs` writes it anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from migrate.changes.explain import explaining_rules
from migrate.discover import find_analyzers
from migrate.places import place_rules
from migrate.rulebook import rules
from migrate.text import show

FOLDER = Path(__file__).parent.parent.parent / "docs"
_MADE = "<!-- Made by `python -m migrate.docs` from the code; a test holds the two equal. -->"
# What Markdown reads in a table's cell (github.github.com/gfm): a backslash before it shows it as it is.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def analyzers_page() -> str:
    """Return docs/analyzers.md: each analyzer with what it finds, what it reads, and where that is documented."""
    found = find_analyzers()
    rows = [(a.name, text(a.says), codes(a.reads), text(a.source)) for a in found]
    lines = [
        "# Analyzers",
        "",
        _MADE,
        "",
        f"The {len(found)} analyzers that vm2c brings, each a file of [analyzers/](../analyzers). `vm2c analyzers`",
        "lists them too, with those of other packages. What one reads is fetched in one go before it runs: a folder",
        "means all that is below it. An analyzer that names nothing follows what others found.",
        "",
        *table(("analyzer", "finds", "reads", "source"), rows),
    ]
    return "\n".join([*lines, ""])


def rules_page() -> str:
    """Return docs/rules.md: the rules of components, of places, and of differences, each with its source."""
    components, places, explained = rules(), place_rules(), explaining_rules()
    lines = [
        "# Rules",
        "",
        _MADE,
        "",
        "Rules are data, in [migrate/rules/](../migrate/rules) and [migrate/changes/](../migrate/changes).",
        "`vm2c rules` lists them too.",
        "",
        "## What becomes of a component",
        "",
        *table(
            ("rule", "verdict", "weight", "why", "source"),
            [(r.id, r.verdict, f"{r.weight:.2f}", text(r.why), text(r.source)) for r in components],
        ),
        "",
        "## What a file is, by its place",
        "",
        *table(
            ("rule", "class", "paths", "says", "source"),
            [(r.id, r.class_, codes(r.paths), text(r.says), text(r.source)) for r in places],
        ),
        "",
        "## Why a packaged file differs though nobody changed it",
        "",
        *table(("rule", "says", "source"), [(r.id, text(r.says), text(r.source)) for r in explained]),
    ]
    return "\n".join([*lines, ""])


PAGES: dict[str, Callable[[], str]] = {"analyzers.md": analyzers_page, "rules.md": rules_page}
"""The pages of docs/ that are made, by name."""


def publish(folder: Path = FOLDER) -> list[Path]:
    """Write the pages of this checkout, and return their paths."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")
    return [folder / name for name in PAGES]


def text(value: str) -> str:
    """Return a text as Markdown that shows it as it is, on one line.

    >>> text("a*b | c")
    'a\\\\*b \\\\| c'
    """
    return _SPECIAL.sub(r"\\\1", show(value))


def codes(values: Iterable[str]) -> str:
    """Return paths as code spans for a table's cell, where a bar ends the cell even in code."""
    return " ".join(f"`{show(value)}`".replace("|", "\\|") for value in values)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines; cells are Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]
