"""Databases of real machines: what is read equals what rpm itself prints, and no damage breaks it."""

from __future__ import annotations

import hashlib
import lzma
import random
import shutil
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzers import rpm
from analyzers._rpm_bdb import read_bdb
from analyzers._rpm_database import Installed, read_database, read_package
from analyzers._rpm_header import Budget, DamagedError, parse_header
from analyzers._rpm_ndb import read_ndb
from migrate.guest.open import open_guest
from migrate.model import Finding, Package, PackageFiles, Unread
from tests.analyzers.fake import FakeGuest
from tests.analyzers.rpm_made import make_bdb, make_ndb, make_sqlite
from tests.guest.made import CORPUS, needs, run

RPMDB = CORPUS.parent / "rpmdb"
ROOTS = CORPUS.parent / "rootfs"
# File → (its name on a machine, packages). The three "same-set" are of three distributions, and not one set.
DATABASES = {
    "amazonlinux2023.rpmdb.sqlite": ("rpmdb.sqlite", 102),
    "cbl-mariner-2.0.rpmdb.sqlite": ("rpmdb.sqlite", 129),
    "centos5-plain.Packages": ("Packages", 110),
    "centos6-plain.Packages": ("Packages", 129),
    "centos7-httpd24.Packages": ("Packages", 222),
    "centos8-modularitylabel.Packages": ("Packages", 517),
    "same-set-bdb.Packages": ("Packages", 3),
    "same-set-ndb.Packages.db": ("Packages.db", 3),
    "same-set-sqlite.rpmdb.sqlite": ("rpmdb.sqlite", 9),
    "sle15-bci.Packages.db": ("Packages.db", 35),
}
FIELDS = (
    "FILENAMES", "FILEDIGESTS", "FILEMODES:octal", "FILEUSERNAME", "FILEGROUPNAME", "FILESIZES", "FILEMTIMES",
    "FILELINKTOS",
)  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not RPMDB.is_dir():
        pytest.skip(f"needs the databases in {RPMDB}")
    needs("zstd")
    made = tmp_path_factory.mktemp("rpmdb")
    for file, (name, _) in DATABASES.items():
        (made / file).mkdir()
        run("zstd", "-qd", RPMDB / f"{file}.zst", "-o", made / file / name)
    return made


def read(path: Path) -> list[Installed]:
    notes: list[str] = []
    found = read_database(path.name, path, notes.append)
    assert notes == []
    return found


def line(package: Installed) -> str:
    return f"{package.name} {package.version} {package.architecture} {package.vendor} {package.signer}"


@pytest.mark.parametrize("file", DATABASES)
def test_every_database_gives_its_packages(folder: Path, file: str) -> None:
    name, count = DATABASES[file]
    packages = read(folder / file / name)
    assert len(packages) == count
    assert all(package.files.algorithm in ("sha256", "md5", "") for package in packages)


def ask_rpm(database: Path, form: str) -> list[str]:
    """Ask rpm about a copy: it writes beside the database."""
    needs("rpm")
    copy = database.parent.parent / f"{database.parent.name}-asked"
    shutil.copytree(database.parent, copy)
    try:
        argv = ["rpm", "-qa", "--qf", form, "--dbpath", str(copy)]
        return (
            subprocess.run(argv, check=True, capture_output=True).stdout.decode("utf-8", "surrogateescape").split("\n")
        )
    finally:
        shutil.rmtree(copy)


KEYS = "%{RSAHEADER:pgpsig}%{DSAHEADER:pgpsig}%{SIGGPG:pgpsig}%{SIGPGP:pgpsig}"


@pytest.mark.parametrize("file", [file for file, (name, _) in DATABASES.items() if name != "Packages.db"])
def test_packages_equal_what_rpm_prints(folder: Path, file: str) -> None:
    path = folder / file / DATABASES[file][0]
    form = "%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH} %|VENDOR?{%{VENDOR}}:{}|"
    said = [text for text in ask_rpm(path, form + "\n") if text and not text.startswith("gpg-pubkey ")]
    mine = [line(package).rsplit(" ", 1)[0] for package in read(path)]
    assert sorted(mine) == sorted(text.replace(" 0:", " ") for text in said)
    keys = "".join(ask_rpm(path, KEYS))
    assert all(package.signer and package.signer in keys for package in read(path))


