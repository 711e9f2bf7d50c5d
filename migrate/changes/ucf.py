"""Configuration that Debian's maintainer scripts put in place through ucf(1), which keeps digests of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from migrate.changes.expected import Expected, word_of
from migrate.changes.texts import Texts
from migrate.model import PackageFiles, Place, Shipped

if TYPE_CHECKING:
    from migrate.facts import Facts

_HASHES = "/var/lib/ucf/hashfile"
_REGISTRY = "/var/lib/ucf/registry"
_INFO = "/var/lib/dpkg/info/"
_UCF = re.compile(r"\bucf\b")
_MAX_SCRIPT = 256 << 10
_MAX_UNREGISTERED = 50
_MAX_TEXT = 8 << 20
_MAX_LINES = 100_000
_HASH = re.compile(r"([0-9a-f]{32})\s+(/.+)")
_OWNER = re.compile(r"(\S+)\s+(/.+)")
_UNCHECKED = ("size", "target", "user", "group", "mtime", "mode", "device", "capabilities")


def parse_hashes(text: str) -> dict[str, tuple[int, str]]:
    """Return path → (line, md5) of ucf's hashfile: the package's version that was offered last, taken or not."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.split("\n", _MAX_LINES)[:_MAX_LINES], 1):
        if match := _HASH.fullmatch(line.strip()):
            found[match[2]] = (number, match[1])
    return found


def parse_registry(text: str) -> dict[str, str]:
    """Return path → package of ucf's registry (ucfr(1))."""
    lines = (_OWNER.fullmatch(line.strip()) for line in text.split("\n", _MAX_LINES)[:_MAX_LINES])
    return {match[2]: match[1] for match in lines if match}


def ucf_words(facts: Facts) -> Iterator[Expected]:
    """Yield what ucf expects of the configuration of installed packages, and of what is there and nobody's."""
    texts = Texts(facts.guest)
    scripts = _Scripts(facts, texts)
    owners = parse_registry(texts.of(_REGISTRY, _MAX_TEXT))
    for path, (line, md5) in parse_hashes(texts.of(_HASHES, _MAX_TEXT)).items():
        package = owners.get(path) or scripts.package(path)
        entry = facts.guest.lstat(path)
        if package not in facts.packages and (package or entry is None):
            continue
        real = entry.path if entry is not None else path
        shipped = Shipped(path=real, digest=md5, flags=("config",), unchecked=_UNCHECKED)
        yield word_of(package, shipped, "md5", Place(_HASHES, line))


class _Scripts:
    """Which package's script names a path: not all that call ucf(1) register it with ucfr(1)."""

    def __init__(self, facts: Facts, texts: Texts) -> None:
        self._facts = facts
        self._read = texts
        self._texts: list[tuple[str, str]] | None = None
        self._left = _MAX_UNREGISTERED

    def package(self, path: str) -> str:
        """Return the package, or nothing where no script does."""
        self._left -= 1
        if self._left < 0:
            return ""
        if self._texts is None:
            stems = ((f.package, f.seen_in.path.rpartition(".")) for f in self._facts.of(PackageFiles))
            listed = ((p, stem) for p, (stem, _, kind) in stems if kind == "list" and stem.startswith(_INFO))
            read = ((package, self._read.of(f"{stem}.postinst", _MAX_SCRIPT)) for package, stem in listed)
            self._texts = [(package, text) for package, text in read if _UCF.search(text)]
        return next((package for package, text in self._texts if path in text), "")
