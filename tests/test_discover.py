from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from migrate import discover
from migrate.errors import GuestFileError, Vm2cError
from migrate.guest.protocol import Guest
from migrate.model import Analyzer, Finding, Place, Requires, Trait, Unread
from tests.analyzers.fake import FakeGuest

HERE = Place("/etc/x", 1)


def test_every_analyzer_is_found_by_being_there_and_says_what_it_does() -> None:
    found = discover.find_analyzers()
    names = [a.name for a in found]
    assert names == sorted(set(names))
    assert {"os_release", "dpkg", "systemd", "cron", "users", "fstab", "network", "nginx", "postgresql", "redis",
            "python_apps"} <= set(names)  # fmt: skip
    for analyzer in found:
        assert analyzer.says
        assert analyzer.analyze or analyzer.join, analyzer.name
        assert all(path.startswith("/") for path in analyzer.reads), analyzer.name


def test_no_analyzer_breaks_on_an_empty_guest() -> None:
    found = discover.run_analyzers(FakeGuest({}), discover.find_analyzers())
    assert [f for f in found if isinstance(f, Unread) and "in this analyzer" in f.why] == []


def test_one_failure_is_a_finding_and_stops_nothing() -> None:
    def broken(_guest: Guest) -> Iterable[Finding]:
        yield Trait(key="a", value="1", seen_in=HERE)
        raise ZeroDivisionError("x")

    def told(_guest: Guest) -> Iterable[Finding]:
        raise GuestFileError("read /etc/x", "it is gone")

    def fine(_guest: Guest) -> Iterable[Finding]:
        yield Trait(key="b", value="2", seen_in=HERE)

    analyzers = [Analyzer(name=n, says=n, reads=(), analyze=f) for n, f in [("x", broken), ("y", told), ("z", fine)]]
    found = discover.run_analyzers(FakeGuest({}), analyzers)
    assert {f.value for f in found if isinstance(f, Trait)} == {"1", "2"}
    assert {(f.analyzer, f.why) for f in found if isinstance(f, Unread)} == {
        ("x", "ZeroDivisionError in this analyzer: x"),
        ("y", "cannot read /etc/x: it is gone"),
    }


def test_joins_build_on_one_another_in_any_order() -> None:
    def first(_guest: Guest, found: Sequence[Finding]) -> Iterable[Finding]:
        if any(isinstance(f, Requires) for f in found):
            yield Trait(key="seen", value="yes", seen_in=HERE)

    def second(_guest: Guest, _found: Sequence[Finding]) -> Iterable[Finding]:
        yield Requires(service="a", package="b", seen_in=HERE)

    analyzers = [Analyzer(name=n, says=n, reads=(), join=f) for n, f in [("a", first), ("b", second)]]
    found = discover.run_analyzers(FakeGuest({}), analyzers)
    assert [type(f).__name__ for f in found] == ["Requires", "Trait"]


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Analyzer(name="dpkg", says="x", reads=())
    monkeypatch.setattr(discover, "_third_party", lambda: [(twin, "other:ANALYZER")])
    with pytest.raises(Vm2cError, match=r"analyzers\.dpkg has one of that name"):
        discover.find_analyzers()
