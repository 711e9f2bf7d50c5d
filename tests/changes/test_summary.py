from __future__ import annotations

from migrate.changes.model import Change, Comparison, Difference, Explained
from migrate.changes.summary import FEW as LIMITS
from migrate.changes.summary import by_rule, grouped
from migrate.model import Place

PLACE = Place("/var/lib/dpkg/info/x.list")
FEW = LIMITS[("missing",)]


def missing(path: str, package: str = "x", *, configuration: bool = False) -> Change:
    return Change(path, package, (Difference("missing", "file", ""),), configuration, PLACE)


def test_a_packages_documentation_that_was_removed_is_one_line() -> None:
    docs = [missing(f"/usr/share/doc/x/{n}") for n in range(FEW + 1)]
    (group,) = grouped(docs)
    assert group.says == f"{FEW + 1} paths of x are missing below /usr/share/doc/x"
    assert group.changes == tuple(docs)


def test_a_program_that_updated_itself_is_one_line() -> None:
    differs = (Difference("content", "md5:0", "md5:1"),)
    many = LIMITS[("content",)] + 1
    changes = [Change(f"/usr/lib/node_modules/npm/lib/{n}.js", "nodejs", differs, False, PLACE) for n in range(many)]
    (group,) = grouped(changes)
    assert group.says == f"{many} paths of nodejs were replaced below /usr/lib/node_modules/npm/lib"
    assert len(grouped(changes[1:])) == many - 1


def test_paths_that_are_none_break_nothing() -> None:
    (group,) = grouped([missing(f"{'/' * (n % 2)}x{n}") for n in range(FEW + 1)])
    assert group.top == "/"


def test_few_paths_configuration_and_everything_else_are_lines_of_their_own() -> None:
    few = [missing(f"/usr/share/doc/y/{n}", "y") for n in range(FEW)]
    configuration = [missing(f"/etc/x/{n}", configuration=True) for n in range(FEW + 1)]
    changed = Change("/usr/bin/x", "x", (Difference("mode", "", "4755"),), False, PLACE)
    groups = grouped([*few, *configuration, changed])
    assert len(groups) == FEW + FEW + 1 + 1
    assert groups[-1].says == "/usr/share/doc/y/4 of y: missing"
    assert "/usr/bin/x of x: mode not recorded → 4755" in [group.says for group in groups]


def test_counts_by_rule() -> None:
    explained = [Explained(f"/{n}", "x", rule, "", PLACE) for n, rule in enumerate(("ghost", "cache", "ghost"))]
    assert by_rule(Comparison(explained=tuple(explained))) == {"cache": 1, "ghost": 2}
