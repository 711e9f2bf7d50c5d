"""Each rule of explained.yaml explains what its examples plant, and leaves what they do not."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from analyzers.users import ANALYZER as USERS
from migrate.changes.aspects import names_of
from migrate.changes.checks import checks
from migrate.changes.compare import compare
from migrate.changes.expected import Expected
from migrate.changes.explain import Case, Example, Explainer, Rule, explaining_rules
from migrate.changes.model import Difference
from migrate.facts import Facts
from migrate.guest.protocol import Source
from migrate.model import Place, Shipped
from tests.analyzers.fake import Content, Dir, FakeGuest, File, Link
from tests.guest.made import CAPABILITY

CASES = [(rule, each, True) for rule in explaining_rules() for each in rule.examples.explains]
CASES += [(rule, each, False) for rule in explaining_rules() for each in rule.examples.leaves]


TOPS: dict[str, Content] = {f"/{name}": Dir() for name in ("etc", "usr", "var", "run", "home", "opt")}


class Archived(FakeGuest):
    """A guest that is no disk."""

    @property
    def source(self) -> Source:
        return msgspec.structs.replace(super().source, reader="tar")


def word(shipped: Shipped) -> Expected:
    return Expected("x", shipped, "md5", Place("/var/lib/dpkg/info/x.list"))


def guest_of(example: Example) -> FakeGuest:
    files: dict[str, Content] = {
        path: Link(text.removeprefix("-> ")) if text.startswith("-> ") else text for path, text in example.files.items()
    }
    files.setdefault("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n")
    files.setdefault("/etc/group", "root:x:0:\nanna:x:1000:\n")
    if example.aspect != "missing" and example.path not in files:
        mode = int(example.found, 8) if example.aspect == "mode" else 0o644
        files[example.path] = File("now", mode=mode) if example.path.count("/") > 1 else Dir(mode=mode)
    return Archived({path: _owned(content, example.owner) for path, content in {**TOPS, **files}.items()})


def _owned(content: Content, uid: int) -> Content:
    if isinstance(content, str | bytes):
        content = File(content)
    return replace(content, uid=uid) if isinstance(content, File | Dir | Link) else content


@pytest.mark.parametrize(("rule", "example", "is_explained"), CASES, ids=[f"{r.id}-{e.path}" for r, e, _ in CASES])
def test_a_rule_explains_its_examples(rule: Rule, example: Example, is_explained: bool) -> None:
    guest = guest_of(example)
    assert USERS.analyze is not None
    facts = Facts(USERS.analyze(guest), guest)
    explainer = Explainer(guest, checks(guest, names_of(facts.users, facts.groups)))
    shipped = Shipped(path=example.path, flags=example.flags)
    case = Case(
        example.path,
        Difference(example.aspect, example.shipped, example.found),
        word(shipped),
        guest.lstat(example.path),
    )
    found = explainer.explain(case)
    if is_explained:
        assert found is not None
        assert found[0].id == rule.id
        assert guest.exists(found[1].path) or found[1] == case.expected.seen_in
    else:
        assert found is None or found[0].id != rule.id


def test_every_rule_has_both_and_its_source() -> None:
    for rule in explaining_rules():
        assert rule.examples.explains, rule.id
        assert rule.examples.leaves, rule.id
        assert rule.source, rule.id
        assert rule.says[0].islower() or rule.says.startswith(("systemd", "Python", "Portage")), rule.id


def test_every_check_is_a_rules_and_every_rules_check_is_there() -> None:
    guest = FakeGuest({})
    known = checks(guest, names_of({}, {}))
    assert {rule.check for rule in explaining_rules()} - {""} == set(known)


def test_a_gained_privilege_is_explained_by_no_place() -> None:
    guest = FakeGuest({"/var/cache/x": File("x", mode=0o4755)})
    explainer = Explainer(guest, checks(guest, names_of({}, {})))
    expected = Expected("x", Shipped(path="/var/cache/x", flags=("ghost",)), "md5", Place("/var/lib/rpm/Packages"))
    entry = guest.lstat("/var/cache/x")
    assert explainer.explain(Case("/var/cache/x", Difference("mode", "0755", "4755"), expected, entry)) is None
    assert explainer.explain(Case("/var/cache/x", Difference("mode", "0755", "0777"), expected, entry)) is not None


def test_capabilities_that_one_file_kept_were_not_lost_by_an_archive() -> None:
    rule = {each.id: each for each in explaining_rules()}["attributes-lost"]
    (example,) = rule.examples.explains
    shipped = Shipped(path=example.path, capabilities=example.shipped)
    case = Case(example.path, Difference("capabilities", example.shipped, ""), word(shipped), None)
    for files, is_explained in (({}, True), ({"/bin/y": File("", xattrs={"security.capability": CAPABILITY})}, False)):
        for kind in (Archived, FakeGuest):
            guest = kind({example.path: "x", **files})
            found = Explainer(guest, checks(guest, names_of({}, {}))).explain(case)
            assert (found is not None) is (is_explained and kind is Archived)


def test_no_findings_no_changes() -> None:
    found = compare(Facts([], FakeGuest({"/etc/passwd": "x"})))
    assert (found.changes, found.explained, found.files, found.compared, found.done) == ((), (), 0, 0, True)
