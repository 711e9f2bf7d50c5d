"""A client of NBD (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).

Fixed newstyle handshake, NBD_OPT_GO, simple replies. No library: PyPI has the bindings of libnbd only as a part of
their C library, and what is needed of the protocol is what is here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from migrate.errors import DiskError
from migrate.text import show

BLOCK = 64 << 10
"""The most bytes that a server must be able to give at once."""

_MAX_OPTION = 4096
_MAX_PAYLOAD = 32 << 20  # proto.md, "Block sizes": what a client may ask for where the server says nothing
_OPTION, _OPTION_REPLY = 0x49484156454F5054, 0x0003E889045565A9
_GO, _ACK, _INFO = 7, 1, 3
_READ, _WRITE, _DISCONNECT, _FLUSH, _WRITE_ZEROES = 0, 1, 2, 3, 6
_CAN_WRITE_ZEROES = 1 << 6
_MOST_ZEROES = 1 << 30


class NbdClient:
    """One connection to an NBD server. Whatever goes wrong on it is a DiskError, and then it is of no more use."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._socket = connection
        self._name = name
        self._handle = 0
        self.size = 0
        self._flags = 0
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
            self.size, self._flags = struct.unpack_from(">QH", data, 2)
        elif kind == _INFO:
            smallest, _, largest = struct.unpack_from(">III", data, 2)
            if smallest > BLOCK or largest < BLOCK:
                raise self._error(f"the server reads {smallest} to {largest} bytes at once, and {BLOCK} are needed")
            self._max = min(largest, _MAX_PAYLOAD)
        return bool(kind == 0)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly these bytes. Raises DiskError."""
        self._check(offset, length)
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
        self._ask(_READ, offset, length)
        return self._receive(length)

    def _ask(self, command: int, offset: int, length: int, data: bytes = b"") -> None:
        """Send one request and take the head of its answer."""
        self._handle += 1
        self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, self._handle, offset, length) + data)
        magic, failed, handle = struct.unpack(">IIQ", self._receive(16))
        if magic != 0x67446698 or handle != self._handle:
            raise self._error("the server answers something else than it was asked")
        if failed:
            done = "read" if command == _READ else "written"
            raise self._error(f"bytes {offset} to {offset + length} cannot be {done}: {os.strerror(failed)}")

    def limit(self, size: int) -> None:
        """Take the disk for one of `size` bytes, where it has more; where it has fewer, nothing changes."""
        self.size = min(self.size, size)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes to a disk that is served writable. Raises DiskError."""
        self._check(offset, len(data))
        try:
            for at in range(0, len(data), self._max):
                piece = data[at : at + self._max]
                self._ask(_WRITE, offset + at, len(piece), piece)
        except OSError as error:
            raise self._error(f"the server goes away: {error}") from error

    def write_zeros(self, offset: int, length: int) -> None:
        """Write zeros to a disk that is served writable. Raises DiskError."""
        self._check(offset, length)
        if not self._flags & _CAN_WRITE_ZEROES:
            raise self._error("the server cannot write zeros")
        try:
            while length:
                count = min(length, _MOST_ZEROES)
                self._ask(_WRITE_ZEROES, offset, count)
                offset, length = offset + count, length - count
        except OSError as error:
            raise self._error(f"the server goes away: {error}") from error

    def flush(self) -> None:
        """Wait until all that was written is in the image. Raises DiskError."""
        try:
            self._ask(_FLUSH, 0, 0)
        except OSError as error:
            raise self._error(f"the server goes away: {error}") from error

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise self._error(f"bytes {offset} to {offset + length} are outside of its {self.size} bytes")

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
            self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, _DISCONNECT, 0, 0, 0))
        self._socket.close()
