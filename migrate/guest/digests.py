"""Digests of many files at once: what is to be hashed, what is too much, and hashing in threads.

What all readers have in common; each adds how it reads. Threads serve where content is read by system calls: hashlib
and the calls let go of the interpreter's lock. What reads file systems in Python itself has `migrate.guest.workers`.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

from migrate.errors import GuestFileError
from migrate.guest.protocol import Entry, Guest
from migrate.text import show

FILES = 256
"""How many files make a batch at most."""

BYTES = 16 << 20
"""How many bytes make a batch, unless one file alone has more."""

T = TypeVar("T", int, tuple[int, int])

_EARLY = 64 << 20
_TIMES, _BESIDE = 4, 64 << 30


class Job(NamedTuple):
    """A regular file to be hashed, and hashlib's name of how."""

    entry: Entry
    algorithm: str


Answer: TypeAlias = str | GuestFileError
"""A digest in hexadecimal, or why there is none."""


def hasher(algorithm: str) -> hashlib._Hash:
    """Return a new hash object. Raises ValueError for an algorithm that is not on every platform."""
    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        raise ValueError(f"no such digest: {algorithm}")
    return hashlib.new(algorithm, usedforsecurity=False)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def jobs_of(find: Callable[[str], Entry | None], wanted: Mapping[str, str]) -> tuple[list[Job], array[int]]:
    """Return what is to be hashed, hard links of a file once; and for each path, in order, the number of its job.

    That is -1 for what is no regular file. Raises ValueError for an algorithm that hashlib does not guarantee.
    """
    for algorithm in dict.fromkeys(wanted.values()):
        hasher(algorithm)
    jobs: list[Job] = []
    numbers = array("q")
    linked: dict[tuple[tuple[int, int], str], int] = {}
    for path, algorithm in wanted.items():
        entry = find(path)
        if entry is None or entry.kind != "file":
            numbers.append(-1)
            continue
        number = len(jobs)
        if entry.links > 1:
            number = linked.setdefault((entry.inode, algorithm), number)
        if number == len(jobs):
            jobs.append(Job(entry, algorithm))
        numbers.append(number)
    return jobs, numbers


def digest_of(job: Job, pieces: Iterable[bytes]) -> Answer:
    """Hash the content of a file. One that turns out shorter than it should be has no digest; raises as `pieces`."""
    digest = hasher(job.algorithm)
    length = 0
    try:
        for piece in pieces:
            digest.update(piece)
            length += len(piece)
    except GuestFileError as error:
        return error
    size = job.entry.size
    if length != size:
        return GuestFileError(f"read {show(job.entry.path)}", f"it ended after {length} of {size} bytes")
    return digest.hexdigest()


def too_much(sizes: Sequence[int], disk: int) -> set[int]:
    """Return the numbers of the files that are not hashed; `disk` is how many bytes the disks have.

    Content can be shared among files (XFS), compressed (btrfs) or missing (holes), so that there is more of it than
    the disks have, but not without end: one file of ext4 may have 16 TiB of zeros, and a disk a million of such names.
    The smallest come first, so that it is always the largest that are left out.
    """
    left = _TIMES * disk + _BESIDE
    if sum(sizes) <= left:
        return set()
    out = set()
    for number in sorted(range(len(sizes)), key=lambda number: (sizes[number], number)):
        left -= sizes[number]
        if left < 0:
            out.add(number)
    return out


def batches(numbers: Iterable[int], sizes: Sequence[int]) -> list[list[int]]:
    """Part numbers of files into batches, in their order; what is very large comes before all others.

    Who starts with the largest does not wait for it at the end.
    """
    early: list[int] = []
    found: list[list[int]] = []
    count = BYTES
    for number in numbers:
        if sizes[number] >= _EARLY:
            early.append(number)
            continue
        count += sizes[number]
        if count > BYTES or len(found[-1]) >= FILES:
            found.append([])
            count = sizes[number]
        found[-1].append(number)
    early.sort(key=lambda number: -sizes[number])
    return [[number] for number in early] + found


def in_threads(
    parts: Sequence[Sequence[int]], work: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]], count: int
) -> list[Answer]:
    """Let threads work on the parts in order, as many as there are processors; return the `count` answers."""
    found: dict[int, Answer] = {}
    most = min(processors(), len(parts))
    if most < 2:
        for part in parts:
            found.update(work(part))
    else:
        pool = ThreadPoolExecutor(most)
        try:
            for answers in pool.map(lambda part: list(work(part)), parts):
                found.update(answers)
        finally:
            pool.shutdown(cancel_futures=True)
    return [found[number] for number in range(count)]


def hashed_in_order(jobs: Sequence[Job], places: Sequence[T], digest: Callable[[Job], Answer]) -> list[Answer]:
    """Hash files in threads, in the order of their places."""
    order = sorted(range(len(jobs)), key=places.__getitem__)
    parts = batches(order, [job.entry.size for job in jobs])
    return in_threads(parts, lambda part: ((number, digest(jobs[number])) for number in part), len(jobs))


def hashed_by(guest: Guest, jobs: Sequence[Job]) -> list[Answer]:
    """Return the answers that another guest of the same files has."""
    found: dict[tuple[str, str], str] = {}
    for algorithm in dict.fromkeys(job.algorithm for job in jobs):
        wanted = {job.entry.path: algorithm for job in jobs if job.algorithm == algorithm}
        found |= {(path, algorithm): digest for path, digest in guest.digests(wanted).items()}
    why = {problem.path: problem.why for problem in guest.problems}

    def answer(job: Job) -> Answer:
        lost = why.get(job.entry.path, "it is no regular file there")
        return found.get((job.entry.path, job.algorithm)) or GuestFileError(f"hash {show(job.entry.path)}", lost)

    return [answer(job) for job in jobs]