@pytest.mark.parametrize("file", [file for file, (name, _) in DATABASES.items() if name != "Packages.db"])
def test_files_equal_what_rpm_prints(folder: Path, file: str) -> None:
    path = folder / file / DATABASES[file][0]
    said = ask_rpm(path, "[%{=NAME}|" + "|".join(f"%{{{field}}}" for field in FIELDS) + "\n]")
    mine = [
        f"{p.name}|{f.path}|{f.digest}|{f.mode:o}|{f.user}|{f.group}|{f.size}|{f.mtime}|{f.target}"
        for p in read(path)
        for f in p.files.files
    ]
    assert len(mine) > 100
    # FILEMODES are printed as the signed numbers that they are kept as: 0100644 is 37777700644
    assert sorted(mine) == sorted(text.replace("|377777", "|1") if "|3777" in text else text for text in said if text)


@pytest.mark.parametrize("file", [file for file, (name, _) in DATABASES.items() if name != "Packages.db"])
def test_flags_requirements_and_capabilities_equal_what_rpm_prints(folder: Path, file: str) -> None:
    path = folder / file / DATABASES[file][0]
    packages = read(path)
    said = ask_rpm(path, "[%{=NAME} R %{REQUIRENAME} %{REQUIREFLAGS} %{REQUIREVERSION}\n][%{=NAME} P %{PROVIDENAME}\n]")
    mine = [f"{p.name} R {r.name} {r.flags} {r.version}" for p in packages for r in p.requires]
    mine += [f"{p.name} P {r.name}" for p in packages for r in p.provides]
    assert sorted(mine) == sorted(text for text in said if text and not text.startswith("gpg-pubkey "))
    said = ask_rpm(path, "[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEVERIFYFLAGS} %{FILECAPS}\n]")
    config = {text.split(" ")[0] for text in said if text and "c" in text.rsplit(" ", 3)[1]}
    assert config == {f.path for p in packages for f in p.files.files if "config" in f.flags}


def test_one_set_in_every_back_end_and_byte_order(folder: Path, tmp_path: Path) -> None:
    file = folder / "centos7-httpd24.Packages" / "Packages"
    notes: list[str] = []
    headers = [blob for _, blob in sorted(read_bdb(file.read_bytes(), notes.append))]
    for name in ("sqlite", "ndb", "little", "big"):
        (tmp_path / name).mkdir()
    made = [
        make_sqlite(tmp_path / "sqlite" / "rpmdb.sqlite", headers),
        make_ndb(tmp_path / "ndb" / "Packages.db", headers),
        make_bdb(tmp_path / "little" / "Packages", headers, "<", 8192),
        make_bdb(tmp_path / "big" / "Packages", headers, ">"),
    ]
    expected = sorted(read(file), key=line)
    for path in made:
        assert sorted(read(path), key=line) == expected, path.parent.name


@pytest.mark.parametrize(
    ("root", "count", "database", "architecture"),
    [
        ("almalinux-8-docker-s390x-micro.tar.xz", 19, "Packages", "s390x"),
        ("almalinux-9-docker-aarch64-micro.tar.xz", 22, "rpmdb.sqlite", "aarch64"),
    ],
)
def test_whole_roots(root: str, count: int, database: str, architecture: str) -> None:
    if not (ROOTS / root).is_file():
        pytest.skip(f"needs {ROOTS / root}")
    with open_guest([ROOTS / root]) as guest:
        findings = list(rpm.analyze(guest))
        packages = {f.name: f for f in findings if isinstance(f, Package)}
        files = [f for f in findings if isinstance(f, PackageFiles)]
        assert [f for f in findings if isinstance(f, Unread)] == []
        assert len(packages) == count
        assert {p.origin for p in packages.values()} == {"distribution"}
        assert {p.architecture for p in packages.values()} == {architecture, "noarch"}
        assert packages["bash"].seen_in.path == f"/var/lib/rpm/{database}"
        assert packages["bash"].depends == ("filesystem", "glibc", "ncurses-libs")
        assert packages["coreutils-single"].chosen
        assert not packages["glibc"].chosen
        owned = {path for f in files for path in f.paths}
        assert {"/usr/bin/bash", "/etc/passwd", "/usr/lib64/libc.so.6"} <= owned
        shipped = {f.path: f for each in files for f in each.shipped}
        bash = shipped["/usr/bin/bash"]
        entry = guest.lstat("/usr/bin/bash")
        assert entry is not None
        assert (bash.mode, bash.size, bash.user) == (0o100000 | entry.mode, entry.size, "root")
    with lzma.open(ROOTS / root) as raw, tarfile.open(fileobj=raw) as tar:  # the very bytes that were packaged
        content = tar.extractfile("usr/bin/bash") or tar.extractfile("bin/bash")
        assert content is not None
        assert hashlib.sha256(content.read()).hexdigest() == bash.digest


