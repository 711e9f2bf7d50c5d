from __future__ import annotations

from migrate.changes.texts import Texts
from tests.analyzers.fake import Broken, Dir, FakeGuest, Link


def test_each_text_is_read_once_and_all_of_them_within_the_bound() -> None:
    guest = FakeGuest({"/a": "aaaa", "/b": Link("/a"), "/c": "cccc", "/dir": Dir(), "/broken": Broken()})
    texts = Texts(guest, most=6)
    assert [texts.of(path, 4) for path in ("/a", "/a", "/b", "/c", "/gone", "/dir")] == [
        "aaaa",
        "aaaa",
        "aa",
        "",
        "",
        "",
    ]
    assert guest.read_paths == ["/a", "/b"]
    assert Texts(guest).of("/broken", 4) == ""
    assert Texts(guest).of("/c", 2) == "cc"
