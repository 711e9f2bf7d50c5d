"""What was read of a guest's files lately. Many analyzers look at the same ones.

Of the disk of examples/shop, 1,840 reads of 92 MiB are of 709 files with 65; a call takes 0.4 ms, and 20 ms a MiB under
emulation.
"""

from __future__ import annotations

LARGEST = 8 << 20
"""Of longer readings none is kept."""

MOST = 64 << 20
"""The most bytes kept; what was not used for longest goes first."""


class Kept:
    """The starts of files, by path."""

    def __init__(self) -> None:
        self._starts: dict[str, bytes] = {}
        self._bytes = 0

    def get(self, path: str, length: int) -> bytes | None:
        """Return the first `length` bytes of a file, or None where so much of it is not here."""
        start = self._starts.get(path)
        if start is None or len(start) < length:
            return None
        self._starts[path] = self._starts.pop(path)
        return start[:length]

    def put(self, path: str, start: bytes) -> None:
        """Keep the start of a file."""
        if len(start) > LARGEST:
            return
        self._bytes += len(start) - len(self._starts.pop(path, b""))
        self._starts[path] = start
        while self._bytes > MOST:
            self._bytes -= len(self._starts.pop(next(iter(self._starts))))

    def clear(self) -> None:
        """Let go of everything."""
        self._starts.clear()
        self._bytes = 0
