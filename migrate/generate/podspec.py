"""The Pod template of a workload: containers, what they mount, and what they may do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from migrate.addresses import is_loopback
from migrate.generate.context import ConfigFile, Context, Moving, Pod, flat_key, unique_ports
from migrate.generate.dockerfile import INTERVAL, RETRIES, START, TIMEOUT, probe
from migrate.generate.known import DEFAULT_STOP_TIMEOUT, ROOT_CAPABILITIES
from migrate.generate.yamlout import Octal
from migrate.naming import slug

CONFIG_LIMIT = (1 << 20) - (16 << 10)
"""Bytes of files in one ConfigMap: 1 MiB (concepts/configuration/configmap), less what the object itself takes."""

_FROM, _TO = "/run/vm2c/from", "/run/vm2c/to"
_PRIVILEGED_PORTS = 1024


def secret_env_name(component_id: str) -> str:
    """Return the name of the Secret that holds a component's variables."""
    return f"{component_id}-env"


def secret_files_name(component_id: str) -> str:
    """Return the name of the Secret that holds a component's files."""
    return f"{component_id}-files"


def secret_keys(m: Moving) -> dict[str, str]:
    """Return the key of each secret file in its Secret, by path."""
    taken: set[str] = set()
    return {f.path: flat_key(f.path, taken) for f in m.payload.secret_files}


def mapped_config(m: Moving) -> tuple[ConfigFile, ...]:
    """Return the configuration that a ConfigMap carries: as many files as one can hold, the small ones first."""
    found: set[str] = set()
    left = CONFIG_LIMIT
    for file in sorted(m.config, key=lambda c: (len(c.content), c.path)):
        left -= len(file.content)
        if left >= 0:
            found.add(file.path)
    return tuple(c for c in m.config if c.path in found)


def pod_spec(pod: Pod, context: Context) -> dict[str, Any]:
    """Return a Pod's spec."""
    jobs = any(m.is_job for m in pod.members)
    init = [_secrets_container(m) for m in pod.members if m.payload.secret_files]
    spec: dict[str, Any] = {"automountServiceAccountToken": False, "enableServiceLinks": False}
    if jobs:
        spec["restartPolicy"] = "Never"
    timeouts = [m.component.stop_timeout or DEFAULT_STOP_TIMEOUT for m in pod.members]
    spec["terminationGracePeriodSeconds"] = max(timeouts)
    spec["securityContext"] = _pod_security(pod)
    hosts = context.hosts(pod)
    if hosts:
        by_address: dict[str, list[str]] = {}
        for name, address in hosts.items():
            by_address.setdefault(address, []).append(name)
        spec["hostAliases"] = [{"ip": ip, "hostnames": names} for ip, names in sorted(by_address.items())]
    if init:
        spec["initContainers"] = init
    spec["containers"] = [_container(m, pod, context) for m in pod.members]
    volumes = {v["name"]: v for m in pod.members for v in _volumes(m)}
    if volumes:
        spec["volumes"] = [volumes[name] for name in sorted(volumes)]
    return spec


