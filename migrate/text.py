"""Strings from a guest, made fit to show. Everything on a disk is hostile input."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, kept by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def show(text: str) -> str:
    r"""Return `text` with control, bidirectional and undecodable characters as escapes, on one line.

    >>> show("a\nFROM evil")
    'a\\nFROM evil'
    """
    return _UNSAFE.sub(_escape, text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))
