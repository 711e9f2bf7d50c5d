"""Application servers and JDKs as their makers ship them: what they are, by files of their own, and what is deployed.

Tomcat: `lib/catalina.jar` with ServerInfo.properties, RELEASE-NOTES (tomcat.apache.org). WildFly and JBoss EAP:
`bin/product.conf` names the module whose manifest has the release, else version.txt. GlassFish and Payara:
glassfish-version.properties. A JDK: `release` (docs.oracle.com/en/java/javase, "The release file"). The others are told
by the jar that they cannot run without, beside the program that starts them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._jar import BROKEN, by_file_name, member_text, parse_manifest, parse_properties
from analyzers._opened import opened
from analyzers._reading import Reader, assignments
from migrate.errors import Vm2cError
from migrate.model import Place

_SERVER_INFO = "org/apache/catalina/util/ServerInfo.properties"


class Server(msgspec.Struct, frozen=True):
    """An unpacked server: `root` is its home, `place` says what and which version it is."""

    root: str
    name: str
    version: str
    place: Place


class _Kind(msgspec.Struct, frozen=True):
    """A server told by a jar: the folder it stands in below the home, its name, and the program that must be there."""

    name: str
    folder: str
    jar: str
    program: str


_KINDS = (
    _Kind("Apache Kafka", "libs", r"kafka_[\d.]+", "bin/kafka-server-start.sh"),
    _Kind("Apache ZooKeeper", "lib", "zookeeper", "bin/zkServer.sh"),
    _Kind("Elasticsearch", "lib", "elasticsearch", "bin/elasticsearch"),
    _Kind("OpenSearch", "lib", "opensearch", "bin/opensearch"),
    _Kind("Apache Solr", "server/solr-webapp/webapp/WEB-INF/lib", "solr-core", "bin/solr"),
    _Kind("Apache Cassandra", "lib", "apache-cassandra", "bin/cassandra"),
    _Kind("Apache ActiveMQ", "lib", "activemq-broker", "bin/activemq"),
    _Kind("ActiveMQ Artemis", "lib", "artemis-server", "bin/artemis"),
    _Kind("SonarQube", "lib", "sonar-application", "bin/linux-x86-64/sonar.sh"),
    _Kind("Keycloak", "lib/lib/main", r"org\.keycloak\.keycloak-quarkus-server", "bin/kc.sh"),
    _Kind("Neo4j", "lib", "neo4j", "bin/neo4j"),
    _Kind("Apache Spark", "jars", r"spark-core_[\d.]+", "bin/spark-submit"),
    _Kind("Apache Flink", "lib", "flink-dist", "bin/flink"),
    _Kind("Apache Hadoop", "share/hadoop/common", "hadoop-common", "bin/hadoop"),
    _Kind("Apache HBase", "lib", "hbase-server", "bin/hbase"),
    _Kind("Apache Maven", "lib", "maven-core", "bin/mvn"),
    _Kind("Gradle", "lib", "gradle-core", "bin/gradle"),
    _Kind("Eclipse Jetty", "lib", "jetty-server", "start.jar"),
)


def servers(reader: Reader, jars: list[str]) -> Iterator[Server]:
    """Yield the servers that these jars are part of."""
    for path in jars:
        folder, _, name = path.rpartition("/")
        if path.endswith("/lib/catalina.jar"):
            yield _tomcat(reader, path)
        elif name == "jboss-modules.jar":
            yield _jboss(reader, folder)
        elif path.endswith("/glassfish/lib/appserver-cli.jar"):
            yield _glassfish(reader, path.removesuffix("/glassfish/lib/appserver-cli.jar"))
        else:
            yield from _by_jar(reader, path, folder, name)


def _by_jar(reader: Reader, path: str, folder: str, name: str) -> Iterator[Server]:
    stem, version = by_file_name(name)
    for kind in _KINDS if version else ():
        if re.fullmatch(kind.jar, stem) and folder.endswith(f"/{kind.folder}"):
            root = folder.removesuffix(f"/{kind.folder}")
            if reader.guest.is_file(f"{root}/{kind.program}"):
                yield Server(root, kind.name, version, Place(path))


def _tomcat(reader: Reader, jar: str) -> Server:
    root = jar.removesuffix("/lib/catalina.jar")
    try:
        with opened(reader.guest, jar, 64 << 20) as file:
            rows = parse_properties(member_text(file, _SERVER_INFO))
        name, _, version = rows.get("server.info", "").partition("/")
        if version:
            return Server(root, name, version.split()[0], Place(jar))
    except (Vm2cError, *BROKEN) as error:
        reader.note(jar, f"its ServerInfo.properties cannot be read: {str(error) or type(error).__name__}")
    notes = f"{root}/RELEASE-NOTES"
    for number, line in enumerate((reader.optional(notes, 1 << 16) or "").split("\n"), 1):
        if match := re.search(r"Apache Tomcat Version (\d[\w.-]*)", line):
            return Server(root, "Apache Tomcat", match[1], Place(notes, number))
    return Server(root, "Apache Tomcat", "", Place(jar))


def _jboss(reader: Reader, root: str) -> Server:
    slot = assignments(reader.optional(f"{root}/bin/product.conf", 1 << 16) or "").get("slot", ("", 0))[0]
    if re.fullmatch(r"[\w.-]+", slot):
        path = f"{root}/modules/system/layers/base/org/jboss/as/product/{slot}/dir/META-INF/MANIFEST.MF"
        rows = parse_manifest(reader.optional(path, 1 << 16) or "")
        if version := rows.get("jboss-product-release-version", ""):
            return Server(root, rows.get("jboss-product-release-name", "JBoss"), version, Place(path))
    text = f"{root}/version.txt"
    for number, line in enumerate((reader.optional(text, 1 << 16) or "").split("\n"), 1):
        if match := re.fullmatch(r"(.{1,200}?)\s+-\s+Version\s+(\S+)\s*", line):
            return Server(root, match[1], match[2], Place(text, number))
    main = f"{root}/modules/system/layers/base/org/jboss/as/version/main"
    for jar in reader.guest.glob(f"{main}/wildfly-version-*.jar"):
        return Server(root, "WildFly", by_file_name(jar)[1], Place(jar))
    return Server(root, "JBoss", "", Place(f"{root}/jboss-modules.jar"))


def _glassfish(reader: Reader, root: str) -> Server:
    path = f"{root}/glassfish/config/branding/glassfish-version.properties"
    rows = parse_properties(reader.optional(path, 1 << 16) or "")
    parts = [rows.get(key, "") for key in ("major_version", "minor_version", "update_version")]
    version = ".".join(part for part in parts if part and "${" not in part)
    place = Place(path) if rows else Place(f"{root}/glassfish/lib/appserver-cli.jar")
    return Server(root, rows.get("product_name", "GlassFish").replace("\\", ""), version, place)


def jdk(reader: Reader, path: str) -> Server | None:
    """Return the Java runtime whose file `release` stands at `path`, or None where it is something else's."""
    rows = assignments(reader.optional(path, 1 << 16) or "")
    version, line = rows.get("JAVA_VERSION", ("", 0))
    root = posixpath.dirname(path)
    if not version:
        return None
    kind = rows.get("IMAGE_TYPE", ("JDK" if reader.guest.is_file(f"{root}/bin/javac") else "JRE", 0))[0]
    maker = rows.get("IMPLEMENTOR", ("", 0))[0]
    return Server(root, f"{maker} {kind}".strip(), version, Place(path, line))


