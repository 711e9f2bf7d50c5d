"""Logical volumes that LVM itself made, and those that the tests' writer makes, as LVM in the appliance sees them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from migrate.errors import DiskError
from migrate.guest.libguestfs.appliance import needs_emulation
from migrate.guest.progress import silent
from migrate.guest.volumes.lvm import TYPE, Member, Volume, find_volumes, probe
from migrate.guest.volumes.lvmlabel import find_label, read_description
from migrate.guest.volumes.partitions import find_partitions
from tests.guest.made import needs, needs_guestfs, run, sparse_file, unpacked
from tests.guest.volumes.test_lvm import group, physical_volume, reader, segment, spread, volume

pytestmark = pytest.mark.appliance

_MAKE = r"""
set -e
d=/dev/disk/guestfs
pvcreate -q --dataalignment 64k ${d}/gpt2
pvcreate -q --pvmetadatacopies 0 ${d}/whole
pvcreate -q --pvmetadatacopies 2 ${d}/mbr5
vgcreate -q -s 1m main ${d}/gpt2 ${d}/whole ${d}/mbr5
lvcreate -q -y -Wn -n root -l 20 main ${d}/gpt2:3-12 ${d}/whole:7-16
lvcreate -q -y -Wn -n stripes -i 3 -I 8k -l 12 main
lvextend -q -i 2 -I 64k -l +8 main/stripes ${d}/whole ${d}/mbr5
lvcreate -q -y -Wn -n a -l 2 main
lvcreate -q -y -Wn -n b -l 2 main
lvextend -q -l +3 main/a
lvremove -q -y main/b
lvextend -q -l +30%FREE main/a
lvcreate -q -y -Wn -n with-hyphen_x.y+z -l 2 main
lvcreate -q -y -Wn -ky -n skipped -l 2 main
lvcreate -q -y -Wn -n swap -l 4 main
for each in root stripes a with-hyphen_x.y+z
do dd if=/dev/urandom of=/dev/main/$each bs=1M 2>/dev/null || :
done
mkfs.ext4 -q -F -L system /dev/main/root
mkswap -L exchange /dev/main/swap
lvchange -q -pr main/a
pvcreate -q --metadatasize 60k --dataalignment 64k ${d}/ring
vgcreate -q ring ${d}/ring
lvcreate -q -y -Wn -n x0 -l 1 ring
dd if=/dev/urandom of=/dev/ring/x0 bs=1M 2>/dev/null || :
ring=$(readlink -f ${d}/ring)
for n in $(seq 0 49)
do lvrename -q --devices $ring ring x$n x$((n + 1))
done
sync
vgchange -q -an
vgchange -q -aay
udevadm settle
"""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the appliance says of a device."""

    size: int
    tags: dict[str, str]
    digest: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Disks by their labels, and what the appliance says of the volumes and the physical ones on them."""

    disks: dict[str, Path]
    volumes: dict[str, Seen]
    members: dict[str, Seen]


def written(place: Path) -> dict[str, Path]:
    """Physical volumes by the tests' writer: wrapped, ignored and old descriptions, stripes."""
    disks = {}
    for number, disk in enumerate(spread()[0]):
        disks[f"spread{'abc'[number]}"] = bytes(disk)
    area = (4096, 32 * 1024)
    wrapped = group("wrapped", [10], volume("root", segment(1, 0, 4, (10, 8))), number=10)
    disks["wrapped"] = bytes(physical_volume(10, wrapped, areas=(area,), sector=0, offset=area[1] - 512))
    for number, size in ((11, 4), (12, 6)):
        text = group("news", [11, 12], volume("root", segment(1, 0, size, (12, 8))), seqno=number, number=11)
        disks[f"news{'ab'[number - 11]}"] = bytes(physical_volume(number, text))
    text = group("ignoring", [13, 14], volume("root", segment(1, 0, 2, (14, 5)), segment(2, 2, 2, (13, 1))), number=13)
    stale = group("stale", [14], volume("old", segment(1, 0, 1, (14, 0))), number=14)
    disks["ignoringa"] = bytes(physical_volume(13, text, version=1))
    disks["ignoringb"] = bytes(physical_volume(14, stale, flags=1))
    disks["orphan"] = bytes(physical_volume(15, b"", used=False))
    for name, content in disks.items():
        (place / name).write_bytes(content)
    return {name: place / name for name in disks}


def appliance() -> Any:
    """Return a handle that is not launched yet; emulating where KVM does not work, as the reader does."""
    import guestfs

    handle: Any = guestfs.GuestFS(python_return_dict=True)
    handle.set_backend("direct")
    if needs_emulation(silent):
        handle.set_backend_setting("force_tcg", "1")
    return handle


