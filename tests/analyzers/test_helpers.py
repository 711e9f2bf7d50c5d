"""The parts that several analyzers share."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzers
from analyzers._addresses import is_every, is_host, over_tcp, run_path, split_host_port, tcp_check
from analyzers._libraries import base_packages
from analyzers._owners import Owners
from analyzers._reading import Reader, absolute, assignments, continued, inside, meaningful
from migrate.addresses import is_loopback
from migrate.model import Finding, Package, PackageFiles, Place
from tests.analyzers.fake import Broken, FakeGuest, Link

HERE = Place("/x", 1)
MODULES = sorted(info.name for info in pkgutil.iter_modules(analyzers.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_so(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"analyzers.{name}")).failed == 0


# ---------------------------------------------------------------- reading


def test_a_reader_remembers_what_it_could_not_read() -> None:
    guest = FakeGuest({"/a": "x" * 10, "/b": Broken("input/output error")})
    reader = Reader(guest, "me")
    assert reader.text("/a", 4) == "xxxx"
    assert reader.text("/b") is None
    assert reader.optional("/c") is None
    assert reader.data("/a", 4) is None
    reader.note("/a", "twice", 3)
    reader.note("/a", "twice", 3)
    assert [(str(f.seen_in), f.why, f.analyzer) for f in reader.unread] == [
        ("/a", "only the first 4 of 10 bytes were read", "me"),
        ("/b", "input/output error", "me"),
        ("/a", "it is 10 bytes long, and at most 4 are read", "me"),
        ("/a:3", "twice", "me"),
    ]


def test_lines() -> None:
    assert list(meaningful("# a\r\n\r\n  b\x0cc \n")) == [(3, "b\x0cc")]

    assert list(continued("a \\\n b\n\nc\n")) == [(1, "a   b"), (4, "c")]


def test_assignments_as_os_release_writes_them() -> None:
    text = 'A=1\nexport B=\'x y\'\nC="a \\"b\\" \\$c"\n# D=1\nnot an assignment\nA=2\n'
    assert assignments(text) == {"A": ("2", 6), "B": ("x y", 2), "C": ('a "b" $c', 3)}


def test_paths() -> None:
    assert absolute("../b//c/.", "/a/x") == "/a/b/c"
    assert absolute("//etc", "/a") == "/etc"
    assert absolute("../../../..", "/a") == "/"
    assert inside("/srv/x", "/srv")
    assert not inside("/srvx", "/srv")
    assert inside("/x", "/")
    assert run_path("/var/run/x") == "/run/x"
    assert run_path("/var/runner") == "/var/runner"


@given(st.text(), st.text())
def test_a_path_never_leaves_the_root(path: str, folder: str) -> None:
    assert absolute(path, f"/{folder}").startswith("/")
    assert "/../" not in absolute(path, f"/{folder}") + "/"


# ---------------------------------------------------------------- addresses


def test_addresses() -> None:
    assert split_host_port("db:5432") == ("db", 5432)
    assert split_host_port("db", 1) == ("db", 1)
    assert split_host_port("[::1]:80") == ("[::1]", 80)
    assert [split_host_port(text) for text in ("db:0", "db:70000", "[x]:1", "a b:1", ":1", "::1")] == [None] * 6
    assert over_tcp("::1", 80) == "tcp:[::1]:80"
    assert is_loopback("localhost")
    assert is_loopback("[::1]")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("127.corp.example")
    assert is_every("[::]")
    assert not is_every("::1")


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    split_host_port(text)
    is_host(text)
    is_loopback(text)


def test_a_check_uses_what_the_guest_has() -> None:
    assert tcp_check(FakeGuest({"/bin": Link("usr/bin"), "/usr/bin/bash": ""}), 80) == (
        "/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80",
    )  # fmt: skip
    assert tcp_check(FakeGuest({"/bin/busybox": ""}), 80) == ("/bin/busybox", "nc", "-z", "127.0.0.1", "80")
    assert tcp_check(FakeGuest({}), 80) is None


# ---------------------------------------------------------------- owners


def test_owners_of_links_and_of_what_they_lead_to() -> None:
    guest = FakeGuest(
        {
            "/bin": Link("usr/bin"),
            "/usr/bin/vi": Link("/etc/alternatives/vi"),
            "/etc/alternatives/vi": Link("/usr/bin/vim.tiny"),
            "/usr/bin/vim.tiny": "",
            "/usr/bin/loop": Link("loop"),
            "/srv/x/a": "",
            "/srv/x/b": "",
        }
    )
    findings = [
        PackageFiles(seen_in=HERE, package="vim-tiny", paths=("/usr/bin/vim.tiny", "/srv/x/a")),
        PackageFiles(seen_in=HERE, package="base", paths=("/usr", "/usr/bin")),
    ]
    owners = Owners(guest, findings)
    assert owners.packages("/bin/vi") == [("vim-tiny", "/usr/bin/vim.tiny")]
    assert owners.own("/bin/vi") is None
    assert owners.package("/bin/loop") is None
    assert owners.stray("/srv/x") == "/srv/x/b"
    assert owners.stray("/srv/x", ("b",)) is None
    assert owners.stray("/gone") is None
    assert owners.shipping("vim.tiny") == [("vim-tiny", "/usr/bin/vim.tiny")]
    assert bool(owners)
    assert not Owners(guest, [])


def test_what_every_base_image_has() -> None:
    def package(name: str, priority: str, *depends: str) -> Finding:
        return Package(
            seen_in=HERE, name=name, version="1", architecture="all", manager="dpkg", chosen=True, priority=priority,
            depends=depends,
        )  # fmt: skip

    packages = [
        package("dpkg", "required", "tar", "gone"),
        package("tar", "optional", "libacl1"),
        package("libacl1", "optional", "dpkg"),
        package("apt", "important", "gpgv"),
        package("gpgv", "optional"),
        package("nginx", "optional", "tar"),
    ]
    assert base_packages(packages) == {"dpkg", "tar", "libacl1", "apt", "gpgv"}
