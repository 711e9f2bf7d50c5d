"""Tar archives of guest files as a stream of bytes: the same members give the same bytes.

POSIX.1-2001 (pax) format: owners by number, extended attributes as `SCHILY.xattr.NAME`, names of any bytes,
sparse files in GNU's "PAX format, version 1.0" (GNU tar manual, appendix "Sparse Formats").
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from migrate.errors import GuestFileError
from migrate.guest.protocol import Entry, Guest

MemberKind = Literal["file", "directory", "symlink", "hardlink", "fifo"]

_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
_BLOCK = 4096  # what file systems allot: a shorter run of zeros is no hole
_RECORD = tarfile.RECORDSIZE


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member. `path` is absolute on the guest (in the archive it has no leading slash).

    `content` is what is written, or None: then it is the guest's file `source`. `target` is a symlink's text,
    or the absolute path of the member that a hard link is another name of. `size` is in bytes.
    """

    path: str
    kind: MemberKind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    content: bytes | None = None
    source: str = ""
    sparse: bool = False
    xattrs: tuple[tuple[str, bytes], ...] = ()
    inode: tuple[int, int] | None = None


def sort_key(path: str) -> bytes:
    """Sort paths by component, so that a directory comes before what is in it."""
    return os.fsencode(path).replace(b"/", b"\0")


def member_of(entry: Entry) -> Member | None:
    """Return the member for an entry of the guest, or None for what an archive should not hold: sockets, devices."""
    if entry.kind not in {"file", "directory", "symlink", "fifo"}:
        return None
    is_file = entry.kind == "file"
    return Member(
        path=entry.path,
        kind=entry.kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=max(entry.mtime, 0),
        size=entry.size if is_file else 0,
        target=entry.target,
        source=entry.path if is_file else "",
        sparse=is_file and 0 <= entry.allocated < entry.size - _BLOCK,
        xattrs=tuple((name, value) for name, value in sorted(entry.xattrs) if kept_xattr(name)),
        inode=entry.inode if is_file and entry.links > 1 else None,
    )


def kept_xattr(name: str) -> bool:
    """Tell whether an attribute is the file's own (xattr(7)), not the policy of the host it was on (selinux, ima)."""
    return name == "security.capability" or name.startswith(("user.", "system.posix_acl_"))


def link_names(members: Iterable[Member]) -> list[Member]:
    """Return the members in order, the second and later names of one file as hard links to the first."""
    first: dict[tuple[int, int], str] = {}
    found = []
    for member in sorted(members, key=lambda m: sort_key(m.path)):
        if member.kind == "file" and member.inode is not None and member.content is None:
            seen = first.setdefault(member.inode, member.path)
            if seen != member.path:
                member = msgspec.structs.replace(member, kind="hardlink", target=seen, size=0, source="", sparse=False)
        found.append(member)
    return found


def stream(members: Iterable[Member], guest: Guest, prefix: str = "") -> Iterator[bytes]:
    """Yield an archive of `members` in their order. With `prefix` (a path), names are relative to it: `./x`.

    Raises GuestFileError for a file that cannot be read, or has another length than its entry says.
    """
    total = 0
    for member in members:
        for piece in _member(member, guest, prefix):
            total += len(piece)
            yield piece
    yield bytes(2 * tarfile.BLOCKSIZE + -(total + 2 * tarfile.BLOCKSIZE) % _RECORD)


def _name(path: str, prefix: str) -> str:
    if not prefix:
        return path.lstrip("/")
    rest = path[len(prefix.rstrip("/")) :].lstrip("/")
    return f"./{rest}" if rest else "./"


def _member(member: Member, guest: Guest, prefix: str) -> Iterator[bytes]:
    info = tarfile.TarInfo(_name(member.path, prefix))
    info.type = _TYPES[member.kind]
    info.mode, info.uid, info.gid, info.mtime = member.mode, member.uid, member.gid, member.mtime
    if member.kind == "hardlink":
        info.linkname = _name(member.target, prefix)
    elif member.kind == "symlink":
        info.linkname = member.target
    info.pax_headers = {f"SCHILY.xattr.{k}": v.decode("utf-8", "surrogateescape") for k, v in member.xattrs}
    if member.kind != "file":
        yield _header(info)
    elif member.content is not None:
        info.size = len(member.content)
        yield _header(info)
        yield member.content
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    elif member.sparse:
        yield from _sparse(info, member, guest)
    else:
        info.size = member.size
        yield _header(info)
        yield from _whole(member, guest)
        yield bytes(-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _whole(member: Member, guest: Guest) -> Iterator[bytes]:
    """Yield exactly `size` bytes: a guest that gives more or fewer must not shift the members that follow."""
    left = member.size
    for piece in guest.chunks(member.source):
        if len(piece) > left:
            break
        left -= len(piece)
        yield piece
    else:
        if left == 0:
            return
    raise GuestFileError(f"read {member.source}", f"its content is not the {member.size} bytes its entry says")


def _sparse(info: tarfile.TarInfo, member: Member, guest: Guest) -> Iterator[bytes]:
    pieces = data_map(_whole(member, guest))
    if not pieces or sum(pieces[-1]) < member.size:
        pieces.append((member.size, 0))  # the end, where the file ends in a hole
    text = "".join(f"{n}\n" for n in (len(pieces), *(n for pair in pieces for n in pair))).encode()
    text += bytes(-len(text) % tarfile.BLOCKSIZE)
    info.pax_headers = {
        **info.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(member.size),
    }
    parent, _, name = info.name.rpartition("/")
    info.name = f"{parent}/GNUSparseFile.0/{name}".lstrip("/")
    info.size = len(text) + sum(length for _, length in pieces)
    yield _header(info)
    yield text
    position, waiting = 0, iter(pieces)
    start, length = next(waiting)
    for piece in _whole(member, guest):
        end = position + len(piece)
        while length and start < end:
            take = min(start + length, end) - start
            yield piece[start - position : start - position + take]
            start, length = start + take, length - take
            if not length:
                start, length = next(waiting, (member.size, 0))
        position = end
    yield bytes(-info.size % tarfile.BLOCKSIZE)


def data_map(chunks: Iterable[bytes]) -> list[tuple[int, int]]:
    """Return where a file's content is not zero: (offset, length) pairs in whole blocks, but for the last one."""
    found: list[tuple[int, int]] = []
    buffer = b""
    position = 0
    zeros = bytes(_BLOCK)

    def block(data: bytes) -> None:
        nonlocal position
        if data != zeros[: len(data)]:
            if found and sum(found[-1]) == position:
                found[-1] = (found[-1][0], found[-1][1] + len(data))
            else:
                found.append((position, len(data)))
        position += len(data)

    for chunk in chunks:
        buffer += chunk
        whole = len(buffer) - len(buffer) % _BLOCK
        for start in range(0, whole, _BLOCK):
            block(buffer[start : start + _BLOCK])
        buffer = buffer[whole:]
    if buffer:
        block(buffer)
    return found
