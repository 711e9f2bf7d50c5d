"""A directory's index in NTFS: a tree of blocks with names in their order. Pure.

Every function raises ValueError, in half a sentence, for what libntfs-3g would not take, or not with certainty.
Layout: ntfs-3g, include/ntfs-3g/layout.h; the checks: libntfs-3g/index.c, dir.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

DIRECTORY_NAME = 0x10000000
"""Among a name's flags: it is a directory's."""

_NODE, _LAST = 1, 2
_MOST_DEPTH = 20


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A name in a directory's index: units of UTF-16, its namespace (2 is DOS'), and the record it stands for.

    `flags` are the file's as the index copies them, with DIRECTORY_NAME among them for a directory.
    """

    name: bytes
    namespace: int
    flags: int
    number: int
    sequence: int
    parent: int


class Node(msgspec.Struct, frozen=True):
    """An entry of an index: what is below it comes first, then its key; the last one has none."""

    below: int | None
    key: Key | None


def parse_nodes(data: bytes, at: int) -> list[Node]:
    """Return the entries of a directory's index whose header is at an offset of `data`, and which goes to its end."""
    if at + 16 > len(data):
        raise ValueError("its index is damaged")
    first, used, allocated, has_below = struct.unpack_from("<IIIB", data, at)
    end = at + used
    if first < 16 or first % 8 or used > allocated or allocated != len(data) - at or has_below > 1:
        raise ValueError("its index is damaged")
    found: list[Node] = []
    at += first
    while True:
        if at + 16 > end:
            raise ValueError("its index is damaged")
        reference, length, key_length, flags = struct.unpack_from("<QHHH", data, at)
        if length < 16 or length % 8 or at + length > end or 16 + key_length + 8 * (flags & _NODE) > length:
            raise ValueError("its index is damaged")
        if flags & ~(_NODE | _LAST) or flags & _NODE != has_below * _NODE:
            raise ValueError("its index is damaged")
        below = struct.unpack_from("<Q", data, at + length - 8)[0] if flags & _NODE else None
        if flags & _LAST:
            if at + length != end:
                raise ValueError("its index ends too early")
            return [*found, Node(below, None)]
        found.append(Node(below, parse_key(reference, data[at + 16 : at + 16 + key_length])))
        at += length


def parse_key(reference: int, data: bytes) -> Key:
    """Return a name as a directory's index and a file's own record hold it, for the file that is referred to."""
    if len(data) < 66 or 66 + 2 * data[64] != len(data) or not data[64] or data[65] > 3:
        raise ValueError("a name is damaged")
    (parent,) = struct.unpack_from("<Q", data)
    return Key(
        name=data[66 : 66 + 2 * data[64]],
        namespace=data[65],
        flags=struct.unpack_from("<I", data, 56)[0],
        number=reference & 0xFFFFFFFFFFFF,
        sequence=reference >> 48,
        parent=parent & 0xFFFFFFFFFFFF,
    )


def text_of(name: bytes) -> str:
    """Return a name that a path can hold. Raises ValueError, as ntfs-3g has no name for half a surrogate pair."""
    text = name.decode("utf-16-le")
    if text in {"", ".", ".."} or any(each in text for each in "\0/\ufffe\uffff"):
        raise ValueError("a name in it is none")
    return text


def walk(top: list[Node], block: Callable[[int], list[Node]], seen: set[int]) -> Iterator[Key]:
    """Yield the keys of an index in their order; `block` reads one by its number, and `seen` takes the numbers."""
    stack = [iter(top)]
    pending: list[Key | None] = []
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            if pending and (key := pending.pop()) is not None:
                yield key
        elif node.below is None:
            if node.key is not None:
                yield node.key
        else:
            if node.below in seen or len(stack) > _MOST_DEPTH:
                raise ValueError("its index goes in a circle")
            seen.add(node.below)
            pending.append(node.key)
            stack.append(iter(block(node.below)))
