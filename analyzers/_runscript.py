"""The process that a script becomes: `run` of runit and s6, `exec` and `script` of upstart, a line of inittab.

A shell script becomes the program of its `exec`; an execline script is one command line whose blocks run first
(execlineb(1)). Where that is not known for sure, the script itself is what is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import msgspec

from analyzers._daemon import Wrapped, start_stop_daemon, unwrap
from analyzers._evaluate import Outcome, evaluate
from analyzers._reading import Reader, absolute, numbered
from analyzers._shelltest import Files
from migrate.model import Place, Setting, Uses, Variable

_EXECLINE = re.compile(r"#!\s*\S*/execlineb\b")
_SHELL = re.compile(r"#!\s*(?:\S*/(?:env|with-contenv|s6-setuidgid \S+)\s+)*\S*?(?:ba|da|k|z|a)?sh\b")
_OPEN = re.compile(r"with-contenv")
_BLOCKS = frozenset({"foreground", "if", "background", "s6-background"})  # they run a block, and then go on
_MAX_BLOCKS = 50
_MAX_ENVIRONMENT = 200
_LOGGERS = frozenset({"svlogd", "multilog", "s6-log", "cyclog"})


class Main(msgspec.Struct, frozen=True, kw_only=True):
    """The process: `process.command` is empty where it is not known, and `why` says why. `line` is where it is said."""

    process: Wrapped = Wrapped(command=())
    line: int = 1
    outputs: tuple[str, ...] = ()
    why: str = ""
    outcome: Outcome | None = None


def command_line(text: str) -> Main:
    """Return what an `up` of s6-rc becomes: a command line of execline without a first line that says so."""
    if text.startswith("#!"):
        return main_process(text, Files())
    main = _execline(f"\n{text}")
    return msgspec.structs.replace(main, line=max(1, main.line - 1))


def main_process(text: str, files: Files, variables: dict[str, str] | None = None, first_line: int = 1) -> Main:
    """Return what a run script becomes; a script of another language is not read."""
    if _EXECLINE.match(text):
        return _execline(text)
    if text.startswith("#!") and not _SHELL.match(text):
        return Main(why="")
    closed = not _OPEN.search(text[:200])
    outcome = evaluate(text, variables, files, closed, None, first_line)
    return of_outcome(outcome)


def of_outcome(outcome: Outcome) -> Main:
    """Return the program that a shell script surely becomes."""
    for ran in outcome.commands:
        words = ran.command.words
        if ran.command.name != "exec" or len(words) < 2:
            continue
        line = ran.command.line
        if not ran.sure or ran.path:
            return Main(line=line, why="which program it becomes is known only when it runs", outcome=outcome)
        if not all(word.whole for word in words):
            return Main(line=line, why="its arguments are known only when it runs", outcome=outcome)
        outputs = tuple(word.text for word in ran.command.outputs if word.whole and word.text.startswith("/"))
        texts = tuple(word.text for word in words[1:])
        return Main(process=_daemon(unwrap(_past_exec(texts))), line=line, outputs=outputs, outcome=outcome)
    return Main(outcome=outcome)


def _past_exec(words: tuple[str, ...]) -> tuple[str, ...]:
    """Take off exec's own options (bash(1): -c, -l, -a NAME)."""
    while words and re.fullmatch(r"-[cl]+", words[0]):
        words = words[1:]
    return words[2:] if words[:1] == ("-a",) else words


def _daemon(process: Wrapped) -> Wrapped:
    """See through `exec start-stop-daemon --start … --exec PROGRAM -- ARGUMENTS`."""
    if not process.command or process.command[0].rpartition("/")[2] != "start-stop-daemon":
        return process
    daemon = start_stop_daemon(process.command[1:], "dpkg")
    if daemon is None or not daemon.command or "start" not in daemon.options:
        return process
    user, group = daemon.user
    return msgspec.structs.replace(
        process,
        command=daemon.command,
        user=user or process.user,
        group=group or process.group,
        directory=daemon.options.get("chdir", process.directory),
        environment=(*process.environment, *daemon.environment),
    )


def _execline(text: str) -> Main:
    lexer = shlex.shlex(text.partition("\n")[2], posix=True)
    lexer.whitespace_split = True
    lexer.quotes = '"'
    try:
        words = tuple(lexer)
    except ValueError as error:
        return Main(why=f"not an execline script: {error}")
    for _ in range(_MAX_BLOCKS):
        here = unwrap(words)
        name = here.command[0].rpartition("/")[2] if here.command else ""
        if name not in _BLOCKS or here.command[1:2] != ("{",):
            break
        words = _past_block(here.command[1:])
    process = unwrap(words)
    if any(word in ("{", "}") or "${" in word for word in process.command):
        return Main(why="which program it becomes is known only when it runs")
    found = [n for n, line in numbered(text) if process.command and process.command[0] in line and n > 1]
    return Main(process=process, line=found[-1] if found else 1)


def _past_block(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return what comes behind the block that the words begin with; nothing where it is not closed."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word == "{") - (word == "}")
        if depth <= 0:
            return words[at + 1 :]
    return ()


# ---------------------------------------------------------------- what findings are made of


def environment(reader: Reader, main: Main, place: Place, folder: str) -> Iterator[Variable]:
    """Yield the variables of the process: exported ones, those of env(1), and the files of an envdir (chpst(8))."""
    path = place.path
    if main.outcome is not None:
        for name in sorted(main.outcome.exported & set(main.outcome.variables)):
            yield Variable(name, main.outcome.variables[name], Place(path, main.outcome.lines.get(name)))
    for name, value in main.process.environment:
        yield Variable(name, value, place)
    if main.process.environment_directory:
        yield from _envdir(reader, absolute(main.process.environment_directory, folder))


def _envdir(reader: Reader, top: str) -> Iterator[Variable]:
    for name in reader.guest.listdir(top)[:_MAX_ENVIRONMENT]:
        entry = reader.guest.stat(f"{top}/{name}")
        if entry is not None and entry.kind == "file" and entry.size and "=" not in name and not name.startswith("."):
            value = (reader.text(f"{top}/{name}", 1 << 16) or "").partition("\n")[0].rstrip(" \t")
            yield Variable(name, value.replace("\0", "\n"), Place(f"{top}/{name}", 1))


def settings(main: Main, place: Place) -> Iterator[Setting]:
    """Yield limits, mask and output of the process under systemd's names."""
    yield from (Setting(name, value, place) for name, value in main.process.settings)
    for path in main.outputs[:1]:
        yield Setting("StandardOutput", path if path == "/dev/null" else f"append:{path}", place)


def log_files(service: str, main: Main, place: Place) -> Iterator[Uses]:
    """Yield the file that a script sends its output to."""
    for path in main.outputs:
        if not path.startswith("/dev/"):
            yield Uses(seen_in=place, service=service, path=path, role="log", says="its output is sent there")


def log_folder(service: str, main: Main, place: Place) -> Iterator[Uses]:
    """Yield the folder of the program that collects a service's output (svlogd(8), multilog(8), s6-log(8))."""
    command = main.process.command
    if command and command[0].rpartition("/")[2] in _LOGGERS:
        for word in command[1:]:
            if word.startswith(("/", "./", "../")):
                path = absolute(word, place.path.rpartition("/")[0])
                yield Uses(seen_in=place, service=service, path=path, role="log", says="its log is written there")
