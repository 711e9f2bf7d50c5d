"""What a service or job calls: its own command line and, through shell scripts nobody packaged, all that those call."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from analyzers._owners import Owners
from analyzers._reading import Reader, absolute
from analyzers._script import Script, Simple, parse
from analyzers._script_words import Word
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.model import EnvironmentFile, Finding, Job, Place, Service, Variable
from migrate.services import by_id

# systemd.exec(5), EXECUTION ENVIRONMENT; crontab(5)
SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CRON_PATH = "/usr/bin:/bin"

_MAX_SCRIPTS = 60  # for one service
_MAX_DEPTH = 6
_MAX_SCRIPT = 256 << 10  # bytes
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "rbash", "busybox"})

# Commands of the shell itself (XCU 2.14 and bash(1)), and those that every shell here has built in.
BUILTINS = frozenset({
    ".", ":", "[", "[[", "alias", "bg", "break", "builtin", "caller", "cd", "command", "continue", "declare", "dirs",
    "disown", "echo", "enable", "eval", "exec", "exit", "export", "false", "fc", "fg", "for", "getopts", "hash", "help",
    "history", "jobs", "kill", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read",
    "readarray", "readonly", "return", "select", "set", "shift", "shopt", "source", "suspend", "test", "times", "trap",
    "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait",
})  # fmt: skip

_DIRNAME = re.compile(
    r"""\$\(\s*dirname\s+(?:--\s+)?"?\$(?:0|\{0\}|BASH_SOURCE|\{BASH_SOURCE(?:\[0\])?\})"?\s*\)|\$\{0%/\*\}"""
)

# Programs that run another: options of theirs that take a word, and how many words come before the command.
_WRAPPERS: Mapping[str, tuple[str, int]] = {
    "exec": ("-a", 0), "command": ("", 0), "builtin": ("", 0), "nohup": ("", 0), "setsid": ("", 0), "chronic": ("", 0),
    "time": ("-f -o", 0), "nice": ("-n --adjustment", 0), "ionice": ("-c -n --class --classdata", 0),
    "timeout": ("-k -s --kill-after --signal", 1), "flock": ("-w -E --timeout --conflict-exit-code", 1),
    "env": ("-u -C --unset --chdir", 0), "sudo": ("-u -g -h -p -C -T -r -t -U -D --user --group", 0),
    "stdbuf": ("-i -o -e", 0), "xargs": ("-a -d -E -I -L -n -P -s", 0), "runuser": ("-u -g -G --user --group", 0),
    "systemd-cat": ("-t -p --identifier --priority", 0), "chpst": ("-u -U -b -e -l -L -m -o -n", 0), "chrt": ("-p", 1),
    "taskset": ("", 1), "setpriv": ("", 0), "gosu": ("", 1), "su-exec": ("", 1), "setuidgid": ("", 1),
    "unbuffer": ("", 0),
    "catchsegv": ("", 0), "cronic": ("", 0), "tini": ("", 0), "dumb-init": ("", 0), "ts": ("", 0),
}  # fmt: skip


class Runner(msgspec.Struct, frozen=True):
    """What is run as whom: a service or job, a timer's job with the user and environment of its service."""

    ident: str
    place: Place
    commands: tuple[tuple[str, ...], ...]
    shell: bool
    user: str
    directory: str
    environment: tuple[Variable, ...]
    variables: Mapping[str, str]
    environment_files: tuple[EnvironmentFile, ...]
    path: str


class Call(msgspec.Struct, frozen=True):
    """One command: `program` is the guest's path of it, or nothing where none was found; `place` where it stands.

    `directory` is the working directory as far as `cd` with a known path says it.
    """

    command: Simple
    program: str
    place: Place
    directory: str

    @property
    def name(self) -> str:
        """What it is called by, without folders."""
        return self.command.name.rpartition("/")[2]


class Trace(msgspec.Struct):
    """All that one runner calls."""

    calls: list[Call] = []
    scripts: dict[str, Place] = {}
    sourced: list[tuple[str, Place, frozenset[str]]] = []
    references: set[str] = set()


def runners(findings: Sequence[Finding]) -> list[Runner]:
    """Return the services and jobs among the findings as runners."""
    services = by_id(finding for finding in findings if isinstance(finding, Service))
    found = [_of_service(service) for service in services.values()]
    for job in findings:
        if not isinstance(job, Job):
            continue
        if (service := services.get(job.service)) is not None:
            base = _of_service(service)
            found.append(msgspec.structs.replace(base, ident=job.id))
            continue
        variables = {variable.name: variable.value for variable in job.environment}
        path = variables.get("PATH", CRON_PATH)
        found.append(
            Runner(job.id, job.seen_in, (job.command,), job.shell, job.user, "/", job.environment, variables, (), path)
        )
    return found


