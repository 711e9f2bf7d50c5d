from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import PlanError
from migrate.plan.model import Component, Plan, PlanSource, Reason
from migrate.plan.store import read_plan, render_plan

SAMPLE = """\
schema: vm2c.plan/1
machine: web01
source: {disks: [web01.qcow2], os: Debian, inventory: "sha256:aa"}
components:
- id: orders
  kind: service
  decision: containerize
  confidence: 0.95
  because: [{rule: runs-in-foreground, says: it stays, seen_in: "/etc/x:9"}]
  command: [/srv/app, --workers, "2"]
  user: {name: orders, uid: 996, gid: 33}
  ports: [{port: 8000, protocol: tcp, address: 127.0.0.1}]
  rewrites: [{path: /etc/orders/env, line: 1, from: 127.0.0.1, to: db}]
- id: db
  kind: service
  decision: undecided
  confidence: 0
  because: []
"""


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(SAMPLE)
    plan = read_plan(tmp_path / "plan.yaml")
    assert plan.components[0].rewrites[0].from_ == "127.0.0.1"
    (tmp_path / "again.yaml").write_text(render_plan(plan))
    assert read_plan(tmp_path / "again.yaml") == plan
    assert "# decision: containerize" in render_plan(plan)


def test_other_yaml_readers_read_it_too(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(SAMPLE.replace("127.0.0.1}]", "'::1'}]"))
    plan = read_plan(tmp_path / "plan.yaml")
    assert yaml.safe_load(render_plan(plan))["components"][0]["ports"][0]["address"] == "::1"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("containerize", "containerise", "line 7: components[0].decision: .* did you mean 'containerize'"),
        ("command:", "comand:", "line 10: components[0].comand: .* did you mean 'command'"),
        ("port: 8000", "port: http", r"line 12: components[0].ports[0].port: Expected `int`, got `str`"),
        ("id: db", "id: orders", "line 14: .*'orders' is there twice"),
        ("confidence: 0\n", "confidence: 0\n  needs: [{component: order}]\n", "did you mean 'orders'"),
        ("[/srv/app", "[/srv/app]]", "line 10: .*mend that line"),
        ("schema: vm2c.plan/1", "schema: vm2c.plan/9", "line 1: schema: Invalid enum value 'vm2c.plan/9'"),
    ],
)
def test_a_wrong_edit_is_told_with_its_line(tmp_path: Path, before: str, after: str, expected: str) -> None:
    (tmp_path / "plan.yaml").write_text(SAMPLE.replace(before, after, 1))
    with pytest.raises(PlanError, match=expected.replace("[0]", r"\[0\]")):
        read_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"- a", b"a: &a [*a]", b"!!python/object:os.system {}", b"{" * 5000]
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.yaml").write_bytes(content)
    with pytest.raises(PlanError):
        read_plan(tmp_path / "plan.yaml")
    with pytest.raises(PlanError, match="no such file"):
        read_plan(tmp_path / "none.yaml")


@given(st.text(max_size=40), st.text(max_size=40), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_of_a_machine_survives_or_is_escaped(machine: str, says: str, command: list[str]) -> None:
    component = Component(
        id="a", kind="service", decision="retire", confidence=0.5, command=command,
        because=[Reason(rule="r", says=says, seen_in="/x:1")],
    )  # fmt: skip
    source = PlanSource(disks=["a.qcow2"], os="", inventory="")
    plan = Plan(schema_="vm2c.plan/1", machine=machine, source=source, components=[component])
    text = render_plan(plan)
    assert render_plan(msgspec.convert(msgspec.to_builtins(plan), Plan)) == text
