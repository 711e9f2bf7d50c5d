"""Option files of MySQL and MariaDB (MySQL manual 6.2.2.2, MariaDB's "Configuring MariaDB with Option Files")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from analyzers._reading import Reader, absolute, numbered
from migrate.model import Place

_MAX_DEPTH = 10  # mysys/my_default.c: max_recursion_level
_MAX_FILES = 200
_MAX_FILE = 256 << 10  # bytes
_MAX_PERSISTED = 1 << 20
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}
# Options whose own name begins with `skip`; of all others it is a prefix that turns them off.
_SKIP_NAMES = frozenset({"skip_networking", "skip_name_resolve", "skip_grant_tables", "skip_external_locking",
                         "skip_show_database", "skip_slave_start", "skip_replica_start"})  # fmt: skip
_SHORT = {"P": "port", "h": "datadir", "u": "user", "b": "basedir", "t": "tmpdir", "l": "general_log"}
# Options that need a value, which may then be the next word of a command line.
_VALUED = frozenset({"port", "datadir", "user", "basedir", "tmpdir", "socket", "bind_address", "pid_file",
                     "plugin_dir", "plugin_load_add", "plugin_load", "server_id", "defaults_file",
                     "defaults_extra_file", "defaults_group_suffix"})  # fmt: skip
_LEADING = ("defaults_file", "defaults_extra_file", "defaults_group_suffix", "no_defaults")


class Option(msgspec.Struct, frozen=True):
    """One option: its name with `_`, without prefixes; `value` is None where none is given, `off` after `skip-`."""

    name: str
    value: str | None
    off: bool
    text: str
    place: Place

    @property
    def enabled(self) -> bool:
        """Tell whether a switch is on: named without a value, or with one that does not mean no."""
        return not self.off and (self.value is None or self.value.lower() not in ("0", "off", "false", "no"))


class Line(msgspec.Struct, frozen=True):
    """A line of an option file: `key` is empty where it could not be understood, `!include…` for a directive."""

    number: int
    group: str
    key: str
    value: str | None
    text: str


def _without_comment(line: str) -> str:
    """Cut a line at a `#` that stands in no quotes, as remove_end_comment of mysys/my_default.c does."""
    if "#" not in line:
        return line
    quote, escaped = "", False
    for at, char in enumerate(line):
        if char in "\"'" and not escaped:
            quote = char if not quote else "" if quote == char else quote
        if not quote and char == "#":
            return line[:at]
        escaped = bool(quote) and char == "\\" and not escaped
    return line


def _unescaped(raw: str) -> str:
    value = raw.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), value)


def parse_lines(text: str) -> Iterator[Line]:
    r"""Yield the options and directives of an option file.

    >>> [(line.group, line.key, line.value) for line in parse_lines("[mysqld] \nport = 3307 # mine\n")]
    [('mysqld', 'port', '3307')]
    """
    group = ""
    for number, line in numbered(text):
        whole = line.strip()
        if not whole or whole[0] in "#;":
            continue
        if whole[0] == "!":
            word, _, rest = whole.partition(" ")
            yield Line(number, group, word if word in ("!include", "!includedir") else "", rest.strip(), whole)
        elif whole[0] == "[":
            name, closed, _ = whole[1:].partition("]")
            if closed:
                group = name.rstrip()
            else:
                yield Line(number, group, "", None, whole)
        else:
            written = _without_comment(whole).rstrip()
            key, equals, value = written.partition("=")
            found = _unescaped(value) if equals else None
            yield Line(number, group, key.rstrip() if group else "", found, written)


def named(key: str, value: str | None, text: str, place: Place) -> Option:
    """Return the option that a key means: `-` and `_` are one, `loose-`, `skip-`, `disable-`, `enable-` prefixes.

    >>> named("loose-skip-log_bin", None, "", Place("/x")).name
    'log_bin'
    """
    name = key.replace("-", "_").removeprefix("loose_")
    off = False
    if name.startswith(("skip_", "disable_")) and name not in _SKIP_NAMES:
        name, off = name.partition("_")[2], True
    elif name.startswith("enable_"):
        name = name.removeprefix("enable_")
    return Option(name, value, off, text, place)


def from_words(words: Sequence[str], place: Place) -> list[Option]:
    """Return the options of a command line, without the program."""
    found: list[Option] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word.startswith("--") and len(word) > 2:
            key, equals, value = word[2:].partition("=")
            name = key.replace("-", "_")
            if not equals and name in _VALUED and at < len(words):
                value, equals, at = words[at], "=", at + 1
            found.append(named(key, value if equals else None, word, place))
        elif len(word) > 1 and word[0] == "-" and word[1] in _SHORT:
            value = word[2:]
            if not value and at < len(words):
                value, at = words[at], at + 1
            found.append(Option(_SHORT[word[1]], value, off=False, text=word, place=place))
    return found


class Options:
    """The options in force for one server: those of the files in their order, then those of the command line."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.files: list[str] = []
        self.every: list[Option] = []
        self.last: dict[str, Option] = {}

    def add(self, options: Iterable[Option]) -> None:
        """Take more options; later ones go over earlier ones of the same name."""
        for option in options:
            self.every.append(option)
            self.last[option.name] = option

    def load(self, path: str, groups: frozenset[str]) -> None:
        """Read an option file, and what it includes, where it stands; a missing one is passed over."""
        if self.reader.guest.is_file(path):
            self._load(path, groups, 0)

    def _load(self, path: str, groups: frozenset[str], depth: int) -> None:
        reader = self.reader
        real = reader.guest.resolve(path) or path
        entry = reader.guest.stat(real)
        if entry is not None and entry.mode & 0o002:  # mysys/my_default.c: a world-writable file is ignored
            reader.note(real, "everybody may write this option file: the server ignores it")
            return
        self.files.append(real)
        for line in parse_lines(reader.text(real, _MAX_FILE) or ""):
            if not line.key:
                reader.note(real, "neither a group, an option of one, nor a directive", line.number)
            elif line.key.startswith("!"):
                self._include(real, line, groups, depth)
            elif line.group in groups:
                self.add([named(line.key, line.value, line.text, Place(real, line.number))])

    def _include(self, path: str, line: Line, groups: frozenset[str], depth: int) -> None:
        where, guest = line.value or "", self.reader.guest
        if not where.startswith("/"):
            self.reader.note(path, f"{line.key} {where} leads to the server's working directory", line.number)
            return
        where = absolute(where, "/")
        inner = [where]
        if line.key == "!includedir":  # my_dir(3) of mysys sorts, and takes hidden files too
            inner = [f"{where.rstrip('/')}/{name}" for name in guest.listdir(where) if name.endswith(".cnf")]
        for each in inner:
            if depth >= _MAX_DEPTH or len(self.files) >= _MAX_FILES:
                self.reader.note(path, f"{line.key} {where} is one too many: files include one another", line.number)
                return
            if guest.is_file(each):
                self._load(each, groups, depth + 1)
            elif line.key == "!include":
                self.reader.note(path, f"{each} is not there", line.number)

    def persisted(self, path: str) -> None:
        """Read what SET PERSIST kept, which goes over files and command line (MySQL manual 7.1.9.3)."""
        if not self.reader.guest.is_file(path):
            return
        try:
            kept = msgspec.json.decode(self.reader.data(path, _MAX_PERSISTED) or b"{}")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self.reader.note(path, f"not JSON: {error}")
            return
        groups = [group for group in kept.values() if isinstance(group, dict)] if isinstance(kept, dict) else []
        for name, held in ((n, h) for group in groups for n, h in group.items()):
            value = held.get("Value") if isinstance(held, dict) else None
            if isinstance(value, str):
                self.add([named(name, value, "", Place(path))])

    # ---------------------------------------------------------------- what is in force

    def value(self, name: str, default: str = "") -> str:
        """Return an option's value; the default where it is not said or turned off."""
        option = self.last.get(name)
        return default if option is None or option.off or option.value is None else option.value

    def on(self, name: str, default: bool = False) -> bool:
        """Tell whether a switch is on."""
        option = self.last.get(name)
        return default if option is None else option.enabled

    def place(self, name: str, default: Place) -> Place:
        """Return where an option is said."""
        return self.last[name].place if name in self.last else default


def leading(words: Sequence[str]) -> dict[str, str]:
    """Return the options that say which files and groups are read; they stand first on a command line."""
    return {o.name: o.value or "" for o in from_words(words, Place("/")) if o.name in _LEADING}


def groups_of(engine: str, version: str, suffix: str = "") -> frozenset[str]:
    """Return the groups a server reads: `mariadbd --help --verbose` and `mysqld --help --verbose` name them."""
    names = ["mysqld", "server"]
    if version:
        names.append(f"mysqld-{version}")
    if engine == "MariaDB":
        names += ["mariadb", "mariadbd", "client-server", "galera"]
        names += [f"mariadb-{version}", f"mariadbd-{version}"] if version else []
    else:
        names.append("mysql_cluster")
    return frozenset([*names, *(name + suffix for name in names if suffix)])
