from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import tftpd
from migrate.model import Finding, Foreground, Listen, Place, Rebind, Service, Unread, Uses
from tests.analyzers.fake import FakeGuest, File

DEFAULTS = "/etc/default/tftpd-hpa"
SCRIPT = "/etc/init.d/tftpd-hpa"
# Debian 12's.
TEXT = """\
# /etc/default/tftpd-hpa

TFTP_USERNAME="tftp"
TFTP_DIRECTORY="/srv/tftp"
TFTP_ADDRESS=":69"
TFTP_OPTIONS="--secure"
"""


def joined(text: str = TEXT, *command: str) -> list[Finding]:
    guest = FakeGuest({"/usr/sbin/in.tftpd": File("ELF", mode=0o755), DEFAULTS: text, SCRIPT: "#! /bin/sh\n"})
    service = Service(seen_in=Place(SCRIPT, 1), id="tftpd-hpa", manager="sysv", enabled=True, unit=SCRIPT,
                      command=command or (SCRIPT, "start"))  # fmt: skip
    return list(tftpd.join(guest, [service]))


def test_debians() -> None:
    assert joined() == [
        Foreground(
            seen_in=Place(DEFAULTS, 4),
            service="tftpd-hpa",
            command=("/usr/sbin/in.tftpd", "--foreground", "--user", "tftp", "--address", ":69", "--secure",
                     "/srv/tftp"),
            says="in.tftpd stays in the foreground with --foreground; it logs to the system's log alone (tftpd(8))",
        ),
        Listen(seen_in=Place(DEFAULTS, 5), service="tftpd-hpa", port=69, protocol="udp"),
        Uses(seen_in=Place(DEFAULTS, 4), service="tftpd-hpa", path="/srv/tftp", role="data",
             says="the files that it gives out"),
        Uses(seen_in=Place(DEFAULTS), service="tftpd-hpa", path=DEFAULTS, role="config", says="its script reads it"),
    ]  # fmt: skip


def test_loopback_only_and_a_map() -> None:
    text = TEXT.replace(":69", "127.0.0.1:1069").replace("--secure", "--secure -m /etc/tftpd.map --create")
    found = joined(text)
    assert [(f.address, f.port) for f in found if isinstance(f, Listen)] == [("127.0.0.1", 1069)]
    assert [(f.before, f.after, f.seen_in) for f in found if isinstance(f, Rebind)] == [
        ("127.0.0.1:1069", ":1069", Place(DEFAULTS, 5))
    ]
    assert ("/etc/tftpd.map", "config") in {(f.path, f.role) for f in found if isinstance(f, Uses)}


def test_red_hats_unit() -> None:
    found = joined("", "/usr/sbin/in.tftpd", "-s", "-P", "/run/t.pid", "-l", "/var/lib/tftpboot")
    assert [f.command for f in found if isinstance(f, Foreground)] == [
        ("/usr/sbin/in.tftpd", "--foreground", "-s", "/var/lib/tftpboot")
    ]
    assert [(f.port, f.assumed) for f in found if isinstance(f, Listen)] == [(69, True)]
    assert [f.path for f in found if isinstance(f, Uses)] == ["/var/lib/tftpboot"]


def test_an_address_that_is_none_is_told() -> None:
    found = joined(TEXT.replace(":69", "a:b:c"))
    assert [f.seen_in.line for f in found if isinstance(f, Unread)] == [5]
    assert not any(isinstance(f, Listen) for f in found)


SAMPLES = st.sampled_from(
    ["TFTP_ADDRESS=", "TFTP_ADDRESS=:0", "TFTP_OPTIONS=-P", 'TFTP_OPTIONS="-a', "TFTP_DIRECTORY=/"]
)


@settings(deadline=None)
@given(st.lists(SAMPLES | st.text(max_size=20), max_size=6).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(text)
    joined("", "/usr/sbin/in.tftpd", *text.split())
