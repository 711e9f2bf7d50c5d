"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

# Hypothesis' own limit of 200 ms an example is a timed assertion: it fails on a machine that is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _no_inventories_of_this_person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Inventories of base images that a person refreshed would change what `analyze` proposes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
