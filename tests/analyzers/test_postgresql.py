from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import postgresql
from analyzers._postgresql_conf import commented, control_state, networks, parse_hba, parse_settings
from migrate.model import (
    Covers,
    Finding,
    Foreground,
    Health,
    Listen,
    Package,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    Service,
    Setting,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

CONF = "/etc/postgresql/15/main"
DATA = "/var/lib/postgresql/15/main"

# From Debian 12's postgresql.conf, with the lines that stand between left out.
SETTINGS = """\
data_directory = '/var/lib/postgresql/15/main'		# use data in another directory
hba_file = '/etc/postgresql/15/main/pg_hba.conf'	# host-based authentication file
ident_file = '/etc/postgresql/15/main/pg_ident.conf'	# ident configuration file
external_pid_file = '/var/run/postgresql/15-main.pid'			# write an extra PID file
#listen_addresses = 'localhost'		# what IP address(es) to listen on;
					# comma-separated list of addresses;
port = 5432				# (change requires restart)
unix_socket_directories = '/var/run/postgresql'	# comma-separated list of directories
ssl = on
ssl_cert_file = '/etc/ssl/certs/ssl-cert-snakeoil.pem'
#ssl_crl_file = ''
lc_messages = 'C.UTF-8'			# locale for system error message
include_dir = 'conf.d'			# include files ending in '.conf' from
"""
HBA = """\
# TYPE  DATABASE        USER            ADDRESS                 METHOD
local   all             postgres                                peer
host    all             all             127.0.0.1/32            scram-sha-256
host    all             all             ::1/128                 scram-sha-256
local   replication     all                                     peer
host    replication     all             127.0.0.1/32            scram-sha-256
"""
UNIT = """\
[Service]
Type=forking
ExecStart=-/usr/bin/pg_ctlcluster --skip-systemctl-redirect %i start
ExecStop=/usr/bin/pg_ctlcluster --skip-systemctl-redirect -m fast %i stop
TimeoutStopSec=1h
OOMScoreAdjust=-900
"""


def control(state: int, order: str = "<") -> bytes:
    """Return the head of a pg_control of PostgreSQL 15."""
    return struct.pack(f"{order}QIIi", 7700000000000000000, 1300, 202209061, state) + bytes(8172)


FILES: dict[str, Content] = {
    f"{CONF}/postgresql.conf": SETTINGS,
    f"{CONF}/pg_hba.conf": HBA,
    f"{CONF}/start.conf": "# Automatic startup configuration\n\nauto\n",
    f"{CONF}/environment": "# for postgres\nTZ = 'Europe/Berlin'\n",
    f"{CONF}/pg_ctl.conf": "pg_ctl_options = ''\n",
    f"{CONF}/conf.d/shop.conf": "shared_buffers = 64MB\n",
    f"{DATA}/PG_VERSION": "15\n",
    f"{DATA}/global/pg_control": control(1),
    DATA: Dir(mode=0o700, uid=106, gid=113),
    "/etc/passwd": "postgres:x:106:113::/var/lib/postgresql:/bin/bash\n",
    "/lib": Link("usr/lib"),
    "/usr/lib/systemd/system/postgresql@.service": UNIT,
    "/etc/systemd/system/multi-user.target.wants/postgresql.service": Link("/lib/systemd/system/postgresql.service"),
    "/usr/lib/postgresql/15/bin/pg_isready": File("ELF", mode=0o755),
}


def analyzed() -> list[Finding]:
    return list(postgresql.analyze(FakeGuest(FILES)))


def with_file(path: str, content: Content) -> list[Finding]:
    return list(postgresql.analyze(FakeGuest({**FILES, path: content})))


def test_the_cluster_as_a_service() -> None:
    found = analyzed()
    service = next(f for f in found if isinstance(f, Service))
    command = ("/usr/lib/postgresql/15/bin/postgres", "-D", DATA, "-c", f"config_file={CONF}/postgresql.conf")
    unit = "/lib/systemd/system/postgresql@.service"
    assert service == Service(
        seen_in=Place(f"{CONF}/postgresql.conf"),
        id="postgresql",
        manager="postgresql-common",
        enabled=True,
        unit=unit,
        description="PostgreSQL 15 cluster main",
        command=command,
        user="postgres",
        environment=(
            Variable("LANG", "C.UTF-8", Place(f"{CONF}/postgresql.conf", 12)),
            Variable("TZ", "Europe/Berlin", Place(f"{CONF}/environment", 2)),
        ),
        settings=(
            Setting("KillSignal", "SIGINT", Place(unit, 4)),
            Setting("OOMScoreAdjust", "-900", Place(unit, 6)),
            Setting("TimeoutStopSec", "1h", Place(unit, 5)),
        ),
        after=("network.target",),
    )
    assert [f.units for f in found if isinstance(f, Covers)] == [("postgresql", "postgresql@", "postgresql@15-main")]
    assert [f.command for f in found if isinstance(f, Foreground)] == [command]
    assert [f for f in found if isinstance(f, Unread)] == []


@pytest.mark.parametrize(
    ("start", "wanted", "enabled"),
    [("auto", True, True), ("manual", True, False), ("disabled", True, False), ("auto", False, False)],
)
def test_whether_a_boot_starts_it(start: str, wanted: bool, enabled: bool) -> None:
    files = {**FILES, f"{CONF}/start.conf": f"{start}\n"}
    if not wanted:
        del files["/etc/systemd/system/multi-user.target.wants/postgresql.service"]
    found = postgresql.analyze(FakeGuest(files))
    assert [f.enabled for f in found if isinstance(f, Service)] == [enabled]


def test_where_it_listens() -> None:
    place = Place(f"{CONF}/postgresql.conf", 7)
    assert [f for f in analyzed() if isinstance(f, Listen)] == [
        Listen(seen_in=place, service="postgresql", port=5432, address="localhost", assumed=True),
        Listen(seen_in=Place(f"{CONF}/postgresql.conf", 8), service="postgresql", path="/run/postgresql/.s.PGSQL.5432"),
    ]


def test_the_last_word_on_a_setting_counts() -> None:
    found = with_file(f"{CONF}/conf.d/z.conf", "port 5433\nListen_Addresses='*, ::1'\n")
    assert {(f.port, f.address) for f in found if isinstance(f, Listen) and f.port} == {(5433, "*"), (5433, "::1")}
    assert "/run/postgresql/.s.PGSQL.5433" in {f.path for f in found if isinstance(f, Listen)}
    assert not any("listen_addresses" in f.before for f in found if isinstance(f, Rebind))


def test_alter_system_goes_over_the_files_and_cannot_be_edited_in_an_image() -> None:
    found = with_file(
        f"{DATA}/postgresql.auto.conf", "# by ALTER SYSTEM\nlisten_addresses = '127.0.0.1'\nport = '6000'\n"
    )
    assert [(f.port, f.address, f.assumed) for f in found if isinstance(f, Listen) and f.port] == [
        (6000, "127.0.0.1", False)
    ]
    assert not any("listen" in f.before for f in found if isinstance(f, Rebind))
    assert [str(f.seen_in) for f in found if isinstance(f, Unread)] == [f"{DATA}/postgresql.auto.conf:2"]


def test_what_must_change_for_clients_in_other_pods() -> None:
    rebinds = [f for f in analyzed() if isinstance(f, Rebind)]
    assert [(f.before, f.after, str(f.seen_in)) for f in rebinds] == [
        ("#listen_addresses = 'localhost'", "listen_addresses = '*'", f"{CONF}/postgresql.conf:5"),
        ("127.0.0.1/32", "0.0.0.0/0", f"{CONF}/pg_hba.conf:3"),
    ]
    lines = {f"{CONF}/postgresql.conf": SETTINGS.split("\n"), f"{CONF}/pg_hba.conf": HBA.split("\n")}
    for rebind in rebinds:
        assert rebind.before in lines[rebind.seen_in.path][(rebind.seen_in.line or 0) - 1]


@pytest.mark.parametrize("method", ["trust", "peer", "ident", "cert"])
def test_access_without_a_password_is_not_widened(method: str) -> None:
    found = with_file(f"{CONF}/pg_hba.conf", f"host all all 127.0.0.1/32 {method}\n")
    assert not any(f.after == "0.0.0.0/0" for f in found if isinstance(f, Rebind))
    assert [(str(f.seen_in), method in f.why) for f in found if isinstance(f, Unread)] == [
        (f"{CONF}/pg_hba.conf:1", True)
    ]


def test_access_that_is_wide_already_stays() -> None:
    found = with_file(f"{CONF}/pg_hba.conf", HBA + "hostssl all all 0.0.0.0/0 scram-sha-256\n")
    assert not any(f.after == "0.0.0.0/0" for f in found if isinstance(f, Rebind))


def test_files_with_their_roles() -> None:
    files = {**FILES, f"{DATA}/pg_tblspc/16401": Link("/mnt/fast"), "/mnt/fast": Dir(uid=106)}
    found = {(f.path, f.role): f.says for f in postgresql.analyze(FakeGuest(files)) if isinstance(f, Uses)}
    assert set(found) == {
        (DATA, "data"),
        ("/mnt/fast", "data"),
        (CONF, "config"),
        ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "config"),
        ("/run/postgresql", "runtime"),
        ("/var/log/postgresql/postgresql-15-main.log", "log"),
    }
    assert found[DATA, "data"] == "the databases of PostgreSQL 15; it was shut down cleanly"


