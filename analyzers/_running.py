"""Which services and jobs run an application: by the program, a word of the command, or the folder it works in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from analyzers._commands import Call, Runner, Trace, Tracer, runners
from analyzers._interpreters import Interpreter, of_program
from analyzers._libraries import Libraries, base_packages
from analyzers._manifests import around
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside
from migrate.guest.protocol import Guest
from migrate.model import Finding, Place, Requires, User, Uses

# What package managers fill, whoever called them.
_CODE_FOLDERS = frozenset({"node_modules", "vendor", ".git", ".bundle", "__pycache__", ".next", "dist", "build"})


class Tree(msgspec.Struct, frozen=True):
    """An application's tree, as it has to come along: `whole` is what `root` cannot run without (its workspace)."""

    root: str
    whole: str
    place: Place


class Language(msgspec.Struct, frozen=True):
    """How commands of one language name their application.

    `runs` are programs that take it from the working directory, `folders` their options that name that one,
    `code` the suffixes of what is run, `names` whole names; `variables` of the environment name a file of it.
    """

    interpreter: str
    runs: frozenset[str]
    folders: frozenset[str]
    code: tuple[str, ...]
    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


class Tied(msgspec.Struct, frozen=True):
    """One runner runs one application: `call` is the command that says so."""

    runner: Runner
    tree: Tree
    call: Call
    directory: str
    says: str


