"""Applications in Ruby that nobody packaged: their gems, the interpreters built for them, who runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analyzers._commands import Call, Runner
from analyzers._interpreters import applications, interpreters, packaged
from analyzers._manifests import base, manifests, optional_bytes
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside
from analyzers._ruby_gems import Root, bundle_path, from_git, gem_home, gems, locked, roots
from analyzers._ruby_servers import SERVERS, server_of
from analyzers._running import Language, Running, Tied, Tree, packaged_place
from analyzers._servers import Start, listen_of
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Application, Finding, Listen, Place, Requires, User, Uses

_NAME = "ruby_apps"
_MAX_HOMES = 200
# Where distributions keep gems: Debian's, then Red Hat's, then what Ruby itself has.
_SYSTEM = ("/usr/share/rubygems-integration/*/specifications", "/usr/lib/*/rubygems-integration/*/specifications",
           "/usr/lib/ruby/gems/*/specifications", "/usr/lib/ruby/gems/*/specifications/default",
           "/usr/share/gems/specifications", "/usr/share/gems/specifications/default",
           "/usr/lib64/ruby/gems/*/specifications", "/usr/lib64/ruby/gems/*/specifications/default",
           "/usr/lib64/gems/ruby/specifications")  # fmt: skip
_LANGUAGE = Language(
    interpreter="ruby",
    runs=frozenset({"bundle", "bundler", "rails", "rake", "puma", "unicorn", "unicorn_rails", "thin", "sidekiq",
                    "rackup", "foreman", "resque", "falcon", "passenger"}),
    folders=frozenset({"--dir", "--chdir"}),
    code=(".rb", ".ru", "/Rakefile", "/Gemfile"),
    variables=("BUNDLE_GEMFILE",),
)  # fmt: skip
# The file in bin that RubyGems writes for each command of a gem (Gem::Installer#app_script_text).
_BIN = re.compile(rb"Gem\.(?:activate_)?bin_path\(['\"]([\w.-]+)['\"]")


def _homes(guest: Guest) -> list[str]:
    found = manifests(guest).get("*.gemspec", ())
    return list(dict.fromkeys(gem_home(path) for path in found))[:_MAX_HOMES]


def _application(root: Root, runtime: tuple[str, ...]) -> Application:
    return Application(seen_in=root.place, root=root.path, ecosystem="gem", name=root.name, runtime=runtime)


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield the installed gems, and the applications where packages put nothing."""
    reader = Reader(guest, _NAME)
    runtime, homes = packaged(guest, "ruby"), _homes(guest)
    yield from gems(reader, manifests(guest).get("*.gemspec", ()))
    for root in roots(reader):
        yield from from_git(reader, root, homes)
        if not packaged_place(root.path):
            yield _application(root, runtime)
    yield from (each for each in applications(interpreters(guest, "ruby")) if not packaged_place(each.root))
    yield from reader.unread


class _Join:
    """Ties the applications to the services and jobs that run them."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.reader = guest, Reader(guest, _NAME)
        self.owners = Owners(guest, findings)
        self.interpreters = interpreters(guest, "ruby")
        own = [r for r in roots(self.reader) if not packaged_place(r.path) or self.owners.own(r.place.path) is None]
        self.roots = {root.path: root for root in own}
        self.people = {f.name: f.home for f in findings if isinstance(f, User)}
        self.homes = _homes(guest)
        trees = [Tree(root.path, root.path, root.place) for root in own]
        self.running = Running(guest, findings, self.reader, _LANGUAGE, trees, self.interpreters)
        self.packaged = {base(path): path for pattern in _SYSTEM for path in guest.glob(f"{pattern}/*.gemspec")}

    def run(self) -> Iterator[Finding]:
        yield from self.system()
        for runner, trace in self.running.traces():
            found = list(self.running.tied(runner, trace))
            for tied in found:
                yield from self.running.code(tied)
                yield from self.running.data(runner.ident, tied.tree.root, runner.user)
                yield from self.gems(tied)
            if found:
                yield from self.running.runtime(runner, found[0].call, ("lib/ruby",))
            for call in trace.calls:
                yield from self.command(runner, call)
                yield from self.listens(runner, call)

    def system(self) -> Iterator[Finding]:
        """Yield what is beside packaged files: below /opt and /var/lib, and among the distribution's gems."""
        runtime = packaged(self.guest, "ruby")
        yield from (_application(root, runtime) for root in self.roots.values() if packaged_place(root.path))
        yield from (a for a in applications(self.interpreters, self.owners) if packaged_place(a.root))
        if self.owners:
            yield from gems(self.reader, sorted(p for p in self.packaged.values() if self.owners.own(p) is None))

    # ---------------------------------------------------------------- gems

    def reach(self, runner: Runner, root: str) -> list[str]:
        """Return the gem homes that a runner's Ruby looks in: Bundler's path, else the machine's and the account's."""
        if root and (told := bundle_path(self.guest, root)):
            return [home for home in self.homes if inside(home, told)]
        mine = self.people.get(runner.user, "/root")
        people = [home for name, home in self.people.items() if home.startswith(("/home/", "/root")) and home != mine]
        return [home for home in self.homes if not any(inside(home, other) for other in people)]

    def gems(self, tied: Tied) -> Iterator[Finding]:
        """Yield the gem homes outside an application that hold what its lock file names, and packages that do."""
        root = self.roots[tied.tree.root]
        homes, ident = self.reach(tied.runner, root.path), tied.runner.ident
        said: set[str] = set()
        for gem in locked(self.reader, root):
            name, place = f"{gem.name}-{gem.version}", Place(root.lock, gem.line)
            home = next((home for home in homes if self.guest.is_dir(f"{home}/gems/{name}")), "")
            owner = self.owners.own(self.packaged.get(f"{name}.gemspec", "/")) or ""
            if home and home not in said and not inside(home, root.path):
                said.add(home)
                says = f"{name}, which it is locked to, is installed there"
                yield Uses(seen_in=place, service=ident, path=home, role="code", says=says)
            elif not home and owner and owner not in said and owner not in self.running.base:
                said.add(owner)
                yield Requires(seen_in=place, service=ident, package=owner, says=f"it is locked to {name}")

    def command(self, runner: Runner, call: Call) -> Iterator[Finding]:
        """Yield the gem home behind a command that RubyGems put into a bin folder."""
        real = self.guest.resolve(call.program) if call.program else None
        if real is None or self.owners.own(real) is not None:
            return
        text = optional_bytes(self.guest, real, 4096)
        match = _BIN.search(text) if text.startswith(b"#!") else None
        if match is None:
            return
        name = match[1].decode()
        for home in self.reach(runner, ""):
            if any(re.fullmatch(rf"{re.escape(name)}-\d[\w.-]*", each) for each in self.guest.listdir(f"{home}/gems")):
                says = f"{call.program} runs the gem {name}, which is installed there"
                place = Place(real, text.count(b"\n", 0, match.start()) + 1)
                yield Uses(seen_in=place, service=runner.ident, path=home, role="code", says=says)

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

        for bind in SERVERS[name](Start(words, dict(runner.variables), read)):
            yield listen_of(self.reader, runner.ident, call.place, bind)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications beside packaged files, and what services and jobs need of those that they run."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Applications in Ruby: gems, Bundler, interpreters nobody packaged, who runs them, where they listen.",
    reads=("/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    analyze=analyze,
    join=join,
    source="guides.rubygems.org, bundler.io (Gemfile.lock, config), github.com/puma/puma, yhbt.net/unicorn",
)
