"""The original of a changed file: as its package brought it, from the disk itself or, if allowed, a public archive.

In this order: a file on the disk that has the digest recorded (`pristine_disk`); the package's archive in a cache on
the disk; the distribution's public archive (`pristine_network`). The content has the digest that the package database
recorded; only where it recorded none, the archive's name and version are all that speaks for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from migrate.changes.archive import MAX_ORIGINAL, Wanted, extract
from migrate.changes.archive_stream import PIECE, Budget
from migrate.changes.pristine_disk import Cached, cached_archives, copies, in_order
from migrate.changes.pristine_hosts import Listed, addresses, is_plain, listed
from migrate.changes.pristine_network import Fetched, Fetcher, snapshot
from migrate.digests import Recorded
from migrate.errors import GuestFileError
from migrate.facts import Facts
from migrate.guest.progress import Notify, silent
from migrate.guest.protocol import Guest
from migrate.model import Package
from migrate.text import show

MAX_COMPRESSED = 512 << 20
"""The longest archive of a cache that is read, in bytes."""

_UNPACKED = 1 << 30  # bytes that one archive may unpack to
_ALL_UNPACKED = 4 << 30  # and all of a run together
_LISTS = "/var/lib/apt/lists"
_MAX_LIST = 256 << 20


class Original(msgspec.Struct, frozen=True):
    """A file as its package brought it. `source` is where it was found: a path on the guest or an address.

    Of an archive's member the path follows behind a colon. `checked` says that it has the digest recorded.
    """

    content: bytes
    source: str
    checked: bool = True


class Pristine:
    """Finds originals. `network` allows asking public archives, `cache` is where what they send is kept.

    What is asked tells the archive the name and version of a package that the machine has. `notify` is told so before
    each request. `why` says, for each path asked for without success, what stood in the way.
    """

    def __init__(
        self,
        guest: Guest,
        facts: Facts,
        network: bool = False,
        cache: Path | None = None,
        notify: Notify = silent,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.why: dict[str, str] = {}
        self._guest = guest
        self._facts = facts
        self._fetcher = (fetcher or Fetcher(cache, notify)) if network else None
        self._budget = Budget(_ALL_UNPACKED)
        self._cached: dict[str, list[Cached]] | None = None
        self._lists: dict[str, Listed | None] = {}

    def find(self, package: str, path: str, recorded: Recorded | None = None) -> Original | None:
        """Return the original of one path, or None with the reason in `why`."""
        algorithm, digest = (recorded.algorithm, recorded.digest) if recorded else ("", "")
        return self.originals([Wanted(package, path, algorithm, digest)]).get(path)

    def originals(self, wanted: Iterable[Wanted]) -> dict[str, Original]:
        """Return the originals of paths, as many as can be had. Each archive is read once for all that are in it."""
        left = {each.path: each for each in sorted(wanted)}
        found: dict[str, Original] = {}
        for path, copy in copies(self._guest, self._facts, list(left.values())).items():
            if (content := self._content(copy)) is not None and left[path].is_met_by(content):
                found[path] = Original(content, copy)
        packages: dict[str, list[Wanted]] = defaultdict(list)
        for path, each in left.items():
            if path not in found:
                packages[each.package].append(each)
        self._learn_addresses(packages)
        for name, several in packages.items():
            found.update(self._of_package(name, several))
        for path in found:
            self.why.pop(path, None)
        return dict(sorted(found.items()))

    def _content(self, path: str) -> bytes | None:
        try:
            return self._guest.read(path, MAX_ORIGINAL)
        except GuestFileError:
            return None

    def _of_package(self, name: str, wanted: Sequence[Wanted]) -> dict[str, Original]:
        package = self._facts.packages.get(name)
        if package is None:
            self._say(wanted, f"the package databases do not say which version of {name} is installed")
            return {}
        found = self._from_caches(package, wanted)
        left = [each for each in wanted if each.path not in found]
        if left and self._fetcher is not None:
            found.update(self._from_network(package, left, self._fetcher))
        return found

    def _say(self, wanted: Iterable[Wanted], why: str) -> None:
        self.why.update((each.path, show(why)) for each in wanted)

    # ------------------------------------------------------------ caches on the disk

    def _from_caches(self, package: Package, wanted: Sequence[Wanted]) -> dict[str, Original]:
        if self._cached is None:
            self._cached = cached_archives(self._guest)
        found: dict[str, Original] = {}
        left = list(wanted)
        no = "no cache on the disk has its package"
        self._say(wanted, no if self._fetcher else f"{no}, and the network was not asked for")
        known = all(each.digest for each in wanted)
        for cached in in_order(self._cached.get(package.name, ()), package, others=known):
            if not left:
                break
            entry = self._guest.stat(cached.path)
            if entry is None or entry.size > MAX_COMPRESSED:
                self._say(left, f"{cached.path} is longer than the {MAX_COMPRESSED} bytes that are read")
                continue
            found.update(self._extracted(self._guest.chunks(cached.path), left, cached.path))
            left = [each for each in left if each.path not in found]
        return found

    def _extracted(self, pieces: Iterator[bytes], wanted: Sequence[Wanted], source: str) -> dict[str, Original]:
        budget = Budget(min(_UNPACKED, max(0, self._budget.left)))
        before = budget.left
        got = extract(_cut(pieces), wanted, budget)
        self._budget.left -= before - budget.left
        if got.why:
            self._say((each for each in wanted if each.path not in got.contents), f"{source}: {got.why}")
        checked = {each.path: bool(each.digest) for each in wanted}
        return {path: Original(data, f"{source}:{path}", checked[path]) for path, data in got.contents.items()}

    # ------------------------------------------------------------ public archives

    def _learn_addresses(self, names: Iterable[str]) -> None:
        """Read apt's lists once for all packages: where their archives are, and their SHA256."""
        new = [name for name in names if name not in self._lists] if self._fetcher else []
        self._lists.update(dict.fromkeys(new))
        packages = [p for name in new if (p := self._facts.packages.get(name)) and p.manager == "dpkg"]
        for name in self._guest.listdir(_LISTS) if packages else ():
            if name.endswith("_Packages"):
                try:
                    data = self._guest.read(f"{_LISTS}/{name}", _MAX_LIST)
                except GuestFileError:
                    continue
                for package in packages:
                    if self._lists[package.name] is None:
                        self._lists[package.name] = listed(data, package)

    def _from_network(self, package: Package, wanted: Sequence[Wanted], fetcher: Fetcher) -> dict[str, Original]:
        system = self._facts.system
        if package.origin in ("third-party", "local") or system is None or not is_plain(package):
            self._say(wanted, "its package is none of the distribution's: no public archive is asked for it")
            return {}
        entry = self._lists.get(package.name)
        found: dict[str, Original] = {}
        left = list(wanted)
        for archive in self._archives(package, entry, fetcher):
            found.update(self._extracted(_file_pieces(archive.file), left, archive.url))
            left = [each for each in left if each.path not in found]
            if not left:
                return found
        refused = "; ".join(list(dict.fromkeys(fetcher.refused.values()))[:3])
        fetcher.refused.clear()
        self._say(left, self._unfound(left, refused, package))
        return found

    def _unfound(self, left: Sequence[Wanted], refused: str, package: Package) -> str:
        told = next((self.why[each.path] for each in left if ": " in self.why.get(each.path, "")), "")
        said = told or refused or "none is known for this distribution"
        return f"no public archive had the original of {package.name} {package.version}: {said}"

    def _archives(self, package: Package, entry: Listed | None, fetcher: Fetcher) -> Iterator[Fetched]:
        """Yield what archives have of this version: one that answered, and Debian's snapshot where none of them did."""
        system = self._facts.system
        assert system is not None  # noqa: S101 - the caller looked
        filename, sha256 = (entry.filename, entry.sha256) if entry else ("", "")
        for url in addresses(package, system, filename):
            fetched = fetcher.archive(url, package, sha256)
            if fetched is not None:
                yield fetched
                return
        if package.manager == "dpkg" and system.id == "debian":
            fetched = snapshot(fetcher, package)
            if fetched is not None:
                yield fetched


def _cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in the small pieces that `unpacked` wants."""
    for piece in pieces:
        for at in range(0, len(piece), PIECE):
            yield piece[at : at + PIECE]


def _file_pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            yield piece
