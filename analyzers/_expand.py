r"""From the text of a setting to its words: quotes and escapes, specifiers, variables, command lines.

systemd.syntax(7) for quoting, systemd.unit(5) for specifiers, systemd.service(5), "Command lines". Where the
manuals are silent, `extract_first_word` (src/basic/extract-word.c), `config_parse_exec` (src/core/load-fragment.c)
and `replace_env_argv` (src/basic/env-util.c) decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from analyzers._reading import assignments, meaningful
from analyzers._secret_text import names_secret, shapes
from analyzers._unit import UnitName, unescape
from migrate.errors import GuestFileError
from migrate.guest.protocol import Guest

_BLANKS = " \t\n\r"
_SIMPLE = {
    "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39, "s": 32,
}  # fmt: skip
_RELEASE = {  # specifiers that are fields of os-release(5)
    "A": "IMAGE_VERSION", "B": "BUILD_ID", "M": "IMAGE_ID", "o": "ID", "w": "VERSION_ID", "W": "VARIANT_ID",
}  # fmt: skip
_NUMERIC = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})")


class SplitError(ValueError):
    """A text that systemd cannot split into words: a quote that is not closed, a command without a program."""


# ---------------------------------------------------------------- words


def _escape(text: str, at: int) -> tuple[bytes, int]:
    """Return the bytes of the escape whose backslash stands before `at`, and where it ends.

    An escape that does not exist is kept with its backslash, as systemd does with a warning.
    """
    char = text[at]
    if char in _SIMPLE:
        return bytes([_SIMPLE[char]]), at + 1
    match = _NUMERIC.match(text, at)
    if match is None:
        return b"\\" + _raw(char), at + 1
    hexadecimal, short, long, octal = match.groups()
    code = int(octal, 8) if octal else int(hexadecimal or short or long, 16)
    if code == 0 or code > (0xFF if octal or hexadecimal else 0x10FFFF) or 0xD800 <= code <= 0xDFFF:
        return b"\\" + _raw(char), at + 1
    return bytes([code]) if octal or hexadecimal else chr(code).encode(), match.end()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def next_word(text: str, at: int) -> tuple[str | None, int]:
    """Return the next word of `text` from `at` and where the rest begins; None at the end.

    Quotes are taken off, C escapes resolved inside them and outside. Raises SplitError for an open quote.
    """
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    if at >= len(text):
        return None, at
    out, quote = bytearray(), ""
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            if at < len(text):
                piece, at = _escape(text, at)
                out += piece
            else:
                out += b"\\"
        elif quote:
            if char == quote:
                quote = ""
            else:
                out += _raw(char)
        elif char in "\"'":
            quote = char
        elif char in _BLANKS:
            break
        else:
            out += _raw(char)
    if quote:
        raise SplitError(f"a quote ({quote}) that is not closed")
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return bytes(out).decode("utf-8", "surrogateescape"), at


def split_words(text: str) -> list[str]:
    r"""Return the words of a list setting. Raises SplitError.

    >>> split_words(r'A=1 "B=two words" C=x\x20y')
    ['A=1', 'B=two words', 'C=x y']
    """
    words: list[str] = []
    word, at = next_word(text, 0)
    while word is not None:
        words.append(word)
        word, at = next_word(text, at)
    return words


# ---------------------------------------------------------------- specifiers


class Specifiers:
    """Resolves `%x` for units of one guest; what only a running machine knows stays as it is written."""

    def __init__(self, guest: Guest) -> None:
        release = assignments(_text(guest, "/etc/os-release") or _text(guest, "/usr/lib/os-release"))
        hostname = next((line for _, line in meaningful(_text(guest, "/etc/hostname"))), "")
        machine_id = _text(guest, "/etc/machine-id").strip()
        known = {
            "C": "/var/cache", "E": "/etc", "L": "/var/log", "S": "/var/lib", "T": "/tmp", "V": "/var/tmp",  # noqa: S108
            "t": "/run", "D": "/usr/share", "%": "%",
            "g": "root", "G": "0", "h": "/root", "u": "root", "U": "0",  # of the service manager, not of User=
            "H": hostname, "l": hostname.partition(".")[0],
            "m": machine_id if re.fullmatch(r"[0-9a-f]{32}", machine_id) else "",
        }  # fmt: skip
        for letter, key in zip(
            "oABMwW", ["ID", "IMAGE_VERSION", "BUILD_ID", "IMAGE_ID", "VERSION_ID", "VARIANT_ID"], strict=True
        ):
            known[letter] = release[key][0] if key in release else ""
        self._known = {letter: value for letter, value in known.items() if value}

    def resolve(self, text: str, name: UnitName, path: str = "") -> str:
        """Return `text` with the specifiers of a unit replaced; `path` is the unit's file."""
        if "%" not in text:
            return text
        instance = name.instance or ""
        last = name.prefix.rpartition("-")[2]
        own = {
            "n": name.full, "N": name.stem, "p": name.prefix, "P": unescape(name.prefix),
            "i": instance, "I": unescape(instance), "j": last, "J": unescape(last),
            "f": "/" + unescape(instance or name.prefix).lstrip("/"),
            "d": f"/run/credentials/{name.full}", "y": path, "Y": path.rpartition("/")[0],
        }  # fmt: skip
        return re.sub(r"%(.)", lambda match: own.get(match[1], self._known.get(match[1], match[0])), text)


def _text(guest: Guest, path: str) -> str:
    try:
        return guest.text(path)
    except GuestFileError:
        return ""


