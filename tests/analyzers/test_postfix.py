from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import postfix
from analyzers._postfix_conf import expand, next_hop, parse_main, parse_master, words_of
from analyzers._postfix_tables import Table, tables
from migrate.model import (
    Caution,
    Covers,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    PackageFiles,
    Place,
    Rebind,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File

MAIN, MASTER = "/etc/postfix/main.cf", "/etc/postfix/master.cf"
# Debian 12's, as its package makes it.
DEBIAN = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
#myorigin = /etc/mailname
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtp_tls_CApath=/etc/ssl/certs
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
myhostname = forty
alias_maps = hash:/etc/aliases
mydestination = $myhostname, localdomain, localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
inet_interfaces = all
"""
SERVICES = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
#  -o syslog_name=postfix/submission
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
lmtp      unix  -       -       y       -       -       lmtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
postlog   unix-dgram n  -       n       -       1       postlogd
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
"""
# A mail server of a company: virtual domains in a database, Dovecot, rspamd, a relay host.
CHANGED = """\
myhostname = mx1.shop.example
relayhost =
    [smtp.corp.example]:submission
virtual_transport = lmtp:unix:private/dovecot-lmtp
virtual_mailbox_maps = proxy:mysql:/etc/postfix/sql/users.cf
virtual_mailbox_domains = lmdb:/srv/mail/domains
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_milters = inet:localhost:11332,
# the signer
    unix:/opendkim/opendkim.sock
non_smtpd_milters = $smtpd_milters
smtpd_recipient_restrictions = permit_mynetworks
    check_policy_service inet:127.0.0.1:10023
inet_interfaces = loopback-only
queue_directory = /srv/spool
maillog_file = /var/log/postfix.log
"""
PROGRAMS: dict[str, Content] = {
    "/usr/sbin/postfix": File("ELF", mode=0o755),
    "/usr/sbin/postconf": File("ELF", mode=0o755),
    "/usr/lib/postfix/sbin/postlogd": File("ELF", mode=0o755),
    "/usr/lib/postfix/sbin/postfix-script": "case $1 in\nstart-fg) ;;\n",
    "/lib/systemd/system-generators/postfix-instance-generator": File("#!/bin/sh\n", mode=0o755),
    "/var/mail": Dir(),
    "/etc/aliases": "root: ops\n",
    "/etc/aliases.db": b"\0",
}
USERS = "hosts = unix:/run/mysqld/mysqld.sock db2.corp.example\nuser = mail\npassword = s3cret\n"


def analyzed(main: str = DEBIAN, master: str = SERVICES, **more: Content) -> list[Finding]:
    return list(postfix.analyze(FakeGuest({**PROGRAMS, MAIN: main, MASTER: master, **more})))


def needs(found: list[Finding]) -> list[tuple[str, Place]]:
    return [(f.over, f.seen_in) for f in found if isinstance(f, Need)]


def test_debian_as_installed() -> None:
    found = analyzed()
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=Place(MASTER, 2), service="postfix@-", port=25, address="*")
    ]
    assert [f.units for f in found if isinstance(f, Covers)] == [("postfix", "postfix@", "postfix@-")]
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/bin/sh", "-c", "/usr/sbin/postconf maillog_file=/dev/stdout && exec /usr/sbin/postfix start-fg")
    ]
    assert [f.command for f in found if isinstance(f, Health)] == [("/usr/sbin/postfix", "status")]
    assert {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)} == {
        ("/etc/postfix", "config", None),
        ("/var/spool/postfix", "data", None),
        ("/var/lib/postfix", "cache", None),
        ("/var/mail", "data", 11),
        ("/etc/aliases", "config", 10),
        ("/etc/aliases.db", "config", 10),
        ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "config", 5),
        ("/etc/ssl/private/ssl-cert-snakeoil.key", "config", 6),
    }
    assert needs(found) == []
    assert not any(isinstance(f, Unread | Rebind) for f in found)


def test_what_a_mail_server_talks_to() -> None:
    found = analyzed(CHANGED, **{"/etc/postfix/sql/users.cf": USERS})
    assert set(needs(found)) == {
        ("tcp:smtp.corp.example:587", Place(MAIN, 3)),
        ("unix:/srv/spool/private/dovecot-lmtp", Place(MAIN, 4)),
        ("unix:/srv/spool/private/auth", Place(MAIN, 8)),
        ("tcp:localhost:11332", Place(MAIN, 9)),
        ("unix:/srv/spool/opendkim/opendkim.sock", Place(MAIN, 9)),
        ("tcp:localhost:11332", Place(MAIN, 12)),
        ("unix:/srv/spool/opendkim/opendkim.sock", Place(MAIN, 12)),
        ("tcp:127.0.0.1:10023", Place(MAIN, 14)),
        ("unix:/run/mysqld/mysqld.sock", Place("/etc/postfix/sql/users.cf", 1)),
        ("tcp:db2.corp.example:3306", Place("/etc/postfix/sql/users.cf", 1)),
    }
    assert "s3cret" not in repr(found)
    used = {(f.path, f.role) for f in found if isinstance(f, Uses)}
    assert {("/srv/spool", "data"), ("/var/log/postfix.log", "log"), ("/srv/mail/domains", "config")} <= used


