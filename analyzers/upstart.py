"""Services of upstart: the jobs of /etc/init with their overrides, and which of them the events of a boot start.

init(5), upstart-events(7), upstart cookbook. What starts is worked out from the events that every boot emits, the
runlevel it goes to (rc-sysinit.conf's DEFAULT_RUNLEVEL, inittab's initdefault, else 2), and the jobs that it starts:
`started`, `starting`, `stopped` and `stopping` of those. An event that nothing on the disk is known to emit does not
come about. Jobs left behind on a machine that another init boots are reported where no unit and no init script
has their name, and nothing starts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analyzers import _inittab
from analyzers._evaluate import evaluate
from analyzers._init import booted, has_script, has_unit
from analyzers._reading import Reader
from analyzers._runscript import Main, environment, log_files, main_process, settings
from analyzers._script_words import UNKNOWN
from analyzers._shelltest import Files
from analyzers._upstartjob import BOOT_EVENTS, Event, Job, Stanza, holds, parse
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Service, Setting, Uses, Variable

FOLDER = "/etc/init"
_MAX_ROUNDS = 20
_MAX_JOB = 1 << 16
_MAX_JOBS = 500
_MAX_DEPTH = 5  # of directories below /etc/init
_SIGNALS = {"kill signal": "KillSignal", "reload signal": "ReloadSignal"}
_PLAIN = {"umask": "UMask", "nice": "Nice", "chroot": "RootDirectory", "kill timeout": "TimeoutStopSec",
          "oom score": "OOMScoreAdjust"}  # fmt: skip
_LIMITS = {"core": "CORE", "cpu": "CPU", "data": "DATA", "fsize": "FSIZE", "memlock": "MEMLOCK", "msgqueue": "MSGQUEUE",
           "nice": "NICE", "nofile": "NOFILE", "nproc": "NPROC", "rss": "RSS", "rtprio": "RTPRIO",
           "sigpending": "SIGPENDING", "stack": "STACK", "as": "AS"}  # fmt: skip
_TYPES = {"fork": "forking", "daemon": "forking", "stop": "simple"}


def jobs(reader: Reader) -> dict[str, Job]:
    """Return the jobs by name: the path below /etc/init without its suffix."""
    found: dict[str, Job] = {}
    for depth in range(_MAX_DEPTH):
        paths = reader.guest.glob(f"{FOLDER}/{'*/' * depth}*.conf")
        if len(paths) > _MAX_JOBS:
            reader.note(FOLDER, f"{len(paths)} jobs, of which the first {_MAX_JOBS} are read")
        for path in paths[:_MAX_JOBS]:
            name = path.removeprefix(f"{FOLDER}/").removesuffix(".conf")
            override = path.removesuffix(".conf") + ".override"
            stanzas = [(path, one) for one in parse(reader.optional(path, _MAX_JOB) or "")]
            stanzas += [(override, one) for one in parse(reader.optional(override, _MAX_JOB) or "")]
            found[name] = Job(name, tuple(stanzas))
    return found


def default_level(reader: Reader, known: dict[str, Job]) -> str:
    """Return the runlevel that rc-sysinit enters."""
    if level := _inittab.default_level(_inittab.read(reader)):
        return level
    for _, one in known["rc-sysinit"].all("env") if "rc-sysinit" in known else ():
        name, _, value = one.value.partition("=")
        if name == "DEFAULT_RUNLEVEL" and value.strip("\"'"):
            return value.strip("\"'")
    return "2"


def started(known: dict[str, Job], level: str) -> set[str]:
    """Return the names of the jobs that a boot starts."""
    running: set[str] = set()

    def happens(event: Event) -> bool:
        if event.name in ("started", "starting", "stopped", "stopping"):
            names = [event.plain[0]] if event.plain else [v for n, v, equal in event.named if n == "JOB" and equal]
            job = known.get(names[0]) if names and names[0] in running else None
            if job is None:
                return False
            ends = job.last("task") is not None
            return (ends or event.name.startswith("start")) and event.wants("RUNLEVEL", 9, level)
        if event.name == "runlevel":
            return event.wants("RUNLEVEL", 0, level)
        return event.name in BOOT_EVENTS

    for _ in range(_MAX_ROUNDS):
        before = len(running)
        for name, job in known.items():
            condition = job.start_on
            if name not in running and condition is not None and holds(condition[1].value, happens):
                running.add(name)
        if len(running) == before:
            break
    return running


def _main(reader: Reader, job: Job) -> tuple[Main, tuple[str, ...], Place]:
    """Return the job's process, its argv, and where it is said. upstart runs scripts with `/bin/sh -e -c`."""
    found = [one for one in (job.last("exec"), job.last("script")) if one is not None]
    if not found:
        path = job.stanzas[0][0] if job.stanzas else f"{FOLDER}/{job.name}.conf"
        return Main(), (), Place(path, 1)
    path, one = max(found, key=job.stanzas.index)
    variables = _known(job)
    folder = job.value("chdir") or "/"
    text = f"exec {one.value}\n" if one.name == "exec" else one.value
    first = one.line if one.name == "exec" else one.line + 1
    main = main_process(text, Files(reader.guest, folder), variables, first)
    place = Place(path, main.line if main.process.command else one.line)
    return main, main.process.command or ("/bin/sh", "-e", "-c", text.rstrip("\n")), place


