"""haproxy.cfg: sections of lines of words, and addresses as they write them (Configuration Manual, 2 and 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from analyzers._addresses import is_every, is_host, port_number, run_path
from analyzers._reading import numbered
from migrate.model import Place

SECTIONS = frozenset({
    "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "mailers", "program", "cache",
    "userlist", "ring", "log-forward", "http-errors", "fcgi-app", "crt-store", "traces", "acme", "log-profile",
})  # fmt: skip
_MAX_RANGE = 1000
_LONGEST = 65536  # haproxy's own limit is 2048 (LINESIZE of defaults.h)
# A word is pieces of bare text, '…', "…" and escapes (Configuration Manual, 2.2).
_PIECE = re.compile(r"""\\(?P<escape>.)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s#'"\\]+)""")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:\[\*\])?\}|(\w+))")


class Line(msgspec.Struct, frozen=True):
    """One line: its keyword, the words behind it, and the place."""

    name: str
    words: tuple[str, ...]
    place: Place


class Section(msgspec.Struct, frozen=True):
    """A section: `kind` is its keyword, `name` what follows; the head's own words are in `head`."""

    kind: str
    name: str
    head: Line
    lines: tuple[Line, ...]


class Address(msgspec.Struct, frozen=True):
    """One address: a host and port, or the path of a unix socket; `family` as it is written (`quic4`, `udp`)."""

    host: str = ""
    port: int | None = None
    path: str = ""
    family: str = ""
    text: str = ""

    @property
    def protocol(self) -> str:
        """Tell whether it is tcp or udp."""
        return "udp" if self.family.startswith(("quic", "udp")) else "tcp"


def split_words(line: str, variables: Mapping[str, str]) -> list[str] | None:
    r"""Split a line as haproxy does; variables count within double quotes alone. None where a quote does not close.

    >>> split_words('bind "${IP}":80 # web', {"IP": "10.0.0.1"})
    ['bind', '10.0.0.1:80']
    """
    words: list[str] = []
    at, open_word = 0, False
    while at < len(line):
        char = line[at]
        if char.isspace():
            at, open_word = at + 1, False
            continue
        if char == "#":
            break
        match = _PIECE.match(line, at)
        if match is None:
            return None
        if match["double"] is not None:
            text = re.sub(r"\\(.)", r"\1", expand(match["double"], variables))
        else:
            text = match["escape"] or match["single"] or match["bare"] or ""
        if open_word:
            words[-1] += text
        else:
            words.append(text)
        at, open_word = match.end(), True
    return words


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Fill in the variables that are known; the others stay as they are written."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)


def parse(text: str, path: str, variables: Mapping[str, str]) -> tuple[list[Section], list[tuple[int, str]]]:
    """Return the sections of one file, and (line, why) for what was not understood."""
    found: list[tuple[Line, list[Line]]] = []
    odd: list[tuple[int, str]] = []
    known = dict(variables)
    for number, raw in numbered(text):
        words = split_words(raw, known) if len(raw) <= _LONGEST else None
        if words is None:
            odd.append((number, "the line is too long, or a quote does not close"))
            continue
        if not words:
            continue
        line = Line(words[0], tuple(words[1:]), Place(path, number))
        if line.name.startswith("."):  # .if, .notice (Configuration Manual, 2.4)
            if line.name in (".if", ".elif", ".else"):
                odd.append((number, "conditions are not evaluated: what they enclose is taken as in force"))
        elif line.name in SECTIONS:
            found.append((line, []))
        elif line.name in ("setenv", "presetenv") and len(words) > 2:
            if line.name == "setenv" or words[1] not in known:
                known[words[1]] = words[2]
        elif found:
            found[-1][1].append(line)
        else:
            odd.append((number, f"{line.name} stands before any section"))
    sections = [Section(h.name, h.words[0] if h.words else "", h, tuple(lines)) for h, lines in found]
    return sections, odd


def parse_address(text: str) -> list[Address]:
    """Read one address of `bind`, `server` or `log`: one for each port of a range, none where it is not understood.

    >>> [(each.host, each.port) for each in parse_address(":::8080-8081")]
    [('*', 8080), ('*', 8081)]
    """
    family, at, rest = text.rpartition("@") if re.match(r"[a-z]+[a-z0-9+]*@", text) else ("", "", text)
    if family in ("fd", "abns", "abnsz", "sockpair", "ring", "rhttp") or (at and family == "uxst" and not rest):
        return []
    if rest.startswith("/") or family in ("unix", "uxst", "uxdg"):
        return [Address(path=run_path(rest), family=family, text=text)] if rest.startswith("/") else []
    host, colon, ports = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, ports = rest, ""
    bare = host.strip("[]")
    every = is_every(bare)
    if not every and not is_host(host) and not is_host(f"[{bare}]"):
        return []
    shown = "*" if every else bare
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", ports)
    if match is None:
        return [Address(shown, None, family=family, text=text)]
    low, high = port_number(match[1]), port_number(match[2] or match[1])
    if low is None or high is None or not low <= high <= low + _MAX_RANGE:
        return []
    return [Address(shown, port, family=family, text=text) for port in range(low, high + 1)]
