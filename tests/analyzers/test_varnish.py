from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import varnish
from analyzers.varnish import parse_listen
from migrate.model import (
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
    Unread,
    Uses,
)
from tests.analyzers.fake import Content, FakeGuest, File
from tests.analyzers.started import started

VCL = "/etc/varnish/default.vcl"
# Debian 12's, trimmed.
TEXT = """\
# This is an example VCL file for Varnish.
vcl 4.1;

# Default backend definition. Set this to point to your content server.
backend default {
    .host = "127.0.0.1";
    .port = "8080";
}
sub vcl_recv {
    # Happens before we check if we have this in cache already.
}
"""
SHOP = """\
vcl 4.1;
import std;
import directors from "/usr/lib/x86_64-linux-gnu/varnish/vmods/libvmod_directors.so";
import header;
/* backend old { .host = "old.example"; }
 * .host in a comment */
include "backends.vcl";   // beside
backend api {
    .probe = { .url = "/healthz"; .host = "wrong.example"; .request = "GET / HTTP/1.1"
        "Host: x"; }
    .host = "api.corp.example"; .port = "http";
}
backend sock { .path = "/run/shop/web.sock"; }
backend none none;
sub vcl_init { new lb = directors.round_robin(); lb.add_backend(api); }
sub vcl_synth { synthetic({"<p>backend fake { .host = "nowhere"; }</p>"});
    synthetic(std.fileread("/etc/varnish/e.html")); }
"""
BACKENDS = 'backend s1 { .host = "10.0.0.7"; .port = "8000"; }\nbackend v6 { .host = "fd00::7"; }\n'
COMMAND = (
    "/usr/sbin/varnishd -j unix,user=vcache -F -a :6081 -T localhost:6082 "
    f"-f {VCL} -S /etc/varnish/secret -s malloc,256m"
)
NCSA = "/usr/bin/varnishncsa -a -w /var/log/varnish/varnishncsa.log -D -P /run/varnishncsa/varnishncsa.pid"
UNIT = Place("/usr/lib/systemd/system/varnish.service", 3)
VMODS = "/usr/lib/x86_64-linux-gnu/varnish/vmods"


def analyzed(text: str = TEXT, command: str = COMMAND, defaults: str = "") -> list[Finding]:
    files: dict[str, Content] = {
        VCL: text,
        "/etc/varnish/backends.vcl": BACKENDS,
        "/etc/varnish/secret": "x",
        "/etc/varnish/e.html": "<p>",
        "/etc/varnish/varnish.params": defaults,
        "/bin/bash": File("ELF", mode=0o755),
        "/usr/sbin/varnishd": File("ELF", mode=0o755),
        f"{VMODS}/libvmod_directors.so": File("ELF"),
        f"{VMODS}/libvmod_header.so": File("ELF"),
    }
    own = ("/usr/sbin/varnishd", f"{VMODS}/libvmod_directors.so")
    findings = (
        started("varnish", command, ("/etc/varnish/varnish.params",)),
        started("varnishncsa", NCSA, user="varnishlog"),
        PackageFiles(seen_in=UNIT, package="varnish", paths=own),
        PackageFiles(seen_in=UNIT, package="varnish-modules", paths=(f"{VMODS}/libvmod_header.so",)),
    )
    return list(varnish.join(FakeGuest(files), findings))


def test_debian() -> None:
    found = [f for f in analyzed() if getattr(f, "service", "") == "varnish"]
    assert [f for f in found if isinstance(f, Listen)] == [
        Listen(seen_in=UNIT, service="varnish", port=6081),
        Listen(seen_in=UNIT, service="varnish", port=6082, address="localhost"),
    ]
    assert [(f.over, f.host_text, f.seen_in) for f in found if isinstance(f, Need)] == [
        ("tcp:127.0.0.1:8080", "127.0.0.1", Place(VCL, 6))
    ]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses)} == {
        ("/var/lib/varnish", "runtime"),
        ("/etc/varnish/secret", "config"),
        (VCL, "config"),
    }
    assert [f.user for f in found if isinstance(f, RunsAs)] == ["vcache"]
    assert [" ".join(f.command) for f in found if isinstance(f, Foreground)] == [
        COMMAND.replace(" -j unix,user=vcache", "")
    ]
    assert len([f for f in found if isinstance(f, Health)]) == 1
    assert not [f for f in found if isinstance(f, Rebind | Requires | Unread)]


