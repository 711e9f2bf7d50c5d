from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _packages, _tree
from analyzers._packages import Complaints, Database, Names, is_name, is_version, lines, rooted
from analyzers._tree import Tree
from tests.analyzers.fake import Broken, Content, FakeGuest, Link


def test_paths_are_followed_as_far_as_they_exist() -> None:
    tree = Tree(
        FakeGuest(
            {"/lib": Link("usr/lib"), "/usr/lib/x/y": "", "/var/run": Link("/run"), "/run/z": "", "/l": Link("l")}
        )
    )
    assert tree.real("/lib/x/y") == "/usr/lib/x/y"
    assert tree.real("/lib") == "/lib"  # itself it is a link
    assert tree.real("/lib/gone/for/good") == "/usr/lib/gone/for/good"
    assert tree.real("/var/run/z") == "/run/z"
    assert tree.real("/l/x") == "/l/x"
    assert tree.real("/top") == "/top"


def test_a_loop_of_folders_and_deep_paths_end() -> None:
    tree = Tree(FakeGuest({"/a": Link("/"), "/b": ""}))
    assert tree.real("/a" * 200 + "/b") == "/b"
    assert tree.real("/x" * 3000).count("/") == 3000


def test_no_more_folders_are_remembered_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tree, "MOST", 3)
    tree = Tree(FakeGuest({"/lib": Link("usr/lib"), "/usr/lib/x": ""}))
    assert [tree.real(f"/lib/{i}/x") for i in range(9)] == [f"/usr/lib/{i}/x" for i in range(9)]
    assert len(tree._known) <= 4


def test_a_thousand_notes_and_one() -> None:
    guest = FakeGuest({"/x": Broken()})
    reader = Database(guest, "test")
    for number in range(3000):
        reader.note(f"/{number}", "why")
        reader.note("/0", "why")
    assert len(reader.unread) == 1001
    assert str(reader.unread[-1].seen_in) == "/"
    reader = Database(guest, "test")
    assert reader.text("/x") is None
    assert [u.why for u in reader.unread] == ["input/output error"]


def test_so_many_bytes_of_all_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packages, "MAX_TEXT_TOTAL", 25)
    links: dict[str, Content] = {f"/{number}": Link("/file") for number in range(9)}
    reader = Database(FakeGuest({"/file": "0123456789", **links}), "test")
    assert [len(reader.text(path) or "") for path in sorted(links)] == [10, 10, 5, 0, 0, 0, 0, 0, 0]
    assert reader.data("/1", 100) is None
    assert [str(u.seen_in) for u in reader.unread] == ["/2", "/3", "/4", "/5", "/6", "/7", "/8", "/1"]
    fresh = Database(FakeGuest({"/file": "0123456789"}), "test")
    assert (fresh.data("/file", 100), fresh.data("/file", 5), fresh.data("/file", 100)) == (
        b"0123456789",
        None,
        b"0123456789",
    )
    assert fresh.data("/file", 100) is None  # five bytes are left


def test_names_and_who_provides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()
    names.add("a", ["x", "b"])
    names.add("b", ["x"])
    assert names.resolve(["x", "b", "gone", "x"], "b") == ("a",)
    assert names.behind("b") == ("b",)
    for number in range(99):
        names.add(f"p{number}", ["y"])
    assert len(names.behind("y")) == 8
    monkeypatch.setattr(_packages, "_MAX_NAMES", 2)
    few = Names()
    few.add("a", ["x", "y", "z"])
    assert (few.behind("y"), few.behind("z")) == (("a",), ())


def test_complaints_are_counted_for_each_file() -> None:
    reader = Database(FakeGuest({}), "test")
    complaints = Complaints(reader)
    for number in range(1, 30):
        complaints.about("/a")("wrong", number)
    complaints.about("/b")("wrong", 0)
    complaints.finish()
    assert [str(u.seen_in) for u in reader.unread] == [*(f"/a:{n}" for n in range(1, 11)), "/b", "/a"]
    assert reader.unread[-1].why.startswith("19 more")


def test_names_and_versions() -> None:
    for name in ("gtk+", "a.b_c-d", ".build-deps", "dev-lang/python", "libstdc++", "x:y", "~z"):
        assert is_name(name)
    for name in ("", "a b", "a\nb", "$(x)", "a;b", "a" * 256, "é", "a\\b", "`x`"):
        assert not is_name(name)
        assert not is_version(name)


@given(st.text())
def test_paths_and_lines_of_any_text(text: str) -> None:
    assert [line for _, line in lines(text)] == [
        line.removesuffix("\r") for line in (text.removesuffix("\n").split("\n") if text else [])
    ]
    path = rooted(text)
    assert path is None or (path.startswith("/") and not path.endswith("/") and "//" not in path and "/../" not in path)


@given(st.text("/.ab\0", max_size=12))
def test_a_rooted_path_has_one_spelling(text: str) -> None:
    found = rooted(text)
    if found is None:
        assert "\0" in text or ".." in text.split("/") or not text.strip("/.") or posixpath.normpath("/" + text) == "/"
    else:
        assert found == "/" + posixpath.normpath("/" + text.lstrip("/")).lstrip("/")
        assert rooted(found) == found
