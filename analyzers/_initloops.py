"""Boot scripts that run whatever lies in a folder: how busybox' init and machines without runlevels start services.

`for p in /etc/rc.d/rc.startup/*; do [[ -x ${p} ]] && ${p} start; done` (ttylinux), `for i in /etc/init.d/S??* ;do`
(Buildroot's rcS). Which scripts a boot runs is in inittab(5); busybox' init without one runs /etc/init.d/rcS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers import _inittab
from analyzers._init import RC_S
from analyzers._reading import Reader, numbered
from migrate.guest.protocol import Guest
from migrate.model import Place

_LOOP = re.compile(r"for\s+\w+\s+in\s+(/[^\s;$`\"'{}~]*)\s*;?(?:\s*do\b.*)?")
_ORDER = re.compile(r"S?\d\d[._-]?(?=.)")
_MAX_SCRIPT = 1 << 18


def boot_scripts(reader: Reader) -> list[str]:
    """Return the programs that inittab has a boot run, of which those of a runlevel are others' concern."""
    if not reader.guest.is_file(_inittab.PATH):
        return [RC_S]
    return [line.process.split()[0] for line in _inittab.read(reader) if line.action in _inittab.BOOT and line.process]


def loops(text: str) -> Iterator[tuple[int, str]]:
    """Yield the patterns of names that a script loops over, each with its line.

    >>> list(loops("for i in /etc/init.d/S??* ;do\\n. $i\\ndone\\nfor x in $list; do :; done\\n"))
    [(1, '/etc/init.d/S??*')]
    """
    for number, line in numbered(text):
        match = _LOOP.fullmatch(line.strip())
        if match and "*" in match[1]:
            yield number, match[1]


def started(guest: Guest, reader: Reader) -> Iterator[tuple[str, str, Place]]:
    """Yield what the loops start: name, path of the script, and the line of the loop; in the order of the start."""
    for path in boot_scripts(reader):
        if not guest.is_file(path):
            continue
        for line, pattern in loops(reader.text(path, _MAX_SCRIPT) or ""):
            for name in guest.glob(pattern):
                entry, real = guest.stat(name), guest.resolve(name)
                if entry is not None and real is not None and entry.kind == "file" and entry.mode & 0o111:
                    yield _ORDER.sub("", real.rpartition("/")[2], count=1), real, Place(path, line)
