from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import proftpd
from migrate.model import (
    Caution,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    PackageFiles,
    Place,
    Rebind,
    RunsAs,
    Secret,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File

MAIN = "/etc/proftpd/proftpd.conf"
# Debian 12's template, with comments and the sections of modules left out.
DEBIAN = """\
Include /etc/proftpd/modules.conf
UseIPv6 on
ServerName "Debian"
ServerType standalone
#DefaultRoot ~
Port 21
#PassivePorts 49152 65534
<IfModule mod_ctrls.c>
ControlsEngine off
ControlsSocket /var/run/proftpd/proftpd.sock
</IfModule>
User proftpd
Group nogroup
TransferLog /var/log/proftpd/xferlog
SystemLog /var/log/proftpd/proftpd.log
Include /etc/proftpd/conf.d/
"""
MODULES = "ModulePath /usr/lib/proftpd\nLoadModule mod_sql.c\nLoadModule mod_sql_mysql.c\n"
CHANGED = """\
Port 2121
DefaultAddress 127.0.0.1
PassivePorts 40000 40001
DefaultRoot /srv/partners
AuthUserFile /srv/ftp.passwd
<IfModule mod_sql.c>
  SQLBackend mysql
  SQLConnectInfo users@db.corp.example:3307 proftpd s3cret
</IfModule>
<IfModule !mod_tls.c>
  ExtendedLog /var/log/proftpd/all.log
</IfModule>
<IfModule mod_tls.c>
  TLSRSACertificateFile /etc/ssl/none.pem
</IfModule>
<VirtualHost 10.0.0.5>
  Port 990
  DefaultRoot ~
</VirtualHost>
<Anonymous ~ftp>
  User ftp
  <Limit WRITE>
    DenyAll
  </Limit>
</Anonymous>
"""
FILES: dict[str, Content] = {
    "/usr/sbin/proftpd": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/etc/proftpd/modules.conf": MODULES,
    "/etc/proftpd/conf.d": Dir(),
    "/home/ann": Dir(),
    "/etc/passwd": "ftp:x:110:65534::/srv/ftp:/usr/sbin/nologin\n",
}


def analyzed(text: str, **more: Content) -> list[Finding]:
    return list(proftpd.analyze(FakeGuest({**FILES, MAIN: text, **more})))


def used(found: list[Finding]) -> set[tuple[str, str, int | None]]:
    return {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)}


def test_debian_as_installed() -> None:
    found = analyzed(DEBIAN)
    assert [f for f in found if isinstance(f, Listen)] == [Listen(seen_in=Place(MAIN, 6), service="proftpd", port=21)]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/proftpd", "--nodaemon", "-c", MAIN)]
    assert not any(isinstance(f, RunsAs) for f in found)  # a session becomes the user that logged in
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/21"]
    assert used(found) == {
        ("/etc/proftpd", "config", None),
        ("/run/proftpd", "runtime", 10),
        ("/var/log/proftpd/xferlog", "log", 14),
        ("/var/log/proftpd/proftpd.log", "log", 15),
        ("/home", "data", None),
    }
    assert ["PassivePorts" in f.says for f in found if isinstance(f, Caution)] == [True]


def test_a_changed_server() -> None:
    found = analyzed("Include /etc/proftpd/modules.conf\n" + CHANGED)
    assert [(f.port, f.address, f.seen_in.line) for f in found if isinstance(f, Listen)] == [
        (2121, "127.0.0.1", 2),
        (990, "10.0.0.5", 18),
        (40000, "*", 4),
        (40001, "*", 4),
    ]
    assert [(f.over, f.seen_in) for f in found if isinstance(f, Need)] == [("tcp:db.corp.example:3307", Place(MAIN, 9))]
    assert [(f.value, f.seen_in.line) for f in found if isinstance(f, Secret)] == [("s3cret", 9)]
    assert "s3cret" not in repr(found)
    assert used(found) == {
        ("/etc/proftpd", "config", None),
        ("/srv/partners", "data", 5),
        ("/srv/ftp.passwd", "config", 6),
        ("/var/log/proftpd/all.log", "log", 12),
        ("/srv/ftp", "data", 21),
    }
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("DefaultAddress 127.0.0.1", "DefaultAddress 0.0.0.0", 3)
    ]
    assert not any(isinstance(f, Unread) for f in found)


def test_sections_of_modules_that_are_not_loaded_are_passed_over() -> None:
    assert not any(isinstance(f, Need) for f in analyzed(CHANGED))


def test_the_packages_of_modules() -> None:
    findings = [
        PackageFiles(seen_in=Place("/x"), package="proftpd-mod-mysql", paths=("/usr/lib/proftpd/mod_sql_mysql.so",)),
        PackageFiles(
            seen_in=Place("/x"), package="proftpd-core", paths=("/usr/sbin/proftpd", "/usr/lib/proftpd/mod_sql.so")
        ),
    ]
    guest = FakeGuest({
        **FILES, MAIN: DEBIAN, "/usr/lib/proftpd/mod_sql_mysql.so": "ELF", "/usr/lib/proftpd/mod_sql.so": "ELF",
    })  # fmt: skip
    found = [(f.package, f.seen_in) for f in proftpd.join(guest, findings)]
    assert found == [("proftpd-mod-mysql", Place("/etc/proftpd/modules.conf", 3))]


def test_inetd_starts_it() -> None:
    found = analyzed("ServerType inetd\n")
    assert not any(isinstance(f, Foreground | Health) for f in found)
    assert any("inetd" in f.why for f in found if isinstance(f, Unread))


def test_files_that_include_one_another_end() -> None:
    found = analyzed("Include /etc/proftpd/*.conf\n" * 5)
    assert any("once too often" in f.why for f in found if isinstance(f, Unread))


def test_nothing_without_it() -> None:
    assert list(proftpd.analyze(FakeGuest({}))) == []
    assert list(proftpd.join(FakeGuest({}), [])) == []


@settings(deadline=None)
@given(st.lists(st.sampled_from((CHANGED + DEBIAN).split("\n")) | st.text(max_size=30), max_size=15).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text)
