from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import os_release
from analyzers._elf import read_elf
from migrate.guest.archives.tarball import TarGuest
from migrate.model import Place, System, Trait, Unread
from tests.analyzers.fake import FakeGuest, File, Link

BOOKWORM = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""

# The heads of os-release files as these systems ship them: (text, family, id, version, day support ends).
RELEASES = {
    "ubuntu 22.04": (
        'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n',
        ("debian", "ubuntu", "22.04", "2027-04-01"),
    ),
    "rocky 8.9": (
        'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.9"\n',
        ("rhel", "rocky", "8.9", "2029-05-31"),
    ),
    "centos stream": (
        'NAME="CentOS Stream"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\nPRETTY_NAME="CentOS Stream 9"\n',
        ("rhel", "centos", "9", "2027-05-31"),
    ),
    "centos 8": (
        'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="8"\nPRETTY_NAME="CentOS Linux 8"\n',
        ("rhel", "centos", "8", "2021-12-31"),
    ),
    "sles": (
        'NAME="SLES"\nVERSION_ID="15.5"\nID="sles"\nID_LIKE="suse"\n',
        ("suse", "sles", "15.5", "2024-12-31"),
    ),
    "amazon 2": (
        'NAME="Amazon Linux"\nID="amzn"\nID_LIKE="centos rhel fedora"\nVERSION_ID="2"\n',
        ("rhel", "amzn", "2", "2026-06-30"),
    ),
    "alpine": (
        'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\n',
        ("alpine", "alpine", "3.20.3", "2026-04-01"),
    ),
    "a derivative nobody knows": (
        "ID=zorro\nID_LIKE='ubuntu debian'\nVERSION_ID=1\n",
        ("debian", "zorro", "1", None),
    ),
    "nothing known": ("ID=zorro\n", ("linux", "zorro", "", None)),
}


@pytest.mark.parametrize("name", RELEASES)
def test_families_versions_and_the_end_of_support(name: str) -> None:
    text, expected = RELEASES[name]
    system = os_release.parse_os_release(text, "/etc/os-release")
    assert (system.family, system.id, system.version, os_release.end_of_life(system)) == expected


def elf(machine: int, *, big: bool = False, bits: int = 64, flags: int = 0) -> bytes:
    """Return an ELF header alone, as elf(5) lays it out."""
    order = ">" if big else "<"
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 2 if big else 1, 1]) + bytes(9)
    size, word = (64, "Q") if bits == 64 else (52, "I")
    return ident + struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH", 2, machine, 1, 0, 0, 0, flags, size, 0, 0, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (elf(62), "amd64"),
        (elf(62, bits=32), "x32"),
        (elf(183), "arm64"),
        (elf(3, bits=32), "i386"),
        (elf(22, big=True), "s390x"),
        (elf(21), "ppc64le"),
        (elf(21, big=True), "ppc64"),
        (elf(40, bits=32, flags=0x5000400), "armhf"),
        (elf(40, bits=32, flags=0x5000000), "armel"),
        (elf(243), "riscv64"),
        (elf(0xFEFE), "unknown (65278)"),
    ],
)
def test_the_architecture_is_read_from_an_elf_header(data: bytes, name: str) -> None:
    assert read_elf(data).machine == name


@given(st.binary(max_size=300).map(lambda tail: elf(62)[:40] + tail))
def test_a_broken_elf_file_raises_nothing_but_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_elf(data)


@given(st.text())
def test_any_text_is_an_os_release(text: str) -> None:
    assert os_release.parse_os_release(text, "/x").family


def test_a_debian_machine() -> None:
    guest = FakeGuest(
        {
            "/usr/lib/os-release": BOOKWORM,
            "/etc/os-release": Link("../usr/lib/os-release"),
            "/etc/hostname": "# the shop\nshop01\n",
            "/bin": Link("usr/bin"),
            "/usr/bin/dash": File(elf(62), mode=0o755),
            "/usr/bin/sh": Link("dash"),
            "/sbin/init": Link("/lib/systemd/systemd"),
            "/lib/systemd/systemd": File(elf(62), mode=0o755),
            "/etc/localtime": Link("/usr/share/zoneinfo/Europe/Belfast"),
            "/etc/timezone": "Europe/London\n",
            "/etc/default/locale": '# made by update-locale\nLANG="de_DE.UTF-8"\n',
            "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        }
    )
    found = list(os_release.analyze(guest))
    assert found[0] == System(
        seen_in=Place("/etc/os-release", 6),
        family="debian",
        id="debian",
        version="12",
        name="Debian GNU/Linux 12 (bookworm)",
        codename="bookworm",
    )
    assert {(f.key, f.value, str(f.seen_in)) for f in found if isinstance(f, Trait)} == {
        ("end_of_life", "2026-07-11", "/etc/os-release:6"),
        ("hostname", "shop01", "/etc/hostname:2"),
        ("architecture", "amd64", "/usr/bin/dash"),
        ("init", "systemd", "/sbin/init"),
        ("timezone", "Europe/Belfast", "/etc/localtime"),  # the link counts, localtime(5)
        ("locale", "de_DE.UTF-8", "/etc/default/locale:2"),
        ("machine_id", "set", "/etc/machine-id"),
    }
    assert "0123456789abcdef" not in repr(found)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/etc/debian_version": "7.11\n"}, ("debian", "debian", "7.11", "2016-04-25")),
        (
            {"/etc/redhat-release": "CentOS release 6.10 (Final)\n"},
            ("rhel", "centos", "6.10", "2020-11-30"),
        ),
        (
            {"/etc/redhat-release": "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n"},
            ("rhel", "rhel", "5.11", "2017-03-31"),
        ),
        ({"/etc/alpine-release": "3.12.12\n"}, ("alpine", "alpine", "3.12.12", "2022-05-01")),
    ],
)
def test_systems_from_before_os_release(files: dict[str, str], expected: tuple[str, ...]) -> None:
    system = next(iter(os_release.analyze(FakeGuest(dict(files)))))
    assert isinstance(system, System)
    assert (system.family, system.id, system.version, os_release.end_of_life(system)) == expected


def test_a_machine_that_does_not_say_what_it_is() -> None:
    found = list(os_release.analyze(FakeGuest({"/etc/issue": "\nttylinux ver 16.1 [x86] \\n \\l\n"})))
    assert found[0] == System(
        seen_in=Place("/etc/issue", 2), family="linux", id="linux", version="", name="ttylinux ver 16.1 [x86]"
    )
    assert {f.seen_in.path for f in found if isinstance(f, Unread)} == {"/etc/os-release", "/bin/sh"}


CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "rootfs"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("almalinux-8-docker-s390x-micro.tar.xz", ("rhel", "almalinux", "s390x")),
        ("almalinux-9-docker-aarch64-micro.tar.xz", ("rhel", "almalinux", "arm64")),
        ("alpine-minirootfs-3.20.3-x86_64.tar.gz", ("alpine", "alpine", "amd64")),
    ],
)
def test_roots_of_other_architectures(name: str, expected: tuple[str, str, str]) -> None:
    archive = CORPUS / name
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    with TarGuest(archive) as guest:
        found = list(os_release.analyze(guest))
    system = next(f for f in found if isinstance(f, System))
    architecture = next(f.value for f in found if isinstance(f, Trait) and f.key == "architecture")
    assert (system.family, system.id, architecture) == expected
