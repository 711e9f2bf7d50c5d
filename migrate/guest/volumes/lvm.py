"""LVM: the logical volumes of all disks of a machine, read in process where they are linear or striped.

It is certain or refused: whatever LVM would have to mend, leave out or activate in another way (a missing physical
volume, a thin volume, a snapshot, one of two groups of the same name) raises DiskError, so that the disks are read
through libguestfs. No library: pyvslvm (libvslvm 20260901) tells neither the status nor the type of a group, a volume
or a segment, so what must be refused cannot be told; dissect.volume 3.18 is under the AGPL.

lvm2, lib/cache/lvmcache.c (which description counts); libguestfs, daemon/lvm.ml (what it lists); lvm(8).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Never

import msgspec

from migrate.errors import DiskError
from migrate.guest.filesystems.inprocess import Found, Read
from migrate.guest.volumes.lvmgroup import Group, Head, Logical, parse_group, parse_head
from migrate.guest.volumes.lvmlabel import SECTOR, Label, find_label, read_description
from migrate.text import show

TYPE = "LVM2_member"
_LEAST = 2 << 20  # lvm.conf(5), devices/pv_min_size: LVM does not look at a smaller device
_MAX_TEXT = 32 << 20  # of all descriptions together; a description of each group is usual, and 1 MiB at most


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A device that `probe` finds to be a physical volume."""

    name: str
    read: Read
    size: int


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A logical volume; `size` in bytes."""

    group: str
    name: str
    size: int
    read: Read

    @property
    def device(self) -> str:
        """What it is called: `/dev/GROUP/NAME`."""
        return f"/dev/{self.group}/{self.name}"


def probe(read: Read, size: int) -> Found | None:
    """Return what blkid(8) says of a physical volume, or None where a device is none. Raises DiskError as `read`."""
    try:
        label = find_label(read, size)
    except ValueError as error:
        return Found(type=TYPE, why_not=str(error))
    return None if label is None else Found(type=TYPE, uuid=label.uuid)


def find_volumes(members: Sequence[Member]) -> list[Volume]:
    """Return the volumes that lvs(8) lists, by their names: those that are visible and activated without being asked.

    `members` are the physical volumes of all disks. Raises DiskError where not every volume group can be read with
    certainty, with the group or device and the reason.
    """
    labelled: dict[str, Member] = {}
    own: dict[str, Head] = {}
    used: dict[str, bool] = {}
    heads = _Heads()
    for member in members:
        try:
            label = _label(member)
            if label.uuid in labelled:
                raise ValueError(f"it is the same physical volume as {labelled[label.uuid].name} ({label.uuid})")
            head = heads.newest(member, label)
        except ValueError as error:
            _refuse(f"physical volume {member.name}", str(error))
        labelled[label.uuid] = member
        used[label.uuid] = label.used
        if head is not None:
            own[label.uuid] = head
    groups = _groups(own)
    found = [each for head in groups for each in _volumes(head, labelled, own, used)]
    for uuid, member in labelled.items():
        if used[uuid]:
            _refuse(
                f"physical volume {member.name}", "it belongs to a volume group that is described on none of the disks"
            )
    return sorted(found, key=lambda volume: volume.device)


def _refuse(what: str, why: str) -> Never:
    raise DiskError("read the disks directly", f"of {show(what)}: {show(why)}")


def _label(member: Member) -> Label:
    label = find_label(member.read, member.size)
    if label is None:
        raise ValueError("it has no label of LVM")
    if member.size < _LEAST:
        raise ValueError("it is smaller than LVM looks at")
    return label


class _Heads:
    """Reads descriptions; the same text is parsed once, and all of them have a limit together."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._left = _MAX_TEXT

    def newest(self, member: Member, label: Label) -> Head | None:
        """Return the newest description in a device's metadata areas, or None where there is none."""
        newest: Head | None = None
        for area in label.areas:
            text = read_description(member.read, member.size, area)
            if text is None:
                continue
            head = self._parsed(text)
            if newest is not None and newest.uuid != head.uuid:
                raise ValueError("its metadata areas describe different volume groups")
            newest = head if newest is None else _newer(newest, head)
        return newest

    def _parsed(self, text: bytes) -> Head:
        if text not in self._known:
            self._left -= len(text)
            if self._left < 0:
                raise ValueError("there is more to read of volume groups than there can be")
            self._known[text] = parse_head(text)
        return self._known[text]


