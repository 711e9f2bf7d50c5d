r"""fstab(5), read so that nothing in it can stop the reading. Pure.

UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /     ext4  errors=remount-ro 0 1
/dev/mapper/vg0-home--old             /home/My\040Files  xfs  defaults
"""

from __future__ import annotations

import re

import msgspec

from migrate.guest.tree import decode, encode

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_UDEV = re.compile(rb"\\x([0-9a-fA-F]{2})")
_TAGS = frozenset({"UUID", "LABEL", "PARTUUID", "PARTLABEL"})
_BY = {"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}
_LETTERED = re.compile(r"/dev/(?:sd|vd|hd|xvd)([a-z]{1,3})(\d{0,3})", re.ASCII)
_NUMBERED = re.compile(r"/dev/(?:nvme(\d{1,3})n\d{1,3}|mmcblk(\d{1,3}))(?:p(\d{1,3}))?", re.ASCII)


class Line(msgspec.Struct, frozen=True):
    """One line that mounts something, its escapes resolved; `number` counts from 1."""

    number: int
    device: str
    mountpoint: str
    type: str
    options: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the value of the last `name=value` option, or nothing."""
        return next((o.partition("=")[2] for o in reversed(self.options) if o.startswith(f"{name}=")), "")


class BadLine(msgspec.Struct, frozen=True):
    """A line that says nothing understandable, and why."""

    number: int
    why: str


def parse_fstab(text: str) -> tuple[list[Line], list[BadLine]]:
    """Return the lines and the bad lines of an fstab. No text raises."""
    lines: list[Line] = []
    bad: list[BadLine] = []
    for number, raw in enumerate(text.split("\n"), 1):
        fields = raw.strip(" \t\r").replace("\t", " ").split(" ")
        fields = [field for field in fields if field]
        if not fields or fields[0].startswith("#"):
            continue
        fields = [unescape(field) for field in fields]
        if len(fields) < 3:
            bad.append(BadLine(number, f"it has {len(fields)} fields where device, mount point and type are needed"))
        elif any("\0" in field for field in fields):
            bad.append(BadLine(number, "it holds NUL"))
        elif not fields[1].startswith("/") and fields[1] not in {"none", "swap", "ignore"}:
            bad.append(BadLine(number, "its mount point is not an absolute path"))
        else:
            options = tuple(o for o in (fields[3] if len(fields) > 3 else "defaults").split(",") if o)
            lines.append(Line(number, fields[0], fields[1], fields[2], options))
    return lines, bad


def unescape(field: str) -> str:
    r"""Resolve the octal escapes of getmntent(3) (`\040` is a space), bytewise.

    >>> unescape(r"/srv/My\040Files"), unescape(r"a\134040")
    ('/srv/My Files', 'a\\040')
    """
    return decode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), encode(field))) if "\\" in field else field


class Tag(msgspec.Struct, frozen=True):
    """A file system named by what blkid(8) says of it: `name` is UUID, LABEL, PARTUUID or PARTLABEL."""

    name: str
    value: str


class KernelDisk(msgspec.Struct, frozen=True):
    """A disk or partition by the kernel's name; both counted: disk from 0, partition from 1 (0: the whole disk)."""

    disk: int
    partition: int


class Volume(msgspec.Struct, frozen=True):
    """A logical volume by its group and its own name."""

    group: str
    name: str


class OtherDevice(msgspec.Struct, frozen=True):
    """Any other name."""

    path: str


Device = Tag | KernelDisk | Volume | OtherDevice


def parse_device(spec: str) -> Device:
    r"""Return what the first field of fstab names.

    >>> parse_device("/dev/disk/by-label/My\\x20Disk"), parse_device("/dev/vdb2")
    (Tag(name='LABEL', value='My Disk'), KernelDisk(disk=1, partition=2))
    >>> parse_device("/dev/mapper/vg--a-lv"), parse_device("/dev/vg-a/lv")
    (Volume(group='vg-a', name='lv'), Volume(group='vg-a', name='lv'))
    """
    name, equals, value = spec.partition("=")
    if equals and name in _TAGS:
        return Tag(name, value.strip("\"'"))
    if match := _LETTERED.fullmatch(spec):
        return KernelDisk(_letters(match[1]), int(match[2] or 0))
    if match := _NUMBERED.fullmatch(spec):
        return KernelDisk(int(match[1] or match[2] or 0), int(match[3] or 0))
    parts = spec.split("/")
    if spec.startswith("/dev/disk/") and len(parts) == 5 and parts[3] in _BY:
        return Tag(_BY[parts[3]], _udev_unescape(parts[4]))
    if spec.startswith("/dev/mapper/") and len(parts) == 4:
        return _mapped(spec, parts[3])
    if spec.startswith("/dev/") and len(parts) == 4 and parts[2] not in {"md", "disk", "loop", "block", "cciss"}:
        return Volume(parts[2], parts[3])
    return OtherDevice(spec)


def _letters(letters: str) -> int:
    """Return which disk it is: a is 0, z is 25, aa is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def _udev_unescape(name: str) -> str:
    """Resolve udev's escapes in /dev/disk/by-*: `\\x20` is a space (udev(7), ENV{ID_FS_LABEL_ENC})."""
    return decode(_UDEV.sub(lambda match: bytes([int(match[1], 16)]), encode(name)))


def _mapped(spec: str, name: str) -> Device:
    """Take a device-mapper name apart: one `-` parts group and volume, two stand for one (lvm(8), VALID NAMES)."""
    match = re.fullmatch(r"((?:[^-]|--)+)-((?:[^-]|--)+)", name)
    if match is None:
        return OtherDevice(spec)
    return Volume(match[1].replace("--", "-"), match[2].replace("--", "-"))
