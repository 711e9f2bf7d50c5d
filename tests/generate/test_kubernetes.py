"""kubernetes/: valid, strict, and the machine's ties kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from migrate.generate.context import make_context
from migrate.generate.kubernetes import kubernetes
from migrate.naming import slug
from migrate.plan.model import Component, Directory, Plan
from tests.analyzers.fake import Content, FakeGuest, File
from tests.generate import shop


def manifests(plan: Plan, guest: FakeGuest | None = None) -> dict[str, list[dict[str, Any]]]:
    files = kubernetes(make_context(plan, guest or shop.guest(), shop.SECRETS))
    found = {}
    for name, file in files.items():
        assert isinstance(file.content, bytes)
        found[name] = list(yaml.safe_load_all(file.content))
    return found


def one(found: dict[str, list[dict[str, Any]]], kind: str, name: str) -> dict[str, Any]:
    every = [d for docs in found.values() for d in docs]
    return next(d for d in every if d["kind"] == kind and d["metadata"]["name"] == name)


SHOP = manifests(shop.plan())


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    spec = spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec
    return spec["template"]["spec"]  # type: ignore[no-any-return]


def validate(found: dict[str, list[dict[str, Any]]]) -> int:
    count = 0
    for documents in found.values():
        for document in documents:
            if document["kind"] != "Kustomization":
                kubernetes_validate.validate(document, "1.31", strict=True)
                count += 1
    return count


def test_every_manifest_is_valid() -> None:
    assert validate(SHOP) == 19


def root_shop() -> Plan:
    plan = shop.plan()
    for component in plan.components:
        component.user = None
        if component.kind == "service":
            component.capabilities = ["NET_RAW"]
    return plan


def every_workload() -> Plan:
    a, b, c = shop.redis(), shop.report(), shop.nginx()
    a.workload, b.workload, b.schedule, c.workload = "daemonset", "job", None, "statefulset"
    return shop.plan(a, b, c)


@pytest.mark.parametrize("plan", [root_shop(), every_workload()], ids=["root", "workloads"])
def test_other_plans_are_valid_too(plan: Plan) -> None:
    assert validate(manifests(plan)) > 5


def test_kustomize_takes_the_folder(tmp_path: Path) -> None:
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not installed")
    for name, file in kubernetes(make_context(shop.plan(), shop.guest(), shop.SECRETS)).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert isinstance(file.content, bytes)
        (tmp_path / name).write_bytes(file.content)
    done = subprocess.run([tool, "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = [d["kind"] for d in yaml.safe_load_all(done.stdout)]
    assert sorted(set(kinds)) == [
        "ConfigMap", "CronJob", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Service", "StatefulSet",
    ]  # fmt: skip


def test_components_of_a_pod_share_it() -> None:
    pod = pod_of(one(SHOP, "Deployment", "orders"))
    assert [c["name"] for c in pod["containers"]] == ["orders", "nginx"]
    shared = {"name": slug("orders/run/orders"), "mountPath": "/run/orders"}
    assert all(shared in c["volumeMounts"] for c in pod["containers"])
    assert {"name": slug("orders/run/orders"), "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert pod["securityContext"]["supplementalGroups"] == [996]
    assert pod["securityContext"]["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]


def test_what_listened_on_loopback_is_reached_by_its_clients_alone() -> None:
    policies = {
        d["metadata"]["name"]: d["spec"] for docs in SHOP.values() for d in docs if d["kind"] == "NetworkPolicy"
    }
    assert sorted(policies) == ["postgresql", "redis-server"]  # and none for the Pod that serves the world
    (rule,) = policies["postgresql"]["ingress"]
    names = [f["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for f in rule["from"]]
    clients = {n.component for n in shop.report().needs} & {"postgresql"}
    assert ("orders-report" in names) == bool(clients)
    assert "orders" in names
    assert rule["ports"] == [{"port": 5432, "protocol": "TCP"}]
    assert (
        policies["postgresql"]["podSelector"]["matchLabels"]
        == one(SHOP, "StatefulSet", "postgresql")["spec"]["selector"]["matchLabels"]
    )


def test_each_name_that_others_use_has_a_service() -> None:
    services = {d["metadata"]["name"]: d["spec"] for docs in SHOP.values() for d in docs if d["kind"] == "Service"}
    assert {name: [p["port"] for p in s["ports"]] for name, s in services.items()} == {
        "nginx": [80, 443], "postgresql": [5432], "redis-server": [6379],
    }  # fmt: skip
    assert services["postgresql"]["clusterIP"] == "None"
    assert "clusterIP" not in services["nginx"]
    assert services["nginx"]["selector"]["app.kubernetes.io/name"] == "orders"
    assert one(SHOP, "StatefulSet", "postgresql")["spec"]["serviceName"] == "postgresql"


def test_secrets_are_referred_to_and_laid_down_for_their_user_alone() -> None:
    assert not [d for docs in SHOP.values() for d in docs if d["kind"] == "Secret"]
    orders, nginx = pod_of(one(SHOP, "Deployment", "orders"))["containers"]
    assert orders["envFrom"] == [{"secretRef": {"name": "orders-env"}}]
    key = "/etc/ssl/private/shop.key"
    mount = next(m for m in nginx["volumeMounts"] if m["mountPath"] == key)
    assert mount == {
        "name": "nginx-secrets", "mountPath": key, "subPath": "etc_ssl_private_shop.key", "readOnly": True,
    }  # fmt: skip
    init = pod_of(one(SHOP, "Deployment", "orders"))["initContainers"][0]
    assert (init["securityContext"]["runAsUser"], init["image"]) == (33, nginx["image"])


def test_the_script_that_lays_secrets_down_can_run_twice(tmp_path: Path) -> None:
    init = pod_of(one(SHOP, "Deployment", "orders"))["initContainers"][0]
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from/etc_ssl_private_shop.key").write_text("key")
    script = init["command"][3].replace("/run/vm2c", str(tmp_path))
    for _ in range(2):
        subprocess.run([*init["command"][:3], script], check=True)
    made = tmp_path / "to/etc_ssl_private_shop.key"
    assert (made.read_text(), made.stat().st_mode & 0o777) == ("key", 0o400)


def test_no_group_is_given_the_data_which_postgresql_would_refuse() -> None:
    assert "fsGroup" not in pod_of(one(SHOP, "StatefulSet", "postgresql"))["securityContext"]


def test_configuration_is_a_config_map_with_its_rewrites() -> None:
    data = one(SHOP, "ConfigMap", "postgresql-config")["data"]
    assert "\nlisten_addresses = '*'\n" in data["etc_postgresql_15_main_postgresql.conf"]
    assert "samenet" in data["etc_postgresql_15_main_pg_hba.conf"]
    mounts = pod_of(one(SHOP, "StatefulSet", "postgresql"))["containers"][0]["volumeMounts"]
    assert "/etc/postgresql/15/main/pg_hba.conf" in [m["mountPath"] for m in mounts]
    template = one(SHOP, "StatefulSet", "postgresql")["spec"]["template"]
    assert len(template["metadata"]["annotations"]["vm2c/config"]) == 64


def test_what_no_config_map_can_hold() -> None:
    tree: dict[str, Content] = {"/etc/redis/blob": b"\xff\0", "/etc/redis/a b": "x", "/etc/redis/a_b": "y"}
    binary = shop.guest(**tree)
    found = one(manifests(shop.plan(shop.redis()), binary), "ConfigMap", "redis-server-config")
    assert found["binaryData"] == {"etc_redis_blob": "/wA="}
    assert sorted(found["data"].values(), key=len)[:2] == ["x", "y"]
    validate({"x": [found]})
    large = shop.guest(**{"/etc/redis/large": File(b"#" * (1 << 20))})
    assert list(one(manifests(shop.plan(shop.redis()), large), "ConfigMap", "redis-server-config")["data"]) == [
        "etc_redis_redis.conf"
    ]


def test_one_claim_is_one_volume_in_however_many_pods() -> None:
    claims = [d for docs in SHOP.values() for d in docs if d["kind"] == "PersistentVolumeClaim"]
    assert [(c["metadata"]["name"], c["spec"]["accessModes"]) for c in claims] == [
        ("orders-reports", ["ReadWriteMany"]), ("postgresql-main", ["ReadWriteOnce"]),
        ("redis-server", ["ReadWriteOnce"]),
    ]  # fmt: skip
    assert one(SHOP, "PersistentVolumeClaim", "postgresql-main")["spec"]["resources"]["requests"] == {"storage": "6Gi"}
    volumes = pod_of(one(SHOP, "CronJob", "orders-report"))["volumes"]
    assert {"name": "data-orders-reports", "persistentVolumeClaim": {"claimName": "orders-reports"}} in volumes


def test_jobs_keep_schedule_zone_and_what_happens_on_overlap() -> None:
    cron, timer = one(SHOP, "CronJob", "orders-report")["spec"], one(SHOP, "CronJob", "orders-cleanup")["spec"]
    assert (cron["schedule"], cron["timeZone"], cron["concurrencyPolicy"]) == ("15 3 * * 1-5", "Europe/Berlin", "Allow")
    assert timer["concurrencyPolicy"] == "Forbid"
    assert pod_of(one(SHOP, "CronJob", "orders-report"))["restartPolicy"] == "Never"
    assert cron["jobTemplate"]["spec"]["backoffLimit"] == 0


def probe(component: Component) -> Any:
    pods = [pod_of(d) for docs in manifests(shop.plan(component)).values() for d in docs if d["kind"] == "StatefulSet"]
    return pods[0]["containers"][0]["readinessProbe"]


def test_a_port_on_loopback_is_asked_from_inside() -> None:
    component = shop.redis()
    component.health = None
    assert "exec" in probe(component)
    component.ports[0].address = "*"
    assert probe(component)["tcpSocket"] == {"port": 6379}


def test_a_process_is_confined() -> None:
    orders = pod_of(one(SHOP, "Deployment", "orders"))["containers"][0]["securityContext"]
    assert orders == {
        "runAsUser": 996, "runAsGroup": 33, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    root = manifests(root_shop())
    context = pod_of(one(root, "StatefulSet", "redis-server"))["containers"][0]["securityContext"]
    assert context["runAsUser"] == 0
    assert "SETUID" in context["capabilities"]["add"]


def test_no_namespace_is_forced() -> None:
    assert not [d for docs in SHOP.values() for d in docs if "namespace" in d.get("metadata", {})]


def test_a_pod_may_have_the_name_of_a_file_of_ours() -> None:
    component = shop.redis()
    component.id = component.pod = "storage"
    found = manifests(shop.plan(component))
    assert sorted(found) == ["kustomization.yaml", "load/redis-server.yaml", "storage-pod.yaml", "storage.yaml"]
    assert found["kustomization.yaml"][0]["resources"] == ["storage-pod.yaml", "storage.yaml"]


def test_directories_that_differ_by_a_dash_alone_are_two_volumes() -> None:
    component = shop.redis()
    component.directories = [Directory(path="/run/a-b"), Directory(path="/run/a/b")]
    pod = pod_of(one(manifests(shop.plan(component)), "StatefulSet", "redis-server"))
    assert len([v for v in pod["volumes"] if "emptyDir" in v]) == 2