class Running:
    """Ties one language's applications to what runs them."""

    def __init__(
        self,
        guest: Guest,
        findings: Sequence[Finding],
        reader: Reader,
        language: Language,
        trees: Sequence[Tree],
        found: list[Interpreter],
    ) -> None:
        self.guest, self.reader, self.language, self.found = guest, reader, language, found
        self.owners = Owners(guest, findings)
        self.tracer = Tracer(guest, reader, self.owners)
        self.trees = {tree.root: tree for tree in sorted(trees, key=lambda tree: tree.root)}
        self.runners = runners(findings)
        self.base = base_packages(findings)
        self.uids = {finding.name: finding.uid for finding in findings if isinstance(finding, User)}
        self._libraries: Libraries | None = None

    def of(self, path: str) -> Tree | None:
        """Return the innermost application that a path lies in."""
        root = around(path, self.trees)
        return None if root is None else self.trees[root]

    def traces(self) -> Iterator[tuple[Runner, Trace]]:
        """Yield each service and job with all that it calls."""
        for runner in self.runners:
            yield runner, self.tracer.trace(runner)

    def tied(self, runner: Runner, trace: Trace) -> Iterator[Tied]:
        """Yield the applications that a runner runs, each once, with the first command that says so."""
        known: set[str] = set()
        for call in trace.calls:
            for path, folder, says in self._paths(runner, call):
                tree = self.of(path) or self.of(self.guest.resolve(path) or path)
                if tree is not None and tree.root not in known:
                    known.add(tree.root)
                    yield Tied(runner, tree, call, folder, says)

    def _paths(self, runner: Runner, call: Call) -> Iterator[tuple[str, str, str]]:
        """Yield (path in the application, working directory, why) for one command."""
        if call.program:
            yield call.program, call.directory, f"it runs {call.program}"
        words = [word.text for word in call.command.words[1:] if word.whole]
        given = [absolute(word, call.directory) for word in words if not word.startswith("-")]
        if re.fullmatch(rf"{self.language.interpreter}[\d.]*", call.name):  # `node ./bin/www`, `node .`
            first = next((path for path in given if self.guest.exists(path)), None)
            if first is not None:
                yield first, call.directory, f"it is given {first}"
        for path in given:
            if self._is_code(path):
                yield path, call.directory, f"it is given {path}"
        if call.name in self.language.runs:
            for name in self.language.variables:
                if path := runner.variables.get(name, ""):
                    yield absolute(path, call.directory), call.directory, f"{name} is {path}"
            for folder in folders(words, self.language.folders):
                path = absolute(folder, call.directory)
                yield path, path, f"{call.name} is told to work in {path}"
            yield call.directory, call.directory, f"{call.name} works in {call.directory}"

    def _is_code(self, path: str) -> bool:
        name = posixpath.basename(path)
        return (path.endswith(self.language.code) or name in self.language.names) and self.guest.is_file(path)

    # ---------------------------------------------------------------- what it needs

    def code(self, tied: Tied) -> Iterator[Uses]:
        """Yield the tree that comes along, and with it the workspace around it."""
        ident, tree = tied.runner.ident, tied.tree
        yield Uses(seen_in=tied.call.place, service=ident, path=tree.root, role="code", says=tied.says)
        if tree.whole != tree.root:
            says = f"{tree.root} is a member of this workspace"
            yield Uses(seen_in=tree.place, service=ident, path=tree.whole, role="code", says=says)

    def data(self, service: str, root: str, user: str) -> Iterator[Uses]:
        """Yield the folders in a tree that belong to who runs it, while the code does not; logs as what they are."""
        uid, entry = self.uids.get(user), self.guest.stat(root)
        if not uid or entry is None or entry.kind != "directory" or entry.uid == uid:
            return
        last = ""
        for each in self.guest.walk(entry.path):
            if each.kind != "directory" or each.uid != uid or (last and inside(each.path, last)):
                continue
            last = each.path
            name = posixpath.basename(last)
            if name not in _CODE_FOLDERS:
                says = f"{user} owns it, while the code around it is not theirs"
                role: Literal["log", "data"] = "log" if name in ("log", "logs") else "data"
                yield Uses(seen_in=Place(last), service=service, path=last, role=role, says=says)

    def runtime(self, runner: Runner, call: Call, beside: Sequence[str] = ()) -> Iterator[Finding]:
        """Yield what the interpreter is: its package, or itself with what is `beside` it in a shared prefix."""
        program, place = self.interpreter(runner, call), call.place
        if not program:
            return
        for package, path in self.owners.packages(program):
            if package not in self.base:
                says = f"{path} runs it"
                yield Requires(seen_in=place, service=runner.ident, package=package, says=says)
        real = self.guest.resolve(program)
        if real is not None and self.owners.own(real) is None:
            yield from self.unpackaged(runner, call, program, real, beside)

    def interpreter(self, runner: Runner, call: Call) -> str:
        """Return the interpreter of a command: itself, the one whose prefix it is in, or what PATH finds."""
        name = self.language.interpreter
        if call.program and re.fullmatch(rf"{name}[\d.]*", posixpath.basename(call.program)):
            return call.program
        each = of_program(self.found, self.guest, call.program) if call.program else None
        return each.program if each else self.tracer.find(name, runner)

    def unpackaged(
        self, runner: Runner, call: Call, program: str, real: str, beside: Sequence[str]
    ) -> Iterator[Finding]:
        """Yield an interpreter that no package owns: its prefix, or it and what it needs in a shared one."""
        each, place = of_program(self.found, self.guest, program), call.place
        says = f"{program} runs it, which no package owns"
        prefix = each.prefix if each else posixpath.dirname(posixpath.dirname(real))
        paths = [each.root] if each and not each.shared else [program, real, *(f"{prefix}/{name}" for name in beside)]
        for path in dict.fromkeys(paths):
            if self.guest.exists(path) and self.owners.own(path) is None:
                yield Uses(seen_in=place, service=runner.ident, path=path, role="code", says=says)
        if program == call.program:
            return  # `programs` says which libraries a program loads that is called by its own name
        self._libraries = self._libraries or Libraries(self.reader, self.owners)
        for missing in self._libraries.missing([real]):
            loads = f"{real} loads {missing.library}"
            if missing.package and missing.package not in self.base:
                yield Requires(seen_in=Place(real), service=runner.ident, package=missing.package, says=loads)
            elif missing.path and not missing.package and self.owners:
                yield Uses(seen_in=Place(real), service=runner.ident, path=missing.path, role="code", says=loads)


def folders(words: Sequence[str], options: frozenset[str]) -> Iterator[str]:
    """Yield the values of options: `--prefix DIR` and `--prefix=DIR`.

    >>> list(folders(["--prefix", "/srv/a", "--cwd=/b", "start"], frozenset({"--prefix", "--cwd"})))
    ['/srv/a', '/b']
    """
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options and equals:
            yield value
        elif word in options and at + 1 < len(words):
            yield words[at + 1]


def packaged_place(path: str) -> bool:
    """Tell whether packages ship into this folder (FHS 3.0: /opt is for add-on packages, /var/lib for their state).

    What is there is told from an application of the machine's own once the packages are known, so by `join`.
    """
    return path.startswith(("/opt/", "/var/lib/", "/usr/share/", "/usr/lib"))
