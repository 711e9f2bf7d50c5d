"""ext2, ext3 and ext4, read in process: only what the kernel would read the same, and nothing is guessed.

Whatever is not as it should be ends in DiskError (metadata) or GuestFileError (one file's content), so that the
caller can hand over to a mount. No library: pyfsext (libfsext 20260821) refuses a name that is not UTF-8
("libuna_unicode_character_copy_from_utf8: missing UTF-8 character bytes") and does not tell how much a file takes.

Linux, Documentation/filesystems/ext4/; fs/ext4/inode.c (ext4_iget), dir.c (ext4_check_dir_entry), extents.c.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Never

from migrate.errors import GuestFileError
from migrate.guest.directory import KINDS
from migrate.guest.filesystems.crc32c import crc32c
from migrate.guest.filesystems.extattr import Raw, inline_data, parse_block, parse_inline, visible
from migrate.guest.filesystems.extinode import Inode, device_of, mtime_of
from migrate.guest.filesystems.extsuper import (
    HUGE_FILE,
    LARGE_DIRECTORY,
    LENGTH,
    METADATA_CSUM,
    OFFSET,
    Superblock,
    parse_superblock,
)
from migrate.guest.filesystems.inprocess import DamagedError, Extent, Read, Usage, entry_of, extents, mapped
from migrate.guest.protocol import Entry
from migrate.guest.tree import decode
from migrate.text import show

ROOT = 2
_INDEX, _EXTENTS, _INLINE, _HUGE = 0x1000, 0x80000, 0x10000000, 0x40000
_REFUSED = 0x4 | 0x800 | 0x200000 | 0x40000000  # compressed, encrypted, an attribute's value, case-insensitive
_MAX_DEPTH = 5
# Of an inode's first 128 bytes (inodes.rst), and of the further ones: a reading of each that is made once, not
# looked up by its format each time.
_FIXED = struct.Struct("<HHI16xHHII4x60s4xII4x4H4x").unpack_from
_EXTRA = struct.Struct("<HH").unpack_from
_NAME = struct.Struct("<IHB").unpack_from
_NUMBER = struct.Struct("<I").pack
_NO_SUM = bytes(2)


class Ext:
    """One file system. `name` is the device's name in errors, `device` a number that tells its inodes from others.

    Raises DamagedError where it cannot be read with certainty, DiskError as `read` does.
    """

    def __init__(self, read: Read, size: int, name: str, device: int = 0) -> None:
        self._read = read
        self._name = name
        self._device = device
        found = parse_superblock(read(OFFSET, LENGTH)) if size >= OFFSET + LENGTH else None
        if found is None:
            self._fail("it holds no ext2, ext3 or ext4")
        self.superblock: Superblock = found
        if found.why_not:
            self._fail(found.why_not)
        if found.blocks * found.block_size > size:
            self._fail(f"the file system is {found.blocks * found.block_size} bytes long, and its device {size}")
        self._tables, self._free = self._groups()

    def _fail(self, why: str) -> Never:
        raise DamagedError(f"read {show(self._name)} without mounting it", show(why))

    def _groups(self) -> tuple[list[int], int]:
        """Return the first block of each group's inode table, and how many blocks are free."""
        sb = self.superblock
        size = sb.descriptor_size
        data = self._read((sb.first_block + 1) * sb.block_size, sb.groups * size)
        tables, free = [], 0
        for group in range(sb.groups):
            raw = data[group * size : (group + 1) * size]
            table, unused, checksum = struct.unpack_from("<8xIH16xH", raw)
            if size == 64:
                table |= struct.unpack_from("<I", raw, 0x28)[0] << 32
                unused |= struct.unpack_from("<H", raw, 0x2C)[0] << 16
            if sb.ro_compat & METADATA_CSUM:
                content = struct.pack("<I", group) + raw[:0x1E] + bytes(2) + raw[0x20:]
                if crc32c(content, sb.seed) & 0xFFFF != checksum:
                    self._fail(f"the descriptor of its group {group} is damaged")
            if not sb.first_block < table <= sb.blocks - sb.group_inodes * sb.inode_size // sb.block_size:
                self._fail(f"the descriptor of its group {group} is damaged")
            tables.append(table)
            free += unused
        return tables, free

    def usage(self) -> Usage:
        """Return the blocks in all and the free ones, as statvfs(3) tells them."""
        sb = self.superblock
        journal = self.inode(sb.journal_inode, special=True).size if sb.journal_inode else 0
        return Usage(block_size=sb.block_size, blocks=sb.blocks - sb.overhead(journal), free=self._free)

    def inode(self, number: int, *, special: bool = False) -> Inode:
        """Return an inode; `special` ones are those no directory may name. Raises DiskError."""
        sb = self.superblock
        if not (number == ROOT or (number >= sb.first_inode or special)) or not 0 < number <= sb.inodes:
            self._fail(f"a directory names inode {number}, which is none of a file")
        group, index = divmod(number - 1, sb.group_inodes)
        raw = self._read(self._tables[group] * sb.block_size + index * sb.inode_size, sb.inode_size)
        seed = self._check(number, raw)
        mode, uid, size, gid, links, low, flags, map_, acl, size_high, high, acl_high, uid_high, gid_high = _FIXED(raw)
        if not links or stat.S_IFMT(mode) not in KINDS or flags & _REFUSED:
            self._fail(f"inode {number} is of a kind that is not read here, or damaged")
        if stat.S_ISREG(mode) or sb.incompat & LARGE_DIRECTORY:
            size |= size_high << 32
        if size >= 1 << 48:
            self._fail(f"inode {number} is damaged")
        if sb.ro_compat & HUGE_FILE:
            low |= high << 32
            if flags & _HUGE:
                low *= sb.block_size // 512
        block = acl | (acl_high << 32 if sb.incompat & 0x80 else 0)
        return Inode(
            number=number,
            mode=mode,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            size=size,
            mtime=mtime_of(raw),
            links=links,
            sectors=low,
            flags=flags,
            block=map_,
            attributes=self._attributes(number, raw, block),
            has_block=bool(block),
            seed=seed,
        )

    def _check(self, number: int, raw: bytes) -> int:
        """Check an inode's checksum and the size of its fixed part, as ext4_iget does.

        Returns what the checksums of its blocks start from; 0 where there are none.
        """
        sb = self.superblock
        extra, high = _EXTRA(raw, 0x80) if len(raw) > 128 else (0, 0)
        if extra % 4 or 128 + extra > len(raw):
            self._fail(f"inode {number} is damaged")
        if not sb.ro_compat & METADATA_CSUM:
            return 0
        seed = crc32c(_NUMBER(number) + raw[0x64:0x68], sb.seed)
        low = raw[0x7C] | raw[0x7D] << 8
        if extra >= 4:
            content, mask = [raw[:0x7C], _NO_SUM, raw[0x7E:0x82], _NO_SUM, raw[0x84:]], 0xFFFFFFFF
            low |= high << 16
        else:
            content, mask = [raw[:0x7C], _NO_SUM, raw[0x7E:]], 0xFFFF
        if crc32c(b"".join(content), seed) & mask != low:
            self._fail(f"inode {number} is damaged (its checksum is wrong)")
        return seed

    def _attributes(self, number: int, raw: bytes, block: int) -> Raw:
        extra = _EXTRA(raw, 0x80)[0] if len(raw) > 128 else 0
        if not extra and not block:
            return {}
        try:
            found = parse_inline(raw[128 + extra :]) if extra else {}
            if block:
                beside = parse_block(self._attribute_block(number, block))
                if found.keys() & beside.keys():
                    self._fail(f"inode {number} has an extended attribute twice")
                found |= beside
        except ValueError as error:
            self._fail(f"inode {number}: {error}")
        return found

    def _attribute_block(self, inode: int, number: int) -> bytes:
        content = self._block(number)
        if self.superblock.ro_compat & METADATA_CSUM:
            plain = struct.pack("<Q", number) + content[:16] + bytes(4) + content[20:]
            if crc32c(plain, self.superblock.seed) != struct.unpack_from("<I", content, 16)[0]:
                self._fail(f"the extended attributes of inode {inode} are damaged (their checksum is wrong)")
        return content

    def _place(self, number: int, count: int = 1) -> int:
        sb = self.superblock
        if not sb.first_block < number <= sb.blocks - count:
            self._fail(f"it points to block {number}, which it does not have")
        return number * sb.block_size

    def _block(self, number: int, count: int = 1) -> bytes:
        return self._read(self._place(number, count), count * self.superblock.block_size)

    # ------------------------------------------------------------ content

    def _runs(self, inode: Inode) -> Iterator[tuple[int, int, int]]:
        """Yield where content is, in order: first block within the file, how many, and where; the rest is zeros."""
        if inode.flags & _EXTENTS:
            end = 0
            for first, count, where in self._extents(inode, inode.block, None):
                if first < end:
                    self._fail(f"the extents of inode {inode.number} are damaged")
                end = first + count
                if where:
                    yield first, count, where
            return
        pointers = struct.unpack("<15I", inode.block)
        yield from ((number, 1, where) for number, where in enumerate(pointers[:12]) if where)
        per_block = self.superblock.block_size // 4
        start = 12
        for level, where in enumerate(pointers[12:], 1):
            if where:
                yield from self._indirect(where, level, start)
            start += per_block**level

    def _indirect(self, where: int, level: int, start: int) -> Iterator[tuple[int, int, int]]:
        per_block = self.superblock.block_size // 4
        for number, each in enumerate(struct.unpack(f"<{per_block}I", self._block(where))):
            first = start + number * per_block ** (level - 1)
            if each and level == 1:
                yield first, 1, each
            elif each:
                yield from self._indirect(each, level - 1, first)

    def _extents(self, inode: Inode, node: bytes, depth: int | None) -> Iterator[tuple[int, int, int]]:
        magic, entries, most, levels = struct.unpack_from("<HHHH", node)
        fits = 12 + 12 * entries <= len(node) and entries <= most
        if magic != 0xF30A or not fits or levels != (depth if depth is not None else min(levels, _MAX_DEPTH)):
            self._fail(f"the extents of inode {inode.number} are damaged")
        if depth is not None and self.superblock.ro_compat & METADATA_CSUM:
            end = 12 + 12 * most
            if node[end : end + 4] != struct.pack("<I", crc32c(node[:end], inode.seed)):
                self._fail(f"the extents of inode {inode.number} are damaged (their checksum is wrong)")
        for at in range(12, 12 + 12 * entries, 12):
            if levels:
                _, low, high = struct.unpack_from("<IIH", node, at)
                yield from self._extents(inode, self._block(low | high << 32), levels - 1)
                continue
            first, count, high, low = struct.unpack_from("<IHHI", node, at)
            unwritten = count > 0x8000
            yield first, count - 0x8000 if unwritten else count, 0 if unwritten else low | high << 32

    def pieces(self, inode: Inode, length: int) -> Iterator[bytes]:
        """Yield the first `length` bytes of content, holes as zeros. Raises DiskError."""
        length = min(length, inode.size)
        if inode.flags & _INLINE:
            yield self._inline(inode, length)
            return
        yield from mapped(self._runs(inode), self.superblock.block_size, length, self._block)

    def _inline(self, inode: Inode, length: int) -> bytes:
        content = (inode.block + inline_data(inode.attributes))[:length]
        if len(content) < length:
            self._fail(f"the content of inode {inode.number} is not where it should be")
        return content

    def content(self, inode: Inode) -> bytes:
        """Return the whole content of a directory or a symbolic link, where it must be mapped without holes."""
        sb = self.superblock
        if inode.size > sb.blocks * sb.block_size or (stat.S_ISLNK(inode.mode) and inode.size > sb.block_size):
            self._fail(f"inode {inode.number} is damaged")
        if not inode.flags & _INLINE:
            end = 0
            for first, count, _ in self._runs(inode):
                if first != end:
                    break
                end += count
                if end * sb.block_size >= inode.size:
                    break
            if end * sb.block_size < inode.size:
                self._fail(f"inode {inode.number} has a hole where there can be none")
        return b"".join(self.pieces(inode, inode.size))

    # ------------------------------------------------------------ names

    def names(self, inode: Inode) -> dict[bytes, int]:
        """Return the names in a directory and their inodes, without `.` and `..`. Raises DiskError."""
        if not stat.S_ISDIR(inode.mode):
            self._fail(f"inode {inode.number} is no directory")
        content, size = self.content(inode), self.superblock.block_size
        if inode.flags & _INLINE:  # the parent's number, then entries; a second part among the attributes
            blocks = [inode.block[4:], inline_data(inode.attributes)]
        elif not content or len(content) % size:
            self._fail(f"the directory of inode {inode.number} is damaged")
        else:
            blocks = [content[at : at + size] for at in range(0, len(content), size)]
            self._check_blocks(inode, blocks)
        found: dict[bytes, int] = {}
        for block in blocks:
            for number, name in self._entries(inode, block):
                if name in {b".", b".."}:
                    continue
                if not name or b"/" in name or b"\0" in name or name in found:
                    self._fail(f"the directory of inode {inode.number} is damaged")
                found[name] = number
        return found

    def _check_blocks(self, inode: Inode, blocks: list[bytes]) -> None:
        """Check the checksums of a directory's blocks, those of an index's own nodes aside (ext4_dirblock_csum_verify).

        The nodes are no part of what is read: the entries are in the leaves.
        """
        if not self.superblock.ro_compat & METADATA_CSUM:
            return
        node = struct.pack("<IH", 0, self.superblock.block_size)
        for number, block in enumerate(blocks):
            if inode.flags & _INDEX and (number == 0 or block[:6] == node):
                continue
            checksum = struct.pack("<IHBBI", 0, 12, 0, 0xDE, crc32c(block[:-12], inode.seed))
            if block[-12:] != checksum:
                self._fail(f"the directory of inode {inode.number} is damaged (its checksum is wrong)")

    def _entries(self, inode: Inode, block: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(block):
            if at + 8 > len(block):
                self._fail(f"the directory of inode {inode.number} is damaged")
            number, length, name_length = _NAME(block, at)
            if length % 4 or length < (8 + name_length + 3) // 4 * 4 or length < 12 or at + length > len(block):
                self._fail(f"the directory of inode {inode.number} is damaged")
            if number:
                yield number, block[at + 8 : at + 8 + name_length]
            at += length

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each name, the top's as `/`. Raises DiskError."""
        top = self.inode(ROOT)
        if not stat.S_ISDIR(top.mode):
            self._fail("its top is no directory")
        yield self._entry("/", top)
        todo, seen = [("/", top)], {ROOT}
        while todo:
            path, directory = todo.pop()
            above = path.rstrip("/")
            for name, number in sorted(self.names(directory).items()):
                inode = self.inode(number)
                full = f"{above}/{name.decode('utf-8', 'surrogateescape')}"
                if stat.S_ISDIR(inode.mode):
                    if number in seen:
                        self._fail(f"the directory of inode {number} is in two places")
                    seen.add(number)
                    todo.append((full, inode))
                yield self._entry(full, inode)

    def _entry(self, path: str, inode: Inode) -> Entry:
        kind = KINDS[stat.S_IFMT(inode.mode)]
        try:
            xattrs = visible(inode.attributes) if inode.attributes else ()
        except ValueError as error:
            self._fail(f"{path}: {error}")
        inline = (inode.size + 511) // 512 * 512 if inode.flags & _INLINE else 0  # fs/ext4/inode.c, ext4_file_getattr
        return entry_of(
            path,
            inode,
            self._device,
            target=decode(self._target(inode)) if kind == "symlink" else "",
            node=device_of(inode.block) if kind in {"char", "block"} else (0, 0),
            allocated=inode.sectors * 512 + inline,
            xattrs=xattrs,
        )

    def _target(self, inode: Inode) -> bytes:
        """Return a link's text: in the inode itself where it takes no block (ext4_inode_is_fast_symlink)."""
        beside = self.superblock.block_size // 512 if inode.has_block else 0
        if not inode.flags & _INLINE and inode.sectors == beside:
            if inode.size >= len(inode.block):
                self._fail(f"the symbolic link of inode {inode.number} is damaged")
            return inode.block[: inode.size].partition(b"\0")[0]
        return self.content(inode).partition(b"\0")[0]

    def read_file(self, path: str, number: int, length: int) -> Iterator[bytes]:
        """Yield the start of a regular file. Raises GuestFileError where its map is damaged, DiskError as `Read`."""
        try:
            yield from self.pieces(self.inode(number), length)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error

    def layout(self, path: str, number: int, length: int) -> list[Extent] | bytes:
        """Return where the start of a regular file is, or its bytes where they are inline. Raises as `read_file`."""
        try:
            inode = self.inode(number)
            length = min(length, inode.size)
            if inode.flags & _INLINE:
                return self._inline(inode, length)
            return extents(self._runs(inode), self.superblock.block_size, length, self._place)
        except DamagedError as error:
            raise GuestFileError(f"read {show(path)}", error.found) from error
