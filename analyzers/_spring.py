"""Spring Boot's configuration: which files, in what order, and what they say together.

docs.spring.io/spring-boot/reference/features/external-config.html: inside the jar, then the working directory, its
config folder and the folders in that, the files of active profiles after all others; then the environment, system
properties and arguments. Keys are compared as "relaxed binding" has it.
"""

from __future__ import annotations

import posixpath
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from analyzers._jar import BROKEN, member_text
from analyzers._opened import opened
from analyzers._reading import Reader, absolute, numbered
from analyzers._yaml_lines import Setting, yaml_settings
from migrate.errors import Vm2cError
from migrate.guest.protocol import Guest
from migrate.model import Place

_PLACEHOLDER = re.compile(r"\$\{([^${}:]{1,200})(?::([^${}]{0,1000}))?\}")
_MAX_JAR = 1 << 30
_INSIDE: weakref.WeakKeyDictionary[Guest, dict[tuple[str, str], str | None]] = weakref.WeakKeyDictionary()


class Value(msgspec.Struct, frozen=True):
    """A value with its place; `inside` is the name of the file in the jar that says it, or nothing."""

    key: str
    value: str
    place: Place
    inside: str = ""


def canonical(key: str) -> str:
    """Return a key as relaxed binding compares it.

    >>> canonical("spring.main.webApplication-type[0]")
    'spring.main.webapplicationtype.0'
    """
    return re.sub(r"[-_]", "", re.sub(r"\[(\d+)\]", r".\1", key.lower()))


def from_environment(name: str) -> str:
    """Return the key that a variable stands for: SPRING_DATASOURCE_URL is spring.datasource.url."""
    return name.lower().replace("_", ".")


def properties_settings(text: str) -> Iterator[Setting]:
    r"""Yield the settings of a properties file (java.util.Properties): `=`, `:` or space, `\` goes on; `#---` divides.

    >>> [(s.key, s.value, s.line) for s in properties_settings("a.b = c\\\n  d\n! x\ne:f")]
    [('a.b', 'cd', 1), ('e', 'f', 4)]
    """
    first, whole, document = 0, "", 0
    for number, line in numbered(text):
        bare = line.lstrip(" \t\f")
        if not whole and bare[:1] in ("#", "!"):
            document += bare.rstrip() in ("#---", "!---")
            continue
        first = first if whole else number
        whole += bare
        if len(whole) < 8192 and re.search(r"(?<!\\)(?:\\\\)*\\$", whole):
            whole = whole[:-1]
            continue
        match = re.match(r"((?:\\.|[^\\:=\s])+)\s*[:=\s]\s*(.*)$", whole)
        whole = ""
        if match:
            value = re.sub(r"\\([:=#! \\])", r"\1", match[2].strip())
            yield Setting(re.sub(r"\\(.)", r"\1", match[1]), value, first, document)


def settings(path: str, text: str) -> list[Setting]:
    """Return the settings of a file by its name."""
    return list(properties_settings(text) if path.endswith(".properties") else yaml_settings(text))


def inside_text(reader: Reader, jar: str, name: str) -> str | None:
    """Return a file in a jar, read once; None where it has none or cannot be read, which `java_apps` tells."""
    known = _INSIDE.setdefault(reader.guest, {})
    if (jar, name) not in known:
        try:
            with opened(reader.guest, jar, _MAX_JAR) as file:
                known[jar, name] = member_text(file, name)
        except (Vm2cError, *BROKEN):
            known[jar, name] = None
    return known[jar, name]


