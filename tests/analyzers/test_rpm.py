from __future__ import annotations

from pathlib import Path

import pytest

from analyzers import rpm
from migrate.model import Finding, Package, PackageFiles, Shipped, Unread
from tests.analyzers.fake import Broken, Content, Dir, FakeGuest, File, Link
from tests.analyzers.rpm_made import make_bdb, make_ndb, make_sqlite, package

KEY = b"\x88\x0f\3\5\0time" + bytes.fromhex("51d6647ec21ad6ea")  # an OpenPGP signature, as far as it is looked at
OTHER = b"\x88\x0f\3\5\0time" + bytes.fromhex("6a2faea2352c64e5")
RELEASE = package("alma-release", t1011="AlmaLinux", t268=KEY, t1047=["system-release"], t1112=[0], t1113=[""])
SHELL = package(
    "bash", "5.1", "6.el9", t1003=[0], t1011="AlmaLinux", t268=KEY,
    files={"/bin/bash": "aa" * 32, "/bin/sh": "", "/etc/skel/.bashrc": "bb" * 32, "/": ""},
    t1030=[0o100755, 0o120777, 0o100644, 0o040755], t1037=[0, 0, 1 | 16, 0],
)  # fmt: skip
APP = package(
    "app", "1.0", "1", t1003=[2], t1016="Applications", t1049=["/bin/sh", "libx", "rpmlib(X)"], t1048=[0, 8, 1 << 24],
    t1050=["", "2", "1"], files={"/opt/app/doc": "", "/opt/app/run": "cc" * 32, "/opt/app/log": ""},
    t1029=[2, 0, 0], t1037=[2, 0, 1 | 64],
)  # fmt: skip
LIBRARY = package("libx", "2", "1", t1011="CloudLinux", t268=KEY)
EXTRA = package("extra", t1011="Fedora Project", t268=OTHER)
HEADERS = [APP, SHELL, RELEASE, LIBRARY, EXTRA, package("gpg-pubkey", "c105b9de", "4e0fd3a3")]
TREE: dict[str, Content] = {"/bin": Link("usr/bin"), "/usr/bin/bash": "ELF", "/usr/bin/sh": Link("bash")}


@pytest.fixture
def database(tmp_path: Path) -> bytes:
    return make_sqlite(tmp_path / "rpmdb.sqlite", HEADERS).read_bytes()


def found(files: dict[str, Content]) -> list[Finding]:
    return list(rpm.analyze(FakeGuest({**TREE, **files})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f.name: f for f in findings if isinstance(f, Package)}


def files_of(findings: list[Finding], name: str) -> PackageFiles:
    return next(f for f in findings if isinstance(f, PackageFiles) and f.package == name)


def notes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.seen_in.path, f.why) for f in findings if isinstance(f, Unread)]


def test_packages_with_all_their_fields(database: bytes) -> None:
    findings = found({"/var/lib/rpm/rpmdb.sqlite": database})
    assert list(packages(findings)) == ["alma-release", "app", "bash", "extra", "libx"]
    app = packages(findings)["app"]
    assert (app.version, app.architecture, app.manager, app.section) == ("2:1.0-1", "x86_64", "rpm", "Applications")
    assert (app.depends, app.source, str(app.seen_in)) == (("bash", "libx"), "app", "/var/lib/rpm/rpmdb.sqlite")
    assert packages(findings)["bash"].version == "5.1-6.el9"
    assert notes(findings) == []


def test_what_nothing_asks_for_was_chosen_where_no_manager_says(database: bytes) -> None:
    chosen = {p.name: p.chosen for p in packages(found({"/var/lib/rpm/rpmdb.sqlite": database})).values()}
    assert chosen == {"alma-release": True, "app": True, "bash": False, "extra": True, "libx": False}


def test_what_a_manager_says_goes_before(database: bytes) -> None:
    marks = '[packages]\n"libx.x86_64" = {reason = "User"}\n"extra.x86_64" = {reason = "Dependency"}\n'
    findings = found(
        {"/var/lib/rpm/rpmdb.sqlite": database, "/usr/lib/sysimage/libdnf5/packages.toml": marks},
    )
    chosen = {p.name: p.chosen for p in packages(findings).values()}
    assert chosen == {"alma-release": True, "app": True, "bash": False, "extra": False, "libx": True}


def test_origins(database: bytes) -> None:
    nevras = '[nevras]\n"extra-1-1.x86_64" = {from_repo = "@commandline"}\n'
    files: dict[str, Content] = {"/var/lib/rpm/rpmdb.sqlite": database}
    expected = {"alma-release": "distribution", "app": "", "bash": "distribution", "libx": "distribution"}
    origins = {p.name: p.origin for p in packages(found(files)).values()}
    assert origins == {**expected, "extra": "third-party"}
    origins = {
        p.name: p.origin for p in packages(found({**files, "/usr/lib/sysimage/libdnf5/nevras.toml": nevras})).values()
    }
    assert origins == {**expected, "extra": "local"}


