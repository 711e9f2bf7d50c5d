from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import samba
from migrate.model import Covers, Finding, Foreground, Health, Listen, Need, Package, Place, Rebind, Unread, Uses
from tests.analyzers.fake import Content, Dir, FakeGuest, File

MAIN = "/etc/samba/smb.conf"
# Debian 12's, without comments.
DEBIAN = """\
[global]
   workgroup = WORKGROUP
   log file = /var/log/samba/log.%m
   logging = file
   server role = standalone server
[homes]
   comment = Home Directories
   read only = yes
[printers]
   path = /var/tmp
   printable = yes
[print$]
   path = /var/lib/samba/printers
"""
CHANGED = """\
; a member of a company's domain
[Global]
   Realm = CORP.EXAMPLE
   security = ADS
   interfaces = lo 127.0.0.0/8
   bind interfaces only = Yes
   smb ports = 445
   disable netbios = yes
   password server = dc1.corp.example
   include = /etc/samba/shares.conf
   include = /etc/samba/%m.conf
   include = registry
[Profiles]
   path = /srv/profiles/%U
[old]
   directory = /srv/old
   available = no
"""
SHARES = "[projects]\n  Path = /srv/projects\n[copied]\n  copy = projects\n"
FILES: dict[str, Content] = {
    "/usr/sbin/smbd": File("ELF", mode=0o755),
    "/usr/sbin/nmbd": File("ELF", mode=0o755),
    "/usr/sbin/samba": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/lib/systemd/system/smbd.service": "",
    "/lib/systemd/system/nmbd.service": "",
    "/lib/systemd/system/samba-ad-dc.service": "",
    "/home/ann": Dir(),
}


def analyzed(text: str, **more: Content) -> list[Finding]:
    return list(samba.analyze(FakeGuest({**FILES, MAIN: text, **more})))


def data(found: list[Finding]) -> set[tuple[str, str, int | None]]:
    return {(f.path, f.service, f.seen_in.line) for f in found if isinstance(f, Uses) and f.role == "data"}


def test_debian_as_installed() -> None:
    found = analyzed(DEBIAN)
    assert {(f.service, f.port, f.protocol, f.assumed) for f in found if isinstance(f, Listen)} == {
        ("smbd", 445, "tcp", True),
        ("smbd", 139, "tcp", True),
        ("nmbd", 137, "udp", True),
        ("nmbd", 138, "udp", True),
    }
    assert [(f.service, f.units, f.seen_in.line) for f in found if isinstance(f, Covers)] == [
        ("smbd", ("samba-ad-dc",), 5)
    ]
    assert data(found) == {("/var/lib/samba", "smbd", None), ("/var/lib/samba", "nmbd", None)}
    assert ("/var/log/samba", "log") in {(f.path, f.role) for f in found if isinstance(f, Uses)}
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/445"]
    assert not any(isinstance(f, Need | Unread | Rebind) for f in found)


def test_homes_are_served_once_there_are_accounts() -> None:
    found = analyzed(DEBIAN, **{"/var/lib/samba/private/passdb.tdb": b"TDB"})
    assert ("/home", "smbd", 6) in data(found)


def test_a_member_of_a_domain() -> None:
    found = analyzed(CHANGED, **{"/etc/samba/shares.conf": SHARES})
    assert [(f.port, f.address, f.seen_in.line) for f in found if isinstance(f, Listen)] == [(445, "127.0.0.1", 7)]
    assert {(f.service, f.over, f.seen_in.line) for f in found if isinstance(f, Need)} == {
        ("smbd", "tcp:corp.example:389", 3),
        ("winbind", "tcp:corp.example:389", 3),
        ("smbd", "tcp:dc1.corp.example:445", 9),
    }
    assert {path for path, _, _ in data(found)} == {"/var/lib/samba", "/srv/profiles", "/srv/projects"}
    assert {(f.service, f.before, f.after) for f in found if isinstance(f, Rebind)} == {
        ("smbd", "bind interfaces only = Yes", "bind interfaces only = no"),
    }
    assert [f.units for f in found if isinstance(f, Covers)] == [("nmbd", "samba-ad-dc")]
    assert [f.seen_in.line for f in found if isinstance(f, Unread)] == [11, 12]


def test_a_domain_controller_starts_the_others_itself() -> None:
    found = analyzed("[global]\nserver role = active directory domain controller\nrealm = CORP.EXAMPLE\n")
    assert [(f.service, f.units) for f in found if isinstance(f, Covers)] == [
        ("samba-ad-dc", ("smbd", "nmbd", "winbind"))
    ]
    ports = {(f.port, f.protocol) for f in found if isinstance(f, Listen) and f.service == "samba-ad-dc"}
    assert {(88, "tcp"), (389, "tcp"), (53, "udp")} <= ports
    assert not any(isinstance(f, Need) for f in found)


@pytest.mark.parametrize(
    ("version", "option"), [("2:4.17.12+dfsg-0+deb12u4", "--debug-stdout"), ("4.10.16-25.el7_9", "-S")]
)
def test_the_foreground_option_is_the_versions(version: str, option: str) -> None:
    package = Package(
        seen_in=Place("/x"), name="samba", version=version, architecture="amd64", manager="dpkg", chosen=True
    )
    found = list(samba.join(FakeGuest({**FILES, MAIN: DEBIAN}), [package]))
    assert [(f.service, f.command) for f in found if isinstance(f, Foreground)] == [
        ("smbd", ("/usr/sbin/smbd", "--foreground", "--no-process-group", option)),
        ("nmbd", ("/usr/sbin/nmbd", "--foreground", "--no-process-group", option)),
    ]
    assert list(samba.join(FakeGuest({**FILES, MAIN: DEBIAN}), [])) == []


def test_nothing_without_the_server() -> None:
    assert list(samba.analyze(FakeGuest({MAIN: DEBIAN}))) == []


def test_files_that_include_one_another_end() -> None:
    found = analyzed("include = /etc/a\n" * 9, **{"/etc/a": "include = /etc/samba/smb.conf\n"})
    assert any("once too often" in f.why for f in found if isinstance(f, Unread))


@settings(deadline=None)
@given(st.lists(st.sampled_from((DEBIAN + CHANGED).split("\n")) | st.text(max_size=30), max_size=15).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text)
