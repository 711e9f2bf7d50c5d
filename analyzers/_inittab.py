"""Lines of inittab(5), of sysvinit and of busybox' init, which writes a terminal where the other has an identifier."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from analyzers._reading import Reader, meaningful

PATH = "/etc/inittab"
_MAX_TEXT = 1 << 16


BOOT = frozenset({"sysinit", "boot", "bootwait", "wait", "once"})
"""The actions of what a boot runs and does not keep running."""


class Line(msgspec.Struct, frozen=True):
    """`id:runlevels:action:process`; `process` without sysvinit's leading `+` and busybox' `-`."""

    number: int
    ident: str
    levels: str
    action: str
    process: str

    def in_level(self, level: str) -> bool:
        """Tell whether the line counts in a runlevel; none written means all of them."""
        return not self.levels or level.upper() in self.levels.upper()


def parse(text: str) -> Iterator[Line]:
    """Yield the lines of an inittab; what has not four fields is passed over, as both inits do."""
    for number, line in meaningful(text):
        fields = line.split(":", 3)
        if len(fields) == 4:
            ident, levels, action, process = (field.strip() for field in fields)
            yield Line(number, ident, levels, action.lower(), process.lstrip("+-@").strip())


def read(reader: Reader) -> list[Line]:
    """Return the lines of the guest's inittab; none where there is none."""
    return list(parse(reader.optional(PATH, _MAX_TEXT) or ""))


def default_level(lines: list[Line]) -> str:
    """Return the runlevel of the initdefault line, the highest one where it names several; empty without one."""
    levels = next((line.levels for line in lines if line.action == "initdefault"), "")
    return max(levels.upper(), default="")