def _env(job: Job) -> Iterator[tuple[str, str | None, Place]]:
    """Yield the variables of `env` with their values; None where init's own value is handed on (`env NAME`)."""
    for path, one in job.all("env"):
        name, equals, value = one.value.partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        yield name.strip(), value if equals else None, Place(path, one.line)


def _known(job: Job) -> dict[str, str]:
    """Return the variables that the process surely gets; one made of others that are not known is not known."""
    found = {"UPSTART_JOB": job.name}
    for name, value, _ in _env(job):
        if value is not None and "$" not in value:
            found[name] = value
        elif value is not None:
            expanded = evaluate(f'x="{value}"\n', found)
            found[name] = expanded.variables.get("x", UNKNOWN)
    return found


def _settings(job: Job) -> Iterator[Setting]:
    def setting(name: str, pair: tuple[str, Stanza], value: str) -> Setting:
        return Setting(name, value, Place(pair[0], pair[1].line))

    if pair := job.last("respawn"):
        yield setting("Restart", pair, "always" if not job.last("normal exit") else "on-failure")
    for stanza, name in (_PLAIN | _SIGNALS).items():
        if (pair := job.last(stanza)) and job.value(stanza):
            value = job.value(stanza)
            signal = stanza in _SIGNALS and not value.isdigit() and not value.startswith("SIG")
            yield setting(name, pair, f"SIG{value}" if signal else value)
    for limit, name in _LIMITS.items():
        if pair := job.last(f"limit {limit}"):
            soft, _, hard = pair[1].value.partition(" ")
            values = ["infinity" if v == "unlimited" else v for v in (soft, hard.strip())]
            yield setting(f"Limit{name}", pair, values[0] if values[0] == values[1] else ":".join(values))
    if pair := job.last("expect"):
        yield setting("Type", pair, _TYPES.get(job.value("expect"), "simple"))


def _service(reader: Reader, job: Job, enabled: bool) -> Iterator[Finding]:
    task = job.last("task") is not None
    main, command, place = _main(reader, job)
    if main.why and enabled and not task:  # what nothing starts is no blind spot, nor what only sets up the machine
        reader.note(place.path, main.why, main.line)
    if not command:  # an abstract job: a state for others to wait for
        return
    variables = {v.name: v for v in environment(reader, main, place, "/")}
    variables |= {name: Variable(name, value, where) for name, value, where in _env(job) if value is not None}
    told = [*_settings(job), *settings(main, place)]
    if enabled and (condition := job.start_on):
        told.append(Setting("WantedBy", " ".join(condition[1].value.split()), Place(condition[0], condition[1].line)))
    elif (manual := job.last("manual")) and job.start_on is None:
        told.append(Setting("LoadState", "manual", Place(manual[0], manual[1].line)))
    pre = [one for one in (job.last("pre-start exec"),) if one is not None]
    yield Service(
        id=job.name,
        manager="upstart",
        enabled=enabled,
        unit=job.stanzas[0][0],
        type="oneshot" if task else _TYPES.get(job.value("expect"), "simple"),
        description=job.value("description"),
        command=command,
        before=tuple(("/bin/sh", "-e", "-c", f"exec {one.value}") for _, one in pre),
        user=job.value("setuid") or main.process.user or "root",
        group=job.value("setgid") or main.process.group,
        working_directory=job.value("chdir") or main.process.directory,
        environment=tuple(variables[name] for name in sorted(variables)),
        settings=tuple(sorted(told, key=lambda s: s.name)),
        after=tuple(sorted(_awaited(job))),
        seen_in=place,
    )
    yield from log_files(job.name, main, place)
    for file in main.outcome.sourced if main.outcome is not None else ():
        yield Uses(seen_in=place, service=job.name, path=file, role="config", says="variables of its script")


def _awaited(job: Job) -> set[str]:
    """Return the jobs that the start condition waits for."""
    found: set[str] = set()

    def note(event: Event) -> bool:
        if event.name in ("started", "stopped"):
            found.update(event.plain[:1] or [v for n, v, equal in event.named if n == "JOB" and equal])
        return True

    condition = job.start_on
    holds(condition[1].value if condition else "", note)
    return found - {job.name}


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield a service for each job that runs something."""
    reader = Reader(guest, "upstart")
    known = jobs(reader)
    init = booted(guest) if known else None
    runs = init is not None and init.name == "upstart"
    running = started(known, default_level(reader, known)) if runs else set()
    for name in sorted(known):
        if runs or not (has_unit(guest, name) or has_script(guest, name)):
            yield from _service(reader, known[name], name in running)
    yield from reader.unread


ANALYZER = Analyzer(
    name="upstart",
    says="jobs of upstart, with overrides, and the events that start them",
    reads=(FOLDER, "/etc/default", "/etc/inittab", "/sbin/init"),
    analyze=analyze,
    source="init(5), upstart-events(7), runlevel(7)",
)
