"""Rust programs that nobody packaged, with the crates that are in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers._binary import Linked, Roots, application, binaries
from analyzers._nobodys import Nobodys
from analyzers._reading import Reader
from analyzers._rust_audit import Rust
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, LanguagePackage, Place

_NAME = "rust"


def packages(path: str, rust: Rust) -> Iterator[LanguagePackage]:
    """Yield the crates of the binary at `path`."""
    for crate in rust.crates:
        yield LanguagePackage(
            seen_in=Place(path), ecosystem="cargo", name=crate.name, version=crate.version, location=path
        )


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications and the crates."""
    reader = Reader(guest, _NAME)
    nobodys = Nobodys.of(guest, findings)
    linked = Linked(nobodys)
    for root, each in Roots.of_guest(nobodys).of("cargo"):
        crate = each.rust.root if each.rust is not None else None
        note = each.note
        name = crate.name if crate is not None else note.name if note is not None else ""
        version = crate.version if crate is not None else note.version if note is not None else ""
        yield application(root, each, name, version, linked)
    for each in binaries(nobodys):
        if each.rust is not None:
            yield from packages(each.path, each.rust)
            if each.rust.broken:
                reader.note(each.path, each.rust.broken)
    yield from reader.unread


ANALYZER = Analyzer(
    name=_NAME,
    says="Rust programs that no package owns, with their crates (all, or those that panics name).",
    reads=(),
    join=join,
    source="cargo-auditable's PARSING.md (.dep-v0), doc.rust-lang.org/cargo/guide/cargo-home.html",
)
