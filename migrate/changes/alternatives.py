"""The links of update-alternatives(1) and alternatives(8): which are made by it, and which a person switched.

A group in automatic mode leads to the choice of the highest priority, whatever packages made of it: that is no
change. One that leads elsewhere is: whoever installs the same packages again gets the best choice and not this one,
so it must be carried over like configuration. Its path is the link in /etc/alternatives, which no package ships.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from migrate.changes.model import Change, Difference
from migrate.changes.texts import Texts
from migrate.model import Place

if TYPE_CHECKING:
    from migrate.facts import Facts
    from migrate.guest.protocol import Guest

_FOLDERS = ("/var/lib/dpkg/alternatives", "/var/lib/alternatives", "/var/lib/rpm/alternatives")
_LINKS = "/etc/alternatives"
_MAX_FILES = 5000
_MAX_TEXT = 1 << 20
_PRIORITY = re.compile(r"(?:@[^@]*@)?(-?\d{1,9})(?: .*)?")
_FAMILY = re.compile(r"@[^@]*@(?=/)")


class Alternative(msgspec.Struct, frozen=True):
    """One group: the links on the system (its own first, then its slaves'), and the choices with their priority."""

    status: str
    links: tuple[str, ...]
    choices: tuple[tuple[str, int], ...]


def parse_alternative(text: str) -> Alternative | None:
    """Return a group's file, or None where it is none (dpkg utils/update-alternatives.c, chkconfig alternatives.c).

    Status and link; name and link of each slave, and an empty line; then path and priority of each choice, and what
    each slave leads to. alternatives(8) writes a family (`@NAME@`) before a path, and an init script behind a priority.
    """
    lines = iter(text.split("\n"))
    status, link = next(lines, "").strip(), next(lines, "").strip()
    if status not in {"auto", "manual"} or not link.startswith("/"):
        return None
    links = [link]
    for name in lines:
        if not name.strip():
            break
        links.append(next(lines, "").strip())
    choices = []
    for path in lines:
        match = _PRIORITY.fullmatch(next(lines, "").strip()) if path.strip() else None
        if match is None:
            break
        choices.append((_FAMILY.sub("", path.strip()), int(match[1])))
        for _ in links[1:]:
            next(lines, "")
    return Alternative(status, tuple(links), tuple(choices))


def groups(guest: Guest) -> Iterator[tuple[str, Alternative]]:
    """Yield (path of its file, group) of all groups, sorted by path."""
    texts = Texts(guest)
    for folder in _FOLDERS:
        for name in guest.listdir(folder)[:_MAX_FILES]:
            path = f"{folder}/{name}"
            found = parse_alternative(texts.of(path, _MAX_TEXT))
            if found is not None:
                yield path, found


def switched(facts: Facts) -> Iterator[Change]:
    """Yield the groups that lead to another choice than the best one that is installed."""
    guest = facts.guest
    for path, group in groups(guest):
        link = guest.lstat(f"{_LINKS}/{path.rpartition('/')[2]}")
        there = [(choice, priority) for choice, priority in group.choices if guest.exists(choice)]
        if link is None or link.kind != "symlink" or not there:
            continue
        best = max(priority for _, priority in there)
        first = next(choice for choice, priority in there if priority == best)
        if all(link.target != choice for choice, priority in there if priority == best):
            difference = Difference("target", first, link.target)
            yield Change(link.path, facts.owner(first), (difference,), True, Place(path, 1))
