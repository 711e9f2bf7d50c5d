"""One edit of one line, or a message that names the place."""

from __future__ import annotations

import pytest

from migrate.errors import PlanError
from migrate.generate.rewrites import rewrite_content, rewritten_definition
from migrate.plan.model import Rewrite
from tests.analyzers.fake import FakeGuest
from tests.generate import shop

TEXT = b"bind 127.0.0.1 127.0.0.1\r\nport 1\nlast 127.0.0.1"


def edit(line: int, before: str, after: str, path: str = "/etc/x") -> Rewrite:
    return Rewrite(path=path, line=line, from_=before, to=after)


def test_the_first_occurrence_on_the_line_is_replaced() -> None:
    assert rewrite_content(TEXT, [edit(1, "127.0.0.1", "*")], False) == TEXT.replace(b"127.0.0.1", b"*", 1)
    assert rewrite_content(TEXT, [edit(3, "127.0.0.1", "db")], False).endswith(b"\nlast db")
    twice = rewrite_content(TEXT, [edit(1, "127.0.0.1", "a"), edit(1, "127.0.0.1", "b")], False)
    assert twice.startswith(b"bind a b\r\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (edit(2, "127.0.0.1", "x"), "'127.0.0.1' is not on the line, which is 'port 1'"),
        (edit(9, "127.0.0.1", "x"), "the file has 3 lines"),
        (edit(0, "127.0.0.1", "x"), "the file has 3 lines"),
        (edit(2, "", "x"), "'' is not on the line"),
    ],
)
def test_what_is_not_there_is_told(change: Rewrite, found: str) -> None:
    with pytest.raises(PlanError) as error:
        rewrite_content(TEXT, [change], False)
    assert f"/etc/x:{change.line}" in str(error.value)
    assert found in str(error.value)


def test_a_secret_line_is_not_shown() -> None:
    with pytest.raises(PlanError) as error:
        rewrite_content(b"password=hunter2", [edit(1, "127.0.0.1", "x")], True)
    assert "hunter2" not in str(error.value)


UNIT = "/etc/systemd/system/app.service"
GUEST = FakeGuest({
    UNIT: "[Service]\nEnvironment=DB=127.0.0.1 CACHE=127.0.0.1:6379\nExecStart=/srv/app --bind 127.0.0.1:80 \\\n"
    "  --db 127.0.0.1:5432\nExecStartPre=/bin/wait 127.0.0.1\n"
})  # fmt: skip


def test_a_units_line_changes_what_the_plan_took_from_it() -> None:
    component = shop.orders()
    component.command = ["/srv/app", "--bind", "127.0.0.1:80", "--db", "127.0.0.1:5432"]
    component.prepare = [["/bin/wait", "127.0.0.1"]]
    component.environment = {"CACHE": "127.0.0.1:6379", "OTHER": "127.0.0.1"}
    component.rewrites = [
        edit(4, "127.0.0.1", "postgresql", UNIT),
        edit(2, "127.0.0.1", "redis", UNIT),
        edit(5, "127.0.0.1", "postgresql", UNIT),
    ]
    found = rewritten_definition(component, GUEST)
    assert found.command == ("/srv/app", "--bind", "127.0.0.1:80", "--db", "postgresql:5432")
    assert found.environment == {"CACHE": "redis:6379", "OTHER": "127.0.0.1"}
    assert found.prepare == (("/bin/wait", "postgresql"),)
    assert component.command[-1] == "127.0.0.1:5432"


def test_a_units_line_that_nothing_came_from_is_told() -> None:
    component = shop.orders()
    component.command, component.environment = ["/srv/app"], {}
    component.rewrites = [edit(2, "127.0.0.1", "redis", UNIT)]
    with pytest.raises(PlanError, match="in no argument or variable of orders"):
        rewritten_definition(component, GUEST)
