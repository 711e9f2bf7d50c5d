"""Interpreters that nobody packaged, by the header that each installs: nvm, fnm, volta, asdf, rbenv, rvm, pyenv, /opt.

All of these unpack or build one interpreter into a prefix of its own, and `make install` of each puts its version
into a header (or rbconfig.rb) below it. So one rule finds them, whichever tool made the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from analyzers._manifests import manifests, optional_bytes
from analyzers._owners import Owners
from analyzers._reading import inside
from migrate.guest.protocol import Guest
from migrate.model import Application, Place

_LIMIT = 64 << 10


class Interpreter(msgspec.Struct, frozen=True):
    """An interpreter: `prefix` is where it was installed, `program` what is run, `place` the line with its version."""

    name: str
    version: str
    prefix: str
    program: str
    place: Place

    @property
    def shared(self) -> bool:
        """Whether other things are installed into the same prefix."""
        return self.prefix in ("/usr", "/usr/local", "/", "/opt", "/opt/local")

    @property
    def root(self) -> str:
        """The tree that is the interpreter's alone: its prefix, or else the program."""
        return self.program if self.shared else self.prefix


def _defined(*names: str) -> Callable[[str], tuple[str, int] | None]:
    """Make a reader of `#define NAME VALUE` lines (or Ruby's `CONFIG["NAME"] = "VALUE"`), joined with dots."""
    patterns = [
        re.compile(
            rf"""^[ \t]*(?:\#[ \t]*define[ \t]+{name}[ \t]+|CONFIG\["{name}"\][ \t]*=[ \t]*)"?([\w.+-]+)""",
            re.MULTILINE,
        )
        for name in names
    ]

    def read(text: str) -> tuple[str, int] | None:
        found = [pattern.search(text) for pattern in patterns]
        values = [match[1] for match in found if match]
        first = found[0]
        if first is None or len(values) != len(names):
            return None
        return ".".join(values), text.count("\n", 0, first.start(1)) + 1

    return read


# interpreter → (file, where it lies below the prefix, what it is called, how its version is read)
# node: tools/install.py; ruby: tool/mkconfig.rb; php: Makefile.global; python: Makefile.pre.in `inclinstall`
_KINDS: dict[str, tuple[str, re.Pattern[str], tuple[str, ...], Callable[[str], tuple[str, int] | None]]] = {
    "node": (
        "node_version.h",
        re.compile(r"(.*)/include/node/node_version\.h"),
        ("node",),
        _defined("NODE_MAJOR_VERSION", "NODE_MINOR_VERSION", "NODE_PATCH_VERSION"),
    ),
    "ruby": (
        "rbconfig.rb",
        re.compile(r"(.*)/lib(?:64)?/ruby/\d[\w.+-]*/[^/]+/rbconfig\.rb"),
        ("ruby", "jruby", "truffleruby"),
        _defined("MAJOR", "MINOR", "TEENY"),
    ),
    "php": (
        "php_version.h",
        re.compile(r"(.*)/include/php/main/php_version\.h"),
        ("php", "php-cgi"),
        _defined("PHP_VERSION"),
    ),
    "python": (
        "patchlevel.h",
        re.compile(r"(.*)/include/python\d[\w.]*/patchlevel\.h"),
        ("python3", "python"),
        _defined("PY_VERSION"),
    ),
}


def interpreters(guest: Guest, kind: str) -> list[Interpreter]:
    """Return the interpreters of a kind (node, ruby, php, python) below the trees that packages do not own."""
    name, pattern, programs, version_of = _KINDS[kind]
    found = []
    for path in manifests(guest).get(name, ()):
        match = pattern.fullmatch(path)
        if match is None:
            continue
        prefix = match[1] or "/"
        program = next((p for each in programs if guest.is_file(p := f"{prefix}/bin/{each}")), "")
        told = version_of(optional_bytes(guest, path, _LIMIT).decode("utf-8", "replace"))
        if program and told:
            found.append(Interpreter(kind, told[0], prefix, program, Place(path, told[1])))
    return found


def every_interpreter(guest: Guest) -> list[Interpreter]:
    """Return the interpreters of all kinds."""
    return [each for kind in _KINDS for each in interpreters(guest, kind)]


def applications(found: list[Interpreter], owners: Owners | None = None) -> Iterator[Application]:
    """Yield the interpreters as what was unpacked or built here; with `owners`, those that no package owns."""
    for each in found:
        if owners is None or owners.package(each.program) is None:
            yield Application(
                seen_in=each.place, root=each.root, ecosystem="elf", name=each.name, version=each.version
            )  # fmt: skip


def of_program(found: list[Interpreter], guest: Guest, program: str) -> Interpreter | None:
    """Return the interpreter whose program, or whose prefix (pip, npm, gem beside it), a path leads to."""
    real = guest.resolve(program)
    if real is None:
        return None
    for each in found:
        if real == guest.resolve(each.program) or (not each.shared and inside(real, each.prefix)):
            return each
    return None


def packaged(guest: Guest, name: str) -> tuple[str, ...]:
    """Return the package of the distribution's interpreter that PATH finds, or nothing where /usr/local has one.

    Debian names it by the program that the alternatives lead to (php → php8.2 of php8.2-cli, ruby → ruby3.1), and its
    list of files says whether that is installed. Elsewhere the name is the project's (Red Hat's php is of php-cli).
    """
    if guest.is_file(f"/usr/local/bin/{name}"):
        return ()
    real = guest.resolve(f"/usr/bin/{name}")
    if real is None:
        return ()
    last = real.rpartition("/")[2]
    usual = {"node": "nodejs", "php": "php-cli"}
    if guest.is_dir("/var/lib/dpkg/info"):
        names = (f"{last}-cli", last) if last.startswith("php") else (usual.get(last, last),)
        for each in names:
            if guest.is_file(f"/var/lib/dpkg/info/{each}.list") or guest.glob(f"/var/lib/dpkg/info/{each}:*.list"):
                return (each,)
        return ()
    if re.fullmatch(r"php\d+", last):  # Alpine's php83
        return (last,)
    if last == "php" and guest.is_dir("/lib/apk"):
        return ()
    return (usual.get(name, name),)