# ---------------------------------------------------------------- what is deployed

_DEPLOYED = re.compile(
    r"(?P<root>.*/(?:webapps[\w-]*|(?:standalone|domain)/deployments|server/[\w-]+/deploy|domains/[\w.-]+/(?:autodeploy|"
    r"applications)|usr/servers/[\w.-]+/(?:apps|dropins))/(?P<name>[^/]+?))(?P<rest>\.war|\.ear|\.jar|/WEB-INF/.*)"
)
# Tomcat's own: what a person deployed has another name, or another display-name in its web.xml.
_TOMCATS = frozenset({"ROOT", "docs", "examples", "manager", "host-manager"})
_DISPLAYED = re.compile(r"<display-name>[^<]{0,80}(Tomcat|Servlet and JSP Examples)")


def deployed(path: str) -> str:
    """Return the root of the web application that a file is of: its archive, or its folder; nothing where of none.

    >>> deployed("/opt/tomcat/webapps/shop/WEB-INF/lib/x.jar"), deployed("/opt/wildfly/standalone/deployments/a.ear")
    ('/opt/tomcat/webapps/shop', '/opt/wildfly/standalone/deployments/a.ear')
    """
    match = _DEPLOYED.fullmatch(path)
    if match is None:
        return ""
    return path if match["rest"].startswith(".") else match["root"]


def is_tomcats_own(reader: Reader, root: str) -> bool:
    """Tell whether a folder in webapps came with Tomcat."""
    if posixpath.basename(root) not in _TOMCATS:
        return False
    return bool(_DISPLAYED.search(reader.optional(f"{root}/WEB-INF/web.xml", 1 << 18) or ""))


def java_home(variables: Mapping[str, str]) -> str:
    """Return where the environment says that Java is (JRE_HOME comes first in Tomcat's setclasspath.sh)."""
    return variables.get("JRE_HOME", "") or variables.get("JAVA_HOME", "")
