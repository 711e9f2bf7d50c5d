"""Names for secrets: stable, unique, and telling nothing of the value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from migrate.model import Secret


def slug(text: str) -> str:
    """Return lower-case words joined by single dashes: fit for an id of the plan and a Kubernetes name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def secret_id(path: str, name: str = "") -> str:
    """Return the id of a secret from its path and the key that holds it; `/etc` goes without saying.

    >>> secret_id("/etc/orders/env", "DATABASE_URL")
    'orders-env-database-url'
    """
    return slug(f"{path.removeprefix('/etc/')} {name}") or "secret"


def unique(secrets: Iterable[Secret]) -> Iterator[Secret]:
    """Yield the secrets in the order of their places, ids that come twice with -2, -3, … behind them."""
    taken: set[str] = set()
    for secret in sorted(secrets, key=lambda s: (s.seen_in.path, s.seen_in.line or 0, s.id)):
        ident, number = secret.id, 1
        while ident in taken:
            number += 1
            ident = f"{secret.id}-{number}"
        taken.add(ident)
        yield msgspec.structs.replace(secret, id=ident)
