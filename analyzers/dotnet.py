""".NET applications that nobody packaged: their deps.json and runtimeconfig.json, or the bundle that holds both."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from analyzers._binary import Linked, Roots, application, binaries
from analyzers._commands import Tracer, runners
from analyzers._dotnet_files import Deps, Framework, Library, parse_config, parse_deps
from analyzers._nobodys import Nobodys, tree_of
from analyzers._reading import Reader, inside
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Application, Finding, LanguagePackage, Place, Requires, Uses

_NAME = "dotnet"
_MAX_JSON = 8 << 20
_MAX_FILES = 5000
_DEPS, _CONFIG = ".deps.json", ".runtimeconfig.json"
# Where `dotnet` finds frameworks: its own folder, and the usual ones (learn.microsoft.com/dotnet/core/install).
_HOMES = ("/usr/lib/dotnet", "/usr/lib64/dotnet", "/usr/share/dotnet", "/opt/dotnet", "/usr/local/share/dotnet")


class _App:
    """One application in a folder: `stem` is the path without the files' endings."""

    def __init__(self, reader: Reader, stem: str) -> None:
        self.stem, self.folder = stem, posixpath.dirname(stem)
        self.deps: Deps | None = None
        self.frameworks: tuple[Framework, ...] = ()
        self.places = [path for path in (stem + _DEPS, stem + _CONFIG) if reader.guest.is_file(path)]
        for path in self.places:
            data = reader.data(path, _MAX_JSON)
            try:
                if data is not None and path.endswith(_DEPS):
                    self.deps = parse_deps(data)
                elif data is not None:
                    self.frameworks = parse_config(data)
            except ValueError as error:
                reader.note(path, str(error))

    @property
    def itself(self) -> Library | None:
        """The application among its own libraries: the first project, as the SDK writes them."""
        name = posixpath.basename(self.stem)
        own = [each for each in self.deps.libraries if each.kind == "project"] if self.deps else []
        return next((each for each in own if each.name == name), next(iter(own), None))

    @property
    def is_program(self) -> bool:
        """A library has a deps.json too; what can be run has a runtimeconfig.json."""
        return self.stem + _CONFIG in self.places


