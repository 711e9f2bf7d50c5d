"""The files of an rpm package as its header lists them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from analyzers import _rpm_header as tags
from analyzers._rpm_header import Budget, DamagedError, Header
from migrate.model import Shipped

MAX_PATH = 4096  # bytes with the final NUL: PATH_MAX, limits.h
_GONE = frozenset((1, 2, 3, 4))  # rpmfileState: replaced, not installed, net shared, wrong colour

# rpmfileAttrs and rpmVerifyAttrs, lib/rpmfiles.h and lib/rpmvf.h
_FLAGS = {
    1 << 0: "config",
    1 << 1: "doc",
    1 << 3: "missingok",
    1 << 4: "noreplace",
    1 << 6: "ghost",
    1 << 12: "artifact",
}
_CHECKS = {
    1 << 0: "digest", 1 << 1: "size", 1 << 2: "target", 1 << 3: "user", 1 << 4: "group", 1 << 5: "mtime",
    1 << 6: "mode", 1 << 7: "device", 1 << 8: "capabilities",
}  # fmt: skip
_ALL_FLAGS, _ALL_CHECKS = sum(_FLAGS), sum(_CHECKS)
# rpmcrypto.h, the numbers of OpenPGP; md5 where the header does not say
_ALGORITHMS = {
    1: "md5",
    2: "sha1",
    8: "sha256",
    9: "sha384",
    10: "sha512",
    11: "sha224",
    12: "sha3_256",
    14: "sha3_512",
}


class FileList(msgspec.Struct, frozen=True):
    """Every path of a package; `absent` are those that rpm did not install or let another package replace."""

    algorithm: str = ""
    files: tuple[Shipped, ...] = ()
    absent: frozenset[str] = frozenset()


@cache
def _words(bits: int, names: tuple[tuple[int, str], ...]) -> tuple[str, ...]:
    return tuple(word for bit, word in names if bits & bit)


def paths_of(header: Header, budget: Budget) -> list[str]:
    """Return the paths in the header's order: directory and name since rpm 4, whole before. Raises DamagedError."""
    names = header.strings(tags.BASENAMES)
    if not names:
        paths = header.strings(tags.OLDFILENAMES)
        budget.take(len(paths), sum(len(path) for path in paths))
    else:
        directories, where = header.strings(tags.DIRNAMES), header.integers(tags.DIRINDEXES)
        if len(where) != len(names) or max(where) >= len(directories):
            raise DamagedError(f"{len(names)} files in {len(directories)} directories, and {len(where)} say in which")
        budget.take(len(names), sum(len(directories[at]) for at in where) + sum(len(name) for name in names))
        paths = [directories[at] + name for at, name in zip(where, names, strict=True)]
    if any(not path.startswith("/") or len(path) >= MAX_PATH for path in paths):
        bad = next(path for path in paths if not path.startswith("/") or len(path) >= MAX_PATH)
        raise DamagedError(
            f"a path of {len(bad)} characters" if len(bad) >= MAX_PATH else "a path with no slash before it"
        )
    return paths


def _column(values: Sequence[str] | Sequence[int], count: int, tag: int) -> bool:
    if values and len(values) != count:
        raise DamagedError(f"tag {tag} has {len(values)} values for {count} files")
    return bool(values)


def _texts(header: Header, tag: int, count: int, known: dict[str, str]) -> Sequence[str]:
    values = header.strings(tag)
    return [known.setdefault(v, v) for v in values] if _column(values, count, tag) else [""] * count


def _numbers(header: Header, tag: int, count: int, default: int = 0) -> Sequence[int]:
    values = header.integers(tag)
    return values if _column(values, count, tag) else [default] * count


def read_files(header: Header, budget: Budget, known: dict[str, str]) -> FileList:
    """Return the files of a package. `known` makes equal texts (users, groups) one object. Raises DamagedError."""
    paths = paths_of(header, budget)
    if not paths:
        return FileList()
    count = len(paths)
    number = next(iter(header.integers(tags.FILEDIGESTALGO)), 1)
    sizes = tags.LONGFILESIZES if tags.LONGFILESIZES in header.tags else tags.FILESIZES
    states = _numbers(header, tags.FILESTATES, count)
    flags, checks = tuple(_FLAGS.items()), tuple(_CHECKS.items())
    columns = zip(
        paths,
        _numbers(header, tags.FILEMODES, count),
        _texts(header, tags.FILEUSERNAME, count, known),
        _texts(header, tags.FILEGROUPNAME, count, known),
        _numbers(header, sizes, count),
        _numbers(header, tags.FILEMTIMES, count),
        _texts(header, tags.FILEDIGESTS, count, {}),
        _texts(header, tags.FILELINKTOS, count, {}),
        _texts(header, tags.FILECAPS, count, known),
        _numbers(header, tags.FILEFLAGS, count),
        _numbers(header, tags.FILEVERIFYFLAGS, count, -1),
        strict=True,
    )
    files = tuple(
        Shipped(
            path=path, mode=mode, user=user, group=group, size=size, mtime=mtime, digest=digest.lower(), target=target,
            capabilities=capabilities, flags=_words(marks & _ALL_FLAGS, flags),
            unchecked=_words(~verify & _ALL_CHECKS, checks),
        )
        for path, mode, user, group, size, mtime, digest, target, capabilities, marks, verify in columns
    )  # fmt: skip
    absent = frozenset(path for path, state in zip(paths, states, strict=True) if state in _GONE)
    return FileList(_ALGORITHMS.get(number, f"openpgp-{number}"), files, absent)


def digests_of_config(files: Sequence[Shipped]) -> tuple[tuple[str, str], ...]:
    """Return (path, digest) of the configuration among files, sorted; a ghost has none: the text is empty."""
    return tuple(sorted((f.path, f.digest) for f in files if "config" in f.flags and f.mode & 0o170000 != 0o040000))
