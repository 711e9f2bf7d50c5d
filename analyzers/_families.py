"""Which distribution a machine runs, of which family it is, and until when it is supported: rules and dates are data.

`families.yaml` says which ID is of which family and how the files of systems from before os-release(5) are read;
`end_of_life.yaml` holds the dates with where they are from.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import msgspec
import yaml

from analyzers._reading import Reader, assignments, meaningful, numbered, unquote
from migrate.model import Place, System

UNKNOWN = "linux"
CPE = "/etc/system-release-cpe"


class ReleaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one file names its system; the fields are told in families.yaml."""

    file: str
    ident: str = msgspec.field(name="is", default="")
    words: dict[str, str] = {}
    keys: tuple[str, ...] = ()
    like: str = ""
    name: str = ""
    empty: bool = False


class Families(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What families.yaml holds."""

    families: dict[str, tuple[str, ...]]
    release_files: tuple[ReleaseFile, ...]
    cpe: dict[str, str]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last days (ISO) of general support, and of what can be had after it; empty where there is none."""

    ends: str
    extended: str = ""


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The releases of one distribution, with where the dates are from and when they were taken."""

    ids: tuple[str, ...]
    source: str
    as_of: str
    releases: dict[str, Release]


def _load(name: str) -> Any:
    # BaseLoader: a date and a version stay the text that they are
    text = resources.files("analyzers").joinpath(name).read_text("utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # plain text alone


@functools.cache
def rules() -> Families:
    """Return the rules of families.yaml."""
    return msgspec.convert(_load("families.yaml"), Families, strict=False)


@functools.cache
def products() -> dict[str, Product]:
    """Return the table of end_of_life.yaml by ID."""
    table = msgspec.convert(_load("end_of_life.yaml"), dict[str, Product])
    return {ident: product for product in table.values() for ident in product.ids}


def family_of(ident: str, like: str = "") -> str:
    """Return the family for os-release's ID and ID_LIKE; `linux` where neither is known."""
    return next((family for word in [ident, *like.split()] if (family := _family(word.lower()))), UNKNOWN)


def _family(word: str) -> str:
    for family, idents in rules().families.items():
        if any(fnmatch.fnmatchcase(word, ident) for ident in idents):
            return family
    return ""


def support(system: System) -> Release | None:
    """Return until when this release is supported, or None where it is not known.

    A release is found by its version or the longest part of it that has its own support: 8.9 is of 8, 3.20.3 of
    3.20, and SLES 12 without a service pack is 12.0.
    """
    ident, name = system.id, system.name.lower()
    if ident == "centos" and "stream" in name:
        ident = "centos-stream"
    elif ident == "linuxmint" and name.startswith("lmde"):
        ident = "lmde"
    if ident not in products():
        return None
    releases = products()[ident].releases
    parts = system.version.split(".")
    for length in range(len(parts), 0, -1):
        version = ".".join(parts[:length])
        if release := releases.get(version) or releases.get(f"{version}.0"):
            return release
    return None


# ---------------------------------------------------------------- reading


def parse_os_release(text: str, path: str) -> System:
    """Turn os-release(5) into a System; the defaults of the manual page stand in for what is missing."""
    fields = assignments(text)

    def field(name: str, default: str = "") -> str:
        return fields.get(name, (default, 0))[0]

    ident = field("ID", UNKNOWN)
    return System(
        seen_in=Place(path, fields["ID"][1] if "ID" in fields else None),
        family=family_of(ident, field("ID_LIKE")),
        id=ident,
        version=field("VERSION_ID"),
        name=field("PRETTY_NAME") or f"{field('NAME', 'Linux')} {field('VERSION')}".strip(),
        codename=field("VERSION_CODENAME"),
    )


def parse_release_file(text: str, rule: ReleaseFile) -> System | None:
    """Read a file of a system from before os-release; None where it does not name one."""
    if rule.keys:
        return _parse_keys(text, rule)
    number, line = next(meaningful(text, comment=""), (None, ""))
    if not line and not rule.empty:
        return None
    ident = rule.ident or next((known for word, known in rule.words.items() if word in line.lower()), "")
    if not ident:  # a derivative that nobody knows: its own first word
        ident = (re.match(r"[A-Za-z][\w.-]*", line) or [UNKNOWN])[0].lower()
    version, codename = (re.search(r"\d+(?:\.\w+)*", line) or [""])[0], ""
    if rule.file == "/etc/SuSE-release":
        version, codename = _suse(text, version)
    elif rule.file == "/etc/debian_version" and line.endswith("/sid"):  # testing: the name of what it becomes
        codename = line.removesuffix("/sid")
    return System(
        seen_in=Place(rule.file, number),
        family=family_of(ident, rule.like),
        id=ident,
        version=version,
        name=f"{rule.name} {line}".strip(),
        codename=codename,
    )


def _parse_keys(text: str, rule: ReleaseFile) -> System | None:
    fields = assignments(text)
    values = [unquote(fields.get(key, ("", 0))[0]) for key in rule.keys]  # OpenWrt quotes with '…'
    ident, version, codename, described = values
    if not ident:  # Red Hat's lsb-release holds LSB_VERSION alone
        return None
    return System(
        seen_in=Place(rule.file, fields[rule.keys[0]][1]),
        family=family_of(ident.lower(), rule.like),
        id=ident.lower(),
        version=version,
        name=described or f"{ident} {version}".strip(),
        codename=codename,
    )


def _suse(text: str, version: str) -> tuple[str, str]:
    """Return version and code name of SuSE-release: `VERSION = 11` and `PATCHLEVEL = 4` are 11.4 in os-release."""
    fields = dict(_equations(text))
    version = fields.get("VERSION", version)
    level = fields.get("PATCHLEVEL", "")
    if level not in ("", "0") and "." not in version:
        version = f"{version}.{level}"
    return version, fields.get("CODENAME", "")


def _equations(text: str) -> Iterator[tuple[str, str]]:
    for _, line in numbered(text):
        if match := re.fullmatch(r"([A-Z]+)\s*=\s*(\S.*?)\s*", line):
            yield match[1], match[2]


def parse_cpe(text: str, idents: Mapping[str, str]) -> System | None:
    """Read /etc/system-release-cpe: `cpe:/o:centos:linux:6:GA`, or the form of CPE 2.3 (NISTIR 7695, 6.1 and 6.2)."""
    number, line = next(meaningful(text), (None, ""))
    parts = line.removeprefix("cpe:2.3:").removeprefix("cpe:/").split(":")
    if not line.startswith("cpe:") or len(parts) < 4 or parts[0] != "o":
        return None
    ident = idents.get(f"{parts[1]}:{parts[2]}", parts[1])
    version = (re.match(r"\d+(?:\.\d+)*", parts[3]) or [""])[0]
    family = family_of(ident)
    return System(seen_in=Place(CPE, number), family=family, id=ident, version=version, name=line)


def system_of(reader: Reader) -> System:
    """Return the system: what os-release says, else an older file, else /etc/issue's first line as a name."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if text := reader.optional(path):
            return parse_os_release(text, path)
    for rule in rules().release_files:
        text = reader.optional(rule.file)
        if text is not None and (found := parse_release_file(text, rule)):
            return found
    if found := parse_cpe(reader.optional(CPE) or "", rules().cpe):
        return found
    reader.note("/etc/os-release", "there is none, nor any older file that names the distribution")
    number, line = next(meaningful(reader.optional("/etc/issue") or "", comment="\\"), (None, ""))
    name = re.sub(r"\\(?:\S\{[^}]*\}|\S)", "", line).strip()  # issue(5), agetty(8): \n, \4{eth0}
    where = Place("/etc/issue", number) if name else Place("/")
    return System(seen_in=where, family=UNKNOWN, id=UNKNOWN, version="", name=name or "Linux")
