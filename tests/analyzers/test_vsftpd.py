from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import vsftpd
from migrate.model import Caution, Finding, Foreground, Health, Listen, Place, Rebind, Unread, Uses
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

CONF = "/etc/vsftpd.conf"
# Debian 12's, without comments.
DEBIAN = """\
listen=NO
listen_ipv6=YES
anonymous_enable=NO
local_enable=YES
xferlog_enable=YES
secure_chroot_dir=/var/run/vsftpd/empty
pam_service_name=vsftpd
rsa_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
rsa_private_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
ssl_enable=NO
"""
CHANGED = """\
# uploads of the partners
listen=YES
listen_address=127.0.0.1
listen_port=2121
pasv_min_port=30000
pasv_max_port=30002
local_enable=YES
local_root=/srv/ftp/users/$USER/in
user_sub_token=$USER
userlist_enable=YES
userlist_file=/etc/vsftpd.partners
ssl_enable=YES
rsa_cert_file=/etc/ssl/ftp.pem
xferlog_enable=YES
xferlog_std_format=YES
background=YES
"""
FILES: dict[str, Content] = {
    "/usr/sbin/vsftpd": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/etc/pam.d/vsftpd": "auth required pam_unix.so\n",
    "/home/ann": Dir(),
    "/etc/passwd": "root:x:0:0::/root:/bin/bash\nftp:x:110:110:ftp daemon:/srv/ftp:/usr/sbin/nologin\n",
}


def analyzed(text: str, **more: Content) -> list[Finding]:
    return list(vsftpd.analyze(FakeGuest({**FILES, CONF: text, **more})))


def used(found: list[Finding]) -> set[tuple[str, str, int | None]]:
    return {(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses)}


def test_debian_as_installed() -> None:
    found = analyzed(DEBIAN)
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=Place(CONF, 2), service="vsftpd", port=21, assumed=True)
    ]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/vsftpd", CONF, "-obackground=NO")]
    assert used(found) == {
        (CONF, "config", None),
        ("/etc/pam.d/vsftpd", "config", 7),
        ("/var/log/vsftpd.log", "log", 5),
        ("/run/vsftpd/empty", "runtime", 6),
        ("/home", "data", 4),
    }
    assert ["pasv_min_port" in f.says for f in found if isinstance(f, Caution)] == [True]


def test_a_changed_server() -> None:
    found = analyzed(CHANGED)
    assert [(f.port, f.address, f.seen_in.line) for f in found if isinstance(f, Listen)] == [
        (2121, "127.0.0.1", 4),
        (30000, "*", 5),
        (30001, "*", 5),
        (30002, "*", 5),
    ]
    assert used(found) == {
        (CONF, "config", None),
        ("/etc/vsftpd.partners", "config", 11),
        ("/etc/ssl/ftp.pem", "config", 13),
        ("/var/log/xferlog", "log", 14),
        ("/srv/ftp", "data", None),
        ("/srv/ftp/users", "data", 8),
    }
    assert [(f.before, f.after, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [
        ("listen_address=127.0.0.1", "listen_address=0.0.0.0", 3)
    ]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/2121"]
    assert not any(isinstance(f, Unread) for f in found)


def test_many_passive_ports_are_told_as_a_range() -> None:
    found = analyzed(CHANGED.replace("30002", "39999"))
    assert [f.says for f in found if isinstance(f, Caution)] == [
        "passive data connections use the 10000 ports 30000 to 39999"
    ]


def test_without_an_address_inetd_starts_it() -> None:
    found = analyzed("anonymous_enable=YES\nanon_root=/srv/pub\n")
    assert not any(isinstance(f, Foreground | Listen) for f in found)
    assert any("inetd" in f.why for f in found if isinstance(f, Unread))
    assert ("/srv/pub", "data", 2) in used(found)


def test_red_hats_instances() -> None:
    files: dict[str, Content] = {
        **FILES,
        "/etc/vsftpd/vsftpd.conf": "listen=YES\n",
        "/etc/vsftpd/pub.conf": "listen=YES\nlisten_port=2100\n",
        "/etc/systemd/system/multi-user.target.wants/vsftpd@pub.service": Link("/lib/systemd/system/vsftpd@.service"),
    }
    found = list(vsftpd.analyze(FakeGuest(files)))
    assert [(f.service, f.port) for f in found if isinstance(f, Listen)] == [("vsftpd", 21), ("vsftpd@pub", 2100)]


def test_lines_that_stop_it_are_told() -> None:
    found = analyzed("listen=YES\nlisten_port = 21\n")
    assert Place(CONF, 2) in {f.seen_in for f in found if isinstance(f, Unread)}


@settings(deadline=None)
@given(st.lists(st.sampled_from(CHANGED.split("\n")) | st.text(max_size=30), max_size=12).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    analyzed(text)
