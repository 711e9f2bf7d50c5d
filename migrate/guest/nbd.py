"""A disk image's content through qemu's own block layer: `qemu-nbd`, read-only, over a private unix socket.

The protocol is NBD's (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md): fixed newstyle handshake,
NBD_OPT_GO, simple replies. The server is started without `--persistent`: it ends by itself when its one client goes,
however that ends; until it is connected, PR_SET_PDEATHSIG (setpriv(1)) ends it with its parent.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections import OrderedDict
from typing import IO

from migrate.errors import DiskError
from migrate.guest.image import ImageInfo
from migrate.guest.spool import private_directory, spool
from migrate.text import show

BLOCK = 256 << 10
"""How many bytes the cache fetches and keeps together."""

CACHE = 64 << 20
"""How many bytes the cache of one disk holds at most."""

START_SECONDS = 30.0
REPLY_SECONDS = 120.0
_AHEAD = 16  # blocks: 4 MiB
_MAX_OPTION = 4096
_MAX_PAYLOAD = 32 << 20  # proto.md, "Block sizes": what a client may ask for where the server says nothing
_OPTION, _OPTION_REPLY = 0x49484156454F5054, 0x0003E889045565A9
_GO, _ACK, _INFO = 7, 1, 3


class NbdClient:
    """One connection to an NBD server. Whatever goes wrong on it is a DiskError, and then it is of no more use."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._socket = connection
        self._name = name
        self._handle = 0
        self.size = 0
        self._max = _MAX_PAYLOAD
        try:
            self._negotiate()
        except (OSError, struct.error) as error:
            raise self._error(f"the server goes away: {error}") from error

    def _negotiate(self) -> None:
        magic, option, flags = struct.unpack(">8sQH", self._receive(18))
        if magic != b"NBDMAGIC" or option != _OPTION or not flags & 1:
            raise self._error("the server speaks no fixed newstyle NBD")
        self._socket.sendall(struct.pack(">I", 1 | (flags & 2)))
        body = struct.pack(">IHH", 0, 1, _INFO)  # the default export; its block sizes are asked for
        self._socket.sendall(struct.pack(">QII", _OPTION, _GO, len(body)) + body)
        exported = False
        for _ in range(64):
            magic, option, kind, length = struct.unpack(">QIII", self._receive(20))
            if magic != _OPTION_REPLY or option != _GO or length > _MAX_OPTION:
                raise self._error("the server's answer to NBD_OPT_GO is none")
            data = self._receive(length)
            if kind == _ACK and exported:
                return
            if kind != _INFO:
                raise self._error(f"the server refuses to export it (NBD reply {kind:#x})")
            exported = self._info(data) or exported
        raise self._error("the server never ends its answer to NBD_OPT_GO")

    def _info(self, data: bytes) -> bool:
        (kind,) = struct.unpack_from(">H", data)
        if kind == 0:
            self.size = struct.unpack_from(">Q", data, 2)[0]
        elif kind == _INFO:
            smallest, _, largest = struct.unpack_from(">III", data, 2)
            if smallest > BLOCK or largest < BLOCK:
                raise self._error(f"the server reads {smallest} to {largest} bytes at once, and {BLOCK} are needed")
            self._max = min(largest, _MAX_PAYLOAD)
        return bool(kind == 0)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes. Raises DiskError."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self._error(f"bytes {offset} to {offset + length} are outside of its {self.size} bytes")
        pieces = []
        try:
            while length:
                count = min(length, self._max)
                pieces.append(self._request(offset, count))
                offset, length = offset + count, length - count
        except OSError as error:
            raise self._error(f"the server goes away: {error}") from error
        return b"".join(pieces)

    def _request(self, offset: int, length: int) -> bytes:
        self._handle += 1
        self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, self._handle, offset, length))
        magic, failed, handle = struct.unpack(">IIQ", self._receive(16))
        if magic != 0x67446698 or handle != self._handle:
            raise self._error("the server answers something else than it was asked")
        if failed:
            raise self._error(f"bytes {offset} to {offset + length} cannot be read: {os.strerror(failed)}")
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise self._error("the server ended in the middle of an answer")
            view = view[count:]
        return bytes(data)

    def _error(self, found: str) -> DiskError:
        return DiskError(f"read {show(self._name)} through qemu-nbd", found)

    def close(self) -> None:
        """Say goodbye and close the connection."""
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
        self._socket.close()


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
        if offset < 0 or length < 0 or offset + length > self.size:
            return self._client.read(offset, length)  # which says what is wrong
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
        self._name = image.given
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(private_directory())
            directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, directory)
            words = stack.enter_context(spool())
            # A socket's path may be 107 bytes long (unix(7)), which the directory's own name may exceed.
            path = f"/proc/{os.getpid()}/fd/{directory}/nbd"
            self._process = self._start(image, path, words)
            try:
                self._client = NbdClient(self._connect(path, words), image.given)
            except BaseException:
                self._end()
                raise
        cache = BlockCache(self._client)
        self.size = cache.size
        self.read = cache.read

    def _start(self, image: ImageInfo, path: str, words: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = ["qemu-nbd", "--read-only", "--shared=1", "-f", image.format, f"--socket={path}", "--", str(image.path)]
        if shutil.which("setpriv"):
            argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words, env=environment
            )
        except OSError as error:
            do = "install it (Debian, Ubuntu: apt-get install qemu-utils; Fedora: dnf install qemu-img)"
            found = f"the program qemu-nbd cannot be run: {error.strerror}"
            raise DiskError(f"open {show(image.given)}", found, do) from error

    def _connect(self, path: str, words: IO[bytes]) -> socket.socket:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            ended = self._process.poll() is not None
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(REPLY_SECONDS)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                if ended:
                    raise DiskError(f"open {show(self._name)}", _first_line(words)) from None
            else:
                return connection
            time.sleep(0.01)
        raise DiskError(f"open {show(self._name)}", f"qemu-nbd does not listen after {START_SECONDS:.0f} seconds")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the server; a second call does nothing."""
        self._client.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._end()


def _first_line(words: IO[bytes]) -> str:
    line = os.pread(words.fileno(), 4096, 0).decode("utf-8", "replace").partition("\n")[0]
    return show(re.sub(r"^(qemu-nbd|setpriv): ", "", line)) or "qemu-nbd ends and does not say why"
