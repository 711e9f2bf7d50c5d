"""Jobs of cron: the system's crontab and its folder, users' crontabs, and the hourly-to-monthly folders.

A job is enabled where the boot starts a cron daemon that takes the line. Lines that do nothing where systemd
runs (`[ -d /run/systemd/system ] || …`: Debian's packages bring timers of their own) are reported, and not enabled
where systemd boots the machine. The folders are no jobs themselves: each script in one is, at the time of the
`run-parts` line that names the folder, or of anacron's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from analyzers._cron_rules import Rules
from analyzers._crontab import Entry, anacron_schedule, parse, parse_anacrontab
from analyzers._reading import Reader
from analyzers._shell import idle_under_systemd, program, run_parts, script_idle_under_systemd, shell_text
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Job, Place, Variable

FOLDERS = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/etc/cron.yearly")
SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron", "/etc/crontabs")
_NO_TABLES = re.compile(r"[.#].*|.*~|cron\.(update|hostname)|tmp\..*|new")  # what lies in a spool beside them
_ANACRONTAB = "/etc/anacrontab"

Found = tuple[str, Job]
"""A job and the name its id is made of."""


class Cron:
    """The jobs of one guest. `folders` gathers which folders are run, by the line that runs them."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.reader = Reader(guest, "cron")
        self.rules = Rules(guest, self.reader)
        self.folders: dict[str, Job] = {}

    def table(self, path: str, user: str, taken: bool) -> Iterator[tuple[Entry, Job]]:
        """Yield the jobs of one crontab; `user` is empty where the lines name one, `taken` false where cron does not.

        Debian's cron passes over a whole file for one bad line (its load_user), cronie over the line.
        """
        text = self.reader.text(path)
        if text is None:
            return
        entries, refused = parse(text, with_user=not user)
        if text.startswith("#!") and not entries:
            self.reader.note(path, "it is a script, and no table of jobs")
            return
        whole = bool(refused) and self.rules.debian
        for line in refused:
            more = "; Debian's cron passes over the whole file for it" if whole else ""
            self.reader.note(path, line.why + more, line.line)
        for entry in entries:
            owner = entry.user or user
            known = self.rules.knows(owner)
            if not known:
                self.reader.note(path, f"no account {owner} in /etc/passwd, and cron passes over its job", entry.line)
            job = self._job(path, entry, owner, self.rules.runs and taken and not whole and known)
            folder = run_parts(entry.command)
            if folder is None:
                yield entry, job
            else:
                self.folders.setdefault(folder, job)

    def _job(self, path: str, entry: Entry, user: str, enabled: bool) -> Job:
        zone = entry.environment.get("CRON_TZ", ("", 0))[0] if self.rules.knows_zones else ""
        variables = (Variable(name, value, Place(path, line)) for name, (value, line) in entry.environment.items())
        return Job(  # noqa: S604  # a field of the finding: nothing is run
            id="",
            manager="cron",
            enabled=enabled and not (self.rules.systemd and idle_under_systemd(entry.command)),
            schedule=entry.schedule,
            original=entry.text,
            command=(shell_text(entry.command),),
            shell=True,
            user=user,
            environment=tuple(sorted(variables)),
            at_boot=entry.at_boot,
            timezone=zone,
            seen_in=Place(path, entry.line),
        )

    def system_tables(self) -> Iterator[Found]:
        """Yield the jobs of /etc/crontab and /etc/cron.d."""
        if self.guest.lstat("/etc/crontab"):
            for entry, job in self.table("/etc/crontab", "", self.rules.takes_table("/etc/crontab")):
                yield f"crontab-{_slug(program(entry.command))}", job
        for path in (f"/etc/cron.d/{name}" for name in self.guest.listdir("/etc/cron.d")):
            if not self.guest.is_dir(path) and self.rules.takes_name(path):
                name = _slug(path.rpartition("/")[2])
                found = list(self.table(path, "", self.rules.takes_table(path)))
                for entry, job in found:
                    yield (name if len(found) == 1 else f"{name}-{_slug(program(entry.command))}"), job

    def user_tables(self) -> Iterator[Found]:
        """Yield the jobs of users' crontabs."""
        seen: set[str] = set()
        for spool in SPOOLS:
            for user in self.guest.listdir(spool):
                path = self.guest.resolve(f"{spool}/{user}")
                if path is None or path in seen or not self.guest.is_file(path) or _NO_TABLES.fullmatch(user):
                    continue
                seen.add(path)
                busybox = self.guest.resolve(spool) == "/etc/crontabs"  # its crond asks for neither owner nor mode
                for entry, job in self.table(path, user, busybox or self.rules.takes_table(path, user)):
                    yield f"{_slug(user)}-{_slug(program(entry.command))}", job

    def anacron(self) -> Iterator[Found]:
        """Yield anacron's jobs; the folders it runs are its own, whatever a crontab says of them."""
        if not self.guest.is_file("/usr/sbin/anacron"):
            return
        periods, refused = parse_anacrontab(self.reader.optional(_ANACRONTAB) or "")
        for line in refused:
            self.reader.note(_ANACRONTAB, line.why, line.line)
        for period in periods:
            entry = Entry(
                line=period.line,
                text=period.text,
                when="",
                schedule=anacron_schedule(period),
                user="root",
                command=period.command,
                environment=period.environment,
            )
            job = self._job(_ANACRONTAB, entry, "root", self.rules.runs_anacron)
            folder = run_parts(period.command)
            if folder is None:
                yield _slug(period.id), job
            else:
                self.folders[folder] = job

    def folder_jobs(self) -> Iterator[Found]:
        """Yield a job for each script that run-parts would start."""
        for folder in sorted({*self.folders, *FOLDERS}):
            for name in self.guest.listdir(folder):
                path = f"{folder}/{name}"
                node = self.guest.stat(path)
                if node is None or node.kind != "file" or not self.rules.takes_script(path, node):
                    continue
                line = self.folders.get(folder)
                if line is not None or not self._is_run_by_a_timer(folder):
                    yield _slug(name), self._script(path, line or _run_by_nothing(folder))

    def _is_run_by_a_timer(self, folder: str) -> bool:
        """Tell whether a unit of systemd-cron runs the folder (`cron-daily.timer`); that is a job of its own."""
        return f"{folder.rpartition('/')[2].replace('.', '-')}.timer" in self.rules.started

    def _script(self, path: str, line: Job) -> Job:
        idle = self.rules.systemd and script_idle_under_systemd(self.reader.text(path) or "")
        return msgspec.structs.replace(
            line, enabled=line.enabled and not idle, command=(path,), shell=False, seen_in=Place(path, 1)
        )


