"""Keep secrets' values out of everything that is written or said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from migrate.model import Secret

SHORTEST = 6
"""A value shorter than this is a word that stands everywhere; only its place is named."""


BASE64_LINE = 20
"""A line of a PEM block is 64 characters long, the last one shorter (RFC 7468); below this it proves nothing."""


class Redactor:
    """Replaces every known secret's value by its id. Values are held in memory alone."""

    def __init__(self, secrets: Iterable[Secret], words: Iterable[str] = ()) -> None:
        """Take the secrets found; `words` are names (accounts, packages, hosts) that are no secret by themselves."""
        common = {w.lower() for w in words}
        self._ids: dict[str, str] = {}
        for secret in secrets:
            for value in telling(secret):
                if len(value) >= SHORTEST and value.lower() not in common:
                    self._ids.setdefault(value, secret.id)
        longest_first = sorted(self._ids, key=lambda v: (-len(v), v))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return `text` with every secret's value replaced by `<secret ID>`."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: f"<secret {self._ids[match.group()]}>", text)

    def finds(self, text: str) -> str | None:
        """Return the id of a secret whose value is in `text`, or None."""
        match = self._pattern.search(text) if self._pattern is not None else None
        return self._ids[match.group()] if match else None

    def tree(self, value: Any) -> Any:  # JSON
        """Return a JSON value with every text in it redacted, keys included."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self(k): self.tree(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(v) for v in value]
        return value


def telling(secret: Secret) -> list[str]:
    """Return the texts that give a secret away: its value and, of a key in PEM form, each line but its armour."""
    lines = [line.strip() for line in secret.value.splitlines()] if "\n" in secret.value else []
    keys = (line for line in lines if len(line) > BASE64_LINE and "-----" not in line)
    return list(dict.fromkeys((secret.value, *keys)))
