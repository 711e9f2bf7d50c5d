"""A differencing VHD or VHDX as an image that qemu can read: what it changes, in a qcow2 over its parent.

qemu reads neither (`migrate.guest.images.differencing`). The qcow2 is a temporary file without a name; it takes as much
room as was changed, and the parent is not copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, Window
from migrate.guest.images.child import ZEROS, Child, Run
from migrate.guest.images.differencing import changes, check_parent, read_child
from migrate.guest.images.imagechain import Chain
from migrate.guest.images.nbdclient import NbdClient
from migrate.guest.images.nbdserver import Server
from migrate.guest.images.packed import free_room, no_room, window_of
from migrate.guest.images.qemuimg import create_overlay
from migrate.guest.progress import Progress
from migrate.guest.spool import private_directory, reopened, spool
from migrate.text import show

_CLUSTER = 64 << 10  # qemu-img's default
_PIECE = 4 << 20
_FULL_COPY = "copy it again from where it came"


def merged(chain: Chain, window: Window, directory: Path | None, stack: ExitStack, progress: Progress) -> Node:
    """Return a node of a differencing image and its parent, which is found as any file that an image names.

    The temporary file is closed with `stack`. Raises DiskError.
    """
    try:
        with window.file() as file:
            child = read_child(file)
            parent = _parent(chain, child, directory)
            layer = stack.enter_context(spool())
            create_overlay(Path(reopened(layer)), child.virtual_bytes, None, chain.attempted)
            _check_room(changes(file, child), layer, chain.attempted)
            node = Node(format="qcow2", file=window_of(layer), backing=parent)
            _apply(node, file, child, window.path.name, progress)
    except ValueError as error:
        raise DiskError(chain.attempted, f"of {show(str(window.path))}: {error}", _FULL_COPY) from error
    except OSError as error:
        why = f"of {show(str(window.path))}: {error.strerror or error}"
        raise DiskError(chain.attempted, why) from error
    return Node(format="qcow2", file=window_of(layer), backing=parent)


def _parent(chain: Chain, child: Child, directory: Path | None) -> Node:
    """Return the node of the first file under one of the parent's names that is the parent."""
    failures: list[DiskError] = []
    for name in child.parents:
        try:
            path = chain.find(name, directory)
            with path.open("rb") as file:
                why = check_parent(file, child)
        except DiskError as error:
            failures.append(error)
            continue
        except OSError as error:
            why = error.strerror or str(error)
        if not why:
            return chain.backing(path, child.format)
        found = f"it is a change to {show(str(path))}, and that is not what it was: {why}"
        failures.append(DiskError(chain.attempted, found, "give the parent as it was when this was made"))
    if failures:
        raise failures[0]
    raise DiskError(chain.attempted, "it is a differencing disk, and does not say of what")


def _check_room(runs: Iterable[Run], layer: IO[bytes], attempted: str) -> None:
    """Raise DiskError where the changes do not fit into the room for temporary files; all is counted in clusters."""
    clusters, end = 0, 0
    for start, place, length in runs:
        if place == ZEROS:
            continue
        first, last = max(end, start // _CLUSTER), -(-(start + length) // _CLUSTER)
        clusters, end = clusters + max(0, last - first), max(end, last)
    needed, room = clusters * (_CLUSTER + 16), free_room(layer)
    if needed > room:
        raise no_room(attempted, f"{needed} bytes for what it changes", room)


def _apply(node: Node, file: IO[bytes], child: Child, name: str, progress: Progress) -> None:
    with private_directory() as place:
        server = Server(node, name, Path(place), writable=True)
        try:
            client = server.connect()
            try:
                for start, at, length in changes(file, child):
                    progress(f"merging {show(name)} with its parent", start, child.virtual_bytes)
                    _copy(client, file, start, at, length)
                client.flush()
            finally:
                client.close()
            if server.wait(60) != 0:
                raise DiskError(f"merge {show(name)} with its parent", "qemu-nbd does not end as it should")
        finally:
            server.close()


def _copy(client: NbdClient, file: IO[bytes], start: int, at: int, length: int) -> None:
    if at == ZEROS:
        client.write_zeros(start, length)
        return
    file.seek(at)
    while length:
        data = file.read(min(_PIECE, length))
        if not data:
            raise ValueError("it is cut short")
        client.write(start, data)
        start, length = start + len(data), length - len(data)
