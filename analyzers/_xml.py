"""Configuration in XML as a tree with line numbers, read so that no document can grow or open anything.

The parser is expat; a document that declares an entity is refused, so that there are only the five of XML itself, and
nothing outside the document is opened. Names are compared without their prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

import msgspec

_MAX_ELEMENTS = 50_000
_MAX_DEPTH = 100
_MAX_TEXT = 1 << 16
_ENCODING = re.compile(r"""\s*<\?xml[^>]{0,200}?\?>""")


class XmlError(ValueError):
    """A text that is no XML, or holds what is not read."""


class Element(msgspec.Struct):
    """An element: its name without a prefix, its attributes, the lines that its start tag and itself end in."""

    name: str
    attributes: dict[str, str]
    line: int
    children: list[Element]
    text: str = ""

    def get(self, name: str, default: str = "") -> str:
        """Return an attribute without the spaces around it."""
        return self.attributes.get(name, default).strip()

    def each(self, *names: str) -> Iterator[Element]:
        """Yield the elements below this one that are called so, in the document's order; none given: all."""
        waiting = list(reversed(self.children))
        while waiting:
            element = waiting.pop()
            if not names or element.name in names:
                yield element
            waiting.extend(reversed(element.children))


def parse_xml(text: str) -> Element:
    """Return the root element. Raises XmlError."""
    root = Element("", {}, 1, [])
    stack = [root]
    count = 0
    parser = expat.ParserCreate("utf-8")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > _MAX_ELEMENTS or len(stack) > _MAX_DEPTH:
            raise XmlError("it is larger or deeper than configuration is")
        local = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        element = Element(name.rpartition(":")[2], local, parser.CurrentLineNumber, [])
        stack[-1].children.append(element)
        stack.append(element)

    def end(_name: str) -> None:
        stack.pop()

    def data(piece: str) -> None:
        if len(stack[-1].text) < _MAX_TEXT:
            stack[-1].text += piece

    def entity(*_arguments: object) -> None:
        raise XmlError("it declares entities, which are not expanded")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.EntityDeclHandler = entity
    # The declaration names the encoding of the file, and this text is decoded already.
    plain = _ENCODING.sub(lambda match: "\n" * match[0].count("\n"), text.removeprefix("\ufeff"), count=1)
    try:
        parser.Parse(plain.encode("utf-8", "replace"), True)
    except XmlError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmlError(f"it is no valid XML: {error}") from error
    return root.children[0]


def line_with(text: str, element: Element, part: str) -> int:
    """Return the line of an element's start tag that holds `part` (an attribute's value as written), else its first."""
    for number, line in enumerate(text.split("\n")[element.line - 1 : element.line + 60], element.line):
        if part and part in line:
            return number
        if ">" in re.sub(r"\"[^\"]*\"|'[^']*'", "", line):
            break
    return element.line
