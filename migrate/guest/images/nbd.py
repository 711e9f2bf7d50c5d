"""A disk image's content through qemu's own block layer: `qemu-nbd`, read-only, over a private unix socket."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from migrate.guest.images.image import ImageInfo
from migrate.guest.images.nbdclient import BLOCK, NbdClient
from migrate.guest.images.nbdserver import Server
from migrate.guest.spool import private_directory

__all__ = ["BLOCK", "CACHE", "BlockCache", "NbdClient", "NbdDisk"]

CACHE = 64 << 20
"""How many bytes the cache of one disk holds at most."""

_AHEAD = 64  # blocks: 4 MiB
_LARGE = 512 << 10  # of bytes that are content, and would push out what is looked at again


class BlockCache:
    """Reads of any size through blocks that are kept, the longest unused forgotten first.

    Blocks that are read one after the other are fetched more and more at a time, up to 4 MiB.
    """

    def __init__(self, client: NbdClient, limit: int = CACHE) -> None:
        self._client = client
        self._most = max(2 * _AHEAD, limit // BLOCK)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1
        self._ahead = 1
        self.size = client.size

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes. Raises DiskError."""
        if offset < 0 or length < 0 or offset + length > self.size or length >= _LARGE:
            return self._client.read(offset, length)  # which says what is wrong with what is none of it
        number, start = divmod(offset, BLOCK)
        if start + length <= BLOCK:
            return self._block(number)[start : start + length] if length else b""
        pieces = []
        while length:
            number, start = divmod(offset, BLOCK)
            piece = self._block(number)[start : start + length]
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is not None:
            self._blocks.move_to_end(number)
            return block
        self._ahead = min(_AHEAD, self._ahead * 2) if number == self._next else 1
        start = number * BLOCK
        data = self._client.read(start, min(self._ahead * BLOCK, self.size - start))
        for at in range(0, len(data), BLOCK):
            self._blocks[number + at // BLOCK] = data[at : at + BLOCK]
        self._blocks.move_to_end(number)
        self._next = number + self._ahead
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return self._blocks[number]


class NbdDisk:
    """An image that `describe` has checked, opened by a qemu-nbd of its own. Raises DiskError."""

    def __init__(self, image: ImageInfo) -> None:
        with private_directory() as place:
            node = image.node()
            self._server = Server(node, image.given, Path(place))
            try:
                self._client = self._server.connect()
                if node.snapshot:
                    # qemu-nbd 7.2 gives it the size that the disk has now, block/qcow2-snapshot.c.
                    self._client.limit(image.virtual_bytes)
            except BaseException:
                self._server.close()
                raise
            self._server.forget_socket()
        self._process = self._server.process
        cache = BlockCache(self._client)
        self.size = cache.size
        self.read = cache.read

    def close(self) -> None:
        """End the server; a second call does nothing."""
        self._client.close()
        if self._server.wait(5) is None:
            self._server.close()
