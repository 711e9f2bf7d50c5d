"""The GVariant of flatpak's `deploy` files: `(ssasta{sv})`, GVariant Specification 1.0, chapter 2.

By hand: the only readers on PyPI are bindings of the running system's GLib (PyGObject), and one type is read.
"""

from __future__ import annotations

import msgspec

_MAX_KEYS = 1000


class Deploy(msgspec.Struct, frozen=True):
    """What flatpak wrote down when it deployed: the remote, the commit, and the texts among the metadata."""

    origin: str
    commit: str
    metadata: dict[str, str]


def _width(size: int) -> int:
    """Return how many bytes a framing offset has in a container of `size` bytes (2.3.6)."""
    return next(width for width in (1, 2, 4, 8) if size < 1 << (8 * width))


def _offset(data: bytes, at: int, width: int) -> int:
    if at < 0 or at + width > len(data):
        raise ValueError("it ends before its offsets")
    return int.from_bytes(data[at : at + width], "little")


def _aligned(at: int) -> int:
    return (at + 7) & ~7


def _text(data: bytes) -> str:
    if not data.endswith(b"\0") or b"\0" in data[:-1]:
        raise ValueError("it has a text that is none")
    return data[:-1].decode("utf-8", "surrogateescape")


def parse_deploy(data: bytes) -> Deploy:
    """Return what a `deploy` file says. Raises ValueError where it is no value of that type."""
    width = _width(len(data))
    ends = [_offset(data, len(data) - width * count, width) for count in (1, 2, 3)]
    metadata = _aligned(ends[2]) + 8  # behind the installed size, which is aligned and fixed
    if not ends[0] <= ends[1] <= ends[2] or metadata > len(data) - 3 * width:
        raise ValueError("its offsets lead nowhere")
    return Deploy(
        _text(data[: ends[0]]), _text(data[ends[0] : ends[1]]), _dictionary(data[metadata : len(data) - 3 * width])
    )


def _dictionary(data: bytes) -> dict[str, str]:
    """Return the entries of an `a{sv}` whose values are texts."""
    if not data:
        return {}
    width = _width(len(data))
    table = _offset(data, len(data) - width, width)
    count = (len(data) - table) // width
    if table > len(data) or count > _MAX_KEYS:
        raise ValueError("its metadata has offsets that lead nowhere")
    found: dict[str, str] = {}
    start = 0
    for number in range(count):
        end = _offset(data, table + number * width, width)
        if not start <= end <= table:
            raise ValueError("its metadata has offsets that lead nowhere")
        key, value = _entry(data[start:end])
        if value is not None:
            found.setdefault(key, value)
        start = _aligned(end)
    return found


def _entry(data: bytes) -> tuple[str, str | None]:
    width = _width(len(data))
    end = _offset(data, len(data) - width, width)
    value, nul, kind = data[_aligned(end) : len(data) - width].rpartition(b"\0")
    if not nul:
        raise ValueError("its metadata has a value of no type")
    return _text(data[:end]), _text(value) if kind == b"s" else None
