"""A guest in memory, for tests of analyzers.

    guest = FakeGuest({
        "/etc/crontab": "* * * * * root true\\n",
        "/etc/systemd/system/default.target": Link("/lib/systemd/system/multi-user.target"),
        "/lib": Link("usr/lib"),
        "/var/lib/orders": Dir(mode=0o750, uid=996, gid=33),
        "/usr/bin/daemon": File(b"\\x7fELF…", mode=0o755, xattrs={"security.capability": b"…"}),
        "/var/lib/broken": Broken("input/output error"),
        "/run/initctl": Node("fifo"),
    })

Parents are made where they are missing, as directories of root with mode 0755. A key that goes through a
symlink among the keys lands where the link leads (`/lib/x` above is `/usr/lib/x`).
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from migrate.errors import GuestFileError
from migrate.guest.protocol import Disk, Entry, FileSystem, Kind, Problem, Source

_MAX_LINKS = 40  # path_resolution(7): ELOOP


@dataclass(frozen=True)
class File:
    """A regular file; `size` only where it is to differ from the content's length (sparse)."""

    content: str | bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int | None = None
    inode: int | None = None
    links: int = 1
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Dir:
    """A directory."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str
    uid: int = 0
    gid: int = 0
    mtime: int = 0


@dataclass(frozen=True)
class Node:
    """A fifo, socket, char or block device."""

    kind: Kind
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Broken:
    """A regular file whose content cannot be read."""

    why: str = "input/output error"
    size: int = 1
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


Content: TypeAlias = "str | bytes | File | Dir | Link | Node | Broken"


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")


def _key(path: str) -> bytes:
    """Sort by components, so that a directory's content follows it directly."""
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