# ---------------------------------------------------------------- command lines


class Command(msgspec.Struct, frozen=True):
    """One command of an Exec setting: its prefixes, and its words with specifiers resolved, variables not.

    With the prefix `@` the second word was the process's name and is left out of `argv`.
    """

    prefixes: str
    argv: tuple[str, ...]


def parse_commands(text: str, resolve: Callable[[str], str]) -> list[Command]:
    """Return the commands of one Exec line; an unquoted `;` separates them. Raises SplitError."""
    commands: list[Command] = []
    word, at = next_word(text, 0)
    while word is not None:
        if not commands or word != ";":
            prefixes = re.match(r"[-@:+!|]*", word)[0]  # type: ignore[index]  # matches the empty text at least
            program = resolve(word[len(prefixes) :])
            rest, at, more = _arguments(text, at)
            if not program:
                raise SplitError("a command without a program")
            words = [program, *map(resolve, rest)]
            if "@" in prefixes:
                if len(words) == 1:
                    raise SplitError("a command with the prefix @ and no name for the process")
                del words[1]
            commands.append(Command(prefixes, tuple(words)))
            if not more:
                break
        word, at = next_word(text, at)
    return commands


def _arguments(text: str, at: int) -> tuple[list[str], int, bool]:
    """Return the words up to a lone `;` or the end, where the rest begins, and whether a `;` ended them."""
    words: list[str] = []
    while at < len(text):
        ends = at + 1 == len(text) or text[at + 1] in _BLANKS
        if text[at] == ";" and ends:
            return words, at + 1, True
        if text.startswith("\\;", at) and (at + 2 == len(text) or text[at + 2] in _BLANKS):
            words.append(";")
            at += 2
            while at < len(text) and text[at] in _BLANKS:
                at += 1
            continue
        word, at = next_word(text, at)
        if word is not None:
            words.append(word)
    return words, at, False


# ---------------------------------------------------------------- variables


class Environment(msgspec.Struct, frozen=True):
    """What a command's variables may be replaced by.

    `known` have values that may be shown. `held` are set, with values that stay where they are (files of
    variables, secrets, what exists at run time alone). `open` tells that names beyond these two may be set.
    """

    known: Mapping[str, str]
    held: frozenset[str] = frozenset()
    open: bool = False

    def keeps(self, name: str) -> bool:
        """Tell whether a reference to the variable stays as it is written."""
        return name in self.held or (self.open and name not in self.known)


_BRACED = re.compile(r"\$(?:(\$)|\{([^}]*)\})|\$\{[^}]*\Z")
_WHOLE = re.compile(r"\$(?![{$])(.*)", re.DOTALL)


def replace_variables(argv: Iterable[str], environment: Environment) -> tuple[str, ...]:
    """Replace `${NAME}` anywhere and `$NAME` where it is a word of its own, as systemd.service(5) has it.

    `$NAME` is split at blanks and vanishes when it is unset; `${NAME}` is one word and empty when unset;
    `$$` is one dollar sign. The program (the first word) is not touched. References to variables that
    `environment` holds back stay, and in such a word nothing else is replaced.
    """
    words = list(argv)
    return tuple(words[:1] + [new for word in words[1:] for new in _replace(word, environment)])


def _replace(word: str, environment: Environment) -> Iterator[str]:
    whole = _WHOLE.fullmatch(word)
    if whole is not None:
        name = whole[1]
        if environment.keeps(name):
            yield word
        else:
            yield from _relaxed(environment.known.get(name, ""))
    elif any(environment.keeps(match[2]) for match in _BRACED.finditer(word) if match[2] is not None):
        yield word
    else:
        yield _BRACED.sub(lambda match: _value(match, environment), word)


def _value(match: re.Match[str], environment: Environment) -> str:
    if match[1]:
        return "$"
    return match[0] if match[2] is None else environment.known.get(match[2], "")  # a brace that is not closed stays


def _relaxed(value: str) -> list[str]:
    """Split a variable's value; systemd is lenient here (EXTRACT_RELAX): an open quote ends with the text."""
    try:
        return split_words(value)
    except SplitError:
        return value.split()


def variable_names(text: str) -> dict[str, bool]:
    """Return the names a file of variables sets (EnvironmentFile=, systemd.exec(5)), and whether each is empty.

    Values stay here: they may be secrets. `#` and `;` begin comments, a backslash continues a line.
    """
    found: dict[str, bool] = {}
    joined = re.sub(r"\\\r?\n", "", text)
    position, length = 0, len(joined)
    while position < length:
        end = joined.find("\n", position)
        end = length if end < 0 else end
        line = joined[position:end]
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or line.lstrip()[:1] in {"#", ";"}:
            position = end + 1
            continue
        value = value.strip()
        opened = value[:1]
        if opened and opened in "\"'" and value.count(opened) == 1:  # goes on to the line that closes the quote
            closing = joined.find(opened, end)
            end = joined.find("\n", closing) if closing >= 0 else length
            end = length if end < 0 else end
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            found[name] = value in {"", '""', "''"}
        position = end + 1
    return found


# ---------------------------------------------------------------- secrets


def looks_secret(name: str, value: str) -> bool:
    """Tell whether a variable's value is to be kept out of a command, by its name or by its form.

    >>> looks_secret("DATABASE_URL", "postgres://app:hunter2@db/app"), looks_secret("WORKERS", "4")
    (True, False)
    """
    return bool(value) and (names_secret(name) or any(True for _ in shapes(f"{name}={value}", 1)))
