from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.analysis import analyze
from migrate.errors import UsageError, Vm2cError
from migrate.explain import Story, explain
from migrate.facts import Facts
from migrate.found import Change, Difference, Inventory
from migrate.lines import WIDTH, Line, columns, fold, print_lines
from migrate.model import Listen, Place, Service, Setting, Unread
from migrate.output import write
from migrate.plan.propose import Chosen
from migrate.schemas.inventory import inventory_schema
from migrate.story import tell
from tests.shop import facts, findings, guest


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("plan"))


def written(directory: Path, found: Facts | None = None) -> Path:
    """Write what an analysis writes; of the example machine, where no other is given."""
    result = analyze(found or facts(), Chosen(("shop.qcow2",)), directory)
    write(result.files, directory, "analyze")
    return directory


def told(story: Story) -> str:
    return "\n".join(line.text for line in tell(story))


def section(story: Story, heading: str) -> list[str]:
    texts = [line.text for line in tell(story)]
    start = texts.index(heading) + 1
    return texts[start : texts.index("", start) if "" in texts[start:] else len(texts)]


# ---------------------------------------------------------------- the story


def test_it_says_what_becomes_of_a_component_and_why(plan: Path) -> None:
    story = explain(plan, "orders")
    assert story.services[0].unit == "/etc/systemd/system/orders.service"
    assert told(story).startswith("orders: a service of ")
    because = " ".join(section(story, "What becomes of it, and why"))
    assert "moves into a container, as a Deployment, in the Pod orders, which it shares with nginx." in because
    for reason in story.component.because:
        assert reason.rule in because
        assert f"({reason.seen_in})" in because


def test_each_tie_is_told_from_both_ends_with_its_place(plan: Path) -> None:
    orders, database = explain(plan, "orders"), explain(plan, "postgresql")
    assert "  postgresql over tcp 127.0.0.1:5432  (/etc/orders/env:1)" in section(orders, "What it needs")
    assert "  orders over tcp 127.0.0.1:5432  (/etc/orders/env:1)" in section(database, "Who needs it")
    assert any(line.startswith("  nginx over the socket /run/orders/") for line in section(orders, "Who needs it"))
    assert any("smtp.corp.example:25 outside this machine" in line for line in section(orders, "What it needs"))


def test_a_job_says_when_it_runs_and_what_the_disk_has(plan: Path) -> None:
    story = explain(plan, "report")
    assert [job.id for job in story.jobs] == ["report"]
    start = section(story, "How it is started")
    assert "15 3 * * 1-5" in start[0]
    assert "/etc/cron.d/report" in start[0]
    assert any("/srv/orders/reports" in line for line in section(story, "Data"))


def test_upkeep_has_a_story_too(plan: Path) -> None:
    story = explain(plan, "ssh")
    assert "part of the machine's own upkeep" in told(story)
    assert "the platform does it" in told(story)


def test_secrets_are_places_alone(plan: Path) -> None:
    story = explain(plan, "orders")
    assert any("/etc/orders/env:1" in line for line in section(story, "Secrets (places alone)"))
    assert "pw-hunter2" not in told(story)
    assert b"pw-hunter2" not in msgspec.json.encode(story)


def test_a_port_is_told_once_and_a_default_as_such(tmp_path: Path) -> None:
    default = Listen(service="orders", port=9999, address="::1", assumed=True, seen_in=Place("/etc/orders/env"))
    stated = Listen(service="orders", port=9998, seen_in=Place("/etc/orders/env", 2))
    again = msgspec.structs.replace(stated, assumed=True, seen_in=Place("/etc/orders/env"))
    story = explain(written(tmp_path, facts(default, again, stated)), "orders")
    listens = " ".join(" ".join(section(story, "Where it listens")).split())
    assert listens.count("9999") == listens.count("9998") == 1
    assert "tcp [::1]:9999, assumed: its own default, which nothing on the disk states (/etc/orders/env)" in listens
    assert "tcp *:9998 (/etc/orders/env:2)" in listens


