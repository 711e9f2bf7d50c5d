from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _rpm_history as history
from analyzers._reading import Reader
from analyzers._rpm_database import Copies
from analyzers._rpm_header import DamagedError
from migrate.model import Unread
from tests.analyzers.fake import Content, FakeGuest, Link

# libdnf, transaction/sql/create_tables.sql
DNF = """
CREATE TABLE trans (id INTEGER PRIMARY KEY AUTOINCREMENT, dt_begin INTEGER NOT NULL, dt_end INTEGER,
    rpmdb_version_begin TEXT, rpmdb_version_end TEXT, releasever TEXT NOT NULL, user_id INTEGER NOT NULL, cmdline TEXT,
    state INTEGER NOT NULL);
CREATE TABLE repo (id INTEGER PRIMARY KEY, repoid TEXT NOT NULL);
CREATE TABLE item (id INTEGER PRIMARY KEY, item_type INTEGER NOT NULL);
CREATE TABLE trans_item (id INTEGER PRIMARY KEY AUTOINCREMENT, trans_id INTEGER REFERENCES trans(id),
    item_id INTEGER REFERENCES item(id), repo_id INTEGER REFERENCES repo(id), action INTEGER NOT NULL,
    reason INTEGER NOT NULL, state INTEGER NOT NULL);
CREATE TABLE rpm (item_id INTEGER UNIQUE NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL, version TEXT NOT NULL,
    release TEXT NOT NULL, arch TEXT NOT NULL);
CREATE INDEX rpm_name ON rpm(name);
INSERT INTO trans (id, dt_begin, releasever, user_id, state) VALUES (1, 0, '8', 0, 1),
    (2, 0, '8', 0, 1), (3, 0, '8', 0, 2);
INSERT INTO repo VALUES (1, 'baseos'), (2, 'epel'), (3, '@commandline');
INSERT INTO rpm VALUES (1, 'nginx', 1, '1.14', '9.el8', 'x86_64'), (2, 'nginx', 1, '1.20', '1.el8', 'x86_64'),
    (3, 'libx', 0, '1', '1', 'x86_64'), (4, 'mine', 0, '2', '1', 'noarch'), (5, 'gone', 0, '1', '1', 'noarch'),
    (6, 'weak', 0, '1', '1', 'noarch'), (7, 'failed', 0, '1', '1', 'noarch'), (8, 'group', 0, '1', '1', 'noarch');
"""
ITEMS = [
    (1, 1, 1, 1, 2), (1, 3, 1, 1, 2), (1, 5, 1, 1, 2), (1, 6, 2, 1, 4), (1, 8, 1, 1, 5),
    (2, 2, 2, 6, 2), (2, 1, 1, 7, 1),  # nginx: upgraded, and the old one's reason is not looked at
    (2, 3, None, 11, 1),  # dnf mark remove libx
    (2, 4, 3, 1, 2), (2, 5, 1, 8, 2),  # a file from the command line; gone is removed
    (3, 7, 1, 1, 2),  # a transaction that failed
]  # fmt: skip


@pytest.fixture
def dnf(tmp_path: Path) -> bytes:
    with sqlite3.connect(tmp_path / "made") as db:
        db.executescript(DNF)
        columns = "trans_id, item_id, repo_id, action, reason, state"
        db.executemany(f"INSERT INTO trans_item ({columns}) VALUES (?, ?, ?, ?, ?, 1)", ITEMS)
    db.close()
    return (tmp_path / "made").read_bytes()


def read(
    tmp_path: Path, files: dict[str, Content], installed: list[tuple[str, str]]
) -> tuple[history.History, list[Unread]]:
    reader = Reader(FakeGuest(files), "rpm")
    return history.read_history(reader, Copies(reader, tmp_path), installed), reader.unread


def test_dnf_tells_reason_and_repository(tmp_path: Path, dnf: bytes) -> None:
    found, unread = read(tmp_path, {history.DNF: dnf}, [])
    assert found.chosen == {
        ("nginx", "x86_64"): True, ("libx", "x86_64"): False, ("mine", "noarch"): True, ("weak", "noarch"): False,
        ("group", "noarch"): True,
    }  # fmt: skip
    assert found.repositories["nginx", "1:1.20-1.el8", "x86_64"] == "epel"
    assert found.repositories["libx", "1-1", "x86_64"] == "baseos"
    assert found.repositories["mine", "2-1", "noarch"] == "@commandline"
    assert (found.was_chosen("gone", "noarch"), found.was_chosen("failed", "noarch"), unread) == (None, None, [])


@pytest.mark.parametrize("data", [b"", b"no database", b"SQLite format 3\0"])
def test_a_history_that_is_none_is_told(tmp_path: Path, data: bytes) -> None:
    found, unread = read(tmp_path, {history.DNF: data}, [])
    assert (found.chosen, [u.seen_in.path for u in unread]) == ({}, [history.DNF])


def test_a_view_in_place_of_a_table_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "made") as db:
        db.execute(
            "CREATE VIEW trans AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS id FROM n"
        )
    db.close()
    unread = read(tmp_path, {history.DNF: (tmp_path / "made").read_bytes()}, [])[1]
    assert [u.why for u in unread] == ["it has no table trans"]


def test_text_where_a_number_belongs_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "made") as db:
        db.executescript(f"{DNF} DROP TABLE trans; CREATE TABLE trans (id, state); INSERT INTO trans VALUES ('x', 1);")
        db.execute("INSERT INTO trans_item (trans_id, item_id, action, reason, state) VALUES ('x', 1, 1, 1, 1)")
    db.close()
    unread = read(tmp_path, {history.DNF: (tmp_path / "made").read_bytes()}, [])[1]
    assert [u.why for u in unread] == ["a transaction's number is no number"]


