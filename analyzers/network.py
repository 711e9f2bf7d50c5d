"""How the machine's network is configured, and the names that it resolves itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from analyzers._network_files import (
    parse_hosts,
    parse_ifcfg,
    parse_interfaces,
    parse_keyfile,
    parse_netplan,
    parse_networkd,
    sources,
)
from analyzers._reading import Reader, absolute
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, HostName, Interface, Place

_NAME = "network"

_FILES: tuple[tuple[str, Callable[[str, str], Iterator[Interface]]], ...] = (
    ("/etc/systemd/network/*.network", parse_networkd),
    ("/etc/netplan/*.yaml", parse_netplan),
    ("/etc/NetworkManager/system-connections/*", parse_keyfile),
    ("/etc/sysconfig/network-scripts/ifcfg-*", parse_ifcfg),
    ("/etc/sysconfig/network/ifcfg-*", parse_ifcfg),
)
_MAX_SOURCED = 100


def _interfaces(reader: Reader) -> Iterator[Interface]:
    """Read /etc/network/interfaces and the files it sources."""
    waiting = ["/etc/network/interfaces"]
    for path in waiting:
        text = reader.optional(path)
        if text is None:
            continue
        yield from parse_interfaces(text, path)
        for pattern in sources(text):
            found = reader.guest.glob(absolute(pattern, path.rpartition("/")[0]))
            waiting += [other for other in found if other not in waiting][: _MAX_SOURCED - len(waiting)]


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield interfaces, and the names in /etc/hosts."""
    reader = Reader(guest, _NAME)
    yield from _interfaces(reader)
    for pattern, parse in _FILES:
        for path in guest.glob(pattern):
            text = reader.optional(path)
            try:
                yield from parse(text, path) if text is not None else ()
            except ValueError as error:
                reader.note(path, str(error))
    for number, address, names in parse_hosts(reader.optional("/etc/hosts") or ""):
        try:
            ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            reader.note("/etc/hosts", f"{address} is no address", number)
            continue
        for name in names:
            yield HostName(seen_in=Place("/etc/hosts", number), name=name, address=address)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Network interfaces as ifupdown, networkd, netplan, NetworkManager or ifcfg have them, and /etc/hosts.",
    reads=(
        "/etc/hosts",
        "/etc/network",
        "/etc/systemd/network",
        "/etc/netplan",
        "/etc/NetworkManager/system-connections",
        "/etc/sysconfig/network-scripts",
        "/etc/sysconfig/network",
    ),
    analyze=analyze,
    source="interfaces(5), systemd.network(5), netplan.readthedocs.io, nm-settings-keyfile(5), hosts(5)",
)
