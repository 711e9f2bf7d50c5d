from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import tomcat
from analyzers._jvm import Option, heap, jdbc_endpoints, option_listens, shell_options
from analyzers._xml import XmlError, parse_xml
from migrate.model import (
    EnvironmentFile,
    Finding,
    Foreground,
    Health,
    Listen,
    Need,
    Package,
    PackageFiles,
    Place,
    Rebind,
    Requires,
    Secret,
    Service,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link

# Debian 12's, without most of its comments.
SERVER = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- http://www.apache.org/licenses/LICENSE-2.0 -->
<Server port="-1" shutdown="SHUTDOWN">
  <Listener className="org.apache.catalina.core.AprLifecycleListener" />
  <GlobalNamingResources>
    <Resource name="UserDatabase" auth="Container"
              type="org.apache.catalina.UserDatabase"
              factory="org.apache.catalina.users.MemoryUserDatabaseFactory"
              pathname="conf/tomcat-users.xml" />
  </GlobalNamingResources>
  <Service name="Catalina">
    <Connector port="8080" protocol="HTTP/1.1"
               connectionTimeout="20000"
               redirectPort="8443"
               />
    <!--
    <Connector protocol="AJP/1.3"
               address="::1"
               port="8009"
               redirectPort="8443"
               />
    -->
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost"  appBase="webapps"
            unpackWARs="true" autoDeploy="true">
        <Valve className="org.apache.catalina.valves.AccessLogValve" directory="logs"
               prefix="localhost_access_log" suffix=".txt"
               pattern="%h %l %u %t &quot;%r&quot; %s %b" />
      </Host>
    </Engine>
  </Service>
</Server>
"""
CONF = "/etc/tomcat10/server.xml"
BASE = "/var/lib/tomcat10"
UNIT = "/usr/lib/systemd/system/tomcat10.service"


def variable(name: str, value: str) -> Variable:
    return Variable(name, value, Place(UNIT, 15))


DEBIAN = Service(
    seen_in=Place(UNIT, 22),
    id="tomcat10",
    manager="systemd",
    enabled=True,
    unit=UNIT,
    command=("/bin/sh", "/usr/libexec/tomcat10/tomcat-start.sh"),
    environment=(
        variable("CATALINA_BASE", BASE),
        variable("CATALINA_HOME", "/usr/share/tomcat10"),
        variable("CATALINA_TMPDIR", "/tmp"),
        variable("JAVA_OPTS", "-Djava.awt.headless=true -Xmx256m"),
    ),
)
FILES: dict[str, Content] = {
    f"{BASE}/conf": Link("/etc/tomcat10"),
    f"{BASE}/logs": Link("../../log/tomcat10"),
    f"{BASE}/work": Link("../../cache/tomcat10"),
    f"{BASE}/webapps/ROOT/index.html": "it works",
    "/var/log/tomcat10": Dir(),
    "/var/cache/tomcat10": Dir(),
    "/etc/default/tomcat10": 'JAVA_OPTS="-Djava.awt.headless=true"\n',
    "/etc/tomcat10/catalina.properties": "shared.loader=\n",
    "/bin/bash": File("ELF", mode=0o755),
}


def found(
    server: str = SERVER, *more: Finding, service: Service = DEBIAN, files: Mapping[str, Content] | None = None
) -> list[Finding]:
    conf = "/opt/tomcat/conf/server.xml" if service.id == "tomcat" else CONF
    return list(tomcat.join(FakeGuest({**FILES, conf: server, **(files or {})}), [service, *more]))


def change(old: str, new: str) -> str:
    assert old in SERVER
    return SERVER.replace(old, new)


def listens(findings: list[Finding]) -> set[tuple[int | None, str, int | None]]:
    return {(f.port, f.address, f.seen_in.line) for f in findings if isinstance(f, Listen)}


def test_debians_own() -> None:
    got = found()
    assert [f for f in got if isinstance(f, Listen)] == [Listen(seen_in=Place(CONF, 12), service="tomcat10", port=8080)]
    assert {(f.path, f.role) for f in got if isinstance(f, Uses)} == {
        ("/etc/tomcat10", "config"),
        ("/etc/default/tomcat10", "config"),
        (f"{BASE}/webapps", "code"),
        ("/var/log/tomcat10", "log"),
        ("/var/cache/tomcat10", "cache"),
    }
    assert [f.command for f in got if isinstance(f, Foreground)] == [DEBIAN.command]
    assert [f.command for f in got if isinstance(f, Health)] == [("/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080")]
    assert not [f for f in got if isinstance(f, Need | Rebind | Secret | Unread | Requires)]


def test_a_service_that_is_none() -> None:
    other = Service(seen_in=Place("/x", 1), id="x", manager="systemd", enabled=True, unit="/x", command=("/bin/x",))
    assert found(service=other) == []


def test_ports_of_every_kind() -> None:
    text = change(
        '<Connector port="8080"',
        '<Connector port="${https.port:-8443}" SSLEnabled="true"><SSLHostConfig>'
        '<Certificate certificateFile="conf/site.pem"/></SSLHostConfig></Connector>\n'
        '<Connector port="-1"/><Connector port="8009" protocol="AJP/1.3"/>\n<Connector address="127.0.0.1" port="${p}"',
    ).replace('<Server port="-1"', '<Server port="8005" portOffset="1"')
    options = variable("CATALINA_OPTS", "-Dp=9080 -Dcom.sun.management.jmxremote.port=9010")
    service = Service(**{f: getattr(DEBIAN, f) for f in DEBIAN.__struct_fields__} | {
        "environment": (*DEBIAN.environment, options)})  # fmt: skip
    got = found(text, service=service, files={"/etc/tomcat10/site.pem": "x"})
    assert listens(got) == {
        (8006, "127.0.0.1", 3), (8444, "*", 12), (8010, "127.0.0.1", 13), (9081, "127.0.0.1", 14), (9010, "*", 15),
    }  # fmt: skip
    assert [(f.before, f.after, f.seen_in.line) for f in got if isinstance(f, Rebind)] == [
        ('protocol="AJP/1.3"', 'protocol="AJP/1.3" address="0.0.0.0"', 13),
        ('address="127.0.0.1"', 'address="0.0.0.0"', 14),
    ]
    lines = text.split("\n")
    assert all(f.before in lines[(f.seen_in.line or 0) - 1] for f in got if isinstance(f, Rebind))
    assert ("/etc/tomcat10/site.pem", "config", 12) in {
        (f.path, f.role, f.seen_in.line) for f in got if isinstance(f, Uses)
    }


def test_ajp_was_open_before_2020() -> None:
    text = change('<Connector port="8080"', '<Connector port="8009" protocol="AJP/1.3"/><Connector port="8080"')
    old = Package(
        seen_in=Place("/var/lib/dpkg/status", 1), name="tomcat9", version="9.0.16-4", architecture="all",
        manager="dpkg", chosen=True,
    )  # fmt: skip
    assert (8009, "*", 12) in listens(found(text, old))
    assert (8009, "127.0.0.1", 12) in listens(found(text))


def test_data_sources_and_passwords() -> None:
    context = """<Context docBase="/srv/shop/shop.war">
  <!-- <Resource url="jdbc:mysql://old/x"/> -->
  <Resource name="jdbc/shop" type="javax.sql.DataSource" username="shop" password="s3cr3tpw"
            url="jdbc:postgresql://db.corp.example:5433/shop?user=shop&amp;password=hunter22"/>
  <Resource name="mail/s" type="javax.mail.Session" mail.smtp.host="smtp.corp.example"/>
  <Environment name="api" value="https://api.corp.example/v1" type="java.lang.String"/>
</Context>
"""
    path = "/etc/tomcat10/Catalina/localhost/shop.xml"
    users = '<tomcat-users><user username="admin" password="geheim77" roles="manager-gui"/></tomcat-users>'
    got = found(files={path: context, "/srv/shop/shop.war": "PK", "/etc/tomcat10/tomcat-users.xml": users})
    assert [(f.over, f.detail, f.seen_in.line) for f in got if isinstance(f, Need)] == [
        ("tcp:db.corp.example:5433", "Resource jdbc/shop (jdbc:postgresql)", 4),
        ("tcp:smtp.corp.example:25", "mail session mail/s", 5),
        ("tcp:api.corp.example:443", "Environment api (https)", 6),
    ]
    assert ("/srv/shop/shop.war", "code", 1) in {(f.path, f.role, f.seen_in.line) for f in got if isinstance(f, Uses)}
    assert {(f.id, f.value, f.seen_in.line) for f in got if isinstance(f, Secret)} == {
        ("tomcat10-tomcat-users-xml-user-admin-password", "geheim77", 1),
        ("tomcat10-catalina-localhost-shop-xml-resource-jdbc-shop-password", "s3cr3tpw", 3),
    }
    assert not any(word in repr(got) for word in ("s3cr3tpw", "hunter22", "geheim77"))


OPT = Service(
    seen_in=Place("/etc/systemd/system/tomcat.service", 9),
    id="tomcat",
    manager="systemd",
    enabled=True,
    type="forking",
    unit="/etc/systemd/system/tomcat.service",
    command=("/opt/tomcat/bin/startup.sh",),
)


def test_one_unpacked_in_opt() -> None:
    setenv = 'export CATALINA_OPTS="$CATALINA_OPTS -Xms512m"\nCATALINA_OPTS="$CATALINA_OPTS -Xmx1g"\n'
    files: dict[str, Content] = {
        "/opt/tomcat/bin/catalina.sh": File("#!/bin/sh", mode=0o755),
        "/opt/tomcat/bin/setenv.sh": setenv,
        "/opt/tomcat/temp": Dir(),
        "/opt/tomcat/logs": Dir(),
    }
    got = found(change('port="-1"', 'port="8005"'), service=OPT, files=files)
    assert [f.command for f in got if isinstance(f, Foreground)] == [
        ("/usr/bin/env", "CATALINA_BASE=/opt/tomcat", "CATALINA_HOME=/opt/tomcat", "/opt/tomcat/bin/catalina.sh", "run")
    ]
    assert {(f.path, f.role, f.says) for f in got if isinstance(f, Uses)} == {
        ("/opt/tomcat/conf", "config", "its configuration; -Xmx1g (/opt/tomcat/bin/setenv.sh:2)"),
        ("/opt/tomcat/bin/setenv.sh", "config", "its start script sources it"),
        ("/opt/tomcat/logs", "log", "its logs"),
        ("/opt/tomcat/logs", "log", "access logs"),
        ("/opt/tomcat/temp", "cache", "temporary files"),
    }
    assert listens(got) == {(8005, "127.0.0.1", 3), (8080, "*", 12)}


def test_red_hats_instances() -> None:
    main = "/etc/tomcat/tomcat.conf"
    service = Service(
        seen_in=Place("/usr/lib/systemd/system/tomcat@.service", 9),
        id="tomcat@shop",
        manager="systemd",
        enabled=True,
        unit="/usr/lib/systemd/system/tomcat@.service",
        command=("/usr/libexec/tomcat/server", "start"),
        environment=(variable("NAME", "shop"),),
        environment_files=(EnvironmentFile(main, False, Place("/x", 1)),),
    )
    files: dict[str, Content] = {
        main: 'TOMCATS_BASE="/var/lib/tomcats/"\nCATALINA_HOME="/usr/share/tomcat"\nNAME="shop"\n',
        "/var/lib/tomcats/shop/conf/server.xml": change("8080", "8180"),
    }
    got = found(service=service, files=files)
    assert [(f.service, f.port, f.seen_in.path) for f in got if isinstance(f, Listen)] == [
        ("tomcat@shop", 8180, "/var/lib/tomcats/shop/conf/server.xml")
    ]
    assert [f.command for f in got if isinstance(f, Foreground)] == [("/usr/libexec/tomcat/server", "start")]


def test_a_driver_that_a_person_linked_needs_its_package() -> None:
    owned = PackageFiles(
        seen_in=Place("/var/lib/dpkg/info/x.list"),
        package="libpostgresql-jdbc-java",
        paths=("/usr/share/java/postgresql.jar",),
    )
    files: dict[str, Content] = {
        f"{BASE}/lib/postgresql.jar": Link("/usr/share/java/postgresql.jar"),
        "/usr/share/java/postgresql.jar": "PK",
    }
    got = found(SERVER, owned, files=files)
    assert [f.package for f in got if isinstance(f, Requires)] == ["libpostgresql-jdbc-java"]
    assert (f"{BASE}/lib/postgresql.jar", "code") in {(f.path, f.role) for f in got if isinstance(f, Uses)}


def test_a_cluster_is_told() -> None:
    got = found(change("<Engine", "<Cluster/><Engine"))
    assert {(f.port, f.protocol, f.assumed) for f in got if isinstance(f, Listen)} == {
        (8080, "tcp", False), (4000, "tcp", True), (45564, "udp", True),
    }  # fmt: skip
    assert any("multicast" in f.why for f in got if isinstance(f, Unread))


def test_entities_are_refused() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n<Server port="1">&b;</Server>'
    got = found(bomb)
    assert ["entities" in f.why for f in got if isinstance(f, Unread)] == [True]
    with pytest.raises(XmlError):
        parse_xml('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>')
    with pytest.raises(XmlError):
        parse_xml("<a>" * 500)
    text = '<?xml version="1.0" encoding="x-odd"?>\n<!DOCTYPE a PUBLIC "-//J" "https://x/y.dtd">\n<a b=" 1"/>'
    assert (parse_xml(text).get("b"), parse_xml(text).line) == ("1", 3)


@pytest.mark.parametrize(
    ("url", "over"),
    [
        ("jdbc:postgresql://db/x", ["tcp:db:5432"]),
        ("jdbc:mysql://a:3307,b/x?password=p", ["tcp:a:3307", "tcp:b:3306"]),
        ("jdbc:mysql:replication://a,b/x", ["tcp:a:3306", "tcp:b:3306"]),
        ("jdbc:oracle:thin:@ora.corp:1522:SID", ["tcp:ora.corp:1522"]),
        ("jdbc:oracle:thin:scott/tiger@//ora.corp/svc", ["tcp:ora.corp:1521"]),
        ("jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=o1)(PORT=1521)))", ["tcp:o1:1521"]),
        (r"jdbc:sqlserver://ms\inst:1444;databaseName=x", ["tcp:ms:1444"]),
        ("jdbc:sqlserver://;serverName=ms;databaseName=x", ["tcp:ms:1433"]),
        ("jdbc:jtds:sqlserver://ms/x", ["tcp:ms:1433"]),
        ("jdbc:db2://d:50001/x", ["tcp:d:50001"]),
        ("jdbc:h2:file:/var/lib/x", []),
        ("jdbc:sqlite:/x.db", []),
    ],
)
def test_jdbc(url: str, over: list[str]) -> None:
    assert [found_over for found_over, _ in jdbc_endpoints(url)] == over


def test_options() -> None:
    known: dict[str, list[Option]] = {}
    shell_options('JAVA_OPTS="-Xmx1g"\nJAVA_OPTS="\\\n  -Xmx2g\n -Da=b"\n', "/x", ("JAVA_OPTS",), known)
    assert [(o.text, o.place.line) for o in known["JAVA_OPTS"]] == [("-Xmx2g", 2), ("-Da=b", 2)]
    size = heap(known["JAVA_OPTS"])
    assert size is not None
    assert size.text == "-Xmx2g"
    debug = [Option("-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=*:5005", Place("/x", 1))]
    assert list(option_listens(debug)) == [("*", 5005, Place("/x", 1))]


PARTS = """<Server>|</Server>|<Connector port="|8080|"/>|address="|protocol="AJP/1.3"|<Host appBase="|<Context docBase="
|<Resource url="jdbc:oracle:thin:@|${a:-${b}}|<Valve className="AccessLogValve" directory="|<!--|-->|&amp;|&x;|<Cluster>
|portOffset="|-1|\n|\0|<Realm connectionURL="ldap://|../|/|*|["""
PIECES = st.sampled_from(PARTS.replace("\n|", "|").split("|"))


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join))
def test_no_configuration_breaks_it(text: str) -> None:
    got = found(f"<Server>{text}</Server>", files={"/etc/tomcat10/context.xml": text, "/etc/default/tomcat10": text})
    assert any(isinstance(f, Foreground) for f in got)
