"""Whose key signed an rpm package: a repository's signature says more of where it comes from than the vendor's name.

Not verified, only named: what it is compared with lies on the same disk. Format: RFC 4880, 4.2 (packets) and 5.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from analyzers._rpm_header import DSAHEADER, OPENPGP, RSAHEADER, SIGGPG, SIGPGP, Header

_SIGNATURE = 2  # packet tag
_ISSUER, _FINGERPRINT = 16, 33  # subpackets; the second is RFC 9580, 5.2.3.35
_MAX_PACKET = 1 << 16


def _body(packet: bytes) -> bytes:
    """Return the content of a signature packet, empty where it is none."""
    if len(packet) < 6 or not packet[0] & 0x80:
        return b""
    if packet[0] & 0x40:
        tag, size = packet[0] & 0x3F, packet[1]
        if size < 192:
            start = 2
        elif size < 224:
            start, size = 3, ((size - 192) << 8) + packet[2] + 192
        else:
            start, size = 6, int.from_bytes(packet[2:6], "big")
    else:
        tag, octets = packet[0] >> 2 & 0x0F, 1 << (packet[0] & 3)
        start, size = 1 + octets, int.from_bytes(packet[1 : 1 + octets], "big")
        if octets > 4:  # of indeterminate length
            return b""
    return packet[start : start + size] if tag == _SIGNATURE else b""


def _subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(area):
        size, at = area[at], at + 1
        if size >= 255:
            size, at = int.from_bytes(area[at : at + 4], "big"), at + 4
        elif size >= 192:
            size, at = ((size - 192) << 8) + int.from_bytes(area[at : at + 1], "big") + 192, at + 1
        if at < len(area) and size:
            yield area[at] & 0x7F, area[at + 1 : at + size]
        at += size


def key_of(packet: bytes) -> str:
    """Return the key's number (16 hex digits) of a signature packet, version 3 or 4; empty where it has none."""
    body = _body(packet[:_MAX_PACKET])
    if body[:1] == b"\3" and len(body) >= 15:
        return body[7:15].hex()
    if body[:1] != b"\4":
        return ""
    hashed = int.from_bytes(body[4:6], "big")
    rest = body[6 + hashed :]
    for area in (body[6 : 6 + hashed], rest[2 : 2 + int.from_bytes(rest[:2], "big")]):
        for kind, value in _subpackets(area):
            if kind == _ISSUER and len(value) == 8:
                return value.hex()
            if kind == _FINGERPRINT and len(value) == 21 and value[0] == 4:
                return value[-8:].hex()
    return ""


def signer(header: Header) -> str:
    """Return the number of the key that signed a package, empty where it is not signed. Raises DamagedError."""
    packets = [header.binary(tag) for tag in (RSAHEADER, DSAHEADER, SIGGPG, SIGPGP)]
    if not any(packets):
        try:
            packets = [base64.b64decode(text, validate=True) for text in header.strings(OPENPGP)]
        except (binascii.Error, ValueError):
            return ""
    return next((key for packet in packets if (key := key_of(packet))), "")
