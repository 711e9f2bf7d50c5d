"""Names of what is made from a machine: image references and the labels Kubernetes accepts.

Where letters had to be replaced or cut, a short digest of the text itself is part of the name, so that two
texts share one only by intent (24 bits can be forged: who makes many names at once checks for doubles).
"""

from __future__ import annotations

import hashlib
import re

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_DIGEST_LENGTH = 6


def slug(text: str, limit: int = 63) -> str:
    """Return an RFC 1123 label for `text`: small letters, digits and `-`, at most `limit` characters.

    A text that is a label but for capitals (which host names do not tell apart, RFC 4343) gives itself in
    small letters. Every other one gets six hexadecimal digits of its SHA-256 at the end, so that `a.b`
    and `a_b` stay apart. Raises ValueError where `limit` leaves no room for that.

    >>> slug("Web01"), slug("postgresql@15-main")
    ('web01', 'postgresql-15-main-3cebb1')
    """
    if limit <= _DIGEST_LENGTH + 1:
        raise ValueError(f"a label of {limit} characters has no room for a digest")
    lower = text.lower() if text.isascii() else text
    if len(lower) <= limit and _LABEL.fullmatch(lower):
        return lower
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: limit - _DIGEST_LENGTH - 1].strip("-")
    return f"{words}-{digest}" if words else digest


def image_tag(machine: str, component_id: str, version: str = "latest") -> str:
    """Return the reference of a component's image: `vm2c/MACHINE/ID:VERSION`.

    `version` is `latest` or the first digits of the plan's digest; both name the same image after a build.
    The grammar is that of github.com/distribution/reference, whose path components hold every slug.

    >>> image_tag("Web01", "orders")
    'vm2c/web01/orders:latest'
    """
    return f"vm2c/{slug(machine)}/{slug(component_id)}:{version}"
