"""Where inventories are kept, and that no file there can do harm."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.bases import store
from migrate.bases.model import Base, BaseFile, digest, encode
from migrate.bases.shipped import DATA, slim
from migrate.bases.store import file_name, inventories, inventory_of, keep, own_digest, read_inventory, stored
from migrate.errors import Vm2cError
from tests.bases import made


def test_round_trip(folder: Path) -> None:
    base = made.inventory(image_id="sha256:1")
    path = keep(base)
    assert path == folder / "corp%2Fbase%3A1.amd64.json.xz"
    assert read_inventory(path) == base
    assert stored(base) == path.read_bytes() == stored(read_inventory(path))
    known = inventory_of(made.REFERENCE, "amd64")
    assert known is not None
    assert (known.base, known.digest, known.own) == (base, digest(base), True)
    assert inventory_of(made.REFERENCE, "arm64") is None
    assert inventory_of(made.REFERENCE, "amd64", "sha256:other") is None
    assert own_digest(made.REFERENCE, "amd64") == digest(base)


def test_made_anew_it_takes_the_place_of_the_older_one_and_the_others_stay(folder: Path) -> None:
    keep(made.inventory(reference="corp/other:1"))
    keep(made.inventory())
    newer = made.inventory(made.TREE | {"/srv/new": "x"})
    keep(newer)
    assert inventory_of(made.REFERENCE, "amd64", digest(newer)) is not None
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "corp%2Fbase%3A1.amd64.json.xz", "corp%2Fother%3A1.amd64.json.xz",
    ]  # fmt: skip


def test_the_users_own_goes_before_ours_and_ours_is_still_found_by_its_digest() -> None:
    ours = inventory_of("debian:12-slim", "amd64")
    assert ours is not None
    assert not ours.own
    assert own_digest("debian:12-slim", "amd64") == ""
    own = made.inventory(reference="debian:12-slim", image_id="sha256:1")
    keep(own)
    found = inventory_of("debian:12-slim", "amd64")
    assert found is not None
    assert found.own
    assert inventory_of("debian:12-slim", "amd64", ours.digest) == ours
    assert own_digest("debian:12-slim", "amd64") == digest(own)
    listed = [(k.base.reference, k.own) for k in inventories().known]
    assert listed.index(("debian:12-slim", True)) + 1 == listed.index(("debian:12-slim", False))


def test_the_list_of_some_images() -> None:
    keep(made.inventory())
    assert [k.base.reference for k in inventories([made.REFERENCE, "alpine:3.12"]).known] == [
        "alpine:3.12",
        made.REFERENCE,
    ]
    assert inventories(["none:1"]).known == ()


def test_one_that_is_no_engines_is_not_proposed() -> None:
    keep(made.inventory(reference="debian:12-slim"))
    assert own_digest("debian:12-slim", "amd64") == ""


def test_long_and_odd_references_have_names_of_their_own(tmp_path: Path) -> None:
    names = {file_name(reference, "amd64") for reference in ("a/b", "a_b", "a%2Fb", "x" * 300, "x" * 301)}
    assert len(names) == 5
    for name in names:
        (tmp_path / name).touch()


# ---------------------------------------------------------------- what we bring


def test_what_we_bring_is_small_sound_and_says_where_it_is_from() -> None:
    assert sum(p.stat().st_size for p in DATA.iterdir()) < 3_000_000
    listing = inventories()
    assert listing.problems == ()
    assert {k.base.reference for k in listing.known} >= {
        "debian:11-slim", "debian:12-slim", "debian:12", "debian:13-slim", "alpine:3.20.3", "almalinux/9-micro:9.3",
    }  # fmt: skip
    for known in listing.known:
        base = known.base
        assert len(base.packages) > 10
        assert any(p.startswith(("/bin/", "/usr/bin/")) for p in base.by_path())
        assert base.made_on >= "2020-01-01"
        assert not base.reference.startswith("debian") or "not the image of Docker Hub" in base.made_from


def test_each_file_is_stored_as_it_would_be_written_again() -> None:
    for path in sorted(DATA.iterdir()):
        base = read_inventory(path)
        assert path.name == file_name(base.reference, base.architecture)
        assert msgspec.json.decode(encode(base), type=Base) == base


def test_slim_is_without_documentation_but_for_copyrights() -> None:
    def file(path: str) -> BaseFile:
        return BaseFile(path=path, kind="file", mode=0o644, uid=0, gid=0, sha256="0" * 64)

    def directory(path: str) -> BaseFile:
        return BaseFile(path=path, kind="directory", mode=0o755, uid=0, gid=0)

    def link(path: str, target: str) -> BaseFile:
        return BaseFile(path=path, kind="symlink", mode=0o777, uid=0, gid=0, target=target)

    doc = "/usr/share/doc"
    whole = [
        directory(doc), directory(f"{doc}/a"), file(f"{doc}/a/copyright"), file(f"{doc}/a/changelog.gz"),
        directory(f"{doc}/b"), file(f"{doc}/b/README"), link(f"{doc}/c", "a"), link(f"{doc}/d", "b"),
        directory("/usr/share/man"), directory("/usr/share/man/man1"), file("/usr/share/man/man1/x.1.gz"),
        file("/usr/share/locale/locale.alias"), directory("/usr/share/empty"), link("/usr/share/dangling", "gone"),
    ]  # fmt: skip
    assert [f.path for f in slim(whole)] == [
        doc, f"{doc}/a", f"{doc}/a/copyright", f"{doc}/c", "/usr/share/man", "/usr/share/locale/locale.alias",
        "/usr/share/empty", "/usr/share/dangling",
    ]  # fmt: skip


# ---------------------------------------------------------------- hostile files


def put(folder: Path, content: bytes, name: str = "x%3A1.amd64.json.xz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cut short"),
        (b"not xz at all", "no inventory"),
        (lzma.compress(b"[]"), "Expected `object`"),
        (lzma.compress(b"[" * 100_000), "no inventory"),
        (stored(made.inventory())[:-20], "cut short|no inventory"),
        (lzma.compress(encode(made.inventory()).replace(b'"reference"', b'"referense"')), "no inventory"),
        (lzma.compress(encode(made.inventory()).replace(b'"/usr/lib"', b'"/usr/../lib"')), "no name that"),
        (lzma.compress(encode(made.inventory()).replace(b'"/usr/lib"', b'"usr/lib"')), "no name that"),
        (
            lzma.compress(encode(made.inventory()).replace(b'"/usr/lib"', b'"/usr/\\u001b[31m"')),
            r"\\x1b\[31m is no name",
        ),
    ],
)
def test_what_is_no_inventory_is_told_and_the_others_are_listed(folder: Path, content: bytes, why: str) -> None:
    path = put(folder, content)
    with pytest.raises(Vm2cError, match=why) as caught:
        read_inventory(path)
    assert "vm2c bases --refresh" in caught.value.do
    listing = inventories()
    assert [str(p) for p in listing.problems] == [str(caught.value)]
    assert len(listing.known) > 5
    assert "\x1b" not in str(caught.value)


def test_a_bomb_is_not_decompressed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_TEXT", 1 << 20)
    path = put(folder, lzma.compress(bytes(8 << 20)))
    with pytest.raises(Vm2cError, match="holds more than 1048576 bytes"):
        read_inventory(path)
    monkeypatch.setattr(store, "MAX_STORED", 100)
    with pytest.raises(Vm2cError, match="longer than 100 bytes"):
        read_inventory(path)


def test_a_folder_in_a_files_place_and_another_references_file(folder: Path) -> None:
    (folder / file_name("a:1", "amd64")).mkdir(parents=True)
    assert len(inventories().problems) == 1
    put(folder, stored(made.inventory()), file_name("b:1", "amd64"))
    assert inventory_of("b:1", "amd64") is None
    put(folder, b"x", file_name("debian:12-slim", "amd64"))
    assert own_digest("debian:12-slim", "amd64") == ""  # no analysis stops at it
    with pytest.raises(Vm2cError, match="it is cut short"):
        inventory_of("debian:12-slim", "amd64")


def test_damaged_files_end_in_one_error(folder: Path) -> None:
    sound = stored(made.inventory())
    chance = random.Random(11)
    for _ in range(200):
        data = bytearray(sound)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = put(folder, bytes(data))
        try:
            read_inventory(path)
        except Vm2cError:
            continue


@given(st.binary(max_size=400))
def test_any_text_in_an_archive_ends_in_one_error(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    path = put(tmp_path_factory.mktemp("any"), lzma.compress(text))
    with pytest.raises(Vm2cError):
        read_inventory(path)
