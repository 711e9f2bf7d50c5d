"""A qemu-nbd that serves one image over a private unix socket, and ends with this process.

It is started without `--persistent` where it has one client: then it ends by itself when that goes, however that
ends; until it is connected, and where others connect, PR_SET_PDEATHSIG (setpriv(1)) ends it with its parent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

from migrate.errors import DiskError
from migrate.guest.images.blockgraph import Node, Opened
from migrate.guest.images.nbdclient import NbdClient
from migrate.guest.images.qemuimg import INSTALL, dying_with_us, first_line
from migrate.guest.spool import spool
from migrate.text import show

START_SECONDS = 30.0
REPLY_SECONDS = 120.0


class Server:
    """A qemu-nbd for an image; its socket is made in `directory`, which must be nobody else's. Raises DiskError.

    `name` is for messages. One with `lasting` serves any number of clients until it is closed, otherwise it ends
    with its first. `socket` is the path that a client on this machine, of the same user, connects to: it holds for
    as long as this process lives and the server is not closed.
    """

    def __init__(
        self, node: Node, name: str, directory: Path, *, lasting: bool = False, writable: bool = False
    ) -> None:
        self._name = name
        with contextlib.ExitStack() as stack:
            self._words = stack.enter_context(spool())
            self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._directory)
            # A socket's path may be 107 bytes long (unix(7)), which the directory's own name may exceed.
            self.socket = f"/proc/{os.getpid()}/fd/{self._directory}/{os.urandom(4).hex()}.nbd"
            argv = [f"--socket={self.socket}", *(["--persistent", "--shared=0"] if lasting else ["--shared=1"])]
            self.process = self._start(node, argv if writable else ["--read-only", *argv])
            self._stack = stack.pop_all()

    def _start(self, node: Node, options: list[str]) -> subprocess.Popen[bytes]:
        if node.snapshot:
            options = [*options, f"--load-snapshot=snapshot.id={node.snapshot.replace(',', ',,')}"]
        with contextlib.ExitStack() as stack:
            opened = Opened(node, stack)
            try:
                return subprocess.Popen(
                    dying_with_us(["qemu-nbd", *options, "--", opened.filename]),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._words,
                    env={**os.environ, "LC_ALL": "C"},
                    pass_fds=opened.descriptors,
                )
            except OSError as error:
                found = f"the program qemu-nbd cannot be run: {error.strerror}"
                raise DiskError(f"open {show(self._name)}", found, INSTALL) from error

    def connect(self) -> NbdClient:
        """Return a client, as soon as the server takes one. Raises DiskError where it ends before that, or never does.

        It listens before it opens the image, so that a connection may still end with the reason.
        """
        connection = self._connection()
        try:
            return NbdClient(connection, self._name)
        except BaseException as error:
            connection.close()
            if isinstance(error, DiskError) and self.wait(1):
                raise DiskError(f"open {show(self._name)}", self._why()) from error
            raise

    def _connection(self) -> socket.socket:
        attempted = f"open {show(self._name)}"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(REPLY_SECONDS)
            try:
                connection.connect(self.socket)
            except OSError:
                connection.close()
                if ended:
                    raise DiskError(attempted, self._why()) from None
            else:
                return connection
            time.sleep(0.01)
        raise DiskError(attempted, f"qemu-nbd does not listen after {START_SECONDS:.0f} seconds")

    def _why(self) -> str:
        return first_line(os.pread(self._words.fileno(), 4096, 0)) or "qemu-nbd ends and does not say why"

    def forget_socket(self) -> None:
        """Let go of the directory, and of what it said so far: nobody else is to connect."""
        self._stack.close()

    def wait(self, seconds: float) -> int | None:
        """Wait until it has ended by itself and return its exit status; None where that takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End it; a second call does nothing."""
        self.process.kill()
        self.process.wait()
        self._stack.close()
