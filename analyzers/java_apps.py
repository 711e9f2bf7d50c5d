"""Java applications that nobody packaged: jars, wars and ears, servers unpacked in /opt, what they serve, JDKs.

One application each: a server with its whole folder; a web application deployed in one; a JDK; a folder of jars in a
place of many (named by the jar that is run, else by the one named as the folder is); a jar, war or ear that stands by
itself and can be run. Jars in a language's folders (pyspark's) and in data are packages, not applications.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._binary import is_jdk
from analyzers._jar import Jar, by_file_name, parse_manifest, parse_properties
from analyzers._java_archives import archive
from analyzers._java_runtimes import Runtimes
from analyzers._java_servers import Server, deployed, is_tomcats_own, jdk, servers
from analyzers._nobodys import ARCHIVE, Nobodys, tree_of
from analyzers._reading import Reader, inside
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Application, Finding, LanguagePackage, Place

_NAME = "java_apps"
_MAX_ARCHIVES = 20_000


class _Java:
    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.findings = guest, findings
        self.reader = Reader(guest, _NAME)
        self.nobodys = Nobodys.of(guest, findings)
        releases = [e.path for e in self.nobodys.files if is_jdk(self.nobodys, e.path)]
        self.jdks = [found for path in releases if (found := jdk(self.reader, path)) is not None]
        within = tuple(f"{each.root}/" for each in self.jdks)
        paths = [e.path for e in self.nobodys.files if ARCHIVE.fullmatch(e.path) and not e.path.startswith(within)]
        if len(paths) > _MAX_ARCHIVES:
            self.reader.note("/", f"{len(paths)} Java archives, of which {_MAX_ARCHIVES} were read")
        self.paths = paths[:_MAX_ARCHIVES]
        guest.prefetch(self.paths)
        self.jars = {path: jar for path in self.paths if (jar := archive(self.reader, path)) is not None}
        self.servers = {each.root: each for each in servers(self.reader, self.paths)}
        self.java = next((p for p in ("/usr/local/bin/java", "/usr/bin/java") if guest.is_file(p)), "")

    # ---------------------------------------------------------------- what there is

    def applications(self) -> Iterator[Application]:
        """Yield the applications."""
        runtime = tuple(package for package, _ in self.nobodys.owners.packages(self.java)) if self.java else ()
        for each in self.jdks:
            yield self._server(each, "elf", ())
        for each in self.servers.values():
            yield self._server(each, "maven", runtime)
        trees: dict[str, list[str]] = {}
        for path in self.paths:
            root = deployed(path)
            if root:
                if not is_tomcats_own(self.reader, root) and not self._is_unpacked(root):
                    trees.setdefault(root, []).append(path)
            elif not any(inside(path, server) for server in self.servers) and self._counts(path):
                trees.setdefault(tree_of(path), []).append(path)
        for root in self._unpacked():
            trees.setdefault(root, [])
        for root, paths in trees.items():
            if self.guest.is_dir(root) and deployed(f"{root}/WEB-INF/x") == root:
                yield self._web(root, runtime)
            else:
                yield from self._tree(root, paths, runtime)

    def _unpacked(self) -> Iterator[str]:
        """Yield the folders of web applications that hold no jars, in the servers' usual places."""
        for home in (*self.servers, *self.guest.glob("/var/lib/tomcat*"), *self.guest.glob("/var/lib/jetty*")):
            for path in self.guest.glob(f"{_plain(home)}/webapps/*/WEB-INF"):
                root = posixpath.dirname(path)
                own = is_tomcats_own(self.reader, root) or not self.nobodys.is_nobodys(f"{root}/WEB-INF/web.xml")
                if not own and not self._is_unpacked(root):
                    yield root

    def _web(self, root: str, runtime: tuple[str, ...]) -> Application:
        """A web application in a folder: by its Maven files, its manifest, or its name, which is its address."""
        name, version, place = posixpath.basename(root), "", Place(f"{root}/WEB-INF")
        manifest = f"{root}/META-INF/MANIFEST.MF"
        rows = parse_manifest(self.reader.optional(manifest, 1 << 18) or "")
        if rows.get("implementation-version"):
            name, version = rows.get("implementation-title", name), rows["implementation-version"]
            place = Place(manifest)
        for path in self.guest.glob(f"{_plain(root)}/META-INF/maven/*/*/pom.properties")[:1]:
            rows = parse_properties(self.reader.optional(path, 1 << 16) or "")
            if rows.get("artifactId") and rows.get("version"):
                name, version, place = rows["artifactId"], rows["version"], Place(path)
        return Application(
            seen_in=place, root=root, ecosystem="maven", name=name, version=version, runtime=runtime
        )  # fmt: skip

    def _server(self, each: Server, ecosystem: str, runtime: tuple[str, ...]) -> Application:
        return Application(
            seen_in=each.place, root=each.root, ecosystem=ecosystem, name=each.name, version=each.version,
            runtime=runtime,
        )  # fmt: skip

    def _is_unpacked(self, root: str) -> bool:
        """Tell whether a folder is what a server unpacked of the archive beside it."""
        return not root.endswith((".war", ".ear", ".jar")) and self.guest.is_file(f"{root}.war")

    def _counts(self, path: str) -> bool:
        return not self.nobodys.is_languages(path) and self.nobodys.counts(path)

    def _tree(self, root: str, paths: list[str], runtime: tuple[str, ...]) -> Iterator[Application]:
        """A folder of jars, or one that stands by itself; what is called beside the folder's own has its own line."""
        called = [path for path in paths if path in self.nobodys.called]
        if root == paths[0] and not deployed(root):
            jar = self.jars.get(root)
            if not (called or root.endswith((".war", ".ear")) or (jar is not None and jar.main_class)):
                return
        if not called and self.nobodys.is_anothers(root):
            return
        top = root if self.nobodys.is_nobodys(root) else ""
        main = self._main(root, called or paths)
        for path in dict.fromkeys((main, *called)):
            jar = self.jars.get(path) if path else None
            name, version = _title(jar) if jar is not None else (by_file_name(f"{root}.")[0], "")
            yield Application(
                seen_in=Place(path or paths[0]), root=top if path == main and top else path or root, ecosystem="maven",
                name=name.rpartition("/")[2], version=version, runtime=runtime,
            )  # fmt: skip

    def _main(self, root: str, paths: list[str]) -> str:
        """Return the jar that a folder is called after, or nothing where none can be told."""
        if len(paths) == 1:
            return paths[0]
        tree = posixpath.basename(root).lower()
        runnable = [p for p in paths if p in self.nobodys.called or ((jar := self.jars.get(p)) and jar.main_class)]
        named = [p for p in paths if tree.startswith(by_file_name(p)[0].lower())]
        near = [p for p in runnable if posixpath.dirname(p) == root]
        return next(iter([*[p for p in named if p in runnable], *near, *named]), "")

    def packages(self) -> Iterator[LanguagePackage]:
        """Yield the artifacts in all archives."""
        for path, jar in self.jars.items():
            for artifact, location in jar.everything():
                if artifact.version:
                    yield LanguagePackage(
                        seen_in=Place(path), ecosystem="maven", name=artifact.full, version=artifact.version,
                        location=location,
                    )  # fmt: skip


def _plain(path: str) -> str:
    """Return a path as a pattern that matches it alone (glob(7))."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _title(jar: Jar) -> tuple[str, str]:
    """Return name and version of an application: its artifact's, or where no Maven file states that, its title."""
    artifact = jar.artifact
    plain = jar.title if jar.title and not artifact.group and len(jar.title) <= 80 else ""
    return plain or artifact.name, artifact.version


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications, their packages, and the Java that services need for them."""
    java = _Java(guest, findings)
    yield from java.applications()
    yield from java.packages()
    trees = list(dict.fromkeys(tree_of(path) for path in java.paths if not java.nobodys.is_languages(path)))
    yield from Runtimes(java.nobodys, java.reader, java.jdks, java.java).needs(findings, list(java.servers), trees)
    yield from java.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Java applications that no package owns: jars, wars, ears, servers, JDKs; the artifacts in them.",
    reads=(),
    join=join,
    source="JAR File Specification, maven.apache.org/shared/maven-archiver, tomcat.apache.org, docs.wildfly.org",
)
