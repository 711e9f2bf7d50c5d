"""Services under runit and daemontools, and under s6: a directory each, with the script `run` in it.

runit(8) runs /etc/runit/2, which hands a directory of links to runsvdir(8); one with a file `down` is not started
(runsv(8)). s6-rc and s6-overlay keep definitions of services with their type, dependencies and bundles (s6-rc-compile
"Source format"), of which a boot brings up a bundle: `default`, and `user` of s6-overlay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from analyzers import _inittab
from analyzers._init import booted, has_script, has_unit
from analyzers._reading import Reader, absolute, meaningful
from analyzers._runscript import Main, command_line, environment, log_files, log_folder, main_process, settings
from analyzers._s6 import definitions
from analyzers._shelltest import Files
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Service, Setting, Uses, Variable

STORES = ("/etc/sv", "/etc/runit/sv")
_SCANNED = ("/etc/runit/runsvdir/current", "/etc/runit/runsvdir/default", "/etc/service", "/var/service", "/service")
_SCANNERS = re.compile(r"(?:^|[\s/])(runsvdir|runsvdir-start|svscan|svscanboot)(?=\s|$)")
_UNITS = ("runit", "runsvdir", "runit-supervise", "daemontools", "svscan")
_MAX_SCRIPT = 1 << 16
_MAX_DIRECTORIES = 500


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """A service's directory: `path` as it is, the place that starts it, or None, and what s6-rc says of it."""

    name: str
    path: str
    manager: str
    cause: Setting | None
    oneshot: bool = False
    after: tuple[str, ...] = ()


def scan_directories(reader: Reader) -> Iterator[tuple[str, Place]]:
    """Yield the directories whose services a boot starts, and where that is said."""
    init = booted(reader.guest)
    if init is None:
        return
    if init.name == "runit":
        for number, line in meaningful(reader.optional("/etc/runit/2") or ""):
            if _SCANNERS.search(line):
                yield from _scanned(reader, line, Place("/etc/runit/2", number))
    elif init.base in ("sysvinit", "busybox"):
        for entry in _inittab.read(reader):
            if entry.action == "respawn" and _SCANNERS.search(entry.process):
                yield from _scanned(reader, entry.process, Place(_inittab.PATH, entry.number))
    elif init.name == "systemd":
        for name in _UNITS:
            for link in reader.guest.glob(f"/etc/systemd/system/*.wants/{name}.service"):
                yield from _scanned(reader, "", Place(link))


def _scanned(reader: Reader, command: str, place: Place) -> Iterator[tuple[str, Place]]:
    """Yield the directory a command scans; one below /run is a link that the boot makes to the runlevel's own."""
    guest = reader.guest
    named = [word for word in command.split() if word.startswith("/") and not _SCANNERS.search(word)]
    if named and guest.is_dir(named[-1]):
        yield named[-1], place
        return
    seen = set()
    for path in _SCANNED:
        real = guest.resolve(path)
        if real is not None and guest.is_dir(path) and real not in seen:
            seen.add(real)
            yield path, place
            return


def _directories(reader: Reader) -> Iterator[Directory]:
    guest, seen = reader.guest, set()
    for top, _place in scan_directories(reader):
        for name in guest.listdir(top):
            real = guest.resolve(f"{top}/{name}")
            if not name.startswith(".") and real is not None and guest.is_file(f"{real}/run"):
                down = guest.lstat(f"{real}/down") is not None
                seen.add(real)
                cause = None if down else Setting("WantedBy", top, Place(f"{top}/{name}"))
                yield Directory(name=name, path=real, manager="runit", cause=cause)
    for top in STORES:
        for name in guest.listdir(top):
            real = guest.resolve(f"{top}/{name}")
            if real is not None and real not in seen and guest.is_file(f"{real}/run"):
                seen.add(real)
                yield Directory(name=name, path=real, manager="runit", cause=None)
    for found in definitions(reader):
        yield Directory(
            name=found.name,
            path=found.path,
            manager="s6",
            cause=Setting("WantedBy", found.bundle, found.place) if found.place is not None else None,
            oneshot=found.oneshot,
            after=found.after,
        )


def _main(reader: Reader, path: str, folder: str, oneshot: bool = False) -> Main:
    text = reader.text(path, _MAX_SCRIPT)
    if text is None:
        return Main()
    return command_line(text) if oneshot else main_process(text, Files(reader.guest, folder))


def _findings(reader: Reader, directory: Directory) -> Iterator[Finding]:
    path = f"{directory.path}/{'up' if directory.oneshot else 'run'}"
    main = _main(reader, path, directory.path, directory.oneshot)
    if main.why and directory.cause is not None:  # what nothing starts is no blind spot
        reader.note(path, main.why, main.line)
    place = Place(path, main.line)
    command = main.process.command or (path,)
    if command[0].startswith("./"):
        command = (absolute(command[0], directory.path), *command[1:])
    variables: dict[str, Variable] = {}
    for variable in environment(reader, main, place, directory.path):
        variables[variable.name] = variable
    told = [*settings(main, place), *([directory.cause] if directory.cause else [])]
    if not directory.oneshot:
        told.append(Setting("Restart", "always", Place(path, 1)))  # runsv(8), s6-supervise(8)
    yield Service(
        id=directory.name,
        manager=directory.manager,
        enabled=directory.cause is not None,
        unit=path,
        type="oneshot" if directory.oneshot else "simple",
        command=command,
        user=main.process.user or "root",
        group=main.process.group,
        working_directory=main.process.directory or directory.path,
        environment=tuple(variables[name] for name in sorted(variables)),
        settings=tuple(sorted(told, key=lambda s: s.name)),
        after=directory.after,
        requires=directory.after,
        seen_in=place,
    )
    yield from log_files(directory.name, main, place)
    for file in main.outcome.sourced if main.outcome is not None else ():
        where = absolute(file, directory.path)
        yield Uses(seen_in=place, service=directory.name, path=where, role="config", says="variables of its script")
    log = f"{directory.path}/log/run"
    if reader.guest.is_file(log):
        main = _main(reader, log, f"{directory.path}/log")
        yield from log_folder(directory.name, main, Place(log, main.line))


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield a service for each directory with a run script, and the paths it says that it uses."""
    reader = Reader(guest, "runit")
    taken: set[str] = set()
    directories = sorted(_directories(reader), key=lambda d: (d.cause is None, d.name, d.path))
    if len(directories) > _MAX_DIRECTORIES:
        reader.note(directories[0].path, f"{len(directories)} services, of which {_MAX_DIRECTORIES} are read")
    for directory in directories[:_MAX_DIRECTORIES]:
        left = directory.cause is None and (has_unit(guest, directory.name) or has_script(guest, directory.name))
        if left or directory.name in taken:
            continue
        taken.add(directory.name)
        yield from _findings(reader, directory)
    yield from reader.unread


ANALYZER = Analyzer(
    name="runit",
    says="services of runit, daemontools, s6 and s6-overlay",
    reads=("/etc/runit", "/etc/sv", "/etc/service", "/var/service", "/service", "/etc/s6", "/etc/s6-rc",
           "/etc/s6-overlay", "/etc/services.d", "/etc/s6-linux-init", "/etc/inittab", "/sbin/init"),
    analyze=analyze,
    source="runit(8), runsvdir(8), runsv(8), chpst(8), s6-svscan(1), s6-rc-compile(1), execlineb(1)",
)  # fmt: skip
