"""Fixtures of the example machine: its disk, and what it answers when it is booted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.examples.machine import DISK, SHOP, Answers, ask

_MEASURED = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what was measured, as the tests' output is shown for failures only."""
    if measured := config.stash.get(_MEASURED, ""):
        terminalreporter.section("example machine")
        terminalreporter.write_line(measured)


@pytest.fixture(scope="session")
def shop_disk() -> Path:
    """The path of the machine's disk; skips where it is not built, or was built from other files."""
    check = subprocess.run([SHOP / "build.sh", "--check", DISK], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        pytest.skip(check.stderr.strip())
    return DISK


@pytest.fixture(scope="session")
def machine_answers(shop_disk: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Answers:
    """What the machine answers after a boot; QEMU is gone when a test sees this."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed; scripts/setup.sh test installs it")
    answers = ask(shop_disk, tmp_path_factory.mktemp("shop01"))
    pytestconfig.stash[_MEASURED] = (
        f"shop01: {answers.boot_seconds:.1f} s from power-on to a healthy answer, "
        f"page of {len(answers.to['/'][0].body)} bytes"
    )
    return answers


@pytest.fixture(scope="session")
def machine_page(machine_answers: Answers) -> str:
    """The page that the machine shows at `/`: what the containers must show too."""
    return machine_answers.to["/"][0].text
