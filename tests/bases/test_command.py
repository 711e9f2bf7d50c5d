"""vm2c bases: the list, and making anew; the last tests with a real engine (marker docker)."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.bases.check import BaseChecker, BaseMovedError
from migrate.bases.command import COLUMNS, document, refresh, row
from migrate.bases.model import LeftToBase
from migrate.bases.store import inventories, inventory_of
from migrate.engine import Engine
from migrate.errors import EngineError, UsageError
from tests.bases import made


def test_the_list_for_people_and_for_programs(tmp_path: Path, folder: Path) -> None:
    made_anew = refresh([made.REFERENCE], made.archive(tmp_path / "root.tar"))
    listing = inventories()
    mine = next(k for k in listing.known if k.own)
    assert mine == made_anew[0]
    line = dict(zip(COLUMNS, row(mine), strict=True))
    assert (line["image"], line["processor"], line["packages"], line["made from"]) == (
        made.REFERENCE, "amd64", "2", "the file root.tar",
    )  # fmt: skip
    assert line["kept in"] == str(folder / "corp%2Fbase%3A1.amd64.json.xz")
    assert line["inventory"] == mine.digest[:19]
    said = json.loads(json.dumps(document(listing)))
    entry = next(b for b in said["bases"] if b["own"])
    assert entry["inventory"] == mine.digest
    assert entry["packages"][0] == {"name": "libc6", "version": "2.36-9", "architecture": "amd64", "manager": "dpkg"}
    assert entry["bytes"] == mine.base.bytes
    assert said["problems"] == []


@pytest.mark.parametrize("references", [[], ["a:1", "b:1"]])
def test_a_file_is_one_image(tmp_path: Path, references: list[str]) -> None:
    with pytest.raises(UsageError, match="--as REF"):
        refresh(references, tmp_path)


def test_a_file_is_not_pulled_and_a_reference_is_one(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="--pull is the engine's"):
        refresh([made.REFERENCE], tmp_path, pull=True)
    with pytest.raises(UsageError, match="no image reference"):
        refresh(["../x"], made.archive(tmp_path / "root.tar"))
    assert not folder.exists()


# ---------------------------------------------------------------- a real engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    try:
        connected = Engine.connect()
    except EngineError as error:
        pytest.skip(f"no Docker engine: {error.found}")
    with connected:
        yield connected


@pytest.mark.docker
def test_refreshing_from_a_real_engine_and_a_tag_that_moves(engine: Engine, tmp_path: Path) -> None:
    reference = f"vm2c-test/base-{uuid.uuid4().hex[:8]}:1"

    def build(more: str) -> None:
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nADD root.tar /\n{more}")
        engine.build(tmp_path, reference, lambda _line: None)

    made.archive(tmp_path / "root.tar")
    (tmp_path / "other").write_text("else\n")
    try:
        build("")
        known = refresh([reference])[0]
        assert known.base.image_id == engine.image_id(reference)
        assert known.base.files == made.inventory().files
        assert inventory_of(reference, "amd64") == known
        assert refresh([reference])[0].digest == known.digest
        left = LeftToBase(
            base=reference, architecture="amd64", inventory=known.digest, image_id=known.base.image_id,
            files=known.base.files,
        )  # fmt: skip
        build("COPY other /srv/other\n")
        assert BaseChecker(engine).check(left) == engine.image_id(reference) != known.base.image_id
        build("COPY other /usr/share/app/one\n")
        with pytest.raises(BaseMovedError, match="/usr/share/app/one differ"):
            BaseChecker(engine).check(left)
    finally:
        engine.remove_image(reference)


@pytest.mark.docker
def test_what_a_real_engine_knows(engine: Engine) -> None:
    assert engine.image_facts("vm2c-test/none:1") is None
    with pytest.raises(EngineError):
        b"".join(engine.save("vm2c-test/none:1"))
    with pytest.raises(EngineError, match="pull"):
        engine.pull("localhost:1/none:1")
    facts = engine.image_facts("debian:12-slim")
    if facts is None:
        pytest.skip("the engine has no image debian:12-slim")
    assert facts.image_id == engine.image_id("debian:12-slim")
    assert len(facts.created) == 10
    assert facts.triggers == ()
    head = next(iter(engine.save("debian:12-slim")))
    assert io.BytesIO(head).read(262)[257:] == b"ustar"
