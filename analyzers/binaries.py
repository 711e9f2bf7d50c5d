"""ELF programs that nobody packaged and no language's manager knows: their interpreter and the libraries they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers._binary import Linked, Roots, application, binaries
from analyzers._nobodys import Nobodys
from analyzers._reading import Reader
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding

_NAME = "binaries"


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications, named by their files; a version only where the file's package note states it."""
    reader = Reader(guest, _NAME)
    nobodys = Nobodys.of(guest, findings)
    linked = Linked(nobodys)
    for root, each in Roots.of_guest(nobodys).of("elf"):
        note = each.note
        yield application(root, each, note.name if note else "", note.version if note else "", linked)
    for each in binaries(nobodys):
        if each.broken:
            reader.note(each.path, each.broken)
    if nobodys.too_many:
        reader.note("/", "more files than are looked at have the mode of a program and no package; the rest was not")
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="ELF programs that no package owns: interpreter, libraries, the packages these are from.",
    reads=("/etc/ld.so.conf", "/etc/ld.so.conf.d"),
    join=join,
    source="ELF specification 1.2 (gABI), ld.so(8), systemd.io/ELF_PACKAGE_METADATA",
)
