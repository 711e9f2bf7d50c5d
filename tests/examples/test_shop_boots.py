"""The example's disk is a machine: it boots by itself and serves what its database holds."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.examples.machine import SHOP, Answers, booted, truth

pytestmark = [pytest.mark.boots, pytest.mark.disk]


class _Page(HTMLParser):
    """Collects a page's title, the cells of its table row by row, and its paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.rows: list[list[str]] = []
        self.paragraphs: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "title":
            self.title += data
        elif self._tag in {"td", "th"}:
            self.rows[-1][-1] += data
        elif self._tag == "p":
            self.paragraphs[-1] += data


def test_the_page_shows_the_rows_of_the_database(machine_page: str) -> None:
    page = _Page()
    page.feed(machine_page)
    known = truth()["page"]
    assert page.title == known["title"]
    assert page.rows[0] == ["Day", "Customer", "Item", "Quantity", "Price"]
    assert page.rows[1:] == known["rows"]
    assert page.paragraphs == [known["total"]]


def test_the_page_has_no_time_in_it(machine_page: str) -> None:
    """Two boots must show the same, or a container's page could not be compared with the machine's."""
    assert re.search(r"\d{1,2}:\d{2}", machine_page) is None


def test_health_asks_both_databases(machine_answers: Answers) -> None:
    (health,) = machine_answers.to["/health"]
    assert health.status == 200
    assert json.loads(health.body) == {"ok": True, "ill": []}


def test_visits_go_on_from_what_redis_kept_on_the_disk(machine_answers: Answers) -> None:
    before = truth()["visits_before"]
    assert [json.loads(a.body)["visits"] for a in machine_answers.to["/visits"]] == [before + 1, before + 2]


def test_static_files_come_from_the_disk(machine_answers: Answers) -> None:
    (css,) = machine_answers.to["/static/shop.css"]
    assert css.type == "text/css"
    assert css.body == (SHOP / "files/srv/shop/static/shop.css").read_bytes()


def test_reports_can_be_read(machine_answers: Answers) -> None:
    (names,) = machine_answers.to["/reports/"]
    assert json.loads(names.body) == {"reports": truth()["reports"]}
    (report,) = machine_answers.to["/reports/orders-2024-05-03.csv"]
    assert report.body == (SHOP / "files/srv/orders/reports/orders-2024-05-03.csv").read_bytes()


def test_tls_shows_the_same_page_under_the_planted_certificate(machine_answers: Answers, machine_page: str) -> None:
    assert machine_answers.secure.status == 200
    assert machine_answers.secure.text == machine_page


def test_nothing_failed_on_the_console(machine_answers: Answers) -> None:
    assert "Run /init as init process" in machine_answers.console
    assert re.findall(r".*(?:FAILED|Kernel panic|Failed to start).*", machine_answers.console) == []


def test_a_disk_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    disk = tmp_path / "text.qcow2"
    disk.write_text("no disk")
    with pytest.raises(AssertionError, match="QEMU ended with 1"), booted(disk, tmp_path):
        pass
