"""Services of OpenRC."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from analyzers import openrc, sysv
from migrate.model import Place, Service, Setting, Unread, Uses, Variable
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_init import OPENRC

# As a package brings one: variables that conf.d may set first, a daemon that goes to the background by itself.
SHOP = """\
#!/sbin/openrc-run

name="Shop"
description="Sells things"
: ${cfgfile:=${SHOP_CONF:-"/etc/shop.conf"}}
: ${command_user:="${SHOP_USER:-shop}:${SHOP_GROUP:-shop}"}

command="/usr/bin/shopd"
command_args="--config $cfgfile $SHOP_OPTS"
command_background="yes"
pidfile="/run/$RC_SVCNAME/$RC_SVCNAME.pid"
directory=/var/lib/shop
start_stop_daemon_args="--env LANG=C --nicelevel 5"
rc_ulimit="-n 65535"
stopsig=INT
required_files="$cfgfile"
export SHOP_HOME=/srv/shop

depend() {
\tneed net postgresql
\tuse dns logger
\twant cache
\tafter firewall
\tprovide store
\tif [ "$SHOP_LDAP" = yes ]; then
\t\tneed slapd
\tfi
}

start_pre() {
\tcheckpath --directory --owner $command_user --mode 0750 ${pidfile%/*} /var/lib/shop
\tcheckpath -f -m 0640 -o "$command_user" /var/log/shop.log
\t[ -n "$SHOP_DEBUG" ] && command_args="$command_args --debug"
\treturn 0
}

reload() {
\tcommand_args="never"
\tstart-stop-daemon --signal HUP --pidfile "$pidfile"
}
"""
SUPERVISED = """\
#!/sbin/openrc-run
supervisor=supervise-daemon
command=/usr/sbin/queued
command_args_foreground="--foreground"
command_args_background="--daemon"
command_user="queue"
output_log=/var/log/queue.log
"""
OWN_START = """\
#!/sbin/openrc-run
depend() { need localmount; }
checkconfig() {
\tCONF=/etc/mail/${SVCNAME}.conf
\tBASE=$(/usr/sbin/maild -p)
}
start() {
\tcheckconfig || return 1
\tebegin "Starting $SVCNAME"
\tstart-stop-daemon --start --quiet --exec /usr/sbin/maild --user mail:mail \\
\t\t--pidfile "$BASE/master.pid" --chdir /var/mail -- -c "$CONF"
\teend $?
}
"""
UNKNOWN = '#!/sbin/openrc-run\ncommand=/usr/bin/db\nstart_pre() {\n\tcommand_args="--dir=$(getdir)"\n}\n'
SETUP = (
    "#!/sbin/openrc-run\n# This file is part of OpenRC. It is subject to the license terms\nstart() { sysctl -p; }\n"
)
OURS = '#!/sbin/openrc-run\ndescription="Loads rules"\nstart() {\n\tnft -f /etc/nftables\n}\n'


def script(text: str) -> File:
    return File(text, mode=0o755)


def on(level: str, name: str) -> tuple[str, Link]:
    return f"/etc/runlevels/{level}/{name}", Link(f"/etc/init.d/{name}")


def found(files: Mapping[str, Content], base: Mapping[str, Content] = OPENRC) -> list[object]:
    return list(openrc.analyze(FakeGuest({**base, **files})))


def services(files: Mapping[str, Content], base: Mapping[str, Content] = OPENRC) -> dict[str, Service]:
    return {one.id: one for one in found(files, base) if isinstance(one, Service)}


def test_a_script_whole() -> None:
    path = "/etc/init.d/shop"
    findings = found({path: script(SHOP), **dict([on("default", "shop")])})
    assert findings[0] == Service(
        id="shop",
        manager="openrc",
        enabled=True,
        unit=path,
        type="simple",
        description="Sells things",
        command=("/usr/bin/shopd", "--config", "/etc/shop.conf"),
        user="shop",
        group="shop",
        working_directory="/var/lib/shop",
        environment=(
            Variable("LANG", "C", Place(path, 8)),
            Variable("SHOP_HOME", "/srv/shop", Place(path, 17)),
        ),
        settings=(
            Setting("KillSignal", "SIGINT", Place(path, 15)),
            Setting("LimitNOFILE", "65535", Place(path, 14)),
            Setting("Nice", "5", Place(path, 8)),
            Setting("PIDFile", "/run/shop/shop.pid", Place(path, 11)),
            Setting("WantedBy", "default", Place("/etc/runlevels/default/shop")),
        ),
        after=("cache", "dns", "firewall", "logger", "net", "postgresql"),
        requires=("net", "postgresql"),
        wants=("cache",),
        aliases=("store",),
        seen_in=Place(path, 8),
    )
    assert [(u.path, u.role, u.seen_in.line) for u in findings[1:] if isinstance(u, Uses)] == [
        ("/etc/shop.conf", "config", 16),
        ("/run/shop", "runtime", 31),
        ("/var/lib/shop", "data", 31),
        ("/var/log/shop.log", "log", 32),
    ]
    assert len(findings) == 5


def test_conf_d_goes_first() -> None:
    conf = "SHOP_CONF=/etc/other.conf\nSHOP_OPTS=\"-n 'two words' \\$HOME\"\nSHOP_DEBUG=1\nrc_need='!net vpn'\n"
    one = services({"/etc/init.d/shop": script(SHOP), "/etc/conf.d/shop": conf.replace(" \\$HOME", "")})["shop"]
    assert one.command == ("/usr/bin/shopd", "--config", "/etc/other.conf", "-n", "two words", "--debug")
    assert one.requires == ("postgresql", "vpn")
    assert not one.enabled
    # what only a run can tell makes the command unknown, and that is said
    files: dict[str, Content] = {"/etc/init.d/shop": script(SHOP), "/etc/conf.d/shop": conf}
    assert not any(isinstance(f, Unread) for f in found(files))  # nothing starts it
    findings = found({**files, **dict([on("default", "shop")])})
    assert isinstance(findings[0], Service)
    assert findings[0].command == ("/etc/init.d/shop", "start")
    assert [str(u.seen_in) for u in findings if isinstance(u, Unread)] == ["/etc/init.d/shop:8"]
    assert [u.path for u in findings if isinstance(u, Uses)][-1] == "/etc/conf.d/shop"


def test_supervised_daemons_stay_in_the_foreground() -> None:
    one = services({"/etc/init.d/queue": script(SUPERVISED)})["queue"]
    assert (one.type, one.command, one.user) == ("simple", ("/usr/sbin/queued", "--foreground"), "queue")
    assert {s.name: (s.value, s.seen_in.line) for s in one.settings} == {
        "Restart": ("always", 2),
        "StandardOutput": ("append:/var/log/queue.log", 7),
    }
    plain = services({"/etc/init.d/queue": script(SUPERVISED.replace("supervise-daemon", ""))})["queue"]
    assert (plain.type, plain.command) == ("forking", ("/usr/sbin/queued", "--daemon"))


def test_a_start_of_its_own() -> None:
    one = services({"/etc/init.d/mail": script(OWN_START)})["mail"]
    assert one.command == ("/usr/sbin/maild", "-c", "/etc/mail/mail.conf")
    assert (one.user, one.group, one.working_directory) == ("mail", "mail", "/var/mail")
    assert one.settings == ()  # the pid file is where maild says
    assert one.seen_in == Place("/etc/init.d/mail", 10)
    assert one.requires == ("localmount",)
    both = OWN_START.replace("\tebegin", "\tif some; then start-stop-daemon -S -x /bin/a; fi\n\tebegin")
    assert services({"/etc/init.d/mail": script(both)})["mail"].command == ("/etc/init.d/mail", "start")


def test_what_is_not_known_is_said() -> None:
    findings = found({"/etc/init.d/db": script(UNKNOWN), **dict([on("default", "db")])})
    assert isinstance(findings[0], Service)
    assert findings[0].command == ("/etc/init.d/db", "start")
    assert [str(u.seen_in) for u in findings if isinstance(u, Unread)] == ["/etc/init.d/db:2"]


def test_the_machines_own_set_up_is_not_reported() -> None:
    files: dict[str, Content] = {"/etc/init.d/sysctl": script(SETUP), "/etc/init.d/rules": script(OURS)}
    assert services(files).keys() == {"rules"}
    assert services(files)["rules"].command == ("/etc/init.d/rules", "start")


def test_what_a_boot_starts() -> None:
    def plain(depend: str = "") -> File:
        return script(f"#!/sbin/openrc-run\ncommand=/bin/x\ndepend() {{\n\t{depend or ':'}\n}}\n")

    files: dict[str, Content] = {
        "/etc/init.d/a": plain("need store"),
        "/etc/init.d/b": plain("provide store"),
        "/etc/init.d/c": plain("want d e"),
        "/etc/init.d/d": plain(),
        "/etc/init.d/idle": plain("need a"),
        "/etc/init.d/used": plain(),
        "/etc/init.d/single": plain(),
        "/etc/init.d/x1": plain("provide two"),
        "/etc/init.d/x2": plain("provide two"),
        "/etc/init.d/y": plain("need two"),
        "/etc/init.d/not-executable": File("#!/sbin/openrc-run\ncommand=/bin/x\n"),
        "/etc/init.d/functions.sh": script("#!/bin/sh\n"),
        "/etc/runlevels/default/gone": Link("/etc/init.d/gone"),
        "/etc/runlevels/default/more": Link("../more"),
        "/etc/runlevels/more/default": Link("../default"),  # round and round
        **dict([on("boot", "a"), on("more", "c"), on("single", "single"), on("default", "y")]),
    }
    told = services(files)
    assert {name for name, one in told.items() if one.enabled} == {"a", "b", "c", "d", "y"}
    assert told["b"].settings[-1] == Setting("RequiredBy", "a", Place("/etc/init.d/a", 4))
    assert told["c"].settings[-1] == Setting("WantedBy", "more", Place("/etc/runlevels/more/c"))
    assert "not-executable" not in told
    other = {**OPENRC, "/etc/inittab": "::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc single\n"}
    assert {name for name, one in services(files, other).items() if one.enabled} == {"a", "b", "single"}


def test_only_its_own_init_starts_them() -> None:
    systemd: dict[str, Content] = {"/sbin/init": Link("/lib/systemd/systemd"), "/lib/systemd/systemd": script("")}
    files: dict[str, Content] = {"/etc/init.d/shop": script(SHOP), **dict([on("default", "shop")])}
    assert not services(files, systemd)["shop"].enabled
    unit = {**systemd, "/usr/lib/systemd/system/shop.service": "[Service]\nExecStart=/bin/x\n"}
    assert services(files, unit) == {}


def test_sysv_leaves_them_alone() -> None:
    guest = FakeGuest({**OPENRC, "/etc/init.d/shop": script(SHOP), **dict([on("default", "shop")])})
    assert [f for f in sysv.analyze(guest) if isinstance(f, Service)] == []


@given(st.lists(st.sampled_from(SHOP.splitlines(keepends=True) + OWN_START.splitlines(keepends=True)), max_size=30))
def test_any_order_of_lines(lines: list[str]) -> None:
    found({"/etc/init.d/x": script("#!/sbin/openrc-run\n" + "".join(lines)), **dict([on("default", "x")])})


def test_damaged_scripts() -> None:
    rng = random.Random(4)
    for text in (SHOP, OWN_START, SUPERVISED):
        for _ in range(70):
            damaged = bytearray(text.encode())
            for _ in range(rng.randint(1, 12)):
                damaged[rng.randrange(24, len(damaged))] = rng.choice(b"{}()'\"`$\n;&|#\\\x00\xff ")
            told = services({"/etc/init.d/x": File(bytes(damaged), mode=0o755)})
            assert told["x"].unit == "/etc/init.d/x"
            assert told["x"].command
