"""kubernetes/: a workload for each Pod of the plan, with what it mounts and how it is reached.

Secrets are referred to and never written: `vm2c extract --kubernetes` prints them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from migrate.generate import yamlout
from migrate.generate.context import Context, Moving, Pod, outside_ports, reached_ports, unique_ports
from migrate.generate.known import LOADER
from migrate.generate.podspec import mapped_config, pod_spec, port_name
from migrate.generate.quantities import volume_size
from migrate.output import File
from migrate.plan.model import Data, Port

_HISTORY = 3
_DEADLINE = 300  # seconds: a start missed by more than this is not made up for, as cron does not


def kubernetes(context: Context) -> dict[str, File]:
    """Return the manifests, by name below `kubernetes/`."""
    files = {_file_name(pod): yamlout.dump(*_documents(pod, context)) for pod in context.pods}
    storage = [_claim(data, context) for data in all_data(context)]
    if storage:
        files["storage.yaml"] = yamlout.dump(*storage)
    resources = sorted(files)
    for data in all_data(context):
        files[f"load/{data.claim}.yaml"] = yamlout.dump(_loader(data, context))
    if resources:
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        files["kustomization.yaml"] = yamlout.dump({**kustomization, "resources": resources})
    return {name: File(text.encode()) for name, text in sorted(files.items())}


def _file_name(pod: Pod) -> str:
    return f"{pod.name}-pod.yaml" if pod.name in {"storage", "kustomization"} else f"{pod.name}.yaml"


def all_data(context: Context) -> list[Data]:
    """Return the data of all containers, one entry for each claim, sorted by claim."""
    found: dict[str, Data] = {}
    for m in context.moving:
        for data in m.component.data:
            found.setdefault(data.claim, data)
    return [found[claim] for claim in sorted(found)]


def labels(context: Context, name: str) -> dict[str, str]:
    """Return the labels of an object (concepts/overview/working-with-objects/common-labels)."""
    return {**selector(context, name), "app.kubernetes.io/managed-by": "vm2c"}


def selector(context: Context, name: str) -> dict[str, str]:
    """Return what selects the Pods of one workload."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": context.name}


def _meta(context: Context, name: str, owner: str) -> dict[str, Any]:
    return {"name": name, "labels": labels(context, owner)}


def _documents(pod: Pod, context: Context) -> Iterable[dict[str, Any]]:
    for m in pod.members:
        if mapped_config(m):
            yield _config_map(m, context, pod)
    yield from _services(pod, context)
    yield from _network_policy(pod, context)
    yield _workload(pod, context)


def _config_map(m: Moving, context: Context, pod: Pod) -> dict[str, Any]:
    plain: dict[str, str] = {}
    binary: dict[str, str] = {}
    for file in mapped_config(m):
        try:
            text = file.content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            binary[file.key] = base64.b64encode(file.content).decode("ascii")
        else:
            plain[file.key] = text
    found: dict[str, Any] = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(context, f"{m.id}-config", pod.name),
    }  # fmt: skip
    return found | ({"data": plain} if plain else {}) | ({"binaryData": binary} if binary else {})


def _services(pod: Pod, context: Context) -> Iterable[dict[str, Any]]:
    stateful = _kind(pod) == "StatefulSet"
    governing = False
    for m in pod.members:
        ports = [] if m.is_job else reached_ports(context, m.component, pod.ids)
        if ports:
            headless = stateful and not outside_ports(m.component)
            governing |= m.id == pod.name
            yield _service(context, m.id, pod, ports, headless)
    if stateful and not governing:
        yield _service(context, pod.name, pod, [], headless=True)


def _service(context: Context, name: str, pod: Pod, ports: list[Port], headless: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"clusterIP": "None"} if headless else {}
    spec["selector"] = selector(context, pod.name)
    if ports:
        spec["ports"] = [
            {
                "name": port_name(p.port, p.protocol),
                "port": p.port,
                "targetPort": p.port,
                "protocol": p.protocol.upper(),
            }
            for p in unique_ports(ports)
        ]
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(context, name, pod.name), "spec": spec}


