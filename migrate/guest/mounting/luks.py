"""What opening a LUKS volume costs, told before it is tried: a header may ask for hours of work, or more memory.

LUKS1 On-Disk Format Specification 1.2.3, 2.1 "The partition header"; LUKS2 On-Disk Format Specification 1.1.1,
2.1 "Binary header" and 3.2 "Keyslots object". Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

BINARY = 4096
"""The bytes of a LUKS2 binary header; LUKS1 has all that is asked here in fewer."""

_MAGIC, _SECOND_MAGIC = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
_ACTIVE = 0x00AC71F3
_LONGEST = 4 << 20  # the largest area of LUKS2 metadata

MOST_ITERATIONS = 100_000_000
"""Of PBKDF2, in one slot. cryptsetup(8) takes as many as fit in 2 s, some five million; this takes minutes."""

MOST_MEMORY_PASSES = 64 << 20
"""Of Argon2, KiB times passes in one slot. cryptsetup(8) takes at most 4 GiB (--pbkdf-memory), and mostly 1."""


class _Kdf(msgspec.Struct):
    type: str
    iterations: int = 0
    time: int = 0
    memory: int = 0


class _Slot(msgspec.Struct):
    kdf: _Kdf | None = None  # one of a re-encryption has none


class _Digest(msgspec.Struct):
    iterations: int = 0


class _Metadata(msgspec.Struct):
    keyslots: dict[str, _Slot] = {}
    digests: dict[str, _Digest] = {}


class Cost(msgspec.Struct, frozen=True):
    """The most that a slot takes: iterations of PBKDF2, KiB times passes of Argon2, and its memory in KiB."""

    iterations: int = 0
    memory_passes: int = 0
    memory: int = 0

    @property
    def why_not(self) -> str:
        """Why it is not tried, in half a sentence, or nothing."""
        if self.iterations > MOST_ITERATIONS:
            return f"its header asks for {self.iterations} iterations to derive a key, where a few millions are usual"
        if self.memory_passes > MOST_MEMORY_PASSES:
            return f"its header asks for {self.memory_passes >> 20} passes over 1 GiB of memory to derive a key"
        return ""


def metadata_size(head: bytes) -> int:
    """Return how many bytes from the start of a device `cost_of` wants, of which `head` are the first BINARY."""
    if len(head) < BINARY or head[:6] != _MAGIC or _version(head) != 2:
        return len(head)
    (size,) = struct.unpack_from(">Q", head, 8)
    return int(size) if BINARY < size <= _LONGEST else len(head)


def cost_of(head: bytes) -> Cost:
    """Return what trying a key costs at most. Raises ValueError where a header cannot be understood."""
    if len(head) < 592 or head[:6] not in {_MAGIC, _SECOND_MAGIC}:
        raise ValueError("its header is damaged")
    if _version(head) == 1:
        return Cost(iterations=max(_iterations_of_1(head)))
    if _version(head) != 2:
        raise ValueError(f"it is LUKS of version {_version(head)}, which is not known")
    text = head[BINARY:].partition(b"\0")[0]
    try:
        metadata = msgspec.json.decode(text, type=_Metadata)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("its metadata is damaged") from error
    kdfs = [slot.kdf for slot in metadata.keyslots.values() if slot.kdf is not None]
    iterations = [kdf.iterations for kdf in kdfs] + [digest.iterations for digest in metadata.digests.values()]
    return Cost(
        iterations=max(iterations, default=0),
        memory_passes=max((kdf.time * kdf.memory for kdf in kdfs), default=0),
        memory=max((kdf.memory for kdf in kdfs), default=0),
    )


def _version(head: bytes) -> int:
    return int.from_bytes(head[6:8], "big")


def _iterations_of_1(head: bytes) -> Iterator[int]:
    yield int(struct.unpack_from(">I", head, 164)[0])  # of the digest of the volume's key
    for slot in range(8):
        active, iterations = struct.unpack_from(">II", head, 208 + 48 * slot)
        if active == _ACTIVE:
            yield iterations