class _Join:
    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest, self.findings = guest, findings
        self.reader = Reader(guest, _NAME)
        self.nobodys = Nobodys.of(guest, findings)
        paths = [entry.path for entry in self.nobodys.files if entry.path.endswith((_DEPS, _CONFIG))]
        stems = sorted({path.removesuffix(_DEPS).removesuffix(_CONFIG) for path in paths})
        if len(stems) > _MAX_FILES:
            self.reader.note("/", f"{len(stems)} .NET applications and libraries, of which {_MAX_FILES} were read")
        guest.prefetch(paths)
        self.apps = [_App(self.reader, stem) for stem in stems[:_MAX_FILES]]

    def run(self) -> Iterator[Finding]:
        for app in self.apps:
            if app.deps is not None:
                yield from self.packages(app.deps, app.stem + _DEPS, app.folder)
        yield from self.applications()
        yield from self.bundles()
        yield from self.needs()
        yield from self.reader.unread

    def applications(self) -> Iterator[Application]:
        programs = [app for app in self.apps if app.is_program and self.nobodys.counts(app.stem + _CONFIG)]
        for app in programs:
            alone = sum(each.folder == app.folder for each in programs) == 1
            tree = tree_of(app.stem + _CONFIG)
            only = sum(inside(each.folder, tree) for each in programs) == 1
            root = tree if only else app.folder if alone else f"{app.stem}.dll"
            if tree == app.stem + _CONFIG or not self.nobodys.is_nobodys(root):
                root = f"{app.stem}.dll"
            own = app.itself
            yield Application(
                seen_in=Place(app.places[0], own.line if own is not None else None),
                root=root,
                ecosystem="nuget",
                name=posixpath.basename(app.stem),
                version=own.version if own is not None else "",
                runtime=tuple(sorted({package for _, package in self.framework_packages(app.frameworks)})),
            )

    def packages(self, deps: Deps, path: str, location: str) -> Iterator[LanguagePackage]:
        for each in deps.libraries:
            if each.kind in ("package", "runtimepack"):
                yield LanguagePackage(
                    seen_in=Place(path, each.line), ecosystem="nuget", name=each.name.removeprefix("runtimepack."),
                    version=each.version, location=location,
                )  # fmt: skip

    def bundles(self) -> Iterator[Finding]:
        """Single-file applications: the files that say what they are stand in the program."""
        linked = Linked(self.nobodys)
        found: dict[str, Deps] = {}
        for each in binaries(self.nobodys):
            if each.bundle is not None and each.bundle.deps:
                try:
                    found[each.path] = parse_deps(each.bundle.deps)
                except ValueError as error:
                    self.reader.note(each.path, f"in its bundle: {error}")
                else:
                    for package in self.packages(found[each.path], each.path, each.path):
                        yield LanguagePackage(
                            seen_in=Place(each.path), ecosystem="nuget", name=package.name, version=package.version,
                            location=each.path,
                        )  # fmt: skip
        for root, each in Roots.of_guest(self.nobodys).of("nuget"):
            deps = found.get(each.path)
            own = next((library for library in deps.libraries if library.kind == "project"), None) if deps else None
            yield application(root, each, own.name if own else "", own.version if own else "", linked)

    # ---------------------------------------------------------------- what it needs

    def framework_packages(self, frameworks: Sequence[Framework]) -> Iterator[tuple[str, str]]:
        """Yield (folder, package) of the shared frameworks: of the same major version, as the host takes them."""
        for framework in frameworks:
            major = framework.version.partition(".")[0]
            for home in _HOMES:
                for folder in self.guest.glob(f"{home}/shared/{_plain(framework.name)}/{_plain(major)}.*"):
                    for name in self.guest.listdir(folder)[:5]:
                        if package := self.nobodys.owners.package(f"{folder}/{name}"):
                            yield folder, package
                            break

    def needs(self) -> Iterator[Finding]:
        """Yield the frameworks' packages for who runs an application: `dotnet App.dll`, or the host beside it."""
        tracer = Tracer(self.guest, Reader(self.guest, "programs"), self.nobodys.owners)
        by_path = {path: app for app in self.apps if app.frameworks for path in (f"{app.stem}.dll", app.stem)}
        for runner in runners(self.findings) if by_path else ():
            for call in tracer.trace(runner).calls:
                words = [word.text for word in call.command.words[1:] if word.whole]
                paths = [call.program, *(posixpath.normpath(posixpath.join(call.directory, word)) for word in words)]
                for app in {by_path[path].stem: by_path[path] for path in paths if path in by_path}.values():
                    yield from self._needs(runner.ident, app)

    def _needs(self, ident: str, app: _App) -> Iterator[Finding]:
        place = Place(app.stem + _CONFIG)
        for folder, package in self.framework_packages(app.frameworks):
            says = f"it runs on {posixpath.basename(posixpath.dirname(folder))}: {folder}"
            yield Requires(seen_in=place, service=ident, package=package, says=says)
        for framework in app.frameworks:
            major = _plain(framework.version.partition(".")[0])
            found = [f for home in _HOMES for f in self.guest.glob(f"{home}/shared/{_plain(framework.name)}/{major}.*")]
            if not found:
                self.reader.note(place.path, f"its framework {framework.name} {framework.version} is not on the disk")
            elif not any(self.guest.listdir(f) and self.nobodys.owners.package(f"{f}/{self.guest.listdir(f)[0]}")
                         for f in found):  # fmt: skip
                home = found[-1].rpartition("/shared/")[0]
                says = f"{framework.name} is there, and no package owns it"
                yield Uses(seen_in=place, service=ident, path=home, role="code", says=says)


def _plain(name: str) -> str:
    """Return a name without what glob(7) would read otherwise."""
    return "".join(c for c in name if c.isalnum() or c in ".-_") or "-"


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications, their packages, and the frameworks that services need for them."""
    yield from _Join(guest, findings).run()


ANALYZER = Analyzer(
    name=_NAME,
    says=".NET applications that no package owns: packages, frameworks, single-file programs.",
    reads=(),
    join=join,
    source="dotnet/sdk runtime-configuration-file.md, dotnet/designs accepted/2020/single-file",
)