def _network_policy(pod: Pod, context: Context) -> Iterable[dict[str, Any]]:
    """Yield who may reach a Pod that nobody outside the machine could reach: its clients' Pods alone.

    It listens for other Pods now where it listened on loopback, often without a password
    (concepts/services-networking/network-policies). A client that stays a machine has no labels to name.
    """
    if any(outside_ports(m.component) for m in pod.members):
        return
    if any(need.component in pod.ids for c in context.virtual for need in c.needs):
        return
    ports = [p for m in pod.members if not m.is_job for p in reached_ports(context, m.component, pod.ids)]
    clients = sorted(
        other.name
        for other in context.pods
        if other.name != pod.name and any(n.component in pod.ids for m in other.members for n in m.component.needs)
    )
    if ports and clients:
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _meta(context, pod.name, pod.name),
            "spec": {
                "podSelector": {"matchLabels": selector(context, pod.name)},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": selector(context, name)}} for name in clients],
                        "ports": [{"port": p.port, "protocol": p.protocol.upper()} for p in unique_ports(ports)],
                    }
                ],
            },
        }


def _kind(pod: Pod) -> str:
    kinds = {m.component.workload for m in pod.members}
    order = {"statefulset": "StatefulSet", "daemonset": "DaemonSet", "cronjob": "CronJob", "job": "Job"}
    return next((name for kind, name in order.items() if kind in kinds), "Deployment")


def _workload(pod: Pod, context: Context) -> dict[str, Any]:
    kind = _kind(pod)
    template = {"metadata": {"labels": labels(context, pod.name)}, "spec": pod_spec(pod, context)}
    digest = hashlib.sha256()
    for m in pod.members:
        for file in mapped_config(m):
            digest.update(f"{file.path}\0{len(file.content)}\0".encode("utf-8", "surrogateescape") + file.content)
    if any(mapped_config(m) for m in pod.members):
        # A Pod does not see a changed ConfigMap through subPath: this makes it start anew.
        template["metadata"]["annotations"] = {"vm2c/config": digest.hexdigest()}
    meta = _meta(context, pod.name, pod.name)
    if kind in {"CronJob", "Job"}:
        return _job(kind, pod.members[0], meta, template)
    spec: dict[str, Any] = {"selector": {"matchLabels": selector(context, pod.name)}}
    if kind == "StatefulSet":
        spec |= {"serviceName": pod.name, "replicas": 1}
    elif kind == "Deployment":
        spec |= {"replicas": 1}
        if any(m.claims for m in pod.members):
            spec["strategy"] = {"type": "Recreate"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": {**spec, "template": template}}


def _job(kind: str, m: Moving, meta: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """Return a Job, or a CronJob. Neither cron nor a timer tries again what failed."""
    job = {"backoffLimit": 0, "template": template}
    if kind == "Job" or m.component.schedule is None:
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": job}
    spec: dict[str, Any] = {"schedule": m.component.schedule}
    if m.component.timezone:
        spec["timeZone"] = m.component.timezone
    spec |= {
        "concurrencyPolicy": "Forbid" if _by_timer(m) else "Allow",
        "startingDeadlineSeconds": _DEADLINE,
        "successfulJobsHistoryLimit": _HISTORY,
        "failedJobsHistoryLimit": _HISTORY,
        "jobTemplate": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": job},
    }
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": spec}


def _by_timer(m: Moving) -> bool:
    """Tell whether a timer starts the job: systemd starts no unit that still runs (systemd.timer(5)); cron does."""
    c = m.component
    places = [*(r.seen_in for r in c.because), *(e.seen_in for e in c.environment_files), *(n.seen_in for n in c.needs)]
    return any("/systemd/" in place for place in places)


# ---------------------------------------------------------------- data


def _claim(data: Data, context: Context) -> dict[str, Any]:
    shared = len(context.pods_of_claim(data.claim)) > 1
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _meta(context, data.claim, data.claim),
        "spec": {
            "accessModes": ["ReadWriteMany" if shared else "ReadWriteOnce"],
            "resources": {"requests": {"storage": volume_size(data.bytes)}},
        },
    }


def _loader(data: Data, context: Context) -> dict[str, Any]:
    """Return the Pod through which `vm2c extract`'s archive of a claim goes into its volume."""
    capabilities = {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP"]}
    container = {
        "name": "load",
        "image": LOADER,
        "command": ["sleep", "86400"],
        "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False, "capabilities": capabilities},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": data.claim}}],
    }
    name = f"load-{data.claim}"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _meta(context, name, name), "spec": spec}