def test_a_server_that_was_not_shut_down_is_told() -> None:
    found = with_file(f"{DATA}/global/pg_control", control(6))
    assert any("it was not shut down (in production)" in f.says for f in found if isinstance(f, Uses))


def test_health_is_asked_with_the_full_path() -> None:
    assert [f.command for f in analyzed() if isinstance(f, Health)] == [
        ("/usr/lib/postgresql/15/bin/pg_isready", "-q", "-h", "/run/postgresql", "-p", "5432")
    ]


def test_several_clusters_have_names_of_their_own() -> None:
    files = {**FILES, "/etc/postgresql/13/old/postgresql.conf": "port = 5433\n"}
    found = list(postgresql.analyze(FakeGuest(files)))
    services = {f.id: f for f in found if isinstance(f, Service)}
    assert sorted(services) == ["postgresql-13-old", "postgresql-15-main"]
    assert services["postgresql-13-old"].command[2] == "/var/lib/postgresql/13/old"
    # pg_ctlcluster hands these over where postgresql.conf does not name them
    assert "hba_file=/etc/postgresql/13/old/pg_hba.conf" in services["postgresql-13-old"].command


def test_the_red_hat_layout_has_a_unit_of_its_own() -> None:
    data = "/var/lib/pgsql/data"
    guest = FakeGuest({f"{data}/postgresql.conf": "#listen_addresses = 'localhost'\n", f"{data}/pg_hba.conf": HBA})
    found = list(postgresql.analyze(guest))
    assert not any(isinstance(f, Service | Covers | Foreground) for f in found)
    assert [(f.path, f.role) for f in found if isinstance(f, Uses) and f.role == "data"] == [(data, "data")]
    assert {f.port for f in found if isinstance(f, Listen)} == {5432, None}


