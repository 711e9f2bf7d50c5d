"""Jobs of upstart."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import upstart
from analyzers._upstartjob import Event, holds, parse
from migrate.model import Place, Service, Setting, Unread, Uses, Variable
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_init import program

BASE: dict[str, Content] = {
    "/sbin/init": program(b"com.ubuntu.Upstart"),
    # Ubuntu 14.04's, shortened
    "/etc/init/mountall.conf": "start on startup\nemits filesystem\ntask\nscript\n  exec mountall\nend script\n",
    "/etc/init/rc-sysinit.conf": "start on (filesystem and static-network-up) or failsafe-boot\nstop on runlevel\n"
    "env DEFAULT_RUNLEVEL=2\nenv RUNLEVEL=\ntask\nscript\n  telinit $DEFAULT_RUNLEVEL\nend script\n",
    "/etc/init/rc.conf": "start on runlevel [0123456]\nexport RUNLEVEL\ntask\nexec /etc/init.d/rc $RUNLEVEL\n",
}
SHOP = """\
# takes orders
description "Order taker"
author "nobody"

start on (runlevel [2345] and
          started postgresql)
stop on runlevel [!2345]

respawn
respawn limit 10 5
umask 027
limit nofile 1024 4096
limit core unlimited unlimited
nice 5
kill timeout 30
kill signal INT
chdir /srv/shop
setuid shop
setgid web
env MODE=production
env NAME="two words"
console log

pre-start exec /usr/bin/install -d /run/shop
pre-start script
    mkdir -p /run/other
end script

exec /usr/bin/shopd --mode $MODE \\
    --name "$NAME" >> /var/log/shop.log 2>&1
"""
QUEUE = """\
start on filesystem
expect fork
script
    [ -r /etc/default/queue ] && . /etc/default/queue
    export TZ=UTC
    exec start-stop-daemon --start --chuid queue:q --chdir /var/spool/queue --exec /usr/bin/queued -- $OPTS