def _pod_security(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    groups = sorted({g for m in pod.members for g in m.user.groups})
    if groups:
        found["supplementalGroups"] = groups
    low = [p for m in pod.members if m.user.uid for p in m.component.ports if p.port < _PRIVILEGED_PORTS]
    if low:
        # A safe sysctl since Kubernetes 1.22 (tasks/administer-cluster/sysctl-cluster).
        found["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    return found


def _container(m: Moving, pod: Pod, context: Context) -> dict[str, Any]:
    container: dict[str, Any] = {"name": m.id, "image": m.image, "imagePullPolicy": "IfNotPresent"}
    if m.variables.secret:
        container["envFrom"] = [{"secretRef": {"name": secret_env_name(m.id)}}]
    earlier = pod.members[: [x.id for x in pod.members].index(m.id)]
    taken = {(p.port, p.protocol) for x in earlier for p in x.component.ports}
    ports = [p for p in unique_ports(m.component.ports) if (p.port, p.protocol) not in taken]
    if ports:
        container["ports"] = [
            {"name": port_name(p.port, p.protocol), "containerPort": p.port, "protocol": p.protocol.upper()}
            for p in ports
        ]
    container |= _probes(m, context)
    limits = _limits(m)
    if limits:
        container["resources"] = {"limits": limits}
    container["securityContext"] = _security(m)
    mounts = list(_mounts(m))
    if mounts:
        container["volumeMounts"] = mounts
    return container


def port_name(port: int, protocol: str) -> str:
    """Return the name of a port (IANA service names, RFC 6335, 5.1: at most 15 characters, a letter in it)."""
    return f"{protocol}-{port}"


def _probes(m: Moving, context: Context) -> dict[str, Any]:
    asked = probe(m.component, context)
    if asked is None:
        return {}
    everywhere = [p for p in m.component.ports if p.protocol == "tcp" and p.address in {"*", "0.0.0.0", "::", "[::]"}]  # noqa: S104
    if m.component.health is None and everywhere and not is_loopback(everywhere[0].address):
        handler: dict[str, Any] = {"tcpSocket": {"port": everywhere[0].port}}
    else:
        handler = {"exec": {"command": list(asked.command)}}
    every = {**handler, "periodSeconds": INTERVAL, "timeoutSeconds": TIMEOUT}
    return {
        "startupProbe": {**every, "failureThreshold": max(30, START // INTERVAL)},
        "readinessProbe": {**every, "failureThreshold": RETRIES},
        "livenessProbe": {**every, "failureThreshold": 2 * RETRIES},
    }


def _limits(m: Moving) -> dict[str, str]:
    resources = m.component.resources
    pairs = {"memory": resources.memory, "cpu": resources.cpu} if resources is not None else {}
    return {name: value for name, value in pairs.items() if value}


def _security(m: Moving) -> dict[str, Any]:
    added = {re.sub(r"^CAP_", "", c) for c in m.component.capabilities}
    if m.user.uid == 0:
        added |= set(ROOT_CAPABILITIES)
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if added:
        capabilities["add"] = sorted(added)
    found: dict[str, Any] = {"runAsUser": m.user.uid, "runAsGroup": m.user.gid}
    if m.user.uid:
        found["runAsNonRoot"] = True
    # A process that is not root gets a capability through its program's file alone, which this would forbid.
    found["allowPrivilegeEscalation"] = bool(m.user.uid and m.component.capabilities)
    return {**found, "capabilities": capabilities}


# ---------------------------------------------------------------- mounts


def _mounts(m: Moving) -> Iterable[dict[str, Any]]:
    for claim in m.claims:
        yield {"name": f"data-{claim.name}", "mountPath": claim.path}
    for scratch in m.scratch:
        yield {"name": scratch.volume or slug(f"{m.id}{scratch.path}"), "mountPath": scratch.path}
    for file in mapped_config(m):
        yield {"name": f"{m.id}-config", "mountPath": file.path, "subPath": file.key, "readOnly": True}
    for path, key in secret_keys(m).items():
        yield {"name": f"{m.id}-secrets", "mountPath": path, "subPath": key, "readOnly": True}


def _volumes(m: Moving) -> Iterable[dict[str, Any]]:
    for claim in m.claims:
        yield {"name": f"data-{claim.name}", "persistentVolumeClaim": {"claimName": claim.name}}
    for scratch in m.scratch:
        memory = {"medium": "Memory"} if PurePosixPath(scratch.path).is_relative_to("/run") else {}
        yield {"name": scratch.volume or slug(f"{m.id}{scratch.path}"), "emptyDir": memory}
    config = mapped_config(m)
    if config:
        items = [{"key": c.key, "path": c.key, "mode": Octal(0o555 if c.mode & 0o111 else 0o444)} for c in config]
        yield {"name": f"{m.id}-config", "configMap": {"name": f"{m.id}-config", "items": items}}
    if m.payload.secret_files:
        yield {"name": f"{m.id}-secrets", "emptyDir": {"medium": "Memory"}}
        secret = {"secretName": secret_files_name(m.id), "defaultMode": Octal(0o444)}
        yield {"name": f"{m.id}-files", "secret": secret}


def _secrets_container(m: Moving) -> dict[str, Any]:
    """Return the container that lays down a component's secret files as its user's own, for nobody else to read.

    A Secret's files are root's; fsGroup would hand them over, but opens data directories to the group too,
    which PostgreSQL refuses (postmaster: "data directory has invalid permissions").
    """
    keys = secret_keys(m)
    lines = ["umask 077"]
    for file in m.payload.secret_files:
        key = keys[file.path]
        lines += [f"rm -f {_TO}/{key}", f"cp {_FROM}/{key} {_TO}/{key}", f"chmod {file.mode:04o} {_TO}/{key}"]
    return {
        "name": f"{m.id}-secrets",
        "image": m.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-e", "-c", "\n".join(lines) + "\n"],
        "securityContext": {**_security(m), "allowPrivilegeEscalation": False},
        "volumeMounts": [
            {"name": f"{m.id}-files", "mountPath": _FROM, "readOnly": True},
            {"name": f"{m.id}-secrets", "mountPath": _TO},
        ],
    }
