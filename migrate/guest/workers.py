"""Processes that hash the files of disks, each with a qemu-nbd of its own; `migrate.guest.worker` is what they run.

Walking a file system takes as much time here as hashing what is in it, and holds the interpreter's lock: of Debian's
17,700 files (699 MiB) one process made the MD5 sums in 1.6 s, two threads with a connection each in 1.6 s, two
processes in 0.85 s (two processors). They are started anew, not forked: the progress bars have a thread, and a copy
of this process would count its names' memory twice.

A worker ends with its standard input, and with the thread that started it (PR_SET_PDEATHSIG), however that ends; its
qemu-nbd ends with the connection. What one that was killed had in hand is left to the caller.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import msgspec

from migrate.errors import DiskError
from migrate.guest.digests import BYTES, processors
from migrate.guest.filesystems.hashing import Task
from migrate.guest.images.image import ImageInfo
from migrate.guest.images.nbdserver import Server
from migrate.guest.images.qemuimg import dying_with_us
from migrate.guest.spool import private_directory
from migrate.guest.worker import FRAME, Parts, Start, Volume

MOST = 8
"""How many workers there are at most: each has a qemu-nbd for each disk."""

_AHEAD = 2  # batches that a worker has in hand: what it is told and answers stays shorter than a pipe holds (pipe(7))
_SECONDS_PER_BYTE, _SECONDS_PER_FILE, _WORTH = 1.6e-9, 3e-5, 0.6
_RUN = "import sys; sys.path[:] = sys.argv[1:]; from migrate.guest.worker import main; main()"


def workers_for(files: int, size: int) -> int:
    """Return how many workers to hash so many files of so many bytes with; 0 where this process is as fast alone.

    A worker takes 0.2 s of a processor to start.
    """
    count = min(processors(), MOST)
    seconds = files * _SECONDS_PER_FILE + size * _SECONDS_PER_BYTE
    return count if count > 1 and seconds > _WORTH else 0


class Workers:
    """So many processes that have opened the disks, and the file systems on the devices of these `names`.

    `ended` says of each that went before its time how that was. Raises DiskError where none can be started.
    """

    def __init__(self, disks: Sequence[ImageInfo], names: Sequence[str], count: int) -> None:
        self.ended: list[str] = []
        with contextlib.ExitStack() as stack:
            place = Path(stack.enter_context(private_directory()))
            servers = [[_server(disk, place, stack) for disk in disks] for _ in range(count)]
            self._workers = [
                _Worker(Start(tuple(_volume(*each) for each in zip(disks, some, strict=True)), tuple(names)), stack)
                for some in servers
            ]
            self._stack = stack.pop_all()

    def run(self, parts: Sequence[Sequence[Task]]) -> Iterator[tuple[int, list[bytes | None]]]:
        """Yield the number of each part, as it is done, and its digests; of some there may be none.

        No part is begun before all before it are.
        """
        todo = deque(range(len(parts)))
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
                worker.feed(parts, todo, 1)
            for worker in self._workers:
                worker.feed(parts, todo)
            while selector.get_map():
                for key, _ in selector.select():
                    worker = key.data
                    yield from worker.take()
                    worker.feed(parts, todo)
                    if worker.is_over:
                        selector.unregister(worker.output)
                        if not worker.was_done:
                            self.ended.append(worker.how_it_ended())

    def close(self) -> None:
        """End them and their servers; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _server(disk: ImageInfo, place: Path, stack: contextlib.ExitStack) -> Server:
    server = Server(disk.node(), disk.given, place)
    stack.callback(server.close)
    return server


def _volume(disk: ImageInfo, server: Server) -> Volume:
    return Volume(server.socket, disk.given, disk.virtual_bytes)


class _Worker:
    """One process. `is_over` tells that it will say nothing more, `was_done` that it had nothing to say any more."""

    def __init__(self, start: Start, stack: contextlib.ExitStack) -> None:
        argv = dying_with_us([sys.executable, "-P", "-c", _RUN, *sys.path])
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError as error:
            raise DiskError("start a process that hashes files", error.strerror or str(error)) from error
        stack.callback(self._end)
        self._input = cast("IO[bytes]", self._process.stdin)
        self.output = cast("IO[bytes]", self._process.stdout)
        self._held = bytearray()
        self._begun: deque[int] = deque()
        self._size = 0
        self.is_over = False
        self.was_done = False
        self._send(msgspec.msgpack.encode(start))

    def _send(self, message: bytes) -> None:
        data = memoryview(FRAME.pack(len(message)) + message)
        try:
            while data:
                data = data[self._input.write(data) :]
        except OSError:
            pass  # its end is seen where it is read from

    def feed(self, parts: Sequence[Sequence[Task]], todo: deque[int], most: int = _AHEAD) -> None:
        """Give it parts to do; where there are no more, let it end."""
        while todo and len(self._begun) < most and not self.is_over:
            tasks = parts[todo[0]]
            size = sum(task.length for task in tasks)
            if self._begun and max(self._size, size) > BYTES:
                break  # nothing waits behind what is large: another may be free before
            self._size = size
            self._begun.append(todo.popleft())
            self._send(msgspec.msgpack.encode(tasks))
        if not todo and not self._begun and not self.is_over:
            self.is_over = self.was_done = True
            self._input.close()

    def take(self) -> Iterator[tuple[int, list[bytes | None]]]:
        """Yield what it has done; what it says is there to be read."""
        piece = os.read(self.output.fileno(), 1 << 16)
        self.is_over = not piece
        self._held += piece
        while len(self._held) >= FRAME.size:
            end = FRAME.size + FRAME.unpack_from(self._held)[0]
            if len(self._held) < end:
                break
            found = msgspec.msgpack.decode(self._held[FRAME.size : end], type=Parts)
            del self._held[:end]
            yield self._begun.popleft(), found

    def how_it_ended(self) -> str:
        """Return in words how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(1)
            return f"it was killed ({signal.Signals(-status).name})" if status < 0 else f"it ended with status {status}"
        return "it said nothing more"

    def _end(self) -> None:
        """End it: at once where it is not done."""
        self._input.close()
        if not self.was_done:
            self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.output.close()
