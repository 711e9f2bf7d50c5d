"""What a script surely sets and runs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._evaluate import Outcome, call, evaluate, words
from analyzers._script_words import UNKNOWN
from analyzers._shelltest import Files
from tests.analyzers.fake import FakeGuest, File


def value(text: str, name: str = "x") -> str | None:
    """Return a variable at the end of a script; None where it is not known."""
    outcome = evaluate(text)
    return None if name in outcome.unsure else outcome.variables.get(name, "")


def argv(text: str) -> list[str]:
    last = evaluate(text).commands[-1].command
    return [word.text for word in last.words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1", "1"),
        ("y=2; x=a$y", "a2"),
        ("x=a$nothing-b", "a-b"),
        ("x=$PATH", None),
        ("x=$(date)", None),
        ("x=`date`", None),
        ("x=$1", None),
        (": ${x:=5}", "5"),
        ('x=1; : "${x:=5}"', "1"),
        ("x=; : ${x:=5}", "5"),
        ("x=; : ${x=5}", ""),
        ("x=${y:-${z:-deep}}", "deep"),
        ("y=; x=${y:-d}", "d"),
        ("y=; x=${y-d}", ""),
        ("y=1; x=${y:+--user $y}", "--user 1"),
        ("x=${y:+--user $y}", ""),
        ("y=/run/a.pid; x=${y%/*}", "/run"),
        ("y=/run/a.pid; x=${y##*/}", "a.pid"),
        ("y=a.b.c; x=${y#*.}", "b.c"),
        ("y=a.b.c; x=${y%%.*}", "a"),
        ("y=a.b.c; x=${y%.z}", "a.b.c"),
        ("y=abc; x=${y%[b]*}", None),
        ("x=1; [ a = a ] && x=2", "2"),
        ("x=1; [ a = b ] && x=2", "1"),
        ("x=1; [ a = b ] || x=2", "2"),
        ("x=1; [ -z '' ] && [ a != b ] && x=2", "2"),
        ("x=1; [ -n a -a b = c ] && x=2", "1"),
        ("x=1; [ -n a -o b = c ] && x=2", "2"),
        ("x=1; some && x=2", None),
        ("x=1; if [ -n '$y' ]; then x=2; else x=3; fi", "2"),
        ('x=1; if [ -n "$y" ]; then x=2; else x=3; fi', "3"),
        ("x=1; if [ a = b ]; then x=2; elif [ c = c ]; then x=4; else x=3; fi", "4"),
        ("x=1; if some; then x=2; else x=3; fi", None),
        ("if some; then y=2; fi; x=1", "1"),
        ("x=1; if [ a = b ]; then if some; then x=2; fi; fi", "1"),
        ("x=1; while some; do x=2; done", None),
        ("x=1; for i in a b; do x=2; done", None),
        ("x=1; case $1 in a) x=2;; *) x=3;; esac", None),
        ("x=1; (x=2)", None),
        ("x=1; y=$(x=2)", "1"),
        ("x=1; echo | read x", None),
        ("x=1; { x=2; }", "2"),
        ("x=1; f() { x=2; }", "1"),
        ("x=1; f() { x=2; }; f", "2"),
        ("x=1; function f { x=2; }\nf", "2"),
        ("x=1; f() { local x=2; }; f", "1"),
        ("x=1; f() { x=2; }; some && f", None),
        ("x=1; f() { f; }; f", "1"),
        ("x=1; unset x", ""),
        ("x=1; yesno on && x=2", "2"),
        ("x=1; yesno NO && x=2", "1"),
        ("x=1; ! some; x=3", "3"),
        ('eval "$y"; x=$z', None),
        ("x='a b'\nx=\"$x c\"", "a b c"),
        ("x=a\\\n  b=1", "a"),
    ],
)
def test_variables(text: str, expected: str | None) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a='-x  -y'; exec p $a end", ["exec", "p", "-x", "-y", "end"]),
        ("a='-x -y'; exec p \"$a\"", ["exec", "p", "-x -y"]),
        ('exec p $nothing "$nothing" -o$nothing', ["exec", "p", "", "-o"]),
        ("a='1 2'; exec p -l$a-", ["exec", "p", "-l1", "2-"]),
        ("exec p ${o:--D -f}", ["exec", "p", "-D", "-f"]),
        ("exec p $HOME", ["exec", "p", UNKNOWN]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert argv(text) == expected


def test_values_are_read_once_more() -> None:
    outcome = evaluate("name='a b'\nargs='-n \"$name\" -x'\n")
    assert [word.text for word in words(outcome.variables["args"], outcome)] == ["-n", "a b", "-x"]


def test_what_is_sure() -> None:
    outcome = evaluate("one\n[ -n '' ] && two\nif x; then three; fi\nfour | five\nsix\n")
    assert [(ran.command.name, ran.sure) for ran in outcome.commands] == [
        ("one", True),
        ("[", True),
        ("x", True),
        ("three", False),
        ("four", False),
        ("five", False),
        ("six", True),
    ]
    assert [ran.command.line for ran in outcome.commands] == [1, 2, 3, 3, 4, 4, 5]


def test_functions_are_run_where_they_are_called() -> None:
    outcome = evaluate("a=1\nstart() {\n\tlocal b=$a\n\tgo --$b\n}\na=2\n")
    assert outcome.commands[-1].command.assignments[0][1].text == "2"
    found = call(outcome, "start")
    assert [[w.text for w in r.command.words] for r in found.commands] == [["local", "b=2"], ["go", "--2"]]
    assert found.commands[1].command.line == 4
    assert call(outcome, "none").commands == ()


def test_files_that_are_read_in() -> None:
    defaults = "A=1\nexport B=2\n"
    guest = FakeGuest({"/etc/sv/x/conf": "OPTS='-p 1'\n", "/etc/default/y": defaults, "/bin/t": File(mode=0o755)})
    files = Files(guest, "/etc/sv/x")

    def read(text: str) -> Outcome:
        return evaluate(text, None, files)

    assert read("[ -r conf ] && . ./conf\n").variables["OPTS"] == "-p 1"
    assert read("if [ -f /etc/default/y ]; then\n . /etc/default/y\nfi\n").variables == {"A": "1", "B": "2"}
    assert read("[ -r none ] && . ./none\nx=$OPTS\n").variables["x"] == ""
    assert "x" in read(". /run/made/at/boot\nx=$OPTS\n").unsure
    assert "x" in read(". $unknown$(y)\nx=$OPTS\n").unsure
    assert read("[ -x /bin/t ] && x=1").variables["x"] == "1"
    assert "x" in read("[ -e /run/t ] && x=1").unsure
    assert read(". /etc/default/y").exported == {"B"}
    assert read(". ./conf\n. ./conf\n").sourced == ("/etc/sv/x/conf", "/etc/sv/x/conf")


def test_a_file_that_reads_itself_in_comes_to_an_end() -> None:
    outcome = evaluate(". /a\nx=1\n", None, Files(FakeGuest({"/a": ". /a\n. /a\n"})))
    assert outcome.variables["x"] == "1"


MANY = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"a{i}=x\n" for i in range(MANY)),
        "".join(f"a{i}=x\n" for i in range(4000)) + "f(){\n}\n" * MANY,
        "".join(f"a{i}=x\n" for i in range(4000)) + "b=$(c=1)\n" * MANY,
        "a=aaaaaaaa\n" + "a=$a$a\n" * 60,
        "f() { g; g; g; }\ng() { h; h; h; }\nh() { f; f; f; }\n" + "f\n" * 1000,
        "if a; then " * MANY,
        "${a:-" * MANY,
        "x=${a:-" * MANY,
        "(" * MANY,
        "$(" * MANY,
        "{ " * MANY,
        "case a in " * MANY,
        "v=" + "a" * 250 + "\n" + "w=${v%a*b}\n" * MANY,
        "[ a -a " * MANY,
        "[ " + "a -a " * MANY + "]",
        "[ " + "! " * MANY + "]",
    ],
)
def test_hostile_scripts_take_a_bounded_time(text: str) -> None:
    start = time.process_time()
    evaluate(text)
    assert time.process_time() - start < 20  # the worst takes a second where nothing else runs


PIECES = [
    "if ", "then ", "else ", "elif ", "fi\n", "while ", "do ", "done\n", "case x in ", "a) ", ";; ", "esac\n", "f() ",
    "{ ", "}\n", "(", ")", "$(", "`", '"', "'", "${x:-", "${x%", "*}", "}", "$x", "x=1 ", "y=$x ", "; ", "\n", "&& ",
    "|| ", "| ", "& ", "f ", "local z=1 ", ". ./a ", "exec p ", "<<E\n", "E\n", "\\\n", "[ -n a ] ", "! ", "#",
    "\ufdd0", "\ufdd1", UNKNOWN, "\udcff", "function g ", "export q=1 ", "eval ", "unset x ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_is_a_script(text: str) -> None:
    outcome = evaluate(text, {"x": "5"}, Files(FakeGuest({"/a": text})))
    for name in outcome.bodies:
        call(outcome, name)
    for known in outcome.variables.values():
        words(known, outcome)
    assert not outcome.unsure & set(outcome.variables)
