"""Whole machines and images compared: nothing but what was planted is a change, and each planted one is found."""

from __future__ import annotations

import subprocess

import pytest

from migrate.analysis import find
from migrate.changes.summary import by_rule
from migrate.guest.open import open_guest
from tests.examples.machine import DISK, SHOP, truth
from tests.guest.made import CORPUS

ROOTS = CORPUS.parent / "rootfs"
ARCHIVES = {
    "almalinux-8-docker-s390x-micro.tar.xz": {"container-variable": 2, "container-without-boot": 1},
    "almalinux-9-docker-aarch64-micro.tar.xz": {"container-without-boot": 1},
    "alpine-minirootfs-3.12.12-x86_64.tar.gz": {"accounts": 1, "mount-points": 1, "volatile": 2},
    "alpine-minirootfs-3.20.3-x86_64.tar.gz": {"accounts": 1, "mount-points": 1, "volatile": 2},
}


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_a_containers_image_has_nothing_that_is_not_explained(name: str) -> None:
    if not (ROOTS / name).is_file():
        pytest.skip(f"{name} is not in the corpus")
    with open_guest([ROOTS / name]) as guest:
        facts = find(guest)
        found = facts.comparison
    assert found.changes == ()
    assert found.unread == ()
    assert found.compared > 0
    assert found.files - found.compared <= 20  # ghosts, and what the package wants nobody to compare
    assert by_rule(found) == ARCHIVES[name]


@pytest.mark.disk
def test_of_the_example_machine_nothing_but_its_two_changed_files() -> None:
    check = subprocess.run([SHOP / "build.sh", "--check", DISK], capture_output=True, text=True)
    if check.returncode != 0:
        pytest.skip(check.stderr.strip())
    with open_guest([DISK], reader="direct") as guest:
        facts = find(guest)
        found = facts.comparison
    assert sorted(change.path for change in found.changes) == sorted(truth()["changed_configuration"])
    assert all(change.configuration and change.aspects == ("content",) for change in found.changes)
    assert all(change.seen_in.path == "/var/lib/dpkg/status" and change.seen_in.line for change in found.changes)
    assert (found.explained, found.leftovers, found.unread) == ((), (), ())
    assert found.compared == found.files > 14_000
