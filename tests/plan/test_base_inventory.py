"""Which inventory of its base an image is proposed with: the user's own, of an engine's image, and no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from migrate.bases.model import digest
from migrate.bases.store import keep, user_folder
from migrate.join import join
from migrate.model import Place, Trait
from migrate.plan.propose import Chosen, propose
from migrate.plan.store import render_plan
from tests.bases import made
from tests.shop import facts


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def proposed() -> dict[str, set[str]]:
    """Return the inventories proposed, by base."""
    found = facts(Trait(key="architecture", value="amd64", seen_in=Place("/usr/bin/sh")))
    plan = propose(found, join(found), Chosen(), "")
    images = [c.image for c in plan.components if c.image is not None]
    assert images
    return {image.base: {i.base_inventory for i in images if i.base == image.base} for image in images}


def test_none_is_proposed_where_the_user_made_none() -> None:
    assert proposed() == {"debian:12-slim": {""}}
    found = facts()
    document = yaml.safe_load(render_plan(propose(found, join(found), Chosen(), "")))
    assert not any("base_inventory" in (component.get("image") or {}) for component in document["components"])


def test_the_users_own_is_proposed_and_a_newer_one_after_it() -> None:
    base = made.inventory(reference="debian:12-slim", image_id="sha256:1")
    keep(base)
    assert proposed() == {"debian:12-slim": {digest(base)}}
    newer = msgspec.structs.replace(base, image_id="sha256:22")
    keep(newer)
    assert proposed() == {"debian:12-slim": {digest(newer)}}


@pytest.mark.parametrize("other", [{"image_id": ""}, {"architecture": "arm64"}, {"reference": "debian:12"}])
def test_one_of_no_engine_another_processor_or_image_is_not(other: dict[str, str]) -> None:
    base = made.inventory(reference="debian:12-slim", image_id="sha256:1")
    keep(msgspec.structs.replace(base, **other))
    assert proposed() == {"debian:12-slim": {""}}


def test_a_damaged_file_stops_no_analysis() -> None:
    path = keep(made.inventory(reference="debian:12-slim", image_id="sha256:1"))
    assert path.parent == user_folder()
    path.write_bytes(b"damaged")
    assert proposed() == {"debian:12-slim": {""}}
