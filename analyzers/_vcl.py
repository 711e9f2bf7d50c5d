"""VCL: backends, includes, imports and the files that strings name (vcl(7)). Pure but for the includes' look-up."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, absolute
from migrate.model import Place

_MAX_DEPTH = 10
_MAX_FILES = 200
_MAX_TOTAL = 4 << 20  # characters of all files together
_MAX_FILE = 1 << 20  # bytes
_TOKEN = re.compile(
    r"(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*[\s\S]*?(?:\*/|\Z))"
    r'|\{"(?P<long>[\s\S]*?)(?:"\}|\Z)|"""(?P<triple>[\s\S]*?)(?:"""|\Z)|"(?P<text>[^"\n]*)"?'
    r"|(?P<word>[A-Za-z_.][\w.-]*)|(?P<sign>.)"
)


class Token(msgspec.Struct, frozen=True):
    """A word, sign or string; `text` is the string's content where `string` is true."""

    text: str
    string: bool
    line: int


class Backend(msgspec.Struct, frozen=True):
    """A backend: `path` is a unix socket's; places are those of the host, port or path."""

    name: str
    host: str = ""
    port: str = ""
    path: str = ""
    place: Place = Place("")


class Vcl(msgspec.Struct):
    """What a program says, with all that it includes."""

    backends: list[Backend] = []
    modules: list[tuple[str, str, Place]] = []
    strings: list[tuple[str, Place]] = []
    files: list[str] = []
    size: int = 0


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text; an unclosed comment or string ends with the text."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            string = match.lastgroup in ("long", "triple", "text")
            yield Token(match[match.lastgroup or 0] if match.lastgroup else match[0], string, line)
        line += match[0].count("\n")


def load(reader: Reader, path: str, folders: tuple[str, ...]) -> Vcl:
    """Read a file and those that it includes; relative names are looked for in `folders` (varnishd(1), vcl_path)."""
    vcl = Vcl()
    _load(reader, path, folders, vcl, 0)
    return vcl


def _load(reader: Reader, path: str, folders: tuple[str, ...], vcl: Vcl, depth: int) -> None:
    vcl.files.append(path)
    text = reader.text(path, _MAX_FILE) or ""
    vcl.size += len(text)
    words = list(tokens(text))
    at = 0
    while at < len(words):
        word, behind = words[at], words[at + 1 : at + 4]
        at += 1
        if word.string:
            vcl.strings.append((word.text, Place(path, word.line)))
        elif word.text == "include" and behind:
            name = next((token for token in behind if token.string), None)
            glob = any(token.text == "glob" and not token.string for token in behind)
            for inner in _found(reader, name.text, path, folders, glob) if name else ():
                if depth >= _MAX_DEPTH or len(vcl.files) >= _MAX_FILES or vcl.size > _MAX_TOTAL:
                    reader.note(path, f"include {inner} is one too many: files include one another", word.line)
                    return
                _load(reader, inner, folders, vcl, depth + 1)
        elif word.text == "import" and behind and not behind[0].string:
            given = behind[2].text if len(behind) > 2 and behind[1].text == "from" and behind[2].string else ""
            vcl.modules.append((behind[0].text, given, Place(path, word.line)))
        elif word.text == "backend" and len(behind) > 1 and behind[1].text == "{":
            at = _backend(words, at, path, vcl)


def _found(reader: Reader, name: str, path: str, folders: tuple[str, ...], glob: bool) -> list[str]:
    """Return the files of an include: `./x` is beside the file that includes it, `+glob` a pattern (vcl(7))."""
    base = path.rpartition("/")[0]
    beside = name.startswith(("/", "./"))
    candidates = [absolute(name, base)] if beside else [absolute(name, folder) for folder in folders]
    if glob:
        return [found for candidate in candidates for found in reader.guest.glob(candidate)]
    return [next((each for each in candidates if reader.guest.is_file(each)), candidates[0] if candidates else name)]


def _backend(words: list[Token], at: int, path: str, vcl: Vcl) -> int:
    """Read `NAME { .host = "…"; … }` from `at` on and return where it ends; probes within have fields of their own."""
    name, depth = words[at], 0
    fields: dict[str, Token] = {}
    end = at + 1
    while end < len(words):
        word = words[end]
        if not word.string:
            depth += {"{": 1, "}": -1}.get(word.text, 0)
            if depth == 1 and word.text.startswith(".") and end + 2 < len(words) and words[end + 1].text == "=":
                fields.setdefault(word.text, words[end + 2])
        end += 1
        if depth == 0:
            break
    where = next((fields[key] for key in (".host", ".path") if key in fields), name)

    def value(key: str) -> str:
        return fields[key].text if key in fields else ""

    vcl.backends.append(Backend(name.text, value(".host"), value(".port"), value(".path"), Place(path, where.line)))
    return end
