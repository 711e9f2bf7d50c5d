"""Init scripts that no unit stands for: what systemd-sysv-generator(8) makes services of, or sysvinit runs itself.

The header is that of the LSB (Core 5.0, 22.3 "Comment Conventions for Init Scripts") or Red Hat's older
`# chkconfig:` lines. Started is what has an S link for a runlevel of the default target: 2 to 4 are
multi-user.target, 5 is graphical.target; under sysvinit the runlevel of inittab(5), and rcS.d before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from analyzers import _inittab
from analyzers._boot import System, runs_systemd
from analyzers._initloops import started as looped
from analyzers._reading import Reader, numbered, unquote
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Service, Setting

FOLDERS = ("/etc/init.d", "/etc/rc.d/init.d")

# What a boot is made of, and what is no script for a service, though it lies beside them.
_NO_SERVICE = re.compile(
    r"README|functions|skeleton|rc|rcS|halt|killall|reboot|single|sendsigs|bootmisc\.sh|checkfs\.sh|checkroot.*|"
    r"(u?mount|bootlogs|hostname|hwclock|mtab|urandom).*|.*\.(dpkg|rpm|ucf)-?\w+|.*~|\..*"
)
_FACILITIES = ("Required-Start", "Should-Start")
_SETTING = re.compile(r"(DAEMON|PIDFILE)=(.+)")


class Header(msgspec.Struct, frozen=True):
    """What the comments at the top of an init script say: names of the LSB's keys, each with its line."""

    values: dict[str, tuple[str, int]]

    def words(self, *keys: str) -> list[str]:
        """Return the words of these keys, in order."""
        return [word for key in keys for word in self.values.get(key, ("", 0))[0].split()]


def parse_header(text: str) -> Header:
    """Return the header of an init script; of Red Hat's form `description` and `chkconfig` (as Default-Start)."""
    values: dict[str, tuple[str, int]] = {}
    inside = False
    for number, line in numbered(text):
        if not line.startswith("#"):
            if number > 1 and line.strip() and not inside:
                break
            continue
        if "### BEGIN INIT INFO" in line:
            inside = True
        elif "### END INIT INFO" in line:
            break
        elif match := re.match(r"#\s*([A-Za-z][A-Za-z-]*):\s*(.*)", line):
            key, value = match.groups()
            if inside:
                values[key] = (value.strip(), number)
            elif key == "chkconfig" and (levels := value.split()):
                values["Default-Start"] = (" ".join(levels[0].strip("-")), number)
            elif key in {"description", "processname", "pidfile"}:
                values[key] = (value.rstrip("\\ "), number)
    return Header(values)


def start_links(guest: Guest, levels: Iterable[str]) -> dict[str, Place]:
    """Return the names of scripts with an S link in one of these runlevels, each with the first such link."""
    found: dict[str, Place] = {}
    for level in levels:
        for folder in (f"/etc/rc{level}.d", f"/etc/rc.d/rc{level}.d"):
            for link in guest.listdir(folder):
                match = re.fullmatch(r"S\d\d(.+)", link)
                if match and guest.is_file(f"{folder}/{link}"):
                    found.setdefault(match[1], Place(f"{folder}/{link}"))
    return found


def default_levels(reader: Reader) -> list[str]:
    """Return the runlevels that a boot of a machine without systemd goes through: inittab's, or 2 and 3 and 5."""
    for line in _inittab.read(reader):
        if line.action == "initdefault" and re.fullmatch("[0-6]", line.levels):
            return ["S", line.levels]
    return ["S", "2", "3", "5"]


def scripts(guest: Guest) -> dict[str, str]:
    """Return the executable init scripts, by name without `.sh`, as real paths. None where OpenRC is the init."""
    found: dict[str, str] = {}
    if guest.is_dir("/etc/runlevels"):
        return found
    for folder in FOLDERS:
        for name in guest.listdir(folder):
            entry = guest.stat(f"{folder}/{name}")
            if entry is not None and entry.kind == "file" and entry.mode & 0o111 and not _NO_SERVICE.fullmatch(name):
                found.setdefault(name.removesuffix(".sh"), f"{guest.resolve(folder)}/{name}")
    return found


def _service(reader: Reader, name: str, path: str, started: tuple[str, Place] | None) -> Service | None:
    text = reader.text(path)
    if text is None or re.match(r"#!.*(openrc-run|runscript)", text):
        return None
    header = parse_header(text)
    settings = []
    for number, line in numbered(text):
        match = _SETTING.fullmatch(line.rstrip())
        if match and "$" not in match[2] and "`" not in match[2]:
            key = "PIDFile" if match[1] == "PIDFILE" else match[1]
            settings.append(Setting(key, unquote(match[2]), Place(path, number)))
    if started is not None:
        settings.append(Setting("WantedBy", *started))
    required = [word for word in header.words("Required-Start") if not word.startswith(("$", "+"))]
    after = {word.lstrip("+") for word in header.words(*_FACILITIES) if not word.startswith("$")}
    described = header.values.get("Short-Description") or header.values.get("description") or ("", 0)
    return Service(
        id=name,
        manager="sysv",
        enabled=started is not None,
        unit=path,
        type="forking",
        description=described[0],
        command=(path, "start"),
        settings=tuple(settings),
        after=tuple(sorted(after)),
        requires=tuple(sorted(required)),
        aliases=tuple(sorted({word for word in header.words("Provides") if word != name and word[:1] not in "$+"})),
        seen_in=Place(path, 1),
    )


def _links(guest: Guest, reader: Reader, system: System | None) -> Iterator[tuple[str, tuple[str, Place]]]:
    """Yield the scripts a boot starts, each with the target that wants it and the link that says so."""
    if system is None:
        for level in default_levels(reader):
            target = "sysinit.target" if level == "S" else f"runlevel{level}.target"
            yield from ((name, (target, place)) for name, place in start_links(guest, [level]).items())
        return
    for target, levels in (("multi-user.target", "234"), ("graphical.target", "5")):
        if system.boot.starts(target):
            yield from ((name, (target, place)) for name, place in start_links(guest, levels).items())


def analyze(guest: Guest) -> Iterable[Finding]:
    """Yield a service for each init script that has no unit of its name."""
    reader = Reader(guest, "sysv")
    system = System(guest, "systemd") if runs_systemd(guest) else None
    started: dict[str, tuple[str, Place]] = {}
    for name, cause in _links(guest, reader, system):
        started.setdefault(name.removesuffix(".sh"), cause)
    run = [] if system is not None else list(looped(guest, reader))
    found = {name: path for name, path in scripts(guest).items() if path not in {path for _, path, _ in run}}
    for name, path, place in run:
        started.setdefault(name.removesuffix(".sh"), ("sysinit.target", place))
        found.setdefault(name.removesuffix(".sh"), path)
    for name, path in sorted(found.items()):
        if system is None or not system.units.has(f"{name}.service"):
            service = _service(reader, name, path, started.get(name))
            if service is not None:
                yield service
    yield from reader.unread


ANALYZER = Analyzer(
    name="sysv",
    says="init scripts that no unit stands for",
    reads=("/etc/init.d", "/etc/rc.d", "/etc/rc?.d", "/etc/inittab", "/etc/systemd/system", "/usr/lib/systemd/system"),
    analyze=analyze,
    source="systemd-sysv-generator(8), LSB Core 5.0 22.3, inittab(5)",
)