def test_the_log_daemon_runs_beside_it_and_prints() -> None:
    found = [f for f in analyzed() if getattr(f, "service", "") == "varnishncsa"]
    assert [f.command for f in found if isinstance(f, Foreground)] == [("/usr/bin/varnishncsa", "-a")]
    assert [f.over for f in found if isinstance(f, Need)] == ["files:/var/lib/varnish"]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [("/var/log/varnish/varnishncsa.log", "log")]


def test_backends_modules_and_files_of_a_program() -> None:
    found = analyzed(SHOP)
    needs = [f for f in found if isinstance(f, Need) and f.service == "varnish"]
    assert [(f.over, f.seen_in) for f in needs] == [
        ("tcp:10.0.0.7:8000", Place("/etc/varnish/backends.vcl", 1)),
        ("tcp:[fd00::7]:80", Place("/etc/varnish/backends.vcl", 2)),
        ("tcp:api.corp.example:80", Place(VCL, 11)),
        ("unix:/run/shop/web.sock", Place(VCL, 13)),
    ]
    assert [(f.package, f.seen_in.line) for f in found if isinstance(f, Requires)] == [("varnish-modules", 4)]
    config = {f.path for f in found if isinstance(f, Uses) and f.role == "config"}
    assert {"/etc/varnish/backends.vcl", "/etc/varnish/e.html"} <= config
    assert not [f for f in found if isinstance(f, Unread)]


def test_other_options() -> None:
    found = analyzed(
        command="/usr/sbin/varnishd -a web=127.0.0.1:80,HTTP -a /run/varnish/v.sock,PROXY,mode=666 -n shop "
        "-s disk=file,/var/cache/varnish/bin,1G -b 10.0.0.5:8081 -P /run/varnish.pid -T none"
    )
    assert [(f.port, f.address, f.path) for f in found if isinstance(f, Listen)] == [
        (80, "127.0.0.1", ""),
        (None, "*", "/run/varnish/v.sock"),
    ]
    assert [(f.before, f.after) for f in found if isinstance(f, Rebind)] == [("web=127.0.0.1:80,HTTP", "web=:80,HTTP")]
    assert [f.over for f in found if isinstance(f, Need) and f.service == "varnish"] == ["tcp:10.0.0.5:8081"]
    assert {(f.path, f.role) for f in found if isinstance(f, Uses) and f.service == "varnish"} == {
        ("/run/varnish", "runtime"),
        ("/var/lib/varnish/shop", "runtime"),
        ("/var/cache/varnish/bin", "cache"),
    }
    command = next(f.command for f in found if isinstance(f, Foreground) and f.service == "varnish")
    assert command[1] == "-F"
    assert "-P" not in command
    assert [f.assumed for f in analyzed(command="/usr/sbin/varnishd -F") if isinstance(f, Listen)] == [True]


def test_red_hats_parameters() -> None:
    params = 'VARNISH_LISTEN_PORT=6081\nVARNISH_STORAGE="malloc,256M"\n'
    params += 'DAEMON_OPTS="-p thread_pools=2 -j unix,user=varnish"\n'
    command = f"/usr/sbin/varnishd -a :${{VARNISH_LISTEN_PORT}} -f {VCL} -s ${{VARNISH_STORAGE}} $DAEMON_OPTS"
    found = analyzed(command=command, defaults=params)
    assert [(f.port, f.seen_in) for f in found if isinstance(f, Listen)] == [
        (6081, Place("/etc/varnish/varnish.params", 1))
    ]
    assert [(f.user, f.seen_in.line) for f in found if isinstance(f, RunsAs)] == [("varnish", 3)]
    run = next(f.command for f in found if isinstance(f, Foreground) and f.service == "varnish")
    assert run == ("/usr/sbin/varnishd", "-F", "-a", ":6081", "-f", VCL, "-s", "malloc,256M", "-p", "thread_pools=2")


def test_programs_that_include_one_another() -> None:
    found = analyzed('include "./default.vcl";\ninclude +glob "*.vcl";\n')
    assert any("include one another" in f.why for f in found if isinstance(f, Unread))


@pytest.mark.parametrize("text", ["", "x y", "a=", "127.0.0.1:99999", "[::1", ","])
def test_no_address(text: str) -> None:
    assert parse_listen(text) is None


@given(st.lists(st.sampled_from([*SHOP.split(), "{", "}", '"', '{"', '"}', '"""', "/*", "backend", "import", "\n"])))
@settings(max_examples=150, deadline=None)
def test_no_text_raises(words: list[str]) -> None:
    assert all(f.seen_in.path for f in analyzed(" ".join(words)))
