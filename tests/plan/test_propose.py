from __future__ import annotations

import msgspec
import pytest

from migrate.join import join
from migrate.model import Caution, Finding, Health, Job, Listen, Need, Place, Rebind, Service, Uses
from migrate.plan.model import Account, Component, Plan
from migrate.plan.propose import Chosen, propose
from migrate.plan.store import render_plan
from tests.shop import facts

HERE = Place("/etc/x", 1)


def _plan(*more: Finding, without: tuple[type, ...] = ()) -> Plan:
    found = facts(*more, without=without)
    return propose(found, join(found), Chosen(("web01.qcow2",)), "sha256:00")


def _component(name: str, *more: Finding, without: tuple[type, ...] = ()) -> Component:
    return next(c for c in _plan(*more, without=without).components if c.id == name)


def test_each_component_gets_a_verdict_with_evidence() -> None:
    plan = _plan()
    assert {c.id: (c.kind, c.decision, c.workload) for c in plan.components} == {
        "nginx": ("service", "containerize", "deployment"),
        "orders": ("service", "containerize", "deployment"),
        "postgresql": ("service", "containerize", "statefulset"),
        "report": ("job", "containerize", "cronjob"),
        "ssh": ("host", "retire", None),
    }
    assert all(r.seen_in.startswith("/") for c in plan.components for r in c.because)


def test_a_unix_socket_joins_a_pod_and_a_database_leaves_it() -> None:
    pods = {c.id: c.pod for c in _plan().components}
    assert pods == {"nginx": "orders", "orders": "orders", "postgresql": "postgresql", "report": "report", "ssh": None}


def test_who_leaves_a_pod_is_rewritten_on_both_sides() -> None:
    edits = {c.id: [(r.path, r.line, r.from_, r.to) for r in c.rewrites] for c in _plan().components if c.rewrites}
    assert edits == {
        "orders": [("/etc/orders/env", 1, "127.0.0.1", "postgresql")],
        "report": [("/etc/orders/env", 1, "127.0.0.1", "postgresql")],
        "postgresql": [
            ("/etc/postgresql/15/main/postgresql.conf", 1, "#listen_addresses = 'localhost'", "listen_addresses = '*'")
        ],
    }


def test_a_database_that_cannot_leave_stays_in_its_clients_pod_and_a_job_is_blocked() -> None:
    plan = _plan(without=(Rebind,))
    pods = {c.id: c.pod for c in plan.components if c.pod}
    assert pods["postgresql"] == pods["orders"] == pods["nginx"]
    report = next(c for c in plan.components if c.id == "report")
    assert [b.rule for b in report.blockers] == ["loopback-only"]


def test_the_machines_numbers_limits_and_signals_are_carried_over() -> None:
    orders = _component("orders")
    assert orders.user is not None
    assert (orders.user.uid, orders.user.gid, orders.user.groups) == (996, 33, [996])
    assert orders.accounts == [
        Account(name="orders", uid=996, gid=996, group="orders", home="/srv/orders", shell="/usr/sbin/nologin")
    ]
    assert orders.resources is not None
    assert (orders.resources.memory, orders.resources.open_files) == ("300Mi", 4096)
    assert orders.environment == {"WORKERS": "2"}
    assert [f.path for f in orders.environment_files] == ["/etc/orders/env"]
    nginx = _component("nginx")
    assert (nginx.stop_signal, nginx.stop_timeout, nginx.command[-1]) == ("SIGQUIT", 5, "daemon off;")
    postgresql = _component("postgresql")
    assert postgresql.stop_signal == "SIGINT"
    assert postgresql.user is not None
    assert postgresql.user.groups == [112]
    assert postgresql.health is not None
    assert postgresql.health.command == ["/usr/bin/pg_isready"]
    assert _component("postgresql", without=(Health,)).health is None


def test_images_hold_packages_with_versions_and_the_applications_files() -> None:
    orders, nginx = _component("orders").image, _component("nginx").image
    assert orders is not None
    assert nginx is not None
    assert (orders.strategy, orders.base, orders.packages) == ("app", "debian:12-slim", ["python3=1.0-python3"])
    assert orders.files == ["/srv/orders"]
    assert orders.exclude == ["/srv/orders/reports"]
    assert (nginx.strategy, nginx.packages, nginx.remove) == ("packages", ["nginx=1.0-nginx"], ["/etc/nginx"])
    assert nginx.files == ["/etc/nginx"]  # and no private key


def test_data_is_in_no_image_not_even_in_that_of_a_component_that_does_not_use_it() -> None:
    other = (
        Service(id="tool", manager="systemd", enabled=True, unit="/etc/x", command=("/srv/orders/tool",), seen_in=HERE),
        Uses(service="tool", path="/srv/orders", role="code", seen_in=HERE),
    )
    image = _component("tool", *other).image
    assert image is not None
    assert (image.files, image.exclude) == (["/srv/orders"], ["/srv/orders/reports"])


