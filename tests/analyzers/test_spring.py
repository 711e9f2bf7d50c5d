from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import spring
from analyzers._spring import properties_settings
from analyzers._yaml_lines import yaml_settings
from migrate.model import EnvironmentFile, Finding, Health, Listen, Need, Place, Rebind, Service, Unread, Uses, Variable
from tests.analyzers.fake import Content, Dir, FakeGuest, File

UNIT = "/etc/systemd/system/orders.service"
JAR = "/srv/orders/orders.jar"


def made(files: Mapping[str, str], web: str = "tomcat-embed-core-10.1.1.jar") -> bytes:
    """A jar as Spring Boot's plugin packs it."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        main = "Main-Class: org.springframework.boot.loader.launch.JarLauncher\nStart-Class: shop.Orders\n"
        archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\n{main}")
        for name in ("spring-boot-3.2.0.jar", web):
            archive.writestr(f"BOOT-INF/lib/{name}", inner.getvalue())
        for name, text in files.items():
            archive.writestr(f"BOOT-INF/classes/{name}", text)
    return whole.getvalue()


def service(*command: str, files: tuple[str, ...] = (), **variables: str) -> Service:
    return Service(
        seen_in=Place(UNIT, 6),
        id="orders",
        manager="systemd",
        enabled=True,
        unit=UNIT,
        command=command or ("/usr/bin/java", "-Xmx256m", "-jar", JAR),
        working_directory="/srv/orders",
        environment=tuple(Variable(name, value, Place(UNIT, 8)) for name, value in variables.items()),
        environment_files=tuple(EnvironmentFile(path, False, Place(UNIT, 9)) for path in files),
    )


def found(
    inside: Mapping[str, str], files: Mapping[str, Content] | None = None, of: Service | None = None, **web: str
) -> list[Finding]:
    guest = FakeGuest({
        JAR: made(inside, **web),
        "/usr/bin/java": File("ELF", mode=0o755),
        "/bin/bash": File("ELF", mode=0o755),
        UNIT: "\n\n\n\n[Service]\nExecStart=/usr/bin/java\n",
        **(files or {}),
    })  # fmt: skip
    return list(spring.join(guest, [of or service()]))


def ports(findings: list[Finding]) -> list[tuple[int | None, str, str, bool]]:
    return [(f.port, f.address, str(f.seen_in), f.assumed) for f in findings if isinstance(f, Listen)]


def test_the_default_port_is_assumed_and_only_for_a_web_application() -> None:
    got = found({})
    assert ports(got) == [(8080, "*", f"{UNIT}:6", True)]
    assert [f.command for f in got if isinstance(f, Health)] == [("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080")]
    assert ports(found({}, web="jackson-core-2.1.jar")) == []
    assert ports(found({"application.properties": "spring.main.web-application-type=none"})) == []
    assert [(f.path, f.role, f.says) for f in got if isinstance(f, Uses)] == [
        (JAR, "code", f"the program it runs; -Xmx256m ({UNIT}:6)")
    ]


def test_what_stands_outside_counts_more() -> None:
    inside = {"application.yml": "server:\n  port: 8081\nmanagement:\n  server.port: 9001\n"}
    assert ports(found(inside)) == [(8081, "*", JAR, False), (9001, "*", JAR, False)]
    beside: dict[str, Content] = {"/srv/orders/application.properties": "x=1\nserver.port = 8082\n"}
    assert ports(found(inside, beside))[0] == (8082, "*", "/srv/orders/application.properties:2", False)
    deeper: dict[str, Content] = {**beside, "/srv/orders/config/application.yaml": "server:\n  port: 8083\n"}
    assert ports(found(inside, deeper))[0] == (8083, "*", "/srv/orders/config/application.yaml:2", False)
    of = service(SERVER_PORT="8084")
    assert ports(found(inside, deeper, of))[0] == (8084, "*", f"{UNIT}:8", False)
    of = service("/usr/bin/java", "-jar", JAR, "--server.port=8085", SERVER_PORT="8084")
    assert ports(found(inside, deeper, of))[0] == (8085, "*", f"{UNIT}:6", False)
    of = service("/usr/bin/java", "-Dserver.port=8086", "-jar", JAR, SERVER_PORT="8084")
    assert ports(found(inside, deeper, of))[0] == (8086, "*", f"{UNIT}:6", False)


def test_profiles() -> None:
    inside = {
        "application.yml": "spring.profiles.active: prod\nserver.port: 1\n---\n"
        "spring.config.activate.on-profile: test\nserver.port: 2\n---\n"
        "spring:\n  config:\n    activate:\n      on-profile: prod\nserver:\n  port: 3\n",
    }
    assert ports(found(inside))[0][0] == 3
    assert ports(found(inside, of=service(SPRING_PROFILES_ACTIVE="test")))[0][0] == 2
    assert ports(found({**inside, "application-test.properties": "server.port=4"}, of=service()))[0][0] == 3


def test_configuration_in_another_place() -> None:
    files: dict[str, Content] = {
        "/etc/orders/app.yml": "server.port: 7000\nserver.address: 127.0.0.1\nlogging.file.name: /var/log/o/o.log\n"
        "spring.datasource.url: jdbc:h2:file:/var/lib/orders/db;MODE=x\n",
        "/var/lib/orders": Dir(),
    }
    of = service("/usr/bin/java", "-jar", JAR, "--spring.config.location=file:/etc/orders/app.yml")
    got = found({"application.properties": "server.port=1"}, files, of)
    assert ports(got) == [(7000, "127.0.0.1", "/etc/orders/app.yml:1", False)]
    assert [(f.before, f.after, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [("127.0.0.1", "0.0.0.0", 2)]
    assert {(f.path, f.role) for f in got if isinstance(f, Uses)} == {
        (JAR, "code"), ("/etc/orders/app.yml", "config"), ("/var/log/o/o.log", "log"), ("/var/lib/orders", "data"),
    }  # fmt: skip


def test_needs_inside_the_jar_with_what_the_environment_puts_in() -> None:
    inside = {
        "application.yml": "spring:\n  datasource:\n    url: jdbc:postgresql://${DB_HOST:localhost}:5432/orders\n"
        "    password: s3cr3tpw\n  data.redis:\n    host: cache\n    port: 6380\n"
    }
    got = found(inside, {"/etc/orders/env": "DB_HOST=db.corp\n"}, service(files=("/etc/orders/env",)))
    assert [(f.over, f.host_text, f.seen_in) for f in got if isinstance(f, Need)] == [
        ("tcp:db.corp:5432", "", Place(JAR)),
        ("tcp:cache:6380", "cache", Place(JAR)),
    ]
    assert "s3cr3tpw" not in repr(got)
    assert "tcp:localhost:5432" in {f.over for f in found(inside) if isinstance(f, Need)}
    # A value that is overridden is none any more; the file's own is for the analyzer of addresses.
    beside: dict[str, Content] = {"/srv/orders/application.properties": "spring.datasource.url=jdbc:mysql://my/x\n"}
    assert [f.over for f in found(inside, beside) if isinstance(f, Need)] == ["tcp:cache:6380"]
    oracle: dict[str, Content] = {
        "/srv/orders/application.properties": "spring.datasource.url=jdbc:oracle:thin:@o:1521:X\n"
    }
    assert [(f.over, f.seen_in.line) for f in found({}, oracle) if isinstance(f, Need)] == [("tcp:o:1521", 1)]


def test_what_cannot_be_changed_by_a_line_is_told() -> None:
    got = found({"application.properties": "server.address=127.0.0.1\nserver.port=0\n"})
    assert ["decided when it starts" in f.why for f in got if isinstance(f, Unread)] == [True]
    got = found({"application.properties": "server.address=127.0.0.1\n"})
    assert ["SERVER_ADDRESS=0.0.0.0" in f.why for f in got if isinstance(f, Unread)] == [True]


def test_a_plain_jar_and_an_executable_one() -> None:
    of = service("/usr/bin/java", "-Dcom.sun.management.jmxremote.port=9010", "-Dserver.port=1", "-jar", "plain.jar")
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Main-Class: x.Y\n")
    got = found({}, {"/srv/orders/plain.jar": plain.getvalue()}, of)
    assert ports(got) == [(9010, "*", f"{UNIT}:6", False)]
    files: dict[str, Content] = {"/srv/orders/orders.conf": 'RUN_ARGS="--server.port=8099"\nJAVA_OPTS=-Xmx64m\n'}
    got = found({}, files, service(JAR))
    assert [port for port, *_ in ports(got)] == [8099]
    assert "-Xmx64m (/srv/orders/orders.conf:2)" in next(f.says for f in got if isinstance(f, Uses))
    assert found({}, of=service("/usr/bin/java", "-cp", "x", "shop.Main", "-jar", JAR)) == []


def test_yaml() -> None:
    text = """\
