"""Which public archive has a package: its address by the distribution, the package's name and version. Pure.

Asked are only the hosts in `HOSTS`, whatever the disk names: its own repositories are private data, and an address that
a hostile disk chose is asked for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from migrate.changes.pristine_disk import version_in_name
from migrate.model import Package, System

HOSTS = frozenset({
    "deb.debian.org", "security.debian.org", "archive.debian.org", "snapshot.debian.org", "archive.ubuntu.com",
    "security.ubuntu.com", "ports.ubuntu.com", "old-releases.ubuntu.com", "dl-cdn.alpinelinux.org",
    "archive.archlinux.org", "vault.centos.org", "repo.almalinux.org", "vault.almalinux.org", "dl.rockylinux.org",
    "kojipkgs.fedoraproject.org",
})  # fmt: skip
"""The archives that the distributions themselves keep for everybody."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,199}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:~^_-]{0,199}")
_FILENAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9+._~%-]{0,199}/){1,12}[A-Za-z0-9][A-Za-z0-9+._~%-]{0,254}\.deb")
# The last release of each, which is what the vault still has whole.
_CENTOS = {"6": "6.10", "7": "7.9.2009", "8": "8.5.2111"}
_MOST_VERSIONS = 50  # of one package in one list
_MAX_STANZA = 256 << 10
_PORTS = frozenset({"arm64", "armhf", "ppc64el", "riscv64", "s390x"})


class Listed(msgspec.Struct, frozen=True):
    """What a Packages list (deb822(5), apt's) says of a package: its path in the archive, and its SHA256 in hex."""

    filename: str
    sha256: str


def listed(data: bytes, package: Package) -> Listed | None:
    """Find a package's version in a Packages list, by search: Debian's main list has 50 MB.

    None where it is not there, or where its path is none in an archive or its digest none.
    """
    name, version, architecture = (text.encode() for text in (package.name, package.version, package.architecture))
    begin = b"Package: " + name + b"\n"
    at = 0 if data.startswith(begin) else data.find(b"\n" + begin) + 1
    for _ in range(_MOST_VERSIONS if at or data.startswith(begin) else 0):
        end = data.find(b"\n\n", at, at + _MAX_STANZA)
        stanza = b"\n" + data[at : end if end >= 0 else at + _MAX_STANZA] + b"\n"
        if b"\nVersion: " + version + b"\n" in stanza and b"\nArchitecture: " + architecture + b"\n" in stanza:
            filename = re.search(rb"\nFilename: (?:\./)?([!-~]{1,2000})\n", stanza)
            digest = re.search(rb"\nSHA256: ([0-9a-f]{64})\n", stanza)
            if filename and digest and _FILENAME.fullmatch(path := filename[1].decode()):
                return Listed(path, digest[1].decode())
        at = data.find(b"\n" + begin, at) + 1
        if not at:
            break
    return None


def is_plain(package: Package) -> bool:
    """Tell whether name, version and architecture are what a package can have: they become part of an address."""
    architecture = re.fullmatch(r"[a-z0-9_]{1,20}", package.architecture)
    return bool(_NAME.fullmatch(package.name) and _VERSION.fullmatch(package.version) and architecture)


def pool_path(package: Package) -> str:
    """Return where an archive of Debian or Ubuntu keeps a package, by its section, source and name.

    >>> from migrate.model import Place
    >>> pool_path(Package(seen_in=Place("/"), name="libpq5", version="1:15.1-2", architecture="amd64", manager="dpkg",
    ...                   chosen=True, source="postgresql-15", section="universe/libs"))
    'pool/universe/p/postgresql-15/libpq5_15.1-2_amd64.deb'
    """
    component, slash, _ = package.section.rpartition("/")
    component = component if slash and re.fullmatch(r"[a-z-]{1,30}", component) else "main"
    source = package.source if _NAME.fullmatch(package.source) else package.name
    prefix = source[:4] if source.startswith("lib") else source[:1]
    version = package.version.rpartition(":")[2]
    return f"pool/{component}/{prefix}/{source}/{package.name}_{version}_{package.architecture}.deb"


