from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import openldap
from analyzers._slapd_conf import parse_ldif
from migrate.model import (
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Secret,
    Service,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File

DEFAULTS = "/etc/default/slapd"
DATABASE = "/etc/ldap/slapd.d/cn=config/olcDatabase={1}mdb.ldif"
# Debian 12's, with comments left out.
OPTIONS = 'SLAPD_CONF=\nSLAPD_USER="openldap"\nSLAPD_GROUP="openldap"\nSLAPD_SERVICES="ldap:/// ldapi:///"\nSLAPD_OPTIONS=""\n'
ENTRY = """\
# AUTO-GENERATED FILE - DO NOT EDIT!! Use ldapmodify.
dn: olcDatabase={1}mdb
olcDatabase: {1}mdb
olcDbDirectory: /var/lib/ldap
olcSuffix: dc=shop,dc=example
olcRootPW:: e1NTSEF9czNjcmV0
olcSyncrepl: {0}rid=001 provider=ldap://ldap1.corp.example bindmethod=simple
  credentials=s3cret searchbase="dc=shop"
olcSyncrepl: {1}rid=002 provider=ldaps://ldap2.corp.example:1636 bindmethod=simple
"""
FILES: dict[str, Content] = {
    DEFAULTS: OPTIONS,
    "/etc/init.d/slapd": File("#!/bin/sh\n", mode=0o755),
    "/usr/sbin/slapd": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/etc/ldap/slapd.d/cn=config.ldif": "dn: cn=config\nolcLogLevel: stats sync\n"
    "olcTLSCertificateFile: /etc/ssl/ldap.pem\n",
    "/etc/ldap/slapd.d/cn=config/cn=module{0}.ldif": "olcModulePath: /usr/lib/ldap\nolcModuleLoad: {0}pw-sha2.la\n",
    DATABASE: ENTRY,
}
CONF = """\
include /etc/openldap/schema/core.schema
pidfile /var/run/slapd.pid
TLSCertificateKeyFile /etc/pki/ldap.key
database mdb
suffix "dc=corp"
directory
    /srv/ldap
database ldap
uri "ldap://old.corp.example:3890/"
"""


def analyzed(**changed: Content) -> list[Finding]:
    return list(openldap.analyze(FakeGuest({**FILES, **changed})))


def test_debian_as_installed() -> None:
    found = analyzed()
    assert [(f.port, f.address, f.path, f.seen_in) for f in found if isinstance(f, Listen)] == [
        (389, "*", "", Place(DEFAULTS, 4)),
        (None, "*", "/run/slapd/ldapi", Place(DEFAULTS, 4)),
    ]
    command = "/usr/sbin/slapd|-h|ldap:/// ldapi:///|-g|openldap|-u|openldap|-F|/etc/ldap/slapd.d|-d|stats,sync"
    assert [f.command for f in found if isinstance(f, Foreground)] == [tuple(command.split("|"))]
    assert [(f.user, f.group) for f in found if isinstance(f, RunsAs)] == [("openldap", "openldap")]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/389"]
    assert {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)} == {
        ("/etc/ldap/slapd.d", "config", None),
        ("/etc/ssl/ldap.pem", "config", 3),
        ("/var/lib/ldap", "data", 4),
        (DEFAULTS, "config", None),
        ("/run/slapd", "runtime", 4),
    }
    assert "the mdb database of dc=shop,dc=example" in {f.says for f in found if isinstance(f, Uses)}


def test_where_it_copies_from() -> None:
    found = analyzed()
    assert [(f.over, f.seen_in) for f in found if isinstance(f, Need)] == [
        ("tcp:ldap1.corp.example:389", Place(DATABASE, 7)),
        ("tcp:ldap2.corp.example:1636", Place(DATABASE, 9)),
    ]
    assert [(f.value, f.seen_in.line) for f in found if isinstance(f, Secret)] == [("s3cret", 7)]
    assert "s3cret" not in repr(found)


def test_loopback_is_opened() -> None:
    text = OPTIONS.replace("ldap:/// ldapi:///", "ldap://127.0.0.1:3389/ ldaps://[::1]/")
    found = analyzed(**{DEFAULTS: text})
    assert [(f.port, f.address) for f in found if isinstance(f, Listen)] == [(3389, "127.0.0.1"), (636, "::1")]
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("ldap://127.0.0.1:3389/ ldaps://[::1]/", "ldap://:3389/ ldaps:///", 4)
    ]


def test_red_hat_with_slapd_conf() -> None:
    guest = FakeGuest({"/etc/openldap/slapd.conf": CONF, "/usr/sbin/slapd": File("ELF", mode=0o755)})
    found = list(openldap.analyze(guest))
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        ("/etc/openldap/slapd.conf", "config"),
        ("/etc/openldap/schema/core.schema", "config"),
        ("/etc/pki/ldap.key", "config"),
        ("/srv/ldap", "data"),
    }
    assert [f.over for f in found if isinstance(f, Need)] == ["tcp:old.corp.example:3890"]
    unit = "/usr/lib/systemd/system/slapd.service"
    service = Service(
        seen_in=Place(unit, 9), id="slapd", manager="systemd", enabled=True, unit=unit, type="forking",
        command=("/usr/sbin/slapd", "-u", "ldap", "-h", "ldaps:/// ldapi:///"),
    )  # fmt: skip
    found = list(openldap.join(guest, [service]))
    assert [(f.port, f.path) for f in found if isinstance(f, Listen)] == [(636, ""), (None, "/run/ldapi")]
    assert [f.command[-2:] for f in found if isinstance(f, Foreground)] == [("-d", "stats")]
    assert [f.user for f in found if isinstance(f, RunsAs)] == ["ldap"]


def test_modules_of_other_packages() -> None:
    findings = [
        PackageFiles(seen_in=Place("/x"), package="slapd-contrib", paths=("/usr/lib/ldap/pw-sha2.so",)),
        PackageFiles(seen_in=Place("/x"), package="slapd", paths=("/usr/sbin/slapd",)),
    ]
    guest = FakeGuest({**FILES, "/usr/lib/ldap/pw-sha2.so": "ELF"})
    assert [f.package for f in openldap.join(guest, findings) if isinstance(f, Requires)] == ["slapd-contrib"]


def test_nothing_without_slapd() -> None:
    assert list(openldap.analyze(FakeGuest({"/etc/ldap/ldap.conf": "URI ldap://x\n"}))) == []
    assert list(openldap.join(FakeGuest({}), [])) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n  c\n", [(1, "a", "b c")]),
        ("#x: y\na:: aGk=\n", [(2, "a", "hi")]),
        ("a:: ???\n", [(1, "a", "")]),
        (" a: b\n", []),
    ],
)
def test_ldif(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert list(parse_ldif(text)) == expected


def test_a_file_that_includes_another_for_ever_ends() -> None:
    files: dict[str, Content] = {
        "/etc/openldap/slapd.conf": "include /etc/a\n",
        "/etc/a": "include /etc/openldap/slapd.conf\n",
    }
    assert list(openldap.analyze(FakeGuest(files)))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from((ENTRY + OPTIONS + CONF).split("\n")) | st.text(max_size=30), max_size=12).map("\n".join)
)
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(**{DATABASE: text, DEFAULTS: text})
    list(openldap.analyze(FakeGuest({"/etc/openldap/slapd.conf": text})))
