"""Reading one script of OpenRC: what it starts, as whom, what it needs (openrc-run(8), service-script-guide.md).

openrc-run reads conf.d, then rc.conf, then the script, and calls start_pre and start (sh/openrc-run.sh). Its own
start, where the script has none, hands `command`, `command_args` and their like to start-stop-daemon or, with
`supervisor=supervise-daemon`, to that (sh/start-stop-daemon.sh, sh/supervise-daemon.sh).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from analyzers._daemon import Daemon, start_stop_daemon
from analyzers._evaluate import Outcome, Ran, call, evaluate, words
from analyzers._reading import Reader, inside
from analyzers._script_words import UNKNOWN
from analyzers._shelltest import Files
from migrate.guest.protocol import Guest
from migrate.model import Place, Service, Setting, Unread, Uses, Variable

Role = Literal["runtime", "cache", "log", "data", "config"]

INIT_D, CONF_D = "/etc/init.d", "/etc/conf.d"
SHARED = ("/etc/rc.conf",)
RELATIONS = ("need", "want", "use", "after", "provide")

_HEAD = re.compile(r"#!\s*\S*(?:/openrc-run|/runscript)\s*(?:\n|$)")
_OWN = "This file is part of OpenRC."
_MAX_SCRIPT = 1 << 18
_MAX_CONFS = 20
_LIMITS = {"c": "LimitCORE", "d": "LimitDATA", "f": "LimitFSIZE", "l": "LimitMEMLOCK", "m": "LimitRSS",
           "n": "LimitNOFILE", "p": "LimitNPROC", "s": "LimitSTACK", "t": "LimitCPU", "u": "LimitNPROC",
           "v": "LimitAS"}  # fmt: skip
_ROLES: tuple[tuple[str, Role], ...] = (
    ("/run", "runtime"), ("/var/run", "runtime"), ("/var/cache", "cache"), ("/var/log", "log"), ("/var/lib", "data"),
    ("/var/spool", "data"), ("/srv", "data"), ("/etc", "config"),
)  # fmt: skip


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A script that has been read: the service it is, what it uses, and its words for others, each with its place."""

    service: Service
    uses: tuple[Uses, ...]
    unread: tuple[Unread, ...]
    relations: dict[str, tuple[tuple[str, Place], ...]]
    own: bool


def is_script(text: str) -> bool:
    """Tell whether a file is a script of OpenRC, or of Gentoo's baselayout before it."""
    return _HEAD.match(text) is not None


