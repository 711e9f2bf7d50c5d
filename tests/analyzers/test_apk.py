from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import stat
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import apk
from analyzers._apk_files import Acl, Protected, parse_acl, parse_digest, read_rules
from analyzers._apk_repositories import Repository, parse_dependency, parse_index, parse_repositories, parse_world
from migrate.guest.open import open_guest
from migrate.guest.protocol import Guest
from migrate.model import Finding, Package, PackageFiles, Place, Unread
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link
from tests.guest.made import CORPUS

ROOTS = CORPUS.parent / "rootfs"
MOTD = "Q1" + base64.b64encode(hashlib.sha1(b"hello\n").digest()).decode()
DATABASE = f"""\
C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:base
V:3.6.5-r0
A:x86_64
S:8515
I:315392
T:Base directories
U:https://example.org
L:GPL-2.0-only
o:base-src
m:Some One <one@example.org>
t:1714981135
c:66187892e05b03a41d08e9acabd19b7576a1c875
D:musl-tools>=1.2 /bin/sh so:libc.musl-x86_64.so.1 !bad cmd:awk pc:nothing
q:1000
F:etc
R:motd
Z:{MOTD}
F:etc/init.d
R:net
a:0:0:755
Z:{MOTD}
F:etc/apk
R:arch
F:lib
R:ld.so
a:0:0:777:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
Z:{MOTD}
F:tmp
M:0:42:1777
F:
R:.top

C:Q17mim+wL35iMEtCiwQEovweL8NT0=
P:busybox
V:1.36.1-r29
A:x86_64
o:busybox
p:/bin/sh cmd:awk=1.36.1-r29 cmd:sh=1.36.1-r29
r:busybox-initscripts
i:base
k:100
s:edge
F:bin
R:busybox
a:0:0:4755
Z:X1aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d

C:Q1+++++++++++++++++++++++++++=
P:musl
V:1.2.5-r0
A:x86_64
f:S
g:base essential
p:so:libc.musl-x86_64.so.1=1 musl-tools
F:lib
R:ld-musl.so
Z:{MOTD}

C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
P:.build-deps
V:20240101.120000
A:noarch
T:virtual meta package
D:musl

C:Q1BBBBBBBBBBBBBBBBBBBBBBBBBBB=
P:own
V:1
A:noarch
"""
SYSTEM: dict[str, Content] = {
    "/lib/apk/db/installed": DATABASE,
    "/etc/apk/world": "base\nbusybox@edge>=1.36\n!unwanted\n.build-deps\nown><Q1BBBBBBBBBBBBBBBBBBBBBBBBBBB=\n",
    "/etc/apk/arch": "x86_64\n",
    "/etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.20/main\n"
    "#https://example.org/off\n@edge https://apk.example.org/edge/things\n",
    "/lib": Link("usr/lib"),
}


def found(extra: dict[str, Content] | None = None) -> list[Finding]:
    return list(apk.analyze(FakeGuest({**SYSTEM, **(extra or {})})))


def package(findings: list[Finding], name: str) -> Package:
    return next(f for f in findings if isinstance(f, Package) and f.name == name)


def unread(findings: list[Finding]) -> list[str]:
    return [f"{f.seen_in}: {f.why}" for f in findings if isinstance(f, Unread)]


def test_each_package_once_with_its_line() -> None:
    findings = found({"/usr/lib/apk/db/installed": DATABASE})  # /lib leads there: one database, not two
    assert [f.name for f in findings if isinstance(f, Package)] == [".build-deps", "base", "busybox", "musl", "own"]
    assert package(findings, "base") == Package(
        seen_in=Place("/lib/apk/db/installed", 1),
        name="base",
        version="3.6.5-r0",
        architecture="x86_64",
        manager="apk",
        chosen=True,
        origin="distribution",
        source="base-src",
        depends=("musl", "busybox"),
    )
    assert unread(findings) == []


def test_the_database_of_newer_systems() -> None:
    guest = FakeGuest({"/usr/lib/apk/db/installed": DATABASE})
    places = {f.seen_in.path for f in apk.analyze(guest) if isinstance(f, Package)}
    assert places == {"/usr/lib/apk/db/installed"}


