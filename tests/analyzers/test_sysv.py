"""Init scripts without units."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from analyzers.sysv import analyze, parse_header
from migrate.model import Place, Service, Setting
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_systemd import BASE, ETC, LIB

# The head of tftpd-hpa's script, Debian 12 (5.2+20150808-1.4).
TFTPD = """#!/bin/sh
### BEGIN INIT INFO
# Provides:\t\ttftpd-hpa tftp
# Required-Start:\t$local_fs $remote_fs $syslog $network slapd
# Required-Stop:\t$local_fs $remote_fs $syslog $network
# Should-Start:\t\t+nscd
# Default-Start:\t2 3 4 5
# Default-Stop:\t\t1
# Short-Description:\tHPA's tftp server
# Description:\t\tTrivial File Transfer Protocol (TFTP) server.
### END INIT INFO

PATH="/sbin:/bin:/usr/sbin:/usr/bin"
DAEMON="/usr/sbin/in.tftpd"
PIDFILE=/var/run/tftpd.pid
DAEMON_ARGS="--password hunter2"
NAME=$DAEMON
"""
RED_HAT = """#!/bin/bash
#
# orders        Startup script
#
# chkconfig: 2345 80 20
# description: Takes orders and \\
#              passes them on
# processname: ordersd
# pidfile: /var/run/orders.pid

