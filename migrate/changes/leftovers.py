"""What package managers put beside configuration that a person had changed, and which of the two is in force."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from migrate.changes.model import Leftover

if TYPE_CHECKING:
    from migrate.facts import Facts

_KEPT = "{of} is in force, as the machine had it; this is what the package brought later"
_REPLACED = "{of} is in force, as the package brought it; this is what the machine had before"
_DROPPED = "the package no longer brings {of}; this is what the machine had"
_PENDING = "{of} is in force; the package brought this and was never configured"
_GONE = "{of} is not there: nothing of it is in force"

# dpkg(1) and dpkg-maintscript-helper(1), ucf(1), rpm.org's manual (%config), apk-upgrade(8), pacman(8), emerge(1)
# (CONFIG_PROTECT), opkg's libopkg/opkg_conf.c
_SUFFIXES = {
    ".dpkg-dist": _KEPT, ".dpkg-new": _PENDING, ".dpkg-old": _REPLACED, ".dpkg-bak": _DROPPED,
    ".dpkg-remove": _DROPPED, ".ucf-dist": _KEPT, ".ucf-new": _PENDING, ".ucf-old": _REPLACED, ".rpmnew": _KEPT,
    ".rpmsave": _REPLACED, ".rpmorig": _REPLACED, ".apk-new": _KEPT, ".pacnew": _KEPT, ".pacsave": _DROPPED,
    ".pacorig": _REPLACED, "-opkg": _KEPT,
}  # fmt: skip
_NAME = re.compile(rf"(?P<name>.+)(?P<suffix>{'|'.join(map(re.escape, _SUFFIXES))})(?:\.\d{{1,3}})?", re.DOTALL)
_PORTAGE = re.compile(r"\._cfg\d{4}_(?P<name>.+)", re.DOTALL)


class Part(msgspec.Struct, frozen=True):
    """What a leftover's name says: the configuration beside it, and a sentence with `{of}` in it."""

    name: str
    says: str


def parse_name(name: str) -> Part | None:
    """Return what the name of a leftover says, or None where it is none.

    >>> parse_name("sshd_config.ucf-dist").name, parse_name("._cfg0000_make.conf").name, parse_name("make.conf")
    ('sshd_config', 'make.conf', None)
    """
    if match := _PORTAGE.fullmatch(name):
        return Part(match["name"], _KEPT)
    match = _NAME.fullmatch(name)
    return Part(match["name"], _SUFFIXES[match["suffix"]]) if match else None


def leftovers(facts: Facts) -> Iterator[Leftover]:
    """Yield the leftovers below /etc and in every other directory that has packaged configuration, by path."""
    guest = facts.guest
    found = {entry.path for entry in guest.walk("/etc") if entry.kind != "directory" and parse_name(_last(entry.path))}
    folders = {path.rpartition("/")[0] for path in facts.conffiles}
    for folder in sorted(each for each in folders if not each.startswith("/etc/") and each != "/etc"):
        found.update(f"{folder}/{name}" for name in guest.listdir(folder) if parse_name(name))
    for path in sorted(found):
        part = parse_name(_last(path))
        if part is not None and not facts.owns(path):
            of = f"{path.rpartition('/')[0]}/{part.name}"
            recorded = facts.conffiles.get(of)
            says = part.says if guest.lstat(of) is not None else _GONE
            yield Leftover(path, of, recorded.package if recorded else facts.owner(of), says.format(of=of))


def _last(path: str) -> str:
    return path.rpartition("/")[2]
