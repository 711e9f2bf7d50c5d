"""What an address means, wherever it was found: one answer for analyzers, rules and generators."""

from __future__ import annotations

import ipaddress

_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


def is_loopback(address: str) -> bool:
    """Tell whether an address or name, in brackets or not, is the machine itself (RFC 6761, RFC 4291)."""
    bare = address.strip("[]").lower()
    if bare in _NAMES:
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