class _Reading:
    """One script with the files that are read before it."""

    def __init__(self, reader: Reader, name: str, path: str, text: str) -> None:
        self.reader, self.name, self.path, self.text = reader, name, path, text
        self.files = Files(reader.guest)
        self.confs: list[tuple[str, Outcome]] = []
        given = {"RC_SVCNAME": name, "SVCNAME": name, "RC_SERVICE": path, "RC_CMD": "start"}
        before: Outcome | None = None
        for conf in self.conf_files():
            before = evaluate(reader.text(conf, _MAX_SCRIPT) or "", given, self.files, True, before)
            self.confs.append((conf, before))
        self.script = evaluate(text, given, self.files, True, before)
        if self.script.broken is not None:
            reader.note(path, "the script makes no sense from here on", self.script.broken)
        self.ready = call(self.script, "start_pre", self.files)  # the state that start finds

    def conf_files(self) -> Iterator[str]:
        base = self.name.partition(".")[0]
        for name in dict.fromkeys((base, self.name)):
            if self.reader.guest.is_file(f"{CONF_D}/{name}"):
                yield f"{CONF_D}/{name}"
        for path in (*SHARED, *self.reader.guest.glob("/etc/rc.conf.d/*.conf")[:_MAX_CONFS]):
            if self.reader.guest.is_file(path):
                yield path

    def place(self, name: str) -> Place:
        """Return where a variable was last set, or the script's first line."""
        for path, outcome in ((self.path, self.ready), (self.path, self.script), *reversed(self.confs)):
            if name in outcome.lines:
                return Place(path, outcome.lines[name])
        return Place(self.path, 1)

    def get(self, name: str) -> str:
        """Return a variable's value at the start of the daemon; empty where it has none or it is not known."""
        return self.ready.variables.get(name, "").strip()

    def yes(self, name: str) -> bool:
        return self.get(name).lower() in ("yes", "true", "on", "y", "t", "1")

    def argv(self, *names: str) -> list[str] | None:
        """Return the words of these variables in a row; None where one of them is not known."""
        found: list[str] = []
        for name in names:
            if name in self.ready.unsure:
                return None
            for word in words(self.get(name), self.ready):
                if not word.whole:
                    return None
                found.append(word.text)
        return found

    # ---------------------------------------------------------------- the daemon

    @property
    def supervised(self) -> bool:
        return self.get("supervisor") == "supervise-daemon"

    def daemon(self) -> tuple[Daemon | None, Place, bool]:
        """Return what is started, where that is said, and whether it is supervised; None where it is not known."""
        if "start" not in self.script.bodies:
            return self.default(self.supervised)
        ran = call(self.ready, "start", self.files).commands
        names = {r.command.name for r in ran}
        if names & {"ssd_start", "default_start", "supervise_start"}:
            return self.default(self.supervised or "supervise_start" in names)
        started = [(r, d) for r in ran if (d := _started(r)) is not None]
        if len({(d.command, *sorted(d.options.items())) for _, d in started}) == 1:
            place = Place(self.path, started[0][0].command.line)
            return started[0][1], place, started[0][0].command.name == "supervise-daemon"
        for r in ran:
            if r.command.name in ("start-stop-daemon", "supervise-daemon") and _starts(r):
                self.reader.note(self.path, "what start() runs is known only when it runs", r.command.line)
                break
        return None, Place(self.path, 1), False

    def default(self, supervised: bool) -> tuple[Daemon | None, Place, bool]:
        place = self.place("command")
        if not self.get("command") and "command" not in self.ready.unsure:
            return None, place, False
        last = "command_args_foreground" if supervised else "command_args_background"
        command = self.argv("command", "command_args", last)
        extra = "supervise_daemon_args" if supervised and "supervise_daemon_args" in self.ready.variables else ""
        options = self.argv(extra or "start_stop_daemon_args")
        if not command:
            self.reader.note(place.path, "the command is known only when the script runs", place.line)
            return None, place, supervised
        if options is None:
            self.reader.note(self.path, "what start_stop_daemon_args says is known only when the script runs")
        daemon = start_stop_daemon(options or [], "supervise" if supervised else "openrc") or Daemon()
        told = dict(daemon.options)
        for name, variable in (("user", "command_user"), ("chdir", "directory"), ("pidfile", "pidfile"),
                               ("chroot", "chroot"), ("umask", "umask"), ("stdout", "output_log"),
                               ("stderr", "error_log")):  # fmt: skip
            if value := self.get(variable):
                told[name] = value
        if self.yes("command_background"):
            told["background"] = ""
        return Daemon(command=tuple(command), options=told, environment=daemon.environment), place, supervised

    # ---------------------------------------------------------------- findings

    def service(self) -> Service:
        daemon, place, supervised = self.daemon()
        settings = [*self.settings(daemon or Daemon(), place), *self.limits()]
        if supervised:
            settings.append(Setting("Restart", "always", self.place("supervisor")))
        user, group = (daemon or Daemon()).user
        told = daemon.environment if daemon else ()
        variables = {name: Variable(name, value, place) for name, value in told}
        for name in sorted(self.ready.exported & set(self.ready.variables)):
            variables.setdefault(name, Variable(name, self.ready.variables[name], self.place(name)))
        simple = supervised or (daemon is not None and "background" in daemon.options)
        return Service(
            id=self.name,
            manager="openrc",
            enabled=False,
            unit=self.path,
            type="simple" if simple else "forking",
            description=self.get("description") or self.get("name"),
            command=daemon.command if daemon else (self.path, "start"),
            user=user or "root",
            group=group,
            working_directory=daemon.options.get("chdir", "") if daemon else "",
            environment=tuple(variables[name] for name in sorted(variables)),
            settings=tuple(sorted(settings, key=lambda s: s.name)),
            seen_in=place,
        )

    def settings(self, daemon: Daemon, place: Place) -> Iterator[Setting]:
        """Yield what the starting program was told, under systemd's names."""
        for option, name in (("pidfile", "PIDFile"), ("umask", "UMask"), ("chroot", "RootDirectory"),
                             ("nicelevel", "Nice"), ("capabilities", "AmbientCapabilities")):  # fmt: skip
            if value := daemon.options.get(option):
                yield Setting(name, value, self.place(option) if option in self.ready.variables else place)
        for option, name, variable in (
            ("stdout", "StandardOutput", "output_log"),
            ("stderr", "StandardError", "error_log"),
        ):
            if value := daemon.options.get(option):
                yield Setting(name, f"append:{value}", self.place(variable) if self.get(variable) else place)
        if signal := self.get("stopsig"):
            full = signal if signal.startswith("SIG") or signal.isdigit() else f"SIG{signal}"
            yield Setting("KillSignal", full, self.place("stopsig"))

    def limits(self) -> Iterator[Setting]:
        """Yield rc_ulimit, the options of ulimit(1)."""
        told = self.get("rc_ulimit").split()
        for option, value in zip(told[::2], told[1::2], strict=False):
            if re.fullmatch(r"-[HS]?[a-z]", option) and option[-1] in _LIMITS:
                yield Setting(_LIMITS[option[-1]], value, self.place("rc_ulimit"))

    def uses(self) -> Iterator[Uses]:
        """Yield the paths that the script makes, and those it will not start without."""

        def use(place: Place, path: str, role: Role, says: str) -> Uses:
            return Uses(seen_in=place, service=self.name, path=path, role=role, says=says)

        for name in ("required_files", "required_dirs"):
            for path in self.argv(name) or []:
                if path.startswith("/"):
                    yield use(self.place(name), path, "config", f"{name} of {self.path}")
        for ran in self.ready.commands:
            for path in _checked(ran) if ran.command.name == "checkpath" and ran.sure else ():
                role = next((role for top, role in _ROLES if inside(path, top) and path != top), None)
                if role is not None:
                    yield use(Place(self.path, ran.command.line), path, role, "checkpath makes it at each start")
        for path, _ in self.confs:
            if inside(path, CONF_D):
                yield use(Place(path), path, "config", "variables of its script")

    def relations(self) -> dict[str, tuple[tuple[str, Place], ...]]:
        """Return what depend() says, and rc_need and its kin of conf.d and rc.conf."""
        found: dict[str, dict[str, Place]] = {relation: {} for relation in RELATIONS}
        for ran in call(self.script, "depend", self.files).commands:
            if ran.command.name in found and ran.sure:
                for word in ran.command.words[1:]:
                    if word.whole and not word.text.startswith(("!", "-", "*")):
                        found[ran.command.name].setdefault(word.text, Place(self.path, ran.command.line))
        for relation, names in found.items():
            for variable in (f"rc_{relation}", f"rc_{re.sub(r'[^a-zA-Z0-9]', '_', self.name)}_{relation}"):
                for name in self.script.variables.get(variable, "").split():
                    if name.startswith("!"):
                        names.pop(name[1:], None)
                    else:
                        names.setdefault(name, self.place(variable))
        return {relation: tuple(names.items()) for relation, names in found.items()}


