"""Condition…= and Assert…= of units (systemd.unit(5)), as far as a disk that is not running can tell.

Each answer is True, False or None: None where only the running machine knows (hardware, kernel command line,
anything below /run, /proc, /sys, /dev, /tmp). What is not known is taken as met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from analyzers._reading import inside
from analyzers._unit import Line, Unit, truth
from migrate.guest.protocol import Entry, Guest

_VOLATILE = ("/run", "/var/run", "/proc", "/sys", "/dev", "/tmp", "/var/lock")  # noqa: S108  # paths of the guest
_CONTAINERS = {
    "container", "openvz", "lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch",
    "private-users",
}  # fmt: skip  # systemd.unit(5), ConditionVirtualization=; the disk is a machine's, so none of these is true


def _executable(entry: Entry) -> bool:
    return entry.kind == "file" and entry.mode & 0o111 != 0


_ABOUT_PATHS: dict[str, Callable[[Guest, str], bool]] = {
    "PathExists": lambda guest, path: guest.exists(path),
    "PathExistsGlob": lambda guest, path: bool(guest.glob(path)),
    "PathIsDirectory": lambda guest, path: guest.is_dir(path),
    "PathIsSymbolicLink": lambda guest, path: (e := guest.lstat(path)) is not None and e.kind == "symlink",
    "DirectoryNotEmpty": lambda guest, path: bool(guest.listdir(path)),
    "FileNotEmpty": lambda guest, path: (e := guest.stat(path)) is not None and e.kind == "file" and e.size > 0,
    "FileIsExecutable": lambda guest, path: (e := guest.stat(path)) is not None and _executable(e),
}


def _holds(guest: Guest, kind: str, value: str) -> bool | None:
    """Tell whether a condition without its `!` and `|` is met; None where the disk does not say."""
    if kind in _ABOUT_PATHS:
        if not value.startswith("/") or any(inside(value, top) for top in _VOLATILE):
            return None
        return _ABOUT_PATHS[kind](guest, value)
    if kind == "Virtualization":
        if value in {"yes", "true", "1", "vm"}:
            return True
        return False if value in _CONTAINERS or value in {"no", "false", "0"} else None
    if kind == "FirstBoot":
        entry = guest.stat("/etc/machine-id")
        booted = entry is not None and entry.size > 0
        return not truth(value) if booted else None
    return None


def unmet(guest: Guest, unit: Unit, expand: Callable[[str], str]) -> Line | None:
    """Return the line that surely keeps a unit from being started, or None.

    Triggering conditions (`|`) must all fail for the unit to stay down; of the others one failure is enough.
    An empty assignment of any of them forgets all before it. `expand` resolves specifiers.
    """
    for family in ("Condition", "Assert"):
        failed = _first_failure(guest, _in_force(unit, family), family, expand)
        if failed is not None:
            return failed
    return None


def _in_force(unit: Unit, family: str) -> Iterable[Line]:
    kept: list[Line] = []
    for line in unit.lines:
        if line.section == "Unit" and line.key.startswith(family):
            if line.value:
                kept.append(line)
            else:
                kept.clear()
    return kept


def _first_failure(guest: Guest, lines: Iterable[Line], family: str, expand: Callable[[str], str]) -> Line | None:
    triggers: list[tuple[Line, bool | None]] = []
    for line in lines:
        value = line.value
        trigger = value.startswith("|")
        value = value.removeprefix("|").lstrip()
        negated = value.startswith("!")
        met = _holds(guest, line.key.removeprefix(family), expand(value.removeprefix("!").lstrip()))
        if met is not None and negated:
            met = not met
        if trigger:
            triggers.append((line, met))
        elif met is False:
            return line
    if triggers and all(met is False for _, met in triggers):
        return triggers[0][0]
    return None
