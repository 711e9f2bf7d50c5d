"""What is on the disks of an appliance: how blkid(8)'s answers are taken."""

from __future__ import annotations

from pathlib import Path

from migrate.guest.mounting.devices import find_devices
from tests.guest.handle import FakeHandle


def test_labels_that_blkid_escapes(tmp_path: Path) -> None:
    handle = FakeHandle(tmp_path)
    # As `blkid -o export` of util-linux 2.38 prints them; and what vfs_label of libguestfs gives.
    handle.devices = {
        "/dev/sda1": {"TYPE": "ext4", "LABEL": "My\\ Data", "PART_ENTRY_NAME": "EFI\\ System"},
        "/dev/sda2": {"TYPE": "xfs", "LABEL": "VM-DATA"},
        "/dev/sda3": {"TYPE": "ext4", "LABEL": "RM-CM-6M-CM-6t"},
        "/dev/sda4": {"TYPE": "ext4", "LABEL": "plain"},
    }
    handle.labels = {"/dev/sda1": "My Data", "/dev/sda2": "VM-DATA", "/dev/sda3": "Rööt"}
    found, problems = find_devices(handle, ["diska"])
    assert [seen.label for seen in found] == ["My Data", "VM-DATA", "Rööt", "plain"]
    assert [seen.part_label for seen in found] == ["EFI System", "", "", ""]
    assert problems == []
