"""What is on the disks of an appliance: partitions, logical volumes, RAIDs and file systems on whole disks.

Asked with one `blkid` a device, which says type, UUID, label and the partition's own in one call;
list_filesystems takes 2.7 s for one partition under emulation, this 0.7 s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from migrate.guest.handle import BINDING_ERRORS, Handle, must_live, reason
from migrate.guest.layout import FileSystemSeen
from migrate.guest.protocol import Problem

# Partitions that hold no file system by their type: extended, PReP boot and swap (util-linux, pt-mbr-partnames.h),
# and by GPT type (pt-gpt-partnames.h) swap, BIOS boot, PReP boot, Microsoft reserved, LDM metadata.
NO_FILES = frozenset({
    "0x5", "0xf", "0x85", "0x41", "0x82",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
    "21686148-6449-6e6f-744e-656564454649",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
})  # fmt: skip
_MEMBERS = {"LVM2_member": "/dev/(?!md)", "linux_raid_member": "/dev/md"}


def find_devices(handle: Handle, labels: Sequence[str]) -> tuple[list[FileSystemSeen], list[Problem]]:
    """Return all devices that may hold a file system: by disk and partition, then those that span disks.

    `labels` are the disks' labels in the order they were given: the kernel may name them in another order.
    Members of a volume group or RAID are left out where the volumes that they make are there.
    """
    by_label = handle.list_disk_labels()
    disks = {by_label[label]: number for number, label in enumerate(labels) if label in by_label}
    partitions = _asked(handle, handle.list_partitions)
    parted = {handle.part_to_dev(partition) for partition in partitions}
    whole = [device for device in _asked(handle, handle.list_devices) if device not in parted]
    spanning = [*_asked(handle, handle.lvs), *_asked(handle, handle.list_md_devices)]
    found: list[FileSystemSeen] = []
    problems: list[Problem] = []
    for device in [*partitions, *whole, *spanning]:
        try:
            tags = handle.blkid(device)
        except BINDING_ERRORS as error:
            must_live(handle, error)
            problems.append(Problem(path=device, why=_why_not_examined(device, spanning, reason(error))))
            continue
        if tags.get("PART_ENTRY_TYPE", "").lower() not in NO_FILES or "TYPE" in tags:
            found.append(_seen(handle, device, tags, disks, partitioned=device in partitions))
    made = {kind for kind, pattern in _MEMBERS.items() if any(re.match(pattern, each) for each in spanning)}
    found = [seen for seen in found if seen.type not in made]
    return sorted(found, key=lambda seen: (seen.disk is None, seen.disk or 0, seen.partition, seen.device)), problems


def _asked(handle: Handle, call: Callable[[], list[str]]) -> list[str]:
    try:
        return call()
    except BINDING_ERRORS as error:
        must_live(handle, error)
        return []


def _why_not_examined(device: str, spanning: Sequence[str], words: str) -> str:
    if device in spanning:
        return "it is made of several disks, of which not all were given; give all disks of the machine"
    return f"it cannot be examined: {words}"


def _seen(
    handle: Handle, device: str, tags: dict[str, str], disks: dict[str, int], *, partitioned: bool
) -> FileSystemSeen:
    return FileSystemSeen(
        device=device,
        type=tags.get("TYPE", "unknown"),
        uuid=tags.get("UUID", ""),
        label=tags.get("LABEL", ""),
        part_uuid=tags.get("PART_ENTRY_UUID", ""),
        part_label=tags.get("PART_ENTRY_NAME", ""),
        disk=disks.get(handle.part_to_dev(device) if partitioned else device),
        partition=handle.part_to_partnum(device) if partitioned else 0,
    )
