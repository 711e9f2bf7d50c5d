"""The rules for places, each by its own patterns, and the table that asks all of them at once."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.contents import LONGEST
from migrate.places import NONE, PlaceRule, Table, place_rules

RULES = place_rules()
BY_PLACE = [rule for rule in RULES if not rule.is_looked_into]
TABLE = Table(BY_PLACE)


def ask(table: Table, path: str, target: str | None = None) -> str | None:
    """Return the id of the rule for a path, a symlink where there is a target."""
    *folders, name = path[1:].split("/")
    state = table.root
    for folder in folders:
        state = state.enter(folder)
    number = state.file(name) if target is None else state.link(name, target)
    return None if number == NONE else table.rules[number].id


def example(pattern: str) -> str:
    """Return a path that a pattern matches."""
    return re.sub(r"\[.*?\]|\?", "3", pattern.replace("**", "a/b").replace("*", "1"))


@pytest.mark.parametrize("rule", BY_PLACE, ids=lambda rule: rule.id)
def test_no_rule_stands_in_the_shadow_of_another(rule: PlaceRule) -> None:
    for pattern in rule.paths:
        path = example(pattern)
        targets: list[str | None] = [example(text) for text in rule.target]
        for target in targets or ["../x" if rule.kind == "symlink" else None]:
            assert ask(TABLE, path, target) == rule.id, (path, target)


def test_a_rule_says_why_and_where_its_knowledge_comes_from() -> None:
    for rule in RULES:
        assert rule.says, rule.id
        assert rule.source, rule.id
        assert all(pattern.startswith(("/", "**/")) for pattern in rule.paths), rule.id
        assert sum((bool(rule.content), bool(rule.equals), bool(rule.hashes))) <= 1, rule.id
        re.compile(rule.content)


@pytest.mark.parametrize(
    ("path", "target", "rule"),
    [
        ("/etc/nginx/nginx.conf.dpkg-dist", None, "left-beside-configuration"),
        ("/etc/passwd-", None, "accounts"),
        ("/etc/passwd2", None, "configuration"),
        ("/var/lib/dpkg/info/bash.list", None, "dpkg-database"),
        ("/var/lib/grafana/grafana.db", None, "state"),
        ("/usr/lib/python3/dist-packages/__pycache__/six.cpython-311.pyc", None, "python-bytecode"),
        ("/srv/app/six.pyc", None, "served-by-this-site"),
        ("/data/lost+found/#12", None, "found-by-fsck"),
        ("/bin", "usr/bin", "usr-merge"),
        ("/bin/ls", "/bin/busybox", "busybox-applets"),
        ("/etc/rc2.d/S01cron", "../init.d/cron", "sysv-links"),
        ("/etc/rc2.d/S01cron", "/srv/cron", "configuration"),
        ("/etc/systemd/system/ssh.service", "/dev/null", "unit-masked"),
        ("/etc/systemd/system/a.wants/b.service", "/lib/systemd/system/b.service", "unit-links"),
        ("/etc/ssl/certs/shop.pem", None, "configuration"),
        ("/etc/ssl/certs/0a1b2c3d.0", "shop.pem", "certificates-gathered"),
        ("/usr/lib/stray", None, "among-packages"),
        ("/usr/share/stray/file", None, "among-packages"),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2", "soname-links"),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1", None, "library-by-hand"),
        ("/data/media/film.mp4", None, "made-by-this-site"),
        ("/stray", None, None),
        ("/.hidden/server", None, None),
        ("/etc/profile", None, "configuration"),
    ],
)
def test_what_is_where(path: str, target: str | None, rule: str | None) -> None:
    assert ask(TABLE, path, target) == rule


def _rule(ident: str, *paths: str, **more: object) -> PlaceRule:
    return PlaceRule(id=ident, class_="data", paths=paths, says="s", source="s", **more)  # type: ignore[arg-type]


def test_the_first_rule_wins_whatever_its_form() -> None:
    table = Table([_rule("exact", "/a/b"), _rule("end", "/a/*b"), _rule("glob", "/a/?b*"), _rule("tree", "/a/**")])
    asked = {path: ask(table, path) for path in ("/a/b", "/a/xb", "/a/xbc", "/a/x/b", "/a", "/b")}
    assert asked == {"/a/b": "exact", "/a/xb": "end", "/a/xbc": "glob", "/a/x/b": "tree", "/a": "tree", "/b": None}
    assert ask(Table([_rule("tree", "/a/**"), _rule("exact", "/a/b")]), "/a/b") == "tree"


NAMES = st.sampled_from(["a", "b", "ab", "ba", ".a", "a\n"])
PARTS = st.one_of(NAMES, st.sampled_from(["*", "**", "a*", "*a", "?b", "[ab]"]))


def _as_regex(pattern: str) -> str:
    text = ""
    for part in pattern[1:].split("/"):
        if part == "**":
            text += "(?:/[^/]+)*"
        else:
            one = "".join({"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c)) for c in part.replace("[ab]", "\0"))
            text += "/" + one.replace("\\\0", "[ab]").replace("\0", "[ab]")
    return text


@given(
    st.lists(st.lists(PARTS, min_size=1, max_size=4), min_size=1, max_size=6), st.lists(NAMES, min_size=1, max_size=5)
)
def test_the_table_says_what_the_patterns_say(patterns: list[list[str]], names: list[str]) -> None:
    path = "/" + "/".join(names)
    rules = [_rule(str(n), "/" + "/".join(parts)) for n, parts in enumerate(patterns)]
    expected = next((r.id for r in rules if re.fullmatch(_as_regex(r.paths[0]), path)), None)
    assert ask(Table(rules), path) == expected


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.content], ids=lambda rule: rule.id)
@pytest.mark.parametrize("text", ["#", " ", "\n", "\t#", "LANG=\n", "# \n", "default ", "#resolvconf", "\n!", "a"])
def test_no_content_makes_a_rule_slow(rule: PlaceRule, text: str) -> None:
    content = text * (LONGEST // len(text))
    started = time.process_time()
    for end in ("", "x", "\x00"):
        re.search(rule.content, content[:-1] + end)
    assert time.process_time() - started < 20