def test_one_vendor_under_two_names() -> None:
    suse = rpm.Maker("SUSE LLC <https://www.suse.com/>")
    assert rpm.origin_of(suse, "", rpm.Maker("openSUSE")) == "distribution"
    assert rpm.origin_of(rpm.Maker("obs://build.opensuse.org/home:me"), "", suse) == "third-party"
    assert rpm.origin_of(rpm.Maker(), "/mine-1.noarch", suse) == "local"
    assert rpm.origin_of(rpm.Maker("me"), "repo", rpm.Maker()) == ""
    assert rpm.origin_of(rpm.Maker(), "", rpm.Maker(key="a")) == ""
    assert rpm.origin_of(rpm.Maker(), "baseos", rpm.Maker("Me")) == "third-party"


def test_paths_are_those_of_the_tree(database: bytes) -> None:
    findings = found({"/var/lib/rpm/rpmdb.sqlite": database})
    bash = files_of(findings, "bash")
    assert bash.paths == ("/etc/skel/.bashrc", "/usr/bin/bash", "/usr/bin/sh")
    assert bash.conffiles == (("/etc/skel/.bashrc", "bb" * 32),)
    assert bash.algorithm == "sha256"
    assert bash.shipped[1] == Shipped(path="/usr/bin/bash", mode=0o100755, digest="aa" * 32)
    assert bash.shipped[2].mode == 0o120777


def test_what_rpm_did_not_install_is_not_owned_and_a_ghost_is(database: bytes) -> None:
    app = files_of(found({"/var/lib/rpm/rpmdb.sqlite": database}), "app")
    assert app.paths == ("/opt/app/log", "/opt/app/run")
    assert app.conffiles == (("/opt/app/log", ""),)  # configuration that no package ever brought
    assert app.shipped[0].flags == ("config", "ghost")


@pytest.mark.parametrize("real", ["/usr/lib/sysimage/rpm", "/usr/share/rpm", "/var/lib/rpm"])
def test_the_database_is_read_once_wherever_it_is(database: bytes, real: str) -> None:
    links = {p: Link(real) for p in ("/usr/lib/sysimage/rpm", "/usr/share/rpm", "/var/lib/rpm") if p != real}
    findings = found({f"{real}/rpmdb.sqlite": database, **links})
    assert len([f for f in findings if isinstance(f, Package)]) == 5
    assert {f.seen_in.path for f in findings if isinstance(f, Package)} == {f"{real}/rpmdb.sqlite"}
    assert notes(findings) == []


def test_of_several_databases_the_first_with_packages_counts(database: bytes, tmp_path: Path) -> None:
    empty = make_sqlite(tmp_path / "empty", []).read_bytes()
    ndb = make_ndb(tmp_path / "ndb", HEADERS[:2]).read_bytes()
    files: dict[str, Content] = {"/var/lib/rpm/rpmdb.sqlite": empty, "/var/lib/rpm/Packages.db": ndb}
    assert (list(packages(found(files))), notes(found(files))) == (["app", "bash"], [])
    findings = found({**files, "/usr/lib/sysimage/rpm/rpmdb.sqlite": database})
    assert len(packages(findings)) == 5
    assert {path for path, _ in notes(findings)} == {"/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages.db"}


def test_a_write_ahead_log_and_an_unfinished_transaction(tmp_path: Path, database: bytes) -> None:
    made = make_sqlite(tmp_path / "wal", HEADERS, wal=True)
    log = (tmp_path / "wal-wal").read_bytes()
    findings = found({"/var/lib/rpm/rpmdb.sqlite": made.read_bytes(), "/var/lib/rpm/rpmdb.sqlite-wal": log})
    assert (len(packages(findings)), notes(findings)) == (5, [])
    findings = found({"/var/lib/rpm/rpmdb.sqlite": database, "/var/lib/rpm/rpmdb.sqlite-journal": "x"})
    assert len(packages(findings)) == 5
    assert notes(findings) == [
        ("/var/lib/rpm/rpmdb.sqlite-journal", "a transaction was not finished, and it is not rolled back")
    ]


def test_big_endian(tmp_path: Path) -> None:
    made = make_bdb(tmp_path / "Packages", HEADERS, ">").read_bytes()
    assert len(packages(found({"/var/lib/rpm/Packages": made}))) == 5


def test_a_machine_with_no_rpm_has_none() -> None:
    assert found({}) == []
    assert found({"/var/lib/rpm": Dir()}) == []


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = "/var/lib/rpm/Packages"
    assert notes(found({path: Broken("input/output error")})) == [(path, "input/output error")]
    assert notes(found({path: File(size=2 << 30)})) == [
        (path, "it is 2147483648 bytes long, and at most 1073741824 are read")
    ]
    assert notes(found({path: "text"})) == [(path, "4 bytes are no Berkeley DB")]
    bad = make_sqlite(tmp_path / "bad", [SHELL, b"x", package("evil\nRUN rm -rf /"), *[b"y"] * 30]).read_bytes()
    findings = found({"/var/lib/rpm/rpmdb.sqlite": bad})
    assert list(packages(findings)) == ["bash"]
    whys = [why for _, why in notes(findings)]
    assert whys[:2] == [
        "package 2: a header of 1 bytes",
        "package 3: a package with no valid name, version and architecture",
    ]
    assert whys[-1] == "and 12 more places that are damaged"
    assert len(whys) == 21
