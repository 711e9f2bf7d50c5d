"""How Apache httpd is started: the program, its folder, its variables, and the same in the foreground.

Debian's apachectl reads /etc/apache2/envvars before it starts apache2(8), whose configuration is full of `${APACHE_…}`;
Red Hat's unit starts httpd(8) itself; start_apache2 is SUSE's.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from analyzers._addresses import run_path
from analyzers._apache_tree import Build, build_of
from analyzers._reading import Reader, absolute, assignments, meaningful, unquote
from migrate.model import Place, Service

_PROGRAMS = ("apache2", "httpd", "httpd-prefork", "httpd-worker", "httpd-event", "httpd.worker", "httpd.event")
_CONTROLS = ("apache2ctl", "apachectl", "start_apache2")
_USUAL = ("/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/bin/httpd", "/usr/sbin/httpd-prefork",
          "/usr/local/apache2/bin/httpd")  # fmt: skip
_MAINS = ("/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf", "/etc/apache2/httpd.conf",
          "/usr/local/apache2/conf/httpd.conf")  # fmt: skip
_MAX_PROGRAM = 64 << 20
_VALUED = ("-d", "-f", "-D", "-C", "-c", "-e", "-E", "-k", "-n")  # httpd(8)


class Start(msgspec.Struct, frozen=True):
    """One server that the machine may start; `envvars` is the shell file that must be read before it."""

    ident: str
    place: Place
    program: str
    build: Build
    root: str
    main: str
    words: tuple[str, ...]
    variables: Mapping[str, str]
    defines: tuple[str, ...]
    envvars: str = ""
    scripted: bool = False

    def foreground(self) -> tuple[str, ...]:
        """Return nothing for SUSE's start_apache2, which writes files that the server includes and stays by itself.

        Else return the argv that stays; a shell reads `envvars` and becomes the server, which thus gets the signals.
        """
        if self.scripted:
            return ()
        words = (*self.words, "-D", "FOREGROUND") if "FOREGROUND" not in self.defines else self.words
        if not self.envvars:
            return (self.program, *words)
        line = shlex.join((self.program, *words))
        return ("/bin/sh", "-c", f". {shlex.quote(self.envvars)} && exec {line}")


def _names(service: Service) -> bool:
    first = posixpath.basename(service.command[0]) if service.command else ""
    if first in _PROGRAMS or first in _CONTROLS:
        return True
    return service.id in ("apache2", "httpd", "apache") or service.id.startswith(("apache2@", "httpd@"))


def _direct(service: Service) -> bool:
    """Tell whether the command is the server itself, and no control script or init script of its name."""
    first = service.command[0] if service.command else ""
    return posixpath.basename(first) in _PROGRAMS and not first.startswith("/etc/")


def _by_suse(service: Service) -> bool:
    return bool(service.command) and posixpath.basename(service.command[0]) == "start_apache2"


def start_of(reader: Reader, service: Service) -> Start | None:
    """Return how a service starts httpd, or None where it does not, or its configuration is not there."""
    guest = reader.guest
    if not _names(service):
        return None
    program = _program(reader, service)
    if program and posixpath.basename(guest.resolve(program) or "") == "busybox":
        return None
    build = build_of(reader.data(program, _MAX_PROGRAM) or b"") if program else Build()
    variables = _variables(reader, service)
    confdir = variables.get("APACHE_CONFDIR", "/etc/apache2")
    words = _words(service, program, variables)
    envvars = variables.get("APACHE_ENVVARS", f"{confdir}/envvars")
    if _direct(service) or posixpath.basename(program) != "apache2" or not guest.is_file(envvars):
        envvars = ""
    else:
        variables |= shell_variables(reader.optional(envvars) or "", variables)
        if confdir != "/etc/apache2":  # apachectl itself
            words = ("-d", confdir, *words)
        words = (*words, *_split(variables.get("APACHE_ARGUMENTS", "")))
    told = _options(words)
    root = absolute(told.get("-d", [build.root or "/etc/apache2"])[-1], "/")
    main = _main(reader, told, build, root)
    if not main:
        return None
    if not build.root and "-d" not in told:
        root = posixpath.dirname(main).removesuffix("/conf")
    return Start(
        ident=service.id, place=service.seen_in, program=program, build=build, root=root, main=main, words=words,
        variables=variables, defines=tuple(told.get("-D", ())), envvars=envvars,
        scripted=_by_suse(service),
    )  # fmt: skip


def _program(reader: Reader, service: Service) -> str:
    """Return the server's own program: what is started, what stands beside its control script, or the usual one."""
    first = service.command[0] if service.command else ""
    folder = posixpath.dirname(first)
    beside: Sequence[str] = ()
    if _direct(service) and folder:
        beside = (first,)
    elif posixpath.basename(first) in _CONTROLS and folder:
        beside = tuple(f"{folder}/{name}" for name in ("apache2", "httpd", "httpd-prefork"))
    return next((path for path in (*beside, *_USUAL) if reader.guest.is_file(path)), "")


