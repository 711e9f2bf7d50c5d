"""Which Tomcats a machine starts, and the options of each: units, Debian's and Red Hat's layouts, unpacked ones.

CATALINA_HOME and CATALINA_BASE are as RUNNING.txt has them; Debian's script sources /etc/default/NAME
(/usr/libexec/tomcat10/tomcat-start.sh), Red Hat's reads /etc/tomcat/tomcat.conf, and takes an instance's base to be
TOMCATS_BASE and NAME (/usr/libexec/tomcat/preamble). catalina.sh sources bin/setenv.sh of the base, else of the home.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

import msgspec

from analyzers._jvm import Option, shell_options
from analyzers._jvm import words as split
from analyzers._reading import Reader, absolute, assignments
from migrate.model import Service

_NAMES = ("JAVA_OPTS", "CATALINA_OPTS")
_FOLDERS = ("CATALINA_HOME", "CATALINA_BASE", "CATALINA_TMPDIR", "TOMCATS_BASE", "NAME")
_STARTERS = re.compile(r"(catalina|startup|daemon|tomcat-start)\.sh")
_MAIN = "org.apache.catalina.startup.Bootstrap"


class Instance(msgspec.Struct, frozen=True):
    """A Tomcat: its service, home, base, the files that give it options, those options, its temporary folder."""

    service: Service
    home: str
    base: str
    sourced: tuple[str, ...]
    options: tuple[Option, ...]
    temp: str

    @property
    def ident(self) -> str:
        """The service's id."""
        return self.service.id


def instance_of(reader: Reader, service: Service) -> Instance | None:
    """Return the Tomcat that a service starts, or None where it starts none."""
    guest = reader.guest
    variables, known, sourced = _environment(reader, service)
    home, base = variables.get("CATALINA_HOME", ""), variables.get("CATALINA_BASE", "")
    scripts = [
        word for command in (service.command,) for word in command if _STARTERS.fullmatch(posixpath.basename(word))
    ]
    is_main = _MAIN in service.command
    for word in service.command if is_main else ():
        name, _, value = word.partition("=")
        home, base = (value if name == "-Dcatalina.home" else home), (value if name == "-Dcatalina.base" else base)
    is_red_hat = any(posixpath.basename(posixpath.dirname(word)).startswith("tomcat") and word.endswith("/server")
                     for word in service.command)  # fmt: skip
    is_script = service.manager != "systemd" and re.fullmatch(r"tomcat\d*", service.id)
    if not (scripts or is_main or is_red_hat or is_script or (home and base) or _by_command(service, home)):
        return None
    if not home and scripts and scripts[0].startswith("/"):
        home = posixpath.dirname(posixpath.dirname(scripts[0]))
    if is_script and not home:
        home = f"/usr/share/{service.id}"
        base = base or f"/var/lib/{service.id}"
    if is_red_hat:
        home = home or "/usr/share/tomcat"
        name = variables.get("NAME", "")
        base = base or (f"{variables.get('TOMCATS_BASE', '/var/lib/tomcats/')}{name}" if name else home)
    base, home = absolute(base or home, "/"), absolute(home or base, "/")
    if base == "/" or not guest.is_file(f"{base}/conf/server.xml"):
        return None
    for folder in dict.fromkeys((base, home)):
        path = f"{folder}/bin/setenv.sh"
        if (text := reader.optional(path)) is not None:
            shell_options(text, path, _NAMES, known)
            sourced.append(path)
            variables |= {n: value for n, (value, _) in assignments(text).items() if n in _FOLDERS and "$" not in value}
            break
    options = [option for name in _NAMES for option in known.get(name, ())]
    options += [Option(word, service.seen_in) for word in service.command if is_main and word.startswith("-")]
    temp = variables.get("CATALINA_TMPDIR", "") or f"{base}/temp"
    return Instance(service, home, base, tuple(sourced), tuple(options), absolute(temp, base))


def _by_command(service: Service, home: str) -> bool:
    return bool(home) and any(word.startswith(f"{home.rstrip('/')}/bin/") for word in service.command)


def _environment(reader: Reader, service: Service) -> tuple[dict[str, str], dict[str, list[Option]], list[str]]:
    """Return the variables, the options by variable, and the files read: the unit's, then what its script sources."""
    variables = {variable.name: variable.value for variable in service.environment}
    known: dict[str, list[Option]] = {}
    for variable in service.environment:
        if variable.name in _NAMES:
            known[variable.name] = [Option(word, variable.seen_in) for word in split(variable.value)]
    sourced: list[str] = []
    debian = re.fullmatch(r"tomcat\d*", service.id)
    for path in (
        *(file.path for file in service.environment_files),
        *([f"/etc/default/{service.id}"] if debian else ()),
    ):
        if path not in sourced and (text := reader.optional(path)) is not None:
            shell_options(text, path, _NAMES, known)
            sourced.append(path)
            variables |= {name: value for name, (value, _) in assignments(text).items()}
    return _expanded(variables), known, sourced


def _expanded(variables: Mapping[str, str]) -> dict[str, str]:
    """Put variables into one another once: `CATALINA_BASE=$CATALINA_HOME`."""

    def put(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], "")[:256]

    known = {name: variables[name][:4096] for name in _FOLDERS if name in variables}
    return {name: re.sub(r"\$(?:\{(\w+)\}|(\w+))", put, value)[:4096] for name, value in known.items()}


def instances(reader: Reader, services: Iterator[Service]) -> Iterator[Instance]:
    """Yield the Tomcats among the services."""
    for service in services:
        if (found := instance_of(reader, service)) is not None:
            yield found