# comment
a: 1   # one
"b c": 'd # e'
f:
  g.h: x:y
  i: |
    j: k
     l
  m:
  - n: 1
    o: 2
  -
    n: 3
  - p
q: {r: s}
---
t: [u, "v"]
w: http://x/y#z
"""
    assert [(s.key, s.value, s.line, s.document) for s in yaml_settings(text)] == [
        ("a", "1", 2, 0), ("b c", "d # e", 3, 0), ("f.g.h", "x:y", 5, 0), ("f.m[0].n", "1", 10, 0),
        ("f.m[0].o", "2", 11, 0), ("f.m[1].n", "3", 13, 0), ("f.m[2]", "p", 14, 0), ("t[0]", "u", 17, 1),
        ("t[1]", "v", 17, 1), ("w", "http://x/y#z", 18, 1),
    ]  # fmt: skip


PIECES = st.sampled_from([
    "a", ": ", "\n", "  ", "- ", "---\n", "[", "]", "'", '"', "|", "#", "server.port: ", "${a:", "}", "${b}", "b=",
    "\\\n",
    "spring.profiles.active: ", "spring.config.location=", "jdbc:oracle:thin:@",
])  # fmt: skip


def test_a_jar_that_is_cut_off() -> None:
    whole = made({"application.yml": "server.port: 1\n"})
    for size in range(0, len(whole), 37):
        got = found({}, {JAR: whole[:size]})
        assert [f.path for f in got if isinstance(f, Uses)] == [JAR]


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=6), max_size=20).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    list(yaml_settings(text))
    list(properties_settings(text))
    files: dict[str, Content] = {"/srv/orders/application.yml": text, "/srv/orders/config/application.properties": text}
    assert any(isinstance(f, Uses) for f in found({"application.yml": text.replace("\0", "")}, files, service(A=text)))
