"""How the direct reader hashes many files: in workers where there is enough to do, otherwise in this process.

The order is that of the inodes, which is about that of the files (ext4 and XFS put a file near its inode), and within
a batch that of their places on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from migrate.errors import DiskError
from migrate.guest.digests import Job, batches
from migrate.guest.filesystems.hashing import Opened, Task, hash_tasks
from migrate.guest.images.image import ImageInfo
from migrate.guest.progress import Notify, Progress
from migrate.guest.workers import Workers, workers_for


class DirectHashing(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed: the disks, the file systems opened here, and the names of the devices that they are on."""

    disks: tuple[ImageInfo, ...]
    filesystems: Sequence[Opened]
    devices: Sequence[str]
    notify: Notify
    progress: Progress

    def digests(self, jobs: Sequence[Job]) -> list[str | None]:
        """Return the digests; None of a file that cannot be read."""
        order = sorted(range(len(jobs)), key=lambda number: jobs[number].entry.inode)
        parts = _Parts(jobs, batches(order, [job.entry.size for job in jobs]))
        found: list[str | None] = [None] * len(jobs)
        done = 0
        for part, digests in self._hashed(parts, workers_for(len(jobs), sum(job.entry.size for job in jobs))):
            for number, digest in zip(parts.numbers[part], digests, strict=True):
                found[number] = None if digest is None else digest.hex()
            done += len(digests)
            self.progress("hashing files", done, len(jobs))
        return found

    def _hashed(self, parts: Sequence[Sequence[Task]], count: int) -> Iterator[tuple[int, list[bytes | None]]]:
        """Yield the number of each part as it is done, and its digests."""
        missing = set(range(len(parts)))
        for part, digests in self._by_workers(parts, count) if count else ():
            missing.discard(part)
            yield part, digests
        for part in sorted(missing):
            yield part, hash_tasks(self.filesystems, parts[part])

    def _by_workers(self, parts: Sequence[Sequence[Task]], count: int) -> Iterator[tuple[int, list[bytes | None]]]:
        """Yield what workers do; where one ends too early that is told, and what it had in hand is missing."""
        try:
            with Workers(self.disks, self.devices, count) as workers:
                yield from workers.run(parts)
        except DiskError as error:
            self.notify(f"files are hashed in one process: {error.found}")
            return
        for how in workers.ended:
            self.notify(f"one of {count} processes that hash files is gone: {how}; its files are hashed by the others")


class _Parts(Sequence[list[Task]]):
    """Batches of tasks, each made when it is looked at: a million of them would take 100 MiB."""

    def __init__(self, jobs: Sequence[Job], numbers: Sequence[Sequence[int]]) -> None:
        self._jobs = jobs
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, part: int) -> list[Task]: ...

    @overload
    def __getitem__(self, part: slice) -> list[list[Task]]: ...

    def __getitem__(self, part: int | slice) -> list[Task] | list[list[Task]]:
        if isinstance(part, slice):
            return [self[each] for each in range(*part.indices(len(self)))]
        jobs = (self._jobs[number] for number in self.numbers[part])
        return [Task(*entry.inode, entry.size, algorithm) for entry, algorithm in jobs]
