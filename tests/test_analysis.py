from __future__ import annotations

from typing import Any

import pytest

from migrate.analysis import coverage


def _account(changes: int = 0, *, done: bool = True, unknown: int = 0) -> dict[str, Any]:
    return {
        "total": {"files": 20_000, "bytes": 4 << 30},
        "accounted": {"files": 20_000 - unknown, "bytes": 4 << 30},
        "compared": {"files": 14_000, "of": 14_002, "done": done, "unread": []},
        "changes": changes,
    }


@pytest.mark.parametrize(("changes", "what"), [(0, "nothing"), (1, "one path"), (1234, "1,234 paths")])
def test_how_much_is_accounted_for_and_how_much_changed(changes: int, what: str) -> None:
    assert coverage(_account(changes)) == (
        "100 % of 20,000 files and 100 % of 4 GiB are accounted for; "
        f"the contents of 14,000 packaged files were compared, and {what} had changed."
    )


def test_one_unknown_file_is_less_than_all() -> None:
    assert coverage(_account(unknown=1)).startswith("99.99 % of 20,000 files")


def test_that_nothing_was_compared_is_said() -> None:
    assert coverage(_account(done=False)).endswith("; packaged files were not compared with their packages.")
