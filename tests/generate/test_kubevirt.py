"""What stays a machine."""

from __future__ import annotations

from typing import Any

import yaml

from migrate.generate.context import make_context
from migrate.generate.kubevirt import kubevirt
from migrate.plan.model import Plan
from tests.analyzers.fake import Content
from tests.generate import shop


def documents(plan: Plan, **tree: Content) -> dict[str, list[Any]]:
    files = kubevirt(make_context(plan, shop.guest(**tree), ()))
    return {n: list(yaml.safe_load_all(f.content)) for n, f in files.items() if isinstance(f.content, bytes)}


def staying() -> Plan:
    vpn = shop.redis()
    vpn.id, vpn.decision = "openvpn", "virtualize"
    return shop.plan(shop.nginx(), shop.orders(), vpn)


def test_nothing_stays() -> None:
    assert documents(shop.plan()) == {}


def test_one_machine_with_its_disks_and_services() -> None:
    found = documents(staying())
    machine, service = found["machine.yaml"]
    assert (machine["metadata"]["name"], machine["spec"]["runStrategy"]) == ("shop01", "Halted")
    spec = machine["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "shop01-disk0", "dataVolume": {"name": "shop01-disk0"}}]
    assert [d["metadata"]["name"] for d in found["disks.yaml"]] == ["shop01-disk0"]
    assert service["metadata"]["name"] == "openvpn"
    labels = machine["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert found["kustomization.yaml"][0]["resources"] == ["disks.yaml", "machine.yaml"]


def test_virtio_only_where_the_guest_has_the_drivers() -> None:
    def devices(**tree: Content) -> tuple[str, str]:
        spec = documents(staying(), **tree)["machine.yaml"][0]["spec"]["template"]["spec"]["domain"]["devices"]
        return spec["disks"][0]["disk"]["bus"], spec["interfaces"][0]["model"]

    assert devices() == ("sata", "e1000e")
    drivers = "/lib/modules/6.1.0/kernel/drivers"
    both = {f"{drivers}/block/virtio_blk.ko": "", f"{drivers}/net/virtio_net.ko.xz": ""}
    assert devices(**both) == ("virtio", "virtio")
    assert devices(**{"/lib/modules/6.1.0/modules.builtin": "kernel/drivers/block/virtio_blk.ko\n"})[0] == "virtio"


def test_firmware_is_the_machines() -> None:
    def domain(**tree: Content) -> Any:
        return documents(staying(), **tree)["machine.yaml"][0]["spec"]["template"]["spec"]["domain"]

    assert "firmware" not in domain()
    assert domain(**{"/boot/efi/EFI/debian/grubx64.efi": ""})["firmware"]["bootloader"] == {
        "efi": {"secureBoot": False}
    }


def test_the_machines_name_is_not_a_pods() -> None:
    plan = staying()
    plan.machine = "orders"
    assert documents(plan)["machine.yaml"][0]["metadata"]["name"] != "orders"