def _run_by_nothing(folder: str) -> Job:
    """Return what stands for the line that would run a folder: packages leave scripts there, cron or no cron."""
    return Job(
        id="", manager="cron", enabled=False, schedule=None, original=folder, command=(), seen_in=Place(folder)
    )  # fmt: skip


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]+", "-", text).strip("-.") or "job"


def _named(found: Iterable[Found]) -> Iterator[Job]:
    """Yield the jobs with their ids; of several that would share one the later ones get -2, -3, ….

    They are told apart by what they do and not by their line, so that moving a line renames nothing.
    """
    groups: dict[str, list[Job]] = defaultdict(list)
    for name, job in found:
        groups[name].append(job)
    taken = set(groups)
    for name in sorted(groups):
        same = sorted(groups[name], key=lambda j: (j.seen_in.path, j.command, j.original, j.user, j.seen_in.line or 0))
        yield msgspec.structs.replace(same[0], id=name)
        number = 2
        for job in same[1:]:
            while f"{name}-{number}" in taken:
                number += 1
            taken.add(f"{name}-{number}")
            yield msgspec.structs.replace(job, id=f"{name}-{number}")


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield cron's jobs."""
    cron = Cron(guest)
    found = [*cron.system_tables(), *cron.user_tables(), *cron.anacron()]
    yield from _named([*found, *cron.folder_jobs()])
    yield from cron.reader.unread


ANALYZER = Analyzer(
    name="cron",
    says="jobs of cron and anacron, of the system and of users",
    reads=(
        "/etc/crontab", "/etc/anacrontab", "/etc/cron.d", "/etc/crontabs", *FOLDERS, "/var/spool/cron",
        "/etc/default/cron", "/etc/passwd", "/etc/nsswitch.conf", "/etc/inittab", "/usr/sbin/cron", "/usr/sbin/crond",
    ),
    analyze=analyze,
    source="crontab(5), cron(8), anacrontab(5), run-parts(8)",
)  # fmt: skip
