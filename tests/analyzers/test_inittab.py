"""Processes of inittab."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import inittab, os_release
from migrate.guest.open import open_guest
from migrate.model import Place, Service, Setting, Trait, Unread, Uses
from tests.analyzers.fake import Content, FakeGuest, Link
from tests.analyzers.test_init import OPENRC, program
from tests.guest.made import CORPUS

SYSVINIT: dict[str, Content] = {"/sbin/init": program(b"no more processes left in this runlevel")}
BUSYBOX: dict[str, Content] = {"/sbin/init": Link("/bin/busybox"), "/bin/busybox": program(b"BusyBox v1.36.1")}
TEXT = """\
# Debian's, shortened, with two lines of somebody's own
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l2:2:wait:/etc/init.d/rc 2
ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now
1:2345:respawn:/sbin/getty 38400 tty1
4:35:respawn:/sbin/getty 38400 tty4
T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100
or:2345:respawn:/bin/su - app -c "/srv/orders/run.sh >> /var/log/orders.log 2>&1"
lg:2:once:/usr/local/bin/collect --all > /var/log/collect.log
"""


def services(text: str, base: Mapping[str, Content] = SYSVINIT) -> dict[str, Service]:
    found = inittab.analyze(FakeGuest({**base, "/etc/inittab": text}))
    return {one.id: one for one in found if isinstance(one, Service)}


def test_sysvinit() -> None:
    told = services(TEXT)
    assert {name: one.enabled for name, one in told.items()} == {
        "getty@tty1": True,
        "getty@ttyS0": True,
        "run": True,
        "collect": True,
        "getty@tty4": False,
    }
    place = Place("/etc/inittab", 10)
    assert told["collect"] == Service(
        id="collect",
        manager="inittab",
        enabled=True,
        unit="/etc/inittab",
        type="oneshot",
        command=("/usr/local/bin/collect", "--all"),
        working_directory="/",
        settings=(
            Setting("StandardOutput", "append:/var/log/collect.log", place),
            Setting("WantedBy", "runlevel 2", place),
        ),
        seen_in=place,
    )
    command = ("/bin/su", "-", "app", "-c", "/srv/orders/run.sh >> /var/log/orders.log 2>&1")
    assert (told["run"].command, told["run"].type) == (command, "simple")
    assert [s.value for s in told["run"].settings if s.name == "Restart"] == ["always"]
    found = inittab.analyze(FakeGuest({**SYSVINIT, "/etc/inittab": TEXT}))
    assert [(u.path, u.role) for u in found if isinstance(u, Uses)] == [("/var/log/collect.log", "log")]


def test_no_default_runlevel() -> None:
    found = list(inittab.analyze(FakeGuest({**SYSVINIT, "/etc/inittab": TEXT.replace("id:2:init", "#")})))
    assert not any(one.enabled for one in found if isinstance(one, Service))
    assert [f.seen_in.path for f in found if isinstance(f, Unread)] == ["/etc/inittab"]


def test_busybox() -> None:
    told = services(
        "::sysinit:/etc/init.d/rcS\n::respawn:-/bin/sh\ntty2::askfirst:-/bin/sh\n::respawn:/bin/d -f\n", BUSYBOX
    )
    assert {name: (one.enabled, one.command) for name, one in told.items()} == {
        "getty@console": (True, ("/bin/sh",)),
        "getty@tty2": (True, ("/bin/sh",)),
        "d": (True, ("/bin/d", "-f")),
    }


def test_two_of_one_name() -> None:
    told = services("a::respawn:/bin/d 1\nb::respawn:/bin/d 2\nb::respawn:/bin/d 3\n", BUSYBOX)
    assert {name: one.command[1] for name, one in told.items()} == {"d": "1", "d-b": "2", "d-b-3": "3"}


def test_what_a_shell_reads() -> None:
    told = services("::respawn:/bin/d $(hostname)\n", BUSYBOX)
    assert told["d"].command == ("/bin/sh", "-c", "exec /bin/d $(hostname)")


@pytest.mark.parametrize("mark", [b"com.ubuntu.Upstart", b"/etc/runit/"])
def test_inits_that_do_not_read_it(mark: bytes) -> None:
    assert services(TEXT, {"/sbin/init": program(mark)}) == {}


def test_openrc_runs_below_one_that_does() -> None:
    text = OPENRC["/etc/inittab"]
    assert isinstance(text, str)
    assert services(text, OPENRC).keys() == {"getty@tty1"}


PIECES = [":", "#", "\n", "2", "a", "r", " ", "$", "'", '"', "/", "\udcff", "respawn", "once", "/bin/x", "::respawn:"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_an_inittab(text: str) -> None:
    for base in (SYSVINIT, BUSYBOX):
        assert all(one.command for one in services(text, base).values())


def test_ttylinux() -> None:
    appliance = CORPUS / "tty_tiny.ova"
    if not appliance.is_file():
        pytest.skip(f"{appliance} is not there")
    with open_guest([appliance], reader="direct") as guest:
        told = [one for one in inittab.analyze(guest) if isinstance(one, Service)]
        traits = {f.key: f.value for f in os_release.analyze(guest) if isinstance(f, Trait)}
    assert [one.id for one in told] == [f"getty@tty{n}" for n in range(1, 7)]
    assert told[0].command == ("/sbin/getty", "115200", "tty1")
    assert traits["init"] == "busybox"
