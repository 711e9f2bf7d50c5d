"""Hashing in the order of places, against a file system that says what a test wants."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from migrate.errors import DiskError, GuestFileError
from migrate.guest.filesystems import hashing
from migrate.guest.filesystems.hashing import GAP, SHORT, WINDOW, Opened, Task, hash_tasks
from migrate.guest.filesystems.inprocess import Extent, Usage, extents, mapped
from migrate.guest.protocol import Entry

DEVICE = random.Random(7).randbytes(6 << 20)


class Told:
    """A file system whose files are where `files` says: extents, bytes, or None for what is only read."""

    def __init__(self, files: dict[int, list[Extent] | bytes | None]) -> None:
        self._files = files
        self.reads: list[tuple[int, int]] = []
        self.bad: range = range(0)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        if any(place in self.bad for place in (offset, offset + length - 1)) or offset + length > len(DEVICE):
            raise DiskError("read", "it cannot be read")
        return DEVICE[offset : offset + length]

    def usage(self) -> Usage:
        raise NotImplementedError

    def entries(self) -> Iterator[Entry]:
        raise NotImplementedError

    def layout(self, path: str, number: int, length: int) -> list[Extent] | bytes | None:
        if number not in self._files:
            raise GuestFileError("read", "its map is damaged")
        return self._files[number]

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        yield DEVICE[:length]


def md5(content: bytes) -> bytes:
    return hashlib.md5(content).digest()


def test_neighbours_are_read_at_once() -> None:
    told = Told({
        1: [(0, 100, 9000)],
        2: [(0, 5000, 0)],
        3: [(0, 10, 9100 + GAP)],
        4: [(0, 10, 9111 + 2 * GAP)],
        5: [(0, 4096, 4 << 20), (8192, 10, 5000)],
    })  # fmt: skip
    tasks = [Task(0, 1, 100, "md5"), Task(0, 2, 5000, "sha1"), Task(0, 3, 10, "md5"), Task(0, 4, 10, "md5"),
             Task(0, 5, 9000, "md5")]  # fmt: skip
    scattered = DEVICE[4 << 20 :][:4096] + bytes(4096) + DEVICE[5000:5010] + bytes(9000 - 8202)
    assert hash_tasks([Opened(told, told.read)], tasks) == [
        md5(DEVICE[9000:9100]),
        hashlib.sha1(DEVICE[:5000]).digest(),
        md5(DEVICE[9100 + GAP :][:10]),
        md5(DEVICE[9111 + 2 * GAP :][:10]),
        md5(scattered),
    ]
    assert told.reads == [(0, 9110 + GAP), (9111 + 2 * GAP, 10), (4 << 20, 4096)]


def test_what_is_read_at_once_is_bounded() -> None:
    told = Told({number: [(0, SHORT, number << 20)] for number in range(6)})
    found = hash_tasks([Opened(told, told.read)], [Task(0, number, SHORT, "md5") for number in (5, 1, 4, 0, 3, 2)])
    assert found == [md5(DEVICE[number << 20 :][:SHORT]) for number in (5, 1, 4, 0, 3, 2)]
    assert told.reads == [(0, WINDOW), (WINDOW, WINDOW), (2 * WINDOW, WINDOW)]


def test_two_devices_are_not_mixed() -> None:
    one, two = Told({1: [(0, 10, 0)]}), Told({1: [(0, 10, 5)]})
    tasks = [Task(1, 1, 10, "md5"), Task(0, 1, 10, "md5")]
    assert hash_tasks([Opened(one, one.read), Opened(two, two.read)], tasks) == [md5(DEVICE[5:15]), md5(DEVICE[:10])]


@pytest.mark.parametrize("told", [b"too short", [(0, 60, 0), (0, 60, 0)], None], ids=["inline", "overlapping", "none"])
def test_what_is_not_told_in_one_go_is_read_in_pieces(told: list[Extent] | bytes | None) -> None:
    system = Told({1: told})
    assert hash_tasks([Opened(system, system.read)], [Task(0, 1, 100, "md5")]) == [md5(DEVICE[:100])]
    assert system.reads == []


def test_long_files_are_read_in_pieces_and_one_that_ends_early_has_no_digest() -> None:
    system = Told({1: [(0, 10, 0)]})
    tasks = [Task(0, 1, SHORT + 1, "md5"), Task(0, 1, len(DEVICE) + 1, "md5")]
    assert hash_tasks([Opened(system, system.read)], tasks) == [md5(DEVICE[: SHORT + 1]), None]


def test_inline_content() -> None:
    system = Told({1: b"inline"})
    assert hash_tasks([Opened(system, system.read)], [Task(0, 1, 6, "sha256")]) == [hashlib.sha256(b"inline").digest()]


def test_what_cannot_be_read_has_none() -> None:
    system = Told({1: [(0, 10, 0)], 2: [(0, 10, 20)], 4: [(0, 10, 1 << 20), (4096, 10, 3 << 20)], 5: []})
    system.bad = range(3 << 20, 4 << 20)
    tasks = [Task(0, number, 10_000 if number in {4, 5} else 10, "md5") for number in (1, 2, 3, 4, 5)]
    found = hash_tasks([Opened(system, system.read)], tasks)
    assert found == [md5(DEVICE[:10]), md5(DEVICE[20:30]), None, None, md5(bytes(10_000))]


def test_places_are_those_that_are_read() -> None:
    """`extents` says of any runs what `mapped` reads."""
    chance = random.Random(3)
    for _ in range(300):
        runs, first = [], 0
        for _ in range(chance.randrange(6)):
            first += chance.choice((0, 0, 1, 5))
            count = chance.randrange(1, 40)
            runs.append((first, count, chance.randrange(1000)))
            first += count
        length = chance.randrange(1, 200 * 1024)
        read = b"".join(mapped(runs, 1024, length, lambda where, count: DEVICE[where << 10 : (where + count) << 10]))
        content = bytearray(length)
        for at, count, place in extents(runs, 1024, length, lambda where, _: where << 10):
            content[at : at + count] = DEVICE[place : place + count]
        assert content == read


def test_each_run_is_asked_for_as_far_as_it_is_needed() -> None:
    asked = []

    def place(where: int, count: int) -> int:
        asked.append((where, count))
        return where

    assert extents([(0, 10, 5), (20, 99, 7), (200, 1, 3)], 100, 2150, place) == [(0, 1000, 5), (2000, 150, 7)]
    assert asked == [(5, 10), (7, 2)]


def test_as_many_as_a_batch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random files over a device, many on the same blocks, in any window."""
    chance = random.Random(9)
    files: dict[int, list[Extent] | bytes | None] = {}
    wanted: dict[int, bytes] = {}
    for number in range(400):
        content, parts, at = bytearray(chance.randrange(1, 30_000)), [], 0
        while at < len(content):
            at += chance.choice((0, 0, 3000))
            count = min(chance.randrange(1, 9000), len(content) - at)
            if count <= 0:
                break
            place = chance.randrange(len(DEVICE) - count)
            parts.append((at, count, place))
            content[at : at + count] = DEVICE[place : place + count]
            at += count
        files[number], wanted[number] = parts, bytes(content)
    system = Told(files)
    tasks = [Task(0, number, len(wanted[number]), "sha1") for number in files]
    for window in (1, 5000, WINDOW):
        monkeypatch.setattr(hashing, "WINDOW", window)
        found = hash_tasks([Opened(system, system.read)], tasks)
        assert found == [hashlib.sha1(wanted[number]).digest() for number in files]
