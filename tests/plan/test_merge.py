from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from migrate.plan.merge import merge_plans
from migrate.plan.model import Component, Decision, Plan, PlanSource, Port, Reason
from migrate.plan.store import check, dump, read_document, render_plan

HERE = Path("plan.yaml")


def _plan(*components: Component) -> Plan:
    source = PlanSource(disks=["a.qcow2"], os="Debian", inventory="sha256:1")
    return Plan(schema_="vm2c.plan/1", machine="web01", source=source, components=list(components))


def _component(name: str, decision: Decision = "containerize", **more: object) -> Component:
    because = [Reason(rule="r", says="so", seen_in="/x:1")]
    values = {"id": name, "kind": "service", "decision": decision, "confidence": 0.9, "because": because, **more}
    return msgspec.convert(msgspec.to_builtins(values), Component)


def _merged(tmp_path: Path, base: Plan, mine: str, theirs: Plan) -> tuple[str, Plan, list[str]]:
    (tmp_path / "plan.yaml").write_text(mine)
    document = read_document(tmp_path / "plan.yaml")
    conflicts = merge_plans(base, document, theirs)
    return dump(document), check(document, HERE), [c.where for c in conflicts]


def test_an_edit_and_a_comment_stay_while_the_rest_follows_the_machine(tmp_path: Path) -> None:
    base = _plan(_component("orders", ports=[Port(port=80)]), _component("redis"))
    theirs = _plan(_component("orders", ports=[Port(port=80), Port(port=443)]), _component("redis"), _component("new"))
    mine = (
        render_plan(base)
        .replace("- id: redis", "- id: redis  # ask Anna")
        .replace("\n  decision: containerize", "\n  decision: virtualize", 1)
    )
    text, plan, conflicts = _merged(tmp_path, base, mine, theirs)
    assert [c.id for c in plan.components] == ["orders", "redis", "new"]
    assert plan.components[0].decision == "virtualize"
    assert [p.port for p in plan.components[0].ports] == [80, 443]
    assert "# ask Anna" in text
    assert conflicts == []


def test_where_both_changed_the_person_wins_and_the_plan_says_so_once(tmp_path: Path) -> None:
    base, theirs = _plan(_component("a")), _plan(_component("a", "retire"))
    mine = render_plan(base).replace("\n  decision: containerize", "\n  decision: external")
    text, plan, conflicts = _merged(tmp_path, base, mine, theirs)
    assert plan.components[0].decision == "external"
    assert conflicts == ["components[a].decision"]
    assert text.count('# vm2c: components[a].decision: proposed now: "retire"') == 1
    again, _, _ = _merged(tmp_path, base, text, theirs)
    assert again.count('# vm2c: components[a].decision: proposed now: "retire"') == 1


def test_what_a_person_removed_stays_removed(tmp_path: Path) -> None:
    base = _plan(_component("a", ports=[Port(port=80), Port(port=81)]))
    mine = "\n".join(line for line in render_plan(base).splitlines() if "port: 81" not in line)
    _, plan, _ = _merged(tmp_path, base, mine, base)
    assert [p.port for p in plan.components[0].ports] == [80]


def test_what_left_the_machine_leaves_the_plan(tmp_path: Path) -> None:
    base = _plan(_component("a"), _component("b"))
    _, plan, _ = _merged(tmp_path, base, render_plan(base), _plan(_component("a")))
    assert [c.id for c in plan.components] == ["a"]


_PLANS = st.builds(
    lambda rows: _plan(*(_component(n, d, ports=[Port(port=p)]) for n, (d, p) in sorted(rows.items()))),
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.sampled_from(["containerize", "retire", "virtualize"]), st.integers(1, 9)),
        min_size=1,
    ),
)


@given(_PLANS, _PLANS)
def test_the_same_disk_again_changes_nothing_a_person_wrote(base: Plan, edited: Plan) -> None:
    document = _document(render_plan(edited))
    merge_plans(base, document, base)
    assert check(document, HERE) == edited


@given(_PLANS, _PLANS)
def test_without_edits_the_merge_is_the_new_proposal(base: Plan, theirs: Plan) -> None:
    document = _document(render_plan(base))
    merge_plans(base, document, theirs)
    merged = check(document, HERE)
    assert sorted(merged.components, key=lambda c: c.id) == sorted(theirs.components, key=lambda c: c.id)


def _document(text: str) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(text)
        return read_document(path)