def test_a_milters_path_without_chroot_is_the_machines() -> None:
    master = SERVICES.replace("smtp      inet  n       -       y", "smtp      inet  n       -       n")
    found = analyzed("smtpd_milters = unix:/run/opendkim/opendkim.sock\n", master)
    assert needs(found) == [("unix:/run/opendkim/opendkim.sock", Place(MAIN, 1))]


def test_loopback_only_is_opened_by_one_line() -> None:
    found = analyzed(CHANGED)
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("inet_interfaces = loopback-only", "inet_interfaces = all", 15)
    ]
    assert any("mynetworks" in f.says for f in found if isinstance(f, Caution))
    assert [f.address for f in found if isinstance(f, Listen)] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("name", "address", "port"),
    [("submission", "*", 587), ("127.0.0.1:10025", "127.0.0.1", 10025), ("[::1]:smtps", "::1", 465)],
)
def test_services_of_master_cf(name: str, address: str, port: int) -> None:
    found = analyzed(master=f"{name} inet n - n - - smtpd\n  -o content_filter=smtp:[scan.example]:10024\n")
    assert [(f.address, f.port) for f in found if isinstance(f, Listen)] == [(address, port)]
    assert needs(found) == [("tcp:scan.example:10024", Place(MASTER, 2))]


def test_the_chroot_is_filled_first() -> None:
    found = analyzed(DEBIAN, SERVICES, **{"/usr/lib/postfix/configure-instance.sh": File("#!/bin/sh\n", mode=0o755)})
    command = next(f.command for f in found if isinstance(f, Foreground))
    assert command[2].startswith("/usr/lib/postfix/configure-instance.sh - && /usr/sbin/postconf ")


def test_a_port_nobody_knows_is_told() -> None:
    assert any("zabbix" in f.why for f in analyzed(master="zabbix inet n - n - - smtpd\n") if isinstance(f, Unread))


def test_older_postfix_has_no_log_on_standard_output() -> None:
    files = {k: v for k, v in PROGRAMS.items() if "postlogd" not in k and "generator" not in k}
    found = list(postfix.analyze(FakeGuest({**files, MAIN: DEBIAN, MASTER: SERVICES})))
    assert [(f.service, f.command) for f in found if isinstance(f, Foreground)] == [
        ("postfix", ("/usr/sbin/postfix", "start-fg"))
    ]
    files["/usr/lib/postfix/sbin/postfix-script"] = "start)\n"
    assert not any(isinstance(f, Foreground) for f in postfix.analyze(FakeGuest({**files, MAIN: DEBIAN})))


def test_packages_of_tables_and_pipes() -> None:
    guest = FakeGuest({**PROGRAMS, MAIN: CHANGED, MASTER: SERVICES, "/usr/bin/maildrop": File("ELF", mode=0o755)})
    place = Place("/var/lib/dpkg/status")
    findings: list[Finding] = [
        Package(seen_in=place, name="postfix-mysql", version="3", architecture="amd64", manager="dpkg", chosen=True),
        PackageFiles(seen_in=place, package="maildrop", paths=("/usr/bin/maildrop",)),
    ]
    found = list(postfix.join(guest, findings))
    assert [(f.package, f.seen_in) for f in found] == [
        ("postfix-mysql", Place(MAIN, 5)),
        ("maildrop", Place(MASTER, 12)),
    ]


def test_nothing_without_postfix() -> None:
    assert list(postfix.analyze(FakeGuest({}))) == []
    assert list(postfix.join(FakeGuest({}), [])) == []


def test_lines_and_values() -> None:
    main = parse_main("a = 1\n  2\n\n# c\n\t3\nb=x\na = last\n")
    assert (main["a"][0], main["b"][0]) == ("last", "x")
    values = {"a": "$b", "b": "two", "loop": "$loop$loop"}
    assert expand("${a} $(b) $$ ${c:none} ${a?yes} $c", values) == "two two $ none yes $c"
    assert len(expand("$loop", values)) <= 1 << 17
    entry = next(parse_master("x inet n - y - - smtpd -v\n -o a=b -o { c = d e }\n"))
    assert (entry.words, entry.options, entry.chroot) == (("smtpd", "-v"), (("a", "b"), ("c", "d e")), True)
    assert words_of("a, b\tc { unix:x, d=1 }") == ["a", "b", "c", "unix:x, d=1"]
    assert next_hop("[::1]:25", 25, {}) == ("::1", 25)
    assert next_hop("host:nothing", 25, {}) is None
    assert tables("proxy:pgsql:/a.cf,cidr:/b") == [Table("pgsql", "/a.cf"), Table("cidr", "/b")]


@settings(deadline=None)
@given(st.lists(st.sampled_from((CHANGED + SERVICES).split("\n")) | st.text(max_size=30), max_size=12).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text, text, **{"/etc/postfix/sql/users.cf": text})
