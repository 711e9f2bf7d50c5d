"""What is on the disks of an appliance: partitions, logical volumes, RAIDs and file systems on whole disks.

Asked with one `blkid` a device, which says type, UUID, label and the partition's own in one call;
list_filesystems takes 2.7 s for one partition under emulation, this 0.7 s. What is encrypted is opened on the way,
if there is a key for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import msgspec

from migrate.guest.libguestfs.handle import BINDING_ERRORS, Handle, must_live, reason
from migrate.guest.mounting.keys import Key, as_argument, secrets_for
from migrate.guest.mounting.layout import LUKS, FileSystemSeen
from migrate.guest.mounting.luks import BINARY, cost_of, metadata_size
from migrate.guest.protocol import Problem
from migrate.text import show

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
_LVM = "LVM2_member"
_RAID = "linux_raid_member"
_MEMBERS = {_LVM: "/dev/(?!md)", _RAID: "/dev/md"}
_PIECE = 1 << 20
_MAX_DEPTH = 8  # volumes within volumes: LVM on LUKS on LVM is 2 deep
_WRONG_KEY = "No key available"  # cryptsetup(8), with exit code 2


def find_devices(
    handle: Handle, labels: Sequence[str], keys: Sequence[Key] = ()
) -> tuple[list[FileSystemSeen], list[Problem]]:
    """Return all devices that may hold a file system: by disk and partition, then those that span disks.

    `labels` are the disks' labels in the order they were given: the kernel may name them in another order.
    Members of a volume group or RAID are left out where the volumes that they make are there, and encrypted
    devices where what they hold is.
    """
    return _Survey(handle, labels, keys).all()


class _Survey:
    """One look at what is there; `found` and `problems` grow."""

    def __init__(self, handle: Handle, labels: Sequence[str], keys: Sequence[Key]) -> None:
        self._handle = handle
        self._keys = keys
        by_label = handle.list_disk_labels()
        self._disks = {by_label[label]: number for number, label in enumerate(labels) if label in by_label}
        self._partitions = self._asked(handle.list_partitions)
        self._spanning: list[str] = []
        self._unexamined: dict[str, str] = {}
        self._found: list[FileSystemSeen] = []

    def all(self) -> tuple[list[FileSystemSeen], list[Problem]]:
        """Examine everything, what comes to light by opening something else too."""
        parted = {_parted(partition)[0] for partition in self._partitions}
        whole = [device for device in self._disks if device not in parted]
        todo = [*self._partitions, *whole]
        for _ in range(_MAX_DEPTH):
            self._examine(todo)
            if opened := self._opened_some():
                self._scan_for_volumes()
            todo = self._new_volumes()
            self._spanning += todo
            if not todo and not opened:
                break
        missing = self._missing_members()
        problems = [Problem(path=path, why=why) for path, why in self._why_unexamined(missing)]
        made = {kind for kind, pattern in _MEMBERS.items() if any(re.match(pattern, each) for each in self._spanning)}
        held = {seen.holder.device for seen in self._found if seen.holder is not None}
        found = [
            msgspec.structs.replace(seen, why_not=_missing_words(missing)) if seen.type == _LVM and missing else seen
            for seen in self._found
            if seen.type not in made and seen.device not in held
        ]
        return sorted(found, key=_place), problems

    def _asked(self, call: Callable[[], list[str]]) -> list[str]:
        try:
            return call()
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            return []

    def _scan_for_volumes(self) -> None:
        try:
            self._handle.lvm_scan(activate=True)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)

    def _new_volumes(self) -> list[str]:
        """Return the volumes that were not seen yet; asked only where there are members (`lvs` alone takes 0.4 s)."""
        types = {seen.type for seen in self._found}
        volumes = self._asked(self._handle.lvs) if _LVM in types else []
        volumes += self._asked(self._handle.list_md_devices) if _RAID in types else []
        return [volume for volume in volumes if volume not in self._spanning]

    def _examine(self, devices: Sequence[str], holder: FileSystemSeen | None = None) -> None:
        for device in devices:
            try:
                tags = self._handle.blkid(device)
            except BINDING_ERRORS as error:
                must_live(self._handle, error)
                self._unexamined[device] = reason(error)
                continue
            if tags.get("PART_ENTRY_TYPE", "").lower() not in NO_FILES or "TYPE" in tags:
                self._found.append(self._seen(device, tags, holder))

    def _seen(self, device: str, tags: dict[str, str], holder: FileSystemSeen | None) -> FileSystemSeen:
        disk, number = _parted(device) if device in self._partitions else (device, 0)
        return FileSystemSeen(
            device=device,
            type=tags.get("TYPE", "unknown"),
            uuid=tags.get("UUID", ""),
            label=self._label(device, tags.get("LABEL", "")),
            part_uuid=tags.get("PART_ENTRY_UUID", ""),
            part_label=re.sub(r"\\(.)", r"\1", tags.get("PART_ENTRY_NAME", "")),
            disk=self._disks.get(disk),
            partition=number,
            holder=holder,
            raid=self._raid_name(device) if device.startswith("/dev/md") else "",
        )

    def _label(self, device: str, printed: str) -> str:
        """Return a label as it is. `blkid -o export` escapes some characters, not all in a way that can be undone."""
        if re.search(r"\\|M-|\^", printed) is None:
            return printed
        try:
            return self._handle.vfs_label(device)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            return printed

    def _raid_name(self, device: str) -> str:
        """Return the name that a RAID was made with, without the host's (mdadm(8), --name)."""
        try:
            return self._handle.md_detail(device).get("name", "").rpartition(":")[2]
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            return ""

    # ------------------------------------------------------------ encrypted volumes

    def _opened_some(self) -> bool:
        """Open what is encrypted, was not tried yet, and has a key; tell whether anything was."""
        done = {seen.holder for seen in self._found if seen.holder is not None}
        shut = [each for each in self._found if each.type == LUKS and not each.why_not and each not in done]
        opened = False
        for seen in shut if self._keys else ():
            device, why = self._open(seen)
            if why:
                self._found[self._found.index(seen)] = msgspec.structs.replace(seen, why_not=why)
            else:
                self._examine([device], seen)
                opened = True
        return opened

    def _open(self, seen: FileSystemSeen) -> tuple[str, str]:
        """Return the device that shows what an encrypted one holds, or why there is none.

        It is opened for writing, like every disk here: a journal in it must be replayed, on the overlay.
        The name is what virt-v2v gives it (libguestfs-common, options/decrypt.c).
        """
        secrets = secrets_for(self._keys, seen, self._found)
        option = f"--key {show(seen.uuid or seen.device)}:file:FILENAME"
        if not secrets:
            return "", f"it is encrypted (LUKS), and no key that was given is for it; give {option}"
        if too_much := self._too_much(seen.device):
            return "", f"it is encrypted (LUKS), and is not opened: {too_much}"
        name = f"luks-{seen.uuid}" if re.fullmatch(r"[0-9a-fA-F-]{36}", seen.uuid) else f"luks-{len(self._found)}"
        numbers = self._handle.version()
        version = int(numbers["major"]), int(numbers["minor"])
        why = ""
        for secret in secrets:
            argument = as_argument(secret, version)
            if argument is None:
                why = why or "a key that is not text needs libguestfs 1.60 or newer"
                continue
            try:
                self._handle.cryptsetup_open(seen.device, argument, name, crypttype="luks")
            except BINDING_ERRORS as error:
                must_live(self._handle, error)
                words = reason(error)
                why = why if _WRONG_KEY in words else _why_not_opened(words)
            else:
                return f"/dev/mapper/{name}", ""
        if why:
            return "", f"it is encrypted (LUKS), and cannot be opened: {why}"
        return (
            "",
            f"it is encrypted (LUKS), and the key that was given does not open it; give the right one with {option}",
        )

    def _too_much(self, device: str) -> str:
        try:
            head = self._handle.pread_device(device, BINARY, 0)
            while len(head) < metadata_size(head[:BINARY]):
                more = self._handle.pread_device(
                    device, min(_PIECE, metadata_size(head[:BINARY]) - len(head)), len(head)
                )
                if not more:
                    break
                head += more
            return cost_of(head).why_not
        except ValueError as error:
            return str(error)
        except BINDING_ERRORS as error:
            must_live(self._handle, error)
            return reason(error)

    # ------------------------------------------------------------ volume groups

    def _missing_members(self) -> dict[str, tuple[str, ...]]:
        """Return the UUIDs of the physical volumes that are on no disk given, by volume group.

        Asked only where something is missing: a volume that cannot be examined, or a member without volumes.
        """
        members = {seen.uuid for seen in self._found if seen.type == _LVM}
        whole = any(re.match(_MEMBERS[_LVM], volume) for volume in self._spanning)
        if not members or (whole and not any(device in self._spanning for device in self._unexamined)):
            return {}
        missing: dict[str, tuple[str, ...]] = {}
        for group in self._asked(self._handle.vgs):
            known = self._asked(functools.partial(self._handle.vgpvuuids, group))
            absent = {_plain(uuid): uuid for uuid in known}
            for uuid in members:
                absent.pop(_plain(uuid), None)
            if absent:
                missing[group] = tuple(sorted(absent.values()))
        return missing

    def _why_unexamined(self, missing: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
        told = []
        for device, words in self._unexamined.items():
            group = device.split("/")[2]
            if group in missing:
                told.append((device, _missing_words({group: missing[group]})))
            elif device in self._spanning:
                told.append((device, "it is made of several disks, of which not all were given; " + _GIVE_ALL))
            else:
                told.append((device, f"it cannot be examined: {words}"))
        return told


_GIVE_ALL = "give all disks of the machine"


def _why_not_opened(words: str) -> str:
    """Return what cryptsetup(8) says, without the name that the appliance's kernel gives to the device."""
    if "beyond real size of device" in words:
        return "its data begins beyond the end of the device; the image is not complete"
    return re.sub(r"^cryptsetup exited with status \d+: ", "", words)


def _plain(uuid: str) -> str:
    """Return a physical volume's UUID without the hyphens, which LVM writes or leaves away (lvm2, uuid.c)."""
    return uuid.replace("-", "")


def _missing_words(missing: dict[str, tuple[str, ...]]) -> str:
    groups = [
        f"{show(group)} lacks {'one disk' if len(uuids) == 1 else f'{len(uuids)} disks'} "
        f"(physical volume {', '.join(map(show, uuids[:3]))}{' …' if len(uuids) > 3 else ''})"
        for group, uuids in sorted(missing.items())
    ]
    return f"its LVM volume group is not complete: {'; '.join(groups)}; {_GIVE_ALL}"


def _parted(partition: str) -> tuple[str, int]:
    """Return the disk and the number of a partition, by its name (sd(4), md(4)); part_to_dev takes 65 ms.

    >>> _parted("/dev/sdaa12"), _parted("/dev/md127p1")
    (('/dev/sdaa', 12), ('/dev/md127', 1))
    """
    disk = partition.rstrip("0123456789")
    return re.sub(r"(?<=\d)p$", "", disk), int(partition[len(disk) :] or 0)


def _place(seen: FileSystemSeen) -> tuple[bool, int, int, str]:
    """Return what devices are sorted by; the content of an encrypted partition has the partition's place."""
    on = seen.holder or seen
    return on.disk is None, on.disk or 0, on.partition, seen.device
