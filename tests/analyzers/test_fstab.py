from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzers import fstab
from migrate.model import Mount, Place, Unread
from tests.analyzers.fake import FakeGuest, Link

FSTAB = r"""# /etc/fstab: static file system information.
UUID=2f1c / ext4 errors=remount-ro 0 1
/dev/vg0/data	/srv/my\040data	xfs	noatime	0 2
UUID=77aa none swap sw 0 0
nas.corp.example:/export /mnt/nas nfs4 _netdev,ro
only-two /mnt
tmpfs relative tmpfs
"""


def test_lines_of_fstab() -> None:
    found = list(fstab.analyze(FakeGuest({"/etc/fstab": FSTAB})))
    assert [f for f in found if isinstance(f, Mount)] == [
        Mount(
            seen_in=Place("/etc/fstab", 2), device="UUID=2f1c", mountpoint="/", type="ext4", options="errors=remount-ro"
        ),
        Mount(
            seen_in=Place("/etc/fstab", 3),
            device="/dev/vg0/data",
            mountpoint="/srv/my data",
            type="xfs",
            options="noatime",
        ),
        Mount(
            seen_in=Place("/etc/fstab", 5),
            device="nas.corp.example:/export",
            mountpoint="/mnt/nas",
            type="nfs4",
            options="_netdev,ro",
        ),
    ]
    assert [str(f.seen_in) for f in found if isinstance(f, Unread)] == ["/etc/fstab:6", "/etc/fstab:7"]


def test_mount_units_that_somebody_wrote() -> None:
    unit = "[Unit]\nDescription=x\n\n[Mount]\n# disk 2\nWhat=/dev/sdb1\nWhere=/data\nType=ext4\n"
    guest = FakeGuest(
        {
            "/etc/systemd/system/data.mount": unit,
            "/etc/systemd/system/bad.mount": "[Mount]\nWhere=/x\n",
            "/etc/systemd/system/tmp.mount": Link("/dev/null"),
        }
    )
    found = list(fstab.analyze(guest))
    place = Place("/etc/systemd/system/data.mount", 6)
    assert found[0] == Mount(seen_in=place, device="/dev/sdb1", mountpoint="/data", type="ext4", options="defaults")
    assert [str(f.seen_in) for f in found[1:]] == ["/etc/systemd/system/bad.mount"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    list(fstab.mounts(text, "/etc/fstab"))
    fstab.parse_mount_unit(text, "/x.mount")