def _of_service(service: Service) -> Runner:
    variables = {variable.name: variable.value for variable in service.environment}
    return Runner(
        ident=service.id,
        place=service.seen_in,
        commands=tuple(command for command in (*service.before, service.command) if command),
        shell=False,
        user=service.user,
        directory=service.working_directory or "/",
        environment=service.environment,
        variables=variables,
        environment_files=service.environment_files,
        path=variables.get("PATH", SYSTEMD_PATH),
    )


def unwrap(command: Simple) -> Iterator[Simple | str]:
    """Yield the command, then those it hands its words to (`nice -n 5 X`), and shell text (`sh -c '…'`) as str."""
    words = command.words
    while words:
        yield msgspec.structs.replace(command, words=words)
        name = words[0].text.rpartition("/")[2]
        texts = [word.text for word in words]
        if script := _shell_text(name, words):
            yield script.text
            return
        if name == "eval":
            yield " ".join(texts[1:])
            return
        if name == "trap":
            yield from texts[1:2] if len(texts) > 2 else ()
            return
        if name == "find":
            yield from _found(command, words)
            return
        if name == "start-stop-daemon":
            at = next((i for i, text in enumerate(texts) if text in ("--exec", "-x", "--startas", "-a")), len(texts))
            words = words[at + 1 : at + 2] + words[texts.index("--") + 1 if "--" in texts else len(texts) :]
            continue
        if name not in _WRAPPERS:
            return
        words = _behind(words, *_WRAPPERS[name])


def _shell_text(name: str, words: tuple[Word, ...]) -> Word | None:
    """Return the text that `sh -c`, `su -c` and `flock FILE -c` hand to a shell, or None."""
    texts = [word.text for word in words]
    at = 1
    if name == "flock":
        rest = _behind(words, *_WRAPPERS[name])
        return rest[1] if len(rest) > 1 and rest[0].text in ("-c", "--command") else None
    if name == "su" or (name == "runuser" and "-u" not in texts):
        at = next((i for i, text in enumerate(texts) if text in ("-c", "--command")), len(texts)) + 1
        return words[at] if at < len(words) else None
    while name in _SHELLS and at < len(texts) and texts[at].startswith(("-", "+")):
        if re.fullmatch(r"-[a-zA-Z]*c", texts[at]):
            behind = words[at + 1 :]
            return behind[1] if len(behind) > 1 and behind[0].text == "--" else behind[0] if behind else None
        at += 2 if texts[at] in ("-o", "-O", "+o", "+O", "--rcfile", "--init-file") else 1
    return None


def _found(command: Simple, words: tuple[Word, ...]) -> Iterator[Simple]:
    """`find … -exec COMMAND ;`"""
    for start, word in enumerate(words):
        if word.text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((i for i in range(start, len(words)) if words[i].text in (";", "+")), len(words))
            yield msgspec.structs.replace(command, words=words[start + 1 : end])


def _behind(words: tuple[Word, ...], valued: str, before: int) -> tuple[Word, ...]:
    """Return the words behind a wrapper's own: its options, NAME=VALUE, and `before` words more."""
    at = 1
    options = valued.split()
    while at < len(words):
        text = words[at].text
        if text == "--":
            at += 1
            break
        if text.startswith("-") and len(text) > 1:
            at += 2 if text in options else 1
        elif re.match(r"[A-Za-z_]\w*=", text):
            at += 1
        else:
            break
    return words[at + before :]


