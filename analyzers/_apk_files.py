"""The file records of apk's database, and which paths apk protects as configuration (apk-protected_paths(5))."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import functools
import re
from collections.abc import Iterable, Sequence

import msgspec

from analyzers._packages import Record

_ACL = re.compile(r"(\d{1,10}):(\d{1,10}):([0-7]{1,6})(?::.*)?", re.ASCII)
_MAX_RULES = 200
_MAX_PATTERN = 512
_LENGTHS = {"1": (20, "sha1"), "2": (32, "sha256")}
_SYMLINK_MODE = 0o777


class Acl(msgspec.Struct, frozen=True):
    """Owner and permission bits of an `M:` or `a:` line; what is the default has no line."""

    uid: int = 0
    gid: int = 0
    mode: int = 0o755


DIRECTORY = Acl()
FILE = Acl(mode=0o644)


def parse_acl(text: str) -> Acl | None:
    """Return what `UID:GID:MODE[:XATTRS]` says, or None where it is something else.

    >>> parse_acl("0:42:2755")
    Acl(uid=0, gid=42, mode=1517)
    """
    match = _ACL.fullmatch(text)
    return Acl(int(match[1]), int(match[2]), int(match[3], 8) & 0o7777) if match else None


def parse_digest(text: str, short: bool = False) -> str | None:
    """Return a checksum as `sha1:HEX` or `sha256:HEX`, or None where it is none (src/blob.c, apk_blob_pull_digest).

    `Q` is base64 and `X` hex, `1` SHA-1 and `2` SHA-256. `short` is the package's flag S: what stands as SHA-1 is
    the first 20 bytes of a SHA-256.

    >>> parse_digest("Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=")
    'sha1:48b912f610627546cfc30af0f974745a1bf7c30f'
    """
    length, algorithm = _LENGTHS.get(text[1:2], (0, ""))
    try:
        if text.startswith("Q"):
            digest = base64.b64decode(text[2:], validate=True)
        elif text.startswith("X"):
            digest = bytes.fromhex(text[2:])
        else:
            return None
    except (binascii.Error, ValueError):
        return None
    if algorithm == "sha1" and len(digest) == _LENGTHS["2"][0]:
        length, algorithm = _LENGTHS["2"]
    if not length or len(digest) != length:
        return None
    return f"{'sha256-160' if short and algorithm == 'sha1' else algorithm}:{digest.hex()}"


class Rule(msgspec.Struct, frozen=True):
    """A line of protected_paths.d: one sign of `+-@!` and a pattern, relative to the root."""

    sign: str
    pattern: tuple[str, ...]


DEFAULT_RULES = (Rule("+", ("etc",)), Rule("@", ("etc", "init.d")), Rule("!", ("etc", "apk")))
"""What apk protects before any file says so (src/database.c, apk_db_open)."""


def read_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Return apk's own rules and those of the files' texts, in their order; a pattern without a sign is a `+`."""
    rules = list(DEFAULT_RULES)
    for text in texts:
        for line in text.split("\n", _MAX_RULES)[:_MAX_RULES]:
            sign, pattern = (line[0], line[1:]) if line[:1] in {"+", "-", "@", "!"} else ("+", line)
            pattern = pattern.rstrip("\r").strip("/")
            if pattern and not line.startswith("#") and len(pattern) <= _MAX_PATTERN:
                rules.append(Rule(sign, tuple(pattern.split("/"))))
    return tuple(rules[:_MAX_RULES])


class Protected:
    """Tells which paths are configuration: what a directory is, that is all in it, until a rule says otherwise."""

    def __init__(self, rules: Sequence[Rule] = DEFAULT_RULES) -> None:
        self._by_depth: dict[int, list[Rule]] = {}
        for rule in rules:
            self._by_depth.setdefault(len(rule.pattern), []).append(rule)
        self._directory = functools.lru_cache(maxsize=4096)(self._sign)

    def _sign(self, parts: tuple[str, ...]) -> str:
        sign = ""
        for depth in range(1, len(parts) + 1):
            for rule in self._by_depth.get(depth, ()):
                if all(map(fnmatch.fnmatchcase, parts[:depth], rule.pattern)):
                    sign = rule.sign
        return sign

    def configuration(self, path: str, symlink: bool) -> bool:
        """Tell whether apk leaves the file `path` as it is once it was changed."""
        parts = tuple(path.strip("/").split("/"))
        sign = self._directory(parts[:-1])
        for rule in self._by_depth.get(len(parts), ()):
            if all(map(fnmatch.fnmatchcase, parts, rule.pattern)):
                sign = rule.sign
        return sign in {"+", "!"} or (sign == "@" and symlink)


def directory_record(path: str, acl: Acl) -> Record:
    """Return the record of an `F:` line with its `M:`."""
    return Record(path=path, kind="directory", mode=acl.mode, uid=acl.uid, gid=acl.gid)


def file_record(path: str, acl: Acl, digest: str, protected: Protected) -> Record:
    """Return the record of an `R:` line with its `a:` and `Z:`.

    The database does not say what is a symlink: apk writes one with mode 777, and its digest is of the target's
    text. A regular file of mode 777 looks the same; who compares must look at the tree as well.
    """
    symlink = acl.mode == _SYMLINK_MODE
    return Record(
        path=path,
        kind="symlink" if symlink else "file",
        digest=digest,
        mode=acl.mode,
        uid=acl.uid,
        gid=acl.gid,
        configuration=protected.configuration(path, symlink),
    )
