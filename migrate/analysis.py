"""`vm2c analyze`: from an opened guest to the four files, as values. Writing them is one call at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from migrate.account import account
from migrate.discover import find_analyzers, run_analyzers
from migrate.errors import PlanError
from migrate.exchange.formats import NAMES as GRAPH_NAMES
from migrate.exchange.formats import GraphFormat
from migrate.exchange.render import render as render_graph
from migrate.facts import Facts
from migrate.graph import build_graph, node_link
from migrate.guest.progress import Notify, silent
from migrate.guest.protocol import Guest
from migrate.inventory import encode, inventory
from migrate.join import join
from migrate.output import File
from migrate.plan.merge import Conflict, merge_plans
from migrate.plan.model import Plan
from migrate.plan.propose import Chosen, propose
from migrate.plan.store import check, dump, read_document, read_plan, render_plan
from migrate.redact import Redactor
from migrate.report import render_report
from migrate.report_files import percent
from migrate.sbom.render import render
from migrate.sbom.standard import NAMES, Standard
from migrate.svg import size
from migrate.text import show

PROPOSED = ".proposed.yaml"
"""What was proposed last time, below the output folder: the base of the three-way merge."""

Progress = Callable[[str, int, int], None]


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine's analysis makes. `files` maps a path below the output folder to the file.

    `account` is what inventory.json says of all files together: total, accounted, compared, and how many changes.
    """

    plan: Plan
    account: dict[str, Any]
    files: dict[str, File]
    unread: tuple[tuple[str, str], ...]
    conflicts: tuple[Conflict, ...]


def find(guest: Guest, progress: Progress = lambda _n, _d, _t: None, *, quick: bool = False) -> Facts:
    """Run every analyzer on a guest and return what they found. `quick`: packaged files are not compared."""
    return Facts(run_analyzers(guest, find_analyzers(), progress), guest, quick=quick)


def analyze(
    facts: Facts,
    chosen: Chosen,
    directory: Path,
    sboms: Iterable[Standard] = (),
    fetch: Notify | None = None,
    graphs: Iterable[GraphFormat] = (),
) -> Analysis:
    """Return the analysis of a machine. `directory` may hold an earlier one, whose plan's edits are kept.

    `chosen` is what was opened, as the plan names it; `sboms` are bills of materials to write too, `graphs` the
    forms in which the graph is written for other programs. With `fetch` the originals of changed files may come from
    the distribution's archive; it is told before each request. Raises PlanError where the plan.yaml that is there
    cannot be read or is another machine's: it is never overwritten.
    """
    joined = join(facts)
    redact = facts.redactor
    found = redact.tree(inventory(facts, joined, account(facts, joined, facts.comparison)))
    _add_differences(found["files"]["changes"], facts, redact, fetch)
    reader = found["source"].pop("reader")
    digest = "sha256:" + hashlib.sha256(encode(found)).hexdigest()
    found["source"]["reader"] = reader
    proposed = propose(facts, joined, chosen, digest)
    proposed = msgspec.convert(redact.tree(msgspec.to_builtins(proposed)), Plan)
    text, plan, conflicts = _merged(directory, proposed)
    graph = redact.tree(node_link(build_graph(plan, joined)))
    report = render_report(found, graph, msgspec.convert(redact.tree(msgspec.to_builtins(plan)), Plan))
    unread = tuple(sorted({(u["path"], u["why"]) for u in found["unread"]}))
    counted = found["files"]
    return Analysis(
        plan=plan,
        account={key: counted[key] for key in ("total", "accounted", "compared")}
        | {"changes": len(counted["changes"])},
        files={
            "inventory.json": File(encode(found)),
            "graph.json": File(encode(graph)),
            "plan.yaml": File(text.encode(), merged=True),
            PROPOSED: File(render_plan(proposed).encode()),
            "report.html": File(report.encode()),
            **{NAMES[each]: File(render(facts, each, redact, digest)) for each in sboms},
            **{GRAPH_NAMES[each]: File(render_graph(graph, each)) for each in graphs},
        },
        unread=unread,
        conflicts=tuple(conflicts),
    )


def _add_differences(changes: list[dict[str, Any]], facts: Facts, redact: Redactor, fetch: Notify | None) -> None:
    """Show beside each changed file how it differs from its original, line by line, where that can be had."""
    if not changes:
        return
    from migrate.changes.textdiffs import diffs  # 78 ms

    made = diffs(facts.guest, facts, facts.comparison.changes, network=fetch is not None, notify=fetch or silent)
    by_path = {redact(path): difference for path, difference in made.items()}
    for row in changes:
        difference = by_path.get(row["path"])
        if difference is not None:
            row["diff"] = difference.text.rstrip("\n").split("\n") if difference.text else []
            row["diff_source"], row["no_diff"] = difference.source, difference.why


def _merged(directory: Path, proposed: Plan) -> tuple[str, Plan, list[Conflict]]:
    """Return the plan's text, the plan it says, and what a person and the analysis both changed."""
    mine, base = directory / "plan.yaml", directory / PROPOSED
    if not mine.exists():
        return render_plan(proposed), proposed, []
    document = read_document(mine)
    edited = check(document, mine)
    before = read_plan(base) if base.exists() else edited
    if before.machine != proposed.machine:
        found = f"it holds the plan of {show(before.machine)}, and this machine is {show(proposed.machine)}"
        raise PlanError(f"write the plan into {directory}", found, "name another folder with --output")
    if base.exists() and base.read_bytes() == mine.read_bytes():
        return render_plan(proposed), proposed, []
    conflicts = merge_plans(before, document, proposed)
    text = dump(document)
    return text, check(document, mine), conflicts


def counts(plan: Plan) -> dict[str, int]:
    """Return how many components each decision has, the machine's own upkeep apart (`host`)."""
    found: dict[str, int] = {}
    for component in plan.components:
        name = "host" if component.kind == "host" else component.decision
        found[name] = found.get(name, 0) + 1
    return found


def coverage(account: Mapping[str, Any]) -> str:
    """Return in a sentence how much of a disk is accounted for, and what was compared (`Analysis.account`)."""
    total, known, compared = account["total"], account["accounted"], account["compared"]
    shares = [percent(known[key], total[key]) for key in ("files", "bytes")]
    sentence = f"{shares[0]} of {total['files']:,} files and {shares[1]} of {size(total['bytes'])} are accounted for"
    if not compared["done"]:
        return f"{sentence}; packaged files were not compared with their packages."
    changes = account["changes"]
    what = "nothing" if not changes else "one path" if changes == 1 else f"{changes:,} paths"
    return f"{sentence}; the contents of {compared['files']:,} packaged files were compared, and {what} had changed."
