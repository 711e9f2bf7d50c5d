"""Packages of RHEL, SUSE and all others that use rpm, and the paths they own.

Read by own code, as no library reads all that is out there. Measured: librpm 4.18.0 of Debian 12 (`rpm -qa --dbpath`)
is built without ndb (SUSE): it prints nothing, exits 0, and makes an empty rpmdb.sqlite beside the database. It reads
Berkeley DB, big-endian too, and sqlite. It is C code made for a machine's own database, not for an attacker's: it did
not crash or hang on 360 changed at random, but of 240 it exits 0 for 223, and in 178 of these packages are missing. It
is no PyPI package; PyPI's `rpm` is a shim over it, `rpmfile` reads .rpm archives. The three readers here are 300 lines,
print what it prints for every database that it reads (tests/analyzers/test_rpm_corpus.py), never left a package out
without saying so, and take 0.3 s for an EL 8 of 518 packages and 58,000 files, 2 s and 220 MB for eight times that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from analyzers._reading import Reader
from analyzers._rpm_database import DIRECTORIES, Copies, Installed, find_database
from analyzers._rpm_depends import Providers, Relation, required_names
from analyzers._rpm_files import digests_of_config
from analyzers._rpm_history import AUTO_INSTALLED, DNF, DNF5, YUMDBS, ZYPP_LOG, read_history
from analyzers._rpm_tdnf import TDNF, TDNF_LIST
from analyzers._tree import Tree
from migrate.guest.protocol import Guest
from migrate.guest.spool import private_directory
from migrate.model import Analyzer, Finding, Package, PackageFiles, Place, Shipped

_NAME = "rpm"

# What a distribution's own release package provides, and the files it owns.
_RELEASES = ("system-release", "distribution-release", "/usr/lib/os-release", "/etc/os-release", "/etc/redhat-release",
             "/etc/SuSE-release")  # fmt: skip
# Where a package comes from that was given on the command line: dnf, zypper; yum writes the file's path.
_COMMAND_LINE = frozenset(("@commandline", "_tmpRPMcache_"))


def vendor_key(vendor: str) -> str:
    """Return what two packages of one vendor share; SUSE and openSUSE are one (libzypp, VendorAttr)."""
    key = vendor.strip().casefold()
    return "suse" if key.startswith(("suse", "opensuse")) else key


class Maker(msgspec.Struct, frozen=True):
    """Who made a package: its vendor's name, and the number of the key that signed it."""

    vendor: str = ""
    key: str = ""


def origin_of(package: Maker, repository: str, distribution: Maker) -> str:
    """Return distribution, third-party, local, or nothing where nothing says.

    `distribution` made the package that makes the machine this distribution. One vendor is one origin, and one key
    is: AlmaLinux 8 has a package of the vendor CloudLinux, CentOS 7 one of Fedora's, signed as all others are. A
    repository's name tells only a file given on the command line from the rest: anybody may name a mirror as he likes.
    """
    if repository in _COMMAND_LINE or repository.startswith("/"):
        return "local"
    if not distribution.vendor and not distribution.key:
        return ""
    if package.vendor and vendor_key(package.vendor) == vendor_key(distribution.vendor):
        return "distribution"
    if package.key and package.key == distribution.key:
        return "distribution"
    return "third-party" if package.vendor or package.key or repository else ""


def _distribution(packages: Iterable[Installed], providers: Providers) -> Maker:
    makers = {package.name: Maker(package.vendor, package.signer) for package in packages}
    names = (name for release in _RELEASES for name in providers.who(Relation(release)))
    return next((makers[name] for name in names if makers[name] != Maker()), Maker())


def _files(package: Installed, tree: Tree, place: Place) -> PackageFiles:
    """Return what of a package is on the disk, by the tree's own paths; what rpm did not install is left out."""
    found: dict[str, Shipped] = {}
    for file in package.files.files:
        if file.path not in package.files.absent and file.path != "/":
            real = tree.real(file.path)
            found.setdefault(real, file if real == file.path else msgspec.structs.replace(file, path=real))
    shipped = tuple(found[path] for path in sorted(found))
    return PackageFiles(
        seen_in=place,
        package=package.name,
        paths=tuple(file.path for file in shipped),
        conffiles=digests_of_config(shipped),
        algorithm=package.files.algorithm or "md5",
        shipped=shipped,
    )


def _needs(packages: Iterable[Installed], providers: Providers) -> tuple[Mapping[str, tuple[str, ...]], frozenset[str]]:
    """Return the names each package depends on, and those that another requires or recommends."""
    depends: dict[str, tuple[str, ...]] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    for package in packages:
        found = providers.depends(package.name, package.requires)
        depends[package.name] = tuple(dict.fromkeys((*depends.get(package.name, ()), *found)))
        wanted[package.name] = providers.depends(package.name, package.recommends)
    return depends, required_names(depends) | required_names(wanted)


def _findings(reader: Reader, copies: Copies) -> Iterator[Finding]:
    path, packages = find_database(reader, copies)
    packages.sort(key=lambda p: (p.name, p.architecture, p.version))
    tree = Tree(reader.guest)
    paths = ((p.name, p.provides, (tree.real(file.path) for file in p.files.files)) for p in packages)
    providers = Providers(paths, tree.real)
    depends, required = _needs(packages, providers)
    history = read_history(reader, copies, [(p.name, p.architecture) for p in packages])
    distribution = _distribution(packages, providers)
    for package in packages:
        chosen = history.was_chosen(package.name, package.architecture)
        repository = history.repositories.get((package.name, package.version, package.architecture), "")
        yield Package(
            seen_in=Place(path),
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            manager=_NAME,
            # Where no manager wrote it down (an image built with rpm --root): what nothing else asks for.
            chosen=package.name not in required if chosen is None else chosen,
            origin=origin_of(Maker(package.vendor, package.signer), repository, distribution),
            source=package.source,
            section=package.section,
            depends=depends[package.name],
        )
        if package.files.files:
            yield _files(package, tree, Place(path))


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield a Package and its PackageFiles for each installed package, by name, architecture and version."""
    reader = Reader(guest, _NAME)
    with private_directory() as folder:
        yield from _findings(reader, Copies(reader, Path(folder)))
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="rpm packages from Berkeley DB, ndb and sqlite: versions, who asked for them, origin, files and digests.",
    reads=(
        *(f"{folder}/{name}" for folder in DIRECTORIES for name in ("rpmdb.sqlite*", "Packages.db", "Packages")),
        DNF, f"{DNF}-wal", f"{DNF5}/*.toml", AUTO_INSTALLED, ZYPP_LOG, TDNF, f"{TDNF}-wal", TDNF_LIST,
        *(f"{folder}/?/*/{name}" for folder in YUMDBS for name in ("reason", "from_repo")),
    ),
    analyze=analyze,
    source="rpm(8), rpm.org's Package format, Berkeley DB's db_page.h, rpmpkg.c, libdnf, dnf5-system-state(7), libzypp",
)  # fmt: skip
