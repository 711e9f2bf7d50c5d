"""The in-memory guest honours the Guest protocol."""

from __future__ import annotations

import pytest

from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link, Node

FILES: dict[str, Content] = {
    "/lib": Link("usr/lib"),
    "/lib/systemd/system/a.service": "[Service]\n",
    "/etc/masked.service": Link("/dev/null"),
    "/dev/null": Node("char", device=(1, 3)),
    "/etc/loop": Link("loop"),
    "/etc/absolute": Link("/usr/lib/systemd"),
    "/etc/up": Link("../../../usr"),
    "/srv/app": Dir(mode=0o750, uid=996, gid=33),
    "/srv/app/run": File("#!/bin/sh\n", mode=0o755, uid=996),
    "/srv/bad": Broken("input/output error"),
    "/srv/.hidden": "x",
}


def test_symlinks_resolve_inside_the_guest() -> None:
    guest: Guest = FakeGuest(FILES)
    assert guest.resolve("/lib/systemd/system/a.service") == "/usr/lib/systemd/system/a.service"
    assert guest.resolve("/etc/absolute/system") == "/usr/lib/systemd/system"
    assert guest.resolve("/etc/up/lib") == "/usr/lib"
    assert guest.resolve("/etc/loop") is None
    assert guest.resolve("/etc/masked.service") == "/dev/null"
    entry = guest.lstat("/etc/absolute")
    assert entry is not None
    assert entry.kind == "symlink"
    assert entry.target == "/usr/lib/systemd"


def test_metadata() -> None:
    guest = FakeGuest(FILES)
    entry = guest.stat("/srv/app")
    assert entry is not None
    assert (entry.kind, entry.mode, entry.uid, entry.gid) == ("directory", 0o750, 996, 33)
    assert guest.listdir("/srv/app") == ["run"]
    assert guest.listdir("/missing") == []


def test_glob_and_walk() -> None:
    guest = FakeGuest(FILES)
    assert guest.glob("/srv/*") == ["/srv/app", "/srv/bad"]
    assert guest.glob("/usr/**/*.service") == ["/usr/lib/systemd/system/a.service"]
    assert [e.path for e in guest.walk("/srv")] == ["/srv", "/srv/.hidden", "/srv/app", "/srv/app/run", "/srv/bad"]


@pytest.mark.parametrize("path", ["/srv/bad", "/srv/app", "/nothing", "/etc/loop", "/dev/null"])
def test_unreadable(path: str) -> None:
    with pytest.raises(GuestFileError):
        FakeGuest(FILES).read(path)