def _variables(reader: Reader, service: Service) -> dict[str, str]:
    """Return the unit's environment; the files come after what the unit itself says (systemd.exec(5))."""
    found = {variable.name: variable.value for variable in service.environment}
    for file in service.environment_files:
        found |= {name: value for name, (value, _) in assignments(reader.optional(file.path) or "").items()}
    first = service.command[0] if service.command else ""
    if match := re.fullmatch(r"(?:apache2ctl|apachectl)-(\w[\w.-]*)", posixpath.basename(first)):
        found.setdefault("APACHE_CONFDIR", f"/etc/apache2-{match[1]}")
    return found


def _words(service: Service, program: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the options of the command line, without those that start, stop or fork; `$OPTIONS` filled in."""
    if not program or not (_direct(service) or _by_suse(service)):
        return ()
    words: list[str] = []
    for word in service.command[1:]:
        if match := re.fullmatch(r"\$\{?(\w+)\}?", word):
            words += _split(variables.get(match[1], ""))
        else:
            words.append(word)
    kept, at = [], 0
    while at < len(words):
        if words[at] == "-k":
            at += 2
            continue
        kept.append(words[at])
        at += 1
    return tuple(kept)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _options(words: Sequence[str]) -> dict[str, list[str]]:
    """Collect httpd's options: `-D X`, `-DX`."""
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(words):
        word = words[at]
        if word in _VALUED and at + 1 < len(words):
            found.setdefault(word, []).append(words[at + 1])
            at += 1
        elif word[:2] in _VALUED and len(word) > 2:
            found.setdefault(word[:2], []).append(word[2:])
        at += 1
    return found


def _main(reader: Reader, told: Mapping[str, list[str]], build: Build, root: str) -> str:
    guest = reader.guest
    if "-f" in told:
        named = [absolute(told["-f"][-1], root)]
    elif build.main:
        named = [absolute(build.main, root), absolute(build.main.removeprefix("conf/"), root)]
    else:
        named = [f"{root}/apache2.conf", f"{root}/conf/httpd.conf", *_MAINS]
    return next((path for path in named if guest.is_file(path)), "")


_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::?-([^{}$]*))?\}|([A-Za-z_]\w*))")


def shell_variables(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return what Debian's envvars sets, in order; a value that a shell would have to compute is left out.

    >>> shell_variables("SUFFIX=\\nexport APACHE_LOG_DIR=/var/log/apache2$SUFFIX\\n", {})["APACHE_LOG_DIR"]
    '/var/log/apache2'
    """
    found: dict[str, str] = {}
    confdir = known.get("APACHE_CONFDIR", "")
    suffix = confdir.removeprefix("/etc/apache2-") if confdir.startswith("/etc/apache2-") else ""
    for _, line in meaningful(text):
        match = _ASSIGNED.fullmatch(line)
        if match is None:
            continue
        name, value = match[1], match[2].strip()
        if name == "SUFFIX":  # README.multiple-instances: -NAME of /etc/apache2-NAME
            found[name] = f"-{suffix}" if suffix else ""
            continue
        literal = value.startswith("'")
        value = unquote(value)
        if not literal:
            value = _REFERENCE.sub(
                lambda m: found.get(m[1] or m[3]) or known.get(m[1] or m[3]) or m[2] or "", value[:4096]
            )
        if not re.search(r"\$[({]|`", value) and len(value) <= 4096:
            found[name] = value
    return found


def physical(reader: Reader, path: str) -> str:
    """Return a path with the links in its folders followed once, also where they lead below /run, which is empty."""
    here = ""
    for part in posixpath.normpath(path).split("/")[1:-1]:
        entry = reader.guest.lstat(f"{here}/{part}")
        here = f"{here}/{part}"
        if entry is not None and entry.kind == "symlink":
            here = run_path(absolute(entry.target, posixpath.dirname(entry.path)))
            here = reader.guest.resolve(here) or here
    return f"{here.rstrip('/')}/{posixpath.basename(path)}"
