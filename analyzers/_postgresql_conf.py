"""PostgreSQL's own files: postgresql.conf, pg_hba.conf, pg_control."""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, absolute, meaningful, numbered
from migrate.model import Place

_MAX_DEPTH = 10  # CONF_FILE_MAX_DEPTH, src/backend/utils/misc/guc-file.l
_MAX_FILES = 200  # ten levels that include one another twice are a thousand
_SETTING = re.compile(
    r"\s*(?P<comment>#?)\s*(?P<name>[A-Za-z_][\w.]*)\s*=?\s*(?P<value>'(?:[^'\\]|''|\\.)*'|[^\s#'=][^\s#']*)?\s*(?:#.*)?"
)

# DBState, src/include/catalog/pg_control.h
_STATES = ("starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery",
           "in archive recovery", "in production")  # fmt: skip


class Value(msgspec.Struct, frozen=True):
    """A setting: its value without quotes, the text of the line that says it, and the place."""

    value: str
    text: str
    place: Place


def parse_settings(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line, name in lower case, value, `name = value` as written) of a file in postgresql.conf's form.

    PostgreSQL's manual, 20.1.2: `=` is optional, names do not tell case apart, strings stand in single
    quotes, in which `''` and `\\'` are one quote. Lines that are none of this yield an empty name.
    """
    for number, line in meaningful(text):
        match = _SETTING.fullmatch(line)
        if match is None or match["value"] is None or match["comment"]:
            yield number, "", "", line
            continue
        raw = match["value"]
        value = re.sub(r"''|\\(.)", lambda m: m[1] or "'", raw[1:-1]) if raw.startswith("'") else raw
        yield number, match["name"].lower(), value, line[match.start("name") : match.end("value")]


def commented(text: str, name: str) -> tuple[int, str] | None:
    """Return the line on which a setting stands commented out, as `#name = value`, and its number."""
    for number, line in numbered(text):
        match = _SETTING.fullmatch(line)
        if match and match["comment"] and match["name"].lower() == name and match["value"]:
            return number, line[match.start("comment") : match.end("value")]
    return None


def load_settings(reader: Reader, path: str) -> dict[str, Value]:
    """Read postgresql.conf with all it includes; the last word on a setting counts (manual, 20.1.5)."""
    found: dict[str, Value] = {}
    _load(reader, path, found, [path], 0)
    return found


def _load(reader: Reader, path: str, found: dict[str, Value], opened: list[str], depth: int) -> None:
    directory = path.rpartition("/")[0]
    for number, name, value, written in parse_settings(reader.text(path) or ""):
        if not name:
            reader.note(path, "not a setting: `name = value` was expected", number)
        elif name not in ("include", "include_if_exists", "include_dir"):
            found[name] = Value(value, written, Place(path, number))
        elif depth >= _MAX_DEPTH or len(opened) >= _MAX_FILES:
            reader.note(path, f"{name} {value} is one too many: files include one another", number)
        else:
            for inner in _included(reader, name, absolute(value, directory)):
                opened.append(inner)
                _load(reader, inner, found, opened, depth + 1)


def _included(reader: Reader, name: str, path: str) -> list[str]:
    if name == "include_dir":
        return [p for p in reader.guest.glob(f"{path}/*.conf") if not p.rpartition("/")[2].startswith(".")]
    return [path] if name == "include" or reader.guest.is_file(path) else []


class HbaLine(msgspec.Struct, frozen=True):
    """A `host` line of pg_hba.conf; `address` as written, with the mask where that is a word of its own."""

    line: int
    kind: str
    databases: tuple[str, ...]
    users: str
    address: str
    method: str


def parse_hba(text: str) -> Iterator[HbaLine]:
    """Yield the `host…` lines of pg_hba.conf (manual, 21.1); `local` lines are for unix sockets."""
    for number, line in meaningful(text):
        words = re.findall(r'(?:"[^"]*"|[^\s"#])+|#.*', line)
        words = words[: next((i for i, word in enumerate(words) if word.startswith("#")), len(words))]
        if len(words) < 5 or words[0] not in ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"):
            continue
        address, rest = words[3], words[4:]
        if "/" not in address and len(rest) > 1 and re.fullmatch(r"[0-9.]+|[0-9a-f:]+", rest[0]):
            address = line[line.index(address) : line.index(rest[0], line.index(address)) + len(rest[0])]
            rest = rest[1:]
        databases = tuple(word.strip('"') for word in words[1].split(","))
        yield HbaLine(number, words[0], databases, words[2], address, rest[0])


def networks(address: str) -> bool | None:
    """Tell whether an address of pg_hba.conf is IPv4 loopback (True), all of IPv4 (False), or other (None)."""
    if address == "all":
        return False
    if address == "localhost":
        return True
    try:
        network = ipaddress.ip_network("/".join(address.split()), strict=False)
    except ValueError:
        return None
    if network.version != 4:
        return None
    return False if network.prefixlen == 0 else True if network.is_loopback else None


def control_state(data: bytes) -> str | None:
    """Return the state in pg_control, or None where it is no such file.

    ControlFileData begins with uint64 system_identifier, uint32 pg_control_version, uint32
    catalog_version_no, int state, in the machine's byte order (src/include/catalog/pg_control.h).
    """
    for order in "<>":
        if len(data) >= 20:
            version, catalog, state = struct.unpack_from(f"{order}IIi", data, 8)
            # 800-odd in 8.x, 1300 and more since 13; a catalogue's version is a date, YYYYMMDDN.
            if 70 < version < 10_000 and 190_000_000 < catalog < 300_000_000 and 0 <= state < len(_STATES):
                return _STATES[state]
    return None