end script
"""


def services(files: Mapping[str, Content], base: Mapping[str, Content] = BASE) -> dict[str, Service]:
    return {one.id: one for one in upstart.analyze(FakeGuest({**base, **files})) if isinstance(one, Service)}


def test_a_job_whole() -> None:
    path = "/etc/init/shop.conf"
    files: dict[str, Content] = {path: SHOP, "/etc/init/postgresql.conf": "start on filesystem\nexec postgres\n"}
    found = [f for f in upstart.analyze(FakeGuest({**BASE, **files})) if f.seen_in.path == path]
    assert found[0] == Service(
        id="shop",
        manager="upstart",
        enabled=True,
        unit=path,
        type="simple",
        description="Order taker",
        command=("/usr/bin/shopd", "--mode", "production", "--name", "two words"),
        before=(("/bin/sh", "-e", "-c", "exec /usr/bin/install -d /run/shop"),),
        user="shop",
        group="web",
        working_directory="/srv/shop",
        environment=(
            Variable("MODE", "production", Place(path, 20)),
            Variable("NAME", "two words", Place(path, 21)),
        ),
        settings=(
            Setting("KillSignal", "SIGINT", Place(path, 16)),
            Setting("LimitCORE", "infinity", Place(path, 13)),
            Setting("LimitNOFILE", "1024:4096", Place(path, 12)),
            Setting("Nice", "5", Place(path, 14)),
            Setting("Restart", "always", Place(path, 9)),
            Setting("StandardOutput", "append:/var/log/shop.log", Place(path, 29)),
            Setting("TimeoutStopSec", "30", Place(path, 15)),
            Setting("UMask", "027", Place(path, 11)),
            Setting("WantedBy", "(runlevel [2345] and started postgresql)", Place(path, 5)),
        ),
        after=("postgresql",),
        seen_in=Place(path, 29),
    )
    assert found[1:] == [
        Uses(
            seen_in=Place(path, 29),
            service="shop",
            path="/var/log/shop.log",
            role="log",
            says="its output is sent there",
        )
    ]


def test_a_script_and_what_it_reads_in() -> None:
    files = {"/etc/init/queue.conf": QUEUE, "/etc/default/queue": "OPTS='-p 5 --log'\n"}
    one = services(files)["queue"]
    assert one.command == ("/usr/bin/queued", "-p", "5", "--log")
    assert (one.user, one.group, one.working_directory, one.type) == ("queue", "q", "/var/spool/queue", "forking")
    assert one.environment == (Variable("TZ", "UTC", Place("/etc/init/queue.conf", 5)),)
    assert one.seen_in == Place("/etc/init/queue.conf", 6)


@pytest.mark.parametrize(
    ("text", "command", "unread"),
    [
        ("exec /bin/x $(hostname)", ("/bin/sh", "-e", "-c", "exec /bin/x $(hostname)"), ["/etc/init/x.conf:1"]),
        ("script\n/bin/a\n/bin/b\nend script", ("/bin/sh", "-e", "-c", "/bin/a\n/bin/b"), []),
        ("script\nif some; then exec /bin/a; fi\nexec /bin/b\nend script",
         ("/bin/sh", "-e", "-c", "if some; then exec /bin/a; fi\nexec /bin/b"), ["/etc/init/x.conf:2"]),
        ("exec /bin/a # not a comment to upstart", ("/bin/a",), []),
        ("exec sudo -u app /bin/a", ("/bin/a",), []),
        ("env A=b\nenv C=$A-c\nexec /bin/$UPSTART_JOB $C", ("/bin/x", "b-c"), []),
        ("env C=$HOME\nexec /bin/x $C", ("/bin/sh", "-e", "-c", "exec /bin/x $C"), ["/etc/init/x.conf:2"]),
    ],
)  # fmt: skip
def test_processes(text: str, command: tuple[str, ...], unread: list[str]) -> None:
    found = list(upstart.analyze(FakeGuest({**BASE, "/etc/init/x.conf": f"{text}\nstart on startup\n"})))
    assert [f.command for f in found if isinstance(f, Service) and f.id == "x"] == [command]
    assert [str(f.seen_in) for f in found if isinstance(f, Unread) and "/x.conf" in f.seen_in.path] == unread


@pytest.mark.parametrize(
    ("condition", "starts"),
    [
        ("startup", True),
        ("runlevel [2345]", True),
        ("runlevel [!2345]", False),
        ("runlevel [06]", False),
        ("runlevel RUNLEVEL=2", True),
        ("runlevel RUNLEVEL!=2", False),
        ("stopped rc RUNLEVEL=[2345]", True),  # EL 6
        ("stopped rc RUNLEVEL=[06]", False),
        ("started mountall", True),
        ("started JOB=mountall", True),
        ("stopped mountall", True),  # a task ends
        ("started nothing", False),
        ("starting x", False),  # itself
        ("filesystem and net-device-up IFACE!=lo", True),
        ("filesystem and zorro", False),
        ("zorro or filesystem", True),
        ("(zorro or filesystem) and (startup)", True),
        ("(zorro and (filesystem or startup))", False),
        ("mounted MOUNTPOINT=/sys", True),
        ("desktop-session-start", False),
        ("(startup", False),
        ("startup)", False),
        ("and", False),
        ("", False),
    ],
)
def test_when_a_boot_starts_a_job(condition: str, starts: bool) -> None:
    assert services({"/etc/init/x.conf": f"exec /bin/x\nstart on {condition}\n"})["x"].enabled == starts


def test_jobs_start_one_another() -> None:
    files = {
        "/etc/init/a.conf": "start on started b\nexec /bin/a\n",
        "/etc/init/b.conf": "start on starting c\nexec /bin/b\n",
        "/etc/init/c.conf": "start on filesystem\nexec /bin/c\n",
        "/etc/init/net/d.conf": "start on stopped c\nexec /bin/d\n",  # it goes on running
        "/etc/init/state.conf": "start on filesystem\n",
        "/etc/init/e.conf": "start on started state and started net/d\nexec /bin/e\n",
    }
    told = services(files)
    assert {name for name in told if told[name].enabled} == {"a", "b", "c", "mountall", "rc", "rc-sysinit"}
    assert "state" not in told
    assert not told["net/d"].enabled


def test_overrides() -> None:
    files: dict[str, Content] = {"/etc/init/x.conf": "start on filesystem\nexec /bin/x\n"}
    off = services({**files, "/etc/init/x.override": "# off\nmanual\n"})["x"]
    assert not off.enabled
    assert off.settings == (Setting("LoadState", "manual", Place("/etc/init/x.override", 2)),)
    again = services({**files, "/etc/init/x.override": "manual\nstart on startup\nexec /bin/y\nsetuid u\n"})["x"]
    assert (again.enabled, again.command, again.user) == (True, ("/bin/y",), "u")
    assert again.seen_in == Place("/etc/init/x.override", 3)


def test_the_runlevel() -> None:
    files: dict[str, Content] = {"/etc/init/x.conf": "start on runlevel [3]\nexec /bin/x\n"}
    assert not services(files)["x"].enabled
    assert services({**files, "/etc/inittab": "id:3:initdefault:\n"})["x"].enabled
    sysinit = BASE["/etc/init/rc-sysinit.conf"]
    assert isinstance(sysinit, str)
    changed = {**files, "/etc/init/rc-sysinit.conf": sysinit.replace("LEVEL=2", "LEVEL=3")}
    assert services(changed)["x"].enabled


def test_only_its_own_init_starts_them() -> None:
    systemd: dict[str, Content] = {"/sbin/init": Link("/lib/systemd/systemd"), "/lib/systemd/systemd": File(b"\x7fELF")}
    files: dict[str, Content] = {
        "/etc/init/x.conf": "start on startup\nexec /bin/x\n",
        "/etc/init/y.conf": "start on startup\nexec /bin/y\n",
        "/lib/systemd/system/y.service": "[Service]\nExecStart=/bin/y\n",
    }
    told = services(files, systemd)
    assert {name: one.enabled for name, one in told.items()} == {"x": False}
    # Debian 7 boots sysvinit, and its openssh-server brings both
    sysvinit: dict[str, Content] = {"/sbin/init": program(b"no more processes left in this runlevel")}
    assert services({**files, "/etc/init.d/x": "#!/bin/sh\n", "/etc/init.d/y": "#!/bin/sh\n"}, sysvinit) == {}


PIECES = [
    "start on ", "stop on ", "(", ")", "and ", "or ", "script\n", "end script\n", "exec ", "started x", "runlevel [",
    "]", "\\\n", "\n", "#", "'", '"', "env A=", "limit nofile ", "\udcff", "manual\n", "pre-start exec x\n", "emits ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_a_job(text: str) -> None:
    list(parse(text))
    holds(text, lambda _event: True)
    services({"/etc/init/x.conf": text})


def test_deep_conditions_end() -> None:
    def never(_event: Event) -> bool:
        return False

    assert not holds("(" * 10_000, never)
    assert not holds("(" * 200 + "a" + ")" * 200, lambda _event: True)  # deeper than anybody writes: not known
    services({"/etc/init/x.conf": "start on (\n" * 3000})


def test_damaged_jobs() -> None:
    rng = random.Random(4)
    for text in (SHOP, QUEUE):
        for _ in range(100):
            damaged = bytearray(text.encode())
            for _ in range(rng.randint(1, 12)):
                damaged[rng.randrange(len(damaged))] = rng.choice(b"{}()'\"`$\n;&|#\\\x00\xff ")
            for one in services({"/etc/init/x.conf": File(bytes(damaged))}).values():
                assert one.command
