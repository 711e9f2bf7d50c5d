"""What the package databases expect of each path, from the findings, with every owner's word."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from migrate.model import PackageFiles, Place, Shipped

if TYPE_CHECKING:
    from migrate.facts import Facts

MAX_OWNERS = 64
"""Of so many words on one path all are compared; a shared directory of a large machine has a few thousand owners,
who say the same, and equal words count once."""
LENGTHS = {
    name: hashlib.new(name, usedforsecurity=False).digest_size * 2
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512")
}
"""Hexadecimal digits of the digests that can be compared, by the names that hashlib has for them."""
_ALONE = (
    "digest", "size", "target", "user", "group", "mtime", "mode", "device", "capabilities",
)  # fmt: skip


class Expected(msgspec.Struct, frozen=True, gc=False):
    """One package's word on one path. `alone`: its list names the path, and nothing else is known.

    `digest` is what the content is to have by `algorithm`, and empty where nothing is recorded that can be compared.
    """

    package: str
    shipped: Shipped
    algorithm: str
    seen_in: Place
    alone: bool = False
    digest: str = ""

    @property
    def configuration(self) -> bool:
        """Whether the package manager leaves the file as it is once somebody changed it."""
        return "config" in self.shipped.flags


def word_of(package: str, shipped: Shipped, algorithm: str, seen_in: Place) -> Expected:
    """Return a package's word on a path that it describes.

    A ghost has no content of its package's, whatever digest stands there; one of another length than its algorithm's
    is none.
    """
    digest = shipped.digest
    usable = (
        len(digest) == LENGTHS.get(algorithm) and "digest" not in shipped.unchecked and "ghost" not in shipped.flags
    )
    return Expected(package, shipped, algorithm, seen_in, False, digest.lower() if usable else "")


class Word(msgspec.Struct, frozen=True, gc=False):
    """All that is expected of a path: any of `owners` is enough, and each of `overrides` must hold beside it."""

    owners: tuple[Expected, ...]
    overrides: tuple[Expected, ...] = ()


def expected(facts: Facts, more: Iterable[Expected] = ()) -> dict[str, Word]:
    """Return what is expected of every path that packages own, sorted by path; `more` are words of others."""
    said: dict[str, list[Expected]] = {}
    overrides: dict[str, list[Expected]] = {}
    for each in itertools.chain(itertools.chain.from_iterable(map(_words, facts.of(PackageFiles))), more):
        path = each.shipped.path
        if "override" in each.shipped.flags:
            overrides.setdefault(path, []).append(each)
        elif (words := said.get(path)) is None:
            said[path] = [each]
        elif len(words) < MAX_OWNERS and not any(_say_the_same(each, other) for other in words):
            words.append(each)
    return {path: Word(_telling(said[path]), tuple(overrides.get(path, ())[:MAX_OWNERS])) for path in sorted(said)}


def _say_the_same(one: Expected, other: Expected) -> bool:
    if one.alone or other.alone:
        return one.alone and other.alone
    return one.shipped == other.shipped and one.algorithm == other.algorithm


def _words(files: PackageFiles) -> Iterator[Expected]:
    """Yield the words of one finding; a path that it describes is not named alone beside that."""
    described: set[str] = set()
    for shipped in files.shipped:
        described.add(shipped.path)
        yield word_of(files.package, shipped, files.algorithm, files.seen_in)
    for path, digest in files.conffiles:
        if path not in described:
            described.add(path)
            unchecked = _ALONE[1:] if digest else _ALONE
            flags = ("config",) if digest else ("config", "missingok")
            shipped = Shipped(path=path, digest=digest, flags=flags, unchecked=unchecked)
            yield word_of(files.package, shipped, files.algorithm, files.seen_in)
    for path in files.paths:
        if path not in described:
            yield Expected(files.package, Shipped(path=path, unchecked=_ALONE), files.algorithm, files.seen_in, True)


def _telling(words: list[Expected]) -> tuple[Expected, ...]:
    """Return the words that say most: a description beside which a bare name says nothing.

    pacman keeps an MD5 of configuration in one file, and in another the type, owner and (of late) SHA-256 of every
    path: that one word of a package is the whole of it.
    """
    if len(words) == 1:
        return (words[0],)
    told = [each for each in words if not each.alone] or words
    full = {each.package for each in told if each.shipped.mode and each.digest}
    return tuple(each for each in told if each.package not in full or (each.shipped.mode and each.digest))
