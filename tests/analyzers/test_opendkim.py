from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import opendkim
from migrate.model import Finding, Foreground, Health, Listen, Need, Place, Rebind, RunsAs, Unread, Uses
from tests.analyzers.fake import Content, FakeGuest, File

MAIN = "/etc/opendkim.conf"
# Debian 12's, without comments.
DEBIAN = """\
Syslog\t\t\tyes
Canonicalization\trelaxed/simple
UserID\t\t\topendkim
UMask\t\t\t007
Socket\t\t\tlocal:/run/opendkim/opendkim.sock
PidFile\t\t\t/run/opendkim/opendkim.pid
TrustAnchorFile\t\t/usr/share/dns/root.key
"""
CHANGED = """\
UserID opendkim:mail
Socket inet:8891@localhost
KeyTable refile:/etc/opendkim/key.table
SigningTable refile:/etc/opendkim/signing.table
InternalHosts 10.0.0.0/8,127.0.0.1
ExemptDomains dsn:mysql://dkim:s3cret@3307+db.corp.example/mail/table
"""
KEYS = "# keys\nmain shop.example:2024:/etc/dkimkeys/shop.private\ninline shop.example:x:MIIEsecret\n"
FILES: dict[str, Content] = {
    "/usr/sbin/opendkim": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/etc/opendkim/key.table": KEYS,
}


def analyzed(text: str, **more: Content) -> list[Finding]:
    return list(opendkim.analyze(FakeGuest({**FILES, MAIN: text, **more})))


def test_debian_as_installed() -> None:
    found = analyzed(DEBIAN)
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=Place(MAIN, 5), service="opendkim", path="/run/opendkim/opendkim.sock")
    ]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/opendkim", "-f", "-x", MAIN)]
    assert [(f.user, f.group, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("opendkim", "", 3)]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {(MAIN, "config"), ("/run/opendkim", "runtime")}
    assert not any(isinstance(f, Need | Unread | Rebind | Health) for f in found)


def test_a_changed_one() -> None:
    found = analyzed(CHANGED)
    assert [(f.port, f.address) for f in found if isinstance(f, Listen)] == [(8891, "localhost")]
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("Socket inet:8891@localhost", "Socket inet:8891", 2)
    ]
    assert {(f.path, f.role, str(f.seen_in)) for f in found if isinstance(f, Uses)} == {
        (MAIN, "config", MAIN),
        ("/etc/opendkim/key.table", "config", f"{MAIN}:3"),
        ("/etc/opendkim/signing.table", "config", f"{MAIN}:4"),
        ("/etc/dkimkeys/shop.private", "config", "/etc/opendkim/key.table:2"),
    }
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [("tcp:db.corp.example:3307", 6)]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/8891"]
    assert not {"s3cret", "MIIEsecret"} & {word for f in found for word in ("s3cret", "MIIEsecret") if word in repr(f)}


def test_includes_end() -> None:
    found = analyzed("Include /etc/opendkim.conf\n")
    assert any("include" in f.why for f in found if isinstance(f, Unread))


def test_nothing_without_it() -> None:
    assert list(opendkim.analyze(FakeGuest({}))) == []


@settings(deadline=None)
@given(st.lists(st.sampled_from((CHANGED + DEBIAN).split("\n")) | st.text(max_size=30), max_size=12).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text, **{"/etc/opendkim/key.table": text})