def test_a_changed_file_is_told_with_its_first_lines(plan: Path) -> None:
    differences = [Difference(aspect="content", shipped="md5:1", found="md5:2"),
                   Difference(aspect="mode", shipped="0644", found="0600")]  # fmt: skip
    change = Change(path="/etc/nginx/nginx.conf", package="nginx-common", differences=differences,
                    diff=[f"+line {n}" for n in range(20)], seen_in="/var/lib/dpkg/status:9")  # fmt: skip
    story = msgspec.structs.replace(explain(plan, "nginx"), changes=[change], compared=True)
    rows = section(story, "Files changed from their packages")
    assert rows[0].startswith("  /etc/nginx/nginx.conf of nginx-common: content, mode 0644 → 0600")
    assert "    +line 11" in rows
    assert "    +line 12" not in rows
    assert rows[-1] == "    … and 8 more lines, which report.html shows"


def test_what_was_not_read_stands_with_the_component_it_is_about(tmp_path: Path) -> None:
    mine = Unread(seen_in=Place("/etc/orders/env", 9), why="a line that nobody understands", analyzer="endpoints")
    other = Unread(seen_in=Place("/etc/nginx/nginx.conf", 1), why="something else", analyzer="nginx")
    story = explain(written(tmp_path, facts(mine, other)), "orders")
    assert section(story, "What could not be read or understood") == [
        "  endpoints: a line that nobody understands  (/etc/orders/env:9)"
    ]


def test_every_component_has_a_story_that_fits(plan: Path) -> None:
    ids = [node["id"] for node in json.loads((plan / "graph.json").read_text())["nodes"]]
    components = [name for name in ids if ":" not in name]
    assert len(components) > 4
    for name in components:
        lines = tell(explain(plan, name))
        assert all(columns(line.text) <= WIDTH for line in lines)
        assert all(line.text == line.text.rstrip() for line in lines)


def test_the_story_as_json_holds_the_plans_own_words(plan: Path) -> None:
    document = msgspec.to_builtins(explain(plan, "orders"))
    assert document["component"]["decision"] == "containerize"
    assert {e["target"] for e in document["needs"]} >= {"postgresql", "smtp.corp.example:25"}
    assert document["services"][0]["settings"] is not None


# ---------------------------------------------------------------- what a person did


def test_a_component_that_a_person_added_has_a_note(tmp_path: Path) -> None:
    path = written(tmp_path) / "plan.yaml"
    added = (
        "- id: added\n  kind: service\n  decision: external\n  confidence: 1.0\n"
        "  because: [{rule: mine, says: we buy it, seen_in: ''}]\n"
    )
    path.write_text(path.read_text() + added)
    story = explain(tmp_path, "added")
    assert story.notes == ["the analysis did not find it: a person added it to the plan"]
    assert "served from elsewhere" in told(story)


def test_a_plan_of_another_inventory_is_said(plan: Path, tmp_path: Path) -> None:
    assert explain(plan, "orders").notes == []
    path = written(tmp_path) / "inventory.json"
    document = json.loads(path.read_text())
    document["hosts"] = []
    document["os"]["name"] = "Another"
    path.write_text(json.dumps(document))
    assert "another inventory.json" in explain(tmp_path, "orders").notes[0]


# ---------------------------------------------------------------- wrong use, wrong files


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("order", "did you mean 'orders'?"),
        ("ngnix", "did you mean 'nginx'?"),
        ("postgres", "'postgresql'"),
        ("orders.service", "that unit is part of 'orders'"),
        ("zzzz", "there are: nginx, orders"),
        ("", "there are: "),
        ("\x1b[31mx\n", "there are: "),
    ],
)
def test_an_unknown_id_names_the_nearest(plan: Path, wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain(plan, wanted)
    assert caught.value.exit_code == 2
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["plan.yaml", "inventory.json", "graph.json"])
def test_a_missing_file_says_to_analyze(tmp_path: Path, name: str) -> None:
    (written(tmp_path) / name).unlink()
    with pytest.raises(Vm2cError, match="vm2c analyze") as caught:
        explain(tmp_path, "orders")
    assert caught.value.exit_code == 1
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["inventory.json", "graph.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"schema": "vm2c.inventory/2"}', b"[" * 100_000, b'{"nodes": 1}',
     b'{"a": ' * 100_000],
)  # fmt: skip
def test_what_no_analysis_writes_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (written(tmp_path) / name).write_bytes(content)
    with pytest.raises(Vm2cError) as caught:
        explain(tmp_path, "orders")
    assert name in str(caught.value)
    assert caught.value.exit_code == 1
    assert len(str(caught.value)) < 600


