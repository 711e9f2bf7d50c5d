from __future__ import annotations

import io
import random
import time
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _jar, binaries, java_apps, programs, scripts
from analyzers._jar import BROKEN, Artifact, by_file_name, parse_manifest, parse_pom, read_jar
from analyzers._java_servers import deployed
from migrate.model import (
    Application,
    EnvironmentFile,
    Finding,
    LanguagePackage,
    Package,
    Place,
    Requires,
    Service,
    Unread,
    Uses,
    Variable,
)
from tests.analyzers.elf_made import make_elf, mutated
from tests.analyzers.fake import Content, FakeGuest, File, Link
from tests.analyzers.test_binaries import UNIT, applications, found, owned, program, service

# Of jetty-io 9.4.57 as Debian 12 has it.
POM_PROPERTIES = "artifactId=jetty-io\ngroupId=org.eclipse.jetty\nversion=9.4.57.v20241219\n"
POM_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <!-- the parent states group and version -->
  <parent><groupId>org.eclipse.jetty</groupId><artifactId>jetty-project</artifactId><version>9.4.57</version></parent>
  <artifactId>jetty-xml</artifactId>
  <name>Jetty :: XML utilities</name>
  <dependencies><dependency><groupId>x</groupId><artifactId>y</artifactId><version>1</version></dependency></dependencies>
