"""Reading fstab(5)."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.guest.mounting import fstab
from migrate.guest.mounting.fstab import (
    BadLine,
    Device,
    KernelDisk,
    Line,
    OtherDevice,
    Tag,
    Volume,
    parse_device,
    parse_fstab,
)

DEBIAN = """\
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
/dev/mapper/web--vg-root /               ext4    errors=remount-ro 0       1
# /boot was on /dev/vda1 during installation
UUID=8c1f0a2e-53c7-4b38-a9b5-5a7ad8d7a0f3 /boot           ext2    defaults        0       2
/dev/mapper/web--vg-swap_1 none            swap    sw              0       0
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0

\tLABEL=My\\040Data\t/srv/my\\040data\txfs\tnoatime,nodev # not a comment here\r
UUID=7A1B-22C3  /boot/efi  vfat
broken
/dev/sdb1 srv ext4 defaults 0 0
"""


def test_a_real_one() -> None:
    lines, bad = parse_fstab(DEBIAN)
    assert lines == [
        Line(4, "/dev/mapper/web--vg-root", "/", "ext4", ("errors=remount-ro",)),
        Line(6, "UUID=8c1f0a2e-53c7-4b38-a9b5-5a7ad8d7a0f3", "/boot", "ext2", ("defaults",)),
        Line(7, "/dev/mapper/web--vg-swap_1", "none", "swap", ("sw",)),
        Line(8, "/dev/sr0", "/media/cdrom0", "udf,iso9660", ("user", "noauto")),
        Line(10, "LABEL=My Data", "/srv/my data", "xfs", ("noatime", "nodev")),
        Line(11, "UUID=7A1B-22C3", "/boot/efi", "vfat", ("defaults",)),
    ]
    assert bad == [
        BadLine(12, "it has 1 fields where device, mount point and type are needed"),
        BadLine(13, "its mount point is not an absolute path"),
    ]


@pytest.mark.parametrize(
    ("spec", "device"),
    [
        ('UUID="7A1B-22C3"', Tag("UUID", "7A1B-22C3")),
        ("PARTUUID=027b0f42-01", Tag("PARTUUID", "027b0f42-01")),
        ("/dev/disk/by-uuid/7A1B-22C3", Tag("UUID", "7A1B-22C3")),
        ("/dev/disk/by-partlabel/EFI\\x20System", Tag("PARTLABEL", "EFI System")),
        ("/dev/hda1", KernelDisk(0, 1)),
        ("/dev/sdaa12", KernelDisk(26, 12)),
        ("/dev/xvdf", KernelDisk(5, 0)),
        ("/dev/nvme1n1p3", KernelDisk(1, 3)),
        ("/dev/mmcblk0p1", KernelDisk(0, 1)),
        ("/dev/mapper/web--vg-root", Volume("web-vg", "root")),
        ("/dev/mapper/vg0-home--old--2", Volume("vg0", "home-old-2")),
        ("/dev/vg0/home-old", Volume("vg0", "home-old")),
        ("/dev/mapper/sda3_crypt", OtherDevice("/dev/mapper/sda3_crypt")),
        ("/dev/md0", OtherDevice("/dev/md0")),
        ("/dev/md/root", OtherDevice("/dev/md/root")),
        ("/dev/sda1x", OtherDevice("/dev/sda1x")),
        ("FOO=bar", OtherDevice("FOO=bar")),
    ],
)
def test_devices(spec: str, device: Device) -> None:
    assert parse_device(spec) == device


def test_escapes_are_bytes() -> None:
    assert fstab.unescape(r"/srv/\303\244\040\xyz\4") == "/srv/ä \\xyz\\4"
    assert fstab.unescape(r"\377") == "\udcff"


@given(st.text())
def test_any_text_is_lines_or_bad_lines(text: str) -> None:
    lines, bad = parse_fstab(text)
    wanted = [n for n, line in enumerate(text.split("\n"), 1) if line.strip(" \t\r") and line.strip(" \t\r")[0] != "#"]
    assert sorted([*(line.number for line in lines), *(line.number for line in bad)]) == wanted
    for line in lines:
        parse_device(line.device)


FIELD = st.text(
    st.one_of(st.sampled_from("# \t\\\n\r,=a"), st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    min_size=1,
    max_size=12,
)


@given(FIELD, FIELD, FIELD)
def test_what_getmntent_escapes_comes_back(device: str, mountpoint: str, kind: str) -> None:
    def escaped(text: str) -> str:
        return "".join(f"\\{ord(c):03o}" if c in " \t\n\r\\#" else c for c in text)

    lines, bad = parse_fstab(f"{escaped(device)} {escaped('/' + mountpoint)}\t{escaped(kind)} rw 0 0")
    assert not bad
    assert (lines[0].device, lines[0].mountpoint, lines[0].type) == (device, "/" + mountpoint, kind)


def test_the_examples_in_the_documentation() -> None:
    assert doctest.testmod(fstab).failed == 0
