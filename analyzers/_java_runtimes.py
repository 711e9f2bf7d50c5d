"""Which Java a start script runs on: what its environment, its settings or its own folder say, else the machine's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from analyzers._commands import Call, Runner, Tracer, runners
from analyzers._java_servers import Server, java_home
from analyzers._libraries import base_packages
from analyzers._nobodys import Nobodys
from analyzers._reading import Reader, assignments, inside
from migrate.model import Finding, Place, Requires, Uses


class Runtimes:
    """The Java runtimes of a guest: the unpacked ones, and the one that is found by name (nothing where none is)."""

    def __init__(self, nobodys: Nobodys, reader: Reader, jdks: Sequence[Server], java: str) -> None:
        self.nobodys, self.reader, self.jdks, self.java = nobodys, reader, jdks, java
        self.guest = reader.guest

    def needs(self, findings: Sequence[Finding], servers: Sequence[str], trees: Sequence[str]) -> Iterator[Finding]:
        """Yield the Java that a start script finds by variables, which following the script does not tell."""
        base = base_packages(findings)
        roots = [*servers, *trees]
        tracer = Tracer(self.guest, Reader(self.guest, "programs"), self.nobodys.owners)
        for runner in runners(findings) if roots else ():
            calls = [call for call in tracer.trace(runner).calls if call.program]
            if any(call.name == "java" for call in calls):
                continue
            for call in calls:
                root = next((root for root in roots if inside(call.program, root)), "")
                if root and self._starts_java(call.program, root in servers):
                    yield from self._need(runner, call, root, base)
                    break

    def _starts_java(self, path: str, is_servers: bool) -> bool:
        """Tell whether a program is a script that speaks of Java; a server's own need not say so itself."""
        if not self.nobodys.head(path).startswith(b"#!"):
            return False
        return is_servers or "java" in (self.reader.optional(path, 1 << 18) or "").lower()

    def _need(self, runner: Runner, call: Call, root: str, base: Collection[str]) -> Iterator[Finding]:
        java, place = self._java_of(runner, root, call.place)
        says = f"{call.program} starts Java: {java}"
        if not java:
            self.reader.note(call.program, "it starts Java, and none was found on the disk")
        elif owned := self.nobodys.owners.packages(java):
            for package, _ in owned:
                if package not in base:
                    yield Requires(seen_in=place, service=runner.ident, package=package, says=says)
        elif not inside(java, root):
            home = self.guest.resolve(java) or java
            home = next((each.root for each in self.jdks if inside(home, each.root)), home)
            says = f"{says}, which no package owns"
            yield Uses(seen_in=place, service=runner.ident, path=home, role="code", says=says)

    def _java_of(self, runner: Runner, root: str, place: Place) -> tuple[str, Place]:
        """Return the program that a start script takes for Java, and what says so."""
        places = [(java_home(runner.variables), runner.place)]
        files = [file.path for file in runner.environment_files]
        for path in (*files, f"{root}/bin/setenv.sh", f"{root}/conf/env.sh"):
            rows = assignments(self.reader.optional(path, 1 << 18) or "") if self.guest.is_file(path) else {}
            lines = [rows[key] for key in ("JRE_HOME", "JAVA_HOME") if key in rows]
            places += [(value, Place(path, line)) for value, line in lines]
        places += [(f"{root}/{folder}", Place(f"{root}/{folder}/bin/java")) for folder in ("jdk", "jre")]
        for home, where in places:
            if home.startswith("/") and self.guest.is_file(f"{home}/bin/java"):
                return f"{home}/bin/java", where
        return self.java, place
