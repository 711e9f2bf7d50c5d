"""Which init a boot of the machine runs: what the kernel starts, known by its name or by the text inside it.

The kernel starts `init=` where its parameters have one, else the first it can of /sbin/init, /etc/init and /bin/init
(init/main.c, kernel_init). OpenRC is an init of its own (openrc-init) or run by the inittab of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers import _inittab, _kernelline
from analyzers._elf import is_elf
from analyzers._reading import Reader, meaningful
from migrate.guest.protocol import Guest
from migrate.model import Place

BOOT_LOADERS = _kernelline.FILES
RC_S = "/etc/init.d/rcS"

_PROGRAMS = ("/sbin/init", "/etc/init", "/bin/init")
_SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
_MAX_PROGRAM = 16 << 20  # bytes; busybox, the largest of these that is read, has one to two million
_MAX_SCRIPT = 1 << 18
_SCRIPTS_DEEP = 3

# The last name of the path, links resolved.
_NAMES = {
    "systemd": "systemd", "busybox": "busybox", "openrc-init": "openrc", "runit-init": "runit", "dinit": "dinit",
    "dinit-init": "dinit", "upstart": "upstart", "procd": "procd", "s6-linux-init": "s6", "toybox": "toybox",
}  # fmt: skip

# What the programs hold: upstart's name on D-Bus (all of 0.5 to 1.13), the directories the others read, and the
# message that sysvinit alone has; seen with strings(1).
_MARKS = (
    (b"com.ubuntu.Upstart", "upstart"),
    (b"no more processes left in this runlevel", "sysvinit"),
    (b"BusyBox v", "busybox"),
    (b"/etc/runit/", "runit"),
    (b"/run/openrc/init.ctl", "openrc"),
    (b"/etc/dinit.d", "dinit"),
    (b"/sbin/procd", "procd"),
    (b"/run/systemd/", "systemd"),
)
_IN_SCRIPTS = re.compile(r"(?:^|[\s/])(s6-linux-init|s6-svscan|s6-rc-init)(?=\s|$)")
_EXEC = re.compile(r"exec\s+(?:-a\s+\S+\s+)?(/[^\s;$&|]+)")
_OPENRC = re.compile(r"(?:\S*/)?(?:openrc|rc)(?=\s|$)")


class Init(msgspec.Struct, frozen=True):
    """What boots: `name` is the trait's value, `program` the real path of what the kernel starts.

    `base` is the init under OpenRC (busybox or sysvinit), and the same as `name` elsewhere. `place` is the evidence.
    """

    name: str
    base: str
    program: str
    place: Place


def init_of(reader: Reader) -> Init | None:
    """Return what a boot runs, or None where there is nothing that the kernel would start."""
    place, program = _started(reader)
    if not program:
        return None
    base = _identify(reader, program, _SCRIPTS_DEEP)
    if base in ("busybox", "sysvinit") and (caller := _openrc(reader, base)) is not None:
        return Init("openrc", base, program, caller)
    return Init(base, base, program, place)


def booted(guest: Guest) -> Init | None:
    """Return the same for those who leave it to others to tell what could not be read."""
    return init_of(Reader(guest, "init"))


def _started(reader: Reader) -> tuple[Place, str]:
    guest = reader.guest
    if parameter := _kernelline.init_parameter(reader):
        place, path = parameter
        if guest.is_file(path):
            return place, guest.resolve(path) or path
        reader.note(place.path, f"init={path}: there is no such program", place.line)
    for path in _PROGRAMS:
        if guest.is_file(path):
            return Place(path), guest.resolve(path) or path
    for path in _SYSTEMD:  # a root without systemd-sysv
        if guest.is_file(path):
            return Place(path), guest.resolve(path) or path
    return Place("/"), ""


def _identify(reader: Reader, program: str, deep: int) -> str:
    name = program.rpartition("/")[2]
    if name in _NAMES:
        return _NAMES[name]
    data = reader.data(program, _MAX_PROGRAM) or b""
    if is_elf(data):
        return next((init for mark, init in _MARKS if mark in data), name)
    if not data.startswith(b"#!"):
        return name
    text = data[:_MAX_SCRIPT].decode("utf-8", "surrogateescape")
    if _IN_SCRIPTS.search(text):
        return "s6"
    for _, line in meaningful(text):  # a script that ends in another program: the last one counts
        if (match := _EXEC.match(line)) and deep and reader.guest.is_file(match[1]):
            name = _identify(reader, reader.guest.resolve(match[1]) or match[1], deep - 1)
    return name


def _openrc(reader: Reader, base: str) -> Place | None:
    """Return the line that starts OpenRC: in inittab, or in a script that inittab runs (Debian's rcS)."""
    for place, command in _boot_commands(reader, base):
        words = command.split()
        if not words or not reader.guest.is_file(words[0]):
            continue
        if _OPENRC.fullmatch(words[0]) and words[0] in ("/sbin/openrc", "/sbin/rc", "/usr/sbin/openrc", "/bin/openrc"):
            return place
        if words[0].startswith("/etc/init.d/"):
            for number, line in meaningful(reader.optional(words[0], _MAX_SCRIPT) or ""):
                if match := re.search(r"(?:^|[\s;&|])(/\S*/openrc)\s+\w", line):
                    return Place(words[0], number) if reader.guest.is_file(match[1]) else None
    return None


def _boot_commands(reader: Reader, base: str) -> Iterator[tuple[Place, str]]:
    if not reader.guest.is_file(_inittab.PATH):
        if base == "busybox":  # init.c: without an inittab it runs this
            yield Place(RC_S), RC_S
        return
    for line in _inittab.read(reader):
        if line.action in _inittab.BOOT:
            yield Place(_inittab.PATH, line.number), line.process


def has_unit(guest: Guest, name: str) -> bool:
    """Tell whether systemd has a unit of that name: what another init left behind is not reported beside it."""
    folders = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
    return "/" not in name and any(guest.lstat(f"{folder}/{name}.service") is not None for folder in folders)


def has_script(guest: Guest, name: str) -> bool:
    """Tell whether there is an init script of that name; Debian 7's packages bring a job of upstart beside theirs."""
    return "/" not in name and any(guest.is_file(f"{folder}/{name}") for folder in ("/etc/init.d", "/etc/rc.d/init.d"))
