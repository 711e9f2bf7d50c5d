from __future__ import annotations

import random
import time
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.changes.pristine_hosts import HOSTS, Listed, addresses, listed
from migrate.model import Package, Place, System

SEEN = Place("/etc/os-release")


def package(name: str, version: str, manager: str, arch: str, source: str = "", section: str = "") -> Package:
    return Package(
        seen_in=SEEN, name=name, version=version, architecture=arch, manager=manager, chosen=True,
        source=source or name, section=section,
    )  # fmt: skip


def system(named: str, version: str = "", family: str = "") -> System:
    return System(seen_in=SEEN, family=family or named, id=named, version=version, name=named)


NGINX = package("nginx-common", "1.22.1-9", "dpkg", "all", "nginx", "httpd")


@pytest.mark.parametrize(
    ("of", "on", "filename", "expected"),
    [
        (NGINX, system("debian", "12"), "", [
            "http://deb.debian.org/debian/pool/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://deb.debian.org/debian-security/pool/updates/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://archive.debian.org/debian/pool/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://archive.debian.org/debian-security/pool/updates/main/n/nginx/nginx-common_1.22.1-9_all.deb",
        ]),
        (NGINX, system("debian", "12"), "pool/updates/main/n/nginx/nginx-common_1.22.1-9_all.deb", [
            "http://deb.debian.org/debian-security/pool/updates/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://deb.debian.org/debian/pool/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://archive.debian.org/debian/pool/main/n/nginx/nginx-common_1.22.1-9_all.deb",
            "http://archive.debian.org/debian-security/pool/updates/main/n/nginx/nginx-common_1.22.1-9_all.deb",
        ]),
        (package("libpq5", "1:15.1~rc1-2", "dpkg", "amd64", "postgresql-15", "universe/libs"), system("ubuntu"), "", [
            f"http://{host}/ubuntu/pool/universe/p/postgresql-15/libpq5_15.1~rc1-2_amd64.deb"
            for host in ("archive.ubuntu.com", "security.ubuntu.com", "old-releases.ubuntu.com")
        ]),
        (package("libc6", "2.36", "dpkg", "arm64", "libcx"), system("ubuntu"), "", [
            "http://ports.ubuntu.com/ubuntu-ports/pool/main/libc/libcx/libc6_2.36_arm64.deb",
            *(f"http://{host}/ubuntu/pool/main/libc/libcx/libc6_2.36_arm64.deb"
              for host in ("archive.ubuntu.com", "security.ubuntu.com", "old-releases.ubuntu.com")),
        ]),
        (package("openssh-server", "9.7_p1-r4", "apk", "x86_64"), system("alpine", "3.20.3"), "", [
            f"https://dl-cdn.alpinelinux.org/alpine/v3.20/{part}/x86_64/openssh-server-9.7_p1-r4.apk"
            for part in ("main", "community")
        ]),
        (package("vim", "1:9.1-2", "pacman", "x86_64"), system("arch"), "", [
            f"https://archive.archlinux.org/packages/v/vim/vim-1%3A9.1-2-x86_64.pkg.tar.{packed}"
            for packed in ("zst", "xz")
        ]),
        (package("bash", "4.2.46-34.el7", "rpm", "x86_64"), system("centos", "7", "rhel"), "", [
            f"https://vault.centos.org/7.9.2009/{part}/x86_64/Packages/bash-4.2.46-34.el7.x86_64.rpm"
            for part in ("os", "updates")
        ]),
        (package("bind", "32:9.16-1.el9", "rpm", "noarch"), system("almalinux", "9.4", "rhel"), "", [
            f"https://{top}/9.4/{part}/x86_64/os/Packages/bind-9.16-1.el9.noarch.rpm"
            for top in ("repo.almalinux.org/almalinux", "vault.almalinux.org") for part in ("BaseOS", "AppStream")
        ]),
        (package("Xorg", "1-2", "rpm", "x86_64"), system("rocky", "9.4", "rhel"), "", [
            f"https://dl.rockylinux.org/{top}/rocky/9.4/{part}/x86_64/os/Packages/x/Xorg-1-2.x86_64.rpm"
            for top in ("pub", "vault") for part in ("BaseOS", "AppStream")
        ]),
        (package("vim-minimal", "2:9.1-1.fc40", "rpm", "x86_64", "vim"), system("fedora", "40"), "", [
            "https://kojipkgs.fedoraproject.org/packages/vim/9.1/1.fc40/x86_64/vim-minimal-9.1-1.fc40.x86_64.rpm",
        ]),
        (package("bash", "5-1", "rpm", "x86_64"), system("opensuse-leap", "15.6", "suse"), "", []),
        (package("bash", "5-1", "rpm", "x86_64"), system("rhel", "9.4", "rhel"), "", []),
        (package("bash", "5-r1", "apk", "x86_64"), system("alpine", "edge"), "", []),
        (NGINX, system("linuxmint", "21", "debian"), "", []),
    ],
)  # fmt: skip
def test_addresses(of: Package, on: System, filename: str, expected: list[str]) -> None:
    found = list(addresses(of, on, filename))
    assert found == expected
    assert {urlsplit(url).hostname for url in found} <= HOSTS


