"""dnsmasq's options: the long ones of dnsmasq.conf, its folders, and those of a command (dnsmasq(8))."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator, Sequence

import msgspec

from analyzers._argv import Word
from analyzers._reading import Reader, absolute, meaningful
from migrate.model import Place

MAIN = "/etc/dnsmasq.conf"
_MAX_FILES = 100
_MAX_OPTIONS = 50_000
_MAX_TEXT = 1 << 20
# The short options that matter here, and those of all that take a word (dnsmasq(8); src/option.c, OPTSTRING).
_SHORT = {
    "C": "conf-file", "7": "conf-dir", "p": "port", "a": "listen-address", "i": "interface", "I": "except-interface",
    "S": "server", "F": "dhcp-range", "l": "dhcp-leasefile", "u": "user", "g": "group", "8": "log-facility",
    "r": "resolv-file", "H": "addn-hosts", "R": "no-resolv", "h": "no-hosts", "z": "bind-interfaces", "k":
    "keep-in-foreground", "d": "no-daemon", "x": "pid-file",
}  # fmt: skip
_VALUED = frozenset("C7paiISFlug8rHxAcDEGJKLMOPQTUVWXYZ246sjtmnoYy")


class Option(msgspec.Struct, frozen=True):
    """One option: its long name, its value, the line as written, and the place."""

    name: str
    value: str
    text: str
    place: Place


def value_of(text: str) -> str:
    """Return a value without quotes and without a comment, which begins behind white space.

    >>> value_of('"a # b" # c')
    'a # b'
    """
    quoted = re.match(r'\s*"([^"]*)"', text)
    return quoted[1] if quoted else re.split(r"\s#", text, maxsplit=1)[0].strip()


def parse(text: str, path: str) -> Iterator[Option]:
    """Yield the options of one file; they stand without their dashes."""
    for number, line in meaningful(text):
        name, _, value = line.partition("=")
        name = re.split(r"\s#", name, maxsplit=1)[0].strip()
        yield Option(name.removeprefix("--").lower(), value_of(value), line, Place(path, number))


def arguments(words: Sequence[Word]) -> Iterator[Option]:
    """Yield the options of a command as those of a file: `--port=53`, `--port 53`, `-p 53`, `-p53`, `-kd`."""
    at = 0
    while at < len(words):
        word = words[at]
        text = word.text
        following = words[at + 1].text if at + 1 < len(words) and not words[at + 1].text.startswith("-") else ""
        at += 1
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            if not equals and following:
                value, at = following, at + 1
            yield Option(name, value, text, word.place)
        elif text.startswith("-"):
            for index, letter in enumerate(text[1:], 2):
                value = text[index:] if letter in _VALUED else ""
                if letter in _VALUED and not value and following:
                    value, at = following, at + 1
                yield Option(_SHORT.get(letter, letter), value, text, word.place)
                if letter in _VALUED:
                    break


def load(reader: Reader, given: Sequence[Option]) -> tuple[list[Option], list[str]]:
    """Return the options of a command with those of the files that they or the default name, and the files."""
    found: list[Option] = []
    files: list[str] = []
    mains = [option.value for option in given if option.name == "conf-file"]
    waiting = [option for option in given if option.name == "conf-dir"]
    for path in mains or [MAIN]:
        if reader.guest.is_file(path):
            _read(reader, path, found, files)
    for option in waiting:
        _directory(reader, option, found, files)
    return [*(option for option in given if option.name not in ("conf-file", "conf-dir")), *found], files


def _read(reader: Reader, path: str, found: list[Option], files: list[str]) -> None:
    if path in files:
        return  # dnsmasq refuses to read a file twice (src/option.c, one_file)
    files.append(path)
    for option in parse(reader.text(path, _MAX_TEXT) or "", path):
        if len(found) >= _MAX_OPTIONS or len(files) >= _MAX_FILES:
            reader.note(path, f"more than {_MAX_OPTIONS} options or {_MAX_FILES} files: the rest is not read")
            return
        if option.name == "conf-file" and option.value.startswith("/"):
            _read(reader, option.value, found, files)
        elif option.name == "conf-dir":
            _directory(reader, option, found, files)
        else:
            found.append(option)


def _directory(reader: Reader, option: Option, found: list[Option], files: list[str]) -> None:
    """`conf-dir=DIR,.bak,*.conf`: endings to leave out, and with a `*` those to take alone (dnsmasq(8))."""
    folder, *endings = (part.strip() for part in option.value.split(","))
    if not folder.startswith("/"):
        return
    taken = [ending for ending in endings if ending.startswith("*")]
    left = [ending for ending in endings if ending and not ending.startswith("*")]
    for name in reader.guest.listdir(folder):
        if name.endswith("~") or name.startswith(".") or (name.startswith("#") and name.endswith("#")):
            continue
        if any(name.endswith(ending) for ending in left):
            continue
        path = absolute(posixpath.join(folder, name), "/")
        if (not taken or any(fnmatch.fnmatchcase(name, ending) for ending in taken)) and reader.guest.is_file(path):
            _read(reader, path, found, files)
