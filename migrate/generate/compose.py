"""compose.yaml: the machine's services on one Docker engine, tied as they were.

Components of one Pod share the network of its first one, and its sockets by a volume in memory. The format is
the Compose Specification; nothing in it needs more than docker-compose 1.29 with engine 20.10 knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from migrate.generate import yamlout
from migrate.generate.context import Context, Moving, Pod, Scratch, outside_ports, unique_ports
from migrate.generate.dockerfile import INTERVAL, RETRIES, START, TIMEOUT, probe, stop_signal
from migrate.generate.known import DEFAULT_STOP_TIMEOUT, ROOT_CAPABILITIES
from migrate.generate.quantities import cores, octets

SECRETS = "${VM2C_SECRETS:-./secrets}"
"""Where `vm2c extract` puts what the containers must not have inside."""

JOBS = "jobs"
"""The profile of what runs now and then: `docker compose run --rm NAME`."""

_PRIVILEGED_PORTS = 1024


def compose(context: Context) -> str:
    """Return compose.yaml."""
    after = start_after(context)
    services = {m.id: _service(m, pod, after, context) for pod in context.pods for m in pod.members}
    document: dict[str, Any] = {"services": {name: services[name] for name in sorted(services)}}
    volumes = _volumes(context)
    if volumes:
        document["volumes"] = volumes
    return yamlout.dump(document)


def text(value: str) -> str:
    """Return a text that compose takes literally (Compose Specification, "Interpolation")."""
    return value.replace("$", "$$")


def _service(m: Moving, pod: Pod, after: Mapping[str, set[str]], context: Context) -> dict[str, Any]:
    component = m.component
    service: dict[str, Any] = {"image": m.image, "build": {"context": f"images/{m.id}"}}
    if m.is_job:
        service |= {"profiles": [JOBS], "restart": "no"}
    else:
        service["restart"] = "unless-stopped"
    service["init"] = True
    service |= _network(m, pod, context)
    first = _depends_on(m, after, context)
    if first:
        service["depends_on"] = first
    if m.variables.secret:
        service["env_file"] = [f"{SECRETS}/{m.id}/env"]
    if m.user.groups:
        service["group_add"] = [str(g) for g in m.user.groups]
    volumes = _mounts(m)
    if volumes:
        service["volumes"] = volumes
    tmpfs = [_tmpfs(s) for s in _memory(m) if not s.volume]
    if tmpfs:
        service["tmpfs"] = tmpfs
    service |= _limits(m)
    healthy = probe(component, context)
    if healthy is not None:
        service["healthcheck"] = {
            "test": ["CMD", *map(text, healthy.command)],
            "interval": f"{INTERVAL}s", "timeout": f"{TIMEOUT}s", "start_period": f"{START}s", "retries": RETRIES,
        }  # fmt: skip
    signal = stop_signal(component)
    if signal is not None:
        service["stop_signal"] = signal
    service["stop_grace_period"] = f"{component.stop_timeout or DEFAULT_STOP_TIMEOUT}s"
    return service


def _network(m: Moving, pod: Pod, context: Context) -> dict[str, Any]:
    """Return how a service is reached. The first of a Pod holds its network; the others live in it."""
    first = pod.members[0]
    if m.id != first.id:
        return {"network_mode": f"service:{first.id}"}
    found: dict[str, Any] = {}
    names = sorted({*pod.ids, pod.name} - {first.id})
    if names:
        found["networks"] = {"default": {"aliases": names}}
    ports = unique_ports(p for member in pod.members for p in outside_ports(member.component))
    if ports and not m.is_job:
        found["ports"] = [f"{p.port}:{p.port}/{p.protocol}" for p in ports]
    if any(p.port < _PRIVILEGED_PORTS for member in pod.members for p in member.component.ports):
        found["sysctls"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    hosts = context.hosts(pod)
    if hosts:
        found["extra_hosts"] = [f"{text(name)}:{address}" for name, address in hosts.items()]
    return found


def _depends_on(m: Moving, after: Mapping[str, set[str]], context: Context) -> dict[str, Any]:
    known = {x.id: x.component for x in context.moving}
    return {
        name: {"condition": "service_healthy" if probe(known[name], context) is not None else "service_started"}
        for name in sorted(after[m.id])
    }


def start_after(context: Context) -> dict[str, set[str]]:
    """Return which components start before each one: the holder of its network first, then what it needs.

    A need that would close a circle is left out: compose refuses one, and the machine had no order there.
    """
    services = {m.id: m for m in context.moving}
    after: dict[str, set[str]] = {name: set() for name in services}
    for pod in context.pods:
        for m in pod.members[1:]:
            after[m.id].add(pod.members[0].id)
    for m in context.moving:
        for need in m.component.needs:
            name = need.component
            if name in services and name != m.id and not services[name].is_job and not _reaches(after, name, m.id):
                after[m.id].add(name)
    return after


def _reaches(after: Mapping[str, set[str]], start: str, target: str) -> bool:
    waiting, seen = [start], set[str]()
    while waiting:
        name = waiting.pop()
        if name == target:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(after[name])
    return False


def _mounts(m: Moving) -> list[dict[str, Any]]:
    shared = [(s.volume, s.path) for s in m.scratch if s.volume]
    volumes = [*((c.name, c.path) for c in m.claims), *shared]
    secrets = f"{SECRETS}/{m.id}/files"
    return [
        *({"type": "volume", "source": name, "target": text(path)} for name, path in volumes),
        *(
            {"type": "bind", "source": f"{secrets}{text(f.path)}", "target": text(f.path), "read_only": True}
            for f in m.payload.secret_files
        ),
    ]


def _memory(m: Moving) -> list[Scratch]:
    """Return what starts empty, /run among it: a pid file left by a crash must not meet the next start."""
    run = Scratch(path="/run", uid=m.user.uid, gid=m.user.gid, mode=0o755)
    return [*([] if any(s.path == "/run" for s in m.scratch) else [run]), *m.scratch]


def _tmpfs(scratch: Scratch) -> str:
    return f"{text(scratch.path)}:{_options(scratch)}"


def _options(scratch: Scratch) -> str:
    return f"uid={scratch.uid},gid={scratch.gid},mode={scratch.mode:04o}"


def _limits(m: Moving) -> dict[str, Any]:
    """Return what bounds a service: capabilities, privileges, memory, processor, open files."""
    caps = sorted({*m.component.capabilities, *(ROOT_CAPABILITIES if m.user.uid == 0 else ())})
    found: dict[str, Any] = {"cap_drop": ["ALL"]}
    if caps:
        found["cap_add"] = [re.sub(r"^CAP_", "", c) for c in caps]
    if m.user.uid == 0 or not m.component.capabilities:
        found["security_opt"] = ["no-new-privileges:true"]
    resources = m.component.resources
    if resources is not None:
        if resources.memory:
            found["mem_limit"] = octets(resources.memory)
        if resources.cpu:
            found["cpus"] = cores(resources.cpu)
        if resources.open_files:
            found["ulimits"] = {"nofile": {"soft": resources.open_files, "hard": resources.open_files}}
    return found


def _volumes(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for m in context.moving:
        found |= {claim.name: {} for claim in m.claims}
        for s in m.scratch:
            if s.volume:
                # In memory, as /run is; the owner is set when it is mounted, whoever comes first.
                options = {"type": "tmpfs", "device": "tmpfs", "o": _options(s)}
                found[s.volume] = {"driver": "local", "driver_opts": options}
    return {name: found[name] for name in sorted(found)}
