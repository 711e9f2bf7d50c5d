"""The machines' disks, measured once for all tests, and the table of what was measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.examples.machine import DISK, SHOP
from tests.examples.machine import truth as truth_of_shop
from tests.machines.build import Kind
from tests.machines.kinds import KINDS
from tests.machines.measure import Measured, measure, table

_MEASURED = pytest.StashKey[dict[str, Measured]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what was measured, as the tests' output is shown for failures only."""
    if measured := config.stash.get(_MEASURED, {}):
        terminalreporter.section("machines: the account of the disk, and drift")
        for line in table(list(measured.values())):
            terminalreporter.write_line(line)


def _shop() -> Measured:
    check = subprocess.run([SHOP / "build.sh", "--check", DISK], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        pytest.skip(check.stderr.strip())
    planted: list[dict[str, Any]] = [
        {"path": path, "drift": ["content"], "class": "changed-config"}
        for path in truth_of_shop()["changed_configuration"]
    ]
    planted += [
        {"path": path, "class": "application"} for path in ("/srv/orders/app.py", "/usr/local/bin/orders-report")
    ]
    return measure("shop", DISK, {"planted": planted, "services": 4})


def _made(kind: Kind) -> Measured:
    """Measure a machine, which is made here where that needs no network."""
    if not kind.is_current():
        if kind.network:
            pytest.skip(f"{kind.disk} is missing or was made by another recipe; python -m tests.machines makes it")
        if missing := kind.lacks():
            pytest.skip(f"to make the machine {kind.name}, there must be {', '.join(missing)}")
        kind.build(lambda words: print(words, file=sys.stderr))
    return measure(kind.name, kind.disk, kind.truth(), kind.reference.read_text())


_MAKERS: dict[str, Callable[[], Measured]] = {
    "shop": _shop, **{kind.name: lambda kind=kind: _made(kind) for kind in KINDS}  # type: ignore[misc]  # a default
}  # fmt: skip


@pytest.fixture(scope="session", params=[pytest.param("shop", marks=pytest.mark.disk), *(k.name for k in KINDS)])
def machine(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Measured:
    """One of the machines, with what vm2c says of it; skips where its disk cannot be had."""
    measured = pytestconfig.stash.setdefault(_MEASURED, {})
    if request.param not in measured:
        measured[request.param] = _MAKERS[request.param]()
    return measured[request.param]