def test_what_the_world_asks_for_was_chosen() -> None:
    findings = found()
    chosen = {f.name for f in findings if isinstance(f, Package) and f.chosen}
    assert chosen == {".build-deps", "base", "busybox", "musl", "own"}  # musl by way of the name given to it
    findings = found({"/etc/apk/world": "cmd:awk\n"})
    assert {f.name for f in findings if isinstance(f, Package) and f.chosen} == {"busybox"}


def test_origins() -> None:
    findings = found()
    origins = {f.name: f.origin for f in findings if isinstance(f, Package)}
    assert origins == {
        "base": "distribution", "busybox": "third-party", "musl": "distribution", ".build-deps": "local",
        "own": "local",
    }  # fmt: skip
    assert package(findings, ".build-deps").section == "virtual"


def archive(text: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, content in (("DESCRIPTION", b"v3.20"), ("APKINDEX", text.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return gzip.compress(b"") + gzip.compress(packed.getvalue())


def test_a_kept_index_tells_which_of_two_repositories_it_was() -> None:
    mixed = {
        "/etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.20/main\nhttps://apk.example.org/x/\n",
    }
    assert package(found({**mixed}), "musl").origin == ""
    index = archive("C:Q1+++++++++++++++++++++++++++=\nP:musl\nV:1.2.5-r0\n\nC:Q1other\nP:base\nV:9\n")
    (old, new) = sorted(
        Repository("https://apk.example.org/x/", "", "https://apk.example.org/x/x86_64/APKINDEX.tar.gz").cached_as()
    )
    for name in (old, new):
        findings = found({**mixed, f"/var/cache/apk/{name}": index})
        assert package(findings, "musl").origin == "third-party"
        assert package(findings, "base").origin == ""


def test_a_damaged_index_is_told() -> None:
    (name, _) = sorted(Repository("https://dl-cdn.alpinelinux.org/alpine/v3.20/main").cached_as())
    whole = archive("C:Q1x\nP:musl\n")
    for data in (whole[:-20], whole[:20] + b"\xff" * 40, gzip.compress(b"x" * 2000), b""):
        name = f"APKINDEX.{hashlib.sha1(b'https://dl-cdn.alpinelinux.org/alpine/v3.20/main').hexdigest()[:8]}.tar.gz"
        assert any(name in line for line in unread(found({f"/etc/apk/cache/{name}": data})))


def test_paths_are_those_of_the_tree() -> None:
    files = {f.package: f for f in found() if isinstance(f, PackageFiles)}
    assert files["base"].paths == (
        "/.top", "/etc", "/etc/apk", "/etc/apk/arch", "/etc/init.d", "/etc/init.d/net", "/etc/motd", "/lib", "/tmp",
        "/usr/lib/ld.so",
    )  # fmt: skip
    sha = hashlib.sha1(b"hello\n").hexdigest()
    assert (files["base"].conffiles, files["base"].algorithm) == ((("/etc/motd", sha),), "sha1")
    assert files["musl"].conffiles == ()


def test_records_hold_modes_owners_digests_and_what_is_configuration() -> None:
    records = {r.path: r for name, r in apk.records(FakeGuest(SYSTEM)) if name in {"base", "busybox"}}
    sha = hashlib.sha1(b"hello\n").hexdigest()
    assert (records["/etc/motd"].digest, records["/etc/motd"].mode, records["/etc/motd"].configuration) == (
        f"sha1:{sha}", 0o644, True,
    )  # fmt: skip
    assert not records["/etc/init.d/net"].configuration  # @: links alone
    assert records["/etc/apk/arch"].configuration
    assert records["/etc/apk/arch"].digest == ""
    assert (records["/usr/lib/ld.so"].kind, records["/usr/lib/ld.so"].configuration) == ("symlink", False)
    assert (records["/tmp"].kind, records["/tmp"].gid, records["/tmp"].mode) == ("directory", 42, 0o1777)
    assert (records["/bin/busybox"].mode, records["/bin/busybox"].digest[:9]) == (0o4755, "sha1:aaf4")
    (musl,) = [r for name, r in apk.records(FakeGuest(SYSTEM)) if name == "musl" and r.kind == "file"]
    assert musl.digest.startswith("sha256-160:")


def test_protected_paths() -> None:
    texts = ["# no\n\n+opt/*/conf\n-etc/ssl/certs/ca-cert-*.pem\nvar/www/\n@usr/links\n"]
    protected = Protected(read_rules(texts))
    for path, symlink, is_configuration in [
        ("/etc/motd", False, True),
        ("/etc/ssl/certs/ca-cert-x.pem", False, False),
        ("/etc/ssl/certs/mine.pem", False, True),
        ("/etc/init.d/x", False, False),
        ("/etc/init.d/x", True, True),
        ("/opt/a/conf/x", False, True),
        ("/opt/a/b/conf", False, False),
        ("/var/www/x/y", False, True),
        ("/usr/links/x", True, True),
        ("/usr/lib/x", False, False),
    ]:
        assert protected.configuration(path, symlink) is is_configuration, path


def test_digests_and_owners() -> None:
    sha256 = hashlib.sha256(b"x").digest()
    assert parse_digest("Q2" + base64.b64encode(sha256).decode()) == f"sha256:{sha256.hex()}"
    assert parse_digest("Q1" + base64.b64encode(sha256).decode()) == f"sha256:{sha256.hex()}"
    assert parse_digest("X1" + "ab" * 20) == f"sha1:{'ab' * 20}"
    assert [parse_digest(text) for text in ("", "Q", "Q1", "Q1!!", "Q3AAAA", "X1zz", "Q1AAAA", "X1é")] == [None] * 8
    assert parse_acl("1:2:4755:Q1xx") == Acl(1, 2, 0o4755)
    assert [parse_acl(text) for text in ("", "1:2", "1:2:9", "a:b:c", "-1:0:644", "\u0661:0:644")] == [None] * 6


def test_dependencies() -> None:
    assert [(a.name, a.tag, a.operator, a.version) for a in parse_world("a@t>=1\nb~2.1 !c\n\n# d\ne><Q1x=\n")] == [
        ("a", "t", ">=", "1"), ("b", "", "~", "2.1"), ("e", "", "><", "Q1x="),
    ]  # fmt: skip
    assert parse_dependency("<1") is None


def test_repositories() -> None:
    texts = [
        "# x\nset m=https://a.example/os\nset -default m=no\nv3 @t ${m} main extra\nndx /srv/i.adb\n/media/cdrom/apks\n"
    ]
    found = parse_repositories(texts, "x86_64")
    assert [(r.url, r.tag, r.origin) for r in found] == [
        ("https://a.example/os/main", "t", "third-party"),
        ("https://a.example/os/extra", "t", "third-party"),
        ("/srv/i.adb", "", "local"),
        ("/media/cdrom/apks", "", "distribution"),
    ]
    ours = parse_repositories(["http://mirror.example/pub/alpine/v3.9/community/\nhttps://x.example/edge/mine\n"], "")
    assert [r.origin for r in ours] == ["distribution", "third-party"]


# ---------------------------------------------------------------- real roots


@pytest.fixture(params=["alpine-minirootfs-3.12.12-x86_64", "alpine-minirootfs-3.20.3-x86_64"])
def alpine(request: pytest.FixtureRequest) -> Iterator[Guest]:
    path = ROOTS / f"{request.param}.tar.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the corpus")
    with open_guest([path]) as guest:
        yield guest


def test_a_real_database_is_read_whole(alpine: Guest) -> None:
    text = alpine.text("/lib/apk/db/installed").splitlines()
    findings = list(apk.analyze(alpine))
    packages = [f for f in findings if isinstance(f, Package)]
    assert unread(findings) == []
    names = sorted(line[2:] for line in text if line.startswith("P:"))
    assert ([p.name for p in packages], len(names)) == (names, 14)
    assert {p.version for p in packages} == {line[2:] for line in text if line.startswith("V:")}
    # libc-utils, which the world asks for, is a package of its own in 3.12 and a name of musl-utils in 3.20.
    world = set(alpine.text("/etc/apk/world").split())
    assert len(world) == len({p.name for p in packages if p.chosen}) == 5
    assert world - {p.name for p in packages if p.chosen} <= {"libc-utils"}
    assert {p.origin for p in packages} == {"distribution"}
    for package in packages:  # each dependency of an installed package is met
        (at,) = [i for i, line in enumerate(text) if line == f"P:{package.name}"]
        block = text[at : text.index("", at)]
        wished = next((line[2:].split() for line in block if line.startswith("D:")), [])
        assert bool(package.depends) == bool([w for w in wished if not w.startswith("!")]), package.name


def test_a_real_root_is_as_its_database_says(alpine: Guest) -> None:
    """Every path has the recorded kind, owner, mode and digest (a symlink: of its target's text), but four.

    Those are what Alpine's own script changes when it makes the archive: /dev is emptied, /proc is as a kernel
    mounts it, and root's password is locked.
    """
    text = alpine.text("/lib/apk/db/installed").splitlines()
    seen = {"file": 0, "symlink": 0, "directory": 0, "missing": 0}
    digests = 0
    different = []
    for _, record in apk.records(alpine):
        entry = alpine.lstat(record.path)
        seen[entry.kind if entry is not None else "missing"] += 1
        if entry is None:
            different.append((record.path, "missing"))
            continue
        if (entry.kind, entry.uid, entry.gid, entry.mode) != (record.kind, record.uid, record.gid, record.mode):
            different.append((record.path, oct(entry.mode)))
        if record.digest:
            content = entry.target.encode() if entry.kind == "symlink" else alpine.read(record.path)
            digests += 1
            if record.digest != f"sha1:{hashlib.sha1(content).hexdigest()}":
                different.append((record.path, "content"))
    assert seen["file"] + seen["symlink"] == sum(line.startswith("R:") for line in text)
    assert seen["directory"] + seen["missing"] == sum(line.startswith("F:") and len(line) > 2 for line in text)
    assert digests == sum(line.startswith("Z:") for line in text) > 100
    assert sorted(different) == [
        ("/dev/pts", "missing"),
        ("/dev/shm", "missing"),
        ("/etc/shadow", "content"),
        ("/proc", "0o555"),
    ]


def test_what_was_shipped_of_a_real_root(alpine: Guest) -> None:
    """What the findings say to compare differs in the same four paths, and in no other."""
    users = {line.split(":")[2]: line.split(":")[0] for line in alpine.text("/etc/passwd").splitlines()}
    different, compared = [], 0
    changed: set[str] = set()
    conffiles = 0
    for files in (f for f in apk.analyze(alpine) if isinstance(f, PackageFiles)):
        assert files.algorithm == "sha1"
        changed |= {path for path, digest in files.conffiles if hashlib.sha1(alpine.read(path)).hexdigest() != digest}
        conffiles += len(files.conffiles)
        assert sorted(each.path for each in files.shipped) == list(files.paths)
        for each in files.shipped:
            entry = alpine.lstat(each.path)
            kinds = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}
            if entry is None or kinds[entry.kind] | entry.mode != each.mode or users[str(entry.uid)] != each.user:
                different.append(each.path)
            elif entry.kind == "file" and "digest" not in each.unchecked:
                compared += 1
                if hashlib.sha1(alpine.read(each.path)).hexdigest() != each.digest:
                    different.append(each.path)
            elif entry.kind == "symlink":
                compared += 1
                assert (entry.target, "target" in each.unchecked) == (each.target, False)
    assert sorted(different) == ["/dev/pts", "/dev/shm", "/etc/shadow", "/proc"]
    assert compared > 100
    assert changed == {"/etc/shadow"}
    assert conffiles > 30


def test_a_changed_link_is_not_as_shipped() -> None:
    target = "Q1" + base64.b64encode(hashlib.sha1(b"busybox").digest()).decode()
    text = f"P:a\nV:1\nF:bin\nR:sh\na:0:0:777\nZ:{target}\nR:ls\na:0:0:777\nZ:{target}\nR:open\na:0:7:777\nZ:{MOTD}\n"
    system: dict[str, Content] = {
        "/lib/apk/db/installed": text,
        "/bin/sh": Link("busybox"),
        "/bin/ls": Link("/opt/ls"),
        "/bin/open": File("hello\n", mode=0o777, gid=7),
        "/etc/group": "wheel:x:7:\n",
    }
    (files,) = [f for f in apk.analyze(FakeGuest(system)) if isinstance(f, PackageFiles)]
    shipped = {each.path: each for each in files.shipped}
    assert (shipped["/bin/sh"].target, shipped["/bin/ls"].target) == ("busybox", "")
    assert "target" not in shipped["/bin/ls"].unchecked  # so the two differ
    assert shipped["/bin/open"].mode == 0o100777  # a file here, and shipped as one: its digest says so
    assert (shipped["/bin/open"].digest, shipped["/bin/open"].group) == (hashlib.sha1(b"hello\n").hexdigest(), "wheel")


# ---------------------------------------------------------------- hostile input


def test_a_database_that_cannot_be_read_is_told() -> None:
    assert unread(found({"/lib/apk/db/installed": Broken()})) == ["/lib/apk/db/installed: input/output error"]


def test_nonsense_is_told_with_its_line_and_only_so_often() -> None:
    text = "P:ok\nV:1\nF:../up\nR:x\nF:etc\nR:a/b\nR:..\nZ:Q1AAAA\na:x\n\nP:evil\nRUN rm\n\n" + "nonsense\n" * 5000
    findings = found({"/lib/apk/db/installed": text})
    assert [f.name for f in findings if isinstance(f, Package)] == ["ok"]
    assert [f.paths for f in findings if isinstance(f, PackageFiles)] == [("/etc",)]
    told = unread(findings)
    assert len(told) == 11
    assert told[0].startswith("/lib/apk/db/installed:3: ")
    assert "more lines" in told[-1]


def test_too_many_packages_and_paths_end_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apk, "MAX_PACKAGES", 3)
    many = "".join(f"P:p{i}\nV:1\n\n" for i in range(9))
    findings = found({"/lib/apk/db/installed": many})
    assert len([f for f in findings if isinstance(f, Package)]) == 3
    assert "only 3 packages" in unread(findings)[0]
    monkeypatch.setattr(apk, "MAX_PATHS", 20)
    findings = found({"/lib/apk/db/installed": "P:p\nV:1\nF:d\n" + "R:x\n" * 1000})
    assert "10 paths" in unread(findings)[0]


