from __future__ import annotations

from analyzers import beanstalkd
from migrate.model import Finding, Health, Listen, Place, Rebind, RunsAs, Unread, Uses
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

DEFAULTS = "/etc/default/beanstalkd"
# Debian 12's, trimmed.
TEXT = """\
## Defaults for the beanstalkd init script
BEANSTALKD_LISTEN_ADDR=127.0.0.1
BEANSTALKD_LISTEN_PORT=11300
#BEANSTALKD_EXTRA="-b /var/lib/beanstalkd"
"""
COMMAND = "/usr/bin/beanstalkd -l ${BEANSTALKD_LISTEN_ADDR} -p ${BEANSTALKD_LISTEN_PORT} $BEANSTALKD_EXTRA"
UNIT = Place("/usr/lib/systemd/system/beanstalkd.service", 3)


def analyzed(text: str = TEXT, command: str = COMMAND) -> list[Finding]:
    files: dict[str, Content] = {DEFAULTS: text, "/bin/bash": File("ELF", mode=0o755)}
    return list(beanstalkd.join(FakeGuest(files), [started("beanstalkd", command, (DEFAULTS,), "beanstalkd")]))


def test_debians_defaults() -> None:
    assert analyzed() == [
        Listen(seen_in=Place(DEFAULTS, 3), service="beanstalkd", port=11300, address="127.0.0.1"),
        Rebind(
            seen_in=Place(DEFAULTS, 2),
            service="beanstalkd",
            before="127.0.0.1",
            after="0.0.0.0",
            says="it listens on 127.0.0.1 only",
        ),
        Health(
            seen_in=Place(DEFAULTS, 3),
            service="beanstalkd",
            command=("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/11300"),
            says="it accepts connections",
        ),
    ]


def test_a_binlog_is_data() -> None:
    kept = [f for f in analyzed(TEXT.replace("#BEAN", "BEAN")) if isinstance(f, Uses)]
    assert [(f.path, f.role, f.seen_in) for f in kept] == [("/var/lib/beanstalkd", "data", Place(DEFAULTS, 4))]


def test_options_of_a_unit_of_ones_own() -> None:
    found = analyzed(command="/usr/local/bin/beanstalkd -u queue -b/srv/queue")
    assert found[0] == Listen(seen_in=UNIT, service="beanstalkd", port=11300, assumed=True)
    assert [f.user for f in found if isinstance(f, RunsAs)] == ["queue"]
    assert [f.path for f in found if isinstance(f, Uses)] == ["/srv/queue"]
    socket = analyzed(command="/usr/bin/beanstalkd -l unix:/var/run/beanstalkd.sock -p 11300")
    assert [f.path for f in socket if isinstance(f, Listen)] == ["/run/beanstalkd.sock"]
    assert not [f for f in socket if isinstance(f, Rebind | Health)]
    odd = analyzed(command="/usr/bin/beanstalkd -p x")
    assert [f.why for f in odd if isinstance(f, Unread)] == ["-p x is no port"]