class Configuration:
    """What an application is configured with: `values` by canonical key, `files` those read from the disk."""

    def __init__(self, reader: Reader, jar: str, directory: str, given: Sequence[Value]) -> None:
        self.reader, self.jar, self.directory = reader, jar, directory
        self.given = {canonical(value.key): value for value in given}
        self.values: dict[str, Value] = {}
        self.files: list[str] = []
        name = self._given("spring.config.name") or "application"
        folders = self._folders()
        self._load(folders, name, frozenset())
        self.values |= self.given
        profiles = self._profiles()
        for profile in profiles:
            self._load(folders, f"{name}-{profile}", frozenset(profiles))
        if profiles:
            self._load(folders, name, frozenset(profiles), active=True)
        self.values |= self.given

    def _given(self, key: str) -> str:
        value = self.given.get(canonical(key))
        return value.value if value is not None else ""

    def _profiles(self) -> list[str]:
        names: list[str] = []
        for key in ("spring.profiles.active", "spring.profiles.include"):
            for at in ("", *(f".{n}" for n in range(10))):
                names += self.get(f"{key}{at}").split(",")
        return [name.strip() for name in dict.fromkeys(names) if re.fullmatch(r"[\w.@-]{1,100}", name.strip())][:20]

    def _folders(self) -> list[str]:
        """Return the places of configuration files, later ones count; `!` marks one in the jar."""
        usual = ["!BOOT-INF/classes", "!BOOT-INF/classes/config", self.directory, f"{self.directory}/config"]
        plain = re.sub(r"([*?\[])", r"[\1]", self.directory)
        usual += [p for p in self.reader.guest.glob(f"{plain}/config/*") if self.reader.guest.is_dir(p)][:20]
        told = self._told("spring.config.location")
        return (told or usual) + self._told("spring.config.additional-location")

    def _told(self, key: str) -> list[str]:
        found = []
        for part in re.split(r"[,;]", self._given(key)):
            bare = part.strip().removeprefix("optional:")
            if bare.startswith("classpath:"):
                found.append("!BOOT-INF/classes/" + bare.removeprefix("classpath:").strip("/"))
            elif bare and "${" not in bare:
                found.append(absolute(re.sub(r"^file:(//)?", "", bare), self.directory))
        return [folder.rstrip("/") for folder in found][:20]

    def _load(self, folders: Sequence[str], name: str, profiles: frozenset[str], active: bool = False) -> None:
        for folder in folders:
            is_file = folder.endswith((".properties", ".yml", ".yaml"))
            for ending in ("",) if is_file else (".yaml", ".yml", ".properties"):  # properties come first
                path = folder if is_file else f"{folder}/{name}{ending}"
                if folder.startswith("!"):
                    text = inside_text(self.reader, self.jar, path[1:])
                else:
                    text = self.reader.optional(path, 1 << 20)
                if text is None:
                    continue
                if not folder.startswith("!") and path not in self.files:
                    self.files.append(path)
                self._add(path, settings(path, text), profiles, active)

    def _add(self, path: str, found: Sequence[Setting], profiles: frozenset[str], active: bool) -> None:
        """Take the settings; a document that asks for a profile counts where that is active, and after the others."""
        wanted: dict[int, str] = {}
        for setting in found:
            if re.fullmatch(r"spring\.(config\.activate\.on-profile|profiles)(\[\d+\])?", setting.key):
                wanted[setting.document] = f"{wanted.get(setting.document, '')},{setting.value}"
        for setting in found:
            needed = {name.strip() for name in wanted.get(setting.document, "").split(",") if name.strip()}
            if bool(needed) != active or (needed and not needed & profiles):
                continue
            place = Place(self.jar) if path.startswith("!") else Place(path, setting.line)
            inside = path[1:] if path.startswith("!") else ""
            self.values[canonical(setting.key)] = Value(setting.key, setting.value, place, inside)

    def get(self, key: str) -> str:
        """Return a value with its placeholders put in, or nothing."""
        value = self.values.get(canonical(key))
        return self.expanded(value.value) if value is not None else ""

    def expanded(self, text: str) -> str:
        """Put values and defaults in for `${name:default}`, three deep; what is not known stays."""

        def put(match: re.Match[str]) -> str:
            known = self.values.get(canonical(match[1])) or self.values.get(canonical(from_environment(match[1])))
            return (known.value if known is not None else match[2] if match[2] is not None else match[0])[:1000]

        for _ in range(3):
            text = _PLACEHOLDER.sub(put, text[:4096])
        return text[:4096]


def launch_configuration(jar: str) -> str:
    """Return the file beside a jar that its own launch script sources (executable jars: JARNAME.conf)."""
    return posixpath.splitext(jar)[0] + ".conf"


def variables_given(variables: Mapping[str, tuple[str, Place]]) -> list[Value]:
    """Return what an environment gives."""
    return [Value(from_environment(name), value, place) for name, (value, place) in variables.items()]
