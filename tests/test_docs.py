"""The documentation says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from migrate.cli import app
from migrate.discover import find_analyzers
from migrate.docs import FOLDER, PAGES, codes, publish, text
from migrate.model import Analyzer, Listen, Place
from tests.analyzers.fake import FakeGuest

PROJECT = Path(__file__).parent.parent


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (PROJECT / "README.md").read_text()
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]  # a group has them
    rows = re.findall(r"^\| `vm2c (\w+)", readme, re.MULTILINE)
    assert set(rows) == commands


def test_the_analyzer_in_the_manual_works() -> None:
    block = re.search(r"```python\n(.*?)```", (PROJECT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert block is not None
    module: dict[str, object] = {}
    exec(compile(block[1], "CONTRIBUTING.md", "exec"), module)
    analyzer = module["ANALYZER"]
    assert isinstance(analyzer, Analyzer)
    assert analyzer.analyze is not None
    guest = FakeGuest({"/etc/memcached.conf": "# memcached default config file\n-d\n-m 64\n-p 11212\n"})
    place = Place("/etc/memcached.conf", 4)
    assert list(analyzer.analyze(guest)) == [Listen(service="memcached", port=11212, seen_in=place)]


def test_files_and_targets_that_the_documentation_names_are_there() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for name in ("README.md", "CONTRIBUTING.md", *(f"docs/{page}" for page in PAGES)):
        words = (PROJECT / name).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", words):
            assert ((PROJECT / name).parent / link).exists(), f"{name} names {link}"
        for target in set(re.findall(r"`make (\w+)`", words)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name} names make {target}"


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_that_are_made_are_as_the_code_is(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name](), "run: python -m migrate.docs"


def test_every_analyzer_is_listed_with_what_it_reads() -> None:
    page = PAGES["analyzers.md"]()
    rows = {row.split(" | ")[0][2:]: row for row in page.splitlines() if row.startswith("| ") and "---" not in row}
    rows.pop("analyzer")
    found = find_analyzers()
    assert sorted(rows) == sorted(a.name for a in found)
    for analyzer in found:
        assert all(f"`{path}`" in rows[analyzer.name] for path in analyzer.reads if "|" not in path)
        assert analyzer.source, f"{analyzer.name} names no source"


def test_tables_hold_any_text() -> None:
    assert text("a|b\n*c* <d> `e`") == r"a\|b\\n\*c\* \<d\> \`e\`"
    assert codes(("/a|b", "/c")) == r"`/a\|b` `/c`"


def test_publishing_writes_every_page(tmp_path: Path) -> None:
    assert [path.name for path in publish(tmp_path)] == list(PAGES)
    assert (tmp_path / "analyzers.md").read_text("utf-8") == PAGES["analyzers.md"]()
