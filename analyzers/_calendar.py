"""systemd's calendar events and time spans (systemd.time(7)), and what of them crontab(5) can say.

The grammar is that of src/shared/calendarspec.c, down to what it refuses. A conversion is exact or it is none:
crontab has no seconds and no years, cannot count from a month's end, and where both day fields are restricted it
takes either where systemd takes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from analyzers._schedule import ALL, MICRO, RANGES, FieldName, Fields, NotExpressible

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    **dict.fromkeys(("yearly", "annually", "anually"), "*-01-01 00:00:00"),
    **dict.fromkeys(
        ("semiannually", "semi-annually", "biannually", "bi-annually"), "*-01,07-01 00:00:00"
    ),
}  # fmt: skip

_MAX_COMPONENTS = 240  # CALENDARSPEC_COMPONENTS_MAX
_FROM_END = 28  # chain_valid(): days a month is sure to have (until systemd 252 fewer for each further number)


class CalendarError(ValueError):
    """A text that is no calendar event or time span; systemd refuses it too."""


class Part(msgspec.Struct, frozen=True):
    """`start`, `start..stop`, `start/repeat` or `start..stop/repeat`; in seconds these count microseconds."""

    start: int
    stop: int | None = None
    repeat: int = 0

    def values(self, low: int, high: int) -> Iterable[int]:
        """Return the numbers meant, between `low` and `high`."""
        if not self.repeat:
            return (self.start,)
        stop = high if self.stop is None else min(self.stop, high)
        return range(max(self.start, low), stop + 1, self.repeat)


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar event. A field that is None is `*`; `from_end` tells that days count from a month's last (`~`).

    `weekdays` count from Monday, 0. `timezone` is empty for the machine's own. `moment` is set for `@SECONDS`.
    """

    weekdays: frozenset[int] | None = None
    year: tuple[Part, ...] | None = None
    month: tuple[Part, ...] | None = None
    day: tuple[Part, ...] | None = None
    from_end: bool = False
    hour: tuple[Part, ...] | None = None
    minute: tuple[Part, ...] | None = None
    second: tuple[Part, ...] | None = None
    timezone: str = ""
    moment: bool = False


# ---------------------------------------------------------------- parsing


class _Cursor:
    """A text and a position in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, what: str) -> bool:
        if self.text.startswith(what, self.at):
            self.at += len(what)
            return True
        return False

    def blanks(self) -> None:
        while self.peek() == " ":
            self.at += 1

    def fail(self, why: str) -> CalendarError:
        return CalendarError(f"{why} at character {self.at + 1} of {self.text!r}")


def parse(text: str) -> Calendar:
    """Parse one calendar event. Raises CalendarError."""
    body, timezone = _split_timezone(text)
    body = _SHORTHANDS.get(body.lower(), body)
    if not body or body[0] == " ":
        raise CalendarError(f"no calendar event: {text!r}")
    cursor = _Cursor(body)
    weekdays = _weekdays(cursor)
    if cursor.peek() == "@":
        if not re.compile(r"@[0-9]+").fullmatch(body, cursor.at):
            raise cursor.fail("a moment is `@` and a number of seconds")
        return Calendar(moment=True, timezone=timezone)
    year, month, day, from_end = _date(cursor)
    hour, minute, second = _time(cursor)
    if weekdays is not None and len(weekdays) == len(WEEKDAYS):
        weekdays = None
    calendar = Calendar(
        weekdays=weekdays, year=_normal(year), month=_normal(month), day=_normal(day), from_end=from_end,
        hour=_normal(hour), minute=_normal(minute), second=_normal(second), timezone=timezone,
    )  # fmt: skip
    _validate(calendar, text)
    return calendar


def _normal(chain: tuple[Part, ...] | None) -> tuple[Part, ...] | None:
    """Cut each range to a whole number of repetitions; one that has none is its start (`normalize_chain`)."""

    def cut(part: Part) -> Part:
        if part.stop is None or part.stop < part.start:
            return part
        stop = part.stop - (part.stop - part.start) % part.repeat
        return Part(part.start) if stop == part.start else Part(part.start, stop, part.repeat)

    return None if chain is None else tuple(map(cut, chain))


def _split_timezone(text: str) -> tuple[str, str]:
    """Take a time zone's name off the end. Which names exist is the machine's tzdata; here it is their form."""
    head, blank, last = text.rpartition(" ")
    named = re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", last)
    if blank and named and not _weekday(last) and last.lower() not in _SHORTHANDS:
        return head, "UTC" if last.upper() == "UTC" else last
    return text, ""


def _weekday(text: str) -> int | None:
    """Return the number behind 1-7 of a weekday's name that `text` is, or 0/None where it is none."""
    lower = text.lower()
    return next((n for n, name in enumerate(WEEKDAYS, 1) if lower in (name, name[:3])), None)


