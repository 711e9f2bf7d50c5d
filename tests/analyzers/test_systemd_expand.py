"""Words, specifiers, command lines, variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._expand import (
    Command,
    Environment,
    Specifiers,
    SplitError,
    looks_secret,
    parse_commands,
    replace_variables,
    split_words,
    variable_names,
)
from analyzers._unit import UnitName, parse_name
from tests.analyzers.fake import FakeGuest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("--x='a b'y", ["--x=a by"]),
        (r"a\x20b \101 \t| \s. \u00e9 \xc3\xa9", ["a b", "A", "\t|", " .", "é", "é"]),
        (r"'\'' \q \x0 \000 \xff", ["'", r"\q", r"\x0", r"\000", "\udcff"]),
        ("'' x", ["", "x"]),
        ("a\\", ["a\\"]),
        ("", []),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize("text", ["'a", '"', "a'b c", "'a\\'"])
def test_open_quotes(text: str) -> None:
    with pytest.raises(SplitError):
        split_words(text)


@given(st.text(alphabet=st.sampled_from("ab \t\"'\\nxu0;%$é\udcff"), max_size=20))
def test_hostile_words(text: str) -> None:
    try:
        words = split_words(text)
    except SplitError:
        return
    assert "".join(words) or not text.strip("'\" \t")


# ---------------------------------------------------------------- specifiers

GUEST = FakeGuest(
    {
        "/etc/hostname": "# the machine\nweb01.example\n",
        "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
    }
)


def _name(text: str) -> UnitName:
    name = parse_name(text)
    assert name is not None
    return name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%n %N %p %i %I", "a-b@x-y.service a-b@x-y a-b x-y x/y"),
        ("%P %j %J %f", "a/b b b /x/y"),
        ("%t %S %C %L %E %T %V", "/run /var/lib /var/cache /var/log /etc /tmp /var/tmp"),
        ("%h %u %U %g %G", "/root root 0 root 0"),
        ("%H %l %m", "web01.example web01 0123456789abcdef0123456789abcdef"),
        ("%o %w", "debian 12"),
        ("100%% %%n", "100% %n"),
        ("%b %v %a %W %z %", "%b %v %a %W %z %"),
    ],
)
def test_specifiers(text: str, expected: str) -> None:
    assert Specifiers(GUEST).resolve(text, _name("a-b@x-y.service")) == expected


def test_specifiers_without_an_instance() -> None:
    assert Specifiers(FakeGuest({})).resolve("[%i] %f %H", _name("srv-data.service")) == "[] /srv/data %H"


# ---------------------------------------------------------------- command lines


def _upper(text: str) -> str:
    return text.replace("%i", "MAIN")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("/bin/a -b", [Command("", ("/bin/a", "-b"))]),
        ("-/bin/a", [Command("-", ("/bin/a",))]),
        ("!!/bin/a", [Command("!!", ("/bin/a",))]),
        ("+-:/bin/a $X", [Command("+-:", ("/bin/a", "$X"))]),
        ("@/bin/a name -x", [Command("@", ("/bin/a", "-x"))]),
        ("/bin/a ; /bin/b c", [Command("", ("/bin/a",)), Command("", ("/bin/b", "c"))]),
        ("/bin/a ;", [Command("", ("/bin/a",))]),
        (r"/bin/a \; b", [Command("", ("/bin/a", ";", "b"))]),
        ('/bin/a ";" b', [Command("", ("/bin/a", ";", "b"))]),
        ("/bin/a b;c", [Command("", ("/bin/a", "b;c"))]),
        ("/bin/%i '%i x'", [Command("", ("/bin/MAIN", "MAIN x"))]),
        ("", []),
    ],
)
def test_commands(text: str, commands: list[Command]) -> None:
    assert parse_commands(text, _upper) == commands


@pytest.mark.parametrize("text", ["-", "@/bin/a", "/bin/a 'x", "/bin/a ; -"])
def test_bad_commands(text: str) -> None:
    with pytest.raises(SplitError):
        parse_commands(text, _upper)


@given(st.text(alphabet=st.sampled_from("/a ;\\'\"-@:+!%i$"), max_size=24))
def test_hostile_commands(text: str) -> None:
    try:
        commands = parse_commands(text, lambda word: word)
    except SplitError:
        return
    assert all(command.argv and command.argv[0] for command in commands)


# ---------------------------------------------------------------- variables


def _replaced(*argv: str, **known: str) -> tuple[str, ...]:
    return replace_variables(("/p", *argv), Environment(known))[1:]


def test_variables_as_systemd_service_5_has_it() -> None:
    assert _replaced("$A", A="one two") == ("one", "two")
    assert _replaced("${A}", A="one two") == ("one two",)
    assert _replaced("x${A}y$A", A="1") == ("x1y$A",)
    assert _replaced("$A", "${A}") == ("",)
    assert _replaced("$$A", "a$$b") == ("$A", "a$b")
    assert _replaced("$A", A="x 'y z'") == ("x", "y z")
    assert _replaced("${A", "${A$$", A="1") == ("${A", "${A$$")
    assert replace_variables(("${A}",), Environment({"A": "/bin/x"})) == ("${A}",)


def test_what_is_held_back_stays() -> None:
    environment = Environment({"A": "1"}, frozenset({"PASSWORD"}))
    argv = ("/p", "$PASSWORD", "-p${PASSWORD}", "${A}-${PASSWORD}", "${A}", "$B")
    assert replace_variables(argv, environment) == ("/p", "$PASSWORD", "-p${PASSWORD}", "${A}-${PASSWORD}", "1")
    unsure = Environment({"A": "1"}, open=True)
    assert replace_variables(("/p", "$B", "${A}"), unsure) == ("/p", "$B", "1")


def test_names_in_a_file_of_variables() -> None:
    text = """# comment
; another
DATABASE_URL=postgres://app:hunter2@127.0.0.1/orders
EMPTY=
QUOTED=""
LONG="one
NOT_A_NAME=two
end"
CONTINUED=a \\
 IGNORED=b
not a name=1
LAST=x"""
    assert variable_names(text) == {
        "DATABASE_URL": False,
        "EMPTY": True,
        "QUOTED": True,
        "LONG": False,
        "CONTINUED": False,
        "LAST": False,
    }


@given(st.text(alphabet=st.sampled_from("AB=\"'\\\n# x\udcff"), max_size=40))
def test_hostile_files_of_variables(text: str) -> None:
    assert all(name.isidentifier() for name in variable_names(text))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "postgres://app:hunter2@db/app", True),
        ("DB_PASSWORD", "x", True),
        ("API_KEY", "x", True),
        ("GITHUB_TOKEN", "x", True),
        ("DB_PASS", "x", True),
        ("DB_PASSWORD_FILE", "/run/secrets/db", False),
        ("PASSWORD", "", False),
        ("WORKERS", "4", False),
        ("COMPASS", "north", False),
        ("OLDPWD", "/root", False),
        ("MYSQL_PWD", "x", True),
        ("PROXY", "http://proxy:3128/", False),
    ],
)
def test_looks_secret(name: str, value: str, expected: bool) -> None:
    assert looks_secret(name, value) is expected
