"""Processes that inittab(5) keeps running: what sysvinit and busybox' init start themselves, gettys among them.

Lines of the actions respawn, once and askfirst are services; sysinit, boot and wait run scripts that finish, which are
others' concern. sysvinit starts the lines of its default runlevel, busybox all of them. systemd and upstart do not
read the processes of inittab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from analyzers import _inittab
from analyzers._init import booted
from analyzers._reading import Reader
from analyzers._runscript import Main, log_files, main_process, settings
from analyzers._shell import program
from analyzers._shelltest import Files
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Service, Setting

_ACTIONS = frozenset({"respawn", "once", "ondemand", "askfirst"})
_SHELL_CHARACTERS = re.compile(r"[~`!$^&*()=|\\{}\[\];\"'<>?]")  # init.c of both
_GETTY = re.compile(r"(?:\S*/)?(?:[amu]?getty|mingetty|fgetty|ngetty|qingy|sulogin|login)$")
_TERMINAL = re.compile(r"(?:/dev/)?((?:tty|hvc|console|ttyS|xvc|hvsi|pts/)\w*)$")
_LOGIN_SHELL = re.compile(r"/(?:usr/)?bin/\w*sh")


def identifier(line: _inittab.Line) -> str:
    """Return a name: `getty@TERMINAL` for what serves one, else the program's.

    >>> identifier(_inittab.Line(1, "S0", "12345", "respawn", "/sbin/getty -L 115200 ttyS0 vt100"))
    'getty@ttyS0'
    """
    words = line.process.split()
    first = words[0] if words else ""
    if _GETTY.search(first) or line.action == "askfirst" or _LOGIN_SHELL.fullmatch(line.process):
        named = [match[1] for word in words[1:] if (match := _TERMINAL.fullmatch(word))]
        own = _TERMINAL.fullmatch(line.ident)  # of busybox, a terminal
        return f"getty@{(named[-1] if named else own[1] if own else line.ident or 'console')}"
    return program(line.process) or line.ident or first.rpartition("/")[2]


def _service(line: _inittab.Line, name: str, enabled: bool) -> tuple[Service, Main]:
    place = Place(_inittab.PATH, line.number)
    text = f"exec {line.process.removeprefix('exec ')}"
    main = main_process(text, Files(), None, line.number)
    command = main.process.command
    if not command:
        words = line.process.split()
        command = ("/bin/sh", "-c", text) if _SHELL_CHARACTERS.search(line.process) else tuple(words)
    told = list(settings(main, place))
    if line.action == "respawn":
        told.append(Setting("Restart", "always", place))
    if enabled:
        told.append(Setting("WantedBy", f"runlevel {line.levels}" if line.levels else "inittab", place))
    service = Service(
        id=name,
        manager="inittab",
        enabled=enabled,
        unit=_inittab.PATH,
        type="oneshot" if line.action == "once" else "simple",
        command=command,
        user=main.process.user or "root",
        group=main.process.group,
        working_directory=main.process.directory or "/",
        settings=tuple(sorted(told, key=lambda s: s.name)),
        seen_in=place,
    )
    return service, main


def _lines(reader: Reader, base: str) -> Iterator[tuple[_inittab.Line, bool]]:
    lines = _inittab.read(reader)
    level = _inittab.default_level(lines)
    if base == "sysvinit" and not level:
        reader.note(_inittab.PATH, "no initdefault line: which runlevel a boot enters is asked at the console")
    for line in lines:
        if line.action in _ACTIONS and line.process:
            counts = base == "busybox" or (line.in_level(level) if level else not line.levels)
            yield line, counts and line.action != "ondemand"


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield a service for each line that starts a process, where the machine boots an init that reads inittab."""
    reader = Reader(guest, "inittab")
    init = booted(guest) if guest.is_file(_inittab.PATH) else None
    if init is None or init.base not in ("sysvinit", "busybox"):
        return
    taken: set[str] = set()
    for line, enabled in sorted(_lines(reader, init.base), key=lambda pair: (not pair[1], pair[0].number)):
        name = identifier(line)
        if name in taken:
            name = f"{name}-{line.ident or line.number}"
        if name in taken:
            name = f"{name}-{line.number}"
        taken.add(name)
        service, main = _service(line, name, enabled)
        yield service
        yield from log_files(name, main, service.seen_in)
    yield from reader.unread


ANALYZER = Analyzer(
    name="inittab",
    says="processes that inittab keeps running, under sysvinit and busybox",
    reads=(_inittab.PATH, "/sbin/init"),
    analyze=analyze,
    source="inittab(5), busybox' examples/inittab",
)
