"""What a process of `migrate.guest.workers` runs: it opens the disks again, and hashes what it is told.

Messages are msgpack behind their length, on standard input and output: `Start`, then lists of tasks; each is answered
by a list of digests, with null for what could not be read so.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import IO, TypeAlias

import msgspec

from migrate.guest.filesystems.hashing import Task, hash_tasks
from migrate.guest.images.nbd import BlockCache, NbdClient
from migrate.guest.images.nbdserver import REPLY_SECONDS, START_SECONDS

FRAME = struct.Struct(">I")
Parts: TypeAlias = list[bytes | None]

_CACHE = 16 << 20


class Volume(msgspec.Struct, frozen=True, array_like=True):
    """A disk: the path of the socket where a qemu-nbd serves it, its name in messages, and its size in bytes."""

    socket: str
    name: str
    size: int


class Start(msgspec.Struct, frozen=True, array_like=True):
    """The disks in order, and the devices whose file systems to open, in the order of their numbers."""

    disks: tuple[Volume, ...]
    devices: tuple[str, ...]


def main() -> None:
    """Do what standard input says until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    words, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    message = _received(words)
    if message is None:
        return
    # Here, not above: who starts it is imported by what reads disks directly.
    from migrate.guest.direct import DirectHandle

    start = msgspec.msgpack.decode(message, type=Start)
    clients = [_attached(disk) for disk in start.disks]
    handle = DirectHandle([(BlockCache(client, _CACHE).read, client.size) for client in clients])
    for device in start.devices:
        handle.open_again(device)
    while (message := _received(words)) is not None:
        digests = hash_tasks(handle.filesystems, msgspec.msgpack.decode(message, type=list[Task]))
        if None in digests:
            _check(clients)
        done = msgspec.msgpack.encode(digests)
        answers.write(FRAME.pack(len(done)) + done)
        answers.flush()
    os._exit(0)  # with nothing to clear up, 20 ms sooner


def _received(file: IO[bytes]) -> bytes | None:
    """Return the next message, None at the end."""
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (length,) = FRAME.unpack(head)
    message = file.read(length)
    return message if len(message) == length else None


def _check(clients: Sequence[NbdClient]) -> None:
    """Raise DiskError where a server is gone: what could not be read may be well, and the rest is for others."""
    for client in clients:
        client.read(0, 1)


def _attached(disk: Volume) -> NbdClient:
    """Connect to a disk's server as soon as it listens. Raises DiskError, and OSError where it never does."""
    end = time.monotonic() + START_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(REPLY_SECONDS)
        try:
            connection.connect(disk.socket)
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            client = NbdClient(connection, disk.name)
            client.limit(disk.size)
            return client
