"""Rules for places that a file's content must agree with: the few files that are looked into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from migrate.places import PlaceRule

MOST = 10_000
"""So many paths of one rule are looked into; a guest may have a home directory for each of a million accounts."""
LONGEST = 64 << 10
"""So many bytes of a file are searched for `content`, or compared line by line."""
_LIST = 4 << 20


class Looked(msgspec.Struct, frozen=True):
    """A file that was looked into: the rule's number, whether the content agrees, and what it was compared with."""

    number: int
    agrees: bool
    model: str = ""


def look_into(guest: Guest, rules: Sequence[PlaceRule]) -> dict[str, Looked]:
    """Return, by path, the first rule that the content agrees with, or else the first that says what it should be."""
    found: dict[str, Looked] = {}
    copies: list[tuple[str, str, int]] = []
    recorded: list[tuple[str, str, int]] = []
    for number, rule in enumerate(rules):
        if rule.hashes:
            recorded += ((path, digest, number) for path, digest in _listed(guest, rule.hashes))
        elif rule.equals and not rule.between:
            copies += ((path, model, number) for path, model in _pairs(guest, rule))
        elif rule.between:
            for path, model in _pairs(guest, rule):
                agrees = _frame(guest, path, rule.between) == _frame(guest, model, rule.between)
                _keep(found, path, Looked(number, agrees, model))
        elif rule.content:
            for path in _paths(guest, rule):
                if re.search(rule.content, guest.read(path, LONGEST).decode("latin-1")):
                    _keep(found, path, Looked(number, agrees=True))
    _compare(guest, copies, recorded, rules, found)
    return found


def _keep(found: dict[str, Looked], path: str, looked: Looked) -> None:
    """Keep what agrees before what does not, and of two such the rule that stands first."""
    before = found.get(path)
    if before is None or (looked.agrees, -looked.number) > (before.agrees, -before.number):
        found[path] = looked


def _compare(
    guest: Guest,
    copies: Iterable[tuple[str, str, int]],
    recorded: Iterable[tuple[str, str, int]],
    rules: Sequence[PlaceRule],
    found: dict[str, Looked],
) -> None:
    copies, recorded = list(copies), list(recorded)
    sums = guest.digests({path: "sha256" for pair in copies for path in pair[:2]})
    for path, model, number in copies:
        if path in sums and model in sums:
            _keep(found, path, Looked(number, sums[path] == sums[model], model))
    sums = guest.digests({path: "md5" for path, _, _ in recorded})
    for path, digest, number in recorded:
        if path in sums:
            _keep(found, path, Looked(number, sums[path] == digest, rules[number].hashes))


def _paths(guest: Guest, rule: PlaceRule) -> Iterator[str]:
    """Yield the regular files at a rule's paths that can be read."""
    count = 0
    for pattern in rule.paths:
        for path in guest.glob(pattern):
            entry = guest.lstat(path)
            if entry is None or entry.kind != "file" or entry.path != path:
                continue
            count += 1
            if count > MOST:
                return
            try:
                guest.read(path, 1)
            except GuestFileError:
                continue
            yield path


def _pairs(guest: Guest, rule: PlaceRule) -> Iterator[tuple[str, str]]:
    for path in _paths(guest, rule):
        model = rule.equals.replace("{name}", path.rpartition("/")[2])
        if guest.is_file(model):
            yield path, model


def _listed(guest: Guest, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and md5 of the files that are in a list as md5sum(1) writes it, and still there as regular files."""
    if not guest.is_file(path):
        return
    try:
        text = guest.text(path, _LIST)
    except GuestFileError:
        return
    for line in text.split("\n")[: MOST * 10]:
        digest, _, name = line.partition(" ")
        name = name.lstrip(" *").rstrip()
        if re.fullmatch(r"[0-9a-f]{32}", digest) and name.startswith("/"):
            entry = guest.lstat(name)
            if entry is not None and entry.kind == "file" and entry.path == name:
                yield name, digest


def _frame(guest: Guest, path: str, between: Sequence[tuple[str, str]]) -> list[str] | None:
    """Return a file's lines without those between each pair of lines; None where it cannot be read or is too long.

    A pair's second line ends what its first began; lines are compared as they begin, as pam-auth-update does.
    """
    try:
        data = guest.read(path, LONGEST + 1)
    except GuestFileError:
        return None
    if len(data) > LONGEST:
        return None
    kept: list[str] = []
    pairs = list(between)
    inside = ""
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if inside and not line.startswith(inside):
            continue
        inside = ""
        kept.append(line)
        if pairs and line.startswith(pairs[0][0]):
            inside = pairs.pop(0)[1]
    return kept
