"""What was read lately is not read again, and does not grow without bound."""

from __future__ import annotations

import pytest

from migrate.guest.libguestfs import kept
from migrate.guest.libguestfs.kept import Kept


def test_as_much_as_was_read_can_be_had_again() -> None:
    store = Kept()
    store.put("/a", b"0123456789")
    assert store.get("/a", 4) == b"0123"
    assert store.get("/a", 10) == b"0123456789"
    assert store.get("/a", 11) is None
    assert store.get("/b", 0) is None
    store.put("/a", b"0123456789ab")
    assert store.get("/a", 11) == b"0123456789a"
    store.clear()
    assert store.get("/a", 1) is None


def test_what_was_not_used_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 30)
    monkeypatch.setattr(kept, "LARGEST", 20)
    store = Kept()
    store.put("/long", b"x" * 21)
    assert store.get("/long", 1) is None
    for name in "abc":
        store.put(name, b"x" * 10)
    assert store.get("a", 1) == b"x"
    store.put("d", b"x" * 10)
    assert [name for name in "abcd" if store.get(name, 10)] == ["a", "c", "d"]
    for _ in range(5):
        store.put("d", b"x" * 10)
    assert [name for name in "abcd" if store.get(name, 10)] == ["a", "c", "d"]
