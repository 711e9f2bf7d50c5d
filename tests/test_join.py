from __future__ import annotations

from migrate.facts import Facts
from migrate.join import join, secrets_of
from migrate.model import Covers, Job, Need, Place, Service
from tests.analyzers.fake import FakeGuest
from tests.shop import facts, findings, guest

HERE = Place("/etc/x", 1)


def _ties(*kinds: str) -> set[tuple[str, str, str]]:
    return {(t.source, t.target, t.kind) for t in join(facts()).ties if t.kind in kinds}


def test_components_are_what_a_boot_or_a_schedule_starts() -> None:
    joined = join(facts())
    assert [(c.id, c.kind) for c in joined.candidates] == [
        ("nginx", "service"),
        ("orders", "service"),
        ("postgresql", "service"),
        ("report", "job"),
        ("ssh", "service"),
    ]
    assert joined["nginx"].package == "nginx"
    assert joined["orders"].package == ""


def test_ties_find_who_listens_through_links_and_loopback() -> None:
    assert _ties("unix-socket") == {("nginx", "orders", "unix-socket")}
    assert _ties("tcp") == {("orders", "postgresql", "tcp"), ("report", "postgresql", "tcp")}
    assert _ties("external") == {("orders", "smtp.corp.example:25", "external")}
    assert _ties("shared-files") == {("report", "orders", "shared-files")}
    assert _ties("starts-after") == {("orders", "postgresql", "starts-after")}


def test_an_ordering_has_the_line_that_orders() -> None:
    files = {"/etc/a.service": "[Unit]\n# After=b.service\nAfter=network.target b.service\n"}
    a = Service(id="a", manager="systemd", enabled=True, unit="/etc/a.service", after=("b",), seen_in=HERE)
    b = Service(id="b", manager="systemd", enabled=True, unit="/etc/b.service", seen_in=HERE)
    joined = join(Facts([a, b], FakeGuest(files)))
    assert [(t.kind, str(t.seen_in)) for t in joined.ties] == [("starts-after", "/etc/a.service:3")]


def test_every_tie_says_where_it_was_seen() -> None:
    assert all(t.seen_in.path.startswith("/") for t in join(facts()).ties)


def test_nobody_listening_is_a_blind_spot_with_its_place() -> None:
    joined = join(facts(Need(service="orders", over="tcp:127.0.0.1:9999", seen_in=HERE)))
    assert [(str(u.seen_in), u.why) for u in joined.unread] == [
        ("/etc/x:1", "orders needs tcp:127.0.0.1:9999, and nothing was seen listening there")
    ]


def test_a_cluster_speaks_for_its_units_and_a_timer_for_its_service() -> None:
    unit = "/usr/lib/systemd/system/pg.service"
    more = facts(
        Service(id="pg-umbrella", manager="systemd", enabled=True, unit=unit, seen_in=HERE),
        Covers(service="postgresql", units=("pg-umbrella",), seen_in=HERE),
        Service(id="clean", manager="systemd", enabled=False, unit=unit, command=("/bin/true",), seen_in=HERE),
        Job(id="clean", manager="systemd", enabled=True, schedule="0 4 * * *", original="daily", command=("/bin/true",),
            service="clean", seen_in=HERE),
    )  # fmt: skip
    joined = join(more)
    assert [c.id for c in joined.candidates] == ["clean", "nginx", "orders", "postgresql", "report", "ssh"]
    assert joined["postgresql"].ids == ("postgresql", "pg-umbrella")
    assert joined["clean"].kind == "job"


def test_who_knows_the_daemon_speaks_before_its_unit() -> None:
    unit = Service(id="postgresql", manager="systemd", enabled=True, unit="/usr/lib/systemd/system/postgresql.service",
                   type="oneshot", command=("/bin/true",), seen_in=HERE)  # fmt: skip
    for more in (facts(unit), Facts([unit, *findings()], guest())):
        assert join(more)["postgresql"].program == "/usr/lib/postgresql/15/bin/postgres"


def test_ids_fit_kubernetes_and_never_collide() -> None:
    def service(name: str) -> Service:
        return Service(id=name, manager="systemd", enabled=True, unit="/etc/x", seen_in=HERE)

    ids = [c.id for c in join(facts(service("getty@tty1"), service("getty_tty1"))).candidates]
    assert {"getty-tty1", "getty-tty1-2"} <= set(ids)


def test_secrets_belong_to_who_reads_the_file_and_not_to_a_cabinet_of_data() -> None:
    found = facts()
    joined = join(found)
    assert [s.id for s in secrets_of(found, joined["orders"])] == ["orders-env-database-url"]
    assert [s.id for s in secrets_of(found, joined["report"])] == ["orders-env-database-url"]
    assert [s.id for s in secrets_of(found, joined["nginx"])] == ["ssl-private-shop-key"]
    assert secrets_of(found, joined["postgresql"]) == []
