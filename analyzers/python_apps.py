"""Python applications that nobody packaged: virtual environments, what is in them, which services run them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._commands import Call, Runner, Trace, Tracer, runners
from analyzers._interpreters import applications, interpreters
from analyzers._libraries import Libraries, Missing, base_packages
from analyzers._owners import Owners
from analyzers._python_code import Sources
from analyzers._python_env import (
    Environment,
    Swept,
    application_root,
    conda_environment,
    environment,
    packages,
    runtime_packages,
    sweep,
    system_metadata,
)
from analyzers._python_servers import SERVERS, server_of
from analyzers._python_system import SystemPython
from analyzers._python_tools import conda_packages, named_by_tool, project
from analyzers._reading import Reader, absolute, assignments, inside, meaningful
from analyzers._running import packaged_place
from analyzers._servers import Start, listen_of
from migrate.guest.protocol import Guest
from migrate.model import (
    Analyzer,
    Application,
    Finding,
    LanguagePackage,
    Listen,
    Package,
    Place,
    Requires,
    User,
    Uses,
)

_NAME = "python_apps"


class _App(msgspec.Struct, frozen=True):
    """An application with the environment it runs in."""

    root: str
    environment: Environment
    runtime: tuple[str, ...]


def _apps(reader: Reader, swept: Swept) -> list[_App]:
    found = []
    for path in swept.environments:
        env = environment(reader, path)
        found.append(_App(application_root(reader.guest, path), env, runtime_packages(env.interpreter)))
    return [*found, *(_App(path, conda_environment(swept, path), ()) for path in swept.conda)]


def _applications(reader: Reader, swept: Swept, installed: Sequence[LanguagePackage]) -> Iterator[Application]:
    """Yield each environment as what it was made for: pipx and uv say so, a project does, else its folder's name."""
    for app in _apps(reader, swept):
        env = app.environment
        conda = env.path in swept.conda
        missing = not env.interpreter or not reader.guest.exists(env.interpreter)
        if missing and not conda and not reader.guest.is_file(f"{env.path}/bin/python3"):
            reader.note(f"{env.path}/bin/python3", f"its interpreter {env.interpreter or '(none)'} is not on the disk")
        named = named_by_tool(reader, env.path, installed) or (project(reader, app.root) if not conda else None)
        yield Application(
            seen_in=named.place if named else env.place,
            root=app.root,
            ecosystem="conda" if conda else "pypi",
            name=named.name if named else posixpath.basename(app.root),
            version=named.version if named else "",
            runtime=app.runtime,
        )


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield the applications, the packages in their environments, and the interpreters that were built here."""
    reader = Reader(guest, _NAME)
    swept = sweep(guest)
    installed = list(packages(reader, swept.metadata, swept.conda))
    yield from installed
    yield from conda_packages(reader, swept.records, swept.conda)
    yield from _applications(reader, swept, installed)
    yield from (app for app in _interpreters(guest, swept) if not packaged_place(app.root))
    yield from reader.unread


def _interpreters(guest: Guest, swept: Swept, owners: Owners | None = None) -> Iterator[Application]:
    """Yield the interpreters but conda's, which are packages in its environments."""
    for app in applications(interpreters(guest, "python"), owners):
        if not any(inside(app.root, top) for top in swept.conda):
            yield app


