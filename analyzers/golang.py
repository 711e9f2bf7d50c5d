"""Go programs that nobody packaged, with the modules that are in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers._binary import Linked, Roots, application, binaries
from analyzers._go_buildinfo import BuildInfo
from analyzers._nobodys import Nobodys
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, LanguagePackage, Place


def packages(path: str, info: BuildInfo) -> Iterator[LanguagePackage]:
    """Yield the standard library, the main module and the others, as they are in the binary at `path`."""
    modules = [("stdlib", info.go)] if info.go[:1].isdigit() else []
    if info.main is not None:
        modules.append((info.main.path, info.version))
    modules += [(module.path, module.version) for module in info.modules]
    for name, version in dict.fromkeys(modules):
        yield LanguagePackage(
            seen_in=Place(path), ecosystem="golang", name=name, version=version.removeprefix("go"), location=path
        )


def join(guest: Guest, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the applications and the modules."""
    nobodys = Nobodys.of(guest, findings)
    linked = Linked(nobodys)
    for root, each in Roots.of_guest(nobodys).of("golang"):
        if each.go is not None:
            yield application(root, each, each.go.name, each.go.version, linked)
    for each in binaries(nobodys):
        if each.go is not None:
            yield from packages(each.path, each.go)


ANALYZER = Analyzer(
    name="golang",
    says="Go programs that no package owns, with their modules and versions.",
    reads=(),
    join=join,
    source="go.dev/src/debug/buildinfo/buildinfo.go, go.dev/src/runtime/debug/mod.go",
)
