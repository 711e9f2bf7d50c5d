from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import dovecot
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
    Secret,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File

MAIN = "/etc/dovecot/dovecot.conf"
MASTER = "/etc/dovecot/conf.d/10-master.conf"
# Debian 12's, with comments and untouched sections left out.
DEBIAN: dict[str, Content] = {
    MAIN: "!include_try /usr/share/dovecot/protocols.d/*.protocol\n\ndict {\n  #quota = mysql:/x\n}\n"
    "!include conf.d/*.conf\n!include_try local.conf\n",
    "/usr/share/dovecot/protocols.d/imapd.protocol": "protocols = $protocols imap\n",
    "/etc/dovecot/conf.d/10-auth.conf": "auth_mechanisms = plain\n!include auth-system.conf.ext\n",
    "/etc/dovecot/conf.d/auth-system.conf.ext": "passdb {\n  driver = pam\n}\nuserdb {\n  driver = passwd\n}\n",
    "/etc/dovecot/conf.d/10-mail.conf": "mail_location = mbox:~/mail:INBOX=/var/mail/%u\n",
    MASTER: "service imap-login {\n  inet_listener imap {\n    #port = 143\n  }\n  inet_listener imaps {\n  }\n}\n"
    "service pop3-login {\n  inet_listener pop3 {\n  }\n}\nservice lmtp {\n  unix_listener lmtp {\n  }\n}\n",
    "/etc/dovecot/conf.d/10-ssl.conf": "ssl = yes\nssl_cert = </etc/ssl/certs/mx.pem\nssl_key = </etc/ssl/mx.key\n",
    "/usr/sbin/dovecot": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/var/mail": Dir(),
}
# A company's server in one file: virtual users in PostgreSQL and a file, LMTP and SASL sockets for Postfix.
CHANGED = """\
protocols = imap lmtp sieve
listen = 127.0.0.1, ::1   # behind a proxy
log_path = /var/log/dovecot.log
mail_location = maildir:/var/vmail/%d/%n
ssl = no
service imap-login {
  inet_listener imap {
    port = 10143
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
  }
  inet_listener lmtp {
    address = 10.0.0.5
    port = 24
  }
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
  }
  unix_listener /run/off {
    mode = 0
  }
}
passdb {
  driver = sql
  args = /etc/dovecot/dovecot-sql.conf.ext
}
passdb {
  args = scheme=CRYPT username_format=%u /srv/mail/users
  driver = passwd-file
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/srv/homes/%u
}
submission_relay_host = smtp.corp.example
"""
SQL = "driver = pgsql\nconnect = host=db.corp.example dbname=mail user=mail password=s3cret\n"


def analyzed(files: dict[str, Content]) -> list[Finding]:
    return list(dovecot.analyze(FakeGuest(files)))


def changed(text: str = CHANGED, sql: str = SQL) -> list[Finding]:
    return analyzed({MAIN: text, "/etc/dovecot/dovecot-sql.conf.ext": sql})


def test_debian_as_installed() -> None:
    found = analyzed(DEBIAN)
    assert [(f.port, f.address, f.assumed, f.seen_in) for f in found if isinstance(f, Listen)] == [
        (143, "*", True, Place(MASTER, 2)),
        (993, "*", True, Place(MASTER, 5)),
    ]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/dovecot", "-F")]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/143"]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        ("/etc/dovecot", "config"),
        ("/etc/pam.d/dovecot", "config"),
        ("/etc/ssl/certs/mx.pem", "config"),
        ("/etc/ssl/mx.key", "config"),
        ("/var/mail", "data"),
        ("/run/dovecot", "runtime"),
    }
    assert not any(isinstance(f, Need | Unread | Rebind) for f in found)


