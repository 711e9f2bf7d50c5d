"""Services of runit, daemontools and s6."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from analyzers import runit
from analyzers._runscript import main_process
from analyzers._shelltest import Files
from migrate.model import Place, Service, Setting, Unread, Uses, Variable
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link
from tests.analyzers.test_init import program

# Void's: stage 2 scans a directory that it has linked below /run.
VOID: dict[str, Content] = {
    "/sbin/init": Link("runit-init"),
    "/sbin/runit-init": program(b"/etc/runit/stopit"),
    "/etc/runit/2": "#!/bin/sh\n\n# a comment about runsvdir\nrunsvchdir default\nmkdir -p /run/runit/runsvdir\n"
    "exec env - PATH=$PATH \\\n    runsvdir -P /run/runit/runsvdir/current 'log: ...'\n",
    "/etc/runit/runsvdir/default": Dir(),
    "/var/service": Link("/run/runit/runsvdir/current"),
}
REDIS = """\
#!/bin/sh
exec 2>&1
[ -r conf ] && . ./conf
: ${USER_OF:=redis}
install -d -m0750 -o redis -g redis /run/redis
export LANG=C
exec chpst -u ${USER_OF}:redis -o 4096 -e ./env -C /srv redis-server /etc/redis.conf ${OPTS} > /dev/null
"""


def script(text: str) -> File:
    return File(text, mode=0o755)


def found(files: Mapping[str, Content], base: Mapping[str, Content] = VOID) -> list[object]:
    return list(runit.analyze(FakeGuest({**base, **files})))


def services(files: Mapping[str, Content], base: Mapping[str, Content] = VOID) -> dict[str, Service]:
    return {one.id: one for one in found(files, base) if isinstance(one, Service)}


def on(name: str) -> dict[str, Content]:
    return {f"/etc/runit/runsvdir/default/{name}": Link(f"/etc/sv/{name}")}


def test_a_directory_whole() -> None:
    path = "/etc/sv/redis/run"
    findings = found(
        {
            path: script(REDIS),
            "/etc/sv/redis/conf": "OPTS='--port 7000'\n",
            "/etc/sv/redis/env/MODE": "production \nsecond line\n",
            "/etc/sv/redis/env/EMPTY": "",
            "/etc/sv/redis/log/run": script("#!/bin/sh\nexec svlogd -tt /var/log/redis\n"),
            **on("redis"),
        }
    )
    assert findings[0] == Service(
        id="redis",
        manager="runit",
        enabled=True,
        unit=path,
        type="simple",
        command=("redis-server", "/etc/redis.conf", "--port", "7000"),
        user="redis",
        group="redis",
        working_directory="/srv",
        environment=(
            Variable("LANG", "C", Place(path, 6)),
            Variable("MODE", "production", Place("/etc/sv/redis/env/MODE", 1)),
        ),
        settings=(
            Setting("LimitNOFILE", "4096", Place(path, 7)),
            Setting("Restart", "always", Place(path, 1)),
            Setting("StandardOutput", "/dev/null", Place(path, 7)),
            Setting("WantedBy", "/etc/runit/runsvdir/default", Place("/etc/runit/runsvdir/default/redis")),
        ),
        seen_in=Place(path, 7),
    )
    assert [(u.path, u.role, str(u.seen_in)) for u in findings[1:] if isinstance(u, Uses)] == [
        ("/etc/sv/redis/conf", "config", "/etc/sv/redis/run:7"),
        ("/var/log/redis", "log", "/etc/sv/redis/log/run:2"),
    ]
    assert len(findings) == 3


def test_what_a_boot_starts() -> None:
    run = script("#!/bin/sh\nexec ./prog -f\n")
    told = services(
        {
            "/etc/sv/on/run": run,
            "/etc/sv/off/run": run,
            "/etc/sv/down/run": run,
            "/etc/sv/down/down": "",
            "/etc/sv/empty": Dir(),
            "/etc/runit/runsvdir/default/own/run": run,
            "/etc/runit/runsvdir/default/gone": Link("/etc/sv/gone"),
            **on("on"),
            **on("down"),
        }
    )
    assert {name: one.enabled for name, one in told.items()} == {"on": True, "own": True, "off": False, "down": False}
    assert told["on"].command == ("/etc/sv/on/prog", "-f")
    assert told["own"].unit == "/etc/runit/runsvdir/default/own/run"


def test_scripts_that_are_not_one_program() -> None:
    texts = {
        "loop": "#!/bin/sh\nwhile sleep 5; do sync; done\n",
        "python": "#!/usr/bin/python3\nexec('x')\n",
        "either": "#!/bin/sh\nif some; then\n  exec a\nfi\nexec b\n",
        "guess": "#!/bin/sh\nexec a $(hostname)\n",
    }
    files: dict[str, Content] = {f"/etc/sv/{name}/run": script(text) for name, text in texts.items()}
    assert not any(isinstance(f, Unread) for f in found(files))  # nothing starts them
    findings = found(files | {path: link for name in texts for path, link in on(name).items()})
    assert {f.id: f.command for f in findings if isinstance(f, Service)} == {
        name: (f"/etc/sv/{name}/run",) for name in texts
    }
    assert [str(f.seen_in) for f in findings if isinstance(f, Unread)] == [
        "/etc/sv/either/run:3",
        "/etc/sv/guess/run:2",
    ]


def test_runit_under_another_init() -> None:
    sysvinit: dict[str, Content] = {
        "/sbin/init": program(b"no more processes left in this runlevel"),
        "/etc/inittab": "id:2:initdefault:\nSV:123456:respawn:/usr/bin/svscanboot\n",
        "/service/a": Link("/etc/sv/a"),
        "/etc/sv/a/run": script("#!/bin/sh\nexec setuidgid app env A=1 /bin/a\n"),
    }
    one = services({}, sysvinit)["a"]
    assert (one.enabled, one.command, one.user) == (True, ("/bin/a",), "app")
    without = {**sysvinit, "/etc/inittab": "id:2:initdefault:\n"}
    assert not services({}, without)["a"].enabled
    systemd: dict[str, Content] = {
        **sysvinit,
        "/sbin/init": Link("/lib/systemd/systemd"),
        "/lib/systemd/systemd": program(),
    }
    assert not services({}, systemd)["a"].enabled
    assert services({"/lib/systemd/system/a.service": "[Service]\nExecStart=/bin/a\n"}, systemd) == {}
    wanted = {"/etc/systemd/system/multi-user.target.wants/runit.service": Link("/lib/systemd/system/runit.service")}
    assert services({**wanted, "/lib/systemd/system/runit.service": "[Service]\n"}, systemd)["a"].enabled


WEB = """\
#!/command/execlineb -P
# comment
foreground { echo { a } }
fdmove -c 2 1
s6-setuidgid www:web
webd -f "a b"
"""
OVERLAY: dict[str, Content] = {
    "/init": script("#!/bin/sh -e\nexec /package/admin/s6-overlay/libexec/preinit\n"),
    "/etc/s6-overlay/s6-rc.d/user/type": "bundle\n",
    "/etc/s6-overlay/s6-rc.d/user/contents.d/web": "",
    "/etc/s6-overlay/s6-rc.d/web/type": "longrun\n",
    "/etc/s6-overlay/s6-rc.d/web/dependencies.d/prepare": "",
    "/etc/s6-overlay/s6-rc.d/web/run": script(WEB),
    "/etc/s6-overlay/s6-rc.d/prepare/type": "oneshot\n",
    "/etc/s6-overlay/s6-rc.d/prepare/up": "/etc/s6-overlay/scripts/prepare\n",
    "/etc/s6-overlay/s6-rc.d/idle/type": "longrun\n",
    "/etc/s6-overlay/s6-rc.d/idle/run": script("#!/command/with-contenv sh\nexec idled $FROM_OUTSIDE\n"),
    "/etc/services.d/old/run": script("#!/usr/bin/with-contenv bash\nexec s6-setuidgid abc /app/bin\n"),
}


def test_s6_overlay() -> None:
    told = services({}, OVERLAY)
    assert {name: (one.enabled, one.type, one.manager) for name, one in told.items()} == {
        "web": (True, "simple", "s6"),
        "prepare": (True, "oneshot", "s6"),
        "old": (True, "simple", "s6"),
        "idle": (False, "simple", "s6"),
    }
    web = told["web"]
    assert (web.command, web.user, web.group) == (("webd", "-f", "a b"), "www", "web")
    assert web.requires == ("prepare",)
    assert web.seen_in == Place("/etc/s6-overlay/s6-rc.d/web/run", 6)
    assert web.settings[-1] == Setting("WantedBy", "user", Place("/etc/s6-overlay/s6-rc.d/user/contents.d/web"))
    assert told["prepare"].settings[-1].value == "web"
    assert told["prepare"].command == ("/etc/s6-overlay/scripts/prepare",)
    assert told["prepare"].seen_in == Place("/etc/s6-overlay/s6-rc.d/prepare/up", 1)
    assert told["old"].command == ("/app/bin",)
    assert told["idle"].command == (
        "/etc/s6-overlay/s6-rc.d/idle/run",
    )  # the container's environment is not on the disk
    # a machine that has a kernel does not boot /init
    assert not any(one.enabled for one in services({"/boot/vmlinuz-6.1": ""}, OVERLAY).values())


def test_s6_rc() -> None:
    files: dict[str, Content] = {
        "/sbin/init": script("#!/bin/execlineb -S0\ns6-linux-init -c /etc/s6-linux-init/current -- $@\n"),
        "/etc/s6/sv/default/type": "bundle",
        "/etc/s6/sv/default/contents": "a\n# no\nloop\n",
        "/etc/s6/sv/a/type": "longrun",
        "/etc/s6/sv/a/run": script("#!/bin/sh\nexec a\n"),
        "/etc/s6/sv/loop/type": "bundle",
        "/etc/s6/sv/loop/contents": "default\nloop\n",
        "/etc/s6/sv/b/type": "longrun",
        "/etc/s6/sv/b/run": script("#!/bin/sh\nexec b\n"),
        "/etc/s6-linux-init/current/run-image/service/tty/run": script("#!/bin/sh\nexec getty tty1\n"),
    }
    assert {name: one.enabled for name, one in services(files, {}).items()} == {"a": True, "tty": True, "b": False}


PIECES = [
    "#!/bin/execlineb -P\n", "#!/bin/sh\n", "foreground ", "{ ", "} ", "exec ", "chpst -u a ", "env ", "x ", '"', "\n",
    "s6-setuidgid a ", "if ", "-", "\\", "#", "\udcff", "$x", "background { ", "fi\n", "fdmove -c 2 1 ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_is_a_run_script(text: str) -> None:
    main_process(text, Files())
    told = services({"/etc/sv/x/run": script(text), "/etc/sv/x/log/run": script(text), **on("x")})
    assert told["x"].enabled


def test_damaged_scripts() -> None:
    rng = random.Random(4)
    for text in (REDIS, "#!/bin/execlineb -P\nforeground { a { b } } s6-setuidgid a b\n"):
        for _ in range(100):
            damaged = bytearray(text.encode())
            for _ in range(rng.randint(1, 12)):
                damaged[rng.randrange(len(damaged))] = rng.choice(b"{}()'\"`$\n;&|#\\\x00\xff ")
            assert services({"/etc/sv/x/run": File(bytes(damaged), mode=0o755)})["x"].command
