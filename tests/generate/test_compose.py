"""compose.yaml: the machine's services on one engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrate.errors import PlanError
from migrate.generate.compose import compose
from migrate.generate.context import make_context
from migrate.naming import slug
from migrate.plan.model import Component, Directory, NeedRef, Port, Resources
from tests.generate import shop


def of(*components: Component) -> dict[str, Any]:
    return yaml.safe_load(compose(make_context(shop.plan(*components), shop.guest(), shop.SECRETS)))  # type: ignore[no-any-return]


SHOP = of()
SHARED = slug("orders/run/orders")


def test_a_pod_shares_the_network_of_its_first_and_the_sockets_volume() -> None:
    nginx, orders = SHOP["services"]["nginx"], SHOP["services"]["orders"]
    assert nginx["network_mode"] == "service:orders"
    assert "ports" not in nginx
    assert orders["ports"] == ["80:80/tcp", "443:443/tcp"]
    assert orders["networks"] == {"default": {"aliases": ["nginx"]}}
    shared = {"type": "volume", "source": SHARED, "target": "/run/orders"}
    assert shared in nginx["volumes"]
    assert shared in orders["volumes"]
    assert SHOP["volumes"][SHARED]["driver_opts"] == {
        "type": "tmpfs", "device": "tmpfs", "o": "uid=996,gid=33,mode=0755",
    }  # fmt: skip


def test_only_what_answered_outside_is_published() -> None:
    published = {name: s["ports"] for name, s in SHOP["services"].items() if "ports" in s}
    assert published == {"orders": ["80:80/tcp", "443:443/tcp"]}


def test_order_of_start() -> None:
    after = {name: sorted(s.get("depends_on", {})) for name, s in SHOP["services"].items()}
    assert after == {
        "nginx": ["orders"], "orders": ["postgresql", "redis-server"], "orders-cleanup": ["postgresql"],
        "orders-report": ["orders", "postgresql"], "postgresql": [], "redis-server": [],
    }  # fmt: skip
    assert SHOP["services"]["orders"]["depends_on"]["postgresql"] == {"condition": "service_healthy"}


def test_secrets_come_from_a_folder_and_data_from_volumes() -> None:
    orders, postgresql = SHOP["services"]["orders"], SHOP["services"]["postgresql"]
    assert orders["env_file"] == ["${VM2C_SECRETS:-./secrets}/orders/env"]
    key = "/etc/ssl/private/ssl-cert-snakeoil.key"
    assert postgresql["volumes"] == [
        {"type": "volume", "source": "postgresql-main", "target": "/var/lib/postgresql/15/main"},
        {
            "type": "bind", "source": f"${{VM2C_SECRETS:-./secrets}}/postgresql/files{key}", "target": key,
            "read_only": True,
        },
    ]  # fmt: skip
    report = SHOP["services"]["orders-report"]["volumes"]
    assert {"type": "volume", "source": "orders-reports", "target": "/srv/orders/reports"} in report
    assert [v for v in SHOP["volumes"] if v == "orders-reports"] == ["orders-reports"]


def test_limits_signals_and_what_starts_empty() -> None:
    orders, nginx = SHOP["services"]["orders"], SHOP["services"]["nginx"]
    assert (orders["mem_limit"], orders["ulimits"]) == (300 << 20, {"nofile": {"soft": 4096, "hard": 4096}})
    assert orders["group_add"] == ["996"]
    assert orders["cap_drop"] == ["ALL"]
    assert "cap_add" not in orders
    assert (nginx["stop_signal"], nginx["stop_grace_period"]) == ("SIGQUIT", "5s")
    assert SHOP["services"]["postgresql"]["stop_grace_period"] == "90s"
    assert nginx["tmpfs"] == ["/run:uid=33,gid=33,mode=0755", "/var/lib/nginx:uid=33,gid=33,mode=0755"]


def test_jobs_run_when_asked() -> None:
    report = SHOP["services"]["orders-report"]
    assert (report["profiles"], report["restart"]) == (["jobs"], "no")


def test_only_who_needs_it_knows_a_name_from_the_machines_hosts() -> None:
    assert [n for n, s in SHOP["services"].items() if "extra_hosts" in s] == ["orders"]
    assert SHOP["services"]["orders"]["extra_hosts"] == ["smtp.corp.example:10.1.2.3"]


def test_root_gets_what_a_daemon_of_root_needs_and_no_more() -> None:
    component = shop.redis()
    component.user = None
    component.capabilities = ["CAP_NET_ADMIN"]
    service = of(component)["services"]["redis-server"]
    assert "SETUID" in service["cap_add"]
    assert "NET_ADMIN" in service["cap_add"]
    assert "SYS_ADMIN" not in service["cap_add"]


def test_a_dollar_is_no_variable_of_composes() -> None:
    component = shop.redis()
    component.health.command = ["/bin/sh", "-c", "exit ${STATE:-$0}"]  # type: ignore[union-attr]
    component.directories = [Directory(path="/var/lib/$HOME")]
    service = of(component)["services"]["redis-server"]
    assert service["healthcheck"]["test"][-1] == "exit $${STATE:-$$0}"
    assert service["tmpfs"][1].startswith("/var/lib/$$HOME:")


def test_a_circle_between_pods_is_cut_once() -> None:
    first, second = shop.redis(), shop.redis()
    first.id, second.id = "a", "b"
    first.pod = second.pod = None
    second.data[0].claim = "b-data"
    second.data[0].path = "/var/lib/b"
    first.needs, second.needs = [NeedRef(component="b", over="tcp:b:1")], [NeedRef(component="a", over="tcp:a:1")]
    services = of(first, second)["services"]
    assert [sorted(s.get("depends_on", {})) for s in services.values()] == [["b"], []]


def test_a_circle_through_a_pods_network_is_cut_too() -> None:
    holder, guest, other = shop.orders(), shop.nginx(), shop.redis()
    holder.needs, guest.needs, other.needs = [NeedRef(component="redis-server")], [], [NeedRef(component="nginx")]
    services = of(holder, guest, other)["services"]
    assert {name: sorted(s.get("depends_on", {})) for name, s in services.items()} == {
        "nginx": ["orders"], "orders": ["redis-server"], "redis-server": [],
    }  # fmt: skip


def test_one_port_of_two_components_is_published_once() -> None:
    first, second = shop.nginx(), shop.orders()
    second.ports = [Port(port=80), Port(port=53, protocol="udp"), Port(port=53)]
    assert of(first, second)["services"]["orders"]["ports"] == ["53:53/tcp", "53:53/udp", "80:80/tcp", "443:443/tcp"]


@pytest.mark.parametrize(("memory", "octets"), [("1Gi", 1 << 30), ("1.5M", 1_500_000), ("1000", 1000)])
def test_quantities(memory: str, octets: int) -> None:
    component = shop.redis()
    component.resources = Resources(memory=memory, cpu="500m")
    service = of(component)["services"]["redis-server"]
    assert (service["mem_limit"], service["cpus"]) == (octets, 0.5)


@pytest.mark.parametrize("memory", ["", "1 GB", "lots", "-1", "1e3"])
def test_what_is_no_quantity_is_refused(memory: str) -> None:
    component = shop.redis()
    component.resources = Resources(memory=memory or "x")
    with pytest.raises(PlanError, match="quantity"):
        of(component)


def test_compose_itself_takes_it(tmp_path: Path) -> None:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("docker-compose is not installed")
    (tmp_path / "compose.yaml").write_text(compose(make_context(shop.plan(), shop.guest(), shop.SECRETS)))
    for component in shop.plan().components:
        (tmp_path / "images" / component.id).mkdir(parents=True)
    for name in ("orders", "orders-cleanup"):
        (tmp_path / "secrets" / name).mkdir(parents=True)
        (tmp_path / "secrets" / name / "env").write_text("A='it''s $x'\nB=plain value\n")
    done = subprocess.run([tool, "-f", "compose.yaml", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert read["services"]["orders"]["environment"]["B"] == "plain value"
    assert read["services"]["nginx"]["healthcheck"]["test"][3] == 'exec 3<>"/dev/tcp/$$0/$$1"'


def test_a_colon_in_a_mounted_path_is_refused() -> None:
    component = shop.redis()
    component.directories = [Directory(path="/run/x:exec,size=1")]
    with pytest.raises(PlanError, match="colon"):
        of(component)
