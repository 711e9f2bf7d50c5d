"""What services and jobs call, through their scripts: the packages, configuration, code, data and logs they need."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from analyzers._commands import SYSTEMD_PATH, Call, Runner, Trace, Tracer, interpreter, runners
from analyzers._libraries import Libraries, base_packages
from analyzers._nobodys import tree_of
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside
from analyzers._script_words import Word
from migrate.guest.protocol import Entry, Guest
from migrate.model import Analyzer, Application, Finding, Package, Place, Requires, User, Uses

_NAME = "programs"

Role = Literal["config", "data", "log", "code"]

# Where no file of a service's own is: the kernel's, the empty-at-boot, the packages'.
_NOWHERE = ("/proc", "/sys", "/dev", "/run", "/var/run", "/tmp", "/var/tmp", "/boot")  # noqa: S108  # guest paths
_KEPT = ("/var/lib", "/var/spool", "/var/backups", "/var/mail", "/var/www", "/var/opt")
_OWN = ("/usr/local", "/opt", "/srv", "/home", "/root", "/var/www", "/var/lib", "/data", "/app")
# Folders of many; a path in one of them is taken by itself.
_SHARED = re.compile(
    r"/|/(etc|srv|opt|home|root|var|usr|data|app|bin|sbin|lib\d*)|/usr/.*|/home/[^/]+"
    r"|/var/(lib|log|spool|backups|mail|www|opt|cache)|/var/spool/(cron|mail)"
)
_SYSTEM = re.compile(r"/(usr/(?!local/)|bin/|sbin/|lib)")
_CODE = re.compile(r".*\.(py|pyz|js|mjs|cjs|rb|pl|php|jar|war|sh|ts|lua|dll)|package\.json|Gemfile|composer\.json")
_PATHS = re.compile(r"(?:^|[=:,@])(/[^\s:,;'\"=]*)")


def paths_in(word: Word) -> list[tuple[str, bool]]:
    """Return (path, whole) for the absolute paths in a word: itself, behind `=`, `:` or `,`, or after `-c`.

    `whole` is false where a variable that is not known follows; URLs hold no paths of the machine.

    >>> paths_in(Word("--config=/etc/x.conf"))
    [('/etc/x.conf', True)]
    """
    if "://" in word.text:
        return []
    text = re.sub(r"^-[A-Za-z](?=/)", "", word.prefix)
    found = [match[1] for match in _PATHS.finditer(text)]
    return [(path, word.whole or not word.prefix.endswith(path)) for path in found if len(path) > 1]


class _Join:
    """Follows every runner and says what it needs."""

    def __init__(self, guest: Guest, findings: Sequence[Finding]) -> None:
        self.guest = guest
        self.runners = runners(findings)
        self.reader = Reader(guest, _NAME)
        self.owners = Owners(guest, findings)
        self.tracer = Tracer(guest, self.reader, self.owners)
        self.libraries = Libraries(self.reader, self.owners)
        self.base = base_packages(findings)
        self.installed = {finding.name for finding in findings if isinstance(finding, Package)}
        self.uids = {finding.name: finding.uid for finding in findings if isinstance(finding, User)}
        self.walked: set[tuple[str, str]] = set()
        self.roots = sorted({finding.root for finding in findings if isinstance(finding, Application)}, key=len)

    def run(self) -> Iterator[Finding]:
        for runner in self.runners:
            trace = self.tracer.trace(runner)
            yield from self.home(runner)
            for call in trace.calls:
                yield from self.call(runner, call)
            for path, place in sorted(trace.scripts.items()):
                yield from self.code(runner, place, path)
            yield from self.configuration(runner, trace)

    # ---------------------------------------------------------------- programs

    def call(self, runner: Runner, call: Call) -> Iterator[Finding]:
        if call.program:
            yield from self.program(runner, call)
        for word in call.command.words[1:]:
            for path, whole in paths_in(word):
                yield from self.mentioned(runner, call.place, path, whole)
        for word in call.command.inputs:
            for path, whole in paths_in(word):
                yield from self.mentioned(runner, call.place, path, whole)
        for word in call.command.outputs:
            yield from self.written(runner, call.place, word)
        for word in call.command.words[1:] if call.name in ("mkdir", "install") else ():
            if word.whole and inside(word.text, "/run") and word.text != "/run":
                path = absolute(word.text, "/")
                yield Uses(seen_in=call.place, service=runner.ident, path=path, role="runtime", says="it makes it")

    def program(self, runner: Runner, call: Call) -> Iterator[Finding]:
        """The packages of a called program: of its links, of itself, and of what a wrapper of many names runs."""
        owned = self.owners.packages(call.program)
        real = self.guest.resolve(call.program) or call.program
        for package, path in owned:
            yield from self.requires(runner, call.place, package, f"it calls {call.name}: {path}")
        head = self.tracer.head(real)
        if owned and head.startswith("#!") and posixpath.basename(real) != call.name:
            behind = f"{call.name} is {real}, which runs the program of that name"
            for package, path in self.owners.shipping(call.name):
                if (package, path) not in owned and self.guest.is_file(path):
                    yield from self.requires(runner, call.place, package, f"{behind}: {path}")
        if self.owners.own(real) is None:
            yield from self.code(runner, call.place, call.program)
            yield from self.unpackaged(runner, call, real, head)

    def unpackaged(self, runner: Runner, call: Call, real: str, head: str) -> Iterator[Finding]:
        """What a program that nobody packaged runs on: a script's interpreter, a binary's libraries."""
        if name := interpreter(head):
            program = self.tracer.find(name, runner) or self.tracer.find(posixpath.basename(name), runner)
            for package, path in self.owners.packages(program) if program else ():
                yield from self.requires(runner, Place(real, 1), package, f"{real} is run by {path}")
            if not program:
                self.reader.note(real, f"its interpreter {name} is not on the disk", 1)
        elif head.startswith("\x7fELF"):
            for missing in self.libraries.missing([real]):
                says = f"{real} loads {missing.library}"
                if missing.package:
                    yield from self.requires(runner, Place(real), missing.package, says)
                elif missing.path:
                    yield Uses(seen_in=Place(real), service=runner.ident, path=missing.path, role="code", says=says)
                else:
                    self.reader.note(real, f"it loads {missing.library}, which is not on the disk")
        del call

    def requires(self, runner: Runner, place: Place, package: str, says: str) -> Iterator[Requires]:
        whole = package.removesuffix("-minimal")
        if package.startswith("python") and whole in self.installed:
            package = whole  # Debian's python3.11-minimal lacks half of the standard library
        if package not in self.base:
            yield Requires(seen_in=place, service=runner.ident, package=package, says=says)

    # ---------------------------------------------------------------- paths

    def home(self, runner: Runner) -> Iterator[Uses]:
        """A working directory with programs in it is where relative names in the command lead."""
        entry = self.guest.stat(runner.directory)
        if entry is None or entry.kind != "directory" or _SHARED.fullmatch(runner.directory):
            return
        if self.is_code(runner.directory, entry) and any(inside(runner.directory, top) for top in _OWN):
            yield from self.code(runner, runner.place, runner.directory)

    def own_folders(self, runner: Runner, top: str) -> Iterator[Uses]:
        """Folders in a tree of code that belong to who runs it, while the code does not."""
        uid, root = self.uids.get(runner.user), self.guest.stat(top)
        if not uid or root is None or root.kind != "directory" or root.uid == uid or top in self.roots:
            return
        if (runner.ident, top) in self.walked:
            return
        self.walked.add((runner.ident, top))
        last = ""
        for entry in self.guest.walk(top):
            if entry.kind == "directory" and entry.uid == uid and not (last and inside(entry.path, last)):
                last = entry.path
                says = f"{runner.user} owns it, while the code around it is not theirs"
                yield Uses(seen_in=Place(last), service=runner.ident, path=last, role="data", says=says)

    def mentioned(self, runner: Runner, place: Place, path: str, whole: bool) -> Iterator[Uses]:
        """A path that stands in a command: what it is on this machine says what it is for."""
        path = absolute(path if whole else path.rpartition("/")[0] or "/", "/")
        if re.search(r"[*?\[]", path):
            path = posixpath.dirname(path.split("*", 1)[0].split("?", 1)[0].split("[", 1)[0] + "x")
        entry = self.guest.stat(path) or self.guest.stat(posixpath.dirname(path))
        if entry is None or any(inside(path, top) for top in _NOWHERE):
            return
        if self.guest.stat(path) is None:
            path = posixpath.dirname(path)
        if role := self.role(runner, path, entry):
            if role == "code":
                yield from self.code(runner, place, path)
            else:
                says = {"config": "it reads it", "log": "it writes it", "data": "it works in it"}[role]
                yield Uses(seen_in=place, service=runner.ident, path=path, role=role, says=says)

    def role(self, runner: Runner, path: str, entry: Entry) -> Role | None:
        if inside(path, "/etc"):
            return "config" if entry.kind == "file" or not _SHARED.fullmatch(path) else None
        if _SHARED.fullmatch(path) and entry.kind == "directory":
            return None
        if inside(path, "/var/log"):
            return "log"
        owned = self.owners.own(path) is not None
        if self.is_code(path, entry):
            return "code" if not owned and any(inside(path, top) for top in _OWN) else None
        uid = self.uids.get(runner.user)
        if uid and entry.uid == uid:
            return "data" if not self.is_home(runner, path) else None
        if any(inside(path, top) for top in _KEPT) and not owned and not self.of(path):
            return "data"
        if owned or not any(inside(path, top) for top in _OWN):
            return None
        return "data" if entry.kind == "directory" and entry.uid else "code"  # an account other than root fills it

    def is_code(self, path: str, entry: Entry) -> bool:
        """Tell whether a file is a program, or a folder holds one, by name and mode."""
        if entry.kind == "directory":
            return any(_CODE.fullmatch(name) for name in self.guest.listdir(path))
        return bool(entry.mode & 0o111) or bool(_CODE.fullmatch(posixpath.basename(path)))

    def is_home(self, runner: Runner, path: str) -> bool:
        return path in ("/", runner.directory) or path in self.roots

    def of(self, path: str) -> str:
        """Return the application that a path lies in, or nothing."""
        return next((root for root in reversed(self.roots) if inside(path, root)), "")

    def code(self, runner: Runner, place: Place, path: str) -> Iterator[Uses]:
        """A file nobody packaged comes along, with its tree where it has one of its own below /opt or /srv."""
        if inside(path, "/etc"):
            yield Uses(seen_in=place, service=runner.ident, path=path, role="config", says="it runs it")
        elif self.is_nobodys(path) and not any(inside(path, top) for top in _NOWHERE):
            entry = self.guest.stat(path)
            top = self.of(path) or (tree_of(path) if entry is not None and self.is_code(path, entry) else path)
            what = "runs" if self.guest.is_file(path) else "works in"
            says = f"it {what} {path}, which no package owns"
            yield Uses(seen_in=place, service=runner.ident, path=top, role="code", says=says)
            yield from self.own_folders(runner, top)

    def is_nobodys(self, path: str) -> bool:
        """Tell whether no package owns a path; without any package database, the system's folders count as owned."""
        return self.owners.own(path) is None and (bool(self.owners) or not _SYSTEM.match(path))

    def written(self, runner: Runner, place: Place, word: Word) -> Iterator[Uses]:
        """The target of `>`: a log below /var/log, else data, in the folder that it is in."""
        if not word.prefix.startswith("/"):
            return
        path = absolute(word.text, "/") if word.whole else posixpath.dirname(absolute(word.prefix + "x", "/"))
        if any(inside(path, top) for top in _NOWHERE) or path == "/":
            return
        if inside(path, "/var/log"):
            yield Uses(seen_in=place, service=runner.ident, path=path, role="log", says="its output goes there")
            return
        folder = path if self.guest.is_dir(path) else posixpath.dirname(path)
        if self.guest.is_dir(folder) and not inside(folder, "/etc") and folder not in ("/", "/usr", "/var", "/root"):
            yield Uses(seen_in=place, service=runner.ident, path=folder, role="data", says=f"it writes {path}")

    # ---------------------------------------------------------------- configuration

    def configuration(self, runner: Runner, trace: Trace) -> Iterator[Uses]:
        for path, place, _ in trace.sourced:
            yield Uses(seen_in=place, service=runner.ident, path=path, role="config", says="the script sources it")
        for file in runner.environment_files:
            if self.guest.is_file(file.path):
                says = "its environment is there"
                yield Uses(seen_in=file.seen_in, service=runner.ident, path=file.path, role="config", says=says)


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what each service and job needs beside its own package."""
    joining = _Join(guest, findings)
    yield from joining.run()
    yield from joining.reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="What services and jobs call, through shell scripts and wrappers: packages, files, logs.",
    reads=("/usr/local/bin", "/usr/local/sbin", "/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    join=join,
    source=f"POSIX.1-2017 XCU 2, bash(1), ld.so(8), systemd.exec(5) (PATH={SYSTEMD_PATH})",
)