def _starts(ran: Ran) -> bool:
    return any(word.text in ("--start", "-S") for word in ran.command.words)


def _started(ran: Ran) -> Daemon | None:
    """Return what a command starts where its argv is known; of its options, those that are."""
    command = ran.command
    if command.name not in ("start-stop-daemon", "supervise-daemon") or not _starts(ran):
        return None
    texts = [word.text for word in command.words[1:]]
    supervised = command.name == "supervise-daemon"
    if supervised and texts and not texts[0].startswith("-"):  # the service's name
        texts = texts[1:]
    daemon = start_stop_daemon(texts, "supervise" if supervised else "openrc")
    if daemon is None or not daemon.command or any(UNKNOWN in word for word in daemon.command):
        return None
    argv = daemon.command
    if supervised and argv[1:2] == ("--",):
        argv = (argv[0], *argv[2:])
    options = {name: value for name, value in daemon.options.items() if UNKNOWN not in value}
    environment = tuple((name, value) for name, value in daemon.environment if UNKNOWN not in name + value)
    return Daemon(command=argv, options=options, environment=environment)


def _checked(ran: Ran) -> Iterator[str]:
    """Yield the paths of checkpath(8) as openrc-run has it: all that is no option and no option's value."""
    waiting = list(reversed(ran.command.words[1:]))
    while waiting:
        word = waiting.pop()
        if word.text in ("-m", "--mode", "-o", "--owner"):
            waiting = waiting[:-1]
        elif word.whole and word.text.startswith("/"):
            yield word.text.rstrip("/") or "/"


def read_script(guest: Guest, name: str, path: str, text: str) -> Script:
    """Return what a script of OpenRC says; what only a run can tell is noted and left out."""
    reader = Reader(guest, "openrc")
    reading = _Reading(reader, name, path, text)
    relations = reading.relations()
    service = msgspec.structs.replace(
        reading.service(),
        after=tuple(sorted({one for relation in ("need", "want", "use", "after") for one, _ in relations[relation]})),
        requires=tuple(sorted({one for one, _ in relations["need"]})),
        wants=tuple(sorted({one for one, _ in relations["want"]})),
        aliases=tuple(sorted({one for one, _ in relations["provide"]} - {name})),
    )
    uses = tuple(reading.uses())
    return Script(service=service, uses=uses, unread=tuple(reader.unread), relations=relations, own=_OWN in text)
