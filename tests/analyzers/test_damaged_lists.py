"""Package databases that are text, damaged: what is read is true as far as it goes, and nothing breaks or takes long.

Those of rpm bring a digest with each package: tests/analyzers/test_rpm_corpus.py. dpkg's and apk's bring none, so that
a changed letter of a version cannot be told; that all readings end, and what comes of them, is held here.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence

import pytest

from analyzers import apk, dpkg
from migrate.changes.compare import compare
from migrate.facts import Facts
from migrate.model import Finding, Package, PackageFiles, Unread
from tests.analyzers.fake import Content, FakeGuest, File, Link

COUNT = 120
NAMES = [f"tool{number}" for number in range(COUNT)]
MD5 = hashlib.md5(b"content\n", usedforsecurity=False).hexdigest()
SHA1 = "Q1" + "A" * 27 + "="
STANZA = """\
Package: {name}
Status: install ok installed
Priority: optional
Architecture: amd64
Version: 2.{number}-1
Depends: libc6 (>= 2.36), {name} | other
Conffiles:
 /etc/{name}.conf {md5}
Description: a tool
 That is one of many.
 .
 Others are there too.

"""
BLOCK = """\
C:{sha1}
P:{name}
V:2.{number}-r1
A:x86_64
D:so:libc.musl-x86_64.so.1
F:etc
R:{name}.conf
Z:{sha1}
F:usr
F:usr/bin
M:0:0:755
R:{name}
a:0:0:4755
Z:{sha1}

"""


def debian() -> dict[str, bytes]:
    """Return the files of dpkg's database."""
    status = "".join(STANZA.format(name=name, number=n, md5=MD5) for n, name in enumerate(NAMES))
    files = {"/var/lib/dpkg/status": status}
    for name in NAMES:
        files[f"/var/lib/dpkg/info/{name}.list"] = f"/.\n/etc\n/etc/{name}.conf\n/usr/bin\n/usr/bin/{name}\n"
        files[f"/var/lib/dpkg/info/{name}.md5sums"] = f"{MD5}  usr/bin/{name}\n"
    files["/var/lib/dpkg/diversions"] = "/usr/bin/tool1\n/usr/bin/tool1.real\n:\n/usr/bin/x\n/usr/bin/y\ntool2\n"
    files["/var/lib/dpkg/statoverride"] = "root root 4755 /usr/bin/tool3\nroot #33 0750 /usr/bin/tool4\n"
    return {path: text.encode() for path, text in files.items()}


def alpine() -> dict[str, bytes]:
    """Return the files of apk's database."""
    text = "".join(BLOCK.format(name=name, number=n, sha1=SHA1) for n, name in enumerate(NAMES))
    return {"/lib/apk/db/installed": text.encode(), "/etc/apk/world": b"tool1\ntool2\n"}


MANAGERS = {"dpkg": (dpkg.analyze, debian()), "apk": (apk.analyze, alpine())}
SYSTEM: dict[str, Content] = {
    **{f"/usr/bin/{name}": File("content\n", mode=0o755) for name in NAMES},
    **{f"/etc/{name}.conf": "content\n" for name in NAMES},
    "/bin": Link("usr/bin"),
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\n",
}


def find(manager: str, files: dict[str, bytes]) -> tuple[list[Finding], FakeGuest]:
    guest = FakeGuest({**SYSTEM, **files})
    return list(MANAGERS[manager][0](guest)), guest


def packages(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    return {(f.name, f.version) for f in findings if isinstance(f, Package)}


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield changed copies: bytes, lines and blocks that are set, cut, doubled and moved at random."""
    rnd = random.Random(seed)  # the same damage on every run
    for number in range(count):
        broken = bytearray(data)
        for _ in range(rnd.choice((1, 8, 64))):
            at = rnd.randrange(len(broken) - 64)
            kind = rnd.randrange(5)
            if kind == 0:
                broken[at : at + 1] = rnd.choice((b"\0", b"\xff", b"\n", b"\r", b":", b"/", rnd.randbytes(1)))
            elif kind == 1:
                del broken[at : at + rnd.randrange(64)]
            elif kind == 2:
                broken[at:at] = broken[: rnd.randrange(4096)]
            elif kind == 3:
                broken[at:at] = rnd.choice((b"9", b"A", b"../", b" ", b"\n ")) * rnd.randrange(1, 2000)
            else:
                broken[at : at + 32] = broken[at + 32 : at + 64] + broken[at : at + 32]
        yield bytes(broken[: rnd.randrange(len(broken))]) if number % 4 == 0 else bytes(broken)


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_sound_database_is_read_whole(manager: str) -> None:
    findings, guest = find(manager, MANAGERS[manager][1])
    assert {name for name, _ in packages(findings)} == set(NAMES)
    assert [f for f in findings if isinstance(f, Unread)] == []
    assert len(compare(Facts(findings, guest)).changes) >= 2  # the overrides, or what apk recorded otherwise


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_list_that_breaks_off_gives_the_packages_before(manager: str) -> None:
    files = MANAGERS[manager][1]
    path = max(files, key=lambda each: len(files[each]))
    whole = packages(find(manager, files)[0])
    for size in range(0, len(files[path]), len(files[path]) // 40):
        findings, _ = find(manager, {**files, path: files[path][:size]})
        found = packages(findings)
        assert len(found - whole) <= 1  # a version that breaks off
        sound = files[path][:size].count(b"\n\n")
        assert sound <= len(found) <= sound + 1


@pytest.mark.parametrize("manager", MANAGERS)
def test_damage_at_random_ends_and_is_no_surprise_to_the_comparison(manager: str) -> None:
    files = MANAGERS[manager][1]
    worst, different = 0.0, 0
    whole = packages(find(manager, files)[0])
    for path, data in files.items():
        if len(data) < 70:
            continue
        for broken in damaged(data, 7, 60 if len(data) > 10_000 else 2):
            start = time.process_time()
            findings, guest = find(manager, {**files, path: broken})
            comparison = compare(Facts(findings, guest))
            worst = max(worst, time.process_time() - start)
            different += packages(findings) != whole
            paths = {
                p for f in findings if isinstance(f, PackageFiles) for p in (*f.paths, *(s.path for s in f.shipped))
            }
            assert all(p.startswith("/") and "\0" not in p and ".." not in p.split("/") for p in paths)
            assert {change.path for change in comparison.changes} <= paths
    assert different > 20
    assert worst < 20


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_database_of_one_endless_line_or_of_lines_alone_ends(manager: str) -> None:
    files = MANAGERS[manager][1]
    path = max(files, key=lambda each: len(files[each]))
    for text in (
        b"P" * 3_000_000,
        b"\n" * 3_000_000,
        b"Package: " * 300_000,
        b"R:x\nZ:y\n" * 200_000,
        b" \n.\n" * 500_000,
    ):
        start = time.process_time()
        findings, _ = find(manager, {**files, path: text})
        assert packages(findings) == set()
        assert len(findings) < 2000
        assert time.process_time() - start < 20


def test_a_status_file_above_the_bound_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "_MAX_STATUS", 10_000)
    files = MANAGERS["dpkg"][1]
    findings, _ = find("dpkg", files)
    assert 0 < len(packages(findings)) < COUNT
    assert any("only the first" in f.why for f in findings if isinstance(f, Unread))