def _newer(one: Head, two: Head) -> Head:
    if one.seqno == two.seqno and (one.name != two.name or one.section != two.section):
        raise ValueError(f"volume group {one.name} has two descriptions, both of version {one.seqno}")
    return two if two.seqno > one.seqno else one


def _groups(own: dict[str, Head]) -> list[Head]:
    """Return the newest description of each volume group."""
    newest: dict[str, Head] = {}
    for head in own.values():
        try:
            newest[head.uuid] = _newer(newest.get(head.uuid, head), head)
        except ValueError as error:
            _refuse(f"volume group {head.name}", str(error))
    names: set[str] = set()
    for head in newest.values():
        if head.name in names:
            _refuse(f"volume group {head.name}", "there is another of the same name")
        names.add(head.name)
    return list(newest.values())


def _volumes(head: Head, labelled: dict[str, Member], own: dict[str, Head], used: dict[str, bool]) -> list[Volume]:
    """Return a group's volumes. Its physical volumes are marked as not `used` by another."""
    try:
        group = parse_group(head)
        places: dict[str, tuple[Member, int]] = {}
        for name, physical in group.physical.items():
            member = labelled.get(physical.uuid)
            if member is None:
                raise ValueError(f"its physical volume {physical.uuid} is on none of the disks given")
            if physical.uuid in own and own[physical.uuid].uuid != head.uuid:
                raise ValueError(f"{member.name} says that it belongs to group {own[physical.uuid].name}")
            needed = max(physical.device_size, physical.start + physical.count * group.extent_size) * SECTOR
            if needed > member.size:
                raise ValueError(f"{member.name} has {member.size} bytes, and should have {needed}")
            places[name] = member, physical.start * SECTOR
            used[physical.uuid] = False
        mine = {physical.uuid for physical in group.physical.values()}
        left = [labelled[uuid].name for uuid, each in own.items() if each.uuid == head.uuid and uuid not in mine]
        if left:
            raise ValueError(f"{left[0]} has an older description of it, and does not belong to it any more")
    except ValueError as error:
        _refuse(f"volume group {head.name}", str(error))
    return [_volume(head.name, group, each, places) for each in group.logical if each.listed]


class _Run(msgspec.Struct, frozen=True):
    """A run of a volume's bytes, in pieces of `chunk` bytes in turn on each of `stripes` (device, offset)."""

    start: int
    size: int
    chunk: int
    stripes: tuple[tuple[Read, int], ...]


def _volume(group_name: str, group: Group, logical: Logical, places: dict[str, tuple[Member, int]]) -> Volume:
    extent = group.extent_size * SECTOR
    runs = []
    for segment in logical.segments:
        size = segment.count * extent
        stripes = tuple((places[name][0].read, places[name][1] + first * extent) for name, first in segment.stripes)
        runs.append(_Run(segment.start * extent, size, segment.stripe_size * SECTOR or size, stripes))
    size = runs[-1].start + runs[-1].size
    return Volume(
        group=group_name, name=logical.name, size=size, read=_reader(f"{group_name}/{logical.name}", runs, size)
    )


def _reader(name: str, runs: Sequence[_Run], size: int) -> Read:
    starts = [run.start for run in runs]

    def read(offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > size:
            raise DiskError(f"read logical volume {name}", f"byte {offset + length} is beyond its end")
        pieces = []
        while length:
            run = runs[bisect_right(starts, offset) - 1]
            row, within = divmod(offset - run.start, run.chunk)
            row, column = divmod(row, len(run.stripes))
            device, start = run.stripes[column]
            count = min(length, run.chunk - within)
            pieces.append(device(start + row * run.chunk + within, count))
            offset += count
            length -= count
        return b"".join(pieces)

    return read
