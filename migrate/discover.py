"""Find the analyzers and run them: by being there, without a central list.

A module of the package `analyzers` is an analyzer when it has `ANALYZER`. Other distributions add theirs
under the entry-point group `vm2c.analyzers`; an entry point names a module with `ANALYZER`, or the
`Analyzer` itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points

from migrate.errors import Vm2cError
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Unread

ENTRY_POINT_GROUP = "vm2c.analyzers"
MAX_ROUNDS = 4


def find_analyzers() -> list[Analyzer]:
    """Return all analyzers, sorted by name. Raises Vm2cError where two have the same name."""
    import analyzers

    found: dict[str, tuple[Analyzer, str]] = {}
    for analyzer, origin in (*_built_in(analyzers), *_third_party()):
        if analyzer.name in found:
            raise Vm2cError(
                f"load the analyzer {analyzer.name!r} of {origin}",
                f"{found[analyzer.name][1]} has one of that name",
                "uninstall one of the two, or rename it",
            )
        found[analyzer.name] = (analyzer, origin)
    return [found[name][0] for name in sorted(found)]


def _built_in(package: object) -> Iterable[tuple[Analyzer, str]]:
    for info in pkgutil.iter_modules(package.__path__):  # type: ignore[attr-defined]  # a package has one
        if not info.name.startswith("_"):
            module = importlib.import_module(f"analyzers.{info.name}")
            analyzer = getattr(module, "ANALYZER", None)
            if isinstance(analyzer, Analyzer):
                yield analyzer, module.__name__


def _third_party() -> Iterable[tuple[Analyzer, str]]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: (p.name, p.value)):
        try:
            loaded = point.load()
        except Exception as error:  # other people's code: its failure is told, with its name
            raise Vm2cError(
                f"load the analyzer {point.name!r} ({point.value})",
                f"{type(error).__name__}: {error}",
                "update or uninstall the package that brings it",
            ) from error
        analyzer = getattr(loaded, "ANALYZER", loaded)
        if isinstance(analyzer, Analyzer):
            yield analyzer, point.value


def run_analyzers(
    guest: Guest,
    analyzers: Sequence[Analyzer],
    progress: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> list[Finding]:
    """Run every analyzer on the guest, then every join, and return what they found.

    One analyzer's failure is a finding (`Unread`) and stops nothing else. `progress` is told the analyzer's
    name, how many are done, and how many there are.
    """
    guest.prefetch(sorted({path for analyzer in analyzers for path in analyzer.reads}))
    joins = [a for a in analyzers if a.join is not None]
    total = len(analyzers) + len(joins)
    findings: dict[Finding, None] = {}
    for done, analyzer in enumerate(analyzers):
        progress(analyzer.name, done, total)
        if analyzer.analyze is not None:
            findings.update(_collect(analyzer.name, analyzer.analyze, guest))
    # What one join finds, another may build on (a script's configuration file holds an address), in no order
    # that a list could give once third parties add theirs: so they run until nothing new comes.
    for _round in range(MAX_ROUNDS):
        known = len(findings)
        seen = tuple(findings)
        for done, analyzer in enumerate(joins, len(analyzers)):
            progress(analyzer.name, done, total)
            if analyzer.join is not None:
                findings.update(_collect(analyzer.name, analyzer.join, guest, seen))
        if len(findings) == known:
            break
    findings.update(dict.fromkeys(Unread(seen_in=Place(p.path), why=p.why, analyzer="reader") for p in guest.problems))
    return list(findings)


def _collect(name: str, function: Callable[..., Iterable[Finding]], *arguments: object) -> dict[Finding, None]:
    got: dict[Finding, None] = {}
    try:
        for finding in function(*arguments):
            got[finding] = None
    except Vm2cError as error:
        got[Unread(seen_in=Place("/"), why=str(error), analyzer=name)] = None
    except Exception as error:  # noqa: BLE001  # hostile input found a hole in one analyzer: told, the rest goes on
        why = f"{type(error).__name__} in this analyzer: {error}"
        got[Unread(seen_in=Place("/"), why=why, analyzer=name)] = None
    return got
