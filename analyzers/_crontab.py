"""crontab(5) and anacrontab(5): lines to entries, fields to numbers.

The grammar is that of Vixie's cron, which Debian's cron and Red Hat's cronie both are (`load_entry` and `get_range`
of entry.c, `load_env` of env.c); where the two differ it says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from analyzers._reading import numbered
from analyzers._schedule import RANGES, FieldName
from migrate.text import show

NICKNAMES = {
    "yearly": "0 0 1 1 *", "annually": "0 0 1 1 *", "monthly": "0 0 1 * *", "weekly": "0 0 * * 0",
    "daily": "0 0 * * *", "midnight": "0 0 * * *", "hourly": "0 * * * *",
}  # fmt: skip
REBOOT = "reboot"

_MOST_LINES = 10_000  # Debian's cron: "crontab must not be longer than 10000 lines"
_MOST_VARIABLES = 100  # each job carries those above it
_MOST_REFUSED = 10  # lines of one file that are told one by one

_NAMES: dict[FieldName, tuple[str, ...]] = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"),
}
_ITEM = re.compile(r"(\*)(?:/([0-9]{1,3}))?|([0-9A-Za-z]+)(?:-([0-9A-Za-z]+)(?:/([0-9]{1,3}))?)?")
_RANDOM = re.compile(r"[0-9]*~[0-9]*(?:/[0-9]+)?")  # cronie: a number chosen when the table is loaded


class CrontabError(ValueError):
    """A line that cron refuses; the text is the reason."""


class Entry(msgspec.Struct, frozen=True):
    """One job of a crontab.

    `text` is the whole line. `when` is its time as written. `schedule` is the same in numbers, or None for
    @reboot and for times that cron chooses at random. `command` is the rest of the line as written.
    `environment` are the variables set above it, each with its line.
    """

    line: int
    text: str
    when: str
    schedule: str | None
    user: str
    command: str
    environment: Mapping[str, tuple[str, int]]

    @property
    def at_boot(self) -> bool:
        """Whether the job runs once when cron starts."""
        return self.when == f"@{REBOOT}"


class Refused(msgspec.Struct, frozen=True):
    """A line that cron does not take, and why."""

    line: int
    why: str


def parse(text: str, with_user: bool) -> tuple[list[Entry], list[Refused]]:
    """Parse a crontab; `with_user` for those with a user column (/etc/crontab, /etc/cron.d)."""
    entries: list[Entry] = []
    refused: list[Refused] = []
    environment: dict[str, tuple[str, int]] = {}
    count = text.count("\n")
    for number, raw in numbered(text):
        line = raw.lstrip(" \t")
        if number > _MOST_LINES:
            refused.append(Refused(number, f"cron takes no crontab of more than {_MOST_LINES} lines"))
            break
        if not line or line.startswith("#"):
            continue
        variable = _variable(line)
        if variable is not None and len(environment) < _MOST_VARIABLES:
            environment = {**environment, variable[0]: (variable[1], number)}
            continue
        try:
            entry = _entry(line, number, with_user, environment)
        except CrontabError as error:
            refused.append(Refused(number, str(error)))
            continue
        if number > count:
            refused.append(Refused(number, "the last line does not end with a newline, and cron does not take it"))
        else:
            entries.append(entry)
    if len(refused) > _MOST_REFUSED:
        more = f"{refused[_MOST_REFUSED - 1].why}; {len(refused) - _MOST_REFUSED} more lines are refused"
        refused[_MOST_REFUSED - 1 :] = [Refused(refused[_MOST_REFUSED - 1].line, more)]
    return entries, refused


def _variable(line: str) -> tuple[str, str] | None:
    """Return the name and value of `NAME = value`, quotes taken off, or None where the line is no such thing."""
    match = re.fullmatch(r"""(?:"([^"=]+)"|'([^'=]+)'|([^\s='"]+))\s*=\s*(.*)""", line.rstrip())
    if match is None:
        return None
    name, value = match[1] or match[2] or match[3], match[4]
    if value[:1] in {'"', "'"}:
        if len(value) < 2 or value[-1] != value[0]:
            return None
        value = value[1:-1]
    return name, value


def _entry(line: str, number: int, with_user: bool, environment: Mapping[str, tuple[str, int]]) -> Entry:
    text = line.rstrip()
    line = line.removeprefix("-")  # cronie, SUSE: do not log
    schedule: str | None
    if line.startswith("@"):
        when, _, rest = _cut(line)
        name = when[1:]
        if name != REBOOT and name not in NICKNAMES:
            raise CrontabError(f"no time that cron knows: {show(when)}")
        schedule = NICKNAMES.get(name)
    else:
        fields = re.match(r"(\S+)[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?$", line, re.DOTALL)
        if fields is None:
            raise CrontabError("neither a variable, a comment nor five times and a command")
        when, rest = " ".join(fields.groups()[:5]), fields[6] or ""
        schedule = normalise(when)
    user = ""
    if with_user:
        user, _, rest = _cut(rest)
    if not rest.strip():
        raise CrontabError("no command" if not with_user or user else "no user and no command")
    return Entry(number, text, when, schedule, user, rest, environment)


def _cut(text: str) -> tuple[str, str, str]:
    match = re.match(r"(\S*)([ \t]*)(.*)", text, re.DOTALL)
    return (match[1], match[2], match[3]) if match else (text, "", "")


# ---------------------------------------------------------------- times


def normalise(when: str) -> str | None:
    """Return five fields in numbers: names replaced, 7 as 0 (Sunday), lists kept. Raises CrontabError.

    None where cronie would choose a number at random. A leading `*` stays one: in the day fields Vixie cron
    takes `*/2` for unrestricted when it weighs one against the other.
    """
    texts = when.split()
    if any(_RANDOM.fullmatch(item) for text in texts for item in text.split(",")):
        return None
    if len(texts) != len(RANGES):
        raise CrontabError("there are not five fields")
    return " ".join(_field(text, name) for text, name in zip(texts, RANGES, strict=True))


def _field(text: str, name: FieldName) -> str:
    items: list[str] = []
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise CrontabError(f"no {name} that cron takes: {show(item)}")
        items.append(_star(match, name) if match[1] else _numbers(match, name))
    return "*" if "*" in items else ",".join(dict.fromkeys(",".join(items).split(",")))


def _star(match: re.Match[str], name: FieldName) -> str:
    low, high = RANGES[name]
    step = int(match[2] or 1)
    if step == 0:
        raise CrontabError(f"a step of zero in the {name}")
    if step == 1:
        return "*"
    return str(low) if step > high - low else f"*/{step}"


def _numbers(match: re.Match[str], name: FieldName) -> str:
    first = _number(match[3], name)
    if match[4] is None:
        return str(first % 7 if name == "weekday" else first)
    last, step = _number(match[4], name), int(match[5] or 1)
    if step == 0 or first > last:
        raise CrontabError(f"no {name} that cron takes: {show(match[0])}")
    if name == "weekday" and last == 7:
        return ",".join(str(day % 7) for day in range(first, last + 1, step))
    if first == last:
        return str(first)
    return f"{first}-{last}" + (f"/{step}" if step > 1 else "")


def _number(text: str, name: FieldName) -> int:
    low, high = RANGES[name]
    high = 7 if name == "weekday" else high
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not text.isascii() or not text.isdigit() or not low <= int(text[:4]) <= high or len(text) > 4:
        raise CrontabError(f"no {name} that cron takes: {show(text)}")
    return int(text)


# ---------------------------------------------------------------- anacron


class Period(msgspec.Struct, frozen=True):
    """A line of anacrontab(5): run every `days` days, `delay` minutes after anacron starts."""

    line: int
    text: str
    days: int
    delay: int
    id: str
    command: str
    environment: Mapping[str, tuple[str, int]]


_PERIODS = {"@daily": 1, "@weekly": 7, "@monthly": 30, "@yearly": 365, "@annually": 365}


def parse_anacrontab(text: str) -> tuple[list[Period], list[Refused]]:
    """Parse an anacrontab."""
    periods: list[Period] = []
    refused: list[Refused] = []
    environment: dict[str, tuple[str, int]] = {}
    for number, raw in numbered(text):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([0-9]{1,5}|@\w+)\s+([0-9]{1,5})\s+(\S+)\s+(.+)", line)
        if match is not None and (match[1].isdigit() or match[1] in _PERIODS):
            days = _PERIODS.get(match[1]) or int(match[1])
            periods.append(Period(number, line, days, int(match[2]), match[3], match[4], environment))
        elif variable := _variable(line):
            environment = {**environment, variable[0]: (variable[1], number)}
        else:
            refused.append(Refused(number, "neither a variable nor a period, a delay, a name and a command"))
    return periods, refused


def anacron_schedule(period: Period) -> str | None:
    """Return a crontab schedule that keeps the period: anacron promises the day, not the hour.

    The hour is the first of START_HOURS_RANGE, the minute the delay. A week's run is put on Sunday, a month's
    on the first. None for other periods.
    """
    hours = period.environment.get("START_HOURS_RANGE", ("0", 0))[0]
    match = re.match(r"\s*([0-9]{1,2})", hours)
    hour, minute = divmod((int(match[1]) if match else 0) * 60 + period.delay, 60)
    days = {1: "* * *", 7: "* * 0", 30: "1 * *", 31: "1 * *", 365: "1 1 *"}.get(period.days)
    return f"{minute} {hour % 24} {days}" if days else None
