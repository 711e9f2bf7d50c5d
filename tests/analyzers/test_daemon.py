"""Programs that start daemons, and those that wrap a command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._daemon import Daemon, Wrapped, start_stop_daemon, unwrap


def test_openrcs_start_stop_daemon() -> None:
    told = start_stop_daemon(
        [
            "-S",
            "-b",
            "-m",
            "-p",
            "/run/x.pid",
            "-u",
            "x:y",
            "-d",
            "/srv",
            "-e",
            "A=1",
            "--env=B=2",
            "-x",
            "/bin/x",
            "--",
            "-f",
            "--user",
            "z",
        ]
    )
    assert told is not None
    assert told.command == ("/bin/x", "-f", "--user", "z")
    assert told.user == ("x", "y")
    assert told.environment == (("A", "1"), ("B", "2"))
    assert told.options["pidfile"] == "/run/x.pid"
    assert "background" in told.options
    assert start_stop_daemon(["--start", "--exec", "/bin/x", "--zorro"]) is None
    assert start_stop_daemon([]) == Daemon()


def test_dpkgs_start_stop_daemon() -> None:
    told = start_stop_daemon(
        ["--start", "--quiet", "-c", "www:web", "-u", "other", "--startas", "/bin/y", "--exec", "/bin/x", "--", "-f"],
        "dpkg",
    )
    assert told is not None
    assert (told.command, told.user) == (("/bin/y", "-f"), ("www", "web"))


def test_supervise_daemon() -> None:
    told = start_stop_daemon(["--start", "--respawn-max", "3", "-m", "5", "-u", "q", "/bin/q", "--", "-f"], "supervise")
    assert told is not None
    assert (told.command, told.user) == (("/bin/q", "--", "-f"), ("q", ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/bin/x -a", Wrapped(command=("/bin/x", "-a"))),
        ("nice -n 5 nohup /bin/x", Wrapped(command=("/bin/x",))),
        (
            "chpst -u a:b:c -o 1024 -e ./env -C/srv -P -v /bin/x -y",
            Wrapped(
                command=("/bin/x", "-y"),
                user="a",
                group="b:c",
                environment_directory="./env",
                directory="/srv",
                settings=(("LimitNOFILE", "1024"),),
            ),
        ),
        ("setuidgid a softlimit -m 100 -o 5 x", Wrapped(command=("x",), user="a",
                                                        settings=(("LimitAS", "100"), ("LimitNOFILE", "5")))),
        ("env -i A=1 B=2 x y=3", Wrapped(command=("x", "y=3"), environment=(("A", "1"), ("B", "2")))),
        ("s6-setuidgid a:b s6-envdir /e x", Wrapped(command=("x",), user="a", group="b", environment_directory="/e")),
        ("fdmove -c 2 1 x", Wrapped(command=("x",))),
        ("cd /srv umask 027 x", Wrapped(command=("x",), directory="/srv", settings=(("UMask", "027"),))),
        ("sudo -u a -E -- x -u b", Wrapped(command=("x", "-u", "b"), user="a")),
        ("su-exec a:b x", Wrapped(command=("x",), user="a", group="b")),
        ("sudo --zorro a x", Wrapped(command=("sudo", "--zorro", "a", "x"))),  # not understood: left as it is
        ("chpst -u", Wrapped(command=("chpst", "-u"))),
        ("env A=1", Wrapped(command=("env", "A=1"))),
        ("", Wrapped(command=())),
    ],
)  # fmt: skip
def test_wrappers(text: str, expected: Wrapped) -> None:
    assert unwrap(text.split()) == expected


WORDS = st.sampled_from(["chpst", "env", "nice", "-n", "-u", "a:b", "A=1", "--", "-", "softlimit", "-m", "sudo", "",
                         "-e", "s6-setuidgid", "fdmove", "-c", "2", "-x", "--exec", "--start", "-S", "/bin/x", "-C",
                         "\udcff"])  # fmt: skip


@given(st.lists(WORDS, max_size=12))
def test_any_words(words: list[str]) -> None:
    assert len(unwrap(words).command) <= len(words)
    start_stop_daemon(words)
    start_stop_daemon(words, "dpkg")
    start_stop_daemon(words, "supervise")
