from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import bind
from analyzers._named_conf import parse
from migrate.model import (
    Caution,
    EnvironmentFile,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    RunsAs,
    Service,
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File

UNIT = "/usr/lib/systemd/system/named.service"
OPTIONS = "/etc/bind/named.conf.options"
LOCAL = "/etc/bind/named.conf.local"
# Debian 12's files, with most of the comments left out.
DEBIAN: dict[str, Content] = {
    "/usr/sbin/named": File("ELF", mode=0o755),
    "/bin/bash": File("ELF", mode=0o755),
    "/usr/share/dns/root.hints": ". NS a.root-servers.net.\n",
    "/etc/default/named": '# run resolvconf?\nRESOLVCONF=no\n\nOPTIONS="-u bind"\n',
    "/etc/bind/named.conf": f'// the primary file\ninclude "{OPTIONS}";\ninclude "{LOCAL}";\n'
    'include "/etc/bind/named.conf.default-zones";\n',
    OPTIONS: 'options {\n\tdirectory "/var/cache/bind";\n\t// forwarders {\n\t// \t0.0.0.0;\n\t// };\n'
    "\tdnssec-validation auto;\n\n\tlisten-on-v6 { any; };\n};\n",
    LOCAL: "//\n",
    "/etc/bind/named.conf.default-zones": 'zone "." {\n\ttype hint;\n\tfile "/usr/share/dns/root.hints";\n};\n'
    'zone "localhost" {\n\ttype master;\n\tfile "/etc/bind/db.local";\n};\n',
    "/etc/bind/rndc.key": 'key "rndc-key" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0";\n};\n',
}
HINTS = PackageFiles(seen_in=Place("/d"), package="dns-root-data", paths=("/usr/share/dns/root.hints",))
LOCAL_ZONES = """\
acl inside { 10.0.0.0/8; };
primaries hidden { 192.0.2.1 port 5353; 192.0.2.2; };
zone "corp.example" { type primary; file "/var/lib/bind/corp.db"; update-policy local; };
zone "static.example" { type master; file "/etc/bind/db.static"; };
zone "copy.example" IN {
    type slave; /* of the hidden ones */
    masters { hidden; };
    file "copy.db";
};
zone "ad.example" { type forward; forwarders { 192.0.2.9 port 54; }; };
logging { channel q { file "/var/log/named/q.log" versions 3; }; };
statistics-channels { inet 127.0.0.1 port 8053 allow { any; }; };
controls { };
"""
# Red Hat's default.
RHEL = """\
options {
	listen-on port 53 { 127.0.0.1; };
	listen-on-v6 port 53 { ::1; };
	directory 	"/var/named";
	allow-query     { localhost; };
	recursion yes;
};
zone "." IN {
	type hint;
	file "named.ca";
};
"""


def unit(*command: str, path: str = "/etc/default/named") -> Service:
    return Service(seen_in=Place(UNIT, 11), id="named", manager="systemd", enabled=True, unit=UNIT,
                   command=command or ("/usr/sbin/named", "-f", "$OPTIONS"),
                   environment_files=(EnvironmentFile(path, True, Place(UNIT, 10)),))  # fmt: skip


def joined(files: Mapping[str, Content] | None = None, by: Service | None = None) -> list[Finding]:
    return list(bind.join(FakeGuest({**DEBIAN, **(files or {})}), [by or unit(), HINTS]))


def test_how_it_runs() -> None:
    found = joined()
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/sbin/named", "-g", "-u", "bind")]
    assert [(f.user, f.seen_in) for f in found if isinstance(f, RunsAs)] == [("bind", Place("/etc/default/named", 4))]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/53"]


def test_where_debians_listens() -> None:
    assert [(f.address, f.port, f.protocol, f.assumed) for f in joined() if isinstance(f, Listen)] == [
        ("::", 53, "tcp", False),
        ("::", 53, "udp", False),
        ("*", 53, "tcp", True),
        ("*", 53, "udp", True),
        ("127.0.0.1", 953, "tcp", True),
    ]
    other = joined(by=unit("/usr/sbin/named", "-p", "5300", "-f"))
    assert {f.port for f in other if isinstance(f, Listen)} == {5300, 953}


def test_debians_files() -> None:
    found = joined()
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        ("/etc/bind/named.conf", "config"),
        (OPTIONS, "config"),
        (LOCAL, "config"),
        ("/etc/bind/named.conf.default-zones", "config"),
        ("/etc/bind/db.local", "config"),
        ("/etc/bind/rndc.key", "config"),
        ("/var/cache/bind", "cache"),
        ("/run/named", "runtime"),
    }
    assert [f.package for f in found if isinstance(f, Requires)] == ["dns-root-data"]
    assert ["no allow-recursion" in f.says for f in found if isinstance(f, Caution)] == [True]
    assert "c2VjcmV0" not in repr(found)


