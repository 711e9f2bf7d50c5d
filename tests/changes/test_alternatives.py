from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrate.changes.alternatives import Alternative, parse_alternative, switched
from migrate.changes.compare import compare
from migrate.changes.model import Difference
from migrate.facts import Facts
from migrate.model import PackageFiles, Place
from tests.analyzers.fake import Content, FakeGuest, Link

# As dpkg 1.21 writes it: one slave, two choices.
EDITOR = """\
{status}
/usr/bin/editor
editor.1.gz
/usr/share/man/man1/editor.1.gz

/bin/nano
40
/usr/share/man/man1/nano.1.gz
/usr/bin/vim.basic
30


"""
# As alternatives(8) of chkconfig 1.19 writes it: a family, an init script, no slave.
JAVA = (
    "manual\n/usr/bin/java\n\n/usr/lib/jvm/11/bin/java\n@java-11@1100 service\n/usr/lib/jvm/8/bin/java\n@java-8@800\n"
)
VIM = PackageFiles(seen_in=Place("/list"), package="nano", paths=("/bin/nano", "/usr/bin/vim.basic"))


def guest(status: str, target: str, *, without: str = "") -> FakeGuest:
    files: dict[str, Content] = {
        "/var/lib/dpkg/alternatives/editor": EDITOR.format(status=status),
        "/etc/alternatives/editor": Link(target),
        "/bin/nano": "",
        "/usr/bin/vim.basic": "",
    }
    files.pop(without, None)
    return FakeGuest(files)


def test_both_formats() -> None:
    assert parse_alternative(EDITOR.format(status="auto")) == Alternative(
        "auto",
        ("/usr/bin/editor", "/usr/share/man/man1/editor.1.gz"),
        (("/bin/nano", 40), ("/usr/bin/vim.basic", 30)),
    )
    assert parse_alternative(JAVA) == Alternative(
        "manual", ("/usr/bin/java",), (("/usr/lib/jvm/11/bin/java", 1100), ("/usr/lib/jvm/8/bin/java", 800))
    )
    assert parse_alternative("something else\n/x\n") is None
    assert parse_alternative("") is None


def test_the_best_choice_is_no_change_however_it_came_about() -> None:
    for status in ("auto", "manual"):
        assert list(switched(Facts([VIM], guest(status, "/bin/nano")))) == []


def test_a_switched_group_is_a_change_of_configuration() -> None:
    found = compare(Facts([VIM], guest("manual", "/usr/bin/vim.basic")))
    (change,) = found.changes
    assert change.path == "/etc/alternatives/editor"
    assert (change.package, change.configuration) == ("nano", True)
    assert change.differences == (Difference("target", "/bin/nano", "/usr/bin/vim.basic"),)
    assert change.seen_in == Place("/var/lib/dpkg/alternatives/editor", 1)


def test_what_is_not_installed_is_not_the_best() -> None:
    assert list(switched(Facts([], guest("auto", "/usr/bin/vim.basic", without="/bin/nano")))) == []
    assert list(switched(Facts([], guest("auto", "/bin/nano", without="/etc/alternatives/editor")))) == []


LINES = st.sampled_from(["auto", "manual", "/usr/bin/x", "x", "", "40", "-1", "@f@", "@f@/x", "9" * 400, "\udc80"])


@given(st.lists(LINES | st.text(max_size=8)).map("\n".join))
def test_no_text_breaks_the_parser(text: str) -> None:
    parse_alternative(text)
