from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import os_release
from analyzers._elf import read_elf
from analyzers._families import ReleaseFile, family_of, parse_cpe, parse_release_file, products, rules
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
    "fedora": ('NAME="Fedora Linux"\nID=fedora\nVERSION_ID=40\n', ("rhel", "fedora", "40", "2025-05-13")),
    "oracle": (
        'NAME="Oracle Linux Server"\nVERSION="7.9"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="7.9"\n',
        ("rhel", "ol", "7.9", "2024-12-31"),
    ),
    "amazon 1": (
        'NAME="Amazon Linux AMI"\nID="amzn"\nID_LIKE="rhel fedora"\nVERSION_ID="2018.03"\n',
        ("rhel", "amzn", "2018.03", "2023-12-31"),
    ),
    "leap": (
        'NAME="openSUSE Leap"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n',
        ("suse", "opensuse-leap", "15.6", "2026-04-30"),
    ),
    "leap 42, which was plain opensuse": (
        'NAME="openSUSE Leap"\nID=opensuse\nID_LIKE="suse"\nVERSION_ID="42.3"\n',
        ("suse", "opensuse", "42.3", "2019-07-01"),
    ),
    "tumbleweed has no end": (
        'NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nVERSION_ID="20260801"\n',
        ("suse", "opensuse-tumbleweed", "20260801", None),
    ),
    "sles 12 without a service pack": (
        'NAME="SLES"\nVERSION_ID="12"\nID="sles"\n',
        ("suse", "sles", "12", "2016-06-30"),
    ),
    "photon": ('NAME="VMware Photon OS"\nID=photon\nVERSION_ID=4.0\n', ("photon", "photon", "4.0", "2027-10-11")),
    "mariner": ('NAME="CBL-Mariner"\nID=mariner\nVERSION_ID="2.0"\n', ("azurelinux", "mariner", "2.0", None)),
    "arch": ('NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n', ("arch", "arch", "", None)),
    "manjaro": ("ID=manjaro\nID_LIKE=arch\n", ("arch", "manjaro", "", None)),
    "gentoo": ("NAME=Gentoo\nID=gentoo\n", ("gentoo", "gentoo", "", None)),
    "void": ('NAME="Void"\nID="void"\n', ("void", "void", "", None)),
    "slackware": ("NAME=Slackware\nID=slackware\nVERSION_ID=14.2\n", ("slackware", "slackware", "14.2", "2024-01-01")),
    "openwrt": (
        'NAME="OpenWrt"\nID="openwrt"\nID_LIKE="lede openwrt"\nVERSION_ID="23.05.3"\n',
        ("openwrt", "openwrt", "23.05.3", "2025-08-16"),
    ),
    "kali": ('ID=kali\nID_LIKE=debian\nVERSION_ID="2024.1"\n', ("debian", "kali", "2024.1", None)),
    "devuan": ('ID=devuan\nID_LIKE=debian\nVERSION_ID="4"\n', ("debian", "devuan", "4", "2024-07-01")),
    "raspbian": ('ID=raspbian\nID_LIKE=debian\nVERSION_ID="11"\n', ("debian", "raspbian", "11", None)),
    "mint": ('NAME="Linux Mint"\nID=linuxmint\nVERSION_ID="21.2"\n', ("debian", "linuxmint", "21.2", "2027-04-30")),
    "mint of debian": (
        'NAME="LMDE"\nPRETTY_NAME="LMDE 6 (faye)"\nID=linuxmint\nVERSION_ID="6"\n',
        ("debian", "linuxmint", "6", "2026-01-01"),
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
        ("end_of_extended_support", "2028-06-30", "/etc/os-release:6"),  # LTS
        ("hostname", "shop01", "/etc/hostname:2"),
        ("architecture", "amd64", "/usr/bin/dash"),
        ("init", "systemd", "/sbin/init"),
        ("timezone", "Europe/Belfast", "/etc/localtime"),  # the link counts, localtime(5)
        ("locale", "de_DE.UTF-8", "/etc/default/locale:2"),
        ("machine_id", "set", "/etc/machine-id"),
    }
    assert "0123456789abcdef" not in repr(found)


