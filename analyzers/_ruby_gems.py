"""What RubyGems and Bundler installed, and which Gemfile is an application's own.

A gemspec is a program in Ruby, and none is run here. RubyGems itself writes what it needs without running it into the
second line of each one that it installs (`# stub: NAME VERSION PLATFORM FOLDERS`, Gem::StubSpecification), and older
ones hold name and version as literals. A Gemfile.lock says what was wanted: only for gems taken from a repository of
git, which have no such line, is it read for what they are, and only where their folder is there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._manifests import around, base, batched, in_folders, manifests, may_be_root, optional_bytes
from analyzers._reading import Reader, numbered, unquote
from migrate.guest.protocol import Guest
from migrate.model import LanguagePackage, Place

_MAX_GEMS = 100_000
_HEAD = 16 << 10  # bytes; the longest of 300 gemspecs looked at has its literals in the first 300
_MAX_LOCK = 2 << 20  # bytes; GitLab's, of 700 gems, is 60 KiB
_MAX_LOCKED = 10_000
_STUB = re.compile(r"# stub: (\S+) (\S+) (\S+) ")
_LITERAL = re.compile(
    r"""\s*\w+\.(name|version)\s*=\s*(?:Gem::Version\.new[ (]{1,4})?(?:["']|%q<)([\w.+-]+)(?:["']|>)"""
)
_SPEC = re.compile(r"    (\S+) \(([^()\s]+)\)")
# Folders below which a Gemfile is a gem's own, or a dependency's of another language.
_DEPENDENCIES = frozenset({"gems", "vendor", "node_modules", ".bundle", "site-packages", ".cache", ".rbenv", ".rvm",
                           ".asdf", "rubygems-integration", "bundler"})  # fmt: skip


class Locked(msgspec.Struct, frozen=True):
    """A gem that a Gemfile.lock names: `revision` is git's where it is taken from there."""

    name: str
    version: str
    revision: str
    line: int


class Root(msgspec.Struct, frozen=True):
    """An application: `lock` is the path of its Gemfile.lock, or nothing where it has none."""

    path: str
    name: str
    lock: str
    place: Place


def parse_gemspec(text: str) -> tuple[str, str, int] | None:
    """Return name, version and line of an installed gemspec; None where it holds no literal that says them."""
    literal: dict[str, tuple[str, int]] = {}
    for number, line in numbered(text):
        if match := _STUB.match(line):
            return match[1], match[2], number
        if match := _LITERAL.match(line):
            literal.setdefault(match[1], (match[2], number))
        if len(literal) == 2:
            return literal["name"][0], literal["version"][0], literal["version"][1]
    return None


def parse_lock(text: str) -> list[Locked]:
    """Return the gems of a Gemfile.lock (Bundler::LockfileParser): four spaces, NAME (VERSION), below `specs:`."""
    found, revision = [], ""
    for number, line in numbered(text):
        if line and not line.startswith(" "):
            revision = ""
        elif line.startswith("  revision: "):
            revision = line.removeprefix("  revision: ").strip()
        elif match := _SPEC.fullmatch(line):
            found.append(Locked(match[1], match[2], revision, number))
    return found


def gem_home(specification: str) -> str:
    """Return the gem home that an installed gemspec is in (`gem environment home`)."""
    folder = posixpath.dirname(specification)
    return posixpath.dirname(posixpath.dirname(folder) if folder.endswith("/default") else folder)


def gems(reader: Reader, paths: Sequence[str]) -> Iterator[LanguagePackage]:
    """Yield the gems whose gemspec and folder are both there; Ruby's default gems lie among its own library."""
    if len(paths) > _MAX_GEMS:
        reader.note(paths[_MAX_GEMS], f"only the first {_MAX_GEMS} of {len(paths)} gems were read")
    for path in batched(reader.guest, paths, _MAX_GEMS):
        folder = f"{gem_home(path)}/gems/{base(path).removesuffix('.gemspec')}"
        default = posixpath.dirname(path).endswith("/default")
        if not reader.guest.is_dir(folder):
            if not default:
                continue
            folder = path
        found = parse_gemspec(optional_bytes(reader.guest, path, _HEAD).decode("utf-8", "surrogateescape"))
        if found is None:
            reader.note(path, "no literal says the name and version of this gem")
            continue
        name, version, line = found
        yield LanguagePackage(
            seen_in=Place(path, line), ecosystem="gem", name=name, version=version, location=folder
        )  # fmt: skip


def roots(reader: Reader) -> list[Root]:
    """Return the applications: a Gemfile with a lock file, or with what Rack or Rails start from."""
    guest, found = reader.guest, manifests(reader.guest)
    own = [
        path for name in ("Gemfile", "gems.rb") for path in found.get(name, ()) if not in_folders(path, _DEPENDENCIES)
    ]
    roots: list[Root] = []
    known: set[str] = set()
    for path in sorted(own, key=lambda path: path.split("/")):
        folder = posixpath.dirname(path) or "/"
        locks = (f"{folder}/Gemfile.lock", f"{folder}/gems.locked")
        lock = next((lock for lock in locks if guest.is_file(lock)), "")
        starts = any(guest.is_file(f"{folder}/{name}") for name in ("config.ru", "config/application.rb"))
        nested = around(folder, known) is not None
        if may_be_root(folder, starts) and (lock or (starts and not nested)):
            known.add(folder)
            roots.append(Root(folder, name_of(folder), lock, Place(path)))
    return roots


def name_of(folder: str) -> str:
    """Return what a folder's application is called: Capistrano keeps releases by date below it.

    >>> name_of("/srv/shop/releases/20240102030405")
    'shop'
    """
    parent = posixpath.dirname(folder)
    return base(posixpath.dirname(parent)) if base(parent) == "releases" else base(folder)


def locked(reader: Reader, root: Root) -> list[Locked]:
    """Return what an application's lock file names; nothing where it has none."""
    return parse_lock(reader.text(root.lock, _MAX_LOCK) or "")[:_MAX_LOCKED] if root.lock else []


def from_git(reader: Reader, root: Root, homes: Sequence[str]) -> Iterator[LanguagePackage]:
    """Yield the gems that Bundler checked out of git: HOME/bundler/gems/NAME-REVISION, of which the lock file tells."""
    wanted = [gem for gem in locked(reader, root) if gem.revision]
    bundled = f"{bundle_path(reader.guest, root.path) or f'{root.path}/vendor/bundle'}/ruby"
    own = [f"{bundled}/{name}" for name in reader.guest.listdir(bundled)]
    folders = [f"{home}/bundler/gems" for home in dict.fromkeys((*own, *homes)) if wanted]
    checked_out: dict[str, str] = {}
    for folder in folders:
        for name in reader.guest.listdir(folder):
            checked_out.setdefault(name.rpartition("-")[2], f"{folder}/{name}")
    for gem in wanted:
        if where := checked_out.get(gem.revision[:12]):
            place = Place(root.lock, gem.line)
            yield LanguagePackage(seen_in=place, ecosystem="gem", name=gem.name, version=gem.version, location=where)


def bundle_path(guest: Guest, root: str) -> str:
    """Return where `bundle config path` tells Bundler to install (.bundle/config), or nothing."""
    text = optional_bytes(guest, f"{root}/.bundle/config").decode("utf-8", "surrogateescape")
    for _, line in numbered(text):
        key, colon, value = line.partition(":")
        if colon and key.strip() == "BUNDLE_PATH":
            return posixpath.normpath(posixpath.join(root, unquote(value.strip())))
    return ""