def test_a_changed_server() -> None:
    found = changed()
    listens = {(f.port, f.address if f.port else f.path, f.seen_in.line) for f in found if isinstance(f, Listen)}
    assert listens == {
        (10143, "127.0.0.1", 8),
        (10143, "::1", 8),
        (None, "/run/dovecot/lmtp", 1),
        (None, "/var/spool/postfix/private/dovecot-lmtp", 15),
        (24, "10.0.0.5", 20),
        (4190, "127.0.0.1", 1),
        (4190, "::1", 1),
        (None, "/var/spool/postfix/private/auth", 24),
    }
    assert {(f.over, f.seen_in) for f in found if isinstance(f, Need)} == {
        ("tcp:db.corp.example:5432", Place("/etc/dovecot/dovecot-sql.conf.ext", 2)),
        ("tcp:smtp.corp.example:25", Place(MAIN, 43)),
    }
    assert {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)} == {
        ("/etc/dovecot", "config", None),
        ("/srv/mail/users", "config", 36),
        ("/srv/homes", "data", 41),
        ("/var/vmail", "data", 4),
        ("/var/log/dovecot.log", "log", 3),
        ("/run/dovecot", "runtime", None),
    }
    assert [(f.before, f.after) for f in found if isinstance(f, Rebind)] == [
        ("listen = 127.0.0.1, ::1", "listen = *, ::")
    ]
    assert "s3cret" not in repr(found)


def test_passwords_of_databases_and_users() -> None:
    users = "# partners\nann:{SHA512-CRYPT}$6$salt$hash:5000:5000::/srv\nbob:{PLAIN}t0psecret:5000\nno:\n"
    sql: Content = SQL
    found = analyzed({MAIN: CHANGED, "/etc/dovecot/dovecot-sql.conf.ext": sql, "/srv/mail/users": users})
    assert [(f.kind, f.value, str(f.seen_in)) for f in found if isinstance(f, Secret)] == [
        ("password", "s3cret", "/etc/dovecot/dovecot-sql.conf.ext:2"),
        ("password-hash", "$6$salt$hash", "/srv/mail/users:2"),
        ("password", "t0psecret", "/srv/mail/users:3"),
    ]
    assert "t0psecret" not in repr(found)


def test_sockets_and_files_of_databases() -> None:
    found = changed(sql="driver = pgsql\nconnect = host=/var/run/postgresql dbname=mail\n")
    assert "unix:/run/postgresql/.s.PGSQL.5432" in {f.over for f in found if isinstance(f, Need)}
    found = changed(sql="driver = sqlite\nconnect = /srv/mail/users.sqlite\n")
    assert ("/srv/mail/users.sqlite", "data") in {(f.path, f.role) for f in found if isinstance(f, Uses)}


def test_the_packages_of_protocols() -> None:
    files = {**DEBIAN, "/usr/lib/dovecot/imap": File("ELF", mode=0o755)}
    findings = [PackageFiles(seen_in=Place("/x"), package="dovecot-imapd", paths=("/usr/lib/dovecot/imap",))]
    found = list(dovecot.join(FakeGuest(files), findings))
    place = Place("/usr/share/dovecot/protocols.d/imapd.protocol", 1)
    assert found == [Requires(seen_in=place, service="dovecot", package="dovecot-imapd", says="protocol imap")]


def test_files_that_include_one_another_end() -> None:
    found = analyzed({MAIN: "!include conf.d/*\n", "/etc/dovecot/conf.d/a": "!include ../dovecot.conf\n" * 30})
    assert any("include one another" in f.why for f in found if isinstance(f, Unread))


def test_what_is_not_understood_is_told() -> None:
    found = analyzed({MAIN: "what is this\n"})
    assert [f.seen_in for f in found if isinstance(f, Unread)] == [Place(MAIN, 1)]


def test_nothing_without_dovecot() -> None:
    assert analyzed({}) == []
    assert list(dovecot.join(FakeGuest({}), [])) == []


@settings(deadline=None)
@given(st.lists(st.sampled_from((CHANGED + SQL).split("\n")) | st.text(max_size=30), max_size=15).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    changed(text, text)
