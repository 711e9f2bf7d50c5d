from __future__ import annotations

import gzip
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import opkg
from migrate.model import Finding, Package, PackageFiles, Place, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, Link

MD5 = hashlib.md5(b"config\n").hexdigest()
SHA = hashlib.sha256(b"config\n").hexdigest()
STATUS = f"""\
Package: dropbear
Version: 2022.82-6
Depends: libc, libubox20230523 (>= 2023), virtual-thing
Status: install user,hold installed
Architecture: mips_24kc
Conffiles:
 /etc/dropbear/key {SHA}
 /etc/config/dropbear {MD5}
Installed-Time: 1711199999

Package: libubox20230523
Version: 2023-05-23-75a3b870-1
Depends: libc
Provides: libubox, virtual-thing
Status: install ok installed
Essential: yes
Architecture: mips_24kc
Installed-Time: 1711199999
Auto-Installed: yes

Package: libc
Version: 1.2.4-4
Status: install hold installed
Architecture: mips_24kc

Package: gone
Version: 1
Status: deinstall user not-installed
Architecture: all

Package: mine
Version: 1
Status: install user installed
Architecture: all
"""
INFO = "/usr/lib/opkg/info"
SYSTEM: dict[str, Content] = {
    "/usr/lib/opkg/status": STATUS,
    f"{INFO}/dropbear.list": "/usr/sbin/dropbear\t0104755\n/etc/config/dropbear\n/etc/dropbear/key\n/var/run/x\n"
    "/usr/bin/ssh\t0120777\t../sbin/dropbear\n",
    f"{INFO}/dropbear.control": "Package: dropbear\nVersion: 2022.82-6\nSource: feeds/base\nSourceName: dropbear-src\n"
    "Section: net\nDescription: x\n",
    f"{INFO}/libubox20230523.list": "/lib/libubox.so\n",
    f"{INFO}/libc.list": "/\n/lib/libc.so\n",
    f"{INFO}/mine.list": "/usr/bin/mine\n",
    "/etc/opkg/distfeeds.conf": "src/gz openwrt_base https://mirror.example/base\n",
    "/etc/opkg/customfeeds.conf": "# add your custom package feeds here\n#\n# src/gz example http://www.example.com/\n",
    "/var/run": Link("/run"),
    "/run/y": "",
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(opkg.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f.name: f for f in findings if isinstance(f, Package)}


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_a_package() -> None:
    findings = found()
    assert list(packages(findings)) == ["dropbear", "libc", "libubox20230523", "mine"]
    assert packages(findings)["dropbear"] == Package(
        seen_in=Place("/usr/lib/opkg/status", 1),
        name="dropbear",
        version="2022.82-6",
        architecture="mips_24kc",
        manager="opkg",
        chosen=True,
        source="dropbear-src",
        section="net",
        depends=("libc", "libubox20230523"),
    )
    assert unread(findings) == []


def test_who_asked() -> None:
    assert {name for name, package in packages(found()).items() if package.chosen} == {"dropbear", "mine"}
    plain = STATUS.replace(" user", " ok").replace("ok,hold", "ok")  # as Yocto's opkg writes it
    other = packages(list(opkg.analyze(FakeGuest({"/var/lib/opkg/status": plain}))))
    assert {name for name, package in other.items() if package.chosen} == {"dropbear", "libc", "mine"}


def test_feeds_say_where_packages_are_from() -> None:
    lists: dict[str, Content] = {
        "/var/opkg-lists/openwrt_base": gzip.compress(b"Package: libc\nVersion: 1\n\nPackage: dropbear\nVersion: 2\n"),
    }
    origins = {name: package.origin for name, package in packages(found(lists)).items()}
    assert origins == {"libc": "distribution", "dropbear": "distribution", "libubox20230523": "local", "mine": "local"}
    more: dict[str, Content] = {**lists, "/etc/opkg/customfeeds.conf": "src/gz own https://x.example/\n"}
    assert packages(found(more))["mine"].origin == ""
    more["/var/opkg-lists/own"] = "Package: mine\nVersion: 1\n\nPackage: libc\nVersion: 9\n"
    origins = {name: package.origin for name, package in packages(found(more)).items()}
    assert (origins["mine"], origins["libc"], origins["libubox20230523"]) == ("third-party", "distribution", "local")
    findings = found({"/var/opkg-lists/openwrt_base": b"\x1f\x8brubbish"})
    assert "damaged" in unread(findings)[0]
    assert packages(findings)["mine"].origin == ""


def test_paths_and_configuration() -> None:
    (files,) = [f for f in found() if isinstance(f, PackageFiles) and f.package == "dropbear"]
    assert files.paths == (
        "/etc/config/dropbear", "/etc/dropbear/key", "/run/x", "/usr/bin/ssh", "/usr/sbin/dropbear",
    )  # fmt: skip
    assert files.conffiles == (("/etc/config/dropbear", MD5),)  # an MD5 alone
    assert [(each.path, bool(each.digest), each.mode) for each in files.shipped] == [
        ("/usr/sbin/dropbear", False, 0o104755),
        ("/etc/config/dropbear", True, 0o100000),
        ("/etc/dropbear/key", False, 0o100000),  # SHA-256, and the package has an MD5 too
        ("/usr/bin/ssh", False, 0o120777),
    ]
    status = STATUS.replace(f" /etc/config/dropbear {MD5}\n", "")
    (files,) = [
        f for f in found({"/usr/lib/opkg/status": status}) if isinstance(f, PackageFiles) and f.package == "dropbear"
    ]
    assert (files.conffiles, files.algorithm) == ((("/etc/dropbear/key", SHA),), "sha256")
    records = {r.path: r for _, r in opkg.records(FakeGuest(SYSTEM))}
    assert records["/etc/dropbear/key"].digest == f"sha256:{SHA}"
    assert records["/etc/dropbear/key"].configuration
    assert records["/usr/sbin/dropbear"].mode == 0o4755
    assert (records["/usr/sbin/dropbear"].kind, records["/run/x"].kind) == ("file", "unknown")
    assert (records["/usr/bin/ssh"].kind, records["/usr/bin/ssh"].target) == ("symlink", "../sbin/dropbear")


def test_the_overlay_is_newer_than_what_is_below() -> None:
    upper: dict[str, Content] = {
        "/overlay/upper/usr/lib/opkg/status": "Package: dropbear\nVersion: 2024\nStatus: install user installed\n",
    }
    findings = found(upper)
    assert [(p.version, p.seen_in.path) for p in packages(findings).values()] == [
        ("2024", "/overlay/upper/usr/lib/opkg/status")
    ]
    assert [f.seen_in.path for f in findings if isinstance(f, PackageFiles)] == [f"{INFO}/dropbear.list"]


def test_entware_beside_the_system() -> None:
    extra: dict[str, Content] = {
        "/opt/lib/opkg/status": "Package: htop\nVersion: 3\nStatus: install user installed\nArchitecture: x64\n",
        "/opt/lib/opkg/info/htop.list": "/opt/bin/htop\n",
    }
    findings = found(extra)
    assert "dropbear" in packages(findings)
    assert [f.paths for f in findings if isinstance(f, PackageFiles) and f.package == "htop"] == [("/opt/bin/htop",)]


def test_without_a_status_file_the_controls_are_read() -> None:
    control = "Package: a\nVersion: 1\nArchitecture: all\n"
    findings = list(opkg.analyze(FakeGuest({f"{INFO}/a.control": control, f"{INFO}/a.list": "/a\n"})))
    assert [(p.name, p.chosen) for p in packages(findings).values()] == [("a", False)]
    assert "no status file" in unread(findings)[0]


def test_a_machine_without_opkg() -> None:
    assert list(opkg.analyze(FakeGuest({"/etc/hostname": "x"}))) == []


# ---------------------------------------------------------------- hostile input


def test_what_cannot_be_read_is_told() -> None:
    evil = "Package: ../../x\nVersion: 1\nStatus: install user installed\n\n"
    findings = found(
        {
            "/usr/lib/opkg/status": evil * 30 + STATUS,
            f"{INFO}/libc.list": Broken(),
            f"{INFO}/mine.list": "/../etc/shadow\n/a/../../b\n/usr/bin/mine\n",
        }
    )
    assert len(packages(findings)) == 4
    assert [line for line in unread(findings) if "status" in line][-1].endswith("20 more lines or entries like these")
    assert {line.split(": ")[0].rpartition(":")[0] or line.split(": ")[0] for line in unread(findings)} >= {
        f"{INFO}/mine.list"
    }
    assert f"{INFO}/libc.list: input/output error" in unread(findings)
    assert [f.paths for f in findings if isinstance(f, PackageFiles) and f.package == "mine"] == [("/usr/bin/mine",)]


def test_so_many_packages_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opkg, "MAX_PACKAGES", 2)
    monkeypatch.setattr(opkg, "MAX_PATHS", 3)
    findings = found()
    assert len(packages(findings)) == 2
    assert sum(len(f.paths) for f in findings if isinstance(f, PackageFiles)) == 3
    assert any("only 2 of 4 packages" in line for line in unread(findings))
    assert any("only 3 paths" in line for line in unread(findings))


@given(st.text(max_size=200), st.text(max_size=100))
def test_no_text_breaks_the_parsers(text: str, other: str) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    opkg.parse_conffiles(text)
    list(opkg.parse_list(f"{text}\t{other}"))
    opkg.parse_feeds(f"src/gz {text}", "/x")
    guest = FakeGuest({"/usr/lib/opkg/status": f"{STATUS}\n{text}", f"{INFO}/libc.list": text, "/etc/opkg.conf": text})
    assert len(packages(list(opkg.analyze(guest)))) >= 4
    list(opkg.records(guest))


def test_a_database_changed_at_random() -> None:
    chance = random.Random(4)
    for _ in range(200):
        changed: dict[str, Content] = {}
        for path, content in SYSTEM.items():
            if isinstance(content, str) and content:
                data = bytearray(content.encode())
                data[chance.randrange(len(data))] = chance.randrange(256)
                changed[path] = bytes(data[: chance.randrange(len(data)) + 1])
        guest = FakeGuest({**SYSTEM, **changed})
        assert all(isinstance(f, Package | PackageFiles | Unread) for f in opkg.analyze(guest))
        assert all(record.path.startswith("/") for _, record in opkg.records(guest))
