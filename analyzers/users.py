"""Accounts and groups; the password hashes among them are secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers._reading import Reader, meaningful
from analyzers._secret import secret_id, unique
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Group, Place, Secret, Unread, User

_NAME = "users"
_DEFAULT_RANGE = (1000, 60000)  # shadow's own defaults, login.defs(5)

# crypt(5): `$id$…`, the DES form of 13 characters, BSDi's of 20. A leading `!` only locks the account.
_HASH = re.compile(r"!*(\$[0-9a-zA-Z]+\$[^:\s]{8,}|[./0-9A-Za-z]{13}|_[./0-9A-Za-z]{19})")


def parse_range(text: str) -> tuple[int, int]:
    """Return UID_MIN and UID_MAX of login.defs(5)."""
    values = dict(zip(("UID_MIN", "UID_MAX"), _DEFAULT_RANGE, strict=True))
    for _, line in meaningful(text):
        words = line.split()
        if len(words) > 1 and words[0] in values and re.fullmatch(r"[0-9]{1,9}", words[1]):
            values[words[0]] = int(words[1])
    return values["UID_MIN"], values["UID_MAX"]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None


def parse_passwd(text: str, path: str, people: tuple[int, int] = _DEFAULT_RANGE) -> Iterator[User | Unread]:
    """Yield the accounts of passwd(5); NIS lines (`+…`, `-…`) name none of this machine."""
    for number, line in meaningful(text):
        if line[0] in "+-":
            continue
        fields = line.split(":")
        where = Place(path, number)
        uid, gid = (_number(field) for field in fields[2:4]) if len(fields) == 7 else (None, None)
        if not fields[0] or uid is None or gid is None:
            yield Unread(
                seen_in=where, why="not an account: passwd(5) wants name:x:uid:gid:name:home:shell", analyzer=_NAME
            )
            continue
        yield User(
            seen_in=where,
            name=fields[0],
            uid=uid,
            gid=gid,
            gecos=fields[4],
            home=fields[5],
            shell=fields[6],
            system=not people[0] <= uid <= people[1],
        )


def parse_group(text: str, path: str) -> Iterator[Group | Unread]:
    """Yield the groups of group(5)."""
    for number, line in meaningful(text):
        if line[0] in "+-":
            continue
        fields = line.split(":")
        where = Place(path, number)
        gid = _number(fields[2]) if len(fields) == 4 else None
        if not fields[0] or gid is None:
            yield Unread(seen_in=where, why="not a group: group(5) wants name:x:gid:members", analyzer=_NAME)
            continue
        members = tuple(sorted({name.strip() for name in fields[3].split(",") if name.strip()}))
        yield Group(seen_in=where, name=fields[0], gid=gid, members=members)


def parse_hashes(text: str, path: str) -> Iterator[Secret]:
    """Yield the password hashes in the second field of shadow(5), gshadow(5), and passwd of old."""
    stem = path.removesuffix("-") + (" backup" if path.endswith("-") else "")
    for number, line in meaningful(text):
        fields = line.split(":")
        if len(fields) > 1 and _HASH.fullmatch(fields[1]):
            yield Secret(
                seen_in=Place(path, number),
                id=secret_id(stem, fields[0]),
                kind="password-hash",
                name=fields[0],
                value=fields[1].lstrip("!"),
            )


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield users, groups and password hashes."""
    reader = Reader(guest, _NAME)
    people = parse_range(reader.optional("/etc/login.defs") or "")
    yield from parse_passwd(reader.text("/etc/passwd") or "", "/etc/passwd", people)
    yield from parse_group(reader.text("/etc/group") or "", "/etc/group")
    hashes: list[Secret] = []
    for name in ("shadow", "shadow-", "gshadow", "gshadow-", "passwd", "passwd-", "group", "group-"):
        hashes += parse_hashes(reader.optional(f"/etc/{name}") or "", f"/etc/{name}")
    yield from unique(hashes)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Accounts and groups with their numbers, which of them are people, and where password hashes are.",
    reads=("/etc/passwd*", "/etc/group*", "/etc/shadow*", "/etc/gshadow*", "/etc/login.defs"),
    analyze=analyze,
    source="passwd(5), group(5), shadow(5), gshadow(5), login.defs(5), crypt(5)",
)