def test_a_sockets_directory_belongs_to_who_makes_the_socket() -> None:
    directories = {c.id: [(d.path, d.uid, d.gid) for d in c.directories] for c in _plan().components}
    assert directories["orders"] == [("/run/orders", 996, 33)]
    assert ("/run/orders", 996, 33) in directories["nginx"]


def test_the_same_directory_is_one_claim_in_every_pod() -> None:
    claims = {c.id: [(d.path, d.claim, d.bytes) for d in c.data] for c in _plan().components if c.data}
    assert claims["orders"] == claims["report"] == [("/srv/orders/reports", "orders-reports", 40)]
    assert claims["postgresql"] == [("/var/lib/postgresql/15/main", "postgresql-main", 3)]


def test_a_cron_line_runs_in_a_shell_at_its_time_and_zone() -> None:
    report = _component("report")
    assert report.command == ["/bin/sh", "-c", "/usr/local/bin/report >>/var/log/orders/report.log 2>&1"]
    assert (report.schedule, report.timezone) == ("15 3 * * 1-5", "Europe/Berlin")
    assert report.logs == ["/var/log/orders/report.log"]
    assert report.working_directory == "/srv/orders"


def test_needs_name_components_and_externals() -> None:
    needs = [(n.component or n.external, n.over) for n in _component("orders").needs]
    assert needs == [("postgresql", "tcp:127.0.0.1:5432"), ("smtp.corp.example:25", "tcp")]


def test_needing_what_retires_is_a_blocker() -> None:
    more = (
        Listen(service="ssh", port=22, seen_in=HERE),
        Need(service="orders", over="tcp:localhost:22", host_text="localhost", seen_in=HERE),
    )
    assert [b.rule for b in _component("orders", *more).blockers] == ["needs-what-retires"]


def test_a_socket_a_job_needs_cannot_be_in_its_pod() -> None:
    more = (Need(service="report", over="unix:/run/orders/gunicorn.sock", seen_in=HERE),)
    assert [b.rule for b in _component("report", *more).blockers] == ["unix-socket-leaves-pod"]


@pytest.mark.parametrize(
    ("schedule", "rules"),
    [("0 1 */2 * 1", ["cron-days-differ"]), ("0 1 1,15 * 1", []), ("0 1 */2 * *", []), ("0 1 * * 1", [])],
)
def test_days_that_cron_and_kubernetes_read_differently_are_a_blocker(schedule: str, rules: list[str]) -> None:
    job = Job(id="j", manager="cron", enabled=True, schedule=schedule, original=schedule, command=("/bin/true",),
              shell=True, seen_in=HERE)  # fmt: skip
    assert [b.rule for b in _component("j", job).blockers] == rules


def test_data_among_the_code_is_a_blocker_and_no_volume_hides_the_code() -> None:
    orders = _component("orders", Uses(service="orders", path="/srv/orders/app.py", role="data", seen_in=HERE))
    assert [b.rule for b in orders.blockers] == ["data-beside-code"]
    assert [d.path for d in orders.data] == ["/srv/orders/reports"]
    assert orders.image is not None
    assert orders.image.exclude == ["/srv/orders/app.py", "/srv/orders/reports"]


def test_a_secret_on_a_command_line_is_a_blocker_and_an_unknown_service_a_question() -> None:
    leaky = Service(id="leaky", manager="systemd", enabled=True, unit="/etc/systemd/system/orders.service",
                    command=("/usr/bin/x", "--password=pw-hunter2"), seen_in=HERE)  # fmt: skip
    uses = Uses(service="leaky", path="/etc/orders/env", role="config", seen_in=HERE)
    assert [b.rule for b in _component("leaky", leaky, uses).blockers] == ["secret-on-command-line"]
    once = Service(id="once", manager="systemd", enabled=True, unit="/etc/x", type="oneshot", seen_in=HERE)
    assert (_component("once", once).decision, _component("once", once).because[0].rule) == ("undecided", "unmatched")


def test_variables_of_an_environment_file_are_filled_in_by_a_shell() -> None:
    service = Service(id="v", manager="systemd", enabled=True, unit="/etc/x", seen_in=HERE,
                      command=("/usr/bin/x", "--port=${PORT}", "$OPTS", "it's"))  # fmt: skip
    command = _component("v", service).command
    assert command == ["/bin/sh", "-c", """exec /usr/bin/x --port="${PORT}" $OPTS 'it'"'"'s'"""]


def test_the_proposal_is_the_same_each_time_and_fits_its_schema() -> None:
    assert render_plan(_plan()) == render_plan(_plan())
    assert msgspec.convert(msgspec.to_builtins(_plan()), Plan) == _plan()


def test_what_a_person_must_see_to_stands_among_the_reasons() -> None:
    says = "clients in other Pods come from other addresses"
    caution = Caution(service="nginx", says=says, seen_in=Place("/etc/nginx/nginx.conf", 3))
    reasons = [(r.rule, r.says, r.seen_in) for r in _component("nginx", caution).because]
    assert ("to-see-to", says, "/etc/nginx/nginx.conf:3") in reasons
    assert not any(
        r.rule == "to-see-to" for r in _component("ssh", Caution(service="ssh", says=says, seen_in=HERE)).because
    )