class _Join:
    """Ties the applications to the services and jobs that run them."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.findings = guest, findings
        self.reader = Reader(guest, _NAME)
        self.swept = sweep(guest)
        self.apps = _apps(self.reader, self.swept)
        self.owners = Owners(guest, findings)
        self.tracer = Tracer(guest, self.reader, self.owners)
        self.system = SystemPython(self.reader, self.owners, {f.name: f.home for f in findings if isinstance(f, User)})
        self.base = base_packages(findings)
        self.uids = {finding.name: finding.uid for finding in findings if isinstance(finding, User)}
        self._outside: dict[str, list[Missing]] = {}

    def run(self) -> Iterator[Finding]:
        yield from packages(self.reader, system_metadata(self.guest, self.owners))
        yield from (a for a in _interpreters(self.guest, self.swept, self.owners) if packaged_place(a.root))
        for runner in runners(self.findings):
            trace = self.tracer.trace(runner)
            for app, call, why in self.used(runner, trace):
                yield from self.needs(runner, app, call, why)
                yield from self.data(runner, app, trace)
            for call in trace.calls:
                if call.program:
                    yield from self.listens(runner, call)
                    yield from self.system.needs(runner, call)

    def used(self, runner: Runner, trace: Trace) -> Iterator[tuple[_App, Call, str]]:
        """Yield the applications a runner uses: by its program, a word of its command, or its working directory."""
        seen: set[str] = set()
        for call in trace.calls:
            words = [word.text for word in call.command.words if word.whole and self.is_code(word.text)]
            for path in [call.program, *words, *([runner.directory] if call is trace.calls[0] else [])]:
                app = self.of(path) if path else None
                if app is not None and app.environment.path not in seen:
                    seen.add(app.environment.path)
                    how = f"it runs {path}" if path == call.program else f"it is given {path}"
                    yield app, call, how if path != runner.directory else f"its working directory is {path}"

    def is_code(self, path: str) -> bool:
        """Tell whether a path is a file that an application is made of, not one that it only keeps."""
        entry = self.guest.stat(path) if path.startswith("/") else None
        if entry is None or entry.kind != "file":
            return False
        return bool(entry.mode & 0o111) or path.endswith((".py", ".pyz", ".ini", ".toml", ".cfg", ".conf"))

    def of(self, path: str) -> _App | None:
        """Return the innermost application that a path lies in."""
        held = [app for app in self.apps if inside(path, app.root) or inside(path, app.environment.path)]
        return max(held, key=lambda app: (len(app.root), app.environment.path), default=None)

    # ---------------------------------------------------------------- what it needs

    def needs(self, runner: Runner, app: _App, call: Call, why: str) -> Iterator[Finding]:
        env, ident = app.environment, runner.ident
        yield Uses(seen_in=call.place, service=ident, path=app.root, role="code", says=why)
        if not inside(env.path, app.root):
            yield Uses(seen_in=env.place, service=ident, path=env.path, role="code", says="its virtual environment")
        for path in self.linked(env):
            yield Uses(
                seen_in=env.place, service=ident, path=path, role="code", says="its environment points there (.pth)"
            )
        installed = {finding.name for finding in self.findings if isinstance(finding, Package)}
        for package in app.runtime:
            if package in installed or not installed:
                says = f"the interpreter of {env.path} ({env.interpreter}), with the whole standard library"
                yield Requires(seen_in=env.place, service=ident, package=package, says=says)
        yield from self.interpreter(runner, app)
        yield from self.system_packages(runner, env)
        for missing in self.outside(app):
            if missing.package and missing.package not in self.base:
                says = f"{missing.library}, which {missing.binary} loads"
                yield Requires(seen_in=Place(missing.binary), service=ident, package=missing.package, says=says)
            elif missing.path and not missing.package:
                says = f"{missing.binary} loads it, and no package owns it"
                yield Uses(seen_in=Place(missing.binary), service=ident, path=missing.path, role="code", says=says)

    def interpreter(self, runner: Runner, app: _App) -> Iterator[Finding]:
        """An interpreter that no package owns comes along with its standard library."""
        real = self.guest.resolve(app.environment.interpreter) if app.environment.interpreter else None
        if app.runtime or real is None or self.owners.package(real) is not None:
            return
        prefix, name = posixpath.dirname(posixpath.dirname(real)), posixpath.basename(real)
        whole = [prefix] if prefix not in ("/usr", "/usr/local", "/") else [real, f"{prefix}/lib/{name}"]
        for path in whole:
            if self.guest.exists(path):
                says = "the interpreter, which no package owns"
                yield Uses(seen_in=app.environment.place, service=runner.ident, path=path, role="code", says=says)

    def system_packages(self, runner: Runner, env: Environment) -> Iterator[Requires]:
        for package in self.findings if env.sees_system else ():
            if isinstance(package, Package) and package.chosen and package.name.startswith("python3-"):
                says = "the environment sees the system's packages (include-system-site-packages)"
                yield Requires(seen_in=env.place, service=runner.ident, package=package.name, says=says)

    def linked(self, env: Environment) -> Iterator[str]:
        """Yield the folders outside that .pth files name (site module): editable installs."""
        for path in self.guest.glob(f"{env.path}/lib/python*/site-packages/*.pth"):
            for _, line in meaningful(self.reader.text(path, 1 << 16) or ""):
                if line.startswith("/") and self.guest.is_dir(line) and not inside(line, env.path):
                    yield absolute(line, "/")

    def outside(self, app: _App) -> list[Missing]:
        """Return the libraries that the application's compiled modules load from outside its tree."""
        if app.root not in self._outside:
            tops = dict.fromkeys((app.root, app.environment.path))
            names = [e.path for top in tops for e in self.guest.walk(top) if e.kind == "file" and ".so" in e.path]
            files = sorted({path for path in names if path.endswith(".so") or ".so." in path})
            self._outside[app.root] = Libraries(self.reader, self.owners).missing(files, files)
        return self._outside[app.root]

    # ---------------------------------------------------------------- what it writes

    def data(self, runner: Runner, app: _App, trace: Trace) -> Iterator[Uses]:
        """Yield the folders in the application's tree that belong to who runs it, while the code does not."""
        uid = self.uids.get(runner.user)
        root = self.guest.stat(app.root)
        if not uid or root is None or root.uid == uid:
            return
        sources = Sources(self.reader, app.root, app.environment.path)
        reached = sorted({path for call in trace.calls for path in self.reached(sources, call)})
        top = ""
        for entry in self.guest.walk(app.root):
            if entry.kind != "directory" or entry.uid != uid or (top and inside(entry.path, top)):
                continue
            if inside(entry.path, app.environment.path) or entry.path.endswith("/__pycache__"):
                continue
            top = entry.path
            says = f"{runner.user} owns it, while the code around it is not theirs"
            named = next(sources.mentions(reached, posixpath.basename(top)), None)
            if named is not None:
                says = f"{says}; the code names it"
            elif reached:
                continue  # the files this command reaches do not speak of it
            yield Uses(seen_in=named or Place(top), service=runner.ident, path=top, role="data", says=says)

    def reached(self, sources: Sources, call: Call) -> list[str]:
        words = [word.text for word in call.command.words if word.whole]
        return sources.reached(sources.entry(words, call.directory), call.directory)

    # ---------------------------------------------------------------- where it listens

    def listens(self, runner: Runner, call: Call) -> Iterator[Listen]:
        served = server_of([word.text for word in call.command.words])
        if served is None:
            return
        name, words = served

        def read(path: str) -> tuple[str, str] | None:
            full = absolute(path, call.directory)
            text = self.reader.optional(full, 1 << 18)
            return None if text is None else (full, text)

        variables = dict(runner.variables)
        for file in runner.environment_files:
            found = assignments(self.reader.optional(file.path) or "")
            variables.update({key: value for key, (value, _) in found.items()})
        for bind in SERVERS[name](Start(words, variables, read)):
            yield listen_of(self.reader, runner.ident, call.place, bind)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what services and jobs need of the applications they run, and where they listen."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Python applications: virtual environments, conda, pipx, packages, who runs them, where they listen.",
    reads=("/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    analyze=analyze,
    join=join,
    source="PEP 376, 405 and 621, core metadata, conda (PrefixRecord), pipx, docs.gunicorn.org, ld.so(8)",
)
