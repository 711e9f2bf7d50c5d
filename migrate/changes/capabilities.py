"""File capabilities, as the attribute `security.capability` and as text, made comparable.

Own code: PyPI has no decoder of the attribute that does not ask the running kernel (python-prctl, pyprctl and
libcap's bindings read files by path).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import msgspec

# linux/capability.h, in the order of their numbers
NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
_NUMBERS = {f"cap_{name}": number for number, name in enumerate(NAMES)}
_ALL = (1 << len(NAMES)) - 1
_NUMBER = re.compile(r"(?:cap_)?(\d{1,2})", re.ASCII)
_CLAUSE = re.compile(r"([a-z0-9_,]*)((?:[=+-][eip]*)+)")
_ACTION = re.compile(r"([=+-])([eip]*)")
_MAX_TEXT = 4096

# VFS_CAP_REVISION_1 to _3: 32 bits of each set, 64 bits, and 64 with the root user's number in its namespace
_LAYOUTS = {0x01000000: struct.Struct("<3I"), 0x02000000: struct.Struct("<5I"), 0x03000000: struct.Struct("<6I")}
_EFFECTIVE = 1


class Capabilities(msgspec.Struct, frozen=True):
    """What a file gives to the program in it: two sets as bits, and whether they are in effect from the start.

    `root` is the user whose namespace they hold in, 0 for the machine's own.
    """

    permitted: int = 0
    inheritable: int = 0
    effective: bool = False
    root: int = 0

    def __str__(self) -> str:
        return " ".join(self._clauses()) + (f" in the namespace of {self.root}" if self.root else "")

    def _clauses(self) -> Iterator[str]:
        both = self.permitted & self.inheritable
        sets = {"ip": both, "p": self.permitted & ~both, "i": self.inheritable & ~both}
        for letters, bits in sets.items():
            if bits:
                letters = "".join(sorted(letters + ("e" if self.effective else "")))
                yield f"{','.join(_names(bits))}={letters}"
        if not self.permitted and not self.inheritable:
            yield "="


def _names(bits: int) -> Iterator[str]:
    for number in range(bits.bit_length()):
        if bits >> number & 1:
            yield f"cap_{NAMES[number]}" if number < len(NAMES) else str(number)


def decode(value: bytes) -> Capabilities | None:
    """Return what the attribute's value says (capabilities(7), linux/capability.h), or None where it is not valid.

    >>> str(decode(bytes.fromhex("0100000200200000000000000000000000000000")))
    'cap_net_raw=ep'
    """
    if len(value) < 4:
        return None
    magic = int.from_bytes(value[:4], "little")
    layout = _LAYOUTS.get(magic & 0xFF000000)
    if layout is None or len(value) != layout.size:
        return None
    _, *words = layout.unpack(value)
    high = words[2:4] if len(words) >= 4 else [0, 0]
    return Capabilities(
        permitted=words[0] | high[0] << 32,
        inheritable=words[1] | high[1] << 32,
        effective=bool(magic & _EFFECTIVE),
        root=words[4] if len(words) > 4 else 0,
    )


def parse(text: str) -> Capabilities | None:
    """Return what a text of cap_from_text(3) says of a file, or None where it says nothing valid.

    The kernel keeps one bit for a file's effective set: it is set where any capability is in effect.

    >>> parse("= cap_net_raw+ep") == parse("cap_net_raw=pe") == Capabilities(permitted=1 << 13, effective=True)
    True
    """
    sets = {"e": 0, "i": 0, "p": 0}
    if len(text) > _MAX_TEXT:
        return None
    for word in text.lower().split():
        match = _CLAUSE.fullmatch(word)
        bits = _bits(match[1]) if match else None
        if match is None or bits is None or (not match[1] and match[2][0] != "="):
            return None
        for sign, letters in _ACTION.findall(match[2]):
            for letter, had in sets.items():
                if sign == "-":
                    sets[letter] = had & ~bits if letter in letters else had
                else:
                    kept = had & ~bits if sign == "=" else had
                    sets[letter] = kept | bits if letter in letters else kept
    return Capabilities(sets["p"], sets["i"], bool(sets["e"]))


def _bits(names: str) -> int | None:
    """Return the bits of a list of names; no list, or `all`, means every capability there is."""
    if names in {"", "all"}:
        return _ALL
    found = 0
    for name in names.split(","):
        number = _NUMBERS.get(name)
        if number is None and (match := _NUMBER.fullmatch(name)):
            number = int(match[1])
        if number is None or number > 63:
            return None
        found |= 1 << number
    return found
