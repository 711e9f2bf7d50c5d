from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _packages, pacman
from analyzers._mtree import parse_mtree, unescape
from analyzers._packages import unpack
from migrate.model import Finding, Package, PackageFiles, Place, Shipped, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, Link

BASH = """\
%NAME%
bash

%VERSION%
5.2.032-2

%BASE%
bash-src

%DESC%
The GNU Bourne Again shell

%ARCH%
x86_64

%BUILDDATE%
1722000000

%PROVIDES%
sh
libshell.so=1-64

%VALIDATION%
pgp

%DEPENDS%
glibc>=2.33
libreadline.so=8-64
nothing-has-this

%OPTDEPENDS%
tool: for more

%XDATA%
pkgtype=pkg
"""
FILES = (
    "%FILES%\netc/\netc/bash.bashrc\nusr/\nusr/bin/\nusr/bin/bash\nlib/x\n\n"
    "%BACKUP%\netc/bash.bashrc\t{}\netc/no\tnull\n"
)
MD5 = hashlib.md5(b"PS1=$\n").hexdigest()
MTREE = rf"""#mtree
/set type=file uid=0 gid=0 mode=644
. time=1.0 mode=755 type=dir
./.BUILDINFO time=1.0 size=1 sha256digest={"0" * 64}
./etc time=1.0 mode=755 type=dir
./etc/bash.bashrc time=1.0 size=6 md5digest={MD5} sha256digest={"a" * 64}
./usr/bin/bash time=1.0 mode=4755 uid=3 gid=4 size=6 md5digest={MD5}
./usr/share/a\040b\303\244 time=1.0 type=link mode=777 link=c\040d
/unset uid
./lib/x type=fifo
"""


def desc(name: str, *more: str, version: str = "1-1") -> str:
    return f"%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%ARCH%\nany\n\n" + "\n\n".join(more) + "\n"