class FakeGuest:
    """A `Guest` made from a mapping of paths to contents."""

    def __init__(self, files: Mapping[str, Content]) -> None:
        self._entries: dict[str, Entry] = {}
        self._data: dict[str, bytes | Broken] = {}
        self._names: dict[str, set[str]] = {}
        self.read_paths: list[str] = []
        self._inode = 1
        self._add("/", Dir())
        # Links first, so that paths through them land behind them; short ones before those below them.
        ordered = sorted(files.items(), key=lambda item: (not isinstance(item[1], Link), len(item[0]), item[0]))
        for path, content in ordered:
            if not path.startswith("/"):
                raise ValueError(f"not an absolute path: {path!r}")
            self._place(path, content)

    def _place(self, path: str, content: Content) -> None:
        parent, name = os.path.split(path.rstrip("/") or "/")
        if not name:
            self._add("/", content)
            return
        real = self._make_directory(parent)
        self._add(f"{real.rstrip('/')}/{name}", content)

    def _make_directory(self, path: str) -> str:
        real = self.resolve(path)
        if real is not None:
            if self._entries[real].kind != "directory":
                raise ValueError(f"not a directory: {path!r}")
            return real
        entry = self.lstat(path)
        if entry is not None:  # a dangling link: make what it leads to
            return self._make_directory(os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.target)))  # noqa: PTH118, PTH120
        parent, name = os.path.split(path)
        made = f"{self._make_directory(parent).rstrip('/')}/{name}"
        self._add(made, Dir())
        return made

    def _add(self, path: str, content: Content) -> None:
        self._inode += 1
        inode = (0, self._inode)
        if isinstance(content, str | bytes):
            content = File(content)
        match content:
            case File():
                data = _bytes(content.content)
                self._data[path] = data
                entry = Entry(
                    path=path, kind="file", mode=content.mode, uid=content.uid, gid=content.gid, mtime=content.mtime,
                    size=len(data) if content.size is None else content.size, allocated=len(data),
                    inode=inode if content.inode is None else (0, content.inode), links=content.links,
                    xattrs=tuple(sorted(content.xattrs.items())),
                )  # fmt: skip
            case Dir():
                self._names.setdefault(path, set())
                entry = Entry(
                    path=path, kind="directory", mode=content.mode, uid=content.uid, gid=content.gid,
                    mtime=content.mtime, inode=inode, links=2,
                )  # fmt: skip
            case Link():
                entry = Entry(
                    path=path, kind="symlink", mode=0o777, uid=content.uid, gid=content.gid, mtime=content.mtime,
                    target=content.target, size=len(_bytes(content.target)), inode=inode,
                )  # fmt: skip
            case Node():
                entry = Entry(
                    path=path, kind=content.kind, mode=content.mode, uid=content.uid, gid=content.gid,
                    device=content.device, inode=inode,
                )  # fmt: skip
            case Broken():
                self._data[path] = content
                entry = Entry(
                    path=path, kind="file", mode=content.mode, uid=content.uid, gid=content.gid, size=content.size,
                    inode=inode,
                )  # fmt: skip
        self._entries[path] = entry
        if path != "/":
            parent, name = os.path.split(path)
            self._names.setdefault(parent, set()).add(name)

    # ------------------------------------------------------------ the protocol

    @property
    def source(self) -> Source:
        return Source(
            disks=(Disk(path="fake", format="directory", virtual_bytes=0),),
            filesystems=(FileSystem(device="/dev/sda1", type="ext4", mountpoint="/"),),
            reader="fake",
        )

    @property
    def problems(self) -> Sequence[Problem]:
        return ()

    def _resolve(self, path: str, follow_last: bool) -> str | None:
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        here = "/"
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                here = os.path.dirname(here)  # noqa: PTH120
                continue
            if self._entries[here].kind != "directory":
                return None
            there = f"{here.rstrip('/')}/{name}"
            entry = self._entries.get(there)
            if entry is None:
                return None
            if entry.kind == "symlink" and (waiting or follow_last):
                links += 1
                if links > _MAX_LINKS:
                    return None
                if entry.target.startswith("/"):
                    here = "/"
                waiting.extend(part for part in reversed(entry.target.split("/")) if part not in ("", "."))
                continue
            here = there
        return here

    def lstat(self, path: str) -> Entry | None:
        real = self._resolve(path, follow_last=False)
        return None if real is None else self._entries[real]

    def stat(self, path: str) -> Entry | None:
        real = self._resolve(path, follow_last=True)
        return None if real is None else self._entries[real]

    def resolve(self, path: str) -> str | None:
        return self._resolve(path, follow_last=True)

    def exists(self, path: str) -> bool:
        return self.resolve(path) is not None

    def is_file(self, path: str) -> bool:
        entry = self.stat(path)
        return entry is not None and entry.kind == "file"

    def is_dir(self, path: str) -> bool:
        entry = self.stat(path)
        return entry is not None and entry.kind == "directory"

    def listdir(self, path: str) -> list[str]:
        real = self.resolve(path)
        return sorted(self._names.get(real, ()), key=os.fsencode) if real is not None else []

    def glob(self, pattern: str) -> list[str]:
        found = {""}
        for part in [p for p in pattern.split("/") if p]:
            after: set[str] = set()
            for base in found:
                if part == "**":
                    after.update(self._below(base))
                else:
                    after.update(f"{base}/{name}" for name in self.listdir(base or "/") if _matches(name, part))
            found = after
        return sorted((path for path in found if path), key=os.fsencode)

    def _below(self, base: str) -> Iterator[str]:
        yield base
        for name in self.listdir(base or "/"):
            entry = self.lstat(f"{base}/{name}")
            if entry is not None and entry.kind == "directory":
                yield from self._below(f"{base}/{name}")

    def walk(self, top: str = "/") -> Iterator[Entry]:
        real = self._resolve(top, follow_last=False)
        if real is None:
            return
        prefix = real.rstrip("/") + "/"
        for path in sorted(self._entries, key=_key):
            if path == real or path.startswith(prefix):
                yield self._entries[path]

    def read(self, path: str, limit: int | None = None) -> bytes:
        self.read_paths.append(path)
        entry = self.stat(path)
        if entry is None:
            raise GuestFileError(f"read {path}", "it does not exist")
        content = self._data.get(entry.path)
        if content is None:
            raise GuestFileError(f"read {path}", f"it is a {entry.kind}")
        if isinstance(content, Broken):
            raise GuestFileError(f"read {path}", content.why)
        return content if limit is None else content[:limit]

    def text(self, path: str, limit: int = 4 << 20) -> str:
        return self.read(path, limit).decode("utf-8", "surrogateescape")

    def chunks(self, path: str, size: int = 1 << 20) -> Iterator[bytes]:
        data = self.read(path)
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def digests(self, wanted: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for path, algorithm in wanted.items():
            if self.is_file(path):
                with contextlib.suppress(GuestFileError):
                    found[path] = hashlib.new(algorithm, self.read(path)).hexdigest()
        return found

    def prefetch(self, paths: Iterable[str]) -> None:
        del paths

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeGuest:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _matches(name: str, pattern: str) -> bool:
    """Match one name as glob(7): a leading dot is matched by a dot only."""
    if name.startswith(".") and not pattern.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, pattern)
