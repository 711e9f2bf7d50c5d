from __future__ import annotations

import pytest

from migrate.changes.aspects import names_of
from migrate.changes.checks import checks
from migrate.changes.expected import Expected
from migrate.changes.explain import Case
from migrate.changes.model import Difference
from migrate.changes.permissions import expand, known_privileged, unrecorded
from migrate.model import Place, Shipped
from tests.analyzers.fake import FakeGuest, File, Link

NAMES = names_of({}, {})
UNKNOWN = ("mode", "user", "group", "capabilities")


def expected(path: str, place: str = "/var/lib/dpkg/info/x.list") -> Expected:
    return Expected("x", Shipped(path=path, unchecked=UNKNOWN), "md5", Place(place))


def test_braces_mean_each_of_what_is_in_them() -> None:
    assert expand("/{a,b}/x.{c,d}") == ["/a/x.c", "/a/x.d", "/b/x.c", "/b/x.d"]
    assert expand("/a") == ["/a"]


@pytest.mark.parametrize(
    ("path", "mode", "known"),
    [
        ("/usr/bin/su", 0o4755, True),
        ("/bin/su", 0o4755, True),
        ("/usr/lib/dbus-1.0/dbus-daemon-launch-helper", 0o4754, True),
        ("/usr/lib/openssh/ssh-keysign", 0o4755, True),
        ("/usr/lib/x86_64-linux-gnu/utempter/utempter", 0o2755, True),
        ("/usr/sbin/unix_chkpwd", 0o2755, True),
        ("/usr/bin/su", 0o4757, False),  # and everybody may write to it
        ("/usr/bin/wall", 0o6755, False),  # setgid is known, setuid is not
        ("/usr/bin/find", 0o4755, False),
        ("/usr/bin/python3.11", 0o4755, False),
        ("/usr/bin/bash", 0o4755, False),
        ("/usr/bin/vim.tiny", 0o2755, False),
        ("/home/anna/usr/bin/su", 0o4755, False),
    ],
)
def test_known_programs(path: str, mode: int, known: bool) -> None:
    guest = FakeGuest({path: File("", mode=mode)})
    (difference,) = (each for each in unrecorded(expected(path), guest.lstat(path), NAMES) if each.aspect == "mode")
    case = Case(path, difference, expected(path), guest.lstat(path))
    assert (known_privileged(case) is not None) is known


def test_where_modes_were_recorded_nothing_is_guessed() -> None:
    guest = FakeGuest({"/usr/bin/find": File("", mode=0o4755), "/usr/bin/link": Link("find", uid=1000)})
    recorded = Expected("x", Shipped(path="/usr/bin/find", mode=0o100755), "md5", Place("/var/lib/dpkg/info/x.list"))
    assert list(unrecorded(recorded, guest.lstat("/usr/bin/find"), NAMES)) == []
    assert list(unrecorded(expected("/usr/bin/link"), guest.lstat("/usr/bin/link"), NAMES)) == []
    assert list(unrecorded(expected("/gone"), None, NAMES)) == []


def test_debians_policy_is_debians() -> None:
    guest = FakeGuest({"/etc/x": File("", mode=0o666, uid=1000)})
    found = unrecorded(expected("/etc/x"), guest.lstat("/etc/x"), NAMES)
    assert {each.aspect for each in found} == {"mode", "user"}
    assert list(unrecorded(expected("/etc/x", "/var/db/pkg/a/x/CONTENTS"), guest.lstat("/etc/x"), NAMES)) == []


SCRIPT = """\
#!/bin/sh
# chmod 4755 /usr/bin/commented
PROG="/usr/bin/helper"
if command -v setcap; then setcap cap_net_raw+ep "$PROG"; else chmod u+s "$PROG"; fi
chgrp crontab /usr/bin/shared-x
"""


@pytest.mark.parametrize(
    ("path", "aspect", "line"),
    [
        ("/usr/bin/helper", "capabilities", 3),
        ("/usr/bin/helper", "mode", 3),
        ("/usr/bin/helper", "user", None),  # the script changes no owner but with chgrp
        ("/usr/bin/shared-x", "group", 5),
        ("/usr/bin/shared", "group", None),
        ("/usr/bin/commented", "mode", None),
        ("/usr/bin/unnamed", "mode", None),
    ],
)
def test_what_the_maintainer_script_did(path: str, aspect: str, line: int | None) -> None:
    guest = FakeGuest({"/var/lib/dpkg/info/x.postinst": SCRIPT, path: File("", mode=0o4755)})
    check = checks(guest, NAMES)["maintainer_script"]
    found = check(Case(path, Difference(aspect, "", "4755"), expected(path), guest.lstat(path)))  # type: ignore[arg-type]
    assert found == (None if line is None else Place("/var/lib/dpkg/info/x.postinst", line))
