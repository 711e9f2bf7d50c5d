"""RUNBOOK.md: the cutover in order, with exact commands and what a person must still supply."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePath

import msgspec

from migrate.generate.context import Context, Moving, outside_ports
from migrate.generate.dockerfile import probe
from migrate.generate.kubernetes import all_data
from migrate.generate.kubevirt import disks, machine_name
from migrate.generate.podspec import mapped_config, secret_env_name, secret_files_name
from migrate.generate.templates import render
from migrate.text import show


class LoadStep(msgspec.Struct, frozen=True, kw_only=True):
    """How one claim's data goes into its volume."""

    claim: str
    component: str
    path: str
    bytes: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """How one component is asked whether it answers."""

    component: str
    pod: str
    command: str
    says: str


def runbook(context: Context) -> str:
    """Return RUNBOOK.md."""
    plan = context.plan
    moving = context.moving
    return render(
        "RUNBOOK.md.j2",
        machine=plan.machine,
        system=plan.source.os,
        disks=[PurePath(d).name for d in plan.source.disks],
        services=[m for m in moving if not m.is_job],
        jobs=[m for m in moving if m.is_job],
        pods=[p for p in context.pods if not any(m.is_job for m in p.members)],
        loads=load_steps(context),
        checks=list(_checks(context)),
        secrets=[_secret_names(m) for m in moving if m.variables.secret or m.payload.secret_files],
        externals=sorted({(n.external, m.id, n.seen_in) for m in moving for n in m.component.needs if n.external}),
        outside=[(m.id, p.port, p.protocol) for m in moving for p in outside_ports(m.component)],
        shared_claims=[
            (d.claim, context.pods_of_claim(d.claim))
            for d in all_data(context)
            if len(context.pods_of_claim(d.claim)) > 1
        ],
        retired=[c for c in plan.components if c.decision == "retire"],
        external_components=context.external,
        virtual=context.virtual,
        virtual_name=machine_name(context) if context.virtual else "",
        virtual_disks=[(n, PurePath(d).name) for (n, _), d in zip(disks(context), plan.source.disks, strict=True)],
        waived=[(c.id, b) for c in plan.components for b in c.blockers if b.waived is not None],
        supply=list(_supply(context)),
        notices=context.notices,
    )


def load_steps(context: Context) -> list[LoadStep]:
    """Return one step for each claim: through the component that keeps the data."""
    owner = {d.claim: m for m in reversed(context.moving) for d in m.component.data}
    return [LoadStep(claim=d.claim, component=owner[d.claim].id, path=d.path, bytes=d.bytes) for d in all_data(context)]


def _checks(context: Context) -> Iterable[Check]:
    for pod in context.pods:
        for m in pod.members:
            asked = probe(m.component, context)
            if asked is not None:
                yield Check(component=m.id, pod=pod.name, command=shlex.join(map(show, asked.command)), says=asked.says)


def _secret_names(m: Moving) -> tuple[str, list[str], list[str], list[str]]:
    """Return a component's id, its secret variables and files, and the Secrets that carry them."""
    files = [f.path for f in m.payload.secret_files]
    objects = [secret_env_name(m.id)] * bool(m.variables.secret) + [secret_files_name(m.id)] * bool(files)
    return m.id, sorted(m.variables.secret), files, objects


def _supply(context: Context) -> Iterable[str]:
    """Yield what the disk cannot say and a person must."""
    moving = context.moving
    if context.pods:
        yield "a registry that the cluster pulls from (the images carry names without one)"
    if all_data(context):
        yield "a StorageClass, where the cluster has no default one"
    for m in moving:
        resources = m.component.resources
        if not m.is_job and (resources is None or resources.memory is None):
            yield f"a memory limit for {m.id}: the machine set none"
        if resources is not None and resources.open_files:
            yield (
                f"open files for {m.id}: the machine allowed {resources.open_files}; compose sets that,"
                " Kubernetes leaves it to the node's container runtime"
            )
        if m.user.uid and m.component.capabilities:
            names = ", ".join(m.component.capabilities)
            yield f"{names} for {m.id}: it is not root, so set file capabilities on its program, or run it as root"
        for file in sorted({c.path for c in m.config} - {c.path for c in mapped_config(m)}):
            yield f"nothing for {file} of {m.id}: no ConfigMap can hold it, so a change of it is a new image"
        if m.is_job and m.component.schedule is None:
            yield f"a schedule for {m.id}: its own cannot be said in five fields, so it is a Job that runs once"
    if context.virtual:
        yield f"processors, memory and network of {machine_name(context)}: the disk does not say what it had"
