"""What analyzers of one product share: its unit's name and its program, by what the guest has of them."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.guest.protocol import Guest

_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def unit_of(guest: Guest, names: Sequence[str]) -> str:
    """Return the first name that a unit or an init script has; the first name where there is none."""
    for name in names:
        if any(guest.is_file(f"{folder}/{name}.service") for folder in _UNITS):
            return name
    return next((name for name in names if guest.is_file(f"/etc/init.d/{name}")), names[0])


def program_of(guest: Guest, names: Sequence[str]) -> str:
    """Return the path of the first program that is there, or nothing; a bare name is looked for in PATH."""
    for name in names:
        folders = ("",) if name.startswith("/") else ("/usr/local/sbin/", "/usr/sbin/", "/usr/local/bin/", "/usr/bin/")
        for folder in folders:
            if guest.is_file(folder + name):
                return folder + name
    return ""
