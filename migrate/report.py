"""report.html: the plan and what it rests on, for a person. One file that needs nothing else, not even a script.

Every text is hostile until shown: the template escapes what it prints (autoescape), and before that each
string passes through `migrate.text.show`, so that no control or bidirectional character reaches the page.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

import migrate
from migrate.plan.model import Blocker, Component, Plan
from migrate.report_files import applications_view, coverage_tile, files_view
from migrate.reporting import LONGEST_LIST, mapping, table
from migrate.svg import DECISIONS, draw_graph, size
from migrate.text import show

if TYPE_CHECKING:
    from jinja2 import Template

STRATEGIES = {
    "packages": "installing the distribution's packages",
    "app": "the application's files on its runtime",
    "lift": "the files from this disk",
}
_KINDS_OF_TIES = ("tcp", "udp", "unix-socket", "shared-files", "starts-after", "runs", "external")


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A component as the page shows it."""

    part: Component
    anchor: str
    blocked: bool
    ports: str
    line: str
    runs: list[tuple[str, str]]


def render_report(inventory: Mapping[str, Any], graph: Mapping[str, Any], plan: Plan) -> str:
    """Return the page. `inventory` is inventory.json's content, any key of which may be missing; `graph` is
    networkx's node-link form. The same input gives the same text."""
    entries = [_entry(component, f"c{n}") for n, component in enumerate(plan.components, 1)]
    details = [entry for entry in entries if entry.part.kind != "host"]
    unread = table(inventory, "unread", ("path", "why", "analyzer"))
    files = files_view(inventory)
    view = {
        "version": migrate.__version__,
        "plan": plan,
        "words": DECISIONS,
        "strategies": STRATEGIES,
        "facts": _facts(inventory, plan),
        "tiles": _tiles(details, len(unread), coverage_tile(files)),
        "open_questions": [question for entry in entries for question in _questions(entry)],
        "details": details,
        "upkeep": [entry for entry in entries if entry.part.kind == "host"],
        "decisions": [word for word in DECISIONS if any(entry.part.decision == word for entry in details)],
        "ties": _ties(graph, plan),
        "drawing": draw_graph(graph, plan, {entry.part.id: entry.anchor for entry in details}),
        "unread": unread[:LONGEST_LIST],
        "unread_total": len(unread),
        **_jobs(inventory),
        "files": files,
        "applications": applications_view(inventory),
        "packages": _packages(inventory),
        "accounts": _accounts(inventory),
    }
    return _template().render(view) + "\n"


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    def safe(value: object) -> object:
        return show(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=safe, trim_blocks=True, lstrip_blocks=True
    )

    def path(text: object) -> Markup:
        """Let a line break after a slash rather than within a name."""
        return Markup(str(escape(show(str(text)))).replace("/", "/<wbr>"))  # noqa: S704 - escaped just before

    environment.filters["bytes"] = size
    environment.filters["path"] = path
    environment.globals["markup"] = Markup
    return environment.from_string(resources.files("templates").joinpath("report.html.j2").read_text("utf-8"))


# ---------------------------------------------------------------- the plan


def _entry(component: Component, anchor: str) -> _Entry:
    ports = sorted({(port.port, port.protocol) for port in component.ports})
    return _Entry(
        part=component,
        anchor=anchor,
        blocked=bool(_open_blockers(component)),
        ports=", ".join(str(port) if protocol == "tcp" else f"{port}/{protocol}" for port, protocol in ports),
        line=component.because[0].says if component.because else "",
        runs=_runs(component),
    )


def _open_blockers(component: Component) -> list[Blocker]:
    """Return what stops `generate`: the blockers of what moves that are neither solved nor waived."""
    return [b for b in component.blockers if b.waived is None and component.decision == "containerize"]


def _runs(component: Component) -> list[tuple[str, str]]:
    user, resources_ = component.user, component.resources
    lines = [
        ("As", component.workload or ""),
        ("Pod", component.pod or ""),
        ("When", component.schedule or ""),
        ("Time zone", component.timezone or ""),
        *(("Before", shlex.join(command)) for command in component.prepare),
        ("Command", shlex.join(component.command)),
        ("In", component.working_directory or ""),
        ("User", f"{user.name} ({user.uid}:{user.gid})" if user else ""),
        ("Memory", (resources_.memory or "") if resources_ else ""),
        ("Processors", (resources_.cpu or "") if resources_ else ""),
        ("Capabilities", ", ".join(component.capabilities)),
        ("Healthy", f"{shlex.join(component.health.command)} exits 0" if component.health else ""),
    ]
    return [(label, value) for label, value in lines if value]


