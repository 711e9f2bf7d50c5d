"""Whether the engine's base image has what was left to it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from migrate.bases.check import BaseChecker, BaseMovedError, differences, read_left
from migrate.bases.make import from_engine
from migrate.bases.model import Base, LeftToBase
from migrate.errors import EngineError
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link
from tests.bases import made

CHANGES: dict[str, dict[str, Content]] = {
    "/usr/share/app/one": {"/usr/share/app/one": "else\n"},
    "/usr/bin/dash": {"/usr/bin/dash": File(made.ELF, mode=0o4755)},
    "/usr/lib/libc.so.6": {"/usr/lib/libc.so.6": File("\x7fELF libc", mode=0o755, uid=1)},
    "/usr/bin/sh": {"/usr/bin/sh": Link("ping")},
    "/usr/bin/ping": {"/usr/bin/ping": File("\x7fELF ping", mode=0o755)},
    "/usr/share/app": {"/usr/share/app": Dir(mode=0o700)},
    "/etc/ssl/openssl.cnf": {"/etc/ssl/openssl.cnf": Link("/etc/passwd")},
    "/etc/ssl": {"/etc/ssl": Link("/srv/ssl"), "/srv/ssl/openssl.cnf": "base\n"},
}


def left(base: Base) -> LeftToBase:
    return LeftToBase(
        base=base.reference, architecture="amd64", inventory="sha256:0", image_id=base.image_id, files=base.files
    )


def test_the_same_files_are_no_difference() -> None:
    assert differences(made.inventory().files, FakeGuest(made.TREE)) == []


@pytest.mark.parametrize("path", CHANGES)
def test_each_difference_is_one(path: str) -> None:
    found = differences(made.inventory().files, FakeGuest(made.TREE | CHANGES[path]))
    assert path in found
    assert set(found) <= {path, "/etc/ssl/openssl.cnf"}


def test_what_is_missing_differs() -> None:
    tree = {p: c for p, c in made.TREE.items() if p != "/usr/share/app/two"}
    assert differences(made.inventory().files, FakeGuest(tree)) == ["/usr/share/app/two"]


def test_an_image_of_the_same_id_is_not_read() -> None:
    engine = made.Images({made.REFERENCE: made.TREE})
    base = from_engine(engine, made.REFERENCE)
    engine.saves.clear()
    assert BaseChecker(engine).check(left(base)) == base.image_id
    assert engine.saves == []


def test_another_image_with_the_same_files_is_read_once() -> None:
    base = from_engine(made.Images({made.REFERENCE: made.TREE}), made.REFERENCE)
    engine = made.Images({made.REFERENCE: made.TREE | {"/srv/more": "x"}})
    checker = BaseChecker(engine)
    assert checker.check(left(base)) == checker.check(left(base)) == engine.image_id(made.REFERENCE)
    assert len(engine.saves) == 1


def test_another_image_with_other_files_is_refused() -> None:
    engine = made.Images({made.REFERENCE: made.TREE | {f"/usr/share/app/{n}": "!" for n in ("one", "two")}})
    with pytest.raises(BaseMovedError) as caught:
        BaseChecker(engine).check(left(made.inventory()))
    assert str(caught.value) == (
        "cannot build on corp/base:1: the engine's image is not the one that was counted on: /usr/share/app/one, "
        "/usr/share/app/two differ there or are missing; refresh with vm2c bases --refresh corp/base:1, then analyze "
        "and generate again"
    )
    assert caught.value.exit_code == 1


def test_an_image_that_is_not_there() -> None:
    assert BaseChecker(made.Images({})).check(left(made.inventory())) == ""


def test_an_image_without_a_system_and_one_that_is_no_image_are_refused() -> None:
    engine = made.Images({made.REFERENCE: {"/hello": "static"}})
    with pytest.raises(BaseMovedError, match="refresh with vm2c bases"):
        BaseChecker(engine).check(left(made.inventory()))

    class Damaged(made.Images):
        def save(self, image: str) -> Iterator[bytes]:
            yield next(super().save(image))[:3000]

    with pytest.raises(BaseMovedError, match="refresh with vm2c bases"):
        BaseChecker(Damaged({made.REFERENCE: made.TREE})).check(left(made.inventory()))


def test_a_disk_that_is_full_is_told() -> None:
    class Full(made.Images):
        def save(self, image: str) -> Iterator[bytes]:
            yield b"x"
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EngineError, match=r"No space left on device at .*; name a folder with more room in TMPDIR"):
        from_engine(Full({made.REFERENCE: made.TREE}), made.REFERENCE)


def test_base_json(tmp_path: Path) -> None:
    assert read_left(tmp_path) is None
    wanted = left(made.inventory())
    (tmp_path / "base.json").write_bytes(msgspec.json.encode(wanted))
    assert read_left(tmp_path) == wanted
    (tmp_path / "base.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(wanted, files=())))
    assert read_left(tmp_path) is None  # nothing is left to the base: nothing to look at
    for content in (b"", b"{", b"[]", b"[" * 100_000, b'{"base": 1}', b'{"files": [["/x", "file"]]}'):
        (tmp_path / "base.json").write_bytes(content)
        with pytest.raises(EngineError, match="generate again"):
            read_left(tmp_path)


# ---------------------------------------------------------------- from the engine


def test_an_inventory_of_the_engines_image() -> None:
    engine = made.Images({made.REFERENCE: made.TREE})
    base = from_engine(engine, made.REFERENCE, pull=True)
    assert engine.pulled == [made.REFERENCE]
    assert base.files == made.inventory().files
    assert base.image_id == engine.image_id(made.REFERENCE)
    assert base.made_from == f"the engine's image {base.image_id}, corp/base@sha256:{'0' * 64}"
    assert base.made_on == "2024-01-02"


def test_an_image_that_cannot_be_inventoried() -> None:
    with pytest.raises(EngineError, match="no such image; let it fetch the image with --pull"):
        from_engine(made.Images({}), made.REFERENCE)
    with pytest.raises(EngineError, match="ONBUILD"):
        from_engine(made.Images({made.REFERENCE: made.TREE}, ("RUN rm -rf /srv",)), made.REFERENCE)
