"""A whole machine whose package database is damaged: everything is still accounted for, and what is wrong is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from migrate import analysis
from migrate.account import account
from migrate.changes.compare import compare
from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from migrate.join import join
from migrate.model import Package, Unread
from tests.machines import make_alpine, make_rpm

ROOTS = {
    "apk": (make_alpine.ROOT, "/lib/apk/db/installed"),
    "rpm": (make_rpm.ROOT, "/var/lib/rpm/rpmdb.sqlite"),
}


def _sprinkled(data: bytes, rnd: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(400):
        broken[rnd.randrange(len(broken))] = rnd.randrange(256)
    return bytes(broken)


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda _data, _rnd: b"",
    "a quarter": lambda data, _rnd: data[: len(data) // 4],
    "three quarters": lambda data, _rnd: data[: len(data) * 3 // 4],
    "noise": lambda data, rnd: rnd.randbytes(len(data)),
    "zeros": lambda data, _rnd: bytes(len(data)),
    "bytes here and there": _sprinkled,
    "its second half twice": lambda data, _rnd: data[len(data) // 2 :] * 2,
}


class _Replaced:
    """A guest in which one file has another content."""

    def __init__(self, guest: Guest, path: str, content: bytes) -> None:
        self._guest, self._path, self._content = guest, path, content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def read(self, path: str, limit: int | None = None) -> bytes:
        return self._content[:limit] if path == self._path else self._guest.read(path, limit)

    def text(self, path: str, limit: int = 4 << 20) -> str:
        return self.read(path, limit).decode("utf-8", "surrogateescape")

    def chunks(self, path: str, size: int = 1 << 20) -> Iterator[bytes]:
        if path != self._path:
            yield from self._guest.chunks(path, size)
        for start in range(0, len(self._content) if path == self._path else 0, size):
            yield self._content[start : start + size]


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest) -> tuple[Path, str, str]:
    path, database = ROOTS[request.param]
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path, database, request.param


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_file_is_in_a_class_and_the_damage_is_told(root: tuple[Path, str, str], damage: str) -> None:
    path, database, manager = root
    with open_guest([path]) as guest:
        whole = {f.name for f in analysis.find(guest).of(Package)}
        broken = DAMAGE[damage](guest.read(database), random.Random(11))
        facts = analysis.find(cast("Guest", _Replaced(guest, database, broken)))
        found = account(facts, join(facts), compare(facts))
        count = sum(1 for entry in guest.walk("/") if entry.kind != "directory")
    assert sum(files for files, _ in found.classes.values()) == count
    packages = {f.name for f in facts.of(Package)}
    told = [f for f in facts.of(Unread) if f.analyzer == manager]
    assert told or manager == "apk"
    assert packages <= whole or manager == "apk"  # apk's database has no digest of its own lines
    assert len(told) < 2000
    if damage in {"empty", "noise", "zeros"}:
        assert packages == set()