def test_packages_of_libraries_extensions_and_locales() -> None:
    changed = SETTINGS.replace("C.UTF-8", "de_DE.UTF-8")
    changed += "shared_preload_libraries = 'pg_stat_statements, timescaledb,gone'\n"
    library = "/usr/lib/postgresql/15/lib/timescaledb.so"
    files = {
        **FILES,
        f"{CONF}/postgresql.conf": changed,
        library: "ELF",
        "/usr/lib/postgresql/15/lib/pg_stat_statements.so": "ELF",
        "/usr/lib/locale/locale-archive": "x",
    }
    here = Place("/var/lib/dpkg/status", 1)

    def package(name: str) -> Package:
        return Package(seen_in=here, name=name, version="1", architecture="amd64", manager="dpkg", chosen=True)

    findings: list[Finding] = [
        PackageFiles(seen_in=here, package="timescaledb-2", paths=(library,)),
        PackageFiles(
            seen_in=here, package="postgresql-15", paths=("/usr/lib/postgresql/15/lib/pg_stat_statements.so",)
        ),
        package("postgresql-15-postgis-3"),
        package("locales"),
    ]
    found = list(postgresql.join(FakeGuest(files), findings))
    assert {f.package for f in found if isinstance(f, Requires)} == {
        "timescaledb-2",
        "postgresql-15",
        "postgresql-15-postgis-3",
        "locales",
    }
    assert {f.path for f in found if isinstance(f, Uses)} == {"/usr/lib/locale/locale-archive"}
    assert ["gone" in f.why for f in found if isinstance(f, Unread)] == [True]


# ---------------------------------------------------------------- the parts


def test_settings_as_the_manual_has_them() -> None:
    text = """# a comment
log_connections = yes
log_destination = 'syslog'
search_path = '"$user", public'
shared_buffers 128MB # x
a.b = 'it''s \\'x'
nonsense
"""
    assert [(line, name, value) for line, name, value, _ in parse_settings(text)] == [
        (2, "log_connections", "yes"),
        (3, "log_destination", "syslog"),
        (4, "search_path", '"$user", public'),
        (5, "shared_buffers", "128MB"),
        (6, "a.b", "it's 'x"),
        (7, "", ""),
    ]


def test_commented_settings() -> None:
    assert commented(SETTINGS, "listen_addresses") == (5, "#listen_addresses = 'localhost'")
    assert commented(SETTINGS, "port") is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_state_in_pg_control(order: str) -> None:
    assert control_state(control(1, order)) == "shut down"
    assert control_state(control(6, order)) == "in production"


@given(st.binary(max_size=64))
def test_any_bytes_are_no_pg_control_or_one(data: bytes) -> None:
    control_state(data)


def test_lines_of_pg_hba() -> None:
    text = """host "a b",c all 127.0.0.1 255.255.255.255 md5 # x
host all all localhost trust
hostssl all all all cert
local all all peer
"""
    assert [(f.line, f.databases, f.address, f.method) for f in parse_hba(text)] == [
        (1, ("a b", "c"), "127.0.0.1 255.255.255.255", "md5"),
        (2, ("all",), "localhost", "trust"),
        (3, ("all",), "all", "cert"),
    ]
    assert [
        networks(a) for a in ("127.0.0.1/32", "127.0.0.1 255.255.255.255", "0.0.0.0/0", "10.0.0.0/8", "::1/128")
    ] == [
        True,
        True,
        False,
        None,
        None,
    ]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    list(parse_settings(text))
    commented(text, "port")
    for line in parse_hba(text):
        networks(line.address)


SAMPLES = """include 'postgresql.conf'|include_dir '.'|include_dir 'conf.d'|port = 99999|port=''|listen_addresses = ''
|data_directory = '../../..'|'|unix_socket_directories='@x,/run/x'"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    list(postgresql.analyze(FakeGuest({f"{CONF}/postgresql.conf": text, f"{CONF}/conf.d/a.conf": text})))
