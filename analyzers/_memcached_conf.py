"""Debian's memcached.conf: options one a line, as systemd-memcached-wrapper makes a command of them."""

from __future__ import annotations

import re
import shlex

from analyzers._argv import Word
from analyzers._reading import numbered
from migrate.model import Place

# What the wrapper itself does, in sed; it refuses to run as any user but root, and a container may be another.
_FILTER = r"sed -e 's/\([^\\]\|^\)#.*/\1/' -e '/^[ \t]*-[dh]/d' -e '/^[ \t]*[^- \t]/d'"


def split(line: str) -> list[str]:
    """Split a line as a shell does; at white space alone where its quotes do not close."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def conf_arguments(text: str, path: str) -> list[Word]:
    """Return the words of a memcached.conf: no comments, no -d and -h, no directive that is no option.

    >>> [word.text for word in conf_arguments("-d\\nlogfile /x\\n-p 11211 # port\\n", "/etc/memcached.conf")]
    ['-p', '11211']
    """
    found = []
    for number, line in numbered(text):
        line = re.sub(r"(?<!\\)#.*", "", line).strip()
        if line.startswith("-") and not re.match(r"-[dh]", line):
            found += [Word(word, Place(path, number)) for word in split(line)]
    return found


def reading_command(program: str, path: str) -> tuple[str, ...]:
    """Return a command that reads the options anew at each start, so that an edit of the file counts."""
    return ("/bin/sh", "-c", f"exec {program} $({_FILTER} {shlex.quote(path)})")
