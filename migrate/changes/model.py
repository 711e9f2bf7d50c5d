"""What comparing the disk with its package databases yields."""

from __future__ import annotations

from typing import Literal

import msgspec

from migrate.model import Place

Aspect = Literal[
    "missing", "type", "content", "size", "target", "mode", "user", "group", "capabilities", "device",
]  # fmt: skip


class Difference(msgspec.Struct, frozen=True, order=True):
    """One aspect of a path in which the disk and the database are not the same; texts as a person reads them.

    Modes are four octal digits, owners names, digests `ALGORITHM:HEX`. `found` is empty where the path is missing;
    `shipped` where the database did not record it (a setuid bit on a program that Debian does not ship with one).
    """

    aspect: Aspect
    shipped: str
    found: str


class Change(msgspec.Struct, frozen=True, order=True):
    """A packaged path that somebody changed: drift. `seen_in` is where the package database says what it was."""

    path: str
    package: str
    differences: tuple[Difference, ...]
    configuration: bool
    seen_in: Place

    @property
    def aspects(self) -> tuple[Aspect, ...]:
        """In what it differs."""
        return tuple(each.aspect for each in self.differences)


class Explained(msgspec.Struct, frozen=True, order=True):
    """A packaged path that differs for a reason that is no person's change; `rule` says which, `says` why.

    `aspect` is what the rule explains: a path that differs in several has an entry for each. Where the content is
    the package's own (mode, user, group), it is so still.
    """

    path: str
    package: str
    rule: str
    says: str
    seen_in: Place
    aspect: Aspect = "content"


class Leftover(msgspec.Struct, frozen=True, order=True):
    """What a package manager put beside configuration that a person had changed (`.dpkg-dist`, `.rpmnew`, …).

    `of` is the configuration it belongs to; `says` which of the two is in force.
    """

    path: str
    of: str
    package: str
    says: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole disk compared with its packages. `compared` is how many files' contents were, `files` how many
    packaged regular files there are; those whose database records no digest are the difference.

    `unread` are (path, why) of files that could not be read. `done` is false where comparing was not asked for.
    """

    changes: tuple[Change, ...] = ()
    explained: tuple[Explained, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    files: int = 0
    compared: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    done: bool = True