def test_dnf5(tmp_path: Path) -> None:
    # as dnf 5.2.8 of Fedora 41 writes it
    packages = """version = "1.0"
[packages]
"bash.x86_64" = {reason = "Dependency"}
"nginx.x86_64" = {reason = "User"}
"weak.noarch" = {reason = "Weak Dependency"}
"old.noarch" = {reason = "External User"}
"vim-minimal.x86_64" = {reason = "Dependency"}
"""
    nevras = """version = "1.0"
[nevras]
"nginx-2:1.26.2-3.fc41.x86_64" = {from_repo = "updates"}
"bash-0:5.2.32-1.fc41.x86_64" = {from_repo = "fedora"}
"bash-5.2.33-1.fc41.x86_64" = {from_repo = "@commandline"}
"""
    groups = """version = "1.0"
[groups]
[groups.core]
package_types = ["mandatory"]
packages = ["vim-minimal", "passwd"]
userinstalled = true
"""
    files: dict[str, Content] = {
        f"{history.DNF5}/packages.toml": packages,
        f"{history.DNF5}/nevras.toml": nevras,
        f"{history.DNF5}/groups.toml": groups,
    }
    found, unread = read(tmp_path, files, [("vim-minimal", "x86_64"), ("bash", "x86_64"), ("passwd", "x86_64")])
    assert unread == []
    assert found.chosen == {
        ("bash", "x86_64"): False, ("nginx", "x86_64"): True, ("weak", "noarch"): False,
        ("vim-minimal", "x86_64"): True, ("passwd", "x86_64"): True,
    }  # fmt: skip
    assert found.was_chosen("old", "noarch") is None  # rpm brought it, and nobody said why
    assert found.repositories == {
        ("nginx", "2:1.26.2-3.fc41", "x86_64"): "updates",
        ("bash", "5.2.32-1.fc41", "x86_64"): "fedora",
        ("bash", "5.2.33-1.fc41", "x86_64"): "@commandline",
    }


def test_toml_that_is_none_is_told(tmp_path: Path) -> None:
    for text in ("[packages", "a = " + "[" * 100_000, "packages = 3", "[packages]\nx = 1\n", "x = 2024-99-99"):
        found, unread = read(tmp_path, {f"{history.DNF5}/packages.toml": text}, [])
        assert found.chosen == {}
        assert bool(unread) == (text not in ("packages = 3", "[packages]\nx = 1\n"))


def test_yumdb_with_the_links_it_has(tmp_path: Path) -> None:
    nginx = f"{history.YUMDBS[0]}/n/0f3a-nginx-1.12.2-3.el7-x86_64"
    files: dict[str, Content] = {
        f"{nginx}/reason": "user",
        f"{nginx}/from_repo": "epel",
        f"{history.YUMDBS[0]}/l/77aa-lib-x-2.0-1-x86_64/reason": "dep",
        f"{history.YUMDBS[0]}/l/77aa-lib-x-2.0-1-x86_64/from_repo": Link(
            "../../n/0f3a-nginx-1.12.2-3.el7-x86_64/from_repo"
        ),
        f"{history.YUMDBS[1]}/m/1234-mine-1-1-noarch/from_repo": "/mine-1-1.noarch",
        f"{history.YUMDBS[0]}/x/odd/reason": "user",
    }
    found, unread = read(tmp_path, files, [])
    assert (found.chosen, unread) == ({("nginx", "x86_64"): True, ("lib-x", "x86_64"): False}, [])
    assert found.repositories == {
        ("nginx", "1.12.2-3.el7", "x86_64"): "epel",
        ("lib-x", "2.0-1", "x86_64"): "epel",
        ("mine", "1-1", "noarch"): "/mine-1-1.noarch",
    }


def test_zypper(tmp_path: Path) -> None:
    log = """\
# 2024-05-01 10:00:00 nginx-1.21.5-150400.1.8.x86_64.rpm installed ok
2024-05-01 09:59:59|radd   |SLES15|https://example.com/
2024-05-01 10:00:00|install|nginx|1.21.5-150400.1.8|x86_64|root@host|SLES15|abc|
2024-05-02 10:00:00|install|nginx|1.21.5-150400.1.8|x86_64|root@host|_tmpRPMcache_|abc|
2024-05-02 10:00:00|remove |old|1-1|noarch|root@host|
2024-05-01 10:00:00|install|short
"""
    files: dict[str, Content] = {history.AUTO_INSTALLED: "# made by zypper\nlibpcre1\n", history.ZYPP_LOG: log}
    found, unread = read(tmp_path, files, [])
    assert (found.was_chosen("libpcre1", "x86_64"), found.was_chosen("nginx", "x86_64"), unread) == (False, True, [])
    assert found.repositories == {("nginx", "1.21.5-150400.1.8", "x86_64"): "_tmpRPMcache_"}


def test_an_empty_list_of_zypper_says_nothing(tmp_path: Path) -> None:
    found, _ = read(tmp_path, {history.AUTO_INSTALLED: "# made by kiwi\n\n"}, [])
    assert found.was_chosen("nginx", "x86_64") is None


@given(st.text(st.sampled_from("|install \n#x-1=[]{}\"'."), max_size=80) | st.text(max_size=60))
def test_no_text_breaks_the_parsers(text: str) -> None:
    history.parse_zypp_history(text)
    history.parse_auto_installed(text)
    history.parse_yumdb_name(text)
    for parser in (history.parse_dnf5_packages, history.parse_dnf5_nevras, history.parse_dnf5_groups):
        try:
            parser(text)
        except DamagedError as error:
            assert "TOML" in str(error)  # noqa: PT017  # either is right
