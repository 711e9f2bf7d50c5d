r"""crypttab(5): under which names the guest opens its encrypted volumes. Pure.

sda5_crypt UUID=b8f1e0a2-52d5-4c8f-9a3e-0d6b6c1f7a11 none luks,discard
luks-71cf…  /dev/disk/by-partlabel/root  -  discard
"""

from __future__ import annotations

import re

import msgspec

_NAME = re.compile(r"[^/\0]{1,127}")  # DM_NAME_LEN of linux/dm-ioctl.h is 128 with its NUL


class Mapping(msgspec.Struct, frozen=True):
    """`/dev/mapper/NAME` is what `device` holds once it is open; `device` is written as in fstab."""

    name: str
    device: str


def parse_crypttab(text: str) -> list[Mapping]:
    r"""Return what an encrypted volume is called, of equal names the first. No text raises.

    >>> parse_crypttab('# comment\nhome\tUUID="0a34" none luks\nbroken\n')
    [Mapping(name='home', device='UUID=0a34')]
    """
    found: dict[str, Mapping] = {}
    for raw in text.split("\n"):
        fields = raw.strip(" \t\r").replace("\t", " ").split()
        if len(fields) < 2 or fields[0].startswith("#") or not _NAME.fullmatch(fields[0]):
            continue
        found.setdefault(fields[0], Mapping(fields[0], fields[1].replace('"', "")))
    return list(found.values())
