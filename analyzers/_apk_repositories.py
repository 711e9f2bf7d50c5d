"""Where apk's packages come from: /etc/apk/repositories, the indexes it keeps, and /etc/apk/world."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from analyzers._packages import lines, unpack
from analyzers._reading import meaningful

_MAX_INDEX = 64 << 20  # community's index of Alpine 3.20 is 2 MB, 11 MB unpacked
_MAX_MEMBERS = 1000
_MAX_ENTRIES = 500_000
_DEPENDENCY = re.compile(r"(!?)([^!<>=~@\s]+)(?:@([^<>=~\s]+))?([<>=~]*)(\S*)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")

# Where Alpine's own repositories are on any mirror, the folder of an installation medium, and OpenWrt's server.
_OURS = re.compile(
    r"https?://[^/]*/(?:[^?#]*/)?(?:v\d+\.\d+|edge|latest-stable)/(?:main|community|testing|releases)/?"
    r"|/media/[^/]+/apks/?"
    r"|https?://downloads\.openwrt\.org/.*"
)


class Asked(msgspec.Struct, frozen=True):
    """One dependency of apk-world(5): `!` in front is a conflict, `operator` is of `<>=~`, `><` means a local file."""

    name: str
    tag: str = ""
    operator: str = ""
    version: str = ""
    conflict: bool = False


def parse_dependency(word: str) -> Asked | None:
    """Return what one word of a dependency field or of the world says, or None where it says nothing.

    >>> parse_dependency("busybox@edge>=1.36")
    Asked(name='busybox', tag='edge', operator='>=', version='1.36', conflict=False)
    """
    match = _DEPENDENCY.fullmatch(word)
    return Asked(match[2], match[3] or "", match[4], match[5], bool(match[1])) if match else None


def parse_dependencies(text: str) -> list[str]:
    """Return the names that a `D:` or `p:` field holds, without versions; conflicts are left out."""
    found = (parse_dependency(word) for word in text.split())
    return [asked.name for asked in found if asked is not None and not asked.conflict]


def parse_world(text: str) -> list[Asked]:
    """Return what a person asked for: apk-world(5), one dependency a line (older versions: separated by spaces)."""
    found = (parse_dependency(word) for _, line in meaningful(text) for word in line.split())
    return [asked for asked in found if asked is not None and not asked.conflict]


class Repository(msgspec.Struct, frozen=True):
    """A repository: its URL, its tag where it has one, and the URL of its index as apk 3 writes it."""

    url: str
    tag: str = ""
    index: str = ""

    @property
    def origin(self) -> str:
        """distribution, third-party, or local where it is a folder of the machine."""
        if _OURS.fullmatch(self.url):
            return "distribution"
        return "local" if self.url.startswith(("/", "file:")) else "third-party"

    def cached_as(self) -> set[str]:
        """Return the names that its index may have in the cache: by the URL's SHA-1 (apk 2) or SHA-256 (apk 3)."""
        old = hashlib.sha1(_bytes(self.url), usedforsecurity=False).hexdigest()[:8]
        new = hashlib.sha256(_bytes(self.index)).hexdigest()[:8]
        return {f"APKINDEX.{old}.tar.gz", f"APKINDEX.{new}.tar.gz"}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def parse_repositories(texts: Iterable[str], architecture: str) -> list[Repository]:
    """Return the repositories of the files' texts, apk-repositories(5); variables are expanded once."""
    found: list[Repository] = []
    variables = {"APK_ARCH": architecture}
    for text in texts:
        for _, line in meaningful(text):
            words = line.split()
            if words[0] == "set":
                _assign(words[1:], variables)
                continue
            bare = words[0] == "ndx"
            words = words[words[0] in {"ndx", "v2", "v3"} :]
            tag = words[0][1:] if words and words[0].startswith("@") else ""
            words = words[bool(tag) :]
            if words:
                url, *components = (_expand(word, variables) for word in words)
                found.extend(_repositories(url, components, tag, architecture, bare))
    return found


def _assign(words: list[str], variables: dict[str, str]) -> None:
    default = words[:1] == ["-default"]
    name, equals, value = " ".join(words[default:]).partition("=")
    if equals and not (default and name in variables):
        variables[name] = _expand(value, variables)


def _expand(word: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), word)[:4096]


def _repositories(url: str, components: list[str], tag: str, arch: str, bare: bool) -> Iterator[Repository]:
    for each in [f"{url.rstrip('/')}/{component}" for component in components] or [url]:
        whole = bare or each.endswith((".adb", ".tar.gz"))
        yield Repository(each, tag, each if whole else f"{each.rstrip('/')}/{arch}/APKINDEX.tar.gz")


def parse_index(data: bytes) -> set[tuple[str, str]]:
    """Return (name, identity) of all packages in an APKINDEX.tar.gz; the identity is the field `C:`.

    Raises ValueError where it is no such archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack(data, _MAX_INDEX)), mode="r:", ignore_zeros=True) as archive:
            for _ in range(_MAX_MEMBERS):
                member = archive.next()
                if member is None:
                    break
                if member.name == "APKINDEX" and member.isreg() and (file := archive.extractfile(member)):
                    return _index(file.read(_MAX_INDEX).decode("utf-8", "replace"))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"it is no archive: {error}") from None
    raise ValueError("it has no APKINDEX")


def _index(text: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    identity = ""
    for _, line in lines(text):
        if line.startswith("C:"):
            identity = line[2:]
        elif line.startswith("P:") and identity and len(found) < _MAX_ENTRIES:
            found.add((line[2:], identity))
            identity = ""
    return found


class Origins(msgspec.Struct, frozen=True):
    """What the disk says of where packages come from."""

    repositories: tuple[Repository, ...]
    indexes: Mapping[str, frozenset[str]]
    """Origin of (name, identity) pairs, written `NAME identity`, for the indexes in the cache."""
    files: frozenset[str]
    """Names that a person installed from a file: the world holds their identity (`><`)."""

    def of(self, name: str, identity: str, tag: str) -> str:
        """Return distribution, third-party, local, or nothing where the disk does not say.

        An index has the newest versions alone, so one that lists another proves nothing: then the kind of the
        repositories counts, where all that could have served it are of one kind.
        """
        if name in self.files:
            return "local"
        known = self.indexes.get(f"{name} {identity}", frozenset())
        kinds = known or {repository.origin for repository in self.repositories if repository.tag == tag}
        return next(iter(kinds)) if len(kinds) == 1 else ""
