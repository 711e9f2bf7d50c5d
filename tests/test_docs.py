"""The documentation says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from migrate.cli import app
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
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (PROJECT / name).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (PROJECT / link).exists(), f"{name} names {link}"
        for target in set(re.findall(r"`make (\w+)`", text)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name} names make {target}"
