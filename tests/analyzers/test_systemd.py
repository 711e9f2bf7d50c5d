"""The systemd analyzer on machines of a few files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import podman
from analyzers.systemd import analyze, parse_listen
from migrate.model import EnvironmentFile, Finding, Listen, Place, Service, Setting, Unread, Uses, Variable
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link, Node

F = TypeVar("F")

LIB = "/usr/lib/systemd/system"
ETC = "/etc/systemd/system"

# The skeleton that systemd's own package brings: targets and what they pull in.
BASE: dict[str, Content] = {
    "/lib": Link("usr/lib"),
    "/sbin": Link("usr/sbin"),
    "/usr/sbin/init": Link("/lib/systemd/systemd"),
    "/usr/lib/systemd/systemd": File(b"\x7fELF", mode=0o755),
    "/dev/null": Node("char", device=(1, 3)),
    f"{LIB}/default.target": Link("graphical.target"),
    f"{LIB}/graphical.target": "[Unit]\nRequires=multi-user.target\nWants=display-manager.service\n",
    f"{LIB}/multi-user.target": "[Unit]\nRequires=basic.target\n",
    f"{LIB}/basic.target": "[Unit]\nRequires=sysinit.target\nWants=sockets.target timers.target paths.target\n",
    f"{LIB}/sysinit.target": "[Unit]\n",
    f"{LIB}/sockets.target": "[Unit]\n",
    f"{LIB}/timers.target": "[Unit]\n",
    f"{LIB}/paths.target": "[Unit]\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\norders:x:996:33::/srv/orders:/usr/sbin/nologin\n",
}


def findings(files: Mapping[str, Content]) -> list[Finding]:
    return list(analyze(FakeGuest({**BASE, **files})))


def of(kind: type[F], found: list[Finding]) -> list[F]:
    return [one for one in found if isinstance(one, kind)]


def services(files: Mapping[str, Content]) -> dict[str, Service]:
    return {one.id: one for one in of(Service, findings(files))}


def started(files: Mapping[str, Content]) -> set[str]:
    return {one.id for one in services(files).values() if one.enabled}


def wanted(name: str, by: str = "multi-user.target") -> dict[str, Content]:
    return {f"{ETC}/{by}.wants/{name}": Link(f"/lib/systemd/system/{name}")}


ORDERS = """[Unit]
Description=Orders API
After=network.target postgresql.service
Requires=postgresql.service

[Service]
Type=notify
User=orders
Group=www-data
WorkingDirectory=~
EnvironmentFile=/etc/orders/env
EnvironmentFile=-/etc/orders/local
Environment="GREETING=hello world" WORKERS=2 DB_PASSWORD=hunter2
RuntimeDirectory=orders
StateDirectory=orders/files orders/more
LogsDirectory=orders
CacheDirectory=orders
ExecStartPre=-/usr/bin/install -d /run/orders/x ; /bin/true
ExecStart=/srv/orders/venv/bin/gunicorn \\
  --workers ${WORKERS} --name %n $OPTIONS ${DATABASE_URL} ${DB_PASSWORD} \\
  orders.wsgi:application
LimitNOFILE=8192
AmbientCapabilities=CAP_NET_BIND_SERVICE
AmbientCapabilities=CAP_CHOWN
MemoryMax=300M

