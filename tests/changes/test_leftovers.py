from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.changes.leftovers import leftovers, parse_name
from migrate.changes.ucf import parse_hashes, parse_registry
from migrate.facts import Facts
from migrate.model import PackageFiles, Place
from tests.analyzers.fake import Content, FakeGuest

SSH = PackageFiles(
    seen_in=Place("/list"),
    package="ssh",
    paths=("/etc/ssh/sshd_config", "/opt/app/app.conf", "/etc/shipped.rpmnew"),
    conffiles=(("/etc/ssh/sshd_config", "0" * 32), ("/opt/app/app.conf", "0" * 32)),
)
BASE: dict[str, Content] = {"/etc/ssh/sshd_config": "x", "/opt/app/app.conf": "x"}


@pytest.mark.parametrize(
    ("path", "of", "says"),
    [
        ("/etc/ssh/sshd_config.dpkg-dist", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config.ucf-dist", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config.rpmnew", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config.apk-new", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config.pacnew", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config-opkg", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/._cfg0003_sshd_config", "/etc/ssh/sshd_config", "is in force, as the machine had it"),
        ("/etc/ssh/sshd_config.dpkg-old", "/etc/ssh/sshd_config", "is in force, as the package brought it"),
        ("/etc/ssh/sshd_config.rpmsave", "/etc/ssh/sshd_config", "is in force, as the package brought it"),
        ("/etc/ssh/sshd_config.pacorig", "/etc/ssh/sshd_config", "is in force, as the package brought it"),
        ("/etc/ssh/sshd_config.dpkg-new", "/etc/ssh/sshd_config", "was never configured"),
        ("/etc/ssh/sshd_config.pacsave.1", "/etc/ssh/sshd_config", "no longer brings"),
        ("/opt/app/app.conf.rpmnew", "/opt/app/app.conf", "is in force, as the machine had it"),
    ],
)
def test_each_kind_names_its_configuration_and_which_is_in_force(path: str, of: str, says: str) -> None:
    (found,) = leftovers(Facts([SSH], FakeGuest({**BASE, path: "other"})))
    assert (found.path, found.of, found.package) == (path, of, "ssh")
    assert says in found.says


def test_where_the_configuration_is_gone_nothing_is_in_force() -> None:
    (found,) = leftovers(Facts([], FakeGuest({"/etc/gone.conf.rpmsave": "x"})))
    assert (found.of, found.package) == ("/etc/gone.conf", "")
    assert "nothing of it is in force" in found.says


def test_what_is_none() -> None:
    files: dict[str, Content] = {
        **BASE, "/etc/shipped.rpmnew": "a package's own", "/srv/x.rpmnew": "not beside configuration",
        "/etc/dpkg-dist": "x", "/etc/x.dpkg-distribution": "x", "/etc/.pacnew": "x",
    }  # fmt: skip
    assert list(leftovers(Facts([SSH], FakeGuest(files)))) == []


def test_ucfs_own_files() -> None:
    digest = "0123456789abcdef" * 2
    hashes = parse_hashes(f"{digest}  /etc/default/a b\nbroken\n{digest} relative\n")
    assert hashes == {"/etc/default/a b": (1, digest)}
    assert parse_registry("tool \t /etc/default/a b\n\n") == {"/etc/default/a b": "tool"}


@given(st.text())
def test_nothing_breaks_the_parsers(text: str) -> None:
    parse_name(text)
    parse_hashes(text)
    parse_registry(text)
