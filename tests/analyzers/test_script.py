from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers._script import parse
from analyzers._script_words import UNKNOWN

REPORT = """\
#!/bin/sh
# Writes one day's orders as CSV.
set -eu

day=${1:-$(date -d yesterday +%F)}
folder=/srv/orders/reports

. /etc/orders/env

new=$(mktemp "$folder/.new.XXXXXX")
trap 'rm -f "$new"' EXIT
psql "$DATABASE_URL" --csv --set=day="$day" > "$new" <<'SQL'
SELECT $notavariable `date` FROM orders;
SQL
mv "$new" "$folder/orders-$day.csv"
"""


def words(text: str, **variables: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in parse(text, variables).commands if command.words]


def test_a_script_as_people_write_them() -> None:
    script = parse(REPORT)
    assert [(command.line, [word.text for word in command.words]) for command in script.commands if command.words] == [
        (3, ["set", "-eu"]),
        (5, ["date", "-d", "yesterday", "+%F"]),
        (8, [".", "/etc/orders/env"]),
        (10, ["mktemp", "/srv/orders/reports/.new.XXXXXX"]),
        (11, ["trap", 'rm -f "$new"', "EXIT"]),
        (12, ["psql", UNKNOWN, "--csv", f"--set=day={UNKNOWN}"]),
        (15, ["mv", UNKNOWN, f"/srv/orders/reports/orders-{UNKNOWN}.csv"]),
    ]
    assert script.references == {"folder", "new", "day", "DATABASE_URL"}
    assert script.variables == {"folder": "/srv/orders/reports"}
    assert script.broken is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a && b || c; d | e & f", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("if a; then b; elif c; then d; else e; fi", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("while read -r x; do echo $x; done < /etc/list", [["read", "-r", "x"], ["echo", UNKNOWN]]),
        ("for f in /a /b; do cat $f; done", [["for", "f", "in", "/a", "/b"], ["cat", UNKNOWN]]),
        ("case $1 in start|stop) a;; (x) b ;; *) c; esac; d", [["a"], ["b"], ["c"], ["d"]]),
        ("x=$(case a in b) ls;; esac); exit 1", [["ls"], ["exit", "1"]]),
        ("f() { g; }; f", [["g"], ["f"]]),
        ("! test -x /x && (cd /y && z)", [["test", "-x", "/x"], ["cd", "/y"], ["z"]]),
        ("kill `cat /run/x.pid`", [["cat", "/run/x.pid"], ["kill", UNKNOWN]]),
        ("a 'b c' \"d $E\" f\\ g # h", [["a", "b c", f"d {UNKNOWN}", "f g"]]),
        ("[[ $a < 3 && -f /x ]] && b", [["[[", UNKNOWN, "3", "-f", "/x", "]]"], ["b"]]),
        ("a=(1 2 'x y'); b ${a[@]}", [["b", UNKNOWN]]),
        ("diff <(sort a) <(sort b)", [["sort", "a"], ["sort", "b"], ["diff", UNKNOWN, UNKNOWN]]),
        ("a \\\n  b", [["a", "b"]]),
        ("(( x > 3 )); a $((1 + 2))", [["a", UNKNOWN]]),
        ("time nice make", [["nice", "make"]]),
    ],
)
def test_commands(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


def test_variables_whose_value_is_known() -> None:
    assert words('D=/srv; E="$D/x"; ls $E ${D}y ${F:-/def}/z "${G}"', G="given") == [
        ["ls", "/srv/x", "/srvy", "/def/z", "given"]
    ]
    assert words("D=/a; D=$(pwd); ls $D") == [["pwd"], ["ls", UNKNOWN]]
    assert words("D=/a; read D; ls $D") == [["read", "D"], ["ls", UNKNOWN]]
    assert words("export D=/a; ls ${D%/x}") == [["export", "D=/a"], ["ls", UNKNOWN]]


def test_redirections() -> None:
    script = parse("a > /x 2>&1 < /in; b >>/y 2>/z; c &>/w; d >&2; e 3</q\n(f) > /g\n")
    found = [
        ([w.text for w in c.words], [w.text for w in c.outputs], [w.text for w in c.inputs]) for c in script.commands
    ]
    assert found == [
        (["a"], ["/x"], ["/in"]),
        (["b"], ["/y", "/z"], []),
        (["c"], ["/w"], []),
        (["d"], [], []),
        (["e"], [], ["/q"]),
        (["f"], [], []),
        ([], ["/g"], []),
    ]


def test_assignments_before_a_command_are_its_own() -> None:
    command = parse("PGPASSWORD=x LANG=C psql; echo $LANG").commands[0]
    assert [(name, word.text) for name, word in command.assignments] == [("PGPASSWORD", "x"), ("LANG", "C")]
    assert words("LANG=C a; echo $LANG") == [["a"], ["echo", UNKNOWN]]


def test_here_documents_are_no_commands() -> None:
    script = parse("cat <<-EOF | mail root\n\trm -rf $HOME\n\tEOF\nb <<'X'\n$not\nX\nc\n")
    assert [c.name for c in script.commands] == ["cat", "mail", "b", "c"]
    assert script.references == {"HOME"}


def test_quotes_that_do_not_close_are_told() -> None:
    assert parse("a\nb 'c\nd\n").broken == 2
    assert parse('a\nb "c\nd\n').broken is not None


SAMPLES = (
    """case |esac| in |a)|;;|(|)|$(|`|"|'|${|}|$x|<<E\n|E\n|<<<|>|2>&1|&>|[[|]]|\n| |=|(x|\\|#|f()|$((|))|if |<("""
)
TOKENS = st.sampled_from(SAMPLES.split("|"))


@settings(deadline=None, max_examples=500)
@given(st.lists(TOKENS | st.text(max_size=3)).map("".join))
def test_no_text_raises(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    "text",
    ["$(" * 50000, "`" * 50001, "(" * 50000, "${x:-" * 30000, '"' * 50001, "<<E\n" * 20000, "case x in " * 20000,
     "a=(" * 20000, "[[ " * 20000, "<(" * 30000, "a=xx;" + "a=$a$a;" * 60 + "echo $a $a", "x " * 100000],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_hostile_text_takes_linear_time_and_memory(text: str) -> None:
    began = time.process_time()
    script = parse(text)
    assert time.process_time() - began < 5
    assert sum(len(word.text) for command in script.commands for word in command.words) < 4 << 20