[Install]
WantedBy=multi-user.target
"""
ORDERS_FILES: dict[str, Content] = {
    f"{ETC}/orders.service": ORDERS,
    f"{ETC}/multi-user.target.wants/orders.service": Link(f"{ETC}/orders.service"),
    f"{LIB}/postgresql.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "/etc/orders/env": "DATABASE_URL=postgres://orders:s3cret@127.0.0.1/orders\nOPTIONS=\n",
}


def test_a_service_whole() -> None:
    found = findings(ORDERS_FILES)
    [orders] = [one for one in of(Service, found) if one.id == "orders"]
    path = f"{ETC}/orders.service"
    assert orders == Service(
        id="orders",
        manager="systemd",
        enabled=True,
        unit=path,
        type="notify",
        description="Orders API",
        command=(
            "/srv/orders/venv/bin/gunicorn",
            "--workers",
            "2",
            "--name",
            "orders.service",
            "${DATABASE_URL}",
            "${DB_PASSWORD}",
            "orders.wsgi:application",
        ),
        before=(("/usr/bin/install", "-d", "/run/orders/x"), ("/bin/true",)),
        user="orders",
        group="www-data",
        working_directory="/srv/orders",
        environment=(
            Variable("DB_PASSWORD", "hunter2", Place(path, 13)),
            Variable("GREETING", "hello world", Place(path, 13)),
            Variable("WORKERS", "2", Place(path, 13)),
        ),
        environment_files=(
            EnvironmentFile("/etc/orders/env", False, Place(path, 11)),
            EnvironmentFile("/etc/orders/local", True, Place(path, 12)),
        ),
        settings=orders.settings,
        after=("network.target", "postgresql"),
        requires=("postgresql",),
        seen_in=Place(path, 19),
    )
    assert orders.setting("MemoryMax") == Setting("MemoryMax", "300M", Place(path, 25))
    assert orders.setting("AmbientCapabilities") == Setting(
        "AmbientCapabilities", "CAP_NET_BIND_SERVICE CAP_CHOWN", Place(path, 24)
    )
    assert orders.setting("User") == Setting("User", "orders", Place(path, 8))
    link = f"{ETC}/multi-user.target.wants/orders.service"
    assert orders.setting("WantedBy") == Setting("WantedBy", "multi-user.target", Place(link))
    assert [(u.path, u.role) for u in of(Uses, found) if u.service == "orders"] == [
        ("/run/orders", "runtime"),
        ("/var/lib/orders/files", "data"),
        ("/var/lib/orders/more", "data"),
        ("/var/cache/orders", "cache"),
        ("/var/log/orders", "log"),
        ("/etc/orders/env", "config"),
        ("/etc/orders/local", "config"),
    ]


def test_values_of_environment_files_are_taken_up_nowhere() -> None:
    text = repr(findings(ORDERS_FILES))
    assert "s3cret" not in text
    assert [one for one in findings(ORDERS_FILES) if isinstance(one, Unread)] == []


def test_a_missing_environment_file_is_told() -> None:
    files = {**ORDERS_FILES, f"{ETC}/orders.service": "[Service]\nEnvironmentFile=/etc/no\nExecStart=/bin/a $X\n"}
    [unread] = of(Unread, findings(files))
    assert unread.seen_in == Place(f"{ETC}/orders.service", 2)
    assert services(files)["orders"].command == ("/bin/a", "$X")


# ---------------------------------------------------------------- drop-ins, shadowing, masks


def test_dropins_apply_by_name_and_lists_are_reset() -> None:
    files: dict[str, Content] = {
        f"{LIB}/web-api.service": "[Service]\nExecStart=/bin/old\nEnvironment=A=1\nUser=a\nLimitNOFILE=10\n",
        f"{LIB}/service.d/10-all.conf": "[Service]\nUser=everyone\n",
        f"{ETC}/web-.service.d/20-prefix.conf": "[Service]\nUser=web\nEnvironment=B=2\n",
        f"{ETC}/web-api.service.d/30-own.conf": "[Service]\nExecStart=\nExecStart=/bin/new\nLimitNOFILE=\n",
        f"{LIB}/web-api.service.d/30-own.conf": "[Service]\nExecStart=/bin/shadowed\n",
        f"{LIB}/web-api.service.d/90-hidden.conf": "[Service]\nUser=hidden\n",
        f"{ETC}/web-api.service.d/90-hidden.conf": Link("/dev/null"),
        f"{ETC}/web-api.service.d/no.txt": "[Service]\nUser=no\n",
        "/etc/systemd/system.control/web-api.service.d/50-MemoryMax.conf": "[Service]\nMemoryMax=1G\n",
        **wanted("web-api.service"),
    }
    service = services(files)["web-api"]
    assert service.command == ("/bin/new",)
    assert service.seen_in == Place(f"{ETC}/web-api.service.d/30-own.conf", 3)
    assert service.user == "web"
    assert [v.name for v in service.environment] == ["A", "B"]
    assert service.setting("LimitNOFILE") is None
    memory = service.setting("MemoryMax")
    assert memory is not None
    assert memory.seen_in.path.startswith("/etc/systemd/system.control/")


def test_an_own_file_shadows_the_packages() -> None:
    files: dict[str, Content] = {
        f"{LIB}/a.service": "[Service]\nExecStart=/bin/packaged\n",
        "/usr/local/lib/systemd/system/a.service": "[Service]\nExecStart=/bin/local\n",
        f"{ETC}/a.service": "[Service]\nExecStart=/bin/own\n",
        **wanted("a.service"),
    }
    assert services(files)["a"].command == ("/bin/own",)
    del files[f"{ETC}/a.service"]
    assert services(files)["a"].unit == "/usr/local/lib/systemd/system/a.service"


@pytest.mark.parametrize("mask", [Link("/dev/null"), Link("../../../dev/null"), ""])
def test_masks(mask: Content) -> None:
    files: dict[str, Content] = {
        f"{LIB}/a.service": "[Service]\nExecStart=/bin/a\n",
        f"{ETC}/a.service": mask,
        **wanted("a.service"),
        f"{ETC}/only-a-mask.service": Link("/dev/null"),
    }
    found = services(files)
    assert set(found) == {"a"}
    assert not found["a"].enabled
    assert found["a"].setting("LoadState") == Setting("LoadState", "masked", Place(f"{ETC}/a.service"))


def test_a_masked_link_hides_a_packages_own() -> None:
    files: dict[str, Content] = {
        f"{LIB}/a.service": "[Service]\nExecStart=/bin/a\n",
        f"{LIB}/multi-user.target.wants/a.service": Link("../a.service"),
    }
    assert started(files) == {"a"}
    assert started({**files, f"{ETC}/multi-user.target.wants/a.service": Link("/dev/null")}) == set()


def test_aliases_are_one_service() -> None:
    files: dict[str, Content] = {
        f"{LIB}/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n",
        f"{ETC}/sshd.service": Link("/lib/systemd/system/ssh.service"),
        f"{ETC}/sshd.service.d/x.conf": "[Service]\nUser=sshd\n",
        f"{ETC}/multi-user.target.wants/sshd.service": Link("/lib/systemd/system/ssh.service"),
        f"{LIB}/b.service": "[Unit]\nAfter=sshd.service\n[Service]\nExecStart=/bin/b\n",
    }
    found = services(files)
    assert set(found) == {"ssh", "b"}
    assert found["ssh"].aliases == ("sshd",)
    assert found["ssh"].enabled
    assert found["ssh"].user == "sshd"
    assert found["b"].after == ("ssh",)


def test_a_file_linked_from_elsewhere_keeps_its_name() -> None:
    files: dict[str, Content] = {
        f"{ETC}/app.service": Link("/opt/app/etc/app.service"),
        "/opt/app/etc/app.service": "[Service]\nExecStart=/opt/app/bin/app\n",
        f"{ETC}/multi-user.target.wants/app.service": Link("/opt/app/etc/app.service"),
    }
    service = services(files)["app"]
    assert service.enabled
    assert service.seen_in == Place("/opt/app/etc/app.service", 2)


# ---------------------------------------------------------------- templates, what a boot starts


def test_instances_come_from_links() -> None:
    files: dict[str, Content] = {
        f"{LIB}/worker@.service": "[Service]\nExecStart=/bin/worker %i %I\nUser=%i\nDescription=x\n",
        f"{LIB}/worker@.service.d/a.conf": "[Service]\nMemoryMax=1G\n",
        f"{ETC}/worker@mail-out.service.d/b.conf": "[Service]\nEnvironment=A=%i\n",
        f"{ETC}/multi-user.target.wants/worker@mail-out.service": Link("/lib/systemd/system/worker@.service"),
        f"{ETC}/worker@spare.service.d/c.conf": "[Service]\nNice=5\n",
        f"{ETC}/worker@linked.service": Link("/lib/systemd/system/worker@.service"),
    }
    found = services(files)
    assert set(found) == {"worker@mail-out", "worker@spare", "worker@linked"}
    service = found["worker@mail-out"]
    assert service.enabled
    assert service.command == ("/bin/worker", "mail-out", "mail/out")
    assert service.user == "mail-out"
    assert service.environment[0].value == "mail-out"
    assert service.setting("MemoryMax") is not None
    assert not found["worker@spare"].enabled


def test_what_a_boot_pulls_in() -> None:
    files: dict[str, Content] = {
        f"{LIB}/{name}.service": f"[Unit]\n{unit}\n[Service]\nExecStart=/bin/{name}\n"
        for name, unit in {
            "linked": "Wants=wanted.service",
            "wanted": "BindsTo=bound.service",
            "bound": "After=ordered.service",
            "ordered": "",
            "required": "",
            "upheld": "",
            "other": "",
        }.items()
    }
    files |= wanted("linked.service")
    files[f"{LIB}/multi-user.target.requires/required.service"] = Link("../required.service")
    files[f"{ETC}/linked.service.upholds/upheld.service"] = Link("/lib/systemd/system/upheld.service")
    files[f"{ETC}/rescue.target.wants/other.service"] = Link("/lib/systemd/system/other.service")
    assert started(files) == {"linked", "wanted", "bound", "required", "upheld"}
    assert set(services(files)) == started(files) | {"ordered", "other"}


def test_the_default_target_decides() -> None:
    files: dict[str, Content] = {
        f"{LIB}/a.service": "[Service]\nExecStart=/bin/a\n",
        f"{LIB}/own.target": "[Unit]\n",
        f"{ETC}/default.target": Link("/lib/systemd/system/own.target"),
    }
    assert started({**files, **wanted("a.service")}) == set()
    assert started({**files, **wanted("a.service", "own.target")}) == {"a"}


def test_conditions_that_the_disk_decides() -> None:
    def start(condition: str, **more: Content) -> set[str]:
        unit = f"[Unit]\n{condition}\n[Service]\nExecStart=/bin/a\n"
        return started({f"{LIB}/a.service": unit, **wanted("a.service"), "/etc/here": "x", **more})

    assert start("ConditionPathExists=/etc/here") == {"a"}
    assert start("ConditionPathExists=!/etc/here") == set()
    assert start("ConditionPathExists=/etc/missing") == set()
    assert start("AssertFileNotEmpty=/etc/missing") == set()
    assert start("ConditionPathExists=/etc/missing\nConditionPathExists=") == {"a"}
    assert start("ConditionPathExists=|/etc/missing\nConditionPathExists=|/etc/here") == {"a"}
    assert start("ConditionPathExists=|/etc/missing\nConditionPathExists=|!/etc/here") == set()
    assert start("ConditionPathExists=/run/made-at-boot\nConditionKernelCommandLine=x") == {"a"}
    assert start("ConditionVirtualization=!container") == {"a"}
    assert start("ConditionVirtualization=container") == set()
    assert start("ConditionVirtualization=vmware") == {"a"}
    assert start("ConditionDirectoryNotEmpty=/etc/%p.d") == set()
    assert start("ConditionDirectoryNotEmpty=/etc/%p.d", **{"/etc/a.d/x": "1"}) == {"a"}
    assert start("ConditionFileIsExecutable=/etc/run", **{"/etc/run": File("", mode=0o755)}) == {"a"}
    assert start("ConditionFileIsExecutable=/etc/here") == set()


def test_systemds_own_units_are_the_machines() -> None:
    head = "#  SPDX-License-Identifier: LGPL-2.1-or-later\n#\n#  This file is part of systemd.\n"
    files: dict[str, Content] = {
        f"{LIB}/systemd-tmpfiles-setup.service": f"{head}[Service]\nType=oneshot\nExecStart=systemd-tmpfiles\n",
        f"{LIB}/systemd-logind.service": f"{head}[Service]\nExecStart=/lib/systemd/systemd-logind\n",
        f"{LIB}/systemd-networkd.service": f"{head}[Service]\nExecStart=/lib/systemd/systemd-networkd\n",
        f"{LIB}/getty@.service": f"{head}[Service]\nType=idle\nExecStart=-/sbin/agetty - $TERM\n[Install]\n",
        f"{LIB}/systemd-initctl.service": f"{head}[Service]\nExecStart=/lib/systemd/systemd-initctl\n",
        f"{LIB}/systemd-initctl.socket": f"{head}[Socket]\nListenFIFO=/run/initctl\n",
        **wanted("systemd-tmpfiles-setup.service", "sysinit.target"),
        **wanted("systemd-logind.service"),
        **wanted("systemd-initctl.socket", "sockets.target"),
        f"{ETC}/multi-user.target.wants/getty@tty1.service": Link("/lib/systemd/system/getty@.service"),
    }
    found = services(files)
    assert set(found) == {"systemd-logind", "getty@tty1"}
    assert found["getty@tty1"].command == ("/sbin/agetty", "-", "$TERM")


def test_generators_are_retold() -> None:
    files: dict[str, Content] = {
        "/usr/lib/systemd/system-generators/postgresql-generator": File("#!/bin/sh\n", mode=0o755),
        f"{LIB}/postgresql.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
        f"{LIB}/postgresql@.service": "[Service]\nType=forking\nExecStart=-/usr/bin/pg_ctlcluster %i start\n",
        **wanted("postgresql.service"),
        "/etc/postgresql/15/main/postgresql.conf": "",
        "/etc/postgresql/15/main/start.conf": "# how\n\nauto\n",
        "/etc/postgresql/15/spare/postgresql.conf": "",
        "/etc/postgresql/15/spare/start.conf": "manual # not now\n",
        "/etc/postgresql/11/gone/postgresql.conf": "",
        "/usr/lib/postgresql/15/bin/postgres": File(b"\x7fELF", mode=0o755),
    }
    assert started(files) == {"postgresql", "postgresql@15-main"}
    cause = services(files)["postgresql@15-main"].setting("WantedBy")
    assert cause == Setting("WantedBy", "postgresql.service", Place("/etc/postgresql/15/main/start.conf", 3))
    del files["/usr/lib/systemd/system-generators/postgresql-generator"]
    assert started(files) == {"postgresql"}


def _generator(name: str) -> dict[str, Content]:
    return {f"/usr/lib/systemd/system-generators/{name}": File("#!/bin/sh\n", mode=0o755)}


def _units(*names: str) -> dict[str, Content]:
    return {f"{LIB}/{name}": "[Service]\nExecStart=/bin/%p %i\n" for name in names}


def test_tor_and_postfix_instances() -> None:
    files = {
        **_generator("tor-generator"),
        **_generator("postfix-instance-generator"),
        **_units("tor.service", "tor@.service", "tor@default.service", "postfix.service", "postfix@.service"),
        **wanted("tor.service"),
        **wanted("postfix.service"),
        "/etc/tor/torrc": "",
        "/etc/tor/instances/exit/torrc": "",
        "/etc/postfix/main.cf": "multi_instance_directories = /etc/postfix-out, /etc/postfix-gone\n",
        "/etc/postfix-out/main.cf": "multi_instance_name = postfix-out\n",
    }
    assert started(files) == {"tor", "tor@default", "tor@exit", "postfix", "postfix@-", "postfix@postfix-out"}


def test_openvpn_instances() -> None:
    files = {
        **_generator("openvpn-generator"),
        **_units("openvpn.service", "openvpn@.service"),
        **wanted("openvpn.service"),
        "/etc/openvpn/office.conf": "",
        "/etc/openvpn/home.conf": "",
    }
    assert started(files) == {"openvpn", "openvpn@office", "openvpn@home"}
    files["/etc/default/openvpn"] = '# which\nAUTOSTART="home gone"\n'
    assert started(files) == {"openvpn", "openvpn@home"}
    files["/etc/default/openvpn"] = "AUTOSTART=none\n"
    assert started(files) == {"openvpn"}


def test_rc_local_and_cloud_init() -> None:
    files = {
        **_generator("systemd-rc-local-generator"),
        **_generator("cloud-init-generator"),
        **_units("rc-local.service", "cloud-final.service"),
        f"{LIB}/cloud-init.target": "[Unit]\n",
        **wanted("cloud-final.service", "cloud-init.target"),
        "/etc/rc.local": File("#!/bin/sh\n"),
    }
    assert started(files) == set()
    files["/etc/rc.local"] = File("#!/bin/sh\n", mode=0o755)
    files["/var/lib/cloud/instance"] = Link("/var/lib/cloud/instances/i-1")
    assert started(files) == {"rc-local", "cloud-final"}
    files["/etc/cloud/cloud-init.disabled"] = ""
    assert started(files) == {"rc-local"}


def test_podmans_containers_are_another_analyzers() -> None:
    files = {**_generator("podman-system-generator"), "/etc/containers/systemd/app.container": "[Container]\nImage=x\n"}
    assert of(Unread, findings(files)) == []
    assert podman.ANALYZER.join is not None
    services = [each for each in podman.ANALYZER.join(FakeGuest(files), []) if isinstance(each, Service)]
    assert [(each.id, each.manager) for each in services] == [("app", "podman")]


def test_a_generator_that_is_not_known_is_a_blind_spot() -> None:
    folder = "/etc/systemd/system-generators"
    files: dict[str, Content] = {
        f"{folder}/acme-generator": File("#!/bin/sh\n", mode=0o755),
        f"{folder}/not-executable": File("x"),
        f"{folder}/systemd-fstab-generator": File("x", mode=0o755),
        "/usr/lib/systemd/system-generators/masked": File("x", mode=0o755),
        f"{folder}/masked": Link("/dev/null"),
    }
    assert [one.seen_in.path for one in of(Unread, findings(files))] == [f"{folder}/acme-generator"]


def test_users_own_managers_are_a_blind_spot() -> None:
    unit = "/srv/orders/.config/systemd/user/mine.service"
    files: dict[str, Content] = {unit: "[Service]\nExecStart=/bin/a\n"}
    assert of(Unread, findings(files)) == []
    [unread] = of(Unread, findings({**files, "/var/lib/systemd/linger/orders": ""}))
    assert unread.seen_in == Place(unit)


def test_another_init_runs_no_units() -> None:
    files = {
        **BASE,
        f"{LIB}/a.service": "[Service]\nExecStart=/bin/a\n",
        "/usr/sbin/init": File(b"\x7fELF", mode=0o755),
    }
    assert list(analyze(FakeGuest(files))) == []


# ---------------------------------------------------------------- sockets


def test_socket_activation() -> None:
    files: dict[str, Content] = {
        f"{LIB}/web.service": "[Service]\nExecStart=/bin/web\n",
        f"{LIB}/web.socket": "[Socket]\nListenStream=/gone\nListenStream=\nListenStream=127.0.0.1:80\n"
        "ListenStream=[::1]:80\nListenDatagram=514\nListenStream=/var/run/%p.sock\nListenStream=@web\n"
        "ListenStream=vsock:2:1024\nListenFIFO=/run/fifo\nListenStream=nonsense\n",
        **wanted("web.socket", "sockets.target"),
        f"{LIB}/git@.service": "[Service]\nExecStart=/usr/lib/git-core/git-daemon --inetd\n",
        f"{LIB}/git.socket": "[Socket]\nListenStream=9418\nAccept=yes\n",
        **wanted("git.socket", "sockets.target"),
        f"{LIB}/idle.service": "[Service]\nExecStart=/bin/idle\n",
        f"{LIB}/idle.socket": "[Socket]\nListenStream=99\n",
    }
    found = findings(files)
    assert [(x.service, x.port, x.protocol, x.address, x.path, x.seen_in.line) for x in of(Listen, found)] == [
        ("git@", 9418, "tcp", "*", "", 2),
        ("web", 80, "tcp", "127.0.0.1", "", 4),
        ("web", 80, "tcp", "[::1]", "", 5),
        ("web", 514, "udp", "*", "", 6),
        ("web", None, "tcp", "*", "/run/web.sock", 7),
        ("web", None, "tcp", "*", "@web", 8),
    ]
    assert [one.seen_in.line for one in of(Unread, found)] == [11]
    assert started(files) == {"web", "git@"}
    cause = services(files)["web"].setting("TriggeredBy")
    assert cause is not None
    assert cause.value == "web.socket"


def test_a_path_unit_stands_ready_too() -> None:
    files: dict[str, Content] = {
        f"{LIB}/import.service": "[Unit]\nWants=helper.service\n[Service]\nType=oneshot\nExecStart=/bin/import\n",
        f"{LIB}/helper.service": "[Service]\nExecStart=/bin/helper\n",
        f"{LIB}/inbox.path": "[Path]\nPathExistsGlob=/srv/inbox/*\nUnit=import.service\n",
        **wanted("inbox.path", "paths.target"),
    }
    assert started(files) == {"import", "helper"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", (80, "*", "")),
        ("0.0.0.0:8080", (8080, "0.0.0.0", "")),
        ("[::]:443", (443, "[::]", "")),
        ("[fe80::1]:53%eth0", (53, "[fe80::1]", "")),
        ("/run/x.sock", (None, "*", "/run/x.sock")),
        ("0", None),
        ("65536", None),
        ("host:80", None),
        ("127.0.0.1", None),
        ("1.2.3:80", None),
    ],
)
def test_listen_addresses(text: str, expected: tuple[int | None, str, str] | None) -> None:
    assert parse_listen(text) == expected


# ---------------------------------------------------------------- the rest


def _one(unit: str, **more: Content) -> Service:
    return services({f"{LIB}/a.service": unit, **wanted("a.service"), **more})["a"]


def test_types() -> None:
    assert _one("[Service]\nExecStart=/bin/a\n").type == "simple"
    assert _one("[Service]\nExecStart=/bin/a\nBusName=org.a\n").type == "dbus"
    assert _one("[Service]\nExecStop=/bin/a\n").type == "oneshot"
    several = _one("[Service]\nType=oneshot\nExecStartPre=/bin/0\nExecStart=/bin/1\nExecStart=/bin/2\n")
    assert (several.before, several.command) == ((("/bin/0",), ("/bin/1",)), ("/bin/2",))


def test_two_commands_need_a_oneshot() -> None:
    files: dict[str, Content] = {f"{LIB}/a.service": "[Service]\nExecStart=/bin/1\nExecStart=/bin/2\n"}
    found = findings({**files, **wanted("a.service")})
    assert [one.enabled for one in of(Service, found)] == [False]
    assert of(Unread, found)[0].seen_in == Place(f"{LIB}/a.service", 3)


def test_users() -> None:
    assert _one("[Service]\nExecStart=/bin/a\n").user == "root"
    assert _one("[Service]\nExecStart=/bin/a\nDynamicUser=yes\n").user == "a"
    assert _one("[Service]\nExecStart=/bin/a\nDynamicUser=yes\nUser=b\n").user == "b"
    home = _one("[Service]\nExecStart=/bin/a ${HOME} ${STATE_DIRECTORY}\nUser=orders\nStateDirectory=x y\n")
    assert home.command == ("/bin/a", "/srv/orders", "/var/lib/x:/var/lib/y")


def test_an_empty_bounding_set_is_a_setting() -> None:
    assert _one("[Service]\nExecStart=/bin/a\nCapabilityBoundingSet=\n").setting("CapabilityBoundingSet") == Setting(
        "CapabilityBoundingSet", "", Place(f"{LIB}/a.service", 3)
    )


def test_credentials_in_units_stay() -> None:
    service = _one("[Service]\nExecStart=/bin/a\nSetCredential=pw:hunter2\nLoadCredential=tls:/etc/tls\n")
    assert "hunter2" not in repr(service)
    assert service.setting("LoadCredential") is not None


def test_the_managers_defaults_hold_where_the_unit_says_nothing() -> None:
    conf = {
        "/etc/systemd/system.conf": "[Manager]\nDefaultLimitNOFILE=1000\nDefaultTimeoutStopSec=9\nLogLevel=info\n",
        "/etc/systemd/system.conf.d/x.conf": "[Manager]\nDefaultLimitNOFILE=65536\nDefaultEnvironment=LC=de\n",
    }
    service = _one("[Service]\nExecStart=/bin/a\nTimeoutStopSec=5\n", **conf)
    assert service.setting("LimitNOFILE") == Setting(
        "LimitNOFILE", "65536", Place("/etc/systemd/system.conf.d/x.conf", 2)
    )
    assert [(s.value) for s in service.settings if s.name == "TimeoutStopSec"] == ["5"]
    assert [v.name for v in service.environment] == ["LC"]


def test_failures_are_findings() -> None:
    files: dict[str, Content] = {
        f"{LIB}/unreadable.service": Broken("input/output error"),
        f"{LIB}/header.service": "[Service\nExecStart=/bin/a\n",
        f"{LIB}/quote.service": "[Service]\nExecStart=/bin/a 'x\n",
        f"{LIB}/bytes.service": b"[Unit]\nDescription=\xff\n[Service]\nExecStart=/bin/a\n",
        f"{LIB}/environment.service": "[Service]\nEnvironment=1A=x\nExecStart=/bin/a\n",
        f"{LIB}/folder.service": Dir(),
        f"{LIB}/dangling.service": Link("/nowhere/x.service"),
        f"{LIB}/loop.service": Link("loop.service"),
        f"{LIB}/x.service": Link("y.service"),
        f"{LIB}/y.service": Link("x.service"),
    }
    found = findings(files)
    assert {str(one.seen_in): one.analyzer for one in of(Unread, found)} == {
        f"{LIB}/unreadable.service": "systemd",
        f"{LIB}/header.service:1": "systemd",
        f"{LIB}/quote.service:2": "systemd",
        f"{LIB}/bytes.service:2": "systemd",
        f"{LIB}/environment.service:2": "systemd",
    }
    assert {one.id for one in of(Service, found)} == {"quote", "bytes", "environment"}


_TEXTS = st.lists(
    st.sampled_from([*"[]=\\; \n%$'\"-@:!+x\udcff", "[Service]\n", "ExecStart=", "/bin/a", "User=", "Environment="]),
    max_size=30,
).map("".join)


@given(_TEXTS, _TEXTS)
def test_hostile_units(unit: str, dropin: str) -> None:
    files: dict[str, Content] = {
        f"{ETC}/a.service": f"[Service]\nExecStart=/bin/a\n{unit}",
        f"{ETC}/a.service.d/x.conf": f"[Service]\n{dropin}",
        f"{ETC}/a.timer": f"[Timer]\nOnCalendar=daily\n{unit}",
        f"{ETC}/a.socket": f"[Socket]\nListenStream=80\n{dropin}",
        **wanted("a.service"),
        **wanted("a.timer", "timers.target"),
        **wanted("a.socket", "sockets.target"),
    }
    for one in findings(files):
        assert one.seen_in.path.startswith("/")


def test_same_disk_same_findings() -> None:
    assert findings(ORDERS_FILES) == findings(dict(reversed(list(ORDERS_FILES.items()))))


def test_a_file_full_of_faults_is_told_in_few_words() -> None:
    found = of(Unread, findings({f"{LIB}/a.service": "[Service]\n" + "nonsense\n" * 1000}))
    assert len(found) == 11
    assert found[-1].why.startswith("990 more")


def test_a_very_long_file_is_read_so_far() -> None:
    text = "[Service]\nExecStart=/bin/a\n" + "#" * (300 << 10) + "\nUser=late\n"
    found = findings({f"{LIB}/a.service": text})
    assert [one.user for one in of(Service, found)] == ["root"]
    assert [one.seen_in.path for one in of(Unread, found)] == [f"{LIB}/a.service"]
