"""XFS, read in process: only what the kernel would read the same, and nothing is guessed.

Version 4 and 5 with all that mkfs.xfs makes on one device; whatever is not as it should be ends in DiskError
(metadata) or GuestFileError (one file's content), so that the caller can hand over to a mount. No library: pyfsxfs
(libfsxfs 20260901) refuses a name that is not UTF-8 ("libuna_unicode_character_copy_from_utf8: invalid 1st UTF-8
character byte") and a file system with a new UUID ("unsupported incompatible features flags"), and tells neither how
much a file takes nor whether the log is clean.

Linux, fs/xfs/; the format: https://git.kernel.org/pub/scm/fs/xfs/xfs-documentation.git.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from migrate.errors import GuestFileError
from migrate.guest.directory import KINDS
from migrate.guest.filesystems.extattr import Raw
from migrate.guest.filesystems.inprocess import DamagedError, Extent, Read, Usage, entry_of
from migrate.guest.filesystems.xfsattr import short_attributes, shown
from migrate.guest.filesystems.xfsdir import Names, parse_data, parse_short
from migrate.guest.filesystems.xfsinode import LOCAL, Inode, device_of, parse_inode
from migrate.guest.filesystems.xfssuper import Superblock, inspect
from migrate.guest.filesystems.xfsvolume import Volume
from migrate.guest.protocol import Entry, Kind
from migrate.guest.tree import decode, join
from migrate.text import show

MAX_ATTRIBUTES = 256 << 20
"""How many bytes of attributes outside of inodes are kept at most, in all."""

_MAX_EMPTY = 4096  # blocks of a directory without a name in them: the kernel leaves one only where room ran out


class Xfs:
    """One file system. `name` is the device's name in errors, `device` a number that tells its inodes from others.

    Raises DamagedError where it cannot be read with certainty, DiskError as `read` does.
    """

    def __init__(self, read: Read, size: int, name: str, device: int = 0) -> None:
        self._device = device
        found, log = inspect(read, size)
        if found is None or log.why_not:
            raise DamagedError(f"read {show(name)} without mounting it", show(log.why_not))
        self.superblock: Superblock = found
        self._volume = Volume(read, found, name, log.lsn)
        self._attributes_left = MAX_ATTRIBUTES

    def usage(self) -> Usage:
        """Return its size without the log, and what the superblock says is free (with the kernel's reserve)."""
        return self.superblock.usage()

    def inode(self, number: int) -> Inode:
        """Return an inode. Raises DiskError."""
        raw = self._volume.inode_bytes(number)
        try:
            return parse_inode(raw, number, self.superblock)
        except ValueError as error:
            self._volume.fail(f"inode {number}: {error}")

    # ------------------------------------------------------------ names

    def names(self, inode: Inode) -> dict[bytes, int]:
        """Return the names in a directory and their inodes, without `.` and `..`. Raises DiskError.

        To be asked once of each directory in a pass of `entries`: blocks are those of one directory alone.
        """
        found: dict[bytes, int] = {}
        empty = 0
        try:
            for names in self._names(inode):
                before = len(found)
                found.update(names)
                empty += not names
                if len(found) != before + len(names) or empty > _MAX_EMPTY:
                    raise ValueError("the directory is damaged")
        except ValueError as error:
            self._volume.fail(f"inode {inode.number}: {error}")
        if any(b"/" in name or b"\0" in name for name in found) or b"." in found or b".." in found:
            self._volume.fail(f"inode {inode.number}: the directory is damaged")
        return found

    def _names(self, inode: Inode) -> Iterator[Names]:
        sb = self.superblock
        if inode.content.format == LOCAL:
            yield parse_short(inode.content.data[: inode.size], sb.has_types)
            return
        for block in self._volume.directory(inode):
            yield parse_data(block, sb.version, sb.has_types)

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, the top's as `/`; those of a directory in the order of their inodes."""
        self._attributes_left = MAX_ATTRIBUTES
        self._volume.taken.clear()
        top = self.inode(self.superblock.root)
        if not stat.S_ISDIR(top.mode):
            self._volume.fail("its top is no directory")
        yield self._entry("/", top)
        todo, seen = [("/", top.number)], {top.number}
        while todo:
            path, directory = todo.pop()
            for name, number in sorted(self.names(self.inode(directory)).items(), key=lambda each: each[1]):
                inode = self.inode(number)
                full = join(path, decode(name))
                if stat.S_ISDIR(inode.mode):
                    if number in seen:
                        self._volume.fail(f"the directory of inode {number} is in two places")
                    seen.add(number)
                    todo.append((full, number))
                yield self._entry(full, inode)

    def _entry(self, path: str, inode: Inode) -> Entry:
        kind = KINDS[stat.S_IFMT(inode.mode)]
        return entry_of(
            path,
            inode,
            self._device,
            target=decode(self._target(inode)) if kind == "symlink" else "",
            node=device_of(inode.content) if kind in {"char", "block"} else (0, 0),
            allocated=inode.blocks * self.superblock.block_size,
            xattrs=self._attributes(inode, kind) if inode.attributes is not None else (),
        )

    def _target(self, inode: Inode) -> bytes:
        local = inode.content.format == LOCAL
        text = inode.content.data[: inode.size] if local else self._volume.link(inode)
        if b"\0" in text:
            self._volume.fail(f"the symbolic link of inode {inode.number} is damaged")
        return text

    # ------------------------------------------------------------ attributes and content

    def _attributes(self, inode: Inode, kind: Kind) -> tuple[tuple[str, bytes], ...]:
        fork = inode.attributes
        try:
            if fork is None:
                return ()
            if fork.format == LOCAL:
                return short_attributes(fork.data, kind)
            raw: Raw = {}
            for leaf, place in self._volume.leaves(inode.number, fork):
                count = len(raw) + len(leaf.values) + len(leaf.remote)
                raw |= leaf.values
                for remote in leaf.remote:
                    self._spend(remote.length)
                    raw[remote.key] = self._volume.value(inode.number, place, remote)
                if len(raw) != count:
                    raise ValueError("it has an extended attribute twice")
                self._spend(sum(len(key[1]) + len(value) for key, value in leaf.values.items()))
            return shown(raw, kind)
        except ValueError as error:
            self._volume.fail(f"inode {inode.number}: {error}")

    def _spend(self, size: int) -> None:
        self._attributes_left -= size
        if self._attributes_left < 0:
            raise ValueError(f"there are more than {MAX_ATTRIBUTES >> 20} MiB of extended attributes")

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        """Yield the start of a regular file. Raises GuestFileError where its map is damaged, DiskError as `Read`."""
        try:
            yield from self._volume.pieces(self._regular(number), length)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error

    def layout(self, path: str, number: int, length: int) -> list[Extent]:
        """Return where the start of a regular file is. Raises as `read_file`."""
        try:
            return self._volume.layout(self._regular(number), length)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error

    def _regular(self, number: int) -> Inode:
        inode = self.inode(number)
        if not stat.S_ISREG(inode.mode):
            self._volume.fail(f"inode {number} is no regular file")
        return inode
