"""The five fields of a crontab(5) line as sets of numbers: joined, written as text, made from an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

_MOST = 50  # of lines that one line is sought for
MICRO = 1_000_000  # microseconds of a second


class Fields(msgspec.Struct, frozen=True):
    """The five fields of a crontab(5) line as numbers; `weekday` 0 is Sunday, as in crontab."""

    minute: frozenset[int]
    hour: frozenset[int]
    day: frozenset[int]
    month: frozenset[int]
    weekday: frozenset[int]


FieldName = Literal["minute", "hour", "day", "month", "weekday"]
RANGES: dict[FieldName, tuple[int, int]] = {
    "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6),
}  # fmt: skip
ALL = Fields(*(frozenset(range(low, high + 1)) for low, high in RANGES.values()))


class NotExpressible(ValueError):  # noqa: N818  # the answer, not a fault
    """A calendar event that no crontab(5) line says; the text is the reason."""


def union(all_fields: Sequence[Fields]) -> Fields | None:
    """Return one crontab line's fields that say what all of these say together, or None where none does."""
    todo = list(dict.fromkeys(all_fields))
    if len(todo) > _MOST:
        return None
    while len(todo) > 1:
        merged = next(
            ((i, j, both) for i in range(len(todo)) for j in range(i) if (both := _merge(todo[j], todo[i]))), None
        )
        if merged is None:
            return None
        i, j, both = merged
        todo = [fields for at, fields in enumerate(todo) if at not in (i, j)]
        if both not in todo:
            todo.insert(j, both)
    return todo[0] if todo else None


def _merge(one: Fields, other: Fields) -> Fields | None:
    """Return the fields of both where they differ in one field, or in the two day fields as crontab ORs them."""
    differ = [name for name in RANGES if getattr(one, name) != getattr(other, name)]
    either_day = any(f.day != ALL.day and f.weekday != ALL.weekday for f in (one, other))
    if len(differ) == 1 and (not either_day or differ[0] not in ("day", "weekday")):
        name = differ[0]
        return msgspec.structs.replace(one, **{name: getattr(one, name) | getattr(other, name)})
    if sorted(differ) == ["day", "weekday"] and not either_day:
        by_day, by_week = (one, other) if one.weekday == ALL.weekday else (other, one)
        if by_day.weekday == ALL.weekday and by_week.day == ALL.day:
            return msgspec.structs.replace(by_day, weekday=by_week.weekday)
    return None


def render(fields: Fields) -> str:
    """Return the five fields as crontab(5) text, as short as it goes without changing what cron makes of it.

    A restricted day field never begins with `*`: Vixie cron takes one that does for unrestricted.
    """
    texts = []
    for name, (low, high) in RANGES.items():
        numbers = sorted(getattr(fields, name))
        texts.append(_render(numbers, low, high, starred=name not in ("day", "weekday")))
    return " ".join(texts)


def _render(numbers: list[int], low: int, high: int, starred: bool) -> str:
    if numbers == list(range(low, high + 1)):
        return "*"
    if len(numbers) > 2:  # two numbers are shorter as a list
        step = numbers[1] - numbers[0]
        if numbers == list(range(numbers[0], numbers[-1] + 1, step)):
            if step == 1:
                return f"{numbers[0]}-{numbers[-1]}"
            if starred and numbers == list(range(low, high + 1, step)):
                return f"*/{step}"
            last = high if numbers[-1] + step > high else numbers[-1]
            return f"{numbers[0]}-{last}/{step}"
    if starred and len(numbers) == 2 and numbers == list(range(low, high + 1, max(1, numbers[1] - low))):
        return f"*/{numbers[1] - low}"
    return ",".join(map(str, numbers))


def every(microseconds: int) -> Fields:
    """Return the crontab fields of an interval that divides the hour, the day or the week. Raises NotExpressible."""
    minutes, rest = divmod(microseconds, 60 * MICRO)
    if minutes and not rest:
        if minutes < 60 and 60 % minutes == 0:
            return msgspec.structs.replace(ALL, minute=frozenset(range(0, 60, minutes)))
        hours, rest = divmod(minutes, 60)
        if not rest and hours <= 24 and 24 % hours == 0:
            return msgspec.structs.replace(ALL, minute=frozenset({0}), hour=frozenset(range(0, 24, hours)))
        if not rest and hours == 7 * 24:
            zero = frozenset({0})
            return msgspec.structs.replace(ALL, minute=zero, hour=zero, weekday=zero)
    raise NotExpressible("an interval that does not divide an hour, a day or a week")
