from __future__ import annotations

import pytest

from analyzers.ttylinux import analyze
from migrate.account import account
from migrate.facts import Facts
from migrate.guest.open import open_guest
from migrate.join import join
from migrate.model import Package, PackageFiles, Place, Unread
from tests.analyzers.fake import FakeGuest, File, Link
from tests.guest.made import CORPUS

LISTS = "/usr/share/ttylinux"
# ttylinux 16.1, /usr/share/ttylinux/pkg-dropbear-2013.58-FILES, in part
DROPBEAR = "etc/rc.d/init.d/sshd\netc/ssh/\nlib/x\nusr/sbin/dropbear\n"


def _guest(**more: str) -> FakeGuest:
    return FakeGuest(
        {
            "/lib": Link("usr/lib"),
            "/usr/lib/x": "x",
            "/usr/sbin/dropbear": File("ELF", mode=0o4755),
            "/etc/rc.d/init.d/sshd": "#!/bin/sh\n",
            "/etc/ssh/key": "x",
            f"{LISTS}/pkg-dropbear-2013.58-FILES": DROPBEAR,
            f"{LISTS}/pkg-ttylinux-basefs-1.0-FILES": "../../etc/x\n\nusr/\n" + "\0" * 10,
            **more,
        }
    )


def test_a_package_is_a_list_whose_name_has_its_version() -> None:
    found = list(analyze(_guest()))
    place = Place(f"{LISTS}/pkg-dropbear-2013.58-FILES")
    assert [(p.name, p.version, p.manager) for p in found if isinstance(p, Package)] == [
        ("dropbear", "2013.58", "ttylinux"),
        ("ttylinux-basefs", "1.0", "ttylinux"),
    ]
    owned = ("/etc/rc.d/init.d/sshd", "/etc/ssh", "/usr/lib/x", "/usr/sbin/dropbear")
    assert PackageFiles(seen_in=place, package="dropbear", paths=owned) in found


def test_a_program_with_more_rights_is_no_change_where_no_list_says_what_it_had() -> None:
    guest = _guest()
    changes = Facts(analyze(guest), guest).comparison.changes
    assert [each.path for each in changes if each.package == "dropbear"] == []


def test_a_name_that_tells_no_version_is_told() -> None:
    name = f"{LISTS}/pkg-nothing-FILES"
    notes = [f for f in analyze(_guest(**{name: "bin/x\n"})) if isinstance(f, Unread)]
    assert [str(note.seen_in) for note in notes] == [name]


def test_the_appliance_of_the_corpus_is_accounted_for() -> None:
    image = CORPUS / "tty_tiny.ova"
    if not image.is_file():
        pytest.skip("the corpus of disk images is not here")
    with open_guest([image]) as guest:
        facts = Facts(analyze(guest), guest)
        assert len(facts.packages) == 10
        counted = account(facts, join(facts), facts.comparison).classes
    assert counted["unknown"] == (0, 0)
    assert counted["package"][0] > 300
