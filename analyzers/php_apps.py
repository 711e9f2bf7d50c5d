"""Applications in PHP that nobody packaged: what Composer installed, which FPM pool or command runs them."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator, Sequence

from analyzers._commands import Call, Runner, line_of
from analyzers._interpreters import applications, interpreters, packaged
from analyzers._owners import Owners
from analyzers._php_fpm import Pool, configuration, files, main_file, modules, parse_address, pools, version_of
from analyzers._php_packages import Root, packages, roots
from analyzers._php_web import Served, apache, nginx
from analyzers._reading import Reader, inside
from analyzers._running import Language, Running, Tree, packaged_place
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Application, Finding, Listen, Place, Requires, Service, Uses

_NAME = "php_apps"
_WEB_USERS = ("www-data", "apache", "wwwrun", "http")  # Debian's, Red Hat's, SUSE's, Arch's
_LANGUAGE = Language(
    interpreter="php",
    runs=frozenset({"composer", "wp", "drush"}),
    folders=frozenset({"--path", "--working-dir", "--root", "-d", "-r"}),
    code=(".php", ".phar"),
    names=("artisan", "console", "occ", "magento", "yii", "drush"),
)


def _application(root: Root, runtime: tuple[str, ...]) -> Application:
    return Application(
        seen_in=root.place, root=root.path, ecosystem="composer", name=root.name, version=root.version, runtime=runtime
    )


def analyze(guest: Guest) -> Iterator[Finding]:
    """Yield what Composer installed, and the applications where packages put nothing."""
    reader = Reader(guest, _NAME)
    runtime = packaged(guest, "php")
    yield from packages(reader)
    yield from (_application(root, runtime) for root in roots(reader) if not packaged_place(root.path))
    yield from (each for each in applications(interpreters(guest, "php")) if not packaged_place(each.root))
    yield from reader.unread


class _Join:
    """Ties the applications to the services and jobs that run them."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.reader, self.findings = guest, Reader(guest, _NAME), findings
        self.owners = Owners(guest, findings)
        self.interpreters = interpreters(guest, "php")
        own = [r for r in roots(self.reader) if not packaged_place(r.path) or self.owners.own(r.place.path) is None]
        self.roots = {root.path: root for root in own}
        trees = [Tree(root.path, root.path, root.place) for root in own]
        self.running = Running(guest, findings, self.reader, _LANGUAGE, trees, self.interpreters)

    @functools.cached_property
    def web(self) -> dict[str, list[Served]]:
        """What web servers hand to PHP, by where it listens; what nginx's files have wrong, its analyzer tells."""
        found: dict[str, list[Served]] = {}
        for served in dict.fromkeys((*nginx(Reader(self.guest, _NAME)), *apache(self.reader))):
            found.setdefault(served.listen, []).append(served)
        return found

    def run(self) -> Iterator[Finding]:
        runtime = packaged(self.guest, "php")
        yield from (_application(root, runtime) for root in self.roots.values() if packaged_place(root.path))
        yield from (a for a in applications(self.interpreters, self.owners) if packaged_place(a.root))
        for runner, trace in self.running.traces():
            found = list(self.running.tied(runner, trace))
            for tied in found:
                yield from self.running.code(tied)
                yield from self.data(runner.ident, self.roots[tied.tree.root], runner.user)
            if found:
                yield from self.running.runtime(runner, found[0].call, ("lib/php", "etc/php"))
                yield from self.loads(runner.ident, self.running.interpreter(runner, found[0].call), "")
            for call in trace.calls:
                yield from self.listens(runner, call)
        for service in self.findings:
            if isinstance(service, Service) and service.command:
                yield from self.fpm(service)
                yield from self.apache(service)

    def data(self, service: str, root: Root, user: str) -> Iterator[Uses]:
        """Yield the folders of what users made, and those that the account the code runs as owns apart from it."""
        for path in root.data:
            yield Uses(
                seen_in=Place(path), service=service, path=path, role="data", says=f"{root.name} keeps files there"
            )
        yield from self.running.data(service, root.path, user)

    # ---------------------------------------------------------------- PHP-FPM and Apache

    def fpm(self, service: Service) -> Iterator[Finding]:
        """Yield where a service's pools listen, what they run as far as a web server or chdir says so, and modules."""
        if version_of(service.command[0]) is None:
            return
        main = main_file(self.reader, service.command)
        read = files(self.reader, main) if main else []
        for path in read:
            says = "PHP-FPM reads it"
            yield Uses(seen_in=Place(path), service=service.id, path=path, role="config", says=says)
        for pool in pools(self.reader, read):
            yield Listen(
                seen_in=pool.place, service=service.id, port=pool.port, address=pool.address or "*", path=pool.path
            )
            yield from self.pool(service, pool)
        yield from self.loads(service.id, service.command[0], main)

    def pool(self, service: Service, pool: Pool) -> Iterator[Finding]:
        for served in self.web.get(pool.listen, ()):
            says = f"{served.server} hands what is below {served.root} to its pool {pool.name}"
            yield from self.served(service.id, served, pool.user, says)
        tree = self.running.of(self.guest.resolve(pool.directory) or pool.directory) if pool.directory else None
        if tree is not None and pool.chdir is not None:
            says = f"its pool {pool.name} works in {pool.directory}"
            yield Uses(seen_in=pool.chdir, service=service.id, path=tree.root, role="code", says=says)

    def served(self, service: str, served: Served, user: str, says: str) -> Iterator[Finding]:
        """Yield the applications around or below a folder that requests are answered from, or else the folder."""
        real = self.guest.resolve(served.root) or served.root
        whole = self.running.of(real)
        below = [tree for tree in self.running.trees.values() if inside(tree.root, real)]
        found = dict.fromkeys([whole, *below] if whole else below)
        for tree in found:
            yield Uses(seen_in=served.place, service=service, path=tree.root, role="code", says=says)
            yield from self.data(service, self.roots[tree.root], user)
        programs = [f"{real}/{name}" for name in self.guest.listdir(real) if name.endswith(".php") and not found]
        owners = {path: self.owners.own(path) for path in programs}
        if any(owner is None for owner in owners.values()):
            yield Uses(seen_in=served.place, service=service, path=real, role="code", says=says)
        for package in sorted({owner for owner in owners.values() if owner is not None}):
            yield Requires(seen_in=served.place, service=service, package=package, says=says)

    def apache(self, service: Service) -> Iterator[Finding]:
        """Yield what Apache runs by itself, with PHP's module in it."""
        if posixpath.basename(service.command[0]) in ("apache2", "apache2ctl", "apachectl", "httpd"):
            user = next((name for name in _WEB_USERS if name in self.running.uids), "")
            for served in self.web.get("", ()):
                says = f"it serves {served.root} and runs the PHP in it"
                yield from self.served(service.id, served, user, says)

    def loads(self, service: str, program: str, main: str) -> Iterator[Requires]:
        """Yield the packages of the modules that a program of PHP loads."""
        folders = configuration(self.guest.resolve(program) or program, main) if program else []
        first = {module.package: module for module in reversed(modules(self.reader, self.owners, folders))}
        for module in sorted(first.values()):
            if module.package not in self.running.base:
                says = f"PHP loads {module.name}"
                yield Requires(seen_in=module.place, service=service, package=module.package, says=says)

    # ---------------------------------------------------------------- where it listens

    def listens(self, runner: Runner, call: Call) -> Iterator[Listen]:
        """Yield where PHP's own server listens: `php -S HOST:PORT`, `php artisan serve --port=N`."""
        words = [word.text for word in call.command.words]
        if not re.fullmatch(r"php[\d.]*", call.name):
            return
        text = next((words[at + 1] for at, word in enumerate(words[:-1]) if word == "-S"), "")
        address = parse_address(text) if text else None
        if [posixpath.basename(word) for word in words[1:3]] == ["artisan", "serve"]:  # laravel.com/docs, ServeCommand
            told = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
            text = told.get("port", "")
            address = parse_address(f"{told.get('host', '127.0.0.1')}:{text or 8000}")
        if address is not None:
            place = line_of(self.reader, call.place, text)
            yield Listen(
                seen_in=place, service=runner.ident, port=address[1], address=address[0], assumed=not text
            )  # fmt: skip


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications beside packaged files, and what services and jobs need of those that they run."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Applications in PHP: Composer, WordPress and its like, PHP-FPM's pools, its modules, who runs them.",
    reads=("/etc/php", "/etc/php-fpm.conf", "/etc/php-fpm.d", "/etc/php.d", "/etc/php7*", "/etc/php8*", "/etc/nginx",
           "/etc/apache2", "/etc/httpd"),
    analyze=analyze,
    join=join,
    source="getcomposer.org/doc, php.net/manual/en/install.fpm.configuration.php, httpd.apache.org (mod_proxy_fcgi)",
)  # fmt: skip
