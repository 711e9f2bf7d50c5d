"""nginx's configuration as one tree; the one module that knows crossplane.

crossplane opens files by itself, on the host. It is therefore given one file at a time, a private copy, with
`single=True` so that it follows no `include`; includes are resolved here, inside the guest.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import crossplane
import msgspec

from analyzers._reading import Reader, absolute
from migrate.model import Place

_MAX_DEPTH = 20
_MAX_FILES = 3000  # a machine with a thousand sites has about this many
_MAX_NESTING = 50  # of blocks


class Directive(msgspec.Struct, frozen=True):
    """One directive; `block` holds what its braces enclose, with includes in their place."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple[Directive, ...] = ()


class Broken(msgspec.Struct, frozen=True):
    """A syntax error that makes nginx refuse the file."""

    why: str
    line: int | None


def _say(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its blocks are nested too deep"
    return str(getattr(error, "strerror", None) or "it ends in the middle of a directive")


def parse(text: str) -> tuple[list[dict[str, Any]], list[Broken]]:
    """Parse the text of one configuration file with crossplane; includes stay as directives."""
    with tempfile.NamedTemporaryFile(suffix=".conf") as private:
        private.write(text.encode("utf-8", "surrogateescape"))
        private.flush()
        payload = crossplane.parse(
            private.name,
            onerror=_say,
            single=True,
            check_ctx=False,
            check_args=False,
        )
    errors = [Broken(error["callback"], error["line"]) for error in payload["errors"]]
    return payload["config"][0]["parsed"], errors


class Loader:
    """Reads nginx.conf and all it includes."""

    def __init__(self, reader: Reader, main: str) -> None:
        self._reader = reader
        self._directory = main.rpartition("/")[0]
        self._parsed: dict[str, list[dict[str, Any]]] = {}
        self._left = _MAX_FILES
        self.files: list[str] = []

    def load(self, path: str, stack: tuple[str, ...] = ()) -> tuple[Directive, ...]:
        """Return the directives of a file, with those it includes in their place."""
        if path not in self._parsed:
            self.files.append(path)
            text = self._reader.text(path, 1 << 20)
            self._parsed[path], errors = parse(text) if text is not None else ([], [])
            for error in errors:
                self._reader.note(path, f"nginx cannot read this file: {error.why}", error.line)
        return tuple(self._convert(self._parsed[path], path, (*stack, path), 0))

    def _convert(
        self, parsed: list[dict[str, Any]], path: str, stack: tuple[str, ...], depth: int
    ) -> Iterator[Directive]:
        for item in parsed:
            place = Place(path, item["line"])
            if item["directive"] == "include" and item["args"]:
                yield from self._include(item["args"][0], place, stack)
                continue
            inner: Iterable[Directive] = ()
            if depth < _MAX_NESTING:
                inner = self._convert(item.get("block", ()), path, stack, depth + 1)
            else:
                self._reader.note(path, f"blocks are nested more than {_MAX_NESTING} deep", item["line"])
            yield Directive(item["directive"], tuple(item["args"]), place, tuple(inner))

    def _include(self, pattern: str, place: Place, stack: tuple[str, ...]) -> Iterator[Directive]:
        """A relative name counts from nginx.conf's folder (ngx_core_module, `include`)."""
        full = absolute(pattern, self._directory)
        if re.search(r"[*?\[]", pattern):
            paths = [path for path in self._reader.guest.glob(full) if not path.rpartition("/")[2].startswith(".")]
        else:
            paths = [full]
        for path in paths:
            real = self._reader.guest.resolve(path) or path
            if path in stack or real in stack or len(stack) > _MAX_DEPTH:
                self._reader.note(place.path, f"include {pattern} leads back to itself", place.line)
            elif self._left <= 0:
                self._reader.note(place.path, f"more than {_MAX_FILES} files are included", place.line)
                return
            else:
                self._left -= 1
                yield from self.load(path, stack)


def each(tree: Sequence[Directive], *names: str) -> Iterator[tuple[Directive, tuple[Directive, ...]]]:
    """Yield the directives of these names anywhere in the tree, each with the blocks around it, outermost first."""

    def visit(
        directives: Sequence[Directive], around: tuple[Directive, ...]
    ) -> Iterator[tuple[Directive, tuple[Directive, ...]]]:
        for directive in directives:
            if directive.name in names:
                yield directive, around
            yield from visit(directive.block, (*around, directive))

    yield from visit(tree, ())


def build_options(binary: bytes) -> dict[str, str]:
    """Return the paths compiled into nginx: its `configure arguments` are a string in the program (`nginx -V`)."""
    match = re.search(rb"configure arguments: ([^\0]*)", binary) or re.search(rb"((?: ?--[^\0]+=[^\0]*){3,})", binary)
    if match is None:
        return {}
    words = re.findall(rb"--([a-z0-9-]+)=([^\s']+)", match[1])
    return {name.decode("ascii"): value.decode("utf-8", "surrogateescape") for name, value in words}
