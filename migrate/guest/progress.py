"""How a reader tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

Notify: TypeAlias = Callable[[str], None]
"""Takes one sentence that a person should see."""


class Progress(Protocol):
    """Takes what is being done now and, where it is known, how much of how much is done."""

    def __call__(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Show it."""
        ...


def silent(text: str, done: float | None = None, total: float | None = None) -> None:
    """Tell nobody."""