def addresses(package: Package, system: System, filename: str = "") -> Iterator[str]:
    """Yield where the package's archive may be, the likeliest first; `filename` is what a Packages list says.

    Nothing for distributions of which no public archive keeps more than the newest packages at known addresses.
    """
    if not is_plain(package):
        return
    if package.manager == "dpkg":
        yield from _debian(package, system, filename)
    elif package.manager == "apk" and system.family == "alpine":
        release = re.match(r"[0-9]+\.[0-9]+", system.version)
        for section in ("main", "community") if release else ():
            top = f"https://dl-cdn.alpinelinux.org/alpine/v{release[0]}/{section}"  # type: ignore[index]
            yield f"{top}/{package.architecture}/{_quoted(f'{package.name}-{package.version}')}.apk"
    elif package.manager == "pacman" and system.id == "arch":
        file = _quoted(f"{package.name}-{package.version}-{package.architecture}")
        for packed in ("zst", "xz"):
            top = f"https://archive.archlinux.org/packages/{package.name[0]}/{_quoted(package.name)}"
            yield f"{top}/{file}.pkg.tar.{packed}"
    elif package.manager == "rpm":
        yield from _rpm(package, system)


def _debian(package: Package, system: System, filename: str) -> Iterator[str]:
    path = _quoted(filename or pool_path(package), "/%")
    if system.id == "debian":
        # https://wiki.debian.org/DebianRepository/Format; security updates lie below `updates` in a pool of their own.
        updates = path if path.startswith("pool/updates/") else path.replace("pool/", "pool/updates/", 1)
        pool = path.replace("pool/updates/", "pool/", 1)
        security = ("http://deb.debian.org/debian-security/" + updates, "http://deb.debian.org/debian/" + pool)
        yield from security if filename.startswith("pool/updates/") else reversed(security)
        yield "http://archive.debian.org/debian/" + pool
        yield "http://archive.debian.org/debian-security/" + updates
    elif system.id == "ubuntu":
        if package.architecture in _PORTS:
            yield f"http://ports.ubuntu.com/ubuntu-ports/{path}"
        for host in ("archive.ubuntu.com", "security.ubuntu.com", "old-releases.ubuntu.com"):
            yield f"http://{host}/ubuntu/{path}"


def _rpm(package: Package, system: System) -> Iterator[str]:
    version = version_in_name(package)
    file = f"{_quoted(f'{package.name}-{version}.{package.architecture}')}.rpm"
    arch = package.architecture if package.architecture != "noarch" else "x86_64"
    major = system.version.partition(".")[0]
    initial = package.name[0].lower()
    if system.id == "centos" and major in _CENTOS:
        top = f"https://vault.centos.org/{_CENTOS[major]}"
        folders = ("BaseOS/{}/os", "AppStream/{}/os") if major == "8" else ("os/{}", "updates/{}")
        yield from (f"{top}/{folder.format(arch)}/Packages/{file}" for folder in folders)
    elif system.id == "almalinux" and re.fullmatch(r"[0-9]+\.[0-9]+", system.version):
        for top in (f"repo.almalinux.org/almalinux/{system.version}", f"vault.almalinux.org/{system.version}"):
            yield from (f"https://{top}/{part}/{arch}/os/Packages/{file}" for part in ("BaseOS", "AppStream"))
    elif system.id == "rocky" and re.fullmatch(r"[0-9]+\.[0-9]+", system.version):
        for top in ("pub", "vault"):
            for part in ("BaseOS", "AppStream"):
                folder = f"{top}/rocky/{system.version}/{part}/{arch}/os/Packages"
                yield f"https://dl.rockylinux.org/{folder}/{initial}/{file}"
    elif system.id == "fedora" and "-" in version:
        # The build system keeps every build: https://docs.fedoraproject.org/en-US/infra/sysadmin_guide/koji/
        number, release = version.rsplit("-", 1)
        source = package.source if _NAME.fullmatch(package.source) else package.name
        folder = "/".join(_quoted(each) for each in (source, number, release, package.architecture))
        yield f"https://kojipkgs.fedoraproject.org/packages/{folder}/{file}"


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=safe + "+~^")