def test_a_folder_in_a_files_place_is_refused(tmp_path: Path) -> None:
    (written(tmp_path) / "graph.json").unlink()
    (tmp_path / "graph.json").mkdir()
    with pytest.raises(Vm2cError, match=r"graph\.json"):
        explain(tmp_path, "orders")


def test_an_older_graph_says_to_analyze_again(tmp_path: Path) -> None:
    path = written(tmp_path) / "graph.json"
    document = json.loads(path.read_text())
    for node in document["nodes"]:
        node.pop("units", None)
    path.write_text(json.dumps(document))
    with pytest.raises(Vm2cError, match="older version"):
        explain(tmp_path, "orders")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_changed_file_gives_a_story_or_one_message(plan: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["inventory.json", "graph.json"]))
    path = plan / name
    before = path.read_bytes()
    document = json.loads(before)
    place: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(_JSON)
    path.write_text(json.dumps(document))
    try:
        assert all(columns(line.text) <= WIDTH for line in tell(explain(plan, "orders")))
    except Vm2cError as error:
        assert str(error)  # noqa: PT017
    finally:
        path.write_bytes(before)


def test_hostile_texts_are_shown_as_escapes(tmp_path: Path) -> None:
    evil = "\x1b[31m" + " " * 300 + "\u202eX" * 200 + "\n" + "中" * 300
    setting = Setting(name="Description", value=evil, seen_in=Place("/etc/systemd/system/" + "é" * 400, 3))
    found = [
        msgspec.structs.replace(f, settings=(setting,)) if isinstance(f, Service) and f.id == "orders" else f
        for f in findings()
    ]
    story = explain(written(tmp_path, Facts(found, guest())), "orders")
    lines = [line.text for line in tell(story)]
    assert all(columns(line) <= WIDTH for line in lines)
    assert not any(c in line for line in lines for c in "\x1b\n\u202e")
    assert "中" * 20 in "".join(lines)


def test_the_rows_read_here_are_those_the_schema_publishes() -> None:
    schema = inventory_schema()
    published = schema["$defs"]
    names = {"services": "Service", "jobs": "Job", "listens": "Listen", "data": "Uses", "logs": "Uses",
             "packages": "Package", "applications": "Application", "secrets": "Secret"}  # fmt: skip
    for field in msgspec.structs.fields(Inventory):
        assert field.encode_name in schema["required"]
        if field.encode_name in names:
            row = field.type.__args__[0]
            required = published[names[field.encode_name]]["required"]
            assert {f.encode_name for f in msgspec.structs.fields(row)} <= set(required)


# ---------------------------------------------------------------- lines


@given(st.text(max_size=200), st.integers(20, 100))
def test_folded_text_fits_and_keeps_every_character(text: str, width: int) -> None:
    lines = fold(text, width, "  ", "      ")
    assert all(columns(line) <= width for line in lines)
    from migrate.text import show

    assert "".join("".join(lines).split()) == "".join(show(text).split())


def test_lines_are_plain_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines([Line("What it needs", "heading"), Line("  [bold]x[/bold] \x1b[31m")])
    assert capsys.readouterr().out == "What it needs\n  [bold]x[/bold] \\x1b[31m\n"


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_has_bold_headings_unless_no_color_is_set(
    no_color: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    if not no_color:
        monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr("migrate.lines.is_terminal", lambda _stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_lines([Line("What it needs", "heading"), Line("  x" * 60)])
    out = capsys.readouterr().out
    assert ("\x1b[1m" in out) is not bool(no_color)
    assert "  x" * 60 in out
