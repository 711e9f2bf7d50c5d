"""kubevirt/: what stays a machine, as a VirtualMachine with its disks, next to what left it.

One machine gives one VirtualMachine, however many of its components stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from migrate.generate import yamlout
from migrate.generate.context import Context, unique_ports
from migrate.generate.kubernetes import labels, selector
from migrate.generate.podspec import port_name
from migrate.generate.quantities import octets
from migrate.naming import slug
from migrate.output import File
from migrate.plan.model import Component

_GIB = 1 << 30
_CORES = 2
_MEMORY = "4Gi"


def kubevirt(context: Context) -> dict[str, File]:
    """Return the manifests, by name below `kubevirt/`; empty where nothing stays a machine."""
    if not context.virtual:
        return {}
    documents = {
        "disks.yaml": [_data_volume(name, size, context) for name, size in disks(context)],
        "machine.yaml": [_machine(context), *_services(context)],
    }
    files = {name: yamlout.dump(*found) for name, found in documents.items() if found}
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    files["kustomization.yaml"] = yamlout.dump({**kustomization, "resources": sorted(files)})
    return {name: File(text.encode()) for name, text in sorted(files.items())}


def machine_name(context: Context) -> str:
    """Return the name of the VirtualMachine; it differs from every Pod's."""
    return context.name if context.name not in {p.name for p in context.pods} else slug(f"{context.name}-machine")


def disks(context: Context) -> list[tuple[str, int]]:
    """Return the name and size (bytes) of each disk's volume, in the plan's order."""
    sizes = {PurePath(d.path).name: d.virtual_bytes for d in context.guest.source.disks}
    name = machine_name(context)
    return [
        (slug(f"{name}-disk{number}"), sizes.get(PurePath(path).name, 0))
        for number, path in enumerate(context.plan.source.disks)
    ]


def _data_volume(name: str, size: int, context: Context) -> dict[str, Any]:
    # CDI keeps back part of a file system volume (5.5 %, "filesystemOverhead").
    gib = max(1, -(-size * 106 // 100 // _GIB))
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": name, "labels": labels(context, machine_name(context))},
        "spec": {"source": {"upload": {}}, "storage": {"resources": {"requests": {"storage": f"{gib}Gi"}}}},
    }


def _machine(context: Context) -> dict[str, Any]:
    name = machine_name(context)
    bus, model = _drivers(context)
    named = [disk for disk, _ in disks(context)]
    devices: dict[str, Any] = {
        "disks": [{"name": disk, "bootOrder": i, "disk": {"bus": bus}} for i, disk in enumerate(named, 1)],
        "interfaces": [{"name": "default", "masquerade": {}, "model": model}],
        "rng": {},
    }
    firmware = {"bootloader": {"efi": {"secureBoot": False}}} if context.guest.is_dir("/boot/efi/EFI") else {}
    domain: dict[str, Any] = {"cpu": {"cores": _CORES}, "memory": {"guest": _memory(context.virtual)}}
    if firmware:
        domain["firmware"] = firmware
    domain["devices"] = devices
    spec = {
        "domain": domain,
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": disk, "dataVolume": {"name": disk}} for disk in named],
        "terminationGracePeriodSeconds": 180,
    }
    meta = labels(context, name)
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "labels": meta},
        "spec": {"runStrategy": "Halted", "template": {"metadata": {"labels": meta}, "spec": spec}},
    }


def _memory(components: Iterable[Component]) -> str:
    """Return the machine's memory: what its components are granted where all say so, and a guess otherwise."""
    granted = [c.resources.memory for c in components if c.resources is not None and c.resources.memory]
    total = sum(map(octets, granted))
    return f"{-(-total // _GIB)}Gi" if total > octets(_MEMORY) else _MEMORY


def _drivers(context: Context) -> tuple[str, str]:
    """Return the disks' bus and the network card's model: virtio where the guest's kernel has the drivers."""
    modules = context.guest.glob("/lib/modules/*/kernel/drivers/*/virtio_*")
    modules += context.guest.glob("/lib/modules/*/kernel/drivers/virtio/virtio*")
    built_in = "".join(context.guest.text(p) for p in context.guest.glob("/lib/modules/*/modules.builtin"))
    found = " ".join(modules) + built_in
    disk = "virtio" if "virtio_blk" in found else "sata"
    card = "virtio" if "virtio_net" in found else "e1000e"
    return disk, card


def _services(context: Context) -> Iterable[dict[str, Any]]:
    for component in context.virtual:
        ports = unique_ports(component.ports)
        if ports:
            yield {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": component.id, "labels": labels(context, machine_name(context))},
                "spec": {
                    "selector": selector(context, machine_name(context)),
                    "ports": [
                        {
                            "name": port_name(p.port, p.protocol),
                            "port": p.port,
                            "targetPort": p.port,
                            "protocol": p.protocol.upper(),
                        }
                        for p in ports
                    ],
                },
            }
