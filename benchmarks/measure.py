"""One command's time and memory, with all the processes that it starts.

Memory is read from /proc (proc(5)) every 50 ms: of each process of the command's session the peak of its resident
memory until then (VmHWM), summed over those that are alive at that moment; the largest sum counts. That is at least
what they took together at any time, shared pages counted for each. qemu-system-*, the appliance's machine, is summed
for itself. getrusage(2) would tell the largest single process only.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

INTERVAL = 0.05  # seconds
_HIGH = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Measured(msgspec.Struct, frozen=True):
    """What one run took. `memory` and `appliance` are bytes; `failed` is a line that says why it counts for nothing."""

    seconds: float
    memory: int
    appliance: int
    failed: str = ""


def measure(argv: Sequence[str], environment: Mapping[str, str], accepted: Sequence[int] = (0,)) -> Measured:
    """Run a command in a session of its own, and say what it took. `accepted` are the exit codes of success."""
    with tempfile.TemporaryFile() as words:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            return Measured(0, 0, 0, f"{argv[0]}: {error.strerror}")
        watch = _Watch(process.pid)
        watch.start()
        process.wait()
        seconds = time.perf_counter() - start
        watch.end()
        failed = "" if process.returncode in accepted else _last_line(words.fileno()) or f"exit {process.returncode}"
        return Measured(seconds, watch.memory, watch.appliance, failed)


def _last_line(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, 4096, max(0, size - 4096)).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


class _Watch(threading.Thread):
    """Keeps the largest sums of a session's memory until it is told to end."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._over = threading.Event()
        self.memory = self.appliance = 0

    def run(self) -> None:
        while not self._over.is_set():
            memory, appliance = session_memory(self._session)
            self.memory, self.appliance = max(self.memory, memory), max(self.appliance, appliance)
            self._over.wait(INTERVAL)

    def end(self) -> None:
        self._over.set()
        self.join()


def session_memory(session: int) -> tuple[int, int]:
    """Return the bytes of a session's processes, and those of its appliances, each as its peak so far."""
    memory = appliance = 0
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            name, of = parse_stat((place / "stat").read_bytes())
            if of != session:
                continue
            peak = parse_peak((place / "status").read_bytes())
        except (OSError, ValueError):  # it has ended in between
            continue
        if name.startswith("qemu-system"):
            appliance += peak
        else:
            memory += peak
    return memory, appliance


def parse_stat(stat: bytes) -> tuple[str, int]:
    """Return a process' name and session from /proc/PID/stat; the name may have any byte in it. Raises ValueError.

    >>> parse_stat(b"7 (a) b) S 1 7 5 0 -1")
    ('a) b', 5)
    """
    before, _, after = stat.rpartition(b")")
    fields = after.split()
    if len(fields) < 4:
        raise ValueError("no /proc/PID/stat")
    return before.partition(b"(")[2].decode("utf-8", "replace"), int(fields[3])


def parse_peak(status: bytes) -> int:
    """Return VmHWM in bytes from /proc/PID/status; a process that is ending has none."""
    found = _HIGH.search(status)
    return int(found[1]) << 10 if found else 0