def _weekdays(cursor: _Cursor) -> frozenset[int] | None:
    found: set[int] = set()
    since: int | None = None
    first = True
    while True:
        match = re.compile(r"[A-Za-z]+").match(cursor.text, cursor.at)
        day = _weekday(match[0]) if match else None
        if match is None or day is None or cursor.text[match.end() : match.end() + 1] not in ("", "-", ".", ",", " "):
            if first:
                return None
            raise cursor.fail("a weekday was expected")
        first = False
        cursor.at = match.end()
        number = day - 1
        if since is not None:
            if since > number:
                raise cursor.fail("a range of weekdays that ends before it begins")
            found.update(range(since, number))
        found.add(number)
        ranged = since is not None
        since = None
        if cursor.peek() in ("", " "):
            break
        if cursor.take("..") or cursor.take("-"):
            if ranged:
                raise cursor.fail("a range of a range")
            since = number
        elif not cursor.take(","):
            raise cursor.fail("`,`, `..` or a blank was expected")
        if cursor.peek() in ("", " "):
            if since is not None:
                raise cursor.fail("a range without its end")
            break
    cursor.blanks()
    return frozenset(found)


def _number(cursor: _Cursor, fraction: bool) -> int:
    match = re.compile(r"[0-9]+").match(cursor.text, cursor.at)
    if match is None or len(match[0]) > 9:
        raise cursor.fail("a number was expected")
    cursor.at = match.end()
    value = int(match[0])
    if not fraction:
        return value
    value *= MICRO
    if cursor.peek() == "." and not cursor.text.startswith("..", cursor.at):
        cursor.at += 1
        digits = re.compile(r"[0-9]{1,6}").match(cursor.text, cursor.at)
        if digits is None:
            raise cursor.fail("digits of a second were expected")
        cursor.at = digits.end()
        value += int(digits[0].ljust(6, "0"))
    return value


def _chain(cursor: _Cursor, fraction: bool = False) -> tuple[Part, ...] | None:
    """Parse `*`, or numbers with `..` and `/` between commas."""
    if cursor.take("*"):
        return (Part(0, None, MICRO),) if fraction else None
    parts: list[Part] = []
    while True:
        start, stop, repeat = _number(cursor, fraction), None, 0
        if cursor.take(".."):
            stop = _number(cursor, fraction)
            repeat = MICRO if fraction else 1
        if cursor.take("/"):
            repeat = _number(cursor, fraction)
            if repeat == 0:
                raise cursor.fail("a repetition of zero")
        if cursor.peek() not in ("", " ", ",", "-", "~", ":"):
            raise cursor.fail("something that no number ends with")
        parts.append(Part(start, stop, repeat))
        if len(parts) > _MAX_COMPONENTS:
            raise cursor.fail("too many numbers")
        if not cursor.take(","):
            return tuple(parts)


_Date = tuple[tuple[Part, ...] | None, tuple[Part, ...] | None, tuple[Part, ...] | None, bool]


def _date(cursor: _Cursor) -> _Date:
    """Parse `YEAR-MONTH-DAY` or `MONTH-DAY`, with `~` before a day that counts from the end; all `*` if absent."""
    begin = cursor.at
    if cursor.peek() == "":
        return None, None, None, False
    first = _chain(cursor)
    if cursor.peek() in ("", ":"):  # a time, then
        cursor.at = begin
        return None, None, None, False
    from_end = cursor.take("~")
    if not from_end and not cursor.take("-"):
        raise cursor.fail("`-` or `~` was expected")
    second = _chain(cursor)
    if cursor.peek() in ("", " "):
        cursor.blanks()
        return None, first, second, from_end
    if from_end:
        raise cursor.fail("nothing can follow a day that counts from the end")
    from_end = cursor.take("~")
    if not from_end and not cursor.take("-"):
        raise cursor.fail("`-` or `~` was expected")
    third = _chain(cursor)
    if cursor.peek() not in ("", " "):
        raise cursor.fail("a blank was expected")
    cursor.blanks()
    return _centuries(first), second, third, from_end


def _centuries(years: tuple[Part, ...] | None) -> tuple[Part, ...] | None:
    """Two-digit years are of 1970 to 2069 (normalize: `fix_year`)."""

    def full(year: int | None) -> int | None:
        if year is None or year >= 100:
            return year
        return year + (2000 if year < 70 else 1900)

    return None if years is None else tuple(Part(full(p.start) or 0, full(p.stop), p.repeat) for p in years)


_Time = tuple[tuple[Part, ...] | None, tuple[Part, ...] | None, tuple[Part, ...] | None]


def _time(cursor: _Cursor) -> _Time:
    zero = (Part(0),)
    if cursor.peek() == "":
        return zero, zero, zero
    hour = _chain(cursor)
    if not cursor.take(":"):
        raise cursor.fail("`:` was expected")
    minute = _chain(cursor)
    if cursor.peek() == "":
        return hour, minute, zero
    if not cursor.take(":"):
        raise cursor.fail("`:` or the end was expected")
    second = _chain(cursor, fraction=True)
    if cursor.peek():
        raise cursor.fail("the end was expected")
    return hour, minute, second


