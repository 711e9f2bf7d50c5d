"""dpkg's status file and its like: paragraphs of fields (deb822(5)). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec
from debian.deb822 import Deb822

# The third word of Status, dpkg(1): what waits for triggers is done; of the others the files are there all the same.
INSTALLED = frozenset({"installed", "triggers-awaited", "triggers-pending"})
UNPACKED = INSTALLED | {"unpacked", "half-configured", "half-installed"}


class Stanza(msgspec.Struct, frozen=True):
    """One installed package of a status file: its fields, and the line it begins on."""

    line: int
    fields: Mapping[str, str]

    def get(self, name: str) -> str:
        """Return a field's text, or nothing."""
        return self.fields.get(name, "")


def _paragraphs(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (first line, fields) of each paragraph; no fields where python-debian refuses it.

    Bytes that were not UTF-8 become U+FFFD: python-debian encodes what it is given, and stops at them.
    """
    lines = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split("\n")
    start = 0
    for end in range(len(lines) + 1):
        if end < len(lines) and lines[end].strip():
            continue
        if end > start:
            try:
                yield start + 1, dict(Deb822(lines[start:end]))
            except (ValueError, EOFError):
                yield start + 1, {}
        start = end + 1


def parse_status(text: str, states: Collection[str] = INSTALLED) -> Iterator[Stanza]:
    """Yield the stanzas of dpkg's status file, deb822(5), that say the package is installed.

    `Status: install ok installed`: the third word counts, `states` are those wanted; the others are the wish and an
    error flag. A status file of a distroless image (status.d/NAME) has no Status and one stanza.
    """
    for line, fields in _paragraphs(text):
        if "".join(fields.get("Status", "installed").split()[-1:]) in states:
            yield Stanza(line, fields)


def parse_depends(text: str) -> list[str]:
    """Return the names in a relationship field (Debian Policy 7.1), each once, without version and architecture.

    >>> parse_depends("libc6 (>= 2.34), default-mta | mail-transport-agent, python3:any")
    ['libc6', 'default-mta', 'mail-transport-agent', 'python3']
    """
    parts = (re.split(r"[\s(\[<:]", part.strip(), maxsplit=1)[0] for part in re.split(r"[,|]", text))
    return list(dict.fromkeys(part for part in parts if part))


def parse_extended_states(text: str) -> set[tuple[str, str]]:
    """Return (name, architecture) of what apt installed by itself (apt-mark(8) `showauto`)."""
    return {
        (fields.get("Package", ""), fields.get("Architecture", ""))
        for _, fields in _paragraphs(text)
        if fields.get("Auto-Installed", "").strip() == "1"
    }
