"""Temporary files that must have names, and that go even where this process is killed outright (SIGKILL).

Taking the names away once they are open is not enough: the library looks a disk up by its real path, and qemu opens it
a second later at best, five seconds under emulation.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from migrate.guest.spool import private_directory

_WAIT_THEN_REMOVE = 'cat >/dev/null; exec rm -rf -- "$1"'


@contextlib.contextmanager
def private_place() -> Iterator[str]:
    """Make a directory as `private_directory` does; it is removed however this process ends. Raises DiskError.

    A shell waits for the end of a pipe that only this process holds; without one, a killed process leaves it there.
    """
    with private_directory() as place, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            argv = ["/bin/sh", "-c", _WAIT_THEN_REMOVE, "sh", place]
            # In a session of its own, where no Ctrl-C reaches it.
            watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
            stack.callback(watcher.communicate)
        yield place
