"""Timers as jobs."""

from __future__ import annotations

import pytest

from migrate.model import Job, Place, Unread
from tests.analyzers.fake import Content, Link
from tests.analyzers.test_systemd import ETC, LIB, findings, of, services, wanted

REPORT = "[Service]\nType=oneshot\nUser=orders\nEnvironment=A=1\nExecStart=/srv/orders/report --all\n"


def _files(timer: str, **more: Content) -> dict[str, Content]:
    return {
        f"{ETC}/report.timer": f"[Timer]\n{timer}\n",
        f"{ETC}/report.service": REPORT,
        f"{ETC}/timers.target.wants/report.timer": Link(f"{ETC}/report.timer"),
        **more,
    }


def _job(timer: str, **more: Content) -> Job:
    [job] = of(Job, findings(_files(timer, **more)))
    return job


def test_a_timer_whole() -> None:
    job = _job("OnCalendar=Mon..Fri 04:30\nPersistent=true\nRandomizedDelaySec=10m")
    assert job == Job(
        id="report",
        manager="systemd",
        enabled=True,
        schedule="30 4 * * 1-5",
        original="OnCalendar=Mon..Fri 04:30; RandomizedDelaySec=10m; Persistent=true",
        command=("/srv/orders/report", "--all"),
        user="orders",
        environment=job.environment,
        service="report",
        seen_in=Place(f"{ETC}/report.timer", 2),
    )
    assert [v.name for v in job.environment] == ["A"]


def test_its_service_is_reported_and_no_boot_starts_it() -> None:
    service = services(_files("OnCalendar=daily"))["report"]
    assert not service.enabled
    cause = service.setting("TriggeredBy")
    assert cause is not None
    assert cause.value == "report.timer"


@pytest.mark.parametrize(
    ("timer", "schedule", "at_boot", "zone"),
    [
        ("OnCalendar=6:00\nOnCalendar=18:00", "0 6,18 * * *", False, ""),
        ("OnCalendar=6:00\nOnCalendar=18:30", None, False, ""),
        ("OnCalendar=6:00\nOnCalendar=\nOnCalendar=7:00", "0 7 * * *", False, ""),
        ("OnCalendar=*:*:0/30", None, False, ""),
        ("OnCalendar=daily UTC", "0 0 * * *", False, "UTC"),
        ("OnCalendar=daily UTC\nOnCalendar=6:00", None, False, ""),
        ("OnCalendar=4:00 Europe/Berlin", "0 4 * * *", False, "Europe/Berlin"),
        ("OnBootSec=15min\nOnUnitActiveSec=1d", "0 0 * * *", True, ""),
        ("OnBootSec=5min", None, True, ""),
        ("OnActiveSec=1\nOnUnitActiveSec=7min", None, True, ""),
        ("OnUnitActiveSec=5min", None, False, ""),
        ("OnBootSec=1min\nOnUnitInactiveSec=5min", None, True, ""),
    ],
)
def test_schedules(timer: str, schedule: str | None, at_boot: bool, zone: str) -> None:
    job = _job(timer)
    assert (job.schedule, job.at_boot, job.timezone) == (schedule, at_boot, zone)


def test_an_interval_counts_from_what_the_boot_starts() -> None:
    job = _job(
        "OnUnitActiveSec=5min", **{f"{ETC}/multi-user.target.wants/report.service": Link(f"{ETC}/report.service")}
    )
    assert job.schedule == "*/5 * * * *"


def test_a_timer_may_name_its_unit() -> None:
    job = _job(
        "OnCalendar=daily\nUnit=worker@%p.service", **{f"{LIB}/worker@.service": "[Service]\nExecStart=/bin/w %i\n"}
    )
    assert (job.service, job.command) == ("worker@report", ("/bin/w", "report"))


def test_timers_that_nothing_starts() -> None:
    files = _files("OnCalendar=daily")
    del files[f"{ETC}/timers.target.wants/report.timer"]
    assert [(job.id, job.enabled) for job in of(Job, findings(files))] == [("report", False)]
    masked: dict[str, Content] = {
        f"{LIB}/a.timer": "[Timer]\nOnCalendar=daily\n",
        f"{LIB}/a.service": REPORT,
        f"{ETC}/a.timer": Link("/dev/null"),
        **wanted("a.timer", "timers.target"),
    }
    assert [job.enabled for job in of(Job, findings(masked))] == [False]


def test_what_is_not_understood_is_told() -> None:
    timer = f"{ETC}/report.timer"
    for text, line in (
        ("OnCalendar=sometimes", 2),
        ("OnBootSec=soon", 2),
        ("OnCalendar=daily Mars/Base", 2),
        ("Persistent=yes", 1),
    ):
        found = findings(_files(text, **{"/usr/share/zoneinfo/Europe/Berlin": "TZif2"}))
        assert [one.seen_in for one in of(Unread, found)] == [Place(timer, line)], text
    files = _files("OnCalendar=daily")
    del files[f"{ETC}/report.service"]
    found = findings(files)
    assert of(Job, found) == []
    assert [one.seen_in for one in of(Unread, found)] == [Place(timer, 1)]
