"""Which of several findings of one service counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from migrate.model import Service

INIT_SYSTEMS = frozenset({"systemd", "sysv", "openrc", "upstart", "runit", "s6", "inittab", "supervisor"})
"""The managers that only start a program; others (a cluster's own tools) know the daemon itself."""


def by_id(found: Iterable[Service]) -> dict[str, Service]:
    """Return one service for each id.

    An analyzer that knows the daemon (a database cluster) says more than the unit of the same name. Of two that an
    init would start, the one that is enabled counts: the other was left by an init that is no longer used.
    """
    services: dict[str, Service] = {}
    for service in found:
        known = services.get(service.id)
        if known is None or (known.manager in INIT_SYSTEMS and not (known.enabled and _is_left_over(service))):
            services[service.id] = service
    return services


def _is_left_over(service: Service) -> bool:
    return service.manager in INIT_SYSTEMS and not service.enabled
