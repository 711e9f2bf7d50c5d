"""The last line of defence: nothing that is written may hold a secret's value that was found on the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from migrate.model import Secret
from migrate.plan.model import Plan
from migrate.redact import telling

SHORTEST = 8
"""Characters; a shorter value is a word that stands everywhere."""

LONG = 16
"""From this length on, a value of small letters alone is no word either."""

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s+"
    rb"(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/=\s]{64,}-----END "
)
_KEY_WINDOW = 16 << 10  # bytes: the longest keys in use (RSA 16384) take 12 KiB as PEM


class Tripwire:
    """Knows the values of the secrets that a fresh scan found. They stay in memory.

    A value that is one lower-case word or one number of less than 16 characters (`password`, `changeme`) is
    looked for in generated texts only: every library has it. One that is also a name of the plan proves
    nothing and is not looked for; `passed_over` has those secrets.
    """

    def __init__(self, secrets: Sequence[Secret], plan: Plan) -> None:
        names = _names(plan)
        self.passed_over: list[Secret] = []
        self._strong: dict[bytes, Secret] = {}
        self._weak: dict[bytes, Secret] = {}
        for secret in sorted(secrets, key=lambda s: (s.id, s.seen_in)):
            for value in _values(secret):
                if value.lower() in names:
                    self.passed_over.append(secret)
                    continue
                weak = len(value) < LONG and (value.isdigit() or (value.isalpha() and value.islower()))
                known = self._weak if weak else self._strong
                known.setdefault(value.encode("utf-8", "surrogateescape"), secret)
        self._overlap = max(map(len, self._strong), default=1) - 1

    def in_text(self, text: str) -> Secret | None:
        """Return a secret whose value stands in a text that vm2c wrote."""
        data = text.encode("utf-8", "surrogatepass")
        return next((s for value, s in (*self._strong.items(), *self._weak.items()) if value in data), None)

    def in_chunks(self, chunks: Iterable[bytes], keys: bool = True) -> Secret | str | None:
        """Return the secret whose value stands in a file's content, or None.

        With `keys`, also the word `private-key` for any key in a text. A program is no key file: libgnutls has
        keys for its self-test.
        """
        tail = b""
        for chunk in chunks:
            data = tail + chunk
            keys = keys and b"\0" not in chunk
            for value, secret in self._strong.items():
                if value in data:
                    return secret
            if keys and b"PRIVATE KEY" in data and _PRIVATE_KEY.search(data):
                return "private-key"
            tail = data[-max(self._overlap, _KEY_WINDOW) :]
        return None


def _values(secret: Secret) -> list[str]:
    return [value for value in telling(secret) if len(value) >= SHORTEST]


def _names(plan: Plan) -> frozenset[str]:
    names = {plan.machine}
    for c in plan.components:
        names |= {c.id, *(d.claim for d in c.data), *(a.name for a in c.accounts), *(s.variable for s in c.secrets)}
        names |= {s.id for s in c.secrets}
        names |= {c.user.name} if c.user is not None else set()
        names |= {p.partition("=")[0] for p in c.image.packages} if c.image is not None else set()
        names |= {part for path in c.config for part in path.split("/")}
    return frozenset(n.lower() for n in names)
