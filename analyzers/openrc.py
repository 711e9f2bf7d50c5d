"""Services of OpenRC: the scripts of /etc/init.d that openrc-run reads, started by a link in /etc/runlevels.

A boot goes through the runlevels that inittab hands to openrc(8) (sysinit, boot and default, as openrc-init has them
too), those stacked in them, and starts what a started service needs or wants. Scripts that OpenRC brings along to set
up the machine ("This file is part of OpenRC.") are reported only where they start a daemon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from analyzers import _inittab
from analyzers._init import booted, has_unit
from analyzers._openrcscript import CONF_D, INIT_D, SHARED, Script, is_script, read_script
from analyzers._reading import Reader
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Setting

RUNLEVELS = "/etc/runlevels"
_USUAL = ("sysinit", "boot", "default")
_MAX_SCRIPT = 1 << 18
_MAX_READ = 16 << 20  # characters of all scripts; Alpine's hundred have a fortieth of that
_MAX_STACKED = 32


def levels(reader: Reader) -> list[str]:
    """Return the runlevels that a boot goes through."""
    found = []
    for line in _inittab.read(reader):
        words = line.process.split()
        if line.action in ("sysinit", "boot", "bootwait", "wait", "once") and len(words) == 2 and \
                words[0].rpartition("/")[2] in ("openrc", "rc"):  # fmt: skip
            found.append(words[1])
    return found or [*_USUAL]


def links(guest: Guest, boot: Iterable[str]) -> Iterator[tuple[str, str, Place]]:
    """Yield the services of these runlevels, with the runlevel and the link; a directory in one is stacked in it."""
    waiting, seen = deque(boot), set[str]()
    while waiting:
        level = waiting.popleft()
        if level in seen or len(seen) > _MAX_STACKED or "/" in level:
            continue
        seen.add(level)
        for name in guest.listdir(f"{RUNLEVELS}/{level}"):
            path = f"{RUNLEVELS}/{level}/{name}"
            if guest.is_dir(path):
                waiting.append(name)
            elif guest.is_file(path):
                yield name, level, Place(path)


def _scripts(reader: Reader) -> dict[str, Script]:
    found: dict[str, Script] = {}
    guest = reader.guest
    names = guest.listdir(INIT_D)
    shared = sum(entry.size for path in SHARED if (entry := guest.stat(path)) is not None)
    left = _MAX_READ
    for name in names:
        entry = guest.stat(f"{INIT_D}/{name}")
        if entry is None or entry.kind != "file" or not entry.mode & 0o111 or name.endswith(("~", ".sh", ".apk-new")):
            continue
        text = reader.text(f"{INIT_D}/{name}", _MAX_SCRIPT)
        if text is not None and is_script(text):
            left -= len(text) + shared  # which are read before each of them
            if left < 0:
                reader.note(INIT_D, f"its scripts are read as far as {name}: they are too many, or too long")
                break
            found[name] = read_script(guest, name, f"{INIT_D}/{name}", text)
    return found


def _started(reader: Reader, scripts: dict[str, Script]) -> dict[str, Setting]:
    """Return why a boot starts a service: a link, or another service that needs or wants it."""
    causes: dict[str, Setting] = {}
    for name, level, place in links(reader.guest, levels(reader)):
        if name in scripts:
            causes.setdefault(name, Setting("WantedBy", level, place))
    providers: dict[str, list[str]] = {}
    for name, script in scripts.items():
        for other in script.service.aliases:
            providers.setdefault(other, []).append(name)
    waiting = deque(causes)
    while waiting:
        name = waiting.popleft()
        for relation, setting in (("need", "RequiredBy"), ("want", "WantedBy")):
            for other, place in scripts[name].relations[relation]:
                able = [other] if other in scripts else providers.get(other, [])
                if len(able) == 1 and able[0] not in causes:  # of several, openrc(8) prefers one that is started
                    causes[able[0]] = Setting(setting, name, place)
                    waiting.append(able[0])
    return causes


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield a service for each script of OpenRC, and the paths it says that it uses."""
    reader = Reader(guest, "openrc")
    scripts = _scripts(reader)
    init = booted(guest) if scripts else None
    runs = init is not None and init.name == "openrc"
    causes = _started(reader, scripts) if runs else {}
    for name, script in scripts.items():
        cause = causes.get(name)
        if script.own and script.service.command == (script.service.unit, "start"):
            continue
        if not runs and has_unit(guest, name):
            continue
        settings = (*script.service.settings, *([cause] if cause else []))
        yield msgspec.structs.replace(script.service, enabled=cause is not None, settings=settings)
        yield from script.uses
        if cause is not None:  # what nothing starts is no blind spot
            yield from script.unread
    yield from reader.unread


ANALYZER = Analyzer(
    name="openrc",
    says="services of OpenRC, with conf.d, dependencies and the runlevels that start them",
    reads=(INIT_D, CONF_D, RUNLEVELS, "/etc/rc.conf", "/etc/rc.conf.d", "/etc/inittab", "/sbin/init"),
    analyze=analyze,
    source="openrc-run(8), openrc(8), start-stop-daemon(8), supervise-daemon(8), OpenRC's service-script-guide.md",
)
