"""PHP-FPM's configuration: its pools, and the modules that its PHP loads (php.net/manual/en/install.fpm.php)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._addresses import port_number, run_path, split_host_port
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, inside, numbered, unquote
from migrate.model import Place

_PROGRAM = re.compile(r"php(\d[\d.]*)?-fpm(\d[\d.]*)?")
_MAX_FILES = 1000
_MODULES = ("/usr/lib/php/*", "/usr/lib64/php/modules", "/usr/lib64/php*/extensions", "/usr/lib/php*/modules",
            "/usr/local/lib/php/extensions/*", "/opt/remi/php*/root/usr/lib64/php/modules")  # fmt: skip


class Pool(msgspec.Struct, frozen=True):
    """A pool: `listen` is a path, or host and port; `place` the line that says so."""

    name: str
    place: Place
    path: str = ""
    address: str = ""
    port: int | None = None
    user: str = ""
    chdir: Place | None = None
    directory: str = ""

    @property
    def listen(self) -> str:
        """One spelling for what a web server passes requests to."""
        return self.path or f"{'127.0.0.1' if self.address in ('', '*', 'localhost') else self.address}:{self.port}"


class Module(msgspec.Struct, frozen=True, order=True):
    """A module that PHP loads, and the package that brings it."""

    name: str
    package: str
    place: Place


def version_of(program: str) -> str | None:
    """Return what follows the name of an FPM program (8.2, 83 or nothing); None for another program."""
    match = _PROGRAM.fullmatch(posixpath.basename(program))
    return None if match is None else match[1] or match[2] or ""


def main_file(reader: Reader, words: Sequence[str]) -> str:
    """Return the main configuration file of an FPM command, or nothing where none of the usual ones is there."""
    for at, word in enumerate(words):
        if word in ("-y", "--fpm-config") and at + 1 < len(words):
            return absolute(words[at + 1], "/")
        if word.startswith("--fpm-config="):
            return absolute(word.partition("=")[2], "/")
    version, prefix = version_of(words[0]) or "", posixpath.dirname(posixpath.dirname(words[0]))
    usual = [f"/etc/php/{version}/fpm/php-fpm.conf", f"/etc/php{version}/php-fpm.conf",
             f"/etc/php{version}/fpm/php-fpm.conf"] if version else []  # fmt: skip
    usual += ["/etc/php-fpm.conf"] if prefix in ("/usr", "/", "") else [f"{prefix}/etc/php-fpm.conf"]
    return next((path for path in usual if reader.guest.is_file(path)), "")


def parse_ini(text: str) -> Iterator[tuple[str, str, str, int]]:
    """Yield (section, key, value, line) of FPM's ini files; comments begin with a semicolon."""
    section = ""
    for number, line in numbered(text):
        bare = line.strip()
        if bare.startswith("[") and bare.endswith("]"):
            section = bare[1:-1].strip()
        elif "=" in bare and not bare.startswith((";", "#")):
            key, _, value = bare.partition("=")
            value = re.sub(r"\s;.*", "", value).strip()
            yield section, key.strip(), unquote(value), number


def files(reader: Reader, main: str) -> list[str]:
    """Return the main file and those that it includes."""
    found = [main]
    for path in found:
        for _, key, value, _ in parse_ini(reader.optional(path, 1 << 20) or ""):
            if key == "include" and value and len(found) < _MAX_FILES:
                found += [each for each in reader.guest.glob(absolute(value, "/usr")) if each not in found]
    return found[:_MAX_FILES]


def pools(reader: Reader, paths: Sequence[str]) -> list[Pool]:
    """Return the pools of these files that say where they listen."""
    settings: dict[str, dict[str, tuple[str, Place]]] = {}
    for path in paths:
        for section, key, value, line in parse_ini(reader.optional(path, 1 << 20) or ""):
            if section not in ("", "global"):
                settings.setdefault(section, {})[key] = (value.replace("$pool", section), Place(path, line))
    found = []
    for name, told in settings.items():
        if "listen" not in told:
            continue
        (listen, place), user = told["listen"], told.get("user", ("", None))[0]
        directory, chdir = told.get("chdir", ("", None))
        common = Pool(name, place, user=user, chdir=chdir, directory=directory)
        if listen.startswith("/"):
            found.append(msgspec.structs.replace(common, path=run_path(listen)))
        elif address := parse_address(listen):
            found.append(msgspec.structs.replace(common, address=address[0], port=address[1]))
    return found


def parse_address(text: str) -> tuple[str, int] | None:
    """Return (address, port) of `9000`, `127.0.0.1:9000`, `[::1]:9000`; None for what is neither."""
    if port := port_number(text):
        return "*", port
    parts = split_host_port(text, 0)
    return (parts[0].strip("[]") or "*", parts[1]) if parts and parts[1] else None


def configuration(program: str, main: str) -> list[str]:
    """Return the folders of php.ini's additions (`--with-config-file-scan-dir`) that go with a program of PHP.

    Debian has one for each version and server, Red Hat one for all, Alpine one for each version.
    """
    name = posixpath.basename(program)
    version = next(iter(re.findall(r"\d[\d.]*", name)), "")
    server = "fpm" if "fpm" in name else "cli"
    found = [f"{posixpath.dirname(main)}/conf.d"] if main else []
    found += [f"/etc/php/{version}/{server}/conf.d", f"/etc/php{version}/conf.d"] if version else ["/etc/php.d"]
    return list(dict.fromkeys((*found, "/usr/local/etc/php/conf.d")))


def modules(reader: Reader, owners: Owners, folders: Sequence[str]) -> list[Module]:
    """Return the modules that ini files in these folders load, with the packages that own them."""
    guest, found = reader.guest, set[Module]()
    paths = [f"{folder}/{name}" for folder in folders for name in guest.listdir(folder) if name.endswith(".ini")]
    libraries = [folder for pattern in _MODULES for folder in guest.glob(pattern)]
    for path in paths[:_MAX_FILES]:
        for _, key, value, line in parse_ini(reader.optional(path, 1 << 18) or ""):
            if key not in ("extension", "zend_extension") or not value:
                continue
            name = value if value.endswith(".so") else f"{value}.so"
            for each in [name] if name.startswith("/") else [f"{folder}/{name}" for folder in libraries]:
                package = owners.package(each) if guest.is_file(each) and not inside(each, "/proc") else None
                if package is not None:
                    found.add(Module(name, package, Place(path, line)))
    return sorted(found)