</project>
"""
# Of catalina.jar in Apache Tomcat's own release.
SERVER_INFO = "server.info=Apache Tomcat/10.1.33\nserver.number=10.1.33.0\nserver.built=Nov 7 2024 21:05:09 UTC\n"
BOOT = (
    "Manifest-Version: 1.0\r\nMain-Class: org.springframework.boot.loader.launch.JarLauncher\r\n"
    "Start-Class: org.example.shop.ShopApplication\r\nImplementation-Title: shop\r\nImplementation-Version: 1.4.2\r\n"
    "Spring-Boot-Lib: BOOT-INF/lib/\r\n\r\n"
)


def jar(members: dict[str, str | bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def library(name: str, group: str = "", version: str = "", **members: str) -> bytes:
    if group:
        text = f"groupId={group}\nartifactId={name}\nversion={version}\n"
        return jar({f"META-INF/maven/{group}/{name}/pom.properties": text, **members})
    return jar({"x.class": "", **members})


FAT = jar({
    "META-INF/MANIFEST.MF": BOOT,
    "BOOT-INF/classes/application.yml": "server.port: 8080\n",
    "BOOT-INF/lib/jetty-io-9.4.57.v20241219.jar": jar({
        "META-INF/maven/org.eclipse.jetty/jetty-io/pom.properties": POM_PROPERTIES
    }),
    "BOOT-INF/lib/plain-2.0.jar": library("plain"),
})  # fmt: skip


def read(data: bytes, path: str = "/opt/x.jar") -> _jar.Jar:
    return read_jar(io.BytesIO(data), path)


def names(results: list[Finding]) -> set[tuple[str, str, str, str]]:
    return {(a.root, a.ecosystem, a.name, a.version) for a in applications(results).values()}


def packages(results: list[Finding]) -> set[tuple[str, str, str]]:
    return {(f.name, f.version, f.location) for f in results if isinstance(f, LanguagePackage)}


# ---------------------------------------------------------------- one archive


def test_a_jar_of_jars() -> None:
    made = read(FAT, "/opt/shop/app.jar")
    assert (made.artifact, made.title) == (Artifact("", "app", "1.4.2"), "shop")
    assert made.main_class == "org.example.shop.ShopApplication"
    inside = "/opt/shop/app.jar!/BOOT-INF/lib"
    assert [(a.full, a.version, at) for a, at in made.everything()] == [
        ("app", "1.4.2", "/opt/shop/app.jar"),
        ("org.eclipse.jetty:jetty-io", "9.4.57.v20241219", f"{inside}/jetty-io-9.4.57.v20241219.jar"),
        ("plain", "2.0", f"{inside}/plain-2.0.jar"),
    ]


def test_what_an_archive_is_by_its_maven_files_its_manifest_its_name() -> None:
    assert read(jar({"META-INF/maven/g/jetty-xml/pom.xml": POM_XML})).artifact == Artifact("", "x", "")
    made = read(jar({"META-INF/maven/g/jetty-xml/pom.xml": POM_XML}), "/opt/jetty9-xml.jar")
    assert made.artifact == Artifact("org.eclipse.jetty", "jetty-xml", "9.4.57")
    manifest = "Manifest-Version: 1.0\nImplementation-Version: 5.1\nImplementation-Vendor-Id: org.acme.tools\n"
    assert read(jar({"META-INF/MANIFEST.MF": manifest}), "/a/tool-5.jar").artifact == Artifact(
        "org.acme.tools", "tool", "5.1"
    )
    unset = read(jar({"META-INF/MANIFEST.MF": "Implementation-Version: ${project.version}\n"}), "/a/t-1.2.jar")
    assert unset.artifact == Artifact("", "t", "1.2")


def test_what_was_merged_into_a_jar_is_in_it() -> None:
    texts = {f"META-INF/maven/g/{n}/pom.properties": f"groupId=g\nartifactId={n}\nversion=1\n" for n in ("gson", "app")}
    made = read(jar(dict(texts)), "/opt/app-1.jar")
    assert (made.artifact.full, [each.full for each in made.bundled]) == ("g:app", ["g:gson"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spring-web-6.1.2.jar", ("spring-web", "6.1.2")),
        ("log4j-1.2-api-2.20.0.jar", ("log4j-1.2-api", "2.20.0")),
        ("jetty-server-9.4.57.v20241219.jar", ("jetty-server", "9.4.57.v20241219")),
        ("shop-1.0-SNAPSHOT.jar", ("shop", "1.0-SNAPSHOT")),
        ("shop.jar", ("shop", "")),
        ("-1.jar", ("", "1")),
    ],
)
def test_file_names(name: str, expected: tuple[str, str]) -> None:
    assert by_file_name(f"/opt/{name}") == expected


def test_a_pom_that_would_grow_is_not_read() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><project><artifactId>&b;</artifactId></project>'
    assert parse_pom(bomb.encode()) is None
    assert parse_pom(b"<project>" * 5000) is None
    assert parse_pom(b"<project/>") is None
    assert parse_pom(b"<project><artifactId>${x}</artifactId></project>") is None
    assert parse_pom(b'<?xml version="1.0" encoding="no-such"?><project/>') is None


@given(st.text(), st.binary())
def test_any_text_is_read(text: str, data: bytes) -> None:
    parse_manifest(text)
    _jar.parse_properties(text)
    parse_pom(data)
    by_file_name(text)
    deployed(text)


# ---------------------------------------------------------------- archives that are made to hurt


def test_nested_bombs_are_not_looked_into() -> None:
    begun = time.process_time()
    bomb = jar({"WEB-INF/lib/big.jar": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    made = read(bomb)
    assert made.nested == ()
    assert ["is not looked into" in note for note in made.notes] == [True]
    manifest = jar({"META-INF/MANIFEST.MF": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    assert "is more than 1048576 bytes long" in read(manifest).notes[0]
    assert time.process_time() - begun < 20


def test_jars_in_jars_in_jars_end() -> None:
    data = jar({"deep.class": ""})
    for _ in range(12):
        data = jar({"inner.jar": data, "inner2.jar": data}) if len(data) < 1 << 16 else jar({"inner.jar": data})
    made, depth = read(data), 0
    while made.nested:
        made, depth = made.nested[0], depth + 1
    assert depth == 3


def test_so_many_archives_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jar, "_MAX_ARCHIVES", 3)
    made = read(jar({f"lib/a-{n}.jar": library("a") for n in range(6)}))
    assert len(made.nested) == 3


def test_a_directory_that_is_too_long_is_refused() -> None:
    data = jar({"a.class": ""})
    at = data.rindex(b"PK\x05\x06")
    size = (64 << 20).to_bytes(4, "little")
    filled = bytes(64 << 20)
    huge = filled + data[at : at + 12] + size + (0).to_bytes(4, "little") + data[at + 20 :]
    with pytest.raises(BROKEN, match="its directory is more than"):
        read(huge)


def test_members_that_java_does_not_read_are_noted() -> None:
    made = read(jar({"META-INF/MANIFEST.MF": BOOT}, zipfile.ZIP_BZIP2))
    assert "is compressed by method 12, which Java does not read" in made.notes[0]
    data = bytearray(jar({"META-INF/MANIFEST.MF": BOOT}))
    data[6] |= 1  # encrypted
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert "cannot be read" in read(bytes(data)).notes[0]


def test_mutations_end_in_notes() -> None:
    chance = random.Random(7)
    packed = jar({"META-INF/MANIFEST.MF": BOOT, "WEB-INF/lib/fat.jar": FAT}, zipfile.ZIP_DEFLATED)
    for number in range(500):
        start = (FAT, packed)[number % 2]
        numbers = [chance.randrange(len(start)) for _ in range(chance.randrange(1, 20))]
        for finding in found(java_apps.ANALYZER, {"/opt/shop/app.jar": mutated(start, numbers)}):
            assert isinstance(finding, Application | LanguagePackage | Unread)


def test_what_cannot_be_read_is_told() -> None:
    results = found(java_apps.ANALYZER, {"/opt/shop/app.jar": "no zip", "/opt/shop/other.jar": FAT})
    assert [(str(f.seen_in), f.why) for f in results if isinstance(f, Unread)] == [
        ("/opt/shop/app.jar", "no Java archive: File is not a zip file")
    ]


def test_a_big_archive_goes_through_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzers import _opened

    monkeypatch.setattr(_opened, "IN_MEMORY", 100)
    results = found(java_apps.ANALYZER, {"/opt/shop/app.jar": FAT})
    assert names(results) == {("/opt/shop", "maven", "shop", "1.4.2")}


# ---------------------------------------------------------------- applications


def test_a_jar_with_its_folder() -> None:
    files: dict[str, Content] = {"/opt/shop/shop.jar": FAT, "/opt/shop/config/application.yml": "x: 1\n"}
    results = found(java_apps.ANALYZER, files, service("/usr/bin/java", "-jar", "/opt/shop/shop.jar"))
    assert names(results) == {("/opt/shop", "maven", "shop", "1.4.2")}
    inside = "/opt/shop/shop.jar!/BOOT-INF/lib/jetty-io-9.4.57.v20241219.jar"
    assert ("org.eclipse.jetty:jetty-io", "9.4.57.v20241219", inside) in packages(results)


def test_jars_that_stand_by_themselves() -> None:
    files: dict[str, Content] = {
        "/opt/agent.jar": jar({"META-INF/MANIFEST.MF": "Main-Class: x.Y\n"}),
        "/usr/local/lib/driver-1.0.jar": library("driver"),
        "/usr/share/java/owned-1.0.jar": library("owned"),
        "/usr/share/java/laid-2.0.jar": library("laid"),
        "/root/.m2/repository/x/y/1.0/y-1.0.jar": library("y"),
        "/srv/py/venv/lib/python3.11/site-packages/pyspark/jars/spark-core_2.12-3.5.0.jar": library("spark"),
        "/home/anna/Downloads/tool-1.jar": jar({"META-INF/MANIFEST.MF": "Main-Class: x.Y\n"}),
    }
    results = found(java_apps.ANALYZER, files, *owned("libowned-java", "/usr/share/java/owned-1.0.jar"))
    assert names(results) == {("/opt/agent.jar", "maven", "agent", "")}
    assert {(name, version) for name, version, _ in packages(results)} == {
        ("driver", "1.0"), ("laid", "2.0"), ("spark-core_2.12", "3.5.0"), ("tool", "1"),
    }  # fmt: skip


def test_a_folder_of_jars_and_another_that_is_run_in_it() -> None:
    run = "Main-Class: x.Y\n"
    files: dict[str, Content] = {
        "/srv/orders/orders-2.1.jar": jar({"META-INF/MANIFEST.MF": run}),
        "/srv/orders/lib/gson-2.10.jar": library("gson", "com.google.code.gson", "2.10"),
        "/srv/orders/batch-1.0.jar": jar({"META-INF/MANIFEST.MF": run}),
    }
    assert names(found(java_apps.ANALYZER, files)) == {("/srv/orders", "maven", "orders", "2.1")}
    jobs = (
        service("java", "-jar", "orders-2.1.jar", working_directory="/srv/orders"),
        service("java", "-jar", "/srv/orders/batch-1.0.jar", ident="batch"),
        Service(seen_in=UNIT, id="none", manager="systemd", enabled=True, unit=UNIT.path),
    )
    both = found(java_apps.ANALYZER, {**files, "/usr/bin/java": program()}, *jobs)
    assert {(root, name) for root, _, name, _ in names(both)} == {
        ("/srv/orders", "orders"), ("/srv/orders/batch-1.0.jar", "batch"),
    }  # fmt: skip


TOMCAT: dict[str, Content] = {
    "/opt/tomcat/lib/catalina.jar": jar({"org/apache/catalina/util/ServerInfo.properties": SERVER_INFO}),
    "/opt/tomcat/lib/servlet-api.jar": library("servlet-api"),
    "/opt/tomcat/bin/bootstrap.jar": jar({"META-INF/MANIFEST.MF": "Main-Class: org.apache.catalina.startup.X\n"}),
    "/opt/tomcat/bin/catalina.sh": File(
        '#!/bin/sh\n. "$CATALINA_BASE/bin/setenv.sh"\neval exec "\\"$_RUNJAVA\\"" -classpath "$CLASSPATH" \\\n'
        "  org.apache.catalina.startup.Bootstrap start\n",
        mode=0o755,
    ),
    "/opt/tomcat/webapps/ROOT/WEB-INF/web.xml": "<web-app><display-name>Welcome to Tomcat</display-name></web-app>",
    "/opt/tomcat/webapps/examples/WEB-INF/web.xml": "<display-name>Servlet and JSP Examples</display-name>",
    "/opt/tomcat/webapps/examples/WEB-INF/lib/taglibs-standard-impl-1.2.5.jar": library("t"),
    "/opt/tomcat/webapps/shop.war": jar({"WEB-INF/lib/plain-2.0.jar": library("plain"), "META-INF/MANIFEST.MF": BOOT}),
    "/opt/tomcat/webapps/shop/WEB-INF/lib/plain-2.0.jar": library("plain"),
    "/opt/tomcat/webapps/legacy/WEB-INF/lib/struts-core-1.3.8.jar": library("struts-core"),
    "/opt/tomcat/webapps/bare/WEB-INF/classes/X.class": "",
    "/opt/tomcat/webapps/bare/META-INF/maven/g/bare-app/pom.properties": "artifactId=bare-app\nversion=3.0\n",
    "/bin/sh": program(),
}  # fmt: skip
JDK: dict[str, Content] = {
    "/opt/jdk-17.0.9+9/release": 'IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="17.0.9"\nIMAGE_TYPE="JDK"\n',
    "/opt/jdk-17.0.9+9/bin/java": program(make_elf(interpreter="/lib64/ld-linux-x86-64.so.2")),
    "/opt/jdk-17.0.9+9/bin/jshell": program(make_elf(interpreter="/lib64/ld-linux-x86-64.so.2")),
    "/opt/jdk-17.0.9+9/lib/jrt-fs.jar": library("jrt-fs"),
}
OPENJDK: dict[str, Content] = {
    "/usr/bin/java": Link("/etc/alternatives/java"),
    "/etc/alternatives/java": Link("/usr/lib/jvm/java-17-openjdk-amd64/bin/java"),
    "/usr/lib/jvm/java-17-openjdk-amd64/bin/java": program(),
    "/usr/lib/jvm/java-17-openjdk-amd64/release": 'JAVA_VERSION="17.0.13"\n',
}
OPENJDK_PACKAGE = owned(
    "openjdk-17-jre-headless", "/usr/lib/jvm/java-17-openjdk-amd64/bin/java",
    "/usr/lib/jvm/java-17-openjdk-amd64/release",
)  # fmt: skip


def test_tomcat_and_what_is_deployed_in_it() -> None:
    results = found(java_apps.ANALYZER, TOMCAT)
    assert names(results) == {
        ("/opt/tomcat", "maven", "Apache Tomcat", "10.1.33"),
        ("/opt/tomcat/webapps/shop.war", "maven", "shop", "1.4.2"),
        ("/opt/tomcat/webapps/legacy", "maven", "legacy", ""),
        ("/opt/tomcat/webapps/bare", "maven", "bare-app", "3.0"),
    }
    dash = owned("dash", "/bin/sh")
    assert not applications([*found(scripts.ANALYZER, TOMCAT, *dash), *found(binaries.ANALYZER, TOMCAT, *dash)])


def test_tomcat_by_its_release_notes() -> None:
    files: dict[str, Content] = {
        "/opt/tomcat/lib/catalina.jar": library("catalina"),
        "/opt/tomcat/RELEASE-NOTES": "\n                     Apache Tomcat Version 9.0.80\n",
    }
    results = found(java_apps.ANALYZER, files)
    assert names(results) == {("/opt/tomcat", "maven", "Apache Tomcat", "9.0.80")}
    assert str(applications(results)["/opt/tomcat"].seen_in) == "/opt/tomcat/RELEASE-NOTES:2"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {
                "/opt/wildfly/jboss-modules.jar": library("jboss-modules"),
                "/opt/wildfly/bin/product.conf": "slot=wildfly-full\n",
                "/opt/wildfly/modules/system/layers/base/org/jboss/as/product/wildfly-full/dir/META-INF/MANIFEST.MF": (
                    "JBoss-Product-Release-Name: WildFly Full\nJBoss-Product-Release-Version: 26.1.3.Final\n"
                ),
                "/opt/wildfly/standalone/deployments/shop.ear": jar({"w.war": jar({"WEB-INF/lib/a-1.jar": ""})}),
            },
            {
                ("/opt/wildfly", "maven", "WildFly Full", "26.1.3.Final"),
                ("/opt/wildfly/standalone/deployments/shop.ear", "maven", "shop", ""),
            },
        ),
        (
            {
                "/opt/eap/jboss-modules.jar": library("jboss-modules"),
                "/opt/eap/version.txt": "Red Hat JBoss Enterprise Application Platform - Version 7.4.0.GA\n",
            },
            {("/opt/eap", "maven", "Red Hat JBoss Enterprise Application Platform", "7.4.0.GA")},
        ),
        (
            {
                "/opt/payara6/glassfish/lib/appserver-cli.jar": library("appserver-cli"),
                "/opt/payara6/glassfish/config/branding/glassfish-version.properties": (
                    "product_name=Payara Server\nmajor_version=6\nminor_version=2023\nupdate_version=11\n"
                ),
            },
            {("/opt/payara6", "maven", "Payara Server", "6.2023.11")},
        ),
        (
            {
                "/opt/kafka/libs/kafka_2.13-3.6.1.jar": library("kafka"),
                "/opt/kafka/libs/zookeeper-3.8.3.jar": library("zookeeper"),
                "/opt/kafka/bin/kafka-server-start.sh": File("#!/bin/bash\n", mode=0o755),
            },
            {("/opt/kafka", "maven", "Apache Kafka", "3.6.1")},
        ),
        (
            {
                "/usr/local/elasticsearch/lib/elasticsearch-8.11.3.jar": library("elasticsearch"),
                "/usr/local/elasticsearch/bin/elasticsearch": File("#!/bin/bash\n", mode=0o755),
                "/usr/local/elasticsearch/modules/ml/bin/controller": program(),
            },
            {("/usr/local/elasticsearch", "maven", "Elasticsearch", "8.11.3")},
        ),
        (
            {
                "/srv/jetty/start.jar": jar({"META-INF/MANIFEST.MF": "Main-Class: org.eclipse.jetty.start.Main\n"}),
                "/srv/jetty/lib/jetty-server-9.4.57.v20241219.jar": library("jetty-server"),
            },
            {("/srv/jetty", "maven", "Eclipse Jetty", "9.4.57.v20241219")},
        ),
        (
            {"/opt/jenkins/jenkins.war": jar({
                "META-INF/MANIFEST.MF": "Main-Class: executable.Main\nImplementation-Title: Jenkins war\n"
                                        "Implementation-Version: 2.426.2\n"})},
            {("/opt/jenkins", "maven", "Jenkins war", "2.426.2")},
        ),
        (
            {"/var/lib/tomcat10/webapps/shop.war": FAT, "/var/lib/jenkins/plugins/git/WEB-INF/lib/git-5.jar": FAT},
            {("/var/lib/tomcat10/webapps/shop.war", "maven", "shop", "1.4.2")},
        ),
        (JDK, {("/opt/jdk-17.0.9+9", "elf", "Eclipse Adoptium JDK", "17.0.9")}),
        (
            {
                "/usr/lib/jvm/jre-8/release": 'JAVA_VERSION="1.8.0_291"\n',
                "/usr/lib/jvm/jre-8/bin/java": program(),
                "/opt/notes/release": 'JAVA_VERSION="9"\n',
            },
            {("/usr/lib/jvm/jre-8", "elf", "JRE", "1.8.0_291")},
        ),
    ],
)  # fmt: skip
def test_servers(files: dict[str, Content], expected: set[tuple[str, str, str, str]]) -> None:
    assert names([*found(java_apps.ANALYZER, files), *found(binaries.ANALYZER, files)]) == expected


# ---------------------------------------------------------------- who needs what


def needs(files: dict[str, Content], run: Service, *more: Finding) -> tuple[set[str], set[str], list[str]]:
    """Return the packages and the code that a service needs, by all analyzers that speak of it, and what was noted."""
    base = [*owned("dash", "/bin/sh"), *more]
    mine = found(java_apps.ANALYZER, files, *base, run)
    results = [*mine, *programs.join(FakeGuest(files), (*base, run, *mine))]
    required = {f.package for f in results if isinstance(f, Requires)} - {"dash"}
    code = {f.path for f in results if isinstance(f, Uses) and f.role == "code"}
    return required, code, [f.why for f in results if isinstance(f, Unread)]


def test_java_by_its_command() -> None:
    files: dict[str, Content] = {**OPENJDK, "/opt/shop/shop.jar": FAT, "/opt/shop/config/application.yml": "x: 1\n"}
    required, code, noted = needs(files, service("java", "-jar", "/opt/shop/shop.jar"), *OPENJDK_PACKAGE)
    assert (required, code, noted) == ({"openjdk-17-jre-headless"}, {"/opt/shop"}, [])


@pytest.mark.parametrize("how", ["default", "environment", "file", "setenv"])
def test_java_that_a_start_script_finds(how: str) -> None:
    home = "/usr/lib/jvm/java-17-openjdk-amd64"
    files: dict[str, Content] = {**OPENJDK, **TOMCAT, "/etc/default/tomcat": f"JAVA_HOME={home}\n"}
    if how == "setenv":
        files["/opt/tomcat/bin/setenv.sh"] = f'export JAVA_HOME="{home}"\n'
    run = service(
        "/opt/tomcat/bin/catalina.sh",
        "run",
        environment=(Variable("JAVA_HOME", home, UNIT),) if how == "environment" else (),
        environment_files=(EnvironmentFile("/etc/default/tomcat", False, UNIT),) if how == "file" else (),
    )
    required, code, noted = needs(files, run, *OPENJDK_PACKAGE)
    assert required == {"openjdk-17-jre-headless"}
    assert code == {"/opt/tomcat"}
    assert noted == []


def test_java_that_nobody_packaged_comes_along() -> None:
    files: dict[str, Content] = {**TOMCAT, **JDK}
    run = service("/opt/tomcat/bin/catalina.sh", "run", environment=(Variable("JAVA_HOME", "/opt/jdk-17.0.9+9", UNIT),))
    required, code, noted = needs(files, run)
    assert (required, code, noted) == (set(), {"/opt/tomcat", "/opt/jdk-17.0.9+9"}, [])


def test_only_scripts_that_speak_of_java_start_it() -> None:
    files: dict[str, Content] = {
        **OPENJDK,
        "/opt/shop/plugin.jar": library("plugin"),
        "/opt/shop/shopd": program(),
        "/opt/shop/start.sh": File("#!/bin/sh\nexec /opt/shop/shopd\n", mode=0o755),
        "/opt/shop/import.sh": File('#!/bin/sh\nexec "$JAVA" -cp /opt/shop/plugin.jar X\n', mode=0o755),
        "/bin/sh": program(),
    }
    for command, expected in (("shopd", False), ("start.sh", False), ("import.sh", True)):
        required, _, _ = needs(files, service(f"/opt/shop/{command}"), *OPENJDK_PACKAGE)
        assert ("openjdk-17-jre-headless" in required) is expected


def test_no_java_at_all_is_told() -> None:
    _, _, noted = needs(TOMCAT, service("/opt/tomcat/bin/catalina.sh", "run"))
    assert noted == ["it starts Java, and none was found on the disk"]


def test_a_runtime_of_its_own_needs_nothing() -> None:
    files: dict[str, Content] = {
        "/usr/local/elasticsearch/lib/elasticsearch-8.11.3.jar": library("elasticsearch"),
        "/usr/local/elasticsearch/bin/elasticsearch": File("#!/bin/sh\n", mode=0o755),
        "/usr/local/elasticsearch/jdk/bin/java": program(),
        "/usr/local/elasticsearch/jdk/release": 'JAVA_VERSION="21.0.1"\n',
        "/bin/sh": program(),
    }
    required, _, noted = needs(files, service("/usr/local/elasticsearch/bin/elasticsearch"))
    assert (required, noted) == (set(), [])


def test_what_the_base_has_is_not_named() -> None:
    base = Package(
        seen_in=Place("/x"), name="openjdk-17-jre-headless", version="1", architecture="amd64", manager="dpkg",
        chosen=True, priority="required",
    )  # fmt: skip
    run = service("/opt/tomcat/bin/catalina.sh", "run")
    required, _, _ = needs({**OPENJDK, **TOMCAT}, run, base, *OPENJDK_PACKAGE[1:])
    assert required == set()


def test_texts_that_grow_have_a_bound_for_the_whole_file() -> None:
    begun = time.process_time()
    grown = b"#" + bytes(250_000)
    poms: dict[str, str | bytes] = {f"META-INF/maven/g/a{n}/pom.properties": grown for n in range(400)}
    made = read(jar(poms, zipfile.ZIP_DEFLATED))
    assert any("is more than" in note for note in made.notes)
    assert time.process_time() - begun < 20
    assert parse_pom(b"<a>" * 37_000 + b"</a>" * 37_000) is None


def test_names_without_end_are_not_repeated() -> None:
    long = "a" * 60_000
    made = read(jar({f"{long}{n}.jar": b"PK" for n in range(30)} | {f"lib/{'b' * 900}{n}.jar": "" for n in range(30)}))
    assert made.nested == ()
    assert len(made.notes) == 20
    assert max(map(len, made.notes)) <= 1100
