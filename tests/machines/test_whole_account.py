"""Machines with known changes: each is found, nothing else is called drift, and next to nothing is unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.model import Application, LanguagePackage, Service, Unread
from tests.machines.kinds import KINDS
from tests.machines.measure import Measured, parse_said

LIMIT = 0.005


def entries(machine: Measured, key: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, what the truth says under `key`)."""
    for entry in machine.truth["planted"]:
        if key in entry:
            yield entry["path"], entry[key]


def test_next_to_nothing_is_unknown(machine: Measured) -> None:
    files, size = machine.unknown
    unknown = [line.path for line in machine.account.paths if line.class_ == "unknown"]
    assert files < LIMIT, unknown
    assert size < LIMIT, unknown


def test_everything_is_in_a_class(machine: Measured) -> None:
    with_content = sum(1 for entry in machine.facts.guest.walk("/") if entry.kind != "directory")
    assert machine.files == with_content


def test_each_planted_change_is_found_in_its_aspects_and_nothing_else(machine: Measured) -> None:
    assert machine.found == machine.planted
    assert (machine.precision, machine.recall) == (1.0, 1.0)


def test_the_distributions_own_tool_says_the_same(machine: Measured) -> None:
    """rpm looks at every aspect but a link in a file's place, which is its target; dpkg at contents alone."""
    if not machine.said:
        pytest.skip(f"nobody but vm2c was asked about {machine.name}")
    beyond = {path for path, _ in entries(machine, "beyond")}
    assert machine.said.keys() == machine.found.keys() - beyond
    differ = {path: (said, machine.found[path]) for path, said in machine.said.items() if said != machine.found[path]}
    assert {path for path, (_, found) in differ.items() if found != ("type",)} == set()


def test_what_was_done_without_drift_is_not_called_drift(machine: Measured) -> None:
    assert {path for path, _ in entries(machine, "explained")} & machine.found.keys() == set()


def test_what_a_package_manager_left_beside_configuration(machine: Measured) -> None:
    assert {each.path: each.of for each in machine.comparison.leftovers} == dict(entries(machine, "leftover"))


def test_planted_paths_are_in_their_class(machine: Measured) -> None:
    expected = dict(entries(machine, "class"))
    assert {path: machine.class_of(path) for path in expected} == expected


def test_every_packaged_file_could_be_read(machine: Measured) -> None:
    assert machine.comparison.unread == ()
    assert machine.comparison.compared > 0.9 * machine.comparison.files


def test_a_change_says_where_its_package_recorded_the_path(machine: Measured) -> None:
    for change in machine.comparison.changes:
        assert machine.facts.guest.is_file(change.seen_in.path), change
        assert change.differences
        assert all(each.shipped != each.found or each.aspect == "missing" for each in change.differences)


def test_applications_are_found_with_their_names(machine: Measured) -> None:
    found = machine.facts.of(Application)
    for expected in machine.truth.get("applications", ()):
        known = {key: expected[key] for key in ("ecosystem", "name", "version") if key in expected}
        at = [a for a in found if expected["path"] == a.root or expected["path"].startswith(f"{a.root}/")]
        assert any(all(getattr(a, key) == value for key, value in known.items()) for a in at), (expected, at)


def test_packages_of_languages_are_found(machine: Measured) -> None:
    found = {f"{p.ecosystem}/{p.name} {p.version}" for p in machine.facts.of(LanguagePackage)}
    assert set(machine.truth.get("language_packages", ())) - found == set()


def test_as_many_services_start_as_the_truth_says(machine: Measured) -> None:
    enabled = {service.id for service in machine.facts.of(Service) if service.enabled}
    assert len(enabled) >= machine.truth.get("services", 0)


def test_nothing_of_a_package_database_is_unread(machine: Measured) -> None:
    managers = {"dpkg", "rpm", "apk"}
    assert [unread for unread in machine.facts.of(Unread) if unread.analyzer in managers] == []


# ---------------------------------------------------------------- the recipes themselves


def test_every_recipe_is_a_machine() -> None:
    folders = {path.parent.name for path in KINDS[0].recipe.parent.glob("*/truth.yaml")}
    assert folders == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_truth_says_something_of_each_path_and_once(kind: Any) -> None:
    planted = kind.truth()["planted"]
    assert len({entry["path"] for entry in planted}) == len(planted)
    for entry in planted:
        assert set(entry) <= {"path", "do", "drift", "explained", "leftover", "class", "beyond"}, entry
        assert ("drift" in entry) + ("explained" in entry) + ("leftover" in entry) <= 1, entry


def test_what_rpm_and_dpkg_say_is_understood() -> None:
    rpm = "S.5....T.  c /etc/a b\nmissing   d /usr/x\n.......T.    /y\n.........    /z (replaced)\n.M...UG.P  g /v\n"
    assert parse_said(rpm) == {
        "/etc/a b": ("content", "size"),
        "/usr/x": ("missing",),
        "/v": ("capabilities", "group", "mode", "user"),
    }
    assert parse_said("??5?????? c /etc/b\n") == {"/etc/b": ("content",)}
