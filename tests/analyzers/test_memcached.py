from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import memcached
from analyzers._memcached_conf import conf_arguments, reading_command
from migrate.model import Finding, Foreground, Health, Listen, Place, Rebind, RunsAs, Secret, Unread, Uses
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

CONF = "/etc/memcached.conf"
# Debian 12's, without what stands between.
TEXT = """\
# memcached default config file
# Run memcached as a daemon.
-d
logfile /var/log/memcached.log
# -v
-m 64
-p 11211
-u memcache
-l 127.0.0.1
-l ::1
# -c 1024
-P /var/run/memcached/memcached.pid
"""
WRAPPER = "/usr/share/memcached/scripts/systemd-memcached-wrapper"
PROGRAMS: dict[str, Content] = {"/usr/bin/memcached": File("ELF", mode=0o755), "/bin/bash": File("ELF", mode=0o755)}


def analyzed(text: str = TEXT, command: str = f"{WRAPPER} {CONF}") -> list[Finding]:
    guest = FakeGuest({**PROGRAMS, CONF: text})
    return list(memcached.join(guest, [started("memcached", command)]))


def test_debian() -> None:
    found = analyzed()
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=Place(CONF, 7), service="memcached", port=11211, address="127.0.0.1"),
        Listen(seen_in=Place(CONF, 7), service="memcached", port=11211, address="::1"),
    ]
    assert [(f.seen_in.line, f.before, f.after) for f in found if isinstance(f, Rebind)] == [
        (9, "127.0.0.1", "0.0.0.0"),
        (10, "::1", "::"),
    ]
    assert [(f.user, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("memcache", 8)]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [(CONF, "config"), ("/run/memcached", "runtime")]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/11211"]
    assert [f.command for f in found if isinstance(f, Foreground)] == [reading_command("/usr/bin/memcached", CONF)]


def test_the_command_reads_the_file_as_the_wrapper_does(tmp_path: Path) -> None:
    conf = tmp_path / "memcached.conf"
    conf.write_text(TEXT + "-o modern # new\n")
    command = reading_command("printf '%s\\n'", str(conf))
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    assert shown == [word.text for word in conf_arguments(conf.read_text(), str(conf))]
    assert shown[-2:] == ["-o", "modern"]


def test_a_server_for_all_is_started_with_its_options() -> None:
    found = analyzed("-d\n-m 128\n-u memcache\n-vv\n-U 11211\n")
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/bin/memcached", "-m", "128", "-u", "memcache", "-v", "-v", "-U", "11211")
    ]
    assert [(f.port, f.protocol, f.address, f.assumed) for f in found if isinstance(f, Listen)] == [
        (11211, "tcp", "*", True),
        (11211, "udp", "*", False),
    ]


def test_red_hat_and_a_socket() -> None:
    sysconfig = "/etc/sysconfig/memcached"
    text = 'PORT="11212"\nUSER="memcached"\nMAXCONN="1024"\nCACHESIZE="64"\nOPTIONS="-l 127.0.0.1,[::1]:11213"\n'
    command = "/usr/bin/memcached -p ${PORT} -u ${USER} -m ${CACHESIZE} -c ${MAXCONN} $OPTIONS"
    guest = FakeGuest({**PROGRAMS, sysconfig: text})
    found = list(memcached.join(guest, [started("memcached", command, (sysconfig,), "memcached")]))
    assert [(f.address, f.port, f.seen_in.line) for f in found if isinstance(f, Listen)] == [
        ("127.0.0.1", 11212, 1),
        ("::1", 11213, 5),
    ]
    assert not [f for f in found if isinstance(f, Foreground)]  # it stays as it is
    socket = analyzed("-s /var/run/memcached/m.sock\n-d\n-u memcache\n")
    assert [(f.path, f.port) for f in socket if isinstance(f, Listen)] == [("/run/memcached/m.sock", None)]
    daemon = analyzed(command="/opt/bin/memcached -d -p 11299")
    assert [f.command for f in daemon if isinstance(f, Foreground)] == [("/opt/bin/memcached", "-p", "11299")]


def test_passwords_of_a_file() -> None:
    guest = FakeGuest({**PROGRAMS, "/etc/memcached.auth": "shop:tin-horse\n"})
    found = list(memcached.join(guest, [started("memcached", "/usr/bin/memcached -Y /etc/memcached.auth")]))
    assert [(f.id, f.seen_in) for f in found if isinstance(f, Secret)] == [
        ("memcached-auth-shop", Place("/etc/memcached.auth", 1))
    ]
    assert [f.path for f in found if isinstance(f, Uses)] == ["/etc/memcached.auth"]
    assert "horse" not in repr(found)


def test_a_missing_file_is_told() -> None:
    guest = FakeGuest(PROGRAMS)
    found = list(memcached.join(guest, [started("memcached", f"{WRAPPER} /etc/memcached_a.conf")]))
    assert [f.why for f in found if isinstance(f, Unread)] == [
        "/etc/memcached_a.conf is not there: memcached is started without options"
    ]


@given(st.text(st.sampled_from("-plsUduYaP/127.0:,[]'\"\\#\n \x00é"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_raises(text: str) -> None:
    assert all(f.seen_in.path for f in analyzed(text))


def test_names_that_are_no_paths() -> None:
    found = analyzed("-s here.sock\n-Y auth\n-P pid\n")
    assert not [f for f in found if isinstance(f, Listen | Secret)]
    assert [f.path for f in found if isinstance(f, Uses)] == [CONF]
    bare = list(memcached.join(FakeGuest(PROGRAMS), [started("memcached", f"{WRAPPER} x.conf")]))
    assert [f.seen_in.line for f in bare if isinstance(f, Unread)] == [3]
