"""The blocks of an XFS that belong to an inode: its content, its directory, its attributes, each block checked.

Raises DamagedError for what is not as it should be, DiskError as `Read` does.

Linux, fs/xfs/libxfs/: xfs_bmap.c (xfs_bmap_validate_extent), xfs_bmap_btree.c, xfs_attr_remote.c and
xfs_symlink_remote.c.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Never

from migrate.guest.filesystems.inprocess import DamagedError, Extent, Read, extents, mapped
from migrate.guest.filesystems.xfsattr import (
    LEAF_MAGIC,
    MAX_VALUE,
    Leaf,
    Remote,
    magic_of,
    parse_index,
    parse_leaf,
    parse_remote,
)
from migrate.guest.filesystems.xfsblock import ATTRIBUTES, DIRECTORY, REMOTE, TREE, Layout, damage
from migrate.guest.filesystems.xfsdir import BLOCK_MAGIC, DATA_MAGIC, INDEX_START
from migrate.guest.filesystems.xfsinode import EXTENTS, Fork, Inode, Run, parse_node, parse_root, parse_runs
from migrate.guest.filesystems.xfssuper import Superblock
from migrate.guest.spool import PIECE
from migrate.text import show

_MAX_RUNS = 1 << 17


class Volume:
    """Reads a device; `newest` is where its log ends.

    `taken` is where directories' blocks were seen: were one in many directories, few bytes of a disk would make more
    names than any memory holds.
    """

    def __init__(self, read: Read, sb: Superblock, name: str, newest: int) -> None:
        self._read = read
        self._sb = sb
        self._name = name
        self._newest = newest
        self.taken: set[int] = set()

    def fail(self, why: str) -> Never:
        """Raise DamagedError."""
        raise DamagedError(f"read {show(self._name)} without mounting it", show(why))

    def inode_bytes(self, number: int) -> bytes:
        """Return the bytes of an inode."""
        place = self._sb.inode_place(number)
        if place < 0:
            self.fail(f"a directory names inode {number}, which is none of a file")
        return self._read(place, self._sb.inode_size)

    def blocks(self, where: int, count: int = 1) -> bytes:
        """Return the bytes of some blocks."""
        return self._read(self._place(where, count), count * self._sb.block_size)

    def _place(self, where: int, count: int) -> int:
        place = self._sb.place(where, count)
        if place < 0:
            self.fail(f"it points to block {where}, which it does not have")
        return place

    def _check(self, block: bytes, where: int, layout: Layout, inode: int, what: str) -> None:
        """Check a block of a version 5 file system against its own description of itself."""
        if self._sb.version != 5:
            return
        sb = self._sb
        wrong = damage(block, layout, sb.place(where) // 512, inode, sb.identity, self._newest)
        if wrong:
            self.fail(f"the {what} of inode {inode} are damaged ({wrong})")

    # ------------------------------------------------------------ runs

    def runs(self, inode: int, fork: Fork) -> Iterator[Run]:
        """Yield the runs of blocks of a fork, in order, each checked."""
        end = found = 0
        for data in self._records(inode, fork):
            for run in parse_runs(data):
                if run.first < end or self._sb.place(run.where, run.count) < 0:
                    self.fail(f"the extents of inode {inode} are damaged")
                end = run.first + run.count
                found += 1
                yield run
        if found != fork.extents:
            self.fail(f"the extents of inode {inode} are damaged")

    def _records(self, inode: int, fork: Fork) -> Iterator[bytes]:
        if fork.format == EXTENTS:
            yield fork.data[: 16 * fork.extents]
            return
        try:
            level, below = parse_root(fork.data)
            for where in below:
                yield from self._below(inode, where, level - 1)
        except ValueError as error:
            self.fail(f"inode {inode}: {error}")

    def _below(self, inode: int, where: int, level: int) -> Iterator[bytes]:
        block = self.blocks(where)
        self._check(block, where, TREE, inode, "extents")
        if self._sb.version == 5:
            records, below = parse_node(block, 72, b"BMA3", level)
        else:
            records, below = parse_node(block, 24, b"BMAP", level)
        if not level:
            yield records
        for each in below:
            yield from self._below(inode, each, level - 1)

    # ------------------------------------------------------------ content

    def pieces(self, inode: Inode, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of a regular file, holes and unwritten blocks as zeros."""
        yield from mapped(self._written(inode), self._sb.block_size, min(length, inode.size), self.blocks)

    def layout(self, inode: Inode, length: int) -> list[Extent]:
        """Return where the first `length` bytes of a regular file are; what is in no extent is zeros."""
        return extents(self._written(inode), self._sb.block_size, min(length, inode.size), self._place)

    def _written(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        for run in self.runs(inode.number, inode.content):
            if not run.unwritten:
                yield run.first, run.count, run.where

    def link(self, inode: Inode) -> bytes:
        """Return the text of a symbolic link that is not in its inode: a header for each run (version 5)."""
        sb = self._sb
        header = 56 if sb.version == 5 else 0
        left = -(-inode.size // (sb.block_size - header))
        text = b""
        for run in self.runs(inode.number, inode.content):
            count = min(run.count, left)
            if run.unwritten or not count:
                break
            block = self.blocks(run.where, count)
            self._check(block, run.where, REMOTE, inode.number, "symbolic link's blocks")
            size = min(len(block) - header, inode.size - len(text))
            place = block[:4], int.from_bytes(block[4:8], "big"), int.from_bytes(block[8:12], "big")
            if header and place != (b"XSLM", len(text), size):
                break
            text += block[header : header + size]
            left -= count
        if len(text) != inode.size:
            self.fail(f"the symbolic link of inode {inode.number} is damaged")
        return text

    # ------------------------------------------------------------ directories

    def directory(self, inode: Inode) -> Iterator[bytes]:
        """Yield the blocks of a directory that hold names."""
        number, end, alone, seen = inode.number, 0, False, 0
        per_block = self._sb.directory_size // self._sb.block_size
        only, one_of_many = BLOCK_MAGIC[self._sb.version], DATA_MAGIC[self._sb.version]
        for block, where in self._directory_blocks(inode):
            self._check(block, where, DIRECTORY, number, "directory's blocks")
            alone = alone or block[:4] == only
            seen += 1
            if (alone and seen > 1) or block[:4] not in {only, one_of_many} or where in self.taken:
                self.fail(f"the directory of inode {number} is damaged")
            self.taken.add(where)
            yield block
        for run in self.runs(number, inode.content):
            end = run.first + run.count
        if not seen or alone != (end == per_block):
            self.fail(f"the directory of inode {number} is damaged")

    def _directory_blocks(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """Yield the blocks of a directory's size, and where each starts; one may be in several runs."""
        sb, number = self._sb, inode.number
        per_block = sb.directory_size // sb.block_size
        limit = INDEX_START // sb.block_size
        part, start, following, left = b"", 0, 0, inode.blocks
        for run in self.runs(number, inode.content):
            if run.first >= limit:
                break
            first, where, count = run.first, run.where, run.count
            left -= count
            if run.unwritten or first + count > limit or left < 0:
                self.fail(f"the directory of inode {number} is damaged")
            while count:
                if first != following if part else first % per_block:
                    self.fail(f"the directory of inode {number} has a hole where there can be none")
                most = max(PIECE // sb.block_size // per_block, 1) * per_block
                take = min(count, per_block - len(part) // sb.block_size if part else most)
                if not part and take > per_block:
                    take -= take % per_block
                data = self.blocks(where, take)
                start = start if part else where
                part += data
                for at in range(0, len(part) - sb.directory_size + 1, sb.directory_size):
                    yield part[at : at + sb.directory_size], start + at // sb.block_size
                part = part[len(part) // sb.directory_size * sb.directory_size :]
                first, where, count = first + take, where + take, count - take
                following = first
        if part:
            self.fail(f"the directory of inode {number} has a hole where there can be none")

    # ------------------------------------------------------------ attributes

    def leaves(self, inode: int, fork: Fork) -> Iterator[tuple[Leaf, _Map]]:
        """Yield the blocks of attributes of a fork that are not in its inode, in order."""
        if not fork.extents:
            return
        place = self._map(inode, fork)
        number, level = 0, 0
        try:
            block = self._attributes(inode, place, 0)
            while magic_of(block) != LEAF_MAGIC[self._sb.version]:
                found, number = parse_index(block, self._sb.version)
                if level and found != level - 1:
                    raise ValueError("its extended attributes are damaged")
                level = found
                block = self._attributes(inode, place, number)
            seen = {number}
            leaf = parse_leaf(block, self._sb.version)
            yield leaf, place
            while leaf.next:
                if leaf.next in seen:
                    raise ValueError("its extended attributes are damaged")
                seen.add(leaf.next)
                leaf = parse_leaf(self._attributes(inode, place, leaf.next), self._sb.version)
                yield leaf, place
        except ValueError as error:
            self.fail(f"inode {inode}: {error}")

    def _map(self, inode: int, fork: Fork) -> _Map:
        if fork.extents > _MAX_RUNS:
            self.fail(f"the attributes of inode {inode} are in more pieces than are read here")
        runs = list(self.runs(inode, fork))
        if any(run.unwritten for run in runs):
            self.fail(f"the extents of inode {inode} are damaged")
        return _Map(runs)

    def _attributes(self, inode: int, place: _Map, number: int) -> bytes:
        where = place.where(number)
        block = self.blocks(where)
        self._check(block, where, ATTRIBUTES, inode, "extended attributes")
        return block

    def value(self, inode: int, place: _Map, remote: Remote) -> bytes:
        """Return a value that is in blocks of its own."""
        found, number = b"", remote.first
        if remote.length > MAX_VALUE:
            self.fail(f"the extended attributes of inode {inode} are damaged")
        try:
            while len(found) < remote.length:
                where = place.where(number)
                block = self.blocks(where)
                self._check(block, where, REMOTE, inode, "extended attributes")
                found += parse_remote(block, self._sb.version, len(found), remote.length)
                number += 1
        except ValueError as error:
            self.fail(f"inode {inode}: {error}")
        return found


class _Map:
    """Finds the blocks of a fork by their number in it. Raises ValueError where there is a hole."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self._firsts = [run.first for run in runs]

    def where(self, number: int) -> int:
        """Return where a block is."""
        at = bisect.bisect_right(self._firsts, number) - 1
        if at < 0 or number >= self._runs[at].first + self._runs[at].count:
            raise ValueError("its extended attributes are damaged")
        return self._runs[at].where + number - self._runs[at].first
