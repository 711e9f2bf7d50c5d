from __future__ import annotations

import msgspec
import pytest

from analyzers._argv import Word
from analyzers._invoked import getopt, invocations
from analyzers._reading import Reader
from migrate.model import EnvironmentFile, Place, Service, Variable
from tests.analyzers.fake import FakeGuest

UNIT = "/usr/lib/systemd/system/memcached.service"
SYSCONFIG = "/etc/sysconfig/memcached"


def test_variables_of_files_win_and_are_split_as_systemd_does() -> None:
    service = Service(
        seen_in=Place(UNIT, 3),
        id="memcached",
        manager="systemd",
        enabled=True,
        unit=UNIT,
        command=("/usr/bin/memcached", "-p", "${PORT}", "-m", "${SIZE}", "$OPTIONS", "$NOTHING", "-v"),
        environment=(Variable("PORT", "1", Place(UNIT, 2)), Variable("SIZE", "32", Place(UNIT, 2))),
        environment_files=(EnvironmentFile(SYSCONFIG, optional=True, seen_in=Place(UNIT, 1)),),
    )
    guest = FakeGuest(
        {
            UNIT: "[Service]\nEnvironment=\nExecStart=/usr/bin/memcached -p ${PORT} -m ${SIZE} \\\n $OPTIONS -v\n",
            SYSCONFIG: '# ours\nPORT="11211"\nOPTIONS="-l 127.0.0.1,::1"\n',
        }
    )
    found = next(invocations(Reader(guest, "x"), [service], ("memcached",)))
    assert found.arguments == (
        Word("-p", Place(UNIT, 3)),
        Word("11211", Place(SYSCONFIG, 2)),
        Word("-m", Place(UNIT, 3)),
        Word("32", Place(UNIT, 2)),
        Word("-l", Place(SYSCONFIG, 3)),
        Word("127.0.0.1,::1", Place(SYSCONFIG, 3)),
        Word("-v", Place(UNIT, 4)),
    )
    assert list(invocations(Reader(guest, "x"), [service], ("redis-server",))) == []
    off = msgspec.structs.replace(service, enabled=False)
    assert list(invocations(Reader(guest, "x"), [off], ("memcached",))) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-p 1 -v", [("p", "1"), ("v", "")]),
        ("-p1 -vvp 2", [("p", "1"), ("v", ""), ("v", ""), ("p", "2")]),
        ("--port=1 --port 2 --verbose", [("p", "1"), ("p", "2"), ("verbose", "")]),
        ("-- x -p", [("", ""), ("p", "")]),
    ],
)
def test_getopt(words: str, found: list[tuple[str, str]]) -> None:
    arguments = [Word(word, Place("/x", 1)) for word in words.split()]
    assert [(o.name, o.value) for o in getopt(arguments, "p", {"port": "p"})] == found
