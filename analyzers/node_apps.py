"""Applications for Node.js that nobody packaged: their packages, the interpreters unpacked for them, who runs them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from analyzers._commands import Runner, Trace, line_of
from analyzers._interpreters import applications, interpreters, packaged
from analyzers._manifests import decoded, line_with, manifests, optional_bytes
from analyzers._node_packages import Root, global_package, installed, packages, plug_n_play, roots
from analyzers._node_servers import Bound, bound, script_of, words_of
from analyzers._owners import Owners
from analyzers._reading import Reader
from analyzers._running import Language, Running, Tied, Tree, packaged_place
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Application, Finding, LanguagePackage, Listen, Place, User

_NAME = "node_apps"
# Where `npm install -g` of a distribution's Node.js puts packages, beside those that the distribution ships.
_SYSTEM = ("/usr/lib/node_modules", "/usr/lib64/node_modules")
_LANGUAGE = Language(
    interpreter="node",
    runs=frozenset({"npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx", "bun", "bunx", "pm2", "pm2-runtime", "forever"}),
    folders=frozenset({"--prefix", "--cwd", "--dir", "-C"}),
    code=(".js", ".mjs", ".cjs", ".ts", ".mts"),
    names=("package.json",),
)


class _Process(msgspec.Struct, frozen=True):
    """One process of PM2's dump (`pm2 save`); it holds the whole environment too, which is not looked at."""

    name: Any = ""
    pm_exec_path: str = ""
    pm_cwd: str = ""


def _application(root: Root, runtime: tuple[str, ...]) -> Application:
    return Application(
        seen_in=root.place, root=root.path, ecosystem="npm", name=root.name, version=root.version, runtime=runtime
    )