def test_requirements_of_whole_systems_are_met(folder: Path) -> None:
    for file in ("centos5-plain.Packages", "centos8-modularitylabel.Packages", "amazonlinux2023.rpmdb.sqlite"):
        name = DATABASES[file][0]
        guest = FakeGuest({f"/var/lib/rpm/{name}": (folder / file / name).read_bytes()})
        packages = {f.name: f for f in rpm.analyze(guest) if isinstance(f, Package)}
        assert all(needed in packages for p in packages.values() for needed in p.depends)
        assert "glibc" in packages["bash"].depends
        assert sum(p.chosen for p in packages.values()) < len(packages) / 3
        assert {p.origin for p in packages.values()} == {"distribution"}


# ---------------------------------------------------------------- damage


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield changed copies: bytes set at random, here and at the front where the structure is, pieces cut and moved."""
    rnd = random.Random(seed)  # the same damage on every run
    for number in range(count):
        broken = bytearray(data)
        for _ in range(rnd.choice((1, 4, 32, 256))):
            at = rnd.randrange(len(broken) if number % 2 else min(len(broken), 16384))
            broken[at : at + 1] = rnd.choice((b"\0", b"\xff", b"\x7f", rnd.randbytes(1)))
        if number % 8 == 0:
            del broken[rnd.randrange(len(broken)) :]
        elif number % 8 == 3:  # pages that are there twice, and in another's place
            start, to = rnd.randrange(0, len(broken), 4096), rnd.randrange(0, len(broken), 4096)
            broken[to : to + 4096] = broken[start : start + 4096]
        yield bytes(broken)


def told_of(findings: list[Finding]) -> bool:
    return any(isinstance(f, Unread) for f in findings)


@pytest.mark.parametrize("file", DATABASES)
def test_damage_at_random_is_told_and_nothing_else(folder: Path, file: str) -> None:
    name, packages = DATABASES[file]
    data = (folder / file / name).read_bytes()
    guest = FakeGuest({f"/var/lib/rpm/{name}": data})
    whole = {
        (f.name, f.version, f.architecture, f.section, f.source) for f in rpm.analyze(guest) if isinstance(f, Package)
    }
    worst, told = 0.0, 0
    for broken in damaged(data, 4, 200 if len(data) < 4 << 20 else 25):
        start = time.monotonic()
        findings = list(rpm.analyze(FakeGuest({f"/var/lib/rpm/{name}": broken})))
        worst = max(worst, time.monotonic() - start)
        told += told_of(findings)
        found = [(f.name, f.version, f.architecture, f.section, f.source) for f in findings if isinstance(f, Package)]
        assert set(found) <= whole  # what is shown is true: each header brings its own digest
        assert told_of(findings) or len(found) >= packages
    assert told > 10
    assert worst < 20


def test_one_changed_byte_is_refused_or_makes_no_difference(folder: Path) -> None:
    """Each header by itself, behind the back end's own checks: its digest tells, or the byte was not in its region."""
    file = folder / "sle15-bci.Packages.db" / "Packages.db"
    notes: list[str] = []
    rnd = random.Random(5)
    refused = kept = 0
    for _, blob in read_ndb(file.read_bytes(), notes.append):
        whole = read_package(parse_header(blob), Budget(), {})
        assert whole is not None
        for number in range(30):
            at = rnd.randrange(len(blob) if number % 2 else 16 * blob[3] + 8)
            broken = blob[:at] + bytes([blob[at] ^ rnd.randrange(1, 256)]) + blob[at + 1 :]
            try:
                found = read_package(parse_header(broken), Budget(), {})
            except DamagedError:
                refused += 1
                continue
            kept += 1
            assert found is not None
            assert (found.name, found.version, found.requires) == (whole.name, whole.version, whole.requires)
            assert found.files.files == whole.files.files
    assert refused > 500
    assert kept > 10


def test_a_schema_from_a_machine_is_only_read(folder: Path, tmp_path: Path) -> None:
    """SQL that a database brings is not run: a trigger on Packages, and a view in place of an index table."""
    path = tmp_path / "rpmdb.sqlite"
    shutil.copy(folder / "cbl-mariner-2.0.rpmdb.sqlite" / "rpmdb.sqlite", path)
    path.chmod(0o600)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON Packages BEGIN SELECT randomblob(1000000000); END")
        db.execute("CREATE VIEW evil AS SELECT load_extension('/tmp/x') FROM Packages")
    db.close()
    assert len(read(path)) == 129
