"""Which of several findings of one service counts."""

from __future__ import annotations

import itertools

from migrate.model import Place, Service
from migrate.services import by_id

HERE = Place("/etc/x", 1)


def service(manager: str, *, enabled: bool) -> Service:
    unit = f"/etc/{manager}/db"
    return Service(id="db", manager=manager, enabled=enabled, unit=unit, type="simple", command=(), seen_in=HERE)


def test_what_is_started_counts_and_not_what_another_init_left() -> None:
    for one, two in itertools.permutations([service("runit", enabled=True), service("sysv", enabled=False)]):
        assert by_id([one, two])["db"].manager == "runit"


def test_who_knows_the_daemon_says_more() -> None:
    for enabled in (True, False):
        cluster, unit = service("postgresql", enabled=True), service("systemd", enabled=enabled)
        assert by_id([unit, cluster])["db"].manager == "postgresql"
        assert by_id([cluster, unit])["db"].manager == "postgresql"


def test_of_two_alike_the_later() -> None:
    assert by_id([service("sysv", enabled=True), service("systemd", enabled=True)])["db"].manager == "systemd"
    assert by_id([service("sysv", enabled=False), service("systemd", enabled=False)])["db"].manager == "systemd"