def _validate(calendar: Calendar, text: str) -> None:
    """Refuse what `calendar_spec_valid` refuses."""
    days = _FROM_END if calendar.from_end else 31
    for chain, low, high, backwards in (
        (calendar.year, 1970, 2199, False),
        (calendar.month, 1, 12, False),
        (calendar.day, 1, days, calendar.from_end),
        (calendar.hour, 0, 23, False),
        (calendar.minute, 0, 59, False),
        (calendar.second, 0, 60 * MICRO - 1, False),
    ):
        for part in chain or ():
            if not low <= part.start <= high or part.repeat > high - low:
                raise CalendarError(f"a number out of its range in {text!r}")
            if part.stop is not None:
                if not low <= part.stop <= high or part.start + part.repeat > part.stop:
                    raise CalendarError(f"a range out of order in {text!r}")
            elif (part.start - part.repeat < low) if backwards else (part.start + part.repeat > high):
                raise CalendarError(f"a repetition with nothing to repeat in {text!r}")


# ---------------------------------------------------------------- to crontab


def to_fields(calendar: Calendar) -> Fields:
    """Return the crontab fields of a calendar event. Raises NotExpressible with the reason."""
    if calendar.moment:
        raise NotExpressible("one moment in time: crontab has no years")
    if calendar.year is not None:
        raise NotExpressible("crontab has no years")
    if calendar.second != (Part(0),):
        raise NotExpressible("crontab has no seconds")
    month = _numbers(calendar.month, "month")
    day = _from_end(calendar.day, month) if calendar.from_end else _numbers(calendar.day, "day")
    weekday = ALL.weekday
    if calendar.weekdays is not None:
        if day != ALL.day:
            raise NotExpressible("a day of the month and a day of the week: systemd wants both, crontab either")
        weekday = frozenset((number + 1) % 7 for number in calendar.weekdays)
    return Fields(_numbers(calendar.minute, "minute"), _numbers(calendar.hour, "hour"), day, month, weekday)


def _numbers(chain: tuple[Part, ...] | None, field: FieldName) -> frozenset[int]:
    low, high = RANGES[field]
    if chain is None:
        return frozenset(range(low, high + 1))
    return frozenset(number for part in chain for number in part.values(low, high))


_LENGTHS = (31, 0, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # February has no one length


def _from_end(chain: tuple[Part, ...] | None, months: frozenset[int]) -> frozenset[int]:
    """Return the days counted from the end as days of the month, where all months have one length."""
    if chain is None:
        return ALL.day
    lengths = {_LENGTHS[month - 1] for month in months}
    if len(lengths) != 1 or 0 in lengths:
        raise NotExpressible("days counted from the end of months of different lengths")
    length = lengths.pop()
    days: set[int] = set()
    for part in chain:
        # find_matching_component(): start and stop become days of the month, then change places.
        start, stop = length + 1 - part.start, None if part.stop is None else length + 1 - part.stop
        if stop is not None:
            start, stop = min(start, stop), max(start, stop)
        days.update(Part(start, stop, part.repeat).values(1, length))
    return frozenset(days)


# ---------------------------------------------------------------- time spans

_UNITS: dict[str, int] = {
    **dict.fromkeys(("usec", "us", "µs", "μs"), 1),
    **dict.fromkeys(("msec", "ms"), 1000),
    **dict.fromkeys(("seconds", "second", "sec", "s", ""), MICRO),
    **dict.fromkeys(("minutes", "minute", "min", "m"), 60 * MICRO),
    **dict.fromkeys(("hours", "hour", "hr", "h"), 3600 * MICRO),
    **dict.fromkeys(("days", "day", "d"), 86400 * MICRO),
    **dict.fromkeys(("weeks", "week", "w"), 7 * 86400 * MICRO),
    **dict.fromkeys(("months", "month", "M"), 2629800 * MICRO),
    **dict.fromkeys(("years", "year", "y"), 31557600 * MICRO),
}
_SPAN = re.compile(r"\s*([0-9]{1,15})(?:\.([0-9]*))?\s*([A-Za-zµμ]*)")


def time_span(text: str) -> int | None:
    """Return a time span in microseconds; None for `infinity`. A bare number counts seconds. Raises CalendarError.

    >>> time_span("1h 30min")
    5400000000
    """
    if text.strip() == "infinity":
        return None
    total, at = 0, 0
    while at < len(text.rstrip()):
        match = _SPAN.match(text, at)
        if match is None or match[3] not in _UNITS:
            raise CalendarError(f"no time span: {text!r}")
        unit = _UNITS[match[3]]
        fraction = match[2] or ""
        total += int(match[1]) * unit + (int(fraction[:6].ljust(6, "0")) * unit // MICRO if fraction else 0)
        at = match.end()
    if not text.strip():
        raise CalendarError("an empty time span")
    return total