def test_a_database_larger_than_the_bound_is_read_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apk, "MAX_DATABASE", 300)
    findings = found({"/lib/apk/db/installed": File(DATABASE, size=300 << 20)})
    assert any("only the first 300" in line for line in unread(findings))


LINES = st.sampled_from(
    ["P:a", "V:1", "C:Q1", "F:", "F:a", "F:..", "F:a/\0", "R:x", "R:..", "M:0:0:755", "a:0:0:777", "a:9:9:99999999",
     "Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=", "Z:Q1", "D:!a b@c so:x>1", "p:a=1", "f:S", "", ":", "\udc80:\udcff", "s:t"]
)  # fmt: skip


@given(st.lists(LINES | st.text(max_size=20)).map("\n".join), st.text(max_size=60))
def test_no_text_breaks_the_parsers(text: str, other: str) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    other = other.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    protected = Protected(read_rules([other, text]))
    for installed in apk.parse_installed(text, lambda why, line: None, protected):
        assert all(record.path.startswith("/") and ".." not in record.path.split("/") for record in installed.records)
    parse_world(other)
    parse_digest(other)
    parse_acl(other)
    for repository in parse_repositories([other, text], other):
        repository.cached_as()
    list(
        apk.analyze(FakeGuest({"/lib/apk/db/installed": text, "/etc/apk/world": other, "/etc/apk/repositories": other}))
    )


@given(st.binary(max_size=300))
def test_no_bytes_break_the_index(data: bytes) -> None:
    for each in (data, b"\x1f\x8b" + data, gzip.compress(data)):
        with pytest.raises(ValueError, match="it "):
            parse_index(each)


def changed_at_random(whole: bytes) -> Iterator[bytes]:
    chance = random.Random(4)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data[: chance.randrange(len(data) + 1)])


def test_a_database_changed_at_random() -> None:
    for data in changed_at_random(DATABASE.encode()):
        findings = found({"/lib/apk/db/installed": data})
        assert all(isinstance(f, Package | PackageFiles | Unread) for f in findings)


def test_a_real_database_changed_at_random(alpine: Guest) -> None:
    for data in changed_at_random(alpine.read("/lib/apk/db/installed")):
        findings = list(apk.analyze(FakeGuest({"/lib/apk/db/installed": data})))
        names = [f.name for f in findings if isinstance(f, Package)]
        assert len(names) <= 16  # a changed byte may end a package early
        assert sum(isinstance(f, PackageFiles) for f in findings) == len(names)
