"""A service as a unit's file would give it, for tests of analyzers that read its command."""

from __future__ import annotations

from migrate.model import EnvironmentFile, Place, Service


def started(ident: str, command: str, files: tuple[str, ...] = (), user: str = "root") -> Service:
    """Return the service of a unit whose third line is the command; `files` are its files of variables."""
    unit = f"/usr/lib/systemd/system/{ident}.service"
    place = Place(unit, 3)
    return Service(
        seen_in=place,
        id=ident,
        manager="systemd",
        enabled=True,
        unit=unit,
        user=user,
        command=tuple(command.split()),
        environment_files=tuple(EnvironmentFile(path, optional=True, seen_in=place) for path in files),
    )