. /etc/rc.d/init.d/functions
# description: not this one
"""


def services(files: Mapping[str, Content], base: Mapping[str, Content] = BASE) -> dict[str, Service]:
    return {one.id: one for one in analyze(FakeGuest({**base, **files})) if isinstance(one, Service)}


def script(text: str = TFTPD) -> File:
    return File(text, mode=0o755)


def test_headers() -> None:
    header = parse_header(TFTPD)
    assert header.values["Short-Description"] == ("HPA's tftp server", 9)
    assert header.words("Default-Start") == ["2", "3", "4", "5"]
    old = parse_header(RED_HAT)
    assert old.words("Default-Start") == ["2", "3", "4", "5"]
    assert old.values["description"] == ("Takes orders and", 6)
    assert parse_header("").values == {}


def test_a_script_whole() -> None:
    path = "/etc/init.d/tftpd-hpa"
    found = services({path: script(), "/etc/rc2.d/S01tftpd-hpa": Link("../init.d/tftpd-hpa")})
    assert found == {
        "tftpd-hpa": Service(
            id="tftpd-hpa",
            manager="sysv",
            enabled=True,
            unit=path,
            type="forking",
            description="HPA's tftp server",
            command=(path, "start"),
            settings=(
                Setting("DAEMON", "/usr/sbin/in.tftpd", Place(path, 14)),
                Setting("PIDFile", "/var/run/tftpd.pid", Place(path, 15)),
                Setting("WantedBy", "multi-user.target", Place("/etc/rc2.d/S01tftpd-hpa")),
            ),
            after=("nscd", "slapd"),
            requires=("slapd",),
            aliases=("tftp",),
            seen_in=Place(path, 1),
        )
    }


def test_a_unit_or_a_mask_takes_the_scripts_place() -> None:
    files: dict[str, Content] = {
        "/etc/init.d/with-unit": script(),
        f"{LIB}/with-unit.service": "[Service]\nExecStart=/bin/a\n",
        "/etc/init.d/alias": script(),
        f"{ETC}/alias.service": Link("/lib/systemd/system/with-unit.service"),
        "/etc/init.d/masked": script(),
        f"{ETC}/masked.service": Link("/dev/null"),
        "/etc/init.d/alone.sh": script(),
        "/etc/init.d/not-executable": TFTPD,
        "/etc/init.d/README": script(),
        "/etc/init.d/old.dpkg-old": script(),
    }
    found = services(files)
    assert {name: one.enabled for name, one in found.items()} == {"alone": False}


def test_runlevel_5_is_graphical_target() -> None:
    files: dict[str, Content] = {"/etc/init.d/x": script(), "/etc/rc5.d/S20x": Link("../init.d/x")}
    assert services(files)["x"].enabled
    text_mode = {**BASE, f"{ETC}/default.target": Link("/lib/systemd/system/multi-user.target")}
    assert not services(files, text_mode)["x"].enabled
    assert not services({"/etc/init.d/x": script(), "/etc/rc2.d/K20x": Link("../init.d/x")})["x"].enabled
    assert not services({"/etc/init.d/x": script(), "/etc/rc2.d/S20x": Link("../init.d/gone")})["x"].enabled


def test_sysvinit_itself() -> None:
    base: dict[str, Content] = {
        "/sbin/init": File(b"\x7fELF", mode=0o755),
        "/etc/inittab": "# which\nid:3:initdefault:\nsi::sysinit:/etc/init.d/rcS\n",
        "/etc/init.d": Link("rc.d/init.d"),
        "/etc/rc.d/init.d/orders": script(RED_HAT),
        "/etc/rc.d/init.d/idle": script(RED_HAT),
        "/etc/rc.d/rc3.d/S80orders": Link("../init.d/orders"),
        "/etc/rc.d/rc5.d/S80idle": Link("../init.d/idle"),
        f"{LIB}/orders.service": "[Service]\nExecStart=/bin/a\n",
    }
    found = services({}, base)
    assert {name: one.enabled for name, one in found.items()} == {"orders": True, "idle": False}
    assert found["orders"].command == ("/etc/rc.d/init.d/orders", "start")
    assert found["orders"].description == "Takes orders and"


def test_openrcs_scripts_are_not_these() -> None:
    files: dict[str, Content] = {"/sbin/init": Link("/bin/busybox"), "/bin/busybox": script()}
    files["/etc/init.d/x"] = script("#!/sbin/openrc-run\n")
    assert services(files, {}) == {}
    assert services({**files, "/etc/init.d/y": script(), "/etc/runlevels/default/x": Link("/etc/init.d/x")}, {}) == {}


@given(st.text(alphabet=st.sampled_from("#: \n\tabD+$-\udcff") | st.sampled_from("### BEGIN INIT INFO\n"), max_size=60))
def test_hostile_headers(text: str) -> None:
    found = services({"/etc/init.d/x": script(f"### BEGIN INIT INFO\n{text}")})
    assert found["x"].command == ("/etc/init.d/x", "start")


# The end of ttylinux 16.1's rc.sysinit, and its inittab(5) for busybox' init.
RC_SYSINIT = """#!/bin/bash
for file in /var/lock/subsys/* /var/run/*; do
	[[ -e "${file}" ]] && rm -rf ${file}
done; unset file

for p in /etc/rc.d/rc.startup/*; do
	[[ -x ${p} ]] && ${p} start
done; unset p
"""
INITTAB = "::sysinit:/etc/rc.d/rc.sysinit\n\ntty1::respawn:/sbin/getty 115200 tty1\n::shutdown:/etc/rc.d/rc.sysdone\n"


def test_what_a_boot_script_runs_in_a_loop() -> None:
    found = services(
        {
            "/etc/inittab": INITTAB,
            "/etc/rc.d/rc.sysinit": script(RC_SYSINIT),
            "/etc/rc.d/rc.sysdone": script("for p in /etc/rc.d/rc.shutdown/*; do ${p} stop; done\n"),
            "/etc/rc.d/init.d/sshd": script("#!/bin/bash\n"),
            "/etc/rc.d/init.d/spare": script("#!/bin/bash\n"),
            "/etc/rc.d/rc.startup/20.sshd": Link("../init.d/sshd"),
            "/etc/rc.d/rc.startup/50.heartbeat": script("#!/bin/bash\nwhile true; do :; done &\n"),
            "/etc/rc.d/rc.startup/60.off": File("#!/bin/bash\n", mode=0o644),
            "/etc/rc.d/rc.startup/70.gone": Link("../init.d/gone"),
            "/etc/rc.d/rc.shutdown/30.spare": Link("../init.d/spare"),
        },
        {},
    )
    told = {name: (service.enabled, service.command) for name, service in found.items()}
    assert told == {
        "sshd": (True, ("/etc/rc.d/init.d/sshd", "start")),
        "heartbeat": (True, ("/etc/rc.d/rc.startup/50.heartbeat", "start")),
        "spare": (False, ("/etc/rc.d/init.d/spare", "start")),
    }
    assert found["sshd"].settings == (Setting("WantedBy", "sysinit.target", Place("/etc/rc.d/rc.sysinit", 6)),)


def test_busybox_without_an_inittab() -> None:
    # Buildroot 2023.02, package/initscripts/init.d/rcS
    rcs = '#!/bin/sh\n\nfor i in /etc/init.d/S??* ;do\n     [ ! -f "$i" ] && continue\n     $i start\ndone\n'
    found = services({"/etc/init.d/rcS": script(rcs), "/etc/init.d/S01syslogd": script("#!/bin/sh\n")}, {})
    assert found.keys() == {"syslogd"}
    assert found["syslogd"].enabled
    assert found["syslogd"].seen_in == Place("/etc/init.d/S01syslogd", 1)