def _questions(entry: _Entry) -> list[dict[str, str]]:
    said = [f"{b.says}: {b.mitigation}" for b in _open_blockers(entry.part)]
    if entry.part.decision == "undecided":
        said.insert(0, "decide what becomes of it (decision: in plan.yaml)")
    return [{"id": entry.part.id, "anchor": entry.anchor, "says": text} for text in said]


def _tiles(details: Sequence[_Entry], unread: int, coverage: dict[str, object] | None) -> list[dict[str, object]]:
    counts: Counter[str] = Counter(entry.part.decision for entry in details)
    labels = {
        "containerize": "to containers",
        "virtualize": "stay a VM",
        "retire": "retired",
        "external": "elsewhere",
        "undecided": "undecided",
    }
    blockers = sum(len(_open_blockers(entry.part)) for entry in details)
    return [
        *({"style": decision, "count": counts[decision], "label": label} for decision, label in labels.items()),
        {"style": "alert", "count": blockers, "label": "open blocker" if blockers == 1 else "open blockers"},
        {"style": "alert", "count": unread, "label": "blind spot" if unread == 1 else "blind spots"},
        *([coverage] if coverage else []),
    ]


# ---------------------------------------------------------------- the inventory


def _facts(inventory: Mapping[str, Any], plan: Plan) -> list[tuple[str, str]]:
    system = mapping(inventory.get("os"))
    lines = [
        ("System", system.get("name") or plan.source.os),
        ("Processor", system.get("architecture") or plan.source.architecture),
        ("Starts with", system.get("init")),
        ("Supported until", system.get("end_of_life")),
        ("With extended support", system.get("end_of_extended_support")),
        ("Disks", ", ".join(plan.source.disks)),
    ]
    return [(label, str(value)) for label, value in lines if value]


def _ties(graph: Mapping[str, Any], plan: Plan) -> list[dict[str, str]]:
    hosts = {component.id for component in plan.components if component.kind == "host"}
    names = ("source", "target", "kind", "detail", "seen_in")
    rows = [{name: str(edge.get(name) or "") for name in names} for edge in graph.get("edges") or []]
    return [row for row in rows if row["kind"] in _KINDS_OF_TIES and not {row["source"], row["target"]} & hosts]


def _jobs(inventory: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "schedule", "original", "enabled", "user", "command", "seen_in")
    rows = table(inventory, "jobs", names)
    for row, given in zip(rows, inventory.get("jobs") or [], strict=False):
        row["enabled"] = given.get("enabled") is not False
        row["also"] = row["original"] if row["schedule"] and str(row["original"]).startswith("On") else ""
        if given.get("shell") and len(given.get("command") or []) == 1:
            row["command"] = given["command"][0]
    return {"jobs": rows[:LONGEST_LIST], "jobs_more": max(0, len(rows) - LONGEST_LIST)}


def _packages(inventory: Mapping[str, Any]) -> dict[str, Any]:
    rows = table(inventory, "packages", ("name", "version", "origin", "chosen"))
    chosen = [row for row in rows if row["chosen"] is True]
    names = [str(row["name"]) for row in chosen]
    ecosystems = Counter(row["ecosystem"] for row in table(inventory, "language_packages", ("ecosystem",)))
    return {
        "total": len(rows),
        "chosen": len(chosen),
        "rows": chosen[:LONGEST_LIST],
        "names": ", ".join(names[:8]) + (", …" if len(names) > 8 else ""),
        "languages": ", ".join(f"{count} {name}" for name, count in sorted(ecosystems.items())),
    }


def _accounts(inventory: Mapping[str, Any]) -> dict[str, Any]:
    rows = table(inventory, "users", ("name", "uid", "gid", "home", "shell", "gecos", "system"))
    people = [row for row in rows if row["system"] is False]
    return {"people": people[:LONGEST_LIST], "others": len(rows) - len(people)}