class Tracer:
    """Follows what runners call, on one guest."""

    def __init__(self, guest: Guest, reader: Reader, owners: Owners) -> None:
        self.guest, self.reader, self.owners = guest, reader, owners

    def trace(self, runner: Runner) -> Trace:
        """Return everything the runner is seen to call."""
        trace = Trace([], {}, [], set())
        for words in runner.commands:
            if runner.shell:
                line = runner.place.line or 1
                script = parse(" ".join(words), runner.variables, line)
                self._script(trace, runner, script, lambda _: runner.place, 0)
            else:
                simple = Simple(runner.place.line or 1, tuple(Word(word) for word in words))
                self._command(trace, runner, simple, runner.place, frozenset(), 0)
        return trace

    def _script(
        self, trace: Trace, runner: Runner, script: Script, place_of: Callable[[int], Place], depth: int
    ) -> None:
        trace.references |= script.references
        for command in script.commands:
            place = place_of(command.line)
            self._command(trace, runner, command, place, script.functions, depth, script.references)
            if command.name == "cd" and len(command.words) == 2 and command.words[1].whole:
                folder = absolute(command.words[1].text, runner.directory)
                runner = msgspec.structs.replace(runner, directory=folder)

    def _command(
        self,
        trace: Trace,
        runner: Runner,
        command: Simple,
        place: Place,
        functions: frozenset[str],
        depth: int,
        references: frozenset[str] = frozenset(),
    ) -> None:
        if not command.words and (command.outputs or command.inputs):
            trace.calls.append(Call(command, "", place, runner.directory))
        for part in unwrap(command):
            if isinstance(part, str):
                if depth < _MAX_DEPTH:
                    self._script(trace, runner, parse(part, runner.variables), lambda _: place, depth + 1)
                continue
            program = self.find(part.name, runner) if part.name not in functions else ""
            trace.calls.append(Call(part, program, place, runner.directory))
            if part.name in (".", "source") and len(part.words) > 1:
                path = absolute(part.words[1].text, runner.directory)
                if part.words[1].whole and self.guest.is_file(path):
                    trace.sourced.append((path, place, references))
            for path in self._scripts_in(part, program, runner):
                self._file(trace, runner, path, place, depth)

    def _scripts_in(self, command: Simple, program: str, runner: Runner) -> Iterator[str]:
        """Yield the scripts a command runs: itself, `sh FILE`, and what is in the folder of `run-parts`."""
        name = command.name.rpartition("/")[2]
        if program:
            yield program
        for word in command.words[1:] if name in (*_SHELLS, "run-parts") else ():
            path = absolute(word.text, runner.directory)
            if not word.whole or word.text.startswith("-"):
                continue
            if name == "run-parts" and self.guest.is_dir(path):
                yield from (f"{path}/{entry}" for entry in self.guest.listdir(path) if re.fullmatch(r"[\w-]+", entry))
            elif name != "run-parts" and self.guest.is_file(path):
                yield path
            return

    def find(self, name: str, runner: Runner) -> str:
        """Return the guest's path of a program, or nothing: shell built-ins, functions, what is not there."""
        if not name or (name in BUILTINS and "/" not in name):
            return ""
        if "/" in name:
            path = absolute(name, runner.directory)
            return path if self.guest.is_file(path) else ""
        for folder in runner.path.split(":"):
            path = absolute(name, folder or runner.directory)
            if self.guest.is_file(path):
                return path
        return ""

    def _file(self, trace: Trace, runner: Runner, path: str, place: Place, depth: int) -> None:
        """Follow a shell script that no package owns; packaged ones have their package's dependencies."""
        real = self.guest.resolve(path)
        if real is None or real in trace.scripts or self.owners.own(real) is not None:
            return
        if depth >= _MAX_DEPTH or len(trace.scripts) >= _MAX_SCRIPTS:
            return
        if posixpath.basename(interpreter(self.head(real))) not in _SHELLS:
            return
        trace.scripts[real] = place
        text = self.reader.text(real, _MAX_SCRIPT)
        if text is not None:
            script = parse(with_own_folder(text, posixpath.dirname(path)), runner.variables)
            if script.broken:
                self.reader.note(real, "the shell script could not be read from here on", script.broken)
            self._script(trace, runner, script, lambda line: Place(real, line), depth + 1)

    def head(self, path: str) -> str:
        """Return the first line of a file, at most 256 bytes, without a note where it cannot be read."""
        entry = self.guest.stat(path)
        if entry is None or entry.kind != "file" or entry.size < 3:
            return ""
        try:
            data = self.guest.read(path, 256)
        except GuestFileError:
            return ""
        return data.split(b"\n", 1)[0].decode("utf-8", "surrogateescape")


def with_own_folder(text: str, folder: str) -> str:
    """Put the script's folder where a script asks for it: `$(dirname "$0")`, also in `$(cd … && pwd)`.

    Lines stay where they are. A folder whose name a shell would read otherwise is not put in.
    """
    if not re.fullmatch(r"[\w./-]+", folder):
        return text
    text = _DIRNAME.sub(folder, text)
    return re.sub(
        rf"""\$\(\s*cd\s+(?:--\s+)?"?{re.escape(folder)}"?\s*(?:>\S+\s*)?(?:&&|;)\s*pwd(?:\s+-P)?\s*\)""", folder, text
    )


def interpreter(line: str) -> str:
    """Return the program that a `#!` line names, through `env`; nothing where the line is none.

    >>> interpreter("#!/usr/bin/env -S python3 -u")
    'python3'
    """
    if not line.startswith("#!"):
        return ""
    words = line[2:].split()
    if words and posixpath.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def line_of(reader: Reader, place: Place, text: str) -> Place:
    """Return the line of a continued one (`\\` at its end) that holds `text`; `place` where none does."""
    if place.line is None or not text or not reader.guest.is_file(place.path):
        return place
    lines = (reader.optional(place.path) or "").split("\n")
    for number in range(place.line, min(place.line + 200, len(lines) + 1)):
        if text in lines[number - 1]:
            return Place(place.path, number)
        if not lines[number - 1].rstrip().endswith("\\"):
            break
    return place
