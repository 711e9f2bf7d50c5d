from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import jetty
from migrate.model import Finding, Foreground, Health, Listen, Need, Place, Rebind, Service, Unread, Uses, Variable
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

UNIT = "/usr/lib/systemd/system/jetty9.service"
# Debian 12's, without most of its comments.
INI = """\
# Jetty Startup Configuration
--module=deploy,http,jsp,jstl,websocket,ext,resources

# What host to listen on (leave commented to listen on all interfaces)
#jetty.host=myhost.com
jetty.http.port=8080
jetty.threadPool.maxThreads=200
"""
SERVICE = Service(
    seen_in=Place(UNIT, 19),
    id="jetty9",
    manager="systemd",
    enabled=True,
    unit=UNIT,
    command=("/usr/share/jetty9/bin/jetty.sh", "run"),
    working_directory="/usr/share/jetty9/",
    environment=(
        Variable("JETTY_HOME", "/usr/share/jetty9/", Place(UNIT, 13)),
        Variable("JAVA_OPTS", "-Djava.awt.headless=true -Xmx300m", Place(UNIT, 15)),
    ),
)


def found(ini: str = INI, files: Mapping[str, Content] | None = None, service: Service = SERVICE) -> list[Finding]:
    guest = FakeGuest({
        "/etc/jetty9/start.ini": ini,
        "/usr/share/jetty9/start.ini": Link("/etc/jetty9/start.ini"),
        "/usr/share/jetty9/webapps": Link("/var/lib/jetty9/webapps"),
        "/usr/share/jetty9/logs": Link("/var/log/jetty9"),
        "/var/lib/jetty9/webapps": Dir(),
        "/var/log/jetty9": Dir(),
        "/bin/bash": File("ELF", mode=0o755),
        **(files or {}),
    })  # fmt: skip
    return list(jetty.join(guest, [service]))


def test_debians_own() -> None:
    got = found()
    assert [f for f in got if isinstance(f, Listen)] == [
        Listen(seen_in=Place("/etc/jetty9/start.ini", 6), service="jetty9", port=8080)
    ]
    assert [f.command for f in got if isinstance(f, Foreground)] == [SERVICE.command]
    assert [f.command[-1] for f in got if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/8080"]
    assert {(f.path, f.role) for f in got if isinstance(f, Uses)} == {
        ("/etc/jetty9/start.ini", "config"), ("/var/lib/jetty9/webapps", "code"), ("/var/log/jetty9", "log"),
    }  # fmt: skip
    assert f"its configuration; -Xmx300m ({UNIT}:15)" in {f.says for f in got if isinstance(f, Uses)}


def test_a_base_in_opt_with_modules() -> None:
    files: dict[str, Content] = {
        "/srv/shop/start.d/http.ini": "--module=http\njetty.http.host = 127.0.0.1\n",
        "/srv/shop/start.d/https.ini": "--module=https\njetty.ssl.port=${p}\np=9443\n-Xmx1g\n",
        "/srv/shop/webapps/shop.xml": '<?xml version="1.0"?>\n<!DOCTYPE Configure PUBLIC "-//Jetty//EN" "https://x/y.dtd">\n'
        '<Configure><Set name="war">/srv/shop.war</Set>\n<New><Set name="URL">jdbc:mysql://db.corp/shop?password=geheim</Set></New></Configure>',
        "/srv/shop.war": "PK",
    }  # fmt: skip
    service = Service(
        seen_in=Place("/etc/systemd/system/shop.service", 4),
        id="shop",
        manager="systemd",
        enabled=True,
        unit="/etc/systemd/system/shop.service",
        command=("/usr/bin/java", "-Djetty.base=/srv/shop", "-jar", "/opt/jetty/start.jar", "jetty.http.port=8099"),
    )
    got = found(files=files, service=service)
    assert [(f.port, f.address, str(f.seen_in)) for f in got if isinstance(f, Listen)] == [
        (8099, "127.0.0.1", "/etc/systemd/system/shop.service:4"),
        (9443, "*", "/srv/shop/start.d/https.ini:2"),
    ]
    assert [(f.before, f.after, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [
        ("jetty.http.host = 127.0.0.1", "jetty.http.host = 0.0.0.0", 2)
    ]
    assert [(f.over, f.host_text, f.seen_in.line) for f in got if isinstance(f, Need)] == [
        ("tcp:db.corp:3306", "db.corp", 4)
    ]
    assert "geheim" not in repr(got)
    assert ("/srv/shop.war", "code") in {(f.path, f.role) for f in got if isinstance(f, Uses)}


def test_defaults_are_assumed_and_connectors_in_xml_are_told() -> None:
    assert [(f.port, f.assumed) for f in found("--module=http\n") if isinstance(f, Listen)] == [(8080, True)]
    assert ["XML" in f.why for f in found("--module=deploy\n") if isinstance(f, Unread)] == [True]
    assert found(service=Service(seen_in=Place("/x"), id="x", manager="systemd", enabled=True, unit="/x")) == []


PIECES = st.sampled_from([
    "--module=", "http", "jetty.http.port", "=", "${jetty.http.port}", "\n", "-Xmx", "https,", "jetty.host=",
    "127.0.0.1",
    "<Set name='war'>", "</Set>", "<x>", "</x>", "../..", "\0",
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=6), max_size=15).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    assert found(text, {"/var/lib/jetty9/webapps/a.xml": text})
