"""Deciding what to fetch in bulk."""

from __future__ import annotations

from migrate.guest.libguestfs.bulk import LARGEST, Fetch, plan_fetches, wanted_files
from migrate.guest.protocol import Entry
from migrate.guest.tree import Tree


def files(directory: str, count: int, size: int = 1000) -> list[Entry]:
    return [Entry(path=f"{directory}/file{n}", kind="file", mode=0o644, uid=0, gid=0, size=size) for n in range(count)]


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind="symlink", mode=0o777, uid=0, gid=0, target=target)


def plan(tree: Tree, *paths: str) -> list[Fetch]:
    return plan_fetches(tree, wanted_files(tree, paths, lambda _path: False))


def test_many_small_files_come_together() -> None:
    tree = Tree([*files("/etc", 300), *files("/usr/lib", 300)])
    assert plan(tree, "/etc") == [Fetch("/etc")]
    assert plan(tree, "/nothing") == plan(tree) == []


def test_few_files_are_read_singly() -> None:
    assert plan(Tree(files("/etc", 20)), "/etc") == []


def test_what_is_near_is_fetched_as_one() -> None:
    tree = Tree([*files("/etc/a", 150), *files("/etc/b", 150), *files("/var/c", 200), *files("/var/d", 5)])
    assert plan(tree, "/etc/a", "/etc/b", "/var/c") == [Fetch("/", ("/var/d",))]


def test_a_big_neighbour_stays_out() -> None:
    """Two gigabytes beside the files that are wanted, and as much in a directory among them."""
    tree = Tree([*files("/var/lib", 400), *files("/var/lib/db", 1, 2 << 30), *files("/var/lib/x", 3, 1 << 20)])
    found = plan(tree, "/var/lib/file*", "/var/lib/x/file0")
    assert found == [Fetch("/var/lib", ("/var/lib/db", "/var/lib/x/file1", "/var/lib/x/file2"))]


def test_too_many_neighbours_cost_too_much() -> None:
    tree = Tree([*files("/srv", 20_000, 50_000)])
    assert plan(tree, "/srv/file1*5") == []


def test_large_and_empty_files_and_those_there_already_are_not_wanted() -> None:
    tree = Tree([*files("/a", 1, LARGEST + 1), *files("/b", 1, 0), *files("/c", 2)])
    assert list(wanted_files(tree, ["/"], lambda path: path == "/c/file1")) == ["/c/file0"]


def test_links_count_for_what_they_lead_to() -> None:
    tree = Tree(
        [*files("/real", 2), link("/etc/on", "/real/file1"), link("/etc/off", "/gone"), link("/alias", "/real")]
    )
    assert list(wanted_files(tree, ["/etc"], lambda _path: False)) == ["/real/file1"]
    assert sorted(wanted_files(tree, ["/alias", "/real"], lambda _path: False)) == ["/real/file0", "/real/file1"]


def test_names_that_cannot_be_passed_on_are_left() -> None:
    tree = Tree([*files("/caf\udce9", 300), *files("/ok", 300)])
    assert plan(tree, "/") == [Fetch("/ok")]


def test_the_volume_has_an_end() -> None:
    tree = Tree(files("/etc", 600, 1 << 20))
    assert len(wanted_files(tree, ["/etc"], lambda _path: False)) == 512