def seen(handle: Any, device: str) -> Seen:
    return Seen(
        size=handle.blockdev_getsize64(device),
        tags=handle.blkid(device),
        digest=handle.checksum_device("sha256", device),
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Machine]:
    needs_guestfs()
    needs("sfdisk", "zstd")
    place = tmp_path_factory.mktemp("lvm")
    disks = {
        "gpt": sparse_file(place / "gpt", 32),
        "whole": sparse_file(place / "whole", 32),
        "mbr": sparse_file(place / "mbr", 32),
        "ring": sparse_file(place / "ring", 16),
    }
    run("sfdisk", "-q", disks["gpt"], stdin="label: gpt\nsize=1MiB\nsize=28MiB, type=lvm\n")
    run("sfdisk", "-q", disks["mbr"], stdin="label: dos\nsize=1MiB, type=83\ntype=5\nsize=29MiB, type=8e\n")
    made = written(place)
    disks |= made
    disks["corpus"] = unpacked(corpus, "lvm.raw", place)
    with contextlib.closing(appliance()) as handle:
        for label, path in disks.items():
            handle.add_drive_opts(str(path), format="raw", label=label)
        handle.launch()
        handle.debug("sh", [_MAKE + "2>&1 >/dev/null"])
        volumes = {device: seen(handle, device) for device in handle.lvs()}
        labels = ["gpt2", "whole", "mbr5", "ring", *made]
        members = {label: seen(handle, f"/dev/disk/guestfs/{label}") for label in labels}
        handle.shutdown()
    yield Machine(disks=disks, volumes=volumes, members=members)
    shutil.rmtree(place)


def device_of(machine: Machine, label: str) -> Member:
    """A disk, or with a number at its end one of its partitions."""
    name = label.rstrip("0123456789")
    content = machine.disks[name].read_bytes()
    if label == name:
        return Member(name=label, read=reader(content), size=len(content))
    part = next(p for p in find_partitions(reader(content), len(content)) or () if p.number == int(label[len(name) :]))
    return Member(name=label, read=reader(content[part.start : part.start + part.size]), size=part.size)


@pytest.fixture(scope="module")
def volumes(machine: Machine) -> dict[str, Volume]:
    members = [device_of(machine, label) for label in [*machine.members, "corpus"]]
    return {each.device: each for each in find_volumes(members)}


def test_each_volume_is_what_lvm_makes_of_it(machine: Machine, volumes: dict[str, Volume]) -> None:
    assert list(volumes) == list(machine.volumes)
    for device, found in volumes.items():
        seen = machine.volumes[device]
        assert (device, found.size) == (device, seen.size)
        assert (device, hashlib.sha256(found.read(0, found.size)).hexdigest()) == (device, seen.digest)


def test_the_volumes_are_those_that_were_made(machine: Machine) -> None:
    assert list(machine.volumes) == [
        "/dev/ignoring/root",
        "/dev/main/a",
        "/dev/main/root",
        "/dev/main/stripes",
        "/dev/main/swap",
        "/dev/main/with-hyphen_x.y+z",
        "/dev/news/root",
        "/dev/ring/x50",
        "/dev/test_volume_group/test_logical_volume1",
        "/dev/test_volume_group/test_logical_volume2",
        "/dev/vg0/alone",
        "/dev/vg0/data",
        "/dev/wrapped/root",
    ]
    assert machine.volumes["/dev/main/root"].tags["LABEL"] == "system"


def test_each_physical_volume_is_what_blkid_says(machine: Machine) -> None:
    for label, seen in machine.members.items():
        member = device_of(machine, label)
        found = probe(member.read, member.size)
        assert found is not None
        assert (label, found.type, found.uuid, found.why_not) == (label, seen.tags["TYPE"], seen.tags["UUID"], "")
        assert "LABEL" not in seen.tags
        assert (found.type, member.size) == (TYPE, seen.size)


def test_the_ring_was_gone_around(machine: Machine) -> None:
    """Some 50 descriptions, of whole sectors each, do not fit into the area one after another."""
    ring = device_of(machine, "ring")
    label = find_label(ring.read, ring.size)
    assert label is not None
    (area,) = label.areas
    text = read_description(ring.read, ring.size, area)
    assert text is not None
    assert b"seqno = 52\n" in text
    assert 52 * -(-len(text) // 512) * 512 > area[1]


def test_without_one_of_its_disks(machine: Machine) -> None:
    for label in ("gpt2", "whole", "mbr5"):
        members = [device_of(machine, each) for each in ("gpt2", "whole", "mbr5") if each != label]
        with pytest.raises(DiskError, match=r"is on none of the disks given|is described on none of the disks"):
            find_volumes(members)
