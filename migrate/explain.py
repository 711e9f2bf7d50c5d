"""`vm2c explain DIR ID`: all that an analysis found of one component, gathered out of what it wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from migrate.errors import UsageError, Vm2cError
from migrate.exchange.model import Edge, Graph, Node
from migrate.facts import is_below
from migrate.found import (
    Application,
    Change,
    Found,
    Inventory,
    Job,
    Listen,
    Package,
    Service,
    Unread,
    Use,
    read_found,
)
from migrate.plan.model import Component
from migrate.text import show

_COMPONENTS = frozenset({"component", "job", "host"})
_TIES = frozenset({"tcp", "udp", "unix-socket", "shared-files", "starts-after", "runs", "external"})


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One component: what the plan says of it, and what the inventory and the graph know that led to that.

    `beside` are the components that share its Pod. `notes` say what to keep in mind of the files it was read from.
    """

    machine: str
    os: str
    component: Component
    beside: list[str]
    services: list[Service]
    jobs: list[Job]
    listens: list[Listen]
    needs: list[Edge]
    needed_by: list[Edge]
    logs: list[Use]
    applications: list[Application]
    packages: list[Package]
    changes: list[Change]
    compared: bool
    unread: list[Unread]
    notes: list[str]


def explain(directory: Path, wanted: str) -> Story:
    """Return the story of a component of an analyzed machine, by its id.

    Raises UsageError with the nearest ids where there is none of that name, and Vm2cError where what the analysis
    wrote is missing or is not what it writes.
    """
    found = read_found(directory)
    component = next((c for c in found.plan.components if c.id == wanted), None)
    if component is None:
        raise UsageError(f"explain {show(wanted)}", "no component has that id", _nearest(found, wanted))
    node = next((n for n in found.graph.nodes if n.id == wanted and n.type in _COMPONENTS), None)
    if node is not None and not node.units:
        raise Vm2cError(
            f"explain {wanted}", f"{directory / 'graph.json'} is an older version's", "run `vm2c analyze DISK` again"
        )
    return _story(found, component, node)


def _nearest(found: Found, wanted: str) -> str:
    """Return what to use instead of an id that is none: the component of that unit, ids like it, or all of them."""
    ids = [c.id for c in found.plan.components]
    by_unit = {unit: node.id for node in found.graph.nodes for unit in node.units if node.id in ids}
    bare = wanted.removesuffix(".service").removesuffix(".timer")
    if bare in by_unit:
        return f"that unit is part of {by_unit[bare]!r}"
    close = [i for i in ids if bare and bare in i][:3] or difflib.get_close_matches(bare, ids, 3, 0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, map(show, close)))}?"
    own = [c.id for c in found.plan.components if c.kind != "host"] or ids
    shown = ", ".join(map(show, own[:20]))
    return f"there are: {shown}" + (f" and {len(own) - 20} more" if len(own) > 20 else "")


def _story(found: Found, component: Component, node: Node | None) -> Story:
    inventory = found.inventory
    units = set(node.units) if node is not None else {component.id}
    services = list(_services(inventory, node, units))
    jobs = [job for job in inventory.jobs if job.id in units and component.kind != "service"]
    listens = [listen for listen in inventory.listens if listen.service in units]
    logs = [use for use in inventory.logs if use.service in units]
    packages = _packages(inventory, component, services)
    changes = _changes(inventory, component, services, {p.name for p in packages})
    places = _places(component, services, jobs)
    return Story(
        machine=found.plan.machine,
        os=found.plan.source.os,
        component=component,
        beside=[c.id for c in found.plan.components if c.pod == component.pod is not None and c.id != component.id],
        services=services,
        jobs=jobs,
        listens=listens,
        needs=_ties(found.graph, component.id, outgoing=True),
        needed_by=_ties(found.graph, component.id, outgoing=False),
        logs=logs,
        applications=[a for a in inventory.applications if any(r.id in units for r in a.run_by)],
        packages=packages,
        changes=changes,
        compared=inventory.files.compared.done,
        unread=[u for u in inventory.unread if _is_about(u, places, units)],
        notes=list(_notes(found, node)),
    )


def _notes(found: Found, node: Node | None) -> Iterable[str]:
    if node is None:
        yield "the analysis did not find it: a person added it to the plan"
    if not found.belongs:
        yield "plan.yaml was made from another inventory.json than the one beside it: analyze again"


def _services(inventory: Inventory, node: Node | None, units: set[str]) -> Iterable[Service]:
    """Yield the services that a component stands for, the one that speaks for it first; of two of one id, its own."""
    unit = node.unit if node is not None else ""
    first = node.units[0] if node is not None else ""
    for name in sorted(units, key=lambda u: (u != first, u)):
        rows = [service for service in inventory.services if service.id == name]
        yield from [row for row in rows if row.unit == unit][:1] or rows


def _ties(graph: Graph, component: str, *, outgoing: bool) -> list[Edge]:
    ids = {node.id for node in graph.nodes}
    here, there = ("source", "target") if outgoing else ("target", "source")
    edges = [
        edge
        for edge in graph.edges
        if getattr(edge, here) == component and edge.kind in _TIES and getattr(edge, there) in ids
    ]
    return sorted(edges, key=lambda e: (e.kind == "starts-after", getattr(e, there), e.kind, e.detail))


def _packages(inventory: Inventory, component: Component, services: Sequence[Service]) -> list[Package]:
    """Return the installed packages that a component is of: its program's, and those that its image installs."""
    named = component.image.packages if component.image is not None else []
    names = {name.partition("=")[0] for name in named} | {s.package for s in services[:1]}
    return [package for package in inventory.packages if package.name in names]


def _changes(
    inventory: Inventory, component: Component, services: Sequence[Service], packages: set[str]
) -> list[Change]:
    """Return the changed files that are a component's: those of its packages, and its configuration."""
    tops = [*component.config, *(s.unit for s in services)]
    return [
        change
        for change in inventory.files.changes
        if change.package in packages or any(top and is_below(change.path, top) for top in tops)
    ]


def _places(component: Component, services: Iterable[Service], jobs: Iterable[Job]) -> list[str]:
    """Return the files and trees that are read for a component."""
    image = component.image.files if component.image is not None else []
    units = [path for s in services for path in (s.unit, *(f.path for f in s.environment_files))]
    return [p for p in (*component.config, *image, *units, *(_path(j.seen_in) for j in jobs)) if p]


def _path(place: str) -> str:
    path, _, line = place.rpartition(":")
    return path if path and line.isdigit() else place


def _is_about(unread: Unread, places: Iterable[str], units: Iterable[str]) -> bool:
    path = _path(unread.path)
    by_name = any(unread.why.startswith(f"{unit} ") for unit in units)
    return by_name or any(is_below(path, top) for top in places)