def test_zones() -> None:
    found = joined({LOCAL: LOCAL_ZONES})
    assert [(f.path, f.role, f.seen_in.line) for f in found if isinstance(f, Uses) and f.seen_in.path == LOCAL] == [
        ("/var/lib/bind", "data", 3),
        ("/etc/bind/db.static", "config", 4),
        ("/var/cache/bind", "data", 8),
        (LOCAL, "config", None),
        ("/var/log/named/q.log", "log", 11),
    ]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [
        ("tcp:192.0.2.1:5353", 2),
        ("tcp:192.0.2.2:53", 2),
        ("udp:192.0.2.9:54", 10),
    ]
    assert [(f.address, f.port) for f in found if isinstance(f, Listen) and f.port != 53] == [("127.0.0.1", 8053)]


def test_red_hats_answers_the_machine_only() -> None:
    files = {"/etc/named.conf": RHEL, "/etc/sysconfig/named": "OPTIONS=\n"}
    by = unit("/usr/sbin/named", "-u", "named", "-c", "/etc/named.conf", path="/etc/sysconfig/named")
    found = joined(files, by)
    assert [(f.before, f.after, f.seen_in) for f in found if isinstance(f, Rebind)] == [
        ("{ 127.0.0.1; }", "{ any; }", Place("/etc/named.conf", 2)),
        ("{ ::1; }", "{ any; }", Place("/etc/named.conf", 3)),
        ("{ localhost; }", "{ any; }", Place("/etc/named.conf", 5)),
    ]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        ("/etc/named.conf", "config"),
        ("/var/named/named.ca", "config"),
        ("/var/named", "data"),
        ("/run/named", "runtime"),
    }
    assert not any(isinstance(f, Unread) for f in found)


def test_forwarders_and_views() -> None:
    text = 'view "in" { forwarders { 192.0.2.53; ::1; }; zone "x" { type primary; file "x"; }; };\n'
    found = joined({LOCAL: text})
    assert [f.over for f in found if isinstance(f, Need)] == ["udp:192.0.2.53:53", "udp:[::1]:53"]
    assert ("/var/cache/bind/x", "config") in {(f.path, f.role) for f in found if isinstance(f, Uses)}


def test_a_root_of_its_own_and_an_init_script() -> None:
    chroot = {"/jail/etc/bind/named.conf": 'options { directory "/z"; };\n'}
    found = joined(chroot, unit("/usr/sbin/named", "-t", "/jail", "-u", "bind"))
    assert {f.path for f in found if isinstance(f, Uses)} == {"/jail/etc/bind/named.conf", "/jail/z", "/jail/run/named"}
    script = Service(seen_in=Place("/etc/init.d/named", 1), id="named", manager="sysv", enabled=True,
                     unit="/etc/init.d/named", command=("/etc/init.d/named", "start"))  # fmt: skip
    assert [f.command for f in joined(by=script) if isinstance(f, Foreground)] == [
        ("/usr/sbin/named", "-g", "-u", "bind")
    ]


def test_includes_that_lead_back_end() -> None:
    found = joined({LOCAL: 'include "/etc/bind/*";\n'})
    assert any("leads back" in f.why for f in found if isinstance(f, Unread))


def test_statements() -> None:
    found = parse('a "b\\"c" # x\n{ d 1; /* ; */ e { f; }; };\n} g;', "/f")
    assert [(s.words, s.place.line) for s in found] == [(["a", 'b\\"c'], 1), (["g"], 3)]
    assert [(s.words, [i.words for i in s.block]) for s in found[0].block] == [(["d", "1"], []), (["e"], [["f"]])]


def test_blocks_nested_without_end() -> None:
    assert any(isinstance(f, Listen) for f in joined({LOCAL: "view { " * 5000}))


SAMPLES = """options {|};|{|}|;|listen-on { 127.0.0.1|listen-on {|zone "x" {|type slave|file "|file x|masters { m; }
|view {|forwarders { 1.1.1.1|include "*"|include|include "/etc/bind/named.conf"|directory|directory "../"|controls {
|inet|unix /x|/*|//|logging {|channel x {|primaries m { m; }|directory "/etc" "\""""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("; ".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined({LOCAL: text, OPTIONS: text})
