"""smb.conf as smb.conf(5) says it is read: sections, names without case and blanks, included files, copied shares."""

from __future__ import annotations

import re

import msgspec

from analyzers._reading import Reader, absolute, continued
from migrate.model import Place

_MAX_FILES = 50
_MAX_SHARES = 5000
_MAX_COPIED = 100_000
# Names that mean the same (smb.conf(5)).
_SYNONYMS = {
    "directory": "path", "printok": "printable", "interface": "interfaces", "lockdir": "lockdirectory",
    "logpath": "logfile", "statedir": "statedirectory", "privatedirectory": "privatedir", "root": "rootdirectory",
}  # fmt: skip


class Setting(msgspec.Struct, frozen=True):
    """A setting: its value, the line as it stands, and its place."""

    value: str
    text: str
    place: Place


class Config(msgspec.Struct):
    """Sections by lower-case name, `global` among them; each maps bare names to what is in force."""

    sections: dict[str, dict[str, Setting]] = {}
    opened: dict[str, Place] = {}
    files: list[str] = []
    copied: int = 0


def load(reader: Reader, path: str) -> Config:
    """Return the sections of a file and of those it includes."""
    config = Config()
    _load(reader, path, config, "global")
    return config


def _load(reader: Reader, path: str, config: Config, section: str) -> None:
    config.files.append(path)
    for number, line in continued(reader.text(path) or "", "#;"):
        place = Place(path, number)
        if line.startswith("["):
            section = " ".join(line[1:].partition("]")[0].lower().split())
            if len(config.sections) < _MAX_SHARES:
                config.opened.setdefault(section, place)
                config.sections.setdefault(section, {})
            continue
        name, equals, value = line.partition("=")
        if not equals:
            reader.note(path, "neither a section nor a setting", number)
            continue
        bare = re.sub(r"\s+", "", name.lower())
        bare, value = _SYNONYMS.get(bare, bare), value.strip().strip('"')
        if bare == "include":
            _include(reader, value, place, config, section)
        elif bare == "copy":
            copied = config.sections.get(value.lower(), {})
            config.copied += len(copied)
            if config.copied > _MAX_COPIED:
                reader.note(path, "too many settings are copied", number)
            else:
                config.sections.setdefault(section, {}).update(copied)
        else:
            config.sections.setdefault(section, {})[bare] = Setting(value, line, place)


def _include(reader: Reader, value: str, place: Place, config: Config, section: str) -> None:
    included = absolute(value, place.path.rpartition("/")[0])
    if value == "registry":
        reader.note(place.path, "shares in the registry (registry.tdb) were not read", place.line)
    elif "%" in value:
        reader.note(place.path, f"include {value} depends on the client and was not read", place.line)
    elif included in config.files or len(config.files) >= _MAX_FILES:
        reader.note(place.path, f"{included} is included once too often", place.line)
    elif reader.guest.is_file(included):
        _load(reader, included, config, section)