SYSTEMS = [system("debian", "12"), system("ubuntu"), system("alpine", "3.20"), system("arch"), system("centos", "7"),
           system("almalinux", "9.4"), system("rocky", "9.4"), system("fedora", "40")]  # fmt: skip


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.sampled_from(SYSTEMS),
       st.sampled_from(["dpkg", "rpm", "apk", "pacman"]))  # fmt: skip
def test_no_name_leads_to_another_host(
    name: str, version: str, arch: str, other: str, on: System, manager: str
) -> None:
    for url in addresses(package(name, version, manager, arch, other, other), on):
        parts = urlsplit(url)
        assert parts.hostname in HOSTS
        assert not parts.query
        assert not parts.fragment
        assert "/../" not in url
        assert url.isprintable()


@pytest.mark.parametrize("name", ["../x", "a/b", "a?b", "a#b", "a@evil.example", "a\nb", "", "-x", "ä"])
def test_what_is_no_name_is_asked_nowhere(name: str) -> None:
    for manager in ("dpkg", "rpm", "apk", "pacman"):
        for on in SYSTEMS:
            assert not list(addresses(package(name, "1-1", manager, "x86_64"), on))
            assert not list(addresses(package("x", name, manager, "x86_64"), on))
            assert not list(addresses(package("x", "1-1", manager, name.upper()), on))


LIST = b"""Package: nginx
Architecture: all
Version: 1.0-1
Filename: pool/main/n/nginx/nginx_1.0-1_all.deb
SHA256: %s

Package: nginx-common
Architecture: all
Version: 1.22.1-9
Priority: optional
Filename: pool/main/n/nginx/nginx-common_1.22.1-9_all.deb
Size: 112000
SHA256: %s
""" % (b"a" * 64, b"b" * 64)


def test_a_list_says_path_and_digest() -> None:
    assert listed(LIST, NGINX) == Listed("pool/main/n/nginx/nginx-common_1.22.1-9_all.deb", "b" * 64)
    first = package("nginx", "1.0-1", "dpkg", "all")
    assert listed(LIST, first) == Listed("pool/main/n/nginx/nginx_1.0-1_all.deb", "a" * 64)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.22.1-9\n", b"1.22.1-8\n"), (b"Architecture: all\nVersion: 1.22", b"Architecture: amd64\nVersion: 1.22"),
        (b"b" * 64, b"b" * 63), (b"pool/main/n/nginx/nginx-c", b"pool/../n/nginx/nginx-c"),
        (b"pool/main/n/nginx/nginx-c", b"/pool/nginx-c"), (b"pool/main/n/nginx/nginx-c", b"//evil.example/nginx-c"),
        (b"pool/main/n/nginx/nginx-c", b"http://evil.example/nginx-c"), (b"nginx-common_1", b"nginx?common_1"),
    ],
)  # fmt: skip
def test_a_list_that_says_something_else_is_not_followed(old: bytes, new: bytes) -> None:
    assert old in LIST
    assert listed(LIST.replace(old, new), NGINX) is None


def test_a_list_made_to_be_slow_is_not() -> None:
    start = time.process_time()
    assert listed(b"\nPackage: nginx-common" * 500_000, NGINX) is None
    assert listed(b"\n" + b"Package: nginx-common\n" * 500_000, NGINX) is None
    assert time.process_time() - start < 20


def test_damaged_lists_say_nothing_or_the_same() -> None:
    generator = random.Random(4)
    for _ in range(2000):
        data = bytearray(LIST)
        for _ in range(3):
            data[generator.randrange(len(data))] = generator.randrange(256)
        found = listed(bytes(data), NGINX)
        assert found is None or (found.filename.endswith(".deb") and len(found.sha256) == 64)