def _global(package: LanguagePackage, runtime: tuple[str, ...]) -> Application:
    return Application(
        seen_in=package.seen_in, root=package.location, ecosystem="npm", name=package.name, version=package.version,
        runtime=runtime,
    )  # fmt: skip


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what is installed, and the applications where packages put nothing."""
    reader, found = Reader(guest, _NAME), manifests(guest)
    runtime, paths = packaged(guest, "node"), found.get("package.json", ())
    for package in packages(reader, paths):
        yield package
        if global_package(package.location) and not packaged_place(package.location):
            yield _global(package, runtime)
    yield from plug_n_play(reader, [*found.get(".pnp.cjs", ()), *found.get(".pnp.data.json", ())])
    for root in roots(reader, paths):
        if not packaged_place(root.path):
            yield _application(root, runtime)
    yield from (each for each in applications(interpreters(guest, "node")) if not packaged_place(each.root))
    yield from reader.unread


class _Join:
    """Ties the applications to the services and jobs that run them."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.reader = guest, Reader(guest, _NAME)
        self.owners = Owners(guest, findings)
        self.interpreters = interpreters(guest, "node")
        self.homes = {f.name: f.home for f in findings if isinstance(f, User)}
        paths = manifests(guest).get("package.json", ())
        self.roots = {
            root.path: root for root in roots(self.reader, paths) if self.is_nobodys(f"{root.path}/package.json")
        }
        self.late = list(self.system())
        trees = [Tree(root.path, root.whole, root.place) for root in self.roots.values()]
        trees += [Tree(f.root, f.root, f.seen_in) for f in (*findings, *self.late)
                  if isinstance(f, Application) and f.ecosystem == "npm" and f.root not in self.roots]  # fmt: skip
        self.running = Running(guest, findings, self.reader, _LANGUAGE, list(dict.fromkeys(trees)), self.interpreters)

    def is_nobodys(self, path: str) -> bool:
        return not packaged_place(path) or self.owners.own(path) is None

    def run(self) -> Iterator[Finding]:
        yield from self.late
        for runner, trace in self.running.traces():
            found = [*self.running.tied(runner, trace), *self.kept(runner, trace)]
            for tied in found:
                yield from self.running.code(tied)
                yield from self.running.data(runner.ident, tied.tree.root, runner.user)
                yield from self.listens(tied)
            if found:
                yield from self.running.runtime(runner, found[0].call, ("lib/node_modules",))

    # ---------------------------------------------------------------- what only the owners tell

    def system(self) -> Iterator[Finding]:
        """Yield what is beside packaged files: below /opt and /var/lib, and npm's global packages below /usr."""
        runtime = packaged(self.guest, "node")
        for root in self.roots.values():
            if packaged_place(root.path):
                yield _application(root, runtime)
        for each in applications(self.interpreters, self.owners):
            if packaged_place(each.root):
                yield each
        paths = [e.path for top in _SYSTEM if self.owners for e in self.guest.walk(top)
                 if e.kind == "file" and e.path.endswith("/package.json") and installed(e.path)
                 and self.owners.own(e.path) is None]  # fmt: skip
        loose = [path for path in manifests(self.guest).get("package.json", ()) if packaged_place(path)]
        for package in packages(self.reader, [*paths, *(p for p in loose if global_package(posixpath.dirname(p)))]):
            if self.owners.own(package.seen_in.path) is not None:
                continue
            yield package
            if global_package(package.location):
                yield _global(package, runtime)

    # ---------------------------------------------------------------- pm2

    def kept(self, runner: Runner, trace: Trace) -> Iterator[Tied]:
        """Yield the applications that `pm2 resurrect` starts, from what `pm2 save` wrote (pm2.keymetrics.io/docs)."""
        for call in trace.calls:
            words = [word.text for word in call.command.words]
            if call.name != "pm2" or "resurrect" not in words:
                continue
            home = dict(runner.variables).get("PM2_HOME") or f"{self.homes.get(runner.user, '/root')}/.pm2"
            path = f"{home}/dump.pm2"
            read = decoded(self.reader, path, list[_Process], 8 << 20) if self.guest.is_file(path) else None
            for process in read[0] if read else ():
                tree = self.running.of(process.pm_exec_path)
                if tree is not None and read:
                    place = Place(path, line_with(read[1], '"pm_exec_path"', process.pm_exec_path))
                    at = msgspec.structs.replace(call, place=place)
                    yield Tied(runner, tree, at, process.pm_cwd or tree.root, f"pm2 runs {process.pm_exec_path}")

    # ---------------------------------------------------------------- where it listens

    def listens(self, tied: Tied) -> Iterator[Listen]:
        """Yield where a known server listens, told by the command or by the script in package.json that it runs."""
        words = [word.text for word in tied.call.command.words]
        variables: Mapping[str, str] = tied.runner.variables
        root = self.roots.get(tied.tree.root)
        script = root.manifest.script(script_of(words)) if root else ""
        if root and script and tied.tree.root == root.path:
            for command in words_of(script):
                if (found := bound(command, variables)) is not None:
                    path = f"{root.path}/package.json"
                    quoted = msgspec.json.encode(script).decode()
                    data = optional_bytes(self.guest, path, 1 << 20)
                    place = Place(path, line_with(data, quoted))
                    yield self.listen(tied, found, place)
        elif (found := bound(words, variables)) is not None:
            yield self.listen(tied, found, line_of(self.reader, tied.call.place, found.text))

    def listen(self, tied: Tied, found: Bound, place: Place) -> Listen:
        return Listen(
            seen_in=place, service=tied.runner.ident, port=found.port, address=found.address, assumed=found.assumed
        )


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications beside packaged files, and what services and jobs need of those that they run."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Applications for Node.js: packages of npm, pnpm and yarn, interpreters nobody packaged, who runs them.",
    reads=("/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    analyze=analyze,
    join=join,
    source="docs.npmjs.com (package.json, folders), pnpm.io, yarnpkg.com/advanced/pnp-spec, pm2.keymetrics.io/docs",
)
