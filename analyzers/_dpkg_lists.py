"""Reads what dpkg keeps of each package's files below /var/lib/dpkg/info, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analyzers._dpkg_files import (
    overridden,
    owned,
    parse_conffiles,
    parse_diversions,
    parse_md5sums,
    parse_overrides,
    placer,
    shipped_files,
)
from analyzers._dpkg_status import Stanza
from analyzers._packages import Database
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.model import PackageFiles, Place, Shipped

STATUS = "/var/lib/dpkg/status"
INFO = "/var/lib/dpkg/info"
OVERRIDES = "/var/lib/dpkg/statoverride"
DIVERSIONS = "/var/lib/dpkg/diversions"
_UNKNOWN = ("digest", "size", "target", "user", "group", "mtime", "mode", "device", "capabilities")


class FileLists:
    """Reads the lists and digests of packages' files, with the diversions and overrides that hold for all of them."""

    def __init__(self, guest: Guest, analyzer: str) -> None:
        # Of a reader with a bound of its own: half of the names may be links to one large file.
        self.reader = Database(guest, analyzer)
        self._tree = Tree(guest)
        diversions = parse_diversions(self.reader.optional(DIVERSIONS) or "")
        real = self._tree.real
        self._moved = {real(path): (real(to), by) for path, to, by in diversions}

    def _named(self, stanza: Stanza, suffix: str) -> str | None:
        """Return the path of a file of the package: multi-arch `same` ones have the architecture in their names."""
        name, architecture = stanza.get("Package"), stanza.get("Architecture")
        paths = (f"{INFO}/{stem}.{suffix}" for stem in (f"{name}:{architecture}", name))
        return next((path for path in paths if self.reader.guest.is_file(path)), None)

    def of(self, status: str, stanza: Stanza) -> PackageFiles | None:
        """Return the files of a package of the status file at `status`, or None where no list of them can be read."""
        name = stanza.get("Package")
        alone = status != STATUS  # a distroless image lists digests, and nothing else
        digests = f"{status}.md5sums" if alone else self._named(stanza, "md5sums")
        listing = digests if alone else self._named(stanza, "list")
        if listing is None or (alone and not self.reader.guest.is_file(listing)):
            if not alone:
                self.reader.note(status, f"no list of the files of {name}", stanza.line)
            return None
        text = self.reader.text(listing)
        if text is None:
            return None
        summed = text if alone else self.reader.text(digests) if digests else None
        sums = list(parse_md5sums(summed or ""))
        place = placer(self._tree, self._moved, name)
        conffiles = parse_conffiles(stanza.get("Conffiles"))
        paths = owned((path for path, _ in sums) if alone else text.split("\n"), place)
        return PackageFiles(
            seen_in=Place(listing),
            package=name,
            paths=paths,
            conffiles=tuple(sorted((self._tree.real(each.path), each.md5) for each in conffiles)),
            shipped=self._shipped(stanza, paths, shipped_files(sums, conffiles, place, frozenset(paths))),
        )

    @staticmethod
    def _shipped(stanza: Stanza, paths: Iterable[str], found: Iterable[Shipped]) -> tuple[Shipped, ...]:
        if stanza.get("Status").endswith("half-installed"):  # its unpacking broke off: what is there is not known
            return tuple(Shipped(path=path, flags=("missingok",), unchecked=_UNKNOWN) for path in paths)
        return tuple(found)

    def overrides(self) -> Iterator[tuple[Place, Shipped]]:
        """Yield what dpkg-statoverride(1) was told, each with its line."""
        for each in parse_overrides(self.reader.optional(OVERRIDES) or ""):
            yield Place(OVERRIDES, each.line), overridden(each, self._tree.real(each.path))