SLES_11 = "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n"
OPENSUSE = "openSUSE 13.1 (x86_64)\nVERSION = 13.1\nCODENAME = Bottle\n# /etc/SuSE-release is deprecated\n"
HARDY = 'DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=8.04\nDISTRIB_CODENAME=hardy\nDISTRIB_DESCRIPTION="Ubuntu 8.04.4 LTS"\n'
BARRIER = "DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='17.01.4'\nDISTRIB_DESCRIPTION='OpenWrt 17.01.4'\n"
RED_HAT_6 = "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"debian_version": "7.11\n"}, ("debian", "debian", "7.11", "2016-04-25")),
        ({"debian_version": "5.0.10\n"}, ("debian", "debian", "5.0.10", "2012-02-06")),
        ({"debian_version": "squeeze/sid\n"}, ("debian", "debian", "", None)),
        ({"debian_version": "lenny/sid\n", "lsb-release": HARDY}, ("debian", "ubuntu", "8.04", "2013-05-09")),
        ({"redhat-release": "CentOS release 6.10 (Final)\n"}, ("rhel", "centos", "6.10", "2020-11-30")),
        (
            {"centos-release": "CentOS release 5.11 (Final)\n", "lsb-release": "LSB_VERSION=core-4.0-amd64\n"},
            ("rhel", "centos", "5.11", "2017-03-31"),
        ),
        (
            {"redhat-release": "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n"},
            ("rhel", "rhel", "5.11", "2017-03-31"),
        ),
        (
            {"redhat-release": RED_HAT_6, "oracle-release": "Oracle Linux Server release 6.10\n"},
            ("rhel", "ol", "6.10", "2021-03-31"),
        ),
        ({"redhat-release": "Scientific Linux release 6.5 (Carbon)\n"}, ("rhel", "scientific", "6.5", "2020-11-30")),
        ({"redhat-release": "Red Hat Linux release 9 (Shrike)\n"}, ("rhel", "redhat", "9", None)),  # not RHEL 9
        ({"redhat-release": "XenServer release 6.2.0-70446c (xenenterprise)\n"}, ("rhel", "xenserver", "6.2.0", None)),
        ({"fedora-release": "Fedora release 20 (Heisenbug)\n"}, ("rhel", "fedora", "20", "2015-06-23")),
        ({"system-release": "Amazon Linux AMI release 2013.09\n"}, ("rhel", "amzn", "2013.09", "2023-12-31")),
        ({"system-release-cpe": "cpe:/o:centos:linux:6:GA\n"}, ("rhel", "centos", "6", "2020-11-30")),
        (
            {"system-release-cpe": "cpe:2.3:o:amazon:amazon_linux:2\n"},
            ("rhel", "amzn", "2", "2026-06-30"),
        ),
        ({"system-release-cpe": "cpe:/o:zorro:os:1\n"}, ("linux", "zorro", "1", None)),
        ({"SuSE-release": SLES_11}, ("suse", "sles", "11.4", "2019-03-31")),
        ({"SuSE-release": OPENSUSE}, ("suse", "opensuse", "13.1", "2016-02-03")),
        ({"alpine-release": "3.12.12\n"}, ("alpine", "alpine", "3.12.12", "2022-05-01")),
        ({"arch-release": ""}, ("arch", "arch", "", None)),
        ({"slackware-version": "Slackware 13.37.0\n"}, ("slackware", "slackware", "13.37.0", "2018-07-05")),
        ({"gentoo-release": "Gentoo Base System release 2.2\n"}, ("gentoo", "gentoo", "2.2", None)),
        ({"openwrt_release": BARRIER}, ("openwrt", "openwrt", "17.01.4", "2019-02-01")),
        (
            {"photon-release": "VMware Photon Linux v1.0\nPHOTON_BUILD_NUMBER=6\n"},
            ("photon", "photon", "1.0", "2022-02-28"),
        ),
    ],
)
def test_systems_from_before_os_release(files: dict[str, str], expected: tuple[str, ...]) -> None:
    system = next(iter(os_release.analyze(FakeGuest({f"/etc/{name}": text for name, text in files.items()}))))
    assert isinstance(system, System)
    assert (system.family, system.id, system.version, os_release.end_of_life(system)) == expected


def test_the_data_is_whole() -> None:
    for ident, product in products().items():
        assert product.source.startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", product.as_of)
        for version, release in product.releases.items():
            assert re.fullmatch(r"\d+(\.\d+)*", version), (ident, version)
            assert date.fromisoformat(release.ends).year >= 2006
            if release.extended:
                assert date.fromisoformat(release.extended) > date.fromisoformat(release.ends), (ident, version)
    for rule in rules().release_files:
        idents = [rule.ident, *rule.words.values()]
        assert all(family_of(ident, rule.like) != "linux" for ident in idents if ident), rule.file
    assert all(family_of(ident) != "linux" for ident in rules().cpe.values())
    assert {family_of(ident) for ident in products() if not ident.startswith(("scientific",))} <= set(rules().families)


@pytest.mark.parametrize(
    ("ident", "versions"),
    [
        ("debian", range(5, 14)),
        ("rhel", range(5, 11)),
        ("centos", range(5, 9)),
        ("ol", range(5, 10)),
        ("almalinux", range(8, 11)),
        ("rocky", range(8, 11)),
        ("fedora", range(20, 45)),
        ("ubuntu", [f"{year}.{month}" for year in range(10, 26) for month in ("04", "10")] + ["26.04"]),
        ("alpine", [f"3.{minor}" for minor in range(25)]),
        ("sles", [f"11.{sp}" for sp in range(5)] + [f"12.{sp}" for sp in range(6)] + [f"15.{sp}" for sp in range(8)]),
    ],
)
def test_every_release_in_the_range_has_its_end(ident: str, versions: Iterable[object]) -> None:
    assert [v for v in map(str, versions) if v not in products()[ident].releases] == []


@given(st.text(), st.sampled_from(rules().release_files))
def test_any_text_is_a_release_file(text: str, rule: ReleaseFile) -> None:
    found = parse_release_file(text, rule)
    assert found is None or (found.family and found.id)


@given(st.text(alphabet=st.sampled_from("cpe:/o2.3: \nabc6")))
def test_any_text_is_a_cpe(text: str) -> None:
    found = parse_cpe(text, {})
    assert found is None or found.family


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


def test_program_headers_without_a_size_are_not_counted() -> None:
    """pyelftools went through 2³² of them: e_phnum 0xffff, with the number in section 0's sh_info (gABI)."""
    data = bytearray(128)
    data[:7] = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<HHIQQQIHHHHHH", data, 16, 3, 62, 1, 0, 64, 64, 0, 64, 0, 0xFFFF, 64, 1, 0)
    struct.pack_into("<IIQQQQIIQQ", data, 64, 0, 0, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0, 0)
    with pytest.raises(ValueError, match="4294967295 program headers"):
        read_elf(bytes(data))
