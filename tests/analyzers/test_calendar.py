"""Calendar events: what systemd takes, and what crontab can say of it exactly."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._calendar import CalendarError, parse, time_span, to_fields
from analyzers._schedule import ALL, Fields, NotExpressible, every, render, union


def _cron(text: str) -> str:
    return render(to_fields(parse(text)))


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("minutely", "* * * * *"),
        ("hourly", "0 * * * *"),
        ("daily", "0 0 * * *"),
        ("Weekly", "0 0 * * 1"),
        ("monthly", "0 0 1 * *"),
        ("quarterly", "0 0 1 */3 *"),
        ("semiannually", "0 0 1 */6 *"),
        ("yearly", "0 0 1 1 *"),
        ("*-*-* 04:30:00", "30 4 * * *"),
        ("04:30", "30 4 * * *"),
        ("*-*-* 6,18:00", "0 6,18 * * *"),
        ("Mon..Fri 22:15", "15 22 * * 1-5"),
        ("Mon,Wed,Sun 3:00", "0 3 * * 0,1,3"),
        ("Mon-Fri", "0 0 * * 1-5"),
        ("Mon..Sun 1:00", "0 1 * * *"),
        ("Sat,Sun", "0 0 * * 0,6"),
        ("Mon, 10:00", "0 10 * * 1"),
        ("*:0/15", "*/15 * * * *"),
        ("*:5/15", "5-59/15 * * * *"),
        ("*:0/7", "*/7 * * * *"),
        ("0/2:00", "0 */2 * * *"),
        ("8..18/2:30", "30 8-18/2 * * *"),
        ("9..17:0,30", "*/30 9-17 * * *"),
        ("*-*-1,15 0:0", "0 0 1,15 * *"),
        ("*-*-1/2 0:0", "0 0 1-31/2 * *"),
        ("12-24", "0 0 24 12 *"),
        ("*-06,12-01 05:00:00", "0 5 1 6,12 *"),
        ("*-01~01 3:00", "0 3 31 1 *"),
        ("*-04,06,09,11~01", "0 0 30 4,6,9,11 *"),
        ("*-1~1..3/2 0:0", "0 0 29,31 1 *"),
        ("*-05~02..21/3 0:0", "0 0 12-31/3 5 *"),
        ("*-*~* 0:0", "0 0 * * *"),
        ("18..24/8:11", "11 18 * * *"),
        ("4..4:00", "0 4 * * *"),
        ("*-*-* *:09,39:00", "9,39 * * * *"),
    ],
)
def test_exact(text: str, cron: str) -> None:
    assert _cron(text) == cron


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sun *-*-1..7 1:00:00", "day of the week"),
        ("*-*-* 04:30:10", "seconds"),
        ("*:*:0/30", "seconds"),
        ("*:*:*", "seconds"),
        ("2026-01-01", "years"),
        ("99-1-1", "years"),
        ("*-*~1", "end of months"),
        ("*-02~01", "end of months"),
        ("@1700000000", "moment"),
    ],
)
def test_not_expressible(text: str, reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        to_fields(parse(text))


REFUSED = [
    "", " ", "10", "*:*/5", "*/5:00", "Fri..Mon 10:00", "*-*-* 24:00", "*:60", "*:00/60", "*-13-01", "*-*-32",
    "*-*-31/2", "*-*~29", "*-*~1/2 0:0", "*-*~3..1 1:00", "*-*-1..3..5", "*:5..3", "Mon..", "Mon,,Tue", "Monda",
    "Mon daily", "daily ", " daily", "10:00 ", "10:00  UTC", "10:00:", "1-2-3-4", "*:0/0", "05~3-1", "@", "@1.5",
    "Mon *:", "1e3:00", "UTC", "*:0.5", "*-*-*T10:00", "::", "*:*:60",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(CalendarError):
        parse(text)


def test_time_zones() -> None:
    assert parse("daily UTC").timezone == "UTC"
    assert parse("daily utc").timezone == "UTC"
    assert parse("*-*-* 04:00 Europe/Berlin").timezone == "Europe/Berlin"
    assert parse("Mon 04:00 Etc/GMT+3").timezone == "Etc/GMT+3"
    assert parse("Mon").timezone == ""


@given(st.text(alphabet=st.sampled_from("*-:~/.,@0123456789 MonTuefriUTC"), max_size=24) | st.text(max_size=24))
def test_hostile(text: str) -> None:
    try:
        fields = to_fields(parse(text))
    except (CalendarError, NotExpressible):
        return
    assert re.fullmatch(r"[0-9*/,-]+( [0-9*/,-]+){4}", render(fields))


# ---------------------------------------------------------------- against systemd itself


def _chain(rng: random.Random, low: int, high: int) -> str:
    def one() -> str:
        text = str(rng.randint(low, high))
        if rng.random() < 0.3:
            text += f"..{rng.randint(low, high)}"
        return text + (f"/{rng.randint(0, 9)}" if rng.random() < 0.3 else "")

    return "*" if rng.random() < 0.3 else ",".join(one() for _ in range(rng.choice([1, 1, 2])))


def _event(rng: random.Random) -> str:
    text = ""
    if rng.random() < 0.3:
        days = ["Mon", "tue", "Wednesday", "THU", "Fri", "sat", "sunday"]
        text += rng.choice([",", "..", "-"]).join(rng.choice(days) for _ in range(rng.choice([1, 2]))) + " "
    if rng.random() < 0.6:
        text += rng.choice(["", "*-", "2027-"]) + _chain(rng, 1, 12) + "-" + _chain(rng, 1, 31) + " "
    if rng.random() < 0.8 or not text:
        text += _chain(rng, 0, 24) + ":" + _chain(rng, 0, 60) + rng.choice(["", ":00", ":*", ":30"])
    text = text.strip()
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice("*/-.,:019") + text[at + 1 :]
    return text


def _fires(fields: Fields, moment: datetime) -> bool:
    """Tell whether Vixie cron runs a job at that minute."""
    day, weekday = moment.day in fields.day, (moment.weekday() + 1) % 7 in fields.weekday
    both = fields.day != ALL.day and fields.weekday != ALL.weekday
    days = day or weekday if both else day and weekday
    return moment.minute in fields.minute and moment.hour in fields.hour and moment.month in fields.month and days


SYSTEMD = shutil.which("systemd-analyze")


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze(1) is not installed: nothing to compare with")
def test_systemd_says_the_same() -> None:
    """150 events of random make: refused alike, and where crontab has words for them, due at the same minutes.

    Lists that begin with a repetition are left out: systemd 252 steps past the end of the hour or day with
    them (`11/10,3:05` skips 3:05 of the next day).
    """
    rng = random.Random(252)
    base = datetime(2027, 1, 30, 22, 57)  # noqa: DTZ001  # the zone is TZ below
    compared = 0
    for text in (_event(rng) for _ in range(150)):
        done = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=4", f"--base-time={base:%Y-%m-%d %H:%M:%S}", text],
            capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}, check=False,
        )  # fmt: skip
        try:
            event = parse(text)
        except CalendarError:
            assert "Normalized form" not in done.stdout, text
            continue
        assert "Normalized form" in done.stdout, text
        try:
            fields = to_fields(event)
        except NotExpressible:
            continue
        if re.search(r"/\d+,|,.*/", text):
            continue
        due = re.findall(r"(?:elapse|#\d): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC", done.stdout)
        times = [datetime.strptime(one, "%Y-%m-%d %H:%M") for one in due]  # noqa: DTZ007
        last = min(times[-1], base + timedelta(days=3)) if times else base + timedelta(days=3)
        minutes = (base + timedelta(minutes=n) for n in range(1, 1 + int((last - base).total_seconds() // 60)))
        assert [m for m in minutes if _fires(fields, m)] == [t for t in times if t <= last], (text, render(fields))
        compared += 1
    assert compared > 20


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze(1) is not installed: nothing to compare with")
@pytest.mark.parametrize("text", [text for text in REFUSED if text])
def test_systemd_refuses_the_same(text: str) -> None:
    done = subprocess.run(["systemd-analyze", "calendar", text], capture_output=True, text=True, check=False)
    assert done.returncode != 0


# ---------------------------------------------------------------- several, intervals


def _union(*texts: str) -> str | None:
    both = union([to_fields(parse(text)) for text in texts])
    return None if both is None else render(both)


def test_several_events_in_one_line() -> None:
    assert _union("6:00", "18:00") == "0 6,18 * * *"
    assert _union("Mon 3:00", "Thu 3:00") == "0 3 * * 1,4"
    assert _union("*-*-01 3:00", "Sun 3:00") == "0 3 1 * 0"  # either day: what crontab makes of both
    assert _union("6:00", "6:30", "18:00", "18:30") == "*/30 6,18 * * *"
    assert _union("daily", "daily") == "0 0 * * *"


def test_several_events_that_no_line_says() -> None:
    assert _union("6:00", "18:30") is None
    assert _union("Mon 3:00", "*-*-01 4:00") is None
    assert union([]) is None


def test_a_restricted_day_never_begins_with_an_asterisk() -> None:
    """Vixie cron takes `*/2` for unrestricted when it weighs the two day fields against each other."""
    fields = to_fields(parse("*-*-1/2 3:00"))
    assert render(fields).split()[2] == "1-31/2"
    both = union([fields, to_fields(parse("Sun 3:00"))])
    assert both is not None
    assert render(both) == "0 3 1-31/2 * 0"


@pytest.mark.parametrize(
    ("span", "cron"),
    [("5min", "*/5 * * * *"), ("1h", "0 * * * *"), ("60min", "0 * * * *"), ("6h", "0 */6 * * *"), ("1d", "0 0 * * *"),
     ("24h", "0 0 * * *"), ("1w", "0 0 * * 0"), ("1min", "* * * * *"), ("1h 60min", "0 */2 * * *")],
)  # fmt: skip
def test_intervals(span: str, cron: str) -> None:
    microseconds = time_span(span)
    assert microseconds is not None
    assert render(every(microseconds)) == cron


@pytest.mark.parametrize("span", ["30s", "7min", "90min", "5h", "2d", "1month", "90", "0"])
def test_intervals_that_crontab_cannot_say(span: str) -> None:
    microseconds = time_span(span)
    assert microseconds is not None
    with pytest.raises(NotExpressible):
        every(microseconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1h 30min", 5400),
        ("2hours", 7200),
        ("1.5h", 5400),
        ("3min20s", 200),
        ("1w", 604800),
        ("1M", 2629800),
    ],
)
def test_spans(text: str, seconds: int) -> None:
    assert time_span(text) == seconds * 1_000_000


def test_other_spans() -> None:
    assert time_span("infinity") is None
    assert time_span("100ms") == 100_000
    for text in ("", "x", "5 parsecs", "-3", "5min x"):
        with pytest.raises(CalendarError):
            time_span(text)


@given(st.text(alphabet=st.sampled_from("0123456789. hmindsuwMy-µ"), max_size=16))
def test_hostile_spans(text: str) -> None:
    try:
        span = time_span(text)
    except CalendarError:
        return
    assert span is None or span >= 0