def sync(*folders: str, kind: str = "gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for folder in folders:
            member = tarfile.TarInfo(f"{folder}/desc")
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    return gzip.compress(packed.getvalue()) if kind == "gz" else lzma.compress(packed.getvalue())


LOCAL = "/var/lib/pacman/local"
SYSTEM: dict[str, Content] = {
    f"{LOCAL}/ALPM_DB_VERSION": "9\n",
    f"{LOCAL}/bash-5.2.032-2/desc": BASH,
    f"{LOCAL}/bash-5.2.032-2/files": FILES.format(MD5),
    f"{LOCAL}/bash-5.2.032-2/mtree": gzip.compress(MTREE.encode()),
    f"{LOCAL}/glibc-2.40-1/desc": desc("glibc", "%REASON%\n1"),
    f"{LOCAL}/readline-8-1/desc": desc("readline", "%REASON%\n1", "%PROVIDES%\nlibreadline.so=8-64"),
    f"{LOCAL}/mine-1-1/desc": desc("mine", "%DEPENDS%\nsh", "%VALIDATION%\nnone"),
    f"{LOCAL}/other-1-1/desc": desc("other"),
    "/var/lib/pacman/sync/core.db": sync("bash-5.2.037-1", "glibc-2.41-1", "readline-8-1"),
    "/var/lib/pacman/sync/chaotic-aur.db": sync("other-1-1", kind="xz"),
    "/lib": Link("usr/lib"),
    "/usr/lib/x": "",
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(pacman.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def packages(findings: list[Finding]) -> dict[str, Package]:
    return {f.name: f for f in findings if isinstance(f, Package)}


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_a_package() -> None:
    findings = found()
    assert list(packages(findings)) == ["bash", "glibc", "mine", "other", "readline"]
    assert packages(findings)["bash"] == Package(
        seen_in=Place(f"{LOCAL}/bash-5.2.032-2/desc", 1),
        name="bash",
        version="5.2.032-2",
        architecture="x86_64",
        manager="pacman",
        chosen=True,
        origin="distribution",
        source="bash-src",
        depends=("glibc", "readline"),
    )
    assert unread(findings) == []


def test_reasons_and_provided_names() -> None:
    found_packages = packages(found())
    assert {name for name, package in found_packages.items() if package.chosen} == {"bash", "mine", "other"}
    assert found_packages["mine"].depends == ("bash",)


def test_origins() -> None:
    origins = {name: package.origin for name, package in packages(found()).items()}
    assert origins == {
        "bash": "distribution", "glibc": "distribution", "readline": "distribution", "other": "third-party",
        "mine": "local",
    }  # fmt: skip
    damaged = found({"/var/lib/pacman/sync/chaotic-aur.db": b"\x1f\x8b rubbish"})
    assert (packages(damaged)["other"].origin, packages(damaged)["mine"].origin) == ("", "local")
    assert unread(damaged)[0].startswith("/var/lib/pacman/sync/chaotic-aur.db: it is damaged")
    own = found({"/etc/os-release": "ID=endeavouros\n", "/var/lib/pacman/sync/endeavouros.db": sync("mine-1-1")})
    assert packages(own)["mine"].origin == "distribution"
    zstd = found({"/var/lib/pacman/sync/x.db": b"\x28\xb5\x2f\xfd...."})
    assert "zstd" in unread(zstd)[0]


def test_paths_and_the_digests_of_configuration() -> None:
    files, of_mtree = [f for f in found() if isinstance(f, PackageFiles) and f.package == "bash"]
    assert files.paths == ("/etc", "/etc/bash.bashrc", "/usr", "/usr/bin", "/usr/bin/bash", "/usr/lib/x")
    assert (files.conffiles, files.algorithm) == ((("/etc/bash.bashrc", MD5),), "md5")
    assert (of_mtree.paths, of_mtree.algorithm) == ((), "sha256")
    shipped = {each.path: each for each in of_mtree.shipped}
    assert shipped["/etc/bash.bashrc"] == Shipped(
        path="/etc/bash.bashrc",
        mode=0o100644,
        user="root",
        group="root",
        size=6,
        mtime=1,
        digest="a" * 64,
        flags=("config", "noreplace"),
        unchecked=("target", "device", "capabilities"),
    )
    assert (shipped["/usr/bin/bash"].digest, shipped["/usr/bin/bash"].user) == ("", "3")  # an MD5 among SHA-256
    assert "digest" in shipped["/usr/bin/bash"].unchecked
    assert (shipped["/usr/share/a bä"].mode, shipped["/usr/share/a bä"].target) == (0o120777, "c d")
    assert {"mode", "user"} <= set(shipped["/usr/lib/x"].unchecked)


def test_records_from_the_mtree() -> None:
    records = {r.path: r for _, r in pacman.records(FakeGuest(SYSTEM))}
    assert list(records) == ["/etc", "/etc/bash.bashrc", "/usr/bin/bash", "/usr/share/a bä", "/usr/lib/x"]
    assert (records["/etc/bash.bashrc"].digest, records["/etc/bash.bashrc"].configuration) == (
        f"sha256:{'a' * 64}",
        True,
    )
    bash = records["/usr/bin/bash"]
    assert (bash.mode, bash.uid, bash.gid, bash.digest) == (0o4755, 3, 4, f"md5:{MD5}")
    link = records["/usr/share/a bä"]
    assert (link.kind, link.target, link.digest) == ("symlink", "c d", "")
    assert (records["/usr/lib/x"].kind, records["/usr/lib/x"].uid, records["/usr/lib/x"].gid) == ("other", None, 0)


def test_another_place_for_the_database() -> None:
    guest = FakeGuest(
        {"/etc/pacman.conf": "[options]\n#DBPath = /x\nDBPath = /usr/db/\n", "/usr/db/local/a-1-1/desc": desc("a")}
    )
    assert [f.seen_in.path for f in pacman.analyze(guest) if isinstance(f, Package)] == ["/usr/db/local/a-1-1/desc"]


def test_a_machine_without_pacman() -> None:
    assert list(pacman.analyze(FakeGuest({"/etc/hostname": "x"}))) == []


# ---------------------------------------------------------------- hostile input


def test_what_cannot_be_read_is_told() -> None:
    findings = found(
        {
            f"{LOCAL}/bad-1-1/desc": Broken(),
            f"{LOCAL}/evil-1-1/desc": desc("evil\nRUN", "x").replace("evil\nRUN", "evil RUN"),
            f"{LOCAL}/none-1-1/files": "",
            f"{LOCAL}/glibc-2.40-1/files": "%FILES%\n" + "../../etc/shadow\n" * 100 + "usr/ok\n",
        }
    )
    assert [line.split(": ")[0] for line in unread(findings)].count(f"{LOCAL}/glibc-2.40-1/files") == 2
    assert {line.split(": ")[0] for line in unread(findings)} == {
        f"{LOCAL}/bad-1-1/desc", f"{LOCAL}/evil-1-1/desc", f"{LOCAL}/none-1-1", f"{LOCAL}/glibc-2.40-1/files",
    }  # fmt: skip
    assert [f.paths for f in findings if isinstance(f, PackageFiles) and f.package == "glibc"] == [("/usr/ok",)]


def test_so_many_packages_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacman, "MAX_PACKAGES", 2)
    monkeypatch.setattr(pacman, "MAX_PATHS", 3)
    findings = found()
    assert list(packages(findings)) == ["bash", "glibc"]
    assert sum(len(f.paths) for f in findings if isinstance(f, PackageFiles)) == 3
    assert any("only 2 of 5 packages" in line for line in unread(findings))
    assert any("only 3 paths" in line for line in unread(findings))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * (9 << 20))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpack(bomb, 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpack(lzma.compress(b"\0" * 5000), 1000)
    with pytest.raises(ValueError, match="damaged"):
        unpack(bomb[:-9], 10 << 20)
    assert len(unpack(bomb, 9 << 20)) == 9 << 20
    assert unpack(gzip.compress(b"ab") + gzip.compress(b"c"), 3) == b"abc"
    assert _packages.unpack(b"plain", 5) == b"plain"


@given(st.text(max_size=300), st.binary(max_size=300))
def test_no_input_breaks_the_parsers(text: str, data: bytes) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    pacman.parse_desc(text)
    pacman.parse_dependency(text)
    unescape(text)
    rubbish = data.decode("utf-8", "surrogateescape")
    for each in (text, rubbish, f"./{text} type=file mode={text}", f"/set {rubbish}\n./a"):
        for record in parse_mtree(each, lambda why, line: None):
            assert record.path.startswith("/")
            assert ".." not in record.path.split("/")
    for packed in (data, b"\x1f\x8b" + data, gzip.compress(data), b"\xfd7zXZ\0" + data, b"BZh" + data):
        try:
            pacman.parse_sync(packed)
        except ValueError:
            continue


def test_a_database_changed_at_random() -> None:
    chance = random.Random(4)
    for _ in range(200):
        changed: dict[str, Content] = {}
        for path, content in SYSTEM.items():
            if isinstance(content, str | bytes) and content:
                data = bytearray(content.encode() if isinstance(content, str) else content)
                data[chance.randrange(len(data))] = chance.randrange(256)
                changed[path] = bytes(data[: chance.randrange(len(data)) + 1])
        guest = FakeGuest({**SYSTEM, **changed})
        assert all(isinstance(f, Package | PackageFiles | Unread) for f in pacman.analyze(guest))
        assert all(record.path.startswith("/") for _, record in pacman.records(guest))
