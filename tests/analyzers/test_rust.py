from __future__ import annotations

import io
import json
import random
import sysconfig
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import binaries, rust
from analyzers._elf_sections import read_headers
from analyzers._rust_audit import Crate, Rust, parse_audit, read_rust
from migrate.model import Application, LanguagePackage, Unread
from tests.analyzers.elf_made import make_elf, mutated
from tests.analyzers.fake import Content
from tests.analyzers.test_binaries import applications, found, program

# In the form of cargo-auditable.schema.json.
AUDIT = {
    "packages": [
        {"name": "adler", "version": "1.0.2", "source": "crates.io"},
        {"name": "autocfg", "version": "1.1.0", "source": "crates.io", "kind": "build"},
        {"name": "miniz_oxide", "version": "0.7.1", "source": "crates.io", "dependencies": [0, 1]},
        {"name": "shopd", "version": "2.0.1", "source": "local", "dependencies": [2], "root": True},
    ],
    "format": 1,
}
DEP_V0 = zlib.compress(json.dumps(AUDIT).encode())
COMMENT = b"GCC: (Debian 12.2.0-14) 12.2.0\0rustc version 1.75.0 (82e1608df 2023-12-21)\0"
# As it stands in ripgrep 13.0.0 of Debian 12, and in a binary built with crates from crates.io.
PANICS = (
    b"/usr/share/cargo/registry/grep-searcher-0.1.10/src/searcher/mod.rsslice index"
    b"/root/.cargo/registry/src/index.crates.io-6f17d22bba15001f/aho-corasick-1.1.5/src/ahocorasick.rs"
    b"/root/.cargo/registry/src/github.com-1ecc6299db9ec823/wasi-0.11.0+wasi-snapshot-preview1/src/lib.rs"
    b"/usr/src/rustc-1.63.0/library/std/src/io/mod.rs"
)


def read(data: bytes) -> Rust | None:
    return read_rust(io.BytesIO(data), read_headers(io.BytesIO(data)))


def test_the_list_of_cargo_auditable() -> None:
    made = read(make_elf(sections={".dep-v0": DEP_V0, ".comment": COMMENT}))
    assert made is not None
    assert (made.compiler, made.complete, made.root) == ("1.75.0", True, Crate("shopd", "2.0.1", "local", root=True))
    assert [c.name for c in made.crates] == ["adler", "miniz_oxide", "shopd"]  # what only builds is not in it


def test_without_one_the_crates_that_panics_name() -> None:
    made = read(make_elf(sections={".rodata": PANICS}))
    assert made is not None
    assert (made.compiler, made.complete) == ("1.63.0", False)
    assert [(c.name, c.version) for c in made.crates] == [
        ("aho-corasick", "1.1.5"), ("grep-searcher", "0.1.10"), ("wasi", "0.11.0+wasi-snapshot-preview1"),
    ]  # fmt: skip
    assert read(make_elf(sections={".comment": COMMENT})) is not None
    assert read(make_elf(sections={".comment": b"GCC: (Debian 12.2.0-14) 12.2.0\0", ".rodata": b"text"})) is None
    assert read(make_elf()) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"not zlib", "not zlib's"),
        (zlib.compress(b"[" * 100_000), "no JSON"),
        (zlib.compress(b"[]"), "no packages"),
        (zlib.compress(b'{"packages": {}}'), "no packages"),
        (zlib.compress(bytes(64 << 20)), "more than 8388608 bytes"),
        (b"", "no JSON"),
    ],
)
def test_a_broken_list_is_told(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_audit(data)
    files: dict[str, Content] = {"/opt/x": program(make_elf(kind=2, sections={".dep-v0": data or b"\0"}))}
    assert [isinstance(f, Unread) for f in found(rust.ANALYZER, files)] == [False, True]


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_packages_are_read(rows: object) -> None:
    parse_audit(zlib.compress(json.dumps({"packages": [rows, {"name": rows, "version": "1"}]}).encode()))


def test_applications_and_crates() -> None:
    files: dict[str, Content] = {
        "/opt/shop/bin/shopd": program(make_elf(kind=2, sections={".dep-v0": DEP_V0, ".comment": COMMENT})),
        "/usr/local/bin/rg": program(make_elf(kind=2, sections={".rodata": PANICS})),
    }
    results = found(rust.ANALYZER, files)
    assert {(a.root, a.name, a.version) for a in applications(results).values()} == {
        ("/opt/shop", "shopd", "2.0.1"), ("/usr/local/bin/rg", "rg", ""),
    }  # fmt: skip
    packages = {(f.name, f.version, f.location) for f in results if isinstance(f, LanguagePackage)}
    assert ("miniz_oxide", "0.7.1", "/opt/shop/bin/shopd") in packages
    assert ("aho-corasick", "1.1.5", "/usr/local/bin/rg") in packages
    assert not applications(found(binaries.ANALYZER, files))


def test_a_real_binary() -> None:
    path = Path(sysconfig.get_path("scripts")) / "ruff"
    if not path.is_file():
        pytest.skip("ruff is not installed")
    results = found(rust.ANALYZER, {"/usr/local/bin/ruff": program(path.read_bytes())})
    crates = {f.name for f in results if isinstance(f, LanguagePackage)}
    assert {"aho-corasick", "anyhow", "regex-automata"} <= crates
    assert len(crates) > 50
    assert applications(results)["/usr/local/bin/ruff"].interpreter == "/lib64/ld-linux-x86-64.so.2"


def test_mutations_end_in_notes() -> None:
    chance = random.Random(5)
    whole = make_elf(kind=2, sections={".dep-v0": DEP_V0, ".comment": COMMENT, ".rodata": PANICS})
    for _ in range(400):
        numbers = [chance.randrange(3000) for _ in range(chance.randrange(1, 12))]
        files: dict[str, Content] = {"/opt/m": program(mutated(whole, numbers))}
        for finding in (*found(rust.ANALYZER, files), *found(binaries.ANALYZER, files)):
            assert isinstance(finding, Application | LanguagePackage | Unread)
